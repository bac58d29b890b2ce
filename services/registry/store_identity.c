#include "store_identity.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"

#include "base/banned.h"

/* ---- tokens ---- */

enum cyx_status cyx_registry_store_token(struct cyx_registry_store *self,
                                         struct cyx_enrol_token *token, struct cyx_error *err)
{
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    enum cyx_status status = cyx_db_run(
        self->db,
        "with old as (delete from enrol_token where expires_at < now() - interval '90 days') "
        "insert into enrol_token (hash, node_id, made_by, expires_at) "
        "select $1, $2::uuid, $3, now() + $4 * interval '1 second' where $2::uuid is null "
        "or exists (select 1 from node where id = $2) "
        "or exists (select 1 from identity where node_id = $2) returning expires_at",
        &rows, err, CYX_DB_TEXT(token->hash), CYX_DB_TEXT(token->node_id),
        CYX_DB_TEXT(token->made_by), CYX_DB_INT(token->life_s));
    if (status == CYX_OK && cyx_db_rows(rows) == 0)
        status = cyx_error_set(err, CYX_ERR_NOT_FOUND, "/node_id", "no node %s", token->node_id);
    if (status == CYX_OK)
        token->expires_at_ms = cyx_db_time_ms(rows, 0, 0);
    return status;
}

/* ---- keys ---- */

/* Ends the node's present key, if it has one. */
static enum cyx_status end_keys(struct cyx_db_conn *conn, const char *node_id, const char *why,
                                struct cyx_error *err)
{
    return cyx_db_query(conn,
                        "update node_key set revoked_at = now(), revoked_why = $2 "
                        "where node_id = $1 and revoked_at is null",
                        NULL, err, CYX_DB_TEXT(node_id), CYX_DB_TEXT(why));
}

static enum cyx_status add_key(struct cyx_db_conn *conn, const char *node_id,
                               const char *public_key, struct cyx_error *err)
{
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    enum cyx_status status =
        cyx_db_query(conn,
                     "insert into node_key (public_key, node_id) "
                     "values ($1, $2) on conflict do nothing returning 1",
                     &rows, err, CYX_DB_TEXT(public_key), CYX_DB_TEXT(node_id));
    if (status == CYX_OK && cyx_db_rows(rows) == 0)
        status = cyx_error_set(err, CYX_ERR_CONFLICT, "/public_key",
                               "this key was a node's before: make a new one");
    if (status == CYX_OK) /* another key may be another machine: it proves itself again */
        status = cyx_db_query(
            conn,
            "update node set proof_due_at = now(), devices = (select jsonb_agg(jsonb_set(d, "
            "'{proof,due_ms}', '0') order by n) from jsonb_array_elements(devices) with "
            "ordinality as e(d, n)) where id = $1 and proof_due_at is not null",
            NULL, err, CYX_DB_TEXT(node_id));
    return status;
}

struct joining {
    const char *token_hash, *public_key;
    char node_id[CYX_ID_BYTES];
};

/* A node whose answer was lost asks again with the same token and key: the same node as before. */
static enum cyx_status joined_before(struct joining *joining, struct cyx_db_conn *conn,
                                     bool *ret_joined, struct cyx_error *err)
{
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    enum cyx_status status = cyx_db_query(
        conn,
        "select t.used_by from enrol_token t join node_key k on k.node_id = t.used_by "
        "join identity i on i.node_id = t.used_by where t.hash = $1 and t.expires_at > now() "
        "and k.public_key = $2 and k.revoked_at is null and i.revoked_at is null",
        &rows, err, CYX_DB_TEXT(joining->token_hash), CYX_DB_TEXT(joining->public_key));
    *ret_joined = status == CYX_OK && cyx_db_rows(rows) == 1;
    if (*ret_joined)
        memcpy(joining->node_id, cyx_db_text(rows, 0, 0), CYX_ID_BYTES - 1);
    return status;
}

