#include "fleet.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/cond.h"
#include "contract/subjects.h"

struct service {
    pid_t pid;
    int log;
    pthread_t reader;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool ready, ended;
    char tail[4096]; /* the end of its log, for a test that fails */
};

static struct timespec after(int64_t ms)
{
    int64_t at_ns = cyx_clock_monotonic_ns() + ms * 1000000;
    return (struct timespec){.tv_sec = at_ns / 1000000000, .tv_nsec = at_ns % 1000000000};
}

static void init_waiting(pthread_mutex_t *lock, pthread_cond_t *changed)
{
    pthread_mutex_init(lock, NULL);
    cyx_cond_init(changed);
}

static void *read_log(void *ctx)
{
    struct service *self = ctx;
    FILE *log = fdopen(self->log, "r");
    char line[4096];
    bool loud = getenv("CYX_TEST_LOUD") != NULL;
    while (log && fgets(line, sizeof(line), log)) {
        if (loud)
            fprintf(stderr, "[%d] %s", (int)self->pid, line);
        pthread_mutex_lock(&self->lock);
        size_t have = strlen(self->tail), more = strlen(line);
        if (have + more >= sizeof(self->tail))
            have = 0;
        memcpy(self->tail + have, line, more < sizeof(self->tail) ? more + 1 : 0);
        if (strstr(line, "\"READY\"") || strstr(line, " READY"))
            self->ready = true;
        pthread_cond_broadcast(&self->changed);
        pthread_mutex_unlock(&self->lock);
    }
    if (log)
        fclose(log);
    pthread_mutex_lock(&self->lock);
    self->ended = true;
    pthread_cond_broadcast(&self->changed);
    pthread_mutex_unlock(&self->lock);
    return NULL;
}

static void run_binary(const char *binary, const char *const *env, int log)
{
    char path[4096];
    snprintf(path, sizeof(path), "%s/%s", CYX_BIN_DIR, binary);
    for (; *env; env++)
        putenv((char *)*env);
    setenv("CYXWIZ_MIGRATIONS_DIR", CYX_SOURCE_DIR "/migrations", 1);
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that dies leaves nothing behind */
    dup2(log, STDERR_FILENO);
    execl(path, binary, (char *)NULL);
    fprintf(stderr, "cannot run %s: %s\n", path, strerror(errno));
    _exit(127);
}

struct service *service_start(const char *binary, const char *const *env)
{
    struct service *self = calloc(1, sizeof(*self));
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    self->log = ends[0];
    self->pid = fork();
    if (self->pid == 0)
        run_binary(binary, env, ends[1]);
    close(ends[1]);
    init_waiting(&self->lock, &self->changed);
    pthread_create(&self->reader, NULL, read_log, self);
    const struct timespec until = after(WAIT_MS);
    pthread_mutex_lock(&self->lock);
    while (!self->ready && !self->ended &&
           pthread_cond_timedwait(&self->changed, &self->lock, &until) != ETIMEDOUT)
        continue;
    bool ready = self->ready;
    pthread_mutex_unlock(&self->lock);
    if (!ready)
        fail_msg("%s does not start: %s", binary, self->tail);
    return self;
}

int service_stop(struct service *self, int signal_number)
{
    int status = 0;
    if (!self)
        return 0;
    kill(self->pid, signal_number);
    waitpid(self->pid, &status, 0);
    pthread_join(self->reader, NULL);
    pthread_cond_destroy(&self->changed);
    pthread_mutex_destroy(&self->lock);
    free(self);
    return status;
}

struct cyx_bus *fleet_bus(const char *name)
{
    struct cyx_bus *bus = NULL;
    struct cyx_error err = {0};
    const struct cyx_bus_options options = {.url = getenv("CYXWIZ_NATS_URL"), .name = name};
    if (cyx_bus_connect(&options, &bus, &err) != CYX_OK)
        fail_msg("%s", err.message);
    return bus;
}

