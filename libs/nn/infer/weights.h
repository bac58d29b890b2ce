/*
 * A state_dict into a session, strictly: each tensor of the graph's model is in the file with its shape, and the file
 * has no other; or, where a run only begins with them, what fits. Private to libs/nn.
 */
#ifndef CYX_NN_INFER_WEIGHTS_H
#define CYX_NN_INFER_WEIGHTS_H

#include "nn/backend.h"
#include "nn/format/safetensors.h"

/* CYX_ERR_INVALID names what is missing, unexpected or of another shape (the first few of each). */
enum cyx_status infer_check_weights(const struct cyx_safetensors *file,
                                    const struct cyx_graph *graph, struct cyx_error *error);

/* Of a file that was checked. */
enum cyx_status infer_load_weights(const struct cyx_safetensors *file,
                                   const struct cyx_graph *graph, const struct cyx_backend *backend,
                                   struct cyx_session *session, struct cyx_error *error);

/* What has the name and shape of one of the graph's; CYX_ERR_INVALID when nothing has. */
enum cyx_status infer_load_matching(const struct cyx_safetensors *file,
                                    const struct cyx_graph *graph,
                                    const struct cyx_backend *backend, struct cyx_session *session,
                                    struct cyx_error *error);

#endif
