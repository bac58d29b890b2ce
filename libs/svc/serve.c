/* Answering requests so that what went wrong in the database stays in the log. */
#include <string.h>

#include "base/log.h"
#include "svc/svc_internal.h"

#include "base/banned.h"

enum cyx_status cyx_svc_mask(enum cyx_status status, const struct cyx_bus_message *cause,
                             struct cyx_error *err)
{
    static const char mark[] = "database: ";
    if (status == CYX_OK || !err || strncmp(err->message, mark, sizeof(mark) - 1) != 0)
        return status;
    cyx_log(CYX_LOG_ERROR, "the database failed", CYX_STR("subject", cause->subject),
            CYX_STR("request_id", cause->meta.request_id),
            CYX_STR("status", cyx_status_name(status)),
            CYX_STR("error", err->message + sizeof(mark) - 1));
    if (status == CYX_ERR_UNAVAILABLE || status == CYX_ERR_TIMEOUT)
        return cyx_error_set(err, CYX_ERR_UNAVAILABLE, NULL,
                             "the database is away or busy; try again in a moment");
    return cyx_error_set(err, CYX_ERR_INTERNAL, NULL,
                         "something went wrong inside; the log has it under request %s",
                         cause->meta.request_id ? cause->meta.request_id : "-");
}

static enum cyx_status answer(void *ctx, const struct cyx_bus_message *request,
                              struct cyx_buf *reply, struct cyx_error *err)
{
    const struct cyx_svc_door *door = ctx;
    return cyx_svc_mask(door->handler(door->ctx, request, reply, err), request, err);
}

enum cyx_status cyx_svc_serve(struct cyx_svc *self, const struct cyx_bus_route *routes,
                              size_t count, void *ctx, struct cyx_error *err)
{
    enum cyx_status status = CYX_OK;
    if (count > CYX_SVC_ROUTES_MAX - self->door_count)
        return cyx_error_set(err, CYX_ERR_TOO_LARGE, NULL, "a service has at most %d routes",
                             CYX_SVC_ROUTES_MAX);
    for (size_t i = 0; status == CYX_OK && i < count; i++) {
        struct cyx_svc_door *door = &self->doors[self->door_count++];
        *door = (struct cyx_svc_door){routes[i].handler, ctx};
        status = cyx_bus_serve(self->bus, routes[i].subject, self->name, answer, door, err);
    }
    return status;
}