void own_subject(const char *subject, const json_t *body, char ret_subject[CYX_SUBJECT_BYTES])
{
    static const char *const of_nodes[] = {CYX_SVC_REGISTRY_ENROL, CYX_SVC_REGISTRY_PROVE,
                                           CYX_SVC_SCHEDULER_ACCEPT, CYX_SVC_SCHEDULER_PROGRESS,
                                           CYX_SVC_SCHEDULER_FINISH};
    snprintf(ret_subject, CYX_SUBJECT_BYTES, "%s", subject);
    const char *node_id = json_string_value(json_object_get(body, "node_id"));
    for (size_t i = 0; i < sizeof(of_nodes) / sizeof(of_nodes[0]); i++)
        if (strcmp(subject, of_nodes[i]) == 0 &&
            cyx_subject_from_node(ret_subject, subject, node_id) != CYX_OK)
            snprintf(ret_subject, CYX_SUBJECT_BYTES, "%s.nobody", subject);
}

/* A request; CYX_OK with the reply, or what came back. Usable from any thread. */
static enum cyx_status request(struct cyx_bus *bus, const char *subject, json_t *body,
                               json_t **ret_reply, struct cyx_error *err)
{
    struct cyx_buf reply = {0};
    char *text = json_dumps(body, JSON_COMPACT), to[CYX_SUBJECT_BYTES];
    own_subject(subject, body, to);
    enum cyx_status status =
        cyx_bus_request(bus, to, NULL, text, strlen(text), WAIT_MS, &reply, err);
    if (status == CYX_OK && ret_reply)
        *ret_reply = json_loadb(reply.data, reply.length, 0, NULL);
    free(text);
    json_decref(body);
    cyx_buf_finish(&reply);
    return status;
}

json_t *ask_error(struct cyx_bus *bus, const char *subject, json_t *body, enum cyx_status expected,
                  struct cyx_error *ret_error)
{
    json_t *reply = NULL;
    const int64_t until_ns = cyx_clock_monotonic_ns() + WAIT_MS * INT64_C(1000000);
    enum cyx_status status = request(bus, subject, json_incref(body), &reply, ret_error);
    /* What should succeed may have to wait for a server or service that is on its way back. */
    while (status == CYX_ERR_UNAVAILABLE && expected == CYX_OK &&
           cyx_clock_monotonic_ns() < until_ns) {
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
        status = request(bus, subject, json_incref(body), &reply, ret_error);
    }
    json_decref(body);
    if (status != expected)
        fail_msg("%s: expected %s, got %s (%s %s)", subject, cyx_status_name(expected),
                 cyx_status_name(status), ret_error->pointer, ret_error->message);
    if (status == CYX_OK)
        assert_non_null(reply);
    return reply;
}

json_t *ask(struct cyx_bus *bus, const char *subject, json_t *body, enum cyx_status expected)
{
    struct cyx_error err = {0};
    return ask_error(bus, subject, body, expected, &err);
}

struct watch {
    struct cyx_bus_tail *tail;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    json_t *seen; /* array */
};

static void on_message(void *ctx, const struct cyx_bus_message *message)
{
    struct watch *self = ctx;
    json_t *json = json_loadb(message->data, message->length, 0, NULL);
    json_object_set_new(json, "subject", json_string(message->subject));
    pthread_mutex_lock(&self->lock);
    json_array_append_new(self->seen, json);
    pthread_cond_broadcast(&self->changed);
    pthread_mutex_unlock(&self->lock);
}

struct watch *watch_create(struct cyx_bus *bus, const char *stream, const char *subject)
{
    struct watch *self = calloc(1, sizeof(*self));
    struct cyx_error err = {0};
    init_waiting(&self->lock, &self->changed);
    self->seen = json_array();
    if (cyx_bus_tail(bus, stream, subject, 1, on_message, self, &self->tail, &err) != CYX_OK)
        fail_msg("%s", err.message);
    return self;
}

void watch_destroy(struct watch *self)
{
    cyx_bus_tail_stop(self->tail);
    json_decref(self->seen);
    pthread_cond_destroy(&self->changed);
    pthread_mutex_destroy(&self->lock);
    free(self);
}

static bool matches(const json_t *json, const char *const *fields)
{
    for (; fields[0]; fields += 2) {
        const char *value = json_string_value(json_object_get(json, fields[0]));
        if (!value || strcmp(value, fields[1]) != 0)
            return false;
    }
    return true;
}

/* The nth of those that match, and how many there are; the lock is held. */
static const json_t *find(struct watch *self, int nth, const char *const *fields, int *ret_count)
{
    const json_t *found = NULL;
    int count = 0;
    for (size_t i = 0; i < json_array_size(self->seen); i++)
        if (matches(json_array_get(self->seen, i), fields) && ++count == nth)
            found = json_array_get(self->seen, i);
    *ret_count = count;
    return found;
}

