/* Readers of what a job wants of its node and of the time: lists of labels, prices, ids, deadlines. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/id.h"
#include "contract/job_tables.h"
#include "contract/money.h"

#include "base/banned.h"

enum { WISH_BYTES_LIMIT = 64 };

bool cyx_label_valid(const char *text)
{
    static const char first[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    size_t length = strlen(text);
    return length >= 1 && length <= WISH_BYTES_LIMIT && strchr(first, text[0]) &&
           strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._=/-") ==
               length;
}

static bool stands_before(const struct cyx_texts_spec *texts, size_t count, const char *text)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(texts->items[i], text) == 0)
            return true;
    return false;
}

/* A list of texts, each judged by `good` and standing there once. */
static enum cyx_status read_texts(struct spec_reader *reader, const struct spec_field *field,
                                  json_t *value, void *target, bool (*good)(const char *),
                                  const char *expected)
{
    struct cyx_texts_spec *texts = (void *)((char *)target + field->offset);
    char got[SPEC_QUOTE_BYTES];
    size_t n = 0;
    enum cyx_status status = spec_list_length(reader, field, value, &n);
    reader->drop = n == 0;
    if (status != CYX_OK || n == 0)
        return status;
    texts->items = cyx_arena_calloc(reader->arena, n, sizeof(*texts->items));
    if (!texts->items)
        return spec_no_memory(reader);
    texts->n = n;
    for (size_t i = 0; i < n && status == CYX_OK; i++) {
        const json_t *item = json_array_get(value, i);
        spec_enter_index(reader, i);
        status = spec_read_string(reader, item, &texts->items[i]);
        if (status == CYX_OK && !good(texts->items[i]))
            status = spec_fail(reader, "expected %s, got %s", expected, spec_describe(item, got));
        else if (status == CYX_OK && stands_before(texts, i, texts->items[i]))
            status = spec_fail(reader, "%s stands here twice", spec_describe(item, got));
        spec_leave(reader);
    }
    return status;
}

enum cyx_status spec_read_wishes(struct spec_reader *reader, const struct spec_field *field,
                                 json_t *value, void *target)
{
    return read_texts(reader, field, value, target, cyx_label_valid,
                      "1 to 64 letters, digits and ._=/- that begin with a letter or digit");
}

enum cyx_status spec_read_after(struct spec_reader *reader, const struct spec_field *field,
                                json_t *value, void *target)
{
    return read_texts(reader, field, value, target, cyx_id_valid, "a job's id");
}

enum cyx_status spec_read_price(struct spec_reader *reader, const struct spec_field *field,
                                json_t *value, void *target)
{
    int64_t *price = (int64_t *)((char *)target + field->offset);
    char got[SPEC_QUOTE_BYTES], text[CYX_MONEY_TEXT_BYTES];
    struct cyx_error why = {0};
    reader->drop = !value;
    if (!value)
        return CYX_OK;
    if (!json_is_string(value))
        return spec_fail(reader, "expected a text with a unit such as \"2 CYX\", got %s",
                         spec_describe(value, got));
    if (cyx_money_parse(json_string_value(value), price, &why) != CYX_OK)
        return spec_fail(reader, "%s", why.message);
    if (*price <= 0)
        return spec_fail(reader, "expected more than 0 CYX, got %s", spec_describe(value, got));
    cyx_money_format(*price, text);
    reader->replacement = json_string(text);
    return CYX_OK;
}

enum cyx_status spec_read_deadline(struct spec_reader *reader, const struct spec_field *field,
                                   json_t *value, void *target)
{
    int64_t *deadline_ms = (int64_t *)((char *)target + field->offset);
    char got[SPEC_QUOTE_BYTES], text[CYX_TIME_TEXT_BYTES];
    reader->drop = !value;
    if (!value)
        return CYX_OK;
    const char *given = json_string_value(value);
    if (!given || cyx_time_parse(given, deadline_ms) != CYX_OK || *deadline_ms <= 0)
        return spec_fail(reader, "expected a time such as \"2030-01-31T12:00:00.000Z\", got %s",
                         spec_describe(value, got));
    cyx_time_format(*deadline_ms, text);
    reader->replacement = json_string(text);
    return CYX_OK;
}
