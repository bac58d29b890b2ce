/*
 * Keeps OpenMP's waiting threads from burning the processor that they wait for.
 *
 * libgomp lets a thread that waits at a barrier spin for some ten milliseconds before it sleeps, which is
 * harmless on an idle machine and ruinous on a shared one: while the awaited thread has no processor, the
 * waiting one uses up its own share (measured here beside one busy process: a training step 10 to 20 times
 * slower). Its only other setting that can be reached once a process runs is the short spin (some 50 µs) that
 * it uses while there are more OpenMP threads than processors. So a device keeps one more team, asleep.
 *
 * Ownership: one a device. Thread rule: create and destroy on any thread.
 */
#ifndef CYX_NN_CPU_PATIENCE_H
#define CYX_NN_CPU_PATIENCE_H

struct cpu_patience;

/* NULL when threads could not be had: slower beside others, nothing else. */
struct cpu_patience *cpu_patience_create(void);
void cpu_patience_destroy(struct cpu_patience *self);

#endif
