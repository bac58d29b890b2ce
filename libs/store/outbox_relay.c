#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/cond.h"
#include "base/log.h"
#include "store/db_internal.h"
#include "store/outbox.h"

#include "base/banned.h"

enum {
    BATCH = 64,
    POLL_MS = 1000,
    PAUSE_MIN_MS = 100,
    PAUSE_MAX_MS = 5000,
    SWEEP_MS = 3600 * 1000,
    WARN_MS = 60 * 1000
};

struct cyx_outbox_relay {
    struct cyx_db *db;
    cyx_outbox_publish publish;
    void *ctx;
    pthread_t thread;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    bool woken, stopping;
    int64_t stop_ns;
    uint64_t published;
};

/* One round: what was published, and whether a full batch says that more waits. */
struct round {
    struct cyx_outbox_relay *relay;
    size_t found, published;
    struct cyx_error refused; /* the event that stopped the round, status CYX_OK if none did */
};

static bool past_stop(struct cyx_outbox_relay *self)
{
    pthread_mutex_lock(&self->lock);
    bool past = self->stopping && cyx_clock_monotonic_ns() >= self->stop_ns;
    pthread_mutex_unlock(&self->lock);
    return past;
}

static const char *text_or_null(const struct cyx_db_result *rows, size_t row, size_t column)
{
    return cyx_db_null(rows, row, column) ? NULL : cyx_db_text(rows, row, column);
}

/* Publishes rows in order; the ids of those that went through become an array. */
static void publish_rows(struct round *round, const struct cyx_db_result *rows,
                         struct cyx_buf *ret_ids)
{
    struct cyx_outbox_relay *relay = round->relay;
    struct cyx_outbox_event events[BATCH];
    bool stored[BATCH] = {false};
    size_t count = cyx_db_rows(rows);
    if (count == 0 || past_stop(relay))
        return;
    for (size_t i = 0; i < count; i++)
        events[i] = (struct cyx_outbox_event){.subject = cyx_db_text(rows, i, 1),
                                              .message_id = cyx_db_text(rows, i, 2),
                                              .request_id = text_or_null(rows, i, 3),
                                              .traceparent = text_or_null(rows, i, 4),
                                              .json = cyx_db_text(rows, i, 5)};
    (void)relay->publish(relay->ctx, events, count, stored, &round->refused);
    for (size_t i = 0; i < count; i++) {
        if (!stored[i])
            continue;
        cyx_db_put_element(ret_ids, cyx_db_text(rows, i, 0));
        round->published++;
    }
    if (round->published)
        cyx_buf_puts(ret_ids, "}");
}

/*
 * The rows stay locked while they are published and are deleted in the same transaction. A crash in
 * between publishes some again, with the same message id: the stream keeps each once.
 */
static enum cyx_status relay_batch(void *ctx, struct cyx_db_conn *conn, struct cyx_error *err)
{
    struct round *round = ctx;
    round->found = round->published = 0;
    round->refused.status = CYX_OK;
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    enum cyx_status status =
        cyx_db_query(conn,
                     "select id, subject, message_id, request_id, traceparent, payload from outbox"
                     " order by id limit $1 for update skip locked",
                     &rows, err, CYX_DB_INT(BATCH));
    if (status != CYX_OK)
        return status;
    round->found = cyx_db_rows(rows);
    CYX_CLEANUP_BUF struct cyx_buf ids = {0};
    publish_rows(round, rows, &ids);
    if (round->published == 0)
        return CYX_OK;
    if (ids.failed)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "outbox: out of memory");
    return cyx_db_query(conn, "delete from outbox where id = any($1::bigint[])", NULL, err,
                        CYX_DB_TEXT(ids.data));
}

static enum cyx_status sweep_inbox(void *ctx, struct cyx_db_conn *conn, struct cyx_error *err)
{
    (void)ctx;
    return cyx_db_query(conn, "delete from inbox where seen_at < now() - interval '7 days'", NULL,
                        err);
}

/* What the thread keeps between rounds. */
struct pace {
    int64_t pause_ms, sweep_ns, warn_ns;
};

static void warn(struct pace *pace, const struct cyx_error *why)
{
    int64_t now = cyx_clock_monotonic_ns();
    if (now < pace->warn_ns)
        return;
    pace->warn_ns = now + WARN_MS * INT64_C(1000000);
    cyx_log(CYX_LOG_WARN, "events wait in the outbox", CYX_STR("reason", why->message));
}

/* Runs one round; true when another should follow at once. Sets the pause before the next
 * otherwise. */
