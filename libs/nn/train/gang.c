#include "nn/train/gang.h"

#include <stdlib.h>

#include "nn/train/run.h"

#include "base/banned.h"

void cyx_gang_add(double *sums, const float *values, size_t count)
{
    for (size_t i = 0; i < count; i++)
        sums[i] += (double)values[i];
}

void cyx_gang_mean(const double *sums, int nodes, float *ret_values, size_t count)
{
    for (size_t i = 0; i < count; i++)
        ret_values[i] = (float)(sums[i] / nodes);
}

/* What a checkpoint holds. */
static bool is_shared(const struct cyx_value *value)
{
    return cyx_value_in_state_dict(value->kind) || value->kind == CYX_VALUE_STATE;
}

static size_t shared_count(const struct cyx_graph *graph)
{
    size_t count = 0;
    for (size_t v = 0; v < graph->n_values; v++)
        if (is_shared(&graph->values[v]))
            count += (size_t)cyx_shape_count(&graph->values[v].shape);
    return count;
}

/* All shared values out of the session, or back into it, in the graph's order. */
static enum cyx_status copy_values(struct run *run, bool back, float *values,
                                   struct cyx_error *error)
{
    const struct cyx_graph *graph = run_graph(run);
    enum cyx_status status = CYX_OK;
    for (size_t v = 0; status == CYX_OK && v < graph->n_values; v++) {
        const struct cyx_value *value = &graph->values[v];
        if (!is_shared(value))
            continue;
        size_t count = (size_t)cyx_shape_count(&value->shape);
        status = back ? run->backend->value_write(run->session, value->name, values, count, error)
                      : run->backend->value_read(run->session, value->name, values, count, error);
        values += count;
    }
    return status;
}

enum cyx_status run_meet(struct run *self, struct cyx_error *error)
{
    const struct cyx_gang *gang = self->options->gang;
    size_t count = shared_count(run_graph(self));
    float *values = malloc((count ? count : 1) * sizeof(*values));
    if (!values)
        return cyx_error_set(error, CYX_ERR_NO_MEMORY, NULL, "no memory for what members share");
    enum cyx_status status = copy_values(self, false, values, error);
    if (status == CYX_OK)
        status = gang->meet(gang->context, values, count, error);
    if (status == CYX_OK)
        status = copy_values(self, true, values, error);
    free(values);
    return status;
}

/* The others bring zeros: nodes times the mean is what the first one brought, rounded alike for all. */
enum cyx_status run_share(struct run *self, double *loss, double *accuracy, struct cyx_error *error)
{
    const struct cyx_gang *gang = self->options->gang;
    float values[2] = {0};
    if (gang->rank == 0) {
        values[0] = (float)*loss;
        values[1] = (float)*accuracy;
    }
    enum cyx_status status = gang->meet(gang->context, values, 2, error);
    *loss = (double)values[0] * gang->nodes;
    *accuracy = (double)values[1] * gang->nodes;
    return status;
}
