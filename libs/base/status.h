/*
 * Status codes and the error that carries the place and the remedy.
 *
 * What can fail returns enum cyx_status; CYX_OK is 0. Where a person will read why, the function also
 * takes a `struct cyx_error *` (may be NULL) that it fills on failure: a JSON Pointer to the field that
 * was wrong (empty when no field is) and one sentence that says what was expected.
 *
 * Thread rule: an error belongs to one thread at a time. Ownership: plain value, nothing to free.
 *
 *     struct cyx_error err = {0};
 *     if (cyx_job_spec_parse(text, length, &spec, &err) != CYX_OK)
 *         fprintf(stderr, "%s: %s\n", err.pointer, err.message);
 */
#ifndef CYX_BASE_STATUS_H
#define CYX_BASE_STATUS_H

enum cyx_status {
    CYX_OK = 0,
    CYX_ERR_INVALID, /* the input is wrong; the caller can mend it          (HTTP 400/422) */
    CYX_ERR_UNAUTHENTICATED, /* nobody, or a wrong credential                       (401) */
    CYX_ERR_DENIED,          /* somebody, but not allowed                           (403) */
    CYX_ERR_NOT_FOUND,       /* no such thing                                       (404) */
    CYX_ERR_CONFLICT,        /* exists already, or the state forbids it             (409) */
    CYX_ERR_TOO_LARGE,       /* over a stated limit                                 (413) */
    CYX_ERR_RATE_LIMITED,    /* too often                                           (429) */
    CYX_ERR_UNSUPPORTED,     /* valid, but this device or build cannot              (422) */
    CYX_ERR_CANCELLED,       /* asked to stop                                       (409) */
    CYX_ERR_TIMEOUT,         /* no answer in time                                   (504) */
    CYX_ERR_UNAVAILABLE,     /* a server or device is away; trying again may help   (503) */
    CYX_ERR_CORRUPT,         /* bytes that do not hold what they claim              (500) */
    CYX_ERR_NO_MEMORY,       /* host or device memory ran out                       (500) */
    CYX_ERR_IO,              /* the operating system refused a read or write        (500) */
    CYX_ERR_INTERNAL,        /* a bug                                               (500) */
    CYX_STATUS_COUNT
};

struct cyx_error {
    enum cyx_status status;
    char pointer[160]; /* RFC 6901 JSON Pointer, or "" */
    char message[512]; /* one sentence, UTF-8, without a full stop's worth of secrets */
};

/* A short stable name such as "invalid" or "not-found"; also the last part of a problem's type URI. */
const char *cyx_status_name(enum cyx_status status);

/* The status of a name made by cyx_status_name(), CYX_ERR_INTERNAL for an unknown one. */
enum cyx_status cyx_status_from_name(const char *name);

/* The HTTP status code that answers for `status`. */
int cyx_status_http(enum cyx_status status);

/*
 * Fills `self` (may be NULL) and returns `status`, so that a failing function can
 * `return cyx_error_set(err, CYX_ERR_INVALID, "/epochs", "expected at least 1, got %d", n);`
 * `pointer` may be NULL. Long texts are cut at the end, never overflow; what is no plain text becomes '?' (base/text.h).
 */
enum cyx_status cyx_error_set(struct cyx_error *self, enum cyx_status status, const char *pointer,
                              const char *format, ...) __attribute__((format(printf, 4, 5)));

/* cyx_error_set() with the text of errno behind it; picks IO, NOT_FOUND, DENIED or NO_MEMORY from errno. */
enum cyx_status cyx_error_errno(struct cyx_error *self, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
