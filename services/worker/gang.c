#include "gang.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/cond.h"
#include "base/log.h"
#include "blob/sha256.h"
#include "contract/job_spec.h"
#include "contract/message.h"
#include "contract/subjects.h"
#include "nn/train/gang.h"

#include "base/banned.h"

enum {
    PART_BYTES = 512 * 1024,
    WINDOW = 4, /* parts that are asked for at once */
    PULSE_MS = 200,
    AGAIN_MS = 1000, /* what was asked for or offered and did nothing is said again */
    CONNECT_MS = 3000,
    CORRUPT_LIMIT = 3,
    TAKEN_MS = 5000,
    HEAD_BYTES = 256,
};

/* What a member offers of a round. */
struct offer {
    int64_t round; /* 0: nothing yet */
    size_t bytes;
    char sha256[CYX_SHA256_HEX];
};

/* What is being fetched, one at a time. */
struct fetch {
    int from; /* -1: nothing */
    int64_t round;
    char *into;
    bool *there; /* of each part */
    size_t bytes, parts, n_there;
};

struct gang {
    struct gang_settings settings;
    struct cyx_bus *bus;
    char creds_file[WORKER_PATH_BYTES];
    atomic_bool lost; /* the connection is closed for good: its token ended, or the key changed */
    int64_t round, heard_ms, pulsed_ms;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* under the lock: */
    struct offer offered; /* by us; its bytes in `own` */
    char *own;
    struct offer seen[CYX_JOB_NODES_LIMIT]; /* by the others */
    int64_t taken[CYX_JOB_NODES_LIMIT];     /* rounds whose mean they have */
    struct fetch fetch;
};

static int64_t now_ms(void)
{
    return cyx_clock_monotonic_ns() / 1000000;
}

/* ---- messages ---- */

/* `head` is taken; a failure shows by the silence that follows. */
static void say(struct gang *self, int to, json_t *head, const void *bytes, size_t length)
{
    const struct gang_settings *settings = &self->settings;
    const struct api_seat *seat = &settings->seat;
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    struct cyx_error err = {0};
    char subject[CYX_SUBJECT_BYTES];
    json_object_set_new(head, "token", json_integer((json_int_t)settings->job->token));
    enum cyx_status status = cyx_message_write(head, &text, &err);
    cyx_buf_append(&text, "\n", 1);
    cyx_buf_append(&text, bytes, length);
    if (status == CYX_OK && text.failed)
        status = CYX_ERR_NO_MEMORY;
    if (status == CYX_OK)
        status = cyx_subject_gang(subject, settings->job->id, seat->attempt, seat->rank, to);
    if (status == CYX_OK)
        status = cyx_bus_publish(self->bus, subject, NULL, text.data, text.length, &err);
    if (status != CYX_OK)
        cyx_log(CYX_LOG_DEBUG, "a member was not told", CYX_STR("job_id", settings->job->id),
                CYX_STR("error", err.message));
}

static json_t *head_of(const char *kind, int64_t round)
{
    return json_pack("{s:s, s:I}", "kind", kind, "round", (json_int_t)round);
}

/* The lock is held. */
static void say_have(struct gang *self, int to)
{
    json_t *head = head_of("have", self->offered.round);
    json_object_set_new(head, "bytes", json_integer((json_int_t)self->offered.bytes));
    json_object_set_new(head, "sha256", json_string(self->offered.sha256));
    say(self, to, head, "", 0);
}

static void say_want(struct gang *self, const struct fetch *fetch, size_t part)
{
    json_t *head = head_of("want", fetch->round);
    json_object_set_new(head, "offset", json_integer((json_int_t)part * PART_BYTES));
    say(self, fetch->from, head, "", 0);
}

/* The lock is held. Who offers a round to the first member and is offered its mean has not heard of it yet. */
static void take_have(struct gang *self, int from, int64_t round, const json_t *head)
{
    const char *sha256 = json_string_value(json_object_get(head, "sha256"));
    int64_t bytes = json_integer_value(json_object_get(head, "bytes"));
    if (!sha256 || !cyx_sha256_valid(sha256) || bytes < 0 || round < self->seen[from].round)
        return;
    struct offer *seen = &self->seen[from];
    *seen = (struct offer){.round = round, .bytes = (size_t)bytes};
    memcpy(seen->sha256, sha256, CYX_SHA256_HEX);
    if (self->settings.seat.rank == 0 && self->offered.round == round)
        say_have(self, from);
}

/* The lock is held. */
static void take_want(struct gang *self, int from, int64_t round, int64_t offset)
{
    const struct offer *offered = &self->offered;
    if (round != offered->round || offset < 0 || (size_t)offset >= offered->bytes ||
        offset % PART_BYTES != 0)
        return;
    size_t left = offered->bytes - (size_t)offset;
    json_t *head = head_of("part", round);
    json_object_set_new(head, "offset", json_integer((json_int_t)offset));
    say(self, from, head, self->own + offset, left < PART_BYTES ? left : PART_BYTES);
}

