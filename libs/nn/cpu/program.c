#include <stdlib.h>
#include <string.h>

#include "nn/cpu/cpu.h"
#include "nn/cpu/kernels.h"
#include "nn/cpu/md.h"

#include "base/banned.h"

/* ---- arrays that grow ---- */

static bool with_room(void **array, size_t *capacity, size_t n, size_t size)
{
    if (n < *capacity)
        return true;
    size_t wanted = *capacity ? *capacity * 2 : 16;
    void *grown = realloc(*array, wanted * size);
    if (!grown)
        return false;
    *array = grown;
    *capacity = wanted;
    return true;
}

static struct cpu_call *add_call(struct cyx_program *self)
{
    if (!with_room((void **)&self->calls, &self->calls_capacity, self->n_calls,
                   sizeof(*self->calls)))
        return NULL;
    struct cpu_call *call = &self->calls[self->n_calls++];
    *call = (struct cpu_call){0};
    return call;
}

/* ---- emitting calls ---- */

static enum cyx_status no_memory(struct cyx_error *error)
{
    return cyx_error_set(error, CYX_ERR_NO_MEMORY, NULL, "no memory to compile a graph");
}

static bool is_fed(const struct cyx_program *self, int32_t value)
{
    enum cyx_value_kind kind = self->graph->values[value].kind;
    return kind == CYX_VALUE_INPUT || kind == CYX_VALUE_TARGET;
}

/* A memory object over `data`; the program owns it. */
static dnnl_memory_t add_memory(struct cyx_program *self, const dnnl_memory_desc_t *md, void *data)
{
    dnnl_memory_t memory = NULL;
    if (!with_room((void **)&self->memories, &self->memories_capacity, self->n_memories,
                   sizeof(dnnl_memory_t)))
        return NULL;
    if (dnnl_memory_create(&memory, md, self->device->engine, data ? data : DNNL_MEMORY_NONE) !=
        dnnl_success)
        return NULL;
    self->memories[self->n_memories++] = memory;
    return memory;
}

/* The value's own bytes seen through `md`; what is fed gets its address with each submit. */
static dnnl_memory_t add_value_memory(struct cyx_program *self, int32_t value,
                                      const dnnl_memory_desc_t *md)
{
    int32_t root = cpu_root(self->graph, value);
    dnnl_memory_t memory = add_memory(self, md, self->values[root].data);
    if (!memory || !is_fed(self, root))
        return memory;
    if (!with_room((void **)&self->fed, &self->fed_capacity, self->n_fed, sizeof(*self->fed)))
        return NULL;
    self->fed[self->n_fed++] = (struct cpu_fed_memory){.memory = memory, .value = root};
    return memory;
}

/*
 * The two descriptors of a copy between a value and its binding, with equal dims: the binding's where the value
 * can be seen so, else both as the value's dims, the binding being plain then.
 */
static bool copy_mds(struct cyx_program *self, const struct cpu_binding *binding,
                     dnnl_memory_desc_t *ret_value_md, dnnl_memory_desc_t *ret_copy_md)
{
    const dnnl_memory_desc_t *own = &cpu_value(self, binding->value)->md;
    *ret_copy_md = binding->md;
    if (cpu_md_view(own, binding->md.ndims, binding->md.dims, ret_value_md))
        return true;
    *ret_value_md = *own;
    cpu_md_plain_like(own, ret_copy_md);
    return cpu_md_is_plain(&binding->md);
}

/* A reorder between two memories, which have the same dims. */
static enum cyx_status emit_reorder(struct cyx_program *self, const struct cpu_step *step,
                                    dnnl_memory_t from, dnnl_memory_t to, struct cyx_error *error)
{
    const dnnl_memory_desc_t *from_md = NULL, *to_md = NULL;
    struct cpu_call *call = add_call(self);
    if (!from || !to || !call)
        return no_memory(error);
    dnnl_memory_get_memory_desc(from, &from_md);
    dnnl_memory_get_memory_desc(to, &to_md);
    dnnl_primitive_desc_t pd = NULL;
    call->threads = cpu_md_bytes(to_md) < CPU_SERIAL_BYTES ? 1 : self->device->threads;
    cpu_use_threads(call->threads);
    dnnl_status_t made = dnnl_reorder_primitive_desc_create(&pd, from_md, self->device->engine,
                                                            to_md, self->device->engine, NULL);
    if (made == dnnl_success) {
        made = dnnl_primitive_create(&call->primitive, pd);
        dnnl_primitive_desc_destroy(pd);
    }
    cpu_use_threads(self->device->threads);
    call->n_args = 2;
    call->args[0] = (dnnl_exec_arg_t){DNNL_ARG_FROM, from};
    call->args[1] = (dnnl_exec_arg_t){DNNL_ARG_TO, to};
    if (made != dnnl_success)
        return cpu_refuse(step, "no reorder between the layouts of its neighbours", error);
    return CYX_OK;
}

