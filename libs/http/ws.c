#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/banned.h"
#include "http/ws_private.h"

enum {
    DEFAULT_MESSAGE_BYTES = 64 * 1024,
    DEFAULT_QUEUE_BYTES = 256 * 1024,
    DEFAULT_PING_MS = 20000,
    MESSAGE_OVERHEAD = sizeof(struct cyx_ws_message) + 16,
    ACCEPT_BYTES = 29,
};

struct cyx_ws *cyx_ws_ref(struct cyx_ws *self)
{
    atomic_fetch_add(&self->refs, 1);
    return self;
}

void cyx_ws_unref(struct cyx_ws *self)
{
    if (!self || atomic_fetch_sub(&self->refs, 1) != 1)
        return;
    for (struct cyx_ws_message *message; (message = cyx_ws_take(self));)
        free(message);
    cyx_buf_finish(&self->extra);
    cyx_buf_finish(&self->out);
    cyx_buf_finish(&self->scratch);
    pthread_mutex_destroy(&self->lock);
    free(self);
}

const char *cyx_ws_request_id(const struct cyx_ws *self)
{
    return self->request_id;
}

/* ---- the queue
 * ------------------------------------------------------------------------------------ */

struct cyx_ws_message *cyx_ws_take(struct cyx_ws *self)
{
    pthread_mutex_lock(&self->lock);
    struct cyx_ws_message *message = self->first;
    if (message) {
        self->first = message->next;
        if (!self->first)
            self->last = NULL;
        self->queued_bytes -= message->length + MESSAGE_OVERHEAD;
    }
    pthread_mutex_unlock(&self->lock);
    return message;
}

/* Drops the oldest droppable message; false when there is none. With the lock held. */
static bool drop_oldest(struct cyx_ws *self)
{
    struct cyx_ws_message **at = &self->first, *before = NULL;
    while (*at && !(*at)->droppable) {
        before = *at;
        at = &(*at)->next;
    }
    struct cyx_ws_message *message = *at;
    if (!message)
        return false;
    *at = message->next;
    if (self->last == message)
        self->last = before;
    self->queued_bytes -= message->length + MESSAGE_OVERHEAD;
    self->dropped++;
    free(message);
    return true;
}

static enum cyx_status queue_message(struct cyx_ws *self, struct cyx_ws_message *message)
{
    size_t cost = message->length + MESSAGE_OVERHEAD;
    if (self->shut)
        return CYX_ERR_CANCELLED;
    while (self->queued_bytes + cost > self->max_queued_bytes) {
        if (cost > self->max_queued_bytes || !drop_oldest(self)) {
            self->dropped += message->droppable;
            return CYX_ERR_TOO_LARGE;
        }
    }
    if (self->last)
        self->last->next = message;
    else
        self->first = message;
    self->last = message;
    self->queued_bytes += cost;
    return CYX_OK;
}

/* With the lock held: whether the loop must be told. */
static bool mark_waking(struct cyx_ws *self)
{
    bool tell = !self->waking;
    self->waking = true;
    return tell;
}

enum cyx_status cyx_ws_send(struct cyx_ws *self, const void *bytes, size_t length, unsigned flags)
{
    if (length > self->max_queued_bytes)
        return CYX_ERR_TOO_LARGE;
    struct cyx_ws_message *message = malloc(sizeof(*message) + length);
    if (!message)
        return CYX_ERR_NO_MEMORY;
    *message = (struct cyx_ws_message){.length = length,
                                       .binary = (flags & CYX_WS_BINARY) != 0,
                                       .droppable = (flags & CYX_WS_DROPPABLE) != 0};
    if (length)
        memcpy(message->bytes, bytes, length);
    pthread_mutex_lock(&self->lock);
    enum cyx_status status = queue_message(self, message);
    bool tell = status == CYX_OK && mark_waking(self);
    pthread_mutex_unlock(&self->lock);
    if (status != CYX_OK)
        free(message);
    if (tell)
        cyx_ws_loop_wake(self->loop, self);
    return status;
}

