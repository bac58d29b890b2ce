#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "nn/cpu/cpu.h"
#include "nn/cpu/openmp.h"
#include "nn/cpu/parallel.h"
#include "nn/cpu/patience.h"

#include "base/banned.h"

enum { THREADS_LIMIT = 1024 };

/* ---- floating-point mode: denormals are slow and carry nothing here ---- */

static unsigned float_mode(void)
{
#if defined(__x86_64__)
    return _mm_getcsr();
#else
    return 0;
#endif
}

static void set_float_mode(unsigned mode)
{
#if defined(__x86_64__)
    _mm_setcsr(mode);
#else
    (void)mode;
#endif
}

enum { FLUSH_TO_ZERO = 0x8000, DENORMALS_ARE_ZERO = 0x0040 };

/* On each thread of the team. */
static void prepare_thread(void *context, int64_t begin, int64_t end)
{
    (void)end;
    cpu_patience_watch(context, (int)begin);
    set_float_mode(float_mode() | FLUSH_TO_ZERO | DENORMALS_ARE_ZERO);
}

void cpu_enter(struct cyx_device *device, struct cpu_scope *ret_scope)
{
    ret_scope->threads = omp_get_max_threads();
    ret_scope->float_mode = float_mode();
    omp_set_num_threads(device->threads);
    set_float_mode(float_mode() | FLUSH_TO_ZERO | DENORMALS_ARE_ZERO);
    /* OpenMP's worker threads belong to the thread that calls, so a new caller has new ones. */
    if (!device->prepared || !pthread_equal(device->owner, pthread_self())) {
        cpu_parallel(device, device->threads, 1, prepare_thread, device->patience);
        device->owner = pthread_self();
        device->prepared = true;
    }
}

void cpu_use_threads(int threads)
{
    omp_set_num_threads(threads);
}

void cpu_leave(const struct cpu_scope *scope)
{
    omp_set_num_threads(scope->threads);
    set_float_mode(scope->float_mode);
}

/* ---- the device ---- */

static int usable_cores(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) > 0)
        return CPU_COUNT(&set);
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (int)online : 1;
}

static void device_close(struct cyx_device *self)
{
    if (!self)
        return;
    if (self->stream)
        dnnl_stream_destroy(self->stream);
    if (self->engine)
        dnnl_engine_destroy(self->engine);
    cpu_patience_destroy(self->patience);
    free(self);
}

static enum cyx_status device_open(const struct cyx_device_options *options,
                                   struct cyx_device **ret_device, struct cyx_error *ret_error)
{
    if (options->threads < 0 || options->threads > THREADS_LIMIT)
        return cyx_error_set(ret_error, CYX_ERR_INVALID, "/resources/threads",
                             "expected 0 to %d threads, got %d", THREADS_LIMIT, options->threads);
    struct cyx_device *self = calloc(1, sizeof(*self));
    if (!self)
        return cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL, "no memory for a CPU device");
    self->threads = options->threads ? options->threads : usable_cores();
    if (dnnl_engine_create(&self->engine, dnnl_cpu, 0) != dnnl_success ||
        dnnl_stream_create(&self->stream, self->engine, dnnl_stream_in_order) != dnnl_success) {
        device_close(self);
        return cyx_error_set(ret_error, CYX_ERR_UNAVAILABLE, NULL,
                             "oneDNN gives no CPU engine on this machine");
    }
    if (self->threads > 1 && !getenv("GOMP_SPINCOUNT") && !getenv("OMP_WAIT_POLICY"))
        self->patience = cpu_patience_create(self->threads);
    *ret_device = self;
    return CYX_OK;
}

/* "model name" of /proc/cpuinfo, where there is one. */
static void processor_name(char *ret_name, size_t size)
{
    snprintf(ret_name, size, "CPU");
    FILE *file = fopen("/proc/cpuinfo", "re");
    char line[256];
    while (file && fgets(line, sizeof(line), file)) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || !colon)
            continue;
        line[strcspn(line, "\n")] = '\0';
        snprintf(ret_name, size, "%.*s", (int)size - 1, colon + 1 + strspn(colon + 1, " \t"));
        break;
    }
    if (file)
        fclose(file);
}

static void device_info(const struct cyx_device *self, struct cyx_device_info *ret_info)
{
    *ret_info = (struct cyx_device_info){.backend = "cpu", .threads = self->threads};
    processor_name(ret_info->name, sizeof(ret_info->name));
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    if (pages > 0 && page > 0)
        ret_info->memory_bytes = (int64_t)pages * page;
}

const struct cyx_backend *cyx_backend_cpu(void)
{
    static const struct cyx_backend backend = {
        .name = "cpu",
        .device_open = device_open,
        .device_close = device_close,
        .device_info = device_info,
        .session_create = cpu_session_create,
        .session_destroy = cpu_session_destroy,
        .program_create = cpu_program_create,
        .program_destroy = cpu_program_free,
        .value_write = cpu_value_write,
        .value_read = cpu_value_read,
        .submit = cpu_submit,
        .wait = cpu_wait,
        .transient_read = cpu_transient_read,
        .value_host = cpu_value_host,
        .transient_host = cpu_transient_host,
        .memory_bytes = cpu_memory_bytes,
    };
    return &backend;
}
