/*
 * A service's life: settings, signals, health, metrics, and stopping in good order.
 *
 * cyx_svc_create() comes first in main, before any thread: it reads CYXWIZ_LOG_LEVEL, ignores
 * SIGPIPE and blocks SIGTERM, SIGINT and SIGHUP, which cyx_svc_run() waits for. Health is served on
 * CYXWIZ_HEALTH_ADDRESS (default 127.0.0.1:0; the port is in the READY line and in the file that
 * CYXWIZ_HEALTH_PORT_FILE names):
 *
 *     GET /healthz  200 as long as the process lives
 *     GET /readyz   200 {"ready":true,"checks":{"database":"ok"}}, or 503 with what is wrong
 *     GET /metrics  Prometheus text
 *
 * On SIGHUP the on_reload functions run; a service without any stops, as for SIGTERM.
 *
 * Stopping, on SIGTERM or SIGINT: /readyz answers 503; the on_drain functions run in reverse order
 * of their registration; the bus goes quiet (requests in progress end); the outbox is emptied; the
 * bus is drained and closed. All within 10 s (CYXWIZ_DRAIN_MS); a second signal ends the process at
 * once with 128 + its number.
 *
 * Ownership: what cyx_svc_open_… returns belongs to the service and is closed by cyx_svc_destroy(),
 * so domain objects that use it are destroyed before. Threads: create, open, run and destroy from
 * the main thread; the rest from any.
 *
 * A child process inherits the blocked signals: unblock SIGTERM, SIGINT and SIGHUP between fork and exec.
 *
 * A whole main.c:
 *
 *     struct app {
 *         struct cyx_db *db;
 *         struct cyx_bus *bus;
 *         struct cyx_outbox_relay *outbox;
 *         struct cyx_payments *payments;
 *     };
 *
 *     static const struct cyx_bus_route routes[] = {
 *         {CYX_SVC_PAYMENTS_BALANCE, api_balance},
 *         {CYX_SVC_PAYMENTS_STATEMENT, api_statement},
 *     };
 *
 *     static enum cyx_status start(struct cyx_svc *svc, struct app *app, struct cyx_error *err)
 *     {
 *         const struct cyx_bus_consumer jobs = {.stream = CYX_STREAM_EVENTS,
 *                                               .durable = "payments-jobs",
 *                                               .subject = CYX_EVT_JOB_ALL,
 *                                               .handler = api_job_event,
 *                                               .ctx = app};
 *         enum cyx_status status = cyx_svc_open_database(svc, &app->db, err);
 *         if (status == CYX_OK)
 *             status = cyx_svc_open_bus(svc, &app->bus, err);
 *         if (status == CYX_OK)
 *             status = cyx_svc_open_outbox(svc, &app->outbox, err);
 *         if (status == CYX_OK)
 *             status = cyx_payments_create(app->db, &app->payments, err);
 *         if (status == CYX_OK)
 *             status = cyx_bus_serve_table(app->bus, routes, CYX_COUNT_OF(routes),
 *                                          CYX_SVC_PAYMENTS, app, err);
 *         return status == CYX_OK ? cyx_bus_consume(app->bus, &jobs, err) : status;
 *     }
 *
 *     int main(void)
 *     {
 *         struct app app = {0};
 *         struct cyx_error err = {0};
 *         struct cyx_svc *svc = NULL;
 *         if (cyx_svc_create(CYX_SVC_PAYMENTS, &svc, &err) != CYX_OK ||
 *             start(svc, &app, &err) != CYX_OK)
 *             return cyx_svc_fail(svc, &err);
 *         int code = cyx_svc_run(svc);
 *         cyx_payments_destroy(app.payments);
 *         cyx_svc_destroy(svc);
 *         return code;
 *     }
 */
#ifndef CYX_SVC_SVC_H
#define CYX_SVC_SVC_H

#include "base/status.h"
#include "bus/bus.h"
#include "bus/stream.h"
#include "store/cache.h"
#include "store/db.h"
#include "store/outbox.h"
#include "svc/config.h"
#include "svc/metrics.h"

#define CYX_COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

struct cyx_svc;

/* `name` (a-z, kept by pointer) stands in logs and is the schema, the queue group's and the
 * connection's name. */
enum cyx_status cyx_svc_create(const char *name, struct cyx_svc **ret_svc, struct cyx_error *err);
void cyx_svc_destroy(struct cyx_svc *self);

/* Says in the log why the service cannot start, frees it (NULL is fine) and returns main's exit
 * code, 1. */
int cyx_svc_fail(struct cyx_svc *self, const struct cyx_error *err);

