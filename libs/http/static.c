#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/banned.h"
#include "http/private.h"

static const char immutable[] = "public, max-age=31536000, immutable";
static const char revalidate[] = "no-cache";

static void free_mount(struct cyx_mount *mount)
{
    if (!mount)
        return;
    free(mount->prefix);
    free(mount->folder);
    free(mount->fallback);
    free(mount->except);
    free(mount);
}

enum cyx_status cyx_http_server_mount(struct cyx_http_server *self,
                                      const struct cyx_http_static *mount,
                                      struct cyx_error *ret_error)
{
    struct stat found;
    if (!mount->prefix || mount->prefix[0] != '/' || !mount->folder)
        return cyx_error_set(ret_error, CYX_ERR_INVALID, NULL,
                             "a mount needs a prefix that begins with / and a folder");
    if (stat(mount->folder, &found) != 0)
        return cyx_error_errno(ret_error, "cannot serve %s", mount->folder);
    if (!S_ISDIR(found.st_mode))
        return cyx_error_set(ret_error, CYX_ERR_INVALID, NULL, "%s is no folder", mount->folder);
    struct cyx_mount *made = calloc(1, sizeof(*made));
    size_t length = strlen(mount->prefix);
    while (length && mount->prefix[length - 1] == '/')
        length--;
    if (made) {
        made->prefix = strndup(mount->prefix, length);
        made->folder = strdup(mount->folder);
        made->fallback = mount->fallback ? strdup(mount->fallback) : NULL;
        made->except = mount->except ? strdup(mount->except) : NULL;
    }
    if (!made || !made->prefix || !made->folder || (mount->fallback && !made->fallback) ||
        (mount->except && !made->except)) {
        free_mount(made);
        return cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL, "no memory for a mount");
    }
    struct cyx_mount **at = &self->mounts; /* longest prefix first */
    while (*at && strlen((*at)->prefix) >= length)
        at = &(*at)->next;
    made->next = *at;
    *at = made;
    return CYX_OK;
}

void cyx_mounts_destroy(struct cyx_mount *mounts)
{
    while (mounts) {
        struct cyx_mount *next = mounts->next;
        free_mount(mounts);
        mounts = next;
    }
}

static bool looks_hashed(const char *text, size_t length)
{
    bool letter = false, mixed = false;
    for (size_t i = 0; i < length; i++) {
        bool lower = text[i] >= 'a' && text[i] <= 'z', upper = text[i] >= 'A' && text[i] <= 'Z';
        bool digit = text[i] >= '0' && text[i] <= '9';
        if (!lower && !upper && !digit && text[i] != '_' && text[i] != '-')
            return false;
        letter = letter || lower || upper;
        mixed = mixed || upper || digit;
    }
    return letter && mixed;
}

/* Bundlers' names with a hash, name-0a1B_c3d.js: behind the last "-" or "." eight characters (which
 * may hold a "-" of base64url) or more of letters and digits, not all of one kind. */
static bool has_hash(const char *path)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    const char *dot = strrchr(name, '.'), *at = dot;
    if (!dot || dot == name)
        return false;
    if (dot - name > 9 && strchr("-.", dot[-9]) && looks_hashed(dot - 8, 8))
        return true;
    while (at > name && at[-1] != '-' && at[-1] != '.')
        at--;
    return at > name && dot - at >= 8 && dot - at <= 64 && looks_hashed(at, (size_t)(dot - at));
}

static bool accepts(const struct cyx_http_request *request, const char *coding)
{
    const char *list = cyx_http_header(request, "Accept-Encoding");
    size_t length = strlen(coding);
    for (const char *at = list; at && *at;) {
        at += strspn(at, " \t,");
        size_t size = strcspn(at, ",; \t");
        const char *end = strchrnul(at, ',');
        const char *weight = at + size + strspn(at + size, " \t;");
        bool refused = strncmp(weight, "q=0", 3) == 0 &&
                       strspn(weight + 2, "0.") == strcspn(weight + 2, ", \t");
        if (size == length && strncasecmp(at, coding, size) == 0)
            return !refused;
        at = end;
    }
    return false;
}