/* The lock is held. */
static void take_part(struct gang *self, int from, int64_t round, int64_t offset, const char *bytes,
                      size_t length)
{
    struct fetch *fetch = &self->fetch;
    if (fetch->from != from || fetch->round != round || offset < 0 || offset % PART_BYTES != 0 ||
        (size_t)offset >= fetch->bytes)
        return;
    size_t part = (size_t)offset / PART_BYTES, left = fetch->bytes - (size_t)offset;
    if (length != (left < PART_BYTES ? left : PART_BYTES) || fetch->there[part])
        return;
    memcpy(fetch->into + offset, bytes, length);
    fetch->there[part] = true;
    fetch->n_there++;
}

/* The rank of who speaks, as NATS let it publish: the last word but one. -1 for anything else. */
static int speaker(const struct gang *self, const char *subject)
{
    const char *to = strrchr(subject, '.'), *from = to;
    while (from && from > subject && from[-1] != '.')
        from--;
    if (!from || to - from != 1 || *from < '0' || *from >= '0' + self->settings.seat.nodes)
        return -1;
    return *from - '0';
}

/* On the connection's thread. What names another token than the sender's own of this attempt is a stale word. */
static void on_message(void *ctx, const struct cyx_bus_message *message)
{
    struct gang *self = ctx;
    const struct api_seat *seat = &self->settings.seat;
    const char *end = memchr(message->data, '\n', message->length);
    size_t head_length = end ? (size_t)(end - message->data) : 0;
    CYX_CLEANUP_JSON json_t *head = NULL;
    const char *kind = NULL;
    int64_t round = 0, token = 0;
    int from = speaker(self, message->subject);
    if (from < 0 || !end || head_length > HEAD_BYTES ||
        cyx_message_parse(message->data, head_length, &head, NULL) != CYX_OK ||
        cyx_message_text(head, "kind", &kind, NULL) != CYX_OK ||
        cyx_message_int(head, "round", 1, INT64_MAX, &round, NULL) != CYX_OK ||
        cyx_message_int(head, "token", 1, INT64_MAX, &token, NULL) != CYX_OK ||
        token != seat->attempt - from)
        return;
    int64_t offset = json_integer_value(json_object_get(head, "offset"));
    pthread_mutex_lock(&self->lock);
    if (strcmp(kind, "have") == 0)
        take_have(self, from, round, head);
    else if (strcmp(kind, "want") == 0)
        take_want(self, from, round, offset);
    else if (strcmp(kind, "part") == 0)
        take_part(self, from, round, offset, end + 1, message->length - head_length - 1);
    else if (strcmp(kind, "got") == 0 && round > self->taken[from])
        self->taken[from] = round;
    pthread_cond_broadcast(&self->changed);
    pthread_mutex_unlock(&self->lock);
}

/* ---- the connection ---- */

static void on_lost(void *ctx)
{
    struct gang *self = ctx;
    atomic_store(&self->lost, true);
}

static enum cyx_status connect_once(struct gang *self, struct cyx_error *err)
{
    const struct gang_settings *settings = &self->settings;
    const struct api_seat *seat = &settings->seat;
    CYX_CLEANUP_JSON json_t *reply = NULL;
    char subject[CYX_SUBJECT_BYTES], name[64];
    enum cyx_status status = api_gang(settings->bus, settings->node, settings->job, &reply, err);
    if (status != CYX_OK)
        return status;
    struct cyx_bus_options options = *settings->server;
    const char *token = json_string_value(json_object_get(reply, "nats_token"));
    if (settings->identity && token)
        status =
            identity_write_member(settings->identity, settings->slot, token, self->creds_file, err);
    snprintf(name, sizeof(name), CYX_GANG_CONNECTION "%d of %d", seat->rank, seat->nodes);
    options.name = name;
    if (settings->identity)
        options.creds_file = self->creds_file;
    options.workers = 1;
    options.wait_ms = CONNECT_MS;
    options.lost = on_lost;
    options.lost_ctx = self;
    atomic_store(&self->lost, false);
    if (status == CYX_OK)
        status = cyx_bus_connect(&options, &self->bus, err);
    if (status == CYX_OK)
        status = cyx_subject_gang(subject, settings->job->id, seat->attempt, -1, seat->rank);
    if (status == CYX_OK)
        status = cyx_bus_subscribe(self->bus, subject, NULL, on_message, self, err);
    if (status != CYX_OK) {
        cyx_bus_destroy(self->bus);
        self->bus = NULL;
    }
    return status;
}

