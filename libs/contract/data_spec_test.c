/* The data part of a job spec: data on this machine, transforms, and what shape comes of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "contract/data_shape.h"

static struct cyx_job_spec *parse(const char *data)
{
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    struct cyx_job_spec *spec = NULL;
    struct cyx_error err = {0};
    cyx_buf_printf(&text,
                   "{\"name\":\"d\",\"model\":{\"layers\":[{\"type\":\"Flatten\"}]},\"data\":%s,"
                   "\"loss\":{\"type\":\"CrossEntropyLoss\"},\"optimizer\":{\"type\":\"SGD\"},"
                   "\"epochs\":1}",
                   data);
    if (cyx_job_spec_parse(text.data, text.length, &spec, &err) != CYX_OK)
        fail_msg("%s: %s", err.pointer, err.message);
    return spec;
}

/* What the canonical form says of the data. */
static void assert_canonical(const struct cyx_job_spec *spec, const char *data)
{
    CYX_CLEANUP_BUF struct cyx_buf start = {0};
    cyx_buf_printf(&start, "{\"data\":%s,\"epochs\":1,", data);
    if (strncmp(spec->canonical, start.data, start.length) != 0)
        fail_msg("%s", spec->canonical);
}

static void test_data_spec__csv_reads_every_member(void **state)
{
    (void)state;
    struct cyx_job_spec *spec =
        parse("{\"dataset\":{\"format\":\"csv\",\"train\":\"a/b.csv\",\"test\":\"/c.csv\","
              "\"target\":[\"price\",3],\"ignore\":[\"id\"],\"task\":\"numbers\",\"header\":true,"
              "\"delimiter\":\"\\t\"},\"batch_size\":8,\"workers\":3}");
    const struct cyx_source_spec *source = &spec->data.source;
    assert_null(spec->data.dataset);
    assert_int_equal(source->format, CYX_SOURCE_CSV);
    assert_string_equal(source->train, "a/b.csv");
    assert_string_equal(source->test, "/c.csv");
    assert_int_equal(source->n_target, 2);
    assert_string_equal(source->target[0].name, "price");
    assert_null(source->target[1].name);
    assert_int_equal(source->target[1].index, 3);
    assert_string_equal(source->ignore[0].name, "id");
    assert_int_equal(source->n_ignore, 1);
    assert_int_equal(source->task, CYX_TASK_NUMBERS);
    assert_true(source->header && source->delimiter == '\t');
    assert_int_equal(spec->data.workers, 3);
    assert_int_equal(spec->data.sample.rank, 0);
    assert_string_equal(spec->dataset_hash, "");
    assert_canonical(spec,
                     "{\"batch_size\":8,\"dataset\":{\"delimiter\":\"\\u0009\",\"format\":\"csv\","
                     "\"ignore\":\"id\",\"target\":[\"price\",3],\"task\":\"numbers\",\"test\":"
                     "\"/c.csv\",\"train\":\"a/b.csv\"},\"workers\":3}");
    cyx_job_spec_destroy(spec);
}

static void test_data_spec__other_formats_have_their_defaults(void **state)
{
    (void)state;
    struct cyx_job_spec *spec = parse("{\"dataset\":{\"format\":\"image-folder\",\"train\":\"t\"},"
                                      "\"batch_size\":8,\"transforms\":[{\"type\":\"ToTensor\"},"
                                      "{\"type\":\"Normalize\",\"mean\":[1,2,3],\"std\":4}]}");
    assert_int_equal(spec->data.source.channels, 3);
    assert_null(spec->data.source.test);
    assert_int_equal(spec->data.transforms[1].n_channels, 3);
    cyx_job_spec_destroy(spec);

    spec = parse("{\"dataset\":{\"format\":\"npz\",\"train\":\"d.npz\",\"test_inputs\":\"x_test\","
                 "\"test_targets\":\"y_test\",\"classes\":10,\"layout\":\"channels_last\"},"
                 "\"batch_size\":8}");
    assert_int_equal(spec->data.source.format, CYX_SOURCE_NPZ);
    assert_string_equal(spec->data.source.test_targets, "y_test");
    assert_int_equal(spec->data.source.n_classes, 10);
    assert_true(spec->data.source.channels_last);
    cyx_job_spec_destroy(spec);

    spec = parse("{\"dataset\":{\"format\":\"memory\"},\"batch_size\":8}");
    assert_int_equal(spec->data.source.format, CYX_SOURCE_MEMORY);
    assert_string_equal(cyx_source_format_name(spec->data.source.format), "memory");
    cyx_job_spec_destroy(spec);
}

