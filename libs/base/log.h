/*
 * Structured logs: one JSON object a line on standard error, or coloured text when that is a terminal.
 *
 * Library code logs at debug only; who handles an error logs it once, with the request id, never a secret.
 * Thread-safe: a line is one write. The level is the one global that the conventions allow.
 *
 *     cyx_log(CYX_LOG_INFO, "job assigned", CYX_STR("job_id", id), CYX_INT("attempt", n));
 */
#ifndef CYX_BASE_LOG_H
#define CYX_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum cyx_log_level { CYX_LOG_DEBUG, CYX_LOG_INFO, CYX_LOG_WARN, CYX_LOG_ERROR };

enum cyx_log_kind { CYX_LOG_END, CYX_LOG_STRING, CYX_LOG_INTEGER, CYX_LOG_NUMBER };

struct cyx_log_field {
    enum cyx_log_kind kind;
    const char *key;
    const char *string; /* NULL is written as null */
    int64_t integer;
    double number;
};

#define CYX_STR(k, v)                                                                              \
    {                                                                                              \
        .kind = CYX_LOG_STRING, .key = (k), .string = (v)                                          \
    }
#define CYX_INT(k, v)                                                                              \
    {                                                                                              \
        .kind = CYX_LOG_INTEGER, .key = (k), .integer = (int64_t)(v)                               \
    }
#define CYX_NUM(k, v)                                                                              \
    {                                                                                              \
        .kind = CYX_LOG_NUMBER, .key = (k), .number = (double)(v)                                  \
    }

#define cyx_log(level, message, ...)                                                               \
    cyx_log_write((level), (message),                                                              \
                  (const struct cyx_log_field[]){__VA_ARGS__ __VA_OPT__(, ){.kind = CYX_LOG_END}})

void cyx_log_write(enum cyx_log_level level, const char *message,
                   const struct cyx_log_field *fields);

/* The name that stands in every line as "service"; kept by pointer. Call once, before threads start. */
void cyx_log_set_service(const char *name);

void cyx_log_set_level(enum cyx_log_level level);

/* "debug", "info", "warn" or "error"; false and unchanged for anything else. */
bool cyx_log_level_parse(const char *text, enum cyx_log_level *ret_level);

#endif
