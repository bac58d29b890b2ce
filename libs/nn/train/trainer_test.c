/*
 * The trainer on the real Fashion-MNIST of Debian's dataset-fashion-mnist: resume gives the same bits, a killed
 * process loses nothing but its last steps, and every refusal names place and remedy.
 *
 *   nn_trainer_test                 the tests
 *   nn_trainer_test --victim DATA OUT   trains, one line a step, to be killed
 */
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "nn/format/safetensors.h"
#include "nn/test_fashion.h"
#include "nn/test_folder.h"
#include "nn/test_spec.h"
#include "nn/train/checkpoint.h"
#include "nn/train/init.h"
#include "nn/train/trainer.h"

enum { BATCH = 512, EPOCH_STEPS = 118, NO_CANCEL = -1 }; /* 60,000 / 512, the last of 96 */

static char self_path[512];

/* Dropout, momentum, a schedule a step, a last batch that is smaller: all that a checkpoint must keep. */
static const char spec_text[] =
    "{\"name\":\"small\",\"model\":{\"layers\":[{\"type\":\"MaxPool2d\",\"kernel_size\":4},"
    "{\"type\":\"Conv2d\",\"out_channels\":5,\"kernel_size\":3,\"padding\":1},{\"type\":\"ReLU\"},"
    "{\"type\":\"Dropout\",\"p\":0.2},{\"type\":\"Flatten\"},"
    "{\"type\":\"Linear\",\"out_features\":10}]},"
    "\"data\":{\"dataset\":\"fashion-mnist\",\"batch_size\":512},"
    "\"loss\":{\"type\":\"CrossEntropyLoss\"},"
    "\"optimizer\":{\"type\":\"AdamW\",\"lr\":0.01},"
    "\"scheduler\":{\"type\":\"CosineAnnealingLR\",\"interval\":\"step\"},"
    "\"epochs\":2,\"seed\":9,\"checkpoint\":{\"every_steps\":50}}";

/* ---- runs ---- */

struct watch {
    int64_t cancel_at; /* step */
    atomic_bool cancel;
    int64_t steps, epochs, checkpoints, first_step, last_step;
    double first_loss, last_loss, last_lr;
    int report_fd; /* -1: none */
};

static void on_event(void *context, const struct cyx_train_event *event)
{
    struct watch *watch = context;
    if (event->kind == CYX_TRAIN_CHECKPOINT)
        watch->checkpoints++;
    if (event->kind == CYX_TRAIN_EPOCH)
        watch->epochs++;
    if (event->kind != CYX_TRAIN_STEP)
        return;
    if (watch->steps++ == 0) {
        watch->first_step = event->step;
        watch->first_loss = event->loss;
    }
    watch->last_step = event->step;
    watch->last_loss = event->loss;
    watch->last_lr = event->lr;
    if (event->step == watch->cancel_at)
        atomic_store(&watch->cancel, true);
    if (watch->report_fd >= 0)
        dprintf(watch->report_fd, "%lld\n", (long long)event->step);
}

struct attempt {
    const char *spec, *out, *resume_from, *data_dir;
    int64_t cancel_at, max_steps;
    int threads;
    struct watch watch;
    struct cyx_train_result result;
    struct cyx_error error;
};

static enum cyx_status attempt(struct attempt *a)
{
    struct cyx_job_spec *spec = parse(a->spec ? a->spec : spec_text);
    a->watch =
        (struct watch){.cancel_at = a->cancel_at ? a->cancel_at : NO_CANCEL, .report_fd = -1};
    struct cyx_train_options options = {
        .spec = spec,
        .data_dir = a->data_dir ? a->data_dir : path_of("data"),
        .output_dir = path_of(a->out),
        .backend = "cpu",
        .resume_from = a->resume_from,
        .device = {.threads = a->threads ? a->threads : 2},
        .max_steps = a->max_steps,
        .on_event = on_event,
        .context = &a->watch,
        .cancel = &a->watch.cancel,
    };
    enum cyx_status status = cyx_train(&options, &a->result, &a->error);
    cyx_job_spec_destroy(spec);
    return status;
}