static bool run_round(struct cyx_outbox_relay *self, struct pace *pace)
{
    struct round round = {.relay = self};
    struct cyx_error err = {0};
    enum cyx_status status = cyx_db_transaction(self->db, relay_batch, &round, &err);
    const struct cyx_error *why = status != CYX_OK ? &err : &round.refused;
    if (status == CYX_OK) {
        pthread_mutex_lock(&self->lock);
        self->published += round.published;
        pthread_mutex_unlock(&self->lock);
    }
    if (status != CYX_OK || round.refused.status != CYX_OK) {
        warn(pace, why);
        pace->pause_ms = pace->pause_ms < PAUSE_MIN_MS ? PAUSE_MIN_MS : pace->pause_ms * 2;
        if (pace->pause_ms > PAUSE_MAX_MS)
            pace->pause_ms = PAUSE_MAX_MS;
        return false;
    }
    pace->pause_ms = 0;
    pace->warn_ns = 0;
    if (cyx_clock_monotonic_ns() >= pace->sweep_ns) {
        pace->sweep_ns = cyx_clock_monotonic_ns() + SWEEP_MS * INT64_C(1000000);
        if (cyx_db_transaction(self->db, sweep_inbox, NULL, &err) != CYX_OK)
            warn(pace, &err);
    }
    return round.found == BATCH;
}

/* Sleeps until woken, the next poll or the end of the pause; false when it is time to stop. */
static bool wait_for_work(struct cyx_outbox_relay *self, int64_t pause_ms)
{
    struct timespec end;
    int64_t end_ns = cyx_clock_monotonic_ns() + (pause_ms ? pause_ms : POLL_MS) * 1000000;
    end.tv_sec = end_ns / 1000000000;
    end.tv_nsec = end_ns % 1000000000;
    pthread_mutex_lock(&self->lock);
    int waited = 0;
    /* A wake cuts the poll short, not the pause after a failure. */
    while ((!self->woken || pause_ms) && !self->stopping && waited != ETIMEDOUT)
        waited = pthread_cond_timedwait(&self->changed, &self->lock, &end);
    self->woken = false;
    bool stopping = self->stopping;
    pthread_mutex_unlock(&self->lock);
    return !stopping;
}

static void *relay_main(void *ctx)
{
    struct cyx_outbox_relay *self = ctx;
    struct pace pace = {0};
    bool more = true, running = true;
    while (running) {
        more = run_round(self, &pace);
        if (!more)
            running = wait_for_work(self, pace.pause_ms);
    }
    /* The last sweep-up: what was committed before the stop and can still be published in time. */
    while (!past_stop(self) && (run_round(self, &pace) && pace.pause_ms == 0))
        ;
    return NULL;
}

static void relay_wake(void *ctx)
{
    cyx_outbox_wake(ctx);
}

static void set_wake(struct cyx_db *db, void (*wake)(void *), void *ctx)
{
    pthread_mutex_lock(&db->lock);
    db->wake = wake;
    db->wake_ctx = ctx;
    pthread_mutex_unlock(&db->lock);
}

enum cyx_status cyx_outbox_relay_start(struct cyx_db *db, cyx_outbox_publish publish, void *ctx,
                                       struct cyx_outbox_relay **ret_relay, struct cyx_error *err)
{
    struct cyx_outbox_relay *self = calloc(1, sizeof(*self));
    if (!self)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "outbox: out of memory");
    *self = (struct cyx_outbox_relay){.db = db, .publish = publish, .ctx = ctx};
    pthread_mutex_init(&self->lock, NULL);
    cyx_cond_init(&self->changed);
    set_wake(db, relay_wake, self);
    if (pthread_create(&self->thread, NULL, relay_main, self) != 0) {
        set_wake(db, NULL, NULL);
        free(self);
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "outbox: cannot start its thread");
    }
    *ret_relay = self;
    return CYX_OK;
}

void cyx_outbox_wake(struct cyx_outbox_relay *self)
{
    if (!self)
        return;
    pthread_mutex_lock(&self->lock);
    self->woken = true;
    pthread_cond_signal(&self->changed);
    pthread_mutex_unlock(&self->lock);
}

uint64_t cyx_outbox_relay_published(struct cyx_outbox_relay *self)
{
    pthread_mutex_lock(&self->lock);
    uint64_t published = self->published;
    pthread_mutex_unlock(&self->lock);
    return published;
}

void cyx_outbox_relay_stop(struct cyx_outbox_relay *self, int64_t deadline_ms)
{
    if (!self)
        return;
    set_wake(self->db, NULL, NULL);
    pthread_mutex_lock(&self->lock);
    self->stopping = true;
    self->stop_ns = cyx_clock_monotonic_ns() + deadline_ms * 1000000;
    pthread_cond_signal(&self->changed);
    pthread_mutex_unlock(&self->lock);
    pthread_join(self->thread, NULL);
    pthread_cond_destroy(&self->changed);
    pthread_mutex_destroy(&self->lock);
    free(self);
}
