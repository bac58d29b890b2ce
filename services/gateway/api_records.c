/*
 * Metrics and logs that are kept: whole in the stream for as long as it holds them; once a job has ended also here,
 * fewer metrics in the database and the log's lines as an artifact.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "api.h"
#include "base/clock.h"
#include "base/log.h"
#include "contract/message.h"
#include "contract/subjects.h"
#include "record.h"

#include "base/banned.h"

enum {
    POINTS_LIMIT = 10000,
    PAGE = 1000,      /* messages read from the stream at once */
    SETTLE_MS = 2000, /* after the end, for what is still on its way */
};
#define LOG_LIMIT_BYTES ((size_t)32 << 20)
#define NOBODY "00000000-0000-0000-0000-000000000000" /* the log's artifact is no node's */

/* ---- when a job has ended ----------------------------------------------------------------------- */

struct gathering {
    struct holders holders;
    struct record_points points;
    struct cyx_buf log;
    int64_t log_lines;
    size_t seen; /* of this page */
    uint64_t last;
    enum cyx_status status;
};

static void gather_point(struct gathering *self, json_t *data, uint64_t sequence)
{
    const char *kind = json_string_value(json_object_get(data, "kind"));
    char *text = json_dumps(data, JSON_COMPACT);
    struct record_point point = {.epoch = kind && strcmp(kind, "epoch") == 0,
                                 .step = json_number_value(json_object_get(data, "step")),
                                 .loss = json_number_value(json_object_get(data, "loss")),
                                 .sequence = sequence,
                                 .json = text};
    self->status = text ? record_points_add(&self->points, &point) : CYX_ERR_NO_MEMORY;
    free(text);
}

static void gather_line(struct gathering *self, json_t *data)
{
    if (self->log.length >= LOG_LIMIT_BYTES)
        return; /* the beginning tells most */
    cyx_message_write(json_incref(data), &self->log, NULL);
    cyx_buf_puts(&self->log, "\n");
    self->log_lines++;
    self->status = self->log.failed ? CYX_ERR_NO_MEMORY : CYX_OK;
}

static void gather(void *ctx, const struct cyx_bus_message *message)
{
    struct gathering *self = ctx;
    const char *kind = NULL;
    CYX_CLEANUP_JSON json_t *data = NULL;
    self->seen++;
    self->last = message->sequence;
    if (self->status != CYX_OK || !live_parse(message, &kind, &data) ||
        !holders_may_tell(&self->holders, message->subject))
        return;
    json_object_set_new(data, "sequence", json_integer((json_int_t)message->sequence));
    if (strcmp(kind, CYX_JOB_METRICS) == 0)
        gather_point(self, data, message->sequence);
    else if (strcmp(kind, CYX_JOB_LOG) == 0)
        gather_line(self, data);
}

static enum cyx_status gather_all(struct app *app, const char *job_id, const char *kind,
                                  struct gathering *self, struct cyx_error *err)
{
    char subject[CYX_SUBJECT_BYTES];
    enum cyx_status status = holders_subject(subject, job_id, kind);
    self->last = 0;
    do {
        self->seen = 0;
        if (status == CYX_OK)
            status = cyx_bus_read(app->bus, CYX_STREAM_JOBS, subject, self->last + 1, PAGE, gather,
                                  self, err);
        if (status == CYX_OK && self->status != CYX_OK)
            status = cyx_error_set(err, self->status, NULL, "no memory for a job's telemetry");
    } while (status == CYX_OK && self->seen == PAGE);
    return status;
}

