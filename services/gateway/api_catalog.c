/* What others keep and the gateway shows: nodes, models, data sets, examples, the account's tokens, the contract. */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "api.h"
#include "base/log.h"
#include "contract/dataset.h"
#include "contract/job_spec.h"
#include "contract/message.h"
#include "contract/page.h"
#include "contract/subjects.h"
#include "openapi.h"

#include "base/banned.h"

enum { EXAMPLES_LIMIT = 200, FILTER_LIMIT = 200 };

/* ---- lists and things of other services --------------------------------------------------------- */

struct listing {
    const char *service, *subject;
    const char *filter; /* a query parameter that is passed on; NULL: none */
    bool own;           /* of the caller's account alone */
    const char *other;  /* a second such parameter */
    bool sorts;         /* in several orders */
};

static bool pass_on(const struct cyx_http_request *request, json_t *body, const char *name,
                    size_t limit)
{
    const char *value = name ? cyx_http_query(request, name) : NULL;
    if (!value || !*value)
        return true;
    return strlen(value) <= limit && json_object_set_new(body, name, json_string(value)) == 0;
}

static enum cyx_status list(struct app *app, const struct cyx_http_request *request,
                            struct cyx_http_response *response, const struct listing *listing)
{
    int64_t limit = 0;
    enum cyx_status status = cyx_http_query_int(request, "limit", 1, CYX_LIST_LIMIT,
                                                CYX_LIST_DEFAULT, &limit, &response->error);
    if (status != CYX_OK)
        return status;
    json_t *body = json_pack("{s:I}", "limit", (json_int_t)limit);
    if (!pass_on(request, body, "cursor", CYX_PAGE_CURSOR_BYTES) ||
        !pass_on(request, body, listing->filter, FILTER_LIMIT) ||
        !pass_on(request, body, listing->other, FILTER_LIMIT) ||
        !pass_on(request, body, listing->sorts ? "sort" : NULL, FILTER_LIMIT)) {
        json_decref(body);
        return cyx_error_set(&response->error, CYX_ERR_INVALID, NULL,
                             "expected a filter of at most %d characters, a cursor of %d",
                             FILTER_LIMIT, CYX_PAGE_CURSOR_BYTES);
    }
    if (listing->own)
        json_object_set_new(body, "account_id", json_string(api_caller(request)->account.id));
    struct api_call call = {.service = listing->service, .subject = listing->subject, .body = body};
    json_t *reply = NULL;
    status = api_call(app, request, response, &call, &reply);
    return status == CYX_OK ? api_respond(response, 200, reply) : status;
}

enum cyx_status api_jobs_list(void *ctx, const struct cyx_http_request *request,
                              struct cyx_http_response *response)
{
    static const struct listing jobs = {
        CYX_SVC_SCHEDULER, CYX_SVC_SCHEDULER_LIST, "state", true, "array", true};
    return list(ctx, request, response, &jobs);
}

enum cyx_status api_nodes_list(void *ctx, const struct cyx_http_request *request,
                               struct cyx_http_response *response)
{
    static const struct listing nodes = {
        CYX_SVC_REGISTRY, CYX_SVC_REGISTRY_LIST, "status", false, NULL, true};
    return list(ctx, request, response, &nodes);
}

enum cyx_status api_models_list(void *ctx, const struct cyx_http_request *request,
                                struct cyx_http_response *response)
{
    static const struct listing models = {
        CYX_SVC_MARKETPLACE, CYX_SVC_MARKETPLACE_LIST, NULL, true, NULL, true};
    return list(ctx, request, response, &models);
}

enum cyx_status api_account_statement(void *ctx, const struct cyx_http_request *request,
                                      struct cyx_http_response *response)
{
    static const struct listing entries = {CYX_SVC_PAYMENTS, CYX_SVC_PAYMENTS_STATEMENT, NULL,
                                           true};
    return list(ctx, request, response, &entries);
}

