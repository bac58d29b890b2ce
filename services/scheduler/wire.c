#include "wire.h"

#include <string.h>

#include "base/clock.h"
#include "contract/message.h"
#include "contract/money.h"

#include "base/banned.h"

/* Writers of one member with its comma before it; the first member of an object is written by hand. */
static void put_raw(struct cyx_buf *text, const char *key, const char *json)
{
    cyx_buf_printf(text, ",\"%s\":", key);
    cyx_buf_puts(text, json ? json : "null");
}

static void put_text(struct cyx_buf *text, const char *key, const char *value)
{
    cyx_buf_printf(text, ",\"%s\":", key);
    if (value && *value)
        cyx_buf_json_string(text, value);
    else
        cyx_buf_puts(text, "null");
}

static void put_int(struct cyx_buf *text, const char *key, int64_t value)
{
    cyx_buf_printf(text, ",\"%s\":%lld", key, (long long)value);
}

static void put_amount(struct cyx_buf *text, const char *key, int64_t base_units)
{
    char amount[CYX_MONEY_TEXT_BYTES] = "";
    if (base_units >= 0)
        cyx_money_format(base_units, amount);
    put_text(text, key, amount);
}

static void put_time(struct cyx_buf *text, const char *key, int64_t unix_ms)
{
    char time[CYX_TIME_TEXT_BYTES] = "";
    if (unix_ms != 0)
        cyx_time_format(unix_ms, time);
    put_text(text, key, time);
}

static void put_artifact(struct cyx_buf *text, const char *key,
                         const struct cyx_sched_artifact *artifact, bool with_step)
{
    if (!artifact->sha256[0]) {
        put_raw(text, key, NULL);
        return;
    }
    cyx_buf_printf(text, ",\"%s\":{\"sha256\":\"%s\",\"bytes\":%lld", key, artifact->sha256,
                   (long long)artifact->bytes);
    if (with_step)
        put_int(text, "step", artifact->step);
    cyx_buf_puts(text, "}");
}

static void put_pending(struct cyx_buf *text, const struct cyx_sched_pending *pending)
{
    if (!pending || pending->code == CYX_SCHED_PENDING_NONE) {
        put_raw(text, "pending", NULL);
        return;
    }
    cyx_buf_printf(text, ",\"pending\":{\"code\":\"%s\"", cyx_sched_pending_name(pending->code));
    put_text(text, "message", pending->message);
    put_text(text, "remedy", pending->remedy);
    cyx_buf_puts(text, "}");
}

static void put_array(struct cyx_buf *text, const struct cyx_sched_array *array)
{
    if (array->count == 0) {
        put_raw(text, "array", NULL);
        return;
    }
    cyx_buf_printf(text, ",\"array\":{\"id\":\"%s\"", array->id);
    put_int(text, "index", array->index);
    put_int(text, "count", array->count);
    cyx_buf_puts(text, "}");
}

static void put_transitions(struct cyx_buf *text, const struct cyx_sched_transition *transitions,
                            size_t count)
{
    cyx_buf_puts(text, ",\"transitions\":[");
    for (size_t i = 0; i < count; i++) {
        const struct cyx_sched_transition *transition = &transitions[i];
        cyx_buf_puts(text, i ? ",{\"to\":" : "{\"to\":");
        cyx_buf_json_string(text, transition->to);
        put_text(text, "from", transition->from);
        put_text(text, "cause", transition->cause);
        put_text(text, "node_id", transition->node_id);
        if (transition->members)
            put_raw(text, "members", transition->members);
        if (transition->token)
            put_int(text, "token", transition->token);
        else
            put_raw(text, "token", NULL);
        put_time(text, "at", transition->at_ms);
        cyx_buf_puts(text, "}");
    }
    cyx_buf_puts(text, "]");
}

