/* What benchmark.c and memory.c share. */
#ifndef CYX_NN_BENCH_PRIVATE_H
#define CYX_NN_BENCH_PRIVATE_H

#include "nn/bench/benchmark.h"
#include "nn/bench/rig.h"

struct cyx_benchmark {
    const struct cyx_backend *backend;
    struct cyx_device *device;
    struct cyx_device_info info;
    bool shares_memory; /* with everything else on the machine */
    bool is_gpu;
    struct bench_rig products; /* of `size`; made when it is first wanted */
    struct cyx_proof_size size;
};

enum cyx_status bench_memory(struct cyx_benchmark *self, int64_t *ret_bytes,
                             int64_t *ret_tried_bytes, struct cyx_error *ret_error);

#endif
