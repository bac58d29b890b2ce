#include "api.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/version.h"
#include "contract/job_spec.h"
#include "contract/message.h"
#include "contract/subjects.h"

#include "base/banned.h"

/* Sends `body` (taken) on this node's subject under `stem` and gives the reply's object. */
static enum cyx_status ask(struct cyx_bus *bus, const struct api_node *node, const char *stem,
                           json_t *body, json_t **ret_reply, struct cyx_error *err)
{
    char subject[CYX_SUBJECT_BYTES];
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    CYX_CLEANUP_BUF struct cyx_buf reply = {0};
    enum cyx_status status = cyx_message_write(body, &text, err);
    if (status == CYX_OK)
        status = cyx_subject_from_node(subject, stem, node->id);
    if (status == CYX_OK)
        status = cyx_bus_request(bus, subject, NULL, text.data, text.length, CYX_REQUEST_TIMEOUT_MS,
                                 &reply, err);
    if (status == CYX_OK)
        status = cyx_message_parse(reply.data, reply.length, ret_reply, err);
    return status;
}

/* "a,b" as ["a","b"]; spaces around a label are nobody's. */
static json_t *labels_json(const char *labels)
{
    json_t *array = json_array();
    for (size_t length; *labels; labels += length + (labels[length] == ',')) {
        labels += strspn(labels, " ");
        length = strcspn(labels, ",");
        size_t end = length;
        while (end > 0 && labels[end - 1] == ' ')
            end--;
        if (end > 0)
            json_array_append_new(array, json_stringn(labels, end));
    }
    return array;
}

/* As ask(); the reply's `node`. */
static enum cyx_status ask_for_node(struct cyx_bus *bus, const struct api_node *node,
                                    const char *stem, json_t *body, json_t **ret_node,
                                    struct cyx_error *err)
{
    CYX_CLEANUP_JSON json_t *reply = NULL;
    json_t *told = NULL;
    enum cyx_status status = ask(bus, node, stem, body, &reply, err);
    if (status == CYX_OK)
        status = cyx_message_object(reply, "node", &told, err);
    if (status == CYX_OK)
        *ret_node = json_incref(told);
    return status;
}

enum cyx_status api_enrol(struct cyx_bus *bus, const struct api_node *node, json_t **ret_node,
                          struct cyx_error *err)
{
    return ask_for_node(bus, node, CYX_SVC_REGISTRY_ENROL,
                        json_pack("{s:s, s:s, s:s, s:s, s:O, s:I, s:I, s:s, s:o, s:o}", "node_id",
                                  node->id, "name", node->name, "boot_id", node->boot_id, "version",
                                  cyx_version(), "devices", node->devices, "host_memory_bytes",
                                  (json_int_t)node->host_memory_bytes, "cpus",
                                  (json_int_t)sysconf(_SC_NPROCESSORS_ONLN), "price_per_hour",
                                  node->price_per_hour, "labels", labels_json(node->labels),
                                  "region", cyx_message_new_text(node->region)),
                        ret_node, err);
}

enum cyx_status api_ask_node(struct cyx_bus *bus, const struct api_node *node, json_t **ret_node,
                             struct cyx_error *err)
{
    return ask_for_node(bus, node, CYX_SVC_REGISTRY_GET, json_pack("{s:s}", "node_id", node->id),
                        ret_node, err);
}

enum cyx_status api_drain(struct cyx_bus *bus, const struct api_node *node, bool drain,
                          const char *reason, json_t **ret_node, struct cyx_error *err)
{
    json_t *body = json_pack("{s:s, s:b}", "node_id", node->id, "drain", drain);
    if (reason)
        json_object_set_new(body, "reason", json_string(reason));
    return ask_for_node(bus, node, CYX_SVC_REGISTRY_DRAIN, body, ret_node, err);
}

static json_t *system_json(const struct api_node *node, const struct monitor_reading *reading)
{
    json_t *system = monitor_json(reading);
    const struct sandbox_state *sandbox = node->sandbox;
    json_object_set_new(system, "sandbox",
                        json_pack("{s:s, s:s, s:s}", "walls", sandbox_walls_name(sandbox->walls),
                                  "system_calls", sandbox->filters ? "filtered" : "open", "limits",
                                  sandbox->groups ? "cgroup" : "rlimits"));
    return system;
}

