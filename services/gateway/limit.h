/*
 * Rate limits counted in this process from shares of a counter that all replicas have in common.
 *
 * A window's calls are first taken from a share that was granted for them; when that is used up, whoever takes asks
 * the shared counter for the next (LIMIT_SHARES of them make a limit), so that most calls cost no trip. Without the
 * shared counter the process grants itself up to the limit.
 *
 * Memory is bounded: keys that share a slot push each other out, the limit then errs towards letting through.
 * Ownership: on the heap, by create and destroy. Any thread; never blocks for long. Units: calls, milliseconds.
 *
 *     while (limit_take(limit, "account", 6000, now_ms, &state) == LIMIT_ASK)
 *         ... count a share of limit_share(6000) at the shared counter, limit_grant() what is left of it ...
 */
#ifndef CYX_GATEWAY_LIMIT_H
#define CYX_GATEWAY_LIMIT_H

#include <stdint.h>

enum { LIMIT_WINDOW_MS = 60000, LIMIT_SHARES = 50 };

struct limit;

enum limit_answer { LIMIT_TAKEN, LIMIT_REFUSED, LIMIT_ASK };

struct limit_state { /* for the RateLimit headers */
    int64_t limit, remaining, reset_ms;
};

/* NULL when memory ran out. */
struct limit *limit_create(void);
void limit_destroy(struct limit *self);

/* How many calls of `limit` a window are asked for at once. */
int64_t limit_share(int64_t limit);

/* Takes one call; `ret_state` is set unless LIMIT_ASK. */
enum limit_answer limit_take(struct limit *self, const char *key, int64_t limit, int64_t now_ms,
                             struct limit_state *ret_state);

/* What the shared counter gave: `share` calls, `rest` that it has still; its window lasts `left_ms`. */
void limit_grant(struct limit *self, const char *key, int64_t share, int64_t rest, int64_t left_ms,
                 int64_t now_ms);

/* The shared counter is away: the next share by this process's own count. */
void limit_grant_self(struct limit *self, const char *key, int64_t limit, int64_t now_ms);

#endif
