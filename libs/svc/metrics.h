/*
 * Metrics in Prometheus' text format (version 0.0.4): counters, gauges and histograms.
 *
 * Names are [a-z_][a-z0-9_]*, start with cyx_ and carry their unit (_seconds, _bytes, _total).
 * Labels hold few values (a state, a route), never an id: each metric keeps at most 200
 * combinations, and what comes beyond counts in cyx_metrics_dropped_total. Registering is done
 * before threads start; it returns NULL when memory ran out, and every function takes a NULL metric
 * and does nothing.
 *
 * Ownership: metrics belong to their registry. Any thread; an update is a short lock on one metric.
 *
 *     struct cyx_metric *jobs = cyx_metrics_counter(metrics, "cyx_jobs_total", "Jobs by outcome.",
 * "outcome"); cyx_metric_add(jobs, 1, "completed");
 */
#ifndef CYX_SVC_METRICS_H
#define CYX_SVC_METRICS_H

#include "base/buf.h"

enum { CYX_METRIC_LABELS = 4, CYX_METRIC_SERIES = 200, CYX_METRIC_BUCKETS = 24 };

struct cyx_metrics;
struct cyx_metric;

struct cyx_metrics *cyx_metrics_create(void);
void cyx_metrics_destroy(struct cyx_metrics *self);

/* `labels` names up to 4 labels, with commas between, or is NULL: "method,status". */
struct cyx_metric *cyx_metrics_counter(struct cyx_metrics *self, const char *name, const char *help,
                                       const char *labels);
struct cyx_metric *cyx_metrics_gauge(struct cyx_metrics *self, const char *name, const char *help,
                                     const char *labels);

/* `bounds`: rising upper bounds, at most 24; NULL for seconds from 1 ms to 30 s. */
struct cyx_metric *cyx_metrics_histogram(struct cyx_metrics *self, const char *name,
                                         const char *help, const char *labels, const double *bounds,
                                         size_t count);

/* A gauge that is asked for its value when metrics are read. */
typedef double (*cyx_metric_read)(void *ctx);
void cyx_metrics_gauge_function(struct cyx_metrics *self, const char *name, const char *help,
                                cyx_metric_read read, void *ctx);

/* Behind the value stand the label values, as many as the metric has labels. */
#define cyx_metric_add(metric, value, ...)                                                         \
    cyx_metric_add_values((metric), (value), (const char *const[]){__VA_ARGS__ __VA_OPT__(, ) NULL})
#define cyx_metric_set(metric, value, ...)                                                         \
    cyx_metric_set_values((metric), (value), (const char *const[]){__VA_ARGS__ __VA_OPT__(, ) NULL})
#define cyx_metric_observe(metric, value, ...)                                                     \
    cyx_metric_observe_values((metric), (value),                                                   \
                              (const char *const[]){__VA_ARGS__ __VA_OPT__(, ) NULL})

void cyx_metric_add_values(struct cyx_metric *metric, double value, const char *const *labels);
void cyx_metric_set_values(struct cyx_metric *metric, double value, const char *const *labels);
void cyx_metric_observe_values(struct cyx_metric *metric, double value, const char *const *labels);

/* Appends the exposition: what GET /metrics answers, with content type "text/plain; version=0.0.4".
 */
void cyx_metrics_write(struct cyx_metrics *self, struct cyx_buf *ret_text);

#endif