/* No segment may begin with a dot: that covers "..", ".git" and the like. */
static bool is_public(const struct cyx_target *target)
{
    for (size_t i = 0; i < target->count; i++)
        if (target->segments[i][0] == '.' || strchr(target->segments[i], '/'))
            return false;
    return target->count <= CYX_ROUTER_MAX_SEGMENTS;
}

/* Answers with one file, taking a .br or .gz beside it; CYX_ERR_NOT_FOUND when it is not there. */
static enum cyx_status answer_file(struct cyx_exchange *self, const char *path, const char *cache)
{
    static const struct {
        const char *suffix, *coding;
    } forms[] = {{".br", "br"}, {".gz", "gzip"}, {"", NULL}};
    struct cyx_http_file file = {.content_type = cyx_mime_type(path), .cache_control = cache};
    enum cyx_status status = CYX_ERR_NOT_FOUND;
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        if (forms[i].coding && !accepts(&self->request, forms[i].coding))
            continue;
        char *form = cyx_arena_printf(&self->arena, "%s%s", path, forms[i].suffix);
        struct stat found;
        if (!form || (forms[i].coding && stat(form, &found) != 0))
            continue;
        status = cyx_http_respond_file(&self->response, &self->request, form, &file);
        if (status == CYX_ERR_NOT_FOUND)
            continue;
        if (forms[i].coding && status == CYX_OK && self->response.status != 304)
            cyx_http_response_header(&self->response, "Content-Encoding", forms[i].coding);
        cyx_http_response_header(&self->response, "Vary", "Accept-Encoding");
        return status;
    }
    return status;
}

static bool under(const char *path, const char *prefix)
{
    size_t length = strlen(prefix);
    return strncmp(path, prefix, length) == 0 &&
           (!path[length] || path[length] == '/' || (length && prefix[length - 1] == '/'));
}

static enum cyx_status answer_mount(struct cyx_exchange *self, const struct cyx_mount *mount)
{
    const char *rest = self->request.path + strlen(mount->prefix);
    size_t length = strlen(rest);
    bool folder = length == 0 || rest[length - 1] == '/';
    char *path = cyx_arena_printf(&self->arena, "%s%s%s", mount->folder, rest,
                                  folder ? (length ? "index.html" : "/index.html") : "");
    if (!path)
        return CYX_ERR_NO_MEMORY;
    enum cyx_status status = answer_file(self, path, has_hash(path) ? immutable : revalidate);
    const char *slash = strrchr(rest, '/');
    bool names_file = slash && strchr(slash, '.');
    if (status != CYX_ERR_NOT_FOUND || !mount->fallback || names_file ||
        (mount->except && under(self->request.path, mount->except)))
        return status;
    path = cyx_arena_printf(&self->arena, "%s/%s", mount->folder, mount->fallback);
    return path ? answer_file(self, path, revalidate) : CYX_ERR_NO_MEMORY;
}

bool cyx_static_answer(struct cyx_exchange *self)
{
    const char *method = self->request.method;
    if (!self->server->mounts || !is_public(&self->target))
        return false;
    bool get = strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;
    for (const struct cyx_mount *mount = self->server->mounts; mount; mount = mount->next) {
        if (!under(self->request.path, mount->prefix))
            continue;
        enum cyx_status status = answer_mount(self, mount);
        if (status == CYX_ERR_NOT_FOUND)
            continue;
        if (!get) {
            cyx_response_reset(&self->response);
            cyx_http_response_header(&self->response, "Allow", "GET, HEAD");
            cyx_exchange_refuse(self, 405, CYX_ERR_UNSUPPORTED,
                                "this path takes GET and HEAD only");
        } else if (status != CYX_OK) {
            struct cyx_error error = self->response.error;
            cyx_exchange_refuse(self, self->response.error_http, status, error.message);
        }
        return true;
    }
    return false;
}
