#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"
#include "http/private.h"

void cyx_exchange_destroy(struct cyx_exchange *self)
{
    if (!self)
        return;
    if (self->ready)
        MHD_destroy_response(self->ready);
    cyx_response_reset(&self->response);
    cyx_buf_finish(&self->input);
    cyx_arena_finish(&self->arena);
    free(self);
}

void cyx_exchange_refuse(struct cyx_exchange *self, int http, enum cyx_status status,
                         const char *message)
{
    struct cyx_http_response *response = &self->response;
    cyx_error_set(&response->error, status, response->error.pointer, "%s",
                  message ? message : cyx_status_name(status));
    response->error_http = http ? http : cyx_status_http(status);
    if (response->error_http == 503)
        cyx_http_response_header(response, "Retry-After", "1");
    struct cyx_error error = response->error;
    cyx_response_problem(response, response->error_http, &error, self->request.path,
                         self->request.request_id);
}

/* What the handler left behind becomes a response, whatever it did. */
static void settle(struct cyx_exchange *self, enum cyx_status status)
{
    struct cyx_http_response *response = &self->response;
    if (status == CYX_OK && response->status)
        return;
    if (status == CYX_OK)
        cyx_error_set(&response->error, CYX_ERR_INTERNAL, NULL, "the handler gave no answer");
    else if (!response->error.message[0] || response->error.status == CYX_OK)
        cyx_error_set(&response->error, status, response->error.pointer, "%s",
                      response->error.message[0] ? response->error.message
                                                 : cyx_status_name(status));
    cyx_exchange_refuse(self, response->error_http, response->error.status,
                        response->error.message);
}

void cyx_exchange_seal(struct cyx_exchange *self)
{
    struct cyx_http_server *server = self->server;
    struct cyx_http_response *response = &self->response;
    cyx_http_response_header(response, "X-Request-Id", self->request.request_id);
    if (server->options.after)
        server->options.after(server->options.hook_ctx, self->match.route, &self->request,
                              response);
    int class = response->status / 100;
    if (class >= 1 && class <= 5)
        atomic_fetch_add(&server->classes[class], 1);
    self->ready_status = response->status;
}

void cyx_exchange_finish_response(struct cyx_exchange *self, bool close_connection)
{
    bool draining = atomic_load(&self->server->draining);
    cyx_exchange_seal(self);
    if (self->ws)
        self->ready = cyx_ws_response(self->ws, &self->response);
    else
        self->ready = cyx_response_build(&self->response, close_connection || draining);
}

static enum cyx_status before(struct cyx_exchange *self)
{
    const struct cyx_http_options *options = &self->server->options;
    if (!options->before || (self->match.route->flags & CYX_ROUTE_NO_HOOK))
        return CYX_OK;
    return options->before(options->hook_ctx, self->match.route, &self->request, &self->response);
}

static void finish_sink(struct cyx_exchange *self, bool complete)
{
    const struct cyx_http_sink *sink = self->match.route->sink;
    if (self->sink_live && sink->finish)
        sink->finish(self->request.sink_state, complete);
    self->sink_live = false;
}

/* Hands the collected bytes to the sink; false when it refused them and the response tells so. */
static bool feed_sink(struct cyx_exchange *self)
{
    enum cyx_status status = CYX_OK;
    if (self->input.length)
        status = self->match.route->sink->chunk(self->request.sink_state, self->input.data,
                                                self->input.length, &self->response.error);
    cyx_buf_clear(&self->input);
    if (status == CYX_OK)
        return true;
    finish_sink(self, false);
    settle(self, status);
    self->refused = true;
    return false;
}

void cyx_exchange_begin(struct cyx_exchange *self)
{
    const struct cyx_http_sink *sink = self->match.route->sink;
    enum cyx_status status = before(self);
    if (status == CYX_OK) {
        status = sink->begin(self->match.ctx, &self->request, &self->response,
                             &self->request.sink_state);
        self->sink_live = status == CYX_OK;
    }
    if (status == CYX_OK)
        return;
    settle(self, status);
    self->refused = true;
}

void cyx_exchange_chunk(struct cyx_exchange *self)
{
    feed_sink(self);
}

void cyx_exchange_run(struct cyx_exchange *self)
{
    const struct cyx_http_route *route = self->match.route;
    enum cyx_status status = CYX_OK;
    if (route->sink) {
        if (feed_sink(self)) {
            status = route->handler(self->match.ctx, &self->request, &self->response);
            finish_sink(self, true);
            settle(self, status);
        }
    } else {
        status = before(self);
        if (status == CYX_OK && route->websocket) {
            cyx_ws_handshake(self);
        } else {
            if (status == CYX_OK)
                status = route->handler(self->match.ctx, &self->request, &self->response);
            settle(self, status);
        }
    }
    cyx_exchange_finish_response(self, false);
}

bool cyx_exchange_quick(struct cyx_exchange *self)
{
    const struct cyx_http_route *route = self->match.route;
    struct cyx_http_response *response = &self->response;
    if (!route->quick || self->has_body)
        return false;
    if (route->quick(self->match.ctx, &self->request, response) == CYX_OK && response->status) {
        cyx_exchange_finish_response(self, false);
        return true;
    }
    cyx_response_reset(response);
    response->error = (struct cyx_error){0};
    response->error_http = 0;
    return false;
}
