/*
 * PNG and JPEG files and what transforms do to their bytes, against Pillow's and torchvision's results to the bit
 * (recorded by tests/golden/images.py), and files that are broken, cut short, hostile or not images at all.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include <cmocka.h>

#include "nn/data/image_ops.h"
#include "nn/format/safetensors.h"

#define GOLDEN CYX_SOURCE_DIR "/tests/golden/"

static struct cyx_safetensors *golden;

static void read_file(const char *name, struct cyx_buf *bytes)
{
    char path[512];
    struct cyx_error err = {0};
    snprintf(path, sizeof(path), GOLDEN "images/%s", name);
    if (cyx_buf_read_file(bytes, path, 1 << 20, &err) != CYX_OK)
        fail_msg("%s", err.message);
}

static void decode(const char *name, int channels, struct cyx_image *image)
{
    CYX_CLEANUP_BUF struct cyx_buf bytes = {0};
    struct cyx_error err = {0};
    read_file(name, &bytes);
    if (cyx_image_decode(bytes.data, bytes.length, channels, image, &err) != CYX_OK)
        fail_msg("%s: %s", name, err.message);
}

/* How many bytes of `image` are not the recorded ones. */
static int64_t differences(const char *name, const struct cyx_image *image)
{
    const struct cyx_safetensors_tensor *tensor = cyx_safetensors_find(golden, name);
    if (!tensor) {
        fail_msg("there is no recorded %s", name);
        return -1;
    }
    assert_int_equal(tensor->shape[0], image->height);
    assert_int_equal(tensor->shape[1], image->width);
    assert_int_equal(tensor->rank == 3 ? tensor->shape[2] : 1, image->channels);
    size_t length = (size_t)(tensor->end - tensor->begin);
    uint8_t *bytes = malloc(length);
    assert_int_equal(cyx_safetensors_read(golden, tensor, bytes, length, NULL), CYX_OK);
    int64_t count = 0;
    for (size_t i = 0; i < length; i++)
        count += bytes[i] != image->data[i];
    free(bytes);
    return count;
}

static void assert_same(const char *name, const struct cyx_image *image)
{
    int64_t count = differences(name, image);
    if (count != 0)
        fail_msg("%s: %lld bytes differ", name, (long long)count);
}

/* "resize.bilinear.16.20" gives "bilinear", 16, 20. */
static enum cyx_interpolation interpolation_of(const char *name)
{
    return strstr(name, "nearest") ? CYX_NEAREST
           : strstr(name, "cubic") ? CYX_BICUBIC
                                   : CYX_BILINEAR;
}

static const char *number_in(const char *name, int parts)
{
    for (; parts > 0; parts--)
        name = strchr(name, '.') + 1;
    return name;
}

/* ---- decoding ---- */

static void test_image__decodes_as_pillow(void **state)
{
    (void)state;
    static const char *const names[] = {"scene.png",   "grey.png",        "alpha.png",
                                        "palette.png", "transparent.png", "bits.png",
                                        "scene.jpg",   "subsampled.jpeg", "progressive.jpg",
                                        "grey.jpg",    "cmyk.jpg"};
    struct cyx_image image = {0};
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        for (int channels = 1; channels <= 3; channels += 2) {
            char name[80], path[512];
            int64_t height = 0, width = 0;
            decode(names[i], channels, &image);
            snprintf(name, sizeof(name), "decode.%s.%d", names[i], channels);
            assert_same(name, &image);
            snprintf(path, sizeof(path), GOLDEN "images/%s", names[i]);
            assert_int_equal(cyx_image_probe(path, &height, &width, NULL), CYX_OK);
            assert_true(height == 29 && width == 37);
        }
    }
    cyx_image_finish(&image);
    cyx_image_finish(&image);
}

static void test_image__what_it_encodes_it_decodes(void **state)
{
    (void)state;
    struct cyx_image image = {0}, again = {0};
    for (int channels = 1; channels <= 3; channels += 2) {
        CYX_CLEANUP_BUF struct cyx_buf bytes = {0};
        decode("scene.png", channels, &image);
        assert_int_equal(cyx_image_encode_png(&image, &bytes, NULL), CYX_OK);
        assert_int_equal(cyx_image_decode(bytes.data, bytes.length, channels, &again, NULL),
                         CYX_OK);
        assert_memory_equal(image.data, again.data,
                            (size_t)(image.height * image.width * image.channels));
    }
    cyx_image_finish(&image);
    cyx_image_finish(&again);
}

/* ---- operations ---- */

