#include "registry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

static const char *const status_names[] = {"online", "offline", "draining"};

const char *cyx_registry_status_name(enum cyx_registry_status status)
{
    return (unsigned)status <= CYX_NODE_DRAINING ? status_names[status] : "unknown";
}

bool cyx_registry_status_parse(const char *name, enum cyx_registry_status *ret_status)
{
    for (int i = 0; name && i <= CYX_NODE_DRAINING; i++) {
        if (strcmp(name, status_names[i]) == 0) {
            *ret_status = (enum cyx_registry_status)i;
            return true;
        }
    }
    return false;
}

/* Not empty, and free of control characters. */
static bool printable(const char *text)
{
    for (const char *c = text; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            return false;
    return *text != '\0';
}

static enum cyx_status check_device(const struct cyx_registry_device *device, size_t i,
                                    struct cyx_error *err)
{
    char pointer[64];
    if (strcmp(device->backend, "cpu") != 0 && strcmp(device->backend, "vulkan") != 0) {
        snprintf(pointer, sizeof(pointer), "/devices/%zu/backend", i);
        return cyx_error_set(err, CYX_ERR_INVALID, pointer, "expected \"cpu\" or \"vulkan\"");
    }
    if (!printable(device->name)) {
        snprintf(pointer, sizeof(pointer), "/devices/%zu/name", i);
        return cyx_error_set(err, CYX_ERR_INVALID, pointer,
                             "expected 1 to 100 printable characters");
    }
    if (device->memory_bytes <= 0 || device->memory_bytes > INT64_C(1) << 50) {
        snprintf(pointer, sizeof(pointer), "/devices/%zu/memory_bytes", i);
        return cyx_error_set(err, CYX_ERR_INVALID, pointer, "expected 1 to 2^50 bytes");
    }
    if (device->threads < 0 || device->threads > 65536) {
        snprintf(pointer, sizeof(pointer), "/devices/%zu/threads", i);
        return cyx_error_set(err, CYX_ERR_INVALID, pointer, "expected 0 to 65536");
    }
    return CYX_OK;
}

enum cyx_status cyx_registry_check(const struct cyx_registry_node *node, struct cyx_error *err)
{
    if (!cyx_id_valid(node->id))
        return cyx_error_set(err, CYX_ERR_INVALID, "/node_id", "expected a UUID");
    if (!cyx_id_valid(node->boot_id))
        return cyx_error_set(err, CYX_ERR_INVALID, "/boot_id", "expected a UUID");
    if (!printable(node->name))
        return cyx_error_set(err, CYX_ERR_INVALID, "/name",
                             "expected 1 to 100 printable characters");
    if (!printable(node->version))
        return cyx_error_set(err, CYX_ERR_INVALID, "/version",
                             "expected 1 to 64 printable characters");
    if (node->n_devices < 1 || node->n_devices > CYX_REGISTRY_DEVICES_LIMIT)
        return cyx_error_set(err, CYX_ERR_INVALID, "/devices", "expected 1 to %d devices",
                             CYX_REGISTRY_DEVICES_LIMIT);
    for (size_t i = 0; i < node->n_devices; i++) {
        enum cyx_status status = check_device(&node->devices[i], i, err);
        if (status != CYX_OK)
            return status;
    }
    if (node->host_memory_bytes <= 0 || node->host_memory_bytes > INT64_C(1) << 50)
        return cyx_error_set(err, CYX_ERR_INVALID, "/host_memory_bytes",
                             "expected 1 to 2^50 bytes");
    if (node->cpus < 1 || node->cpus > 65536)
        return cyx_error_set(err, CYX_ERR_INVALID, "/cpus", "expected 1 to 65536");
    if (node->price_per_hour_base_units < 0)
        return cyx_error_set(err, CYX_ERR_INVALID, "/price_per_hour", "expected at least 0 CYX");
    return CYX_OK;
}

bool cyx_registry_same_device(const struct cyx_registry_device *a,
                              const struct cyx_registry_device *b)
{
    return a->index == b->index && strcmp(a->backend, b->backend) == 0 &&
           strcmp(a->name, b->name) == 0 && a->memory_bytes == b->memory_bytes &&
           a->is_software == b->is_software && a->threads == b->threads;
}

bool cyx_registry_enrol_is_news(const struct cyx_registry_node *before,
                                const struct cyx_registry_node *after)
{
    if (!before || before->status == CYX_NODE_OFFLINE ||
        strcmp(before->boot_id, after->boot_id) != 0 || strcmp(before->name, after->name) != 0 ||
        strcmp(before->version, after->version) != 0 ||
        strcmp(before->labels, after->labels) != 0 || strcmp(before->region, after->region) != 0 ||
        before->price_per_hour_base_units != after->price_per_hour_base_units ||
        before->host_memory_bytes != after->host_memory_bytes || before->cpus != after->cpus ||
        before->n_devices != after->n_devices)
        return true;
    for (size_t i = 0; i < after->n_devices; i++)
        if (!cyx_registry_same_device(&before->devices[i], &after->devices[i]))
            return true;
    return false;
}

/* Reads the numbers of "1.20.3"; false when it begins with none. */
static bool read_version(const char *text, long ret_numbers[3])
{
    bool any = false;
    for (int i = 0; i < 3; i++) {
        char *end = NULL;
        ret_numbers[i] = *text >= '0' && *text <= '9' ? strtol(text, &end, 10) : 0;
        any |= end != NULL;
        text = end && *end == '.' ? end + 1 : "";
    }
    return any;
}

void cyx_registry_outdated(const char *version, const char *platform, char ret_text[160])
{
    long own[3], ours[3];
    ret_text[0] = '\0';
    if (!read_version(version, own) || !read_version(platform, ours))
        return;
    int i = 0;
    while (i < 2 && own[i] == ours[i])
        i++;
    if (own[i] < ours[i])
        snprintf(ret_text, 160, "its worker is version %.40s, the platform is %.40s: update it",
                 version, platform);
}

enum cyx_registry_verdict cyx_registry_judge(const struct cyx_registry_evidence *evidence,
                                             int64_t lost_ms)
{
    bool heard = evidence->heard_age_ms >= 0 && evidence->heard_age_ms < lost_ms;
    bool stored = evidence->stored_age_ms >= 0 && evidence->stored_age_ms < lost_ms;
    if (evidence->status == CYX_NODE_OFFLINE)
        return heard ? CYX_VERDICT_ONLINE : CYX_VERDICT_KEEP;
    if (heard || stored || evidence->listening_ms < lost_ms)
        return CYX_VERDICT_KEEP;
    return CYX_VERDICT_OFFLINE;
}

/* Fills both parts of a `struct cyx_registry_why`. */
#define SAY(why, code_text, ...)                                                                   \
    (snprintf((why)->code, sizeof((why)->code), "%s", (code_text)),                                \
     snprintf((why)->message, sizeof((why)->message), __VA_ARGS__))

/* NATS's own words for why a connection ended: server/client.go, ClosedState.String(). */
static void explain_disconnect(const char *reason, struct cyx_registry_why *why)
{
    if (strcmp(reason, "Client Closed") == 0 || strcmp(reason, "Read Error") == 0 ||
        strcmp(reason, "Write Error") ==
            0) /* the latter: it left words unread, as one that is killed */
        SAY(why, "connection-closed",
            "its connection was closed from its side: the worker's process ended, or its machine "
            "shut down");
    else if (strcmp(reason, "Stale Connection") == 0)
        SAY(why, "unreachable",
            "NATS got no answer from it any more: its machine or the network to it is away");
    else if (strstr(reason, "Authentication") || strstr(reason, "Revo"))
        SAY(why, "refused", "NATS does not let it in any more (%s)", reason);
    else
        SAY(why, "connection-broken", "its connection broke (%s)", reason);
}

void cyx_registry_explain(const struct cyx_registry_silence *silence,
                          struct cyx_registry_why *ret_why)
{
    struct cyx_registry_why why = {0};
    if (silence->disconnected[0])
        explain_disconnect(silence->disconnected, &why);
    else if (silence->watches_connections)
        SAY(&why, "hangs",
            "it is still connected to NATS and sends no heartbeats: the worker's process hangs, or "
            "its machine has just gone");
    else
        SAY(&why, "no-heartbeats", "no heartbeat came for longer than its deadline of %.1f s",
            (double)silence->deadline_ms / 1000);
    double used = silence->host_memory_bytes > 0
                      ? (double)silence->memory_used_bytes / (double)silence->host_memory_bytes
                      : 0;
    size_t length = strlen(why.message);
    if (used > 0.95)
        snprintf(why.message + length, sizeof(why.message) - length,
                 "; %.0f %% of its memory were in use when it last spoke", 100 * used);
    *ret_why = why;
}
