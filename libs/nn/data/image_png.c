/*
 * libpng leaves its errors by longjmp: what must survive lies in struct reader or struct writer, whose address is
 * fixed before setjmp; no local changes behind it.
 */
#include <png.h>
#include <stdlib.h>
#include <string.h>

#include "nn/data/image_private.h"

#include "base/banned.h"

enum { CHUNK_LIMIT_BYTES = 8 * 1024 * 1024, SIDE_LIMIT = 1 << 26 };

struct reader {
    const struct image_source *source;
    size_t taken; /* of the source's bytes */
    struct cyx_image *image;
    int64_t *size;
    int channels;
    struct cyx_error *error;
    enum cyx_status status;
    png_structp png;
    png_infop info;
    png_uint_32 row;
    int pass, passes;
    char why[160];
};

static void on_error(png_structp png, png_const_charp message)
{
    struct reader *reader = png_get_error_ptr(png);
    snprintf(reader->why, sizeof(reader->why), "%s", message);
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp message)
{
    (void)png;
    (void)message;
}

static void on_read(png_structp png, png_bytep bytes, size_t length)
{
    struct reader *reader = png_get_io_ptr(png);
    const struct image_source *source = reader->source;
    if (source->file) {
        if (fread(bytes, 1, length, source->file) != length)
            png_error(png, "the file is cut short");
        return;
    }
    if (length > source->length - reader->taken)
        png_error(png, "the file is cut short");
    memcpy(bytes, source->bytes + reader->taken, length);
    reader->taken += length;
}

/* Texts and profiles can unpack to much; nothing here needs them. */
static void limit(png_structp png)
{
    static const png_byte skipped[] = "iCCP\0zTXt\0iTXt\0tEXt\0sPLT\0eXIf\0hIST";
    png_set_user_limits(png, SIDE_LIMIT, SIDE_LIMIT);
    png_set_chunk_malloc_max(png, CHUNK_LIMIT_BYTES);
    png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, skipped, sizeof(skipped) / 5);
}

/* Eight bits, one channel or three, no transparency. */
static int convert(png_structp png, png_infop info, int channels)
{
    int type = png_get_color_type(png, info);
    bool grey = type == PNG_COLOR_TYPE_GRAY || type == PNG_COLOR_TYPE_GRAY_ALPHA;
    png_set_expand(png);
    png_set_strip_16(png);
    png_set_strip_alpha(png);
    if (grey && channels == 3)
        png_set_gray_to_rgb(png);
    return grey ? channels : 3;
}

/* Only libpng's own state is used behind its setjmp. */
static void read_png(struct reader *reader)
{
    png_structp png = reader->png;
    if (setjmp(png_jmpbuf(png))) {
        reader->status =
            cyx_error_set(reader->error, CYX_ERR_CORRUPT, NULL, "broken PNG: %s", reader->why);
        return;
    }
    png_set_read_fn(png, reader, on_read);
    limit(png);
    png_read_info(png, reader->info);
    reader->size[0] = png_get_image_height(png, reader->info);
    reader->size[1] = png_get_image_width(png, reader->info);
    reader->status = image_judge_size(reader->size[0], reader->size[1], reader->error);
    if (reader->status != CYX_OK || !reader->image)
        return;
    reader->channels = convert(png, reader->info, reader->channels);
    reader->passes = png_set_interlace_handling(png);
    png_read_update_info(png, reader->info);
    size_t row_bytes = (size_t)reader->size[1] * (size_t)reader->channels;
    if (png_get_rowbytes(png, reader->info) != row_bytes)
        png_error(png, "a row of an unexpected length");
    if (!cyx_image_reserve(reader->image, reader->size[0], reader->size[1], reader->channels))
        png_error(png, "memory ran out");
    for (reader->pass = 0; reader->pass < reader->passes; reader->pass++)
        for (reader->row = 0; reader->row < reader->size[0]; reader->row++)
            png_read_row(png, reader->image->data + reader->row * row_bytes, NULL);
    png_read_end(png, NULL);
}

enum cyx_status image_read_png(const struct image_source *source, int channels,
                               struct cyx_image *image, int64_t ret_size[2],
                               struct cyx_error *error)
{
    struct reader reader = {
        .source = source, .image = image, .size = ret_size, .channels = channels, .error = error};
    reader.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &reader, on_error, on_warning);
    reader.info = reader.png ? png_create_info_struct(reader.png) : NULL;
    if (reader.info)
        read_png(&reader);
    else
        reader.status = cyx_error_set(error, CYX_ERR_NO_MEMORY, NULL, "memory ran out");
    png_destroy_read_struct(&reader.png, &reader.info, NULL);
    return reader.status;
}

/* ---- writing ---- */

struct writer {
    const struct cyx_image *image;
    struct cyx_buf *bytes;
    png_structp png;
    png_infop info;
    int64_t row;
    bool failed;
};

static void on_write_error(png_structp png, png_const_charp message)
{
    (void)message;
    png_longjmp(png, 1);
}

static void on_write(png_structp png, png_bytep bytes, size_t length)
{
    cyx_buf_append(((struct writer *)png_get_io_ptr(png))->bytes, bytes, length);
}

static void on_flush(png_structp png)
{
    (void)png;
}

static void write_png(struct writer *writer)
{
    const struct cyx_image *image = writer->image;
    png_structp png = writer->png;
    if (setjmp(png_jmpbuf(png))) {
        writer->failed = true;
        return;
    }
    png_set_write_fn(png, writer, on_write, on_flush);
    png_set_IHDR(png, writer->info, (png_uint_32)image->width, (png_uint_32)image->height, 8,
                 image->channels == 1 ? PNG_COLOR_TYPE_GRAY : PNG_COLOR_TYPE_RGB,
                 PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_write_info(png, writer->info);
    for (writer->row = 0; writer->row < image->height; writer->row++)
        png_write_row(png, image->data + writer->row * image->width * image->channels);
    png_write_end(png, NULL);
}

enum cyx_status cyx_image_encode_png(const struct cyx_image *image, struct cyx_buf *ret_bytes,
                                     struct cyx_error *ret_error)
{
    struct writer writer = {.image = image, .bytes = ret_bytes};
    writer.png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, on_write_error, on_warning);
    writer.info = writer.png ? png_create_info_struct(writer.png) : NULL;
    if (writer.info)
        write_png(&writer);
    bool good = writer.info && !writer.failed && !ret_bytes->failed;
    png_destroy_write_struct(&writer.png, &writer.info);
    return good ? CYX_OK
                : cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL,
                                "memory ran out while writing a PNG file");
}
