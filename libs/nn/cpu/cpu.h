/*
 * Private to nn/cpu: how a graph becomes a list of prepared calls.
 *
 *   lower*.c   copies the graph and rewrites what this backend does better as one operation
 *   choose*.c  walks the nodes: picks oneDNN's implementation, and with it the layout of every value
 *   program.c  plans the arena from those layouts, creates memories and primitives: the calls
 *   step.c     replays the calls; nothing is created or allocated there
 *   kernels_*  own loops for what oneDNN lacks
 *
 * Layouts: a value's descriptor (md) is what its producer chose; its dims may be another view of the same
 * row-major elements (a Flatten's output keeps the blocked (N,C,H,W) of its input). A reader that wants
 * another layout gets a reorder into its node's scratch. Aliases share their root's descriptor and bytes.
 * A blocked layout pads C; the padding is zero, always, also in parameters and optimizer state.
 */
#ifndef CYX_NN_CPU_CPU_H
#define CYX_NN_CPU_CPU_H

#include <dnnl.h>
#include <pthread.h>

#include "base/arena.h"
#include "model/plan.h"
#include "nn/backend.h"

enum { CPU_ALIGN_BYTES = 64, CPU_BINDINGS = 10 };

struct cyx_device {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    int threads;
    struct cpu_patience *patience; /* with more than one thread */
    bool prepared;                 /* denormals are off in the worker threads of `owner` */
    pthread_t owner;
};

/* A persistent value. */
struct cpu_store {
    const char *name;
    enum cyx_value_kind kind;
    int64_t count;
    dnnl_memory_desc_t md;
    float *data;
    int64_t bytes;
};

struct cyx_session {
    struct cyx_device *device;
    struct cpu_store *stores;
    size_t n_stores;
    int64_t bytes;
    struct cyx_arena arena; /* names */
};

/*
 * Work below this many multiply-adds, or bytes to copy, is done by one thread: it takes some 10 to 20 µs, and a
 * thread that sleeps takes 50 to wake.
 */
enum { CPU_SERIAL_PRODUCTS = 2000000, CPU_SERIAL_BYTES = 256 * 1024 };

/* What is known of a value (of a root; aliases look at theirs). */
struct cpu_value {
    dnnl_memory_desc_t md;
    bool has_md;
    int64_t bytes;
    void *data; /* fed values: set by each submit */
};

/* A memory of a node: value `value` seen through `md`, or a copy of it in scratch when its layout differs. */
struct cpu_binding {
    int arg; /* DNNL_ARG_*, or the kernel's own number */
    int32_t value;
    dnnl_memory_desc_t md;
    bool output, copied;
    bool rows; /* the primitive sees (rows, C) as the pixels of one image: cpu_md_rows() */
    int64_t copy_offset, way_offset; /* within the node's scratch */
    void *copy;
    void *way; /* row-major, where one reorder does not do it */
};

/*
 * A kernel's argument numbers: input i of its node is i, output i is CPU_OUT + i. A primitive's are DNNL_ARG_*; a
 * kernel that runs behind a primitive sees them too, and CPU_IN + i, CPU_OUT + i for what oneDNN is not given.
 */
enum { CPU_OUT = 1 << 20, CPU_IN = 1 << 21 };

/* Own kernels address (outer, rows of pixels, lanes): see kernels.h. */
struct cpu_planes {
    int64_t outer, lanes; /* outer * lanes >= N * C; lanes lie beside each other */
    int64_t channels;     /* C */
    int64_t height, width;
};

struct cyx_program;
struct cpu_step;
typedef void (*cpu_kernel)(struct cyx_program *program, const struct cpu_step *step);

/* A node, lowered. */
struct cpu_step {
    struct cyx_node node; /* a copy: rewriting changes it */
    bool dropped;         /* a rewrite took it over */
    /* MAX_POOL2D: marks windows whose largest is not positive, for the fused gradient. BATCH_NORM_GRAD: dy counts
       where the ReLU behind the forward pass let y through. */
    bool relu_mask;
    bool rows; /* LINEAR: a convolution over rows, see choose_rows.h */
    dnnl_primitive_desc_t pd;
    cpu_kernel kernel; /* instead of pd */
    cpu_kernel after;  /* behind pd */
    struct cpu_binding bindings[CPU_BINDINGS];
    int n_bindings;
    int64_t count; /* elements, padding included: element-wise kernels; CONCAT, SLICE: stretches */
    struct cpu_planes planes; /* pooling: of x; dropout */
    struct cpu_planes out_planes;
    int64_t stretches[CYX_NODE_INPUTS]; /* CONCAT, SLICE: elements copied at a time */
    int64_t scratchpad_bytes, scratchpad_offset, scratch_bytes;
    const struct cpu_step *forward; /* of a gradient */
    int threads;                    /* 1 for what is done before a second thread has woken */
    int joined; /* optimizers, SQUARE_SUM: this many steps from here on run as one call; 0: within
                   an earlier one's */
};

