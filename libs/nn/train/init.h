/*
 * First values of parameters, as torch.nn's layers 1.13 draw them. Linear, Conv2d and ConvTranspose2d: kaiming_uniform(a = √5) for the
 * weight and uniform for the bias, which both come to uniform in ±1/√fan_in
 * (He et al., ICCV 2015; torch.nn.Linear.reset_parameters). Drawn from Philox INIT, one stream a parameter in
 * the graph's order, so they depend on the seed alone: not on backend, batch or threads.
 * BatchNorm and LayerNorm begin with weight 1 and bias 0, running statistics with mean 0 and variance 1.
 */
#ifndef CYX_NN_TRAIN_INIT_H
#define CYX_NN_TRAIN_INIT_H

#include "model/graph.h"
#include "nn/backend.h"

/* Writes every PARAM and BUFFER of `graph` into the session. */
enum cyx_status cyx_init_parameters(const struct cyx_backend *backend, struct cyx_session *session,
                                    const struct cyx_graph *graph, uint64_t seed,
                                    struct cyx_error *ret_error);

/* One parameter's values: `count` floats of stream `stream`, uniform in ±bound. */
void cyx_init_uniform(uint64_t seed, uint32_t stream, double bound, float *ret_data, size_t count);

#endif
