/* BatchNorm, LayerNorm and their gradients, and sums over each channel. */
#include "nn/vulkan/lower.h"

#include "nn/vulkan/tiles.h"

#include "base/banned.h"

enum { FLAG_WEIGHT = 1, FLAG_BIAS = 2, FLAG_RELU = 4 };

/* KIND of shaders/ops/channel_sums.comp: Σ dy alone, or with Σ dy x̂ whose m and r are a channel's, or a row's. */
enum channel_sums { SUMS_PLAIN, SUMS_BY_CHANNEL, SUMS_BY_ROW };

/* `Push` of shaders/include/channel.glsl */
struct channel_push {
    uint32_t channels, count, chunk, splits;
    float eps, momentum;
};

/* `Push` of shaders/include/normalise.glsl */
struct normalise_push {
    uint32_t count, channels, flags;
    float eps, elements;
};

/* `Push` of shaders/include/layer_norm.glsl */
struct layer_norm_push {
    uint32_t rows, width, flags;
    float eps;
};

/* A value as (N,C,plane). */
struct channels {
    int64_t channels, count, plane; /* count: N * plane */
    struct cyx_vk_channel_cut cut;
};

static struct channels channels_of(const struct cyx_device *device, const struct cyx_shape *shape)
{
    struct channels c = {.channels = shape->dim[1], .plane = 1};
    for (int i = 2; i < shape->rank; i++)
        c.plane *= shape->dim[i];
    c.count = shape->dim[0] * c.plane;
    cyx_vk_cut_channels(device, c.channels, c.count, c.plane, &c.cut);
    return c;
}

static int64_t row_length(const struct cyx_shape *shape, int norm_dims)
{
    int64_t length = 1;
    for (int i = shape->rank - norm_dims; i < shape->rank; i++)
        length *= shape->dim[i];
    return length;
}

/* LayerNorm's weights: each place in a row is a channel, summed over the rows. */
static struct channels places_of(const struct cyx_device *device, const struct cyx_shape *shape,
                                 int norm_dims)
{
    struct channels c = {.channels = row_length(shape, norm_dims), .plane = 1};
    c.count = cyx_shape_count(shape) / c.channels;
    cyx_vk_cut_channels(device, c.channels, c.count, c.plane, &c.cut);
    return c;
}

/* Floats of one sum of each split; 0 where a channel is one. */
static int64_t parts_elements(const struct channels *c)
{
    return c->cut.splits == 1 ? 0 : c->cut.splits * c->channels;
}

static int64_t bytes_of(int64_t elements)
{
    return cyx_vk_align(elements * (int64_t)sizeof(float));
}

int64_t cyx_vk_channel_sum_bytes(const struct cyx_device *device, const struct cyx_shape *x)
{
    struct channels c = channels_of(device, x);
    return bytes_of(parts_elements(&c));
}

int64_t cyx_vk_norm_scratch_bytes(const struct cyx_device *device, const struct cyx_graph *graph,
                                  const struct cyx_node *node)
{
    bool forward = node->op == CYX_OP_BATCH_NORM;
    const struct cyx_shape *x = cyx_vk_shape_of(graph, node->in[forward ? 0 : 1]);
    struct channels c = node->op == CYX_OP_LAYER_NORM_GRAD ? places_of(device, x, node->norm_dims)
                                                           : channels_of(device, x);
    int64_t totals = forward ? 0 : 2 * bytes_of(c.channels); /* where dw or db is not wanted */
    return 2 * bytes_of(parts_elements(&c)) + totals;
}

