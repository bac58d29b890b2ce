/* The store's inside, shared by the store*.c files. */
#ifndef CYX_GATEWAY_STORE_INTERNAL_H
#define CYX_GATEWAY_STORE_INTERNAL_H

#include <pthread.h>

#include "limit.h"
#include "store.h"

enum { RECENT_SLOTS = 1024, RECENT_LOCKS = 32, RECENT_MS = 1000 };

/* A session or key that was found in the last second. */
struct recent {
    char hash[GATEWAY_HASH_BYTES]; /* of the token */
    int64_t until_ns;
    struct store_holder holder;
};

struct store {
    struct cyx_db *db;
    struct cyx_cache *cache;
    struct cyx_outbox_relay *outbox;
    struct limit *limit;
    pthread_mutex_t recent_locks[RECENT_LOCKS];
    struct recent recent[RECENT_SLOTS];
};

void store_connection_give(struct cyx_db_conn **conn);
#define STORE_CLEANUP_CONN __attribute__((cleanup(store_connection_give)))

/* Columns id, email, name, role from `column` on. */
void store_read_account(const struct cyx_db_result *rows, size_t row, size_t column,
                        struct gateway_account *ret_account);

/* Nothing that is cached of the account's sessions and keys is believed any more. */
enum cyx_status store_forget_account(struct store *self, struct cyx_db_conn *conn,
                                     const char *account_id, struct cyx_error *err);

#endif
