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
