/* The optimizers' updates and the gradients' norm: one dispatch for many parameters, see lower.h. */
#include "nn/vulkan/lower.h"

#include <stdlib.h>

#include "nn/vulkan/tiles.h"

#include "base/banned.h"

enum { FLAG_FACTOR = 1, FLAG_CLIP_VALUE = 2, FLAG_MOMENTUM = 4, FLAG_NESTEROV_OR_CENTERED = 8 };

enum { STATES = 3, PIECE_WORDS = 8, SQUARE_PIECE_WORDS = 4, VEC4_BYTES = 16 };

/* What a dispatch binds of each parameter. Weight and states are written. */
enum role { WEIGHT, GRADIENT, STATE0, STATE1, STATE2, ROLES };

/* `Push` of shaders/include/optimizer.glsl */
struct optimizer_push {
    uint32_t pieces, group, flags;
    float clip_value, weight_decay, f[4];
};

static int64_t fours_of(const struct cyx_graph *graph, int32_t value)
{
    return (cyx_shape_count(cyx_vk_shape_of(graph, value)) + 3) / 4;
}

static int64_t pieces_of(const struct cyx_device *device, int64_t fours)
{
    return (fours + cyx_vk_piece(device) - 1) / cyx_vk_piece(device);
}

static int32_t input_or_none(const struct cyx_node *node, int input)
{
    return input < node->n_in ? node->in[input] : CYX_NO_VALUE;
}

/*
 * Widens `window` by `range`, so that one binding reaches both: false, and nothing done, when the device binds no
 * so much at once.
 */
static bool widen(const struct cyx_device *device, struct cyx_vk_range *window,
                  struct cyx_vk_range range)
{
    if (window->bytes == 0) {
        *window = range;
        return true;
    }
    int64_t begin = range.offset < window->offset ? range.offset : window->offset;
    int64_t end = range.offset + range.bytes, window_end = window->offset + window->bytes;
    if (window_end > end)
        end = window_end;
    if (range.space != window->space ||
        end - begin > (int64_t)device->properties.limits.maxStorageBufferRange)
        return false;
    window->offset = begin;
    window->bytes = end - begin;
    return true;
}

static uint32_t place_in(const struct cyx_vk_range *window, struct cyx_vk_range range)
{
    return (uint32_t)((range.offset - window->offset) / VEC4_BYTES);
}

/* ---- optimizers ---- */

static bool is_optimizer(enum cyx_op op)
{
    return op == CYX_OP_SGD || op == CYX_OP_ADAM || op == CYX_OP_ADAMW || op == CYX_OP_RMSPROP;
}

static int states_of(enum cyx_op op)
{
    return op == CYX_OP_SGD ? 1 : op == CYX_OP_RMSPROP ? 3 : 2;
}

static int32_t value_of(const struct cyx_node *node, enum role role)
{
    bool absent = role >= STATE0 && (int)role - STATE0 >= states_of(node->op);
    return absent ? CYX_NO_VALUE : input_or_none(node, (int)role);
}

static int32_t factor_of(const struct cyx_node *node)
{
    return input_or_none(node, STATE0 + states_of(node->op));
}

/* A run of updates: nodes next to each other in the graph, each of another parameter, so in any order. */
struct run {
    const struct cyx_node *nodes;
    size_t count;
    bool *done;
    size_t *members; /* of the dispatch at hand */
    size_t n_members;
    struct cyx_vk_range windows[ROLES]; /* of the dispatch at hand */
};

static bool alike(const struct cyx_node *a, const struct cyx_node *b)
{
    if (a->op != b->op || a->optimizer != b->optimizer || a->group != b->group ||
        a->clip_value != b->clip_value || factor_of(a) != factor_of(b))
        return false;
    for (int role = STATE0; role < ROLES; role++) {
        if ((value_of(a, role) == CYX_NO_VALUE) != (value_of(b, role) == CYX_NO_VALUE))
            return false;
    }
    return true;
}

/* Takes the node into the dispatch at hand, if its buffers still fit one binding each. */
static void take(const struct cyx_vk_lowering *self, struct run *run, size_t index)
{
    const struct cyx_node *node = &run->nodes[index];
    struct cyx_vk_range windows[ROLES];
    for (int role = 0; role < ROLES; role++) {
        int32_t value = value_of(node, role);
        windows[role] = run->windows[role];
        if (value != CYX_NO_VALUE &&
            !widen(self->device, &windows[role], cyx_vk_range_of(self, value)))
            return;
    }
    for (int role = 0; role < ROLES; role++)
        run->windows[role] = windows[role];
    run->members[run->n_members++] = index;
    run->done[index] = true;
}

