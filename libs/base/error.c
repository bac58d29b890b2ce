#include "base/status.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"

#include "base/banned.h"

static const struct {
    const char *name;
    int http;
} statuses[CYX_STATUS_COUNT] = {
    [CYX_OK] = {"ok", 200},
    [CYX_ERR_INVALID] = {"invalid", 422},
    [CYX_ERR_UNAUTHENTICATED] = {"unauthenticated", 401},
    [CYX_ERR_DENIED] = {"denied", 403},
    [CYX_ERR_NOT_FOUND] = {"not-found", 404},
    [CYX_ERR_CONFLICT] = {"conflict", 409},
    [CYX_ERR_TOO_LARGE] = {"too-large", 413},
    [CYX_ERR_RATE_LIMITED] = {"rate-limited", 429},
    [CYX_ERR_UNSUPPORTED] = {"unsupported", 422},
    [CYX_ERR_CANCELLED] = {"cancelled", 409},
    [CYX_ERR_TIMEOUT] = {"timeout", 504},
    [CYX_ERR_UNAVAILABLE] = {"unavailable", 503},
    [CYX_ERR_CORRUPT] = {"corrupt", 500},
    [CYX_ERR_NO_MEMORY] = {"no-memory", 500},
    [CYX_ERR_IO] = {"io", 500},
    [CYX_ERR_INTERNAL] = {"internal", 500},
};

const char *cyx_status_name(enum cyx_status status)
{
    if ((unsigned)status >= CYX_STATUS_COUNT)
        return "internal";
    return statuses[status].name;
}

enum cyx_status cyx_status_from_name(const char *name)
{
    for (int i = 0; name && i < CYX_STATUS_COUNT; i++)
        if (strcmp(statuses[i].name, name) == 0)
            return (enum cyx_status)i;
    return CYX_ERR_INTERNAL;
}

int cyx_status_http(enum cyx_status status)
{
    if ((unsigned)status >= CYX_STATUS_COUNT)
        return 500;
    return statuses[status].http;
}

enum cyx_status cyx_error_set(struct cyx_error *self, enum cyx_status status, const char *pointer,
                              const char *format, ...)
{
    if (!self)
        return status;
    /* Formatted aside first: the arguments may point into `self`. */
    struct cyx_error made = {.status = status};
    snprintf(made.pointer, sizeof(made.pointer), "%s", pointer ? pointer : "");
    va_list args;
    va_start(args, format);
    vsnprintf(made.message, sizeof(made.message), format, args);
    va_end(args);
    cyx_text_clean(made.pointer);
    cyx_text_clean(made.message);
    *self = made;
    return status;
}

static enum cyx_status status_of_errno(int code)
{
    switch (code) {
    case ENOENT:
        return CYX_ERR_NOT_FOUND;
    case EACCES:
    case EPERM:
        return CYX_ERR_DENIED;
    case ENOMEM:
        return CYX_ERR_NO_MEMORY;
    default:
        return CYX_ERR_IO;
    }
}

enum cyx_status cyx_error_errno(struct cyx_error *self, const char *format, ...)
{
    int code = errno;
    char what[384];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof(what), format, args);
    va_end(args);
    char reason[96];
    return cyx_error_set(self, status_of_errno(code), NULL, "%s: %s", what,
                         strerror_r(code, reason, sizeof(reason)));
}
