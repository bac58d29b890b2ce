#include "trainer.h"

#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "contract/job_spec.h"
#include "contract/message.h"
#include "meeting.h"
#include "nn/train/trainer.h"
#include "prover.h"
#include "upload.h"
#include "worker.h"

#include "base/banned.h"

enum { PROBE_END_MS = 10000, PROBE_GPUS_LIMIT = 16 };

static atomic_bool stop_asked;
static struct meeting meeting = {.stop = &stop_asked};

static void on_terminate(int signal_number)
{
    (void)signal_number;
    atomic_store(&stop_asked, true);
}

/* One line on standard output; a parent that is gone ends us (SIGPIPE, PR_SET_PDEATHSIG). */
void trainer_say(json_t *line)
{
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    if (cyx_message_write(line, &text, NULL) != CYX_OK)
        _exit(1);
    cyx_buf_append(&text, "\n", 1);
    fwrite(text.data, 1, text.length, stdout);
    fflush(stdout);
}

void trainer_say_error(const struct cyx_error *err)
{
    trainer_say(json_pack("{s:s, s:s, s:s, s:s}", "event", "error", "status",
                          cyx_status_name(err->status), "pointer", err->pointer, "message",
                          err->message));
}

struct teller {
    int64_t last_told_ms;
};

static json_t *progress(const char *name, const struct cyx_train_event *e)
{
    return json_pack("{s:s, s:I, s:I, s:I, s:I, s:f, s:o, s:f, s:f}", "event", name, "epoch",
                     (json_int_t)e->epoch, "epochs", (json_int_t)e->epochs, "step",
                     (json_int_t)e->step, "total_steps", (json_int_t)e->total_steps, "loss",
                     e->loss, "accuracy", cyx_message_number(e->accuracy), "lr", e->lr,
                     "images_per_second", e->images_per_second);
}

static void on_event(void *context, const struct cyx_train_event *e)
{
    struct teller *teller = context;
    json_t *line = NULL;
    if (e->kind == CYX_TRAIN_STARTED) {
        line = progress("started", e);
        json_object_set_new(line, "device", json_string(e->device->name));
        json_object_set_new(line, "backend", json_string(e->device->backend));
    } else if (e->kind == CYX_TRAIN_STEP) {
        struct worker_event step = {
            .step = e->step, .total_steps = e->total_steps, .epochs = e->epochs};
        int64_t now_ms = cyx_clock_monotonic_ns() / 1000000;
        if (!worker_step_is_told(now_ms, teller->last_told_ms, &step))
            return;
        teller->last_told_ms = now_ms;
        line = progress("step", e);
        if (strcmp(e->device->backend, "vulkan") == 0 && e->device->memory_budget_bytes) {
            json_object_set_new(line, "device_memory_used_bytes",
                                json_integer(e->device->memory_used_bytes));
            json_object_set_new(line, "device_memory_budget_bytes",
                                json_integer(e->device->memory_budget_bytes));
        }
    } else if (e->kind == CYX_TRAIN_EPOCH) {
        line = progress("epoch", e);
        json_object_set_new(line, "eval_loss", cyx_message_number(e->eval_loss));
        json_object_set_new(line, "eval_accuracy", cyx_message_number(e->eval_accuracy));
    } else if (e->kind == CYX_TRAIN_CHECKPOINT) {
        line = progress("checkpoint", e);
        json_object_set_new(line, "path", json_string(e->path));
    } else {
        line = json_pack("{s:s, s:s}", "event", "notice", "message", e->message);
    }
    trainer_say(line);
}

static void say_result(const struct cyx_train_result *r)
{
    json_t *result = json_pack("{s:o, s:o, s:f, s:I, s:I, s:f, s:f, s:s, s:s}", "test_accuracy",
                               cyx_message_number(r->test_accuracy), "test_loss",
                               cyx_message_number(r->test_loss), "train_loss", r->train_loss,
                               "epochs", (json_int_t)r->epochs, "steps", (json_int_t)r->steps,
                               "images_per_second", r->images_per_second, "seconds", r->seconds,
                               "backend", r->device.backend, "device", r->device.name);
    trainer_say(
        json_pack("{s:s, s:s, s:o}", "event", "result", "path", r->model_path, "result", result));
}

enum { ALONE = 11, IN_GANG = 14 }; /* words of a command line */

/* SPEC DATA_DIR OUTPUT_DIR BACKEND CHECKPOINT|- CACHE_DIR DEVICE THREADS INITIAL|- [RANK NODES MEAN] */
static int train(int argc, char **arguments)
{
    struct cyx_gang gang = {.meet = meeting_meet, .context = &meeting};
    struct cyx_error err = {0};
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    struct cyx_job_spec *spec = NULL;
    struct teller teller = {0};
    struct cyx_train_result result;
    enum cyx_status status = cyx_buf_read_file(&text, arguments[0], CYX_JOB_SPEC_LIMIT_BYTES, &err);
    if (status == CYX_OK)
        status = cyx_job_spec_parse(text.data, text.length, &spec, &err);
    if (argc == IN_GANG) {
        gang.rank = (int)strtol(arguments[9], NULL, 10);
        gang.nodes = (int)strtol(arguments[10], NULL, 10);
        gang.every_steps = status == CYX_OK ? spec->sync_steps : 1;
        meeting.output_dir = arguments[2];
        meeting.mean_path = arguments[11];
    }
    if (status == CYX_OK) {
        const struct cyx_train_options options = {
            .gang = argc == IN_GANG ? &gang : NULL,
            .spec = spec,
            .data_dir = arguments[1],
            .base_dir = arguments[1],
            .output_dir = arguments[2],
            .backend = arguments[3],
            .initial_from = strcmp(arguments[8], "-") == 0 ? NULL : arguments[8],
            .resume_from = strcmp(arguments[4], "-") == 0 ? NULL : arguments[4],
            .device = {.index = (int)strtol(arguments[6], NULL, 10),
                       .threads = spec->resources.threads ? (int)spec->resources.threads
                                                          : (int)strtol(arguments[7], NULL, 10),
                       .cache_dir = arguments[5]},
            .on_event = on_event,
            .context = &teller,
            .cancel = &stop_asked,
        };
        status = cyx_train(&options, &result, &err);
    }
    if (status == CYX_OK)
        say_result(&result);
    else if (status != CYX_ERR_CANCELLED)
        trainer_say_error(&err);
    cyx_job_spec_destroy(spec);
    return status == CYX_OK ? 0 : status == CYX_ERR_CANCELLED ? TRAINER_EXIT_STOPPED : 1;
}