void cyx_sched_write_job(struct cyx_buf *text, const struct cyx_sched_job_view *view)
{
    static const char *const priorities[] = {"low", "normal", "high", "critical"};
    const struct cyx_sched_job *job = view->job;
    cyx_buf_printf(text, "{\"id\":\"%s\"", job->id);
    put_text(text, "account_id", job->account_id);
    put_text(text, "name", job->name);
    put_text(text, "state", cyx_sched_state_name(job->facts.state));
    put_raw(text, "spec", job->spec);
    put_text(text, "priority",
             priorities[job->priority >= 0 && job->priority < 4 ? job->priority : 1]);
    put_amount(text, "budget", job->budget_base_units);
    put_amount(text, "cost", job->cost_base_units);
    put_raw(text, "funded", job->facts.funded ? "true" : "false");
    put_raw(text, "cancel_requested", job->facts.cancel_requested ? "true" : "false");
    put_time(text, "created_at", job->created_at_ms);
    put_time(text, "assigned_at", job->assigned_at_ms);
    put_time(text, "started_at", job->started_at_ms);
    put_time(text, "ended_at", job->ended_at_ms);
    put_text(text, "node_id", job->node_id);
    put_int(text, "attempt", job->attempt);
    put_int(text, "token", job->token);
    put_raw(text, "progress", job->progress);
    put_raw(text, "result", job->result);
    put_artifact(text, "model", &job->model, false);
    put_artifact(text, "checkpoint", &job->checkpoint, true);
    put_raw(text, "error", job->error);
    put_pending(text, view->pending);
    put_int(text, "parameters", job->parameters);
    put_int(text, "training_flops_per_sample", job->flops_per_sample);
    put_int(text, "training_bytes", job->training_bytes);
    put_int(text, "device_ms", job->device_ms);
    put_amount(text, "price_per_hour", job->price_per_hour_base_units);
    put_raw(text, "placement", job->placement);
    put_raw(text, "gang", job->gang);
    put_array(text, &job->array);
    put_int(text, "waits_for", job->waits_for);
    put_int(text, "preemptions", job->preemptions);
    put_time(text, "deadline", job->deadline_ms);
    if (view->transitions)
        put_transitions(text, view->transitions, view->n_transitions);
    cyx_buf_puts(text, "}");
}

/* `"key":{"low":…,"high":…}`, null when it is not known. */
static void put_seconds(struct cyx_buf *text, const char *key, double low, double high)
{
    if (low < 0)
        put_raw(text, key, NULL);
    else
        cyx_buf_printf(text, ",\"%s\":{\"low\":%.3f,\"high\":%.3f}", key, low, high);
}

static void put_price(struct cyx_buf *text, const struct cyx_sched_quote *quote)
{
    char low[CYX_MONEY_TEXT_BYTES], high[CYX_MONEY_TEXT_BYTES];
    if (quote->price_low_base_units < 0) {
        put_raw(text, "price", NULL);
        return;
    }
    cyx_money_format(quote->price_low_base_units, low);
    cyx_money_format(quote->price_high_base_units, high);
    cyx_buf_printf(text, ",\"price\":{\"low\":\"%s\",\"high\":\"%s\"}", low, high);
}

void cyx_sched_write_quote(struct cyx_buf *text, const struct cyx_sched_quote *quote,
                           const struct cyx_sched_submission *submission)
{
    cyx_buf_printf(text,
                   "{\"quote\":{\"nodes\":{\"online\":%zu,\"fit\":%zu,\"free\":%zu,"
                   "\"measured\":%zu,\"benchmarked\":%zu},\"total_flops\":%.0f",
                   quote->online, quote->fit, quote->free, quote->measured, quote->benchmarked,
                   submission->need.total_flops);
    put_seconds(text, "run_seconds", quote->run_low_s, quote->run_high_s);
    put_price(text, quote);
    put_amount(text, "budget", submission->need.budget_base_units);
    if (quote->price_low_base_units < 0)
        put_raw(text, "within_budget", NULL);
    else
        put_raw(text, "within_budget",
                quote->price_high_base_units <= submission->need.budget_base_units ? "true"
                                                                                   : "false");
    if (quote->start_s < 0)
        put_raw(text, "start_in_seconds", NULL);
    else
        cyx_buf_printf(text, ",\"start_in_seconds\":%.3f", quote->start_s);
    put_int(text, "jobs_ahead", quote->ahead);
    put_pending(text, &quote->pending);
    cyx_buf_puts(text, "}}");
}

void cyx_sched_write_event(struct cyx_buf *text, const struct cyx_sched_event_view *view)
{
    /* Without the nodes: what is still to be held or waited for is known of itself. */
    struct cyx_sched_pending pending = {0};
    const struct cyx_sched_job *job = view->job;
    const struct cyx_sched_hold hold = {.funded = job->facts.funded,
                                        .waits_for = job->waits_for,
                                        .failures = job->facts.failures,
                                        .wait_ms = job->wait_ms,
                                        .wait_until_ms = view->at_ms + job->wait_ms};
    if (job->facts.state == CYX_SCHED_QUEUED &&
        (!job->facts.funded || job->waits_for > 0 || job->wait_ms > 0))
        cyx_sched_pending(&job->need, &hold, NULL, 0, &pending);
    cyx_buf_printf(text, "{\"event_id\":\"%s\"", view->event_id);
    put_int(text, "transition", view->transition);
    put_text(text, "job_id", job->id);
    put_text(text, "account_id", job->account_id);
    put_text(text, "from", view->from);
    put_text(text, "to", view->to);
    put_text(text, "cause", view->cause);
    put_time(text, "at", view->at_ms);
    cyx_buf_puts(text, ",\"job\":");
    cyx_sched_write_job(text, &(struct cyx_sched_job_view){.job = job, .pending = &pending});
    cyx_buf_puts(text, "}");
}

