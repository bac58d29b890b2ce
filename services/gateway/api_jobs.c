/* Jobs: judged here by contract and model, kept and run by the scheduler. */
#include <string.h>

#include "api.h"
#include "contract/job_spec.h"
#include "contract/message.h"
#include "contract/subjects.h"
#include "model/graph.h"

#include "base/banned.h"

enum { IMPORT_WAIT_MS = 10000, ESCROW_TIMEOUT_MS = 1500 };

struct judged {
    json_t *json; /* as it came */
    struct cyx_job_spec *spec;
    struct cyx_model_cost cost;
};

static void judged_finish(struct judged *judged)
{
    cyx_job_spec_destroy(judged->spec);
    json_decref(judged->json);
}
#define CLEANUP_JUDGED __attribute__((cleanup(judged_finish)))

/* An upload that the spec names. */
struct named {
    const char *kind, *what, *pointer; /* "dataset", "data set", where it stands */
    const char *name, *sha256;         /* sha256 NULL: whatever it holds */
    json_t *object;                    /* of the spec, which gets the hash */
};

/* The account's own is there and whole; its hash goes into the spec that the scheduler gets. */
static enum cyx_status pin_upload(struct app *app, const struct cyx_http_request *request,
                                  const struct named *named, struct cyx_error *err)
{
    struct store_upload upload = {0};
    enum cyx_status status =
        store_upload_named(app->store, api_caller(request)->account.id, named->kind, named->name,
                           named->sha256, &upload, err);
    if (status == CYX_ERR_NOT_FOUND)
        return cyx_error_set(err, CYX_ERR_INVALID, named->pointer,
                             "the account has no uploaded %s %s%s%s: bring it with `cyxwiz "
                             "upload`, or see `cyxwiz uploads list`",
                             named->what, named->name, named->sha256 ? " with the SHA-256 " : "",
                             named->sha256 ? named->sha256 : "");
    if (status != CYX_OK)
        return status;
    if (upload.completed_ms == 0 || cyx_blob_stat(app->blobs, upload.sha256, NULL, err) != CYX_OK)
        return cyx_error_set(err, CYX_ERR_INVALID, named->pointer,
                             "%s is not whole yet: `cyxwiz upload` goes on where it stopped",
                             named->name);
    if (json_object_set_new(named->object, "sha256", json_string(upload.sha256)) != 0)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for the spec");
    return CYX_OK;
}

static enum cyx_status pin_uploads(struct app *app, const struct cyx_http_request *request,
                                   struct judged *judged, struct cyx_error *err)
{
    const struct cyx_source_spec *source = &judged->spec->data.source;
    const struct cyx_initial_spec *initial = &judged->spec->initial;
    const struct named data = {"dataset",
                               "data set",
                               "/data/dataset/upload",
                               source->upload,
                               source->sha256,
                               json_object_get(json_object_get(judged->json, "data"), "dataset")};
    const struct named weights = {"model",           "model",
                                  "/initial/upload", initial->upload,
                                  initial->sha256,   json_object_get(judged->json, "initial")};
    enum cyx_status status = CYX_OK;
    if (!judged->spec->data.dataset)
        status = pin_upload(app, request, &data, err);
    if (status == CYX_OK && initial->upload)
        status = pin_upload(app, request, &weights, err);
    return status;
}

/* Everything that can be said about a spec without opening its data: 400, 413 or 422 with the place. */
static enum cyx_status judge(struct app *app, const struct cyx_http_request *request,
                             struct cyx_http_response *response, struct judged *judged)
{
    struct cyx_error *err = &response->error;
    enum cyx_status status = api_body(request, response, &judged->json);
    if (status == CYX_OK)
        status = cyx_job_spec_parse(request->body, request->body_length, &judged->spec, err);
    if (status == CYX_OK)
        status = cyx_job_spec_check_shared(judged->spec, err);
    if (status == CYX_OK)
        status = cyx_model_cost(judged->spec, &judged->cost, err);
    return status == CYX_OK ? pin_uploads(app, request, judged, err) : status;
}