void cyx_ws_close(struct cyx_ws *self, unsigned code, const char *reason)
{
    pthread_mutex_lock(&self->lock);
    bool tell = false;
    if (!self->shut) {
        self->shut = self->wants_close = true;
        self->code = code;
        snprintf(self->reason, sizeof(self->reason), "%s", reason ? reason : "");
        tell = mark_waking(self);
    }
    pthread_mutex_unlock(&self->lock);
    if (tell)
        cyx_ws_loop_wake(self->loop, self);
}

void cyx_ws_queue(struct cyx_ws *self, size_t *ret_queued_bytes, uint64_t *ret_dropped)
{
    pthread_mutex_lock(&self->lock);
    *ret_queued_bytes = self->queued_bytes;
    *ret_dropped = self->dropped;
    pthread_mutex_unlock(&self->lock);
}

/* ---- the handshake (RFC 6455, 4.2)
 * ------------------------------------------------------------------ */

static bool has_token(const char *list, const char *token)
{
    size_t length = strlen(token);
    for (const char *at = list; at && *at;) {
        at += strspn(at, " \t,");
        size_t size = strcspn(at, " \t,");
        if (size == length && strncasecmp(at, token, size) == 0)
            return true;
        at += size;
    }
    return false;
}

bool cyx_ws_same_origin(const struct cyx_http_request *request)
{
    const char *origin = cyx_http_header(request, "Origin");
    const char *host = cyx_http_header(request, "Host");
    if (!origin)
        return true; /* no browser: there is no session of somebody else to ride on */
    const char *name = strstr(origin, "://");
    return host && name && strcasecmp(name + 3, host) == 0;
}

static bool valid_key(const char *key)
{
    unsigned char raw[32];
    return key && strlen(key) == 24 && key[23] == '=' && key[22] == '=' &&
           EVP_DecodeBlock(raw, (const unsigned char *)key, 24) == 18;
}

