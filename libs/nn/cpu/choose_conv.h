/* What Conv2d, ConvTranspose2d and Linear on rows share; private to choose_{conv,deconv,rows}.c. */
#ifndef CYX_NN_CPU_CHOOSE_CONV_H
#define CYX_NN_CPU_CHOOSE_CONV_H

#include "nn/cpu/cpu.h"

/* A convolution from x to y; ConvTranspose2d's goes from its output to its input. */
struct conv {
    struct cyx_program *program;
    struct cpu_step *step;
    dnnl_dims_t x, y, w, b; /* four, four, four or five (groups first), one */
    int w_dims;
    dnnl_dims_t strides, dilates, pad_begin, pad_end; /* two each */
};

void cpu_conv_geometry(struct conv *c, int32_t x, int32_t w, int32_t y,
                       const struct cyx_window *window);

/* As cpu_try(), for these layouts. */
void cpu_conv_try_forward(struct conv *c, bool bias, bool relu, const dnnl_memory_desc_t *x,
                          const dnnl_memory_desc_t *w, const dnnl_memory_desc_t *y,
                          dnnl_primitive_desc_t *pd, int *rank);
void cpu_conv_try_backward_data(struct conv *c, dnnl_primitive_desc_t hint,
                                const dnnl_memory_desc_t *x, const dnnl_memory_desc_t *w,
                                const dnnl_memory_desc_t *y, dnnl_primitive_desc_t *pd, int *rank);
void cpu_conv_try_backward_weights(struct conv *c, dnnl_primitive_desc_t hint, bool bias,
                                   const dnnl_memory_desc_t *x, const dnnl_memory_desc_t *w,
                                   const dnnl_memory_desc_t *y, dnnl_primitive_desc_t *pd,
                                   int *rank);

/* The worse of the gradients' ranks, with the activation layouts that `forward` chose. */
int cpu_conv_backward_rank(struct conv *c, dnnl_primitive_desc_t forward, bool bias,
                           bool input_grad);

#endif