static void test_data_spec__transforms_are_torchvisions(void **state)
{
    (void)state;
    struct cyx_job_spec *spec = parse(
        "{\"dataset\":\"mnist\",\"batch_size\":8,\"transforms\":["
        "{\"type\":\"Resize\",\"size\":[36,40],\"interpolation\":\"bicubic\"},"
        "{\"type\":\"RandomCrop\",\"size\":32,\"padding\":4,\"pad_if_needed\":true,\"fill\":9},"
        "{\"type\":\"RandomHorizontalFlip\"},{\"type\":\"RandomVerticalFlip\",\"p\":0.25},"
        "{\"type\":\"RandomRotation\",\"degrees\":10},"
        "{\"type\":\"ColorJitter\",\"brightness\":0.25,\"contrast\":2,\"hue\":[-0.5,0.25]},"
        "{\"type\":\"ToTensor\"},{\"type\":\"Normalize\",\"mean\":0.5,\"std\":0.5}]}");
    const struct cyx_transform_spec *t = spec->data.transforms;
    assert_int_equal(spec->data.n_transforms, 8);
    assert_true(t[0].size[0] == 36 && t[0].size[1] == 40 && t[0].interpolation == CYX_BICUBIC);
    assert_true(t[1].size[1] == 32 && t[1].padding == 4 && t[1].pad_if_needed && t[1].fill == 9);
    assert_true(t[2].p == 0.5 && t[3].p == 0.25);
    assert_true(t[4].degrees[0] == -10 && t[4].degrees[1] == 10);
    assert_int_equal(t[4].interpolation, CYX_NEAREST);
    assert_true(t[5].brightness[0] == 0.75 && t[5].brightness[1] == 1.25);
    assert_true(t[5].contrast[0] == 0 && t[5].contrast[1] == 3);
    assert_true(t[5].saturation[0] == 1 && t[5].saturation[1] == 1);
    assert_true(t[5].hue[0] == -0.5 && t[5].hue[1] == 0.25);
    assert_int_equal(t[7].n_channels, 1);
    const struct cyx_sample_shape *sample = &spec->data.sample;
    assert_true(sample->rank == 3 && sample->dim[0] == 1 && sample->dim[1] == 32 &&
                sample->dim[2] == 32);
    assert_true(sample->target == CYX_TARGET_CLASSES && sample->n_classes == 10);
    assert_non_null(strstr(spec->canonical, "\"degrees\":[-1e+01,1e+01]"));
    struct cyx_job_spec *again = NULL;
    assert_int_equal(cyx_job_spec_parse(spec->canonical, strlen(spec->canonical), &again, NULL),
                     CYX_OK);
    assert_string_equal(again->canonical, spec->canonical);
    cyx_job_spec_destroy(again);
    cyx_job_spec_destroy(spec);
}

static void test_data_shape__resize_by_the_shorter_edge_is_torchvisions(void **state)
{
    (void)state;
    const struct cyx_transform_spec chain[] = {
        {.type = CYX_TRANSFORM_RESIZE, .size = {256, 0}},
        {.type = CYX_TRANSFORM_CENTER_CROP, .size = {300, 224}},
    };
    struct cyx_image_shape shape = {3, 375, 500};
    assert_int_equal(cyx_transforms_shape(chain, 1, &shape, NULL), CYX_OK);
    assert_true(shape.height == 256 && shape.width == 341); /* int(256 * 500 / 375) */
    shape = (struct cyx_image_shape){3, 500, 375};
    assert_int_equal(cyx_transforms_shape(chain, 2, &shape, NULL), CYX_OK);
    assert_true(shape.height == 300 && shape.width == 224);
    shape = (struct cyx_image_shape){3, 1, 60000};
    struct cyx_error err = {0};
    assert_int_equal(cyx_transforms_shape(chain, 1, &shape, &err), CYX_ERR_INVALID);
    assert_string_equal(err.pointer, "/data/transforms/0");
}