/* By way of row-major, which both sides' dims describe: a blocked value seen as another shape in blocks. */
static enum cyx_status emit_copy_by_way(struct cyx_program *self, const struct cpu_step *step,
                                        const struct cpu_binding *binding, struct cyx_error *error)
{
    const dnnl_memory_desc_t *own = &cpu_value(self, binding->value)->md;
    dnnl_memory_desc_t own_plain, copy_plain;
    cpu_md_plain_like(own, &own_plain);
    cpu_md_plain_like(&binding->md, &copy_plain);
    dnnl_memory_t value = add_value_memory(self, binding->value, own);
    dnnl_memory_t value_way = add_memory(self, &own_plain, binding->way);
    dnnl_memory_t copy_way = add_memory(self, &copy_plain, binding->way);
    dnnl_memory_t copy = add_memory(self, &binding->md, binding->copy);
    bool out = binding->output;
    enum cyx_status status =
        emit_reorder(self, step, out ? copy : value, out ? copy_way : value_way, error);
    if (status != CYX_OK)
        return status;
    return emit_reorder(self, step, out ? value_way : copy_way, out ? value : copy, error);
}

static enum cyx_status emit_copy(struct cyx_program *self, const struct cpu_step *step,
                                 const struct cpu_binding *binding, struct cyx_error *error)
{
    dnnl_memory_desc_t value_md, copy_md;
    if (!copy_mds(self, binding, &value_md, &copy_md))
        return emit_copy_by_way(self, step, binding, error);
    dnnl_memory_t value = add_value_memory(self, binding->value, &value_md);
    dnnl_memory_t copy = add_memory(self, &copy_md, binding->copy);
    bool out = binding->output;
    return emit_reorder(self, step, out ? copy : value, out ? value : copy, error);
}

static enum cyx_status emit_primitive(struct cyx_program *self, const struct cpu_step *step,
                                      struct cyx_error *error)
{
    struct cpu_call *call = add_call(self);
    if (!call)
        return no_memory(error);
    call->threads = step->threads;
    cpu_use_threads(call->threads);
    dnnl_status_t made = dnnl_primitive_create(&call->primitive, step->pd);
    cpu_use_threads(self->device->threads);
    if (made != dnnl_success)
        return cpu_refuse(step, "oneDNN could not prepare it", error);
    for (int i = 0; i < step->n_bindings; i++) {
        const struct cpu_binding *binding = &step->bindings[i];
        if (binding->arg >= CPU_OUT)
            continue;
        dnnl_memory_desc_t md = binding->md;
        if (binding->rows)
            cpu_md_rows(binding->md.dims, &md);
        dnnl_memory_t memory = binding->copied ? add_memory(self, &md, binding->copy)
                                               : add_value_memory(self, binding->value, &md);
        if (!memory)
            return no_memory(error);
        call->args[call->n_args++] = (dnnl_exec_arg_t){binding->arg, memory};
    }
    const dnnl_memory_desc_t *scratchpad = cpu_query(step->pd, dnnl_query_scratchpad_md, 0);
    if (cpu_md_bytes(scratchpad) > 0) {
        dnnl_memory_t memory = add_memory(self, scratchpad, cpu_scratchpad(self, step));
        if (!memory)
            return no_memory(error);
        call->args[call->n_args++] = (dnnl_exec_arg_t){DNNL_ARG_SCRATCHPAD, memory};
    }
    return CYX_OK;
}

/* Kernels that do several steps in one pass of the threads. */
static bool may_join(const struct cpu_step *step)
{
    cpu_kernel kernel = step->kernel;
    if (kernel != cpu_kernel_sgd && kernel != cpu_kernel_adam && kernel != cpu_kernel_rmsprop &&
        kernel != cpu_kernel_square_sum)
        return false;
    for (int i = 0; i < step->n_bindings; i++)
        if (step->bindings[i].copied)
            return false;
    return true;
}

