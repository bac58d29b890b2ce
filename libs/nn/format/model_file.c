#include "nn/format/model_file.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/version.h"
#include "contract/dataset.h"

#include "base/banned.h"

/* ---- writing ---- */

struct writer {
    struct cyx_arena *arena;
    struct cyx_safetensors_pair *pairs;
    size_t count;
    bool failed;
};

static void add_text(struct writer *writer, const char *key, const char *value)
{
    writer->failed = writer->failed || !value;
    writer->pairs[writer->count++] = (struct cyx_safetensors_pair){key, value};
}

/* Takes the reference. */
static void add_json(struct writer *writer, const char *key, json_t *value)
{
    char *text = value ? json_dumps(value, JSON_COMPACT | JSON_REAL_PRECISION(15)) : NULL;
    add_text(writer, key, text ? cyx_arena_strdup(writer->arena, text) : NULL);
    free(text);
    json_decref(value);
}

static void add_classes(struct writer *writer, const char *const *classes, size_t n_classes)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n_classes; i++)
        if (json_array_append_new(list, json_string(classes[i])) != 0)
            writer->failed = true;
    add_json(writer, "cyxwiz.classes", list);
}

static void add_sample(struct writer *writer, const struct cyx_sample_shape *sample)
{
    json_t *list = json_array();
    for (int i = 0; i < sample->rank; i++)
        json_array_append_new(list, json_integer(sample->dim[i]));
    bool classes = sample->target == CYX_TARGET_CLASSES;
    add_json(writer, "cyxwiz.sample",
             json_pack("{s:o, s:I}", "shape", list, classes ? "n_classes" : "n_targets",
                       (json_int_t)(classes ? sample->n_classes : sample->n_targets)));
}

static void add_normalize(struct writer *writer, const struct cyx_transform_spec *normalize)
{
    json_t *mean = json_array(), *std = json_array();
    size_t n = normalize->n_channels ? normalize->n_channels : 1;
    for (size_t i = 0; i < n; i++) {
        json_array_append_new(mean, json_real(normalize->mean[i]));
        json_array_append_new(std, json_real(normalize->std[i]));
    }
    add_json(writer, "cyxwiz.normalize", json_pack("{s:o, s:o}", "mean", mean, "std", std));
}

static const struct cyx_transform_spec *find_normalize(const struct cyx_data_spec *data)
{
    for (size_t i = data->n_transforms; i > 0; i--)
        if (data->transforms[i - 1].type == CYX_TRANSFORM_NORMALIZE)
            return &data->transforms[i - 1];
    return NULL;
}

enum cyx_status cyx_model_about_pairs(const struct cyx_job_spec *spec, const char *const *classes,
                                      size_t n_classes, struct cyx_arena *arena,
                                      struct cyx_safetensors_pair ret_pairs[CYX_MODEL_PAIRS_LIMIT],
                                      size_t *ret_count, struct cyx_error *ret_error)
{
    struct writer writer = {.arena = arena, .pairs = ret_pairs};
    const struct cyx_dataset *set = classes ? NULL : cyx_dataset_find(spec->data.dataset);
    const struct cyx_transform_spec *normalize = find_normalize(&spec->data);
    if (set) {
        classes = set->classes;
        n_classes = set->n_classes;
    }
    add_text(&writer, "format", "pt");
    add_text(&writer, "cyxwiz.version", cyx_version());
    add_text(&writer, "cyxwiz.spec", spec->canonical);
    add_text(&writer, "cyxwiz.dataset", spec->dataset_hash ? spec->dataset_hash : "");
    add_sample(&writer, &spec->data.sample);
    if (classes && n_classes > 0)
        add_classes(&writer, classes, n_classes);
    if (normalize)
        add_normalize(&writer, normalize);
    if (writer.failed)
        return cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL, "no memory to write a model");
    *ret_count = writer.count;
    return CYX_OK;
}

/* ---- reading ---- */

static enum cyx_status take_classes(const json_t *list, struct cyx_model_about *about,
                                    struct cyx_error *error)
{
    size_t count = json_array_size(list);
    about->classes = cyx_arena_calloc(&about->arena, count, sizeof(*about->classes));
    for (size_t i = 0; i < count; i++) {
        const char *name = json_string_value(json_array_get(list, i));
        if (!name)
            return cyx_error_set(error, CYX_ERR_CORRUPT, NULL,
                                 "the model's cyxwiz.classes holds what is no text");
        if (!about->classes || !(about->classes[i] = cyx_arena_strdup(&about->arena, name)))
            return cyx_error_set(error, CYX_ERR_NO_MEMORY, NULL, "no memory for class names");
    }
    about->n_classes = count;
    return CYX_OK;
}

