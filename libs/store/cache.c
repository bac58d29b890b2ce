#include "store/cache.h"

#include <errno.h>
#include <hiredis/hiredis.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/cond.h"

#include "base/banned.h"

enum { SIZE_MAX_CONNS = 64, KEY_MAX = 512, VALUE_MAX = 1024 * 1024, HOLD_OFF_MS = 1000 };

struct cyx_cache {
    char *socket_path; /* set for a unix socket, else host and port */
    char *host, *password, *prefix;
    int port;
    long database;
    bool disabled;
    int64_t timeout_ms;
    unsigned size;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t freed;
    redisContext **idle; /* a stack of `free` slots; NULL ones are not connected */
    unsigned free;
    bool open_circuit; /* the last call failed: only one call in HOLD_OFF_MS goes through */
    int64_t retry_ns;
};

/* "name=value" of a URL's query; only db is known. */
static enum cyx_status parse_query(struct cyx_cache *self, const char *query, struct cyx_error *err)
{
    char *end = NULL;
    if (strncmp(query, "db=", 3) == 0)
        self->database = strtol(query + 3, &end, 10);
    if (!end || *end || end == query + 3 || self->database < 0)
        return cyx_error_set(err, CYX_ERR_INVALID, NULL, "cache: \"?%s\" is not ?db=NUMBER", query);
    return CYX_OK;
}

static enum cyx_status parse_socket(struct cyx_cache *self, const char *rest, struct cyx_error *err)
{
    size_t length = strcspn(rest, "?");
    if (rest[0] != '/' || length > 107)
        return cyx_error_set(err, CYX_ERR_INVALID, NULL,
                             "cache: a unix socket needs an absolute path of at most 107 bytes");
    self->socket_path = strndup(rest, length);
    if (!self->socket_path)
        return CYX_ERR_NO_MEMORY;
    return rest[length] ? parse_query(self, rest + length + 1, err) : CYX_OK;
}

/* "[user:password@]host:port[/db]" */
static enum cyx_status parse_tcp(struct cyx_cache *self, const char *rest, struct cyx_error *err)
{
    const char *at = strrchr(rest, '@');
    if (at) {
        const char *colon = memchr(rest, ':', (size_t)(at - rest));
        const char *secret = colon ? colon + 1 : rest;
        self->password = strndup(secret, (size_t)(at - secret));
        rest = at + 1;
    }
    const char *slash = strchr(rest, '/');
    size_t length = slash ? (size_t)(slash - rest) : strlen(rest);
    const char *colon = memrchr(rest, ':', length);
    char *end = NULL;
    long port = colon ? strtol(colon + 1, &end, 10) : 6379;
    size_t host = colon ? (size_t)(colon - rest) : length;
    if (host == 0 || port < 1 || port > 65535 || (colon && end != rest + length))
        return cyx_error_set(err, CYX_ERR_INVALID, NULL,
                             "cache: expected redis://host:port with a port from 1 to 65535");
    self->port = (int)port;
    self->host = strndup(rest, host);
    if (slash && slash[1]) {
        self->database = strtol(slash + 1, &end, 10);
        if (*end || self->database < 0)
            return cyx_error_set(err, CYX_ERR_INVALID, NULL,
                                 "cache: behind the port only /NUMBER may stand");
    }
    return self->host ? CYX_OK : CYX_ERR_NO_MEMORY;
}

static enum cyx_status parse_url(struct cyx_cache *self, const char *url, struct cyx_error *err)
{
    if (!url || !*url) {
        self->disabled = true;
        return CYX_OK;
    }
    if (strncmp(url, "unix://", 7) == 0)
        return parse_socket(self, url + 7, err);
    if (strncmp(url, "redis://", 8) == 0)
        return parse_tcp(self, url + 8, err);
    return cyx_error_set(err, CYX_ERR_INVALID, NULL,
                         "cache: expected a URL redis://host:port or unix:///path");
}

enum cyx_status cyx_cache_open(const struct cyx_cache_options *options,
                               struct cyx_cache **ret_cache, struct cyx_error *err)
{
    struct cyx_cache *self = calloc(1, sizeof(*self));
    if (!self)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "cache: out of memory");
    self->size = options->size ? options->size : 4;
    if (self->size > SIZE_MAX_CONNS)
        self->size = SIZE_MAX_CONNS;
    self->free = self->size;
    self->timeout_ms = options->timeout_ms ? options->timeout_ms : 250;
    self->prefix = strdup(options->prefix ? options->prefix : "");
    self->idle = calloc(self->size, sizeof(void *));
    pthread_mutex_init(&self->lock, NULL);
    cyx_cond_init(&self->freed);
    enum cyx_status status = CYX_ERR_NO_MEMORY;
    if (self->prefix && self->idle)
        status = parse_url(self, options->url, err);
    if (status != CYX_OK) {
        cyx_cache_close(self);
        return status;
    }
    *ret_cache = self;
    return CYX_OK;
}

