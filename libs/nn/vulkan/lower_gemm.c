/* Linear, Conv2d, ConvTranspose2d and their gradients: matrix products, cut by tiles.h. Letters as in shaders/include. */
#include "nn/vulkan/lower.h"

#include <string.h>

#include "nn/vulkan/tiles.h"

#include "base/banned.h"

enum { FLAG_BIAS = 1, FLAG_RELU = 2 };

/* `Push` of shaders/include/gemm.glsl */
struct gemm_push {
    uint32_t m, n, k, k_chunk, splits, tiles_n, tiles, flags;
    uint32_t a_m, a_k, b_k, b_n;
    uint32_t split_stride, sum_offset;
};

/* One node as products; the letters are those of the shader named. */
struct gemm {
    enum cyx_shader
        shader; /* of the registers tiling; the shared one stands next in the enumeration */
    struct cyx_vk_product product;
    int64_t a_m, a_k, b_k, b_n; /* Linear */
    bool a_k_major, b_k_major;
    uint32_t geometry[15]; /* convolutions: constants 9 to 23 of conv.glsl */
    size_t n_geometry;
};

_Static_assert((int)CYX_SHADER_LINEAR_SHARED == (int)CYX_SHADER_LINEAR_REGISTERS + 1,
               "shader order");
_Static_assert((int)CYX_SHADER_CONV2D_SHARED == (int)CYX_SHADER_CONV2D_REGISTERS + 1,
               "shader order");

/* All dimensions but the last are rows. */
static int64_t rows_of(const struct cyx_shape *shape)
{
    return cyx_shape_count(shape) / shape->dim[shape->rank - 1];
}

static struct gemm describe_linear(const struct cyx_graph *graph, const struct cyx_node *node)
{
    struct gemm gemm = {.shader = CYX_SHADER_LINEAR_REGISTERS, .product.groups = 1};
    bool grad_weight = node->op == CYX_OP_LINEAR_GRAD_WEIGHT;
    const struct cyx_shape *w = cyx_vk_shape_of(graph, grad_weight ? node->out[0] : node->in[1]);
    int64_t rows = rows_of(cyx_vk_shape_of(graph, node->in[0]));
    int64_t outs = w->dim[0], ins = w->dim[1];
    if (node->op == CYX_OP_LINEAR) { /* y(N,Out) = x(N,In) W(Out,In)ᵀ */
        gemm.product = (struct cyx_vk_product){.m = rows, .n = outs, .k = ins, .groups = 1};
        gemm.a_m = gemm.b_n = ins;
        gemm.a_k = gemm.b_k = 1;
        gemm.a_k_major = gemm.b_k_major = true;
    } else if (node->op == CYX_OP_LINEAR_GRAD_INPUT) { /* dx(N,In) = dy(N,Out) W(Out,In) */
        gemm.product = (struct cyx_vk_product){.m = rows, .n = ins, .k = outs, .groups = 1};
        gemm.a_m = outs;
        gemm.b_k = ins;
        gemm.a_k = gemm.b_n = 1;
        gemm.a_k_major = true;
    } else { /* dW(Out,In) = dy(N,Out)ᵀ x(N,In) */
        gemm.product =
            (struct cyx_vk_product){.m = outs, .n = ins, .k = rows, .groups = 1, .may_split = true};
        gemm.a_k = outs;
        gemm.b_k = ins;
        gemm.a_m = gemm.b_n = 1;
    }
    return gemm;
}

/* x(N,GROUPS*CG,H,W), dy or y(N,GROUPS*OG,OH,OW), W(GROUPS*OG,CG,KH,KW) */
static void set_geometry(struct gemm *gemm, const struct cyx_node *node, const struct cyx_shape *x,
                         const struct cyx_shape *y)
{
    const struct cyx_window *w = &node->window;
    const int64_t geometry[] = {
        w->groups,
        x->dim[1] / w->groups,
        y->dim[1] / w->groups,
        x->dim[2],
        x->dim[3],
        y->dim[2],
        y->dim[3],
        w->kernel[0],
        w->kernel[1],
        w->stride[0],
        w->stride[1],
        w->dilation[0],
        w->dilation[1],
        w->pad_begin[0],
        w->pad_begin[1],
    };
    gemm->n_geometry = sizeof geometry / sizeof geometry[0];
    for (size_t i = 0; i < gemm->n_geometry; i++)
        gemm->geometry[i] = (uint32_t)geometry[i];
}

