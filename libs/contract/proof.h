/*
 * The work by which a node proves what it claims: the forward pass of a network whose weights and rows come out of a
 * seed that the registry names when its clock starts. One output a row; all outputs are the answer, so the node has
 * bound itself to each before anybody looks at one. Who checks computes a few rows of its own choice again, in double.
 *
 *   h0 = relu(W0 x), x (16)                   W0 (width, 16)
 *   hl = relu(Wl h(l-1)), l = 1 .. depth      Wl (width, width)
 *   y  = V hdepth                             V (1, width)
 *
 * Weights are uniform in ±√(6 / inputs), He's bound, so that values keep their size through the depth; x is uniform in
 * ±1. Between the layers stands a ReLU: without it the weights could be multiplied together once for all rows. Rows
 * are independent of each other: who left out a part q of them passes with (1 - q)^16.
 *
 * Units: FLOPs count a multiply-add as two. Ownership: buffers are the caller's. Pure: any thread.
 *
 *     cyx_proof_plan(flops_per_second, seed, &task);
 *     … outputs[task.rows] …
 *     cyx_proof_check(&task, outputs, chosen, &worst, &err);
 */
#ifndef CYX_CONTRACT_PROOF_H
#define CYX_CONTRACT_PROOF_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum {
    CYX_PROOF_INPUTS = 16,
    CYX_PROOF_ROWS_LIMIT = 65536, /* 256 KiB of outputs: an answer is one message */
    CYX_PROOF_ROWS_LEAST = 64,
    CYX_PROOF_SAMPLES = 16,   /* rows that are computed again */
    CYX_PROOF_SPEND_MS = 400, /* what a task is made for, at the speed that a node says */
};

/*
 * A wrong output is further off than this, relative to its own size and the mean size of those looked at. float32 of
 * either backend came within 2e-6 of it (proof_test.c, benchmark_test.c); products in TF32 or bfloat16 do not.
 */
#define CYX_PROOF_TOLERANCE 1e-4

/* How wide and deep: the faster, the more work a row, since an answer holds only so many rows. */
struct cyx_proof_size {
    int64_t width, depth;
};

struct cyx_proof_task {
    uint64_t seed;
    struct cyx_proof_size size;
    int64_t rows;
};

/* The smallest of the three sizes that keeps so fast a device busy for CYX_PROOF_SPEND_MS, else the largest. */
struct cyx_proof_size cyx_proof_size_for(double flops_per_second);

double cyx_proof_row_flops(const struct cyx_proof_size *size);

/* The task for a device of that speed. */
void cyx_proof_plan(double flops_per_second, uint64_t seed, struct cyx_proof_task *ret_task);

/* Whether a task is one of cyx_proof_plan()'s sizes, within its limits. */
enum cyx_status cyx_proof_task_valid(const struct cyx_proof_task *task, struct cyx_error *err);

/* Weight matrix `layer` (0 .. depth + 1): rows x columns floats, row-major (Out,In). */
int64_t cyx_proof_weight_rows(const struct cyx_proof_size *size, int64_t layer);
int64_t cyx_proof_weight_columns(const struct cyx_proof_size *size, int64_t layer);
/* Its elements [first, first + count). */
void cyx_proof_weights(const struct cyx_proof_task *task, int64_t layer, int64_t first,
                       int64_t count, float *ret_weights);

/* The inputs of rows [first, first + count): count x CYX_PROOF_INPUTS. */
void cyx_proof_inputs(const struct cyx_proof_task *task, int64_t first, int64_t count,
                      float *ret_inputs);

/* The outputs of these rows, in double. CYX_ERR_NO_MEMORY. */
enum cyx_status cyx_proof_compute(const struct cyx_proof_task *task,
                                  const int64_t rows[CYX_PROOF_SAMPLES],
                                  double ret_outputs[CYX_PROOF_SAMPLES], struct cyx_error *err);

/*
 * Computes `rows` again and holds `outputs` (task->rows of them) against them. CYX_ERR_CORRUPT names the first row that
 * is wrong. `ret_worst`, which may be NULL, is the largest distance, in the measure of CYX_PROOF_TOLERANCE.
 */
enum cyx_status cyx_proof_check(const struct cyx_proof_task *task, const float *outputs,
                                const int64_t rows[CYX_PROOF_SAMPLES], double *ret_worst,
                                struct cyx_error *err);

#endif
