/* Who is let in, and who is not any more: tokens, joining, renewal, revocation, rotation. */
#include <stdlib.h>
#include <string.h>

#include "api.h"
#include "base/clock.h"
#include "base/log.h"
#include "contract/job_spec.h"
#include "contract/message.h"
#include "contract/subjects.h"
#include "store_identity.h"

#include "base/banned.h"

enum { WHY_LIMIT = 200 };

enum cyx_status cyx_registry_push_revocations(struct cyx_registry_app *app, struct cyx_error *err)
{
    struct cyx_jwt_revocation *list = NULL;
    size_t count = 0;
    if (!app->trust)
        return CYX_OK;
    enum cyx_status status = cyx_registry_store_revocations(
        &app->store, cyx_trust_token_life_s(app->trust), &list, &count, err);
    /* A server that never heard of a revocation needs none: an update makes it refuse who connects in that instant. */
    if (status == CYX_OK && (count || atomic_load(&app->has_revoked))) {
        status = cyx_trust_revoke(app->trust, list, count, err);
        atomic_store(&app->has_revoked, true);
    }
    free(list);
    return status;
}

/* A change is made and kept; that NATS could not be told of it is no failure of it: the watch tells it again. */
static void tell_nats(struct cyx_registry_app *app)
{
    struct cyx_error err = {0};
    if (cyx_registry_push_revocations(app, &err) != CYX_OK)
        cyx_log(CYX_LOG_WARN, "NATS does not know yet of keys that were revoked",
                CYX_STR("error", err.message));
}

enum cyx_status cyx_registry_api_token(void *ctx, const struct cyx_bus_message *request,
                                       struct cyx_buf *reply, struct cyx_error *err)
{
    struct cyx_registry_app *app = ctx;
    CYX_CLEANUP_JSON json_t *message = NULL;
    char token[CYX_ENROL_TOKEN_BYTES], hash[CYX_SHA256_HEX];
    struct cyx_enrol_token row = {.hash = hash, .life_s = CYX_ENROL_TOKEN_LIFE_S};
    enum cyx_status status = cyx_message_parse(request->data, request->length, &message, err);
    if (status == CYX_OK)
        status = cyx_message_id(message, "account_id", &row.made_by, err);
    if (status == CYX_OK)
        status = cyx_message_maybe_id(message, "node_id", &row.node_id, err);
    if (status == CYX_OK)
        status = cyx_message_maybe_int(message, "life_s", 1, CYX_ENROL_TOKEN_LIFE_LIMIT_S,
                                       &row.life_s, err);
    if (status == CYX_OK && !app->trust)
        status =
            cyx_error_set(err, CYX_ERR_UNSUPPORTED, NULL,
                          "this NATS has users of its own: set CYXWIZ_NATS_TRUST to the folder "
                          "of `cyxwiz trust init`");
    if (status == CYX_OK)
        status = cyx_enrol_token_new(token, hash, err);
    if (status == CYX_OK)
        status = cyx_registry_store_token(&app->store, &row, err);
    if (status != CYX_OK)
        return status;
    cyx_log(CYX_LOG_INFO, "enrolment token made", CYX_STR("account_id", row.made_by),
            CYX_STR("node_id", row.node_id), CYX_STR("request_id", request->meta.request_id));
    return cyx_message_write(json_pack("{s:s, s:o, s:o}", "token", token, "node_id",
                                       cyx_message_new_text(row.node_id), "expires_at",
                                       cyx_message_new_time(row.expires_at_ms)),
                             reply, err);
}

/* {node_id, nats_token, expires_at, rotate} */
static enum cyx_status admit(struct cyx_registry_app *app, const char *node_id,
                             const char *public_key, bool rotate, struct cyx_buf *reply,
                             struct cyx_error *err)
{
    CYX_CLEANUP_BUF struct cyx_buf token = {0};
    int64_t expires_s = 0;
    enum cyx_status status =
        cyx_trust_admit(app->trust, node_id, public_key, &token, &expires_s, err);
    if (status != CYX_OK)
        return status;
    return cyx_message_write(json_pack("{s:s, s:s, s:o, s:b}", "node_id", node_id, "nats_token",
                                       token.data, "expires_at",
                                       cyx_message_new_time(expires_s * 1000), "rotate", rotate),
                             reply, err);
}

static enum cyx_status need_trust(const struct cyx_registry_app *app, struct cyx_error *err)
{
    return app->trust ? CYX_OK
                      : cyx_error_set(err, CYX_ERR_UNSUPPORTED, NULL,
                                      "this NATS has users of its own: nodes cannot join");
}

enum cyx_status cyx_registry_api_join(void *ctx, const struct cyx_bus_message *request,
                                      struct cyx_buf *reply, struct cyx_error *err)
{
    struct cyx_registry_app *app = ctx;
    CYX_CLEANUP_JSON json_t *message = NULL;
    struct cyx_joining joining;
    char hash[CYX_SHA256_HEX], node_id[CYX_ID_BYTES];
    enum cyx_status status = need_trust(app, err);
    if (status == CYX_OK)
        status = cyx_message_parse(request->data, request->length, &message, err);
    if (status == CYX_OK)
        status = cyx_joining_parse(message, &joining, err);
    if (status == CYX_OK)
        status = cyx_enrol_token_hash(joining.token, hash, err);
    if (status == CYX_OK)
        status = cyx_registry_store_join(&app->store, hash, joining.public_key, node_id, err);
    if (status != CYX_OK)
        return status;
    cyx_metric_add(app->changes, 1, "joined");
    cyx_log(CYX_LOG_INFO, "a node joined", CYX_STR("node_id", node_id),
            CYX_STR("public_key", joining.public_key),
            CYX_STR("request_id", request->meta.request_id));
    tell_nats(app); /* of the key that it had before, if any */
    return admit(app, node_id, joining.public_key, false, reply, err);
}