enum cyx_status api_heartbeat(struct cyx_bus *bus, const struct api_node *node, uint64_t seq,
                              const struct api_job *jobs, size_t n_jobs,
                              const struct monitor_reading *reading, double images_per_second,
                              struct cyx_error *err)
{
    char subject[CYX_SUBJECT_BYTES];
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    json_t *held_jobs = json_array();
    for (size_t i = 0; i < n_jobs; i++)
        json_array_append_new(held_jobs, json_pack("{s:s, s:I}", "job_id", jobs[i].id, "token",
                                                   (json_int_t)jobs[i].token));
    enum cyx_status status = cyx_subject_node(subject, node->id, CYX_NODE_HEARTBEAT);
    if (status == CYX_OK)
        status = cyx_message_write(
            json_pack("{s:s, s:I, s:o, s:f, s:I, s:f, s:o}", "boot_id", node->boot_id, "seq",
                      (json_int_t)seq, "jobs", held_jobs, "cpu_percent",
                      reading->system.cpu_percent, "memory_used_bytes",
                      (json_int_t)reading->system.memory_used_bytes, "images_per_second",
                      images_per_second, "system", system_json(node, reading)),
            &text, err);
    if (status == CYX_OK)
        status = cyx_bus_publish(bus, subject, NULL, text.data, text.length, err);
    return status;
}

enum cyx_status api_leave(struct cyx_bus *bus, const struct api_node *node, struct cyx_error *err)
{
    char subject[CYX_SUBJECT_BYTES], text[96];
    int length = snprintf(text, sizeof(text), "{\"boot_id\":\"%s\"}", node->boot_id);
    enum cyx_status status = cyx_subject_node(subject, node->id, CYX_NODE_LEAVING);
    return status == CYX_OK ? cyx_bus_publish(bus, subject, NULL, text, (size_t)length, err)
                            : status;
}

enum cyx_status api_read_job(const struct cyx_bus_message *message, struct api_job *ret_job,
                             struct cyx_error *err)
{
    CYX_CLEANUP_JSON json_t *body = NULL;
    const char *id = NULL;
    struct api_job job = {0};
    enum cyx_status status = cyx_message_parse(message->data, message->length, &body, err);
    if (status == CYX_OK)
        status = cyx_message_id(body, "job_id", &id, err);
    if (status == CYX_OK)
        status = cyx_message_int(body, "token", 0, INT64_MAX, &job.token, err);
    if (status != CYX_OK)
        return status;
    snprintf(job.id, sizeof(job.id), "%s", id);
    *ret_job = job;
    return CYX_OK;
}

enum cyx_status api_read_challenge(const struct cyx_bus_message *message,
                                   struct api_challenge *ret_challenge, struct cyx_error *err)
{
    CYX_CLEANUP_JSON json_t *body = NULL;
    const char *id = NULL, *backend = NULL;
    struct api_challenge challenge = {0};
    enum cyx_status status = cyx_message_parse(message->data, message->length, &body, err);
    if (status == CYX_OK)
        status = cyx_message_id(body, "challenge_id", &id, err);
    if (status == CYX_OK)
        status = cyx_message_text(body, "backend", &backend, err);
    if (status == CYX_OK)
        status = cyx_message_int(body, "index", 0, 1023, &challenge.index, err);
    if (status != CYX_OK)
        return status;
    snprintf(challenge.id, sizeof(challenge.id), "%s", id);
    snprintf(challenge.backend, sizeof(challenge.backend), "%s", backend);
    *ret_challenge = challenge;
    return CYX_OK;
}

static json_t *proof(const struct api_node *node, const struct api_challenge *challenge,
                     const char *step)
{
    return json_pack("{s:s, s:s, s:s}", "node_id", node->id, "challenge_id", challenge->id, "step",
                     step);
}

enum cyx_status api_prove_ready(struct cyx_bus *bus, const struct api_node *node,
                                const struct api_challenge *challenge, const json_t *told,
                                json_t **ret_task, struct cyx_error *err)
{
    json_t *body = proof(node, challenge, "ready");
    json_object_set(body, "told", (json_t *)told);
    return ask(bus, node, CYX_SVC_REGISTRY_PROVE, body, ret_task, err);
}