static enum cyx_status data_available(struct app *app, const struct cyx_job_spec *spec,
                                      struct cyx_error *err)
{
    const struct cyx_dataset *set = cyx_dataset_find(spec->data.dataset);
    if (!spec->data.dataset) /* an upload: looked for when it was judged */
        return CYX_OK;
    if (set && importer_available(app->importer, set, IMPORT_WAIT_MS))
        return CYX_OK;
    char remedy[256] = "there is no such data set";
    if (set)
        importer_remedy(set, remedy, sizeof(remedy));
    return cyx_error_set(err, CYX_ERR_INVALID, "/data/dataset", "%s: %s", spec->data.dataset,
                         remedy);
}

enum cyx_status api_jobs_create(void *ctx, const struct cyx_http_request *request,
                                struct cyx_http_response *response)
{
    struct app *app = ctx;
    CLEANUP_JUDGED struct judged judged = {0};
    struct cyx_error *err = &response->error;
    const char *key = cyx_http_header(request, "Idempotency-Key");
    enum cyx_status status;
    if ((key && (status = gateway_idempotency_key_check(key, err)) != CYX_OK) ||
        (status = judge(app, request, response, &judged)) != CYX_OK ||
        (status = data_available(app, judged.spec, err)) != CYX_OK)
        return status;
    struct api_call call = {
        .service = CYX_SVC_SCHEDULER,
        .subject = CYX_SVC_SCHEDULER_SUBMIT,
        .body = json_pack("{s:s,s:O,s:s*}", "account_id", api_caller(request)->account.id, "spec",
                          judged.json, "idempotency_key", key),
    };
    CYX_CLEANUP_JSON json_t *reply = NULL;
    if ((status = api_call(app, request, response, &call, &reply)) != CYX_OK)
        return status;
    json_t *job = json_object_get(reply, "job");
    const char *id = json_string_value(json_object_get(job, "id"));
    if (!id || !cyx_id_valid(id))
        return cyx_error_set(err, CYX_ERR_INTERNAL, NULL, "the scheduler gave no job");
    const char *location = cyx_arena_printf(request->arena, "/api/v1/jobs/%s", id);
    if (location && (status = cyx_http_response_header(response, "Location", location)) != CYX_OK)
        return status;
    return api_respond(response, json_is_true(json_object_get(reply, "created")) ? 201 : 200,
                       json_incref(job));
}

enum cyx_status api_jobs_get(void *ctx, const struct cyx_http_request *request,
                             struct cyx_http_response *response)
{
    struct app *app = ctx;
    CYX_CLEANUP_JSON json_t *job = NULL, *payment = NULL;
    const char *id = cyx_http_param(request, "id");
    uint64_t generation = memo_generation(app->memo, id);
    enum cyx_status status = api_own_job(app, request, response, &job);
    if (status != CYX_OK)
        return status;
    struct api_call call = {
        .service = CYX_SVC_PAYMENTS,
        .subject = CYX_SVC_PAYMENTS_JOB,
        .body = json_pack("{s:O}", "job_id", json_object_get(job, "id")),
        .timeout_ms = ESCROW_TIMEOUT_MS,
    };
    /* A job can be shown without its escrow: payments may not have seen it yet, or be away. */
    json_t *escrow = NULL;
    if (api_call(app, request, response, &call, &payment) == CYX_OK)
        escrow = json_object_get(payment, "escrow");
    response->error = (struct cyx_error){0};
    /* What the job cost is known where money is: once payments has settled it. */
    json_t *cost = json_object_get(escrow, "released");
    const char *state = json_string_value(json_object_get(escrow, "state"));
    if (state && (strcmp(state, "settled") == 0 || strcmp(state, "refunded") == 0) &&
        json_is_string(cost))
        json_object_set(job, "cost", cost);
    json_object_set_new(job, "escrow", json_is_object(escrow) ? json_incref(escrow) : json_null());
    if (!json_is_array(json_object_get(job, "transitions")))
        json_object_set_new(job, "transitions", json_array());
    const char *reached = json_string_value(json_object_get(job, "state"));
    json_object_set_new(job, "record",
                        reached && api_state_ended(reached) ? api_record_json(app, id)
                                                            : json_null());
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    if ((status = cyx_message_write(json_incref(job), &text, &response->error)) != CYX_OK)
        return status;
    memo_keep(app->memo, id, api_caller(request)->account.id, generation, text.data, text.length);
    return cyx_http_respond_buf(response, 200, "application/json", &text);
}