const json_t *watch_wait(struct watch *self, int nth, int64_t wait_ms, const char *const *fields)
{
    const struct timespec until = after(wait_ms);
    const json_t *found = NULL;
    int count = 0;
    pthread_mutex_lock(&self->lock);
    while (!(found = find(self, nth, fields, &count)) &&
           pthread_cond_timedwait(&self->changed, &self->lock, &until) != ETIMEDOUT)
        continue;
    pthread_mutex_unlock(&self->lock);
    if (!found)
        fail_msg("no message number %d with %s = %s, %s = %s within %lld ms; there are %d", nth,
                 fields[0], fields[1], fields[2] ? fields[2] : "", fields[2] ? fields[3] : "",
                 (long long)wait_ms, count);
    return found;
}

int watch_count(struct watch *self, const char *const *fields)
{
    int count = 0;
    pthread_mutex_lock(&self->lock);
    find(self, 0, fields, &count);
    pthread_mutex_unlock(&self->lock);
    return count;
}

enum { QUEUE = 512 };

struct queue {
    struct claim claims[QUEUE];
    int head, count;
    struct claim last; /* an offer that is told again is no new one */
};

struct worker {
    struct worker_options options;
    char id[CYX_ID_BYTES], boot_id[CYX_ID_BYTES];
    struct cyx_bus *bus;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct queue offers, cancels;
    struct claim held;
    bool beating, ended;
    int finished;
    pthread_t beater, hand;
};

static void push(struct worker *self, struct queue *queue, const struct cyx_bus_message *message)
{
    struct claim claim = {.token = 0};
    json_t *json = json_loadb(message->data, message->length, 0, NULL);
    snprintf(claim.job_id, sizeof(claim.job_id), "%s",
             json_string_value(json_object_get(json, "job_id")));
    claim.token = json_integer_value(json_object_get(json, "token"));
    json_decref(json);
    pthread_mutex_lock(&self->lock);
    bool again = strcmp(queue->last.job_id, claim.job_id) == 0 && queue->last.token == claim.token;
    if (!again && queue->count < QUEUE)
        queue->claims[(queue->head + queue->count++) % QUEUE] = claim;
    queue->last = claim;
    pthread_cond_broadcast(&self->changed);
    pthread_mutex_unlock(&self->lock);
}

static void on_offer(void *ctx, const struct cyx_bus_message *message)
{
    struct worker *self = ctx;
    push(self, &self->offers, message);
}

static void on_cancel(void *ctx, const struct cyx_bus_message *message)
{
    struct worker *self = ctx;
    push(self, &self->cancels, message);
}

static void on_challenge(void *ctx, const struct cyx_bus_message *message)
{
    struct worker *self = ctx;
    json_t *challenge = json_loadb(message->data, message->length, 0, NULL);
    self->options.on_challenge(self->bus, self->id, challenge);
    json_decref(challenge);
}

/* Takes the next claim; false when the worker ended or the time is over. */
static bool pop(struct worker *self, struct queue *queue, int64_t wait_ms, struct claim *ret_claim)
{
    const struct timespec until = after(wait_ms);
    pthread_mutex_lock(&self->lock);
    while (queue->count == 0 && !self->ended &&
           pthread_cond_timedwait(&self->changed, &self->lock, &until) != ETIMEDOUT)
        continue;
    bool found = queue->count > 0 && !self->ended;
    if (found) {
        *ret_claim = queue->claims[queue->head];
        queue->head = (queue->head + 1) % QUEUE;
        queue->count--;
    }
    pthread_mutex_unlock(&self->lock);
    return found;
}

static void beat_once(struct worker *self)
{
    char subject[CYX_SUBJECT_BYTES];
    json_t *jobs = json_array();
    pthread_mutex_lock(&self->lock);
    if (self->held.token)
        json_array_append_new(jobs, json_pack("{s:s, s:I}", "job_id", self->held.job_id, "token",
                                              (json_int_t)self->held.token));
    json_t *body = json_pack("{s:s, s:i, s:o, s:f, s:I, s:f}", "boot_id", self->boot_id, "seq", 1,
                             "jobs", jobs, "cpu_percent", 12.5, "memory_used_bytes",
                             (json_int_t)1000, "images_per_second", 99.0);
    pthread_mutex_unlock(&self->lock);
    char *text = json_dumps(body, JSON_COMPACT);
    cyx_subject_node(subject, self->id, CYX_NODE_HEARTBEAT);
    cyx_bus_publish(self->bus, subject, NULL, text, strlen(text), NULL);
    free(text);
    json_decref(body);
}