void cyx_cache_close(struct cyx_cache *self)
{
    if (!self)
        return;
    for (unsigned i = 0; self->idle && i < self->free; i++)
        if (self->idle[i])
            redisFree(self->idle[i]);
    pthread_cond_destroy(&self->freed);
    pthread_mutex_destroy(&self->lock);
    free(self->idle);
    free(self->socket_path);
    free(self->host);
    free(self->password);
    free(self->prefix);
    free(self);
}

bool cyx_cache_up(struct cyx_cache *self)
{
    pthread_mutex_lock(&self->lock);
    bool up = !self->disabled && !self->open_circuit;
    pthread_mutex_unlock(&self->lock);
    return up;
}

/* Takes a slot. false: the circuit is open, or none came free in time. */
static bool slot_take(struct cyx_cache *self, redisContext **ret_context)
{
    int64_t now = cyx_clock_monotonic_ns(), end_ns = now + self->timeout_ms * 1000000;
    const struct timespec end = {.tv_sec = end_ns / 1000000000, .tv_nsec = end_ns % 1000000000};
    bool taken = false;
    pthread_mutex_lock(&self->lock);
    if (!self->disabled && (!self->open_circuit || now >= self->retry_ns)) {
        if (self->open_circuit)
            self->retry_ns = now + HOLD_OFF_MS * INT64_C(1000000);
        int waited = 0;
        while (self->free == 0 && waited != ETIMEDOUT)
            waited = pthread_cond_timedwait(&self->freed, &self->lock, &end);
        taken = self->free > 0;
        if (taken)
            *ret_context = self->idle[--self->free];
    }
    pthread_mutex_unlock(&self->lock);
    return taken;
}

static void slot_give(struct cyx_cache *self, redisContext *context, bool worked)
{
    if (context && context->err) {
        redisFree(context);
        context = NULL;
    }
    pthread_mutex_lock(&self->lock);
    self->idle[self->free++] = context;
    self->open_circuit = !worked;
    if (!worked)
        self->retry_ns = cyx_clock_monotonic_ns() + HOLD_OFF_MS * INT64_C(1000000);
    pthread_cond_signal(&self->freed);
    pthread_mutex_unlock(&self->lock);
}

static bool said_ok(redisContext *context, redisReply *reply)
{
    bool ok = reply && reply->type != REDIS_REPLY_ERROR && !context->err;
    freeReplyObject(reply);
    return ok;
}

static redisContext *connect_now(const struct cyx_cache *self)
{
    const struct timeval timeout = {.tv_sec = self->timeout_ms / 1000,
                                    .tv_usec = self->timeout_ms % 1000 * 1000};
    redisContext *context = self->socket_path
                                ? redisConnectUnixWithTimeout(self->socket_path, timeout)
                                : redisConnectWithTimeout(self->host, self->port, timeout);
    bool ok = context && !context->err && redisSetTimeout(context, timeout) == REDIS_OK;
    if (ok && self->password)
        ok = said_ok(context, redisCommand(context, "AUTH %s", self->password));
    if (ok && self->database)
        ok = said_ok(context, redisCommand(context, "SELECT %d", (int)self->database));
    if (ok)
        return context;
    if (context)
        redisFree(context);
    return NULL;
}

/*
 * Sends one command and gives its reply, NULL when Redis did not answer. A connection that the
 * server had closed while it lay idle is replaced once.
 */
static redisReply *ask(struct cyx_cache *self, int count, const char **words, const size_t *lengths)
{
    redisContext *context = NULL;
    if (!slot_take(self, &context))
        return NULL;
    redisReply *reply = NULL;
    bool fresh = !context;
    if (context)
        reply = redisCommandArgv(context, count, words, lengths);
    if (!reply && (fresh || context->err == REDIS_ERR_EOF || context->err == REDIS_ERR_IO)) {
        bool timed_out = context && context->err == REDIS_ERR_IO && errno == EAGAIN;
        if (!timed_out) {
            if (context)
                redisFree(context);
            context = connect_now(self);
            if (context)
                reply = redisCommandArgv(context, count, words, lengths);
        }
    }
    slot_give(self, context, reply != NULL);
    return reply;
}