static bool may_pass(enum cyx_status status)
{
    return status == CYX_ERR_UNAVAILABLE || status == CYX_ERR_TIMEOUT || status == CYX_ERR_DENIED;
}

/* Connects, or connects anew, trying again while it may help and somebody waits for it. */
static enum cyx_status need_connection(struct gang *self, struct cyx_error *err)
{
    int64_t begun_ms = now_ms();
    if (self->bus && !atomic_load(&self->lost))
        return CYX_OK;
    cyx_bus_destroy(self->bus);
    self->bus = NULL;
    for (;;) {
        enum cyx_status status = connect_once(self, err);
        if (status == CYX_OK || !may_pass(status) || now_ms() - begun_ms > 10 * CONNECT_MS)
            return status;
        nanosleep(&(struct timespec){.tv_nsec = PULSE_MS * 1000000}, NULL);
        enum cyx_status stop = self->settings.pulse(self->settings.ctx);
        if (stop != CYX_OK)
            return stop;
    }
}

enum cyx_status gang_create(const struct gang_settings *settings, struct gang **ret_gang,
                            struct cyx_error *err)
{
    struct gang *self = calloc(1, sizeof(*self));
    if (!self)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory to speak with other nodes");
    self->settings = *settings;
    self->fetch.from = -1;
    pthread_mutex_init(&self->lock, NULL);
    cyx_cond_init(&self->changed);
    enum cyx_status status = need_connection(self, err);
    if (status == CYX_OK)
        *ret_gang = self;
    else
        gang_destroy(self);
    return status;
}

void gang_destroy(struct gang *self)
{
    if (!self)
        return;
    cyx_bus_destroy(self->bus);
    if (*self->creds_file)
        remove(self->creds_file);
    free(self->own);
    pthread_cond_destroy(&self->changed);
    pthread_mutex_destroy(&self->lock);
    free(self);
}

/* ---- a meeting ---- */

/* Until something comes or a moment has passed, looking around each moment; the lock is held, and free in between. */
static enum cyx_status wait_a_little(struct gang *self, struct cyx_error *err)
{
    const struct gang_settings *settings = &self->settings;
    int64_t at_ns = cyx_clock_monotonic_ns() + PULSE_MS * INT64_C(1000000);
    const struct timespec at = {at_ns / 1000000000, at_ns % 1000000000};
    (void)pthread_cond_timedwait(&self->changed, &self->lock, &at);
    if (now_ms() - self->pulsed_ms < PULSE_MS)
        return CYX_OK;
    self->pulsed_ms = now_ms();
    pthread_mutex_unlock(&self->lock);
    enum cyx_status status = settings->pulse(settings->ctx);
    if (status == CYX_OK)
        status = need_connection(self, err);
    else
        cyx_error_set(err, status, NULL, "the meeting was ended");
    pthread_mutex_lock(&self->lock);
    if (status == CYX_OK && settings->patience_ms &&
        now_ms() - self->heard_ms > settings->patience_ms)
        status = cyx_error_set(err, CYX_ERR_TIMEOUT, NULL,
                               "the other nodes were not heard for %.4g s: the job goes on with "
                               "others",
                               (double)settings->patience_ms / 1000.0);
    return status;
}

/* Waits until `from` offers this round, telling it of ours meanwhile; the lock is held. */
static enum cyx_status await_offer(struct gang *self, int from, struct cyx_error *err)
{
    enum cyx_status status = CYX_OK;
    int64_t told_ms = 0;
    while (status == CYX_OK && self->seen[from].round < self->round) {
        if (self->settings.seat.rank > 0 && now_ms() - told_ms > AGAIN_MS) {
            say_have(self, from);
            told_ms = now_ms();
        }
        status = wait_a_little(self, err);
    }
    return status;
}

/* Asks for parts in order, a window at once, and again for those that do not come; the lock is held. */
static enum cyx_status pull(struct gang *self, struct cyx_error *err)
{
    struct fetch *fetch = &self->fetch;
    enum cyx_status status = CYX_OK;
    size_t first = 0, asked = 0, before = 0; /* first: the first part that is missing */
    int64_t moved_ms = now_ms();
    while (status == CYX_OK && fetch->n_there < fetch->parts) {
        while (first < fetch->parts && fetch->there[first])
            first++;
        if (fetch->n_there != before) {
            before = fetch->n_there;
            self->heard_ms = moved_ms = now_ms();
        }
        if (now_ms() - moved_ms > AGAIN_MS) {
            asked = first;
            moved_ms = now_ms();
        }
        for (; asked < fetch->parts && asked < first + WINDOW; asked++)
            if (!fetch->there[asked])
                say_want(self, fetch, asked);
        status = wait_a_little(self, err);
    }
    return status;
}

