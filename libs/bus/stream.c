#include "bus/stream.h"

#include <stdio.h>
#include <string.h>

#include "bus/bus_internal.h"

#include "base/banned.h"

#define SECONDS INT64_C(1000000000)

const struct cyx_bus_stream cyx_bus_stream_events = {
    .name = "CYX_EVT",
    .subjects = {"cyx.evt.>"},
    .max_age_ns = 7 * 24 * 3600 * SECONDS,
    .max_bytes = INT64_C(1) << 30,
    .dedup_window_ns = 600 * SECONDS,
};

const struct cyx_bus_stream cyx_bus_stream_jobs = {
    .name = "CYX_JOB",
    .subjects = {"cyx.job.>"},
    .max_age_ns = 7 * 24 * 3600 * SECONDS,
    .max_bytes = INT64_C(1) << 30,
    .dedup_window_ns = 120 * SECONDS,
};

enum cyx_status cyx_bus_ensure_stream(struct cyx_bus *self, const struct cyx_bus_stream *stream,
                                      struct cyx_error *err)
{
    enum cyx_status status = cyx_bus_need_server(self, err);
    if (status != CYX_OK)
        return status;
    const char *subjects[CYX_BUS_STREAM_SUBJECTS];
    int count = 0;
    while (count < CYX_BUS_STREAM_SUBJECTS && stream->subjects[count]) {
        subjects[count] = stream->subjects[count];
        count++;
    }
    jsStreamConfig config;
    jsStreamConfig_Init(&config);
    config.Name = stream->name;
    config.Subjects = subjects;
    config.SubjectsLen = count;
    config.Storage = js_FileStorage;
    config.MaxAge = stream->max_age_ns;
    config.MaxBytes = stream->max_bytes ? stream->max_bytes : -1;
    config.MaxMsgsPerSubject =
        stream->max_messages_per_subject ? stream->max_messages_per_subject : -1;
    config.Duplicates = stream->dedup_window_ns;
    jsErrCode js_code = 0;
    natsStatus code = js_AddStream(NULL, self->js, &config, NULL, &js_code);
    if (code != NATS_OK && js_code == JSStreamNameExistErr) {
        js_code = 0;
        code = js_UpdateStream(NULL, self->js, &config, NULL, &js_code);
    }
    if (code == NATS_OK)
        return CYX_OK;
    char what[128];
    snprintf(what, sizeof(what), "making sure of the stream %s", stream->name);
    return cyx_bus_fail_js(code, js_code, what, err);
}

enum cyx_status cyx_bus_fail_no_stream(const char *subject, struct cyx_error *err)
{
    return cyx_error_set(err, CYX_ERR_UNAVAILABLE, NULL,
                         "bus: no stream takes %s; make sure that its stream was made and that the "
                         "server runs with JetStream",
                         subject);
}

enum cyx_status cyx_bus_publish_event(struct cyx_bus *self, const char *subject,
                                      const char *message_id, const struct cyx_bus_meta *meta,
                                      const char *json, size_t length, uint64_t *ret_sequence,
                                      struct cyx_error *err)
{
    natsMsg *msg = NULL;
    enum cyx_status status = cyx_bus_need_server(self, err);
    if (status == CYX_OK)
        status = cyx_bus_msg_new(subject, NULL, message_id, meta, json, length, &msg, err);
    if (status != CYX_OK)
        return status;
    jsPubAck *ack = NULL;
    jsErrCode js_code = 0;
    natsStatus code = js_PublishMsg(&ack, self->js, msg, NULL, &js_code);
    natsMsg_Destroy(msg);
    if (code == NATS_NO_RESPONDERS)
        return cyx_bus_fail_no_stream(subject, err);
    if (code != NATS_OK)
        return cyx_bus_fail_js(code, js_code, subject, err);
    if (ret_sequence)
        *ret_sequence = ack->Sequence;
    jsPubAck_Destroy(ack);
    return CYX_OK;
}
