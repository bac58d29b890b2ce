#include "spec.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

struct py_spec {
    struct cyx_job_spec *spec;
    atomic_int references;
};

enum cyx_status py_spec_parse(const char *json, size_t length, struct py_spec **ret_spec,
                              struct cyx_error *ret_error)
{
    struct py_spec *self = calloc(1, sizeof(*self));
    if (!self)
        return cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL, "no memory for a spec");
    enum cyx_status status = cyx_job_spec_parse(json, length, &self->spec, ret_error);
    if (status != CYX_OK) {
        free(self);
        return status;
    }
    atomic_init(&self->references, 1);
    *ret_spec = self;
    return CYX_OK;
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

char *py_schema_text(void)
{
    return cyx_job_schema_text();
}

void py_text_free(char *text)
{
    free(text);
}
