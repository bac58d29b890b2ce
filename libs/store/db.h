/*
 * PostgreSQL: a fixed pool of connections, parameterised queries in text format, transactions that
 * are repeated when the server asks for it.
 *
 * A pool is bound to one schema (the service's), which is the search_path of every connection. A
 * connection that died is replaced when it is next taken; an idle one is checked. Statements run
 * longer than `statement_timeout_ms` are cancelled by the server. What a connection runs a second time it
 * prepares, so a pooler between must keep sessions whole.
 *
 * Ownership: the pool is the caller's from cyx_db_open() to cyx_db_close(). A connection is
 * borrowed (cyx_db_take / cyx_db_give, or for the time of cyx_db_transaction). A result is the
 * caller's until cyx_db_result_free(); CYX_CLEANUP_RESULT does it at the end of the block. Text
 * that a getter returns lives as long as its result.
 *
 * Threads: the pool from any thread; a connection and its results from the thread that borrowed it.
 *
 * Errors: the server's SQLSTATE becomes a status: unique or exclusion violation CYX_ERR_CONFLICT;
 * check, not-null, foreign key and bad values CYX_ERR_INVALID; lost connection, shutdown and too
 * many connections CYX_ERR_UNAVAILABLE; cancelled by the time limit and no free connection in time
 * CYX_ERR_TIMEOUT; serialization failure and deadlock CYX_ERR_CONFLICT (but a transaction is
 * repeated first); rights CYX_ERR_DENIED; disk full CYX_ERR_IO; anything else CYX_ERR_INTERNAL. The
 * message names the SQLSTATE and, where there is one, the constraint (cyx_db_constraint() gives it
 * for the last failure).
 *
 *     CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
 *     status = cyx_db_query(conn, "select id, epoch from jobs where owner = $1 and state = $2",
 *                           &rows, err, CYX_DB_TEXT(owner), CYX_DB_TEXT("queued"));
 *     for (size_t i = 0; status == CYX_OK && i < cyx_db_rows(rows); i++)
 *         use(cyx_db_text(rows, i, 0), cyx_db_int(rows, i, 1));
 */
#ifndef CYX_STORE_DB_H
#define CYX_STORE_DB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/status.h"

struct cyx_db;
struct cyx_db_conn;
struct cyx_db_result;

struct cyx_db_options {
    const char *dsn;    /* libpq: "postgresql://user@/db?host=/run/pg" or "host=… dbname=…" */
    const char *schema; /* the service's schema, a-z 0-9 _; created by migrations */
    const char *application;      /* shown in pg_stat_activity; NULL means the schema */
    unsigned size;                /* connections; 0 means 8 */
    int64_t take_timeout_ms;      /* wait for a free connection; 0 means 5,000 */
    int64_t statement_timeout_ms; /* 0 means 15,000 */
    int64_t wait_ms;              /* how long open waits for the server to appear; 0 means 10,000 */
};

/* Opens the first connection (so a wrong address is told now), the others on demand. */
enum cyx_status cyx_db_open(const struct cyx_db_options *options, struct cyx_db **ret_db,
                            struct cyx_error *err);

/* Closes every connection; all borrowed ones must have been given back. NULL is fine. */
void cyx_db_close(struct cyx_db *self);

/* Runs `select 1` on a connection; for readiness. */
enum cyx_status cyx_db_ping(struct cyx_db *self, struct cyx_error *err);

/* Connections borrowed now, and the size of the pool; for metrics. */
unsigned cyx_db_busy(struct cyx_db *self);
unsigned cyx_db_size(const struct cyx_db *self);

/* Borrows a connection: CYX_ERR_TIMEOUT when none is free in time, CYX_ERR_UNAVAILABLE when the
 * server is away. */
enum cyx_status cyx_db_take(struct cyx_db *self, struct cyx_db_conn **ret_conn,
                            struct cyx_error *err);

/* Gives it back; a transaction left open is rolled back. NULL is fine. */
void cyx_db_give(struct cyx_db_conn *conn);

/* Appends an element (NULL: null) to the text of an array, "{…" until the caller puts the last brace. */
void cyx_db_put_element(struct cyx_buf *text, const char *element);

/* One parameter, made by the macros below; lives until the end of the full expression. */
enum cyx_db_kind {
    CYX_DB_KIND_TEXT,
    CYX_DB_KIND_INT,
    CYX_DB_KIND_DOUBLE,
    CYX_DB_KIND_BOOL,
    CYX_DB_KIND_BYTES
};

struct cyx_db_param {
    enum cyx_db_kind kind;
    const void *pointer; /* NULL is SQL's NULL */
    size_t length;
    int64_t integer;
    double number;
};

#define CYX_DB_TEXT(v)                                                                             \
    ((struct cyx_db_param){.kind = CYX_DB_KIND_TEXT,                                               \
                           .pointer = (v)}) /* also json, uuid, numeric  \
                                                                       */
#define CYX_DB_NULL ((struct cyx_db_param){.kind = CYX_DB_KIND_TEXT, .pointer = NULL})
#define CYX_DB_INT(v) ((struct cyx_db_param){.kind = CYX_DB_KIND_INT, .integer = (int64_t)(v)})
#define CYX_DB_DOUBLE(v) ((struct cyx_db_param){.kind = CYX_DB_KIND_DOUBLE, .number = (double)(v)})
#define CYX_DB_BOOL(v) ((struct cyx_db_param){.kind = CYX_DB_KIND_BOOL, .integer = (v) ? 1 : 0})
#define CYX_DB_BYTES(p, n)                                                                         \
    ((struct cyx_db_param){.kind = CYX_DB_KIND_BYTES, .pointer = (p), .length = (n)})
