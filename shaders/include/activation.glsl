// Functions of an activation, good to a few units in the last place whatever the driver's own tanh and exp are worth
// far out: neither overflows nor cancels.

// struct cyx_activation in contract/job_spec.h
const uint LEAKY_RELU = 1u, GELU = 2u, GELU_TANH = 3u, SILU = 4u, SIGMOID = 5u, TANH = 6u;
layout(constant_id = 1) const uint FUNCTION = LEAKY_RELU;

float sigmoid(float x)
{
    float e = exp(-abs(x));
    return (x < 0.0 ? e : 1.0) / (1.0 + e);
}

// Near 0 Lambert's continued fraction (DLMF 4.39.1), cut where what is left out is below 2^-24 of it.
float tanh_of(float x)
{
    float e = exp(-2.0 * abs(x)), q = x * x;
    float small = x / (1.0 + q / (3.0 + q / (5.0 + q / (7.0 + q / 9.0))));
    float large = (1.0 - e) / (1.0 + e);
    return abs(x) < 0.55 ? small : x < 0.0 ? -large : large;
}

// The normal distribution's Φ(x) = (1 + erf(x / √2)) / 2. Near 0 by erf's Maclaurin series (DLMF 7.6.1); beyond by
// erfc(z) = exp(-z²) t P(t), t = 1 / (1 + z / 2), the form of Abramowitz and Stegun 7.1.26 with a longer P, fitted
// by Chebyshev interpolation for the least relative error over z in [0, 10], which is 4.2e-8: the tail keeps its
// relative precision, where 1 + erf would cancel.
float normal_cdf(float x)
{
    float z = abs(x) * 0.70710678118654752, q = z * z;
    if (z < 0.5) {
        float series = 1.0 + q * (-1.0 / 3.0 + q * (1.0 / 10.0 + q * (-1.0 / 42.0 + q * (1.0 / 216.0 +
                       q * (-1.0 / 1320.0 + q * (1.0 / 9360.0))))));
        return 0.5 + x * 0.39894228040143268 * series; // 1 / √(2π)
    }
    float t = 1.0 / (1.0 + 0.5 * z);
    float p = -0.05971491896;
    p = p * t + 0.2877683095;
    p = p * t - 0.4938636487;
    p = p * t + 0.2856977103;
    p = p * t - 0.03184175738;
    p = p * t + 0.2048536551;
    p = p * t + 0.242572893;
    p = p * t + 0.282445042;
    p = p * t + 0.2820826737;
    float tail = 0.5 * exp(-q) * t * p;
    return x < 0.0 ? tail : 1.0 - tail;
}

// GELU's approximation: x (1 + tanh u) / 2 = x sigmoid(2u), u = √(2/π) (x + 0.044715 x³).
float gelu_tanh_argument(float x)
{
    return 1.5957691216057308 * (x + 0.044715 * x * x * x); // 2u
}
