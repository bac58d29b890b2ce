/* What the files of the registry's store share: a node's row, its events. Not for others. */
#ifndef CYX_REGISTRY_STORE_ROW_H
#define CYX_REGISTRY_STORE_ROW_H

#include "store.h"

#define NODE_COLUMNS                                                                               \
    "node.id, boot_id, name, version, status, devices, host_memory_bytes, cpus, price_per_hour, "  \
    "revision, enrolled_at, last_heartbeat_at, running_jobs, cpu_percent, memory_used_bytes, "     \
    "images_per_second, labels, region, closed"

/*
 * Revisions rise with each event of a node, and never fall behind the clock: consumers pass over what is older than
 * they know, and must not do so for ever when this schema was lost and made anew.
 */
#define NOW_MS "(extract(epoch from clock_timestamp()) * 1000)::bigint"
#define NEXT_REVISION "greatest(node.revision + 1, " NOW_MS ")"

/* What closes a node now: an order, a window, else what its benchmarks say, which is the SQL text `proof`. */
#define CLOSED_BY(proof)                                                                           \
    "case when node.drained_at is not null then 'draining' when exists (select 1 from "            \
    "maintenance m where m.node_id = node.id and now() >= m.starts_at and now() < m.ends_at) "     \
    "then 'maintenance' else " proof " end"
#define CLOSED_NOW CLOSED_BY("node.proof_closed")

/* A row of NODE_COLUMNS; a node that is online and closed to new jobs is CYX_NODE_DRAINING. */
enum cyx_status cyx_registry_row_read(const struct cyx_db_result *rows, size_t row,
                                      struct cyx_registry_node *ret_node, struct cyx_error *err);

/* Adds cyx.evt.node.{online,offline} of `node` to the transaction; offline takes a reason. */
enum cyx_status cyx_registry_row_tell(struct cyx_db_conn *conn,
                                      const struct cyx_registry_node *node, const char *reason,
                                      const struct cyx_trace *trace, struct cyx_error *err);

/* Adds a line to the node's history, and throws away lines older than 90 days. */
enum cyx_status cyx_registry_row_record(struct cyx_db_conn *conn, const char *node_id,
                                        const char *kind, const char *reason,
                                        struct cyx_error *err);

#endif
