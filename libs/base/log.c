#include "base/log.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"

#include "base/banned.h"

static const char *const level_names[] = {"debug", "info", "warn", "error"};
static _Atomic int current_level = CYX_LOG_INFO;
static const char *service_name = "cyxwiz";

void cyx_log_set_service(const char *name)
{
    service_name = name;
}

void cyx_log_set_level(enum cyx_log_level level)
{
    atomic_store(&current_level, (int)level);
}

bool cyx_log_level_parse(const char *text, enum cyx_log_level *ret_level)
{
    for (int i = 0; i < 4; i++) {
        if (text && strcmp(text, level_names[i]) == 0) {
            *ret_level = (enum cyx_log_level)i;
            return true;
        }
    }
    return false;
}

static void append_value(struct cyx_buf *line, const struct cyx_log_field *field)
{
    if (field->kind == CYX_LOG_INTEGER)
        cyx_buf_printf(line, "%lld", (long long)field->integer);
    else if (field->kind == CYX_LOG_NUMBER && isfinite(field->number))
        cyx_buf_printf(line, "%.9g", field->number);
    else if (field->kind == CYX_LOG_STRING && field->string)
        cyx_buf_json_string(line, field->string);
    else
        cyx_buf_puts(line, "null");
}

static void format_json(struct cyx_buf *line, enum cyx_log_level level, const char *message,
                        const struct cyx_log_field *fields)
{
    char time[CYX_TIME_TEXT_BYTES];
    cyx_time_format(cyx_clock_unix_ms(), time);
    cyx_buf_printf(line, "{\"time\":\"%s\",\"level\":\"%s\",\"service\":", time,
                   level_names[level]);
    cyx_buf_json_string(line, service_name);
    cyx_buf_puts(line, ",\"message\":");
    cyx_buf_json_string(line, message);
    for (; fields->kind != CYX_LOG_END; fields++) {
        cyx_buf_puts(line, ",");
        cyx_buf_json_string(line, fields->key);
        cyx_buf_puts(line, ":");
        append_value(line, fields);
    }
    cyx_buf_puts(line, "}\n");
}

static void format_text(struct cyx_buf *line, enum cyx_log_level level, const char *message,
                        const struct cyx_log_field *fields)
{
    static const char *const colours[] = {"\033[2m", "", "\033[33m", "\033[31m"};
    cyx_buf_printf(line, "%s%s%s: %s", colours[level], service_name,
                   level >= CYX_LOG_WARN ? level == CYX_LOG_WARN ? " warning" : " error" : "",
                   message);
    for (; fields->kind != CYX_LOG_END; fields++) {
        cyx_buf_printf(line, " %s=", fields->key);
        append_value(line, fields);
    }
    cyx_buf_puts(line, "\033[0m\n");
}

void cyx_log_write(enum cyx_log_level level, const char *message,
                   const struct cyx_log_field *fields)
{
    if ((int)level < atomic_load(&current_level))
        return;
    CYX_CLEANUP_BUF struct cyx_buf line = {0};
    if (isatty(STDERR_FILENO))
        format_text(&line, level, message, fields);
    else
        format_json(&line, level, message, fields);
    if (!line.failed && write(STDERR_FILENO, line.data, line.length) < 0)
        return; /* nowhere left to say so */
}
