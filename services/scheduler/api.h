/*
 * The scheduler's doors: requests of the gateway (api.c, api_submit.c), words of workers (api_worker.c), events of payments
 * and the registry (events.c), and the matcher, the thread that assigns jobs and takes lost ones back.
 *
 * Ownership: `struct cyx_sched_app` is main's and outlives the bus's callbacks; what it points to belongs to the
 * service, but for the matcher and the cached nodes, which cyx_sched_finish() frees once the bus is closed.
 * Handlers run on the bus's threads, several at once.
 */
#ifndef CYX_SCHEDULER_API_H
#define CYX_SCHEDULER_API_H

#include <pthread.h>

#include "blob/grant.h"
#include "gather.h"
#include "store.h"
#include "svc/svc.h"

enum {
    CYX_SCHED_SPEC_BYTES =
        768 * 1024, /* of a canonical spec: with the rest of a job it fits one message */
    CYX_SCHED_PAGE_BYTES =
        768 * 1024,            /* a list ends early, with a cursor, before its reply outgrows one */
    CYX_SCHED_POLL_MS = 1000,  /* the matcher looks so often though nothing woke it */
    CYX_SCHED_REAP_MS = 50,    /* it looks for what is lost no more often than this */
    CYX_SCHED_RESEND_MS = 250, /* an offer that nobody answered is told again */
};

struct cyx_sched_matcher;

/* The nodes as reads see them: why a job waits need not be known to the millisecond. */
struct cyx_sched_nodes_cache {
    pthread_mutex_t lock;
    struct cyx_arena arena; /* of the nodes and their texts */
    struct cyx_sched_node *nodes;
    size_t count;
    int64_t read_ns; /* 0: never */
};

struct cyx_sched_app {
    struct cyx_bus *bus;
    struct cyx_sched_store store;
    struct cyx_sched_gather *gather;
    struct cyx_sched_matcher *matcher;
    struct cyx_sched_nodes_cache nodes;
    uint8_t grant_key[CYX_GRANT_KEY_BYTES];
    struct cyx_metric *jobs;       /* gauge by state */
    struct cyx_metric *assigned;   /* counter */
    struct cyx_metric *freed;      /* counter */
    struct cyx_metric *match_time; /* histogram, seconds of a pass */
};

/* Reads the settings, registers the metrics, makes the matcher. */
enum cyx_status cyx_sched_configure(struct cyx_sched_app *app, struct cyx_svc *svc,
                                    struct cyx_error *err);

/* Consumes events, hears heartbeats, starts the matcher, which ends when the service drains. Last in main. */
enum cyx_status cyx_sched_start(struct cyx_sched_app *app, struct cyx_svc *svc,
                                struct cyx_error *err);
void cyx_sched_finish(struct cyx_sched_app *app);

/* Handlers of cyx.svc.scheduler.*; ctx is the app. */
#define CYX_SCHED_HANDLER(name)                                                                    \
    enum cyx_status name(void *ctx, const struct cyx_bus_message *request, struct cyx_buf *reply,  \
                         struct cyx_error *err)
CYX_SCHED_HANDLER(cyx_sched_api_submit);
CYX_SCHED_HANDLER(cyx_sched_api_quote);
CYX_SCHED_HANDLER(cyx_sched_api_quota);
CYX_SCHED_HANDLER(cyx_sched_api_node);
CYX_SCHED_HANDLER(cyx_sched_api_get);
CYX_SCHED_HANDLER(cyx_sched_api_list);
CYX_SCHED_HANDLER(cyx_sched_api_uses);
CYX_SCHED_HANDLER(cyx_sched_api_cancel);
CYX_SCHED_HANDLER(cyx_sched_api_accept);
CYX_SCHED_HANDLER(cyx_sched_api_progress);
CYX_SCHED_HANDLER(cyx_sched_api_finish);
CYX_SCHED_HANDLER(cyx_sched_api_gang);

/* cyx.node.*.heartbeat; replicas share them. */
void cyx_sched_api_heartbeat(void *ctx, const struct cyx_bus_message *message);

/* cyx.evt.payment.* and cyx.evt.node.* */
enum cyx_status cyx_sched_on_payment(void *ctx, const struct cyx_bus_message *message,
                                     struct cyx_error *err);
enum cyx_status cyx_sched_on_node(void *ctx, const struct cyx_bus_message *message,
                                  struct cyx_error *err);

/* Appends the job, with why it waits when it does; `account` NULL: its quota is not looked at. */
void cyx_sched_show(struct cyx_sched_app *app, struct cyx_buf *text,
                    const struct cyx_sched_job *job, const struct cyx_sched_account *account,
                    const struct cyx_sched_transition *transitions, size_t n_transitions);

/* The nodes that are online, at most half a second old; locked until the unlock. */
const struct cyx_sched_nodes_cache *cyx_sched_nodes_lock(struct cyx_sched_app *app);
void cyx_sched_nodes_unlock(struct cyx_sched_app *app);

/* {job_id, token} to cyx.node.<id>.<what>; a failure is logged: offers and cancels are told again. */
void cyx_sched_tell(struct cyx_sched_app *app, const char *node_id, const char *what,
                    const char *job_id, int64_t token);

/* Tells all nodes that hold the job's last attempt, but for one (NULL: all), that it is over. */
void cyx_sched_tell_attempt(struct cyx_sched_app *app, const struct cyx_sched_job *job,
                            const char *but_node_id);

/*
 * The matcher (matcher.c). Wake it when something changed that may let a job run. It is made before the first
 * handler runs and freed behind the last, its thread runs from start to stop.
 */
struct cyx_sched_matcher *cyx_sched_matcher_create(struct cyx_sched_app *app); /* NULL: no memory */
enum cyx_status cyx_sched_matcher_start(struct cyx_sched_matcher *matcher, struct cyx_error *err);
void cyx_sched_matcher_wake(struct cyx_sched_matcher *matcher);
void cyx_sched_matcher_stop(struct cyx_sched_matcher *matcher);
void cyx_sched_matcher_destroy(struct cyx_sched_matcher *matcher); /* NULL is fine */

#endif
