#include "page_guard.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/banned.h"

/* NULL when it is not there, or there more than once. */
static const char *only(const struct page_header *headers, size_t count, const char *name)
{
    const char *value = NULL;
    for (size_t i = 0; i < count; i++)
        if (strcasecmp(headers[i].name, name) == 0) {
            if (value)
                return NULL;
            value = headers[i].value;
        }
    return value;
}

static bool has(const struct page_header *headers, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcasecmp(headers[i].name, name) == 0)
            return true;
    return false;
}

bool page_host_is_ours(const struct page_header *headers, size_t count, uint16_t port)
{
    static const char *const names[] = {"localhost", "127.0.0.1", "[::1]"};
    const char *host = only(headers, count, "Host");
    for (size_t i = 0; host && i < sizeof(names) / sizeof(*names); i++) {
        char expected[32];
        snprintf(expected, sizeof(expected), "%s:%u", names[i], port);
        if (strcasecmp(host, expected) == 0)
            return true;
    }
    return false;
}

bool page_is_cross_site(const struct page_header *headers, size_t count)
{
    if (!has(headers, count, "Sec-Fetch-Site"))
        return false;
    const char *site = only(headers, count, "Sec-Fetch-Site");
    return !site || (strcmp(site, "same-origin") != 0 && strcmp(site, "none") != 0);
}

/* In a time that does not tell how much of it is right. */
static bool is_token(const char *given, const char *token)
{
    unsigned difference = 0;
    size_t length = strlen(token);
    if (!given || strlen(given) != length)
        return false;
    for (size_t i = 0; i < length; i++)
        difference |= (unsigned char)given[i] ^ (unsigned char)token[i];
    return difference == 0;
}

bool page_may_order(const struct page_header *headers, size_t count, const char *token)
{
    static const char scheme[] = "http://";
    const char *origin = only(headers, count, "Origin"), *host = only(headers, count, "Host");
    return origin && host && strncmp(origin, scheme, sizeof(scheme) - 1) == 0 &&
           strcasecmp(origin + sizeof(scheme) - 1, host) == 0 &&
           is_token(only(headers, count, "X-Page-Token"), token);
}
