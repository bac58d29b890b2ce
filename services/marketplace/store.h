/*
 * The marketplace's tables. Functions run on the caller's connection; adding belongs into a transaction.
 */
#ifndef CYX_MARKETPLACE_STORE_H
#define CYX_MARKETPLACE_STORE_H

#include "contract/page.h"
#include "marketplace.h"
#include "store/db.h"

/* The next version of that name; nothing when the job's model is stored already. */
enum cyx_status store_add_model(struct cyx_db_conn *conn, const struct cyx_model_draft *draft,
                                struct cyx_error *err);

/* Columns of the two below, in this order. */
enum store_model_column {
    STORE_MODEL_ID,
    STORE_MODEL_ACCOUNT,
    STORE_MODEL_NAME,
    STORE_MODEL_VERSION,
    STORE_MODEL_VISIBILITY,
    STORE_MODEL_JOB,
    STORE_MODEL_NODE,
    STORE_MODEL_SHA256,
    STORE_MODEL_BYTES,
    STORE_MODEL_FORMAT,
    STORE_MODEL_DATASET,
    STORE_MODEL_SPEC,
    STORE_MODEL_METRICS,
    STORE_MODEL_CREATED_AT
};

/* -created_at (default), created_at, name, -name; as contract/page.h wants them. */
extern const struct cyx_page_order store_model_orders[];

/* A page, and one model more where there is one. */
enum cyx_status store_list_models(struct cyx_db_conn *conn, const char *account_id,
                                  const struct cyx_page *page, struct cyx_db_result **ret_rows,
                                  struct cyx_error *err);

/* CYX_ERR_NOT_FOUND for another account's model too: its existence is nobody's business. */
enum cyx_status store_get_model(struct cyx_db_conn *conn, const char *account_id,
                                const char *model_id, struct cyx_db_result **ret_row,
                                struct cyx_error *err);

#endif