/* The log's lines as an artifact that the job's account may read. */
static enum cyx_status keep_log(struct app *app, const struct cyx_buf *log,
                                struct store_record *record, struct cyx_error *err)
{
    struct cyx_blob_writer *writer = NULL;
    uint64_t size = 0;
    enum cyx_status status = cyx_sha256_bytes(log->data, log->length, record->log_sha256);
    if (status == CYX_OK && cyx_blob_stat(app->blobs, record->log_sha256, &size, NULL) != CYX_OK) {
        if ((status = cyx_blob_begin(app->blobs, record->log_sha256, 0, log->length, &writer,
                                     err)) == CYX_OK &&
            (status = cyx_blob_append(writer, log->data, log->length, err)) == CYX_OK)
            status = cyx_blob_commit(writer, &size, err);
        cyx_blob_writer_destroy(writer);
    }
    if (status != CYX_OK)
        return status;
    record->log_bytes = (int64_t)log->length;
    struct store_artifact artifact = {.sha256 = record->log_sha256,
                                      .job_id = record->job_id,
                                      .node_id = NOBODY,
                                      .bytes = record->log_bytes};
    return store_artifact_add(app->store, &artifact, err);
}

static enum cyx_status keep(struct app *app, const char *job_id, struct gathering *self,
                            struct cyx_error *err)
{
    struct store_record record = {0};
    CYX_CLEANUP_BUF struct cyx_buf points = {0};
    snprintf(record.job_id, sizeof(record.job_id), "%s", job_id);
    enum cyx_status status;
    if ((status = live_ask_holders(app->bus, job_id, &self->holders, err)) != CYX_OK ||
        (status = gather_all(app, job_id, CYX_JOB_METRICS, self, err)) != CYX_OK ||
        (status = gather_all(app, job_id, CYX_JOB_LOG, self, err)) != CYX_OK ||
        (self->log.length && (status = keep_log(app, &self->log, &record, err)) != CYX_OK))
        return status;
    record.n_points = (int64_t)record_points_write(&self->points, &points);
    record.n_seen = (int64_t)self->points.seen;
    record.log_lines = self->log_lines;
    if (points.failed)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for a job's metrics");
    if (record.n_points == 0 && record.log_lines == 0)
        return CYX_OK; /* it never ran */
    return store_record_add(app->store, &record, points.data, err);
}

static bool has_ended(const char *subject)
{
    return strcmp(subject, CYX_EVT_JOB_COMPLETED) == 0 ||
           strcmp(subject, CYX_EVT_JOB_FAILED) == 0 || strcmp(subject, CYX_EVT_JOB_CANCELLED) == 0;
}

/* Events that waited already are not waited for again. */
static void settle(const json_t *event)
{
    int64_t at_ms = 0;
    const char *at = json_string_value(json_object_get(event, "at"));
    if (!at || cyx_time_parse(at, &at_ms) != CYX_OK)
        return;
    int64_t wait_ms = at_ms + SETTLE_MS - cyx_clock_unix_ms();
    wait_ms = wait_ms < SETTLE_MS ? wait_ms : SETTLE_MS; /* whatever the clocks say */
    struct timespec pause = {wait_ms / 1000, wait_ms % 1000 * 1000000};
    if (wait_ms > 0)
        clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
}

enum cyx_status api_records_on_job(void *ctx, const struct cyx_bus_message *message,
                                   struct cyx_error *err)
{
    CYX_CLEANUP_JSON json_t *event = NULL;
    const char *job_id = NULL;
    if (!has_ended(message->subject))
        return CYX_OK;
    enum cyx_status status;
    if ((status = cyx_message_parse(message->data, message->length, &event, err)) != CYX_OK ||
        (status = cyx_message_id(event, "job_id", &job_id, err)) != CYX_OK)
        return status;
    settle(event);
    struct gathering gathering = {0};
    status = keep(ctx, job_id, &gathering, err);
    record_points_finish(&gathering.points);
    cyx_buf_finish(&gathering.log);
    return status;
}

json_t *api_record_json(struct app *app, const char *job_id)
{
    struct store_record record;
    if (store_record_find(app->store, job_id, &record, NULL, NULL) != CYX_OK)
        return json_null();
    json_t *log = record.log_sha256[0] ? json_pack("{s:s,s:I,s:I}", "sha256", record.log_sha256,
                                                   "bytes", (json_int_t)record.log_bytes, "lines",
                                                   (json_int_t)record.log_lines)
                                       : json_null();
    return json_pack("{s:I,s:I,s:o}", "points", (json_int_t)record.n_points, "points_seen",
                     (json_int_t)record.n_seen, "log", log);
}