/* This round's values of `from`, whose hash holds, into `values`. The lock is held. */
static enum cyx_status fetch_values(struct gang *self, int from, float *values, size_t bytes,
                                    struct cyx_error *err)
{
    char sha256[CYX_SHA256_HEX];
    enum cyx_status status = await_offer(self, from, err);
    if (status == CYX_OK && self->seen[from].bytes != bytes)
        status = cyx_error_set(err, CYX_ERR_CORRUPT, NULL,
                               "node %d has %zu bytes of values, not the %zu that the model has",
                               from, self->seen[from].bytes, bytes);
    for (int attempt = 0; status == CYX_OK; attempt++) {
        size_t parts = (bytes + PART_BYTES - 1) / PART_BYTES;
        bool *there = calloc(parts + 1, sizeof(*there));
        if (!there)
            return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory to hear other nodes");
        self->fetch = (struct fetch){.from = from,
                                     .round = self->round,
                                     .into = (char *)values,
                                     .there = there,
                                     .bytes = bytes,
                                     .parts = parts};
        status = pull(self, err);
        self->fetch = (struct fetch){.from = -1};
        free(there);
        if (status == CYX_OK)
            status = cyx_sha256_bytes(values, bytes, sha256);
        if (status != CYX_OK || strcmp(sha256, self->seen[from].sha256) == 0)
            break;
        if (attempt + 1 == CORRUPT_LIMIT)
            status = cyx_error_set(err, CYX_ERR_CORRUPT, NULL,
                                   "the values of node %d are not those of their hash", from);
    }
    self->heard_ms = now_ms();
    return status;
}

/* Others may fetch it from now on; the lock is held. */
static enum cyx_status offer_values(struct gang *self, const float *values, size_t bytes,
                                    struct cyx_error *err)
{
    char *own = realloc(self->own, bytes + 1);
    if (!own)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for what nodes exchange");
    self->own = own;
    memcpy(own, values, bytes);
    self->offered = (struct offer){.round = self->round, .bytes = bytes};
    return cyx_sha256_bytes(own, bytes, self->offered.sha256);
}

/* The first member: fetches all in the order of the ranks, and offers the mean. The lock is held. */
static enum cyx_status lead(struct gang *self, float *values, size_t count, struct cyx_error *err)
{
    int nodes = self->settings.seat.nodes;
    double *sums = calloc(count + 1, sizeof(*sums));
    float *theirs = malloc((count + 1) * sizeof(*theirs));
    enum cyx_status status =
        sums && theirs ? CYX_OK
                       : cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for the mean");
    if (status == CYX_OK)
        cyx_gang_add(sums, values, count);
    for (int from = 1; status == CYX_OK && from < nodes; from++) {
        status = fetch_values(self, from, theirs, count * sizeof(*theirs), err);
        if (status == CYX_OK)
            cyx_gang_add(sums, theirs, count);
    }
    if (status == CYX_OK) {
        cyx_gang_mean(sums, nodes, values, count);
        status = offer_values(self, values, count * sizeof(*values), err);
    }
    for (int to = 1; status == CYX_OK && to < nodes; to++)
        say_have(self, to);
    free(theirs);
    free(sums);
    return status;
}

/* Any other: offers its values, and fetches the mean. The lock is held. */
static enum cyx_status follow_lead(struct gang *self, float *values, size_t count,
                                   struct cyx_error *err)
{
    enum cyx_status status = offer_values(self, values, count * sizeof(*values), err);
    if (status == CYX_OK)
        status = fetch_values(self, 0, values, count * sizeof(*values), err);
    if (status == CYX_OK)
        say(self, 0, head_of("got", self->round), "", 0);
    return status;
}

enum cyx_status gang_meet(struct gang *self, float *values, size_t count, struct cyx_error *err)
{
    if ((int64_t)(count * sizeof(*values)) > CYX_GANG_BYTES_LIMIT)
        return cyx_error_set(err, CYX_ERR_TOO_LARGE, "/resources/nodes",
                             "%zu values are more than nodes exchange: train it on one node",
                             count);
    enum cyx_status status = need_connection(self, err);
    if (status != CYX_OK)
        return status;
    pthread_mutex_lock(&self->lock);
    self->round++;
    self->heard_ms = now_ms();
    status = self->settings.seat.rank == 0 ? lead(self, values, count, err)
                                           : follow_lead(self, values, count, err);
    pthread_mutex_unlock(&self->lock);
    return status;
}

void gang_wait_taken(struct gang *self)
{
    struct cyx_error err = {0};
    int64_t until_ms = now_ms() + TAKEN_MS;
    pthread_mutex_lock(&self->lock);
    self->heard_ms = now_ms();
    for (int rank = 1; rank < self->settings.seat.nodes; rank++)
        while (self->taken[rank] < self->round && now_ms() < until_ms &&
               wait_a_little(self, &err) == CYX_OK)
            ;
    pthread_mutex_unlock(&self->lock);
}
