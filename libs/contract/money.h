/*
 * Token amounts: text such as "12.5 CYX" to and from a signed 64-bit count of base units (1 CYX is
 * 10^9). Exact both ways, never through a float. Pure: any thread. Nothing to free.
 *
 *     int64_t budget_base_units = 0;
 *     if (cyx_money_parse("2.5 CYX", &budget_base_units, &err) != CYX_OK) …
 *     char text[CYX_MONEY_TEXT_BYTES];
 *     cyx_money_format(budget_base_units, text);
 */
#ifndef CYX_CONTRACT_MONEY_H
#define CYX_CONTRACT_MONEY_H

#include <stdint.h>

#include "base/status.h"

#define CYX_MONEY_UNIT "CYX"

enum {
    CYX_MONEY_DECIMALS = 9,
    CYX_MONEY_TEXT_BYTES = 32, /* the longest is "-9223372036.854775808 CYX" */
};

#define CYX_MONEY_ONE INT64_C(1000000000) /* base units of 1 CYX */

/*
 * Reads an optional "-", digits without leading zeros, an optional fraction of 1 to 9 digits, one
 * space and "CYX". CYX_ERR_INVALID for anything else and for what does not fit 64 bits; the pointer
 * is left empty.
 */
enum cyx_status cyx_money_parse(const char *text, int64_t *ret_base_units,
                                struct cyx_error *ret_error);

/* The shortest text that cyx_money_parse() reads back as `base_units`. */
void cyx_money_format(int64_t base_units, char ret_text[CYX_MONEY_TEXT_BYTES]);

#endif
