/*
 * How long the CPU backend takes for a training step, for tests/bench/train_bench.py:
 *
 *   train_bench THREADS SECONDS CxHxW SPEC.json [STARTED_NS]
 *
 * The model of the spec on random samples of that shape. Prints one JSON object: median and best milliseconds of a
 * step (feed, forward, backward, optimizer), the step's FLOPs, the process's peak memory, allocations a step (of
 * our code and of shared libraries), and the rate at which dnnl_sgemm multiplies large matrices here (median and
 * best of its runs), which is what this machine's processors can do at most. With STARTED_NS, the monotonic clock when the process was started, also how
 * long it took from there to the beginning and to the end of the first step.
 */
#include <dnnl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "allocations.h"
#include "base/buf.h"
#include "base/clock.h"
#include "contract/dataset.h"
#include "nn/backend.h"
#include "nn/cpu/openmp.h"
#include "nn/train/init.h"

enum { STEPS_LIMIT = 100000, WARM_UP = 5, STEPS_LEAST = 5, PEAK_SIZE = 1024 };

static void must(enum cyx_status status, const struct cyx_error *error)
{
    if (status == CYX_OK)
        return;
    fprintf(stderr, "train_bench: %s %s\n", error->pointer, error->message);
    exit(1);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* What dnnl_sgemm reaches on large matrices, in GFLOP/s: by the median of its runs, and by the fastest. */
struct sgemm {
    double median, best;
};

static struct sgemm measure_sgemm(int threads, double seconds)
{
    size_t count = (size_t)PEAK_SIZE * PEAK_SIZE, n = 0;
    float *a = calloc(count, sizeof *a), *b = calloc(count, sizeof *b),
          *c = calloc(count, sizeof *c);
    double *ns = calloc(STEPS_LIMIT, sizeof *ns);
    if (!a || !b || !c || !ns)
        exit(1);
    omp_set_num_threads(threads);
    int64_t begin = cyx_clock_monotonic_ns();
    do {
        int64_t start = cyx_clock_monotonic_ns();
        dnnl_sgemm('N', 'N', PEAK_SIZE, PEAK_SIZE, PEAK_SIZE, 1.0f, a, PEAK_SIZE, b, PEAK_SIZE,
                   0.0f, c, PEAK_SIZE);
        ns[n++] = (double)(cyx_clock_monotonic_ns() - start);
    } while ((double)(cyx_clock_monotonic_ns() - begin) < seconds * 1e9 && n < STEPS_LIMIT);
    qsort(ns, n, sizeof *ns, compare);
    double flop = 2.0 * PEAK_SIZE * PEAK_SIZE * PEAK_SIZE;
    struct sgemm sgemm = {.median = flop / ns[n / 2], .best = flop / ns[0]};
    free(a);
    free(b);
    free(c);
    free(ns);
    return sgemm;
}

struct bench {
    struct cyx_job_spec *spec;
    struct cyx_graph *graph;
    const struct cyx_backend *backend;
    struct cyx_device *device;
    struct cyx_session *session;
    struct cyx_program *program;
    float *input;
    int32_t *target;
    double *ms;
    size_t n_ms;
    int64_t ready_ns, first_step_ns;    /* when the first step began and ended */
    struct bench_allocations allocated; /* by all steps after the first ones */
};

/* "3x32x32" */
static void read_shape(const char *text, struct cyx_sample_shape *ret_shape)
{
    for (ret_shape->rank = 0; ret_shape->rank < 3 && *text;) {
        char *end;
        ret_shape->dim[ret_shape->rank++] = strtol(text, &end, 10);
        text = *end == 'x' ? end + 1 : end;
    }
}

static void open_bench(struct bench *b, const char *path, const char *shape, int threads)
{
    struct cyx_error error = {0};
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    must(cyx_buf_read_file(&text, path, CYX_JOB_SPEC_LIMIT_BYTES, &error), &error);
    must(cyx_job_spec_parse(text.data, text.length, &b->spec, &error), &error);
    read_shape(shape, &b->spec->data.sample);
    struct cyx_graph_options options = {.batch = b->spec->data.batch_size, .training = true};
    must(cyx_graph_create_step(b->spec, &options, &b->graph, &error), &error);
    struct cyx_device_options device = {.threads = threads};
    must(cyx_backend_open("cpu", &device, &b->backend, &b->device, &error), &error);
    must(b->backend->session_create(b->device, b->graph, &b->session, &error), &error);
    must(b->backend->program_create(b->session, b->graph, &b->program, &error), &error);
    must(cyx_init_parameters(b->backend, b->session, b->graph, 1, &error), &error);
    size_t pixels = (size_t)cyx_shape_count(&b->graph->values[b->graph->input].shape);
    b->input = calloc(pixels, sizeof *b->input);
    b->target = calloc((size_t)options.batch, sizeof *b->target);
    b->ms = calloc(STEPS_LIMIT, sizeof *b->ms);
    if (!b->input || !b->target || !b->ms)
        exit(1);
    cyx_init_uniform(2, 0, 1.0, b->input, pixels);
    for (int64_t i = 0; i < options.batch; i++)
        b->target[i] = (int32_t)(i % 10);
}

static void run_bench(struct bench *b, double seconds)
{
    struct cyx_error error = {0};
    struct cyx_step_result result;
    int64_t begin = cyx_clock_monotonic_ns();
    for (uint64_t step = 1; b->n_ms < STEPS_LIMIT; step++) {
        struct cyx_feed feed = {
            .input = b->input, .target = b->target, .step = step, .lr = {b->spec->optimizer.lr}};
        uint64_t ticket;
        struct bench_allocations before = bench_allocations();
        int64_t start = cyx_clock_monotonic_ns();
        must(b->backend->submit(b->program, &feed, &ticket, &error), &error);
        must(b->backend->wait(b->program, ticket, &result, &error), &error);
        int64_t end = cyx_clock_monotonic_ns();
        if (step == 1) {
            b->ready_ns = start;
            b->first_step_ns = end;
        }
        if (step > WARM_UP) {
            b->ms[b->n_ms++] = (double)(end - start) * 1e-6;
            b->allocated.own += bench_allocations().own - before.own;
            b->allocated.libraries += bench_allocations().libraries - before.libraries;
        }
        if (step == WARM_UP)
            begin = end;
        if ((double)(end - begin) > seconds * 1e9 && b->n_ms >= STEPS_LEAST)
            break;
    }
}

static void report(struct bench *b, const char *path, int64_t started_ns, int64_t peak_kib,
                   struct sgemm sgemm)
{
    struct cyx_error error = {0};
    struct cyx_model_cost cost = {0};
    must(cyx_model_cost(b->spec, &cost, &error), &error);
    qsort(b->ms, b->n_ms, sizeof *b->ms, compare);
    double gflop = (double)cost.training_flops_per_sample * (double)b->spec->data.batch_size * 1e-9;
    double steps = (double)b->n_ms;
    printf("{\"spec\":\"%s\",\"median_ms\":%.4f,\"best_ms\":%.4f,\"gflop\":%.6f,"
           "\"sgemm_gflops\":%.1f,\"sgemm_best_gflops\":%.1f,\"memory_bytes\":%lld,\"peak_rss_"
           "mib\":%.1f,"
           "\"own_allocations\":%.2f,\"library_allocations\":%.2f",
           path, b->ms[b->n_ms / 2], b->ms[0], gflop, sgemm.median, sgemm.best,
           (long long)b->backend->memory_bytes(b->program), (double)peak_kib / 1024,
           (double)b->allocated.own / steps, (double)b->allocated.libraries / steps);
    if (started_ns > 0)
        printf(",\"ready_ms\":%.1f,\"first_step_ms\":%.1f",
               (double)(b->ready_ns - started_ns) * 1e-6,
               (double)(b->first_step_ns - started_ns) * 1e-6);
    printf("}\n");
}

static void close_bench(struct bench *b)
{
    b->backend->program_destroy(b->program);
    b->backend->session_destroy(b->session);
    b->backend->device_close(b->device);
    cyx_graph_destroy(b->graph);
    cyx_job_spec_destroy(b->spec);
    free(b->input);
    free(b->target);
    free(b->ms);
}

int main(int argc, char **argv)
{
    int threads = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 0;
    double seconds = argc > 2 ? strtod(argv[2], NULL) : 0;
    if (argc < 5 || threads < 1 || !(seconds > 0)) {
        fprintf(stderr, "usage: train_bench THREADS SECONDS CxHxW SPEC.json [STARTED_NS]\n");
        return 2;
    }
    struct bench b = {0};
    struct rusage usage;
    open_bench(&b, argv[4], argv[3], threads);
    run_bench(&b, seconds);
    getrusage(RUSAGE_SELF, &usage);
    struct sgemm sgemm = measure_sgemm(threads, seconds / 4);
    report(&b, argv[4], argc > 5 ? strtoll(argv[5], NULL, 10) : 0, usage.ru_maxrss, sgemm);
    close_bench(&b);
    return 0;
}
