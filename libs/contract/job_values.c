/* Readers of the members that are no plain number, choice or object: named by the rows of
 * job_tables.c. */
#include <stdio.h>
#include <string.h>

#include "contract/job_tables.h"
#include "contract/money.h"

#include "base/banned.h"

enum { WEIGHTS_LIMIT = 65536, PATTERNS_LIMIT = 256 };

/* Whether a code point can stand in a name: no controls, and nothing that turns or hides text. */
static bool printable(unsigned code)
{
    if (code < 0x20 || (code >= 0x7F && code < 0xA0))
        return false;
    if ((code >= 0x200B && code <= 0x200F) || (code >= 0x2028 && code <= 0x202E))
        return false;
    return !(code >= 0x2060 && code <= 0x206F) && code != 0xFEFF && code < 0xE0000;
}

/* The next code point of text that is known to be UTF-8. */
static unsigned next_code(const char **text)
{
    const unsigned char *p = (const unsigned char *)*text;
    int more = *p < 0x80 ? 0 : *p < 0xE0 ? 1 : *p < 0xF0 ? 2 : 3;
    unsigned code = more == 0 ? *p : *p & (0x3Fu >> more);
    for (int i = 1; i <= more; i++)
        code = code << 6 | (p[i] & 0x3Fu);
    *text += more + 1;
    return code;
}

enum cyx_status spec_read_job_name(struct spec_reader *reader, const struct spec_field *field,
                                   json_t *value, void *target)
{
    const char *name = NULL;
    enum cyx_status status = spec_read_string(reader, value, &name);
    if (status != CYX_OK)
        return status;
    size_t characters = 0;
    for (const char *p = name; *p; characters++) {
        unsigned code = next_code(&p);
        if (!printable(code))
            return spec_fail(reader, "expected printable characters, got U+%04X", code);
    }
    if (characters < 1 || characters > CYX_JOB_NAME_LIMIT)
        return spec_fail(reader, "expected 1 to %d characters, got %zu", CYX_JOB_NAME_LIMIT,
                         characters);
    if (name[0] == ' ' || name[strlen(name) - 1] == ' ')
        return spec_fail(reader, "expected no space at the start or the end");
    *(const char **)((char *)target + field->offset) = name;
    return CYX_OK;
}

enum cyx_status spec_read_metrics(struct spec_reader *reader, const struct spec_field *field,
                                  json_t *value, void *target)
{
    bool *accuracy = (bool *)((char *)target + field->offset);
    *accuracy = !value;
    char got[SPEC_QUOTE_BYTES];
    if (value && !json_is_array(value))
        return spec_fail(reader, "expected a list such as [\"accuracy\"], got %s",
                         spec_describe(value, got));
    for (size_t i = 0; i < json_array_size(value); i++) {
        const json_t *item = json_array_get(value, i);
        const char *text = json_string_value(item);
        spec_enter_index(reader, i);
        enum cyx_status status = CYX_OK;
        if (!text || strcmp(text, "accuracy") != 0)
            status =
                spec_fail(reader, "unknown metric %s; known: accuracy", spec_describe(item, got));
        else if (*accuracy)
            status = spec_fail(reader, "\"accuracy\" stands here twice");
        spec_leave(reader);
        if (status != CYX_OK)
            return status;
        *accuracy = true;
    }
    reader->drop = *accuracy;
    return CYX_OK;
}

enum cyx_status spec_read_budget(struct spec_reader *reader, const struct spec_field *field,
                                 json_t *value, void *target)
{
    int64_t *budget = (int64_t *)((char *)target + field->offset);
    const int64_t fallback = 10 * CYX_MONEY_ONE;
    char got[SPEC_QUOTE_BYTES];
    *budget = fallback;
    reader->drop = true;
    if (!value)
        return CYX_OK;
    if (!json_is_string(value))
        return spec_fail(reader, "expected a text with a unit such as \"2.5 CYX\", got %s",
                         spec_describe(value, got));
    struct cyx_error why = {0};
    if (cyx_money_parse(json_string_value(value), budget, &why) != CYX_OK)
        return spec_fail(reader, "%s", why.message);
    if (*budget <= 0)
        return spec_fail(reader, "expected more than 0 CYX, got %s", spec_describe(value, got));
    char text[CYX_MONEY_TEXT_BYTES];
    cyx_money_format(*budget, text);
    reader->drop = *budget == fallback;
    reader->replacement = json_string(text);
    return CYX_OK;
}

enum cyx_status spec_read_betas(struct spec_reader *reader, const struct spec_field *field,
                                json_t *value, void *target)
{
    double *betas = (double *)((char *)target + field->offset);
    betas[0] = 0.9;
    betas[1] = 0.999;
    reader->drop = true;
    if (!value)
        return CYX_OK;
    char got[SPEC_QUOTE_BYTES];
    if (!json_is_array(value) || json_array_size(value) != 2)
        return spec_fail(reader, "expected a pair such as [0.9, 0.999], got %s",
                         spec_describe(value, got));
    for (size_t i = 0; i < 2; i++) {
        spec_enter_index(reader, i);
        enum cyx_status status =
            spec_read_number(reader, field, json_array_get(value, i), &betas[i]);
        spec_leave(reader);
        if (status != CYX_OK)
            return status;
    }
    reader->drop = betas[0] == 0.9 && betas[1] == 0.999;
    return CYX_OK;
}

