#include "wire.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "contract/job_spec.h"
#include "contract/message.h"
#include "contract/subjects.h"
#include "system.h"

#include "base/banned.h"

/* A required text of at most `size` - 1 bytes, copied. */
static enum cyx_status copy_text(const json_t *object, const char *key, char *target, size_t size,
                                 struct cyx_error *err)
{
    const char *text = NULL;
    enum cyx_status status = cyx_message_text(object, key, &text, err);
    if (status != CYX_OK)
        return status;
    size_t length = strlen(text);
    if (length >= size) {
        char pointer[80];
        snprintf(pointer, sizeof(pointer), "/%s", key);
        return cyx_error_set(err, CYX_ERR_INVALID, pointer, "expected at most %zu bytes", size - 1);
    }
    memcpy(target, text, length + 1);
    return CYX_OK;
}

static enum cyx_status copy_id(const json_t *object, const char *key, char target[CYX_ID_BYTES],
                               struct cyx_error *err)
{
    const char *id = NULL;
    enum cyx_status status = cyx_message_id(object, key, &id, err);
    for (size_t i = 0; status == CYX_OK && i < CYX_ID_BYTES; i++)
        target[i] = id[i] >= 'A' && id[i] <= 'F' ? (char)(id[i] - 'A' + 'a') : id[i];
    return status;
}

static enum cyx_status parse_device(const json_t *json, struct cyx_registry_device *device,
                                    struct cyx_error *err)
{
    enum cyx_status status;
    if (!json_is_object(json))
        return cyx_error_set(err, CYX_ERR_INVALID, "", "expected an object");
    if ((status = cyx_message_int(json, "index", 0, 1023, &device->index, err)) != CYX_OK ||
        (status = copy_text(json, "backend", device->backend, sizeof(device->backend), err)) !=
            CYX_OK ||
        (status = copy_text(json, "name", device->name, sizeof(device->name), err)) != CYX_OK ||
        (status = cyx_message_int(json, "memory_bytes", 1, INT64_C(1) << 50, &device->memory_bytes,
                                  err)) != CYX_OK)
        return status;
    device->is_software = json_is_true(json_object_get(json, "is_software"));
    return cyx_message_maybe_int(json, "threads", 0, 65536, &device->threads, err);
}

enum cyx_status cyx_registry_devices_parse(const json_t *array, struct cyx_registry_node *node,
                                           struct cyx_error *err)
{
    size_t count = json_array_size(array);
    if (!json_is_array(array) || count < 1 || count > CYX_REGISTRY_DEVICES_LIMIT)
        return cyx_error_set(err, CYX_ERR_INVALID, "/devices",
                             "expected an array of 1 to %d devices", CYX_REGISTRY_DEVICES_LIMIT);
    for (size_t i = 0; i < count; i++) {
        struct cyx_error inner = {0};
        enum cyx_status status = parse_device(json_array_get(array, i), &node->devices[i], &inner);
        if (status != CYX_OK) {
            char pointer[sizeof(inner.pointer) + 32];
            snprintf(pointer, sizeof(pointer), "/devices/%zu%s", i, inner.pointer);
            return cyx_error_set(err, status, pointer, "%s", inner.message);
        }
    }
    node->n_devices = count;
    return CYX_OK;
}

/* "labels": ["disk=ssd"] as texts joined by commas; absent: none. */
static enum cyx_status parse_labels(const json_t *array, struct cyx_registry_node *node,
                                    struct cyx_error *err)
{
    size_t count = json_array_size(array), length = 0;
    if ((array && !json_is_null(array) && !json_is_array(array)) ||
        count > CYX_REGISTRY_LABELS_LIMIT)
        return cyx_error_set(err, CYX_ERR_INVALID, "/labels", "expected a list of at most %d texts",
                             CYX_REGISTRY_LABELS_LIMIT);
    for (size_t i = 0; i < count; i++) {
        const char *label = json_string_value(json_array_get(array, i));
        char pointer[40];
        snprintf(pointer, sizeof(pointer), "/labels/%zu", i);
        if (!label || !cyx_label_valid(label))
            return cyx_error_set(err, CYX_ERR_INVALID, pointer,
                                 "expected 1 to 64 letters, digits and ._=/-");
        length += (size_t)snprintf(node->labels + length, sizeof(node->labels) - length, "%s%s",
                                   i ? "," : "", label);
    }
    return CYX_OK;
}