static enum cyx_status read_classes(const struct cyx_safetensors *file,
                                    struct cyx_model_about *about, struct cyx_error *error)
{
    const char *text = cyx_safetensors_metadata(file, "cyxwiz.classes");
    json_t *list = text ? json_loads(text, 0, NULL) : NULL;
    enum cyx_status status = CYX_OK;
    if (text && (!json_is_array(list) || json_array_size(list) > CYX_MODEL_CLASSES_LIMIT))
        status = cyx_error_set(error, CYX_ERR_CORRUPT, NULL,
                               "the model's cyxwiz.classes is no JSON list of names");
    else if (text)
        status = take_classes(list, about, error);
    json_decref(list);
    return status;
}

/* A whole number in [min, 2^31); -1 for anything else. */
static int64_t read_size(const json_t *value, int64_t min)
{
    json_int_t number = json_is_integer(value) ? json_integer_value(value) : -1;
    return number >= min && number <= INT32_MAX ? number : -1;
}

static bool take_sample(const json_t *value, struct cyx_sample_shape *sample)
{
    const json_t *shape = json_object_get(value, "shape");
    const json_t *classes = json_object_get(value, "n_classes");
    int64_t count = read_size(classes ? classes : json_object_get(value, "n_targets"), 0);
    size_t rank = json_array_size(shape);
    bool good = rank >= 1 && rank <= 3 && count >= 0;
    for (size_t i = 0; good && i < rank; i++) {
        sample->dim[i] = read_size(json_array_get(shape, i), 1);
        good = sample->dim[i] > 0;
    }
    sample->rank = (int)rank;
    sample->target = classes ? CYX_TARGET_CLASSES : CYX_TARGET_NUMBERS;
    *(classes ? &sample->n_classes : &sample->n_targets) = count;
    return good;
}

static enum cyx_status read_sample(const struct cyx_safetensors *file,
                                   struct cyx_model_about *about, struct cyx_error *error)
{
    const char *text = cyx_safetensors_metadata(file, "cyxwiz.sample");
    json_t *value = text ? json_loads(text, JSON_REJECT_DUPLICATES, NULL) : NULL;
    bool good = !text || take_sample(value, &about->sample);
    json_decref(value);
    if (!good)
        return cyx_error_set(error, CYX_ERR_CORRUPT, NULL,
                             "the model's cyxwiz.sample is no shape of one to three sizes with "
                             "n_classes or n_targets");
    return CYX_OK;
}

enum cyx_status cyx_model_about_read(const struct cyx_safetensors *file,
                                     struct cyx_model_about *ret_about, struct cyx_error *ret_error)
{
    struct cyx_model_about about = {.version = cyx_safetensors_metadata(file, "cyxwiz.version"),
                                    .spec = cyx_safetensors_metadata(file, "cyxwiz.spec")};
    enum cyx_status status = read_classes(file, &about, ret_error);
    if (status == CYX_OK)
        status = read_sample(file, &about, ret_error);
    if (status == CYX_OK)
        *ret_about = about;
    else
        cyx_model_about_finish(&about);
    return status;
}

enum cyx_status cyx_model_about_spec(const struct cyx_model_about *self, const char *path,
                                     struct cyx_job_spec **ret_spec, struct cyx_error *ret_error)
{
    struct cyx_job_spec *spec = NULL;
    if (!self->spec)
        return cyx_error_set(ret_error, CYX_ERR_INVALID, NULL,
                             "%s does not say which layers its weights belong to: give the spec "
                             "(--spec)",
                             path);
    enum cyx_status status = cyx_job_spec_parse(self->spec, strlen(self->spec), &spec, ret_error);
    if (status != CYX_OK)
        return status;
    if (spec->data.sample.rank == 0) /* data of the machine where it was trained */
        spec->data.sample = self->sample;
    *ret_spec = spec;
    return CYX_OK;
}

void cyx_model_about_finish(struct cyx_model_about *self)
{
    cyx_arena_finish(&self->arena);
    *self = (struct cyx_model_about){0};
}
