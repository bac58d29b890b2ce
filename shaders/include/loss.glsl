// Shared by the three shaders of the cross-entropy. N rows, C classes; q is the target smoothed as PyTorch does:
// 1 - s on the target's class plus s / C on each. A row whose target lies outside [0, C) does not count
// (ignore_index -100).
layout(push_constant) uniform Push {
    uint rows, classes;
    float smoothing;
} pc;

bool row_counts(int target)
{
    return target >= 0 && uint(target) < pc.classes;
}
