/*
 * A job spec as Python holds it: parsed by the one parser (contract/job_spec.h), shared by count between the
 * objects that stand on it.
 *
 * This header and its neighbours hold declarations alone: build_ffi.py gives them to cffi as they are, without the
 * lines of the preprocessor.
 *
 * Ownership: py_spec_parse() gives one reference; py_spec_release() gives it back, takes NULL. Thread rule: any.
 */
#ifndef CYX_PYTHON_SPEC_H
#define CYX_PYTHON_SPEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "contract/job_spec.h"
#include "model/summary.h"

struct py_spec;

/* What a loop around a spec needs to know of it, defaults filled in. Strings are the spec's. */
struct py_spec_facts {
    const char *name, *canonical, *backend;
    int64_t epochs, batch_size, threads;
    double validation_part;
    uint64_t seed;
    bool shuffle, drop_last, accuracy;
};

/* One sample: `dim` holds `rank` sizes without the batch. The target is a class, or `n_targets` numbers. */
struct py_sample {
    int rank; /* 0: not known */
    int64_t dim[3];
    bool classes;
    int64_t n_classes; /* 0: as many as the model has outputs */
    int64_t n_targets; /* 0: the data have none */
};

enum cyx_status py_spec_parse(const char *json, size_t length, struct py_spec **ret_spec,
                              struct cyx_error *ret_error);
void py_spec_release(struct py_spec *self);
void py_spec_facts(const struct py_spec *self, struct py_spec_facts *ret_facts);
void py_spec_sample(const struct py_spec *self, struct py_sample *ret_sample);
/* What only the data can tell, before anything is built from the spec. */
void py_spec_set_sample(struct py_spec *self, const struct py_sample *sample);

/* The spec that a model's file holds, its sample with it; CYX_ERR_INVALID where it holds none. */
enum cyx_status py_spec_of_model(const char *path, struct py_spec **ret_spec,
                                 struct cyx_error *ret_error);

/* What the model is and takes at this batch size: model/summary.h; free with cyx_model_summary_destroy(). */
enum cyx_status py_spec_summarize(const struct py_spec *self, int64_t batch,
                                  struct cyx_model_summary **ret_summary,
                                  struct cyx_error *ret_error);

/* The JSON Schema, made from the parser's tables; free with py_text_free(). NULL when memory ran out. */
char *py_schema_text(void);
void py_text_free(char *text);

#ifndef CYX_PYTHON_FFI
/* For the neighbours: another reference, and the spec itself. */
struct py_spec *py_spec_ref(struct py_spec *self);
struct cyx_job_spec *py_spec_of(struct py_spec *self);
#endif

#endif