/* One prepared call of the replay. */
struct cpu_call {
    dnnl_primitive_t primitive;
    int n_args, threads;
    dnnl_exec_arg_t args[CPU_BINDINGS + 1];
    cpu_kernel kernel;           /* instead */
    const struct cpu_step *step; /* the kernel's */
};

/* A memory object whose bytes are fed. */
struct cpu_fed_memory {
    dnnl_memory_t memory;
    int32_t value;
};

struct cyx_program {
    struct cyx_device *device;
    struct cyx_session *session; /* NULL while a session finds its layouts */
    const struct cyx_graph *graph;
    struct cyx_graph planned; /* the rewritten graph, for the plan; owns values and nodes */
    struct cpu_step *steps;   /* as many as graph nodes */
    size_t n_steps;
    struct cpu_value *values;
    bool keep; /* CYXWIZ_KEEP_VALUES: nothing shares bytes, nothing is rewritten */

    int64_t *scratch_offset; /* per step */
    unsigned char *arena;
    int64_t arena_bytes;
    struct cpu_call *calls;
    size_t n_calls, calls_capacity;
    dnnl_memory_t *memories;
    size_t n_memories, memories_capacity;
    struct cpu_fed_memory *fed;
    size_t n_fed, fed_capacity;

    float result[CYX_RESULT_ELEMENTS];
    struct cyx_step_result results[CYX_STEPS_IN_FLIGHT];
    uint64_t submitted, waited;
    const struct cyx_feed *feed; /* within submit */
};

/* Threads and floating-point mode of the calling thread while it works for a device. */
struct cpu_scope {
    int threads;
    unsigned float_mode;
};
void cpu_enter(struct cyx_device *device, struct cpu_scope *ret_scope);
void cpu_leave(const struct cpu_scope *scope);

/* From here on oneDNN prepares and runs for so many. */
void cpu_use_threads(int threads);

/* ---- lower.c ---- */

int32_t cpu_root(const struct cyx_graph *graph, int32_t value);
enum cyx_status cpu_lower(struct cyx_program *self, struct cyx_error *error);
/* lower_fuse.c: rewrites the steps, before the plan's copy of them is made. */
void cpu_fuse(struct cyx_program *self);
/* After layouts are chosen: element-wise steps whose input dies write over it. */
void cpu_share_in_place(struct cyx_program *self);

/* ---- choose*.c: one function for each kind of node ---- */

enum cyx_status cpu_choose(struct cyx_program *self, struct cyx_error *error);

typedef enum cyx_status cpu_choose_step(struct cyx_program *self, struct cpu_step *step,
                                        struct cyx_error *error);
cpu_choose_step cpu_choose_linear, cpu_choose_conv, cpu_choose_deconv; /* with their gradients */
cpu_choose_step cpu_choose_elementwise, cpu_choose_dropout, cpu_choose_reshape;
cpu_choose_step cpu_choose_softmax, cpu_choose_layer_norm, cpu_choose_layer_norm_grad;
cpu_choose_step cpu_choose_batch_norm, cpu_choose_batch_norm_grad;
cpu_choose_step cpu_choose_max_pool, cpu_choose_max_pool_grad;
cpu_choose_step cpu_choose_avg_pool, cpu_choose_avg_pool_grad;
cpu_choose_step cpu_choose_concat, cpu_choose_slice;
cpu_choose_step cpu_choose_one_hot, cpu_choose_cross_entropy, cpu_choose_element_loss;
cpu_choose_step cpu_choose_square_sum, cpu_choose_clip_norm, cpu_choose_optimizer;

const struct cyx_shape *cpu_shape(const struct cyx_program *self, int32_t value);
struct cpu_value *cpu_value(struct cyx_program *self, int32_t value);
void cpu_set_md(struct cyx_program *self, int32_t value, const dnnl_memory_desc_t *md);
/* The value's layout seen with these dims; plain row-major where that cannot be. */
void cpu_view_or_plain(struct cyx_program *self, int32_t value, int n_dims, const int64_t *dims,
                       dnnl_memory_desc_t *ret_md);
