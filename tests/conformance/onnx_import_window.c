/* Convolutions and pooling: auto_pad, one spatial dimension, and the defaults that differ from PyTorch's. */
#include <stdlib.h>
#include <string.h>

#undef NDEBUG /* a test's checks stay, whatever the build type */
#include <assert.h>

#include "onnx_import.h"

/* A node that slides a window over `x`, seen as (N,C,H,W); one spatial dimension becomes a row. */
struct sliding {
    const struct onnx_value *x;
    struct cyx_shape in, out;
    struct cyx_window window;
    int spatial; /* 1 or 2 */
    int64_t output_padding[2];
};

static int64_t reach(const struct cyx_window *w, int axis)
{
    return w->dilation[axis] * (w->kernel[axis] - 1) + 1;
}

/* Entry of a list of the spatial dimensions; `part` 1 is the second half of `pads`. */
static void read_list(const struct cyx_onnx_node *node, const char *name, int spatial, int part,
                      int64_t ret_pair[2])
{
    const struct cyx_onnx_attribute *list = cyx_onnx_attribute(node, name);
    for (int i = 0; i < spatial && list && list->n_ints >= (size_t)spatial * (size_t)(part + 1);
         i++)
        ret_pair[2 - spatial + i] = list->ints[spatial * part + i];
}

/* `w`: the weight that gives the kernel's size, NULL for pooling. */
static bool read_window(struct onnx_import *self, const struct cyx_onnx_node *node,
                        const struct onnx_value *w, struct sliding *s)
{
    s->x = onnx_floats(self, node, 0);
    if (!s->x)
        return false;
    s->spatial = s->x->rank - 2;
    if (s->spatial < 1 || s->spatial > 2) {
        onnx_refuse(self, "three spatial dimensions");
        return false;
    }
    s->in = (struct cyx_shape){4, {s->x->dim[0], s->x->dim[1], 1, 1}};
    s->window = (struct cyx_window){{1, 1}, {1, 1}, {1, 1}, {0, 0}, {0, 0}, 1};
    for (int i = 0; i < s->spatial; i++) {
        s->in.dim[4 - s->spatial + i] = s->x->dim[2 + i];
        if (w)
            s->window.kernel[2 - s->spatial + i] = w->dim[2 + i];
    }
    read_list(node, "kernel_shape", s->spatial, 0, s->window.kernel);
    read_list(node, "strides", s->spatial, 0, s->window.stride);
    read_list(node, "dilations", s->spatial, 0, s->window.dilation);
    read_list(node, "pads", s->spatial, 0, s->window.pad_begin);
    read_list(node, "pads", s->spatial, 1, s->window.pad_end);
    s->window.groups = cyx_onnx_int(node, "group", 1);
    if (s->window.stride[0] >= 1 && s->window.stride[1] >= 1)
        return true;
    onnx_refuse(self, "a stride below 1");
    return false;
}

/* The extra one of an odd padding stands at the end under SAME_UPPER. */
static void divide_padding(struct cyx_window *w, int axis, int64_t total, bool upper)
{
    w->pad_begin[axis] = upper ? total / 2 : total - total / 2;
    w->pad_end[axis] = total - w->pad_begin[axis];
}

static void slide_forward(const struct cyx_onnx_node *node, struct sliding *s, int64_t channels)
{
    const char *pad = cyx_onnx_string(node, "auto_pad", "NOTSET");
    bool same = strncmp(pad, "SAME", 4) == 0, ceil = cyx_onnx_int(node, "ceil_mode", 0) != 0;
    s->out = (struct cyx_shape){4, {s->in.dim[0], channels, 1, 1}};
    for (int i = 0; i < 2; i++) {
        struct cyx_window *w = &s->window;
        int64_t size = s->in.dim[2 + i];
        if (same) {
            int64_t out = (size + w->stride[i] - 1) / w->stride[i];
            int64_t total = (out - 1) * w->stride[i] + reach(w, i) - size;
            divide_padding(w, i, total > 0 ? total : 0, strcmp(pad, "SAME_UPPER") == 0);
        } else if (strcmp(pad, "VALID") == 0) {
            w->pad_begin[i] = w->pad_end[i] = 0;
        }
        int64_t room = size + w->pad_begin[i] + w->pad_end[i] - reach(w, i);
        s->out.dim[2 + i] = (room + (ceil ? w->stride[i] - 1 : 0)) / w->stride[i] + 1;
    }
}

