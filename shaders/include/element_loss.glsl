// Losses that are a mean over all elements, of x against t. Formulas as PyTorch's nn.functional of these names.

const uint MSE = 1u, L1 = 2u, SMOOTH_L1 = 3u, BCE_WITH_LOGITS = 4u; // enum cyx_loss_type in contract/job_spec.h
layout(constant_id = 1) const uint LOSS = MSE;

// log(1 + e) for e in [0, 1] as 2 artanh(e / (2 + e)): its series (DLMF 4.6.4 halved) keeps relative precision at both ends.
float log_1_plus(float e)
{
    float s = e / (2.0 + e), q = s * s;
    return 2.0 * s * (1.0 + q * (1.0 / 3.0 + q * (1.0 / 5.0 + q * (1.0 / 7.0 + q * (1.0 / 9.0 + q * (1.0 / 11.0 +
           q * (1.0 / 13.0 + q * (1.0 / 15.0))))))));
}

// `pos` is pos_weight, 1 where none is given.
float loss_of(float x, float t, float beta, float pos)
{
    float d = x - t, a = abs(d);
    switch (LOSS) {
    case L1:
        return a;
    case SMOOTH_L1:
        return a < beta ? 0.5 * a * a / beta : a - 0.5 * beta;
    case BCE_WITH_LOGITS: // (1 - t) x + (1 + (pos - 1) t) log(1 + exp(-x)), put so that nothing cancels
        return (x < 0.0 ? pos * t : 1.0 - t) * abs(x) + (1.0 + (pos - 1.0) * t) * log_1_plus(exp(-abs(x)));
    default:
        return d * d;
    }
}

float slope_of(float x, float t, float beta, float pos)
{
    float d = x - t, e = exp(-abs(x));
    switch (LOSS) {
    case L1:
        return sign(d);
    case SMOOTH_L1:
        return abs(d) < beta ? d / beta : sign(d);
    case BCE_WITH_LOGITS: // (1 - t) - (1 + (pos - 1) t) sigmoid(-x)
        return (1.0 - t) - (1.0 + (pos - 1.0) * t) * (x < 0.0 ? 1.0 : e) / (1.0 + e);
    default:
        return 2.0 * d;
    }
}
