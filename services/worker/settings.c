#include "settings.h"

#include <string.h>
#include <unistd.h>

#include "base/id.h"
#include "base/log.h"
#include "contract/subjects.h"
#include "system.h"
#include "trainer.h"

#include "base/banned.h"

/* What a job may use: by the settings, else what leaves the machine some air. */
static void read_limits(struct cyx_config *config, struct agent_settings *settings)
{
    int64_t most = INT64_C(1) << 50;
    struct worker_limits *limits = &settings->limits;
    limits->memory_bytes = cyx_config_int(config, "CYXWIZ_JOB_MEMORY_BYTES", 0, 0, most);
    settings->node.host_memory_bytes =
        limits->memory_bytes ? limits->memory_bytes : system_memory_bytes();
    settings->cache_bytes =
        cyx_config_int(config, "CYXWIZ_CACHE_BYTES", INT64_C(20) << 30, 0, most);
    limits->disk_bytes =
        cyx_config_int(config, "CYXWIZ_JOB_DISK_BYTES", INT64_C(16) << 30, 0, most);
    limits->run_ms = cyx_config_int(config, "CYXWIZ_JOB_SECONDS", 0, 0, 1 << 30) * 1000;
    limits->silence_ms = cyx_config_int(config, "CYXWIZ_JOB_SILENCE_MS", 300000, 0, 1 << 30);
}

/* A file that is there, or NULL where none is named. */
static const char *read_file_name(struct cyx_config *config, const char *name)
{
    const char *path = cyx_config_text(config, name, NULL);
    if (path && access(path, R_OK) != 0)
        cyx_config_refuse(config, name,
                          "it cannot be read; let it name a file of certificates, PEM");
    return path;
}

static enum cyx_status read_all(struct cyx_svc *svc, struct agent_settings *settings,
                                struct cyx_error *err)
{
    struct cyx_config *config = cyx_svc_config(svc);
    settings->node.id = cyx_config_text(config, "CYXWIZ_NODE_ID", NULL);
    settings->node.name = cyx_config_text(config, "CYXWIZ_NODE_NAME", "worker");
    settings->node.labels = cyx_config_text(config, "CYXWIZ_LABELS", "");
    settings->node.region = cyx_config_text(config, "CYXWIZ_REGION", "");
    settings->node.price_per_hour = cyx_config_text(config, "CYXWIZ_PRICE_PER_HOUR", "1 CYX");
    settings->gateway_url = cyx_config_text(config, "CYXWIZ_GATEWAY_URL", "http://127.0.0.1:8080");
    settings->gateway_ca = read_file_name(config, "CYXWIZ_GATEWAY_CA");
    (void)read_file_name(config, "CYXWIZ_NATS_CA"); /* of svc, which leaves a wrong one to NATS */
    settings->data_dir = cyx_config_require(config, "CYXWIZ_DATA_DIR", "set it to a folder");
    settings->work_dir = cyx_config_require(config, "CYXWIZ_WORK_DIR", "set it to a folder");
    settings->backend = cyx_config_choice(config, "CYXWIZ_BACKEND", "auto", "auto cpu vulkan");
    settings->sandbox_wanted =
        cyx_config_choice(config, "CYXWIZ_SANDBOX", "auto", "auto required landlock off");
    read_limits(config, settings);
    settings->heartbeat_ms =
        cyx_config_int(config, "CYXWIZ_HEARTBEAT_MS", CYX_HEARTBEAT_DEFAULT_MS, 100, 60000);
    settings->metrics = cyx_svc_metrics(svc);
    if (settings->node.id && !cyx_id_valid(settings->node.id))
        cyx_config_refuse(config, "CYXWIZ_NODE_ID", "it is not a UUID");
    cyx_id_new(settings->node.boot_id);
    return cyx_config_check(config, err);
}

