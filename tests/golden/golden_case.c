#include "golden_case.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "model/private.h"
#include "runners.h"

struct cyx_job_spec *golden_case_spec(const struct cyx_safetensors *file, const char *name)
{
    struct cyx_job_spec *spec = golden_spec(file, name);
    const struct cyx_safetensors_tensor *input = golden_need(file, name, "input");
    const struct cyx_safetensors_tensor *target = golden_need(file, name, "target");
    const struct cyx_safetensors_tensor *output = golden_need(file, name, "output");
    struct cyx_sample_shape *sample = &spec->data.sample;
    *sample = (struct cyx_sample_shape){.rank = input->rank - 1};
    for (int i = 0; i < sample->rank; i++)
        sample->dim[i] = input->shape[i + 1];
    sample->target = target->dtype == CYX_ST_I32 ? CYX_TARGET_CLASSES : CYX_TARGET_NUMBERS;
    if (sample->target == CYX_TARGET_CLASSES)
        sample->n_classes = output->shape[1];
    else
        sample->n_targets = target->shape[1];
    return spec;
}

int64_t golden_case_batch(const struct cyx_safetensors *file, const char *name)
{
    return golden_need(file, name, "input")->shape[0];
}

struct cyx_graph *golden_case_graph(const struct cyx_safetensors *file, const char *name,
                                    const struct cyx_job_spec *spec)
{
    struct cyx_error error = {0};
    struct cyx_graph *graph = NULL;
    struct cyx_shape fed = {2, {1, 1}};
    struct cyx_graph_options options = {.batch = golden_case_batch(file, name), .training = true};
    must_do(name, cyx_graph_create(spec, &options, &graph, &error), &error);
    graph->values[graph->input].kind = CYX_VALUE_PARAM;
    graph->input = graph_add_value(graph, "fed", CYX_VALUE_INPUT, CYX_F32, &fed);
    must_do(name, cyx_graph_differentiate(graph, &error), &error);
    return graph;
}

const struct cyx_safetensors_tensor *golden_case_first(const struct cyx_safetensors *file,
                                                       const char *name,
                                                       const struct cyx_value *value)
{
    char part[GOLDEN_NAME];
    snprintf(part, sizeof part, "first.%s", value->name);
    if (!cyx_value_in_state_dict(value->kind))
        return NULL;
    return golden_need(file, name, strcmp(value->name, "input") == 0 ? "input" : part);
}
