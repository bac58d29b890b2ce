#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/server.h"
#include "svc/svc_internal.h"

#include "base/banned.h"

struct cyx_svc_health {
    struct cyx_http_server *server;
};

static enum cyx_status get_health(void *ctx, const struct cyx_http_request *request,
                                  struct cyx_http_response *response)
{
    (void)ctx;
    (void)request;
    static const char alive[] = "{\"alive\":true}";
    return cyx_http_respond_json(response, 200, alive, sizeof(alive) - 1);
}

static enum cyx_status get_ready(void *ctx, const struct cyx_http_request *request,
                                 struct cyx_http_response *response)
{
    (void)request;
    struct cyx_buf json = {0};
    bool ready = cyx_svc_write_readiness(ctx, &json);
    return cyx_http_respond_buf(response, ready ? 200 : 503, "application/json", &json);
}

static enum cyx_status get_metrics(void *ctx, const struct cyx_http_request *request,
                                   struct cyx_http_response *response)
{
    (void)request;
    struct cyx_buf text = {0};
    cyx_metrics_write(cyx_svc_metrics(ctx), &text);
    return cyx_http_respond_buf(response, 200, "text/plain; version=0.0.4; charset=utf-8", &text);
}

static const struct cyx_http_route routes[] = {
    {.method = "GET", .path = "/healthz", .handler = get_health},
    {.method = "GET", .path = "/readyz", .handler = get_ready},
    {.method = "GET", .path = "/metrics", .handler = get_metrics},
};

static enum cyx_status write_port(struct cyx_svc *self, uint16_t port, struct cyx_error *err)
{
    const char *path = cyx_config_text(&self->config, "CYXWIZ_HEALTH_PORT_FILE", NULL);
    if (!path)
        return CYX_OK;
    char text[8];
    int length = snprintf(text, sizeof(text), "%u\n", port);
    struct cyx_error why = {0};
    enum cyx_status status = cyx_file_write_atomic(path, text, (size_t)length, 0644, &why);
    if (status != CYX_OK)
        return cyx_error_set(err, status, NULL, "CYXWIZ_HEALTH_PORT_FILE: %s", why.message);
    return CYX_OK;
}

enum cyx_status cyx_svc_health_start(struct cyx_svc *self, uint16_t *ret_port,
                                     struct cyx_error *err)
{
    uint16_t port = 0;
    const char *host =
        cyx_config_address(&self->config, "CYXWIZ_HEALTH_ADDRESS", "127.0.0.1:0", &port);
    enum cyx_status status = cyx_config_check(&self->config, err);
    if (status != CYX_OK)
        return status;
    struct cyx_svc_health *health = calloc(1, sizeof(*health));
    if (!health)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "out of memory");
    self->health = health;
    const struct cyx_http_options options = {
        .host = host, .port = port, .event_threads = 1, .workers = 2, .max_connections = 64};
    status = cyx_http_server_create(&options, &health->server, err);
    if (status == CYX_OK)
        status =
            cyx_http_server_add_routes(health->server, routes, CYX_COUNT_OF(routes), self, err);
    if (status == CYX_OK)
        status = cyx_http_server_start(health->server, err);
    if (status == CYX_OK) {
        *ret_port = cyx_http_server_port(health->server);
        status = write_port(self, *ret_port, err);
    }
    return status;
}

void cyx_svc_health_stop(struct cyx_svc *self)
{
    if (!self->health)
        return;
    cyx_http_server_destroy(self->health->server);
    free(self->health);
    self->health = NULL;
}
