/* What a bad job spec gets: the JSON Pointer to the place and a sentence that helps. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <jansson.h>

#include "base/buf.h"
#include "contract/job_spec.h"

static const char good[] =
    "{\"name\":\"good\",\"model\":{\"layers\":["
    "{\"type\":\"Conv2d\",\"name\":\"conv1\",\"out_channels\":8,\"kernel_size\":3},"
    "{\"type\":\"MaxPool2d\",\"kernel_size\":2},"
    "{\"type\":\"Flatten\"},"
    "{\"type\":\"Dropout\",\"p\":0.1},"
    "{\"type\":\"Linear\",\"name\":\"fc\",\"out_features\":10}]},"
    "\"data\":{\"dataset\":\"mnist\",\"batch_size\":32,\"transforms\":[{\"type\":\"ToTensor\"},"
    "{\"type\":\"Normalize\",\"mean\":0.1,\"std\":0.3}]},"
    "\"loss\":{\"type\":\"CrossEntropyLoss\"},"
    "\"optimizer\":{\"type\":\"AdamW\"},"
    "\"scheduler\":{\"type\":\"StepLR\",\"step_size\":1},"
    "\"epochs\":1}";

/* The good spec with one place changed: `value` is JSON, NULL takes the member out. */
static const struct {
    const char *place, *value, *pointer, *message;
} cases[] = {
    /* unknown and missing members */
    {"/epoch", "3", "/epoch", "did you mean \"epochs\"?"},
    {"/colour", "3", "/colour", "the job has no member \"colour\"; known: $schema, name, model"},
    {"/a~1b~0c", "3", "/a~1b~0c", "no member \"a/b~c\""},
    {"/data/batchsize", "3", "/data/batchsize", "did you mean \"batch_size\"?"},
    {"/optimizer/learning_rate", "3", "/optimizer/learning_rate", "did you mean \"lr\"?"},
    {"/model/layers/0/filters", "3", "/model/layers/0/filters", "did you mean \"out_channels\"?"},
    {"/model/layers/0/Kernel-Size", "3", "/model/layers/0/Kernel-Size", "\"kernel_size\"?"},
    {"/optimizer/momentum", "0.9", "/optimizer/momentum", "AdamW has no member \"momentum\""},
    {"/name", NULL, "", "the job needs the member \"name\""},
    {"/epochs", NULL, "", "the job needs the member \"epochs\""},
    {"/loss", NULL, "", "the job needs the member \"loss\""},
    {"/data/dataset", NULL, "/data", "data needs the member \"dataset\""},
    {"/model/layers/4/out_features", NULL, "/model/layers/4",
     "Linear needs the member \"out_features\""},
    {"/model/layers/4/type", NULL, "/model/layers/4", "\"type\" that names the layer type"},
    {"/scheduler/step_size", NULL, "/scheduler", "StepLR needs the member \"step_size\""},
    /* wrong types */
    {"/name", "3", "/name", "expected a text, got 3"},
    {"/epochs", "\"three\"", "/epochs", "expected an integer between 1 and 100000, got \"three\""},
    {"/epochs", "1.5", "/epochs", "expected an integer between 1 and 100000, got 1.5"},
    {"/epochs", "null", "/epochs", "got null"},
    {"/data", "[]", "/data", "expected an object (data), got a list of 0"},
    {"/model/layers", "{}", "/model/layers", "expected a list of 1 to 4096, got an object"},
    {"/model/layers/1", "\"ReLU\"", "/model/layers/1",
     "expected an object (layer type), got \"ReLU\""},
    {"/data/shuffle", "1", "/data/shuffle", "expected true or false, got 1"},
    {"/metrics", "\"accuracy\"", "/metrics", "expected a list such as [\"accuracy\"]"},
    /* out of range */
    {"/epochs", "0", "/epochs", "got 0"},
    {"/epochs", "100001", "/epochs", "got 100001"},
    {"/seed", "-1", "/seed", "between 0 and 9007199254740991, got -1"},
    {"/seed", "9007199254740992", "/seed", "got 9007199254740992"},
    {"/data/batch_size", "0", "/data/batch_size", "between 1 and 65536, got 0"},
    {"/data/batch_size", "60001", "/data/batch_size", "at most the 60000 training images"},
    {"/data/split", "{\"validation\":0.6}", "/data/split/validation", "between 0 and 0.5, got 0.6"},
    {"/optimizer/lr", "0", "/optimizer/lr", "expected a number above 0 and at most 1000000, got 0"},
    {"/optimizer/betas", "[0.9,1]", "/optimizer/betas/1", "at least 0 and below 1, got 1"},
    {"/optimizer/betas", "0.9", "/optimizer/betas", "expected a pair such as [0.9, 0.999]"},
    {"/loss/label_smoothing", "1", "/loss/label_smoothing", "below 1, got 1"},
    {"/model/layers/3/p", "1", "/model/layers/3/p", "at least 0 and below 1, got 1"},
    {"/model/layers/0/kernel_size", "0", "/model/layers/0/kernel_size",
     "between 1 and 1024, got 0"},
    {"/model/layers/0/kernel_size", "[3,0]", "/model/layers/0/kernel_size/1", "got 0"},
    {"/model/layers/0/kernel_size", "[3,3,3]", "/model/layers/0/kernel_size",
     "a number or a pair [height, width], got a list of 3"},
    {"/model/layers", "[]", "/model/layers", "expected a list of 1 to 4096, got a list of 0"},
    {"/checkpoint", "{\"every_steps\":0}", "/checkpoint/every_steps", "got 0"},
    /* names that are not known */
    {"/model/layers/1/type", "\"conv2D\"", "/model/layers/1/type", "did you mean \"Conv2d\"?"},
    {"/model/layers/1/type", "\"Transformer\"", "/model/layers/1/type",
     "LayerNorm, Add, Concat; got \"Transformer\""},
    {"/model/layers/1/type", "7", "/model/layers/1/type", "got 7"},
    {"/optimizer/type", "\"AdamV\"", "/optimizer/type",
     "did you mean \"Adam\"? Known: SGD, Adam, AdamW, RMSprop"},
    {"/loss/weight", "[0,0,0,0,0,0,0,0,0,0]", "/loss/weight", "expected a weight above 0"},
    {"/loss/type", "\"NLLLoss\"", "/loss/type", "Known: CrossEntropyLoss, MSELoss"},
    {"/scheduler/type", "\"Cosine\"", "/scheduler/type", "CosineAnnealingLR"},
    {"/data/dataset", "\"imagenet\"", "/data/dataset",
     "there is no data set \"imagenet\"; known: fashion-mnist, mnist; or an object"},
    {"/data/transforms/1/type", "\"Normalise\"", "/data/transforms/1/type",
     "did you mean \"Normalize\"?"},
    {"/metrics", "[\"f1\"]", "/metrics/0", "unknown metric \"f1\"; known: accuracy"},
    {"/metrics", "[\"accuracy\",\"accuracy\"]", "/metrics/1", "twice"},
    {"/resources", "{\"backend\":\"cuda\"}", "/resources/backend", "auto, cpu, vulkan"},
    {"/resources", "{\"labels\":[\"a b\"]}", "/resources/labels/0", "letters, digits"},
    {"/resources", "{\"labels\":[\"a\",\"a\"]}", "/resources/labels/1", "twice"},
    {"/resources", "{\"regions\":\"eu\"}", "/resources/regions", "expected a list of 0 to 32"},
    {"/resources", "{\"max_price_per_hour\":2}", "/resources/max_price_per_hour", "2 CYX"},
    {"/resources", "{\"min_reputation\":1.5}", "/resources/min_reputation", "got 1.5"},
    {"/resources", "{\"nodes\":0}", "/resources/nodes", "got 0"},
    {"/resources", "{\"nodes\":9}", "/resources/nodes", "got 9"},
    {"/sync", "{\"every_steps\":4}", "/sync", "one node has nobody to meet"},
    {"/sync", "{\"every_steps\":0}", "/sync/every_steps", "got 0"},
    {"/schedule", "{\"after\":[\"me\"]}", "/schedule/after/0", "a job's id"},
    {"/schedule", "{\"deadline\":\"tomorrow\"}", "/schedule/deadline", "expected a time"},
    {"/schedule", "{\"array\":0}", "/schedule/array", "got 0"},
    {"/schedule", "{\"retries\":21}", "/schedule/retries", "got 21"},
    {"/priority", "\"urgent\"", "/priority", "one of low, normal, high, critical; got \"urgent\""},
    /* layers' names and inputs */
    {"/model/layers/4/name", "\"conv1\"", "/model/layers/4/name",
     "layer 0 has the name \"conv1\" already"},
    {"/model/layers/4/name", "\"fc.1\"", "/model/layers/4/name", "expected letters, digits and _"},
    {"/model/layers/4/name", "\"1\"", "/model/layers/4/name", "the layer's index 4"},
    {"/model/layers/4/name", "\"\"", "/model/layers/4/name", "expected letters"},
    {"/model/layers/4/name", "\"input\"", "/model/layers/4/name", "the model's input"},
    {"/model/layers/1/inputs", "[\"conv9\"]", "/model/layers/1/inputs/0",
     "there is no layer \"conv9\""},
    {"/model/layers/1/inputs", "[\"fc\"]", "/model/layers/1/inputs/0", "does not come before"},
    {"/model/layers/1/inputs", "[\"1\"]", "/model/layers/1/inputs/0", "does not come before"},
    {"/model/layers/1/inputs", "[]", "/model/layers/1/inputs",
     "takes a list of 1 input, got a list of 0"},
    {"/model/layers/1/inputs", "[\"conv1\",\"input\"]", "/model/layers/1/inputs",
     "MaxPool2d takes a list of 1 input, got a list of 2"},
    {"/model/layers/1/inputs", "\"conv1\"", "/model/layers/1/inputs", "takes a list"},
    {"/model/layers/1/inputs", "[0]", "/model/layers/1/inputs/0", "got 0"},
    /* members that do not go together */
    {"/model/layers/0/groups", "3", "/model/layers/0/groups",
     "out_channels (8) must be divisible by groups (3)"},
    {"/model/layers/1",
     "{\"type\":\"ConvTranspose2d\",\"out_channels\":8,\"kernel_size\":3,\"groups\":3}",
     "/model/layers/1/groups", "out_channels (8) must be divisible by groups (3)"},
    {"/model/layers/1",
     "{\"type\":\"ConvTranspose2d\",\"in_channels\":8,\"out_channels\":6,\"kernel_size\":3,"
     "\"groups\":3}",
     "/model/layers/1/groups", "in_channels (8) must be divisible by groups (3)"},
    {"/model/layers/2", "{\"type\":\"GELU\",\"approximate\":\"erf\"}",
     "/model/layers/2/approximate", "expected one of none, tanh; got \"erf\""},
    {"/model/layers/0/padding", "\"full\"", "/model/layers/0/padding",
     "\"same\" or \"valid\", got \"full\""},
    {"/model/layers/1/padding", "2", "/model/layers/1/padding",
     "at most half of kernel_size (2), got 2"},
    {"/optimizer", "{\"type\":\"SGD\",\"nesterov\":true}", "/optimizer/nesterov", "needs momentum"},
    {"/data/transforms", "[{\"type\":\"Normalize\",\"mean\":0,\"std\":1}]", "/data/transforms/0",
     "put ToTensor before it"},
    {"/data/transforms", "[{\"type\":\"ToTensor\"},{\"type\":\"ToTensor\"}]", "/data/transforms/1",
     "ToTensor stands here twice"},
    {"/data/transforms", "[{\"type\":\"ToTensor\"},{\"type\":\"RandomCrop\",\"size\":20}]",
     "/data/transforms/1", "RandomCrop works on images: put it before ToTensor"},
    {"/data/transforms", "[{\"type\":\"RandomHorizontalFlip\"}]", "/data/transforms",
     "expected ToTensor behind the transforms of images"},
    {"/data/transforms", "[{\"type\":\"RandomCrop\",\"size\":40},{\"type\":\"ToTensor\"}]",
     "/data/transforms/0", "size [40, 40] does not fit into what it gets"},
    {"/data/transforms", "[{\"type\":\"Resize\",\"size\":0},{\"type\":\"ToTensor\"}]",
     "/data/transforms/0/size", "between 1 and 16384, got 0"},
    {"/data/transforms",
     "[{\"type\":\"RandomRotation\",\"degrees\":[30,-30]},{\"type\":\"ToTensor\"}]",
     "/data/transforms/0/degrees", "in rising order"},
    {"/data/transforms", "[{\"type\":\"ColorJitter\",\"hue\":0.6},{\"type\":\"ToTensor\"}]",
     "/data/transforms/0/hue", "between 0 and 0.5, got 0.6"},
    {"/data/transforms",
     "[{\"type\":\"ColorJitter\",\"brightness\":[1,2,3]},{\"type\":\"ToTensor\"}]",
     "/data/transforms/0/brightness", "expected a number or a pair"},
    {"/data/workers", "65", "/data/workers", "between 0 and 64"},
    /* data on this machine */
    {"/data/dataset", "{\"train\":\"a\"}", "/data/dataset",
     "a member \"format\" that names the format"},
    {"/data/dataset", "{\"format\":\"tfrecord\"}", "/data/dataset/format",
     "expected one of idx, csv"},
    {"/data/dataset", "{\"format\":\"image_folder\"}", "/data/dataset/format",
     "did you mean \"image-folder\""},
    {"/data/dataset", "{\"format\":\"csv\",\"train\":\"a.csv\"}", "/data/dataset",
     "csv needs the member \"target\""},
    {"/data/dataset", "{\"format\":\"csv\",\"train\":\"a.csv\",\"target\":[]}",
     "/data/dataset/target", "expected 1 to 4096 columns"},
    {"/data/dataset", "{\"format\":\"csv\",\"train\":\"a.csv\",\"target\":[1,-1]}",
     "/data/dataset/target/1", "got -1"},
    {"/data/dataset",
     "{\"format\":\"csv\",\"train\":\"a.csv\",\"target\":\"y\",\"delimiter\":\";;\"}",
     "/data/dataset/delimiter", "expected one character"},
    {"/data/dataset", "{\"format\":\"npy\",\"train\":\"\"}", "/data/dataset/train",
     "expected 1 to 4095 bytes, got 0"},
    {"/data/dataset", "{\"format\":\"npy\",\"train\":7}", "/data/dataset/train",
     "expected a text, got 7"},
    {"/data/dataset",
     "{\"format\":\"npy\",\"train\":\"x.npy\",\"targets\":\"y.npy\",\"test\":\"z.npy\"}",
     "/data/dataset", "\"test\" needs \"test_targets\""},
    {"/data/dataset", "{\"format\":\"image-folder\",\"train\":\"a\",\"channels\":2}",
     "/data/dataset/channels", "expected 1 or 3, got 2"},
    {"/data/dataset", "{\"format\":\"image-folder\",\"train\":\"a\",\"targets\":\"b\"}",
     "/data/dataset/targets", "image-folder has no member \"targets\""},
    {"/data/transforms/1/std", "0", "/data/transforms/1/std", "got 0"},
    {"/data/transforms/1/mean", "[1,2,3]", "/data/transforms/1",
     "mnist has 1 channel, got numbers for 3"},
    {"/model/layers/1", "{\"type\":\"Add\"}", "/model/layers/1/inputs",
     "Add takes a list of 2 to 64 inputs, names of earlier layers, got none"},
    {"/model/layers/1", "{\"type\":\"Concat\",\"inputs\":[\"conv1\"]}", "/model/layers/1/inputs",
     "got a list of 1"},
    {"/model/layers/1", "{\"type\":\"Concat\",\"dim\":0,\"inputs\":[\"conv1\",\"input\"]}",
     "/model/layers/1/dim", "0 is the batch"},
    {"/model/layers/1", "{\"type\":\"AvgPool2d\",\"kernel_size\":2,\"padding\":2}",
     "/model/layers/1/padding", "at most half of kernel_size (2), got 2"},
    {"/model/layers/1",
     "{\"type\":\"ConvTranspose2d\",\"out_channels\":4,\"kernel_size\":3,\"output_padding\":1}",
     "/model/layers/1/output_padding", "expected less than stride (1) or dilation (1), got 1"},
    {"/model/layers/1", "{\"type\":\"Reshape\",\"shape\":[-1,-1]}", "/model/layers/1/shape",
     "-1 at most once"},
    {"/model/layers/1", "{\"type\":\"Reshape\",\"shape\":[1,2,3,4]}", "/model/layers/1/shape",
     "a list of one to three, got a list of 4"},
    {"/model/layers/1", "{\"type\":\"GELU\",\"approximate\":\"erf\"}",
     "/model/layers/1/approximate", "none, tanh"},
    {"/optimizer/param_groups", "[{\"params\":[]}]", "/optimizer/param_groups/0/params",
     "patterns such as \"*.bias\", got a list of 0"},
    {"/optimizer/param_groups", "[{\"params\":[\"*\"],\"betas\":[0,0]}]",
     "/optimizer/param_groups/0/betas", "the group has no member \"betas\""},
    {"/loss", "{\"type\":\"CrossEntropyLoss\",\"weight\":[1,-1]}", "/loss/weight/1", "got -1"},
    {"/loss", "{\"type\":\"SmoothL1Loss\",\"beta\":0}", "/loss/beta", "above 0"},
    {"/scheduler", "{\"type\":\"ReduceLROnPlateau\",\"interval\":\"step\"}", "/scheduler/interval",
     "expected \"epoch\""},
    {"/warmup", "{\"start_factor\":0.5}", "/warmup", "needs the member \"total_iters\""},
    {"/clip", "{\"norm\":1,\"value\":1}", "/clip", "norm or value, got both"},
    /* the job's name and its budget */
    {"/name", "\"\"", "/name", "expected 1 to 100 characters, got 0"},
    {"/name", "\"a\\u202eb\"", "/name", "printable characters, got U+202E"},
    {"/name", "\"a\\nb\"", "/name", "printable characters, got U+000A"},
    {"/name", "\" a\"", "/name", "no space at the start"},
    {"/budget", "2.5", "/budget", "expected a text with a unit such as \"2.5 CYX\", got 2.5"},
    {"/budget", "\"2.5\"", "/budget", "expected an amount such as \"2.5 CYX\""},
    {"/budget", "\"0 CYX\"", "/budget", "more than 0 CYX"},
    {"/budget", "\"-1 CYX\"", "/budget", "more than 0 CYX"},
    {"/budget", "\"99999999999 CYX\"", "/budget", "at most 9223372036.854775807 CYX"},
};

