/* What a good job spec gives: values, defaults, the canonical form, and that the schema says the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "contract/dataset.h"
#include "contract/job_spec.h"

static struct cyx_job_spec *parse(const char *text)
{
    struct cyx_job_spec *spec = NULL;
    struct cyx_error err = {0};
    if (cyx_job_spec_parse(text, strlen(text), &spec, &err) != CYX_OK)
        fail_msg("%s: %s", err.pointer, err.message);
    return spec;
}

static char *read_file(const char *name)
{
    CYX_CLEANUP_BUF struct cyx_buf path = {0};
    struct cyx_buf text = {0};
    struct cyx_error err = {0};
    cyx_buf_printf(&path, "%s/docs/%s", CYX_SOURCE_DIR, name);
    if (cyx_buf_read_file(&text, path.data, 1 << 20, &err) != CYX_OK)
        fail_msg("%s", err.message);
    return cyx_buf_steal(&text);
}

static void assert_stable(const struct cyx_job_spec *spec)
{
    struct cyx_job_spec *again = parse(spec->canonical);
    assert_string_equal(spec->canonical, again->canonical);
    cyx_job_spec_destroy(again);
}

static void test_job_spec__examples_parse_and_their_canonical_form_is_stable(void **state)
{
    (void)state;
    static const char *const names[] = {"examples/fashion-cnn.json", "examples/mnist-cnn.json",
                                        "examples/mnist-mlp.json", "examples/fashion-resnet.json",
                                        "examples/fashion-autoencoder.json"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char *text = read_file(names[i]);
        struct cyx_job_spec *spec = parse(text);
        assert_stable(spec);
        cyx_job_spec_destroy(spec);
        free(text);
    }
}

/* The least that a job must say. */
static const char least[] =
    "{\"name\":\"least\",\"model\":{\"layers\":[{\"type\":\"Flatten\"},"
    "{\"type\":\"Linear\",\"out_features\":10}]},"
    "\"data\":{\"dataset\":\"mnist\",\"batch_size\":32},"
    "\"loss\":{\"type\":\"CrossEntropyLoss\"},\"optimizer\":{\"type\":\"SGD\"},\"epochs\":1}";

static void test_job_spec__defaults_are_those_of_pytorch(void **state)
{
    (void)state;
    struct cyx_job_spec *spec = parse(least);
    assert_string_equal(spec->name, "least");
    assert_string_equal(spec->layers[0].name, "0");
    assert_string_equal(spec->layers[0].inputs[0], "input");
    assert_int_equal(spec->layers[0].input_index[0], -1);
    assert_int_equal(spec->layers[0].flatten.start_dim, 1);
    assert_string_equal(spec->layers[1].inputs[0], "0");
    assert_int_equal(spec->layers[1].input_index[0], 0);
    assert_int_equal(spec->layers[1].linear.in_features, 0);
    assert_true(spec->layers[1].linear.bias);
    assert_int_equal(spec->data.n_transforms, 1);
    assert_int_equal(spec->data.transforms[0].type, CYX_TRANSFORM_TO_TENSOR);
    assert_true(spec->data.shuffle);
    assert_false(spec->data.drop_last);
    assert_true(spec->data.validation_part == 0 && spec->loss.label_smoothing == 0);
    assert_true(spec->optimizer.lr == 1e-3 && spec->optimizer.weight_decay == 0);
    assert_true(spec->optimizer.momentum == 0 && spec->optimizer.dampening == 0);
    assert_false(spec->optimizer.nesterov);
    assert_int_equal(spec->scheduler.type, CYX_SCHEDULER_NONE);
    assert_int_equal(spec->seed, 0);
    assert_true(spec->metric_accuracy);
    assert_string_equal(spec->resources.backend, "auto");
    assert_int_equal(spec->priority, CYX_PRIORITY_NORMAL);
    assert_true(spec->budget_base_units == 10000000000);
    assert_int_equal(spec->checkpoint_steps, 200);
    assert_int_equal(spec->resources.labels.n + spec->schedule.after.n, 0);
    assert_int_equal(spec->resources.max_price_per_hour_base_units, 0);
    assert_int_equal(spec->schedule.deadline_ms, 0);
    assert_int_equal(spec->schedule.retries, 2);
    assert_int_equal(spec->schedule.array, 1);
    assert_true(spec->resources.nodes == 1 && spec->sync_steps == 16);
    assert_string_equal(spec->dataset_hash, cyx_dataset_find("mnist")->fingerprint);
    cyx_job_spec_destroy(spec);
}

