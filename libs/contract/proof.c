#include "contract/proof.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/philox.h"

#include "base/banned.h"

enum { PURPOSE_WEIGHTS = 16, PURPOSE_INPUTS = 17, SIZES = 3 }; /* apart from the engine's */

static const struct cyx_proof_size sizes[SIZES] = {{128, 4}, {512, 8}, {1024, 16}};

double cyx_proof_row_flops(const struct cyx_proof_size *size)
{
    double width = (double)size->width;
    return 2 * width * (CYX_PROOF_INPUTS + (double)size->depth * width + 1);
}

static double rows_for(const struct cyx_proof_size *size, double flops_per_second)
{
    return flops_per_second * CYX_PROOF_SPEND_MS / 1000 / cyx_proof_row_flops(size);
}

struct cyx_proof_size cyx_proof_size_for(double flops_per_second)
{
    for (int i = 0; i < SIZES - 1; i++)
        if (rows_for(&sizes[i], flops_per_second) <= CYX_PROOF_ROWS_LIMIT / 2.0)
            return sizes[i];
    return sizes[SIZES - 1];
}

void cyx_proof_plan(double flops_per_second, uint64_t seed, struct cyx_proof_task *ret_task)
{
    struct cyx_proof_task task = {.seed = seed, .size = cyx_proof_size_for(flops_per_second)};
    double rows = rows_for(&task.size, flops_per_second);
    task.rows = rows > CYX_PROOF_ROWS_LIMIT    ? CYX_PROOF_ROWS_LIMIT
                : rows >= CYX_PROOF_ROWS_LEAST ? (int64_t)rows
                                               : CYX_PROOF_ROWS_LEAST;
    *ret_task = task;
}

enum cyx_status cyx_proof_task_valid(const struct cyx_proof_task *task, struct cyx_error *err)
{
    bool known = false;
    for (int i = 0; i < SIZES; i++)
        known |= task->size.width == sizes[i].width && task->size.depth == sizes[i].depth;
    if (!known)
        return cyx_error_set(err, CYX_ERR_INVALID, "/width", "no width and depth of a proof");
    if (task->rows < CYX_PROOF_ROWS_LEAST || task->rows > CYX_PROOF_ROWS_LIMIT)
        return cyx_error_set(err, CYX_ERR_INVALID, "/rows", "expected %d to %d",
                             CYX_PROOF_ROWS_LEAST, CYX_PROOF_ROWS_LIMIT);
    return CYX_OK;
}

int64_t cyx_proof_weight_rows(const struct cyx_proof_size *size, int64_t layer)
{
    return layer > size->depth ? 1 : size->width;
}

int64_t cyx_proof_weight_columns(const struct cyx_proof_size *size, int64_t layer)
{
    return layer == 0 ? CYX_PROOF_INPUTS : size->width;
}

/* Elements [first, first + count) of a stream, uniform in ±bound. */
static void draw(const struct cyx_philox *key, double bound, int64_t first, int64_t count,
                 float *ret_values)
{
    const float scale = (float)(2 * bound * 0x1p-24), least = (float)-bound;
    uint32_t words[4];
    for (int64_t i = 0; i < count; i++) {
        int64_t index = first + i;
        if (i == 0 || index % 4 == 0)
            cyx_philox_block(key, (uint32_t)(index / 4), words);
        ret_values[i] = (float)(words[index % 4] >> 8) * scale + least;
    }
}

void cyx_proof_weights(const struct cyx_proof_task *task, int64_t layer, int64_t first,
                       int64_t count, float *ret_weights)
{
    const struct cyx_philox key = {
        .seed = task->seed, .stream = (uint32_t)layer, .purpose = PURPOSE_WEIGHTS};
    double inputs = (double)cyx_proof_weight_columns(&task->size, layer);
    draw(&key, sqrt(6 / inputs), first, count, ret_weights);
}

