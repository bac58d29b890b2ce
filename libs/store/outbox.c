#include "store/outbox.h"

#include "store/db_internal.h"

#include "base/banned.h"

enum cyx_status cyx_outbox_add_event(struct cyx_db_conn *conn, const struct cyx_outbox_event *event,
                                     struct cyx_error *err)
{
    enum cyx_status status = cyx_db_query(
        conn,
        "insert into outbox (subject, message_id, request_id, traceparent, payload)"
        " values ($1, $2, $3, $4, $5)",
        NULL, err, CYX_DB_TEXT(event->subject), CYX_DB_TEXT(event->message_id),
        CYX_DB_TEXT(event->request_id), CYX_DB_TEXT(event->traceparent), CYX_DB_TEXT(event->json));
    if (status == CYX_OK)
        conn->wake_after_commit = true;
    return status;
}

enum cyx_status cyx_outbox_add_events(struct cyx_db_conn *conn, const char *messages,
                                      struct cyx_error *err)
{
    enum cyx_status status = cyx_db_query(
        conn,
        "insert into outbox (subject, message_id, request_id, traceparent, payload)"
        " select x ->> 0, x ->> 1, x ->> 3, x ->> 4, x ->> 2 from json_array_elements($1::json) x",
        NULL, err, CYX_DB_TEXT(messages));
    if (status == CYX_OK)
        conn->wake_after_commit = true;
    return status;
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