static void test_job_spec__canonical_form_leaves_defaults_out(void **state)
{
    (void)state;
    struct cyx_job_spec *plain = parse(least);
    /* The same job, every default written out and keys in another order. */
    struct cyx_job_spec *wordy = parse(
        "{\"epochs\": 1.0, \"$schema\": \"./job.schema.json\", \"seed\": 0, \"priority\": "
        "\"normal\","
        " \"budget\": \"10.000 CYX\", \"metrics\": [\"accuracy\"], \"checkpoint\": "
        "{\"every_steps\": 200},"
        " \"resources\": {\"backend\": \"auto\", \"threads\": 0, \"device_memory_bytes\": 0,"
        " \"labels\": [], \"host_memory_bytes\": 0, \"min_reputation\": 0,"
        " \"nodes\": 1}, \"sync\": {},"
        " \"schedule\": {\"after\": [], \"retries\": 2, \"array\": 1},"
        " \"optimizer\": {\"nesterov\": false, \"dampening\": 0, \"momentum\": 0.0, "
        "\"weight_decay\": 0,"
        "                \"lr\": 1e-3, \"type\": \"SGD\"},"
        " \"loss\": {\"label_smoothing\": 0, \"type\": \"CrossEntropyLoss\"},"
        " \"data\": {\"drop_last\": false, \"shuffle\": true, \"split\": {\"validation\": 0},"
        "            \"transforms\": [{\"type\": \"ToTensor\"}], \"batch_size\": 32, \"dataset\": "
        "\"mnist\"},"
        " \"model\": {\"layers\": ["
        "   {\"inputs\": [\"input\"], \"name\": \"0\", \"start_dim\": 1, \"type\": \"Flatten\"},"
        "   {\"inputs\": [\"0\"], \"bias\": true, \"out_features\": 10, \"type\": \"Linear\"}]},"
        " \"name\": \"least\"}");
    assert_string_equal(wordy->canonical, plain->canonical);
    assert_string_equal(
        plain->canonical,
        "{\"data\":{\"batch_size\":32,\"dataset\":\"mnist\"},\"epochs\":1,"
        "\"loss\":{\"type\":\"CrossEntropyLoss\"},\"model\":{\"layers\":[{\"type\":\"Flatten\"},"
        "{\"out_features\":10,\"type\":\"Linear\"}]},\"name\":\"least\",\"optimizer\":{\"type\":"
        "\"SGD\"}}");
    cyx_job_spec_destroy(plain);
    cyx_job_spec_destroy(wordy);
}