/* A point in time for timestamptz: write the column as `to_timestamp($1 / 1000.0)` with this as $1.
 */
#define CYX_DB_TIME_MS(v) CYX_DB_INT(v)

/*
 * Runs one statement. `ret_result` may be NULL when no rows are wanted. Parameters may follow
 * `err`, at most 32. cyx_db_query(conn, "delete from t where id = $1", NULL, err, CYX_DB_TEXT(id));
 */
#define cyx_db_query(conn, sql, ret_result, err, ...)                                              \
    cyx_db_query_params((conn), (sql), CYX_DB_COUNT(__VA_ARGS__), CYX_DB_ARRAY(__VA_ARGS__),       \
                        (ret_result), (err))
#define CYX_DB_ARRAY(...) ((const struct cyx_db_param[]){__VA_ARGS__ __VA_OPT__(, ){0}})
#define CYX_DB_COUNT(...) (sizeof(CYX_DB_ARRAY(__VA_ARGS__)) / sizeof(struct cyx_db_param) - 1)

enum cyx_status cyx_db_query_params(struct cyx_db_conn *conn, const char *sql, size_t count,
                                    const struct cyx_db_param *params,
                                    struct cyx_db_result **ret_result, struct cyx_error *err);

/* cyx_db_query() that wants exactly one row back: CYX_ERR_NOT_FOUND when there is none. */
#define cyx_db_query_one(conn, sql, ret_result, err, ...)                                          \
    cyx_db_query_one_params((conn), (sql), CYX_DB_COUNT(__VA_ARGS__), CYX_DB_ARRAY(__VA_ARGS__),   \
                            (ret_result), (err))
enum cyx_status cyx_db_query_one_params(struct cyx_db_conn *conn, const char *sql, size_t count,
                                        const struct cyx_db_param *params,
                                        struct cyx_db_result **ret_result, struct cyx_error *err);

/* The same two on a connection of the pool that is borrowed for this one statement. */
#define cyx_db_run(db, sql, ret_result, err, ...)                                                  \
    cyx_db_run_params((db), (sql), CYX_DB_COUNT(__VA_ARGS__), CYX_DB_ARRAY(__VA_ARGS__),           \
                      (ret_result), (err))
enum cyx_status cyx_db_run_params(struct cyx_db *self, const char *sql, size_t count,
                                  const struct cyx_db_param *params,
                                  struct cyx_db_result **ret_result, struct cyx_error *err);
#define cyx_db_run_one(db, sql, ret_result, err, ...)                                              \
    cyx_db_run_one_params((db), (sql), CYX_DB_COUNT(__VA_ARGS__), CYX_DB_ARRAY(__VA_ARGS__),       \
                          (ret_result), (err))
enum cyx_status cyx_db_run_one_params(struct cyx_db *self, const char *sql, size_t count,
                                      const struct cyx_db_param *params,
                                      struct cyx_db_result **ret_result, struct cyx_error *err);

/* Runs several statements of trusted text without parameters (migrations). */
enum cyx_status cyx_db_script(struct cyx_db_conn *conn, const char *sql, struct cyx_error *err);

/* The constraint that the last statement of this connection broke, "" when none. */
const char *cyx_db_constraint(const struct cyx_db_conn *conn);

/* The five characters of the last statement's SQLSTATE, "" when it succeeded. */
const char *cyx_db_sqlstate(const struct cyx_db_conn *conn);

size_t cyx_db_rows(const struct cyx_db_result *result);
/* Rows that an insert, update or delete touched. */
size_t cyx_db_affected(const struct cyx_db_result *result);
bool cyx_db_null(const struct cyx_db_result *result, size_t row, size_t column);
/* The value as text; "" for NULL. */
const char *cyx_db_text(const struct cyx_db_result *result, size_t row, size_t column);
/* 0 for NULL and for text that is no whole number. */
int64_t cyx_db_int(const struct cyx_db_result *result, size_t row, size_t column);
double cyx_db_double(const struct cyx_db_result *result, size_t row, size_t column);
bool cyx_db_bool(const struct cyx_db_result *result, size_t row, size_t column);
/* A timestamptz column as milliseconds since 1970; 0 for NULL. Sessions run in UTC. */
int64_t cyx_db_time_ms(const struct cyx_db_result *result, size_t row, size_t column);
/* A bytea column: `ret_bytes` is malloc'ed, the caller frees it. CYX_ERR_NOT_FOUND for NULL. */
enum cyx_status cyx_db_bytes(const struct cyx_db_result *result, size_t row, size_t column,
                             void **ret_bytes, size_t *ret_length);

void cyx_db_result_free(struct cyx_db_result *result);
void cyx_db_result_cleanup(struct cyx_db_result **result);
#define CYX_CLEANUP_RESULT __attribute__((cleanup(cyx_db_result_cleanup)))

/*
 * The body of a transaction: anything but CYX_OK rolls back and is returned. It may run several
 * times, so it must not leave traces outside the database (events go through the outbox), and must
 * set its outputs anew each time.
 */
typedef enum cyx_status (*cyx_db_body)(void *ctx, struct cyx_db_conn *conn, struct cyx_error *err);

/*
 * Borrows a connection, runs `body` between begin and commit (read committed) and repeats it up to
 * 5 times, with a growing random pause, when the server reports a serialization failure or a
 * deadlock.
 */
enum cyx_status cyx_db_transaction(struct cyx_db *self, cyx_db_body body, void *ctx,
                                   struct cyx_error *err);

/* The same at isolation level serializable. */
enum cyx_status cyx_db_transaction_serializable(struct cyx_db *self, cyx_db_body body, void *ctx,
                                                struct cyx_error *err);

#endif
