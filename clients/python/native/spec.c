#include "spec.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "nn/format/model_file.h"

#include "base/banned.h"

struct py_spec {
    struct cyx_job_spec *spec;
    atomic_int references;
};

/* Takes `spec` over. */
static enum cyx_status hold(struct cyx_job_spec *spec, struct py_spec **ret_spec,
                            struct cyx_error *error)
{
    struct py_spec *self = calloc(1, sizeof(*self));
    if (!self) {
        cyx_job_spec_destroy(spec);
        return cyx_error_set(error, CYX_ERR_NO_MEMORY, NULL, "no memory for a spec");
    }
    self->spec = spec;
    atomic_init(&self->references, 1);
    *ret_spec = self;
    return CYX_OK;
}

enum cyx_status py_spec_parse(const char *json, size_t length, struct py_spec **ret_spec,
                              struct cyx_error *ret_error)
{
    struct cyx_job_spec *spec = NULL;
    enum cyx_status status = cyx_job_spec_parse(json, length, &spec, ret_error);
    return status == CYX_OK ? hold(spec, ret_spec, ret_error) : status;
}

enum cyx_status py_spec_of_model(const char *path, struct py_spec **ret_spec,
                                 struct cyx_error *ret_error)
{
    struct cyx_safetensors *file = NULL;
    struct cyx_model_about about = {0};
    struct cyx_job_spec *spec = NULL;
    enum cyx_status status = cyx_safetensors_open(path, &file, ret_error);
    if (status == CYX_OK)
        status = cyx_model_about_read(file, &about, ret_error);
    if (status == CYX_OK)
        status = cyx_model_about_spec(&about, path, &spec, ret_error);
    if (status == CYX_OK)
        status = hold(spec, ret_spec, ret_error);
    cyx_model_about_finish(&about);
    cyx_safetensors_close(file);
    return status;
}

struct py_spec *py_spec_ref(struct py_spec *self)
{
    atomic_fetch_add(&self->references, 1);
    return self;
}

void py_spec_release(struct py_spec *self)
{
    if (!self || atomic_fetch_sub(&self->references, 1) > 1)
        return;
    cyx_job_spec_destroy(self->spec);
    free(self);
}

struct cyx_job_spec *py_spec_of(struct py_spec *self)
{
    return self->spec;
}

void py_spec_facts(const struct py_spec *self, struct py_spec_facts *ret_facts)
{
    const struct cyx_job_spec *spec = self->spec;
    *ret_facts = (struct py_spec_facts){
        .name = spec->name,
        .canonical = spec->canonical,
        .backend = spec->resources.backend ? spec->resources.backend : "auto",
        .epochs = spec->epochs,
        .batch_size = spec->data.batch_size,
        .threads = spec->resources.threads,
        .validation_part = spec->data.validation_part,
        .seed = spec->seed,
        .shuffle = spec->data.shuffle,
        .drop_last = spec->data.drop_last,
        .accuracy = spec->metric_accuracy,
    };
}

void py_spec_sample(const struct py_spec *self, struct py_sample *ret_sample)
{
    const struct cyx_sample_shape *sample = &self->spec->data.sample;
    *ret_sample = (struct py_sample){
        .rank = sample->rank,
        .classes = sample->target == CYX_TARGET_CLASSES,
        .n_classes = sample->n_classes,
        .n_targets = sample->n_targets,
    };
    memcpy(ret_sample->dim, sample->dim, sizeof(ret_sample->dim));
}

void py_spec_set_sample(struct py_spec *self, const struct py_sample *sample)
{
    struct cyx_sample_shape *mine = &self->spec->data.sample;
    *mine = (struct cyx_sample_shape){
        .rank = sample->rank,
        .target = sample->classes ? CYX_TARGET_CLASSES : CYX_TARGET_NUMBERS,
        .n_classes = sample->n_classes,
        .n_targets = sample->n_targets,
    };
    memcpy(mine->dim, sample->dim, sizeof(mine->dim));
}

enum cyx_status py_spec_summarize(const struct py_spec *self, int64_t batch,
                                  struct cyx_model_summary **ret_summary,
                                  struct cyx_error *ret_error)
{
    return cyx_model_summarize(self->spec, batch, ret_summary, ret_error);
}

char *py_schema_text(void)
{
    return cyx_job_schema_text();
}

void py_text_free(char *text)
{
    free(text);
}