/* The three products of a convolution that maps x to y. */
enum part { FORWARD, GRAD_INPUT, GRAD_WEIGHT };

static struct gemm describe_conv(const struct cyx_node *node, enum part part,
                                 const struct cyx_shape *x, const struct cyx_shape *y)
{
    struct gemm gemm = {.product.groups = node->window.groups, .a_k_major = true};
    int64_t taps = node->window.kernel[0] * node->window.kernel[1];
    int64_t cg = x->dim[1] / node->window.groups, og = y->dim[1] / node->window.groups;
    int64_t pixels_in = x->dim[0] * x->dim[2] * x->dim[3];
    int64_t pixels_out = y->dim[0] * y->dim[2] * y->dim[3];
    set_geometry(&gemm, node, x, y);
    switch (part) {
    case FORWARD:
        gemm.shader = CYX_SHADER_CONV2D_REGISTERS;
        gemm.product.m = og;
        gemm.product.n = pixels_out;
        gemm.product.k = cg * taps;
        break;
    case GRAD_INPUT:
        gemm.shader = CYX_SHADER_CONV2D_GRAD_INPUT_REGISTERS;
        gemm.product.m = cg;
        gemm.product.n = pixels_in;
        gemm.product.k = og * taps;
        break;
    case GRAD_WEIGHT:
        gemm.shader = CYX_SHADER_CONV2D_GRAD_WEIGHT_REGISTERS;
        gemm.product.m = og;
        gemm.product.n = cg * taps;
        gemm.product.k = pixels_out;
        gemm.product.may_split = true;
        gemm.b_k_major = true;
        break;
    }
    return gemm;
}

/* ConvTranspose2d is the transpose of the convolution that maps its output to its input. */
static struct gemm describe(const struct cyx_graph *graph, const struct cyx_node *node)
{
    const struct cyx_shape *first = cyx_vk_shape_of(graph, node->in[0]),
                           *second = cyx_vk_shape_of(graph, node->in[1]),
                           *out = cyx_vk_shape_of(graph, node->out[0]);
    switch (node->op) {
    case CYX_OP_CONV2D:
        return describe_conv(node, FORWARD, first, out);
    case CYX_OP_CONV2D_GRAD_INPUT:
        return describe_conv(node, GRAD_INPUT, out, first);
    case CYX_OP_CONV2D_GRAD_WEIGHT:
        return describe_conv(node, GRAD_WEIGHT, first, second);
    case CYX_OP_CONV_TRANSPOSE2D:
        return describe_conv(node, GRAD_INPUT, out, first);
    case CYX_OP_CONV_TRANSPOSE2D_GRAD_INPUT:
        return describe_conv(node, FORWARD, first, out);
    case CYX_OP_CONV_TRANSPOSE2D_GRAD_WEIGHT:
        return describe_conv(node, GRAD_WEIGHT, second, first);
    default:
        return describe_linear(graph, node);
    }
}

/* Elements of one split's partial sums: dW, then db. */
static int64_t split_elements(const struct gemm *gemm, bool row_sums)
{
    int64_t rows = gemm->product.m * gemm->product.groups;
    return rows * gemm->product.n + (row_sums ? rows : 0);
}

/* db comes along with dW as the row sums of dy; ConvTranspose2d's dy is the other operand. */
static bool has_row_sums(const struct cyx_node *node)
{
    return (node->op == CYX_OP_LINEAR_GRAD_WEIGHT || node->op == CYX_OP_CONV2D_GRAD_WEIGHT) &&
           node->n_out > 1 && node->out[1] != CYX_NO_VALUE;
}

/* db is a sum of its own. */
static bool has_channel_sum(const struct cyx_node *node)
{
    return node->op == CYX_OP_CONV_TRANSPOSE2D_GRAD_WEIGHT && node->n_out > 1 &&
           node->out[1] != CYX_NO_VALUE;
}

/* Floats of all splits' partial sums, 0 when k is not split. */
static int64_t parts_elements(const struct gemm *gemm, const struct cyx_vk_cut *cut, bool row_sums)
{
    return cut->splits == 1 ? 0 : cut->splits * split_elements(gemm, row_sums);
}

int64_t cyx_vk_gemm_scratch_bytes(const struct cyx_device *device, const struct cyx_graph *graph,
                                  const struct cyx_node *node)
{
    struct gemm gemm = describe(graph, node);
    struct cyx_vk_cut cut;
    cyx_vk_cut(device, &gemm.product, &cut);
    int64_t bytes =
        cyx_vk_align(parts_elements(&gemm, &cut, has_row_sums(node)) * (int64_t)sizeof(float));
    if (has_channel_sum(node))
        bytes += cyx_vk_channel_sum_bytes(device, cyx_vk_shape_of(graph, node->in[1]));
    return bytes;
}