/* A dispatch over channels: `blocks` workgroups across them by `splits`, or one invocation each. */
static enum cyx_status dispatch_channels(struct cyx_vk_lowering *self, const struct channels *c,
                                         const struct cyx_node *node, enum cyx_shader shader,
                                         uint32_t kind, bool blocks,
                                         struct cyx_vk_command **ret_command,
                                         struct cyx_error *ret_error)
{
    const struct channel_push push = {
        .channels = (uint32_t)c->channels,
        .count = (uint32_t)c->count,
        .chunk = (uint32_t)c->cut.chunk,
        .splits = (uint32_t)c->cut.splits,
        .eps = (float)node->eps,
        .momentum = (float)node->momentum,
    };
    struct cyx_vk_dispatch dispatch = {
        .shader = shader,
        .constants = {c->cut.threads, c->cut.lanes, (uint32_t)c->plane, kind},
        .n_constants = 4,
        .push = &push,
        .push_bytes = sizeof push,
        .groups = c->cut.blocks,
        .depth = c->cut.splits,
    };
    if (blocks)
        return cyx_vk_dispatch(self, &dispatch, ret_command, ret_error);
    dispatch.constants[1] = dispatch.constants[2] = 1; /* not looked at: fewer pipelines */
    return cyx_vk_dispatch_flat(self, &dispatch, c->channels, ret_command, ret_error);
}

/* What channel_sums.comp reads; x, m and r are looked at unless the kind is SUMS_PLAIN. */
struct sums {
    enum channel_sums kind;
    int32_t dy, x, m, r;
    struct cyx_vk_range sum, product; /* results, (C) each */
};

static enum cyx_status lower_sums(struct cyx_vk_lowering *self, const struct cyx_node *node,
                                  const struct channels *c, const struct sums *sums,
                                  int64_t *scratch_bytes, struct cyx_error *ret_error)
{
    bool split = c->cut.splits > 1;
    struct cyx_vk_range sum = sums->sum, product = sums->product;
    if (split) {
        sum = product = cyx_vk_scratch_part(self, scratch_bytes, parts_elements(c));
        if (sums->kind != SUMS_PLAIN)
            product = cyx_vk_scratch_part(self, scratch_bytes, parts_elements(c));
    }
    struct cyx_vk_command *command;
    enum cyx_status status = dispatch_channels(self, c, node, CYX_SHADER_CHANNEL_SUMS, sums->kind,
                                               true, &command, ret_error);
    if (status != CYX_OK)
        return status;
    cyx_vk_read(command, cyx_vk_range_of(self, sums->dy));
    cyx_vk_read(command, cyx_vk_range_or(self, sums->x, sums->dy));
    cyx_vk_read(command, cyx_vk_range_or(self, sums->m, sums->dy));
    cyx_vk_read(command, cyx_vk_range_or(self, sums->r, sums->dy));
    cyx_vk_write(command, sum);
    cyx_vk_write(command, product);
    if (!split)
        return CYX_OK;
    status = dispatch_channels(self, c, node, CYX_SHADER_CHANNEL_SUMS_TOTAL, sums->kind, false,
                               &command, ret_error);
    if (status != CYX_OK)
        return status;
    cyx_vk_read(command, sum);
    cyx_vk_read(command, product);
    cyx_vk_write(command, sums->sum);
    cyx_vk_write(command, sums->product);
    return CYX_OK;
}

enum cyx_status cyx_vk_lower_channel_sum(struct cyx_vk_lowering *self, int32_t x, int32_t out,
                                         int64_t *scratch_bytes, struct cyx_error *ret_error)
{
    static const struct cyx_node no_node = {0};
    struct channels c = channels_of(self->device, cyx_vk_shape_of(self->graph, x));
    struct sums sums = {SUMS_PLAIN,
                        x,
                        CYX_NO_VALUE,
                        CYX_NO_VALUE,
                        CYX_NO_VALUE,
                        cyx_vk_range_of(self, out),
                        cyx_vk_range_of(self, out)};
    return lower_sums(self, &no_node, &c, &sums, scratch_bytes, ret_error);
}

