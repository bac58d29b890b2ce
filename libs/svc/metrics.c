#include "svc/metrics.h"

#include <math.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

enum kind { COUNTER, GAUGE, HISTOGRAM, FUNCTION };

static const char *const kind_names[] = {"counter", "gauge", "histogram", "gauge"};

/* One combination of label values. */
struct series {
    char *labels; /* as written: name="value",… ; "" without labels */
    double value; /* or the sum of a histogram */
    uint64_t count;
    uint64_t buckets[]; /* a histogram's: observations up to each bound, not cumulated */
};

struct cyx_metric {
    enum kind kind;
    char *name, *help;
    char *label_names[CYX_METRIC_LABELS];
    size_t label_count;
    double bounds[CYX_METRIC_BUCKETS];
    size_t bound_count;
    cyx_metric_read read;
    void *ctx;
    pthread_mutex_t lock; /* guards what follows */
    struct series *series[CYX_METRIC_SERIES];
    size_t series_count;
    struct cyx_metrics *owner;
    struct cyx_metric *next;
};

struct cyx_metrics {
    pthread_mutex_t lock; /* guards what follows */
    struct cyx_metric *first, **last;
    uint64_t dropped;
};

static const double seconds_bounds[] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                                        0.25,  0.5,    1,     2.5,  5,     10,   30};

struct cyx_metrics *cyx_metrics_create(void)
{
    struct cyx_metrics *self = calloc(1, sizeof(*self));
    if (!self)
        return NULL;
    self->last = &self->first;
    pthread_mutex_init(&self->lock, NULL);
    return self;
}

static void metric_free(struct cyx_metric *metric)
{
    for (size_t i = 0; i < metric->series_count; i++) {
        free(metric->series[i]->labels);
        free(metric->series[i]);
    }
    for (size_t i = 0; i < metric->label_count; i++)
        free(metric->label_names[i]);
    pthread_mutex_destroy(&metric->lock);
    free(metric->name);
    free(metric->help);
    free(metric);
}

void cyx_metrics_destroy(struct cyx_metrics *self)
{
    if (!self)
        return;
    for (struct cyx_metric *next, *metric = self->first; metric; metric = next) {
        next = metric->next;
        metric_free(metric);
    }
    pthread_mutex_destroy(&self->lock);
    free(self);
}

static bool split_labels(struct cyx_metric *metric, const char *labels)
{
    while (labels && *labels) {
        size_t length = strcspn(labels, ",");
        if (metric->label_count == CYX_METRIC_LABELS)
            return false;
        metric->label_names[metric->label_count] = strndup(labels, length);
        if (!metric->label_names[metric->label_count])
            return false;
        metric->label_count++;
        labels += length + (labels[length] == ',');
    }
    return true;
}

static struct cyx_metric *add_metric(struct cyx_metrics *self, enum kind kind, const char *name,
                                     const char *help, const char *labels)
{
    struct cyx_metric *metric = self ? calloc(1, sizeof(*metric)) : NULL;
    if (!metric)
        return NULL;
    metric->kind = kind;
    metric->owner = self;
    pthread_mutex_init(&metric->lock, NULL);
    metric->name = strdup(name);
    metric->help = strdup(help);
    if (!metric->name || !metric->help || !split_labels(metric, labels)) {
        metric_free(metric);
        return NULL;
    }
    pthread_mutex_lock(&self->lock);
    *self->last = metric;
    self->last = &metric->next;
    pthread_mutex_unlock(&self->lock);
    return metric;
}

struct cyx_metric *cyx_metrics_counter(struct cyx_metrics *self, const char *name, const char *help,
                                       const char *labels)
{
    return add_metric(self, COUNTER, name, help, labels);
}

struct cyx_metric *cyx_metrics_gauge(struct cyx_metrics *self, const char *name, const char *help,
                                     const char *labels)
{
    return add_metric(self, GAUGE, name, help, labels);
}

struct cyx_metric *cyx_metrics_histogram(struct cyx_metrics *self, const char *name,
                                         const char *help, const char *labels, const double *bounds,
                                         size_t count)
{
    if (!bounds) {
        bounds = seconds_bounds;
        count = sizeof(seconds_bounds) / sizeof(seconds_bounds[0]);
    }
    if (count > CYX_METRIC_BUCKETS)
        count = CYX_METRIC_BUCKETS;
    struct cyx_metric *metric = add_metric(self, HISTOGRAM, name, help, labels);
    if (!metric)
        return NULL;
    memcpy(metric->bounds, bounds, count * sizeof(*bounds));
    metric->bound_count = count;
    return metric;
}

void cyx_metrics_gauge_function(struct cyx_metrics *self, const char *name, const char *help,
                                cyx_metric_read read, void *ctx)
{
    struct cyx_metric *metric = add_metric(self, FUNCTION, name, help, NULL);
    if (!metric)
        return;
    metric->read = read;
    metric->ctx = ctx;
}

/* name="value",… with the value's backslash, quote and line end escaped. */
static void write_labels(const struct cyx_metric *metric, const char *const *values,
                         struct cyx_buf *ret_text)
{
    cyx_buf_puts(ret_text, "");
    for (size_t i = 0; i < metric->label_count; i++) {
        const char *value = values[i];
        cyx_buf_printf(ret_text, "%s%s=\"", i ? "," : "", metric->label_names[i]);
        for (; value && *value; value++) {
            if (*value == '\\' || *value == '"')
                cyx_buf_append(ret_text, "\\", 1);
            if (*value == '\n')
                cyx_buf_puts(ret_text, "\\n");
            else
                cyx_buf_append(ret_text, value, 1);
        }
        cyx_buf_puts(ret_text, "\"");
    }
}