static void test_job_spec__reads_every_member(void **state)
{
    (void)state;
    struct cyx_job_spec *spec = parse(
        "{\"name\":\"Caf\\u00e9 \\ud83d\\ude00\",\"model\":{\"layers\":["
        "{\"type\":\"Conv2d\",\"name\":\"a\",\"in_channels\":1,\"out_channels\":6,\"kernel_size\":["
        "5,3],"
        "\"stride\":[2,1],\"padding\":[2,0],\"dilation\":[1,2],\"groups\":1,\"bias\":false},"
        "{\"type\":\"Conv2d\",\"out_channels\":6,\"kernel_size\":3,\"padding\":\"same\",\"groups\":"
        "3},"
        "{\"type\":\"MaxPool2d\",\"kernel_size\":[3,2],\"stride\":2,\"padding\":1},"
        "{\"type\":\"MaxPool2d\",\"kernel_size\":[2,1]},"
        "{\"type\":\"ReLU\",\"name\":\"b\"},{\"type\":\"Dropout\",\"p\":0.25,\"inputs\":[\"a\"]},"
        "{\"type\":\"Flatten\",\"start_dim\":2,\"inputs\":[\"b\"]}]},"
        "\"data\":{\"dataset\":\"fashion-mnist\",\"batch_size\":100,\"shuffle\":false,\"drop_"
        "last\":true,"
        "\"split\":{\"validation\":0.1},\"transforms\":[{\"type\":\"ToTensor\"},"
        "{\"type\":\"Normalize\",\"mean\":[0.25],\"std\":0.5}]},"
        "\"loss\":{\"type\":\"CrossEntropyLoss\",\"label_smoothing\":0.1},"
        "\"optimizer\":{\"type\":\"AdamW\",\"lr\":0.01,\"betas\":[0.8,0.99],\"eps\":1e-6,"
        "\"weight_decay\":0.1},"
        "\"scheduler\":{\"type\":\"CosineAnnealingLR\",\"T_max\":50,\"eta_min\":1e-5,"
        "\"interval\":\"step\"},"
        "\"epochs\":7,\"seed\":9007199254740991,\"metrics\":[],\"priority\":\"critical\","
        "\"resources\":{\"backend\":\"vulkan\",\"device_memory_bytes\":1000000000,\"threads\":2,"
        "\"host_memory_bytes\":5,\"labels\":[\"disk=ssd\",\"lab\"],\"avoid_labels\":[\"spot\"],"
        "\"regions\":[\"eu-west\"],\"avoid_regions\":[\"eu-west/3\"],"
        "\"max_price_per_hour\":\"2.50 CYX\",\"min_reputation\":0.75,"
        "\"nodes\":3},\"sync\":{\"every_steps\":4},"
        "\"schedule\":{\"after\":[\"01935b1e-0000-7000-8000-000000000001\"],"
        "\"deadline\":\"2030-01-31T12:00:00Z\",\"retries\":0,\"array\":3},"
        "\"budget\":\"0.000000001 CYX\",\"checkpoint\":{\"every_steps\":5}}");
    const struct cyx_conv2d_spec *conv = &spec->layers[0].conv2d;
    assert_string_equal(spec->name, "Caf\xC3\xA9 \xF0\x9F\x98\x80");
    assert_int_equal(spec->n_layers, 7);
    assert_true(conv->in_channels == 1 && conv->out_channels == 6 && !conv->bias);
    assert_true(conv->kernel_size[0] == 5 && conv->kernel_size[1] == 3);
    assert_true(conv->stride[0] == 2 && conv->stride[1] == 1);
    assert_true(conv->padding[0] == 2 && conv->padding[1] == 0 && !conv->padding_same);
    assert_true(conv->dilation[0] == 1 && conv->dilation[1] == 2);
    assert_true(spec->layers[1].conv2d.padding_same && spec->layers[1].conv2d.groups == 3);
    assert_int_equal(spec->layers[2].max_pool2d.stride[1], 2);
    assert_int_equal(spec->layers[3].max_pool2d.stride[0], 2);
    assert_int_equal(spec->layers[3].max_pool2d.stride[1], 1);
    assert_int_equal(spec->layers[5].input_index[0], 0);
    assert_true(spec->layers[5].dropout.p == 0.25);
    assert_int_equal(spec->layers[6].input_index[0], 4);
    assert_int_equal(spec->layers[6].flatten.start_dim, 2);
    assert_true(spec->data.validation_part == 0.1 && spec->data.drop_last && !spec->data.shuffle);
    assert_int_equal(spec->data.transforms[1].n_channels, 1);
    assert_true(spec->data.transforms[1].mean[0] == 0.25 && spec->data.transforms[1].std[0] == 0.5);
    assert_true(spec->loss.label_smoothing == 0.1);
    assert_int_equal(spec->optimizer.type, CYX_OPTIMIZER_ADAMW);
    assert_true(spec->optimizer.betas[0] == 0.8 && spec->optimizer.betas[1] == 0.99);
    assert_true(spec->optimizer.eps == 1e-6 && spec->optimizer.weight_decay == 0.1);
    assert_int_equal(spec->scheduler.type, CYX_SCHEDULER_COSINE_ANNEALING_LR);
    assert_true(spec->scheduler.t_max == 50 && spec->scheduler.per_step);
    assert_true(spec->seed == 9007199254740991 && !spec->metric_accuracy);
    assert_string_equal(spec->resources.backend, "vulkan");
    const struct cyx_resources_spec *wants = &spec->resources;
    assert_true(wants->host_memory_bytes == 5 && wants->labels.n == 2);
    assert_string_equal(wants->labels.items[0], "disk=ssd");
    assert_string_equal(wants->avoid_labels.items[0], "spot");
    assert_string_equal(wants->regions.items[0], "eu-west");
    assert_string_equal(wants->avoid_regions.items[0], "eu-west/3");
    assert_true(wants->max_price_per_hour_base_units == 2500000000 &&
                wants->min_reputation == 0.75);
    assert_string_equal(spec->schedule.after.items[0], "01935b1e-0000-7000-8000-000000000001");
    assert_true(spec->schedule.deadline_ms == INT64_C(1896091200000));
    assert_true(spec->schedule.retries == 0 && spec->schedule.array == 3);
    assert_true(wants->nodes == 3 && spec->sync_steps == 4);
    assert_non_null(strstr(spec->canonical, "\"deadline\":\"2030-01-31T12:00:00.000Z\""));
    assert_true(spec->budget_base_units == 1 && spec->checkpoint_steps == 5);
    assert_string_equal(cyx_priority_name(spec->priority), "critical");
    assert_stable(spec);
    cyx_job_spec_destroy(spec);
}

