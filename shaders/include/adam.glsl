// What Adam and AdamW share: the moments, and W -= lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps).
// f0 1 - beta1, f1 beta2, f2 1 - beta2, f3 eps. state0 exp_avg, state1 exp_avg_sq.
layout(binding = 5) buffer ExpAvg { vec4 exp_avg[]; };
layout(binding = 6) buffer ExpAvgSq { vec4 exp_avg_sq[]; };

void adam_step(Piece piece, uint i, vec4 w, vec4 g, float lr)
{
    vec4 m = exp_avg[piece.state0 + i];
    m += pc.f0 * (g - m);
    vec4 v = pc.f1 * exp_avg_sq[piece.state1 + i] + pc.f2 * g * g;
    vec4 denominator = sqrt(v) / scalars.bias_correction2_sqrt + pc.f3;
    exp_avg[piece.state0 + i] = m;
    exp_avg_sq[piece.state1 + i] = v;
    weight[piece.weight + i] = w - lr / scalars.bias_correction1 * (m / denominator);
}
