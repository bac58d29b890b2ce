/* The store's inside, shared by store.c and store_artifact.c. */
#ifndef CYX_GATEWAY_STORE_INTERNAL_H
#define CYX_GATEWAY_STORE_INTERNAL_H

#include "store.h"

struct store {
    struct cyx_db *db;
    struct cyx_cache *cache;
    struct cyx_outbox_relay *outbox;
    struct gateway_limiter *logins;
};

void store_connection_give(struct cyx_db_conn **conn);
#define STORE_CLEANUP_CONN __attribute__((cleanup(store_connection_give)))

#endif
