/*
 * The registry's state: PostgreSQL (schema registry, migrations/registry) and, in front of it, Redis with the
 * newest load of each node. The only SQL of the service.
 *
 * Ownership: the store only refers to the pool, cache and relay, which belong to the service. Any thread.
 * Each change and the event that tells of it are one transaction.
 */
#ifndef CYX_REGISTRY_STORE_H
#define CYX_REGISTRY_STORE_H

#include "base/trace.h"
#include "contract/page.h"
#include "proof.h"
#include "registry.h"
#include "store/cache.h"
#include "store/db.h"
#include "store/outbox.h"

struct cyx_registry_store {
    struct cyx_db *db;
    struct cyx_cache *cache; /* NULL: none */
    struct cyx_outbox_relay *outbox;
    int64_t lost_ms; /* how long a cached load is worth showing */
    struct cyx_proof_settings proof;
};

/* Writes an enrolment, and an event if it is news; `node` gets its revision and times. */
enum cyx_status cyx_registry_store_enrol(struct cyx_registry_store *self,
                                         struct cyx_registry_node *node,
                                         const struct cyx_trace *trace, struct cyx_error *err);

/* Keeps a heartbeat of an enrolled node and boot; one of any other changes nothing. */
enum cyx_status cyx_registry_store_beat(struct cyx_registry_store *self, const char *node_id,
                                        const char *boot_id, const struct cyx_registry_load *load,
                                        struct cyx_error *err);

/* The same in the cache, for `lost_ms`. Never fails: a cache that is away is no cache. */
void cyx_registry_store_cache_load(struct cyx_registry_store *self, const char *node_id,
                                   const char *boot_id, const struct cyx_registry_load *load);
bool cyx_registry_store_cached_load(struct cyx_registry_store *self, const char *node_id,
                                    const char *boot_id, struct cyx_registry_load *ret_load);

/*
 * Carries a verdict out if the node still has that boot id and the other status, with its events; several
 * replicas may try, one does it. `ret_done` tells whether it was this one; `why` is kept with a node that is silent.
 */
enum cyx_status cyx_registry_store_judge(struct cyx_registry_store *self, const char *node_id,
                                         const char *boot_id, enum cyx_registry_verdict verdict,
                                         const struct cyx_registry_why *why, bool *ret_done,
                                         struct cyx_error *err);

/* That boot of the node says that it stops. */
enum cyx_status cyx_registry_store_leave(struct cyx_registry_store *self, const char *node_id,
                                         const char *boot_id, struct cyx_error *err);

/* In a transaction of the caller's: an online node (of that boot, unless NULL) goes offline, with its event. */
enum cyx_status cyx_registry_store_take_offline(struct cyx_db_conn *conn, const char *node_id,
                                                const char *boot_id, const char *reason,
                                                struct cyx_error *err);

enum cyx_status cyx_registry_store_get(struct cyx_registry_store *self, const char *node_id,
                                       struct cyx_registry_node *ret_node, struct cyx_error *err);

/*
 * Up to `limit` nodes by id behind `cursor` (NULL: from the first), of one status or (NULL) of any. The array
 * is malloc'ed, the caller frees it.
 */
/* enrolled_at (default), -enrolled_at, name, -name; as contract/page.h wants them. */
extern const struct cyx_page_order cyx_registry_orders[];

/* A page, and one node more where there is one. */
enum cyx_status cyx_registry_store_list(struct cyx_registry_store *self,
                                        const enum cyx_registry_status *wanted,
                                        const struct cyx_page *page,
                                        struct cyx_registry_node **ret_nodes, size_t *ret_count,
                                        struct cyx_error *err);

/* What is judged, of every node; malloc'ed, the caller frees it. */
struct cyx_registry_sight {
    char id[CYX_ID_BYTES], boot_id[CYX_ID_BYTES];
    enum cyx_registry_status status;
    int64_t stored_age_ms, host_memory_bytes;
};
enum cyx_status cyx_registry_store_sights(struct cyx_registry_store *self,
                                          struct cyx_registry_sight **ret_sights, size_t *ret_count,
                                          struct cyx_error *err);

#endif
