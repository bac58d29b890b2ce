#include "payments.h"

#include "base/banned.h"

enum { MS_PER_HOUR = 3600000, PLATFORM_PARTS = 10 };

enum cyx_status cyx_payments_cost(int64_t price_per_hour_base_units, int64_t device_ms,
                                  int64_t budget_base_units, int64_t *ret_cost_base_units)
{
    if (price_per_hour_base_units < 0 || device_ms < 0 || budget_base_units < 0)
        return CYX_ERR_INVALID;
    __int128 cost = (__int128)price_per_hour_base_units * device_ms / MS_PER_HOUR;
    *ret_cost_base_units = cost > budget_base_units ? budget_base_units : (int64_t)cost;
    return CYX_OK;
}

struct cyx_payments_shares cyx_payments_split(int64_t cost_base_units)
{
    int64_t fee = cost_base_units / PLATFORM_PARTS;
    return (struct cyx_payments_shares){.node_base_units = cost_base_units - fee,
                                        .platform_base_units = fee};
}

static int64_t cost_of(const struct cyx_payments_work *work)
{
    int64_t cost = 0;
    (void)cyx_payments_cost(work->price_per_hour_base_units, work->device_ms, INT64_MAX, &cost);
    return cost;
}

enum cyx_status cyx_payments_cost_of_all(const struct cyx_payments_work *works, size_t count,
                                         int64_t budget_base_units, int64_t *ret_cost_base_units)
{
    __int128 sum = 0;
    for (size_t i = 0; i < count; i++) {
        if (works[i].price_per_hour_base_units < 0 || works[i].device_ms < 0)
            return CYX_ERR_INVALID;
        sum += cost_of(&works[i]);
    }
    if (budget_base_units < 0)
        return CYX_ERR_INVALID;
    *ret_cost_base_units = sum > budget_base_units ? budget_base_units : (int64_t)sum;
    return CYX_OK;
}

void cyx_payments_share_out(int64_t amount_base_units, struct cyx_payments_work *works,
                            size_t count)
{
    __int128 sum = 0, before = 0;
    int shift = 0; /* so that no product overflows, whatever the prices */
    for (size_t i = 0; i < count; i++)
        sum += cost_of(&works[i]);
    while (sum >> shift > INT64_MAX)
        shift++;
    sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += cost_of(&works[i]) >> shift;
    for (size_t i = 0; i < count; i++) {
        __int128 behind = before + (cost_of(&works[i]) >> shift);
        works[i].share_base_units = sum > 0 ? (int64_t)(amount_base_units * behind / sum) -
                                                  (int64_t)(amount_base_units * before / sum)
                                    : i == 0 ? amount_base_units
                                             : 0;
        before = behind;
    }
}
