/* Puts the gateway together and takes it apart: settings, store, artifacts, HTTP. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api.h"
#include "base/log.h"
#include "contract/subjects.h"
#include "http/forward.h"
#include "prune.h"
#include "readers.h"

#include "base/banned.h"

enum { WORKERS = 16, CONNECTIONS = 8192, DRAIN_DEFAULT_MS = 5000 };

static enum cyx_status no_dashboard(void *ctx, const struct cyx_http_request *request,
                                    struct cyx_http_response *response)
{
    static const char page[] =
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>CyxWiz</title>"
        "<h1>The dashboard is not built</h1>"
        "<p>Run <code>make web</code> and start the gateway again, or let CYXWIZ_WEB_DIR name the "
        "folder where it lies. The API is at <a "
        "href=\"/api/v1/openapi.json\">/api/v1/openapi.json</a>.</p></html>\n";
    (void)ctx;
    (void)request;
    return cyx_http_respond(response, 404, "text/html; charset=utf-8", page, sizeof(page) - 1);
}

static const struct cyx_http_route plain_routes[] = {
    {.method = "GET", .path = "/", .handler = no_dashboard, .flags = CYX_ROUTE_NO_HOOK},
};

static enum cyx_status mount_dashboard(struct app *app, struct cyx_error *err)
{
    char index[4096];
    int n = snprintf(index, sizeof(index), "%s/index.html", app->web_dir);
    if (n > 0 && (size_t)n < sizeof(index) && access(index, R_OK) == 0) {
        struct cyx_http_static mount = {
            .prefix = "/", .folder = app->web_dir, .fallback = "index.html", .except = "/api/"};
        return cyx_http_server_mount(app->http, &mount, err);
    }
    cyx_log(CYX_LOG_WARN, "the dashboard is not built", CYX_STR("folder", app->web_dir));
    return cyx_http_server_add_routes(app->http, plain_routes, 1, app, err);
}

static double count_feeds(void *ctx)
{
    size_t feeds = 0, subscriptions = 0;
    live_counts(((struct app *)ctx)->live, &feeds, &subscriptions);
    return (double)feeds;
}

static double count_subscriptions(void *ctx)
{
    size_t feeds = 0, subscriptions = 0;
    live_counts(((struct app *)ctx)->live, &feeds, &subscriptions);
    return (double)subscriptions;
}

static double count_websockets(void *ctx)
{
    struct cyx_http_stats stats;
    cyx_http_server_stats(((struct app *)ctx)->http, &stats);
    return stats.websockets;
}

static void register_metrics(struct app *app)
{
    struct cyx_metrics *metrics = cyx_svc_metrics(app->svc);
    app->requests =
        cyx_metrics_counter(metrics, "cyx_http_requests_total", "HTTP requests.", "method,status");
    app->seconds =
        cyx_metrics_histogram(metrics, "cyx_http_request_seconds",
                              "From the end of the headers to the answer.", "route", NULL, 0);
    cyx_metrics_gauge_function(metrics, "cyx_live_jobs", "Jobs that somebody watches.", count_feeds,
                               app);
    cyx_metrics_gauge_function(metrics, "cyx_live_subscriptions", "Watchers of jobs.",
                               count_subscriptions, app);
    cyx_metrics_gauge_function(metrics, "cyx_websockets", "Open WebSockets.", count_websockets,
                               app);
}

/* Written when it listens, so that others need not guess the port. */
static enum cyx_status tell_port(struct app *app, const char *host, struct cyx_error *err)
{
    unsigned port = cyx_http_server_port(app->http);
    const char *file = cyx_config_text(cyx_svc_config(app->svc), "CYXWIZ_HTTP_PORT_FILE", NULL);
    char text[16];
    int n = snprintf(text, sizeof(text), "%u\n", port);
    cyx_log(CYX_LOG_INFO, "listening", CYX_STR("host", host), CYX_INT("port", port),
            CYX_STR("url", app->public_url));
    return file ? cyx_file_write_atomic(file, text, (size_t)n, 0644, err) : CYX_OK;
}

static void drain_http(void *ctx, int64_t deadline_ms)
{
    struct app *app = ctx;
    int ms = deadline_ms < DRAIN_DEFAULT_MS ? (int)deadline_ms : DRAIN_DEFAULT_MS;
    cyx_http_server_stop(app->http, ms);
}

