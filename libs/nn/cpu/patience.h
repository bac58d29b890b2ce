/*
 * Keeps OpenMP's waiting threads from burning the processor that they wait for.
 *
 * libgomp lets a thread that waits at a barrier spin for some ten milliseconds before it sleeps. On an idle machine
 * that is the best it could do (to wake a sleeping thread takes some 50 to 100 µs, and a step waits dozens of times);
 * on a shared one it is ruinous: while the awaited thread has no processor, the waiting one uses up its own share
 * (measured here beside one busy process: a training step 10 to 20 times slower). Its only other setting that can
 * be reached once a process runs is the short spin (some 50 µs) that it uses while there are more OpenMP threads than
 * processors. So a device keeps one more team, asleep, for as long as its threads have to wait for a processor:
 * Linux says in /proc/thread-self/schedstat how long each did. Where it does not say, the team stays.
 *
 * Ownership: one a device. Thread rule: create and destroy on any thread, the rest as the device's steps.
 */
#ifndef CYX_NN_CPU_PATIENCE_H
#define CYX_NN_CPU_PATIENCE_H

#include <stdbool.h>
#include <stdint.h>

struct cpu_patience;

/* For a team of `threads`. NULL when threads could not be had: slower beside others, nothing else. */
struct cpu_patience *cpu_patience_create(int threads);
void cpu_patience_destroy(struct cpu_patience *self);

/* On member `index` of the team that runs the steps, before the first of them: its waiting counts from now on. */
void cpu_patience_watch(struct cpu_patience *self, int index);

/* After a step: looks at how long the members waited, a few times a second, and lets them spin or not. */
void cpu_patience_observe(struct cpu_patience *self);

/* Whether waiting threads sleep early now. */
bool cpu_patience_held(const struct cpu_patience *self);

/* What part of the last window's time a member waited for a processor: the largest, 0 to 1; -1 before there is one. */
double cpu_patience_share(const struct cpu_patience *self);

/* The rule: whether the team is held after a window with this share; *idle_since: when the last busy one ended. */
bool cpu_patience_rule(bool held, double share, int64_t now, int64_t *idle_since);

#endif
