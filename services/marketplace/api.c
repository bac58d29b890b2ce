#include "api.h"

#include "contract/message.h"
#include "marketplace.h"
#include "store.h"

#include "base/banned.h"

struct query {
    const char *account_id, *model_id;
    struct cyx_page page;
    struct cyx_db_result *rows;
};

static json_t *json_column(const struct cyx_db_result *rows, size_t row, int column)
{
    json_t *value = json_loads(cyx_db_text(rows, row, (size_t)column), JSON_DECODE_ANY, NULL);
    return value ? value : json_null();
}

static json_t *model_json(const struct cyx_db_result *rows, size_t row)
{
    return json_pack("{s:s, s:s, s:s, s:I, s:s, s:s, s:o, s:s, s:I, s:s, s:s, s:o, s:o, s:o}", "id",
                     cyx_db_text(rows, row, STORE_MODEL_ID), "account_id",
                     cyx_db_text(rows, row, STORE_MODEL_ACCOUNT), "name",
                     cyx_db_text(rows, row, STORE_MODEL_NAME), "version",
                     (json_int_t)cyx_db_int(rows, row, STORE_MODEL_VERSION), "visibility",
                     cyx_db_text(rows, row, STORE_MODEL_VISIBILITY), "job_id",
                     cyx_db_text(rows, row, STORE_MODEL_JOB), "node_id",
                     cyx_message_new_text(cyx_db_text(rows, row, STORE_MODEL_NODE)), "sha256",
                     cyx_db_text(rows, row, STORE_MODEL_SHA256), "bytes",
                     (json_int_t)cyx_db_int(rows, row, STORE_MODEL_BYTES), "format",
                     cyx_db_text(rows, row, STORE_MODEL_FORMAT), "dataset",
                     cyx_db_text(rows, row, STORE_MODEL_DATASET), "spec",
                     json_column(rows, row, STORE_MODEL_SPEC), "metrics",
                     json_column(rows, row, STORE_MODEL_METRICS), "created_at",
                     cyx_message_new_time(cyx_db_time_ms(rows, row, STORE_MODEL_CREATED_AT)));
}

static enum cyx_status run_list(void *ctx, struct cyx_db_conn *conn, struct cyx_error *err)
{
    struct query *q = ctx;
    cyx_db_result_free(q->rows);
    q->rows = NULL;
    return store_list_models(conn, q->account_id, &q->page, &q->rows, err);
}

static json_t *list_json(const struct cyx_db_result *rows, const struct cyx_page *page)
{
    size_t count = cyx_db_rows(rows), limit = (size_t)page->limit;
    json_t *next = count > limit ? cyx_page_next(store_model_orders, page,
                                                 cyx_db_text(rows, limit - 1, STORE_MODEL_NAME),
                                                 cyx_db_text(rows, limit - 1, STORE_MODEL_ID))
                                 : json_null();
    json_t *models = json_array();
    for (size_t i = 0; i < count && i < limit; i++)
        json_array_append_new(models, model_json(rows, i));
    return json_pack("{s:o, s:o}", "models", models, "next_cursor", next);
}

enum cyx_status api_list(void *ctx, const struct cyx_bus_message *request, struct cyx_buf *reply,
                         struct cyx_error *err)
{
    struct api *api = ctx;
    CYX_CLEANUP_JSON json_t *body = NULL;
    struct query q = {0};
    enum cyx_status status = cyx_message_parse(request->data, request->length, &body, err);
    if (status == CYX_OK)
        status = cyx_message_id(body, "account_id", &q.account_id, err);
    if (status == CYX_OK)
        status = cyx_page_read(body, store_model_orders, &q.page, err);
    if (status == CYX_OK)
        status = cyx_db_transaction(api->db, run_list, &q, err);
    if (status == CYX_OK)
        status = cyx_message_write(list_json(q.rows, &q.page), reply, err);
    cyx_db_result_free(q.rows);
    return status;
}

static enum cyx_status run_get(void *ctx, struct cyx_db_conn *conn, struct cyx_error *err)
{
    struct query *q = ctx;
    cyx_db_result_free(q->rows);
    q->rows = NULL;
    return store_get_model(conn, q->account_id, q->model_id, &q->rows, err);
}

enum cyx_status api_get(void *ctx, const struct cyx_bus_message *request, struct cyx_buf *reply,
                        struct cyx_error *err)
{
    struct api *api = ctx;
    CYX_CLEANUP_JSON json_t *body = NULL;
    struct query q = {0};
    enum cyx_status status = cyx_message_parse(request->data, request->length, &body, err);
    if (status == CYX_OK)
        status = cyx_message_id(body, "account_id", &q.account_id, err);
    if (status == CYX_OK)
        status = cyx_message_id(body, "model_id", &q.model_id, err);
    if (status == CYX_OK)
        status = cyx_db_transaction(api->db, run_get, &q, err);
    if (status == CYX_ERR_NOT_FOUND)
        status = cyx_error_set(err, status, "/model_id", "no model %s", q.model_id);
    if (status == CYX_OK)
        status = cyx_message_write(json_pack("{s:o}", "model", model_json(q.rows, 0)), reply, err);
    cyx_db_result_free(q.rows);
    return status;
}

static enum cyx_status run_add(void *ctx, struct cyx_db_conn *conn, struct cyx_error *err)
{
    return store_add_model(conn, ctx, err);
}

enum cyx_status api_job_completed(void *ctx, const struct cyx_bus_message *event,
                                  struct cyx_error *err)
{
    struct api *api = ctx;
    CYX_CLEANUP_JSON json_t *body = NULL;
    struct cyx_model_draft draft;
    enum cyx_status status = cyx_message_parse(event->data, event->length, &body, err);
    if (status == CYX_OK)
        status = cyx_model_draft_read(body, &draft, err);
    if (status == CYX_OK)
        status = cyx_db_transaction(api->db, run_add, &draft, err);
    return status;
}