static enum cyx_status parse_region(const json_t *message, struct cyx_registry_node *node,
                                    struct cyx_error *err)
{
    const char *region = NULL;
    enum cyx_status status = cyx_message_maybe_text(message, "region", &region, err);
    if (status != CYX_OK || !region)
        return status;
    if (!cyx_label_valid(region))
        return cyx_error_set(err, CYX_ERR_INVALID, "/region",
                             "expected 1 to 64 letters, digits and ._=/-");
    return copy_text(message, "region", node->region, sizeof(node->region), err);
}

enum cyx_status cyx_registry_enrolment_parse(const json_t *message,
                                             struct cyx_registry_node *ret_node,
                                             struct cyx_error *err)
{
    struct cyx_registry_node node = {.status = CYX_NODE_ONLINE};
    enum cyx_status status;
    if ((status = copy_id(message, "node_id", node.id, err)) != CYX_OK ||
        (status = copy_id(message, "boot_id", node.boot_id, err)) != CYX_OK ||
        (status = copy_text(message, "name", node.name, sizeof(node.name), err)) != CYX_OK ||
        (status = copy_text(message, "version", node.version, sizeof(node.version), err)) !=
            CYX_OK ||
        (status = cyx_registry_devices_parse(json_object_get(message, "devices"), &node, err)) !=
            CYX_OK ||
        (status = cyx_message_int(message, "host_memory_bytes", 1, INT64_C(1) << 50,
                                  &node.host_memory_bytes, err)) != CYX_OK ||
        (status = cyx_message_int(message, "cpus", 1, 65536, &node.cpus, err)) != CYX_OK ||
        (status = cyx_message_amount(message, "price_per_hour", &node.price_per_hour_base_units,
                                     err)) != CYX_OK ||
        (status = parse_labels(json_object_get(message, "labels"), &node, err)) != CYX_OK ||
        (status = parse_region(message, &node, err)) != CYX_OK ||
        (status = cyx_registry_check(&node, err)) != CYX_OK)
        return status;
    *ret_node = node;
    return CYX_OK;
}

/* An optional number in [0, limit]; anything else counts as 0: it is shown, nothing is decided by it. */
static double shown_number(const json_t *object, const char *key, double limit)
{
    double value = json_number_value(json_object_get(object, key));
    return isfinite(value) && value >= 0 && value <= limit ? value : 0;
}

enum cyx_status cyx_registry_heartbeat_parse(const json_t *message, const char **ret_boot_id,
                                             struct cyx_registry_load *ret_load,
                                             struct cyx_error *err)
{
    enum cyx_status status = cyx_message_id(message, "boot_id", ret_boot_id, err);
    if (status != CYX_OK)
        return status;
    *ret_load = (struct cyx_registry_load){
        .running_jobs = (int64_t)json_array_size(json_object_get(message, "jobs")),
        .cpu_percent = shown_number(message, "cpu_percent", 1e6),
        .memory_used_bytes = (int64_t)shown_number(message, "memory_used_bytes", 1e15),
        .images_per_second = shown_number(message, "images_per_second", 1e12),
    };
    cyx_registry_system_clean(json_object_get(message, "system"), ret_load->system);
    return CYX_OK;
}

json_t *cyx_registry_devices_json(const struct cyx_registry_node *node)
{
    json_t *array = json_array();
    for (size_t i = 0; i < node->n_devices; i++) {
        const struct cyx_registry_device *device = &node->devices[i];
        json_array_append_new(
            array, json_pack("{s:I, s:s, s:s, s:I, s:b, s:I}", "index", (json_int_t)device->index,
                             "backend", device->backend, "name", device->name, "memory_bytes",
                             (json_int_t)device->memory_bytes, "is_software", device->is_software,
                             "threads", (json_int_t)device->threads));
    }
    return array;
}

