/*
 * One operation at a time on every device of this machine, against the double-precision reference: a graph made by
 * hand, run a few steps with random operands, and the values named compared.
 *
 *     const struct check checks[] = {{y, sum_tolerance(k)}, {dx, 0}};
 *     run_checks(&g, "Linear", NULL, 1, 1.0, checks, 2);
 *
 *     int main(void)
 *     {
 *         const struct CMUnitTest tests[] = {cmocka_unit_test(test_linear__matches_reference)};
 *         return run_operation_tests(tests);
 *     }
 */
#ifndef CYX_TESTS_CONFORMANCE_OP_CHECKS_H
#define CYX_TESTS_CONFORMANCE_OP_CHECKS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "op_graph.h"
#include "runners.h"

struct check {
    int32_t value;
    double tolerance; /* of the value's largest element; 0: equal */
};

/*
 * Runs `g` on every device, `steps` times, and compares. Parameters and buffers are filled by chance within
 * ±scale, or as op_graph_range() says; `target` is the graph's, int32 or float, NULL for none.
 */
void run_checks(struct op_graph *g, const char *what, const void *target, int steps, double scale,
                const struct check *checks, size_t n_checks);

#define run_operation_tests(tests)                                                                 \
    (operation_tests_begin() ? operation_tests_end(cmocka_run_group_tests(tests, NULL, NULL)) : 77)
bool operation_tests_begin(void);
int operation_tests_end(int failed);

static inline struct cyx_shape shape1(int64_t a)
{
    return (struct cyx_shape){1, {a}};
}

static inline struct cyx_shape shape2(int64_t a, int64_t b)
{
    return (struct cyx_shape){2, {a, b}};
}

static inline struct cyx_shape shape3(int64_t a, int64_t b, int64_t c)
{
    return (struct cyx_shape){3, {a, b, c}};
}

static inline struct cyx_shape shape4(int64_t a, int64_t b, int64_t c, int64_t d)
{
    return (struct cyx_shape){4, {a, b, c, d}};
}

#endif
