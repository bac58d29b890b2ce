/* The JSON Schema (draft 2020-12) of a job spec, written from the tables that the parser reads by. */
#include <math.h>
#include <string.h>

#include "contract/dataset.h"
#include "contract/job_tables.h"

#include "base/banned.h"

/* The named unions and where they stand in "$defs". */
static const struct {
    const char *name;
    const struct spec_union *set;
} unions[] = {
    {"Layer", &spec_layers},         {"Transform", &spec_transforms}, {"Loss", &spec_losses},
    {"Optimizer", &spec_optimizers}, {"Scheduler", &spec_schedulers}, {"DataSource", &spec_sources},
};

static json_t *number(double value)
{
    return value == floor(value) && fabs(value) <= SPEC_INTEGER_MAX
               ? json_integer((json_int_t)value)
               : json_real(value);
}

static json_t *reference(const struct spec_union *set)
{
    for (size_t i = 0; i < SPEC_COUNT(unions); i++)
        if (unions[i].set == set)
            return json_pack("{s:o}", "$ref", json_sprintf("#/$defs/%s", unions[i].name));
    return NULL;
}

static json_t *range(const struct spec_field *field)
{
    const char *type = field->kind == SPEC_NUMBER ? "number" : "integer";
    return json_pack("{s:s,s:o,s:o}", "type", type,
                     field->above_min ? "exclusiveMinimum" : "minimum", number(field->min),
                     field->below_max ? "exclusiveMaximum" : "maximum", number(field->max));
}

static json_t *choices(const struct spec_field *field)
{
    json_t *list = json_array();
    for (size_t i = 0; field->choices[i]; i++)
        json_array_append_new(list, json_string(field->choices[i]));
    return json_pack("{s:o}", "enum", list);
}

/* A name, or an object. */
static json_t *dataset_schema(void)
{
    size_t n = 0;
    const struct cyx_dataset *sets = cyx_dataset_all(&n);
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, json_string(sets[i].name));
    return json_pack("{s:[{s:o},o]}", "anyOf", "enum", list, reference(&spec_sources));
}

static json_t *object_schema(const struct spec_object *object);

static json_t *fragment(const struct spec_field *field)
{
    if (field->read == spec_read_dataset)
        return dataset_schema();
    if (field->object) /* a list of these */
        return json_pack("{s:s,s:i,s:i,s:o}", "type", "array", "minItems", (int)field->items_min,
                         "maxItems", (int)field->items_max, "items", object_schema(field->object));
    return json_loads(field->schema, 0, NULL);
}

static json_t *bare_schema(const struct spec_field *field)
{
    switch (field->kind) {
    case SPEC_INTEGER:
    case SPEC_NUMBER:
        return range(field);
    case SPEC_BOOLEAN:
        return json_pack("{s:s}", "type", "boolean");
    case SPEC_CHOICE:
    case SPEC_CHOICE_TEXT:
    case SPEC_CHOICE_BOOL:
        return choices(field);
    case SPEC_PAIR:
        return json_pack("{s:[o,{s:s,s:i,s:i,s:o}]}", "anyOf", range(field), "type", "array",
                         "minItems", 2, "maxItems", 2, "items", range(field));
    case SPEC_OBJECT:
        return object_schema(field->object);
    case SPEC_UNION:
        return reference(field->set);
    case SPEC_UNION_LIST:
        return json_pack("{s:s,s:i,s:i,s:o}", "type", "array", "minItems", (int)field->items_min,
                         "maxItems", (int)field->items_max, "items", reference(field->set));
    case SPEC_TAG:
    case SPEC_IGNORED:
    case SPEC_CUSTOM:
        return fragment(field);
    }
    return NULL;
}

/* The default, NULL where there is none: what is required, or is taken from elsewhere when left out. */
static json_t *default_value(const struct spec_field *field)
{
    if (field->required)
        return NULL;
    switch (field->kind) {
    case SPEC_BOOLEAN:
        return json_boolean(field->fallback != 0);
    case SPEC_CHOICE:
    case SPEC_CHOICE_TEXT:
    case SPEC_CHOICE_BOOL:
        return json_string(field->choices[(int)field->fallback]);
    case SPEC_INTEGER:
    case SPEC_NUMBER:
    case SPEC_PAIR:
        return field->fallback < field->min ? NULL : number(field->fallback);
    default:
        return NULL;
    }
}

static json_t *field_schema(const struct spec_field *field)
{
    json_t *schema = bare_schema(field);
    json_t *fallback = default_value(field);
    json_object_set_new(schema, "description", json_string(field->help));
    if (fallback)
        json_object_set_new(schema, "default", fallback);
    return schema;
}

static void add_fields(json_t *schema, const struct spec_field *fields, size_t n_fields,
                       const char *tag, const char *type)
{
    json_t *properties = json_object_get(schema, "properties");
    json_t *required = json_object_get(schema, "required");
    for (size_t i = 0; i < n_fields; i++) {
        bool chooses = tag && strcmp(fields[i].key, tag) == 0;
        json_object_set_new(properties, fields[i].key,
                            chooses ? json_pack("{s:s}", "const", type) : field_schema(&fields[i]));
        if (fields[i].required)
            json_array_append_new(required, json_string(fields[i].key));
    }
}

static json_t *new_object(const char *help)
{
    return json_pack("{s:s,s:s,s:b,s:[],s:{}}", "description", help, "type", "object",
                     "additionalProperties", 0, "required", "properties");
}

static json_t *object_schema(const struct spec_object *object)
{
    json_t *schema = new_object(object->help);
    add_fields(schema, object->fields, object->n_fields, NULL, NULL);
    return schema;
}

static json_t *variant_schema(const struct spec_union *set, const struct spec_object *variant)
{
    json_t *schema = new_object(variant->help);
    add_fields(schema, set->common, set->n_common, spec_tag(set), variant->what);
    add_fields(schema, variant->fields, variant->n_fields, spec_tag(set), variant->what);
    return schema;
}

static void add_union(json_t *defs, const char *name, const struct spec_union *set)
{
    json_t *any = json_array();
    for (size_t i = 0; i < set->n_variants; i++) {
        const char *what = set->variants[i].what;
        json_array_append_new(any, json_pack("{s:o}", "$ref", json_sprintf("#/$defs/%s", what)));
        json_object_set_new(defs, what, variant_schema(set, &set->variants[i]));
    }
    json_object_set_new(defs, name, json_pack("{s:o}", "oneOf", any));
}

char *cyx_job_schema_text(void)
{
    json_t *defs = json_object();
    for (size_t i = 0; i < SPEC_COUNT(unions); i++)
        add_union(defs, unions[i].name, unions[i].set);
    json_t *schema =
        json_pack("{s:s,s:s}", "$schema", "https://json-schema.org/draft/2020-12/schema", "title",
                  "CyxWiz job spec");
    json_t *job = object_schema(&spec_job);
    json_object_update(schema, job);
    json_object_set_new(schema, "$defs", defs);
    char *text = json_dumps(schema, JSON_INDENT(2) | JSON_REAL_PRECISION(15));
    json_decref(job);
    json_decref(schema);
    return text;
}