static void test_job_spec__numbers_keep_their_exact_value_in_the_canonical_form(void **state)
{
    (void)state;
    static const char *const rates[] = {"0.1", "0.30000000000000004",   "1e-300",    "3",
                                        "1e5", "0.0020000000000000002", "123456.789"};
    for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
        CYX_CLEANUP_BUF struct cyx_buf text = {0};
        cyx_buf_printf(&text, "%.*s,\"lr\":%s},\"epochs\":1}",
                       (int)(strstr(least, "},\"epochs\"") - least), least, rates[i]);
        struct cyx_job_spec *spec = parse(text.data), *again = parse(spec->canonical);
        assert_true(spec->optimizer.lr == strtod(rates[i], NULL));
        assert_true(spec->optimizer.lr == again->optimizer.lr);
        cyx_job_spec_destroy(spec);
        cyx_job_spec_destroy(again);
    }
}

/* To renew the file: CYX_UPDATE_FILES=1 contract_job_spec_test */
static void test_job_schema__file_is_what_the_tables_say(void **state)
{
    (void)state;
    CYX_CLEANUP_BUF struct cyx_buf expected = {0};
    char *schema = cyx_job_schema_text();
    assert_non_null(schema);
    cyx_buf_printf(&expected, "%s\n", schema);
    free(schema);
    if (getenv("CYX_UPDATE_FILES"))
        assert_int_equal(cyx_file_write_atomic(CYX_SOURCE_DIR "/docs/contracts/job.schema.json",
                                               expected.data, expected.length, 0644, NULL),
                         CYX_OK);
    char *file = read_file("contracts/job.schema.json");
    assert_string_equal(file, expected.data);
    free(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_job_spec__examples_parse_and_their_canonical_form_is_stable),
        cmocka_unit_test(test_job_spec__defaults_are_those_of_pytorch),
        cmocka_unit_test(test_job_spec__canonical_form_leaves_defaults_out),
        cmocka_unit_test(test_job_spec__reads_every_member),
        cmocka_unit_test(test_job_spec__numbers_keep_their_exact_value_in_the_canonical_form),
        cmocka_unit_test(test_job_schema__file_is_what_the_tables_say),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
