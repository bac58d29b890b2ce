#include "http/router.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

enum kind { LITERAL, NAME, REST };

struct endpoint {
    struct endpoint *next;
    const struct cyx_http_route *route;
    void *ctx;
};

struct cyx_router_node {
    struct cyx_router_node *next, *children;
    enum kind kind;
    char *text; /* the literal, or the parameter's name */
    struct endpoint *endpoints;
};

static void free_node(struct cyx_router_node *node)
{
    while (node) {
        struct cyx_router_node *next = node->next;
        free_node(node->children); /* at most as deep as a route has segments */
        while (node->endpoints) {
            struct endpoint *endpoint = node->endpoints;
            node->endpoints = endpoint->next;
            free(endpoint);
        }
        free(node->text);
        free(node);
        node = next;
    }
}

void cyx_router_finish(struct cyx_router *self)
{
    free_node(self->root);
    self->root = NULL;
}

/* The child for one segment of a pattern, made where it is missing; children stay ordered by kind.
 */
static struct cyx_router_node *child_for(struct cyx_router_node *parent, enum kind kind,
                                         const char *text, size_t length)
{
    struct cyx_router_node **at = &parent->children;
    while (*at && (*at)->kind < kind)
        at = &(*at)->next;
    for (; *at && (*at)->kind == kind; at = &(*at)->next)
        if (strlen((*at)->text) == length && memcmp((*at)->text, text, length) == 0)
            return *at;
    struct cyx_router_node *made = calloc(1, sizeof(*made));
    char *copy = strndup(text, length);
    if (!made || !copy) {
        free(made);
        free(copy);
        return NULL;
    }
    made->kind = kind;
    made->text = copy;
    made->next = *at;
    *at = made;
    return made;
}

/* What a segment of a pattern is; false for braces in the wrong place. */
static bool classify(const char *segment, size_t length, bool last, enum kind *ret_kind,
                     const char **ret_text, size_t *ret_length)
{
    bool braces = memchr(segment, '{', length) || memchr(segment, '}', length);
    *ret_kind = LITERAL;
    *ret_text = segment;
    *ret_length = length;
    if (!braces)
        return true;
    if (length < 3 || segment[0] != '{' || segment[length - 1] != '}')
        return false;
    bool rest = segment[length - 2] == '*';
    *ret_kind = rest ? REST : NAME;
    *ret_text = segment + 1;
    *ret_length = length - 2 - (rest ? 1 : 0);
    return *ret_length > 0 && !memchr(*ret_text, '{', *ret_length) && (!rest || last);
}

static enum cyx_status walk_pattern(struct cyx_router *self, const struct cyx_http_route *route,
                                    struct cyx_router_node **ret_node, struct cyx_error *ret_error)
{
    struct cyx_router_node *node = self->root;
    size_t depth = 0;
    for (const char *at = strcmp(route->path, "/") == 0 ? "" : route->path; *at;) {
        const char *segment = at + 1, *end = strchrnul(segment, '/'), *text = NULL;
        size_t length = 0;
        enum kind kind = LITERAL;
        if (*at != '/' || ++depth > CYX_ROUTER_MAX_SEGMENTS ||
            !classify(segment, (size_t)(end - segment), !*end, &kind, &text, &length))
            return cyx_error_set(ret_error, CYX_ERR_INVALID, NULL,
                                 "route %s %s: segments must be literal, {name} or a last {name*}",
                                 route->method, route->path);
        node = child_for(node, kind, text, length);
        if (!node)
            return cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL, "no memory for a route");
        at = end;
    }
    *ret_node = node;
    return CYX_OK;
}

enum cyx_status cyx_router_add(struct cyx_router *self, const struct cyx_http_route *route,
                               void *ctx, struct cyx_error *ret_error)
{
    if (!route->method || !route->path || route->path[0] != '/' ||
        (!route->handler && !route->websocket))
        return cyx_error_set(ret_error, CYX_ERR_INVALID, NULL,
                             "a route needs a method, a path that begins with / and a handler");
    if (!self->root)
        self->root = calloc(1, sizeof(*self->root));
    struct endpoint *made = calloc(1, sizeof(*made));
    struct cyx_router_node *node = NULL;
    enum cyx_status status = self->root && made
                                 ? walk_pattern(self, route, &node, ret_error)
                                 : cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL, "no memory");
    if (status != CYX_OK || !node || !made) {
        free(made);
        return status;
    }
    for (struct endpoint *known = node->endpoints; known; known = known->next) {
        if (strcmp(known->route->method, route->method) == 0) {
            free(made);
            return cyx_error_set(ret_error, CYX_ERR_CONFLICT, NULL, "route %s %s is there already",
                                 route->method, route->path);
        }
    }
    *made = (struct endpoint){.next = node->endpoints, .route = route, .ctx = ctx};
    node->endpoints = made;
    return CYX_OK;
}

struct search {
    const char *const *segments, *const *rests;
    size_t count;
    struct cyx_router_match *match;
};

static const struct cyx_router_node *search_node(struct search *self,
                                                 const struct cyx_router_node *node, size_t depth)
{
    if (depth == self->count)
        return node->endpoints ? node : NULL;
    for (const struct cyx_router_node *child = node->children; child; child = child->next) {
        if (child->kind == LITERAL && strcmp(child->text, self->segments[depth]) != 0)
            continue;
        if (child->kind == NAME && !self->segments[depth][0])
            continue;
        size_t params = self->match->param_count;
        if (child->kind != LITERAL)
            self->match->params[self->match->param_count++] = (struct cyx_http_pair){
                .name = child->text,
                .value = child->kind == REST ? self->rests[depth] : self->segments[depth]};
        const struct cyx_router_node *found =
            child->kind == REST ? child : search_node(self, child, depth + 1);
        if (found)
            return found;
        self->match->param_count = params;
    }
    return NULL;
}

static void add_allowed(char *allow, const char *method)
{
    size_t used = strlen(allow);
    snprintf(allow + used, CYX_ROUTER_ALLOW_BYTES - used, "%s%s", used ? ", " : "", method);
}

enum cyx_status cyx_router_find(const struct cyx_router *self, const char *method,
                                const char *const *segments, const char *const *rests, size_t count,
                                struct cyx_router_match *ret_match)
{
    ret_match->param_count = 0;
    ret_match->route = NULL;
    ret_match->allow[0] = '\0';
    struct search search = {segments, rests, count, ret_match};
    const struct cyx_router_node *node =
        self->root && count <= CYX_ROUTER_MAX_SEGMENTS ? search_node(&search, self->root, 0) : NULL;
    if (!node)
        return CYX_ERR_NOT_FOUND;
    bool head = strcmp(method, "HEAD") == 0, has_head = false, has_get = false;
    for (const struct endpoint *e = node->endpoints; e; e = e->next) {
        bool get = strcmp(e->route->method, "GET") == 0;
        bool same = strcmp(e->route->method, method) == 0;
        has_get = has_get || get;
        has_head = has_head || strcmp(e->route->method, "HEAD") == 0;
        if (same || (head && get && !ret_match->route)) {
            ret_match->route = e->route;
            ret_match->ctx = e->ctx;
        }
        add_allowed(ret_match->allow, e->route->method);
    }
    if (has_get && !has_head)
        add_allowed(ret_match->allow, "HEAD");
    return CYX_OK;
}