static enum cyx_status dispatch_gemm(struct cyx_vk_lowering *self, const struct gemm *gemm,
                                     const struct cyx_vk_cut *cut, uint32_t flags, bool row_sums,
                                     struct cyx_vk_command **ret_command,
                                     struct cyx_error *ret_error)
{
    const struct cyx_vk_product *product = &gemm->product;
    bool shared = self->device->tiling == CYX_VK_TILING_SHARED;
    int64_t rows = product->m * product->groups;
    struct gemm_push push = {
        .m = (uint32_t)product->m,
        .n = (uint32_t)product->n,
        .k = (uint32_t)product->k,
        .k_chunk = (uint32_t)cut->k_chunk,
        .splits = (uint32_t)cut->splits,
        .tiles_n = (uint32_t)cut->tiles_n,
        .tiles = (uint32_t)(cut->tiles_m * cut->tiles_n),
        .flags = flags,
        .a_m = (uint32_t)gemm->a_m,
        .a_k = (uint32_t)gemm->a_k,
        .b_k = (uint32_t)gemm->b_k,
        .b_n = (uint32_t)gemm->b_n,
    };
    if (cut->splits > 1) {
        push.split_stride = (uint32_t)split_elements(gemm, row_sums);
        push.sum_offset = (uint32_t)(rows * product->n);
    }
    struct cyx_vk_dispatch dispatch = {
        .shader = gemm->shader + (shared ? 1 : 0),
        .constants = {cut->tile.threads, cut->tile.tile_m, cut->tile.tile_n, cut->tile.block_m,
                      cut->tile.block_n, cut->tile.block_k, gemm->a_k_major, gemm->b_k_major,
                      row_sums},
        .n_constants = 9 + gemm->n_geometry,
        .push = &push,
        .push_bytes = sizeof push,
        .groups = cut->tiles_m * cut->tiles_n,
        .depth = product->groups * cut->splits,
    };
    if (!shared) /* the registers tiling reads neither blocks nor majors: fewer pipelines */
        memset(&dispatch.constants[3], 0, 5 * sizeof dispatch.constants[0]);
    memcpy(&dispatch.constants[9], gemm->geometry, sizeof gemm->geometry);
    return cyx_vk_dispatch(self, &dispatch, ret_command, ret_error);
}

/* Forward and gradient of the input: one product, bias and ReLU fused where the node says so. */
static enum cyx_status lower_whole(struct cyx_vk_lowering *self, const struct cyx_node *node,
                                   const struct gemm *gemm, int32_t a, int32_t b,
                                   struct cyx_error *ret_error)
{
    struct cyx_vk_cut cut;
    struct cyx_vk_command *command;
    bool forward = node->op == CYX_OP_LINEAR || node->op == CYX_OP_CONV2D ||
                   node->op == CYX_OP_CONV_TRANSPOSE2D;
    bool bias = forward && node->n_in > 2 && node->in[2] != CYX_NO_VALUE;
    uint32_t flags = (bias ? FLAG_BIAS : 0) | (forward && node->fused_relu ? FLAG_RELU : 0);
    cyx_vk_cut(self->device, &gemm->product, &cut);
    enum cyx_status status = dispatch_gemm(self, gemm, &cut, flags, false, &command, ret_error);
    if (status != CYX_OK)
        return status;
    cyx_vk_read(command, cyx_vk_range_of(self, a));
    cyx_vk_read(command, cyx_vk_range_of(self, b));
    cyx_vk_read(command, cyx_vk_range_of(self, bias ? node->in[2] : a)); /* bound, not read */
    cyx_vk_write(command, cyx_vk_range_of(self, node->out[0]));
    if (gemm->n_geometry == 0) /* linear.comp names a buffer of row sums: bound, not written */
        cyx_vk_write(command, cyx_vk_range_of(self, node->out[0]));
    return CYX_OK;
}

