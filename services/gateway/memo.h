/*
 * Answers that are remembered for a moment, so that many who ask for the same thing ask its owner once.
 *
 * An answer is young for MEMO_MS. The first who asks afterwards is told nothing and fetches it anew; until that is done,
 * and for MEMO_GRACE_MS at most, others still get the old one, so that no herd sets out together.
 *
 * An answer belongs to an account and is given to no other. Who fetches notes the generation first: an answer that
 * was forgotten meanwhile (its thing has changed) is not kept. Memory is bounded: SLOTS answers of ANSWER_LIMIT
 * bytes; keys that share a slot push each other out.
 *
 * Ownership: on the heap, by create and destroy; texts are copied. Any thread; never blocks for long.
 *
 *     uint64_t generation = memo_generation(memo, job_id);
 *     ... fetch ...
 *     memo_keep(memo, job_id, account_id, generation, text, length);
 */
#ifndef CYX_GATEWAY_MEMO_H
#define CYX_GATEWAY_MEMO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum { MEMO_MS = 100, MEMO_GRACE_MS = 400 };

struct memo;

/* NULL when memory ran out. */
struct memo *memo_create(void);
void memo_destroy(struct memo *self);

uint64_t memo_generation(struct memo *self, const char *key);
void memo_keep(struct memo *self, const char *key, const char *account_id, uint64_t generation,
               const char *text, size_t length);

/* Appends the account's answer to `ret_text`; false when there is none, or the caller is to fetch it anew. */
bool memo_find(struct memo *self, const char *key, const char *account_id,
               struct cyx_buf *ret_text);

/* What is remembered of `key`, and what is just being fetched, is not true any more. */
void memo_forget(struct memo *self, const char *key);

#endif