void cyx_sched_write_state(struct cyx_buf *text, const struct cyx_sched_event_view *view)
{
    cyx_buf_printf(text, "{\"to\":\"%s\"", view->to);
    put_text(text, "from", view->from);
    put_text(text, "cause", view->cause);
    put_time(text, "at", view->at_ms);
    cyx_buf_puts(text, "}");
}

void cyx_sched_write_error(struct cyx_buf *text, enum cyx_status status, const char *pointer,
                           const char *message)
{
    cyx_buf_printf(text, "{\"status\":\"%s\",\"pointer\":", cyx_status_name(status));
    cyx_buf_json_string(text, pointer ? pointer : "");
    cyx_buf_puts(text, ",\"message\":");
    cyx_buf_json_string(text, message ? message : "");
    cyx_buf_puts(text, "}");
}

/* `key` below a prefix: "/model" and "/bytes" for "/model/bytes". */
static enum cyx_status below(const char *prefix, const struct cyx_error *inner,
                             struct cyx_error *err)
{
    char pointer[sizeof(inner->pointer)];
    snprintf(pointer, sizeof(pointer), "/%.40s%.110s", prefix, inner->pointer);
    return cyx_error_set(err, inner->status, pointer, "%s", inner->message);
}

enum cyx_status cyx_sched_artifact_parse(const json_t *object, const char *key, bool with_step,
                                         struct cyx_sched_artifact *ret_artifact,
                                         struct cyx_error *err)
{
    const json_t *value = json_object_get(object, key);
    struct cyx_sched_artifact artifact = {0};
    struct cyx_error inner = {0};
    if (!value || json_is_null(value)) {
        *ret_artifact = artifact;
        return CYX_OK;
    }
    const char *sha256 = json_string_value(json_object_get(value, "sha256"));
    if (!sha256 || strlen(sha256) != 64 || strspn(sha256, "0123456789abcdef") != 64) {
        cyx_error_set(&inner, CYX_ERR_INVALID, "/sha256",
                      "expected 64 lower-case hexadecimal digits");
        return below(key, &inner, err);
    }
    if (cyx_message_int(value, "bytes", 1, INT64_MAX, &artifact.bytes, &inner) != CYX_OK ||
        (with_step &&
         cyx_message_int(value, "step", 0, INT64_MAX, &artifact.step, &inner) != CYX_OK))
        return below(key, &inner, err);
    memcpy(artifact.sha256, sha256, 65);
    *ret_artifact = artifact;
    return CYX_OK;
}

enum cyx_status cyx_sched_pick(const json_t *object, const char *const *keys, struct cyx_buf *text,
                               struct cyx_error *err)
{
    enum { TEXT_LIMIT = 500 };
    const char *comma = "{";
    for (; *keys; keys++) {
        const json_t *value = json_object_get(object, *keys);
        if (!value || json_is_null(value))
            continue;
        if (!json_is_number(value) && json_string_length(value) - 1 >= TEXT_LIMIT) {
            char pointer[80];
            snprintf(pointer, sizeof(pointer), "/%s", *keys);
            return cyx_error_set(err, CYX_ERR_INVALID, pointer,
                                 "expected a number or a text of 1 to %d bytes", TEXT_LIMIT);
        }
        cyx_buf_printf(text, "%s\"%s\":", comma, *keys);
        comma = ",";
        if (json_is_integer(value))
            cyx_buf_printf(text, "%lld", (long long)json_integer_value(value));
        else if (json_is_real(value))
            cyx_buf_printf(text, "%.9g", json_real_value(value));
        else
            cyx_buf_json_string(text, json_string_value(value));
    }
    cyx_buf_puts(text, *comma == '{' ? "{}" : "}");
    return text->failed ? cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory") : CYX_OK;
}

static void copy_id(char target[CYX_ID_BYTES], const char *id)
{
    memcpy(target, id, CYX_ID_BYTES); /* a checked UUID with its NUL */
}

