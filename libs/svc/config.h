/*
 * Settings from the environment, checked as they are read. Every variable starts with CYXWIZ_;
 * where CYXWIZ_X is not set, CYXWIZ_X_FILE may name a file (at most 64 KiB) that holds the value,
 * for secrets.
 *
 * The getters always return something usable; the first thing that was wrong is kept, so that a run
 * of getters is checked once. An empty variable counts as not set.
 *
 * Ownership: text belongs to the config until cyx_config_finish(). One thread at a time.
 *
 *     struct cyx_config config = {0};
 *     const char *url = cyx_config_text(&config, "CYXWIZ_GATEWAY_URL", "http://127.0.0.1:8080");
 *     int64_t beat = cyx_config_int(&config, "CYXWIZ_HEARTBEAT_MS", 2000, 100, 60000);
 *     if (cyx_config_check(&config, &err) != CYX_OK)
 *         return cyx_svc_fail(svc, &err);
 *
 * fails with "CYXWIZ_HEARTBEAT_MS is "soon"; set it to a whole number from 100 to 60000 or leave it
 * out for 2000".
 */
#ifndef CYX_SVC_CONFIG_H
#define CYX_SVC_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/status.h"

struct cyx_config {
    struct cyx_arena arena; /* zero-initialised is a valid empty config */
    struct cyx_error first; /* status CYX_OK: nothing was wrong so far */
};

/* The value, or `fallback` (may be NULL). */
const char *cyx_config_text(struct cyx_config *self, const char *name, const char *fallback);

/* The value; "" and an error that says `remedy` when it is not set ("set it to …"). */
const char *cyx_config_require(struct cyx_config *self, const char *name, const char *remedy);

int64_t cyx_config_int(struct cyx_config *self, const char *name, int64_t fallback, int64_t min,
                       int64_t max);

/* 1, true, yes, on or 0, false, no, off. */
bool cyx_config_bool(struct cyx_config *self, const char *name, bool fallback);

/* One of `choices`, words with spaces between: "auto cpu vulkan". */
const char *cyx_config_choice(struct cyx_config *self, const char *name, const char *fallback,
                              const char *choices);

/* "host:port" or "[ipv6]:port"; port 0 to 65535. `ret_port` may not be NULL. Returns the host. */
const char *cyx_config_address(struct cyx_config *self, const char *name, const char *fallback,
                               uint16_t *ret_port);

/* Exactly `length` bytes as hexadecimal digits, required; zeros on an error. */
void cyx_config_key(struct cyx_config *self, const char *name, void *ret_bytes, size_t length);

/* Notes that what `name` holds is wrong, in the caller's words; for checks that the getters do not
 * know. */
void cyx_config_refuse(struct cyx_config *self, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* CYX_OK, or CYX_ERR_INVALID with the first thing that was wrong. */
enum cyx_status cyx_config_check(const struct cyx_config *self, struct cyx_error *err);

void cyx_config_finish(struct cyx_config *self);

#endif