/* The member's name behind the pointer's last slash, unescaped in place. */
static char *last_step(char *pointer)
{
    char *step = strrchr(pointer, '/');
    *step++ = '\0';
    char *name = step, *out = step;
    for (; *step; step++) {
        char c = *step;
        if (c == '~')
            c = *++step == '1' ? '/' : '~';
        *out++ = c;
    }
    *out = '\0';
    return name;
}

/* Good places have no escapes but in their last step. */
static char *changed(const char *place, const char *value)
{
    json_t *root = json_loads(good, 0, NULL), *parent = root;
    char *path = strdup(place);
    char *name = last_step(path);
    for (char *save = NULL, *step = strtok_r(path, "/", &save); step;
         step = strtok_r(NULL, "/", &save))
        parent = json_is_array(parent) ? json_array_get(parent, strtoul(step, NULL, 10))
                                       : json_object_get(parent, step);
    assert_non_null(parent);
    json_t *made = value ? json_loads(value, JSON_DECODE_ANY, NULL) : NULL;
    assert_true(!value || made);
    if (json_is_array(parent))
        json_array_set_new(parent, strtoul(name, NULL, 10), made);
    else if (made)
        json_object_set_new(parent, name, made);
    else
        assert_int_equal(json_object_del(parent, name), 0);
    char *text = json_dumps(root, 0);
    json_decref(root);
    free(path);
    return text;
}

