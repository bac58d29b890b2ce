/* The life of the scheduler's parts: settings and metrics, what starts, what stops. */
#include "api.h"
#include "contract/subjects.h"

#include "base/banned.h"

/* `hands`: so many messages are handled at once; each waits for the disk. The order of one job's does not matter. */
static const struct {
    struct cyx_bus_consumer consumer;
    int hands;
} consumers[] = {
    {{.stream = CYX_STREAM_EVENTS,
      .durable = "scheduler-payments",
      .subject = CYX_EVT_PAYMENT_ALL,
      .handler = cyx_sched_on_payment},
     .hands = 4},
    {{.stream = CYX_STREAM_EVENTS,
      .durable = "scheduler-nodes",
      .subject = CYX_EVT_NODE_ALL,
      .handler = cyx_sched_on_node},
     .hands = 1},
};

static void register_metrics(struct cyx_sched_app *app, struct cyx_metrics *metrics)
{
    app->jobs = cyx_metrics_gauge(metrics, "cyx_scheduler_jobs",
                                  "Jobs that have not ended, by state.", "state");
    app->assigned = cyx_metrics_counter(metrics, "cyx_scheduler_assigned_total",
                                        "Jobs offered to nodes by this replica.", NULL);
    app->freed = cyx_metrics_counter(metrics, "cyx_scheduler_freed_total",
                                     "Leases and offers taken back by this replica.", NULL);
    app->match_time =
        cyx_metrics_histogram(metrics, "cyx_scheduler_match_seconds",
                              "Time of a pass of reaping and matching.", NULL, NULL, 0);
}

enum cyx_status cyx_sched_configure(struct cyx_sched_app *app, struct cyx_svc *svc,
                                    struct cyx_error *err)
{
    struct cyx_config *config = cyx_svc_config(svc);
    int64_t heartbeat_ms =
        cyx_config_int(config, "CYXWIZ_HEARTBEAT_MS", CYX_HEARTBEAT_DEFAULT_MS, 50, 60000);
    app->store.policy = cyx_sched_policy_default(heartbeat_ms);
    struct cyx_sched_policy *policy = &app->store.policy;
    policy->running_limit = cyx_config_int(config, "CYXWIZ_QUOTA_RUNNING_JOBS", -1, -1, 1000000);
    policy->queued_limit = cyx_config_int(config, "CYXWIZ_QUOTA_QUEUED_JOBS", 10000, -1, 10000000);
    policy->device_hours_limit =
        (double)cyx_config_int(config, "CYXWIZ_QUOTA_DEVICE_HOURS", -1, -1, 1000000);
    policy->share_half_life_ms =
        cyx_config_int(config, "CYXWIZ_SHARE_HALF_LIFE_S", 86400, 1, 31536000) * 1000;
    cyx_config_key(config, "CYXWIZ_GRANT_KEY", app->grant_key, sizeof(app->grant_key));
    register_metrics(app, cyx_svc_metrics(svc));
    pthread_mutex_init(&app->nodes.lock, NULL);
    pthread_mutex_init(&app->store.kept_lock, NULL);
    app->gather = cyx_sched_gather_create(&app->store);
    app->matcher = cyx_sched_matcher_create(app);
    if (!app->gather || !app->matcher)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for the scheduler's parts");
    return cyx_config_check(config, err);
}

static void drain_matcher(void *ctx, int64_t deadline_ms)
{
    (void)deadline_ms;
    struct cyx_sched_app *app = ctx;
    cyx_sched_matcher_stop(app->matcher);
}

enum cyx_status cyx_sched_start(struct cyx_sched_app *app, struct cyx_svc *svc,
                                struct cyx_error *err)
{
    enum cyx_status status = cyx_bus_subscribe(app->bus, CYX_NODE_HEARTBEAT_ALL, CYX_SVC_SCHEDULER,
                                               cyx_sched_api_heartbeat, app, err);
    for (size_t i = 0; status == CYX_OK && i < CYX_COUNT_OF(consumers); i++) {
        struct cyx_bus_consumer consumer = consumers[i].consumer;
        consumer.ctx = app;
        consumer.max_deliver = 1000000; /* money and leases hang on each: none is given up */
        /* Handling takes milliseconds. What a replica that died had fetched must not wait for half a minute. */
        consumer.ack_wait_ns = INT64_C(5000000000);
        consumer.batch = 8;
        for (int hand = 0; status == CYX_OK && hand < consumers[i].hands; hand++)
            status = cyx_bus_consume(app->bus, &consumer, err);
    }
    if (status == CYX_OK)
        status = cyx_svc_on_drain(svc, drain_matcher, app, err);
    if (status == CYX_OK) /* last: where starting fails, no thread is left that uses the service */
        status = cyx_sched_matcher_start(app->matcher, err);
    return status;
}

void cyx_sched_finish(struct cyx_sched_app *app)
{
    cyx_sched_matcher_destroy(app->matcher);
    app->matcher = NULL;
    cyx_sched_roster_destroy(app->store.roster);
    app->store.roster = NULL;
    cyx_sched_gather_destroy(app->gather);
    app->gather = NULL;
    cyx_arena_finish(&app->nodes.arena);
    app->nodes.nodes = NULL;
}
