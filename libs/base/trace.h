/*
 * The ids that follow one request through every process: a request id for people who read logs, and
 * a W3C traceparent (https://www.w3.org/TR/trace-context/) for tracing tools. HTTP carries them in
 * the headers X-Request-Id and traceparent, the bus in the same headers of a message.
 *
 * Plain value, nothing to free, any thread.
 *
 *     struct cyx_trace trace;
 *     cyx_trace_start(&trace, header_or_null, header_or_null);
 *     cyx_log(CYX_LOG_INFO, "job submitted", CYX_STR("request_id", trace.request_id));
 */
#ifndef CYX_BASE_TRACE_H
#define CYX_BASE_TRACE_H

#include <stdbool.h>

enum { CYX_REQUEST_ID_BYTES = 65, CYX_TRACEPARENT_BYTES = 56 };

struct cyx_trace {
    char request_id[CYX_REQUEST_ID_BYTES];   /* at most 64 of A-Z a-z 0-9 . _ - */
    char traceparent[CYX_TRACEPARENT_BYTES]; /* "00-<trace id>-<span id>-<flags>" */
};

/*
 * Continues what came in, or starts anew: a valid `request_id` is kept, anything else (NULL too) is
 * replaced by a new UUIDv7; a valid `traceparent` keeps its trace id and gets a new span id,
 * anything else becomes a new trace. Never fails.
 */
void cyx_trace_start(struct cyx_trace *ret_trace, const char *request_id, const char *traceparent);

/* Whether outsiders' text may be taken over as it is. */
bool cyx_request_id_valid(const char *text);
bool cyx_traceparent_valid(const char *text);

#endif