static enum cyx_status join_body(void *ctx, struct cyx_db_conn *conn, struct cyx_error *err)
{
    struct joining *joining = ctx;
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    bool joined = false;
    cyx_id_new(joining->node_id);
    enum cyx_status status = joined_before(joining, conn, &joined, err);
    if (status != CYX_OK || joined)
        return status;
    status = cyx_db_query(
        conn,
        "update enrol_token set used_at = now(), used_by = coalesce(node_id, $2::uuid) "
        "where hash = $1 and used_at is null and expires_at > now() returning used_by",
        &rows, err, CYX_DB_TEXT(joining->token_hash), CYX_DB_TEXT(joining->node_id));
    if (status == CYX_OK && cyx_db_rows(rows) == 0)
        status = cyx_error_set(err, CYX_ERR_UNAUTHENTICATED, "/token",
                               "wrong, used already or too old: make one by `cyxwiz node token`");
    if (status != CYX_OK)
        return status;
    const char *node_id = cyx_db_text(rows, 0, 0);
    memcpy(joining->node_id, node_id, strnlen(node_id, CYX_ID_BYTES - 1));
    status = cyx_db_query(conn,
                          "insert into identity (node_id) values ($1) on conflict (node_id) do "
                          "update set revoked_at = null, revoked_why = null, rotate_wanted = false",
                          NULL, err, CYX_DB_TEXT(joining->node_id));
    if (status == CYX_OK)
        status = end_keys(conn, joining->node_id, "enrolled again", err);
    return status == CYX_OK ? add_key(conn, joining->node_id, joining->public_key, err) : status;
}

enum cyx_status cyx_registry_store_join(struct cyx_registry_store *self, const char *token_hash,
                                        const char *public_key, char ret_node_id[CYX_ID_BYTES],
                                        struct cyx_error *err)
{
    struct joining joining = {.token_hash = token_hash, .public_key = public_key};
    enum cyx_status status = cyx_db_transaction(self->db, join_body, &joining, err);
    if (status == CYX_OK)
        memcpy(ret_node_id, joining.node_id, CYX_ID_BYTES);
    return status;
}

struct renewing {
    const struct cyx_renewal *renewal;
    bool rotate_wanted;
};

static enum cyx_status renew_body(void *ctx, struct cyx_db_conn *conn, struct cyx_error *err)
{
    struct renewing *renewing = ctx;
    const struct cyx_renewal *renewal = renewing->renewal;
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    enum cyx_status status =
        cyx_db_query(conn,
                     "select i.rotate_wanted from identity i join node_key k using (node_id) "
                     "where i.node_id = $1 and i.revoked_at is null and k.public_key = $2 "
                     "and k.revoked_at is null for update",
                     &rows, err, CYX_DB_TEXT(renewal->node_id), CYX_DB_TEXT(renewal->public_key));
    if (status == CYX_OK && cyx_db_rows(rows) == 0)
        status =
            cyx_error_set(err, CYX_ERR_DENIED, "/public_key",
                          "this key is not the node's any more: enrol it again with a token of "
                          "`cyxwiz node token --node %s`",
                          renewal->node_id);
    if (status != CYX_OK)
        return status;
    renewing->rotate_wanted = cyx_db_bool(rows, 0, 0);
    if (!renewal->new_key)
        return CYX_OK;
    renewing->rotate_wanted = false;
    status = end_keys(conn, renewal->node_id, "rotated", err);
    if (status == CYX_OK)
        status = add_key(conn, renewal->node_id, renewal->new_key, err);
    if (status == CYX_OK)
        status = cyx_db_query(conn, "update identity set rotate_wanted = false where node_id = $1",
                              NULL, err, CYX_DB_TEXT(renewal->node_id));
    return status;
}

enum cyx_status cyx_registry_store_renew(struct cyx_registry_store *self,
                                         const struct cyx_renewal *renewal, bool *ret_rotate_wanted,
                                         struct cyx_error *err)
{
    struct renewing renewing = {.renewal = renewal};
    enum cyx_status status = cyx_db_transaction(self->db, renew_body, &renewing, err);
    if (status == CYX_OK)
        *ret_rotate_wanted = renewing.rotate_wanted;
    return status;
}

/* ---- revoking ---- */

struct revoking {
    const char *node_id, *why;
};

static enum cyx_status revoke_body(void *ctx, struct cyx_db_conn *conn, struct cyx_error *err)
{
    const struct revoking *revoking = ctx;
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    enum cyx_status status = cyx_db_query(
        conn,
        "insert into identity (node_id, revoked_at, revoked_why) select $1, now(), $2 "
        "where exists (select 1 from node where id = $1) "
        "or exists (select 1 from identity where node_id = $1) "
        "on conflict (node_id) do update set revoked_at = coalesce(identity.revoked_at, now()), "
        "revoked_why = coalesce(identity.revoked_why, excluded.revoked_why) returning 1",
        &rows, err, CYX_DB_TEXT(revoking->node_id), CYX_DB_TEXT(revoking->why));
    if (status == CYX_OK && cyx_db_rows(rows) == 0)
        status = cyx_error_set(err, CYX_ERR_NOT_FOUND, "/node_id", "no node %s", revoking->node_id);
    if (status == CYX_OK)
        status = end_keys(conn, revoking->node_id, revoking->why, err);
    return status == CYX_OK
               ? cyx_registry_store_take_offline(conn, revoking->node_id, NULL, "revoked", err)
               : status;
}