/* Output of the node, with as many spatial dimensions as its input. */
static int32_t sliding_result(struct onnx_import *self, const struct cyx_onnx_node *node,
                              const struct sliding *s)
{
    int64_t dim[4] = {s->out.dim[0], s->out.dim[1]};
    for (int i = 0; i < s->spatial; i++)
        dim[2 + i] = s->out.dim[4 - s->spatial + i];
    return onnx_result(self, node, 0, s->out, 2 + s->spatial, dim);
}

static void add_convolution(struct onnx_import *self, const struct cyx_onnx_node *node,
                            const struct sliding *s, enum cyx_op op)
{
    const struct onnx_value *w = onnx_in(self, node, 1), *b = onnx_in(self, node, 2);
    struct cyx_shape weight = {4, {w->dim[0], w->dim[1], s->window.kernel[0], s->window.kernel[1]}};
    int32_t in[3] = {onnx_operand(self, s->x, s->in), onnx_operand(self, w, weight), CYX_NO_VALUE};
    if (b)
        in[2] = onnx_operand(self, b, (struct cyx_shape){1, {b->dim[0]}});
    int32_t y = sliding_result(self, node, s);
    op_graph_node(&self->g, op, 3, in, 1, &y)->window = s->window;
}

bool onnx_conv(struct onnx_import *self, const struct cyx_onnx_node *node)
{
    struct sliding s = {0};
    const struct onnx_value *w = onnx_floats(self, node, 1);
    if (!w || !read_window(self, node, w, &s))
        return false;
    slide_forward(node, &s, w->dim[0]);
    add_convolution(self, node, &s, CYX_OP_CONV2D);
    return true;
}

/* output_shape gives the padding; where it asks for more than there is, it is output_padding. */
static void slide_backward(const struct cyx_onnx_node *node, struct sliding *s, int64_t channels)
{
    const char *pad = cyx_onnx_string(node, "auto_pad", "NOTSET");
    bool same = strncmp(pad, "SAME", 4) == 0;
    int64_t wanted[2] = {0, 0};
    read_list(node, "output_padding", s->spatial, 0, s->output_padding);
    read_list(node, "output_shape", s->spatial, 0, wanted);
    s->out = (struct cyx_shape){4, {s->in.dim[0], channels, 1, 1}};
    for (int i = 0; i < 2; i++) {
        struct cyx_window *w = &s->window;
        int64_t whole = (s->in.dim[2 + i] - 1) * w->stride[i] + reach(w, i) + s->output_padding[i];
        if (same && wanted[i] == 0)
            wanted[i] = s->in.dim[2 + i] * w->stride[i];
        if (wanted[i] > 0)
            divide_padding(w, i, whole > wanted[i] ? whole - wanted[i] : 0,
                           strcmp(pad, "SAME_UPPER") == 0);
        s->out.dim[2 + i] = wanted[i] > 0 ? wanted[i] : whole - w->pad_begin[i] - w->pad_end[i];
    }
}

bool onnx_conv_transpose(struct onnx_import *self, const struct cyx_onnx_node *node)
{
    struct sliding s = {0};
    const struct onnx_value *w = onnx_floats(self, node, 1);
    if (!w || !read_window(self, node, w, &s))
        return false;
    slide_backward(node, &s, w->dim[1] * s.window.groups);
    add_convolution(self, node, &s, CYX_OP_CONV_TRANSPOSE2D);
    return true;
}

/* ---- pooling ---- */

/*
 * ONNX's indices count through the whole tensor; ours are the backend's own. So they are looked at through the
 * gradient: dy = 1, 2, 3 … must arrive at the places that ONNX names.
 */
