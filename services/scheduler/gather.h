/*
 * Words of workers that come at the same time are heard in one transaction: whoever finds nobody at it takes along
 * what waits (as a group commit does). A word that comes alone waits for nobody.
 *
 * Ownership: made before the first handler runs, freed behind the last; the words are the callers'. Any thread.
 */
#ifndef CYX_SCHEDULER_GATHER_H
#define CYX_SCHEDULER_GATHER_H

#include "store.h"

struct cyx_sched_gather;

/* NULL: no memory. `store` outlives it. */
struct cyx_sched_gather *cyx_sched_gather_create(struct cyx_sched_store *store);
void cyx_sched_gather_destroy(struct cyx_sched_gather *self); /* NULL is fine */

/* Returns once the word is heard; its status is what cyx_sched_store_hear() says of it. */
enum cyx_status cyx_sched_gather_hear(struct cyx_sched_gather *self, struct cyx_sched_word *word,
                                      struct cyx_error *err);

#endif
