#include "store/db.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/cond.h"
#include "base/log.h"
#include "store/db_internal.h"

#include "base/banned.h"

enum { IDLE_CHECK_S = 30, RETRY_MS = 100 };

static bool schema_valid(const char *schema)
{
    size_t length = schema ? strlen(schema) : 0;
    return length > 0 && length < CYX_DB_SCHEMA_BYTES && schema[0] >= 'a' && schema[0] <= 'z' &&
           strspn(schema, "abcdefghijklmnopqrstuvwxyz0123456789_") == length;
}

static void on_notice(void *ctx, const char *message)
{
    (void)ctx;
    cyx_log(CYX_LOG_DEBUG, "database notice", CYX_STR("notice", message));
}

static void conn_drop(struct cyx_db_conn *conn)
{
    PQfinish(conn->pg);
    cyx_db_prepared_free(conn->prepared);
    conn->pg = NULL;
    conn->prepared = NULL;
    conn->broken = false;
}

bool cyx_db_usable(const struct cyx_db_conn *conn)
{
    return conn->pg && !conn->broken && PQstatus(conn->pg) == CONNECTION_OK;
}

/*
 * The settings of a session that every query here relies on; and for its plans: statements are short and come again and
 * again, so that compiling them never pays, and what they read lies in memory.
 */
static enum cyx_status conn_prepare(struct cyx_db_conn *conn, struct cyx_error *err)
{
    char sql[320];
    snprintf(sql, sizeof(sql),
             "set search_path to %s; set statement_timeout to %lld; set timezone to 'UTC';"
             "set jit to off; set random_page_cost to 1.1; set datestyle to 'ISO'; set "
             "bytea_output to 'hex'; set client_encoding to 'UTF8'",
             conn->db->schema, (long long)conn->db->statement_timeout_ms);
    PGresult *done = PQexec(conn->pg, sql);
    enum cyx_status status = CYX_OK;
    if (PQresultStatus(done) != PGRES_COMMAND_OK)
        status = cyx_db_fail(conn, done, err);
    PQclear(done);
    return status;
}

/* The parameters of a connection; what stands before "dbname" may be overridden by the DSN. */
static const char *const conn_keys[] = {"connect_timeout", "tcp_user_timeout", "keepalives_idle",
                                        "dbname",          "application_name", NULL};

/*
 * Opens the connection. `ret_refused` tells a server that is there but will not have us (so waiting
 * does not help) from one that is away.
 */
static enum cyx_status conn_open(struct cyx_db_conn *conn, bool *ret_refused, struct cyx_error *err)
{
    const struct cyx_db *db = conn->db;
    char tcp_timeout[24];
    snprintf(tcp_timeout, sizeof(tcp_timeout), "%lld", (long long)db->statement_timeout_ms + 5000);
    const char *values[] = {"5", tcp_timeout, "30", db->dsn, db->application, NULL};
    conn_drop(conn);
    conn->pg = PQconnectdbParams(conn_keys, values, 1);
    if (!conn->pg)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "database: out of memory");
    if (PQstatus(conn->pg) == CONNECTION_OK) {
        PQsetNoticeProcessor(conn->pg, on_notice, NULL);
        enum cyx_status status = conn_prepare(conn, err);
        if (status != CYX_OK)
            conn_drop(conn);
        return status;
    }
    if (ret_refused) {
        PGPing ping = PQpingParams(conn_keys, values, 1);
        *ret_refused = ping == PQPING_OK || ping == PQPING_NO_ATTEMPT;
    }
    const char *why = PQerrorMessage(conn->pg);
    enum cyx_status status =
        cyx_error_set(err, CYX_ERR_UNAVAILABLE, NULL, "database: cannot connect: %.*s",
                      (int)strcspn(why, "\n"), why);
    conn_drop(conn);
    return status;
}

static enum cyx_status open_first(struct cyx_db *self, int64_t wait_ms, struct cyx_error *err)
{
    int64_t end_ns = cyx_clock_monotonic_ns() + wait_ms * 1000000;
    for (;;) {
        bool refused = false;
        enum cyx_status status = conn_open(&self->conns[0], &refused, err);
        if (status == CYX_OK || status == CYX_ERR_NO_MEMORY || refused ||
            cyx_clock_monotonic_ns() >= end_ns)
            return status;
        const struct timespec pause = {.tv_nsec = RETRY_MS * 1000000};
        nanosleep(&pause, NULL);
    }
}

static struct cyx_db *db_new(const struct cyx_db_options *options)
{
    unsigned size = options->size ? options->size : 8;
    struct cyx_db *self = calloc(1, sizeof(*self) + size * sizeof(self->conns[0]));
    if (!self)
        return NULL;
    self->size = size;
    self->dsn = strdup(options->dsn);
    self->application = strdup(options->application ? options->application : options->schema);
    self->take_timeout_ms = options->take_timeout_ms ? options->take_timeout_ms : 5000;
    self->statement_timeout_ms =
        options->statement_timeout_ms ? options->statement_timeout_ms : 15000;
    snprintf(self->schema, sizeof(self->schema), "%s", options->schema);
    for (unsigned i = 0; i < size; i++)
        self->conns[i].db = self;
    pthread_mutex_init(&self->lock, NULL);
    cyx_cond_init(&self->freed);
    return self;
}

