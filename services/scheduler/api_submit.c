/* What comes before a job runs: judging its spec, storing it or the members of its array, and quotes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api.h"
#include "base/clock.h"
#include "base/log.h"
#include "contract/dataset.h"
#include "contract/job_spec.h"
#include "contract/message.h"
#include "contract/money.h"
#include "contract/subjects.h"
#include "model/graph.h"
#include "quote.h"
#include "wire.h"

#include "base/banned.h"

enum { AHEAD_LIMIT = 10000 };

/* What a submit or quote is made of; the specs and texts live until `intake_finish`. */
struct intake {
    struct cyx_arena arena;
    struct cyx_job_spec **specs;
    struct cyx_sched_submission *submissions;
    size_t count;
};

static void intake_finish(struct intake *intake)
{
    for (size_t i = 0; intake->specs && i < intake->count; i++)
        cyx_job_spec_destroy(intake->specs[i]);
    cyx_arena_finish(&intake->arena);
}
#define CLEANUP_INTAKE __attribute__((cleanup(intake_finish)))

/* The work of all epochs, the evaluation after each with it; 0 for a data set of unknown size. */
static double total_flops(const struct cyx_job_spec *spec, const struct cyx_model_cost *cost)
{
    const struct cyx_dataset *set =
        spec->data.dataset ? cyx_dataset_find(spec->data.dataset) : NULL;
    if (!set)
        return 0;
    double part = spec->data.validation_part;
    double trained = (double)set->n_train * (1 - part);
    double judged = part > 0 ? (double)set->n_train * part : (double)set->n_test;
    return (double)spec->epochs * (trained * (double)cost->training_flops_per_sample +
                                   judged * (double)cost->forward_flops_per_sample);
}

static enum cyx_status read_need(const struct cyx_job_spec *spec, const struct cyx_model_cost *cost,
                                 struct cyx_arena *arena, struct cyx_sched_need *need,
                                 struct cyx_error *err)
{
    const struct cyx_resources_spec *wants = &spec->resources;
    *need = (struct cyx_sched_need){
        .memory_bytes = cost->training_bytes + wants->device_memory_bytes,
        .host_memory_bytes = wants->host_memory_bytes,
        .threads = wants->threads,
        .budget_base_units = spec->budget_base_units,
        .max_price_per_hour_base_units = wants->max_price_per_hour_base_units,
        .min_reputation = wants->min_reputation,
        .labels = cyx_sched_join(arena, wants->labels.items, wants->labels.n),
        .avoid_labels = cyx_sched_join(arena, wants->avoid_labels.items, wants->avoid_labels.n),
        .regions = cyx_sched_join(arena, wants->regions.items, wants->regions.n),
        .avoid_regions = cyx_sched_join(arena, wants->avoid_regions.items, wants->avoid_regions.n),
        .dataset = spec->data.dataset ? spec->data.dataset : spec->data.source.sha256,
        .flops_per_sample = (double)cost->training_flops_per_sample,
        .total_flops = total_flops(spec, cost),
        .nodes = wants->nodes,
    };
    if (!need->labels || !need->avoid_labels || !need->regions || !need->avoid_regions)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for the spec");
    if (!cyx_sched_backend_parse(wants->backend, &need->backend))
        return cyx_error_set(err, CYX_ERR_INVALID, "/resources/backend",
                             "expected \"auto\", \"cpu\" or \"vulkan\"");
    return CYX_OK;
}

/* Members exchange parameters and at most three times as much of the optimizer's state at each meeting. */
static enum cyx_status check_exchange(const struct cyx_job_spec *spec,
                                      const struct cyx_model_cost *cost, struct cyx_error *err)
{
    int64_t most = CYX_GANG_BYTES_LIMIT / (4 * (int64_t)sizeof(float));
    if (spec->resources.nodes == 1 || cost->parameters <= most)
        return CYX_OK;
    return cyx_error_set(
        err, CYX_ERR_TOO_LARGE, "/resources/nodes",
        "a model that several nodes train has at most %lld parameters, and this one "
        "has %lld: train it on one node",
        (long long)most, (long long)cost->parameters);
}

