/*
 * Trainings that generate.py recorded, taken step by step on every device and on the reference: the loss and the norm
 * of each step, parameters and buffers after the last, within an operation's tolerance.
 */
#ifndef CYX_TESTS_GOLDEN_GOLDEN_TRAIN_H
#define CYX_TESTS_GOLDEN_GOLDEN_TRAIN_H

#include "golden_run.h"

enum { GOLDEN_STEPS = 50 };

/* golden_run_open() or golden_run_open_case(). */
typedef void (*golden_open_run)(struct golden_run *, const struct cyx_safetensors *, const char *);

/* Every case of the file, of which there are so many. */
void golden_train_all(const struct runners *runners, const char *file_name, size_t wanted_cases,
                      golden_open_run open);

#endif