static void test_bad_spec__is_refused_with_its_place_and_a_sentence(void **state)
{
    (void)state;
    int wrong = 0;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *text = changed(cases[i].place, cases[i].value);
        struct cyx_job_spec *spec = NULL;
        struct cyx_error err = {0};
        enum cyx_status status = cyx_job_spec_parse(text, strlen(text), &spec, &err);
        if (status != CYX_ERR_INVALID || strcmp(err.pointer, cases[i].pointer) != 0 ||
            !strstr(err.message, cases[i].message)) {
            print_error("%s = %s: got %s: \"%s\" \"%s\"\n", cases[i].place,
                        cases[i].value ? cases[i].value : "(none)", cyx_status_name(status),
                        err.pointer, err.message);
            wrong++;
        }
        cyx_job_spec_destroy(spec);
        free(text);
    }
    assert_int_equal(wrong, 0);
}

static void assert_refused(const char *text, size_t length, enum cyx_status expected,
                           const char *message)
{
    struct cyx_job_spec *spec = NULL;
    struct cyx_error err = {0};
    enum cyx_status status = cyx_job_spec_parse(text, length, &spec, &err);
    assert_null(spec);
    assert_string_equal(err.pointer, "");
    if (status != expected || !strstr(err.message, message))
        fail_msg("got %s: %s", cyx_status_name(status), err.message);
}

