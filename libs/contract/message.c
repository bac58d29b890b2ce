#include "contract/message.h"

#include <math.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/id.h"
#include "contract/money.h"
#include "contract/subjects.h"

#include "base/banned.h"

json_t *cyx_message_number(double number)
{
    return isfinite(number) ? json_real(number) : json_null();
}

double cyx_message_number_of(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

void cyx_message_decref(json_t **json)
{
    json_decref(*json);
}

enum cyx_status cyx_message_parse(const char *data, size_t length, json_t **ret_object,
                                  struct cyx_error *err)
{
    if (length == 0) {
        *ret_object = json_object();
        return *ret_object ? CYX_OK : cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory");
    }
    json_error_t at;
    json_t *root = json_loadb(data, length, JSON_REJECT_DUPLICATES, &at);
    if (!root)
        return cyx_error_set(err, CYX_ERR_INVALID, NULL, "not JSON: %s at line %d, column %d",
                             at.text, at.line, at.column);
    if (!json_is_object(root)) {
        json_decref(root);
        return cyx_error_set(err, CYX_ERR_INVALID, NULL, "expected a JSON object");
    }
    *ret_object = root;
    return CYX_OK;
}

static enum cyx_status wrong(struct cyx_error *err, const char *key, const char *expected)
{
    char pointer[96];
    snprintf(pointer, sizeof(pointer), "/%s", key);
    return cyx_error_set(err, CYX_ERR_INVALID, pointer, "expected %s", expected);
}

static bool absent(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return !value || json_is_null(value);
}

enum cyx_status cyx_message_text(const json_t *object, const char *key, const char **ret_text,
                                 struct cyx_error *err)
{
    const json_t *value = json_object_get(object, key);
    size_t length = json_string_length(value);
    if (!json_is_string(value) || length == 0 || length > 65535)
        return wrong(err, key, "a string that is not empty");
    *ret_text = json_string_value(value);
    return CYX_OK;
}

enum cyx_status cyx_message_id(const json_t *object, const char *key, const char **ret_id,
                               struct cyx_error *err)
{
    const char *text = json_string_value(json_object_get(object, key));
    if (!cyx_id_valid(text))
        return wrong(err, key, "an id (a UUID)");
    *ret_id = text;
    return CYX_OK;
}

enum cyx_status cyx_message_int(const json_t *object, const char *key, int64_t min, int64_t max,
                                int64_t *ret_value, struct cyx_error *err)
{
    const json_t *value = json_object_get(object, key);
    if (!json_is_integer(value) || json_integer_value(value) < min ||
        json_integer_value(value) > max) {
        char expected[96];
        snprintf(expected, sizeof(expected), "a whole number from %lld to %lld", (long long)min,
                 (long long)max);
        return wrong(err, key, expected);
    }
    *ret_value = json_integer_value(value);
    return CYX_OK;
}

enum cyx_status cyx_message_object(const json_t *object, const char *key, json_t **ret_object,
                                   struct cyx_error *err)
{
    json_t *value = json_object_get(object, key);
    if (!json_is_object(value))
        return wrong(err, key, "an object");
    *ret_object = value;
    return CYX_OK;
}

enum cyx_status cyx_message_amount(const json_t *object, const char *key, int64_t *ret_base_units,
                                   struct cyx_error *err)
{
    const char *text = json_string_value(json_object_get(object, key));
    int64_t amount = 0;
    if (!text || cyx_money_parse(text, &amount, NULL) != CYX_OK || amount < 0)
        return wrong(err, key, "an amount such as \"2.5 CYX\"");
    *ret_base_units = amount;
    return CYX_OK;
}

enum cyx_status cyx_message_maybe_text(const json_t *object, const char *key, const char **ret_text,
                                       struct cyx_error *err)
{
    return absent(object, key) ? CYX_OK : cyx_message_text(object, key, ret_text, err);
}

enum cyx_status cyx_message_maybe_id(const json_t *object, const char *key, const char **ret_id,
                                     struct cyx_error *err)
{
    return absent(object, key) ? CYX_OK : cyx_message_id(object, key, ret_id, err);
}

enum cyx_status cyx_message_maybe_int(const json_t *object, const char *key, int64_t min,
                                      int64_t max, int64_t *ret_value, struct cyx_error *err)
{
    return absent(object, key) ? CYX_OK : cyx_message_int(object, key, min, max, ret_value, err);
}

enum cyx_status cyx_message_page(const json_t *object, int64_t *ret_limit, const char **ret_cursor,
                                 struct cyx_error *err)
{
    *ret_limit = CYX_LIST_DEFAULT;
    *ret_cursor = NULL;
    enum cyx_status status =
        cyx_message_maybe_int(object, "limit", 1, CYX_LIST_LIMIT, ret_limit, err);
    if (status == CYX_OK)
        status = cyx_message_maybe_id(object, "cursor", ret_cursor, err);
    return status;
}

json_t *cyx_message_new_amount(int64_t base_units)
{
    char text[CYX_MONEY_TEXT_BYTES];
    cyx_money_format(base_units, text);
    return json_string(text);
}

json_t *cyx_message_new_text(const char *text)
{
    return text && *text ? json_string(text) : json_null();
}

json_t *cyx_message_new_time(int64_t unix_ms)
{
    if (unix_ms == 0)
        return json_null();
    char text[CYX_TIME_TEXT_BYTES];
    cyx_time_format(unix_ms, text);
    return json_string(text);
}

static int append_chunk(const char *bytes, size_t length, void *ctx)
{
    struct cyx_buf *text = ctx;
    cyx_buf_append(text, bytes, length);
    return text->failed ? -1 : 0;
}

enum cyx_status cyx_message_write(json_t *json, struct cyx_buf *ret_text, struct cyx_error *err)
{
    int failed = !json || json_dump_callback(json, append_chunk, ret_text,
                                             JSON_COMPACT | JSON_ENCODE_ANY) != 0;
    json_decref(json);
    if (failed)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for the answer");
    return CYX_OK;
}