/* On the event thread: a key that was just found, a job that was just fetched. */
enum cyx_status api_jobs_get_quick(void *ctx, const struct cyx_http_request *request,
                                   struct cyx_http_response *response)
{
    struct app *app = ctx;
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    struct store_holder holder;
    char hash[GATEWAY_HASH_BYTES];
    const char *bearer = cyx_http_bearer(request), *id = cyx_http_param(request, "id");
    if (!gateway_api_key_plausible(bearer) || request->query_count > 0)
        return CYX_ERR_NOT_FOUND;
    gateway_token_hash(bearer, hash);
    if (!store_api_key_peek(app->store, hash, &holder) || !(holder.scopes & GATEWAY_SCOPE_READ) ||
        !memo_find(app->memo, id, holder.account.id, &text) ||
        !api_limit_peek(app, response, holder.account.id))
        return CYX_ERR_NOT_FOUND;
    return cyx_http_respond_buf(response, 200, "application/json", &text);
}

enum cyx_status api_jobs_cancel(void *ctx, const struct cyx_http_request *request,
                                struct cyx_http_response *response)
{
    struct app *app = ctx;
    const char *id = NULL;
    enum cyx_status status = api_path_id(request, response, &id);
    if (status != CYX_OK)
        return status;
    struct api_call call = {
        .service = CYX_SVC_SCHEDULER,
        .subject = CYX_SVC_SCHEDULER_CANCEL,
        .body = json_pack("{s:s,s:s}", "job_id", id, "account_id", api_caller(request)->account.id),
    };
    json_t *reply = NULL;
    status = api_call(app, request, response, &call, &reply);
    memo_forget(app->memo, id);
    return status == CYX_OK ? api_respond(response, 200, reply) : status;
}

/* ---- validate ---------------------------------------------------------------------------------- */

/* The value that a layer hands on: the first output of its last forward node. */
static int32_t layer_output(const struct cyx_graph *graph, size_t layer)
{
    int32_t value = CYX_NO_VALUE;
    for (size_t n = 0; n < graph->n_forward_nodes; n++)
        if (graph->nodes[n].layer == (int32_t)layer && graph->nodes[n].n_out > 0)
            value = graph->nodes[n].out[0];
    return value;
}

static int64_t layer_parameters(const struct cyx_graph *graph, size_t layer)
{
    int64_t count = 0;
    for (size_t n = 0; n < graph->n_forward_nodes; n++) {
        const struct cyx_node *node = &graph->nodes[n];
        for (int i = 0; node->layer == (int32_t)layer && i < node->n_in; i++) {
            int32_t in = node->in[i];
            if (in != CYX_NO_VALUE && graph->values[in].kind == CYX_VALUE_PARAM)
                count += cyx_shape_count(&graph->values[in].shape);
        }
    }
    return count;
}

static json_t *layer_json(const struct cyx_graph *graph, const struct cyx_job_spec *spec,
                          size_t layer)
{
    static const struct cyx_shape nothing = {0};
    json_t *shape = json_array();
    int32_t output = layer_output(graph, layer);
    const struct cyx_shape *of = output == CYX_NO_VALUE ? &nothing : &graph->values[output].shape;
    for (int d = 1; d < of->rank; d++) /* the batch's dimension is left out */
        json_array_append_new(shape, json_integer(of->dim[d]));
    return json_pack("{s:s,s:s,s:o,s:I}", "name", spec->layers[layer].name, "type",
                     cyx_layer_type_name(spec->layers[layer].type), "output_shape", shape,
                     "parameters", (json_int_t)layer_parameters(graph, layer));
}

