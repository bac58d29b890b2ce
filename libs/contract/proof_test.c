/* The work of a proof: what it is, that honest float32 passes, that less does not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "contract/proof.h"

/* The network in float, one row after the other: what an honest, slow device would answer. `lose` drops so many bits of each
 * factor, as tensor cores do. */
static float shorten(float value, int lose)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    bits &= ~0U << lose;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

static void answer(const struct cyx_proof_task *task, int lose, float *ret_outputs)
{
    const struct cyx_proof_size *size = &task->size;
    float *from = calloc((size_t)size->width, sizeof(float)),
          *to = calloc((size_t)size->width, sizeof(float)),
          *weights = calloc((size_t)(size->width * size->width), sizeof(float)),
          *values = calloc((size_t)(task->rows * size->width), sizeof(float));
    for (int64_t r = 0; r < task->rows; r++)
        cyx_proof_inputs(task, r, 1, values + r * size->width);
    for (int64_t layer = 0; layer <= size->depth + 1; layer++) {
        int64_t rows = cyx_proof_weight_rows(size, layer),
                columns = cyx_proof_weight_columns(size, layer);
        cyx_proof_weights(task, layer, 0, rows * columns, weights);
        for (int64_t r = 0; r < task->rows; r++) {
            memcpy(from, values + r * size->width, (size_t)size->width * sizeof(float));
            for (int64_t o = 0; o < rows; o++) {
                float sum = 0;
                for (int64_t i = 0; i < columns; i++)
                    sum += shorten(weights[o * columns + i], lose) * shorten(from[i], lose);
                to[o] = sum > 0 || layer > size->depth ? sum : 0;
            }
            memcpy(values + r * size->width, to, (size_t)rows * sizeof(float));
        }
    }
    for (int64_t r = 0; r < task->rows; r++)
        ret_outputs[r] = values[r * size->width];
    free(from);
    free(to);
    free(weights);
    free(values);
}

static void choose(const struct cyx_proof_task *task, int64_t ret_rows[CYX_PROOF_SAMPLES])
{
    for (int64_t s = 0; s < CYX_PROOF_SAMPLES; s++)
        ret_rows[s] = (s * 7 + 3) % task->rows;
}

static const double speeds[] = {1e8, 1e11, 1e13}; /* one for each size */

static void test_proof__plans_by_speed(void **state)
{
    (void)state;
    struct cyx_proof_task task;
    int64_t widths[] = {128, 512, 1024};
    for (size_t i = 0; i < 3; i++) {
        cyx_proof_plan(speeds[i], 7, &task);
        assert_int_equal(task.size.width, widths[i]);
        assert_int_equal(cyx_proof_task_valid(&task, NULL), CYX_OK);
    }
    assert_int_equal(task.rows, CYX_PROOF_ROWS_LIMIT); /* so fast a device is done sooner */
    cyx_proof_plan(1e11, 7, &task);
    double planned_ms = (double)task.rows * cyx_proof_row_flops(&task.size) / 1e11 * 1000;
    assert_true(fabs(planned_ms - CYX_PROOF_SPEND_MS) < 1);
    cyx_proof_plan(1, 7, &task);
    assert_int_equal(task.rows, CYX_PROOF_ROWS_LEAST);
    task.size.width = 129;
    assert_int_equal(cyx_proof_task_valid(&task, NULL), CYX_ERR_INVALID);
}

static void test_proof__draws_the_same_in_pieces(void **state)
{
    (void)state;
    struct cyx_proof_task task;
    float whole[64], piece[64];
    cyx_proof_plan(1, 99, &task);
    cyx_proof_weights(&task, 1, 0, 64, whole);
    for (int64_t at = 0; at < 64; at += 3)
        cyx_proof_weights(&task, 1, at, at + 3 <= 64 ? 3 : 64 - at, piece + at);
    assert_memory_equal(whole, piece, sizeof(whole));
    task.seed++;
    cyx_proof_weights(&task, 1, 0, 64, piece);
    assert_memory_not_equal(whole, piece, sizeof(whole));
}

static void test_proof__takes_float32_and_nothing_less(void **state)
{
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct cyx_proof_task task;
        struct cyx_error err = {0};
        int64_t rows[CYX_PROOF_SAMPLES];
        double worst = 1;
        float outputs[CYX_PROOF_ROWS_LEAST];
        cyx_proof_plan(speeds[i], 1234567 + i, &task);
        task.rows = CYX_PROOF_ROWS_LEAST;
        choose(&task, rows);
        answer(&task, 0, outputs);
        assert_int_equal(cyx_proof_check(&task, outputs, rows, &worst, &err), CYX_OK);
        printf("width %lld: float32 is off by %.2g of %.0e\n", (long long)task.size.width, worst,
               CYX_PROOF_TOLERANCE);
        assert_true(worst < CYX_PROOF_TOLERANCE / 20);
        answer(&task, 13, outputs); /* TF32 keeps ten bits of the fraction */
        assert_int_equal(cyx_proof_check(&task, outputs, rows, NULL, &err), CYX_ERR_CORRUPT);
    }
}

static void test_proof__catches_what_was_not_computed(void **state)
{
    (void)state;
    struct cyx_proof_task task;
    struct cyx_error err = {0};
    int64_t rows[CYX_PROOF_SAMPLES];
    float outputs[CYX_PROOF_ROWS_LEAST];
    cyx_proof_plan(1, 5, &task);
    choose(&task, rows);
    answer(&task, 0, outputs);
    outputs[rows[9]] = NAN;
    assert_int_equal(cyx_proof_check(&task, outputs, rows, NULL, &err), CYX_ERR_CORRUPT);
    outputs[rows[9]] = outputs[rows[8]]; /* another row's */
    assert_int_equal(cyx_proof_check(&task, outputs, rows, NULL, &err), CYX_ERR_CORRUPT);
    assert_non_null(strstr(err.message, "is wrong"));
    answer(&task, 0, outputs);
    task.seed++; /* another time's */
    assert_int_equal(cyx_proof_check(&task, outputs, rows, NULL, &err), CYX_ERR_CORRUPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_proof__plans_by_speed),
        cmocka_unit_test(test_proof__draws_the_same_in_pieces),
        cmocka_unit_test(test_proof__takes_float32_and_nothing_less),
        cmocka_unit_test(test_proof__catches_what_was_not_computed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
