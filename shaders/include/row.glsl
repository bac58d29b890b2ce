// One workgroup a row: largest logit (first when equal), the sum of exponentials and the sum of logits, each
// reduced over the workgroup in a fixed order. Needs loss.glsl and `x` bound.
shared float row_value[gl_WorkGroupSize.x];
shared uint row_index[gl_WorkGroupSize.x];

struct Row {
    float largest;
    uint largest_at;
    float exp_sum; // of exp(x - largest)
    float sum;     // of x - largest
};

void reduce_largest()
{
    uint t = gl_LocalInvocationIndex;
    for (uint step = gl_WorkGroupSize.x / 2u; step > 0u; step /= 2u) {
        barrier();
        if (t < step) {
            float other = row_value[t + step];
            uint other_at = row_index[t + step];
            if (other > row_value[t] || (other == row_value[t] && other_at < row_index[t])) {
                row_value[t] = other;
                row_index[t] = other_at;
            }
        }
    }
    barrier();
}

float reduce_sum(float mine)
{
    uint t = gl_LocalInvocationIndex;
    barrier();
    row_value[t] = mine;
    for (uint step = gl_WorkGroupSize.x / 2u; step > 0u; step /= 2u) {
        barrier();
        if (t < step)
            row_value[t] += row_value[t + step];
    }
    barrier();
    return row_value[0];
}

Row read_row(uint base)
{
    uint t = gl_LocalInvocationIndex;
    float largest = -3.402823466e38;
    uint at = 0xffffffffu;
    for (uint c = t; c < pc.classes; c += gl_WorkGroupSize.x) {
        float value = x[base + c];
        if (value > largest || at == 0xffffffffu) {
            largest = value;
            at = c;
        }
    }
    row_value[t] = largest;
    row_index[t] = at;
    reduce_largest();
    Row row;
    row.largest = row_value[0];
    row.largest_at = row_index[0];
    float exp_sum = 0.0, sum = 0.0;
    for (uint c = t; c < pc.classes; c += gl_WorkGroupSize.x) {
        float shifted = x[base + c] - row.largest;
        exp_sum += exp(shifted);
        sum += shifted;
    }
    row.exp_sum = reduce_sum(exp_sum);
    row.sum = reduce_sum(sum);
    return row;
}