static void test_bad_json__says_line_and_column(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } texts[] = {
        {"", "not JSON: line 1"},
        {"hello", "not JSON: line 1, column"},
        {"{\n  \"name\": \"a\",\n  oops\n}", "not JSON: line 3, column"},
        {"{\"name\": \"a\", \"name\": \"b\"}", "duplicate object key"},
        {"{\"epochs\": NaN}", "not JSON"},
        {"{\"epochs\": Infinity}", "not JSON"},
        {"{\"epochs\": 1e999}", "not JSON"},
        {"{\"epochs\": 99999999999999999999}", "not JSON"},
        {"{\"name\": \"\xFF\"}", "not JSON"},
        {"{\"na\\u0000me\": 1}", "not JSON"},
        {"{} {}", "not JSON"},
        {"[1, 2]", "expected an object (the job), got a list of 2"},
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        assert_refused(texts[i].text, strlen(texts[i].text), CYX_ERR_INVALID, texts[i].message);
    assert_refused("{\"a\0b\":1}", 9, CYX_ERR_INVALID, "not JSON");
}

static void test_bad_json__is_refused_when_too_large_or_too_deep(void **state)
{
    (void)state;
    size_t length = CYX_JOB_SPEC_LIMIT_BYTES + 1;
    char *text = malloc(length);
    memset(text, ' ', length);
    assert_refused(text, length, CYX_ERR_TOO_LARGE, "at most 1048576 bytes, got 1048577");
    memset(text, '[', length);
    assert_refused(text, length - 1, CYX_ERR_INVALID, "more than 32 deep");
    free(text);
    char *nested =
        changed("/seed", "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]");
    assert_refused(nested, strlen(nested), CYX_ERR_INVALID, "more than 32 deep");
    free(nested);
}