/* in: x w? b? running_mean running_var   out: y m r. Writes m, r and the running statistics. */
static enum cyx_status lower_statistics(struct cyx_vk_lowering *self, const struct cyx_node *node,
                                        const struct channels *c, struct cyx_error *ret_error)
{
    bool split = c->cut.splits > 1;
    int64_t scratch_bytes = 0;
    struct cyx_vk_range m = cyx_vk_range_of(self, node->out[1]);
    struct cyx_vk_range r = cyx_vk_range_of(self, node->out[2]);
    struct cyx_vk_range running_mean = cyx_vk_range_of(self, node->in[3]);
    struct cyx_vk_range running_var = cyx_vk_range_of(self, node->in[4]);
    struct cyx_vk_range means = cyx_vk_scratch_part(self, &scratch_bytes, parts_elements(c));
    struct cyx_vk_range squares = cyx_vk_scratch_part(self, &scratch_bytes, parts_elements(c));
    struct cyx_vk_command *command;
    enum cyx_status status =
        dispatch_channels(self, c, node, CYX_SHADER_BATCH_NORM_STATS, 0, true, &command, ret_error);
    if (status != CYX_OK)
        return status;
    cyx_vk_read(command, cyx_vk_range_of(self, node->in[0]));
    cyx_vk_write(command, split ? means : m); /* bound, not written, where a channel is one chunk */
    cyx_vk_write(command, split ? squares : r);
    cyx_vk_write(command, m);
    cyx_vk_write(command, r);
    cyx_vk_write(command, running_mean);
    cyx_vk_write(command, running_var);
    if (!split)
        return CYX_OK;
    status = dispatch_channels(self, c, node, CYX_SHADER_BATCH_NORM_TOTAL, 0, false, &command,
                               ret_error);
    if (status != CYX_OK)
        return status;
    cyx_vk_read(command, means);
    cyx_vk_read(command, squares);
    cyx_vk_write(command, m);
    cyx_vk_write(command, r);
    cyx_vk_write(command, running_mean);
    cyx_vk_write(command, running_var);
    return CYX_OK;
}

/* Elementwise over `value`'s shape, four elements an invocation. */
static enum cyx_status dispatch_normalise(struct cyx_vk_lowering *self, const struct channels *c,
                                          const struct cyx_node *node, enum cyx_shader shader,
                                          uint32_t flags, uint32_t inference,
                                          struct cyx_vk_command **ret_command,
                                          struct cyx_error *ret_error)
{
    int64_t groups_of_four = (c->count * c->channels + 3) / 4;
    const struct normalise_push push = {
        .count = (uint32_t)groups_of_four,
        .channels = (uint32_t)c->channels,
        .flags = flags,
        .eps = (float)node->eps,
        .elements = (float)c->count,
    };
    struct cyx_vk_dispatch dispatch = {
        .shader = shader,
        .constants = {0, (uint32_t)c->plane, inference},
        .n_constants = 3,
        .push = &push,
        .push_bytes = sizeof push,
    };
    return cyx_vk_dispatch_flat(self, &dispatch, groups_of_four, ret_command, ret_error);
}

/* y from x, and a mean and a scale (or variance) of each channel. */
static enum cyx_status lower_normalise(struct cyx_vk_lowering *self, const struct cyx_node *node,
                                       const struct channels *c, int32_t m, int32_t r,
                                       bool inference, struct cyx_error *ret_error)
{
    uint32_t flags = (node->in[1] != CYX_NO_VALUE ? FLAG_WEIGHT : 0) |
                     (node->in[2] != CYX_NO_VALUE ? FLAG_BIAS : 0) |
                     (node->fused_relu ? FLAG_RELU : 0);
    struct cyx_vk_command *command;
    enum cyx_status status = dispatch_normalise(self, c, node, CYX_SHADER_BATCH_NORM, flags,
                                                inference, &command, ret_error);
    if (status != CYX_OK)
        return status;
    cyx_vk_read(command, cyx_vk_range_of(self, node->in[0]));
    cyx_vk_read(command, cyx_vk_range_or(self, node->in[1], m));
    cyx_vk_read(command, cyx_vk_range_or(self, node->in[2], m));
    cyx_vk_read(command, cyx_vk_range_of(self, m));
    cyx_vk_read(command, cyx_vk_range_of(self, r));
    cyx_vk_write(command, cyx_vk_range_of(self, node->out[0]));
    return CYX_OK;
}

