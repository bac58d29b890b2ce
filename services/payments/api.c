#include "api.h"

#include <stdio.h>
#include <string.h>

#include "contract/message.h"
#include "contract/subjects.h"
#include "payments.h"
#include "store.h"

#include "base/banned.h"

struct read {
    const char *id, *cursor;
    int64_t limit;
    struct store_balance balance;
    struct store_escrow escrow;
    struct cyx_db_result *rows;
};

static enum cyx_status read_balance(void *ctx, struct cyx_db_conn *conn, struct cyx_error *err)
{
    struct read *read = ctx;
    return store_balance(conn, read->id, &read->balance, err);
}

enum cyx_status api_balance(void *ctx, const struct cyx_bus_message *request, struct cyx_buf *reply,
                            struct cyx_error *err)
{
    struct api *api = ctx;
    CYX_CLEANUP_JSON json_t *body = NULL;
    struct read read = {0};
    enum cyx_status status = cyx_message_parse(request->data, request->length, &body, err);
    if (status == CYX_OK)
        status = cyx_message_id(body, "account_id", &read.id, err);
    if (status == CYX_OK)
        status = cyx_db_transaction(api->db, read_balance, &read, err);
    if (status != CYX_OK)
        return status;
    return cyx_message_write(json_pack("{s:o, s:o, s:I}", "available",
                                       cyx_message_new_amount(read.balance.available), "held",
                                       cyx_message_new_amount(read.balance.held), "entries_total",
                                       (json_int_t)read.balance.entries),
                             reply, err);
}

static enum cyx_status read_statement(void *ctx, struct cyx_db_conn *conn, struct cyx_error *err)
{
    struct read *read = ctx;
    cyx_db_result_free(read->rows);
    read->rows = NULL;
    /* One more than asked for tells whether a further page exists. */
    return store_statement(conn, read->id, read->cursor, read->limit + 1, &read->rows, err);
}

static json_t *statement_json(const struct cyx_db_result *rows, int64_t limit)
{
    size_t count = cyx_db_rows(rows);
    const char *next = count > (size_t)limit ? cyx_db_text(rows, (size_t)limit - 1, 0) : NULL;
    json_t *entries = json_array();
    for (size_t i = 0; i < count && i < (size_t)limit; i++)
        json_array_append_new(
            entries, json_pack("{s:s, s:o, s:s, s:o, s:o, s:o, s:s}", "id", cyx_db_text(rows, i, 0),
                               "at", cyx_message_new_time(cyx_db_time_ms(rows, i, 1)), "kind",
                               cyx_db_text(rows, i, 2), "amount",
                               cyx_message_new_amount(cyx_db_int(rows, i, 3)), "balance",
                               cyx_message_new_amount(cyx_db_int(rows, i, 4)), "job_id",
                               cyx_message_new_text(cyx_db_text(rows, i, 5)), "memo",
                               cyx_db_text(rows, i, 6)));
    return json_pack("{s:o, s:o}", "entries", entries, "next_cursor", cyx_message_new_text(next));
}

enum cyx_status api_statement(void *ctx, const struct cyx_bus_message *request,
                              struct cyx_buf *reply, struct cyx_error *err)
{
    struct api *api = ctx;
    CYX_CLEANUP_JSON json_t *body = NULL;
    struct read read = {0};
    enum cyx_status status = cyx_message_parse(request->data, request->length, &body, err);
    if (status == CYX_OK)
        status = cyx_message_id(body, "account_id", &read.id, err);
    if (status == CYX_OK)
        status = cyx_message_page(body, &read.limit, &read.cursor, err);
    if (status == CYX_OK)
        status = cyx_db_transaction(api->db, read_statement, &read, err);
    if (status == CYX_OK)
        status = cyx_message_write(statement_json(read.rows, read.limit), reply, err);
    cyx_db_result_free(read.rows);
    return status;
}

static enum cyx_status read_escrow(void *ctx, struct cyx_db_conn *conn, struct cyx_error *err)
{
    struct read *read = ctx;
    enum cyx_status status = store_escrow_get(conn, read->id, false, &read->escrow, err);
    cyx_db_result_free(read->rows);
    read->rows = NULL;
    return status == CYX_OK ? store_shares(conn, read->id, &read->rows, err) : status;
}

static json_t *shares_json(const struct cyx_db_result *rows)
{
    json_t *shares = json_array();
    for (size_t i = 0; i < cyx_db_rows(rows); i++)
        json_array_append_new(shares,
                              json_pack("{s:s, s:o}", "node_id", cyx_db_text(rows, i, 0), "amount",
                                        cyx_message_new_amount(cyx_db_int(rows, i, 1))));
    return shares;
}

