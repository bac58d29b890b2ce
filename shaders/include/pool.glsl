// What pooling and its gradients know of the window; struct pool_push in nn/vulkan/lower_pool.c.
layout(push_constant) uniform Push {
    uint count; // elements of the output
    int h, w, oh, ow;
    int kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w, pad_h, pad_w;
    int pad_end_h, pad_end_w;
    uint count_include_pad; // averages alone
} pc;

// First output whose window may reach input position p (padding included), for window extent `reach`.
int first_window(int p, int reach, int stride)
{
    return p < reach ? 0 : (p - reach) / stride + 1;
}

// A window of an average: [begin, end) of the input, and how many elements its mean divides by.
struct Window {
    int h_begin, h_end, w_begin, w_end;
    float divisor;
};

Window window_of(int oh, int ow)
{
    int h = oh * pc.stride_h - pc.pad_h, w = ow * pc.stride_w - pc.pad_w;
    int h_end = min(h + pc.kernel_h, pc.h + pc.pad_end_h), w_end = min(w + pc.kernel_w, pc.w + pc.pad_end_w);
    int with_padding = (h_end - h) * (w_end - w);
    Window window = Window(max(h, 0), min(h_end, pc.h), max(w, 0), min(w_end, pc.w), 0.0);
    int inside = (window.h_end - window.h_begin) * (window.w_end - window.w_begin);
    window.divisor = float(pc.count_include_pad != 0u ? with_padding : inside);
    return window;
}
