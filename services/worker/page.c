#include "page.h"

#include <civetweb.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "base/id.h"
#include "base/log.h"
#include "board.h"
#include "contract/message.h"
#include "desk.h"
#include "page_assets.h"
#include "page_guard.h"

#include "base/banned.h"

/* civetweb's threads have small stacks: what is large stands on the heap here. */
enum { BODY_LIMIT = 1024 };

struct page {
    struct page_settings settings;
    const struct agent_settings *node;
    struct agent *agent;
    struct desk *desk;
    struct mg_context *server;
    _Atomic uint16_t port;
    char token[PAGE_TOKEN_BYTES];
};

/* ---- answers ----------------------------------------------------------------------------------- */

static const char security[] =
    "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; img-src "
    "'self'; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'\r\n"
    "X-Content-Type-Options: nosniff\r\n"
    "X-Frame-Options: DENY\r\n"
    "Referrer-Policy: no-referrer\r\n"
    "Cross-Origin-Opener-Policy: same-origin\r\n"
    "Cross-Origin-Resource-Policy: same-origin\r\n"
    "Cache-Control: no-store\r\n"
    "Connection: close\r\n";

/* In one write. */
static int answer(struct mg_connection *connection, int status, const char *reason,
                  const char *type, const void *body, size_t length)
{
    CYX_CLEANUP_BUF struct cyx_buf whole = {0};
    bool head = strcmp(mg_get_request_info(connection)->request_method, "HEAD") == 0;
    cyx_buf_printf(&whole, "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n%s\r\n",
                   status, reason, type, length, security);
    if (!head)
        cyx_buf_append(&whole, body, length);
    if (!whole.failed)
        mg_write(connection, whole.data, whole.length);
    return status;
}

static const char *reason_of(int status)
{
    switch (status) {
    case 400:
        return "Bad Request";
    case 403:
        return "Forbidden";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 409:
        return "Conflict";
    case 411:
        return "Length Required";
    case 413:
        return "Content Too Large";
    case 421:
        return "Misdirected Request";
    case 503:
        return "Service Unavailable";
    case 504:
        return "Gateway Timeout";
    default:
        return "Error";
    }
}

/* RFC 9457, as the gateway's. */
static int refuse(struct mg_connection *connection, int http, enum cyx_status status,
                  const char *detail)
{
    CYX_CLEANUP_BUF struct cyx_buf body = {0};
    char type[64];
    snprintf(type, sizeof(type), "urn:cyxwiz:problem:%s", cyx_status_name(status));
    if (cyx_message_write(json_pack("{s:s, s:s, s:i, s:s}", "type", type, "title", reason_of(http),
                                    "status", http, "detail", detail),
                          &body, NULL) != CYX_OK)
        return http;
    return answer(connection, http, reason_of(http), "application/problem+json", body.data,
                  body.length);
}

static int answer_json(struct mg_connection *connection, json_t *json)
{
    CYX_CLEANUP_BUF struct cyx_buf body = {0};
    if (cyx_message_write(json, &body, NULL) != CYX_OK)
        return refuse(connection, 503, CYX_ERR_NO_MEMORY, "no memory for the answer: try again");
    return answer(connection, 200, "OK", "application/json", body.data, body.length);
}

/* ---- routes ------------------------------------------------------------------------------------ */

static int get_status(struct page *self, struct mg_connection *connection)
{
    const struct board_about about = {.settings = self->node,
                                      .connected = cyx_bus_connected(self->node->bus),
                                      .stopping = agent_is_draining(self->agent),
                                      .controls = self->settings.controls};
    desk_look(self->desk);
    return answer_json(connection, board_status(agent_board(self->agent), &about));
}

static int get_history(struct page *self, struct mg_connection *connection)
{
    return answer_json(connection, board_history(agent_board(self->agent)));
}

static int get_session(struct page *self, struct mg_connection *connection)
{
    return answer_json(connection, json_pack("{s:s}", "token", self->token));
}

/* {reason?}; nothing at all will do. */
static int read_reason(struct mg_connection *connection, char ret_reason[DESK_REASON_BYTES])
{
    char text[BODY_LIMIT];
    long long length = mg_get_request_info(connection)->content_length;
    *ret_reason = '\0';
    if (length < 0 || mg_get_header(connection, "Transfer-Encoding"))
        return 411;
    if (length > BODY_LIMIT)
        return 413;
    size_t got = 0;
    while (got < (size_t)length) {
        int n = mg_read(connection, text + got, (size_t)length - got);
        if (n <= 0)
            return 400;
        got += (size_t)n;
    }
    if (length == 0)
        return 0;
    CYX_CLEANUP_JSON json_t *body = json_loadb(text, got, JSON_REJECT_DUPLICATES, NULL);
    const char *reason = json_string_value(json_object_get(body, "reason"));
    if (!json_is_object(body) || (reason && strlen(reason) >= DESK_REASON_BYTES))
        return 400;
    snprintf(ret_reason, DESK_REASON_BYTES, "%s", reason ? reason : "");
    return 0;
}

