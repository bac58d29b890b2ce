#include "base/trace.h"

#include <stdio.h>
#include <string.h>

#include "base/id.h"

#include "base/banned.h"

static bool all_hex(const char *text, size_t length)
{
    bool nonzero = false;
    for (size_t i = 0; i < length; i++) {
        char c = text[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
            return false;
        nonzero |= c != '0';
    }
    return nonzero || length == 2; /* ids of zeros are forbidden, flags of zeros are not */
}

bool cyx_request_id_valid(const char *text)
{
    size_t length = text ? strnlen(text, CYX_REQUEST_ID_BYTES) : 0;
    if (length == 0 || length >= CYX_REQUEST_ID_BYTES)
        return false;
    return strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") ==
           length;
}

bool cyx_traceparent_valid(const char *text)
{
    /* Version 00 alone: what a later version means by its extra fields is unknown here. */
    return text && strnlen(text, CYX_TRACEPARENT_BYTES) == 55 && strncmp(text, "00-", 3) == 0 &&
           all_hex(text + 3, 32) && text[35] == '-' && all_hex(text + 36, 16) && text[52] == '-' &&
           all_hex(text + 53, 2);
}

void cyx_trace_start(struct cyx_trace *ret_trace, const char *request_id, const char *traceparent)
{
    struct cyx_trace made = {0};
    if (cyx_request_id_valid(request_id))
        snprintf(made.request_id, sizeof(made.request_id), "%s", request_id);
    else
        cyx_id_new(made.request_id);
    unsigned char random[24];
    char trace_id[33], span_id[17];
    cyx_random_bytes(random, sizeof(random));
    random[0] |= 1; /* never all zeros */
    random[16] |= 1;
    cyx_hex_encode(random, 16, trace_id);
    cyx_hex_encode(random + 16, 8, span_id);
    const char *flags = "01";
    if (cyx_traceparent_valid(traceparent)) {
        memcpy(trace_id, traceparent + 3, 32);
        flags = traceparent + 53;
    }
    snprintf(made.traceparent, sizeof(made.traceparent), "00-%s-%s-%.2s", trace_id, span_id, flags);
    *ret_trace = made;
}
