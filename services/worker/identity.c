#include "identity.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/id.h"
#include "base/log.h"
#include "contract/enrol.h"
#include "contract/message.h"
#include "http/client.h"
#include "identity/jwt.h"

#include "base/banned.h"

enum {
    PATH_BYTES = 4096,
    FILE_LIMIT = 16384,
    ATTEMPTS = 60,   /* of a gateway that is away, a second each */
    LOOK_MS = 60000, /* at most between two looks at the token's age */
    RETRY_MS = 5000, /* after a renewal that failed */
    SHORTEST_LOOK_MS = 200,
};

struct identity {
    char folder[PATH_BYTES - 64], creds_file[PATH_BYTES];
    char node_id[CYX_ID_BYTES], inbox[64];
    const char *gateway_url, *gateway_ca;
    struct cyx_nkey key;
    int64_t issued_s, expires_s;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool started, ended, rotate; /* under the lock */
    pthread_t thread;
};

/* ---- the folder ---- */

static void file_path(const struct identity *self, const char *name, char ret_path[PATH_BYTES])
{
    snprintf(ret_path, PATH_BYTES, "%s/%s", self->folder, name);
}

static enum cyx_status write_file(const struct identity *self, const char *name, const char *text,
                                  struct cyx_error *err)
{
    char path[PATH_BYTES];
    file_path(self, name, path);
    return cyx_file_write_atomic(path, text, strlen(text), 0600, err);
}

static enum cyx_status write_seed(const struct identity *self, const char *name,
                                  const struct cyx_nkey *key, struct cyx_error *err)
{
    char seed[CYX_NKEY_SEED_BYTES];
    cyx_nkey_seed_text(key, seed);
    enum cyx_status status = write_file(self, name, seed, err);
    explicit_bzero(seed, sizeof(seed));
    return status;
}

/* CYX_ERR_NOT_FOUND when there is none. */
static enum cyx_status read_seed(const struct identity *self, const char *name,
                                 struct cyx_nkey *ret_key, struct cyx_error *err)
{
    char path[PATH_BYTES];
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    file_path(self, name, path);
    if (access(path, F_OK) != 0)
        return CYX_ERR_NOT_FOUND;
    enum cyx_status status = cyx_buf_read_file(&text, path, FILE_LIMIT, err);
    if (status == CYX_OK)
        status = cyx_nkey_parse_seed(text.data, CYX_NKEY_USER, ret_key, err);
    if (text.data)
        explicit_bzero(text.data, text.length);
    if (status == CYX_ERR_INVALID)
        status =
            cyx_error_set(err, CYX_ERR_CORRUPT, NULL,
                          "%s holds no key: remove the folder and enrol with a new token", path);
    return status;
}

/* The id and the token's times of before; false when it never joined. */
static bool read_joined(struct identity *self)
{
    char path[PATH_BYTES];
    CYX_CLEANUP_BUF struct cyx_buf id = {0};
    CYX_CLEANUP_BUF struct cyx_buf creds = {0};
    file_path(self, "node.id", path);
    if (cyx_buf_read_file(&id, path, FILE_LIMIT, NULL) != CYX_OK || !id.data)
        return false;
    id.data[strcspn(id.data, " \r\n")] = '\0';
    if (!cyx_id_valid(id.data))
        return false;
    snprintf(self->node_id, sizeof(self->node_id), "%s", id.data);
    if (cyx_buf_read_file(&creds, self->creds_file, FILE_LIMIT, NULL) == CYX_OK && creds.data)
        (void)cyx_creds_times(creds.data, &self->issued_s, &self->expires_s, NULL);
    return true;
}

/* ---- the gateway ---- */

static enum cyx_status post(const struct identity *self, const char *path, json_t *body,
                            json_t **ret_reply, struct cyx_error *err)
{
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    CYX_CLEANUP_HTTP_RESULT struct cyx_http_result result = {0};
    struct cyx_http_client *http = NULL;
    const struct cyx_http_client_options options = {
        .base_url = self->gateway_url, .ca_file = self->gateway_ca, .user_agent = "cyxwiz-worker"};
    enum cyx_status status = cyx_message_write(body, &text, err);
    if (status == CYX_OK)
        status = cyx_http_client_create(&options, &http, err);
    const struct cyx_http_call call = {
        .method = "POST", .url = path, .body = text.data, .body_length = text.length};
    if (status == CYX_OK)
        status = cyx_http_client_call(http, &call, &result, err);
    if (status == CYX_OK)
        status = cyx_http_result_check(&result, err);
    if (status == CYX_OK)
        status = cyx_message_parse(result.body.data, result.body.length, ret_reply, err);
    cyx_http_client_destroy(http);
    return status;
}

