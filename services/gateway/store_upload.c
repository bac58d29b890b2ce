/* Uploads of accounts. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store_internal.h"

#include "base/banned.h"

#define COLUMNS "id, kind, name, sha256, bytes, received, created_at, completed_at"

static void read_upload(const struct cyx_db_result *rows, size_t row, struct store_upload *ret)
{
    snprintf(ret->id, sizeof(ret->id), "%s", cyx_db_text(rows, row, 0));
    snprintf(ret->kind, sizeof(ret->kind), "%s", cyx_db_text(rows, row, 1));
    snprintf(ret->name, sizeof(ret->name), "%s", cyx_db_text(rows, row, 2));
    snprintf(ret->sha256, sizeof(ret->sha256), "%s", cyx_db_text(rows, row, 3));
    ret->bytes = cyx_db_int(rows, row, 4);
    ret->received = cyx_db_int(rows, row, 5);
    ret->created_ms = cyx_db_time_ms(rows, row, 6);
    ret->completed_ms = cyx_db_time_ms(rows, row, 7);
}

struct announcement {
    const char *account_id;
    int64_t quota_bytes;
    struct store_upload *upload;
    bool created;
};

/* The account's row is locked, so that two announcements of a moment do not pass the quota together. */
static enum cyx_status announce(void *ctx, struct cyx_db_conn *conn, struct cyx_error *err)
{
    struct announcement *self = ctx;
    struct store_upload *upload = self->upload;
    CYX_CLEANUP_RESULT struct cyx_db_result *locked = NULL, *there = NULL, *used = NULL;
    enum cyx_status status =
        cyx_db_query_one(conn, "select id from account where id = $1 for update", &locked, err,
                         CYX_DB_TEXT(self->account_id));
    if (status != CYX_OK)
        return status;
    status = cyx_db_query_one(
        conn, "select " COLUMNS " from upload where account_id = $1 and kind = $2 and sha256 = $3",
        &there, err, CYX_DB_TEXT(self->account_id), CYX_DB_TEXT(upload->kind),
        CYX_DB_TEXT(upload->sha256));
    self->created = status == CYX_ERR_NOT_FOUND;
    if (status == CYX_OK)
        read_upload(there, 0, upload);
    if (status != CYX_ERR_NOT_FOUND)
        return status;
    status =
        cyx_db_query_one(conn, "select coalesce(sum(bytes), 0) from upload where account_id = $1",
                         &used, err, CYX_DB_TEXT(self->account_id));
    if (status != CYX_OK)
        return status;
    int64_t left = self->quota_bytes - cyx_db_int(used, 0, 0);
    if (upload->bytes > left)
        return cyx_error_set(err, CYX_ERR_TOO_LARGE, "/bytes",
                             "the account may store %" PRId64 " bytes more of its %" PRId64
                             "; delete an upload first",
                             left > 0 ? left : 0, self->quota_bytes);
    CYX_CLEANUP_RESULT struct cyx_db_result *row = NULL;
    status = cyx_db_query_one(conn,
                              "insert into upload (id, account_id, kind, name, sha256, bytes) "
                              "values ($1, $2, $3, $4, $5, $6) returning " COLUMNS,
                              &row, err, CYX_DB_TEXT(upload->id), CYX_DB_TEXT(self->account_id),
                              CYX_DB_TEXT(upload->kind), CYX_DB_TEXT(upload->name),
                              CYX_DB_TEXT(upload->sha256), CYX_DB_INT(upload->bytes));
    if (status == CYX_OK)
        read_upload(row, 0, upload);
    return status;
}

enum cyx_status store_upload_add(struct store *self, const char *account_id, int64_t quota_bytes,
                                 struct store_upload *upload, bool *ret_created,
                                 struct cyx_error *err)
{
    struct store_upload wanted = *upload;
    cyx_id_new(wanted.id);
    struct announcement announcement = {account_id, quota_bytes, &wanted, false};
    enum cyx_status status = cyx_db_transaction(self->db, announce, &announcement, err);
    if (status != CYX_OK)
        return status;
    *upload = wanted;
    *ret_created = announcement.created;
    return CYX_OK;
}

enum cyx_status store_upload_find(struct store *self, const char *account_id, const char *id,
                                  struct store_upload *ret_upload, struct cyx_error *err)
{
    CYX_CLEANUP_RESULT struct cyx_db_result *row = NULL;
    enum cyx_status status =
        cyx_db_run_one(self->db, "select " COLUMNS " from upload where id = $1 and account_id = $2",
                       &row, err, CYX_DB_TEXT(id), CYX_DB_TEXT(account_id));
    if (status == CYX_OK)
        read_upload(row, 0, ret_upload);
    return status;
}