/* Certificates are renewed while we serve: who comes from now on is shown the new one. */
static void reload_tls(void *ctx)
{
    struct app *app = ctx;
    struct cyx_config config = {0};
    struct cyx_error err = {0};
    const char *certificate = cyx_config_text(&config, "CYXWIZ_TLS_CERTIFICATE", NULL);
    const char *key = cyx_config_text(&config, "CYXWIZ_TLS_KEY", NULL);
    enum cyx_status status = cyx_config_check(&config, &err);
    if (status == CYX_OK)
        status = cyx_http_server_renew_tls(app->http, certificate, key, &err);
    cyx_log(status == CYX_OK ? CYX_LOG_INFO : CYX_LOG_ERROR,
            status == CYX_OK ? "the TLS certificate was read anew"
                             : "the TLS certificate was not read anew; the old one serves on",
            CYX_STR("reason", status == CYX_OK ? NULL : err.message));
    cyx_config_finish(&config);
}

static enum cyx_status read_proxies(struct app *app, struct cyx_config *config,
                                    struct cyx_error *err)
{
    const char *header = cyx_config_choice(config, "CYXWIZ_FORWARDED_HEADER", "x-forwarded-for",
                                           "x-forwarded-for forwarded");
    enum cyx_status status =
        cyx_forward_create(cyx_config_text(config, "CYXWIZ_TRUSTED_PROXIES", NULL),
                           strcmp(header, "forwarded") == 0, &app->forward, err);
    if (status == CYX_ERR_INVALID)
        cyx_config_refuse(config, "CYXWIZ_TRUSTED_PROXIES", "%s", err->message);
    return status == CYX_ERR_INVALID ? CYX_OK : status;
}

static int read_ms(struct cyx_config *config, const char *name, int fallback)
{
    return (int)cyx_config_int(config, name, fallback, 100, 3600000);
}

static enum cyx_status open_http(struct app *app, const struct cyx_http_route *routes, size_t count,
                                 struct cyx_error *err)
{
    struct cyx_config *config = cyx_svc_config(app->svc);
    uint16_t port = 0;
    const char *host = cyx_config_address(config, "CYXWIZ_HTTP_ADDRESS", "127.0.0.1:8080", &port);
    const char *certificate = cyx_config_text(config, "CYXWIZ_TLS_CERTIFICATE", NULL);
    const char *key = cyx_config_text(config, "CYXWIZ_TLS_KEY", NULL);
    char *fallback = cyx_arena_printf(&config->arena, "%s://%s:%u", certificate ? "https" : "http",
                                      host, (unsigned)port);
    app->public_url = cyx_config_text(config, "CYXWIZ_PUBLIC_URL", fallback);
    app->web_dir = cyx_config_text(config, "CYXWIZ_WEB_DIR", "web/dist");
    app->upload_quota_bytes =
        cyx_config_int(config, "CYXWIZ_UPLOAD_QUOTA_BYTES", INT64_C(10) << 30, 0, INT64_MAX);
    app->sign_ins_a_minute = cyx_config_int(config, "CYXWIZ_SIGN_IN_LIMIT", 10, 1, 1000000);
    app->requests_a_minute =
        cyx_config_int(config, "CYXWIZ_RATE_LIMIT", 6000, 60, INT64_C(1000000000));
    app->cors_origins = cyx_config_text(config, "CYXWIZ_CORS_ORIGINS", "");
    if (!certificate != !key)
        cyx_config_refuse(config, certificate ? "CYXWIZ_TLS_CERTIFICATE" : "CYXWIZ_TLS_KEY",
                          "stands alone; set both CYXWIZ_TLS_CERTIFICATE and CYXWIZ_TLS_KEY");
    if (read_proxies(app, config, err) != CYX_OK)
        return err->status;
    struct cyx_http_options options = {
        .host = host,
        .port = port,
        .workers = WORKERS,
        .max_connections = CONNECTIONS,
        .header_deadline_ms = read_ms(config, "CYXWIZ_HTTP_HEADER_DEADLINE_MS", 10000),
        .request_deadline_ms = read_ms(config, "CYXWIZ_HTTP_REQUEST_DEADLINE_MS", 30000),
        .tls_certificate = certificate,
        .tls_key = key,
        .forward = app->forward,
        .before = api_before,
        .after = api_after,
        .hook_ctx = app,
    };
    enum cyx_status status;
    if ((status = cyx_config_check(config, err)) != CYX_OK ||
        (status = cyx_http_server_create(&options, &app->http, err)) != CYX_OK ||
        (status = cyx_http_server_add_routes(app->http, routes, count, app, err)) != CYX_OK ||
        (status = mount_dashboard(app, err)) != CYX_OK)
        return status;
    register_metrics(app);
    if ((status = cyx_http_server_start(app->http, err)) != CYX_OK ||
        (status = cyx_svc_on_drain(app->svc, drain_http, app, err)) != CYX_OK ||
        (certificate && (status = cyx_svc_on_reload(app->svc, reload_tls, app, err)) != CYX_OK))
        return status;
    return tell_port(app, host, err);
}

