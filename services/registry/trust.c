#include "trust.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/id.h"
#include "contract/message.h"
#include "contract/subjects.h"
#include "svc/svc.h"

#include "base/banned.h"

enum { FILE_LIMIT = 4096, PUSH_MS = 3000 };

struct cyx_trust {
    struct cyx_nkey signing, operator_key;
    char account[CYX_NKEY_TEXT_BYTES];
    int64_t token_life_s;
    struct cyx_bus *system;
};

static enum cyx_status read_file(const char *folder, const char *name, struct cyx_buf *ret_text,
                                 struct cyx_error *err)
{
    CYX_CLEANUP_BUF struct cyx_buf path = {0};
    cyx_buf_printf(&path, "%s/%s", folder, name);
    return cyx_buf_read_file(ret_text, path.data, FILE_LIMIT, err);
}

static enum cyx_status read_seed(const char *folder, const char *name, enum cyx_nkey_kind kind,
                                 struct cyx_nkey *ret_key, struct cyx_error *err)
{
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    enum cyx_status status = read_file(folder, name, &text, err);
    if (status == CYX_OK)
        status = cyx_nkey_parse_seed(text.data, kind, ret_key, err);
    if (text.data)
        explicit_bzero(text.data, text.length);
    return status;
}

static enum cyx_status read_account(struct cyx_trust *self, const char *folder,
                                    struct cyx_error *err)
{
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    enum cyx_status status = read_file(folder, "account", &text, err);
    if (status != CYX_OK)
        return status;
    if (text.data)
        text.data[strcspn(text.data, " \r\n")] = '\0';
    if (!text.data || !cyx_nkey_public_valid(text.data, CYX_NKEY_ACCOUNT))
        return cyx_error_set(err, CYX_ERR_CORRUPT, NULL, "%s/account holds no account's key",
                             folder);
    memcpy(self->account, text.data, CYX_NKEY_TEXT_BYTES);
    return CYX_OK;
}

static enum cyx_status connect_system(struct cyx_trust *self, const char *folder,
                                      const struct cyx_bus_options *server, struct cyx_error *err)
{
    CYX_CLEANUP_BUF struct cyx_buf creds = {0};
    cyx_buf_printf(&creds, "%s/system.creds", folder);
    struct cyx_bus_options options = *server;
    options.name = "registry-system";
    options.user = options.password = options.inbox_prefix = NULL;
    options.creds_file = creds.data;
    options.workers = 1;
    options.observe = NULL;
    return cyx_bus_connect(&options, &self->system, err);
}

enum cyx_status cyx_trust_open(const char *folder, const struct cyx_bus_options *server,
                               int64_t token_life_s, struct cyx_trust **ret_trust,
                               struct cyx_error *err)
{
    struct cyx_trust *self = calloc(1, sizeof(*self));
    if (!self)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for the keys");
    self->token_life_s = token_life_s;
    enum cyx_status status = read_account(self, folder, err);
    if (status == CYX_OK)
        status = read_seed(folder, "account-signing.seed", CYX_NKEY_ACCOUNT, &self->signing, err);
    if (status == CYX_OK)
        status =
            read_seed(folder, "operator-signing.seed", CYX_NKEY_OPERATOR, &self->operator_key, err);
    if (status == CYX_OK)
        status = connect_system(self, folder, server, err);
    if (status != CYX_OK) {
        cyx_trust_close(self);
        return status;
    }
    *ret_trust = self;
    return CYX_OK;
}

void cyx_trust_close(struct cyx_trust *self)
{
    if (!self)
        return;
    cyx_bus_destroy(self->system);
    cyx_nkey_wipe(&self->signing);
    cyx_nkey_wipe(&self->operator_key);
    free(self);
}

enum cyx_status cyx_trust_admit(const struct cyx_trust *self, const char *node_id,
                                const char *public_key, struct cyx_buf *ret_token,
                                int64_t *ret_expires_s, struct cyx_error *err)
{
    /* The first two are the node's room, which it also reads; the rest end with who speaks. */
    static const char *const before[] = {"cyx.node.",           "_INBOX_",
                                         "cyx.job.*.metrics.",  "cyx.job.*.log.",
                                         "cyx.svc.registry.*.", "cyx.svc.scheduler.*."};
    enum { RULES = CYX_COUNT_OF(before), ROOMS = 2 };
    char rules[RULES][CYX_SUBJECT_BYTES], name[64];
    for (size_t i = 0; i < RULES; i++)
        snprintf(rules[i], CYX_SUBJECT_BYTES, "%s%s%s", before[i], node_id, i < ROOMS ? ".>" : "");
    const char *const publish[] = {rules[0], rules[2], rules[3], rules[4], rules[5], NULL};
    const char *const subscribe[] = {rules[0], rules[1], NULL};
    snprintf(name, sizeof(name), "node %s", node_id);
    int64_t now_s = cyx_clock_unix_ms() / 1000;
    const struct cyx_jwt_user claims = {.subject = public_key,
                                        .name = name,
                                        .account = self->account,
                                        .publish = publish,
                                        .subscribe = subscribe,
                                        .expires_s = now_s + self->token_life_s};
    *ret_expires_s = claims.expires_s;
    return cyx_jwt_user_write(&claims, &self->signing, now_s, ret_token, err);
}