/* Beside a real GPU a software one is no place for a job. */
static bool lists_a_gpu(const json_t *devices)
{
    const json_t *device;
    size_t i;
    json_array_foreach(devices, i, device)
    {
        const char *backend = json_string_value(json_object_get(device, "backend"));
        if (backend && strcmp(backend, "vulkan") == 0 &&
            !json_is_true(json_object_get(device, "is_software")))
            return true;
    }
    return false;
}

/* Opens the backend's device and lists it; false when there is none, or this very kind and index is listed already. */
static bool probe_one(json_t *devices, const char *backend, int index, bool *ret_software)
{
    const struct cyx_backend *found = NULL;
    struct cyx_device *device = NULL;
    struct cyx_device_info info = {0};
    struct cyx_error err = {0};
    const json_t *listed;
    size_t i;
    const struct cyx_device_options options = {.index = index};
    if (cyx_backend_open(backend, &options, &found, &device, &err) != CYX_OK)
        return false;
    found->device_info(device, &info);
    found->device_close(device);
    *ret_software = info.is_software;
    if (info.is_software && lists_a_gpu(devices))
        return false;
    json_array_foreach(devices, i, listed)
    {
        const char *of = json_string_value(json_object_get(listed, "backend"));
        if (of && strcmp(of, info.backend) == 0 &&
            json_integer_value(json_object_get(listed, "index")) == index)
            return true;
    }
    json_array_append_new(devices,
                          json_pack("{s:i, s:s, s:s, s:I, s:b, s:i}", "index", index, "backend",
                                    info.backend, "name", info.name, "memory_bytes",
                                    (json_int_t)info.memory_bytes, "is_software", info.is_software,
                                    "threads", info.threads));
    return true;
}

/* All GPUs; of those that are software the first alone, unless Vulkan was asked for by name. */
static void probe_vulkan(json_t *devices, bool by_name)
{
    bool software = false;
    for (int index = 0; index < PROBE_GPUS_LIMIT; index++)
        if (!probe_one(devices, "vulkan", index, &software) || (software && !by_name))
            return;
}

/* What training would choose comes first. */
static int probe(const char *backend)
{
    json_t *devices = json_array();
    bool software = false, automatic = strcmp(backend, "auto") == 0;
    (void)probe_one(devices, backend, 0, &software);
    if (automatic || strcmp(backend, "vulkan") == 0)
        probe_vulkan(devices, !automatic);
    if (automatic)
        (void)probe_one(devices, "cpu", 0, &software);
    trainer_say(devices);
    return 0;
}

int trainer_main(int argc, char **argv)
{
    bool training = (argc == ALONE || argc == IN_GANG) && strcmp(argv[1], "--train") == 0;
    bool probing = argc == 3 && strcmp(argv[1], "--probe") == 0;
    if (argc == 2 && strcmp(argv[1], "--sandbox-check") == 0)
        return 0;
    bool proving = argc == 6 && strcmp(argv[1], "--bench") == 0;
    bool unpacking = argc == 5 && strcmp(argv[1], "--unpack") == 0;
    if (!training && !probing && !proving && !unpacking)
        return -1;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    struct sigaction action = {.sa_handler = on_terminate};
    if (proving) /* SIGTERM ends it: there is nothing to keep */
        return prover_main(argv + 2);
    if (unpacking)
        return upload_unpack_main(argv + 2);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    if (training && !meeting_watch_input(&meeting))
        return 1;
    return training ? train(argc, argv + 2) : probe(argv[2]);
}

enum cyx_status trainer_probe(const struct sandbox *sandbox, const char *backend,
                              struct cyx_buf *ret_json, struct cyx_error *err)
{
    struct sandbox_process process;
    const struct sandbox_plan plan = {.gpu = strcmp(backend, "cpu") != 0};
    const char *const argv[] = {sandbox_program(sandbox), "--probe", backend, NULL};
    enum cyx_status status = sandbox_spawn(sandbox, &plan, argv, &process, err);
    if (status != CYX_OK)
        return status;
    char chunk[4096];
    ssize_t n;
    while ((n = read(process.output, chunk, sizeof(chunk))) > 0 || (n < 0 && errno == EINTR))
        if (n > 0 && ret_json->length < 65536)
            cyx_buf_append(ret_json, chunk, (size_t)n);
    int wait_status = 0;
    if (sandbox_wait(&process, PROBE_END_MS, &wait_status) != CYX_OK || wait_status != 0)
        return cyx_error_set(err, CYX_ERR_UNAVAILABLE, NULL,
                             "looking for devices ended with status %d", wait_status);
    return CYX_OK;
}