static void test_data_spec__the_network_refuses_data_on_ones_own_machine(void **state)
{
    (void)state;
    struct cyx_error err = {0};
    struct cyx_job_spec *spec =
        parse("{\"dataset\":{\"format\":\"npy\",\"train\":\"x.npy\"},\"batch_size\":8}");
    assert_int_equal(cyx_job_spec_check_shared(spec, &err), CYX_ERR_INVALID);
    assert_string_equal(err.pointer, "/data/dataset");
    assert_string_equal(err.message,
                        "data on your own machine train with `cyxwiz train`, or on the platform "
                        "after `cyxwiz upload`, named by \"upload\"; the platform has: "
                        "fashion-mnist, mnist");
    cyx_job_spec_destroy(spec);
    spec = parse("{\"dataset\":\"mnist\",\"batch_size\":8}");
    assert_int_equal(cyx_job_spec_check_shared(spec, &err), CYX_OK);
    cyx_job_spec_destroy(spec);
}

static void test_data_spec__an_upload_is_judged_by_the_shape_that_is_stated(void **state)
{
    (void)state;
    struct cyx_job_spec *spec =
        parse("{\"dataset\":{\"format\":\"csv\",\"train\":\"iris.csv\",\"target\":\"kind\","
              "\"upload\":\"iris\",\"shape\":4},\"batch_size\":8}");
    const struct cyx_sample_shape *sample = &spec->data.sample;
    assert_true(sample->rank == 1 && sample->dim[0] == 4);
    assert_true(sample->target == CYX_TARGET_CLASSES && sample->n_classes == 0);
    assert_string_equal(cyx_data_spec_name(&spec->data), "iris");
    assert_int_equal(cyx_job_spec_check_shared(spec, NULL), CYX_OK);
    assert_canonical(spec, "{\"batch_size\":8,\"dataset\":{\"format\":\"csv\",\"shape\":[4],"
                           "\"target\":\"kind\",\"train\":\"iris.csv\",\"upload\":\"iris\"}}");
    cyx_job_spec_destroy(spec);

    spec = parse("{\"dataset\":{\"format\":\"npz\",\"train\":\"d.npz\",\"upload\":\"d\",\"shape\":"
                 "[3,40,50],\"task\":\"numbers\",\"layout\":\"channels_last\"},\"batch_size\":8,"
                 "\"transforms\":[{\"type\":\"CenterCrop\",\"size\":32},{\"type\":\"ToTensor\"}]}");
    sample = &spec->data.sample;
    assert_true(sample->rank == 3 && sample->dim[0] == 3 && sample->dim[1] == 32 &&
                sample->dim[2] == 32);
    assert_true(sample->target == CYX_TARGET_NUMBERS && sample->n_targets == CYX_TARGETS_UNKNOWN);
    cyx_job_spec_destroy(spec);

    /* Folders of images: what the transforms make of any size is known without one. */
    spec =
        parse("{\"dataset\":{\"format\":\"image-folder\",\"train\":\"train\",\"upload\":\"f\","
              "\"channels\":1},\"batch_size\":8,\"transforms\":[{\"type\":\"Resize\",\"size\":40},"
              "{\"type\":\"RandomCrop\",\"size\":[32,24]},{\"type\":\"ToTensor\"}]}");
    sample = &spec->data.sample;
    assert_true(sample->rank == 3 && sample->dim[0] == 1 && sample->dim[1] == 32 &&
                sample->dim[2] == 24);
    cyx_job_spec_destroy(spec);

    struct cyx_error err = {0};
    spec = parse("{\"dataset\":{\"format\":\"image-folder\",\"train\":\"train\",\"upload\":\"f\"},"
                 "\"batch_size\":8,\"transforms\":[{\"type\":\"Resize\",\"size\":40},{\"type\":"
                 "\"ToTensor\"}]}");
    assert_int_equal(spec->data.sample.rank, 0);
    assert_int_equal(cyx_job_spec_check_shared(spec, &err), CYX_ERR_INVALID);
    assert_string_equal(err.pointer, "/data/dataset/shape");
    assert_non_null(strstr(err.message, "Resize to [height, width]"));
    cyx_job_spec_destroy(spec);
}

