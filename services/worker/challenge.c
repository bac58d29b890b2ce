/* One challenge from its message to its answer: docs/contracts/platform.md 2.1, decision 0018. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent_internal.h"
#include "base/clock.h"
#include "base/log.h"
#include "contract/message.h"

#include "base/banned.h"

enum {
    POLL_MS = 50,
    TIME_LIMIT_MS = 55000, /* below the registry's, so that it hears what happened */
    KILL_GRACE_MS = 10000,
    LINE_BYTES_LIMIT = 1 << 20,
    MEMORY_BYTES = 1 << 30, /* at least, of the child's limit */
};

struct proving {
    struct agent *agent;
    struct slot *slot;
    const struct api_challenge *challenge;
    struct sandbox_process process;
    struct cyx_buf pending; /* bytes of a line that is not whole yet */
    bool done;              /* the registry has heard an end of it */
};

static int64_t now_ms(void)
{
    return cyx_clock_monotonic_ns() / 1000000;
}

/* Whether the slot has something better to do. */
static bool is_wanted(struct proving *self)
{
    pthread_mutex_lock(&self->agent->lock);
    bool wanted = self->slot->has_offer || self->agent->ended;
    pthread_mutex_unlock(&self->agent->lock);
    return wanted || atomic_load(&self->agent->draining);
}

static void tell_end(struct proving *self, const char *step, const char *message)
{
    struct cyx_error err = {0};
    const struct agent_settings *settings = &self->agent->settings;
    self->done = true;
    if (api_prove(settings->bus, &settings->node, self->challenge, step, message, &err) != CYX_OK)
        cyx_log(CYX_LOG_WARN, "the end of a benchmark was not taken",
                CYX_STR("challenge_id", self->challenge->id), CYX_STR("error", err.message));
}

/* Tells what was measured; passes the seed on to the child at once, since the registry's clock runs. */
static enum cyx_status take_ready(struct proving *self, const json_t *event, struct cyx_error *err)
{
    const struct agent_settings *settings = &self->agent->settings;
    CYX_CLEANUP_JSON json_t *task = NULL;
    CYX_CLEANUP_BUF struct cyx_buf line = {0};
    enum cyx_status status = api_prove_ready(settings->bus, &settings->node, self->challenge,
                                             json_object_get(event, "told"), &task, err);
    if (status == CYX_OK)
        status = cyx_message_write(json_incref(task), &line, err);
    if (status != CYX_OK)
        return status;
    cyx_buf_append(&line, "\n", 1);
    if (write(self->process.input, line.data, line.length) != (ssize_t)line.length)
        return cyx_error_errno(err, "the prover does not listen");
    return CYX_OK;
}

static enum cyx_status take_answer(struct proving *self, const json_t *event, struct cyx_error *err)
{
    const struct agent_settings *settings = &self->agent->settings;
    bool proved = false;
    char message[320] = "";
    enum cyx_status status =
        api_prove_answer(settings->bus, &settings->node, self->challenge,
                         json_object_get(event, "outputs"), &proved, message, sizeof(message), err);
    self->done = true;
    if (status == CYX_OK)
        cyx_log(proved ? CYX_LOG_INFO : CYX_LOG_WARN,
                proved ? "a benchmark bears out what this node claims"
                       : "the registry does not take what this node claims yet",
                CYX_STR("backend", self->challenge->backend),
                CYX_INT("index", self->challenge->index), CYX_STR("why", message));
    return status;
}

static enum cyx_status take_line(struct proving *self, const char *line, size_t length,
                                 struct cyx_error *err)
{
    CYX_CLEANUP_JSON json_t *event = json_loadb(line, length, 0, NULL);
    const char *name = json_string_value(json_object_get(event, "event"));
    if (name && strcmp(name, "ready") == 0)
        return take_ready(self, event, err);
    if (name && strcmp(name, "answer") == 0)
        return take_answer(self, event, err);
    const char *message = json_string_value(json_object_get(event, "message"));
    return cyx_error_set(err, CYX_ERR_INTERNAL, NULL, "%.200s",
                         message ? message : "the prover said something that is no event");
}