static void test_image__resizes_as_pillow(void **state)
{
    (void)state;
    struct cyx_image rgb = {0}, grey = {0}, between = {0}, to = {0};
    int cases = 0;
    decode("scene.png", 3, &rgb);
    decode("scene.png", 1, &grey);
    for (size_t i = 0; i < golden->n_tensors; i++) {
        const char *name = golden->tensors[i].name;
        if (strncmp(name, "resize", 6) != 0)
            continue;
        int64_t height = strtol(number_in(name, 2), NULL, 10);
        int64_t width = strtol(number_in(name, 3), NULL, 10);
        const struct cyx_image *from = strncmp(name, "resize_grey", 11) == 0 ? &grey : &rgb;
        assert_true(cyx_image_resize(from, height, width, interpolation_of(name), &between, &to));
        assert_same(name, &to);
        cases++;
    }
    assert_int_equal(cases, 16);
    cyx_image_finish(&rgb);
    cyx_image_finish(&grey);
    cyx_image_finish(&between);
    cyx_image_finish(&to);
}

static void test_image__rotates_as_pillow(void **state)
{
    (void)state;
    struct cyx_image image = {0}, to = {0};
    int cases = 0;
    decode("scene.png", 3, &image);
    for (size_t i = 0; i < golden->n_tensors; i++) {
        const char *name = golden->tensors[i].name;
        if (strncmp(name, "rotate", 6) != 0)
            continue;
        double angle = strtod(number_in(name, 2), NULL);
        assert_true(cyx_image_rotate(&image, angle, interpolation_of(name), 0, &to));
        assert_same(name, &to);
        cases++;
    }
    assert_int_equal(cases, 12);
    assert_true(cyx_image_rotate(&image, 45, CYX_NEAREST, 77, &to));
    assert_int_equal(to.data[0], 77); /* a corner that nothing comes to lie on */
    cyx_image_finish(&image);
    cyx_image_finish(&to);
}

static void test_image__changes_colours_as_pillow(void **state)
{
    (void)state;
    static const struct {
        const char *prefix;
        void (*change)(struct cyx_image *image, double by);
        int channels;
    } kinds[] = {
        {"brightness.", cyx_image_brightness, 3},
        {"contrast.", cyx_image_contrast, 3},
        {"contrast_grey.", cyx_image_contrast, 1},
        {"saturation.", cyx_image_saturation, 3},
        {"hue.", cyx_image_hue, 3},
    };
    struct cyx_image image = {0};
    int cases = 0;
    for (size_t i = 0; i < golden->n_tensors; i++) {
        const char *name = golden->tensors[i].name;
        for (size_t k = 0; k < sizeof(kinds) / sizeof(*kinds); k++) {
            if (strncmp(name, kinds[k].prefix, strlen(kinds[k].prefix)) != 0)
                continue;
            decode("scene.png", kinds[k].channels, &image);
            kinds[k].change(&image, strtod(number_in(name, 1), NULL));
            assert_same(name, &image);
            cases++;
        }
    }
    assert_int_equal(cases, 26);
    cyx_image_finish(&image);
}

/* ---- hostile files ---- */

static enum cyx_status try_bytes(const void *bytes, size_t length, struct cyx_error *err)
{
    struct cyx_image image = {0};
    enum cyx_status status = cyx_image_decode(bytes, length, 3, &image, err);
    cyx_image_finish(&image);
    return status;
}

static void test_image__refuses_what_is_cut_short(void **state)
{
    (void)state;
    static const char *const names[] = {"scene.png", "scene.jpg", "progressive.jpg", "palette.png"};
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        CYX_CLEANUP_BUF struct cyx_buf bytes = {0};
        read_file(names[i], &bytes);
        for (size_t length = 0; length + 2 < bytes.length; length += 1 + length / 16) {
            struct cyx_error err = {0};
            char *copy =
                malloc(length + 1); /* of exactly that length, so that asan looks behind it */
            memcpy(copy, bytes.data, length);
            if (try_bytes(copy, length, &err) != CYX_ERR_CORRUPT || !*err.message)
                fail_msg("%s of %zu bytes was taken", names[i], length);
            free(copy);
        }
    }
}

/* Whatever byte is changed: an answer, and no reading or writing outside (asan looks). */
static void test_image__survives_any_changed_byte(void **state)
{
    (void)state;
    static const char *const names[] = {"scene.png", "subsampled.jpeg", "progressive.jpg",
                                        "transparent.png", "cmyk.jpg"};
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        CYX_CLEANUP_BUF struct cyx_buf bytes = {0};
        read_file(names[i], &bytes);
        for (size_t at = 0; at < bytes.length; at += 1 + at / 64) {
            char kept = bytes.data[at];
            for (int change = 1; change < 256; change *= 3) {
                bytes.data[at] = (char)(kept ^ change);
                enum cyx_status status = try_bytes(bytes.data, bytes.length, NULL);
                assert_true(status == CYX_OK || status == CYX_ERR_CORRUPT ||
                            status == CYX_ERR_TOO_LARGE);
            }
            bytes.data[at] = kept;
        }
    }
}

static void put_be32(uint8_t *to, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        to[i] = (uint8_t)(value >> (24 - 8 * i));
}