enum cyx_status spec_read_padding(struct spec_reader *reader, const struct spec_field *field,
                                  json_t *value, void *target)
{
    struct cyx_conv2d_spec *conv = &((struct cyx_layer_spec *)target)->conv2d;
    reader->drop = true;
    if (!value)
        return CYX_OK;
    if (json_is_string(value)) {
        const char *text = json_string_value(value);
        char got[SPEC_QUOTE_BYTES];
        conv->padding_same = strcmp(text, "same") == 0;
        reader->drop = !conv->padding_same;
        if (!conv->padding_same && strcmp(text, "valid") != 0)
            return spec_fail(reader, "expected a number, a pair, \"same\" or \"valid\", got %s",
                             spec_quote(text, got));
        return CYX_OK;
    }
    enum cyx_status status = spec_read_pair(reader, field, value, conv->padding);
    reader->drop = conv->padding[0] == 0 && conv->padding[1] == 0;
    if (conv->padding[0] == conv->padding[1])
        reader->replacement = json_integer(conv->padding[0]);
    return status;
}

/* A number, or a list of one to three: struct cyx_sizes_spec at the field's place. */
enum cyx_status spec_read_sizes(struct spec_reader *reader, const struct spec_field *field,
                                json_t *value, void *target)
{
    struct cyx_sizes_spec *sizes = (void *)((char *)target + field->offset);
    char got[SPEC_QUOTE_BYTES];
    if (!value)
        return CYX_OK;
    if (json_is_number(value)) {
        sizes->rank = 1;
        reader->replacement = json_pack("[O]", value);
        return spec_read_integer(reader, field, value, &sizes->dim[0]);
    }
    sizes->rank = json_array_size(value);
    if (sizes->rank < 1 || sizes->rank > 3)
        return spec_fail(reader, "expected a number or a list of one to three, got %s",
                         spec_describe(value, got));
    for (size_t i = 0; i < sizes->rank; i++) {
        spec_enter_index(reader, i);
        enum cyx_status status =
            spec_read_integer(reader, field, json_array_get(value, i), &sizes->dim[i]);
        spec_leave(reader);
        if (status != CYX_OK)
            return status;
    }
    return CYX_OK;
}

/* ---- loss and optimizer ---- */

enum cyx_status spec_read_weights(struct spec_reader *reader, const struct spec_field *field,
                                  json_t *value, void *target)
{
    struct cyx_loss_spec *loss = target;
    char got[SPEC_QUOTE_BYTES];
    if (!value)
        return CYX_OK;
    size_t n = json_array_size(value);
    if (n < 1 || n > WEIGHTS_LIMIT)
        return spec_fail(reader, "expected a list of 1 to %d numbers, got %s", WEIGHTS_LIMIT,
                         spec_describe(value, got));
    float *weights = cyx_arena_calloc(reader->arena, n, sizeof(*weights));
    if (!weights)
        return spec_no_memory(reader);
    for (size_t i = 0; i < n; i++) {
        double weight = 0;
        spec_enter_index(reader, i);
        enum cyx_status status = spec_read_number(reader, field, json_array_get(value, i), &weight);
        spec_leave(reader);
        if (status != CYX_OK)
            return status;
        weights[i] = (float)weight;
    }
    loss->weight = weights;
    loss->n_weight = n;
    return CYX_OK;
}

static enum cyx_status read_patterns(struct spec_reader *reader, const json_t *value,
                                     struct cyx_param_group_spec *group)
{
    char got[SPEC_QUOTE_BYTES];
    size_t n = json_array_size(value);
    if (n < 1 || n > PATTERNS_LIMIT)
        return spec_fail(reader, "expected a list of 1 to %d patterns such as \"*.bias\", got %s",
                         PATTERNS_LIMIT, spec_describe(value, got));
    group->params = cyx_arena_calloc(reader->arena, n, sizeof(*group->params));
    if (!group->params)
        return spec_no_memory(reader);
    group->n_params = n;
    for (size_t i = 0; i < n; i++) {
        spec_enter_index(reader, i);
        enum cyx_status status =
            spec_read_string(reader, json_array_get(value, i), &group->params[i]);
        if (status == CYX_OK && (!*group->params[i] || strlen(group->params[i]) > 128))
            status = spec_fail(reader, "expected 1 to 128 characters");
        spec_leave(reader);
        if (status != CYX_OK)
            return status;
    }
    return CYX_OK;
}

enum cyx_status spec_read_param_groups(struct spec_reader *reader, const struct spec_field *field,
                                       json_t *value, void *target)
{
    struct cyx_optimizer_spec *optimizer = target;
    size_t n = 0;
    enum cyx_status status = spec_list_length(reader, field, value, &n);
    if (!value || status != CYX_OK)
        return status;
    struct cyx_param_group_spec *groups =
        cyx_arena_calloc(reader->arena, n, sizeof(struct cyx_param_group_spec));
    if (!groups)
        return spec_no_memory(reader);
    optimizer->groups = groups;
    optimizer->n_groups = n;
    for (size_t i = 0; i < n && status == CYX_OK; i++) {
        json_t *json = json_array_get(value, i);
        spec_enter_index(reader, i);
        status = spec_read_object(reader, json, field->object, &groups[i]);
        if (status == CYX_OK) {
            spec_enter_key(reader, "params");
            status = read_patterns(reader, json_object_get(json, "params"), &groups[i]);
            spec_leave(reader);
        }
        spec_leave(reader);
    }
    reader->drop = false;
    return status;
}

/* Judges a list's type and length; its length is 0 when it is absent. */
enum cyx_status spec_list_length(struct spec_reader *reader, const struct spec_field *field,
                                 const json_t *value, size_t *ret_n)
{
    char got[SPEC_QUOTE_BYTES];
    *ret_n = json_array_size(value);
    if (!value ||
        (json_is_array(value) && *ret_n >= field->items_min && *ret_n <= field->items_max))
        return CYX_OK;
    return spec_fail(reader, "expected a list of %zu to %zu, got %s", field->items_min,
                     field->items_max, spec_describe(value, got));
}
