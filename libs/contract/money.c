#include "contract/money.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Appends a digit to a sum that is kept negative, since INT64_MIN has no positive twin. */
static bool push_digit(int64_t *sum, int digit)
{
    return !__builtin_mul_overflow(*sum, INT64_C(10), sum) &&
           !__builtin_sub_overflow(*sum, (int64_t)digit, sum);
}

/* Echoes the text only where it is short and printable, so that a message is never broken by it. */
static const char *echo(const char *text)
{
    size_t length = strnlen(text, 48);
    for (size_t i = 0; i < length; i++)
        if (text[i] < ' ' || text[i] > '~')
            return "something else";
    return length < 48 ? text : "a longer text";
}

static enum cyx_status not_an_amount(struct cyx_error *error, const char *text)
{
    return cyx_error_set(error, CYX_ERR_INVALID, NULL,
                         "expected an amount such as \"2.5 CYX\" with at most %d decimals, got %s",
                         CYX_MONEY_DECIMALS, *text ? echo(text) : "an empty text");
}

enum cyx_status cyx_money_parse(const char *text, int64_t *ret_base_units,
                                struct cyx_error *ret_error)
{
    const char *p = text;
    bool negative = *p == '-';
    p += negative;
    if (!is_digit(*p) || (*p == '0' && is_digit(p[1])))
        return not_an_amount(ret_error, text);

    int64_t sum = 0;
    bool fits = true;
    for (; is_digit(*p); p++)
        fits = fits && push_digit(&sum, *p - '0');

    int decimals = 0;
    if (*p == '.') {
        for (p++; is_digit(*p) && decimals <= CYX_MONEY_DECIMALS; p++, decimals++)
            fits = fits && push_digit(&sum, *p - '0');
        if (decimals == 0 || decimals > CYX_MONEY_DECIMALS)
            return not_an_amount(ret_error, text);
    }
    if (strcmp(p, " " CYX_MONEY_UNIT) != 0)
        return not_an_amount(ret_error, text);
    for (; decimals < CYX_MONEY_DECIMALS; decimals++)
        fits = fits && push_digit(&sum, 0);
    if (!fits || (!negative && sum == INT64_MIN))
        return cyx_error_set(ret_error, CYX_ERR_INVALID, NULL,
                             "expected at most 9223372036.854775807 CYX, got %s", echo(text));
    *ret_base_units = negative ? sum : -sum;
    return CYX_OK;
}

void cyx_money_format(int64_t base_units, char ret_text[CYX_MONEY_TEXT_BYTES])
{
    uint64_t amount = base_units < 0 ? -(uint64_t)base_units : (uint64_t)base_units;
    char digits
        [48]; /* a sign, 10 digits, the point and 9 digits; the compiler reckons with 20 and 20 */
    int length =
        snprintf(digits, sizeof(digits), "%s%" PRIu64 ".%09" PRIu64, base_units < 0 ? "-" : "",
                 amount / CYX_MONEY_ONE, amount % CYX_MONEY_ONE);
    while (digits[length - 1] == '0')
        length--;
    if (digits[length - 1] == '.')
        length--;
    snprintf(ret_text, CYX_MONEY_TEXT_BYTES, "%.*s " CYX_MONEY_UNIT, length, digits);
}