static int order(struct page *self, struct mg_connection *connection, bool drain)
{
    char reason[DESK_REASON_BYTES];
    struct cyx_error err = {0};
    int wrong = read_reason(connection, reason);
    if (wrong)
        return refuse(connection, wrong, wrong == 413 ? CYX_ERR_TOO_LARGE : CYX_ERR_INVALID,
                      "expected {\"reason\": \"…\"} with at most 200 bytes, or nothing, and its "
                      "Content-Length");
    enum cyx_status status = desk_drain(self->desk, drain, reason, &err);
    return status == CYX_OK ? get_status(self, connection)
                            : refuse(connection, cyx_status_http(status), status, err.message);
}

static int post_drain(struct page *self, struct mg_connection *connection)
{
    return order(self, connection, true);
}

static int post_undrain(struct page *self, struct mg_connection *connection)
{
    return order(self, connection, false);
}

static const struct route {
    const char *method, *path;
    int (*handle)(struct page *self, struct mg_connection *connection);
} routes[] = {
    {"GET", "/api/status", get_status},     {"GET", "/api/history", get_history},
    {"GET", "/api/session", get_session},   {"POST", "/api/drain", post_drain},
    {"POST", "/api/undrain", post_undrain},
};

/* ---- requests ---------------------------------------------------------------------------------- */

/* The page's own files; they may come by a link from elsewhere, since nothing of the node is in them. */
static const struct page_asset *asset_of(const char *path)
{
    for (size_t i = 0; i < page_assets_count; i++)
        if (strcmp(page_assets[i].path, path) == 0)
            return &page_assets[i];
    return NULL;
}

static int serve_api(struct page *self, struct mg_connection *connection,
                     const struct page_header *headers, size_t count)
{
    const struct mg_request_info *request = mg_get_request_info(connection);
    bool reads = strcmp(request->request_method, "GET") == 0, known = false;
    if (page_is_cross_site(headers, count))
        return refuse(connection, 403, CYX_ERR_DENIED, "another site may not read this page");
    if (!reads && !self->settings.controls)
        return refuse(connection, 403, CYX_ERR_DENIED,
                      "this page shows alone: CYXWIZ_PAGE=on lets it drain the node");
    if (!reads && !page_may_order(headers, count, self->token))
        return refuse(connection, 403, CYX_ERR_DENIED,
                      "expected the page's own Origin and its X-Page-Token: load the page anew");
    for (size_t i = 0; i < sizeof(routes) / sizeof(*routes); i++) {
        if (strcmp(routes[i].path, request->local_uri) != 0)
            continue;
        known = true;
        if (strcmp(routes[i].method, request->request_method) == 0)
            return routes[i].handle(self, connection);
    }
    return known ? refuse(connection, 405, CYX_ERR_INVALID, "this method has no meaning here")
                 : refuse(connection, 404, CYX_ERR_NOT_FOUND, "there is nothing here");
}

/* Every request ends here, so that nothing of civetweb's own (files, CGI, WebSocket) is ever reached. */
static int take_request(struct mg_connection *connection)
{
    const struct mg_request_info *request = mg_get_request_info(connection);
    struct page *self = request->user_data;
    struct page_header headers[MG_MAX_HEADERS];
    size_t count = 0;
    for (int i = 0; i < request->num_headers && i < MG_MAX_HEADERS; i++)
        headers[count++] = (struct page_header){.name = request->http_headers[i].name,
                                                .value = request->http_headers[i].value};
    if (!page_host_is_ours(headers, count, self->port))
        return refuse(connection, 421, CYX_ERR_DENIED,
                      "this page answers to localhost, 127.0.0.1 and [::1] with its port alone");
    if (!request->local_uri)
        return refuse(connection, 400, CYX_ERR_INVALID, "expected a path");
    if (strncmp(request->local_uri, "/api/", strlen("/api/")) == 0)
        return serve_api(self, connection, headers, count);
    const struct page_asset *asset = asset_of(request->local_uri);
    if (!asset)
        return refuse(connection, 404, CYX_ERR_NOT_FOUND, "there is nothing here");
    if (strcmp(request->request_method, "GET") != 0 && strcmp(request->request_method, "HEAD") != 0)
        return refuse(connection, 405, CYX_ERR_INVALID, "this method has no meaning here");
    return answer(connection, 200, "OK", asset->type, asset->bytes, asset->length);
}