/* A member's name may be as long as the spec: the pointer then ends before it. */
static void test_bad_spec__long_names_do_not_break_the_error(void **state)
{
    (void)state;
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    cyx_buf_puts(&text, "{\"");
    for (int i = 0; i < 1000; i++)
        cyx_buf_puts(&text, "\xF0\x9F\x98\x80");
    cyx_buf_puts(&text, "\":1}");
    struct cyx_error err = {0};
    struct cyx_job_spec *spec = NULL;
    char *whole = changed("/data", text.data);
    assert_int_equal(cyx_job_spec_parse(whole, strlen(whole), &spec, &err), CYX_ERR_INVALID);
    free(whole);
    assert_string_equal(err.pointer, "/data");
    assert_non_null(strstr(err.message, "…\"; known: dataset"));
}

/* Whatever single byte is changed, the parser answers and keeps within its memory (asan looks). */
static void test_bad_spec__survives_any_changed_byte(void **state)
{
    (void)state;
    static const char bytes[] = "\"{}[],:0-9e.\\ a\xFF";
    char *text = strdup(good);
    size_t length = strlen(text);
    for (size_t at = 0; at < length; at++) {
        char kept = text[at];
        for (size_t b = 0; b < sizeof(bytes); b++) {
            struct cyx_job_spec *spec = NULL;
            struct cyx_error err = {0};
            text[at] = bytes[b];
            enum cyx_status status = cyx_job_spec_parse(text, length, &spec, &err);
            assert_true((status == CYX_OK) == (spec != NULL));
            assert_true(status == CYX_OK || err.message[0] != '\0');
            cyx_job_spec_destroy(spec);
        }
        text[at] = kept;
    }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_spec__is_refused_with_its_place_and_a_sentence),
        cmocka_unit_test(test_bad_json__says_line_and_column),
        cmocka_unit_test(test_bad_json__is_refused_when_too_large_or_too_deep),
        cmocka_unit_test(test_bad_spec__long_names_do_not_break_the_error),
        cmocka_unit_test(test_bad_spec__survives_any_changed_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
