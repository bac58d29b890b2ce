#include "system.h"

#include <math.h>
#include <string.h>

#include "base/banned.h"

enum { GPUS_LIMIT = 16, TEXT_LIMIT = 96 };
static const double number_limit = 1e18;

static const char *const system_numbers[] = {"load_average",
                                             "disk_total_bytes",
                                             "disk_free_bytes",
                                             "disk_read_bytes_per_second",
                                             "disk_write_bytes_per_second",
                                             "network_receive_bytes_per_second",
                                             "network_send_bytes_per_second",
                                             "power_watts",
                                             NULL};
static const char *const gpu_numbers[] = {"busy_percent",        "memory_used_bytes",
                                          "memory_total_bytes",  "power_watts",
                                          "temperature_celsius", NULL};
static const char *const gpu_texts[] = {"name", "source", NULL};
static const char *const sandbox_texts[] = {"walls", "system_calls", "limits", NULL};
static const char *const none[] = {NULL};

/* Whole numbers stay whole; others are kept to a thousandth. */
static void copy_number(json_t *to, const json_t *from, const char *key)
{
    const json_t *value = json_object_get(from, key);
    double number = json_number_value(value);
    if (!json_is_number(value) || !(number >= 0) || number > number_limit)
        return;
    json_object_set_new(to, key,
                        json_is_integer(value) ? json_integer(json_integer_value(value))
                                               : json_real(round(number * 1000) / 1000));
}

static void copy_text(json_t *to, const json_t *from, const char *key)
{
    const char *text = json_string_value(json_object_get(from, key));
    if (text && *text && strlen(text) <= TEXT_LIMIT)
        json_object_set_new(to, key, json_string(text));
}

static json_t *copy(const json_t *from, const char *const *numbers, const char *const *texts)
{
    json_t *to = json_object();
    for (; *numbers; numbers++)
        copy_number(to, from, *numbers);
    for (; *texts; texts++)
        copy_text(to, from, *texts);
    return to;
}

void cyx_registry_system_clean(const json_t *given, char ret_text[CYX_REGISTRY_SYSTEM_BYTES])
{
    *ret_text = '\0';
    if (!json_is_object(given))
        return;
    json_t *clean = copy(given, system_numbers, none), *gpus = json_array();
    const json_t *list = json_object_get(given, "gpus");
    for (size_t i = 0; i < json_array_size(list) && i < GPUS_LIMIT; i++)
        json_array_append_new(gpus, copy(json_array_get(list, i), gpu_numbers, gpu_texts));
    json_object_set_new(clean, "gpus", gpus);
    const json_t *sandbox = json_object_get(given, "sandbox");
    json_object_set_new(clean, "sandbox",
                        json_is_object(sandbox) ? copy(sandbox, none, sandbox_texts) : json_null());
    size_t length = json_dumpb(clean, ret_text, CYX_REGISTRY_SYSTEM_BYTES - 1,
                               JSON_COMPACT | JSON_REAL_PRECISION(15));
    ret_text[length < CYX_REGISTRY_SYSTEM_BYTES ? length : 0] = '\0';
    json_decref(clean);
}

json_t *cyx_registry_system_json(const char *text)
{
    json_t *json = *text ? json_loads(text, 0, NULL) : NULL;
    return json ? json : json_null();
}
