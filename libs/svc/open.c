/* Opens what a service works with, from its settings. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/migrate.h"
#include "svc/svc_internal.h"

#include "base/banned.h"

/* ---- database ---- */

static enum cyx_status check_database(void *ctx, struct cyx_error *err)
{
    return cyx_db_ping(ctx, err);
}

static double database_busy(void *ctx)
{
    return cyx_db_busy(ctx);
}

static bool is_folder(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

/* Where the migrations lie when nobody says: in the source tree that the program was built in, or installed. */
static const char *default_migrations(struct cyx_config *config)
{
    char path[4096];
    ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 1);
    for (int up = 0; length > 0 && up < 5; up++) {
        path[length] = '\0';
        char *slash = strrchr(path, '/');
        if (!slash || slash == path)
            break;
        *slash = '\0';
        length = slash - path;
        const char *folder = cyx_arena_printf(&config->arena, "%s/migrations", path);
        if (folder && is_folder(folder))
            return folder;
    }
    return "/usr/share/cyxwiz/migrations";
}

enum cyx_status cyx_svc_open_database(struct cyx_svc *self, struct cyx_db **ret_db,
                                      struct cyx_error *err)
{
    struct cyx_config *config = &self->config;
    const char *dsn = cyx_config_require(
        config, "CYXWIZ_DATABASE_URL",
        "set it to a PostgreSQL connection string, such as host=/run/postgresql dbname=cyxwiz");
    int64_t size = cyx_config_int(config, "CYXWIZ_DATABASE_POOL", 8, 1, 256);
    const char *folder = cyx_config_text(config, "CYXWIZ_MIGRATIONS_DIR", NULL);
    enum cyx_status status = cyx_config_check(config, err);
    if (status != CYX_OK)
        return status;
    if (!folder)
        folder = default_migrations(config);
    char application[64];
    snprintf(application, sizeof(application), "cyxwiz-%s", self->name);
    const struct cyx_db_options options = {
        .dsn = dsn, .schema = self->name, .application = application, .size = (unsigned)size};
    status = cyx_db_open(&options, &self->db, err);
    if (status != CYX_OK)
        return status;
    const char *path = cyx_arena_printf(&config->arena, "%s/%s", folder, self->name);
    status = path ? cyx_migrate(self->db, path, err) : CYX_ERR_NO_MEMORY;
    if (status == CYX_OK)
        status = cyx_svc_add_check(self, "database", check_database, self->db, err);
    if (status != CYX_OK)
        return status;
    cyx_metrics_gauge_function(self->metrics, "cyx_database_connections_busy",
                               "Connections of the pool that are in use.", database_busy, self->db);
    *ret_db = self->db;
    return CYX_OK;
}

/* ---- cache ---- */

static double cache_up(void *ctx)
{
    return cyx_cache_up(ctx) ? 1 : 0;
}

enum cyx_status cyx_svc_open_cache(struct cyx_svc *self, struct cyx_cache **ret_cache,
                                   struct cyx_error *err)
{
    const char *url = cyx_config_text(&self->config, "CYXWIZ_REDIS_URL", NULL);
    enum cyx_status status = cyx_config_check(&self->config, err);
    if (status != CYX_OK)
        return status;
    char prefix[64];
    snprintf(prefix, sizeof(prefix), "%s:", self->name);
    const struct cyx_cache_options options = {.url = url, .prefix = prefix};
    struct cyx_error why = {0};
    status = cyx_cache_open(&options, &self->cache, &why);
    if (status != CYX_OK)
        return cyx_error_set(err, status, NULL, "CYXWIZ_REDIS_URL: %s", why.message);
    cyx_metrics_gauge_function(self->metrics, "cyx_cache_up",
                               "Whether the last call to Redis worked.", cache_up, self->cache);
    *ret_cache = self->cache;
    return CYX_OK;
}

/* ---- bus ---- */

static enum cyx_status check_bus(void *ctx, struct cyx_error *err)
{
    if (cyx_bus_connected(ctx))
        return CYX_OK;
    return cyx_error_set(err, CYX_ERR_UNAVAILABLE, NULL, "bus: the NATS server is away");
}

static double bus_up(void *ctx)
{
    return cyx_bus_connected(ctx) ? 1 : 0;
}

static void on_request(void *ctx, const char *subject, enum cyx_status status, double seconds)
{
    struct cyx_svc *self = ctx;
    cyx_metric_observe(self->bus_requests, seconds, subject, cyx_status_name(status));
}

static void on_lost(void *ctx)
{
    cyx_svc_quit(ctx, 1); /* whoever supervises starts us anew */
}

enum cyx_status cyx_svc_open_bus(struct cyx_svc *self, struct cyx_bus **ret_bus,
                                 struct cyx_error *err)
{
    struct cyx_config *config = &self->config;
    return cyx_svc_open_bus_as(self, cyx_config_text(config, "CYXWIZ_NATS_CREDS", NULL),
                               cyx_config_text(config, "CYXWIZ_NATS_INBOX", NULL), ret_bus, err);
}

