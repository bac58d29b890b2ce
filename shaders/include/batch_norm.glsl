// What a channel's mean and sum of squared differences become; needs channel.glsl, and the buffers bound.
// Running statistics as torch.nn.BatchNorm: the variance that runs is the unbiased one.
void finish(uint c, float mean, float squares)
{
    float n = float(pc.count), variance = squares / n;
    m[c] = mean;
    r[c] = 1.0 / sqrt(variance + pc.eps);
    running_mean[c] += pc.momentum * (mean - running_mean[c]);
    running_var[c] += pc.momentum * (squares / max(n - 1.0, 1.0) - running_var[c]);
}