/* ---- reading ------------------------------------------------------------------------------------ */

struct history {
    struct cyx_buf text; /* items joined by commas */
    struct holders holders;
    const char *kind;
    int64_t cursor, limit;
    size_t seen; /* messages, the dropped ones too */
    uint64_t first, last;
};

static void add_item(struct history *self, const char *json, size_t length)
{
    if (self->text.length)
        cyx_buf_puts(&self->text, ",");
    cyx_buf_append(&self->text, json, length);
}

static void on_kept(void *ctx, const struct cyx_bus_message *message)
{
    struct history *history = ctx;
    const char *kind = NULL;
    CYX_CLEANUP_JSON json_t *data = NULL;
    if (history->seen++ == 0)
        history->first = message->sequence;
    history->last = message->sequence;
    if (!live_parse(message, &kind, &data) || strcmp(kind, history->kind) != 0 ||
        !holders_may_tell(&history->holders, message->subject))
        return;
    json_object_set_new(data, "sequence", json_integer((json_int_t)message->sequence));
    char *text = json_dumps(data, JSON_COMPACT);
    if (text)
        add_item(history, text, strlen(text));
    free(text);
}

static uint64_t sequence_of(const json_t *item)
{
    return (uint64_t)json_integer_value(json_object_get(item, "sequence"));
}

/* Whether the stream has forgotten what the record holds behind the cursor, beginning with `sequence`. */
static bool forgotten(const struct history *history, uint64_t sequence)
{
    return sequence > (uint64_t)history->cursor &&
           (history->first == 0 || sequence < history->first);
}

static void start_over(struct history *history)
{
    cyx_buf_clear(&history->text);
    history->seen = 0;
    history->first = history->last = 0;
}

static bool points_from_record(struct app *app, const char *job_id, struct history *history)
{
    struct store_record record;
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    if (store_record_find(app->store, job_id, &record, &text, NULL) != CYX_OK || text.failed)
        return false;
    CYX_CLEANUP_JSON json_t *points = json_loadb(text.data, text.length, 0, NULL);
    size_t i = 0, count = json_array_size(points);
    while (i < count && sequence_of(json_array_get(points, i)) <= (uint64_t)history->cursor)
        i++;
    if (i == count || !forgotten(history, sequence_of(json_array_get(points, i))))
        return false;
    start_over(history);
    for (; i < count && history->seen < (size_t)history->limit; i++, history->seen++) {
        char *item = json_dumps(json_array_get(points, i), JSON_COMPACT);
        if (item)
            add_item(history, item, strlen(item));
        free(item);
        history->last = sequence_of(json_array_get(points, i));
    }
    return true;
}

/* Goes through the log's lines behind the cursor; false when the stream has them still. */
static bool read_lines(FILE *file, struct history *history)
{
    char *line = NULL;
    size_t capacity = 0;
    bool begun = false;
    ssize_t length;
    while ((length = getline(&line, &capacity, file)) > 0) {
        length -= line[length - 1] == '\n';
        CYX_CLEANUP_JSON json_t *item = json_loadb(line, (size_t)length, 0, NULL);
        uint64_t sequence = sequence_of(item);
        if (sequence <= (uint64_t)history->cursor)
            continue;
        if (!begun && !forgotten(history, sequence))
            break;
        if (!begun)
            start_over(history);
        begun = true;
        if (history->seen == (size_t)history->limit)
            break;
        add_item(history, line, (size_t)length);
        history->seen++;
        history->last = sequence;
    }
    free(line);
    return begun;
}

