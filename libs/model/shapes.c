/*
 * Shapes: what each layer makes of its input, and whether it fits. Letters: N batch, C channels, H and W
 * height and width, K kernel, S stride, D dilation, P padding. Formulas and words are those of the layers of
 * the same name in PyTorch 1.13's documentation (torch.nn).
 */
#include <stdarg.h>
#include <stdio.h>

#include "model/private.h"

#include "base/banned.h"

enum { SHAPE_TEXT = 96 };

enum cyx_status graph_fail(struct cyx_error *error, size_t index, const char *format, ...)
{
    char message[sizeof(error->message)], pointer[48];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    snprintf(pointer, sizeof(pointer), "/model/layers/%zu", index);
    return cyx_error_set(error, CYX_ERR_INVALID, pointer, "%s", message);
}

/* "(N, 64, 7, 7)" */
static const char *shape_text(const struct cyx_shape *shape, char text[SHAPE_TEXT])
{
    size_t used = (size_t)snprintf(text, SHAPE_TEXT, "(N");
    for (int i = 1; i < shape->rank && used < SHAPE_TEXT; i++)
        used +=
            (size_t)snprintf(text + used, SHAPE_TEXT - used, ", %lld", (long long)shape->dim[i]);
    if (used < SHAPE_TEXT)
        snprintf(text + used, SHAPE_TEXT - used, ")");
    return text;
}

/* Elements a sample, so that a hint can name them; shapes here are within the limits already. */
static int64_t features(const struct cyx_shape *shape)
{
    return cyx_shape_count(shape) / shape->dim[0];
}

static enum cyx_status infer_linear(const struct cyx_layer_spec *layer, size_t index,
                                    const struct cyx_shape *in, struct layer_shape *ret,
                                    struct cyx_error *error)
{
    const struct cyx_linear_spec *linear = &layer->linear;
    char text[SHAPE_TEXT];
    if (in->rank != 2)
        return graph_fail(error, index,
                          "Linear expects (N, features), got %s: put a Flatten before it, which "
                          "gives %lld inputs",
                          shape_text(in, text), (long long)features(in));
    if (linear->in_features != 0 && linear->in_features != in->dim[1])
        return graph_fail(error, index, "Linear expects %lld inputs, got %lld",
                          (long long)linear->in_features, (long long)in->dim[1]);
    ret->out = (struct cyx_shape){2, {in->dim[0], linear->out_features}};
    return CYX_OK;
}

static enum cyx_status expect_planes(const char *what, size_t index, const struct cyx_shape *in,
                                     struct cyx_error *error)
{
    char text[SHAPE_TEXT];
    if (in->rank == 4)
        return CYX_OK;
    return graph_fail(error, index,
                      "%s expects (N, channels, height, width), got %s: it must stand "
                      "before any Flatten or Linear",
                      what, shape_text(in, text));
}

/* Out = floor((In + P - D (K - 1) - 1) / S) + 1, for height and width. */
static enum cyx_status slide(const char *what, size_t index, const struct cyx_shape *in,
                             const struct cyx_window *window, int64_t channels,
                             struct cyx_shape *ret_out, struct cyx_error *error)
{
    int64_t padded[2], extent[2];
    *ret_out = (struct cyx_shape){4, {in->dim[0], channels}};
    for (int i = 0; i < 2; i++) {
        padded[i] = in->dim[2 + i] + window->pad_begin[i] + window->pad_end[i];
        extent[i] = window->dilation[i] * (window->kernel[i] - 1) + 1;
        ret_out->dim[2 + i] = (padded[i] - extent[i]) / window->stride[i] + 1;
    }
    if (extent[0] <= padded[0] && extent[1] <= padded[1])
        return CYX_OK;
    return graph_fail(error, index,
                      "%s: the kernel (%lld x %lld) is larger than the padded input (%lld x %lld)",
                      what, (long long)extent[0], (long long)extent[1], (long long)padded[0],
                      (long long)padded[1]);
}

/* padding "same": P = D (K - 1), the extra one on the right and at the bottom. */
static struct cyx_window conv_window(const struct cyx_conv2d_spec *conv)
{
    struct cyx_window window = {.groups = conv->groups};
    for (int i = 0; i < 2; i++) {
        int64_t all = conv->dilation[i] * (conv->kernel_size[i] - 1);
        window.kernel[i] = conv->kernel_size[i];
        window.stride[i] = conv->stride[i];
        window.dilation[i] = conv->dilation[i];
        window.pad_begin[i] = conv->padding_same ? all / 2 : conv->padding[i];
        window.pad_end[i] = conv->padding_same ? all - all / 2 : conv->padding[i];
    }
    return window;
}

