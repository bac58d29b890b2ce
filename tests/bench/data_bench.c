/*
 * The data pipeline alone: epochs of batches as fast as the loader makes them, for data_bench.py.
 *
 *   data_bench SPEC SECONDS     prints {"images_per_second": …, "peak_bytes": …, "workers": …} as JSON
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/buf.h"
#include "base/clock.h"
#include "nn/data/loader.h"

#include "base/banned.h"

struct bench {
    struct cyx_job_spec *spec;
    struct cyx_data *data;
    struct cyx_pipeline *pipeline;
    struct cyx_loader *loader;
};

static enum cyx_status open_all(struct bench *bench, const char *path, struct cyx_error *err)
{
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    const struct cyx_data_options where = {0};
    enum cyx_status status = cyx_buf_read_file(&text, path, CYX_JOB_SPEC_LIMIT_BYTES, err);
    if (status == CYX_OK)
        status = cyx_job_spec_parse(text.data, text.length, &bench->spec, err);
    if (status == CYX_OK)
        status = cyx_data_open(&bench->spec->data, &where, &bench->data, err);
    if (status == CYX_OK)
        status = cyx_pipeline_create(bench->data, &bench->spec->data, true, bench->spec->seed,
                                     &bench->pipeline, err);
    if (status != CYX_OK)
        return status;
    const struct cyx_loader_options options = {.data = bench->data,
                                               .part = &bench->data->train,
                                               .pipeline = bench->pipeline,
                                               .batch = bench->spec->data.batch_size,
                                               .shuffle = true,
                                               .workers = bench->spec->data.workers};
    return cyx_loader_create(&options, &bench->loader, err);
}

/* The first epoch warms the page cache and is not counted. */
static void run(struct bench *bench, double seconds)
{
    struct cyx_batch batch;
    struct rusage usage;
    int64_t images = 0, begin = 0, now = 0;
    for (uint32_t epoch = 0; epoch < 2 || (double)(now - begin) * 1e-9 < seconds; epoch++) {
        if (epoch == 1)
            begin = cyx_clock_monotonic_ns();
        cyx_loader_start(bench->loader, epoch, 0);
        while (cyx_loader_next(bench->loader, &batch))
            images += epoch > 0 ? batch.count : 0;
        now = cyx_clock_monotonic_ns();
    }
    getrusage(RUSAGE_SELF, &usage);
    printf(
        "{\"images_per_second\": %.1f, \"peak_bytes\": %lld, \"workers\": %d, \"faults\": %lld}\n",
        (double)images / ((double)(now - begin) * 1e-9), (long long)usage.ru_maxrss * 1024,
        cyx_loader_workers(bench->loader), (long long)cyx_data_faults_count(bench->data));
}

int main(int argc, char **argv)
{
    struct bench bench = {0};
    struct cyx_error err = {0};
    if (argc != 3) {
        fprintf(stderr, "usage: data_bench SPEC SECONDS\n");
        return 2;
    }
    enum cyx_status status = open_all(&bench, argv[1], &err);
    if (status == CYX_OK)
        run(&bench, strtod(argv[2], NULL));
    else
        fprintf(stderr, "data_bench: %s %s\n", err.pointer, err.message);
    cyx_loader_destroy(bench.loader);
    cyx_pipeline_destroy(bench.pipeline);
    cyx_data_close(bench.data);
    cyx_job_spec_destroy(bench.spec);
    return status == CYX_OK ? 0 : 1;
}