/* Optimizer steps in a row are one call, made by the first; so are the sums of squares of a clipping. */
static bool joins_previous(const struct cyx_program *self, size_t n)
{
    const struct cpu_step *step = &self->steps[n];
    if (n == 0 || step[-1].kernel != step->kernel || !may_join(step) || !may_join(&step[-1]))
        return false;
    return step->kernel != cpu_kernel_square_sum || step->node.in[1] == step[-1].node.out[0];
}

/* Counts them, and gives the first of them the scratch of all, since it does their work. */
static void join_steps(struct cyx_program *self)
{
    struct cpu_step *first = self->steps;
    for (size_t n = 0; n < self->n_steps; n++) {
        struct cpu_step *step = &self->steps[n];
        step->joined = 1;
        if (!joins_previous(self, n)) {
            first = step;
            continue;
        }
        first->joined++;
        step->joined = 0;
        first->scratch_bytes += step->scratch_bytes;
        step->scratch_bytes = 0;
    }
}

static enum cyx_status emit_kernel(struct cyx_program *self, struct cpu_step *step,
                                   cpu_kernel kernel, struct cyx_error *error)
{
    struct cpu_call *call = add_call(self);
    if (!call)
        return no_memory(error);
    call->kernel = kernel;
    call->step = step;
    return CYX_OK;
}

static enum cyx_status emit_work(struct cyx_program *self, size_t n, struct cyx_error *error)
{
    struct cpu_step *step = &self->steps[n];
    if (step->pd) {
        enum cyx_status status = emit_primitive(self, step, error);
        return status == CYX_OK && step->after ? emit_kernel(self, step, step->after, error)
                                               : status;
    }
    return step->joined == 0 ? CYX_OK : emit_kernel(self, step, step->kernel, error);
}

static enum cyx_status emit_step(struct cyx_program *self, size_t n, struct cyx_error *error)
{
    const struct cpu_step *step = &self->steps[n];
    enum cyx_status status = CYX_OK;
    if (step->dropped || (!step->pd && !step->kernel))
        return CYX_OK;
    for (int i = 0; i < step->n_bindings && status == CYX_OK; i++)
        if (step->bindings[i].copied && !step->bindings[i].output)
            status = emit_copy(self, step, &step->bindings[i], error);
    if (status == CYX_OK)
        status = emit_work(self, n, error);
    for (int i = 0; i < step->n_bindings && status == CYX_OK; i++)
        if (step->bindings[i].copied && step->bindings[i].output)
            status = emit_copy(self, step, &step->bindings[i], error);
    return status;
}

/* ---- memory ---- */

static enum cyx_status make_plan(struct cyx_program *self, struct cyx_plan **ret_plan,
                                 struct cyx_error *error)
{
    size_t n_values = self->planned.n_values, n_steps = self->n_steps;
    int64_t *bytes = calloc(n_values, sizeof(*bytes));
    int64_t *scratch = calloc(n_steps, sizeof(*scratch));
    enum cyx_status status = CYX_ERR_NO_MEMORY;
    if (bytes && scratch) {
        for (size_t v = 0; v < n_values; v++)
            bytes[v] = cpu_value(self, (int32_t)v)->bytes;
        for (size_t n = 0; n < n_steps; n++)
            scratch[n] = self->steps[n].scratch_bytes;
        status = (self->keep ? cyx_plan_create_apart : cyx_plan_create)(
            &self->planned, bytes, scratch, CPU_ALIGN_BYTES, self->scratch_offset, ret_plan, error);
    } else {
        no_memory(error);
    }
    free(bytes);
    free(scratch);
    return status;
}

static enum cyx_status allocate_arena(struct cyx_program *self, const struct cyx_plan *plan,
                                      struct cyx_error *error)
{
    self->arena_bytes = plan->arena_bytes + CPU_ALIGN_BYTES;
    self->arena_bytes -= self->arena_bytes % CPU_ALIGN_BYTES;
    self->arena = aligned_alloc(CPU_ALIGN_BYTES, (size_t)self->arena_bytes);
    if (!self->arena)
        return cyx_error_set(error, CYX_ERR_NO_MEMORY, NULL,
                             "no memory for activations and gradients: %lld bytes were wanted",
                             (long long)self->arena_bytes);
    /* Touched once here, so that no step pays for it; zero, so that padding starts as zero. */
    memset(self->arena, 0, (size_t)self->arena_bytes);
    return CYX_OK;
}

