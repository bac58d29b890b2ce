#include "nn/bench/benchmark.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "nn/bench/private.h"

#include "base/banned.h"

enum { SPEND_MS = 160, ESCALATIONS = 3 };

/* Rows of a step, channels and sizes by what runs them: a GPU wants much at once, software Vulkan takes its time. */
struct scale {
    int64_t product_rows, images, image_size, stream_rows, stream_columns;
    int short_chain, long_chain;
};
static const struct scale gpu_scale = {8192, 128, 32, 64, 1 << 20, 2, 66};
static const struct scale cpu_scale = {1024, 16, 32, 16, 1 << 20, 2, 10};
static const struct scale software_scale = {256, 2, 16, 4, 1 << 20, 2, 6};

static const struct scale *scale_of(const struct cyx_benchmark *self)
{
    return self->is_gpu ? &gpu_scale : self->info.is_software ? &software_scale : &cpu_scale;
}

enum cyx_status cyx_benchmark_create(const char *backend, const struct cyx_device_options *options,
                                     struct cyx_benchmark **ret_benchmark,
                                     struct cyx_error *ret_error)
{
    struct cyx_benchmark *self = calloc(1, sizeof(*self));
    if (!self)
        return cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL, "no memory for a benchmark");
    enum cyx_status status =
        cyx_backend_open(backend, options, &self->backend, &self->device, ret_error);
    if (status != CYX_OK) {
        free(self);
        return status;
    }
    self->backend->device_info(self->device, &self->info);
    self->is_gpu = strcmp(self->info.backend, "vulkan") == 0 && !self->info.is_software;
    self->shares_memory = !self->is_gpu;
    *ret_benchmark = self;
    return CYX_OK;
}

void cyx_benchmark_destroy(struct cyx_benchmark *self)
{
    if (!self)
        return;
    bench_rig_finish(&self->products);
    self->backend->device_close(self->device);
    free(self);
}

/* ---- matrix products: the network of contract/proof.h ---- */

static void weight_name(int64_t layer, char ret_name[32])
{
    snprintf(ret_name, 32, "w%lld.weight", (long long)layer);
}

static enum cyx_status make_products(struct cyx_benchmark *self, const struct cyx_proof_size *size,
                                     struct cyx_error *error)
{
    CYX_CLEANUP_BUF struct cyx_buf layers = {0};
    if (self->products.program && self->size.width == size->width)
        return CYX_OK;
    for (int64_t layer = 0; layer <= size->depth + 1; layer++) {
        bool last = layer == size->depth + 1;
        cyx_buf_printf(&layers,
                       "%s{\"type\":\"Linear\",\"name\":\"w%lld\",\"out_features\":%lld,"
                       "\"bias\":false}%s",
                       layer ? "," : "", (long long)layer,
                       (long long)cyx_proof_weight_rows(size, layer),
                       last ? "" : ",{\"type\":\"ReLU\"}");
    }
    const struct bench_plan plan = {
        .layers = layers.data,
        .loss = "{\"type\":\"MSELoss\"}",
        .sample = {.rank = 1,
                   .dim = {CYX_PROOF_INPUTS},
                   .target = CYX_TARGET_NUMBERS,
                   .n_targets = 1},
        .batch = scale_of(self)->product_rows,
    };
    bench_rig_finish(&self->products);
    self->size = *size;
    return bench_rig_make(self->backend, self->device, &plan, &self->products, error);
}

/* From the smallest size to the one that the speed asks for. */
static enum cyx_status measure_products(struct cyx_benchmark *self, double *ret_speed,
                                        struct cyx_error *error)
{
    enum cyx_status status = CYX_OK;
    double speed = 0;
    for (int i = 0; status == CYX_OK && i < ESCALATIONS; i++) {
        struct cyx_proof_size size = cyx_proof_size_for(speed);
        double seconds = 1;
        if (i > 0 && size.width <= self->size.width)
            break;
        status = make_products(self, &size, error);
        if (status == CYX_OK)
            status = bench_rig_time(&self->products, SPEND_MS / 2, &seconds, error);
        speed = cyx_proof_row_flops(&size) * (double)self->products.graph->batch / seconds;
    }
    if (status == CYX_OK)
        *ret_speed = speed;
    return status;
}