static int64_t count_pieces(const struct cyx_vk_lowering *self, const struct run *run)
{
    int64_t pieces = 0;
    for (size_t i = 0; i < run->n_members; i++)
        pieces +=
            pieces_of(self->device, fours_of(self->graph, run->nodes[run->members[i]].in[WEIGHT]));
    return pieces;
}

/* `Piece` of shaders/include/optimizer.glsl, one a workgroup. */
static void write_pieces(const struct cyx_vk_lowering *self, const struct run *run, uint32_t *words)
{
    const uint32_t step = cyx_vk_piece(self->device);
    for (size_t i = 0; i < run->n_members; i++) {
        const struct cyx_node *node = &run->nodes[run->members[i]];
        uint32_t fours = (uint32_t)fours_of(self->graph, node->in[WEIGHT]);
        for (uint32_t begin = 0; begin < fours; begin += step, words += PIECE_WORDS) {
            for (int role = 0; role < ROLES; role++) {
                int32_t value = value_of(node, role);
                if (value != CYX_NO_VALUE)
                    words[role] =
                        place_in(&run->windows[role], cyx_vk_range_of(self, value)) + begin;
            }
            words[ROLES] = fours - begin < step ? fours - begin : step;
        }
    }
}

static struct optimizer_push push_of(const struct cyx_node *node)
{
    const struct cyx_optimizer_spec *spec = node->optimizer;
    struct optimizer_push push = {
        .group = (uint32_t)node->group,
        .flags = (factor_of(node) != CYX_NO_VALUE ? FLAG_FACTOR : 0) |
                 (node->clip_value > 0 ? FLAG_CLIP_VALUE : 0),
        .clip_value = (float)node->clip_value,
        .weight_decay = (float)spec->weight_decay,
    };
    switch (node->op) {
    case CYX_OP_SGD:
        push.flags |= (value_of(node, STATE0) != CYX_NO_VALUE ? FLAG_MOMENTUM : 0) |
                      (spec->nesterov ? FLAG_NESTEROV_OR_CENTERED : 0);
        push.f[0] = (float)spec->momentum;
        push.f[1] = (float)(1.0 - spec->dampening);
        break;
    case CYX_OP_RMSPROP:
        push.flags |= (value_of(node, STATE1) != CYX_NO_VALUE ? FLAG_MOMENTUM : 0) |
                      (value_of(node, STATE2) != CYX_NO_VALUE ? FLAG_NESTEROV_OR_CENTERED : 0);
        push.f[0] = (float)spec->alpha;
        push.f[1] = (float)(1.0 - spec->alpha);
        push.f[2] = (float)spec->momentum;
        push.f[3] = (float)spec->eps;
        break;
    default:
        push.f[0] = (float)(1.0 - spec->betas[0]);
        push.f[1] = (float)spec->betas[1];
        push.f[2] = (float)(1.0 - spec->betas[1]);
        push.f[3] = (float)spec->eps;
        break;
    }
    return push;
}

static enum cyx_shader shader_of(enum cyx_op op)
{
    switch (op) {
    case CYX_OP_SGD:
        return CYX_SHADER_SGD;
    case CYX_OP_ADAM:
        return CYX_SHADER_ADAM;
    case CYX_OP_ADAMW:
        return CYX_SHADER_ADAMW;
    default:
        return CYX_SHADER_RMSPROP;
    }
}

/* Binds as optimizer.glsl and the shader itself number them; a state that is not there is the weight's window. */
static void bind_update(const struct cyx_vk_lowering *self, const struct run *run,
                        struct cyx_vk_range pieces, struct cyx_vk_command *command)
{
    const struct cyx_node *node = &run->nodes[run->members[0]];
    int32_t factor = factor_of(node);
    cyx_vk_write(command, run->windows[WEIGHT]);
    cyx_vk_read(command, run->windows[GRADIENT]);
    cyx_vk_read(command, pieces);
    cyx_vk_read(command, self->scalars);
    cyx_vk_read(command, factor == CYX_NO_VALUE ? self->scalars : cyx_vk_range_of(self, factor));
    for (int i = 0; i < states_of(node->op); i++) {
        const struct cyx_vk_range *window = &run->windows[STATE0 + i];
        cyx_vk_write(command, window->bytes ? *window : run->windows[WEIGHT]);
    }
}