enum cyx_status cyx_trust_admit_member(const struct cyx_trust *self,
                                       const struct cyx_trust_member *member,
                                       struct cyx_buf *ret_token, int64_t *ret_expires_s,
                                       struct cyx_error *err)
{
    char says[CYX_SUBJECT_BYTES], hears[CYX_SUBJECT_BYTES], name[96];
    if (cyx_subject_gang(says, member->job_id, member->attempt, member->rank, -1) != CYX_OK ||
        cyx_subject_gang(hears, member->job_id, member->attempt, -1, member->rank) != CYX_OK)
        return cyx_error_set(err, CYX_ERR_INVALID, "/job_id", "%s is no job's id", member->job_id);
    const char *const publish[] = {says, NULL};
    const char *const subscribe[] = {hears, NULL};
    snprintf(name, sizeof(name), "member %d of job %s", member->rank, member->job_id);
    int64_t now_s = cyx_clock_unix_ms() / 1000;
    const struct cyx_jwt_user claims = {.subject = member->public_key,
                                        .name = name,
                                        .account = self->account,
                                        .publish = publish,
                                        .subscribe = subscribe,
                                        .expires_s = now_s + self->token_life_s};
    *ret_expires_s = claims.expires_s;
    return cyx_jwt_user_write(&claims, &self->signing, now_s, ret_token, err);
}

/* {"data":{"code":200}} or {"error":{"code":…,"description":…}} */
static enum cyx_status read_verdict(const struct cyx_buf *reply, struct cyx_error *err)
{
    CYX_CLEANUP_JSON json_t *json = json_loadb(reply->data, reply->length, 0, NULL);
    const json_t *error = json_object_get(json, "error");
    const char *why = json_string_value(json_object_get(error, "description"));
    if (json && !error)
        return CYX_OK;
    return cyx_error_set(err, CYX_ERR_UNAVAILABLE, NULL, "NATS did not take the revocations: %s",
                         why ? why : "its answer cannot be read");
}

enum cyx_status cyx_trust_revoke(const struct cyx_trust *self,
                                 const struct cyx_jwt_revocation *revocations, size_t count,
                                 struct cyx_error *err)
{
    char subject[CYX_SUBJECT_BYTES];
    CYX_CLEANUP_BUF struct cyx_buf token = {0};
    CYX_CLEANUP_BUF struct cyx_buf reply = {0};
    int64_t latest_s = 0; /* the same list gives the same token */
    for (size_t i = 0; i < count; i++)
        latest_s = revocations[i].before_s > latest_s ? revocations[i].before_s : latest_s;
    const struct cyx_jwt_account claims = {.subject = self->account,
                                           .name = "cyxwiz",
                                           .signing_key = self->signing.text,
                                           .has_streams = true,
                                           .revocations = revocations,
                                           .n_revocations = count};
    enum cyx_status status =
        cyx_jwt_account_write(&claims, &self->operator_key, latest_s, &token, err);
    if (status != CYX_OK)
        return status;
    snprintf(subject, sizeof(subject), "$SYS.REQ.ACCOUNT.%s.CLAIMS.UPDATE", self->account);
    status = cyx_bus_request(self->system, subject, NULL, token.data, token.length, PUSH_MS, &reply,
                             err);
    return status == CYX_OK ? read_verdict(&reply, err) : status;
}

enum cyx_status cyx_trust_watch_connections(const struct cyx_trust *self, cyx_bus_callback callback,
                                            void *ctx, struct cyx_error *err)
{
    char subject[CYX_SUBJECT_BYTES];
    snprintf(subject, sizeof(subject), "$SYS.ACCOUNT.%s.DISCONNECT", self->account);
    return cyx_bus_subscribe(self->system, subject, NULL, callback, ctx, err);
}

int64_t cyx_trust_token_life_s(const struct cyx_trust *self)
{
    return self->token_life_s;
}