static void *beat_main(void *ctx)
{
    struct worker *self = ctx;
    pthread_mutex_lock(&self->lock);
    while (!self->ended) {
        if (self->beating) {
            pthread_mutex_unlock(&self->lock);
            beat_once(self);
            pthread_mutex_lock(&self->lock);
        }
        const struct timespec until = after(self->options.heartbeat_ms);
        while (!self->ended &&
               pthread_cond_timedwait(&self->changed, &self->lock, &until) != ETIMEDOUT)
            continue;
    }
    pthread_mutex_unlock(&self->lock);
    return NULL;
}

json_t *claim_json(const struct worker *self, const struct claim *claim)
{
    return json_pack("{s:s, s:s, s:s, s:I}", "node_id", self->id, "boot_id", self->boot_id,
                     "job_id", claim->job_id, "token", (json_int_t)claim->token);
}

json_t *finish_json(const struct worker *self, const struct claim *claim, const char *outcome,
                    const char *error_status)
{
    json_t *body = claim_json(self, claim);
    json_object_set_new(body, "outcome", json_string(outcome));
    if (strcmp(outcome, "completed") == 0) {
        json_object_set_new(body, "result",
                            json_pack("{s:f, s:f, s:f, s:i, s:i, s:f, s:f, s:s, s:s}",
                                      "test_accuracy", 0.9125, "test_loss", 0.25, "train_loss", 0.2,
                                      "epochs", 3, "steps", 1407, "images_per_second", 5000.0,
                                      "seconds", 12.0, "backend", "cpu", "device", "test"));
        json_object_set_new(
            body, "model",
            json_pack("{s:s, s:i}", "sha256",
                      "0f5a0ad5f9c0b7d1c1f7e1f94c0a3a3f30c1e0f5d1b2a3948576a1b2c3d4e5f6", "bytes",
                      1234));
    }
    if (error_status)
        json_object_set_new(body, "error",
                            json_pack("{s:s, s:s, s:s}", "status", error_status, "pointer", "",
                                      "message", "as the test wants it"));
    return body;
}

/* Accept, one progress, finish, each tried again while the scheduler's replica is away. */
static bool insist(struct worker *self, const char *subject, json_t *body)
{
    enum cyx_status status = CYX_ERR_TIMEOUT;
    for (int i = 0; i < 200 && (status == CYX_ERR_TIMEOUT || status == CYX_ERR_UNAVAILABLE); i++) {
        char *text = json_dumps(body, JSON_COMPACT), to[CYX_SUBJECT_BYTES];
        own_subject(subject, body, to);
        status = cyx_bus_request(self->bus, to, NULL, text, strlen(text), 2000, NULL, NULL);
        free(text);
    }
    json_decref(body);
    return status == CYX_OK;
}

static bool has_ended(struct worker *self)
{
    pthread_mutex_lock(&self->lock);
    bool ended = self->ended;
    pthread_mutex_unlock(&self->lock);
    return ended;
}

static void *work_main(void *ctx)
{
    struct worker *self = ctx;
    struct claim claim;
    while (!has_ended(self)) {
        if (!pop(self, &self->offers, 1000, &claim))
            continue;
        worker_holds(self, &claim);
        if (insist(self, CYX_SVC_SCHEDULER_ACCEPT, claim_json(self, &claim)) &&
            insist(self, CYX_SVC_SCHEDULER_PROGRESS, claim_json(self, &claim)) &&
            insist(self, CYX_SVC_SCHEDULER_FINISH, finish_json(self, &claim, "completed", NULL))) {
            pthread_mutex_lock(&self->lock);
            self->finished++;
            pthread_mutex_unlock(&self->lock);
        }
        worker_holds(self, &(struct claim){.token = 0});
    }
    return NULL;
}