enum cyx_status cyx_registry_api_renew(void *ctx, const struct cyx_bus_message *request,
                                       struct cyx_buf *reply, struct cyx_error *err)
{
    struct cyx_registry_app *app = ctx;
    CYX_CLEANUP_JSON json_t *message = NULL;
    struct cyx_renewal renewal;
    bool rotate = false;
    enum cyx_status status = need_trust(app, err);
    if (status == CYX_OK)
        status = cyx_message_parse(request->data, request->length, &message, err);
    if (status == CYX_OK)
        status = cyx_renewal_parse(message, cyx_clock_unix_ms(), &renewal, err);
    if (status == CYX_OK)
        status = cyx_registry_store_renew(&app->store, &renewal, &rotate, err);
    if (status != CYX_OK)
        return status;
    if (renewal.new_key) {
        cyx_log(CYX_LOG_INFO, "a node has a new key", CYX_STR("node_id", renewal.node_id),
                CYX_STR("public_key", renewal.new_key),
                CYX_STR("request_id", request->meta.request_id));
    } /* the watch tells NATS of the old key: by then the node has the new one */
    return admit(app, renewal.node_id, renewal.new_key ? renewal.new_key : renewal.public_key,
                 rotate, reply, err);
}

enum cyx_status cyx_registry_api_revoke(void *ctx, const struct cyx_bus_message *request,
                                        struct cyx_buf *reply, struct cyx_error *err)
{
    struct cyx_registry_app *app = ctx;
    CYX_CLEANUP_JSON json_t *message = NULL;
    const char *node_id = NULL, *why = NULL;
    enum cyx_status status = cyx_message_parse(request->data, request->length, &message, err);
    if (status == CYX_OK)
        status = cyx_message_id(message, "node_id", &node_id, err);
    if (status == CYX_OK)
        status = cyx_message_maybe_text(message, "reason", &why, err);
    if (status == CYX_OK && why && strlen(why) > WHY_LIMIT)
        status =
            cyx_error_set(err, CYX_ERR_INVALID, "/reason", "expected at most %d bytes", WHY_LIMIT);
    if (status == CYX_OK)
        status = cyx_registry_store_revoke(&app->store, node_id, why ? why : "by an operator", err);
    if (status != CYX_OK)
        return status;
    cyx_metric_add(app->changes, 1, "revoked");
    cyx_log(CYX_LOG_INFO, "node revoked", CYX_STR("node_id", node_id), CYX_STR("reason", why),
            CYX_STR("request_id", request->meta.request_id));
    tell_nats(app);
    return cyx_registry_answer_node(app, node_id, reply, err);
}

enum cyx_status cyx_registry_api_rotate(void *ctx, const struct cyx_bus_message *request,
                                        struct cyx_buf *reply, struct cyx_error *err)
{
    struct cyx_registry_app *app = ctx;
    CYX_CLEANUP_JSON json_t *message = NULL;
    const char *node_id = NULL;
    char subject[CYX_SUBJECT_BYTES];
    enum cyx_status status = cyx_message_parse(request->data, request->length, &message, err);
    if (status == CYX_OK)
        status = cyx_message_id(message, "node_id", &node_id, err);
    if (status == CYX_OK)
        status = cyx_registry_store_want_rotation(&app->store, node_id, err);
    if (status == CYX_OK)
        status = cyx_subject_node(subject, node_id, CYX_NODE_ROTATE);
    if (status != CYX_OK)
        return status;
    /* It rotates now if it hears this, else when it next asks for a token. */
    (void)cyx_bus_publish(app->bus, subject, &request->meta, "{}", 2, NULL);
    return cyx_message_write(json_pack("{s:s, s:b}", "node_id", node_id, "rotating", 1), reply,
                             err);
}

/* {node_id, job_id, attempt, rank} -> {nats_token, expires_at}; both null where NATS has users of its own. */
enum cyx_status cyx_registry_api_gang(void *ctx, const struct cyx_bus_message *request,
                                      struct cyx_buf *reply, struct cyx_error *err)
{
    struct cyx_registry_app *app = ctx;
    CYX_CLEANUP_JSON json_t *message = NULL;
    CYX_CLEANUP_BUF struct cyx_buf token = {0};
    const char *node_id = NULL;
    char public_key[CYX_NKEY_TEXT_BYTES];
    struct cyx_trust_member member = {.public_key = public_key};
    int64_t rank = 0, expires_s = 0;
    enum cyx_status status = cyx_message_parse(request->data, request->length, &message, err);
    if (status == CYX_OK)
        status = cyx_message_id(message, "node_id", &node_id, err);
    if (status == CYX_OK)
        status = cyx_message_id(message, "job_id", &member.job_id, err);
    if (status == CYX_OK)
        status = cyx_message_int(message, "attempt", 1, INT64_MAX, &member.attempt, err);
    if (status == CYX_OK)
        status = cyx_message_int(message, "rank", 0, CYX_JOB_NODES_LIMIT - 1, &rank, err);
    if (status != CYX_OK)
        return status;
    if (!app->trust)
        return cyx_message_write(json_pack("{s:n, s:n}", "nats_token", "expires_at"), reply, err);
    member.rank = (int)rank;
    status = cyx_registry_store_key_of(&app->store, node_id, public_key, err);
    if (status == CYX_OK)
        status = cyx_trust_admit_member(app->trust, &member, &token, &expires_s, err);
    if (status != CYX_OK)
        return status;
    return cyx_message_write(json_pack("{s:s, s:o}", "nats_token", token.data, "expires_at",
                                       cyx_message_new_time(expires_s * 1000)),
                             reply, err);
}
