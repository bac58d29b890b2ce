/*
 * A short benchmark of a device through the engine's own path (nn/backend.h), and the answer to a challenge that bears it
 * out (contract/proof.h). Two to five seconds a device; what Vulkan run by the CPU needs more, it is given less work.
 *
 *   products      the network of contract/proof.h, forward: matrix products with ReLU
 *   convolutions  a training step of two 3 x 3 convolutions of 64 channels: forward, both gradients, update
 *   bandwidth     what a LeakyReLU reads and writes, by the difference of a long and a short chain of them
 *   memory        pieces held at the same time, each zeroed by the device and marked, all marks read back in the end:
 *                 memory that only pretends to be there shows another piece's mark. Up to 95 % of the claim on a GPU, and
 *                 no further than its driver says is left; on the CPU, and Vulkan that it runs, 256 MiB at most, since that
 *                 memory is everybody's. All of it is given back.
 *
 * Units: FLOPs count a multiply-add as two; bytes; seconds. Ownership: create/destroy. One thread at a time. Nothing
 * here knows a time limit: drivers hang, so who calls runs it in a process that can be killed.
 *
 *     cyx_benchmark_create("vulkan", &options, &benchmark, &err);
 *     cyx_benchmark_measure(benchmark, &result, &err);
 *     … the seed comes …
 *     cyx_benchmark_answer(benchmark, &task, outputs, &err);
 */
#ifndef CYX_NN_BENCH_BENCHMARK_H
#define CYX_NN_BENCH_BENCHMARK_H

#include "contract/proof.h"
#include "nn/backend.h"

struct cyx_benchmark;

struct cyx_benchmark_result {
    double products_flops_per_second, convolutions_flops_per_second, bandwidth_bytes_per_second;
    int64_t memory_bytes;       /* held at the same time, and right when it was read back */
    int64_t memory_tried_bytes; /* how far it was to go */
};

/* Opens the device. Errors are those of cyx_backend_open(). */
enum cyx_status cyx_benchmark_create(const char *backend, const struct cyx_device_options *options,
                                     struct cyx_benchmark **ret_benchmark,
                                     struct cyx_error *ret_error);
void cyx_benchmark_destroy(struct cyx_benchmark *self);

/* Measures everything, and leaves the program that answers compiled. */
enum cyx_status cyx_benchmark_measure(struct cyx_benchmark *self,
                                      struct cyx_benchmark_result *ret_result,
                                      struct cyx_error *ret_error);

/* `ret_outputs` has room for task->rows. At its fastest for the task that cyx_proof_plan() makes of the result. */
enum cyx_status cyx_benchmark_answer(struct cyx_benchmark *self, const struct cyx_proof_task *task,
                                     float *ret_outputs, struct cyx_error *ret_error);

#endif
