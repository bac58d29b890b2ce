// What MaxPool2d and its gradient know of the window; struct pool_push in nn/vulkan/lower_simple.c.
layout(push_constant) uniform Push {
    uint count; // invocations: elements of y, or of dx
    int h, w, oh, ow;
    int kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w, pad_h, pad_w;
} pc;
