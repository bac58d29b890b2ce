#include "http/private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/banned.h"

static const char *find(const struct cyx_http_pair *pairs, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(pairs[i].name, name) == 0)
            return pairs[i].value;
    return NULL;
}

const char *cyx_http_param(const struct cyx_http_request *self, const char *name)
{
    return find(self->params, self->param_count, name);
}

const char *cyx_http_query(const struct cyx_http_request *self, const char *name)
{
    return find(self->query, self->query_count, name);
}

const char *cyx_http_cookie(const struct cyx_http_request *self, const char *name)
{
    return find(self->cookies, self->cookie_count, name);
}

const char *cyx_http_header(const struct cyx_http_request *self, const char *name)
{
    for (size_t i = 0; i < self->header_count; i++)
        if (strcasecmp(self->headers[i].name, name) == 0)
            return self->headers[i].value;
    return NULL;
}

const char *cyx_http_bearer(const struct cyx_http_request *self)
{
    const char *value = cyx_http_header(self, "Authorization");
    if (!value || strncasecmp(value, "Bearer ", 7) != 0)
        return NULL;
    value += 7;
    while (*value == ' ')
        value++;
    return *value ? value : NULL;
}

enum cyx_status cyx_http_query_int(const struct cyx_http_request *self, const char *name,
                                   int64_t minimum, int64_t maximum, int64_t fallback,
                                   int64_t *ret_value, struct cyx_error *ret_error)
{
    const char *text = cyx_http_query(self, name);
    if (!text) {
        *ret_value = fallback;
        return CYX_OK;
    }
    char *end = NULL;
    errno = 0;
    int64_t value = strtoll(text, &end, 10);
    if (errno || end == text || *end || value < minimum || value > maximum ||
        (*text != '-' && (*text < '0' || *text > '9')))
        return cyx_error_set(ret_error, CYX_ERR_INVALID, NULL,
                             "the query's \"%s\" must be a whole number from %" PRId64
                             " to %" PRId64,
                             name, minimum, maximum);
    *ret_value = value;
    return CYX_OK;
}

size_t cyx_span(const char *text, const char *others)
{
    const char *c = text;
    while ((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') ||
           (*c && strchr(others, *c)))
        c++;
    return (size_t)(c - text);
}

bool cyx_is_token(const char *text)
{
    return *text && text[cyx_span(text, "-_.!#$%&'*+^`|~")] == '\0';
}
