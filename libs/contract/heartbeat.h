/*
 * When a node that beats now and then has gone silent: a deadline made of the gaps that were seen between its heartbeats.
 * The estimator is that of RFC 6298 section 2 (TCP's retransmission timer), with gaps in place of round trips:
 *
 *     first gap R:   mean = R, deviation = R / 2
 *     each further:  deviation = 3/4 deviation + 1/4 |mean - R|,  mean = 7/8 mean + 1/8 R
 *     deadline = mean + 4 deviation + 3 periods, within 4 to 15 periods
 *
 * A period is the heartbeat that was agreed upon (CYXWIZ_HEARTBEAT_MS); three of them are what may be lost when a
 * connection is made anew. A steady node is missed after 4 periods, one behind a bad line is waited for up to 15. Until
 * 8 gaps were seen it is 5 periods (CYX_HEARTBEATS_MISSED). A gap counts as 15 periods at most, so that a node that was
 * away does not come back with a deadline of hours.
 *
 * Units: ms. A plain value, zero-initialised is "none seen". Pure: any thread, one at a time a value.
 *
 *     cyx_heartbeat_note(&gaps, gap_ms, period_ms);
 *     bool silent = age_ms > cyx_heartbeat_deadline_ms(&gaps, period_ms);
 */
#ifndef CYX_CONTRACT_HEARTBEAT_H
#define CYX_CONTRACT_HEARTBEAT_H

#include <stdint.h>

enum { CYX_HEARTBEAT_LEAST = 4, CYX_HEARTBEAT_MOST = 15, CYX_HEARTBEAT_KNOWN = 8 };

struct cyx_heartbeat_gaps {
    double mean_ms, deviation_ms;
    int64_t seen;
};

void cyx_heartbeat_note(struct cyx_heartbeat_gaps *self, int64_t gap_ms, int64_t period_ms);
int64_t cyx_heartbeat_deadline_ms(const struct cyx_heartbeat_gaps *self, int64_t period_ms);

#endif
