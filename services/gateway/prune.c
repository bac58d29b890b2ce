#include "prune.h"

#include <stdlib.h>

#include "base/every.h"
#include "base/log.h"

#include "base/banned.h"

enum { EVERY_MS = 3600 * 1000, AT_ONCE = 5000 };

struct prune {
    struct store *store;
    int64_t audit_days;
    struct cyx_every *every;
};

static void prune(void *ctx, struct cyx_every *every)
{
    struct prune *self = ctx;
    struct cyx_error err = {0};
    int64_t gone = 0, all = 0;
    enum cyx_status status = CYX_OK;
    do {
        status = store_audit_prune(self->store, self->audit_days, AT_ONCE, &gone, &err);
        all += status == CYX_OK ? gone : 0;
    } while (status == CYX_OK && gone == AT_ONCE && !cyx_every_stopping(every));
    if (status != CYX_OK)
        cyx_log(CYX_LOG_WARN, "the audit log was not pruned; tried again in an hour",
                CYX_STR("error", err.message));
    if (all > 0)
        cyx_log(CYX_LOG_INFO, "the audit log was pruned", CYX_INT("entries", all),
                CYX_INT("older_than_days", self->audit_days));
}

enum cyx_status prune_create(struct store *store, int64_t audit_days, struct prune **ret_prune,
                             struct cyx_error *err)
{
    struct prune *self = calloc(1, sizeof(*self));
    if (!self)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for the gateway");
    self->store = store;
    self->audit_days = audit_days;
    enum cyx_status status = cyx_every_start(prune, self, EVERY_MS, &self->every, err);
    if (status == CYX_OK)
        *ret_prune = self;
    else
        free(self);
    return status;
}

void prune_destroy(struct prune *self)
{
    if (!self)
        return;
    cyx_every_stop(self->every);
    free(self);
}
