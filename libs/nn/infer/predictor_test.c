/*
 * Trained models at work, on the real Fashion-MNIST: a model file says all that is needed to use it, evaluation gives
 * the numbers that training reported, and a file that does not fit is refused by the names of its tensors.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/version.h"
#include "contract/dataset.h"
#include "nn/format/model_file.h"
#include "nn/infer/evaluate.h"
#include "nn/test_fashion.h"
#include "nn/test_folder.h"
#include "nn/test_spec.h"
#include "nn/train/trainer.h"

enum { PIXELS = 784, CLASSES = 10 };

/* Dropout, a last batch that is smaller (10,000 / 384), names and indices as layer names. */
static const char spec_text[] =
    "{\"name\":\"small\",\"model\":{\"layers\":[{\"type\":\"MaxPool2d\",\"kernel_size\":4},"
    "{\"type\":\"Conv2d\",\"name\":\"conv\",\"out_channels\":5,\"kernel_size\":3,\"padding\":1},"
    "{\"type\":\"ReLU\"},{\"type\":\"Dropout\",\"p\":0.2},{\"type\":\"Flatten\"},"
    "{\"type\":\"Linear\",\"name\":\"fc\",\"out_features\":10}]},"
    "\"data\":{\"dataset\":\"fashion-mnist\",\"batch_size\":384,\"transforms\":["
    "{\"type\":\"ToTensor\"},{\"type\":\"Normalize\",\"mean\":0.286,\"std\":0.353}]},"
    "\"loss\":{\"type\":\"CrossEntropyLoss\"},"
    "\"optimizer\":{\"type\":\"AdamW\",\"lr\":0.01},\"epochs\":1,\"seed\":9}";

static struct cyx_train_result trained;

static struct cyx_predictor *open_model(const char *path, const struct cyx_job_spec *spec)
{
    struct cyx_predictor *predictor = NULL;
    struct cyx_error error = {0};
    const struct cyx_predictor_options options = {
        .model_path = path, .spec = spec, .backend = "cpu", .device.threads = 2};
    if (cyx_predictor_create(&options, &predictor, &error) != CYX_OK)
        fail_msg("%s %s", error.pointer, error.message);
    return predictor;
}

/* ---- the test part ---- */

struct part {
    struct cyx_data *data;
    struct cyx_pipeline *pipeline;
    struct cyx_loader *loader;
};

static void open_part(struct part *part, const struct cyx_job_spec *spec, int64_t batch)
{
    const struct cyx_data_options where = {.data_dir = path_of("data")};
    assert_int_equal(cyx_data_open(&spec->data, &where, &part->data, NULL), CYX_OK);
    assert_int_equal(cyx_pipeline_create(part->data, &spec->data, false, 0, &part->pipeline, NULL),
                     CYX_OK);
    const struct cyx_loader_options options = {
        .data = part->data, .part = &part->data->test, .pipeline = part->pipeline, .batch = batch};
    assert_int_equal(cyx_loader_create(&options, &part->loader, NULL), CYX_OK);
}

static void close_part(struct part *part)
{
    cyx_loader_destroy(part->loader);
    cyx_pipeline_destroy(part->pipeline);
    cyx_data_close(part->data);
}

/* The first `count` images of the test part, as the model wants them. */
static float *first_images(const struct cyx_job_spec *spec, int64_t count)
{
    struct part part;
    struct cyx_batch batch;
    float *images = calloc((size_t)count * PIXELS, sizeof(*images));
    assert_non_null(images);
    open_part(&part, spec, count);
    cyx_loader_start(part.loader, 0, 0);
    assert_true(cyx_loader_next(part.loader, &batch));
    memcpy(images, batch.input, (size_t)count * PIXELS * sizeof(*images));
    close_part(&part);
    return images;
}

/* ---- files ---- */

struct change {
    const char *from, *to;           /* a tensor's new name; `to` NULL leaves it out */
    enum cyx_safetensors_dtype kind; /* of all tensors; F32 when BOOL (0) */
    bool bare;                       /* without metadata, as PyTorch's own */
    bool counters;                   /* with a tensor of BatchNorm's, and one that is none's */
};