static enum cyx_status lower_update(struct cyx_vk_lowering *self, const struct run *run,
                                    struct cyx_error *ret_error)
{
    const struct cyx_node *node = &run->nodes[run->members[0]];
    int64_t n_pieces = count_pieces(self, run);
    struct cyx_vk_range pieces;
    uint32_t *words = cyx_vk_tables_add(self, (size_t)n_pieces * PIECE_WORDS, &pieces);
    if (!words)
        return cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL, "out of memory");
    write_pieces(self, run, words);
    struct optimizer_push push = push_of(node);
    push.pieces = (uint32_t)n_pieces;
    struct cyx_vk_dispatch dispatch = {
        .shader = shader_of(node->op),
        .constants = {cyx_vk_elementwise_threads(self->device)},
        .n_constants = 1,
        .push = &push,
        .push_bytes = sizeof push,
        .groups = n_pieces,
        .depth = 1,
    };
    struct cyx_vk_command *command;
    enum cyx_status status = cyx_vk_dispatch(self, &dispatch, &command, ret_error);
    if (status == CYX_OK)
        bind_update(self, run, pieces, command);
    return status;
}

static enum cyx_status lower_run(struct cyx_vk_lowering *self, struct run *run,
                                 struct cyx_error *ret_error)
{
    enum cyx_status status = CYX_OK;
    for (size_t first = 0; first < run->count && status == CYX_OK; first++) {
        if (run->done[first])
            continue;
        run->n_members = 0;
        for (int role = 0; role < ROLES; role++)
            run->windows[role] = (struct cyx_vk_range){0};
        for (size_t i = first; i < run->count; i++) {
            if (!run->done[i] && alike(&run->nodes[first], &run->nodes[i]))
                take(self, run, i);
        }
        status = lower_update(self, run, ret_error);
    }
    return status;
}

enum cyx_status cyx_vk_lower_optimizer(struct cyx_vk_lowering *self, const struct cyx_node *node,
                                       struct cyx_error *ret_error)
{
    const struct cyx_node *end = self->graph->nodes + self->graph->n_nodes;
    if (node > self->graph->nodes && is_optimizer(node[-1].op))
        return CYX_OK; /* done with the first of its run */
    struct run run = {.nodes = node, .count = 1};
    while (node + run.count < end && is_optimizer(node[run.count].op))
        run.count++;
    run.done = calloc(run.count, sizeof *run.done);
    run.members = calloc(run.count, sizeof *run.members);
    enum cyx_status status = CYX_ERR_NO_MEMORY;
    if (run.done && run.members)
        status = lower_run(self, &run, ret_error);
    else
        cyx_error_set(ret_error, status, NULL, "out of memory");
    free(run.done);
    free(run.members);
    return status;
}

/* ---- the gradients' norm ---- */

/* Whether `node` goes on with the sum of the node before it. */
static bool continues(const struct cyx_graph *graph, const struct cyx_node *node)
{
    return node > graph->nodes && node < graph->nodes + graph->n_nodes &&
           node->op == CYX_OP_SQUARE_SUM && node[-1].op == CYX_OP_SQUARE_SUM &&
           input_or_none(node, 1) == node[-1].out[0];
}

static const struct cyx_node *first_of_chain(const struct cyx_graph *graph,
                                             const struct cyx_node *last)
{
    while (continues(graph, last))
        last--;
    return last;
}

int64_t cyx_vk_square_sum_scratch_bytes(const struct cyx_device *device,
                                        const struct cyx_graph *graph, const struct cyx_node *node)
{
    int64_t pieces = 0;
    if (continues(graph, node + 1))
        return 0;
    for (const struct cyx_node *n = first_of_chain(graph, node); n <= node; n++)
        pieces += pieces_of(device, fours_of(graph, n->in[0]));
    return pieces * (int64_t)sizeof(float);
}

/* `Piece` of shaders/ops/square_sum.comp, one a workgroup. */
static void write_square_pieces(const struct cyx_vk_lowering *self, const struct cyx_node *first,
                                const struct cyx_node *end, const struct cyx_vk_range *window,
                                uint32_t *words)
{
    const uint32_t step = cyx_vk_piece(self->device);
    for (const struct cyx_node *node = first; node < end; node++) {
        int64_t count = cyx_shape_count(cyx_vk_shape_of(self->graph, node->in[0]));
        uint32_t fours = (uint32_t)fours_of(self->graph, node->in[0]);
        uint32_t place = place_in(window, cyx_vk_range_of(self, node->in[0]));
        for (uint32_t begin = 0; begin < fours; begin += step, words += SQUARE_PIECE_WORDS) {
            bool last = fours - begin <= step;
            words[0] = place + begin;
            words[1] = last ? fours - begin : step;
            words[2] = last ? (uint32_t)(fours * (int64_t)4 - count) : 0;
        }
    }
}

