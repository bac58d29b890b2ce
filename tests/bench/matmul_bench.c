/*
 * The CPU backend's matrix product beside oneDNN's own, in turns, for tests/bench/train_bench.py:
 *
 *   matmul_bench THREADS SECONDS
 *
 * A Linear without a bias is y = x Wᵀ; dnnl_sgemm multiplies the same matrices. Prints one JSON array, an object a
 * shape: rows, inputs, outputs, and the rates of both in GFLOP/s by the median of the runs.
 */
#include <dnnl.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "nn/backend.h"
#include "nn/cpu/openmp.h"
#include "op_graph.h"

#include "base/banned.h"

enum { RUNS_LIMIT = 10000 };

struct shape {
    int64_t rows, inputs, outputs;
};

static const struct shape SHAPES[] = {{1024, 1024, 1024}, {128, 784, 512}, {128, 512, 512}};

struct bench {
    struct shape shape;
    const struct cyx_backend *backend;
    struct cyx_device *device;
    struct cyx_session *session;
    struct cyx_program *program;
    struct op_graph g;
    float *a, *b, *c;
    double ours[RUNS_LIMIT], onednns[RUNS_LIMIT];
};

static void must(enum cyx_status status, const struct cyx_error *error)
{
    if (status == CYX_OK)
        return;
    fprintf(stderr, "matmul_bench: %s\n", error->message);
    exit(1);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static float *ones(int64_t count)
{
    float *data = malloc((size_t)count * sizeof *data);
    if (!data)
        exit(1);
    for (int64_t i = 0; i < count; i++)
        data[i] = 1;
    return data;
}

static void open_bench(struct bench *self, const struct shape *shape, int threads)
{
    struct cyx_error error = {0};
    self->shape = *shape;
    op_graph_init(&self->g);
    int32_t x = op_graph_param(&self->g, (struct cyx_shape){2, {shape->rows, shape->inputs}});
    int32_t w = op_graph_param(&self->g, (struct cyx_shape){2, {shape->outputs, shape->inputs}});
    int32_t y = op_graph_result(&self->g, (struct cyx_shape){2, {shape->rows, shape->outputs}});
    op_graph_node(&self->g, CYX_OP_LINEAR, 3, (int32_t[]){x, w, CYX_NO_VALUE}, 1, &y);
    const struct cyx_device_options options = {.threads = threads};
    must(cyx_backend_open("cpu", &options, &self->backend, &self->device, &error), &error);
    const struct cyx_graph *graph = &self->g.graph;
    must(self->backend->session_create(self->device, graph, &self->session, &error), &error);
    must(self->backend->program_create(self->session, graph, &self->program, &error), &error);
    self->a = ones(shape->rows * shape->inputs);
    self->b = ones(shape->outputs * shape->inputs);
    self->c = ones(shape->rows * shape->outputs);
    must(self->backend->value_write(self->session, graph->values[x].name, self->a,
                                    (size_t)(shape->rows * shape->inputs), &error),
         &error);
    must(self->backend->value_write(self->session, graph->values[w].name, self->b,
                                    (size_t)(shape->outputs * shape->inputs), &error),
         &error);
}

static void close_bench(struct bench *self)
{
    self->backend->program_destroy(self->program);
    self->backend->session_destroy(self->session);
    self->backend->device_close(self->device);
    free(self->a);
    free(self->b);
    free(self->c);
}

static double run_ours(struct bench *self)
{
    static const float input[1];
    static const int32_t target[1];
    struct cyx_error error = {0};
    struct cyx_step_result result;
    struct cyx_feed feed = {.input = input, .target = target, .step = 1};
    uint64_t ticket;
    int64_t start = cyx_clock_monotonic_ns();
    must(self->backend->submit(self->program, &feed, &ticket, &error), &error);
    must(self->backend->wait(self->program, ticket, &result, &error), &error);
    return (double)(cyx_clock_monotonic_ns() - start);
}

static double run_onednns(struct bench *self)
{
    const struct shape *s = &self->shape;
    int64_t start = cyx_clock_monotonic_ns();
    dnnl_sgemm('N', 'T', s->rows, s->outputs, s->inputs, 1.0f, self->a, s->inputs, self->b,
               s->inputs, 0.0f, self->c, s->outputs);
    return (double)(cyx_clock_monotonic_ns() - start);
}

static void run_bench(struct bench *self, double seconds, const char *separator)
{
    size_t n = 0;
    run_ours(self);
    run_onednns(self);
    for (int64_t begin = cyx_clock_monotonic_ns();
         n < RUNS_LIMIT && (double)(cyx_clock_monotonic_ns() - begin) < seconds * 1e9; n++) {
        self->ours[n] = run_ours(self);
        self->onednns[n] = run_onednns(self);
    }
    qsort(self->ours, n, sizeof *self->ours, compare);
    qsort(self->onednns, n, sizeof *self->onednns, compare);
    const struct shape *s = &self->shape;
    double flop = 2.0 * (double)s->rows * (double)s->inputs * (double)s->outputs;
    printf("%s{\"rows\":%lld,\"inputs\":%lld,\"outputs\":%lld,\"ours\":%.2f,\"sgemm\":%.2f}",
           separator, (long long)s->rows, (long long)s->inputs, (long long)s->outputs,
           flop / self->ours[n / 2], flop / self->onednns[n / 2]);
}

int main(int argc, char **argv)
{
    static struct bench bench;
    int threads = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 0;
    double seconds = argc > 2 ? strtod(argv[2], NULL) : 0;
    if (threads < 1 || !(seconds > 0)) {
        fprintf(stderr, "usage: matmul_bench THREADS SECONDS\n");
        return 2;
    }
    omp_set_num_threads(threads);
    for (size_t i = 0; i < sizeof SHAPES / sizeof *SHAPES; i++) {
        open_bench(&bench, &SHAPES[i], threads);
        run_bench(&bench, seconds / 3, i == 0 ? "[" : ",");
        close_bench(&bench);
    }
    printf("]\n");
    return 0;
}