enum cyx_status api_prove_answer(struct cyx_bus *bus, const struct api_node *node,
                                 const struct api_challenge *challenge, const json_t *outputs,
                                 bool *ret_proved, char *ret_message, size_t size,
                                 struct cyx_error *err)
{
    CYX_CLEANUP_JSON json_t *reply = NULL;
    json_t *body = proof(node, challenge, "answer");
    json_object_set(body, "outputs", (json_t *)outputs);
    enum cyx_status status = ask(bus, node, CYX_SVC_REGISTRY_PROVE, body, &reply, err);
    if (status != CYX_OK)
        return status;
    const char *message = json_string_value(json_object_get(reply, "message"));
    *ret_proved = json_is_true(json_object_get(reply, "proved"));
    snprintf(ret_message, size, "%s", message ? message : "");
    return CYX_OK;
}

enum cyx_status api_prove(struct cyx_bus *bus, const struct api_node *node,
                          const struct api_challenge *challenge, const char *step,
                          const char *message, struct cyx_error *err)
{
    CYX_CLEANUP_JSON json_t *reply = NULL;
    json_t *body = proof(node, challenge, step);
    json_object_set_new(body, "message", cyx_message_new_text(message));
    return ask(bus, node, CYX_SVC_REGISTRY_PROVE, body, &reply, err);
}

static json_t *held(const struct api_node *node, const struct api_job *job)
{
    return json_pack("{s:s, s:s, s:s, s:I}", "node_id", node->id, "boot_id", node->boot_id,
                     "job_id", job->id, "token", (json_int_t)job->token);
}

enum cyx_status api_gang(struct cyx_bus *bus, const struct api_node *node,
                         const struct api_job *job, json_t **ret_reply, struct cyx_error *err)
{
    return ask(bus, node, CYX_SVC_SCHEDULER_GANG, held(node, job), ret_reply, err);
}

/* `gang` of an accept; none: we train alone. */
static enum cyx_status read_seat(const json_t *gang, struct api_seat *ret_seat,
                                 struct cyx_error *err)
{
    int64_t rank = 0, nodes = 1, attempt = 0;
    enum cyx_status status = CYX_OK;
    if (json_is_object(gang)) {
        status = cyx_message_int(gang, "nodes", 2, CYX_JOB_NODES_LIMIT, &nodes, err);
        if (status == CYX_OK)
            status = cyx_message_int(gang, "rank", 0, nodes - 1, &rank, err);
        if (status == CYX_OK)
            status = cyx_message_int(gang, "attempt", 1, INT64_MAX, &attempt, err);
    }
    *ret_seat = (struct api_seat){(int)rank, (int)nodes, attempt};
    return status;
}

enum cyx_status api_accept(struct cyx_bus *bus, const struct api_node *node,
                           const struct api_job *job, struct api_accepted *ret_accepted,
                           struct cyx_error *err)
{
    struct api_accepted accepted = {0};
    json_t *spec = NULL;
    enum cyx_status status =
        ask(bus, node, CYX_SVC_SCHEDULER_ACCEPT, held(node, job), &accepted.body, err);
    if (status == CYX_OK)
        status = cyx_message_object(accepted.body, "spec", &spec, err);
    if (status == CYX_OK)
        status = cyx_message_text(accepted.body, "grant", &accepted.grant, err);
    if (status == CYX_OK)
        status = read_seat(json_object_get(accepted.body, "gang"), &accepted.seat, err);
    const json_t *checkpoint = json_object_get(accepted.body, "checkpoint");
    if (status == CYX_OK && json_is_object(checkpoint))
        status = cyx_message_text(checkpoint, "sha256", &accepted.checkpoint_sha256, err);
    accepted.spec = spec;
    if (status == CYX_OK)
        *ret_accepted = accepted;
    else
        json_decref(accepted.body);
    return status;
}

enum cyx_status api_progress(struct cyx_bus *bus, const struct api_node *node,
                             const struct api_job *job, const struct api_progress *p,
                             bool *ret_cancel, struct cyx_error *err)
{
    CYX_CLEANUP_JSON json_t *reply = NULL;
    json_t *body = held(node, job);
    json_t *more =
        json_pack("{s:I, s:I, s:I, s:I, s:f, s:o, s:f}", "epoch", (json_int_t)p->epoch, "epochs",
                  (json_int_t)p->epochs, "step", (json_int_t)p->step, "total_steps",
                  (json_int_t)p->total_steps, "loss", p->loss, "accuracy",
                  cyx_message_number(p->accuracy), "images_per_second", p->images_per_second);
    json_object_update(body, more);
    json_decref(more);
    if (p->checkpoint_sha256)
        json_object_set_new(body, "checkpoint",
                            json_pack("{s:s, s:I, s:I}", "sha256", p->checkpoint_sha256, "bytes",
                                      (json_int_t)p->checkpoint_bytes, "step",
                                      (json_int_t)p->checkpoint_step));
    enum cyx_status status = ask(bus, node, CYX_SVC_SCHEDULER_PROGRESS, body, &reply, err);
    if (status == CYX_OK)
        *ret_cancel = json_is_true(json_object_get(reply, "cancel"));
    return status;
}