static void convert_into(const float *from, enum cyx_safetensors_dtype kind, size_t count, void *to)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &from[i], sizeof bits);
        if (kind == CYX_ST_F64)
            ((double *)to)[i] = from[i];
        else if (kind == CYX_ST_BF16)
            ((uint16_t *)to)[i] = (uint16_t)(bits >> 16);
        else
            ((float *)to)[i] = from[i];
    }
}

/* A copy of the trained model with one thing changed. */
static const char *changed_copy(const struct change *change)
{
    const char *path = path_of("changed.safetensors");
    CYX_CLEANUP_BUF struct cyx_buf bytes = {0};
    struct cyx_safetensors *file = NULL;
    struct cyx_safetensors_entry entries[8] = {0};
    enum cyx_safetensors_dtype kind = change->kind ? change->kind : CYX_ST_F32;
    size_t n = 0;
    const int64_t counter = 7;
    assert_int_equal(cyx_safetensors_open(trained.model_path, &file, NULL), CYX_OK);
    for (size_t t = 0; t < file->n_tensors; t++) {
        const struct cyx_safetensors_tensor *tensor = &file->tensors[t];
        bool renamed = change->from && strcmp(tensor->name, change->from) == 0;
        size_t count = (tensor->end - tensor->begin) / sizeof(float);
        float *data = malloc(count * sizeof(*data));
        void *converted = malloc(count * sizeof(double));
        assert_true(data && converted);
        assert_int_equal(cyx_safetensors_read_f32(file, tensor->name, data, count, NULL), CYX_OK);
        convert_into(data, kind, count, converted);
        free(data);
        entries[n] = (struct cyx_safetensors_entry){.name = renamed ? change->to : tensor->name,
                                                    .dtype = kind,
                                                    .rank = tensor->rank,
                                                    .data = converted};
        memcpy(entries[n].shape, tensor->shape, sizeof entries[n].shape);
        if (entries[n].name)
            n++;
        else
            free(converted);
    }
    size_t n_own = n;
    if (change->counters)
        entries[n++] = (struct cyx_safetensors_entry){
            .name = "conv.num_batches_tracked", .dtype = CYX_ST_I64, .data = &counter};
    assert_int_equal(cyx_safetensors_encode(entries, n, file->metadata,
                                            change->bare ? 0 : file->n_metadata, &bytes, NULL),
                     CYX_OK);
    assert_int_equal(cyx_file_write_atomic(path, bytes.data, bytes.length, 0644, NULL), CYX_OK);
    for (size_t i = 0; i < n_own; i++)
        free((void *)entries[i].data);
    cyx_safetensors_close(file);
    return path;
}

/* ---- tests ---- */

static void test_model_file__says_what_it_is(void **state)
{
    (void)state;
    struct cyx_safetensors *file = NULL;
    struct cyx_model_about about;
    assert_int_equal(cyx_safetensors_open(trained.model_path, &file, NULL), CYX_OK);
    assert_string_equal(cyx_safetensors_metadata(file, "format"), "pt");
    assert_string_equal(cyx_safetensors_metadata(file, "cyxwiz.normalize"),
                        "{\"mean\":[0.286],\"std\":[0.353]}");
    assert_int_equal(cyx_model_about_read(file, &about, NULL), CYX_OK);
    assert_string_equal(about.version, cyx_version());
    struct cyx_job_spec *spec = parse(spec_text);
    assert_string_equal(about.spec, spec->canonical);
    cyx_job_spec_destroy(spec);
    assert_int_equal(about.n_classes, CLASSES);
    assert_string_equal(about.classes[0], "T-shirt/top");
    const struct cyx_sample_shape *sample = &about.sample;
    assert_int_equal(sample->rank, 3);
    assert_true(sample->dim[0] == 1 && sample->dim[1] == 28 && sample->dim[2] == 28);
    assert_true(sample->target == CYX_TARGET_CLASSES && sample->n_classes == CLASSES);
    cyx_model_about_finish(&about);
    cyx_safetensors_close(file);
}

