#include "base/banned.h"
#include "http/private.h"

static const struct {
    int status;
    const char *reason;
} reasons[] = {
    {200, "OK"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {406, "Not Acceptable"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {410, "Gone"},
    {411, "Length Required"},
    {412, "Precondition Failed"},
    {413, "Content Too Large"},
    {414, "URI Too Long"},
    {415, "Unsupported Media Type"},
    {416, "Range Not Satisfiable"},
    {417, "Expectation Failed"},
    {422, "Unprocessable Content"},
    {426, "Upgrade Required"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {502, "Bad Gateway"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
};

const char *cyx_http_reason(int status)
{
    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
        if (reasons[i].status == status)
            return reasons[i].reason;
    return status < 400 ? "OK" : status < 500 ? "Client Error" : "Server Error";
}

static void member(struct cyx_buf *to, const char *name, const char *value)
{
    if (!value)
        return;
    cyx_buf_printf(to, ",\"%s\":", name);
    cyx_buf_json_string(to, value);
}

void cyx_problem_format(struct cyx_buf *to, int status, const struct cyx_error *error,
                        const char *instance, const char *request_id)
{
    cyx_buf_printf(to, "{\"type\":\"urn:cyxwiz:problem:%s\"", cyx_status_name(error->status));
    member(to, "title", cyx_http_reason(status));
    cyx_buf_printf(to, ",\"status\":%d", status);
    member(to, "detail", error->message);
    member(to, "instance", instance);
    member(to, "pointer", error->pointer[0] ? error->pointer : NULL);
    member(to, "request_id", request_id);
    cyx_buf_puts(to, "}\n");
}