void cyx_proof_inputs(const struct cyx_proof_task *task, int64_t first, int64_t count,
                      float *ret_inputs)
{
    const struct cyx_philox key = {.seed = task->seed, .purpose = PURPOSE_INPUTS};
    draw(&key, 1, first * CYX_PROOF_INPUTS, count * CYX_PROOF_INPUTS, ret_inputs);
}

/* Values of all samples beside each other, (width, samples): the inner loop runs over them. */
typedef double samples[CYX_PROOF_SAMPLES];

/* out = W in, with the ReLU unless it is the last layer. `weights` holds a row of W. */
static void apply(const struct cyx_proof_task *task, int64_t layer, const samples *in,
                  float *weights, samples *ret_out)
{
    int64_t rows = cyx_proof_weight_rows(&task->size, layer);
    int64_t columns = cyx_proof_weight_columns(&task->size, layer);
    for (int64_t o = 0; o < rows; o++) {
        samples sum = {0};
        cyx_proof_weights(task, layer, o * columns, columns, weights);
        for (int64_t i = 0; i < columns; i++)
            for (int s = 0; s < CYX_PROOF_SAMPLES; s++)
                sum[s] += (double)weights[i] * in[i][s];
        for (int s = 0; s < CYX_PROOF_SAMPLES; s++)
            ret_out[o][s] = sum[s] > 0 || layer > task->size.depth ? sum[s] : 0;
    }
}

/* `from` and `to` hold a layer each, (width, samples). */
static void run_layers(const struct cyx_proof_task *task, samples *from, samples *to,
                       float *weights, double ret_outputs[CYX_PROOF_SAMPLES])
{
    for (int64_t layer = 0; layer <= task->size.depth + 1; layer++) {
        apply(task, layer, (const samples *)from, weights, to);
        samples *swap = from;
        from = to;
        to = swap;
    }
    memcpy(ret_outputs, from[0], sizeof(samples));
}

enum cyx_status cyx_proof_compute(const struct cyx_proof_task *task,
                                  const int64_t rows[CYX_PROOF_SAMPLES],
                                  double ret_outputs[CYX_PROOF_SAMPLES], struct cyx_error *err)
{
    size_t width = (size_t)task->size.width;
    samples *layers = calloc(2 * width, sizeof(*layers));
    float *weights = calloc(width, sizeof(*weights)), inputs[CYX_PROOF_INPUTS];
    if (!layers || !weights) {
        free(layers);
        free(weights);
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory to check a proof");
    }
    for (int s = 0; s < CYX_PROOF_SAMPLES; s++) {
        cyx_proof_inputs(task, rows[s], 1, inputs);
        for (int i = 0; i < CYX_PROOF_INPUTS; i++)
            layers[i][s] = (double)inputs[i];
    }
    run_layers(task, layers, layers + width, weights, ret_outputs);
    free(layers);
    free(weights);
    return CYX_OK;
}

enum cyx_status cyx_proof_check(const struct cyx_proof_task *task, const float *outputs,
                                const int64_t rows[CYX_PROOF_SAMPLES], double *ret_worst,
                                struct cyx_error *err)
{
    double expected[CYX_PROOF_SAMPLES] = {0}, sum = 0, worst = 0;
    enum cyx_status status = cyx_proof_compute(task, rows, expected, err);
    if (status != CYX_OK)
        return status;
    for (int s = 0; s < CYX_PROOF_SAMPLES; s++)
        sum += fabs(expected[s]) / CYX_PROOF_SAMPLES;
    for (int s = 0; s < CYX_PROOF_SAMPLES; s++) {
        double got = (double)outputs[rows[s]];
        double away = fabs(got - expected[s]) / (fabs(expected[s]) + sum);
        if (!(away <= CYX_PROOF_TOLERANCE)) /* a NaN is wrong too */
            return cyx_error_set(err, CYX_ERR_CORRUPT, "/outputs",
                                 "row %lld of its product is wrong: %.7g instead of %.7g",
                                 (long long)rows[s], got, expected[s]);
        worst = fmax(worst, away);
    }
    if (ret_worst)
        *ret_worst = worst;
    return CYX_OK;
}