static enum cyx_status infer_conv2d(const struct cyx_layer_spec *layer, size_t index,
                                    const struct cyx_shape *in, struct layer_shape *ret,
                                    struct cyx_error *error)
{
    const struct cyx_conv2d_spec *conv = &layer->conv2d;
    enum cyx_status status = expect_planes("Conv2d", index, in, error);
    if (status != CYX_OK)
        return status;
    if (conv->in_channels != 0 && conv->in_channels != in->dim[1])
        return graph_fail(error, index, "Conv2d expects %lld channels, got %lld",
                          (long long)conv->in_channels, (long long)in->dim[1]);
    if (in->dim[1] % conv->groups != 0)
        return graph_fail(error, index,
                          "Conv2d: the input's %lld channels must be divisible by groups (%lld)",
                          (long long)in->dim[1], (long long)conv->groups);
    ret->window = conv_window(conv);
    return slide("Conv2d", index, in, &ret->window, conv->out_channels, &ret->out, error);
}

static enum cyx_status infer_max_pool2d(const struct cyx_layer_spec *layer, size_t index,
                                        const struct cyx_shape *in, struct layer_shape *ret,
                                        struct cyx_error *error)
{
    const struct cyx_max_pool2d_spec *pool = &layer->max_pool2d;
    enum cyx_status status = expect_planes("MaxPool2d", index, in, error);
    if (status != CYX_OK)
        return status;
    ret->window = (struct cyx_window){.groups = 1};
    for (int i = 0; i < 2; i++) {
        ret->window.kernel[i] = pool->kernel_size[i];
        ret->window.stride[i] = pool->stride[i];
        ret->window.dilation[i] = 1;
        ret->window.pad_begin[i] = ret->window.pad_end[i] = pool->padding[i];
    }
    return slide("MaxPool2d", index, in, &ret->window, in->dim[1], &ret->out, error);
}

static enum cyx_status infer_flatten(const struct cyx_layer_spec *layer, size_t index,
                                     const struct cyx_shape *in, struct layer_shape *ret,
                                     struct cyx_error *error)
{
    int start = (int)layer->flatten.start_dim;
    char text[SHAPE_TEXT];
    if (start >= in->rank)
        return graph_fail(error, index, "Flatten: start_dim %d is out of range for %s", start,
                          shape_text(in, text));
    ret->out = *in;
    ret->out.rank = start + 1;
    for (int i = start + 1; i < in->rank; i++)
        ret->out.dim[start] *= in->dim[i];
    return CYX_OK;
}

static enum cyx_status infer_same(const struct cyx_layer_spec *layer, size_t index,
                                  const struct cyx_shape *in, struct layer_shape *ret,
                                  struct cyx_error *error)
{
    (void)layer;
    (void)index;
    (void)error;
    ret->out = *in;
    return CYX_OK;
}

static bool within_limit(const struct cyx_shape *shape)
{
    int64_t count = 1;
    for (int i = 0; i < shape->rank; i++)
        if (__builtin_mul_overflow(count, shape->dim[i], &count))
            return false;
    return count <= CYX_VALUE_ELEMENTS_LIMIT;
}

enum cyx_status graph_infer(const struct cyx_layer_spec *layer, size_t index,
                            const struct cyx_shape *in, struct layer_shape *ret_shape,
                            struct cyx_error *error)
{
    static enum cyx_status (*const infer[CYX_LAYER_TYPE_COUNT])(
        const struct cyx_layer_spec *, size_t, const struct cyx_shape *, struct layer_shape *,
        struct cyx_error *) = {
        [CYX_LAYER_LINEAR] = infer_linear,
        [CYX_LAYER_CONV2D] = infer_conv2d,
        [CYX_LAYER_MAX_POOL2D] = infer_max_pool2d,
        [CYX_LAYER_FLATTEN] = infer_flatten,
        [CYX_LAYER_RELU] = infer_same,
        [CYX_LAYER_DROPOUT] = infer_same,
    };
    char text[SHAPE_TEXT];
    *ret_shape = (struct layer_shape){0};
    enum cyx_status status = infer[layer->type](layer, index, in, ret_shape, error);
    if (status == CYX_OK && !within_limit(&ret_shape->out))
        return graph_fail(error, index,
                          "the output %s at batch %lld has more than %lld elements; make the layer "
                          "or the batch smaller",
                          shape_text(&ret_shape->out, text), (long long)in->dim[0],
                          (long long)CYX_VALUE_ELEMENTS_LIMIT);
    return status;
}

enum cyx_status graph_check_output(const struct cyx_job_spec *spec, const struct cyx_dataset *set,
                                   const struct cyx_shape *shape, struct cyx_error *error)
{
    char text[SHAPE_TEXT];
    if (shape->rank == 2 && shape->dim[1] == (int64_t)set->n_classes)
        return CYX_OK;
    const char *hint = shape->rank == 2 ? "the last Linear's out_features must be as many"
                                        : "end the model with Flatten and Linear";
    return graph_fail(error, spec->n_layers - 1,
                      "CrossEntropyLoss on %s expects (N, %zu), a logit for each class, got %s: %s",
                      set->name, set->n_classes, shape_text(shape, text), hint);
}