enum cyx_status api_account_balance(void *ctx, const struct cyx_http_request *request,
                                    struct cyx_http_response *response)
{
    struct api_call call = {
        .service = CYX_SVC_PAYMENTS,
        .subject = CYX_SVC_PAYMENTS_BALANCE,
        .body = json_pack("{s:s}", "account_id", api_caller(request)->account.id),
    };
    json_t *reply = NULL;
    enum cyx_status status = api_call(ctx, request, response, &call, &reply);
    return status == CYX_OK ? api_respond(response, 200, reply) : status;
}

/* The `member` of a reply to {`key`: the path's id}. */
static enum cyx_status fetch(struct app *app, const struct cyx_http_request *request,
                             struct cyx_http_response *response, const struct listing *from,
                             const char *key, const char *member, json_t **ret_thing)
{
    const char *id = NULL;
    enum cyx_status status = api_path_id(request, response, &id);
    if (status != CYX_OK)
        return status;
    json_t *body = json_pack("{s:s}", key, id);
    if (from->own)
        json_object_set_new(body, "account_id", json_string(api_caller(request)->account.id));
    struct api_call call = {.service = from->service, .subject = from->subject, .body = body};
    CYX_CLEANUP_JSON json_t *reply = NULL;
    status = api_call(app, request, response, &call, &reply);
    if (status != CYX_OK)
        return status;
    json_t *thing = json_object_get(reply, member);
    if (!json_is_object(thing))
        return cyx_error_set(&response->error, CYX_ERR_INTERNAL, NULL, "the %s gave no %s",
                             from->service, member);
    *ret_thing = json_incref(thing);
    return CYX_OK;
}

static enum cyx_status fetch_model(struct app *app, const struct cyx_http_request *request,
                                   struct cyx_http_response *response, json_t **ret_model)
{
    static const struct listing from = {CYX_SVC_MARKETPLACE, CYX_SVC_MARKETPLACE_GET, NULL, true};
    return fetch(app, request, response, &from, "model_id", "model", ret_model);
}

enum cyx_status api_models_get(void *ctx, const struct cyx_http_request *request,
                               struct cyx_http_response *response)
{
    json_t *model = NULL;
    enum cyx_status status = fetch_model(ctx, request, response, &model);
    return status == CYX_OK ? api_respond(response, 200, model) : status;
}

enum cyx_status api_models_download(void *ctx, const struct cyx_http_request *request,
                                    struct cyx_http_response *response)
{
    CYX_CLEANUP_JSON json_t *model = NULL;
    enum cyx_status status = fetch_model(ctx, request, response, &model);
    if (status != CYX_OK)
        return status;
    const char *name = json_string_value(json_object_get(model, "name"));
    const char *sha256 = json_string_value(json_object_get(model, "sha256"));
    const char *suffix =
        cyx_arena_printf(request->arena, "-v%lld.safetensors",
                         (long long)json_integer_value(json_object_get(model, "version")));
    if (!name || !sha256 || !suffix)
        return cyx_error_set(&response->error, CYX_ERR_INTERNAL, NULL,
                             "the marketplace gave no model");
    return api_send_blob(ctx, request, response, sha256, api_file_name(request, name, suffix));
}

/* ---- data sets --------------------------------------------------------------------------------- */

bool api_is_dataset_file(const char *sha256)
{
    size_t n_sets = 0;
    const struct cyx_dataset *sets = cyx_dataset_all(&n_sets);
    for (size_t s = 0; s < n_sets; s++)
        for (size_t f = 0; f < sets[s].n_files; f++)
            if (strcmp(sets[s].files[f].sha256, sha256) == 0)
                return true;
    return false;
}

static json_t *dataset_json(struct app *app, const struct cyx_dataset *set)
{
    json_t *classes = json_array();
    for (size_t i = 0; i < set->n_classes; i++)
        json_array_append_new(classes, json_string(set->classes[i]));
    bool available = importer_available(app->importer, set, 0);
    char remedy[256] = "";
    if (!available)
        importer_remedy(set, remedy, sizeof(remedy));
    return json_pack("{s:s,s:s,s:s,s:[I,I,I],s:o,s:I,s:I,s:s,s:b,s:o}", "name", set->name, "title",
                     set->title, "licence", set->licence, "shape", (json_int_t)set->channels,
                     (json_int_t)set->height, (json_int_t)set->width, "classes", classes, "n_train",
                     (json_int_t)set->n_train, "n_test", (json_int_t)set->n_test, "fingerprint",
                     set->fingerprint, "available", available, "remedy",
                     cyx_message_new_text(remedy));
}