enum cyx_status api_job(void *ctx, const struct cyx_bus_message *request, struct cyx_buf *reply,
                        struct cyx_error *err)
{
    struct api *api = ctx;
    CYX_CLEANUP_JSON json_t *body = NULL;
    struct read read = {0};
    enum cyx_status status = cyx_message_parse(request->data, request->length, &body, err);
    if (status == CYX_OK)
        status = cyx_message_id(body, "job_id", &read.id, err);
    if (status == CYX_OK)
        status = cyx_db_transaction(api->db, read_escrow, &read, err);
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = read.rows;
    if (status == CYX_ERR_NOT_FOUND)
        return cyx_error_set(err, status, "/job_id", "nothing was held for job %s yet", read.id);
    if (status != CYX_OK)
        return status;
    const struct store_escrow *e = &read.escrow;
    json_t *shares = shares_json(rows);
    return cyx_message_write(json_pack("{s:{s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o}}", "escrow",
                                       "state", e->state, "held", cyx_message_new_amount(e->held),
                                       "released", cyx_message_new_amount(e->released), "refunded",
                                       cyx_message_new_amount(e->refunded), "node_share",
                                       cyx_message_new_amount(e->node_share), "platform_fee",
                                       cyx_message_new_amount(e->platform_fee), "reason",
                                       cyx_message_new_text(e->reason), "shares", shares),
                             reply, err);
}

static enum cyx_status open_account_body(void *ctx, struct cyx_db_conn *conn, struct cyx_error *err)
{
    return store_open_account(conn, ctx, err);
}

enum cyx_status api_account_created(void *ctx, const struct cyx_bus_message *event,
                                    struct cyx_error *err)
{
    struct api *api = ctx;
    CYX_CLEANUP_JSON json_t *body = NULL;
    const char *account_id = NULL;
    enum cyx_status status = cyx_message_parse(event->data, event->length, &body, err);
    if (status == CYX_OK)
        status = cyx_message_id(body, "account_id", &account_id, err);
    if (status == CYX_OK)
        status = cyx_db_transaction(api->db, open_account_body, (void *)account_id, err);
    return status;
}

/* What a job's event says, as far as money goes. */
struct change {
    const char *job_id, *account_id, *to;
    struct store_payee payees[STORE_PAYEES_LIMIT];
    size_t n_payees;
    const struct cyx_bus_meta *meta;
    int64_t budget, cost;
    struct cyx_payments_shares shares;
};

static enum cyx_status emit(struct cyx_db_conn *conn, const struct change *change,
                            const char *subject, const char *name, const char *key, json_t *value,
                            struct cyx_error *err)
{
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    char message_id[96];
    snprintf(message_id, sizeof(message_id), "payment-%s-%s", name, change->job_id);
    enum cyx_status status =
        cyx_message_write(json_pack("{s:s, s:s, s:s, s:o}", "event_id", message_id, "job_id",
                                    change->job_id, "account_id", change->account_id, key, value),
                          &text, err);
    if (status != CYX_OK)
        return status;
    const struct cyx_outbox_event event = {.subject = subject,
                                           .message_id = message_id,
                                           .request_id = change->meta->request_id,
                                           .traceparent = change->meta->traceparent,
                                           .json = text.data};
    return cyx_outbox_add_event(conn, &event, err);
}

static enum cyx_status hold_body(void *ctx, struct cyx_db_conn *conn, struct cyx_error *err)
{
    const struct change *change = ctx;
    enum cyx_hold_outcome outcome;
    enum cyx_status status =
        store_hold(conn, change->job_id, change->account_id, change->budget, &outcome, err);
    if (status == CYX_OK && outcome == CYX_HOLD_HELD)
        status = emit(conn, change, CYX_EVT_PAYMENT_HELD, "held", "amount",
                      cyx_message_new_amount(change->budget), err);
    if (status == CYX_OK && outcome == CYX_HOLD_REFUSED)
        status = emit(conn, change, CYX_EVT_PAYMENT_REFUSED, "refused", "reason",
                      json_string("the budget is more than the balance of the account: lower the "
                                  "spec's budget or add funds"),
                      err);
    return status;
}

static enum cyx_status settle_body(void *ctx, struct cyx_db_conn *conn, struct cyx_error *err)
{
    const struct change *change = ctx;
    bool settled = false;
    enum cyx_status status =
        store_settle(conn, change->job_id, change->account_id, change->payees, change->n_payees,
                     change->cost, change->shares, &settled, err);
    if (status == CYX_OK && settled)
        status = emit(conn, change, CYX_EVT_PAYMENT_SETTLED, "settled", "released",
                      cyx_message_new_amount(change->cost), err);
    return status;
}