static bool lines_from_record(struct app *app, const struct cyx_http_request *request,
                              const char *job_id, struct history *history)
{
    struct store_record record;
    const char *path = NULL;
    if (store_record_find(app->store, job_id, &record, NULL, NULL) != CYX_OK ||
        !record.log_sha256[0] ||
        cyx_blob_path(app->blobs, record.log_sha256, request->arena, &path, NULL) != CYX_OK)
        return false;
    FILE *file = fopen(path, "re");
    bool given = file && read_lines(file, history);
    if (file)
        fclose(file);
    return given;
}

/* Fills `history`; `*ret_from_record` tells that the stream does not have it any more. */
static enum cyx_status read_history(struct app *app, const struct cyx_http_request *request,
                                    struct cyx_http_response *response, struct history *history,
                                    bool *ret_from_record)
{
    char subject[CYX_SUBJECT_BYTES];
    const char *id = cyx_http_param(request, "id");
    CYX_CLEANUP_JSON json_t *job = NULL;
    struct cyx_error *err = &response->error;
    enum cyx_status status;
    if ((status = cyx_http_query_int(request, "cursor", 0, INT64_MAX - 1, 0, &history->cursor,
                                     err)) != CYX_OK ||
        (status = cyx_http_query_int(request, "limit", 1, POINTS_LIMIT, POINTS_LIMIT,
                                     &history->limit, err)) != CYX_OK ||
        (status = api_own_job(app, request, response, &job)) != CYX_OK ||
        (status = holders_subject(subject, id, history->kind)) != CYX_OK)
        return status;
    holders_take(&history->holders, job);
    status = cyx_bus_read(app->bus, CYX_STREAM_JOBS, subject, (uint64_t)history->cursor + 1,
                          (size_t)history->limit, on_kept, history, err);
    if (status == CYX_ERR_UNAVAILABLE || status == CYX_ERR_TIMEOUT)
        return cyx_error_set(
            err, CYX_ERR_UNAVAILABLE, NULL,
            "kept events cannot be read at the moment; try again in a few seconds");
    const char *state = json_string_value(json_object_get(job, "state"));
    if (status == CYX_OK && state && api_state_ended(state))
        *ret_from_record = strcmp(history->kind, CYX_JOB_METRICS) == 0
                               ? points_from_record(app, id, history)
                               : lines_from_record(app, request, id, history);
    return status;
}

static enum cyx_status answer(struct cyx_http_response *response, const struct history *history,
                              const char *name, bool from_record)
{
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    if (history->text.failed)
        return cyx_error_set(&response->error, CYX_ERR_NO_MEMORY, NULL, "no memory");
    cyx_buf_printf(&text, "{\"%s\":[", name);
    cyx_buf_append(&text, history->text.data, history->text.length);
    if (history->seen == (size_t)history->limit)
        cyx_buf_printf(&text, "],\"next_cursor\":\"%" PRIu64 "\"", history->last);
    else
        cyx_buf_puts(&text, "],\"next_cursor\":null");
    cyx_buf_printf(&text, ",\"source\":\"%s\"}", from_record ? "record" : "stream");
    return cyx_http_respond_buf(response, 200, "application/json", &text);
}

static enum cyx_status respond_history(struct app *app, const struct cyx_http_request *request,
                                       struct cyx_http_response *response, const char *kind,
                                       const char *name)
{
    struct history history = {.kind = kind};
    bool from_record = false;
    enum cyx_status status = read_history(app, request, response, &history, &from_record);
    if (status == CYX_OK)
        status = answer(response, &history, name, from_record);
    cyx_buf_finish(&history.text);
    return status;
}

enum cyx_status api_jobs_metrics(void *ctx, const struct cyx_http_request *request,
                                 struct cyx_http_response *response)
{
    return respond_history(ctx, request, response, CYX_JOB_METRICS, "points");
}

enum cyx_status api_jobs_logs(void *ctx, const struct cyx_http_request *request,
                              struct cyx_http_response *response)
{
    return respond_history(ctx, request, response, CYX_JOB_LOG, "lines");
}