enum cyx_status api_finish(struct cyx_bus *bus, const struct api_node *node,
                           const struct api_job *job, const struct api_finish *finish,
                           struct cyx_error *err)
{
    CYX_CLEANUP_JSON json_t *reply = NULL;
    json_t *body = held(node, job);
    json_object_set_new(body, "outcome", json_string(worker_outcome_name(finish->outcome)));
    if (finish->outcome == WORKER_FAILED)
        json_object_set_new(body, "error",
                            json_pack("{s:s, s:s, s:s}", "status",
                                      cyx_status_name(finish->error->status), "pointer",
                                      finish->error->pointer, "message", finish->error->message));
    if (finish->outcome == WORKER_COMPLETED) {
        json_object_set(body, "result", finish->result);
        json_object_set_new(body, "model",
                            json_pack("{s:s, s:I}", "sha256", finish->model_sha256, "bytes",
                                      (json_int_t)finish->model_bytes));
    }
    return ask(bus, node, CYX_SVC_SCHEDULER_FINISH, body, &reply, err);
}

/* On cyx.job.<id>.<last>.<node>: a node tells of jobs under its own name alone. */
static enum cyx_status tell(struct cyx_bus *bus, const struct api_node *node,
                            const struct api_job *job, const char *last, const char *kind,
                            int64_t number, json_t *body, struct cyx_error *err)
{
    char stem[CYX_SUBJECT_BYTES], subject[CYX_SUBJECT_BYTES], message_id[128],
        now[CYX_TIME_TEXT_BYTES];
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    cyx_time_format(cyx_clock_unix_ms(), now);
    json_object_set_new(body, "at", json_string(now));
    snprintf(message_id, sizeof(message_id), "%s:%lld:%s:%lld", job->id, (long long)job->token,
             kind, (long long)number);
    enum cyx_status status = cyx_message_write(body, &text, err);
    if (status == CYX_OK)
        status = cyx_subject_job(stem, job->id, last);
    if (status == CYX_OK)
        status = cyx_subject_from_node(subject, stem, node->id);
    if (status == CYX_OK)
        status = cyx_bus_publish_async(bus, subject, message_id, NULL, text.data, text.length, NULL,
                                       NULL, err);
    return status;
}

enum cyx_status api_tell_metrics(struct cyx_bus *bus, const struct api_node *node,
                                 const struct api_job *job, const struct worker_event *e,
                                 struct cyx_error *err)
{
    bool step = e->kind == WORKER_EVENT_STEP;
    json_t *body = json_pack(
        "{s:s, s:I, s:I, s:I, s:I, s:f, s:o, s:f, s:f}", "kind", step ? "step" : "epoch", "step",
        (json_int_t)e->step, "total_steps", (json_int_t)e->total_steps, "epoch",
        (json_int_t)e->epoch, "epochs", (json_int_t)e->epochs, "loss", e->loss, "accuracy",
        cyx_message_number(e->accuracy), "lr", e->lr, "images_per_second", e->images_per_second);
    if (!step) {
        json_object_set_new(body, "eval_loss", cyx_message_number(e->eval_loss));
        json_object_set_new(body, "eval_accuracy", cyx_message_number(e->eval_accuracy));
    }
    return tell(bus, node, job, CYX_JOB_METRICS, step ? "step" : "epoch", step ? e->step : e->epoch,
                body, err);
}

enum cyx_status api_tell_log(struct cyx_bus *bus, const struct api_node *node,
                             const struct api_job *job, int64_t number, const char *level,
                             const char *message, struct cyx_error *err)
{
    return tell(bus, node, job, CYX_JOB_LOG, "log", number,
                json_pack("{s:s, s:s}", "level", level, "message", message), err);
}