/* Validates the spec by the rules that every part shares, and reads of it what matching needs. */
static enum cyx_status judge_spec(const struct cyx_job_spec *spec, struct cyx_arena *arena,
                                  struct cyx_sched_submission *submission, struct cyx_error *err)
{
    struct cyx_model_cost cost;
    if (strlen(spec->canonical) > CYX_SCHED_SPEC_BYTES)
        return cyx_error_set(err, CYX_ERR_TOO_LARGE, "", "the spec is larger than %d bytes",
                             CYX_SCHED_SPEC_BYTES);
    enum cyx_status status = cyx_job_spec_check_shared(spec, err);
    if (status == CYX_OK && !spec->data.dataset && !spec->data.source.sha256)
        status = cyx_error_set(err, CYX_ERR_INVALID, "/data/dataset/sha256",
                               "the gateway says what an upload holds");
    if (status == CYX_OK && spec->initial.upload && !spec->initial.sha256)
        status = cyx_error_set(err, CYX_ERR_INVALID, "/initial/sha256",
                               "the gateway says what an upload holds");
    if (status == CYX_OK)
        status = cyx_model_cost(spec, &cost, err);
    if (status == CYX_OK)
        status = check_exchange(spec, &cost, err);
    if (status == CYX_OK)
        status = read_need(spec, &cost, arena, &submission->need, err);
    if (status != CYX_OK)
        return status;
    submission->name = spec->name;
    submission->spec = spec->canonical;
    submission->priority = (int)spec->priority;
    submission->parameters = cost.parameters;
    submission->flops_per_sample = cost.training_flops_per_sample;
    submission->training_bytes = cost.training_bytes;
    submission->after = spec->schedule.after.items;
    submission->n_after = spec->schedule.after.n;
    submission->deadline_ms = spec->schedule.deadline_ms;
    submission->retries = spec->schedule.retries;
    if (submission->deadline_ms && submission->deadline_ms <= cyx_clock_unix_ms())
        return cyx_error_set(err, CYX_ERR_INVALID, "/schedule/deadline",
                             "has passed already: give a time that lies ahead, or none");
    return CYX_OK;
}

static enum cyx_status parse_spec(const json_t *object, struct cyx_job_spec **ret_spec,
                                  struct cyx_error *err)
{
    char *text = json_dumps(object, JSON_COMPACT);
    if (!text)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for the spec");
    enum cyx_status status = cyx_job_spec_parse(text, strlen(text), ret_spec, err);
    free(text);
    return status;
}

/* The spec of one member of an array: the seed counts up, and it is no array itself. */
static json_t *member_spec(const json_t *object, const struct cyx_job_spec *whole, size_t index)
{
    json_t *member = json_deep_copy(object);
    char name[512];
    json_object_del(json_object_get(member, "schedule"), "array");
    json_object_set_new(member, "seed",
                        json_integer((json_int_t)((whole->seed + index) % (UINT64_C(1) << 53))));
    snprintf(name, sizeof(name), "%s", whole->name);
    json_object_set_new(member, "name", json_string(name));
    return member;
}

static enum cyx_status take_members(const json_t *object, struct intake *intake,
                                    const struct cyx_job_spec *whole, struct cyx_error *err)
{
    char array_id[CYX_ID_BYTES];
    enum cyx_status status = CYX_OK;
    size_t count = intake->count;
    cyx_id_new(array_id);
    for (size_t i = 0; status == CYX_OK && i < count; i++) {
        struct cyx_sched_submission *submission = &intake->submissions[i];
        CYX_CLEANUP_JSON json_t *member = member_spec(object, whole, i);
        status = parse_spec(member, &intake->specs[i], err);
        if (status == CYX_OK)
            status = judge_spec(intake->specs[i], &intake->arena, submission, err);
        if (count > 1) {
            memcpy(submission->array.id, array_id, sizeof(array_id));
            submission->array.index = (int64_t)i;
            submission->array.count = (int64_t)count;
        }
    }
    return status;
}

/* Reads the spec, and makes one submission of it, or as many as its array has members. */
static enum cyx_status take_spec(const json_t *message, struct intake *intake,
                                 struct cyx_error *err)
{
    json_t *object = NULL;
    struct cyx_job_spec *whole = NULL;
    enum cyx_status status = cyx_message_object(message, "spec", &object, err);
    if (status == CYX_OK)
        status = parse_spec(object, &whole, err);
    if (status != CYX_OK || !whole)
        return status;
    intake->count = (size_t)whole->schedule.array;
    intake->specs = cyx_arena_calloc(&intake->arena, intake->count, sizeof(void *));
    intake->submissions =
        cyx_arena_calloc(&intake->arena, intake->count, sizeof(*intake->submissions));
    if (!intake->specs || !intake->submissions) {
        status = cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for the spec");
    } else if (intake->count == 1) {
        intake->specs[0] = whole;
        return judge_spec(whole, &intake->arena, intake->submissions, err);
    } else {
        status = take_members(object, intake, whole, err);
    }
    cyx_job_spec_destroy(whole);
    return status;
}

