#include "quotient.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "reference.h"
#include "runners.h"

void quotient_begin(struct quotient *self, const char *what)
{
    *self = (struct quotient){.what = what, .y = CYX_NO_VALUE, .dy = CYX_NO_VALUE};
    op_graph_init(&self->g);
}

int32_t quotient_operand(struct quotient *self, struct cyx_shape shape, int32_t *ret_grad)
{
    int32_t param = op_graph_param(&self->g, shape);
    *ret_grad = op_graph_result(&self->g, shape);
    self->pairs[self->n_pairs].param = param;
    self->pairs[self->n_pairs++].grad = *ret_grad;
    return param;
}

int32_t quotient_operand_if(struct quotient *self, bool there, struct cyx_shape shape,
                            int32_t *ret_grad)
{
    *ret_grad = CYX_NO_VALUE;
    return there ? quotient_operand(self, shape, ret_grad) : CYX_NO_VALUE;
}

void quotient_results(struct quotient *self, struct cyx_shape shape)
{
    self->y = op_graph_result(&self->g, shape);
    self->dy = op_graph_param(&self->g, shape);
}

int32_t quotient_end_forward(struct quotient *self, bool relu)
{
    int32_t dy = self->dy;
    self->n_forward = self->g.graph.n_nodes;
    if (!relu)
        return dy;
    dy = op_graph_result(&self->g, self->g.values[self->y].shape);
    op_graph_node(&self->g, CYX_OP_RELU_GRAD, 2, (int32_t[]){self->dy, self->y}, 1, &dy);
    return dy;
}

static double objective(const struct quotient *self, struct reference *reference)
{
    double sum = 0;
    reference_run(reference, self->n_forward);
    if (self->y == CYX_NO_VALUE)
        return reference->data[self->g.graph.result][CYX_RESULT_LOSS];
    for (int64_t i = 0; i < cyx_shape_count(&self->g.values[self->y].shape); i++)
        sum += reference->data[self->y][i] * reference->data[self->dy][i];
    return sum;
}

static void check_pair(const struct quotient *self, struct reference *reference, int32_t param,
                       int32_t grad)
{
    /* The quotient errs by h² f''' / 6 and by 2^-53 |f| / h: each some 1e-10 for what is summed here. */
    const double h = 1e-5, tolerance = 2e-8;
    size_t n = (size_t)cyx_shape_count(&self->g.values[param].shape);
    double *data = reference->data[param], *slopes = calloc(n, sizeof *slopes), largest = 0;
    assert_non_null(slopes);
    reference_run(reference, self->g.graph.n_nodes);
    memcpy(slopes, reference->data[grad], n * sizeof *slopes);
    for (size_t i = 0; i < n; i++) {
        double kept = data[i];
        data[i] = kept + h;
        double above = objective(self, reference);
        data[i] = kept - h;
        double wanted = (above - objective(self, reference)) / (2 * h);
        data[i] = kept;
        if (!(fabs(wanted - slopes[i]) <= tolerance * (1 + fabs(wanted))))
            fail_msg("%s: gradient of v%d[%zu] is %.12g, the quotient %.12g", self->what,
                     (int)param, i, slopes[i], wanted);
        largest = fmax(largest, fabs(wanted));
    }
    if (largest < 1e-3) /* nothing was judged */
        fail_msg("%s: the gradient of v%d is 0", self->what, (int)param);
    free(slopes);
}

void quotient_check(struct quotient *self)
{
    struct reference reference;
    reference_init(&reference, &self->g.graph, true);
    reference.seed = 7;
    for (int32_t v = 0; v < (int32_t)self->g.graph.n_values; v++) {
        for (int64_t i = 0; i < cyx_shape_count(&self->g.values[v].shape); i++) {
            if (self->g.values[v].kind == CYX_VALUE_PARAM)
                reference.data[v][i] = (double)test_uniform(100 + (uint64_t)v, i);
            else if (v == self->g.graph.target && self->target)
                reference.data[v][i] = self->target[i];
        }
    }
    for (int i = 0; i < self->n_pairs; i++)
        check_pair(self, &reference, self->pairs[i].param, self->pairs[i].grad);
    reference_finish(&reference);
}