static bool accept_text(const char *key, char ret_text[ACCEPT_BYTES])
{
    char joined[24 + 36 + 1];
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    snprintf(joined, sizeof(joined), "%s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key);
    if (EVP_Digest(joined, strlen(joined), digest, &length, EVP_sha1(), NULL) != 1 || length != 20)
        return false;
    EVP_EncodeBlock((unsigned char *)ret_text, digest, 20);
    return true;
}

static struct cyx_ws *make_ws(struct cyx_exchange *exchange, void *user)
{
    const struct cyx_ws_handlers *handlers = exchange->match.route->websocket;
    struct cyx_ws *self = calloc(1, sizeof(*self));
    if (!self)
        return NULL;
    atomic_init(&self->refs, 1);
    pthread_mutex_init(&self->lock, NULL);
    self->fd = -1;
    self->loop = exchange->server->ws_loop;
    self->handlers = handlers;
    self->user = user;
    self->max_message_bytes =
        handlers->max_message_bytes ? handlers->max_message_bytes : DEFAULT_MESSAGE_BYTES;
    self->max_queued_bytes =
        handlers->max_queued_bytes ? handlers->max_queued_bytes : DEFAULT_QUEUE_BYTES;
    self->ping_ns = (handlers->ping_interval_ms ? handlers->ping_interval_ms : DEFAULT_PING_MS) *
                    INT64_C(1000000);
    memcpy(self->request_id, exchange->request.request_id, sizeof(self->request_id));
    return self;
}

/* What is wrong with the handshake: an HTTP status, or 0. */
static int check_handshake(struct cyx_exchange *exchange, const char **ret_message)
{
    const struct cyx_http_request *request = &exchange->request;
    const char *version = cyx_http_header(request, "Sec-WebSocket-Version");
    if (!has_token(cyx_http_header(request, "Upgrade"), "websocket") ||
        !has_token(cyx_http_header(request, "Connection"), "upgrade")) {
        *ret_message = "this path speaks WebSocket: send Connection: Upgrade, Upgrade: websocket";
        return 426;
    }
    if (!version || strcmp(version, "13") != 0) {
        *ret_message = "the WebSocket version must be 13";
        return 426;
    }
    if (!valid_key(cyx_http_header(request, "Sec-WebSocket-Key")) || exchange->has_body) {
        *ret_message = "Sec-WebSocket-Key must be 16 bytes in base64, and no body may follow";
        return 400;
    }
    if (atomic_load(&exchange->server->draining)) {
        *ret_message = "the server is stopping";
        return 503;
    }
    return 0;
}

static enum cyx_status run_accept(struct cyx_exchange *exchange, void **ret_user)
{
    const struct cyx_ws_handlers *handlers = exchange->match.route->websocket;
    *ret_user = exchange->match.ctx;
    if (handlers->accept)
        return handlers->accept(exchange->match.ctx, &exchange->request, &exchange->response,
                                ret_user);
    if (cyx_ws_same_origin(&exchange->request))
        return CYX_OK;
    return cyx_error_set(&exchange->response.error, CYX_ERR_DENIED, NULL,
                         "a page of another origin may not open this WebSocket");
}

static void add_headers(struct cyx_exchange *exchange, const char *accept)
{
    struct cyx_http_response *response = &exchange->response;
    const char *protocol = exchange->match.route->websocket->protocol;
    cyx_response_reset(response);
    response->status = 101;
    cyx_http_response_header(response, "Upgrade", "websocket");
    cyx_http_response_header(response, "Sec-WebSocket-Accept", accept);
    if (protocol &&
        has_token(cyx_http_header(&exchange->request, "Sec-WebSocket-Protocol"), protocol))
        cyx_http_response_header(response, "Sec-WebSocket-Protocol", protocol);
}

void cyx_ws_handshake(struct cyx_exchange *exchange)
{
    struct cyx_http_response *response = &exchange->response;
    const char *message = NULL;
    int refused = check_handshake(exchange, &message);
    if (refused) {
        if (refused == 426) {
            cyx_http_response_header(response, "Upgrade", "websocket");
            cyx_http_response_header(response, "Sec-WebSocket-Version", "13");
        }
        cyx_exchange_refuse(exchange, refused,
                            refused == 503 ? CYX_ERR_UNAVAILABLE : CYX_ERR_INVALID, message);
        return;
    }
    void *user = NULL;
    enum cyx_status status = run_accept(exchange, &user);
    if (status != CYX_OK) {
        cyx_exchange_refuse(exchange, response->error_http, status,
                            response->error.message[0] ? response->error.message : NULL);
        return;
    }
    char accept[ACCEPT_BYTES];
    struct cyx_ws *made = make_ws(exchange, user);
    if (!made || !accept_text(cyx_http_header(&exchange->request, "Sec-WebSocket-Key"), accept)) {
        cyx_ws_unref(made);
        if (exchange->match.route->websocket->on_close)
            exchange->match.route->websocket->on_close(user, NULL, 1006, "");
        cyx_exchange_refuse(exchange, 0, CYX_ERR_NO_MEMORY, "no memory for a WebSocket");
        return;
    }
    add_headers(exchange, accept);
    exchange->ws = made;
}

void cyx_ws_abandon(struct cyx_ws *self)
{
    if (self->handlers->on_close)
        self->handlers->on_close(self->user, NULL, 1006, "");
    cyx_ws_unref(self);
}

/* MHD has sent the 101 and lets go of the socket. On its event thread. */
static void switched(void *cls, struct MHD_Connection *mhd, void *context, const char *extra,
                     size_t extra_length, MHD_socket socket,
                     struct MHD_UpgradeResponseHandle *handle)
{
    struct cyx_ws *self = cls;
    struct cyx_exchange *exchange = context;
    struct cyx_http_server *server = exchange->server;
    (void)mhd;
    self->fd = socket;
    self->handle = handle;
    cyx_buf_append(&self->extra, extra, extra_length);
    exchange->ws = NULL;
    exchange->conn->exchange = NULL;
    cyx_exchange_destroy(exchange);
    cyx_ws_loop_adopt(self->loop, self);
    cyx_in_flight_done(server);
}

struct MHD_Response *cyx_ws_response(struct cyx_ws *self, struct cyx_http_response *response)
{
    struct MHD_Response *made = MHD_create_response_for_upgrade(switched, self);
    bool added = made != NULL;
    for (size_t i = 0; added && i < response->header_count; i++)
        added = MHD_add_response_header(made, response->headers[i].name,
                                        response->headers[i].value) == MHD_YES;
    if (!added && made) {
        MHD_destroy_response(made);
        made = NULL;
    }
    return made;
}