static void must_finish(struct attempt *a)
{
    if (attempt(a) != CYX_OK)
        fail_msg("%s %s", a->error.pointer, a->error.message);
}

static void must_cancel(struct attempt *a)
{
    assert_int_equal(attempt(a), CYX_ERR_CANCELLED);
    assert_true(a->watch.checkpoints > 0);
}

static void assert_same_file(const char *a, const char *b)
{
    CYX_CLEANUP_BUF struct cyx_buf x = {0}, y = {0};
    assert_int_equal(cyx_buf_read_file(&x, a, 1 << 24, NULL), CYX_OK);
    assert_int_equal(cyx_buf_read_file(&y, b, 1 << 24, NULL), CYX_OK);
    assert_int_equal(x.length, y.length);
    assert_memory_equal(x.data, y.data, x.length);
}

/* The run that never stopped; the others are held against it. */
static struct attempt whole;

static void test_trainer__learns_and_tells_of_it(void **state)
{
    (void)state;
    const struct watch *watch = &whole.watch;
    assert_int_equal(watch->steps, 2 * EPOCH_STEPS);
    assert_int_equal(watch->first_step, 1);
    assert_int_equal(watch->last_step, 2 * EPOCH_STEPS);
    assert_int_equal(watch->epochs, 2);
    assert_int_equal(watch->checkpoints, 6); /* 50, 100, 118, 150, 200, 236 */
    assert_true(watch->first_loss > 2.0 && watch->last_loss < 1.2);
    assert_true(watch->last_lr > 0 && watch->last_lr < 1e-5);
    assert_int_equal(whole.result.steps, 2 * EPOCH_STEPS);
    assert_int_equal(whole.result.samples, 120000);
    assert_true(whole.result.test_accuracy > 0.7);
    assert_true(whole.result.images_per_second > 0 && whole.result.seconds > 0);

    struct cyx_safetensors *model = NULL;
    assert_int_equal(cyx_safetensors_open(whole.result.model_path, &model, NULL), CYX_OK);
    assert_int_equal(model->n_tensors, 4);
    assert_string_equal(cyx_safetensors_metadata(model, "format"), "pt");
    struct cyx_job_spec *spec = parse(spec_text);
    assert_string_equal(cyx_safetensors_metadata(model, "cyxwiz.spec"), spec->canonical);
    cyx_job_spec_destroy(spec);
    const struct cyx_safetensors_tensor *weight = cyx_safetensors_find(model, "1.weight");
    assert_non_null(weight);
    assert_int_equal(weight->rank, 4);
    assert_int_equal(weight->shape[0], 5);
    cyx_safetensors_close(model);
}

static void test_trainer__the_same_seed_gives_the_same_bits(void **state)
{
    (void)state;
    struct attempt a = {.out = "again"};
    must_finish(&a);
    assert_string_equal(a.result.model_sha256, whole.result.model_sha256);
    assert_same_file(path_of("again/model.safetensors"), path_of("whole/model.safetensors"));
    assert_true(a.result.test_loss == whole.result.test_loss);
}

/* Cancelled in mid-epoch, at an epoch's last step and again later; each time it goes on elsewhere. */
static void test_trainer__a_resumed_run_gives_the_same_bits(void **state)
{
    (void)state;
    struct attempt first = {.out = "part", .cancel_at = 37};
    must_cancel(&first);
    struct attempt second = {.out = "part2",
                             .cancel_at = EPOCH_STEPS - 1,
                             .resume_from = path_of("part/checkpoint.safetensors")};
    must_cancel(&second);
    assert_true(second.watch.first_step > 37 &&
                second.watch.first_step <= 37 + CYX_STEPS_IN_FLIGHT + 1); /* some were in flight */
    struct attempt third = {
        .out = "part2", .cancel_at = 201, .resume_from = path_of("part2/checkpoint.safetensors")};
    must_cancel(&third);
    struct attempt last = {.out = "part2", .resume_from = path_of("part2/checkpoint.safetensors")};
    must_finish(&last);
    assert_string_equal(last.result.model_sha256, whole.result.model_sha256);
    assert_same_file(path_of("part2/checkpoint.safetensors"),
                     path_of("whole/checkpoint.safetensors"));
    assert_true(last.result.test_loss == whole.result.test_loss);
    assert_true(last.result.train_loss == whole.result.train_loss);
}

