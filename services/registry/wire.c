#include "wire.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/version.h"
#include "contract/job_spec.h"
#include "contract/message.h"
#include "contract/subjects.h"
#include "identity/jwt.h"
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

static const char *const proof_states[] = {"pending", "proved", "refuted"};

static json_t *proof_json(const struct cyx_registry_proof *proof, bool stored)
{
    json_t *json = json_pack(
        "{s:s, s:o, s:o, s:o, s:f, s:f, s:f, s:f, s:I, s:I}", "state", proof_states[proof->state],
        "at", cyx_message_new_time(proof->at_ms), "code", cyx_message_new_text(proof->code),
        "message", cyx_message_new_text(proof->message), "flops_per_second",
        proof->flops_per_second, "products_flops_per_second", proof->products_flops_per_second,
        "convolutions_flops_per_second", proof->convolutions_flops_per_second,
        "bandwidth_bytes_per_second", proof->bandwidth_bytes_per_second, "memory_bytes",
        (json_int_t)proof->memory_bytes, "memory_tried_bytes",
        (json_int_t)proof->memory_tried_bytes);
    if (stored)
        json_object_update_new(json, json_pack("{s:I, s:I, s:I}", "at_ms", (json_int_t)proof->at_ms,
                                               "due_ms", (json_int_t)proof->due_ms, "failures",
                                               (json_int_t)proof->failures));
    return json;
}

json_t *cyx_registry_devices_json(const struct cyx_registry_node *node, bool stored)
{
    json_t *array = json_array();
    for (size_t i = 0; i < node->n_devices; i++) {
        const struct cyx_registry_device *device = &node->devices[i];
        json_array_append_new(array,
                              json_pack("{s:I, s:s, s:s, s:I, s:b, s:I, s:o}", "index",
                                        (json_int_t)device->index, "backend", device->backend,
                                        "name", device->name, "memory_bytes",
                                        (json_int_t)device->memory_bytes, "is_software",
                                        device->is_software, "threads", (json_int_t)device->threads,
                                        "proof", proof_json(&device->proof, stored)));
    }
    return array;
}

