/*
 * Two clocks: one to measure spans (never jumps), one to tell the time of day (UTC).
 * Thread-safe. Units are in the names.
 */
#ifndef CYX_BASE_CLOCK_H
#define CYX_BASE_CLOCK_H

#include <stdint.h>

#include "base/status.h"

enum { CYX_TIME_TEXT_BYTES = 32 };

/* Nanoseconds of CLOCK_MONOTONIC: for durations and deadlines within this process. */
int64_t cyx_clock_monotonic_ns(void);

/* Milliseconds since 1970-01-01T00:00:00Z. */
int64_t cyx_clock_unix_ms(void);

/* RFC 3339 in UTC with milliseconds, such as "2026-11-24T02:25:00.125Z". */
void cyx_time_format(int64_t unix_ms, char ret_text[CYX_TIME_TEXT_BYTES]);

/* Reads RFC 3339 (any offset, optional fraction). CYX_ERR_INVALID for anything else. */
enum cyx_status cyx_time_parse(const char *text, int64_t *ret_unix_ms);

#endif