enum cyx_status cyx_vk_lower_batch_norm(struct cyx_vk_lowering *self, const struct cyx_node *node,
                                        struct cyx_error *ret_error)
{
    struct channels c = channels_of(self->device, cyx_vk_shape_of(self->graph, node->in[0]));
    enum cyx_status status = lower_statistics(self, node, &c, ret_error);
    if (status == CYX_OK)
        status = lower_normalise(self, node, &c, node->out[1], node->out[2], false, ret_error);
    return status;
}

enum cyx_status cyx_vk_lower_batch_norm_inference(struct cyx_vk_lowering *self,
                                                  const struct cyx_node *node,
                                                  struct cyx_error *ret_error)
{
    struct channels c = channels_of(self->device, cyx_vk_shape_of(self->graph, node->in[0]));
    return lower_normalise(self, node, &c, node->in[3], node->in[4], true, ret_error);
}

/* The range of an output, or room for it in the scratch where nobody asked for it. */
static struct cyx_vk_range output_or_scratch(const struct cyx_vk_lowering *self,
                                             const struct cyx_node *node, int output, int64_t count,
                                             int64_t *scratch_bytes)
{
    int32_t value = output < node->n_out ? node->out[output] : CYX_NO_VALUE;
    return value == CYX_NO_VALUE ? cyx_vk_scratch_part(self, scratch_bytes, count)
                                 : cyx_vk_range_of(self, value);
}

/* in: dy x w? m r   out: dx? dw? db? */
static enum cyx_status lower_gradient_sums(struct cyx_vk_lowering *self,
                                           const struct cyx_node *node, const struct channels *c,
                                           enum channel_sums kind, struct sums *ret_sums,
                                           struct cyx_error *ret_error)
{
    int64_t scratch_bytes = 0;
    *ret_sums = (struct sums){
        .kind = kind,
        .dy = node->in[0],
        .x = node->in[1],
        .m = node->in[3],
        .r = node->in[4],
        .sum = output_or_scratch(self, node, 2, c->channels, &scratch_bytes),
        .product = output_or_scratch(self, node, 1, c->channels, &scratch_bytes),
    };
    return lower_sums(self, node, c, ret_sums, &scratch_bytes, ret_error);
}

enum cyx_status cyx_vk_lower_batch_norm_grad(struct cyx_vk_lowering *self,
                                             const struct cyx_node *node,
                                             struct cyx_error *ret_error)
{
    struct channels c = channels_of(self->device, cyx_vk_shape_of(self->graph, node->in[0]));
    struct sums sums;
    enum cyx_status status = lower_gradient_sums(self, node, &c, SUMS_BY_CHANNEL, &sums, ret_error);
    if (status != CYX_OK || node->out[0] == CYX_NO_VALUE)
        return status;
    struct cyx_vk_command *command;
    status =
        dispatch_normalise(self, &c, node, CYX_SHADER_BATCH_NORM_GRAD,
                           node->in[2] != CYX_NO_VALUE ? FLAG_WEIGHT : 0, 0, &command, ret_error);
    if (status != CYX_OK)
        return status;
    cyx_vk_read(command, cyx_vk_range_of(self, node->in[0]));
    cyx_vk_read(command, cyx_vk_range_of(self, node->in[1]));
    cyx_vk_read(command, cyx_vk_range_or(self, node->in[2], node->in[3]));
    cyx_vk_read(command, cyx_vk_range_of(self, node->in[3]));
    cyx_vk_read(command, cyx_vk_range_of(self, node->in[4]));
    cyx_vk_read(command, sums.sum);
    cyx_vk_read(command, sums.product);
    cyx_vk_write(command, cyx_vk_range_of(self, node->out[0]));
    return CYX_OK;
}

