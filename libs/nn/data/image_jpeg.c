/*
 * libjpeg leaves its errors by longjmp: what must survive lies in struct reader, whose address is fixed before
 * setjmp; no local changes behind it.
 */
#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <jpeglib.h>

#include <jerror.h>

#include "nn/data/image_private.h"

#include "base/banned.h"

struct reader {
    struct jpeg_error_mgr errors; /* first: libjpeg hands it back */
    struct jpeg_progress_mgr progress;
    struct jpeg_decompress_struct jpeg;
    jmp_buf jump;
    const struct image_source *source;
    struct cyx_image *image;
    int64_t *size;
    struct cyx_error *error;
    enum cyx_status status;
    char why[JMSG_LENGTH_MAX];
};

static void on_error(j_common_ptr jpeg)
{
    struct reader *reader = (struct reader *)jpeg->err;
    jpeg->err->format_message(jpeg, reader->why);
    longjmp(reader->jump, 1);
}

/* Odd but whole files give warnings; one that ends too early is broken. */
static void on_message(j_common_ptr jpeg, int level)
{
    if (level < 0 && jpeg->err->msg_code == JWRN_JPEG_EOF)
        on_error(jpeg);
}

static void on_output(j_common_ptr jpeg)
{
    (void)jpeg;
}

/* A few bytes a scan, each over the whole image, would keep the decoder busy for hours. */
static void on_progress(j_common_ptr jpeg)
{
    if (jpeg->is_decompressor &&
        ((j_decompress_ptr)jpeg)->input_scan_number > CYX_IMAGE_SCANS_LIMIT) {
        struct reader *reader = (struct reader *)jpeg->err;
        snprintf(reader->why, sizeof(reader->why), "more than %d scans", CYX_IMAGE_SCANS_LIMIT);
        longjmp(reader->jump, 1);
    }
}

static uint8_t scaled(uint8_t value, unsigned by)
{
    unsigned product = value * by + 128;
    return (uint8_t)((product + (product >> 8)) >> 8);
}

/* Adobe's files hold the inks inverted; the black goes into the three colours. In place, four bytes to three. */
static void cmyk_to_rgb(struct cyx_image *image, bool inverted)
{
    int64_t pixels = image->height * image->width;
    const uint8_t *from = image->data;
    uint8_t *to = image->data;
    for (int64_t i = 0; i < pixels; i++, from += 4, to += 3) {
        unsigned light = inverted ? from[3] : 255u - from[3];
        for (int c = 0; c < 3; c++)
            to[c] = scaled(inverted ? from[c] : (uint8_t)(255 - from[c]), light);
    }
    image->channels = 3;
}

static void read_rows(struct reader *reader)
{
    struct jpeg_decompress_struct *jpeg = &reader->jpeg;
    bool inks = jpeg->jpeg_color_space == JCS_CMYK || jpeg->jpeg_color_space == JCS_YCCK;
    jpeg->out_color_space = inks ? JCS_CMYK : JCS_RGB;
    jpeg_start_decompress(jpeg);
    if (!cyx_image_reserve(reader->image, reader->size[0], reader->size[1],
                           jpeg->output_components))
        ERREXIT1(jpeg, JERR_OUT_OF_MEMORY, 0);
    size_t row_bytes = (size_t)reader->size[1] * (size_t)jpeg->output_components;
    while (jpeg->output_scanline < jpeg->output_height) {
        JSAMPROW rows[4];
        for (JDIMENSION i = 0; i < 4; i++) {
            JDIMENSION y = jpeg->output_scanline + i;
            y = y < jpeg->output_height ? y : jpeg->output_height - 1;
            rows[i] = reader->image->data + y * row_bytes;
        }
        JDIMENSION left = jpeg->output_height - jpeg->output_scanline;
        jpeg_read_scanlines(jpeg, rows, left < 4 ? left : 4);
    }
    jpeg_finish_decompress(jpeg);
    if (inks)
        cmyk_to_rgb(reader->image, jpeg->saw_Adobe_marker);
}

static void read_jpeg(struct reader *reader)
{
    struct jpeg_decompress_struct *jpeg = &reader->jpeg;
    if (setjmp(reader->jump)) {
        reader->status =
            cyx_error_set(reader->error, CYX_ERR_CORRUPT, NULL, "broken JPEG: %s", reader->why);
        return;
    }
    jpeg_create_decompress(jpeg);
    jpeg->progress = &reader->progress;
    if (reader->source->file)
        jpeg_stdio_src(jpeg, reader->source->file);
    else
        jpeg_mem_src(jpeg, reader->source->bytes, reader->source->length);
    jpeg_read_header(jpeg, TRUE);
    reader->size[0] = jpeg->image_height;
    reader->size[1] = jpeg->image_width;
    reader->status = image_judge_size(reader->size[0], reader->size[1], reader->error);
    if (reader->status == CYX_OK && reader->image)
        read_rows(reader);
}

enum cyx_status image_read_jpeg(const struct image_source *source, struct cyx_image *image,
                                int64_t ret_size[2], struct cyx_error *error)
{
    struct reader reader = {.source = source, .image = image, .size = ret_size, .error = error};
    reader.jpeg.err = jpeg_std_error(&reader.errors);
    reader.errors.error_exit = on_error;
    reader.errors.emit_message = on_message;
    reader.errors.output_message = on_output;
    reader.progress.progress_monitor = on_progress;
    read_jpeg(&reader);
    jpeg_destroy_decompress(&reader.jpeg);
    return reader.status;
}