enum cyx_status cyx_db_open(const struct cyx_db_options *options, struct cyx_db **ret_db,
                            struct cyx_error *err)
{
    if (!options->dsn || !*options->dsn)
        return cyx_error_set(err, CYX_ERR_INVALID, NULL, "database: no connection string given");
    if (!schema_valid(options->schema))
        return cyx_error_set(err, CYX_ERR_INVALID, NULL,
                             "database: \"%s\" cannot be a schema's name; use a-z, 0-9 and _",
                             options->schema ? options->schema : "");
    if (options->size > CYX_DB_POOL_MAX)
        return cyx_error_set(err, CYX_ERR_INVALID, NULL,
                             "database: a pool of %u connections is over the limit of %d",
                             options->size, CYX_DB_POOL_MAX);
    struct cyx_db *self = db_new(options);
    if (!self || !self->dsn || !self->application) {
        cyx_db_close(self);
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "database: out of memory");
    }
    enum cyx_status status = open_first(self, options->wait_ms ? options->wait_ms : 10000, err);
    if (status != CYX_OK) {
        cyx_db_close(self);
        return status;
    }
    *ret_db = self;
    return CYX_OK;
}

void cyx_db_close(struct cyx_db *self)
{
    if (!self)
        return;
    for (unsigned i = 0; i < self->size; i++)
        conn_drop(&self->conns[i]);
    pthread_cond_destroy(&self->freed);
    pthread_mutex_destroy(&self->lock);
    free(self->dsn);
    free(self->application);
    free(self);
}

unsigned cyx_db_busy(struct cyx_db *self)
{
    pthread_mutex_lock(&self->lock);
    unsigned busy = self->busy;
    pthread_mutex_unlock(&self->lock);
    return busy;
}

unsigned cyx_db_size(const struct cyx_db *self)
{
    return self->size;
}

/* Takes a free slot, the connected ones first, so that a quiet service keeps few connections. */
static struct cyx_db_conn *slot_take(struct cyx_db *self)
{
    struct cyx_db_conn *found = NULL;
    for (unsigned i = 0; i < self->size; i++) {
        struct cyx_db_conn *conn = &self->conns[i];
        if (!conn->busy && (!found || (conn->pg && !found->pg)))
            found = conn;
    }
    if (found) {
        found->busy = true;
        self->busy++;
    }
    return found;
}

static struct cyx_db_conn *slot_wait(struct cyx_db *self)
{
    struct timespec end;
    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += self->take_timeout_ms / 1000;
    end.tv_nsec += self->take_timeout_ms % 1000 * 1000000;
    if (end.tv_nsec >= 1000000000) {
        end.tv_sec++;
        end.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&self->lock);
    struct cyx_db_conn *conn;
    int waited = 0;
    while (!(conn = slot_take(self)) && waited != ETIMEDOUT)
        waited = pthread_cond_timedwait(&self->freed, &self->lock, &end);
    pthread_mutex_unlock(&self->lock);
    return conn;
}

/* Whether an idle connection still stands: the server closed it if its socket has something to
 * read. */
static bool conn_alive(struct cyx_db_conn *conn)
{
    if (!cyx_db_usable(conn))
        return false;
    struct pollfd socket = {.fd = PQsocket(conn->pg), .events = POLLIN};
    for (int i = 0; i < 8 && poll(&socket, 1, 0) > 0; i++)
        if (!PQconsumeInput(conn->pg) || PQstatus(conn->pg) != CONNECTION_OK)
            return false;
    if (cyx_clock_monotonic_ns() - conn->given_back_ns < IDLE_CHECK_S * INT64_C(1000000000))
        return true;
    PQclear(PQexec(conn->pg, ""));
    return PQstatus(conn->pg) == CONNECTION_OK;
}

enum cyx_status cyx_db_take(struct cyx_db *self, struct cyx_db_conn **ret_conn,
                            struct cyx_error *err)
{
    struct cyx_db_conn *conn = slot_wait(self);
    if (!conn)
        return cyx_error_set(err, CYX_ERR_TIMEOUT, NULL,
                             "database: all %u connections were busy for %lld ms", self->size,
                             (long long)self->take_timeout_ms);
    if (!conn_alive(conn)) {
        enum cyx_status status = conn_open(conn, NULL, err);
        if (status != CYX_OK) {
            cyx_db_give(conn);
            return status;
        }
    }
    conn->wake_after_commit = false;
    conn->sqlstate[0] = conn->constraint[0] = '\0';
    *ret_conn = conn;
    return CYX_OK;
}

/* Leaves no transaction open; a connection that cannot be brought back to idle is closed. */
static void conn_settle(struct cyx_db_conn *conn)
{
    if (!conn->pg)
        return;
    PGTransactionStatusType state = conn->broken ? PQTRANS_UNKNOWN : PQtransactionStatus(conn->pg);
    if (state == PQTRANS_INTRANS || state == PQTRANS_INERROR) {
        PQclear(PQexec(conn->pg, "rollback"));
        state = PQtransactionStatus(conn->pg);
    }
    if (state != PQTRANS_IDLE || !cyx_db_usable(conn))
        conn_drop(conn);
}

void cyx_db_give(struct cyx_db_conn *conn)
{
    if (!conn)
        return;
    conn_settle(conn);
    struct cyx_db *self = conn->db;
    pthread_mutex_lock(&self->lock);
    conn->given_back_ns = cyx_clock_monotonic_ns();
    conn->busy = false;
    self->busy--;
    pthread_cond_signal(&self->freed);
    pthread_mutex_unlock(&self->lock);
}

enum cyx_status cyx_db_ping(struct cyx_db *self, struct cyx_error *err)
{
    struct cyx_db_conn *conn = NULL;
    enum cyx_status status = cyx_db_take(self, &conn, err);
    if (status == CYX_OK)
        status = cyx_db_query(conn, "select 1", NULL, err);
    cyx_db_give(conn);
    return status;
}