/* Keeps {node_id, nats_token, …}: the id first, the credentials last. */
static enum cyx_status keep(struct identity *self, const struct cyx_nkey *key, const json_t *reply,
                            struct cyx_error *err)
{
    CYX_CLEANUP_BUF struct cyx_buf creds = {0};
    const char *node_id = NULL, *token = NULL;
    enum cyx_status status = cyx_message_id(reply, "node_id", &node_id, err);
    if (status == CYX_OK)
        status = cyx_message_text(reply, "nats_token", &token, err);
    if (status != CYX_OK)
        return status;
    cyx_creds_write(token, key, &creds);
    if (creds.failed)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for the credentials");
    status = cyx_creds_times(creds.data, &self->issued_s, &self->expires_s, err);
    if (status == CYX_OK)
        status = write_file(self, "node.id", node_id, err);
    if (status == CYX_OK)
        status = write_file(self, "node.creds", creds.data, err);
    explicit_bzero(creds.data, creds.length);
    if (status == CYX_OK)
        snprintf(self->node_id, sizeof(self->node_id), "%s", node_id);
    return status;
}

enum cyx_status identity_write_member(const struct identity *self, int slot, const char *token,
                                      char ret_path[4096], struct cyx_error *err)
{
    CYX_CLEANUP_BUF struct cyx_buf creds = {0};
    struct cyx_nkey key; /* out of the file: the one in memory is the thread's that renews it */
    char name[32];
    enum cyx_status status = read_seed(self, "node.seed", &key, err);
    if (status != CYX_OK)
        return status;
    cyx_creds_write(token, &key, &creds);
    cyx_nkey_wipe(&key);
    snprintf(name, sizeof(name), "member-%d.creds", slot);
    status = creds.failed ? cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for a token")
                          : write_file(self, name, creds.data, err);
    if (creds.data)
        explicit_bzero(creds.data, creds.length);
    if (status == CYX_OK)
        file_path(self, name, ret_path);
    return status;
}

static enum cyx_status put_signature(json_t *body, const char *member, const struct cyx_nkey *key,
                                     const char *text, struct cyx_error *err)
{
    uint8_t signature[CYX_NKEY_SIGNATURE_BYTES];
    CYX_CLEANUP_BUF struct cyx_buf encoded = {0};
    enum cyx_status status = cyx_nkey_sign(key, text, strlen(text), signature, err);
    cyx_base64url_write(signature, sizeof(signature), &encoded);
    if (status == CYX_OK)
        json_object_set_new(body, member, json_string(encoded.data));
    return status;
}

/* Asks for a token for `key`, or for `new_key` in its place (NULL: none), and keeps it. */
static enum cyx_status renew(struct identity *self, const struct cyx_nkey *key,
                             const struct cyx_nkey *new_key, bool *ret_rotate,
                             struct cyx_error *err)
{
    char text[CYX_RENEWAL_TEXT_BYTES];
    CYX_CLEANUP_JSON json_t *reply = NULL;
    int64_t at_ms = cyx_clock_unix_ms();
    snprintf(text, sizeof(text), CYX_RENEWAL_TEXT, self->node_id, (long long)at_ms, key->text,
             new_key ? new_key->text : "");
    json_t *body = json_pack("{s:s, s:s, s:I}", "node_id", self->node_id, "public_key", key->text,
                             "at", (json_int_t)at_ms);
    enum cyx_status status = put_signature(body, "signature", key, text, err);
    if (status == CYX_OK && new_key) {
        json_object_set_new(body, "new_key", json_string(new_key->text));
        status = put_signature(body, "new_signature", new_key, text, err);
    }
    if (status != CYX_OK) {
        json_decref(body);
        return status;
    }
    status = post(self, "/api/v1/nodes/renew", body, &reply, err);
    if (status == CYX_OK)
        status = keep(self, new_key ? new_key : key, reply, err);
    *ret_rotate = json_is_true(json_object_get(reply, "rotate"));
    return status;
}

/* Joins with the key of a file, which is made where there is none: one that is there may have joined, its answer lost. */
static enum cyx_status join(struct identity *self, const char *token, const char *seed_file,
                            struct cyx_error *err)
{
    CYX_CLEANUP_JSON json_t *reply = NULL;
    enum cyx_status status = read_seed(self, seed_file, &self->key, err);
    if (status == CYX_ERR_NOT_FOUND) {
        status = cyx_nkey_create(CYX_NKEY_USER, &self->key, err);
        if (status == CYX_OK)
            status = write_seed(self, seed_file, &self->key, err);
    }
    if (status == CYX_OK)
        status = post(self, "/api/v1/nodes/join",
                      json_pack("{s:s, s:s}", "token", token, "public_key", self->key.text), &reply,
                      err);
    return status == CYX_OK ? keep(self, &self->key, reply, err) : status;
}

