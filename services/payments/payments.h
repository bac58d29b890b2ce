/*
 * The money rules: what a job costs, how a cost is shared, what an account starts with. Pure arithmetic on
 * signed 64-bit base units (contract/money.h); no SQL, no messages. Any thread.
 */
#ifndef CYX_PAYMENTS_PAYMENTS_H
#define CYX_PAYMENTS_PAYMENTS_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* What a new account gets from `external` in the embedded default: 1000 CYX. */
#define CYX_PAYMENTS_WELCOME_BASE_UNITS (INT64_C(1000) * 1000000000)

struct cyx_payments_shares {
    int64_t node_base_units, platform_base_units;
};

/*
 * price per hour x device time / 3,600,000 ms, rounded down, at most the budget. All inputs 0 or more;
 * CYX_ERR_INVALID otherwise.
 */
enum cyx_status cyx_payments_cost(int64_t price_per_hour_base_units, int64_t device_ms,
                                  int64_t budget_base_units, int64_t *ret_cost_base_units);

/* What one of several nodes did for a job. */
struct cyx_payments_work {
    int64_t price_per_hour_base_units, device_ms;
    int64_t share_base_units; /* by cyx_payments_share_out() */
};

/* The costs of all, each rounded down, together at most the budget. CYX_ERR_INVALID as cyx_payments_cost(). */
enum cyx_status cyx_payments_cost_of_all(const struct cyx_payments_work *works, size_t count,
                                         int64_t budget_base_units, int64_t *ret_cost_base_units);

/*
 * Divides the nodes' part of a cost among them by what each one's own cost is: the first k get the k costs' part of it,
 * rounded down, so that all shares sum to it exactly and none is below 0. Where no work costs anything, the first gets all.
 */
void cyx_payments_share_out(int64_t amount_base_units, struct cyx_payments_work *works,
                            size_t count);

/* 10 % for the platform, rounded down; the node gets the rest, so that the two sum to the cost. */
struct cyx_payments_shares cyx_payments_split(int64_t cost_base_units);

#endif
