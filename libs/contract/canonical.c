#include "contract/canonical.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

static void append_number(double number, struct cyx_buf *text)
{
    char digits[32];
    for (int precision = 1; precision <= 17; precision++) {
        snprintf(digits, sizeof(digits), "%.*g", precision, number);
        if (strtod(digits, NULL) == number)
            break;
    }
    cyx_buf_puts(text, digits);
}

static int compare_keys(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void append_object(json_t *json, struct cyx_buf *text)
{
    size_t n = json_object_size(json), i = 0;
    const char **keys = calloc(n ? n : 1, sizeof(*keys));
    if (!keys) {
        text->failed = true;
        return;
    }
    const char *key;
    json_t *value;
    json_object_foreach(json, key, value) keys[i++] = key;
    qsort(keys, n, sizeof(*keys), compare_keys);
    cyx_buf_puts(text, "{");
    for (i = 0; i < n; i++) {
        if (i > 0)
            cyx_buf_puts(text, ",");
        cyx_buf_json_string(text, keys[i]);
        cyx_buf_puts(text, ":");
        spec_canonical(json_object_get(json, keys[i]), text);
    }
    cyx_buf_puts(text, "}");
    free(keys);
}

void spec_canonical(const json_t *json, struct cyx_buf *ret_text)
{
    switch (json_typeof(json)) {
    case JSON_OBJECT:
        append_object((json_t *)json, ret_text);
        return;
    case JSON_ARRAY:
        cyx_buf_puts(ret_text, "[");
        for (size_t i = 0; i < json_array_size(json); i++) {
            if (i > 0)
                cyx_buf_puts(ret_text, ",");
            spec_canonical(json_array_get(json, i), ret_text);
        }
        cyx_buf_puts(ret_text, "]");
        return;
    case JSON_STRING:
        cyx_buf_json_string(ret_text, json_string_value(json));
        return;
    case JSON_INTEGER:
        cyx_buf_printf(ret_text, "%" JSON_INTEGER_FORMAT, json_integer_value(json));
        return;
    case JSON_REAL:
        append_number(json_real_value(json), ret_text);
        return;
    case JSON_TRUE:
        cyx_buf_puts(ret_text, "true");
        return;
    case JSON_FALSE:
        cyx_buf_puts(ret_text, "false");
        return;
    case JSON_NULL:
        cyx_buf_puts(ret_text, "null");
        return;
    }
}
