/* What the files of libs/store share behind store/db.h. Not for others. */
#ifndef CYX_STORE_DB_INTERNAL_H
#define CYX_STORE_DB_INTERNAL_H

#include <libpq-fe.h>
#include <pthread.h>

#include "store/db.h"

enum { CYX_DB_POOL_MAX = 256, CYX_DB_SCHEMA_BYTES = 48, CYX_DB_NAME_BYTES = 24 };

struct cyx_db_prepared;

struct cyx_db_conn {
    struct cyx_db *db;
    PGconn *pg; /* NULL until first used and after it broke */
    bool busy;
    bool broken; /* an error came from the client library, not from the server: replace it */
    bool wake_after_commit;           /* an event was put into the outbox */
    struct cyx_db_prepared *prepared; /* statements that this session knows; NULL: none yet */
    int64_t given_back_ns;
    char sqlstate[6];
    char constraint[64];
};

struct cyx_db {
    char *dsn, *application;
    char schema[CYX_DB_SCHEMA_BYTES];
    int64_t take_timeout_ms, statement_timeout_ms;
    unsigned size;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t freed;
    unsigned busy;
    void (*wake)(void *ctx); /* the outbox's relay, called after a commit that added to it */
    void *wake_ctx;
    struct cyx_db_conn conns[]; /* `size` of them */
};

/*
 * The name of the statement when this session has it prepared, which it is from its second use on. False: run it as
 * it is, or, with `ret_failed`, report that.
 */
bool cyx_db_prepare(struct cyx_db_conn *conn, const char *sql, char ret_name[CYX_DB_NAME_BYTES],
                    PGresult **ret_failed);
void cyx_db_prepared_free(struct cyx_db_prepared *self);

/* Fills `err` (may be NULL) from a failed result, or from the connection when there is none. */
enum cyx_status cyx_db_fail(struct cyx_db_conn *conn, const PGresult *result,
                            struct cyx_error *err);

/* Whether the connection can still be used. */
bool cyx_db_usable(const struct cyx_db_conn *conn);

/* Calls the relay if this connection's transaction, now committed, added to the outbox. */
void cyx_db_committed(struct cyx_db_conn *conn);

#endif
