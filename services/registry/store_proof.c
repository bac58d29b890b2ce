#include "store_proof.h"

#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "base/version.h"
#include "contract/message.h"
#include "store_row.h"
#include "wire.h"

#include "base/banned.h"

enum cyx_status cyx_registry_store_require(struct cyx_registry_store *self, struct cyx_error *err)
{
    return cyx_db_run(self->db,
                      self->proof.required
                          ? "update node set proof_closed = 'proving', proof_due_at = now() "
                            "where proof_due_at is null"
                          : "update node set proof_closed = '', proof_due_at = null "
                            "where proof_due_at is not null or proof_closed <> ''",
                      NULL, err);
}

/* ---- challenges ---- */

struct opening {
    const char *node_id;
    struct cyx_challenge challenge;
};

static enum cyx_status open_body(void *ctx, struct cyx_db_conn *conn, struct cyx_error *err)
{
    struct opening *opening = ctx;
    struct cyx_registry_node node;
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL, *made = NULL;
    enum cyx_status status = cyx_db_query(
        conn,
        "select " NODE_COLUMNS " from node where status = 'online' and proof_due_at <= now() "
        "and ($1::uuid is null or id = $1) "
        "and not exists (select 1 from challenge c where c.node_id = node.id) "
        "and not exists (select 1 from identity i where i.node_id = node.id and i.revoked_at is "
        "not null) order by proof_due_at limit 1 for update skip locked",
        &rows, err, CYX_DB_TEXT(opening->node_id));
    if (status == CYX_OK && cyx_db_rows(rows) == 0)
        return CYX_ERR_NOT_FOUND;
    if (status == CYX_OK)
        status = cyx_registry_row_read(rows, 0, &node, err);
    if (status != CYX_OK)
        return status;
    int64_t now_ms = cyx_clock_unix_ms(), due_ms = cyx_proof_due_ms(&node); /* clocks differ */
    const struct cyx_registry_device *device =
        cyx_proof_due(&node, due_ms > now_ms ? due_ms : now_ms);
    struct cyx_challenge *challenge = &opening->challenge;
    cyx_id_new(challenge->id);
    cyx_text_copy(challenge->node_id, sizeof(challenge->node_id), node.id);
    cyx_text_copy(challenge->boot_id, sizeof(challenge->boot_id), node.boot_id);
    cyx_text_copy(challenge->backend, sizeof(challenge->backend), device->backend);
    challenge->device_index = device->index;
    status = cyx_db_query(conn,
                          "insert into challenge (id, node_id, boot_id, backend, device_index) "
                          "values ($1, $2, $3, $4, $5) on conflict do nothing returning 1",
                          &made, err, CYX_DB_TEXT(challenge->id), CYX_DB_TEXT(challenge->node_id),
                          CYX_DB_TEXT(challenge->boot_id), CYX_DB_TEXT(challenge->backend),
                          CYX_DB_INT(challenge->device_index));
    return status == CYX_OK && cyx_db_rows(made) == 0 ? CYX_ERR_NOT_FOUND : status;
}

enum cyx_status cyx_registry_store_challenge(struct cyx_registry_store *self, const char *node_id,
                                             struct cyx_challenge *ret_challenge,
                                             struct cyx_error *err)
{
    struct opening opening = {.node_id = node_id};
    enum cyx_status status = cyx_db_transaction(self->db, open_body, &opening, err);
    if (status == CYX_OK)
        *ret_challenge = opening.challenge;
    return status;
}