/* A checkpoint at the very end: only evaluation and the model are left to do. */
static void test_trainer__a_finished_run_can_be_finished_again(void **state)
{
    (void)state;
    struct attempt a = {.out = "after", .resume_from = path_of("whole/checkpoint.safetensors")};
    must_finish(&a);
    assert_int_equal(a.watch.steps, 0);
    assert_string_equal(a.result.model_sha256, whole.result.model_sha256);
    assert_true(a.result.train_loss == whole.result.train_loss);
}

static void test_trainer__max_steps_stops_and_can_go_on(void **state)
{
    (void)state;
    struct attempt a = {.out = "few", .max_steps = 33};
    must_finish(&a);
    assert_int_equal(a.result.steps, 33);
    assert_int_equal(a.result.samples, 33 * BATCH);
    struct attempt b = {.out = "few", .resume_from = path_of("few/checkpoint.safetensors")};
    must_finish(&b);
    assert_string_equal(b.result.model_sha256, whole.result.model_sha256);
}

/* ---- a process that is killed ---- */

static int run_victim(const char *data, const char *out)
{
    struct cyx_job_spec *spec = NULL;
    struct watch watch = {.cancel_at = NO_CANCEL, .report_fd = STDOUT_FILENO};
    if (cyx_job_spec_parse(spec_text, strlen(spec_text), &spec, NULL) != CYX_OK)
        return 1;
    struct cyx_train_options options = {.spec = spec,
                                        .data_dir = data,
                                        .output_dir = out,
                                        .backend = "cpu",
                                        .device = {.threads = 2},
                                        .on_event = on_event,
                                        .context = &watch};
    struct cyx_train_result result;
    enum cyx_status status = cyx_train(&options, &result, NULL);
    cyx_job_spec_destroy(spec);
    return status != CYX_OK;
}

