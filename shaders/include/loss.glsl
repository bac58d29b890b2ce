// Shared by the cross-entropy and its gradient. N rows, C classes, w class weights (1 where none are given); q is the
// target smoothed as PyTorch does: 1 - s on the target's class plus s / C on each. A row whose target is
// ignore_index, or no class at all, does not count.
// One workgroup a row. Needs `x` and `weight` bound. struct loss_push in nn/vulkan/lower_loss.c.
layout(push_constant) uniform Push {
    uint rows, classes;
    float smoothing;
    int ignore_index;
    uint weighted;
} pc;

bool row_counts(int target)
{
    return target != pc.ignore_index && target >= 0 && uint(target) < pc.classes;
}

float weight_of(uint c)
{
    return pc.weighted != 0u ? weight[c] : 1.0;
}

struct Row {
    Largest largest;
    float exp_sum; // of exp(x - largest)
    float sum;     // of w (x - largest); where the target is smoothed
    float weights; // of w; there too
};

Row read_row(uint base)
{
    Row row;
    row.largest = largest_of(base, pc.classes);
    row.sum = row.weights = 0.0;
    float exp_sum = 0.0, sum = 0.0, weights = 0.0;
    for (uint c = gl_LocalInvocationIndex; c < pc.classes; c += gl_WorkGroupSize.x) {
        float shifted = x[base + c] - row.largest.value;
        exp_sum += exp(shifted);
        sum += weight_of(c) * shifted;
        weights += weight_of(c);
    }
    row.exp_sum = reduce_sum(exp_sum);
    if (pc.smoothing > 0.0) {
        row.sum = reduce_sum(sum);
        row.weights = reduce_sum(weights);
    }
    return row;
}
