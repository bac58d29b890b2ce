/* What every response carries: security headers, CORS for the origins that were named, metrics and the log. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "api.h"
#include "base/clock.h"
#include "base/log.h"

#include "base/banned.h"

#define PAGE_POLICY                                                                                \
    "default-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "             \
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
#define API_POLICY "default-src 'none'; frame-ancestors 'none'"

/* A year, as browsers ask for; only where the page came by TLS does it mean anything. */
#define TRANSPORT_POLICY "max-age=31536000"

/* The header that a handler has set, or NULL. */
static const char *find_header(const struct cyx_http_response *response, const char *name)
{
    for (size_t i = 0; i < response->header_count; i++)
        if (strcasecmp(response->headers[i].name, name) == 0)
            return response->headers[i].value;
    return NULL;
}

/* ---- CORS (the Fetch standard's) ---------------------------------------------------------------- */

/* Whether a list of words with spaces between names `origin`. */
static bool names_origin(const char *list, const char *origin)
{
    size_t length = strlen(origin);
    for (const char *at = list; *at;) {
        at += strspn(at, " ");
        size_t size = strcspn(at, " ");
        if (size == length && size > 0 && strncasecmp(at, origin, size) == 0)
            return true;
        at += size;
    }
    return false;
}

/* A preflight has no route of its own: the 405 knows what the path takes. */
static void answer_preflight(struct cyx_http_response *response)
{
    const char *allow = find_header(response, "Allow");
    cyx_http_response_header(response, "Access-Control-Allow-Methods", allow ? allow : "");
    cyx_http_response_header(response, "Access-Control-Allow-Headers",
                             "Authorization, Content-Type, Content-Range, Idempotency-Key, "
                             "Last-Event-ID, Range, Upload-Offset, X-Request-Id");
    cyx_http_response_header(response, "Access-Control-Max-Age", "600");
    cyx_http_respond_empty(response, 204);
}

/* Never with credentials: a page of another origin sends an API key, and the cookie stays unsent. */
static void set_cors(const struct app *app, const struct cyx_http_request *request,
                     struct cyx_http_response *response)
{
    if (!*app->cors_origins)
        return;
    cyx_http_response_header(response, "Vary", "Origin");
    const char *origin = cyx_http_header(request, "Origin");
    if (!origin || !names_origin(app->cors_origins, origin))
        return;
    cyx_http_response_header(response, "Access-Control-Allow-Origin", origin);
    cyx_http_response_header(response, "Access-Control-Expose-Headers",
                             "Location, ETag, Retry-After, RateLimit-Limit, RateLimit-Remaining, "
                             "RateLimit-Reset, Upload-Offset, X-Request-Id");
    if (response->status == 405 && strcmp(request->method, "OPTIONS") == 0 &&
        cyx_http_header(request, "Access-Control-Request-Method"))
        answer_preflight(response);
}

/* ---- every response ---------------------------------------------------------------------------- */

static void set_headers(const struct app *app, const struct cyx_http_request *request,
                        struct cyx_http_response *response)
{
    bool api = request->path && strncmp(request->path, "/api/", 5) == 0;
    const char *type = find_header(response, "Content-Type");
    bool page = !api || (type && strncmp(type, "text/html", 9) == 0); /* the reference is one */
    cyx_http_response_header(response, "X-Content-Type-Options", "nosniff");
    cyx_http_response_header(response, "Content-Security-Policy", page ? PAGE_POLICY : API_POLICY);
    if (page) {
        cyx_http_response_header(response, "Referrer-Policy", "same-origin");
        cyx_http_response_header(response, "Cross-Origin-Opener-Policy", "same-origin");
    }
    if (api_secure(app))
        cyx_http_response_header(response, "Strict-Transport-Security", TRANSPORT_POLICY);
    if (api && !find_header(response, "Cache-Control"))
        cyx_http_response_header(response, "Cache-Control", "no-store");
    if (response->status == 401)
        cyx_http_response_header(response, "WWW-Authenticate", "Bearer realm=\"cyxwiz\"");
    if (response->status == 503 && !find_header(response, "Retry-After"))
        cyx_http_response_header(response, "Retry-After", "2");
}

void api_after(void *ctx, const struct cyx_http_route *route,
               const struct cyx_http_request *request, struct cyx_http_response *response)
{
    struct app *app = ctx;
    set_headers(app, request, response);
    if (request->path && strncmp(request->path, "/api/", 5) == 0)
        set_cors(app, request, response);
    const struct api_caller *caller = api_caller(request);
    if (caller && caller->audited && route)
        api_audit_request(app, route, request, response->status);
    double seconds = (double)(cyx_clock_monotonic_ns() - request->received_ns) / 1e9;
    char code[8];
    snprintf(code, sizeof(code), "%d", response->status);
    cyx_metric_add(app->requests, 1, request->method ? request->method : "", code);
    if (request->received_ns > 0)
        cyx_metric_observe(app->seconds, seconds, route ? route->path : "static");
    cyx_log(response->status >= 500 ? CYX_LOG_WARN : CYX_LOG_DEBUG, "request",
            CYX_STR("method", request->method), CYX_STR("path", request->path),
            CYX_INT("status", response->status), CYX_NUM("seconds", seconds),
            CYX_STR("request_id", request->request_id), CYX_STR("error", response->error.message));
}
