/*
 * The devices that a conformance test runs on: each backend of this machine, Vulkan once a tiling of its
 * matrix products. Vulkan runs under the validation layer with synchronisation checks, where that is installed.
 * CYXWIZ_RUNNERS=vulkan opens those alone whose names hold that word.
 *
 *     struct runners runners;
 *     runners_open(&runners);          // prints SKIP and why for what is not there
 *     for (size_t i = 0; i < runners.count; i++) … runners.items[i].backend …
 *     runners_close(&runners);
 */
#ifndef CYX_TESTS_CONFORMANCE_RUNNERS_H
#define CYX_TESTS_CONFORMANCE_RUNNERS_H

#include "nn/backend.h"

struct reference;

struct runner {
    const char *name; /* "cpu", "vulkan/registers", "vulkan/shared" */
    const struct cyx_backend *backend;
    struct cyx_device *device;
};

struct runners {
    struct runner items[3];
    size_t count;
};

void runners_open(struct runners *self);
void runners_close(struct runners *self);
bool runners_have_vulkan(const struct runners *self);

/* Fails the test with the error's words unless `status` is CYX_OK. */
void must_do(const char *runner, enum cyx_status status, const struct cyx_error *error);

/* Uniform in [-1, 1), the same for the same (seed, i). */
float test_uniform(uint64_t seed, int64_t i);

/* Fills every parameter, and the reference's copy of it, by test_uniform * scale. */
void fill_params(const struct runner *runner, struct cyx_session *session,
                 const struct cyx_graph *graph, struct reference *reference, double scale);

/* Submits and waits. */
struct cyx_step_result run_step(const struct runner *runner, struct cyx_program *program,
                                const struct cyx_feed *feed);

/*
 * Reads the value (persistent or transient) and compares: |got - wanted| <= tolerance * the largest |wanted|. A
 * tolerance of 0 asks for equal values. Fails the test with the place and both numbers.
 */
void compare_value(const struct runner *runner, struct cyx_session *session,
                   struct cyx_program *program, const struct cyx_graph *graph, int32_t value,
                   const double *wanted, double tolerance, const char *what);

/*
 * Relative to the largest element, what k accumulated products may be off in fp32: each addition rounds by
 * 2^-24 of the partial sum; rounding is as good as random, so errors grow by the root of k. The factor 4 covers
 * orders of summation and the largest of many elements.
 */
double sum_tolerance(int64_t k);

#endif