/* The step reads or writes `value` in layout `md`; an output without a layout takes this one. */
void cpu_bind(struct cyx_program *self, struct cpu_step *step, int arg, int32_t value,
              const dnnl_memory_desc_t *md, bool output);
/* The value as row-major (rows, width), which a primitive is shown as cpu_md_rows() has it. */
void cpu_bind_rows(struct cyx_program *self, struct cpu_step *step, int arg, int32_t value,
                   const int64_t dims[2], bool output);
/* The same in row-major with the value's own dims; nothing where `value` is CYX_NO_VALUE. */
void cpu_bind_plain(struct cyx_program *self, struct cpu_step *step, int arg, int32_t value,
                    bool output);
enum cyx_status cpu_refuse(const struct cpu_step *step, const char *why, struct cyx_error *error);

/* The step of this layer that runs `op`; NULL when there is none. */
const struct cpu_step *cpu_forward_of(const struct cyx_program *self, enum cyx_op op,
                                      int32_t layer);

/* The value's layout where own kernels know it, else plain (N,C,H,W); says how to walk it. */
void cpu_known_form(struct cyx_program *self, int32_t value, const int64_t dims[4],
                    dnnl_memory_desc_t *ret_md, struct cpu_planes *ret_planes);
struct cpu_planes cpu_planes_of(const dnnl_memory_desc_t *md);

/*
 * For Linear and the convolutions: finds step->forward, the step of `op` in the same layer, and lets `choose` pick a
 * primitive for the threads that will run it.
 */
enum cyx_status cpu_choose_primitive(struct cyx_program *self, struct cpu_step *step,
                                     enum cyx_op op, cpu_choose_step *choose,
                                     struct cyx_error *error);

/*
 * A primitive descriptor with the best of oneDNN's implementations for `op_desc`; rank 0 for a reference
 * loop (or none), 1 for GEMM with copies, 2 for a direct kernel. Keeps the better of *pd and the new one:
 * the earlier on a tie.
 */
void cpu_try(struct cyx_program *self, const void *op_desc, bool relu, dnnl_primitive_desc_t hint,
             dnnl_primitive_desc_t *pd, int *rank);
int cpu_rank(const_dnnl_primitive_desc_t pd);
const dnnl_memory_desc_t *cpu_query(const_dnnl_primitive_desc_t pd, dnnl_query_t what, int index);

/* ---- program.c ---- */

void cpu_program_free(struct cyx_program *self);
enum cyx_status cpu_program_layouts(struct cyx_device *device, struct cyx_session *session,
                                    const struct cyx_graph *graph, struct cyx_program **ret_program,
                                    struct cyx_error *error);

/* ---- session.c ---- */

struct cpu_store *cpu_session_find(const struct cyx_session *self, const char *name);
/* Copies between two layouts of the same elements. */
enum cyx_status cpu_copy(struct cyx_device *device, const dnnl_memory_desc_t *from_md,
                         const void *from, const dnnl_memory_desc_t *to_md, void *to,
                         struct cyx_error *error);

/* The table's functions. */
enum cyx_status cpu_session_create(struct cyx_device *device, const struct cyx_graph *graph,
                                   struct cyx_session **ret_session, struct cyx_error *ret_error);
void cpu_session_destroy(struct cyx_session *self);
enum cyx_status cpu_value_write(struct cyx_session *self, const char *name, const float *data,
                                size_t count, struct cyx_error *ret_error);
enum cyx_status cpu_value_read(struct cyx_session *self, const char *name, float *ret_data,
                               size_t count, struct cyx_error *ret_error);
enum cyx_status cpu_program_create(struct cyx_session *session, const struct cyx_graph *graph,
                                   struct cyx_program **ret_program, struct cyx_error *ret_error);
enum cyx_status cpu_submit(struct cyx_program *self, const struct cyx_feed *feed,
                           uint64_t *ret_ticket, struct cyx_error *ret_error);
enum cyx_status cpu_wait(struct cyx_program *self, uint64_t ticket,
                         struct cyx_step_result *ret_result, struct cyx_error *ret_error);
enum cyx_status cpu_transient_read(struct cyx_program *self, const char *name, float *ret_data,
                                   size_t count, struct cyx_error *ret_error);
float *cpu_value_host(struct cyx_session *self, const char *name);
const float *cpu_transient_host(struct cyx_program *self, const char *name);
int64_t cpu_memory_bytes(const struct cyx_program *self);

#endif