/* What civetweb refuses by itself: a request that is none, one that is too large, one that comes too slowly. */
static int take_error(struct mg_connection *connection, int status, const char *message)
{
    (void)message;
    static const char text[] = "the request was refused\n";
    CYX_CLEANUP_BUF struct cyx_buf whole = {0};
    cyx_buf_printf(&whole,
                   "HTTP/1.1 %d %s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: "
                   "%zu\r\n%s\r\n%s",
                   status, reason_of(status), sizeof(text) - 1, security, text);
    if (!whole.failed)
        mg_write(connection, whole.data, whole.length);
    return 0;
}

static int take_message(const struct mg_connection *connection, const char *message)
{
    (void)connection;
    cyx_log(CYX_LOG_DEBUG, "the page's server says", CYX_STR("message", message));
    return 1;
}

/* ---- life -------------------------------------------------------------------------------------- */

static bool listen_on(struct page *self, uint16_t port, struct cyx_error *err)
{
    static const struct mg_callbacks callbacks = {
        .begin_request = take_request, .http_error = take_error, .log_message = take_message};
    char address[64], why[256] = "";
    unsigned code = 0;
    snprintf(address, sizeof(address), "%s:%u", self->settings.host, port);
    /* No keep-alive: a browser's idle connection would hold one of the four threads. */
    const char *options[] = {"listening_ports",
                             address,
                             "num_threads",
                             "4",
                             "connection_queue",
                             "16",
                             "listen_backlog",
                             "16",
                             "request_timeout_ms",
                             "3000",
                             "max_request_size",
                             "8192",
                             "enable_keep_alive",
                             "no",
                             "enable_directory_listing",
                             "no",
                             "cgi_pattern",
                             "",
                             "ssi_pattern",
                             "",
                             NULL};
    struct mg_init_data start = {
        .callbacks = &callbacks, .user_data = self, .configuration_options = options};
    struct mg_error_data error = {.code = &code, .text = why, .text_buffer_size = sizeof(why)};
    struct mg_server_port bound = {0};
    self->port = port;
    self->server = mg_start2(&start, &error);
    if (!self->server)
        return cyx_error_set(err, CYX_ERR_CONFLICT, NULL, "%s: %s", address, why), false;
    if (mg_get_server_ports(self->server, 1, &bound) == 1)
        self->port = (uint16_t)bound.port;
    return true;
}

/* Where the port is another's, say another worker's, a free one will do. */
static bool listen_somewhere(struct page *self)
{
    struct cyx_error err = {0}, second = {0};
    uint16_t wanted = self->settings.port;
    if (listen_on(self, wanted, &err))
        return true;
    if (wanted && listen_on(self, 0, &second)) {
        cyx_log(CYX_LOG_WARN,
                "the local page's port is taken, so it has another: set CYXWIZ_PAGE_ADDRESS to a "
                "port of this worker's own",
                CYX_INT("wanted", wanted), CYX_INT("port", self->port),
                CYX_STR("error", err.message));
        return true;
    }
    cyx_log(CYX_LOG_WARN,
            "the local page cannot listen: set CYXWIZ_PAGE_ADDRESS to a free port of the loopback, "
            "or CYXWIZ_PAGE=off",
            CYX_STR("error", err.message));
    return false;
}

static void write_port(const struct page *self)
{
    char text[8];
    struct cyx_error err = {0};
    int length = snprintf(text, sizeof(text), "%u\n", self->port);
    if (self->settings.port_file &&
        cyx_file_write_atomic(self->settings.port_file, text, (size_t)length, 0644, &err) != CYX_OK)
        cyx_log(CYX_LOG_WARN, "CYXWIZ_PAGE_PORT_FILE: the local page's port is not written",
                CYX_STR("error", err.message));
}

struct page *page_start(const struct page_settings *page, const struct agent_settings *settings,
                        struct agent *agent)
{
    struct cyx_error err = {0};
    unsigned char random[PAGE_TOKEN_BYTES / 2];
    if (!page->on)
        return NULL;
    struct page *self = calloc(1, sizeof(*self));
    if (!self || desk_create(settings, agent, &self->desk, &err) != CYX_OK) {
        cyx_log(CYX_LOG_WARN, "the local page cannot start", CYX_STR("error", err.message));
        free(self);
        return NULL;
    }
    self->settings = *page;
    self->node = settings;
    self->agent = agent;
    cyx_random_bytes(random, sizeof(random));
    cyx_hex_encode(random, sizeof(random), self->token);
    mg_init_library(0);
    if (!listen_somewhere(self)) {
        page_stop(self);
        return NULL;
    }
    write_port(self);
    char url[64];
    snprintf(url, sizeof(url), "http://%s:%u/", self->settings.host, self->port);
    cyx_log(CYX_LOG_INFO, "the local page", CYX_STR("url", url),
            CYX_STR("controls", self->settings.controls ? "drain" : "none"));
    return self;
}

void page_stop(struct page *self)
{
    if (!self)
        return;
    desk_stop(self->desk);
    if (self->server)
        mg_stop(self->server);
    mg_exit_library();
    desk_destroy(self->desk);
    free(self);
}