static enum cyx_status write_weights(struct cyx_benchmark *self, const struct cyx_proof_task *task,
                                     struct cyx_error *error)
{
    int64_t largest = task->size.width * task->size.width;
    float *weights = malloc((size_t)largest * sizeof(float));
    char name[32];
    enum cyx_status status =
        weights ? CYX_OK : cyx_error_set(error, CYX_ERR_NO_MEMORY, NULL, "no memory for weights");
    for (int64_t layer = 0; status == CYX_OK && layer <= task->size.depth + 1; layer++) {
        int64_t count = cyx_proof_weight_rows(&task->size, layer) *
                        cyx_proof_weight_columns(&task->size, layer);
        cyx_proof_weights(task, layer, 0, count, weights);
        weight_name(layer, name);
        status =
            self->backend->value_write(self->products.session, name, weights, (size_t)count, error);
    }
    free(weights);
    return status;
}

/* The last batch is filled up with what the one before left there. */
static enum cyx_status run_rows(struct cyx_benchmark *self, const struct cyx_proof_task *task,
                                float *inputs, float *outputs, float *ret_outputs,
                                struct cyx_error *error)
{
    const struct cyx_graph *graph = self->products.graph;
    const char *name = graph->values[graph->output].name;
    enum cyx_status status = CYX_OK;
    for (int64_t row = 0; status == CYX_OK && row < task->rows; row += graph->batch) {
        int64_t count = task->rows - row < graph->batch ? task->rows - row : graph->batch;
        cyx_proof_inputs(task, row, count, inputs);
        status = bench_rig_step(&self->products, inputs, error);
        if (status == CYX_OK)
            status = self->backend->transient_read(self->products.program, name, outputs,
                                                   (size_t)graph->batch, error);
        if (status == CYX_OK)
            memcpy(ret_outputs + row, outputs, (size_t)count * sizeof(float));
    }
    return status;
}

enum cyx_status cyx_benchmark_answer(struct cyx_benchmark *self, const struct cyx_proof_task *task,
                                     float *ret_outputs, struct cyx_error *ret_error)
{
    enum cyx_status status = cyx_proof_task_valid(task, ret_error);
    if (status == CYX_OK)
        status = make_products(self, &task->size, ret_error);
    if (status == CYX_OK)
        status = write_weights(self, task, ret_error);
    if (status != CYX_OK)
        return status;
    size_t batch = (size_t)self->products.graph->batch;
    float *inputs = calloc(batch * CYX_PROOF_INPUTS, sizeof(float));
    float *outputs = calloc(batch, sizeof(float));
    status = inputs && outputs
                 ? run_rows(self, task, inputs, outputs, ret_outputs, ret_error)
                 : cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL, "no memory for the rows");
    free(inputs);
    free(outputs);
    return status;
}

/* ---- convolutions ---- */

static double convolution_flops(const struct cyx_graph *graph)
{
    double sum = 0;
    for (size_t i = 0; i < graph->n_nodes; i++)
        if (graph->nodes[i].op >= CYX_OP_CONV2D && graph->nodes[i].op <= CYX_OP_CONV2D_GRAD_WEIGHT)
            sum += (double)cyx_node_flops(graph, &graph->nodes[i]);
    return sum;
}

