#include "base/clock.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/banned.h"

int64_t cyx_clock_monotonic_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t cyx_clock_unix_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void cyx_time_format(int64_t unix_ms, char ret_text[CYX_TIME_TEXT_BYTES])
{
    int64_t ms = unix_ms % 1000;
    time_t seconds = (time_t)(unix_ms / 1000);
    if (ms < 0) {
        ms += 1000;
        seconds--;
    }
    struct tm utc;
    gmtime_r(&seconds, &utc);
    char whole[24];
    strftime(whole, sizeof(whole), "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(ret_text, CYX_TIME_TEXT_BYTES, "%s.%03dZ", whole, (int)ms);
}

static const char *parse_offset(const char *rest, int *ret_seconds)
{
    if (*rest == 'Z' || *rest == 'z') {
        *ret_seconds = 0;
        return rest + 1;
    }
    int hours = 0, minutes = 0, used = 0;
    if ((*rest != '+' && *rest != '-') ||
        sscanf(rest + 1, "%2d:%2d%n", &hours, &minutes, &used) != 2 || used != 5 || hours < 0 ||
        hours > 23 || minutes < 0 || minutes > 59)
        return NULL;
    *ret_seconds = (hours * 60 + minutes) * 60 * (*rest == '-' ? -1 : 1);
    return rest + 6;
}

enum cyx_status cyx_time_parse(const char *text, int64_t *ret_unix_ms)
{
    struct tm utc = {0};
    const char *rest = strptime(text, "%Y-%m-%d", &utc);
    if (!rest || (*rest != 'T' && *rest != 't'))
        return CYX_ERR_INVALID;
    rest = strptime(rest + 1, "%H:%M:%S", &utc);
    if (!rest)
        return CYX_ERR_INVALID;
    int ms = 0;
    if (*rest == '.') {
        int scale = 100, digits = 0;
        for (rest++; *rest >= '0' && *rest <= '9'; rest++, digits++, scale /= 10)
            ms += (*rest - '0') * scale;
        if (digits == 0)
            return CYX_ERR_INVALID;
    }
    int offset = 0;
    rest = parse_offset(rest, &offset);
    if (!rest || *rest)
        return CYX_ERR_INVALID;
    *ret_unix_ms = ((int64_t)timegm(&utc) - offset) * 1000 + ms;
    return CYX_OK;
}
