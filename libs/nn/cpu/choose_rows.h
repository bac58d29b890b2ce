/* Linear on rows as a 1x1 convolution: choose_linear.c asks here first. */
#ifndef CYX_NN_CPU_CHOOSE_ROWS_H
#define CYX_NN_CPU_CHOOSE_ROWS_H

#include "nn/cpu/cpu.h"

/*
 * Takes the place of step->pd, whose cpu_rank() is `rank`, and sets step->rows, where the convolution is the better
 * one; false where not, and nothing is changed then. The gradients of such a step are chosen by the two below.
 */
bool cpu_choose_rows_forward(struct cyx_program *self, struct cpu_step *step, int rank);
cpu_choose_step cpu_choose_rows_input_grad, cpu_choose_rows_weight_grad;

#endif