/* prefix + key, NULL when over the limit. The caller frees it. */
static char *full_key(const struct cyx_cache *self, const char *key)
{
    size_t length = strlen(key);
    char *text = NULL;
    if (length == 0 || length > KEY_MAX || asprintf(&text, "%s%s", self->prefix, key) < 0)
        return NULL;
    return text;
}

/* Runs `verb key …rest`; `rest` has `count` words. */
static enum cyx_status command(struct cyx_cache *self, const char *verb, const char *key,
                               const char *const *rest, const size_t *rest_lengths, int count,
                               redisReply **ret_reply)
{
    const char *words[8] = {verb};
    size_t lengths[8] = {strlen(verb)};
    char *full = full_key(self, key);
    if (!full)
        return CYX_ERR_INVALID;
    words[1] = full;
    lengths[1] = strlen(full);
    for (int i = 0; i < count; i++) {
        words[2 + i] = rest[i];
        lengths[2 + i] = rest_lengths ? rest_lengths[i] : strlen(rest[i]);
    }
    redisReply *reply = ask(self, 2 + count, words, lengths);
    free(full);
    if (!reply)
        return CYX_ERR_UNAVAILABLE;
    if (reply->type == REDIS_REPLY_ERROR) { /* read-only replica, still loading, out of memory */
        freeReplyObject(reply);
        return CYX_ERR_UNAVAILABLE;
    }
    *ret_reply = reply;
    return CYX_OK;
}

enum cyx_status cyx_cache_get(struct cyx_cache *self, const char *key, struct cyx_buf *ret_value)
{
    redisReply *reply = NULL;
    enum cyx_status status = command(self, "GET", key, NULL, NULL, 0, &reply);
    if (status != CYX_OK)
        return status;
    if (reply->type == REDIS_REPLY_STRING)
        cyx_buf_append(ret_value, reply->str, reply->len);
    else
        status = CYX_ERR_NOT_FOUND;
    freeReplyObject(reply);
    return ret_value->failed ? CYX_ERR_NO_MEMORY : status;
}

enum cyx_status cyx_cache_set(struct cyx_cache *self, const char *key, const void *value,
                              size_t length, int64_t ttl_ms)
{
    if (length > VALUE_MAX)
        return CYX_ERR_TOO_LARGE;
    if (ttl_ms < 1)
        return CYX_ERR_INVALID;
    char ttl[24];
    snprintf(ttl, sizeof(ttl), "%lld", (long long)ttl_ms);
    const char *const rest[] = {value, "PX", ttl};
    const size_t lengths[] = {length, 2, strlen(ttl)};
    redisReply *reply = NULL;
    enum cyx_status status = command(self, "SET", key, rest, lengths, 3, &reply);
    if (status == CYX_OK)
        freeReplyObject(reply);
    return status;
}

enum cyx_status cyx_cache_delete(struct cyx_cache *self, const char *key)
{
    redisReply *reply = NULL;
    enum cyx_status status = command(self, "DEL", key, NULL, NULL, 0, &reply);
    if (status == CYX_OK)
        freeReplyObject(reply);
    return status;
}

/* One script, so that a count never stands without its expiry. */
static const char count_script[] =
    "local c = redis.call('INCRBY', KEYS[1], ARGV[1])"
    " local t = redis.call('PTTL', KEYS[1])"
    " if t < 0 then redis.call('PEXPIRE', KEYS[1], ARGV[2]) t = tonumber(ARGV[2]) end"
    " return {c, t}";

enum cyx_status cyx_cache_count(struct cyx_cache *self, const char *key, int64_t by,
                                int64_t window_ms, int64_t *ret_count, int64_t *ret_remaining_ms)
{
    char add[24], window[24];
    char *full = window_ms < 1 ? NULL : full_key(self, key);
    if (!full)
        return CYX_ERR_INVALID;
    snprintf(add, sizeof(add), "%lld", (long long)by);
    snprintf(window, sizeof(window), "%lld", (long long)window_ms);
    const char *words[] = {"EVAL", count_script, "1", full, add, window};
    size_t lengths[6];
    for (int i = 0; i < 6; i++)
        lengths[i] = strlen(words[i]);
    redisReply *reply = ask(self, 6, words, lengths);
    free(full);
    enum cyx_status status = CYX_ERR_UNAVAILABLE;
    if (reply && reply->type == REDIS_REPLY_ARRAY && reply->elements == 2) {
        *ret_count = reply->element[0]->integer;
        if (ret_remaining_ms)
            *ret_remaining_ms = reply->element[1]->integer;
        status = CYX_OK;
    }
    freeReplyObject(reply);
    return status;
}