/* Says once, loudly where it is weak, what holds a trainer in. */
static enum cyx_status make_sandbox(struct agent_settings *settings, struct cyx_error *err)
{
    struct sandbox *sandbox = NULL;
    enum cyx_status status = sandbox_create(settings->sandbox_wanted, &sandbox, err);
    if (status != CYX_OK)
        return status;
    settings->sandbox = sandbox;
    const struct sandbox_state *state = settings->node.sandbox = sandbox_state(sandbox);
    bool whole = state->walls == SANDBOX_BUBBLEWRAP && state->filters;
    cyx_log(whole ? CYX_LOG_INFO : CYX_LOG_WARN,
            whole ? "trainers run in a sandbox"
                  : "trainers are not shut in as they should be: install bubblewrap, allow user "
                    "namespaces",
            CYX_STR("walls", sandbox_walls_name(state->walls)),
            CYX_STR("system_calls", state->filters ? "filtered" : "open"),
            CYX_STR("limits", state->groups ? "cgroup" : "rlimits"),
            CYX_STR("reason", state->reason));
    return CYX_OK;
}

static enum cyx_status find_devices(struct agent_settings *settings, struct cyx_error *err)
{
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    enum cyx_status status = trainer_probe(settings->sandbox, settings->backend, &text, err);
    if (status != CYX_OK)
        return status;
    settings->node.devices = json_loadb(text.data ? text.data : "", text.length, 0, NULL);
    if (json_array_size(settings->node.devices) == 0)
        return cyx_error_set(err, CYX_ERR_UNAVAILABLE, NULL,
                             "no device for backend %s: set CYXWIZ_BACKEND to auto or cpu",
                             settings->backend);
    return CYX_OK;
}

/* A slot for each GPU where there are several, else one; what the node's settings do not say is shared among them. */
static void make_slots(struct agent_settings *settings)
{
    const json_t *device;
    size_t i;
    json_array_foreach(settings->node.devices, i, device)
    {
        const char *backend = json_string_value(json_object_get(device, "backend"));
        if (backend && strcmp(backend, "vulkan") == 0 && settings->n_slots < AGENT_SLOTS_LIMIT)
            settings->slot_devices[settings->n_slots++] =
                (int)json_integer_value(json_object_get(device, "index"));
    }
    if (settings->n_slots == 0)
        settings->n_slots = 1;
    int64_t n = (int64_t)settings->n_slots;
    if (!settings->limits.memory_bytes)
        settings->limits.memory_bytes = settings->node.host_memory_bytes / 10 * 9 / n;
    if (n > 1)
        settings->slot_threads = (int)(sysconf(_SC_NPROCESSORS_ONLN) / n) + 1;
}

enum cyx_status settings_read(struct cyx_svc *svc, struct agent_settings *ret_settings,
                              struct cyx_error *err)
{
    struct agent_settings settings = {0};
    enum cyx_status status = read_all(svc, &settings, err);
    if (status == CYX_OK)
        status = make_sandbox(&settings, err);
    if (status == CYX_OK)
        status = find_devices(&settings, err);
    if (status == CYX_OK)
        make_slots(&settings);
    if (status == CYX_OK)
        *ret_settings = settings;
    else
        settings_finish(&settings);
    return status;
}

enum cyx_status settings_read_page(struct cyx_svc *svc, struct page_settings *ret_page,
                                   struct cyx_error *err)
{
    struct cyx_config *config = cyx_svc_config(svc);
    const char *mode = cyx_config_choice(config, "CYXWIZ_PAGE", "on", "on read off");
    struct page_settings page = {.on = strcmp(mode, "off") != 0,
                                 .controls = strcmp(mode, "on") == 0};
    page.host = cyx_config_address(config, "CYXWIZ_PAGE_ADDRESS", "127.0.0.1:8090", &page.port);
    page.port_file = cyx_config_text(config, "CYXWIZ_PAGE_PORT_FILE", NULL);
    if (strcmp(page.host, "localhost") == 0)
        page.host = "127.0.0.1";
    if (strcmp(page.host, "127.0.0.1") != 0)
        cyx_config_refuse(config, "CYXWIZ_PAGE_ADDRESS",
                          "the page is for this machine alone: set it to 127.0.0.1:PORT (from "
                          "elsewhere, ssh -L PORT:127.0.0.1:PORT leads there)");
    enum cyx_status status = cyx_config_check(config, err);
    if (status == CYX_OK)
        *ret_page = page;
    return status;
}

void settings_finish(struct agent_settings *settings)
{
    json_decref(settings->node.devices);
    sandbox_destroy(settings->sandbox);
}
