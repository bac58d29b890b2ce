#include "runners.h"

#include <dlfcn.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "nn/tensor/philox.h"

#include "reference.h"

/* For the leak checker: support/sanitizers.c. The loader would unload it with the instance. */
static void keep_layer(void)
{
    dlopen("libVkLayer_khronos_validation.so", RTLD_NOW | RTLD_LOCAL);
}

static void open_one(struct runners *self, const char *name, const char *backend,
                     const char *tiling)
{
    const char *wanted = getenv("CYXWIZ_RUNNERS");
    struct runner runner = {.name = name};
    if (wanted && !strstr(name, wanted)) {
        printf("SKIP %s: CYXWIZ_RUNNERS=%s\n", name, wanted);
        return;
    }
    struct cyx_device_options options = {.validation = true};
    struct cyx_error error = {0};
    if (tiling)
        setenv("CYXWIZ_VULKAN_TILING", tiling, 1);
    enum cyx_status status =
        cyx_backend_open(backend, &options, &runner.backend, &runner.device, &error);
    if (status == CYX_ERR_UNAVAILABLE && strstr(error.message, "validation")) {
        printf("%s: without validation: %s\n", name, error.message);
        options.validation = false;
        status = cyx_backend_open(backend, &options, &runner.backend, &runner.device, &error);
    }
    unsetenv("CYXWIZ_VULKAN_TILING");
    if (status != CYX_OK) {
        printf("SKIP %s: %s\n", name, error.message);
        return;
    }
    struct cyx_device_info info;
    runner.backend->device_info(runner.device, &info);
    printf("%s: %s\n", name, info.name);
    self->items[self->count++] = runner;
}

void runners_open(struct runners *self)
{
    *self = (struct runners){0};
    setenv("CYXWIZ_KEEP_VALUES", "1", 1);
    keep_layer();
    open_one(self, "cpu", "cpu", NULL);
    open_one(self, "vulkan/registers", "vulkan", "registers");
    open_one(self, "vulkan/shared", "vulkan", "shared");
}

void runners_close(struct runners *self)
{
    for (size_t i = 0; i < self->count; i++)
        self->items[i].backend->device_close(self->items[i].device);
    self->count = 0;
}

bool runners_have_vulkan(const struct runners *self)
{
    for (size_t i = 0; i < self->count; i++) {
        if (strcmp(self->items[i].backend->name, "vulkan") == 0)
            return true;
    }
    return false;
}

void must_do(const char *runner, enum cyx_status status, const struct cyx_error *error)
{
    if (status != CYX_OK)
        fail_msg("%s: %s: %s %s", runner, cyx_status_name(status), error->pointer, error->message);
}

float test_uniform(uint64_t seed, int64_t i)
{
    struct cyx_philox philox = {.seed = seed, .purpose = CYX_PHILOX_AUGMENT};
    return 2 * cyx_philox_uniform(&philox, (uint32_t)i) - 1;
}

void fill_params(const struct runner *runner, struct cyx_session *session,
                 const struct cyx_graph *graph, struct reference *reference, double scale)
{
    struct cyx_error error = {0};
    for (size_t v = 0; v < graph->n_values; v++) {
        const struct cyx_value *value = &graph->values[v];
        if (!cyx_value_in_state_dict(value->kind))
            continue;
        bool running = value->kind == CYX_VALUE_BUFFER; /* a variance is positive */
        size_t count = (size_t)cyx_shape_count(&value->shape);
        float *data = calloc(count, sizeof *data);
        double *wanted = reference->data[v];
        assert_non_null(data);
        for (size_t i = 0; i < count; i++) {
            data[i] = test_uniform(v + 1, (int64_t)i);
            data[i] = running ? 0.5f + fabsf(data[i]) : (float)scale * data[i];
            wanted[i] = (double)data[i];
        }
        must_do(runner->name,
                runner->backend->value_write(session, value->name, data, count, &error), &error);
        free(data);
    }
}

struct cyx_step_result run_step(const struct runner *runner, struct cyx_program *program,
                                const struct cyx_feed *feed)
{
    struct cyx_error error = {0};
    struct cyx_step_result result = {0};
    uint64_t ticket = 0;
    must_do(runner->name, runner->backend->submit(program, feed, &ticket, &error), &error);
    must_do(runner->name, runner->backend->wait(program, ticket, &result, &error), &error);
    return result;
}

void compare_value(const struct runner *runner, struct cyx_session *session,
                   struct cyx_program *program, const struct cyx_graph *graph, int32_t value,
                   const double *wanted, double tolerance, const char *what)
{
    const struct cyx_value *v = &graph->values[value];
    bool persists = cyx_value_persists(v->kind);
    size_t count = (size_t)cyx_shape_count(&v->shape);
    struct cyx_error error = {0};
    double largest = 0;
    float *got = calloc(count, sizeof *got);
    assert_non_null(got);
    must_do(runner->name,
            persists ? runner->backend->value_read(session, v->name, got, count, &error)
                     : runner->backend->transient_read(program, v->name, got, count, &error),
            &error);
    for (size_t i = 0; i < count; i++)
        largest = fabs(wanted[i]) > largest ? fabs(wanted[i]) : largest;
    for (size_t i = 0; i < count; i++) {
        double off = fabs((double)got[i] - wanted[i]);
        if (!(off <= tolerance * largest)) /* a NaN is off too */
            fail_msg("%s: %s: %s[%zu of %zu] is %.9g, wanted %.9g: off by %.3g, allowed %.3g",
                     runner->name, what, v->name, i, count, (double)got[i], wanted[i], off,
                     tolerance * largest);
    }
    free(got);
}

double sum_tolerance(int64_t k)
{
    return 4 * 0x1p-24 * (2 + sqrt((double)k));
}
