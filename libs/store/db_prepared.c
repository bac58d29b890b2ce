/* Statements that a connection has seen before are prepared: parsing and planning cost more than most of them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/db_internal.h"

#include "base/banned.h"

enum { LIMIT = 256, SLOTS = 512 }; /* statements a connection; slots are a power of two above it */

struct statement {
    char *sql; /* NULL: the slot is free */
    unsigned number;
    bool ready;
};

struct cyx_db_prepared {
    struct statement slots[SLOTS];
    unsigned count;
};

void cyx_db_prepared_free(struct cyx_db_prepared *self)
{
    for (size_t i = 0; self && i < SLOTS; i++)
        free(self->slots[i].sql);
    free(self);
}

/* FNV-1a, http://www.isthe.com/chongo/tech/comp/fnv/ */
static uint64_t hash(const char *text)
{
    uint64_t value = 0xcbf29ce484222325U;
    for (; *text; text++)
        value = (value ^ (unsigned char)*text) * 0x100000001b3U;
    return value;
}

/* The statement's slot, or the free one where it belongs. */
static struct statement *find(struct cyx_db_prepared *self, const char *sql)
{
    for (uint64_t at = hash(sql);; at++) {
        struct statement *slot = &self->slots[at % SLOTS];
        if (!slot->sql || strcmp(slot->sql, sql) == 0)
            return slot;
    }
}

/* Notes a statement that is new here; it is prepared when it comes again. */
static void note(struct cyx_db_prepared *self, struct statement *slot, const char *sql)
{
    if (self->count >= LIMIT)
        return;
    slot->sql = strdup(sql);
    if (slot->sql)
        slot->number = self->count++;
}

bool cyx_db_prepare(struct cyx_db_conn *conn, const char *sql, char ret_name[CYX_DB_NAME_BYTES],
                    PGresult **ret_failed)
{
    *ret_failed = NULL;
    if (!conn->prepared)
        conn->prepared = calloc(1, sizeof(*conn->prepared));
    if (!conn->prepared)
        return false;
    struct statement *slot = find(conn->prepared, sql);
    if (!slot->sql) {
        note(conn->prepared, slot, sql);
        return false;
    }
    snprintf(ret_name, CYX_DB_NAME_BYTES, "cyx%u", slot->number);
    if (slot->ready)
        return true;
    PGresult *done = PQprepare(conn->pg, ret_name, sql, 0, NULL);
    if (PQresultStatus(done) != PGRES_COMMAND_OK) {
        *ret_failed = done;
        return false;
    }
    PQclear(done);
    slot->ready = true;
    return true;
}
