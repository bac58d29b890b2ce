#include <string.h>
#include <time.h>

#include "base/id.h"
#include "store/db_internal.h"

#include "base/banned.h"

enum { TRIES = 6, PAUSE_MS = 5 };

void cyx_db_committed(struct cyx_db_conn *conn)
{
    if (!conn->wake_after_commit)
        return;
    conn->wake_after_commit = false;
    struct cyx_db *db = conn->db;
    pthread_mutex_lock(&db->lock);
    if (db->wake)
        db->wake(db->wake_ctx);
    pthread_mutex_unlock(&db->lock);
}

/* How far an attempt came: whether repeating it can do no harm. */
enum progress { BEFORE_COMMIT, IN_COMMIT };

static enum cyx_status attempt(struct cyx_db_conn *conn, const char *begin, cyx_db_body body,
                               void *ctx, enum progress *ret_progress, struct cyx_error *err)
{
    *ret_progress = BEFORE_COMMIT;
    conn->wake_after_commit = false;
    enum cyx_status status = cyx_db_script(conn, begin, err);
    if (status == CYX_OK)
        status = body(ctx, conn, err);
    if (status == CYX_OK && PQtransactionStatus(conn->pg) == PQTRANS_INERROR)
        status = cyx_error_set(err, CYX_ERR_INTERNAL, NULL,
                               "database: the transaction failed but its body reported success");
    if (status == CYX_OK) {
        *ret_progress = IN_COMMIT;
        status = cyx_db_script(conn, "commit", err);
    }
    return status;
}

/* The server itself says that the same again may work: it has rolled everything back. */
static bool asked_to_repeat(const struct cyx_db_conn *conn)
{
    return strcmp(conn->sqlstate, "40001") == 0 || strcmp(conn->sqlstate, "40P01") == 0;
}

static void pause_before(int next_try)
{
    unsigned char random;
    cyx_random_bytes(&random, 1);
    int64_t ms = (int64_t)PAUSE_MS << next_try;
    ms = ms / 2 + ms * random / 512;
    const struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    nanosleep(&pause, NULL);
}

static enum cyx_status transaction(struct cyx_db *self, const char *begin, cyx_db_body body,
                                   void *ctx, struct cyx_error *err)
{
    enum cyx_status status = CYX_ERR_INTERNAL;
    for (int i = 0; i < TRIES; i++) {
        struct cyx_db_conn *conn = NULL;
        if (i > 0)
            pause_before(i);
        status = cyx_db_take(self, &conn, err);
        if (status != CYX_OK)
            return status;
        enum progress progress;
        status = attempt(conn, begin, body, ctx, &progress, err);
        if (status == CYX_OK)
            cyx_db_committed(conn);
        /* A connection that broke before commit took all with it; once is enough to find a new one.
         */
        bool lost = !cyx_db_usable(conn) && progress == BEFORE_COMMIT && i == 0;
        bool again = status != CYX_OK && (lost || asked_to_repeat(conn));
        cyx_db_give(conn);
        if (!again)
            return status;
    }
    return status;
}

enum cyx_status cyx_db_transaction(struct cyx_db *self, cyx_db_body body, void *ctx,
                                   struct cyx_error *err)
{
    return transaction(self, "begin", body, ctx, err);
}

enum cyx_status cyx_db_transaction_serializable(struct cyx_db *self, cyx_db_body body, void *ctx,
                                                struct cyx_error *err)
{
    return transaction(self, "begin isolation level serializable", body, ctx, err);
}
