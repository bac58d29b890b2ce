#include "http/target.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

#include "base/banned.h"

enum { MAX_PAIRS = 128 };

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Decodes %xx (and "+" in a query) in a copy; NULL for a malformed escape, an encoded NUL or no
 * memory. */
static char *decode(struct cyx_arena *arena, const char *from, size_t length, bool query)
{
    char *made = cyx_arena_alloc(arena, length + 1);
    size_t used = 0;
    for (size_t i = 0; made && i < length; i++) {
        char c = from[i];
        if (c == '%') {
            int high = i + 2 < length ? hex_digit(from[i + 1]) : -1;
            int low = i + 2 < length ? hex_digit(from[i + 2]) : -1;
            if (high < 0 || low < 0 || (high | low) == 0)
                return NULL;
            c = (char)(high << 4 | low);
            i += 2;
        } else if (c == '+' && query) {
            c = ' ';
        }
        made[used++] = c;
    }
    return made;
}

static enum cyx_status malformed(struct cyx_error *ret_error)
{
    return cyx_error_set(ret_error, CYX_ERR_INVALID, NULL,
                         "the request's target is malformed; percent-encode special characters");
}

/* Fills `segments` and `path`; `text` begins with a slash. */
static bool split_path(const char *text, size_t length, struct cyx_arena *arena,
                       struct cyx_target *target)
{
    char *path = cyx_arena_alloc(arena, length + 1);
    size_t used = 0;
    if (!path)
        return false;
    for (size_t at = 0; at < length;) {
        const char *segment = text + at + 1;
        const char *slash = memchr(segment, '/', length - at - 1);
        size_t size = slash ? (size_t)(slash - segment) : length - at - 1;
        char *decoded = decode(arena, segment, size, false);
        if (!decoded || strcmp(decoded, ".") == 0 || strcmp(decoded, "..") == 0)
            return false;
        path[used++] = '/';
        if (target->count <= CYX_ROUTER_MAX_SEGMENTS) {
            target->segments[target->count] = decoded;
            target->rests[target->count++] = path + used;
        }
        size_t decoded_length = strlen(decoded);
        memcpy(path + used, decoded, decoded_length);
        used += decoded_length;
        at += size + 1;
    }
    path[used] = '\0';
    target->path = path;
    if (target->count == 1 && !target->segments[0][0])
        target->count = 0; /* "/" has no segments */
    return true;
}

static bool split_query(const char *text, struct cyx_arena *arena, struct cyx_target *target)
{
    size_t count = 1;
    for (const char *c = text; *c; c++)
        count += *c == '&';
    target->query = cyx_arena_calloc(arena, count, sizeof(*target->query));
    if (!target->query || count > MAX_PAIRS)
        return false;
    for (const char *at = text; *at;) {
        const char *end = strchrnul(at, '&');
        const char *equals = memchr(at, '=', (size_t)(end - at));
        const char *name_end = equals ? equals : end;
        if (end > at) {
            struct cyx_http_pair *pair = &target->query[target->query_count++];
            pair->name = decode(arena, at, (size_t)(name_end - at), true);
            pair->value = equals ? decode(arena, equals + 1, (size_t)(end - equals - 1), true) : "";
            if (!pair->name || !pair->value)
                return false;
        }
        at = *end ? end + 1 : end;
    }
    return true;
}

enum cyx_status cyx_target_parse(const char *text, struct cyx_arena *arena,
                                 struct cyx_target *ret_target, struct cyx_error *ret_error)
{
    for (const unsigned char *c = (const unsigned char *)text; *c; c++)
        if (*c <= ' ' || *c == 0x7F || *c == '#')
            return malformed(ret_error);
    bool absolute = strncasecmp(text, "http://", 7) == 0 || strncasecmp(text, "https://", 8) == 0;
    if (absolute) {
        text = strchr(text, ':') + 3; /* absolute form (RFC 9112, 3.2.2): the Host header rules */
        text += strcspn(text, "/?");
    }
    *ret_target = (struct cyx_target){0};
    const char *query = strchr(text, '?');
    size_t length = query ? (size_t)(query - text) : strlen(text);
    if (length == 0 && absolute) {
        ret_target->path = "/";
    } else if (text[0] != '/' || !split_path(text, length, arena, ret_target)) {
        return malformed(ret_error);
    }
    if (query && !split_query(query + 1, arena, ret_target))
        return malformed(ret_error);
    return CYX_OK;
}

enum cyx_status cyx_cookies_parse(const char *text, struct cyx_arena *arena,
                                  struct cyx_http_pair **ret_pairs, size_t *ret_count)
{
    size_t count = 1, used = 0;
    for (const char *c = text; *c; c++)
        count += *c == ';';
    if (count > MAX_PAIRS)
        count = MAX_PAIRS;
    struct cyx_http_pair *pairs = cyx_arena_calloc(arena, count, sizeof(*pairs));
    if (!pairs)
        return CYX_ERR_NO_MEMORY;
    for (const char *at = text; *at && used < count;) {
        at += strspn(at, " \t");
        const char *end = strchrnul(at, ';');
        const char *equals = memchr(at, '=', (size_t)(end - at));
        if (equals && equals > at) {
            const char *from = equals + 1, *to = end;
            while (to > from && (to[-1] == ' ' || to[-1] == '\t'))
                to--;
            if (to - from >= 2 && *from == '"' && to[-1] == '"') {
                from++;
                to--;
            }
            pairs[used].name = cyx_arena_strndup(arena, at, (size_t)(equals - at));
            pairs[used].value = cyx_arena_strndup(arena, from, (size_t)(to - from));
            if (!pairs[used].name || !pairs[used].value)
                return CYX_ERR_NO_MEMORY;
            used++;
        }
        at = *end ? end + 1 : end;
    }
    *ret_pairs = pairs;
    *ret_count = used;
    return CYX_OK;
}