enum cyx_status store_upload_named(struct store *self, const char *account_id, const char *kind,
                                   const char *name, const char *sha256,
                                   struct store_upload *ret_upload, struct cyx_error *err)
{
    CYX_CLEANUP_RESULT struct cyx_db_result *row = NULL;
    enum cyx_status status = cyx_db_run_one(
        self->db,
        "select " COLUMNS " from upload where account_id = $1 and kind = $2 and "
        "(name = $3 or id::text = $3) and ($4::text is null or sha256 = $4) "
        "order by id::text = $3 desc, completed_at is null, created_at desc, id desc limit 1",
        &row, err, CYX_DB_TEXT(account_id), CYX_DB_TEXT(kind), CYX_DB_TEXT(name),
        CYX_DB_TEXT(sha256));
    if (status == CYX_OK)
        read_upload(row, 0, ret_upload);
    return status;
}

/* Nothing of the request's stands in the SQL. Ids rise with time. */
#define LIST(behind, order)                                                                        \
    "select " COLUMNS " from upload where account_id = $1 and ($2::text is null or kind = $2) "    \
    "and ($3::bool is null or (completed_at is not null) = $3) and ($4::uuid is null or " behind   \
    ") and $6::text is not null order by " order " limit $5"

enum order { NEWEST, OLDEST, NAME, NAME_DOWN, BYTES, BYTES_DOWN };

const struct cyx_page_order store_upload_orders[] = {
    [NEWEST] = {"-created_at", true},
    [OLDEST] = {"created_at", true},
    [NAME] = {"name", false},
    [NAME_DOWN] = {"-name", false},
    [BYTES] = {"bytes", false},
    [BYTES_DOWN] = {"-bytes", false},
    {0},
};

static const char *const list_sql[] = {
    [NEWEST] = LIST("id < $4", "id desc"),
    [OLDEST] = LIST("id > $4", "id"),
    [NAME] = LIST("(name, id) > ($6, $4)", "name, id"),
    [NAME_DOWN] = LIST("(name, id) < ($6, $4)", "name desc, id desc"),
    [BYTES] = LIST("(bytes, id) > (nullif($6, '')::bigint, $4)", "bytes, id"),
    [BYTES_DOWN] = LIST("(bytes, id) < (nullif($6, '')::bigint, $4)", "bytes desc, id desc"),
};

enum cyx_status store_upload_list(struct store *self, const struct store_upload_query *query,
                                  struct store_upload **ret_uploads, size_t *ret_count,
                                  struct cyx_error *err)
{
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    enum cyx_status status =
        cyx_db_run(self->db, list_sql[query->page.order], &rows, err,
                   CYX_DB_TEXT(query->account_id), CYX_DB_TEXT(query->kind),
                   CYX_DB_TEXT(query->complete), CYX_DB_TEXT(cyx_page_id(&query->page)),
                   CYX_DB_INT(query->page.limit + 1), CYX_DB_TEXT(query->page.value));
    if (status != CYX_OK)
        return status;
    size_t count = cyx_db_rows(rows);
    struct store_upload *uploads = calloc(count ? count : 1, sizeof(*uploads));
    if (!uploads)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for %zu uploads", count);
    for (size_t i = 0; i < count; i++)
        read_upload(rows, i, &uploads[i]);
    *ret_uploads = uploads;
    *ret_count = count;
    return CYX_OK;
}

enum cyx_status store_upload_progress(struct store *self, const char *id, int64_t received,
                                      bool complete, struct cyx_error *err)
{
    return cyx_db_run(self->db,
                      "update upload set received = $2, completed_at = case when $3 then now() "
                      "end where id = $1 and completed_at is null",
                      NULL, err, CYX_DB_TEXT(id), CYX_DB_INT(received), CYX_DB_BOOL(complete));
}

enum cyx_status store_upload_delete(struct store *self, const char *account_id, const char *id,
                                    struct store_upload *ret_upload, bool *ret_last,
                                    struct cyx_error *err)
{
    STORE_CLEANUP_CONN struct cyx_db_conn *conn = NULL;
    enum cyx_status status = cyx_db_take(self->db, &conn, err);
    if (status != CYX_OK)
        return status;
    CYX_CLEANUP_RESULT struct cyx_db_result *row = NULL, *others = NULL;
    status = cyx_db_query_one(
        conn, "delete from upload where id = $1 and account_id = $2 returning " COLUMNS, &row, err,
        CYX_DB_TEXT(id), CYX_DB_TEXT(account_id));
    if (status != CYX_OK)
        return status;
    read_upload(row, 0, ret_upload);
    status = cyx_db_query_one(conn,
                              "select exists (select 1 from upload where sha256 = $1) or "
                              "exists (select 1 from artifact where sha256 = $1)",
                              &others, err, CYX_DB_TEXT(ret_upload->sha256));
    *ret_last = status == CYX_OK && !cyx_db_bool(others, 0, 0);
    return status;
}
