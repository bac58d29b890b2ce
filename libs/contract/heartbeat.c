#include "contract/heartbeat.h"

#include <math.h>

#include "contract/subjects.h"

#include "base/banned.h"

void cyx_heartbeat_note(struct cyx_heartbeat_gaps *self, int64_t gap_ms, int64_t period_ms)
{
    double gap = (double)(gap_ms < 0 ? 0 : gap_ms);
    double most = (double)(period_ms * CYX_HEARTBEAT_MOST);
    if (gap > most)
        gap = most;
    if (self->seen++ == 0) {
        self->mean_ms = gap;
        self->deviation_ms = gap / 2;
        return;
    }
    self->deviation_ms += (fabs(self->mean_ms - gap) - self->deviation_ms) / 4;
    self->mean_ms += (gap - self->mean_ms) / 8;
}

int64_t cyx_heartbeat_deadline_ms(const struct cyx_heartbeat_gaps *self, int64_t period_ms)
{
    if (self->seen < CYX_HEARTBEAT_KNOWN)
        return period_ms * CYX_HEARTBEATS_MISSED;
    int64_t deadline = (int64_t)(self->mean_ms + 4 * self->deviation_ms) + 3 * period_ms;
    int64_t least = period_ms * CYX_HEARTBEAT_LEAST, most = period_ms * CYX_HEARTBEAT_MOST;
    return deadline < least ? least : deadline > most ? most : deadline;
}
