/* What the files of libs/svc share behind svc/svc.h. Not for others. */
#ifndef CYX_SVC_SVC_INTERNAL_H
#define CYX_SVC_SVC_INTERNAL_H

#include <pthread.h>

#include "svc/svc.h"

enum {
    CYX_SVC_CHECKS_MAX = 16,
    CYX_SVC_DRAINS_MAX = 16,
    CYX_SVC_RELOADS_MAX = 4,
    CYX_SVC_ROUTES_MAX = 32
};

struct cyx_svc_health; /* health.c */

struct cyx_svc {
    const char *name;
    struct cyx_config config;
    struct cyx_metrics *metrics;
    int64_t drain_ms;
    int signal_fd, quit_fd;
    struct cyx_svc_health *health;

    struct cyx_db *db;
    struct cyx_cache *cache;
    struct cyx_bus *bus;
    struct cyx_outbox_relay *outbox;
    struct cyx_metric *bus_requests;

    pthread_mutex_t lock; /* guards what follows */
    bool draining;
    int exit_code;
    struct {
        const char *name;
        cyx_svc_check check;
        void *ctx;
    } checks[CYX_SVC_CHECKS_MAX];
    size_t check_count;
    struct {
        cyx_svc_drain drain;
        void *ctx;
    } drains[CYX_SVC_DRAINS_MAX];
    size_t drain_count;
    struct {
        cyx_svc_reload reload;
        void *ctx;
    } reloads[CYX_SVC_RELOADS_MAX];
    size_t reload_count;
    struct cyx_svc_door { /* one a served route: cyx_svc_serve() */
        cyx_bus_handler handler;
        void *ctx;
    } doors[CYX_SVC_ROUTES_MAX];
    size_t door_count;
};

/* Serves /healthz, /readyz and /metrics; gives the port and writes it to its file. */
enum cyx_status cyx_svc_health_start(struct cyx_svc *self, uint16_t *ret_port,
                                     struct cyx_error *err);
void cyx_svc_health_stop(struct cyx_svc *self);

/* {"ready":…,"checks":{…}}; true when everything is. */
bool cyx_svc_write_readiness(struct cyx_svc *self, struct cyx_buf *ret_json);

#endif