static void place(struct cyx_program *self, const struct cyx_plan *plan)
{
    for (size_t v = 0; v < self->planned.n_values; v++) {
        if (cpu_root(self->graph, (int32_t)v) == (int32_t)v && plan->offset_bytes[v] >= 0)
            self->values[v].data = self->arena + plan->offset_bytes[v];
        if (self->graph->values[v].kind == CYX_VALUE_RESULT)
            self->values[v].data = self->result;
    }
    for (size_t n = 0; n < self->n_steps; n++)
        for (int i = 0; i < self->steps[n].n_bindings; i++) {
            struct cpu_binding *binding = &self->steps[n].bindings[i];
            if (!binding->copied)
                continue;
            binding->copy = self->arena + self->scratch_offset[n] + binding->copy_offset;
            binding->way = self->arena + self->scratch_offset[n] + binding->way_offset;
        }
}

void *cpu_scratchpad(struct cyx_program *self, const struct cpu_step *step)
{
    return self->arena + self->scratch_offset[step - self->steps] + step->scratchpad_offset;
}

void *cpu_data(struct cyx_program *self, const struct cpu_binding *binding)
{
    return binding->copied ? binding->copy : cpu_value(self, binding->value)->data;
}

void *cpu_arg(struct cyx_program *self, const struct cpu_step *step, int arg)
{
    for (int i = 0; i < step->n_bindings; i++)
        if (step->bindings[i].arg == arg)
            return cpu_data(self, &step->bindings[i]);
    return NULL;
}

/* ---- life ---- */

void cpu_program_free(struct cyx_program *self)
{
    if (!self)
        return;
    for (size_t i = 0; i < self->n_calls; i++)
        if (self->calls[i].primitive)
            dnnl_primitive_destroy(self->calls[i].primitive);
    for (size_t i = 0; i < self->n_memories; i++)
        dnnl_memory_destroy(self->memories[i]);
    for (size_t n = 0; self->steps && n < self->n_steps; n++)
        if (self->steps[n].pd)
            dnnl_primitive_desc_destroy(self->steps[n].pd);
    free(self->calls);
    free(self->memories);
    free(self->fed);
    free(self->steps);
    free(self->values);
    free(self->scratch_offset);
    free(self->planned.values);
    free(self->planned.nodes);
    free(self->arena);
    free(self);
}

enum cyx_status cpu_program_layouts(struct cyx_device *device, struct cyx_session *session,
                                    const struct cyx_graph *graph, struct cyx_program **ret_program,
                                    struct cyx_error *error)
{
    struct cyx_program *self = calloc(1, sizeof(*self));
    if (!self)
        return no_memory(error);
    const char *keep = getenv("CYXWIZ_KEEP_VALUES");
    self->device = device;
    self->session = session;
    self->graph = graph;
    self->keep = keep && strcmp(keep, "1") == 0;
    enum cyx_status status = cpu_lower(self, error);
    if (status == CYX_OK)
        status = cpu_choose(self, error);
    if (status != CYX_OK) {
        cpu_program_free(self);
        return status;
    }
    *ret_program = self;
    return CYX_OK;
}

static enum cyx_status compile(struct cyx_program *self, struct cyx_error *error)
{
    struct cyx_plan *plan = NULL;
    cpu_share_in_place(self);
    join_steps(self);
    enum cyx_status status = make_plan(self, &plan, error);
    if (!plan)
        return status;
    status = allocate_arena(self, plan, error);
    if (status == CYX_OK)
        place(self, plan);
    cyx_plan_destroy(plan);
    for (size_t n = 0; n < self->n_steps && status == CYX_OK; n++)
        status = emit_step(self, n, error);
    return status;
}

enum cyx_status cpu_program_create(struct cyx_session *session, const struct cyx_graph *graph,
                                   struct cyx_program **ret_program, struct cyx_error *ret_error)
{
    struct cyx_program *self = NULL;
    struct cpu_scope scope;
    cpu_enter(session->device, &scope);
    enum cyx_status status = cpu_program_layouts(session->device, session, graph, &self, ret_error);
    if (self)
        status = compile(self, ret_error);
    cpu_leave(&scope);
    if (status != CYX_OK) {
        cpu_program_free(self);
        return status;
    }
    *ret_program = self;
    return CYX_OK;
}

int64_t cpu_memory_bytes(const struct cyx_program *self)
{
    return self->arena_bytes + self->session->bytes;
}