enum cyx_status cyx_registry_store_ready(struct cyx_registry_store *self, const char *node_id,
                                         const char *challenge_id,
                                         const struct cyx_proof_told *told,
                                         const struct cyx_proof_task *task, struct cyx_error *err)
{
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    CYX_CLEANUP_BUF struct cyx_buf json = {0};
    enum cyx_status status = cyx_message_write(cyx_registry_told_json(told), &json, err);
    if (status == CYX_OK)
        status = cyx_db_run(
            self->db,
            "update challenge set told = $3::jsonb, seed = $4, width = $5, depth = $6, rows = $7, "
            "started_at = clock_timestamp() where id = $1 and node_id = $2 and started_at is null "
            "returning 1",
            &rows, err, CYX_DB_TEXT(challenge_id), CYX_DB_TEXT(node_id), CYX_DB_TEXT(json.data),
            CYX_DB_INT((int64_t)task->seed), CYX_DB_INT(task->size.width),
            CYX_DB_INT(task->size.depth), CYX_DB_INT(task->rows));
    if (status == CYX_OK && cyx_db_rows(rows) == 0)
        status = cyx_error_set(err, CYX_ERR_CONFLICT, "/challenge_id",
                               "this challenge is over, or its seed was told already");
    return status;
}

#define CHALLENGE_COLUMNS                                                                          \
    "id, node_id, boot_id, backend, device_index, coalesce((extract(epoch from "                   \
    "clock_timestamp() - started_at) * 1000)::bigint, -1), told, seed, width, depth, rows"

static enum cyx_status read_challenge(const struct cyx_db_result *rows,
                                      struct cyx_challenge *ret_challenge, struct cyx_error *err)
{
    struct cyx_challenge challenge = {0};
    cyx_text_copy(challenge.id, sizeof(challenge.id), cyx_db_text(rows, 0, 0));
    cyx_text_copy(challenge.node_id, sizeof(challenge.node_id), cyx_db_text(rows, 0, 1));
    cyx_text_copy(challenge.boot_id, sizeof(challenge.boot_id), cyx_db_text(rows, 0, 2));
    cyx_text_copy(challenge.backend, sizeof(challenge.backend), cyx_db_text(rows, 0, 3));
    challenge.device_index = cyx_db_int(rows, 0, 4);
    challenge.elapsed_ms = cyx_db_int(rows, 0, 5);
    challenge.task = (struct cyx_proof_task){
        .seed = (uint64_t)cyx_db_int(rows, 0, 7),
        .size = {cyx_db_int(rows, 0, 8), cyx_db_int(rows, 0, 9)},
        .rows = cyx_db_int(rows, 0, 10),
    };
    CYX_CLEANUP_JSON json_t *told = json_loads(cyx_db_text(rows, 0, 6), 0, NULL);
    enum cyx_status status = told ? cyx_registry_told_parse(told, &challenge.told, err) : CYX_OK;
    if (status == CYX_OK)
        *ret_challenge = challenge;
    return status;
}

enum cyx_status cyx_registry_store_end_challenge(struct cyx_registry_store *self,
                                                 const char *node_id, const char *challenge_id,
                                                 struct cyx_challenge *ret_challenge,
                                                 struct cyx_error *err)
{
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    enum cyx_status status =
        cyx_db_run(self->db,
                   "delete from challenge where id = $1 and node_id = $2 "
                   "returning " CHALLENGE_COLUMNS,
                   &rows, err, CYX_DB_TEXT(challenge_id), CYX_DB_TEXT(node_id));
    if (status == CYX_OK && cyx_db_rows(rows) == 0)
        status = cyx_error_set(err, CYX_ERR_NOT_FOUND, "/challenge_id", "this challenge is over");
    return status == CYX_OK ? read_challenge(rows, ret_challenge, err) : status;
}

enum cyx_status cyx_registry_store_expire_challenge(struct cyx_registry_store *self,
                                                    struct cyx_challenge *ret_challenge,
                                                    struct cyx_error *err)
{
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    enum cyx_status status = cyx_db_run(
        self->db,
        "delete from challenge where node_id = (select node_id from challenge where made_at < "
        "clock_timestamp() - $1 * interval '1 millisecond' limit 1 for update skip locked) "
        "returning " CHALLENGE_COLUMNS,
        &rows, err, CYX_DB_INT(self->proof.deadline_ms));
    if (status == CYX_OK && cyx_db_rows(rows) == 0)
        return CYX_ERR_NOT_FOUND;
    return status == CYX_OK ? read_challenge(rows, ret_challenge, err) : status;
}

/* ---- what came of it ---- */