/*
 * The memory of each kind of device, and the slots: one a Vulkan device where there are several, since a job runs on one.
 * Any of them may get a job, so that the smallest one's memory counts; of CPU devices, the largest.
 */
static void read_devices(const json_t *devices, struct cyx_sched_node *node)
{
    enum { SLOTS_LIMIT = 32 };
    size_t i;
    const json_t *device;
    json_array_foreach(devices, i, device)
    {
        const char *backend = json_string_value(json_object_get(device, "backend"));
        int64_t memory = json_integer_value(json_object_get(device, "memory_bytes"));
        bool software = json_is_true(json_object_get(device, "is_software"));
        if (!backend)
            continue;
        bool cpu = strcmp(backend, "cpu") == 0;
        int64_t *kept = cpu        ? &node->cpu_memory_bytes
                        : software ? &node->soft_memory_bytes
                                   : &node->gpu_memory_bytes;
        if (*kept == 0 || (cpu ? memory > *kept : memory < *kept))
            *kept = memory;
        double *speed = cpu ? &node->cpu_flops : software ? &node->soft_flops : &node->gpu_flops;
        double proved = json_number_value(
            json_object_get(json_object_get(device, "proof"), "flops_per_second"));
        if (proved > 0 && (*speed == 0 || proved < *speed))
            *speed = proved;
        node->slots += !cpu;
    }
    if (node->slots < 1)
        node->slots = 1;
    if (node->slots > SLOTS_LIMIT)
        node->slots = SLOTS_LIMIT;
}

/* "labels": […] joined by commas; absent, or what no registry sends: none. */
static const char *read_labels(const json_t *labels, struct cyx_arena *arena)
{
    const char *items[64];
    size_t count = 0;
    for (size_t i = 0; i < json_array_size(labels) && count < 64; i++)
        if (json_is_string(json_array_get(labels, i)))
            items[count++] = json_string_value(json_array_get(labels, i));
    return cyx_sched_join(arena, items, count);
}

enum cyx_status cyx_sched_node_online_parse(const json_t *event, struct cyx_arena *arena,
                                            struct cyx_sched_node_news *ret_news,
                                            struct cyx_error *err)
{
    struct cyx_sched_node_news news = {.online = true};
    const char *id = NULL, *boot_id = NULL;
    json_t *node = NULL;
    enum cyx_status status;
    if ((status = cyx_message_int(event, "revision", 1, INT64_MAX, &news.revision, err)) !=
            CYX_OK ||
        (status = cyx_message_object(event, "node", &node, err)) != CYX_OK ||
        (status = cyx_message_id(node, "id", &id, err)) != CYX_OK ||
        (status = cyx_message_id(node, "boot_id", &boot_id, err)) != CYX_OK ||
        (status = cyx_message_text(node, "name", &news.name, err)) != CYX_OK ||
        (status = cyx_message_int(node, "cpus", 1, 65536, &news.node.cpus, err)) != CYX_OK ||
        (status = cyx_message_maybe_int(node, "host_memory_bytes", 0, INT64_MAX,
                                        &news.node.host_memory_bytes, err)) != CYX_OK ||
        (status = cyx_message_maybe_text(node, "region", &news.node.region, err)) != CYX_OK ||
        (status = cyx_message_maybe_text(node, "closed", &news.node.closed, err)) != CYX_OK ||
        (status = cyx_message_amount(node, "price_per_hour", &news.node.price_per_hour_base_units,
                                     err)) != CYX_OK)
        return status;
    copy_id(news.node.id, id);
    copy_id(news.node.boot_id, boot_id);
    read_devices(json_object_get(node, "devices"), &news.node);
    news.node.labels = read_labels(json_object_get(node, "labels"), arena);
    if (!news.node.labels)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for a node");
    *ret_news = news;
    return CYX_OK;
}

enum cyx_status cyx_sched_node_offline_parse(const json_t *event,
                                             struct cyx_sched_node_news *ret_news,
                                             struct cyx_error *err)
{
    struct cyx_sched_node_news news = {.online = false};
    const char *id = NULL, *boot_id = NULL;
    enum cyx_status status;
    if ((status = cyx_message_int(event, "revision", 1, INT64_MAX, &news.revision, err)) !=
            CYX_OK ||
        (status = cyx_message_id(event, "node_id", &id, err)) != CYX_OK ||
        (status = cyx_message_id(event, "boot_id", &boot_id, err)) != CYX_OK)
        return status;
    copy_id(news.node.id, id);
    copy_id(news.node.boot_id, boot_id);
    *ret_news = news;
    return CYX_OK;
}