/* The squares of the gradients of [first, end), into the parts from *first_part on. */
static enum cyx_status lower_squares(struct cyx_vk_lowering *self, const struct cyx_node *first,
                                     const struct cyx_node *end, const struct cyx_vk_range *window,
                                     int64_t *first_part, struct cyx_error *ret_error)
{
    int64_t n_pieces = 0;
    for (const struct cyx_node *node = first; node < end; node++)
        n_pieces += pieces_of(self->device, fours_of(self->graph, node->in[0]));
    struct cyx_vk_range pieces;
    uint32_t *words = cyx_vk_tables_add(self, (size_t)n_pieces * SQUARE_PIECE_WORDS, &pieces);
    if (!words)
        return cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL, "out of memory");
    write_square_pieces(self, first, end, window, words);
    const uint32_t push[2] = {(uint32_t)n_pieces, (uint32_t)*first_part};
    struct cyx_vk_dispatch dispatch = {
        .shader = CYX_SHADER_SQUARE_SUM,
        .constants = {cyx_vk_elementwise_threads(self->device)},
        .n_constants = 1,
        .push = push,
        .push_bytes = sizeof push,
        .groups = n_pieces,
        .depth = 1,
    };
    struct cyx_vk_command *command;
    enum cyx_status status = cyx_vk_dispatch(self, &dispatch, &command, ret_error);
    if (status != CYX_OK)
        return status;
    cyx_vk_read(command, *window);
    cyx_vk_read(command, pieces);
    cyx_vk_write(command, self->scratch);
    *first_part += n_pieces;
    return CYX_OK;
}

static enum cyx_status lower_square_total(struct cyx_vk_lowering *self, int64_t parts,
                                          int32_t before, int32_t sum, struct cyx_error *ret_error)
{
    const uint32_t push[2] = {(uint32_t)parts, before != CYX_NO_VALUE};
    struct cyx_vk_dispatch dispatch = {
        .shader = CYX_SHADER_SQUARE_SUM_TOTAL,
        .constants = {cyx_vk_row_threads(self->device, parts)},
        .n_constants = 1,
        .push = push,
        .push_bytes = sizeof push,
        .groups = 1,
        .depth = 1,
    };
    struct cyx_vk_command *command;
    enum cyx_status status = cyx_vk_dispatch(self, &dispatch, &command, ret_error);
    if (status != CYX_OK)
        return status;
    cyx_vk_read(command, self->scratch);
    cyx_vk_read(command, before == CYX_NO_VALUE ? self->scratch : cyx_vk_range_of(self, before));
    cyx_vk_write(command, cyx_vk_range_of(self, sum));
    return CYX_OK;
}

/*
 * in: g before?   out: sum. The whole chain at its last node: the sums before are never written, and its gradients
 * still lie where they were, since the optimizer behind it reads them.
 */
enum cyx_status cyx_vk_lower_square_sum(struct cyx_vk_lowering *self, const struct cyx_node *node,
                                        struct cyx_error *ret_error)
{
    if (continues(self->graph, node + 1))
        return CYX_OK;
    const struct cyx_node *chain = first_of_chain(self->graph, node), *first = chain;
    enum cyx_status status = CYX_OK;
    int64_t parts = 0;
    while (first <= node && status == CYX_OK) {
        struct cyx_vk_range window = {0};
        const struct cyx_node *end = first;
        while (end <= node && widen(self->device, &window, cyx_vk_range_of(self, end->in[0])))
            end++;
        status = lower_squares(self, first, end, &window, &parts, ret_error);
        first = end;
    }
    if (status == CYX_OK)
        status = lower_square_total(self, parts, input_or_none(chain, 1), node->out[0], ret_error);
    return status;
}

/* in: sum result   out: factor */
enum cyx_status cyx_vk_lower_clip_norm(struct cyx_vk_lowering *self, const struct cyx_node *node,
                                       struct cyx_error *ret_error)
{
    const float max_norm = (float)node->max_norm;
    struct cyx_vk_dispatch dispatch = {
        .shader = CYX_SHADER_CLIP_NORM, .push = &max_norm, .push_bytes = sizeof max_norm};
    struct cyx_vk_command *command;
    enum cyx_status status = cyx_vk_dispatch_flat(self, &dispatch, 1, &command, ret_error);
    if (status != CYX_OK)
        return status;
    cyx_vk_read(command, cyx_vk_range_of(self, node->in[0]));
    cyx_vk_write(command, cyx_vk_range_of(self, node->in[1]));
    cyx_vk_write(command, cyx_vk_range_of(self, node->out[0]));
    return CYX_OK;
}