static void assert_refused(const char *dataset, const char *pointer, const char *words)
{
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    struct cyx_job_spec *spec = NULL;
    struct cyx_error err = {0};
    cyx_buf_printf(&text,
                   "{\"name\":\"d\",\"model\":{\"layers\":[{\"type\":\"Flatten\"}]},\"data\":"
                   "{\"dataset\":{%s},\"batch_size\":8},\"loss\":{\"type\":\"CrossEntropyLoss\"},"
                   "\"optimizer\":{\"type\":\"SGD\"},\"epochs\":1}",
                   dataset);
    assert_int_equal(cyx_job_spec_parse(text.data, text.length, &spec, &err), CYX_ERR_INVALID);
    assert_string_equal(err.pointer, pointer);
    if (!strstr(err.message, words))
        fail_msg("%s", err.message);
}

static void test_data_spec__an_upload_has_no_way_out(void **state)
{
    (void)state;
    static const char *const outside[] = {"/etc/passwd", "..", "../x", "a/../../x", "a/.."};
    for (size_t i = 0; i < sizeof(outside) / sizeof(outside[0]); i++) {
        CYX_CLEANUP_BUF struct cyx_buf text = {0};
        cyx_buf_printf(&text,
                       "\"format\":\"npy\",\"upload\":\"u\",\"shape\":4,\"train\":\"x\","
                       "\"targets\":\"%s\"",
                       outside[i]);
        assert_refused(text.data, "/data/dataset/targets", "within the upload");
    }
    assert_refused("\"format\":\"csv\",\"upload\":\"u\",\"train\":\"/x\",\"target\":0",
                   "/data/dataset/train", "within the upload");
    assert_refused("\"format\":\"memory\",\"upload\":\"u\"", "/data/dataset/upload", "no upload");
    assert_refused("\"format\":\"csv\",\"train\":\"x\",\"target\":0,\"shape\":4",
                   "/data/dataset/shape", "belongs to");
    assert_refused(
        "\"format\":\"csv\",\"train\":\"x\",\"target\":0,\"upload\":\"u\",\"shape\":[1,2]",
        "/data/dataset/shape", "flat");
    assert_refused(
        "\"format\":\"idx\",\"train\":\"x\",\"targets\":\"y\",\"upload\":\"u\",\"shape\":784",
        "/data/dataset/shape", "[channels, height, width]");
    assert_refused("\"format\":\"image-folder\",\"train\":\"x\",\"upload\":\"u\",\"shape\":[1,8,8]",
                   "/data/dataset/shape", "expected 3 channels");
    assert_refused(
        "\"format\":\"csv\",\"train\":\"x\",\"target\":0,\"upload\":\"u\",\"sha256\":\"AB\"",
        "/data/dataset/sha256", "64 lower-case");
    assert_refused("\"format\":\"csv\",\"train\":\"x\",\"target\":0,\"upload\":\"\"",
                   "/data/dataset/upload", "1 to 400 bytes");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_data_spec__csv_reads_every_member),
        cmocka_unit_test(test_data_spec__other_formats_have_their_defaults),
        cmocka_unit_test(test_data_spec__transforms_are_torchvisions),
        cmocka_unit_test(test_data_shape__resize_by_the_shorter_edge_is_torchvisions),
        cmocka_unit_test(test_data_spec__the_network_refuses_data_on_ones_own_machine),
        cmocka_unit_test(test_data_spec__an_upload_is_judged_by_the_shape_that_is_stated),
        cmocka_unit_test(test_data_spec__an_upload_has_no_way_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
