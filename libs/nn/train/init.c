#include "nn/train/init.h"

#include <math.h>
#include <stdlib.h>

#include "nn/tensor/philox.h"

#include "base/banned.h"

void cyx_init_uniform(uint64_t seed, uint32_t stream, double bound, float *ret_data, size_t count)
{
    struct cyx_philox key = {.seed = seed, .stream = stream, .purpose = CYX_PHILOX_INIT};
    uint32_t words[4];
    for (size_t i = 0; i < count; i++) {
        if (i % 4 == 0)
            cyx_philox_block(&key, (uint32_t)(i / 4), words);
        float u = (float)(words[i % 4] >> 8) * 0x1p-24f; /* as cyx_philox_uniform() */
        ret_data[i] = (float)((2.0 * u - 1.0) * bound);
    }
}

static uint32_t stream_of(const struct cyx_graph *graph, int32_t param)
{
    uint32_t stream = 0;
    for (int32_t v = 0; v < param; v++)
        stream += graph->values[v].kind == CYX_VALUE_PARAM;
    return stream;
}

/* Elements of one slice of the weight's first dimension: torch.nn.init's fan_in, for ConvTranspose2d too. */
static double fan_in(const struct cyx_shape *weight)
{
    int64_t inputs = cyx_shape_count(weight) / weight->dim[0];
    return (double)inputs;
}

/* How a value begins: uniform in ±bound, or where bound is 0 all of them `constant`. */
struct first_value {
    double bound, constant;
};

static enum cyx_status write_first(const struct cyx_backend *backend, struct cyx_session *session,
                                   const struct cyx_graph *graph, int32_t index,
                                   struct first_value first, uint64_t seed, struct cyx_error *error)
{
    if (index == CYX_NO_VALUE)
        return CYX_OK;
    const struct cyx_value *value = &graph->values[index];
    size_t count = (size_t)cyx_shape_count(&value->shape);
    float *data = malloc(count * sizeof(*data));
    if (!data)
        return cyx_error_set(error, CYX_ERR_NO_MEMORY, NULL, "no memory for %s", value->name);
    if (first.bound > 0)
        cyx_init_uniform(seed, stream_of(graph, index), first.bound, data, count);
    for (size_t i = 0; first.bound <= 0 && i < count; i++)
        data[i] = (float)first.constant;
    enum cyx_status status = backend->value_write(session, value->name, data, count, error);
    free(data);
    return status;
}

enum cyx_status cyx_init_parameters(const struct cyx_backend *backend, struct cyx_session *session,
                                    const struct cyx_graph *graph, uint64_t seed,
                                    struct cyx_error *ret_error)
{
    /* of in[1] to in[4]; norms: weight, bias, running mean, running variance */
    static const struct first_value norm[] = {{0, 1}, {0, 0}, {0, 0}, {0, 1}};
    enum cyx_status status = CYX_OK;
    for (size_t n = 0; n < graph->n_forward_nodes && status == CYX_OK; n++) {
        const struct cyx_node *node = &graph->nodes[n];
        bool affine = node->op == CYX_OP_LINEAR || node->op == CYX_OP_CONV2D ||
                      node->op == CYX_OP_CONV_TRANSPOSE2D;
        bool norms = node->op == CYX_OP_BATCH_NORM || node->op == CYX_OP_BATCH_NORM_INFERENCE ||
                     node->op == CYX_OP_LAYER_NORM;
        if (!affine && !norms)
            continue;
        for (int i = 1; i < node->n_in && status == CYX_OK; i++) {
            struct first_value first = norm[i - 1];
            if (affine)
                first.bound = 1.0 / sqrt(fan_in(&graph->values[node->in[1]].shape));
            status = write_first(backend, session, graph, node->in[i], first, seed, ret_error);
        }
    }
    return status;
}
