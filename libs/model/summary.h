/*
 * What a model is and what a step of it takes, for people: a row a layer (shape, parameters, FLOPs), and the
 * device memory of a training and of an inference step by the buffer plan. `cyxwiz describe` prints it.
 *
 * Bytes are by logical sizes (row-major float32); a backend's layouts may take a few per cent more.
 * FLOPs count a multiply-add as two and are a sample's: a batch's sum over the batch size, rounded down.
 *
 * Ownership: the summary is one block and borrows the spec; cyx_model_summary_destroy() takes NULL. Any thread.
 *
 *     struct cyx_model_summary *summary = NULL;
 *     status = cyx_model_summarize(spec, 128, &summary, &err);
 */
#ifndef CYX_MODEL_SUMMARY_H
#define CYX_MODEL_SUMMARY_H

#include "model/graph.h"

struct cyx_layer_summary {
    struct cyx_shape output; /* with the batch */
    int64_t parameters;      /* elements that are trained */
    int64_t buffers;         /* elements kept with them: running statistics */
    int64_t forward_flops;   /* a sample, as in training */
};

/* Device memory of one kind of step, in bytes. */
struct cyx_step_memory {
    int64_t parameters, buffers;
    int64_t optimizer; /* moments; 0 in inference */
    int64_t batch;     /* the fed batch, the result, constants */
    int64_t arena; /* activations, gradients, temporaries: as planned, bytes shared by liveness */
    int64_t arena_unshared; /* the same if every value had bytes of its own */
    int64_t total;          /* all of it, with the arena as planned */
};

struct cyx_model_summary {
    int64_t batch;
    struct cyx_layer_summary *layers; /* by the spec's index */
    size_t n_layers;
    int64_t parameters, buffers; /* elements, of all layers */
    int64_t activations;         /* elements of all layers' outputs for the batch */
    int64_t loss_flops;          /* a sample: the loss itself */
    int64_t forward_flops;       /* a sample: layers and loss */
    int64_t training_flops; /* a sample: forward, backward and its part of the optimizer's step */
    struct cyx_step_memory training, inference;
};

/* Refuses what cyx_graph_create() refuses, with the same pointer and sentence. */
enum cyx_status cyx_model_summarize(const struct cyx_job_spec *spec, int64_t batch,
                                    struct cyx_model_summary **ret_summary,
                                    struct cyx_error *ret_error);
void cyx_model_summary_destroy(struct cyx_model_summary *self);

#endif
