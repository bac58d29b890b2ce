#include "nn/cpu/parallel.h"

#include "nn/cpu/openmp.h"

#include "base/banned.h"

void cpu_parallel(const struct cyx_device *device, int64_t n, int64_t grain, cpu_range range,
                  void *context)
{
    int threads = device->threads;
#if defined(_OPENMP)
    if (threads > 1 && n >= 2 * grain) {
        /* Always the whole team: libgomp starts threads anew when a team's size changes. */
#pragma omp parallel num_threads(threads)
        {
            int64_t part = omp_get_thread_num(), parts = omp_get_num_threads();
            int64_t begin = n * part / parts, end = n * (part + 1) / parts;
            if (begin < end)
                range(context, begin, end);
        }
        return;
    }
#endif
    (void)threads;
    (void)grain;
    if (n > 0)
        range(context, 0, n);
}