/* Of a job of several nodes, {paid: [{node_id, device_ms, price_per_hour}]}: each by its own price and time. */
static enum cyx_status read_costs(const json_t *paid, struct change *change, struct cyx_error *err)
{
    struct cyx_payments_work works[STORE_PAYEES_LIMIT] = {0};
    size_t count = json_array_size(paid);
    enum cyx_status status = CYX_OK;
    if (count == 0 || count > STORE_PAYEES_LIMIT)
        return cyx_error_set(err, CYX_ERR_INVALID, "/job/gang/paid", "expected 1 to %d nodes",
                             STORE_PAYEES_LIMIT);
    for (size_t i = 0; status == CYX_OK && i < count; i++) {
        const json_t *work = json_array_get(paid, i);
        status = cyx_message_id(work, "node_id", &change->payees[i].node_id, err);
        if (status == CYX_OK)
            status = cyx_message_amount(work, "price_per_hour", &works[i].price_per_hour_base_units,
                                        err);
        if (status == CYX_OK)
            status = cyx_message_int(work, "device_ms", 0, INT64_MAX, &works[i].device_ms, err);
    }
    if (status == CYX_OK)
        status = cyx_payments_cost_of_all(works, count, change->budget, &change->cost);
    if (status != CYX_OK)
        return status;
    change->shares = cyx_payments_split(change->cost);
    cyx_payments_share_out(change->shares.node_base_units, works, count);
    for (size_t i = 0; i < count; i++)
        change->payees[i].amount = works[i].share_base_units;
    change->n_payees = count;
    return CYX_OK;
}

/* The cost of a completed job by the node's price and its device time; others cost nothing for now. */
static enum cyx_status read_cost(const json_t *job, struct change *change, struct cyx_error *err)
{
    int64_t price = 0, device_ms = 0;
    const json_t *gang = json_object_get(job, "gang");
    if (strcmp(change->to, "completed") != 0)
        return CYX_OK;
    if (json_is_object(gang))
        return read_costs(json_object_get(gang, "paid"), change, err);
    enum cyx_status status = cyx_message_id(job, "node_id", &change->payees[0].node_id, err);
    if (status == CYX_OK)
        status = cyx_message_amount(job, "price_per_hour", &price, err);
    if (status == CYX_OK)
        status = cyx_message_int(job, "device_ms", 0, INT64_MAX, &device_ms, err);
    if (status == CYX_OK)
        status = cyx_payments_cost(price, device_ms, change->budget, &change->cost);
    change->shares = cyx_payments_split(change->cost);
    change->payees[0].amount = change->shares.node_base_units;
    change->n_payees = 1;
    return status;
}

enum cyx_status api_job_event(void *ctx, const struct cyx_bus_message *event, struct cyx_error *err)
{
    struct api *api = ctx;
    CYX_CLEANUP_JSON json_t *body = NULL;
    json_t *job = NULL;
    const char *cause = "";
    struct change change = {.meta = &event->meta};
    enum cyx_status status = cyx_message_parse(event->data, event->length, &body, err);
    if (status == CYX_OK)
        status = cyx_message_id(body, "job_id", &change.job_id, err);
    if (status == CYX_OK)
        status = cyx_message_id(body, "account_id", &change.account_id, err);
    if (status == CYX_OK)
        status = cyx_message_text(body, "to", &change.to, err);
    if (status == CYX_OK)
        status = cyx_message_maybe_text(body, "cause", &cause, err);
    if (status == CYX_OK)
        status = cyx_message_object(body, "job", &job, err);
    if (status == CYX_OK)
        status = cyx_message_amount(job, "budget", &change.budget, err);
    if (status != CYX_OK)
        return status;
    cyx_db_body act = NULL;
    if (strcmp(change.to, "queued") == 0 && strcmp(cause, "submitted") == 0)
        act = hold_body;
    else if (strcmp(change.to, "completed") == 0 || strcmp(change.to, "failed") == 0 ||
             strcmp(change.to, "cancelled") == 0)
        act = settle_body;
    if (!act)
        return CYX_OK;
    status = act == settle_body ? read_cost(job, &change, err) : CYX_OK;
    if (status == CYX_OK)
        status = cyx_db_transaction(api->db, act, &change, err);
    if (status == CYX_OK)
        cyx_outbox_wake(api->outbox);
    return status;
}
