/*
 * Own loops, for what oneDNN lacks or does in more passes. Each runs one lowered step over the device's threads
 * in a static partition, so the same program gives the same bits. Private to nn/cpu.
 *
 * Pooling and Dropout walk (outer, height, width, lanes): nChw16c has outer N * C/16 and 16 lanes, nhwc
 * outer N and C lanes, nchw outer N * C and one lane.
 */
#ifndef CYX_NN_CPU_KERNELS_H
#define CYX_NN_CPU_KERNELS_H

#include "nn/cpu/cpu.h"

/*
 * Loops are compiled for several instruction sets and picked at start, so that one binary runs everywhere.
 * Sanitizers run before the pick could be made.
 */
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define CPU_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define CPU_CLONES
#endif

enum {
    CPU_POOL_WINDOW_LIMIT = 65535,
    CPU_POOL_NONE = 65535, /* index of a window whose gradient the fused ReLU stops */
};

/* One row's part of the loss. */
struct cpu_row_loss {
    double loss;
    float weight;
    int16_t counts, correct;
};

/* Argument number of an optimizer's factor. */
enum { CPU_FACTOR = 64 };

/* The first of the largest; the first NaN, where there is one. */
int64_t cpu_largest(const float *x, int64_t n);

/* A binding's bytes in this step. */
void *cpu_data(struct cyx_program *program, const struct cpu_binding *binding);
/* The bytes bound to argument `arg`, NULL where there is none. */
void *cpu_arg(struct cyx_program *program, const struct cpu_step *step, int arg);
void *cpu_scratchpad(struct cyx_program *program, const struct cpu_step *step);

/*
 * Runs `loop` over every element as it lies, padding included, of a step's inputs 0 and 1 (NULL where there is none)
 * and its output, in parts that begin on a cache line.
 */
typedef void cpu_loop(const float *a, const float *b, float *out, int64_t n,
                      const struct cyx_node *node);
void cpu_over_elements(struct cyx_program *program, const struct cpu_step *step, cpu_loop *loop);

/* Scratch of BatchNorm's kernels and of a bias's gradient. */
int64_t cpu_batch_norm_scratch(const struct cpu_planes *planes);
int64_t cpu_element_loss_scratch(int64_t count);
int64_t cpu_square_sum_scratch(int64_t count);
int64_t cpu_layer_norm_scratch(const struct cyx_graph *graph, const struct cyx_node *node);

typedef void cpu_kernel_fn(struct cyx_program *program, const struct cpu_step *step);

cpu_kernel_fn cpu_kernel_copy, cpu_kernel_relu, cpu_kernel_relu_grad, cpu_kernel_add;
cpu_kernel_fn cpu_kernel_activation, cpu_kernel_activation_grad, cpu_kernel_dropout;
cpu_kernel_fn cpu_kernel_softmax, cpu_kernel_softmax_grad;
cpu_kernel_fn cpu_kernel_batch_norm, cpu_kernel_batch_norm_grad, cpu_kernel_batch_norm_inference;
cpu_kernel_fn cpu_kernel_layer_norm, cpu_kernel_layer_norm_grad;
cpu_kernel_fn cpu_kernel_max_pool, cpu_kernel_max_pool_grad;
cpu_kernel_fn cpu_kernel_avg_pool, cpu_kernel_avg_pool_grad;
cpu_kernel_fn cpu_kernel_concat, cpu_kernel_slice;
cpu_kernel_fn cpu_kernel_bias, cpu_kernel_bias_grad; /* of ConvTranspose2d, behind its primitive */
cpu_kernel_fn cpu_kernel_deconv, cpu_kernel_deconv_input_grad, cpu_kernel_deconv_weight_grad;
cpu_kernel_fn cpu_kernel_one_hot, cpu_kernel_cross_entropy, cpu_kernel_cross_entropy_grad;
cpu_kernel_fn cpu_kernel_element_loss, cpu_kernel_element_loss_grad;
cpu_kernel_fn cpu_kernel_clip_norm;

/* Steps that follow each other run as one, from `step` on: step->joined. */
cpu_kernel_fn cpu_kernel_square_sum;
cpu_kernel_fn cpu_kernel_sgd, cpu_kernel_adam, cpu_kernel_rmsprop;

#endif