json_t *worker_enrolment(const struct worker *self)
{
    int64_t memory = self->options.memory_bytes ? self->options.memory_bytes : INT64_C(8) << 30;
    json_t *devices = json_pack("[{s:i, s:s, s:s, s:I, s:b, s:i}]", "index", 0, "backend", "cpu",
                                "name", "test processor", "memory_bytes", (json_int_t)memory,
                                "is_software", 0, "threads", 4);
    if (self->options.gpu_memory_bytes)
        json_array_append_new(devices, json_pack("{s:i, s:s, s:s, s:I, s:b}", "index", 1, "backend",
                                                 "vulkan", "name", "test graphics", "memory_bytes",
                                                 (json_int_t)self->options.gpu_memory_bytes,
                                                 "is_software", 0));
    json_t *body = json_pack(
        "{s:s, s:s, s:s, s:s, s:o, s:I, s:i, s:s, s:s*}", "node_id", self->id, "name",
        self->options.name, "boot_id", self->boot_id, "version", "0.1.0", "devices", devices,
        "host_memory_bytes", (json_int_t)memory, "cpus", 4, "price_per_hour",
        self->options.price ? self->options.price : "1 CYX", "region", self->options.region);
    if (self->options.label)
        json_object_set_new(body, "labels", json_pack("[s]", self->options.label));
    return body;
}

static void enrol(struct worker *self)
{
    json_decref(ask(self->bus, CYX_SVC_REGISTRY_ENROL, worker_enrolment(self), CYX_OK));
}

struct worker *worker_create(const struct worker_options *options)
{
    struct worker *self = calloc(1, sizeof(*self));
    struct cyx_error err = {0};
    char subject[CYX_SUBJECT_BYTES];
    self->options = *options;
    cyx_id_new(self->id);
    cyx_id_new(self->boot_id);
    init_waiting(&self->lock, &self->changed);
    self->bus = fleet_bus(options->name);
    cyx_subject_node(subject, self->id, CYX_NODE_OFFER);
    assert_int_equal(cyx_bus_subscribe(self->bus, subject, NULL, on_offer, self, &err), CYX_OK);
    cyx_subject_node(subject, self->id, CYX_NODE_CANCEL);
    assert_int_equal(cyx_bus_subscribe(self->bus, subject, NULL, on_cancel, self, &err), CYX_OK);
    cyx_subject_node(subject, self->id, CYX_NODE_CHALLENGE);
    if (options->on_challenge)
        assert_int_equal(cyx_bus_subscribe(self->bus, subject, NULL, on_challenge, self, &err),
                         CYX_OK);
    enrol(self);
    self->beating = true;
    pthread_create(&self->beater, NULL, beat_main, self);
    if (options->works_by_itself)
        pthread_create(&self->hand, NULL, work_main, self);
    return self;
}

void worker_destroy(struct worker *self)
{
    pthread_mutex_lock(&self->lock);
    self->ended = true;
    pthread_cond_broadcast(&self->changed);
    pthread_mutex_unlock(&self->lock);
    pthread_join(self->beater, NULL);
    if (self->options.works_by_itself)
        pthread_join(self->hand, NULL);
    cyx_bus_destroy(self->bus);
    pthread_cond_destroy(&self->changed);
    pthread_mutex_destroy(&self->lock);
    free(self);
}

const char *worker_id(const struct worker *self)
{
    return self->id;
}

void worker_restart(struct worker *self)
{
    pthread_mutex_lock(&self->lock);
    cyx_id_new(self->boot_id);
    self->held.token = 0;
    pthread_mutex_unlock(&self->lock);
    enrol(self);
}

void worker_beat(struct worker *self, bool on)
{
    pthread_mutex_lock(&self->lock);
    self->beating = on;
    pthread_mutex_unlock(&self->lock);
}

void worker_holds(struct worker *self, const struct claim *claim)
{
    pthread_mutex_lock(&self->lock);
    self->held = *claim;
    pthread_mutex_unlock(&self->lock);
}

static struct claim wait_claim(struct worker *self, struct queue *queue, const char *what,
                               int64_t wait_ms)
{
    struct claim claim = {.token = 0};
    if (!pop(self, queue, wait_ms, &claim))
        fail_msg("no %s for %s within %lld ms", what, self->options.name, (long long)wait_ms);
    return claim;
}

struct claim worker_wait_offer(struct worker *self, int64_t wait_ms)
{
    return wait_claim(self, &self->offers, "offer", wait_ms);
}

struct claim worker_wait_cancel(struct worker *self, int64_t wait_ms)
{
    return wait_claim(self, &self->cancels, "cancel", wait_ms);
}

int worker_finished(struct worker *self)
{
    pthread_mutex_lock(&self->lock);
    int finished = self->finished;
    pthread_mutex_unlock(&self->lock);
    return finished;
}