struct cyx_config *cyx_svc_config(struct cyx_svc *self);
struct cyx_metrics *cyx_svc_metrics(struct cyx_svc *self);

/*
 * CYXWIZ_DATABASE_URL with the schema `name`, migrated from CYXWIZ_MIGRATIONS_DIR/<name>;
 * CYXWIZ_DATABASE_POOL connections (8). The readiness check "database" comes with it.
 */
enum cyx_status cyx_svc_open_database(struct cyx_svc *self, struct cyx_db **ret_db,
                                      struct cyx_error *err);

/* CYXWIZ_REDIS_URL, keys under "<name>:". Not part of readiness: the service runs without. */
enum cyx_status cyx_svc_open_cache(struct cyx_svc *self, struct cyx_cache **ret_cache,
                                   struct cyx_error *err);

/*
 * CYXWIZ_NATS_URL, _NATS_USER, _NATS_PASSWORD, _NATS_CREDS (a file), _NATS_CA, _NATS_CERT,
 * _NATS_KEY (files), _NATS_INBOX (inbox prefix), _BUS_WORKERS (16). The readiness check "bus" comes
 * with it.
 */
enum cyx_status cyx_svc_open_bus(struct cyx_svc *self, struct cyx_bus **ret_bus,
                                 struct cyx_error *err);

/* The same with a credentials file and inbox prefix of the caller's, in place of those settings; the file is read at
 * every connect. */
enum cyx_status cyx_svc_open_bus_as(struct cyx_svc *self, const char *creds_file,
                                    const char *inbox_prefix, struct cyx_bus **ret_bus,
                                    struct cyx_error *err);

/* What those connect with, for a connection of the caller's own; texts live as long as the service. */
enum cyx_status cyx_svc_bus_options(struct cyx_svc *self, struct cyx_bus_options *ret_options,
                                    struct cyx_error *err);

/* The relay from this database's outbox into this bus; needs both, and makes sure of the stream
 * CYX_EVT. */
enum cyx_status cyx_svc_open_outbox(struct cyx_svc *self, struct cyx_outbox_relay **ret_relay,
                                    struct cyx_error *err);
/* What its relay publishes by, a cyx_outbox_publish; `bus` is a struct cyx_bus. */
enum cyx_status cyx_svc_publish(void *bus, const struct cyx_outbox_event *events, size_t count,
                                bool *ret_stored, struct cyx_error *err);

/*
 * Answers each row of a table on the service's bus, its name being the queue group; at most 32 rows a service. As
 * cyx_bus_serve_table(), but a failure of the database does not reach who asked: it is logged with the
 * request's id, and answered by cyx_svc_mask().
 */
enum cyx_status cyx_svc_serve(struct cyx_svc *self, const struct cyx_bus_route *routes,
                              size_t count, void *ctx, struct cyx_error *err);

/*
 * What others may see of a failure. One whose message comes from store/db.h ("database: …") is logged and becomes
 * CYX_ERR_UNAVAILABLE (the server is away or too slow: trying again may help) or CYX_ERR_INTERNAL, each with a
 * sentence that holds no SQL; anything else stays. For handlers of events, where CYX_ERR_INVALID would give an
 * event up that is not to blame, and for whoever does not answer by cyx_svc_serve().
 */
enum cyx_status cyx_svc_mask(enum cyx_status status, const struct cyx_bus_message *cause,
                             struct cyx_error *err);

/* CYX_OK when `name` works now; else `err` says what does not. Must answer within a second or so.
 */
typedef enum cyx_status (*cyx_svc_check)(void *ctx, struct cyx_error *err);
enum cyx_status cyx_svc_add_check(struct cyx_svc *self, const char *name, cyx_svc_check check,
                                  void *ctx, struct cyx_error *err);

/* Stops threads and servers of the service's own; has until `deadline_ms` from now. */
typedef void (*cyx_svc_drain)(void *ctx, int64_t deadline_ms);
enum cyx_status cyx_svc_on_drain(struct cyx_svc *self, cyx_svc_drain drain, void *ctx,
                                 struct cyx_error *err);

/* On SIGHUP, on the main thread: reads anew what may change while the service runs. Logs what it does. */
typedef void (*cyx_svc_reload)(void *ctx);
enum cyx_status cyx_svc_on_reload(struct cyx_svc *self, cyx_svc_reload reload, void *ctx,
                                  struct cyx_error *err);

/* Serves health, logs READY, waits for a signal or cyx_svc_quit(), drains. Returns main's exit
 * code. */
int cyx_svc_run(struct cyx_svc *self);

/* Lets cyx_svc_run() drain and return `code`; for what cannot go on. */
void cyx_svc_quit(struct cyx_svc *self, int code);

#endif
