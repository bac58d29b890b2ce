#include "worker.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "contract/message.h"

#include "base/banned.h"

static const char *const kind_names[] = {
    [WORKER_EVENT_STARTED] = "started", [WORKER_EVENT_STEP] = "step",
    [WORKER_EVENT_EPOCH] = "epoch",     [WORKER_EVENT_CHECKPOINT] = "checkpoint",
    [WORKER_EVENT_NOTICE] = "notice",   [WORKER_EVENT_RESULT] = "result",
    [WORKER_EVENT_ERROR] = "error",     [WORKER_EVENT_MEET] = "meet",
};

static bool parse_kind(const char *text, enum worker_event_kind *ret_kind)
{
    for (size_t i = 0; i < sizeof(kind_names) / sizeof(kind_names[0]); i++) {
        if (strcmp(text, kind_names[i]) == 0) {
            *ret_kind = (enum worker_event_kind)i;
            return true;
        }
    }
    return false;
}

static int64_t whole(const json_t *body, const char *key)
{
    return json_integer_value(json_object_get(body, key));
}

static double number(const json_t *body, const char *key)
{
    return json_number_value(json_object_get(body, key));
}

static void copy_text(const json_t *body, const char *key, char *ret_text, size_t size)
{
    const char *text = json_string_value(json_object_get(body, key));
    snprintf(ret_text, size, "%s", text ? text : "");
}

enum cyx_status worker_event_parse(const char *line, size_t length, struct worker_event *ret_event,
                                   struct cyx_error *err)
{
    CYX_CLEANUP_JSON json_t *body = NULL;
    const char *kind = NULL;
    struct worker_event made = {0};
    enum cyx_status status = cyx_message_parse(line, length, &body, err);
    if (status == CYX_OK)
        status = cyx_message_text(body, "event", &kind, err);
    if (status != CYX_OK || !parse_kind(kind, &made.kind))
        return cyx_error_set(err, CYX_ERR_CORRUPT, NULL,
                             "the trainer said something unknown: %.120s", line);
    made.epoch = whole(body, "epoch");
    made.epochs = whole(body, "epochs");
    made.step = whole(body, "step");
    made.total_steps = whole(body, "total_steps");
    made.round = whole(body, "round");
    made.count = whole(body, "count");
    made.loss = number(body, "loss");
    made.accuracy = cyx_message_number_of(body, "accuracy");
    made.eval_loss = cyx_message_number_of(body, "eval_loss");
    made.eval_accuracy = cyx_message_number_of(body, "eval_accuracy");
    made.lr = number(body, "lr");
    made.images_per_second = number(body, "images_per_second");
    made.device_memory_used_bytes = whole(body, "device_memory_used_bytes");
    made.device_memory_budget_bytes = whole(body, "device_memory_budget_bytes");
    copy_text(body, "path", made.path, sizeof(made.path));
    copy_text(body, "device", made.device, sizeof(made.device));
    copy_text(body, "backend", made.backend, sizeof(made.backend));
    if (made.kind == WORKER_EVENT_NOTICE)
        copy_text(body, "message", made.message, sizeof(made.message));
    if (made.kind == WORKER_EVENT_RESULT)
        made.result = json_incref(json_object_get(body, "result"));
    if (made.kind == WORKER_EVENT_ERROR) {
        const char *name = json_string_value(json_object_get(body, "status"));
        made.error.status = cyx_status_from_name(name);
        copy_text(body, "pointer", made.error.pointer, sizeof(made.error.pointer));
        copy_text(body, "message", made.error.message, sizeof(made.error.message));
    }
    *ret_event = made;
    return CYX_OK;
}

void worker_event_finish(struct worker_event *self)
{
    json_decref(self->result);
    self->result = NULL;
}

bool worker_step_is_told(int64_t now_ms, int64_t last_told_ms, const struct worker_event *event)
{
    int64_t steps_of_epoch = event->epochs > 0 ? event->total_steps / event->epochs : 0;
    bool last_of_epoch = steps_of_epoch > 0 && event->step % steps_of_epoch == 0;
    return last_of_epoch || now_ms - last_told_ms >= WORKER_STEP_INTERVAL_MS;
}

const char *worker_outcome_name(enum worker_outcome outcome)
{
    static const char *const names[] = {"completed", "failed", "cancelled", "handed-back", "done"};
    return names[outcome];
}