enum cyx_status cyx_registry_store_revoke(struct cyx_registry_store *self, const char *node_id,
                                          const char *why, struct cyx_error *err)
{
    struct revoking revoking = {node_id, why};
    enum cyx_status status = cyx_db_transaction(self->db, revoke_body, &revoking, err);
    if (status == CYX_OK)
        cyx_outbox_wake(self->outbox);
    return status;
}

enum cyx_status cyx_registry_store_want_rotation(struct cyx_registry_store *self,
                                                 const char *node_id, struct cyx_error *err)
{
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    enum cyx_status status =
        cyx_db_run(self->db,
                   "update identity set rotate_wanted = true where node_id = $1 "
                   "and revoked_at is null returning 1",
                   &rows, err, CYX_DB_TEXT(node_id));
    if (status == CYX_OK && cyx_db_rows(rows) == 0)
        status = cyx_error_set(err, CYX_ERR_NOT_FOUND, "/node_id",
                               "no node %s that has a key of its own", node_id);
    return status;
}

enum cyx_status cyx_registry_store_may_work(struct cyx_registry_store *self, const char *node_id,
                                            bool need_key, struct cyx_error *err)
{
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    enum cyx_status status =
        cyx_db_run(self->db, "select revoked_at is not null from identity where node_id = $1",
                   &rows, err, CYX_DB_TEXT(node_id));
    bool known = status == CYX_OK && cyx_db_rows(rows) == 1;
    if (known && cyx_db_bool(rows, 0, 0))
        status = cyx_error_set(
            err, CYX_ERR_DENIED, "/node_id",
            "revoked: an operator can let it in by `cyxwiz node token --node %s`", node_id);
    else if (status == CYX_OK && !known && need_key)
        status = cyx_error_set(err, CYX_ERR_DENIED, "/node_id", "no node joined under this id");
    return status;
}

enum cyx_status cyx_registry_store_key_of(struct cyx_registry_store *self, const char *node_id,
                                          char ret_public_key[CYX_NKEY_TEXT_BYTES],
                                          struct cyx_error *err)
{
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    enum cyx_status status = cyx_db_run(
        self->db, "select public_key from node_key where node_id = $1 and revoked_at is null",
        &rows, err, CYX_DB_TEXT(node_id));
    if (status == CYX_OK && cyx_db_rows(rows) == 0)
        return cyx_error_set(err, CYX_ERR_DENIED, "/node_id", "no node with a key under this id");
    if (status == CYX_OK)
        memcpy(ret_public_key, cyx_db_text(rows, 0, 0), CYX_NKEY_TEXT_BYTES);
    return status;
}

enum cyx_status cyx_registry_store_key_owner(struct cyx_registry_store *self,
                                             const char *public_key, char ret_node_id[CYX_ID_BYTES],
                                             struct cyx_error *err)
{
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    enum cyx_status status =
        cyx_db_run_one(self->db, "select node_id from node_key where public_key = $1", &rows, err,
                       CYX_DB_TEXT(public_key));
    if (status == CYX_OK)
        memcpy(ret_node_id, cyx_db_text(rows, 0, 0), CYX_ID_BYTES);
    return status;
}

enum cyx_status cyx_registry_store_revocations(struct cyx_registry_store *self, int64_t life_s,
                                               struct cyx_jwt_revocation **ret_list,
                                               size_t *ret_count, struct cyx_error *err)
{
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    enum cyx_status status =
        cyx_db_run(self->db,
                   "select public_key, ceil(extract(epoch from revoked_at))::bigint "
                   "from node_key where revoked_at > now() - $1 * interval '1 second' "
                   /* a node that rotates has its new key written down by then */
                   "and (revoked_why <> 'rotated' or revoked_at < now() - interval '5 s') "
                   "order by public_key",
                   &rows, err, CYX_DB_INT(life_s));
    size_t count = status == CYX_OK ? cyx_db_rows(rows) : 0;
    struct cyx_jwt_revocation *list = status == CYX_OK ? calloc(count + 1, sizeof(*list)) : NULL;
    if (status == CYX_OK && !list)
        status = cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for the revocations");
    for (size_t i = 0; list && i < count; i++) {
        memcpy(list[i].key, cyx_db_text(rows, i, 0), CYX_NKEY_TEXT_BYTES - 1);
        list[i].before_s = cyx_db_int(rows, i, 1);
    }
    if (status != CYX_OK)
        return status;
    *ret_list = list;
    *ret_count = count;
    return CYX_OK;
}