enum cyx_status api_jobs_validate(void *ctx, const struct cyx_http_request *request,
                                  struct cyx_http_response *response)
{
    CLEANUP_JUDGED struct judged judged = {0};
    enum cyx_status status = judge(ctx, request, response, &judged);
    if (status != CYX_OK)
        return status;
    struct cyx_graph *graph = NULL;
    struct cyx_graph_options options = {.batch = 1, .training = true, .no_fusion = true};
    status = cyx_graph_create(judged.spec, &options, &graph, &response->error);
    if (status != CYX_OK)
        return status;
    json_t *layers = json_array();
    for (size_t i = 0; i < judged.spec->n_layers; i++)
        json_array_append_new(layers, layer_json(graph, judged.spec, i));
    cyx_graph_destroy(graph);
    return api_respond(
        response, 200,
        json_pack("{s:I,s:I,s:I,s:o}", "parameters", (json_int_t)judged.cost.parameters,
                  "training_flops_per_sample", (json_int_t)judged.cost.training_flops_per_sample,
                  "training_bytes", (json_int_t)judged.cost.training_bytes, "layers", layers));
}

/* ---- quote and quota --------------------------------------------------------------------------- */

enum cyx_status api_jobs_quote(void *ctx, const struct cyx_http_request *request,
                               struct cyx_http_response *response)
{
    struct app *app = ctx;
    CLEANUP_JUDGED struct judged judged = {0};
    CYX_CLEANUP_JSON json_t *reply = NULL;
    enum cyx_status status = judge(app, request, response, &judged);
    if (status != CYX_OK)
        return status;
    struct api_call call = {
        .service = CYX_SVC_SCHEDULER,
        .subject = CYX_SVC_SCHEDULER_QUOTE,
        .body = json_pack("{s:s,s:O}", "account_id", api_caller(request)->account.id, "spec",
                          judged.json),
    };
    status = api_call(app, request, response, &call, &reply);
    return status == CYX_OK
               ? api_respond(response, 200, json_incref(json_object_get(reply, "quote")))
               : status;
}

/* Asks for an account's quota, after setting what `set` names (taken over; NULL: nothing). */
static enum cyx_status answer_quota(struct app *app, const struct cyx_http_request *request,
                                    struct cyx_http_response *response, const char *account_id,
                                    json_t *set)
{
    CYX_CLEANUP_JSON json_t *reply = NULL;
    struct api_call call = {
        .service = CYX_SVC_SCHEDULER,
        .subject = CYX_SVC_SCHEDULER_QUOTA,
        .body = json_pack("{s:s,s:o*}", "account_id", account_id, "set", set),
    };
    enum cyx_status status = api_call(app, request, response, &call, &reply);
    return status == CYX_OK
               ? api_respond(response, 200, json_incref(json_object_get(reply, "quota")))
               : status;
}

enum cyx_status api_account_quota(void *ctx, const struct cyx_http_request *request,
                                  struct cyx_http_response *response)
{
    return answer_quota(ctx, request, response, api_caller(request)->account.id, NULL);
}

enum cyx_status api_accounts_quota_set(void *ctx, const struct cyx_http_request *request,
                                       struct cyx_http_response *response)
{
    static const char *const members[] = {"weight", "running_jobs", "queued_jobs",
                                          "device_hours_a_day", NULL};
    json_t *set = NULL;
    const char *id = NULL;
    enum cyx_status status = api_path_id(request, response, &id);
    if (status == CYX_OK)
        status = api_body_object(request, response, members, &set);
    return status == CYX_OK ? answer_quota(ctx, request, response, id, set) : status;
}

/* ---- the model --------------------------------------------------------------------------------- */

enum cyx_status api_jobs_model(void *ctx, const struct cyx_http_request *request,
                               struct cyx_http_response *response)
{
    struct app *app = ctx;
    CYX_CLEANUP_JSON json_t *job = NULL;
    enum cyx_status status = api_own_job(app, request, response, &job);
    if (status != CYX_OK)
        return status;
    const char *state = json_string_value(json_object_get(job, "state"));
    const char *name = json_string_value(json_object_get(job, "name"));
    const char *sha256 =
        json_string_value(json_object_get(json_object_get(job, "model"), "sha256"));
    if (!sha256 || !state || strcmp(state, "completed") != 0)
        return cyx_error_set(&response->error, CYX_ERR_CONFLICT, NULL,
                             "a job has a model once it is completed; this one is %s",
                             state ? state : "in no known state");
    return api_send_blob(app, request, response, sha256,
                         api_file_name(request, name ? name : "model", ".safetensors"));
}