static struct series *new_series(struct cyx_metric *metric, struct cyx_buf *labels)
{
    if (metric->series_count == CYX_METRIC_SERIES || labels->failed)
        return NULL;
    struct series *made = calloc(1, sizeof(*made) + metric->bound_count * sizeof(made->buckets[0]));
    if (!made)
        return NULL;
    made->labels = cyx_buf_steal(labels);
    if (!made->labels) {
        free(made);
        return NULL;
    }
    metric->series[metric->series_count++] = made;
    return made;
}

/* The series of these label values, made on first use; NULL when there are too many. The metric is locked. */
static struct series *find_series(struct cyx_metric *metric, const char *const *values)
{
    for (size_t i = 0; i < metric->label_count; i++)
        if (!values[i])
            return NULL; /* fewer values than labels */
    CYX_CLEANUP_BUF struct cyx_buf labels = {0};
    write_labels(metric, values, &labels);
    const char *wanted = labels.data ? labels.data : "";
    for (size_t i = 0; i < metric->series_count; i++)
        if (strcmp(metric->series[i]->labels, wanted) == 0)
            return metric->series[i];
    return new_series(metric, &labels);
}

/* Locks the metric and finds the series; NULL (and unlocked) when it was dropped. */
static struct series *begin(struct cyx_metric *metric, const char *const *values)
{
    if (!metric)
        return NULL;
    pthread_mutex_lock(&metric->lock);
    struct series *series = find_series(metric, values);
    if (series)
        return series;
    pthread_mutex_unlock(&metric->lock);
    pthread_mutex_lock(&metric->owner->lock);
    metric->owner->dropped++;
    pthread_mutex_unlock(&metric->owner->lock);
    return NULL;
}

void cyx_metric_add_values(struct cyx_metric *metric, double value, const char *const *labels)
{
    struct series *series = begin(metric, labels);
    if (!series)
        return;
    if (metric->kind != COUNTER || value > 0) /* a counter never falls */
        series->value += value;
    pthread_mutex_unlock(&metric->lock);
}

void cyx_metric_set_values(struct cyx_metric *metric, double value, const char *const *labels)
{
    struct series *series = begin(metric, labels);
    if (!series)
        return;
    series->value = value;
    pthread_mutex_unlock(&metric->lock);
}

void cyx_metric_observe_values(struct cyx_metric *metric, double value, const char *const *labels)
{
    struct series *series = begin(metric, labels);
    if (!series)
        return;
    series->value += value;
    series->count++;
    for (size_t i = 0; i < metric->bound_count; i++)
        if (value <= metric->bounds[i]) {
            series->buckets[i]++;
            break;
        }
    pthread_mutex_unlock(&metric->lock);
}

static void write_number(struct cyx_buf *text, double value)
{
    if (isnan(value))
        cyx_buf_puts(text, " NaN\n");
    else if (isinf(value))
        cyx_buf_puts(text, value > 0 ? " +Inf\n" : " -Inf\n");
    else
        cyx_buf_printf(text, " %.17g\n", value);
}

static void write_name(struct cyx_buf *text, const char *name, const char *suffix,
                       const char *labels)
{
    cyx_buf_printf(text, "%s%s", name, suffix);
    if (*labels)
        cyx_buf_printf(text, "{%s}", labels);
}

static void write_histogram(const struct cyx_metric *metric, const struct series *series,
                            struct cyx_buf *text)
{
    uint64_t upto = 0;
    const char *comma = *series->labels ? "," : "";
    for (size_t i = 0; i < metric->bound_count; i++) {
        upto += series->buckets[i];
        cyx_buf_printf(text, "%s_bucket{%s%sle=\"%.9g\"} %llu\n", metric->name, series->labels,
                       comma, metric->bounds[i], (unsigned long long)upto);
    }
    cyx_buf_printf(text, "%s_bucket{%s%sle=\"+Inf\"} %llu\n", metric->name, series->labels, comma,
                   (unsigned long long)series->count);
    write_name(text, metric->name, "_sum", series->labels);
    write_number(text, series->value);
    write_name(text, metric->name, "_count", series->labels);
    cyx_buf_printf(text, " %llu\n", (unsigned long long)series->count);
}

static void write_metric(struct cyx_metric *metric, struct cyx_buf *text)
{
    cyx_buf_printf(text, "# HELP %s %s\n# TYPE %s %s\n", metric->name, metric->help, metric->name,
                   kind_names[metric->kind]);
    if (metric->kind == FUNCTION) {
        cyx_buf_puts(text, metric->name);
        write_number(text, metric->read(metric->ctx));
        return;
    }
    pthread_mutex_lock(&metric->lock);
    for (size_t i = 0; i < metric->series_count; i++) {
        if (metric->kind == HISTOGRAM) {
            write_histogram(metric, metric->series[i], text);
            continue;
        }
        write_name(text, metric->name, "", metric->series[i]->labels);
        write_number(text, metric->series[i]->value);
    }
    pthread_mutex_unlock(&metric->lock);
}

void cyx_metrics_write(struct cyx_metrics *self, struct cyx_buf *ret_text)
{
    pthread_mutex_lock(&self->lock);
    struct cyx_metric *first = self->first; /* only ever added to, at the end */
    uint64_t dropped = self->dropped;
    pthread_mutex_unlock(&self->lock);
    for (struct cyx_metric *metric = first; metric; metric = metric->next)
        write_metric(metric, ret_text);
    cyx_buf_printf(ret_text,
                   "# HELP cyx_metrics_dropped_total Updates beyond the limit of label values.\n"
                   "# TYPE cyx_metrics_dropped_total counter\ncyx_metrics_dropped_total %llu\n",
                   (unsigned long long)dropped);
}