enum cyx_status cyx_svc_bus_options(struct cyx_svc *self, struct cyx_bus_options *ret_options,
                                    struct cyx_error *err)
{
    struct cyx_config *config = &self->config;
    const struct cyx_bus_options options = {
        .url = cyx_config_text(config, "CYXWIZ_NATS_URL", "nats://127.0.0.1:4222"),
        .name = self->name,
        .user = cyx_config_text(config, "CYXWIZ_NATS_USER", NULL),
        .password = cyx_config_text(config, "CYXWIZ_NATS_PASSWORD", NULL),
        .creds_file = cyx_config_text(config, "CYXWIZ_NATS_CREDS", NULL),
        .ca_file = cyx_config_text(config, "CYXWIZ_NATS_CA", NULL),
        .cert_file = cyx_config_text(config, "CYXWIZ_NATS_CERT", NULL),
        .key_file = cyx_config_text(config, "CYXWIZ_NATS_KEY", NULL),
        .inbox_prefix = cyx_config_text(config, "CYXWIZ_NATS_INBOX", NULL),
    };
    enum cyx_status status = cyx_config_check(config, err);
    if (status == CYX_OK)
        *ret_options = options;
    return status;
}

enum cyx_status cyx_svc_open_bus_as(struct cyx_svc *self, const char *creds_file,
                                    const char *inbox_prefix, struct cyx_bus **ret_bus,
                                    struct cyx_error *err)
{
    struct cyx_config *config = &self->config;
    struct cyx_bus_options options = {0};
    self->bus_requests = cyx_metrics_histogram(self->metrics, "cyx_bus_request_seconds",
                                               "Requests answered, by subject and outcome.",
                                               "subject,status", NULL, 0);
    enum cyx_status status = cyx_svc_bus_options(self, &options, err);
    options.creds_file = creds_file;
    options.inbox_prefix = inbox_prefix;
    options.workers = (unsigned)cyx_config_int(config, "CYXWIZ_BUS_WORKERS", 16, 1, 64);
    options.observe = on_request;
    options.lost = on_lost;
    options.observe_ctx = options.lost_ctx = self;
    if (status == CYX_OK)
        status = cyx_config_check(config, err);
    if (status == CYX_OK)
        status = cyx_bus_connect(&options, &self->bus, err);
    if (status == CYX_OK)
        status = cyx_svc_add_check(self, "bus", check_bus, self->bus, err);
    if (status != CYX_OK)
        return status;
    cyx_metrics_gauge_function(self->metrics, "cyx_bus_up", "Whether NATS can be reached.", bus_up,
                               self->bus);
    *ret_bus = self->bus;
    return CYX_OK;
}

/* ---- outbox ---- */

enum cyx_status cyx_svc_publish(void *bus, const struct cyx_outbox_event *events, size_t count,
                                bool *ret_stored, struct cyx_error *err)
{
    struct cyx_bus_event *outgoing = calloc(count, sizeof(*outgoing));
    if (!outgoing)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for events");
    for (size_t i = 0; i < count; i++)
        outgoing[i] = (struct cyx_bus_event){
            .subject = events[i].subject,
            .message_id = events[i].message_id,
            .meta = {.request_id = events[i].request_id, .traceparent = events[i].traceparent},
            .json = events[i].json,
            .length = strlen(events[i].json)};
    enum cyx_status status = cyx_bus_publish_events(bus, outgoing, count, err);
    for (size_t i = 0; i < count; i++)
        ret_stored[i] = outgoing[i].status == CYX_OK;
    free(outgoing);
    return status;
}

static double outbox_published(void *ctx)
{
    struct cyx_svc *self = ctx;
    return self->outbox ? (double)cyx_outbox_relay_published(self->outbox) : 0;
}

enum cyx_status cyx_svc_open_outbox(struct cyx_svc *self, struct cyx_outbox_relay **ret_relay,
                                    struct cyx_error *err)
{
    if (!self->db || !self->bus)
        return cyx_error_set(err, CYX_ERR_INTERNAL, NULL,
                             "the outbox needs the database and the bus opened before it");
    enum cyx_status status = cyx_bus_ensure_stream(self->bus, &cyx_bus_stream_events, err);
    if (status == CYX_OK)
        status = cyx_outbox_relay_start(self->db, cyx_svc_publish, self->bus, &self->outbox, err);
    if (status != CYX_OK)
        return status;
    cyx_metrics_gauge_function(self->metrics, "cyx_outbox_published",
                               "Events that this process has moved from the outbox to the stream.",
                               outbox_published, self);
    *ret_relay = self->outbox;
    return CYX_OK;
}