enum worker_breach worker_breach_of(const struct worker_limits *limits,
                                    const struct worker_usage *usage)
{
    enum { PATIENCE = 10 };
    int64_t silence_ms = usage->longest_silence_ms * PATIENCE;
    if (silence_ms < limits->silence_ms)
        silence_ms = limits->silence_ms;
    if (limits->memory_bytes && usage->memory_bytes > limits->memory_bytes)
        return WORKER_BREACH_MEMORY;
    if (limits->disk_bytes && usage->disk_bytes > limits->disk_bytes)
        return WORKER_BREACH_DISK;
    if (limits->run_ms && usage->run_ms > limits->run_ms)
        return WORKER_BREACH_TIME;
    if (limits->silence_ms && usage->silent_ms > silence_ms)
        return WORKER_BREACH_SILENCE;
    return WORKER_NO_BREACH;
}

enum { BYTES_TEXT = 32 };

static const char *bytes_text(int64_t bytes, char ret_text[BYTES_TEXT])
{
    if (bytes >= INT64_C(1) << 30)
        snprintf(ret_text, BYTES_TEXT, "%.4g GiB", (double)bytes / (double)(INT64_C(1) << 30));
    else
        snprintf(ret_text, BYTES_TEXT, "%.4g MiB", (double)bytes / (double)(INT64_C(1) << 20));
    return ret_text;
}

static void judge_breach(const struct worker_end *end, struct cyx_error *ret_error)
{
    char limit[BYTES_TEXT];
    switch (end->breach) {
    case WORKER_BREACH_MEMORY:
        cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL,
                      "out of memory: limit %s of host memory a job on this node; lower "
                      "data.batch_size or ask for more in resources.host_memory_bytes",
                      bytes_text(end->limits.memory_bytes, limit));
        break;
    case WORKER_BREACH_DISK:
        cyx_error_set(ret_error, CYX_ERR_IO, NULL,
                      "out of disk: limit %s of files a job on this node; checkpoint less often or "
                      "train a smaller model",
                      bytes_text(end->limits.disk_bytes, limit));
        break;
    case WORKER_BREACH_TIME:
        cyx_error_set(ret_error, CYX_ERR_TIMEOUT, NULL,
                      "out of time: limit %.4g s a job on this node; lower epochs or use a faster "
                      "node",
                      (double)end->limits.run_ms / 1000.0);
        break;
    default:
        cyx_error_set(ret_error, CYX_ERR_TIMEOUT, NULL,
                      "the trainer hung: no progress for %.4g s, so it was killed",
                      (double)end->usage.silent_ms / 1000.0);
    }
}

static void judge_signal(int number, struct cyx_error *ret_error)
{
    if (number == SIGKILL)
        cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL,
                      "the trainer was killed (signal 9, SIGKILL), most likely because host memory "
                      "ran out: lower data.batch_size or use a node with more memory");
    else
        cyx_error_set(ret_error, CYX_ERR_INTERNAL, NULL,
                      "the trainer was ended by signal %d (SIG%s, %s)", number,
                      sigabbrev_np(number) ? sigabbrev_np(number) : "?", strsignal(number));
}

/* The engine names what it asked for; what it could have had stands behind. */
static void judge_error(const struct worker_end *end, struct cyx_error *ret_error)
{
    char limit[BYTES_TEXT];
    *ret_error = end->error;
    if (end->error.status == CYX_ERR_NO_MEMORY && end->limits.memory_bytes)
        cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, end->error.pointer,
                      "out of memory: %.380s (limit %s of host memory a job on this node)",
                      end->error.message, bytes_text(end->limits.memory_bytes, limit));
}

enum worker_outcome worker_end_judge(const struct worker_end *end, struct cyx_error *ret_error)
{
    int status = end->wait_status;
    if (end->has_result && WIFEXITED(status) && WEXITSTATUS(status) == 0 && !end->stuck)
        return WORKER_COMPLETED;
    if (end->breach != WORKER_NO_BREACH)
        judge_breach(end, ret_error);
    else if (end->cancelled)
        return WORKER_CANCELLED;
    else if (end->draining)
        return WORKER_HANDED_BACK;
    else if (end->has_error)
        judge_error(end, ret_error);
    else if (end->stuck)
        cyx_error_set(ret_error, CYX_ERR_TIMEOUT, NULL,
                      "the trainer cannot be ended: a driver of this node hangs");
    else if (WIFSIGNALED(status) && WTERMSIG(status) == SIGXFSZ)
        judge_breach(&(struct worker_end){.breach = WORKER_BREACH_DISK, .limits = end->limits},
                     ret_error);
    else if (WIFSIGNALED(status))
        judge_signal(WTERMSIG(status), ret_error);
    else
        cyx_error_set(ret_error, CYX_ERR_INTERNAL, NULL,
                      "the trainer ended with code %d and gave no result", WEXITSTATUS(status));
    return WORKER_FAILED;
}

const char *worker_backend(const char *of_spec, const char *of_node)
{
    return of_spec && *of_spec && strcmp(of_spec, "auto") != 0 ? of_spec : of_node;
}
