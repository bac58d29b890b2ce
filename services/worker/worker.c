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
    [WORKER_EVENT_RESULT] = "result",   [WORKER_EVENT_ERROR] = "error",
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
    made.loss = number(body, "loss");
    made.accuracy = cyx_message_number_of(body, "accuracy");
    made.eval_loss = number(body, "eval_loss");
    made.eval_accuracy = cyx_message_number_of(body, "eval_accuracy");
    made.lr = number(body, "lr");
    made.images_per_second = number(body, "images_per_second");
    copy_text(body, "path", made.path, sizeof(made.path));
    copy_text(body, "device", made.device, sizeof(made.device));
    copy_text(body, "backend", made.backend, sizeof(made.backend));
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
    static const char *const names[] = {"completed", "failed", "cancelled", "handed-back"};
    return names[outcome];
}

enum worker_outcome worker_end_judge(const struct worker_end *end, struct cyx_error *ret_error)
{
    if (end->has_result && WIFEXITED(end->wait_status) && WEXITSTATUS(end->wait_status) == 0)
        return WORKER_COMPLETED;
    if (end->cancelled)
        return WORKER_CANCELLED;
    if (end->draining)
        return WORKER_HANDED_BACK;
    if (end->has_error) {
        *ret_error = end->error;
    } else if (WIFSIGNALED(end->wait_status) && WTERMSIG(end->wait_status) == SIGKILL) {
        cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL,
                      "the trainer was killed (SIGKILL), most likely because host memory ran out: "
                      "lower data.batch_size or use a node with more memory");
    } else if (WIFSIGNALED(end->wait_status)) {
        cyx_error_set(ret_error, CYX_ERR_INTERNAL, NULL, "the trainer was ended by signal %d (%s)",
                      WTERMSIG(end->wait_status), strsignal(WTERMSIG(end->wait_status)));
    } else {
        cyx_error_set(ret_error, CYX_ERR_INTERNAL, NULL,
                      "the trainer ended with code %d and gave no result",
                      WEXITSTATUS(end->wait_status));
    }
    return WORKER_FAILED;
}

const char *worker_backend(const char *of_spec, const char *of_node)
{
    return of_spec && *of_spec && strcmp(of_spec, "auto") != 0 ? of_spec : of_node;
}