struct proving {
    const struct cyx_proof_settings *settings;
    const struct cyx_challenge *challenge;
    const struct cyx_proof_outcome *outcome;
    double random;
    struct cyx_registry_node node; /* afterwards; id "": it was left */
};

static struct cyx_registry_device *find_device(struct cyx_registry_node *node,
                                               const struct cyx_challenge *challenge)
{
    for (size_t i = 0; i < node->n_devices; i++)
        if (node->devices[i].index == challenge->device_index &&
            strcmp(node->devices[i].backend, challenge->backend) == 0)
            return &node->devices[i];
    return NULL;
}

static enum cyx_status write_proofs(struct cyx_db_conn *conn, struct proving *proving,
                                    const struct cyx_registry_node *node, struct cyx_error *err)
{
    struct cyx_registry_why why = {0};
    char was[sizeof(node->closed)];
    CYX_CLEANUP_BUF struct cyx_buf devices = {0};
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    const char *closes = proving->settings->required ? cyx_proof_closes(node, &why) : "";
    cyx_text_copy(was, sizeof(was), node->closed);
    enum cyx_status status =
        cyx_message_write(cyx_registry_devices_json(node, true), &devices, err);
    if (status == CYX_OK)
        status = cyx_db_query_one(
            conn,
            "update node set devices = $2::jsonb, proof_closed = $3, closed = " CLOSED_BY(
                "$3::text") ", proof_due_at = to_timestamp($4::float8 / 1000), "
                            "revision = " NEXT_REVISION " where id = $1 returning " NODE_COLUMNS,
            &rows, err, CYX_DB_TEXT(node->id), CYX_DB_TEXT(devices.data), CYX_DB_TEXT(closes),
            CYX_DB_INT(cyx_proof_due_ms(node)));
    if (status == CYX_OK)
        status = cyx_registry_row_read(rows, 0, &proving->node, err);
    const struct cyx_registry_node *after = &proving->node;
    if (status == CYX_OK && strcmp(was, after->closed) != 0)
        status = cyx_registry_row_record(
            conn, after->id, after->closed[0] ? "closed" : "opened",
            strcmp(after->closed, "unproven") == 0 ? why.message : after->closed, err);
    return status == CYX_OK ? cyx_registry_row_tell(conn, after, NULL, NULL, err) : status;
}

static enum cyx_status prove_body(void *ctx, struct cyx_db_conn *conn, struct cyx_error *err)
{
    struct proving *proving = ctx;
    struct cyx_registry_node node;
    char outdated[160];
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    proving->node.id[0] = '\0';
    enum cyx_status status =
        cyx_db_query(conn,
                     "select " NODE_COLUMNS " from node where id = $1 and boot_id = $2 "
                     "and status = 'online' for update",
                     &rows, err, CYX_DB_TEXT(proving->challenge->node_id),
                     CYX_DB_TEXT(proving->challenge->boot_id));
    if (status != CYX_OK || cyx_db_rows(rows) == 0)
        return status;
    status = cyx_registry_row_read(rows, 0, &node, err);
    struct cyx_registry_device *device =
        status == CYX_OK ? find_device(&node, proving->challenge) : NULL;
    if (!device)
        return status;
    struct cyx_proof_outcome outcome = *proving->outcome;
    cyx_registry_outdated(node.version, cyx_version(), outdated);
    outcome.outdated = outdated;
    cyx_proof_judge(proving->settings, &outcome, proving->random, cyx_clock_unix_ms(), device);
    return write_proofs(conn, proving, &node, err);
}

enum cyx_status cyx_registry_store_prove(struct cyx_registry_store *self,
                                         const struct cyx_challenge *challenge,
                                         const struct cyx_proof_outcome *outcome, double random,
                                         struct cyx_registry_node *ret_node, struct cyx_error *err)
{
    struct proving proving = {
        .settings = &self->proof, .challenge = challenge, .outcome = outcome, .random = random};
    enum cyx_status status = cyx_db_transaction(self->db, prove_body, &proving, err);
    if (status != CYX_OK)
        return status;
    cyx_outbox_wake(self->outbox);
    *ret_node = proving.node;
    return CYX_OK;
}