static json_t *labels_json(const struct cyx_registry_node *node)
{
    json_t *array = json_array();
    for (const char *label = node->labels; *label;) {
        size_t length = strcspn(label, ",");
        json_array_append_new(array, json_stringn(label, length));
        label += length + (label[length] == ',');
    }
    return array;
}

json_t *cyx_registry_node_json(const struct cyx_registry_node *node)
{
    const struct cyx_registry_load *load = &node->load;
    return json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:o, s:I, s:I, s:o, s:I, s:o, s:o, s:I, s:f, s:I, s:f, s:o, "
        "s:o, s:o, s:o}",
        "id", node->id, "name", node->name, "status", cyx_registry_status_name(node->status),
        "boot_id", node->boot_id, "version", node->version, "devices",
        cyx_registry_devices_json(node), "host_memory_bytes", (json_int_t)node->host_memory_bytes,
        "cpus", (json_int_t)node->cpus, "price_per_hour",
        cyx_message_new_amount(node->price_per_hour_base_units), "revision",
        (json_int_t)node->revision, "enrolled_at", cyx_message_new_time(node->enrolled_at_ms),
        "last_heartbeat_at", cyx_message_new_time(node->last_heartbeat_at_ms), "running_jobs",
        (json_int_t)load->running_jobs, "cpu_percent", load->cpu_percent, "memory_used_bytes",
        (json_int_t)load->memory_used_bytes, "images_per_second", load->images_per_second, "labels",
        labels_json(node), "region", cyx_message_new_text(node->region), "system",
        cyx_registry_system_json(load->system), "closed", cyx_message_new_text(node->closed));
}

json_t *cyx_registry_online_json(const char *event_id, const struct cyx_registry_node *node)
{
    return json_pack("{s:s, s:I, s:o}", "event_id", event_id, "revision",
                     (json_int_t)node->revision, "node", cyx_registry_node_json(node));
}

json_t *cyx_registry_offline_json(const char *event_id, const struct cyx_registry_node *node,
                                  const char *reason)
{
    return json_pack("{s:s, s:I, s:s, s:s, s:s}", "event_id", event_id, "revision",
                     (json_int_t)node->revision, "node_id", node->id, "boot_id", node->boot_id,
                     "reason", reason);
}

json_t *cyx_registry_silent_json(const char *event_id, const struct cyx_registry_node *node,
                                 const struct cyx_registry_why *why)
{
    return json_pack("{s:s, s:I, s:s, s:s, s:s, s:o, s:s, s:s}", "event_id", event_id, "revision",
                     (json_int_t)node->revision, "node_id", node->id, "boot_id", node->boot_id,
                     "name", node->name, "last_heartbeat_at",
                     cyx_message_new_time(node->last_heartbeat_at_ms), "code", why->code, "message",
                     why->message);
}

json_t *cyx_registry_load_json(const char *boot_id, const struct cyx_registry_load *load)
{
    return json_pack("{s:s, s:I, s:f, s:I, s:f, s:o}", "boot_id", boot_id, "running_jobs",
                     (json_int_t)load->running_jobs, "cpu_percent", load->cpu_percent,
                     "memory_used_bytes", (json_int_t)load->memory_used_bytes, "images_per_second",
                     load->images_per_second, "system", cyx_registry_system_json(load->system));
}

bool cyx_registry_load_parse(const json_t *json, const char *boot_id,
                             struct cyx_registry_load *ret_load)
{
    const char *from = json_string_value(json_object_get(json, "boot_id"));
    if (!from || strcmp(from, boot_id) != 0)
        return false;
    *ret_load = (struct cyx_registry_load){
        .running_jobs = json_integer_value(json_object_get(json, "running_jobs")),
        .cpu_percent = shown_number(json, "cpu_percent", 1e6),
        .memory_used_bytes = json_integer_value(json_object_get(json, "memory_used_bytes")),
        .images_per_second = shown_number(json, "images_per_second", 1e12),
    };
    cyx_registry_system_clean(json_object_get(json, "system"), ret_load->system);
    return true;
}
