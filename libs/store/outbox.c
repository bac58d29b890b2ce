#include "store/outbox.h"

#include <stddef.h>

#include "store/db_internal.h"

#include "base/banned.h"

/* A column of events as one parameter: a text array. */
static void put_column(struct cyx_buf *ret_text, const struct cyx_outbox_event *events,
                       size_t count, size_t offset)
{
    for (size_t i = 0; i < count; i++)
        cyx_db_put_element(ret_text, *(const char *const *)((const char *)&events[i] + offset));
    cyx_buf_puts(ret_text, count ? "}" : "{}");
}

enum cyx_status cyx_outbox_add_events(struct cyx_db_conn *conn,
                                      const struct cyx_outbox_event *events, size_t count,
                                      struct cyx_error *err)
{
    static const size_t members[] = {
        offsetof(struct cyx_outbox_event, subject), offsetof(struct cyx_outbox_event, message_id),
        offsetof(struct cyx_outbox_event, request_id),
        offsetof(struct cyx_outbox_event, traceparent), offsetof(struct cyx_outbox_event, json)};
    enum { COLUMNS = sizeof(members) / sizeof(members[0]) };
    struct cyx_buf columns[COLUMNS] = {0};
    bool failed = false;
    for (int i = 0; i < COLUMNS; i++) {
        put_column(&columns[i], events, count, members[i]);
        failed |= columns[i].failed;
    }
    enum cyx_status status =
        failed ? cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "outbox: out of memory")
               : cyx_db_query(conn,
                              "insert into outbox (subject, message_id, request_id, traceparent, "
                              "payload) select * from unnest($1::text[], $2::text[], $3::text[], "
                              "$4::text[], $5::text[])",
                              NULL, err, CYX_DB_TEXT(columns[0].data), CYX_DB_TEXT(columns[1].data),
                              CYX_DB_TEXT(columns[2].data), CYX_DB_TEXT(columns[3].data),
                              CYX_DB_TEXT(columns[4].data));
    if (status == CYX_OK)
        conn->wake_after_commit = true;
    for (int i = 0; i < COLUMNS; i++)
        cyx_buf_finish(&columns[i]);
    return status;
}

enum cyx_status cyx_outbox_add_event(struct cyx_db_conn *conn, const struct cyx_outbox_event *event,
                                     struct cyx_error *err)
{
    return cyx_outbox_add_events(conn, event, 1, err);
}

enum cyx_status cyx_outbox_add(struct cyx_db_conn *conn, const char *subject,
                               const char *message_id, const char *json, struct cyx_error *err)
{
    const struct cyx_outbox_event event = {
        .subject = subject, .message_id = message_id, .json = json};
    return cyx_outbox_add_event(conn, &event, err);
}

enum cyx_status cyx_inbox_seen(struct cyx_db_conn *conn, const char *consumer,
                               const char *message_id, bool *ret_seen, struct cyx_error *err)
{
    if (!message_id || !*message_id)
        return cyx_error_set(err, CYX_ERR_INVALID, NULL,
                             "inbox: the message has no id, so a repetition cannot be told");
    CYX_CLEANUP_RESULT struct cyx_db_result *done = NULL;
    /* A second transaction with the same id waits here for the first one's end. */
    enum cyx_status status =
        cyx_db_query(conn,
                     "insert into inbox (consumer, message_id) values ($1, $2)"
                     " on conflict do nothing",
                     &done, err, CYX_DB_TEXT(consumer), CYX_DB_TEXT(message_id));
    if (status == CYX_OK)
        *ret_seen = cyx_db_affected(done) == 0;
    return status;
}
