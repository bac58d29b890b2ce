#include "store.h"

#include <stdlib.h>

#include "base/id.h"

#include "base/banned.h"

#define COLUMNS                                                                                    \
    "id, account_id, name, version, visibility, job_id, node_id, sha256, bytes, format, dataset,"  \
    " spec, metrics, created_at"

static enum cyx_status insert_model(struct cyx_db_conn *conn, const struct cyx_model_draft *draft,
                                    const char *spec, const char *metrics, struct cyx_error *err)
{
    char id[CYX_ID_BYTES];
    cyx_id_new(id);
    /* One writer a name at a time, so that versions count without gaps and without a collision. */
    enum cyx_status status =
        cyx_db_query(conn, "SELECT pg_advisory_xact_lock(hashtextextended($1 || '/' || $2, 0))",
                     NULL, err, CYX_DB_TEXT(draft->account_id), CYX_DB_TEXT(draft->name));
    if (status != CYX_OK)
        return status;
    return cyx_db_query(
        conn,
        "INSERT INTO model (id, account_id, name, version, job_id, node_id, sha256, bytes, dataset,"
        " spec, metrics) SELECT $1, $2, $3, 1 + coalesce(max(version), 0), $4, $5, $6, $7, $8, $9,"
        " $10 FROM model WHERE account_id = $2 AND name = $3 ON CONFLICT (job_id) DO NOTHING",
        NULL, err, CYX_DB_TEXT(id), CYX_DB_TEXT(draft->account_id), CYX_DB_TEXT(draft->name),
        CYX_DB_TEXT(draft->job_id), CYX_DB_TEXT(draft->node_id), CYX_DB_TEXT(draft->sha256),
        CYX_DB_INT(draft->bytes), CYX_DB_TEXT(draft->dataset), CYX_DB_TEXT(spec),
        CYX_DB_TEXT(metrics));
}

enum cyx_status store_add_model(struct cyx_db_conn *conn, const struct cyx_model_draft *draft,
                                struct cyx_error *err)
{
    char *spec = json_dumps(draft->spec, JSON_COMPACT);
    char *metrics = json_dumps(draft->metrics_source, JSON_COMPACT);
    enum cyx_status status = spec && metrics ? insert_model(conn, draft, spec, metrics, err)
                                             : cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL,
                                                             "no memory to store the model");
    free(spec);
    free(metrics);
    return status;
}

/* Ids rise with time. */
#define LIST(behind, order)                                                                        \
    "SELECT " COLUMNS " FROM model WHERE account_id = $1 AND ($2::uuid IS NULL OR " behind ")"     \
    " AND $4::text IS NOT NULL ORDER BY " order " LIMIT $3"

enum order { NEWEST, OLDEST, NAME, NAME_DOWN };

const struct cyx_page_order store_model_orders[] = {
    [NEWEST] = {"-created_at", true},
    [OLDEST] = {"created_at", true},
    [NAME] = {"name", false},
    [NAME_DOWN] = {"-name", false},
    {0},
};

static const char *const list_sql[] = {
    [NEWEST] = LIST("id < $2", "id DESC"),
    [OLDEST] = LIST("id > $2", "id"),
    [NAME] = LIST("(name, id) > ($4, $2)", "name, id"),
    [NAME_DOWN] = LIST("(name, id) < ($4, $2)", "name DESC, id DESC"),
};

enum cyx_status store_list_models(struct cyx_db_conn *conn, const char *account_id,
                                  const struct cyx_page *page, struct cyx_db_result **ret_rows,
                                  struct cyx_error *err)
{
    return cyx_db_query(conn, list_sql[page->order], ret_rows, err, CYX_DB_TEXT(account_id),
                        CYX_DB_TEXT(cyx_page_id(page)), CYX_DB_INT(page->limit + 1),
                        CYX_DB_TEXT(page->value));
}

enum cyx_status store_get_model(struct cyx_db_conn *conn, const char *account_id,
                                const char *model_id, struct cyx_db_result **ret_row,
                                struct cyx_error *err)
{
    return cyx_db_query_one(conn, "SELECT " COLUMNS " FROM model WHERE account_id = $1 AND id = $2",
                            ret_row, err, CYX_DB_TEXT(account_id), CYX_DB_TEXT(model_id));
}