/* A PNG of this size whose header is right and whose pixels are missing: 45 bytes. */
static size_t huge_png(uint8_t bytes[64], uint32_t width, uint32_t height)
{
    static const uint8_t start[] = {0x89, 'P', 'N', 'G', 13,  10,  26,  10,
                                    0,    0,   0,   13,  'I', 'H', 'D', 'R'};
    memcpy(bytes, start, sizeof(start));
    put_be32(bytes + 16, width);
    put_be32(bytes + 20, height);
    static const uint8_t kind[] = {8, 2, 0, 0, 0};
    static const uint8_t end[] = {0, 0, 0, 0, 'I', 'D', 'A', 'T', 0x35, 0xAF, 0x06, 0x1E};
    memcpy(bytes + 24, kind, sizeof(kind));
    put_be32(bytes + 29, (uint32_t)crc32(crc32(0, NULL, 0), bytes + 12, 17));
    memcpy(bytes + 33, end, sizeof(end));
    return 45;
}

static void test_image__refuses_bombs_before_it_takes_memory(void **state)
{
    (void)state;
    uint8_t bytes[64];
    struct cyx_error err = {0};
    size_t length = huge_png(bytes, 50000, 50000);
    assert_int_equal(try_bytes(bytes, length, &err), CYX_ERR_TOO_LARGE);
    assert_non_null(strstr(err.message, "50000x50000 pixels"));
    length = huge_png(bytes, 0x7FFFFFFF, 2);
    assert_int_not_equal(try_bytes(bytes, length, &err), CYX_OK);
    length = huge_png(bytes, 100, 100);
    assert_int_equal(try_bytes(bytes, length, &err), CYX_ERR_CORRUPT);

    CYX_CLEANUP_BUF struct cyx_buf jpeg = {0};
    read_file("scene.jpg", &jpeg);
    for (size_t at = 0; at + 9 < jpeg.length; at++) { /* the frame header's height and width */
        if (memcmp(jpeg.data + at, "\xFF\xC0\0\x11\x08", 5) != 0)
            continue;
        memcpy(jpeg.data + at + 5, "\xFF\xDC\xFF\xDC", 4);
        break;
    }
    assert_int_equal(try_bytes(jpeg.data, jpeg.length, &err), CYX_ERR_TOO_LARGE);
    assert_non_null(strstr(err.message, "65500x65500"));
}

/* Thousands of scans over one image: the decoder would be busy for hours. */
static void test_image__refuses_a_jpeg_of_endless_scans(void **state)
{
    (void)state;
    CYX_CLEANUP_BUF struct cyx_buf jpeg = {0}, many = {0};
    struct cyx_error err = {0};
    size_t scan = 0, end;
    read_file("progressive.jpg", &jpeg);
    for (end = jpeg.length - 2; end > 0 && scan == 0; end--) /* the last scan */
        if (memcmp(jpeg.data + end, "\xFF\xDA", 2) == 0)
            scan = end;
    assert_true(scan > 0);
    cyx_buf_append(&many, jpeg.data, scan);
    for (int i = 0; i < 200; i++)
        cyx_buf_append(&many, jpeg.data + scan, jpeg.length - 2 - scan);
    cyx_buf_append(&many, "\xFF\xD9", 2);
    assert_int_equal(try_bytes(many.data, many.length, &err), CYX_ERR_CORRUPT);
    assert_non_null(strstr(err.message, "more than 100 scans"));
}

static void test_image__names_what_is_no_image(void **state)
{
    (void)state;
    struct cyx_error err = {0};
    int64_t height, width;
    assert_int_equal(try_bytes("", 0, &err), CYX_ERR_CORRUPT);
    assert_string_equal(err.message, "the file is empty");
    assert_int_equal(try_bytes("GIF89a\1\0\1\0", 10, &err), CYX_ERR_CORRUPT);
    assert_string_equal(err.message, "not a PNG or JPEG file");
    assert_int_equal(cyx_image_probe("/nonexistent.png", &height, &width, &err), CYX_ERR_NOT_FOUND);
    assert_int_equal(cyx_image_probe("/", &height, &width, &err), CYX_ERR_CORRUPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_image__decodes_as_pillow),
        cmocka_unit_test(test_image__what_it_encodes_it_decodes),
        cmocka_unit_test(test_image__resizes_as_pillow),
        cmocka_unit_test(test_image__rotates_as_pillow),
        cmocka_unit_test(test_image__changes_colours_as_pillow),
        cmocka_unit_test(test_image__refuses_what_is_cut_short),
        cmocka_unit_test(test_image__survives_any_changed_byte),
        cmocka_unit_test(test_image__refuses_bombs_before_it_takes_memory),
        cmocka_unit_test(test_image__refuses_a_jpeg_of_endless_scans),
        cmocka_unit_test(test_image__names_what_is_no_image),
    };
    struct cyx_error err = {0};
    if (cyx_safetensors_open(GOLDEN "images.safetensors", &golden, &err) != CYX_OK) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    cyx_safetensors_close(golden);
    return failed;
}
