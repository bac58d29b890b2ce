/*
 * Reading and writing the JSON of messages and request bodies: the one place that says "expected a string".
 *
 * Getters take the object, the key and where its value goes; a missing or wrong field is CYX_ERR_INVALID with
 * the field's JSON Pointer ("/job_id") and what was expected. The optional ones leave the output untouched when
 * the field is absent or null.
 *
 * Ownership: what a getter returns belongs to the object. CYX_CLEANUP_JSON drops a reference at the end of the
 * block. Pure: any thread, one object a thread.
 *
 *     CYX_CLEANUP_JSON json_t *body = NULL;
 *     const char *job_id = NULL;
 *     if ((status = cyx_message_parse(data, length, &body, err)) != CYX_OK ||
 *         (status = cyx_message_id(body, "job_id", &job_id, err)) != CYX_OK)
 *         return status;
 */
#ifndef CYX_CONTRACT_MESSAGE_H
#define CYX_CONTRACT_MESSAGE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/status.h"

void cyx_message_decref(json_t **json);
#define CYX_CLEANUP_JSON __attribute__((cleanup(cyx_message_decref)))

/* One JSON object, no duplicate keys, nothing behind it; an empty text is an empty object. */
enum cyx_status cyx_message_parse(const char *data, size_t length, json_t **ret_object,
                                  struct cyx_error *err);

/* Required fields. `text` is 1 to 65,535 bytes; `id` a UUID; `integer` within [min, max]. */
enum cyx_status cyx_message_text(const json_t *object, const char *key, const char **ret_text,
                                 struct cyx_error *err);
enum cyx_status cyx_message_id(const json_t *object, const char *key, const char **ret_id,
                               struct cyx_error *err);
enum cyx_status cyx_message_int(const json_t *object, const char *key, int64_t min, int64_t max,
                                int64_t *ret_value, struct cyx_error *err);
enum cyx_status cyx_message_object(const json_t *object, const char *key, json_t **ret_object,
                                   struct cyx_error *err);
/* "2.5 CYX" as base units, 0 or more. */
enum cyx_status cyx_message_amount(const json_t *object, const char *key, int64_t *ret_base_units,
                                   struct cyx_error *err);

/* Optional fields: absent and null are CYX_OK, anything else must be right. */
enum cyx_status cyx_message_maybe_text(const json_t *object, const char *key, const char **ret_text,
                                       struct cyx_error *err);
enum cyx_status cyx_message_maybe_id(const json_t *object, const char *key, const char **ret_id,
                                     struct cyx_error *err);
enum cyx_status cyx_message_maybe_int(const json_t *object, const char *key, int64_t min,
                                      int64_t max, int64_t *ret_value, struct cyx_error *err);

/* `limit` (default CYX_LIST_DEFAULT, 1 to CYX_LIST_LIMIT) and `cursor` (an id, or NULL) of a list request. */
enum cyx_status cyx_message_page(const json_t *object, int64_t *ret_limit, const char **ret_cursor,
                                 struct cyx_error *err);

/* A number, or null for what is none (NaN, infinity). */
json_t *cyx_message_number(double number);

/* A member's number, NaN when it is absent or null. */
double cyx_message_number_of(const json_t *object, const char *key);

/* An amount as a JSON string, "2.5 CYX"; NULL when memory ran out. */
json_t *cyx_message_new_amount(int64_t base_units);

/* A text, or JSON null for NULL and "". */
json_t *cyx_message_new_text(const char *text);

/* A time in RFC 3339, or JSON null for 0. */
json_t *cyx_message_new_time(int64_t unix_ms);

/* Appends `json` as compact text and drops the reference; NULL is CYX_ERR_NO_MEMORY. */
enum cyx_status cyx_message_write(json_t *json, struct cyx_buf *ret_text, struct cyx_error *err);

#endif