/* ---- rotation ---- */

/* The new key's file takes the place of the old one's. */
static enum cyx_status settle_seed(const struct identity *self, struct cyx_error *err)
{
    char from[PATH_BYTES], to[PATH_BYTES];
    file_path(self, "node.seed.new", from);
    file_path(self, "node.seed", to);
    return rename(from, to) == 0 ? CYX_OK : cyx_error_errno(err, "cannot rename %s", from);
}

/* The new key lies in a file before the registry hears of it, so that no crash can lose the one that counts. */
static enum cyx_status rotate(struct identity *self, struct cyx_error *err)
{
    CYX_CLEANUP_NKEY struct cyx_nkey new_key = {0};
    bool again = false;
    enum cyx_status status = cyx_nkey_create(CYX_NKEY_USER, &new_key, err);
    if (status == CYX_OK)
        status = write_seed(self, "node.seed.new", &new_key, err);
    if (status == CYX_OK)
        status = renew(self, &self->key, &new_key, &again, err);
    if (status == CYX_OK)
        status = settle_seed(self, err);
    if (status != CYX_OK)
        return status;
    self->key = new_key;
    cyx_log(CYX_LOG_INFO, "this node has a new key", CYX_STR("public_key", self->key.text));
    return CYX_OK;
}

/* A rotation that was interrupted: whether the registry took the new key is found out by using it. */
static void finish_rotation(struct identity *self)
{
    CYX_CLEANUP_NKEY struct cyx_nkey new_key = {0};
    struct cyx_error err = {0};
    char path[PATH_BYTES];
    bool again = false;
    if (read_seed(self, "node.seed.new", &new_key, &err) != CYX_OK)
        return;
    file_path(self, "node.seed.new", path);
    enum cyx_status status = renew(self, &new_key, NULL, &again, &err);
    if (status == CYX_OK && settle_seed(self, &err) == CYX_OK)
        self->key = new_key;
    else if (status == CYX_ERR_DENIED)
        unlink(path);
}

/* ---- life ---- */

/* A node whose key is refused enrols anew, with a key that takes the old one's place when it is let in. */
static enum cyx_status join_again(struct identity *self, const char *enrol_token,
                                  struct cyx_error *err)
{
    struct cyx_error why = {0};
    enum cyx_status status = join(self, enrol_token, "node.seed.new", &why);
    if (status == CYX_OK)
        return settle_seed(self, err);
    if (status ==
        CYX_ERR_UNAUTHENTICATED) /* a token of before: what counts is why the key is refused */
        return CYX_ERR_DENIED;
    *err = why;
    return status;
}

/* Signed on, or the reason why not. */
static enum cyx_status sign_on(struct identity *self, const char *enrol_token,
                               struct cyx_error *err)
{
    bool again = false;
    if (!read_joined(self) || read_seed(self, "node.seed", &self->key, err) != CYX_OK) {
        if (enrol_token)
            return join(self, enrol_token, "node.seed", err);
        return cyx_error_set(err, CYX_ERR_UNAUTHENTICATED, NULL,
                             "this node has not joined: set CYXWIZ_ENROL_TOKEN to a token of "
                             "`cyxwiz node token`");
    }
    finish_rotation(self);
    enum cyx_status status = renew(self, &self->key, NULL, &again, err);
    self->rotate = again;
    return status == CYX_ERR_DENIED && enrol_token ? join_again(self, enrol_token, err) : status;
}

/* A gateway that is away is waited for, unless the token of before is still good. */
static enum cyx_status sign_on_patiently(struct identity *self, const char *enrol_token,
                                         struct cyx_error *err)
{
    for (int attempt = 1;; attempt++) {
        enum cyx_status status = sign_on(self, enrol_token, err);
        bool away = status == CYX_ERR_UNAVAILABLE || status == CYX_ERR_TIMEOUT;
        bool good = self->node_id[0] && self->expires_s > cyx_clock_unix_ms() / 1000;
        if (away && good)
            return CYX_OK;
        if (!away || attempt == ATTEMPTS)
            return status;
        nanosleep(&(struct timespec){.tv_sec = 1}, NULL);
    }
}

