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
    int32_t counts, correct;
};

/* A binding's bytes in this step. */
void *cpu_data(struct cyx_program *program, const struct cpu_binding *binding);
void *cpu_scratchpad(struct cyx_program *program, const struct cpu_step *step);

void cpu_kernel_copy(struct cyx_program *program, const struct cpu_step *step);
void cpu_kernel_relu(struct cyx_program *program, const struct cpu_step *step);
void cpu_kernel_relu_grad(struct cyx_program *program, const struct cpu_step *step);
void cpu_kernel_add(struct cyx_program *program, const struct cpu_step *step);
void cpu_kernel_dropout(struct cyx_program *program, const struct cpu_step *step);
void cpu_kernel_max_pool(struct cyx_program *program, const struct cpu_step *step);
void cpu_kernel_max_pool_grad(struct cyx_program *program, const struct cpu_step *step);
void cpu_kernel_cross_entropy(struct cyx_program *program, const struct cpu_step *step);
void cpu_kernel_cross_entropy_grad(struct cyx_program *program, const struct cpu_step *step);

/* The optimizer: steps that follow each other run as one, from `step` on; see cpu_optimizer_run(). */
void cpu_kernel_sgd(struct cyx_program *program, const struct cpu_step *step);
void cpu_kernel_adamw(struct cyx_program *program, const struct cpu_step *step);

#endif