static enum cyx_status measure_convolutions(struct cyx_benchmark *self, double *ret_speed,
                                            struct cyx_error *error)
{
    const struct scale *scale = scale_of(self);
    struct bench_rig rig = {0};
    double seconds = 1;
    const struct bench_plan plan = {
        .layers = "{\"type\":\"Conv2d\",\"out_channels\":64,\"kernel_size\":3,\"padding\":1},"
                  "{\"type\":\"ReLU\"},"
                  "{\"type\":\"Conv2d\",\"out_channels\":64,\"kernel_size\":3,\"padding\":1},"
                  "{\"type\":\"ReLU\"},{\"type\":\"GlobalAvgPool2d\"},{\"type\":\"Flatten\"},"
                  "{\"type\":\"Linear\",\"out_features\":10}",
        .loss = "{\"type\":\"CrossEntropyLoss\"}",
        .sample = {.rank = 3,
                   .dim = {64, scale->image_size, scale->image_size},
                   .target = CYX_TARGET_CLASSES,
                   .n_classes = 10},
        .batch = scale->images,
        .training = true,
    };
    enum cyx_status status = bench_rig_make(self->backend, self->device, &plan, &rig, error);
    if (status == CYX_OK)
        status = bench_rig_time(&rig, SPEND_MS, &seconds, error);
    if (status == CYX_OK)
        *ret_speed = convolution_flops(rig.graph) / seconds;
    bench_rig_finish(&rig);
    return status;
}

/* ---- bandwidth ---- */

static enum cyx_status time_chain(struct cyx_benchmark *self, int length, double *ret_seconds,
                                  struct cyx_error *error)
{
    const struct scale *scale = scale_of(self);
    CYX_CLEANUP_BUF struct cyx_buf layers = {0};
    struct bench_rig rig = {0};
    for (int i = 0; i < length; i++)
        cyx_buf_printf(&layers, "%s{\"type\":\"LeakyReLU\"}", i ? "," : "");
    const struct bench_plan plan = {
        .layers = layers.data,
        .loss = "{\"type\":\"MSELoss\",\"target\":\"input\"}",
        .sample = {.rank = 1,
                   .dim = {scale->stream_columns},
                   .target = CYX_TARGET_NUMBERS,
                   .n_targets = 0},
        .batch = scale->stream_rows,
    };
    enum cyx_status status = bench_rig_make(self->backend, self->device, &plan, &rig, error);
    if (status == CYX_OK)
        status = bench_rig_time(&rig, SPEND_MS / 2, ret_seconds, error);
    bench_rig_finish(&rig);
    return status;
}

/* Both chains carry the batch up and compute the loss, so their difference is the operations between. */
static enum cyx_status measure_bandwidth(struct cyx_benchmark *self, double *ret_speed,
                                         struct cyx_error *error)
{
    const struct scale *scale = scale_of(self);
    double brief = 0, lengthy = 0;
    enum cyx_status status = time_chain(self, scale->short_chain, &brief, error);
    if (status == CYX_OK)
        status = time_chain(self, scale->long_chain, &lengthy, error);
    if (status != CYX_OK)
        return status;
    double bytes = 2.0 * (double)sizeof(float) *
                   (double)(scale->stream_rows * scale->stream_columns) *
                   (scale->long_chain - scale->short_chain);
    /* Noise may eat a difference up: then the whole is what is known for sure. */
    double seconds = lengthy - brief;
    *ret_speed = bytes / (seconds > lengthy / 20 ? seconds : lengthy);
    return CYX_OK;
}

enum cyx_status cyx_benchmark_measure(struct cyx_benchmark *self,
                                      struct cyx_benchmark_result *ret_result,
                                      struct cyx_error *ret_error)
{
    struct cyx_benchmark_result result = {0};
    enum cyx_status status =
        bench_memory(self, &result.memory_bytes, &result.memory_tried_bytes, ret_error);
    if (status == CYX_OK)
        status = measure_convolutions(self, &result.convolutions_flops_per_second, ret_error);
    if (status == CYX_OK)
        status = measure_bandwidth(self, &result.bandwidth_bytes_per_second, ret_error);
    if (status == CYX_OK)
        status = measure_products(self, &result.products_flops_per_second, ret_error);
    if (status == CYX_OK)
        *ret_result = result;
    return status;
}