enum cyx_status api_datasets_list(void *ctx, const struct cyx_http_request *request,
                                  struct cyx_http_response *response)
{
    (void)request;
    size_t count = 0;
    const struct cyx_dataset *sets = cyx_dataset_all(&count);
    json_t *list_json = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(list_json, dataset_json(ctx, &sets[i]));
    return api_respond(response, 200, json_pack("{s:o}", "datasets", list_json));
}

/* ---- examples ---------------------------------------------------------------------------------- */

static int is_example(const struct dirent *entry)
{
    size_t length = strlen(entry->d_name);
    return length > 5 && entry->d_name[0] != '.' &&
           strcmp(entry->d_name + length - 5, ".json") == 0;
}

/* One that does not validate is left out, with a warning: the dashboard must not offer it. */
static void load_example(const char *folder, const char *file, json_t *ret_list)
{
    struct cyx_arena arena = {0};
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    struct cyx_job_spec *spec = NULL;
    struct cyx_error err = {0};
    const char *path = cyx_arena_printf(&arena, "%s/%s", folder, file);
    enum cyx_status status =
        path ? cyx_buf_read_file(&text, path, CYX_JOB_SPEC_LIMIT_BYTES, &err) : CYX_ERR_NO_MEMORY;
    if (status == CYX_OK)
        status = cyx_job_spec_parse(text.data ? text.data : "", text.length, &spec, &err);
    if (status == CYX_OK)
        json_array_append_new(
            ret_list, json_pack("{s:s%,s:o}", "name", file, strlen(file) - 5, "spec",
                                json_loadb(text.data, text.length, JSON_REJECT_DUPLICATES, NULL)));
    else
        cyx_log(CYX_LOG_WARN, "example left out", CYX_STR("file", path),
                CYX_STR("pointer", err.pointer), CYX_STR("error", err.message));
    cyx_job_spec_destroy(spec);
    cyx_arena_finish(&arena);
}

enum cyx_status api_load_examples(struct app *app, const char *folder, struct cyx_error *err)
{
    struct dirent **entries = NULL;
    int count = scandir(folder, &entries, is_example, alphasort);
    if (count < 0)
        cyx_log(CYX_LOG_WARN, "no examples: set CYXWIZ_EXAMPLES_DIR to docs/examples",
                CYX_STR("folder", folder), CYX_STR("error", strerror(errno)));
    json_t *examples = json_array();
    for (int i = 0; i < count; i++) {
        if (i < EXAMPLES_LIMIT)
            load_example(folder, entries[i]->d_name, examples);
        free(entries[i]);
    }
    free(entries);
    json_t *root = json_pack("{s:o}", "examples", examples);
    app->examples = root ? json_dumps(root, JSON_COMPACT) : NULL;
    json_decref(root);
    return app->examples ? CYX_OK : cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory");
}

enum cyx_status api_examples_list(void *ctx, const struct cyx_http_request *request,
                                  struct cyx_http_response *response)
{
    (void)request;
    const struct app *app = ctx;
    return cyx_http_respond_json(response, 200, app->examples, strlen(app->examples));
}

enum cyx_status api_openapi_get(void *ctx, const struct cyx_http_request *request,
                                struct cyx_http_response *response)
{
    (void)ctx;
    (void)request;
    return cyx_http_respond_json(response, 200, gateway_openapi, gateway_openapi_length);
}

enum cyx_status api_reference_get(void *ctx, const struct cyx_http_request *request,
                                  struct cyx_http_response *response)
{
    (void)ctx;
    (void)request;
    return cyx_http_respond(response, 200, "text/html; charset=utf-8", gateway_reference,
                            gateway_reference_length);
}

enum cyx_status api_reference_css_get(void *ctx, const struct cyx_http_request *request,
                                      struct cyx_http_response *response)
{
    (void)ctx;
    (void)request;
    return cyx_http_respond(response, 200, "text/css; charset=utf-8", gateway_reference_css,
                            gateway_reference_css_length);
}
