#include "desk.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/cond.h"
#include "base/log.h"
#include "board.h"
#include "contract/message.h"
#include "contract/subjects.h"

#include "base/banned.h"

enum {
    LOOKED_MS = 10000,                           /* somebody who asked so long ago looks still */
    ASK_MS = 4000,                               /* between two questions */
    WAIT_MS = 2 * CYX_REQUEST_TIMEOUT_MS + 1000, /* a question may be before it */
};

enum order { NO_ORDER, WANTED, CARRIED_OUT };

struct desk {
    const struct agent_settings *settings;
    struct agent *agent;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* under the lock: */
    bool ended;
    int64_t looked_ms, asked_ms; /* monotonic; 0: never */
    enum order order;
    uint64_t number; /* of the order: who gave up waiting does not get another's answer */
    bool drain;
    char reason[DESK_REASON_BYTES];
    enum cyx_status status; /* of the order that was carried out */
    struct cyx_error error;
};

static int64_t now_ms(void)
{
    return cyx_clock_monotonic_ns() / 1000000;
}

static struct timespec at_ms(int64_t ms)
{
    return (struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
}

static bool is_looked_at(const struct desk *self)
{
    return self->looked_ms && now_ms() - self->looked_ms < LOOKED_MS;
}

/* The lock is held, and given up meanwhile. */
static void carry_out(struct desk *self)
{
    bool drain = self->drain;
    uint64_t number = self->number;
    char reason[DESK_REASON_BYTES];
    snprintf(reason, sizeof(reason), "%s", self->reason);
    pthread_mutex_unlock(&self->lock);
    CYX_CLEANUP_JSON json_t *node = NULL;
    struct cyx_error err = {0};
    enum cyx_status status = api_drain(self->settings->bus, &self->settings->node, drain,
                                       *reason ? reason : NULL, &node, &err);
    if (status == CYX_OK)
        board_place(agent_board(self->agent), node);
    cyx_log(status == CYX_OK ? CYX_LOG_INFO : CYX_LOG_WARN,
            drain ? "drained by the local page" : "opened by the local page",
            CYX_STR("reason", *reason ? reason : NULL),
            CYX_STR("error", status == CYX_OK ? NULL : err.message));
    pthread_mutex_lock(&self->lock);
    if (self->number != number || self->order != WANTED)
        return;
    self->status = status;
    self->error = err;
    self->order = CARRIED_OUT;
    pthread_cond_broadcast(&self->changed);
}

/* As carry_out(). What fails is tried again with the next question; the page shows how old the last answer is. */
static void ask(struct desk *self)
{
    self->asked_ms = now_ms();
    pthread_mutex_unlock(&self->lock);
    CYX_CLEANUP_JSON json_t *node = NULL;
    struct cyx_error err = {0};
    if (cyx_bus_connected(self->settings->bus)) {
        if (api_ask_node(self->settings->bus, &self->settings->node, &node, &err) == CYX_OK)
            board_place(agent_board(self->agent), node);
        else
            cyx_log(CYX_LOG_DEBUG, "the registry says nothing of this node",
                    CYX_STR("error", err.message));
    }
    board_cache(agent_board(self->agent), agent_cache_bytes(self->agent));
    pthread_mutex_lock(&self->lock);
}

static void *desk_main(void *ctx)
{
    struct desk *self = ctx;
    pthread_mutex_lock(&self->lock);
    while (!self->ended) {
        int64_t due_ms = self->asked_ms ? self->asked_ms + ASK_MS : 0;
        struct timespec due = at_ms(due_ms);
        if (self->order == WANTED)
            carry_out(self);
        else if (!is_looked_at(self))
            pthread_cond_wait(&self->changed, &self->lock);
        else if (now_ms() >= due_ms)
            ask(self);
        else
            pthread_cond_timedwait(&self->changed, &self->lock, &due);
    }
    pthread_mutex_unlock(&self->lock);
    return NULL;
}

enum cyx_status desk_create(const struct agent_settings *settings, struct agent *agent,
                            struct desk **ret_desk, struct cyx_error *err)
{
    struct desk *self = calloc(1, sizeof(*self));
    if (!self)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for the page's desk");
    self->settings = settings;
    self->agent = agent;
    pthread_mutex_init(&self->lock, NULL);
    cyx_cond_init(&self->changed);
    if (pthread_create(&self->thread, NULL, desk_main, self) != 0) {
        pthread_cond_destroy(&self->changed);
        pthread_mutex_destroy(&self->lock);
        free(self);
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no thread for the page's desk");
    }
    *ret_desk = self;
    return CYX_OK;
}

void desk_stop(struct desk *self)
{
    pthread_mutex_lock(&self->lock);
    self->ended = true;
    pthread_cond_broadcast(&self->changed);
    pthread_mutex_unlock(&self->lock);
}

void desk_destroy(struct desk *self)
{
    if (!self)
        return;
    desk_stop(self);
    pthread_join(self->thread, NULL);
    pthread_cond_destroy(&self->changed);
    pthread_mutex_destroy(&self->lock);
    free(self);
}

void desk_look(struct desk *self)
{
    pthread_mutex_lock(&self->lock);
    bool slept = !is_looked_at(self);
    self->looked_ms = now_ms();
    if (slept)
        pthread_cond_broadcast(&self->changed);
    pthread_mutex_unlock(&self->lock);
}

/* The lock is held. */
static enum cyx_status take_answer(struct desk *self, struct cyx_error *err)
{
    if (self->order != CARRIED_OUT) {
        self->order = self->order == WANTED ? NO_ORDER : self->order;
        return cyx_error_set(err, CYX_ERR_TIMEOUT, NULL,
                             "the registry did not answer in time: look whether it was done, else "
                             "try again");
    }
    self->order = NO_ORDER;
    if (self->status != CYX_OK && err)
        *err = self->error;
    return self->status;
}

enum cyx_status desk_drain(struct desk *self, bool drain, const char *reason, struct cyx_error *err)
{
    struct timespec until = at_ms(now_ms() + WAIT_MS);
    pthread_mutex_lock(&self->lock);
    if (self->order != NO_ORDER) {
        pthread_mutex_unlock(&self->lock);
        return cyx_error_set(err, CYX_ERR_CONFLICT, NULL,
                             "another order is under way: wait for its answer");
    }
    self->order = WANTED;
    self->number++;
    self->drain = drain;
    snprintf(self->reason, sizeof(self->reason), "%s", reason ? reason : "");
    pthread_cond_broadcast(&self->changed);
    while (!self->ended && self->order == WANTED &&
           pthread_cond_timedwait(&self->changed, &self->lock, &until) != ETIMEDOUT)
        ;
    enum cyx_status status = take_answer(self, err);
    pthread_mutex_unlock(&self->lock);
    return status;
}