static enum cyx_status take_lines(struct proving *self, struct cyx_error *err)
{
    enum cyx_status status = CYX_OK;
    char *from = self->pending.data, *end = from + self->pending.length;
    for (char *at;
         status == CYX_OK && from < end && (at = memchr(from, '\n', (size_t)(end - from)));
         from = at + 1)
        status = take_line(self, from, (size_t)(at - from), err);
    size_t rest = (size_t)(end - from);
    memmove(self->pending.data, from, rest);
    self->pending.length = rest;
    if (status == CYX_OK && rest > LINE_BYTES_LIMIT)
        status = cyx_error_set(err, CYX_ERR_INTERNAL, NULL, "the prover's line is too long");
    return status;
}

/* Until it has answered, its output ends, time is up, or work comes. */
static enum cyx_status follow(struct proving *self, struct cyx_error *err)
{
    char chunk[65536];
    int64_t until_ms = now_ms() + TIME_LIMIT_MS;
    while (!self->done) {
        struct pollfd ready = {.fd = self->process.output, .events = POLLIN};
        int n = poll(&ready, 1, POLL_MS);
        ssize_t got = n > 0 ? read(self->process.output, chunk, sizeof(chunk)) : -1;
        if (n > 0 && got == 0)
            return cyx_error_set(err, CYX_ERR_INTERNAL, NULL, "the benchmark ended early");
        if (got > 0)
            cyx_buf_append(&self->pending, chunk, (size_t)got);
        enum cyx_status status = got > 0 && self->pending.data ? take_lines(self, err) : CYX_OK;
        if (status != CYX_OK)
            return status;
        if (!self->done && is_wanted(self))
            return cyx_error_set(err, CYX_ERR_CANCELLED, NULL, "there is work");
        if (now_ms() > until_ms)
            return cyx_error_set(err, CYX_ERR_TIMEOUT, NULL,
                                 "the benchmark hung: it was killed after %d s",
                                 TIME_LIMIT_MS / 1000);
    }
    return CYX_OK;
}

static enum cyx_status spawn(struct proving *self, struct cyx_error *err)
{
    const struct agent_settings *settings = &self->agent->settings;
    char index[24], threads[16];
    int64_t memory_bytes = settings->limits.memory_bytes;
    if (memory_bytes &&
        memory_bytes < MEMORY_BYTES) /* a benchmark is no job: it needs what it needs */
        memory_bytes = MEMORY_BYTES;
    snprintf(index, sizeof(index), "%lld", (long long)self->challenge->index);
    snprintf(threads, sizeof(threads), "%d", settings->slot_threads);
    const char *const arguments[] = {sandbox_program(settings->sandbox),
                                     "--bench",
                                     self->challenge->backend,
                                     index,
                                     settings->cache_dir,
                                     threads,
                                     NULL};
    const char *const writable[] = {settings->cache_dir, NULL};
    const struct sandbox_plan plan = {
        .writable = writable,
        .home = settings->cache_dir,
        .gpu = strcmp(self->challenge->backend, "cpu") != 0,
        .limits = {.memory_bytes = memory_bytes, .disk_bytes = settings->limits.disk_bytes}};
    return sandbox_spawn(settings->sandbox, &plan, arguments, &self->process, err);
}

/* How the child ended, where it said nothing itself. */
static void describe_end(int wait_status, struct cyx_error *err)
{
    if (WIFSIGNALED(wait_status))
        cyx_error_set(err, CYX_ERR_INTERNAL, NULL, "the benchmark was ended by signal %d",
                      WTERMSIG(wait_status));
}

void run_challenge(struct slot *slot, const struct api_challenge *challenge)
{
    struct proving self = {.agent = slot->agent, .slot = slot, .challenge = challenge};
    struct cyx_error err = {0};
    enum cyx_status status = spawn(&self, &err);
    if (status == CYX_OK) {
        int wait_status = 0;
        status = follow(&self, &err);
        bool killed = status == CYX_ERR_CANCELLED || status == CYX_ERR_TIMEOUT;
        if (killed || self.done)
            sandbox_kill(&self.process);
        if (sandbox_wait(&self.process, KILL_GRACE_MS, &wait_status) == CYX_OK &&
            status == CYX_ERR_INTERNAL && !killed)
            describe_end(wait_status, &err);
    }
    if (status == CYX_ERR_CANCELLED)
        tell_end(&self, "busy", NULL);
    else if (status != CYX_OK && !self.done)
        tell_end(&self, "failed", err.message);
    if (status != CYX_OK && status != CYX_ERR_CANCELLED)
        cyx_log(CYX_LOG_WARN, "a benchmark failed", CYX_STR("backend", challenge->backend),
                CYX_INT("index", challenge->index), CYX_STR("error", err.message));
    cyx_buf_finish(&self.pending);
}