static void check_indices(struct onnx_import *self, const struct cyx_onnx_node *node,
                          const struct sliding *s, int32_t index)
{
    const struct cyx_onnx_tensor *wanted = onnx_expected(self, node->outputs[1]);
    size_t n = (size_t)cyx_shape_count(&s->in);
    int64_t height = s->in.dim[2], width = s->in.dim[3];
    bool by_column = cyx_onnx_int(node, "storage_order", 0) != 0;
    float *dy = calloc(wanted->count, sizeof *dy), *dx = calloc(n, sizeof *dx);
    assert(dy && dx && wanted->integers);
    for (size_t i = 0; i < wanted->count; i++) {
        int64_t at = wanted->integers[i], within = at % (height * width);
        if (by_column)
            at += within % height * width + within / height - within;
        dy[i] = (float)(i + 1);
        dx[at] += dy[i];
    }
    int32_t in[] = {onnx_filled(self, CYX_VALUE_PARAM, s->out, dy), index};
    int32_t out = op_graph_result(&self->g, s->in);
    op_graph_node(&self->g, CYX_OP_MAX_POOL2D_GRAD, 2, in, 1, &out)->window = s->window;
    onnx_check(self, node->outputs[1], out, dx, n, 1);
    onnx_bind(self, node, 1, ONNX_CHECKED, 1, 0, NULL);
}

static void add_max_pool(struct onnx_import *self, const struct cyx_onnx_node *node,
                         const struct sliding *s)
{
    int32_t x = onnx_operand(self, s->x, s->in), out[2] = {sliding_result(self, node, s), 0};
    out[1] = op_graph_value(&self->g, CYX_VALUE_TRANSIENT, CYX_I32, s->out);
    op_graph_node(&self->g, CYX_OP_MAX_POOL2D, 1, &x, 2, out)->window = s->window;
    if (node->n_outputs > 1)
        check_indices(self, node, s, out[1]);
}

bool onnx_max_pool(struct onnx_import *self, const struct cyx_onnx_node *node)
{
    struct sliding s = {0};
    if (!read_window(self, node, NULL, &s))
        return false;
    slide_forward(node, &s, s.in.dim[1]);
    add_max_pool(self, node, &s);
    return true;
}

static void add_average_pool(struct onnx_import *self, const struct cyx_onnx_node *node,
                             const struct sliding *s)
{
    int32_t x = onnx_operand(self, s->x, s->in), y = sliding_result(self, node, s);
    op_graph_node(&self->g, CYX_OP_AVG_POOL2D, 1, &x, 1, &y)->window = s->window;
}

/* count_include_pad is 0 unless said: PyTorch's is true. */
bool onnx_average_pool(struct onnx_import *self, const struct cyx_onnx_node *node)
{
    struct sliding s = {0};
    if (!read_window(self, node, NULL, &s))
        return false;
    s.window.count_include_pad = cyx_onnx_int(node, "count_include_pad", 0) != 0;
    slide_forward(node, &s, s.in.dim[1]);
    add_average_pool(self, node, &s);
    return true;
}

static bool global_window(struct onnx_import *self, const struct cyx_onnx_node *node,
                          struct sliding *s)
{
    if (!read_window(self, node, NULL, s))
        return false;
    for (int i = 0; i < 2; i++)
        s->window.kernel[i] = s->in.dim[2 + i];
    slide_forward(node, s, s->in.dim[1]);
    return true;
}

bool onnx_global_average_pool(struct onnx_import *self, const struct cyx_onnx_node *node)
{
    struct sliding s = {0};
    if (!global_window(self, node, &s))
        return false;
    add_average_pool(self, node, &s);
    return true;
}

bool onnx_global_max_pool(struct onnx_import *self, const struct cyx_onnx_node *node)
{
    struct sliding s = {0};
    if (!global_window(self, node, &s))
        return false;
    add_max_pool(self, node, &s);
    return true;
}
