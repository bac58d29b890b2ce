#include <stdio.h>
#include <string.h>

#include "bus/bus_internal.h"

#include "base/banned.h"

static const struct {
    natsStatus code;
    enum cyx_status status;
    const char *text; /* NULL: libnats' own */
} codes[] = {
    {NATS_TIMEOUT, CYX_ERR_TIMEOUT, "no answer in time"},
    {NATS_NO_RESPONDERS, CYX_ERR_UNAVAILABLE, "nobody answers"},
    {NATS_NO_SERVER, CYX_ERR_UNAVAILABLE, "no NATS server answers"},
    {NATS_CONNECTION_CLOSED, CYX_ERR_UNAVAILABLE, NULL},
    {NATS_CONNECTION_DISCONNECTED, CYX_ERR_UNAVAILABLE, "the NATS server went away"},
    {NATS_STALE_CONNECTION, CYX_ERR_UNAVAILABLE, NULL},
    {NATS_IO_ERROR, CYX_ERR_UNAVAILABLE, NULL},
    {NATS_NOT_YET_CONNECTED, CYX_ERR_UNAVAILABLE, NULL},
    {NATS_DRAINING, CYX_ERR_UNAVAILABLE, "this process is shutting down"},
    {NATS_INSUFFICIENT_BUFFER, CYX_ERR_UNAVAILABLE, "too much waits for the NATS server's return"},
    {NATS_SLOW_CONSUMER, CYX_ERR_UNAVAILABLE, NULL},
    {NATS_CONNECTION_AUTH_FAILED, CYX_ERR_DENIED,
     "the NATS server refused the credential; check user and password"},
    {NATS_NOT_PERMITTED, CYX_ERR_DENIED, NULL},
    {NATS_SSL_ERROR, CYX_ERR_INVALID, NULL},
    {NATS_SECURE_CONNECTION_REQUIRED, CYX_ERR_INVALID,
     "the NATS server wants TLS; use a tls:// URL"},
    {NATS_SECURE_CONNECTION_WANTED, CYX_ERR_INVALID, "the NATS server has no TLS"},
    {NATS_ADDRESS_MISSING, CYX_ERR_INVALID, "the URL names no host"},
    {NATS_INVALID_SUBJECT, CYX_ERR_INVALID, "no valid subject"},
    {NATS_INVALID_QUEUE_NAME, CYX_ERR_INVALID, NULL},
    {NATS_INVALID_ARG, CYX_ERR_INVALID, NULL},
    {NATS_NOT_FOUND, CYX_ERR_NOT_FOUND, NULL},
    {NATS_MAX_PAYLOAD, CYX_ERR_TOO_LARGE, NULL},
    {NATS_NO_MEMORY, CYX_ERR_NO_MEMORY, NULL},
};

enum cyx_status cyx_bus_fail(natsStatus code, const char *what, struct cyx_error *err)
{
    enum cyx_status status = CYX_ERR_INTERNAL;
    const char *text = NULL;
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
        if (codes[i].code == code) {
            status = codes[i].status;
            text = codes[i].text;
        }
    if (text)
        return cyx_error_set(err, status, NULL, "bus: %s: %s", what, text);
    const char *detail = nats_GetLastError(NULL);
    return cyx_error_set(err, status, NULL, "bus: %s: %s%s%s", what, natsStatus_GetText(code),
                         detail ? ": " : "", detail ? detail : "");
}

enum cyx_status cyx_bus_fail_js(natsStatus code, jsErrCode js_code, const char *what,
                                struct cyx_error *err)
{
    if (js_code == JSNotEnabledErr || js_code == JSNotEnabledForAccountErr)
        return cyx_error_set(err, CYX_ERR_UNAVAILABLE, NULL,
                             "bus: %s: the NATS server runs without JetStream", what);
    if (js_code == 0)
        return cyx_bus_fail(code, what, err);
    enum cyx_status status = CYX_ERR_INTERNAL;
    if (js_code == JSStreamNotFoundErr || js_code == JSConsumerNotFoundErr)
        status = CYX_ERR_NOT_FOUND;
    else if (js_code == JSStreamNameExistErr || js_code == JSStreamSubjectOverlapErr ||
             js_code == JSConsumerNameExistErr)
        status = CYX_ERR_CONFLICT;
    else if (js_code == JSInsufficientResourcesErr || js_code == JSStorageResourcesExceededErr)
        status = CYX_ERR_IO;
    const char *detail = nats_GetLastError(NULL);
    return cyx_error_set(err, status, NULL, "bus: %s: %s (JetStream error %d)", what,
                         detail ? detail : "refused", (int)js_code);
}

