/* Reads the list of layers: names, and the inputs that refer to them. */
#include <stdio.h>
#include <string.h>

#include "contract/job_tables.h"

#include "base/banned.h"

/* [A-Za-z_][A-Za-z0-9_]*: safe in a state_dict's keys. */
static bool is_identifier(const char *name)
{
    for (const char *p = name; *p; p++) {
        bool letter = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || *p == '_';
        if (!letter && (p == name || *p < '0' || *p > '9'))
            return false;
    }
    return *name != '\0';
}

static enum cyx_status judge_name(struct spec_reader *reader, const char *name, const char *index)
{
    char got[SPEC_QUOTE_BYTES];
    if (!is_identifier(name) && strcmp(name, index) != 0)
        return spec_fail(reader,
                         "expected letters, digits and _, not starting with a digit (or the "
                         "layer's index %s), got %s",
                         index, spec_quote(name, got));
    if (strlen(name) > CYX_LAYER_NAME_LIMIT)
        return spec_fail(reader, "expected at most %d characters, got %zu", CYX_LAYER_NAME_LIMIT,
                         strlen(name));
    if (strcmp(name, "input") == 0)
        return spec_fail(reader, "\"input\" is the name of the model's input");
    return CYX_OK;
}

/* `names` maps the names of the layers before this one to their indices. */
static enum cyx_status read_layer_name(struct spec_reader *reader, json_t *json, size_t index,
                                       json_t *names, struct cyx_layer_spec *layer)
{
    const char *fallback = cyx_arena_printf(reader->arena, "%zu", index);
    const json_t *value = json_object_get(json, "name");
    layer->name = fallback;
    if (!fallback)
        return spec_no_memory(reader);
    if (!value)
        return CYX_OK;
    spec_enter_key(reader, "name");
    enum cyx_status status = spec_read_string(reader, value, &layer->name);
    if (status == CYX_OK)
        status = judge_name(reader, layer->name, fallback);
    const json_t *earlier = status == CYX_OK ? json_object_get(names, layer->name) : NULL;
    if (earlier)
        status = spec_fail(reader, "layer %" JSON_INTEGER_FORMAT " has the name \"%s\" already",
                           json_integer_value(earlier), layer->name);
    spec_leave(reader);
    if (status == CYX_OK && strcmp(layer->name, fallback) == 0)
        json_object_del(json, "name");
    return status;
}

/* `later` holds the names of all layers: it tells one that comes later from one that is not there.
 */
static enum cyx_status read_input(struct spec_reader *reader, const json_t *value,
                                  const json_t *names, const json_t *later, int32_t *ret_index)
{
    const char *text = json_string_value(value);
    char got[SPEC_QUOTE_BYTES];
    if (!text)
        return spec_fail(reader, "expected the name of a layer or \"input\", got %s",
                         spec_describe(value, got));
    *ret_index = -1;
    if (strcmp(text, "input") == 0)
        return CYX_OK;
    const json_t *found = json_object_get(names, text);
    if (found) {
        *ret_index = (int32_t)json_integer_value(found);
        return CYX_OK;
    }
    if (json_object_get(later, text))
        return spec_fail(reader, "layer %s does not come before this one", spec_quote(text, got));
    return spec_fail(reader, "there is no layer %s", spec_quote(text, got));
}

static enum cyx_status read_inputs(struct spec_reader *reader, const json_t *value, json_t *names,
                                   const json_t *later, size_t index, struct cyx_layer_spec *layer)
{
    char got[SPEC_QUOTE_BYTES];
    struct spec_input_range wanted = spec_layer_inputs(layer->type);
    size_t n = value ? json_array_size(value) : 1;
    if (n < wanted.least || n > wanted.most || (value && !json_is_array(value))) {
        const char *what = value ? spec_describe(value, got) : "none";
        if (wanted.most == 1)
            return spec_fail(reader, "%s takes a list of 1 input, got %s",
                             cyx_layer_type_name(layer->type), what);
        return spec_fail(reader,
                         "%s takes a list of %zu to %zu inputs, names of earlier layers, got %s",
                         cyx_layer_type_name(layer->type), wanted.least, wanted.most, what);
    }
    int32_t *indices = cyx_arena_calloc(reader->arena, n, sizeof(*indices));
    layer->inputs = cyx_arena_calloc(reader->arena, n, sizeof(*layer->inputs));
    if (!indices || !layer->inputs)
        return spec_no_memory(reader);
    layer->input_index = indices;
    layer->n_inputs = n;
    indices[0] = (int32_t)index - 1;
    for (size_t i = 0; value && i < n; i++) {
        spec_enter_index(reader, i);
        enum cyx_status status =
            read_input(reader, json_array_get(value, i), names, later, &indices[i]);
        spec_leave(reader);
        if (status != CYX_OK)
            return status;
    }
    return CYX_OK;
}

/* The names that layers will have, as far as they are texts: for telling "later" from "unknown". */
static json_t *collect_names(const json_t *list)
{
    json_t *names = json_object();
    for (size_t i = 0; names && i < json_array_size(list); i++) {
        const char *name = json_string_value(json_object_get(json_array_get(list, i), "name"));
        char index[24];
        snprintf(index, sizeof(index), "%zu", i);
        json_object_set_new(names, name ? name : index, json_true());
    }
    return names;
}

static enum cyx_status read_layer(struct spec_reader *reader, json_t *json,
                                  const struct spec_union *set, size_t index, json_t *names,
                                  const json_t *later, struct cyx_layer_spec *layers)
{
    struct cyx_layer_spec *layer = &layers[index];
    enum cyx_status status = spec_read_union(reader, json, set, layer);
    if (status == CYX_OK)
        status = read_layer_name(reader, json, index, names, layer);
    if (status != CYX_OK)
        return status;
    spec_enter_key(reader, "inputs");
    status = read_inputs(reader, json_object_get(json, "inputs"), names, later, index, layer);
    spec_leave(reader);
    if (status != CYX_OK)
        return status;
    for (size_t i = 0; i < layer->n_inputs; i++)
        layer->inputs[i] = layer->input_index[i] < 0 ? "input" : layers[layer->input_index[i]].name;
    if (layer->n_inputs == 1 && layer->input_index[0] == (int32_t)index - 1)
        json_object_del(json, "inputs");
    if (json_object_set_new(names, layer->name, json_integer((json_int_t)index)) != 0)
        return spec_no_memory(reader);
    return CYX_OK;
}

enum cyx_status spec_read_layers(struct spec_reader *reader, const struct spec_field *field,
                                 json_t *value, void *target)
{
    struct cyx_job_spec *spec = target;
    enum cyx_status status = spec_list_length(reader, field, value, &spec->n_layers);
    if (status != CYX_OK)
        return status;
    spec->layers = cyx_arena_calloc(reader->arena, spec->n_layers, sizeof(*spec->layers));
    json_t *names = json_object(), *later = collect_names(value);
    if (!spec->layers || !names || !later) {
        spec_no_memory(reader);
        status = CYX_ERR_NO_MEMORY;
    }
    for (size_t i = 0; i < spec->n_layers && status == CYX_OK; i++) {
        spec_enter_index(reader, i);
        status =
            read_layer(reader, json_array_get(value, i), field->set, i, names, later, spec->layers);
        spec_leave(reader);
    }
    json_decref(names);
    json_decref(later);
    reader->drop = false;
    return status;
}