static void test_model_file__what_is_damaged_is_refused(void **state)
{
    (void)state;
    static const struct cyx_safetensors_pair pairs[] = {
        {"cyxwiz.classes", "[\"a\",1]"},
        {"cyxwiz.classes", "{}"},
        {"cyxwiz.classes", "[\"a\""},
        {"cyxwiz.sample", "[1,2,3]"},
        {"cyxwiz.sample", "{\"shape\":[1,2,3,4],\"n_classes\":2}"},
        {"cyxwiz.sample", "{\"shape\":[],\"n_classes\":2}"},
        {"cyxwiz.sample", "{\"shape\":[0],\"n_classes\":2}"},
        {"cyxwiz.sample", "{\"shape\":[\"1\"],\"n_classes\":2}"},
        {"cyxwiz.sample", "{\"shape\":[4000000000],\"n_classes\":2}"},
        {"cyxwiz.sample", "{\"shape\":[28]}"},
        {"cyxwiz.sample", "{\"shape\":[28],\"n_targets\":-1}"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        CYX_CLEANUP_BUF struct cyx_buf bytes = {0};
        struct cyx_safetensors *file = NULL;
        struct cyx_model_about about;
        struct cyx_error error = {0};
        assert_int_equal(cyx_safetensors_encode(NULL, 0, &pairs[i], 1, &bytes, NULL), CYX_OK);
        assert_int_equal(cyx_safetensors_parse(bytes.data + 8, bytes.length - 8, 0, &file, NULL),
                         CYX_OK);
        assert_int_equal(cyx_model_about_read(file, &about, &error), CYX_ERR_CORRUPT);
        assert_non_null(strstr(error.message, pairs[i].key));
        cyx_safetensors_close(file);
    }
}

static void test_evaluate__gives_what_training_reported(void **state)
{
    (void)state;
    struct cyx_predictor *predictor = open_model(trained.model_path, NULL);
    struct cyx_evaluation evaluation = {0};
    struct part part;
    open_part(&part, cyx_predictor_spec(predictor), 384);
    assert_int_equal(cyx_evaluate(predictor, part.loader, NULL, &evaluation, NULL), CYX_OK);
    assert_true(evaluation.loss == trained.test_loss);
    assert_true(evaluation.accuracy == trained.test_accuracy);
    assert_int_equal(evaluation.count, 10000);
    assert_int_equal(evaluation.n_classes, CLASSES);
    int64_t correct = 0, all = 0;
    for (int64_t c = 0; c < CLASSES; c++) {
        assert_int_equal(cyx_evaluation_of_class(&evaluation, c), 1000); /* of the data set */
        correct += evaluation.confusion[c * CLASSES + c];
        all += cyx_evaluation_taken_for(&evaluation, c);
    }
    assert_int_equal(correct, evaluation.correct);
    assert_int_equal(all, 10000);
    assert_true(evaluation.accuracy > 0.5);
    cyx_evaluation_finish(&evaluation);

    const struct cyx_data_options where = {.data_dir = path_of("data")};
    const struct cyx_job_spec *spec = cyx_predictor_spec(predictor);
    assert_int_equal(cyx_evaluate_data(predictor, &spec->data, &where, NULL, &evaluation, NULL),
                     CYX_OK);
    assert_true(evaluation.loss == trained.test_loss);
    cyx_evaluation_finish(&evaluation);

    atomic_bool cancel = true;
    assert_int_equal(cyx_evaluate(predictor, part.loader, &cancel, &evaluation, NULL),
                     CYX_ERR_CANCELLED);
    assert_null(evaluation.confusion);
    close_part(&part);
    cyx_predictor_destroy(predictor);
}

/* Class 0 counts neither in the loss nor in the confusion. */
static void test_evaluate__leaves_out_what_the_loss_ignores(void **state)
{
    (void)state;
    char text[sizeof spec_text + 32];
    const char *end = strstr(spec_text, "CrossEntropyLoss\"") + strlen("CrossEntropyLoss\"");
    snprintf(text, sizeof text, "%.*s,\"ignore_index\":0%s", (int)(end - spec_text), spec_text,
             end);
    struct cyx_job_spec *spec = parse(text);
    struct cyx_predictor *predictor = open_model(trained.model_path, spec);
    struct cyx_evaluation evaluation = {0};
    const struct cyx_data_options where = {.data_dir = path_of("data")};
    assert_int_equal(cyx_evaluate_data(predictor, &spec->data, &where, NULL, &evaluation, NULL),
                     CYX_OK);
    assert_int_equal(evaluation.count, 9000);
    assert_int_equal(cyx_evaluation_of_class(&evaluation, 0), 0);
    assert_int_equal(cyx_evaluation_of_class(&evaluation, 1), 1000);
    int64_t correct = 0;
    for (int64_t c = 0; c < CLASSES; c++)
        correct += evaluation.confusion[c * CLASSES + c];
    assert_int_equal(correct, evaluation.correct);
    cyx_evaluation_finish(&evaluation);
    cyx_predictor_destroy(predictor);
    cyx_job_spec_destroy(spec);
}

static void test_predictor__outputs_do_not_depend_on_the_batch(void **state)
{
    (void)state;
    enum { COUNT = 1000 }; /* two whole batches and a rest */
    struct cyx_predictor *predictor = open_model(trained.model_path, NULL);
    float *images = first_images(cyx_predictor_spec(predictor), COUNT);
    static float whole[COUNT * CLASSES], parts[COUNT * CLASSES];
    assert_int_equal(cyx_predictor_kind(predictor), CYX_OUTPUT_CLASSES);
    assert_int_equal(cyx_shape_count(cyx_predictor_input_shape(predictor)), PIXELS);
    assert_int_equal(cyx_shape_count(cyx_predictor_output_shape(predictor)), CLASSES);
    assert_string_equal(cyx_predictor_class(predictor, 9), "Ankle boot");
    assert_int_equal(cyx_predictor_run(predictor, images, COUNT, whole, NULL), CYX_OK);
    for (int64_t row = 0, step = 1; row < COUNT; row += step, step = step % 7 + 1) {
        int64_t rows = step < COUNT - row ? step : COUNT - row;
        assert_int_equal(
            cyx_predictor_run(predictor, images + row * PIXELS, rows, parts + row * CLASSES, NULL),
            CYX_OK);
    }
    for (int i = 0; i < COUNT * CLASSES; i++)
        assert_true(fabsf(whole[i] - parts[i]) <= 1e-4f + 1e-5f * fabsf(whole[i]));
    free(images);
    cyx_predictor_destroy(predictor);
}

static void test_predictor__probabilities_are_the_softmax(void **state)
{
    (void)state;
    struct cyx_predictor *predictor = open_model(trained.model_path, NULL);
    float output[3 * CLASSES] = {0}, got[3 * CLASSES];
    output[1] = 1000; /* no overflow */
    output[CLASSES + 2] = (float)log(2);
    output[2 * CLASSES + 3] = -1000;
    cyx_predictor_probabilities(predictor, output, 3, got);
    assert_true(got[1] == 1 && got[0] == 0);
    assert_true(fabs(got[CLASSES + 2] - 2.0 / 11) < 1e-6);
    assert_true(fabs(got[CLASSES] - 1.0 / 11) < 1e-6);
    assert_true(got[2 * CLASSES + 3] == 0 && fabs(got[2 * CLASSES] - 1.0 / 9) < 1e-6);
    cyx_predictor_probabilities(predictor, output, 3, output); /* in place */
    assert_memory_equal(output, got, sizeof got);
    cyx_predictor_destroy(predictor);
}

static void test_predictor__weights_must_fit_exactly(void **state)
{
    (void)state;
    static const char wider[] =
        "{\"name\":\"wider\",\"model\":{\"layers\":[{\"type\":\"MaxPool2d\",\"kernel_size\":4},"
        "{\"type\":\"Conv2d\",\"name\":\"conv\",\"out_channels\":6,\"kernel_size\":3,\"padding\":1}"
        ","
        "{\"type\":\"Flatten\"},{\"type\":\"Linear\",\"name\":\"fc\",\"out_features\":10}]},"
        "\"data\":{\"dataset\":\"fashion-mnist\",\"batch_size\":32},"
        "\"loss\":{\"type\":\"CrossEntropyLoss\"},\"optimizer\":{\"type\":\"SGD\"},\"epochs\":1}";
    static const struct {
        struct change change;
        const char *spec, *message;
    } cases[] = {
        {{.from = "fc.bias"}, NULL, "missing fc.bias"},
        {{.from = "fc.bias", .to = "head.bias"}, NULL, "missing fc.bias; unexpected head.bias"},
        {{.counters = true}, NULL, "unexpected conv.num_batches_tracked"},
        {{.bare = true}, NULL, "give the spec"},
        {{0}, wider, "conv.weight is (5, 1, 3, 3) where the spec wants (6, 1, 3, 3)"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *path = changed_copy(&cases[i].change);
        struct cyx_job_spec *spec = cases[i].spec ? parse(cases[i].spec) : NULL;
        const struct cyx_predictor_options options = {
            .model_path = path, .spec = spec, .backend = "cpu"};
        struct cyx_predictor *predictor = NULL;
        struct cyx_error error = {0};
        assert_int_equal(cyx_predictor_create(&options, &predictor, &error), CYX_ERR_INVALID);
        if (!strstr(error.message, cases[i].message) || !strstr(error.message, path))
            fail_msg("\"%s\" lacks \"%s\"", error.message, cases[i].message);
        assert_null(predictor);
        cyx_job_spec_destroy(spec);
    }
    struct cyx_predictor *predictor = NULL;
    const struct cyx_predictor_options none = {.model_path = path_of("none")};
    assert_int_equal(cyx_predictor_create(&none, &predictor, NULL), CYX_ERR_NOT_FOUND);
    const struct cyx_predictor_options text = {
        .model_path = path_of("data/fashion-mnist/t10k-labels-idx1-ubyte")};
    assert_int_equal(cyx_predictor_create(&text, &predictor, NULL), CYX_ERR_CORRUPT);
}

/* A state_dict without metadata, as F64 (exact) and BF16 (eight bits of mantissa), with the spec beside it. */
static void test_predictor__takes_a_bare_state_dict_and_other_floats(void **state)
{
    (void)state;
    static const struct {
        enum cyx_safetensors_dtype kind;
        double tolerance;
    } cases[] = {{CYX_ST_F32, 0}, {CYX_ST_F64, 0}, {CYX_ST_BF16, 0.05}};
    enum { COUNT = 8 };
    float expected[COUNT * CLASSES], got[COUNT * CLASSES];
    struct cyx_job_spec *spec = parse(spec_text);
    float *images = first_images(spec, COUNT);
    struct cyx_predictor *predictor = open_model(trained.model_path, NULL);
    assert_int_equal(cyx_predictor_run(predictor, images, COUNT, expected, NULL), CYX_OK);
    cyx_predictor_destroy(predictor);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        predictor =
            open_model(changed_copy(&(struct change){.kind = cases[i].kind, .bare = true}), spec);
        assert_string_equal(cyx_predictor_class(predictor, 1), "Trouser");
        assert_int_equal(cyx_predictor_run(predictor, images, COUNT, got, NULL), CYX_OK);
        double largest = 0, off = 0;
        for (int k = 0; k < COUNT * CLASSES; k++) {
            largest = fmax(largest, fabsf(expected[k]));
            off = fmax(off, fabsf(got[k] - expected[k]));
        }
        assert_true(off <= cases[i].tolerance * largest);
        assert_true(cases[i].kind != CYX_ST_BF16 || off > 0);
        cyx_predictor_destroy(predictor);
    }
    free(images);
    cyx_job_spec_destroy(spec);
}

/* ---- the whole ---- */

static int set_up(void **state)
{
    (void)state;
    struct cyx_job_spec *spec = parse(spec_text);
    struct cyx_error error = {0};
    const struct cyx_train_options options = {.spec = spec,
                                              .data_dir = path_of("data"),
                                              .output_dir = path_of("out"),
                                              .backend = "cpu",
                                              .device.threads = 2};
    if (cyx_train(&options, &trained, &error) != CYX_OK)
        fail_msg("%s %s", error.pointer, error.message);
    cyx_job_spec_destroy(spec);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model_file__says_what_it_is),
        cmocka_unit_test(test_model_file__what_is_damaged_is_refused),
        cmocka_unit_test(test_evaluate__gives_what_training_reported),
        cmocka_unit_test(test_evaluate__leaves_out_what_the_loss_ignores),
        cmocka_unit_test(test_predictor__outputs_do_not_depend_on_the_batch),
        cmocka_unit_test(test_predictor__probabilities_are_the_softmax),
        cmocka_unit_test(test_predictor__weights_must_fit_exactly),
        cmocka_unit_test(test_predictor__takes_a_bare_state_dict_and_other_floats),
    };
    if (access(FASHION_PACKAGE, R_OK) != 0) {
        printf("SKIP: %s is missing: install Debian's package dataset-fashion-mnist\n",
               FASHION_PACKAGE);
        return 77;
    }
    if (!folder_make("predictor") || !fashion_unpack(path_of("data")))
        return 1;
    int failed = cmocka_run_group_tests(tests, set_up, NULL);
    return folder_remove() ? failed : 1;
}