static natsStatus set_headers(natsMsg *msg, const char *message_id, const struct cyx_bus_meta *meta)
{
    struct cyx_trace trace;
    cyx_trace_start(&trace, meta ? meta->request_id : NULL, meta ? meta->traceparent : NULL);
    natsStatus code = natsMsgHeader_Set(msg, CYX_BUS_HEADER_REQUEST_ID, trace.request_id);
    if (code == NATS_OK)
        code = natsMsgHeader_Set(msg, CYX_BUS_HEADER_TRACEPARENT, trace.traceparent);
    if (code == NATS_OK && meta && meta->account && *meta->account)
        code = natsMsgHeader_Set(msg, CYX_BUS_HEADER_ACCOUNT, meta->account);
    if (code == NATS_OK && message_id && *message_id)
        code = natsMsgHeader_Set(msg, CYX_BUS_HEADER_MESSAGE_ID, message_id);
    return code;
}

/* Text that may stand in a header: no line ends, not over 200 bytes. */
static bool header_valid(const char *text)
{
    return !text || (strnlen(text, 201) <= 200 && !strpbrk(text, "\r\n"));
}

enum cyx_status cyx_bus_msg_new(const char *subject, const char *reply, const char *message_id,
                                const struct cyx_bus_meta *meta, const char *json, size_t length,
                                natsMsg **ret_msg, struct cyx_error *err)
{
    if (length > CYX_BUS_PAYLOAD_BYTES)
        return cyx_error_set(err, CYX_ERR_TOO_LARGE, NULL,
                             "bus: a message of %zu bytes for %s is over the limit of %d", length,
                             subject, CYX_BUS_PAYLOAD_BYTES);
    if (!header_valid(message_id) || !header_valid(meta ? meta->account : NULL))
        return cyx_error_set(err, CYX_ERR_INVALID, NULL,
                             "bus: a message id or account for %s is too long or holds a line end",
                             subject);
    natsMsg *msg = NULL;
    natsStatus code = natsMsg_Create(&msg, subject, reply, json, (int)length);
    if (code == NATS_OK)
        code = set_headers(msg, message_id, meta);
    if (code != NATS_OK) {
        natsMsg_Destroy(msg);
        return cyx_bus_fail(code, subject ? subject : "no subject", err);
    }
    *ret_msg = msg;
    return CYX_OK;
}

static const char *header(natsMsg *msg, const char *name)
{
    const char *value = NULL;
    return natsMsgHeader_Get(msg, name, &value) == NATS_OK ? value : NULL;
}

void cyx_bus_msg_view(natsMsg *msg, struct cyx_bus_message *ret_message)
{
    const char *data = natsMsg_GetData(msg);
    *ret_message = (struct cyx_bus_message){
        .subject = natsMsg_GetSubject(msg),
        .data = data ? data : "",
        .length = (size_t)natsMsg_GetDataLength(msg),
        .meta = {.request_id = header(msg, CYX_BUS_HEADER_REQUEST_ID),
                 .traceparent = header(msg, CYX_BUS_HEADER_TRACEPARENT),
                 .account = header(msg, CYX_BUS_HEADER_ACCOUNT)},
    };
}

bool cyx_bus_msg_view_stream(natsMsg *msg, struct cyx_bus_message *ret_message,
                             uint64_t *ret_consumer_sequence)
{
    jsMsgMetaData *meta = NULL;
    if (natsMsg_GetMetaData(&meta, msg) != NATS_OK)
        return false;
    cyx_bus_msg_view(msg, ret_message);
    const char *message_id = header(msg, CYX_BUS_HEADER_MESSAGE_ID);
    ret_message->message_id = message_id ? message_id : "";
    ret_message->sequence = meta->Sequence.Stream;
    ret_message->deliveries = meta->NumDelivered;
    ret_message->pending = meta->NumPending;
    ret_message->time_unix_ms = meta->Timestamp / 1000000;
    if (ret_consumer_sequence)
        *ret_consumer_sequence = meta->Sequence.Consumer;
    jsMsgMetaData_Destroy(meta);
    return true;
}
