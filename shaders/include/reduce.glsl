// Sums and largest values over a workgroup, in a fixed order: a tree in shared memory. The workgroup's size is a power
// of two, and every invocation of it must take part.
shared float reduce_value[gl_WorkGroupSize.x];

float reduce_sum(float mine)
{
    uint t = gl_LocalInvocationIndex;
    barrier(); // what was read of the reduction before is read
    reduce_value[t] = mine;
    for (uint step = gl_WorkGroupSize.x / 2u; step > 0u; step /= 2u) {
        barrier();
        if (t < step)
            reduce_value[t] += reduce_value[t + step];
    }
    barrier();
    return reduce_value[0];
}

float reduce_max(float mine)
{
    uint t = gl_LocalInvocationIndex;
    barrier();
    reduce_value[t] = mine;
    for (uint step = gl_WorkGroupSize.x / 2u; step > 0u; step /= 2u) {
        barrier();
        if (t < step)
            reduce_value[t] = max(reduce_value[t], reduce_value[t + step]);
    }
    barrier();
    return reduce_value[0];
}