/* Starts the victim and kills it when it tells of step `step`. */
static void kill_at(int step)
{
    int ends[2];
    const char *data = path_of("data"), *out = path_of("killed");
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(ends[1], STDOUT_FILENO);
        execl(self_path, self_path, "--victim", data, out, (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    FILE *steps = fdopen(ends[0], "r");
    assert_non_null(steps);
    char line[32];
    int seen = 0;
    while (seen < step && fgets(line, sizeof line, steps))
        seen = (int)strtol(line, NULL, 10);
    assert_int_equal(seen, step);
    assert_int_equal(kill(child, SIGKILL), 0);
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    fclose(steps);
}

static void test_trainer__a_killed_run_goes_on_from_its_checkpoint(void **state)
{
    (void)state;
    kill_at(171);
    char left[4096];
    snprintf(left, sizeof left, "%s.tmp-4xZy19", path_of("killed/checkpoint.safetensors"));
    FILE *torn = fopen(left, "we"); /* what a kill within the write leaves */
    assert_non_null(torn);
    fclose(torn);
    struct attempt a = {.out = "killed", .resume_from = path_of("killed/checkpoint.safetensors")};
    must_finish(&a);
    assert_true(a.watch.first_step == 151 ||
                a.watch.first_step == 201); /* the killer may be late */
    assert_int_equal(access(left, F_OK), -1);
    assert_string_equal(a.result.model_sha256, whole.result.model_sha256);
}

/* ---- refusals ---- */

static void test_trainer__a_checkpoint_of_another_spec_is_refused(void **state)
{
    (void)state;
    char other[sizeof spec_text];
    memcpy(other, spec_text, sizeof spec_text);
    strstr(other, "\"p\":0.2")[6] = '3'; /* 0.3 */
    struct attempt a = {
        .out = "other", .spec = other, .resume_from = path_of("whole/checkpoint.safetensors")};
    assert_int_equal(attempt(&a), CYX_ERR_INVALID);
    assert_non_null(strstr(a.error.message, "another spec"));
    struct attempt b = {.out = "other", .resume_from = path_of("whole/model.safetensors")};
    assert_int_equal(attempt(&b), CYX_ERR_CORRUPT);
    assert_non_null(strstr(b.error.message, "not a checkpoint"));
    struct attempt c = {.out = "other", .resume_from = path_of("whole/none.safetensors")};
    assert_int_equal(attempt(&c), CYX_ERR_NOT_FOUND);
}

static void test_trainer__missing_data_name_file_and_remedy(void **state)
{
    (void)state;
    struct attempt a = {.out = "none", .data_dir = "/nonexistent"};
    assert_int_equal(attempt(&a), CYX_ERR_NOT_FOUND);
    assert_string_equal(a.error.pointer, "/data/dataset");
    assert_non_null(strstr(a.error.message, "/nonexistent/fashion-mnist/train-images-idx3-ubyte"));
    assert_non_null(strstr(a.error.message, "cyxwiz data fetch fashion-mnist"));
}

static void test_trainer__a_loss_that_diverges_stops_with_a_sentence(void **state)
{
    (void)state;
    static const char wild[] =
        "{\"name\":\"wild\",\"model\":{\"layers\":[{\"type\":\"Flatten\"},"
        "{\"type\":\"Linear\",\"out_features\":16},{\"type\":\"Linear\",\"out_features\":10}]},"
        "\"data\":{\"dataset\":\"fashion-mnist\",\"batch_size\":64},"
        "\"loss\":{\"type\":\"CrossEntropyLoss\"},"
        "\"optimizer\":{\"type\":\"SGD\",\"lr\":1000000},\"epochs\":1}";
    struct attempt a = {.out = "wild", .spec = wild};
    assert_int_equal(attempt(&a), CYX_ERR_INVALID);
    assert_string_equal(a.error.pointer, "/optimizer/lr");
    assert_non_null(strstr(a.error.message, "lower optimizer.lr"));
    assert_non_null(strstr(a.error.message, "loss became"));
}

static void test_trainer__a_batch_that_is_ignored_whole_stops_with_a_sentence(void **state)
{
    (void)state;
    static const char ignored[] =
        "{\"name\":\"ignored\",\"model\":{\"layers\":[{\"type\":\"Flatten\"},"
        "{\"type\":\"Linear\",\"out_features\":10}]},"
        "\"data\":{\"dataset\":\"fashion-mnist\",\"batch_size\":1},"
        "\"loss\":{\"type\":\"CrossEntropyLoss\",\"ignore_index\":3},"
        "\"optimizer\":{\"type\":\"SGD\",\"lr\":0.001},\"epochs\":1}";
    struct attempt a = {.out = "ignored", .spec = ignored};
    assert_int_equal(attempt(&a), CYX_ERR_INVALID);
    assert_string_equal(a.error.pointer, "/loss/ignore_index");
    assert_non_null(strstr(a.error.message, "larger data.batch_size"));
}

static void test_trainer__a_folder_that_cannot_be_made_is_told(void **state)
{
    (void)state;
    struct attempt a = {.out = "data/fashion-mnist/t10k-labels-idx1-ubyte/out"};
    assert_true(attempt(&a) != CYX_OK);
    assert_non_null(strstr(a.error.message, "cannot create"));
}

/* ---- splits ---- */

static void test_trainer__validation_and_drop_last_change_the_rows(void **state)
{
    (void)state;
    static const char parted[] =
        "{\"name\":\"parted\",\"model\":{\"layers\":[{\"type\":\"MaxPool2d\",\"kernel_size\":7},"
        "{\"type\":\"Flatten\"},{\"type\":\"Linear\",\"out_features\":10}]},"
        "\"data\":{\"dataset\":\"fashion-mnist\",\"batch_size\":512,\"drop_last\":true,"
        "\"split\":{\"validation\":0.1}},\"loss\":{\"type\":\"CrossEntropyLoss\"},"
        "\"optimizer\":{\"type\":\"SGD\",\"lr\":0.1},"
        "\"scheduler\":{\"type\":\"StepLR\",\"step_size\":1,\"gamma\":0.5},\"epochs\":2}";
    struct attempt a = {.out = "parted", .spec = parted};
    must_finish(&a);
    assert_int_equal(a.result.steps, 2 * (54000 / 512));
    assert_int_equal(a.result.samples, a.result.steps * 512);
    assert_true(a.watch.last_lr == 0.05);
    assert_true(a.result.test_accuracy > 0.5);
}

/* ---- first values ---- */

static void test_init__is_uniform_within_its_bound(void **state)
{
    (void)state;
    enum { COUNT = 20000 };
    static float data[COUNT], other[COUNT];
    double sum = 0, squares = 0;
    float low = 0, high = 0;
    cyx_init_uniform(1, 0, 0.25, data, COUNT);
    for (int i = 0; i < COUNT; i++) {
        sum += data[i];
        squares += (double)data[i] * data[i];
        low = data[i] < low ? data[i] : low;
        high = data[i] > high ? data[i] : high;
    }
    assert_true(low >= -0.25f && low < -0.2499f && high <= 0.25f && high > 0.2499f);
    assert_true(fabs(sum / COUNT) < 0.004);                   /* 4 sigma */
    assert_true(fabs(squares / COUNT - 0.0625 / 3) < 0.0006); /* variance of a uniform */
    cyx_init_uniform(1, 1, 0.25, other, COUNT);
    assert_memory_not_equal(data, other, sizeof data);
}

static int set_up(void **state)
{
    (void)state;
    whole = (struct attempt){.out = "whole"};
    must_finish(&whole);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "--victim") == 0)
        return run_victim(argv[2], argv[3]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trainer__learns_and_tells_of_it),
        cmocka_unit_test(test_trainer__the_same_seed_gives_the_same_bits),
        cmocka_unit_test(test_trainer__a_resumed_run_gives_the_same_bits),
        cmocka_unit_test(test_trainer__a_finished_run_can_be_finished_again),
        cmocka_unit_test(test_trainer__max_steps_stops_and_can_go_on),
        cmocka_unit_test(test_trainer__a_killed_run_goes_on_from_its_checkpoint),
        cmocka_unit_test(test_trainer__a_checkpoint_of_another_spec_is_refused),
        cmocka_unit_test(test_trainer__missing_data_name_file_and_remedy),
        cmocka_unit_test(test_trainer__a_loss_that_diverges_stops_with_a_sentence),
        cmocka_unit_test(test_trainer__a_batch_that_is_ignored_whole_stops_with_a_sentence),
        cmocka_unit_test(test_trainer__a_folder_that_cannot_be_made_is_told),
        cmocka_unit_test(test_trainer__validation_and_drop_last_change_the_rows),
        cmocka_unit_test(test_init__is_uniform_within_its_bound),
    };
    if (access(FASHION_PACKAGE, R_OK) != 0) {
        printf("SKIP: %s is missing: install Debian's package dataset-fashion-mnist\n",
               FASHION_PACKAGE);
        return 77;
    }
    ssize_t length = readlink("/proc/self/exe", self_path, sizeof self_path - 1);
    if (length <= 0 || !folder_make("trainer") || !fashion_unpack(path_of("data")))
        return 1;
    int failed = cmocka_run_group_tests(tests, set_up, NULL);
    if (!folder_remove())
        fprintf(stderr, "could not remove %s\n", folder);
    return failed;
}
