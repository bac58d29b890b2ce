/*
 * Receiving an upload: what artifacts of jobs (api_artifacts.c) and uploads of accounts (api_uploads.c) have in common.
 *
 * The bytes go into the store under their SHA-256. What broke off is continued by Content-Range from the
 * Upload-Offset that the store tells. Where the store has the object already by another owner, all bytes must be shown
 * in one request: nobody gets to read by a hash what they do not have.
 *
 * A route's sink is {begin of its own that calls api_receive_begin(), api_receive_chunk, api_receive_finish}, its
 * handler api_receive_put (api.h). All of it runs on workers, one call at a time for a request.
 */
#ifndef CYX_GATEWAY_API_RECEIVE_H
#define CYX_GATEWAY_API_RECEIVE_H

#include "api.h"

struct upload;

struct upload_kind {
    /* CYX_OK when the owner has the bytes already (they are dropped then), CYX_ERR_NOT_FOUND. */
    enum cyx_status (*has)(const struct upload *upload, struct cyx_error *err);
    /* They are whole, and the owner's from now on. */
    enum cyx_status (*keep)(const struct upload *upload, const struct cyx_http_request *request,
                            uint64_t bytes, struct cyx_error *err);
    /* So many are here when a request ends before they are whole. May be NULL. */
    void (*progress)(const struct upload *upload, uint64_t bytes);
};

struct upload {
    /* For api_receive_begin(): */
    const struct upload_kind *kind;
    char sha256[CYX_SHA256_HEX], owner_id[CYX_ID_BYTES]; /* a job, or an upload */
    uint64_t limit_bytes;
    uint64_t total_bytes; /* that it must have; UINT64_MAX: not known before */
    uint64_t shown_bytes; /* that this owner has sent of what is here; UINT64_MAX: is not counted */

    /* Its own: */
    struct app *app;
    struct upload *next;      /* app->uploads_lock */
    pthread_mutex_t lock;     /* of the writer */
    bool superseded;          /* was begun anew: its writer was taken from it */
    bool owned;               /* the owner has it already: bytes are dropped */
    bool kept;                /* keep() has run */
    struct cyx_sha256 *proof; /* the object is there by another owner: the bytes must be shown */
    struct cyx_blob_writer *writer; /* else they are written */
    bool ranged;
    struct gateway_range range;
    uint64_t received;
};

/* `what` is copied; errors as a sink's begin. */
enum cyx_status api_receive_begin(struct app *app, const struct cyx_http_request *request,
                                  struct cyx_http_response *response, const struct upload *what,
                                  void **ret_state);
enum cyx_status api_receive_chunk(void *state, const void *bytes, size_t length,
                                  struct cyx_error *ret_error);
void api_receive_finish(void *state, bool complete);

/* Sets Upload-Offset. */
void api_upload_offset(const struct cyx_http_request *request, struct cyx_http_response *response,
                       uint64_t offset);

#endif
