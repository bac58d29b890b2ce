/* Until libs/http has its server: a service runs without health. */
#include "svc/svc_internal.h"

#include "base/banned.h"

enum cyx_status cyx_svc_health_start(struct cyx_svc *self, uint16_t *ret_port,
                                     struct cyx_error *err)
{
    (void)self;
    (void)err;
    *ret_port = 0;
    return CYX_OK;
}

void cyx_svc_health_stop(struct cyx_svc *self)
{
    (void)self;
}