/* Who saw the event must not be shown what was before it. */
static void job_changed(void *ctx, const char *job_id)
{
    memo_forget(((struct app *)ctx)->memo, job_id);
}

enum cyx_status api_open(struct app *app, const struct cyx_http_route *routes, size_t count,
                         struct cyx_error *err)
{
    struct cyx_config *config = cyx_svc_config(app->svc);
    struct cyx_blob_options blobs = {
        .root = cyx_config_require(config, "CYXWIZ_BLOB_DIR",
                                   "set it to the folder where artifacts lie"),
        .max_object_bytes = API_ARTIFACT_LIMIT_BYTES};
    const char *data_dir = cyx_config_text(config, "CYXWIZ_DATA_DIR", NULL);
    const char *examples = cyx_config_text(config, "CYXWIZ_EXAMPLES_DIR", "docs/examples");
    int64_t audit_days = cyx_config_int(config, "CYXWIZ_AUDIT_DAYS", 365, 0, 36500);
    cyx_config_key(config, "CYXWIZ_GRANT_KEY", app->grant_key, sizeof(app->grant_key));
    sem_init(&app->hashing, 0, API_HASHING_AT_ONCE);
    pthread_mutex_init(&app->uploads_lock, NULL);
    struct cyx_bus_consumer ended = {.stream = CYX_STREAM_EVENTS,
                                     .durable = "gateway-records",
                                     .subject = CYX_EVT_JOB_ALL,
                                     .handler = api_records_on_job,
                                     .ctx = app,
                                     .ack_wait_ns = INT64_C(120000000000)};
    app->memo = memo_create();
    enum cyx_status status;
    if (!app->memo)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for the gateway");
    if ((status = cyx_config_check(config, err)) != CYX_OK ||
        (status = gateway_init(err)) != CYX_OK ||
        (status = store_create(app->db, app->cache, app->outbox, &app->store, err)) != CYX_OK ||
        (status = api_first_account(app, err)) != CYX_OK ||
        (audit_days > 0 &&
         (status = prune_create(app->store, audit_days, &app->prune, err)) != CYX_OK) ||
        (status = cyx_blob_store_create(&blobs, &app->blobs, err)) != CYX_OK ||
        (status = importer_create(app->blobs, data_dir, &app->importer, err)) != CYX_OK ||
        (status = api_load_examples(app, examples, err)) != CYX_OK ||
        (status = cyx_bus_ensure_stream(app->bus, &cyx_bus_stream_jobs, err)) != CYX_OK ||
        (status = cyx_bus_ensure_stream(app->bus, &cyx_bus_stream_events, err)) != CYX_OK ||
        (status = cyx_bus_consume(app->bus, &ended, err)) != CYX_OK ||
        (status = readers_create(app->store, &app->readers, err)) != CYX_OK ||
        (status = live_create(app->bus, job_changed, app, &app->live, err)) != CYX_OK)
        return status;
    return open_http(app, routes, count, err);
}

void api_close(struct app *app)
{
    readers_stop(app->readers);
    cyx_http_server_destroy(app->http);
    live_destroy(app->live);
    readers_destroy(app->readers);
    memo_destroy(app->memo);
    importer_destroy(app->importer);
    cyx_blob_store_destroy(app->blobs);
    prune_destroy(app->prune);
    store_destroy(app->store);
    cyx_forward_destroy(app->forward);
    free(app->examples);
}