/* Whose it is, under which key; the members of an array have <key>#<index>, the first the key itself. */
static enum cyx_status take_origin(const json_t *message, struct intake *intake,
                                   struct cyx_error *err)
{
    const char *account_id = NULL, *key = NULL;
    enum cyx_status status = cyx_message_id(message, "account_id", &account_id, err);
    if (status == CYX_OK)
        status = cyx_message_maybe_text(message, "idempotency_key", &key, err);
    if (status == CYX_OK && key && strlen(key) > 200)
        status = cyx_error_set(err, CYX_ERR_INVALID, "/idempotency_key", "expected 1 to 200 bytes");
    for (size_t i = 0; status == CYX_OK && i < intake->count; i++) {
        intake->submissions[i].account_id = account_id;
        intake->submissions[i].idempotency_key =
            key && i > 0 ? cyx_arena_printf(&intake->arena, "%s#%zu", key, i) : key;
        if (key && !intake->submissions[i].idempotency_key)
            status = cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for a key");
    }
    return status;
}

static enum cyx_status take_intake(const json_t *message, struct intake *intake,
                                   struct cyx_error *err)
{
    enum cyx_status status = take_spec(message, intake, err);
    return status == CYX_OK ? take_origin(message, intake, err) : status;
}

CYX_SCHED_HANDLER(cyx_sched_api_submit)
{
    struct cyx_sched_app *app = ctx;
    CYX_CLEANUP_JSON json_t *message = NULL;
    CLEANUP_INTAKE struct intake intake = {0};
    struct cyx_sched_job job;
    struct cyx_trace trace;
    bool created = false;
    cyx_trace_start(&trace, request->meta.request_id, request->meta.traceparent);
    enum cyx_status status = cyx_message_parse(request->data, request->length, &message, err);
    if (status == CYX_OK)
        status = take_intake(message, &intake, err);
    if (status == CYX_OK)
        status = cyx_sched_store_submit(&app->store, intake.submissions, intake.count, &trace,
                                        &intake.arena, &job, &created, err);
    if (status != CYX_OK)
        return status;
    cyx_sched_matcher_wake(app->matcher);
    cyx_buf_printf(reply, "{\"created\":%s,\"job\":", created ? "true" : "false");
    cyx_sched_show(app, reply, &job, NULL, NULL, 0);
    cyx_buf_puts(reply, "}");
    if (created)
        cyx_log(CYX_LOG_INFO, "job submitted", CYX_STR("job_id", job.id),
                CYX_STR("account_id", job.account_id), CYX_STR("name", job.name),
                CYX_INT("members", (int64_t)intake.count), CYX_STR("request_id", trace.request_id));
    return reply->failed ? cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for the answer")
                         : CYX_OK;
}

/* {account_id, spec} -> {quote}: nothing is stored. */
CYX_SCHED_HANDLER(cyx_sched_api_quote)
{
    struct cyx_sched_app *app = ctx;
    CYX_CLEANUP_JSON json_t *message = NULL;
    CLEANUP_INTAKE struct intake intake = {0};
    struct cyx_sched_busy *busy = NULL;
    struct cyx_sched_quote quote;
    size_t n_busy = 0;
    struct cyx_sched_ahead *ahead = NULL;
    size_t n_ahead = 0;
    enum cyx_status status = cyx_message_parse(request->data, request->length, &message, err);
    if (status == CYX_OK)
        status = take_intake(message, &intake, err);
    if (status == CYX_OK)
        status = cyx_sched_store_busy(&app->store, &intake.arena, &busy, &n_busy, err);
    if (status == CYX_OK)
        status = cyx_sched_store_ahead(&app->store, intake.submissions->priority, AHEAD_LIMIT,
                                       &intake.arena, &ahead, &n_ahead, err);
    if (status != CYX_OK)
        return status;
    const struct cyx_sched_nodes_cache *nodes = cyx_sched_nodes_lock(app);
    cyx_sched_quote(&intake.submissions->need, nodes->nodes, nodes->count, busy, n_busy,
                    cyx_sched_count_ahead(ahead, n_ahead, nodes->nodes, nodes->count), &quote);
    cyx_sched_nodes_unlock(app);
    cyx_sched_write_quote(reply, &quote, intake.submissions);
    return reply->failed ? cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for the answer")
                         : CYX_OK;
}