enum cyx_status identity_open(const struct identity_settings *settings,
                              struct identity **ret_identity, struct cyx_error *err)
{
    struct identity *self = calloc(1, sizeof(*self));
    if (!self)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for the identity");
    snprintf(self->folder, sizeof(self->folder), "%s", settings->folder);
    file_path(self, "node.creds", self->creds_file);
    self->gateway_url = settings->gateway_url;
    self->gateway_ca = settings->gateway_ca;
    pthread_mutex_init(&self->lock, NULL);
    pthread_cond_init(&self->changed, NULL);
    enum cyx_status status = CYX_OK;
    if (mkdir(self->folder, 0700) != 0 && errno != EEXIST)
        status = cyx_error_errno(err, "cannot make the folder %s", self->folder);
    if (status == CYX_OK)
        status = sign_on_patiently(self, settings->enrol_token, err);
    if (status != CYX_OK) {
        identity_close(self);
        return status;
    }
    snprintf(self->inbox, sizeof(self->inbox), "_INBOX_%s", self->node_id);
    *ret_identity = self;
    return CYX_OK;
}

/* When to look next: at half of the token's life, sooner when a renewal failed. */
static int64_t pause_ms(const struct identity *self, bool failed)
{
    int64_t half_ms = (self->issued_s + self->expires_s) * 500 - cyx_clock_unix_ms();
    int64_t most_ms = failed ? RETRY_MS : LOOK_MS;
    if (half_ms > most_ms)
        return most_ms;
    if (failed) /* a short life asks for haste, but not for a flood */
        return (self->expires_s - self->issued_s) * 1000 / 10 + SHORTEST_LOOK_MS;
    return half_ms > SHORTEST_LOOK_MS ? half_ms : SHORTEST_LOOK_MS;
}

static enum cyx_status look(struct identity *self, bool want_rotation, struct cyx_error *err)
{
    bool again = false;
    if (want_rotation)
        return rotate(self, err);
    if (cyx_clock_unix_ms() < (self->issued_s + self->expires_s) * 500)
        return CYX_OK;
    enum cyx_status status = renew(self, &self->key, NULL, &again, err);
    return status == CYX_OK && again ? rotate(self, err) : status;
}

static void *keep_fresh(void *ctx)
{
    struct identity *self = ctx;
    bool failed = false;
    pthread_mutex_lock(&self->lock);
    while (!self->ended) {
        bool want_rotation = self->rotate;
        self->rotate = false;
        pthread_mutex_unlock(&self->lock);
        struct cyx_error err = {0};
        bool fails = look(self, want_rotation, &err) != CYX_OK;
        if (fails && !failed)
            cyx_log(CYX_LOG_WARN, "the node's token is not renewed", CYX_STR("error", err.message));
        failed = fails;
        int64_t until_ns = cyx_clock_monotonic_ns() + pause_ms(self, failed) * 1000000;
        const struct timespec until = {until_ns / 1000000000, until_ns % 1000000000};
        pthread_mutex_lock(&self->lock);
        self->rotate |= fails && want_rotation;
        bool again = self->rotate;
        while (!self->ended && self->rotate == again &&
               pthread_cond_clockwait(&self->changed, &self->lock, CLOCK_MONOTONIC, &until) !=
                   ETIMEDOUT)
            continue;
    }
    pthread_mutex_unlock(&self->lock);
    return NULL;
}

enum cyx_status identity_start(struct identity *self, struct cyx_error *err)
{
    self->started = pthread_create(&self->thread, NULL, keep_fresh, self) == 0;
    return self->started ? CYX_OK
                         : cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no thread for the token");
}

void identity_on_rotate(void *ctx, const struct cyx_bus_message *message)
{
    (void)message;
    struct identity *self = ctx;
    pthread_mutex_lock(&self->lock);
    self->rotate = true;
    pthread_cond_signal(&self->changed);
    pthread_mutex_unlock(&self->lock);
}

void identity_close(struct identity *self)
{
    if (!self)
        return;
    pthread_mutex_lock(&self->lock);
    self->ended = true;
    pthread_cond_signal(&self->changed);
    pthread_mutex_unlock(&self->lock);
    if (self->started)
        pthread_join(self->thread, NULL);
    pthread_cond_destroy(&self->changed);
    pthread_mutex_destroy(&self->lock);
    cyx_nkey_wipe(&self->key);
    free(self);
}

const char *identity_node_id(const struct identity *self)
{
    return self->node_id;
}

const char *identity_creds_file(const struct identity *self)
{
    return self->creds_file;
}

const char *identity_inbox(const struct identity *self)
{
    return self->inbox;
}