static int64_t integer_of(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static double double_of(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

static void text_of(const json_t *object, const char *key, char *target, size_t size)
{
    const char *text = json_string_value(json_object_get(object, key));
    snprintf(target, size, "%s", text ? text : "");
}

void cyx_registry_proofs_parse(const json_t *stored_array, struct cyx_registry_node *node)
{
    for (size_t i = 0; i < node->n_devices; i++) {
        const json_t *json = json_object_get(json_array_get(stored_array, i), "proof");
        const char *state = json_string_value(json_object_get(json, "state"));
        struct cyx_registry_proof proof = {
            .at_ms = integer_of(json, "at_ms"),
            .due_ms = integer_of(json, "due_ms"),
            .failures = integer_of(json, "failures"),
            .flops_per_second = double_of(json, "flops_per_second"),
            .products_flops_per_second = double_of(json, "products_flops_per_second"),
            .convolutions_flops_per_second = double_of(json, "convolutions_flops_per_second"),
            .bandwidth_bytes_per_second = double_of(json, "bandwidth_bytes_per_second"),
            .memory_bytes = integer_of(json, "memory_bytes"),
            .memory_tried_bytes = integer_of(json, "memory_tried_bytes"),
        };
        for (int s = CYX_UNPROVED; state && s <= CYX_REFUTED; s++)
            if (strcmp(state, proof_states[s]) == 0)
                proof.state = (enum cyx_registry_proof_state)s;
        text_of(json, "code", proof.code, sizeof(proof.code));
        text_of(json, "message", proof.message, sizeof(proof.message));
        node->devices[i].proof = proof;
    }
}

/* ---- what nodes say of challenges ---- */

json_t *cyx_registry_told_json(const struct cyx_proof_told *told)
{
    return json_pack(
        "{s:f, s:f, s:f, s:I, s:I}", "products_flops_per_second", told->products_flops_per_second,
        "convolutions_flops_per_second", told->convolutions_flops_per_second,
        "bandwidth_bytes_per_second", told->bandwidth_bytes_per_second, "memory_bytes",
        (json_int_t)told->memory_bytes, "memory_tried_bytes", (json_int_t)told->memory_tried_bytes);
}

static enum cyx_status speed_of(const json_t *json, const char *key, double *ret_speed,
                                struct cyx_error *err)
{
    char pointer[64];
    double speed = double_of(json, key);
    snprintf(pointer, sizeof(pointer), "/told/%s", key);
    if (!(speed >= 1) || speed > 1e18)
        return cyx_error_set(err, CYX_ERR_INVALID, pointer, "expected 1 to 1e18");
    *ret_speed = speed;
    return CYX_OK;
}

enum cyx_status cyx_registry_told_parse(const json_t *json, struct cyx_proof_told *ret_told,
                                        struct cyx_error *err)
{
    struct cyx_proof_told told = {0};
    enum cyx_status status;
    if ((status = speed_of(json, "products_flops_per_second", &told.products_flops_per_second,
                           err)) != CYX_OK ||
        (status = speed_of(json, "convolutions_flops_per_second",
                           &told.convolutions_flops_per_second, err)) != CYX_OK ||
        (status = speed_of(json, "bandwidth_bytes_per_second", &told.bandwidth_bytes_per_second,
                           err)) != CYX_OK ||
        (status = cyx_message_int(json, "memory_bytes", 0, INT64_C(1) << 50, &told.memory_bytes,
                                  err)) != CYX_OK ||
        (status = cyx_message_int(json, "memory_tried_bytes", 0, INT64_C(1) << 50,
                                  &told.memory_tried_bytes, err)) != CYX_OK)
        return status;
    *ret_told = told;
    return CYX_OK;
}

enum cyx_status cyx_registry_said_parse(const json_t *message, struct cyx_registry_said *ret_said,
                                        struct cyx_error *err)
{
    static const char *const steps[] = {"ready", "answer", "busy", "failed"};
    struct cyx_registry_said said = {0};
    const char *step = NULL;
    int found = 0;
    json_t *told = NULL;
    enum cyx_status status = cyx_message_id(message, "challenge_id", &said.challenge_id, err);
    if (status == CYX_OK)
        status = cyx_message_text(message, "step", &step, err);
    while (status == CYX_OK && found <= CYX_STEP_FAILED && strcmp(step, steps[found]) != 0)
        found++;
    if (status == CYX_OK && found > CYX_STEP_FAILED)
        status = cyx_error_set(err, CYX_ERR_INVALID, "/step",
                               "expected \"ready\", \"answer\", \"busy\" or \"failed\"");
    said.step = (enum cyx_registry_step)found;
    if (status == CYX_OK && said.step == CYX_STEP_READY)
        status = cyx_message_object(message, "told", &told, err);
    if (status == CYX_OK && told)
        status = cyx_registry_told_parse(told, &said.told, err);
    said.outputs = json_string_value(json_object_get(message, "outputs")); /* longer than a text */
    if (status == CYX_OK && said.step == CYX_STEP_ANSWER && !said.outputs)
        status = cyx_error_set(err, CYX_ERR_INVALID, "/outputs", "expected a string");
    if (status == CYX_OK)
        status = cyx_message_maybe_text(message, "message", &said.message, err);
    if (status == CYX_OK)
        *ret_said = said;
    return status;
}

enum cyx_status cyx_registry_outputs_read(const char *text, float *ret_outputs, size_t count,
                                          struct cyx_error *err)
{
    size_t length = 0;
    static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "outputs are sent as they lie");
    if (!cyx_base64url_read(text, strlen(text), ret_outputs, count * sizeof(float), &length) ||
        length != count * sizeof(float))
        return cyx_error_set(err, CYX_ERR_INVALID, "/outputs",
                             "expected %zu numbers of 4 bytes in base64url", count);
    return CYX_OK;
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

/* Why it is not trusted with work, {code, message}; null while it is. */
static json_t *unproven_json(const struct cyx_registry_node *node)
{
    struct cyx_registry_why why;
    bool shown = strcmp(node->closed, "proving") == 0 || strcmp(node->closed, "unproven") == 0;
    if (!shown || !*cyx_proof_closes(node, &why))
        return json_null();
    return json_pack("{s:s, s:s}", "code", why.code, "message", why.message);
}

static json_t *outdated_json(const struct cyx_registry_node *node)
{
    char text[160];
    cyx_registry_outdated(node->version, cyx_version(), text);
    return cyx_message_new_text(text);
}

json_t *cyx_registry_node_json(const struct cyx_registry_node *node)
{
    const struct cyx_registry_load *load = &node->load;
    return json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:o, s:I, s:I, s:o, s:I, s:o, s:o, s:I, s:f, s:I, s:f, s:o, "
        "s:o, s:o, s:o, s:o, s:o}",
        "id", node->id, "name", node->name, "status", cyx_registry_status_name(node->status),
        "boot_id", node->boot_id, "version", node->version, "devices",
        cyx_registry_devices_json(node, false), "host_memory_bytes",
        (json_int_t)node->host_memory_bytes, "cpus", (json_int_t)node->cpus, "price_per_hour",
        cyx_message_new_amount(node->price_per_hour_base_units), "revision",
        (json_int_t)node->revision, "enrolled_at", cyx_message_new_time(node->enrolled_at_ms),
        "last_heartbeat_at", cyx_message_new_time(node->last_heartbeat_at_ms), "running_jobs",
        (json_int_t)load->running_jobs, "cpu_percent", load->cpu_percent, "memory_used_bytes",
        (json_int_t)load->memory_used_bytes, "images_per_second", load->images_per_second, "labels",
        labels_json(node), "region", cyx_message_new_text(node->region), "system",
        cyx_registry_system_json(load->system), "closed", cyx_message_new_text(node->closed),
        "unproven", unproven_json(node), "outdated", outdated_json(node));
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