/* One workgroup a row. */
static enum cyx_status dispatch_layer_norm(struct cyx_vk_lowering *self,
                                           const struct cyx_node *node, enum cyx_shader shader,
                                           uint32_t flags, struct cyx_vk_command **ret_command,
                                           struct cyx_error *ret_error)
{
    const struct cyx_shape *x = cyx_vk_shape_of(self->graph, node->in[0]);
    int64_t length = row_length(x, node->norm_dims), rows = cyx_shape_count(x) / length;
    const struct layer_norm_push push = {(uint32_t)rows, (uint32_t)length, flags, (float)node->eps};
    struct cyx_vk_dispatch dispatch = {
        .shader = shader,
        .constants = {cyx_vk_row_threads(self->device, length)},
        .n_constants = 1,
        .push = &push,
        .push_bytes = sizeof push,
        .groups = rows,
        .depth = 1,
    };
    return cyx_vk_dispatch(self, &dispatch, ret_command, ret_error);
}

/* in: x w? b?   out: y m r */
enum cyx_status cyx_vk_lower_layer_norm(struct cyx_vk_lowering *self, const struct cyx_node *node,
                                        struct cyx_error *ret_error)
{
    uint32_t flags = (node->in[1] != CYX_NO_VALUE ? FLAG_WEIGHT : 0) |
                     (node->in[2] != CYX_NO_VALUE ? FLAG_BIAS : 0);
    struct cyx_vk_command *command;
    enum cyx_status status =
        dispatch_layer_norm(self, node, CYX_SHADER_LAYER_NORM, flags, &command, ret_error);
    if (status != CYX_OK)
        return status;
    cyx_vk_read(command, cyx_vk_range_of(self, node->in[0]));
    cyx_vk_read(command, cyx_vk_range_or(self, node->in[1], node->in[0]));
    cyx_vk_read(command, cyx_vk_range_or(self, node->in[2], node->in[0]));
    for (int i = 0; i < 3; i++)
        cyx_vk_write(command, cyx_vk_range_of(self, node->out[i]));
    return CYX_OK;
}

/* in: dy x w? m r   out: dx? dw? db? */
enum cyx_status cyx_vk_lower_layer_norm_grad(struct cyx_vk_lowering *self,
                                             const struct cyx_node *node,
                                             struct cyx_error *ret_error)
{
    enum cyx_status status = CYX_OK;
    bool weights = (node->n_out > 1 && node->out[1] != CYX_NO_VALUE) ||
                   (node->n_out > 2 && node->out[2] != CYX_NO_VALUE);
    if (weights) {
        struct channels c =
            places_of(self->device, cyx_vk_shape_of(self->graph, node->in[1]), node->norm_dims);
        struct sums sums;
        status = lower_gradient_sums(self, node, &c, SUMS_BY_ROW, &sums, ret_error);
    }
    if (status != CYX_OK || node->out[0] == CYX_NO_VALUE)
        return status;
    struct cyx_vk_command *command;
    status =
        dispatch_layer_norm(self, node, CYX_SHADER_LAYER_NORM_GRAD,
                            node->in[2] != CYX_NO_VALUE ? FLAG_WEIGHT : 0, &command, ret_error);
    if (status != CYX_OK)
        return status;
    cyx_vk_read(command, cyx_vk_range_of(self, node->in[0]));
    cyx_vk_read(command, cyx_vk_range_of(self, node->in[1]));
    cyx_vk_read(command, cyx_vk_range_or(self, node->in[2], node->in[0]));
    cyx_vk_read(command, cyx_vk_range_of(self, node->in[3]));
    cyx_vk_read(command, cyx_vk_range_of(self, node->in[4]));
    cyx_vk_write(command, cyx_vk_range_of(self, node->out[0]));
    return CYX_OK;
}
