/*
 * The table of operations behind which the CPU (nn/cpu, oneDNN) and the GPU (nn/vulkan) stand.
 *
 * A device is opened once; a session holds the persistent values (parameters, optimizer state) of one model
 * on it; programs are graphs compiled against a session: layouts chosen, memory planned, kernels prepared,
 * commands recorded. A step is then one submit that replays the program. Programs of one session share
 * persistent values by name, so a training and an evaluation program see the same weights.
 *
 * Feeding and results: submit copies or stages the batch and returns a ticket without waiting for the device
 * (the CPU backend may finish within submit); wait gives that step's result. At most CYX_STEPS_IN_FLIGHT
 * tickets may be open; tickets are waited for in order.
 *
 * Host values are always float32 in PyTorch's row-major layout, whatever the device keeps.
 *
 * Thread rule: a device, its sessions and programs belong to one thread at a time. Ownership: the caller
 * destroys programs, then sessions, then the device; destroy takes NULL.
 *
 *     backend->device_open(&options, &device, &err);
 *     backend->session_create(device, train_graph, &session, &err);
 *     backend->program_create(session, train_graph, &program, &err);
 *     backend->value_write(session, "0.weight", data, count, &err);
 *     backend->submit(program, &feed, &ticket, &err);
 *     backend->wait(program, ticket, &result, &err);
 */
#ifndef CYX_NN_BACKEND_H
#define CYX_NN_BACKEND_H

#include "base/status.h"
#include "model/graph.h"

enum { CYX_STEPS_IN_FLIGHT = 2 };

struct cyx_device;
struct cyx_session;
struct cyx_program;

struct cyx_device_options {
    int index;             /* which GPU, in the backend's order; 0 */
    int threads;           /* CPU: 0 is all cores that the process may use */
    const char *cache_dir; /* Vulkan: pipeline cache; NULL for none */
    bool
        validation; /* Vulkan: Khronos validation with synchronisation checks; errors fail the call */
};

struct cyx_device_info {
    char backend[16]; /* "cpu", "vulkan" */
    char name[128];   /* "AMD Ryzen 7 …", "llvmpipe (LLVM 15.0.6, 256 bits)" */
    int64_t memory_bytes;
    bool is_software; /* a GPU interface run by the CPU */
    int threads;
    /* Of this process now, and what the driver would let it have; 0 where the device does not say. */
    int64_t memory_used_bytes, memory_budget_bytes;
};

struct cyx_feed {
    const float *input; /* graph->input's elements */
    const void *target; /* graph->target's elements, int32 or float as its dtype says */
    uint64_t seed;      /* for Dropout */
    uint64_t step;      /* 1 for the first training step: bias correction and Dropout */
    double lr[CYX_PARAM_GROUPS_LIMIT]; /* this step's learning rate of each parameter group */
};

struct cyx_step_result {
    float loss;      /* mean over the rows that count, or over the elements */
    float correct;   /* rows */
    float count;     /* rows */
    float grad_norm; /* before clipping, where it is clipped by norm; else 0 */
};

struct cyx_backend {
    const char *name; /* "cpu", "vulkan" */

    /* CYX_ERR_UNAVAILABLE when this machine has no such device; the sentence says what is missing. */
    enum cyx_status (*device_open)(const struct cyx_device_options *options,
                                   struct cyx_device **ret_device, struct cyx_error *ret_error);
    void (*device_close)(struct cyx_device *device);
    void (*device_info)(const struct cyx_device *device, struct cyx_device_info *ret_info);

    /* Allocates the persistent values of `graph`, zeroed, constants filled. CYX_ERR_NO_MEMORY says how much was wanted. */
    enum cyx_status (*session_create)(struct cyx_device *device, const struct cyx_graph *graph,
                                      struct cyx_session **ret_session,
                                      struct cyx_error *ret_error);
    void (*session_destroy)(struct cyx_session *session);

    /* `graph` must outlive the program. CYX_ERR_UNSUPPORTED names the node that this device cannot do. */
    enum cyx_status (*program_create)(struct cyx_session *session, const struct cyx_graph *graph,
                                      struct cyx_program **ret_program,
                                      struct cyx_error *ret_error);
    void (*program_destroy)(struct cyx_program *program);

    /* Persistent values by name, in host layout. CYX_ERR_NOT_FOUND, CYX_ERR_INVALID for a wrong count. */
    enum cyx_status (*value_write)(struct cyx_session *session, const char *name, const float *data,
                                   size_t count, struct cyx_error *ret_error);
    enum cyx_status (*value_read)(struct cyx_session *session, const char *name, float *ret_data,
                                  size_t count, struct cyx_error *ret_error);

    enum cyx_status (*submit)(struct cyx_program *program, const struct cyx_feed *feed,
                              uint64_t *ret_ticket, struct cyx_error *ret_error);
    enum cyx_status (*wait)(struct cyx_program *program, uint64_t ticket,
                            struct cyx_step_result *ret_result, struct cyx_error *ret_error);

    /*
     * For tests and for predict: copies the value `name` of the last step out, in host layout. Only values
     * for which keep was asked at program_create time (graph outputs always) hold their content; the
     * backends keep every transient apart when the environment has CYXWIZ_KEEP_VALUES=1.
     */
    enum cyx_status (*transient_read)(struct cyx_program *program, const char *name,
                                      float *ret_data, size_t count, struct cyx_error *ret_error);

    /*
     * The value's own bytes where the device works on plain host memory in host layout: what is written there
     * between two steps is what the next one reads. NULL where it does not (a blocked layout, device memory), or no
     * such value; a backend that never does leaves the member NULL. Valid as long as the session.
     */
    float *(*value_host)(struct cyx_session *session, const char *name);

    /* The same for a value that transient_read() gives: valid as long as the program, overwritten by its next step. */
    const float *(*transient_host)(struct cyx_program *program, const char *name);

    /* Bytes of device memory that the program and its session hold. */
    int64_t (*memory_bytes)(const struct cyx_program *program);
};

const struct cyx_backend *cyx_backend_cpu(void);
const struct cyx_backend *cyx_backend_vulkan(void);

/*
 * By name: "cpu", "vulkan", or "auto": Vulkan where a real GPU answers, else the CPU. Opens the device.
 * CYX_ERR_INVALID for an unknown name.
 */
enum cyx_status cyx_backend_open(const char *name, const struct cyx_device_options *options,
                                 const struct cyx_backend **ret_backend,
                                 struct cyx_device **ret_device, struct cyx_error *ret_error);

#endif
