// The largest of a row of x[] over a workgroup, the first when equal. Needs `x` bound.
shared float largest_value[gl_WorkGroupSize.x];
shared uint largest_index[gl_WorkGroupSize.x];

struct Largest {
    float value;
    uint at;
};

Largest largest_of(uint base, uint length)
{
    uint t = gl_LocalInvocationIndex, at = 0xffffffffu;
    float largest = -3.402823466e38;
    for (uint i = t; i < length; i += gl_WorkGroupSize.x) {
        float value = x[base + i];
        if (value > largest || at == 0xffffffffu) {
            largest = value;
            at = i;
        }
    }
    largest_value[t] = largest;
    largest_index[t] = at;
    for (uint step = gl_WorkGroupSize.x / 2u; step > 0u; step /= 2u) {
        barrier();
        if (t < step) {
            float other = largest_value[t + step];
            uint other_at = largest_index[t + step];
            if (other > largest_value[t] || (other == largest_value[t] && other_at < largest_index[t])) {
                largest_value[t] = other;
                largest_index[t] = other_at;
            }
        }
    }
    barrier();
    return Largest(largest_value[0], largest_index[0]);
}
