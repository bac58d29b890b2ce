#include "nn/bench/rig.h"

#include <stdlib.h>

#include "base/buf.h"
#include "base/clock.h"
#include "nn/train/init.h"

#include "base/banned.h"

enum { SEED = 1 };

/* A job on arrays of this process: its data are what rig_fill() draws. */
static enum cyx_status make_spec(struct bench_rig *self, const struct bench_plan *plan,
                                 struct cyx_error *error)
{
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    cyx_buf_printf(&text,
                   "{\"name\":\"benchmark\",\"model\":{\"layers\":[%s]},\"data\":{\"dataset\":{"
                   "\"format\":\"memory\"},\"batch_size\":1},\"loss\":%s,\"optimizer\":{\"type\":"
                   "\"SGD\",\"lr\":1e-6},\"epochs\":1}",
                   plan->layers, plan->loss);
    enum cyx_status status = cyx_job_spec_parse(text.data, text.length, &self->spec, error);
    if (status == CYX_OK)
        self->spec->data.sample = plan->sample;
    return status;
}

static int64_t elements(const struct bench_rig *self, int32_t value)
{
    return value == CYX_NO_VALUE ? 0 : cyx_shape_count(&self->graph->values[value].shape);
}

static enum cyx_status make_batch(struct bench_rig *self, struct cyx_error *error)
{
    size_t count = (size_t)elements(self, self->graph->input);
    self->input = calloc(count + 1, sizeof(float));
    self->target = calloc((size_t)elements(self, self->graph->target) + 1, sizeof(float));
    if (!self->input || !self->target)
        return cyx_error_set(error, CYX_ERR_NO_MEMORY, NULL, "no memory for a batch");
    cyx_init_uniform(SEED, 0, 1, self->input, count);
    return CYX_OK;
}

enum cyx_status bench_rig_make(const struct cyx_backend *backend, struct cyx_device *device,
                               const struct bench_plan *plan, struct bench_rig *ret_rig,
                               struct cyx_error *ret_error)
{
    struct bench_rig rig = {.backend = backend};
    const struct cyx_graph_options options = {.batch = plan->batch, .training = plan->training};
    enum cyx_status status = make_spec(&rig, plan, ret_error);
    if (status == CYX_OK)
        status = cyx_graph_create_step(rig.spec, &options, &rig.graph, ret_error);
    if (status == CYX_OK)
        status = backend->session_create(device, rig.graph, &rig.session, ret_error);
    if (status == CYX_OK && !plan->storage)
        status = make_batch(&rig, ret_error);
    if (status == CYX_OK && !plan->storage)
        status = cyx_init_parameters(backend, rig.session, rig.graph, SEED, ret_error);
    if (status == CYX_OK && !plan->storage)
        status = backend->program_create(rig.session, rig.graph, &rig.program, ret_error);
    if (status == CYX_OK)
        *ret_rig = rig;
    else
        bench_rig_finish(&rig);
    return status;
}

void bench_rig_finish(struct bench_rig *self)
{
    if (self->program)
        self->backend->program_destroy(self->program);
    if (self->session)
        self->backend->session_destroy(self->session);
    cyx_graph_destroy(self->graph);
    cyx_job_spec_destroy(self->spec);
    free(self->input);
    free(self->target);
    *self = (struct bench_rig){0};
}

enum cyx_status bench_rig_step(struct bench_rig *self, const float *input,
                               struct cyx_error *ret_error)
{
    uint64_t ticket = 0;
    struct cyx_step_result result;
    const struct cyx_feed feed = {.input = input ? input : self->input,
                                  .target = self->target,
                                  .seed = SEED,
                                  .step = 1,
                                  .lr = {1e-6}};
    enum cyx_status status = self->backend->submit(self->program, &feed, &ticket, ret_error);
    return status == CYX_OK ? self->backend->wait(self->program, ticket, &result, ret_error)
                            : status;
}

enum cyx_status bench_rig_time(struct bench_rig *self, int64_t spend_ms, double *ret_seconds,
                               struct cyx_error *ret_error)
{
    int64_t began_ns = cyx_clock_monotonic_ns(), quickest_ns = INT64_MAX, now_ns = 0;
    enum cyx_status status = CYX_OK;
    for (int step = 0; status == CYX_OK && (step < 2 || now_ns - began_ns < spend_ms * 1000000);
         step++) {
        int64_t from_ns = cyx_clock_monotonic_ns();
        status = bench_rig_step(self, NULL, ret_error);
        now_ns = cyx_clock_monotonic_ns();
        if (now_ns - from_ns < quickest_ns)
            quickest_ns = now_ns - from_ns;
        if (step == 0 && now_ns - from_ns > spend_ms * 1000000)
            break;
    }
    if (status == CYX_OK)
        *ret_seconds = (double)quickest_ns / 1e9;
    return status;
}