/* The second stage of a split product: adds the parts in order. */
static enum cyx_status sum_splits(struct cyx_vk_lowering *self, const struct gemm *gemm,
                                  const struct cyx_vk_cut *cut, bool row_sums,
                                  struct cyx_vk_range parts, struct cyx_vk_range dw,
                                  struct cyx_vk_range db, struct cyx_error *ret_error)
{
    int64_t rows = gemm->product.m * gemm->product.groups;
    int64_t elements = split_elements(gemm, row_sums);
    const struct {
        uint32_t count, sum_count, splits, stride;
    } push = {(uint32_t)(rows * gemm->product.n), (uint32_t)(row_sums ? rows : 0),
              (uint32_t)cut->splits, (uint32_t)elements};
    struct cyx_vk_dispatch dispatch = {
        .shader = CYX_SHADER_SUM_SPLITS, .push = &push, .push_bytes = sizeof push};
    struct cyx_vk_command *command;
    enum cyx_status status = cyx_vk_dispatch_flat(self, &dispatch, elements, &command, ret_error);
    if (status != CYX_OK)
        return status;
    cyx_vk_read(command, parts);
    cyx_vk_write(command, dw);
    cyx_vk_write(command, db);
    return CYX_OK;
}

/* dW, and db where it is the row sums of `dy`, straight or as splits. `scratch_bytes`: how far scratch is in use. */
static enum cyx_status lower_weight(struct cyx_vk_lowering *self, const struct cyx_node *node,
                                    const struct gemm *gemm, int32_t x, int32_t dy,
                                    int64_t *scratch_bytes, struct cyx_error *ret_error)
{
    struct cyx_vk_cut cut;
    struct cyx_vk_command *command;
    bool sums = has_row_sums(node);
    struct cyx_vk_range dw = cyx_vk_range_of(self, node->out[0]);
    struct cyx_vk_range db = cyx_vk_range_of(self, node->out[sums ? 1 : 0]);
    cyx_vk_cut(self->device, &gemm->product, &cut);
    bool split = cut.splits > 1;
    struct cyx_vk_range parts =
        cyx_vk_scratch_part(self, scratch_bytes, parts_elements(gemm, &cut, sums));
    enum cyx_status status = dispatch_gemm(self, gemm, &cut, 0, sums, &command, ret_error);
    if (status != CYX_OK)
        return status;
    cyx_vk_read(command, cyx_vk_range_of(self, dy));
    cyx_vk_read(command, cyx_vk_range_of(self, x));
    cyx_vk_read(command, cyx_vk_range_of(self, dy)); /* no bias: bound, not read */
    cyx_vk_write(command, split ? parts : dw);
    cyx_vk_write(command, split ? parts : db);
    return split ? sum_splits(self, gemm, &cut, sums, parts, dw, db, ret_error) : CYX_OK;
}

enum cyx_status cyx_vk_lower_linear(struct cyx_vk_lowering *self, const struct cyx_node *node,
                                    struct cyx_error *ret_error)
{
    struct gemm gemm = describe_linear(self->graph, node);
    int64_t scratch_bytes = 0;
    if (node->op == CYX_OP_LINEAR_GRAD_WEIGHT)
        return lower_weight(self, node, &gemm, node->in[0], node->in[1], &scratch_bytes, ret_error);
    return lower_whole(self, node, &gemm, node->in[0], node->in[1], ret_error);
}

enum cyx_status cyx_vk_lower_conv2d(struct cyx_vk_lowering *self, const struct cyx_node *node,
                                    struct cyx_error *ret_error)
{
    struct gemm gemm = describe(self->graph, node);
    int64_t scratch_bytes = 0;
    if (node->op == CYX_OP_CONV2D_GRAD_WEIGHT)
        return lower_weight(self, node, &gemm, node->in[0], node->in[1], &scratch_bytes, ret_error);
    /* A is the weight: in: x W b? forwards, in: dy W backwards */
    return lower_whole(self, node, &gemm, node->in[1], node->in[0], ret_error);
}

enum cyx_status cyx_vk_lower_conv_transpose2d(struct cyx_vk_lowering *self,
                                              const struct cyx_node *node,
                                              struct cyx_error *ret_error)
{
    struct gemm gemm = describe(self->graph, node);
    int64_t scratch_bytes = 0;
    if (node->op != CYX_OP_CONV_TRANSPOSE2D_GRAD_WEIGHT)
        return lower_whole(self, node, &gemm, node->in[1], node->in[0], ret_error);
    /* in: x dy, which are the dy and the x of the convolution whose transpose this is */
    enum cyx_status status =
        lower_weight(self, node, &gemm, node->in[1], node->in[0], &scratch_bytes, ret_error);
    if (status == CYX_OK && has_channel_sum(node))
        status =
            cyx_vk_lower_channel_sum(self, node->in[1], node->out[1], &scratch_bytes, ret_error);
    return status;
}
