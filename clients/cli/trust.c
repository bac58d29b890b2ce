/*
 * cyxwiz trust: the keys that NATS believes. An operator vouches for the account of the platform and for the system
 * account; the registry gets what it needs to let nodes in and to revoke them; each service gets credentials of its own.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"
#include "identity/jwt.h"

#include "base/banned.h"

struct trust {
    struct cyx_nkey operator_key, operator_signing, account, account_signing, system;
    const char *folder;
    int64_t now_s;
};

static const char *const services[] = {"gateway",  "scheduler",   "registry",
                                       "payments", "marketplace", "tools"};

static void wipe(struct trust *trust)
{
    explicit_bzero(trust, sizeof(*trust));
}

static enum cyx_status make_keys(struct trust *trust, struct cyx_error *err)
{
    enum cyx_status status = cyx_nkey_create(CYX_NKEY_OPERATOR, &trust->operator_key, err);
    if (status == CYX_OK)
        status = cyx_nkey_create(CYX_NKEY_OPERATOR, &trust->operator_signing, err);
    if (status == CYX_OK)
        status = cyx_nkey_create(CYX_NKEY_ACCOUNT, &trust->account, err);
    if (status == CYX_OK)
        status = cyx_nkey_create(CYX_NKEY_ACCOUNT, &trust->account_signing, err);
    return status == CYX_OK ? cyx_nkey_create(CYX_NKEY_ACCOUNT, &trust->system, err) : status;
}

static enum cyx_status write_text(const struct trust *trust, const char *name, const char *text,
                                  struct cyx_error *err)
{
    CYX_CLEANUP_BUF struct cyx_buf path = {0};
    cyx_buf_printf(&path, "%s/%s", trust->folder, name);
    if (path.failed || !text)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for the keys");
    return cyx_file_write_atomic(path.data, text, strlen(text), 0600, err);
}

static enum cyx_status write_seed(const struct trust *trust, const char *name,
                                  const struct cyx_nkey *key, struct cyx_error *err)
{
    char text[CYX_NKEY_SEED_BYTES + 1];
    cyx_nkey_seed_text(key, text);
    memcpy(text + CYX_NKEY_SEED_BYTES - 1, "\n", 2);
    enum cyx_status status = write_text(trust, name, text, err);
    explicit_bzero(text, sizeof(text));
    return status;
}

/* A user of an account; `publish` NULL: everything in it. */
static enum cyx_status write_user(const struct trust *trust, const char *name,
                                  const struct cyx_jwt_user *rights, const struct cyx_nkey *signer,
                                  struct cyx_error *err)
{
    char file[64];
    CYX_CLEANUP_NKEY struct cyx_nkey key = {0};
    CYX_CLEANUP_BUF struct cyx_buf token = {0};
    CYX_CLEANUP_BUF struct cyx_buf creds = {0};
    enum cyx_status status = cyx_nkey_create(CYX_NKEY_USER, &key, err);
    if (status != CYX_OK)
        return status;
    struct cyx_jwt_user user = *rights;
    user.subject = key.text;
    user.name = name;
    status = cyx_jwt_user_write(&user, signer, trust->now_s, &token, err);
    if (status != CYX_OK)
        return status;
    cyx_creds_write(token.data, &key, &creds);
    snprintf(file, sizeof(file), "%s.creds", name);
    status = write_text(trust, file, creds.data, err);
    if (creds.data)
        explicit_bzero(creds.data, creds.length);
    return status;
}

static enum cyx_status write_users(const struct trust *trust, struct cyx_error *err)
{
    static const char *const publish[] = {"$SYS.REQ.ACCOUNT.*.CLAIMS.UPDATE", NULL};
    static const char *const subscribe[] = {"_INBOX.>", "$SYS.ACCOUNT.*.DISCONNECT", NULL};
    const struct cyx_jwt_user everything = {.account = trust->account.text};
    const struct cyx_jwt_user updates = {.publish = publish, .subscribe = subscribe};
    enum cyx_status status = write_user(trust, "system", &updates, &trust->system, err);
    for (size_t i = 0; status == CYX_OK && i < sizeof(services) / sizeof(services[0]); i++)
        status = write_user(trust, services[i], &everything, &trust->account_signing, err);
    return status;
}

/* What nats-server includes. Comes last: where it stands, the folder is whole. */
static enum cyx_status write_server(const struct trust *trust, struct cyx_error *err)
{
    CYX_CLEANUP_BUF struct cyx_buf operator_token = {0};
    CYX_CLEANUP_BUF struct cyx_buf account_token = {0};
    CYX_CLEANUP_BUF struct cyx_buf system_token = {0};
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    const struct cyx_jwt_operator operator_claims = {.name = "cyxwiz",
                                                     .signing_key = trust->operator_signing.text,
                                                     .system_account = trust->system.text};
    const struct cyx_jwt_account account = {.subject = trust->account.text,
                                            .name = "cyxwiz",
                                            .signing_key = trust->account_signing.text,
                                            .has_streams = true};
    const struct cyx_jwt_account system = {.subject = trust->system.text, .name = "system"};
    enum cyx_status status = cyx_jwt_operator_write(&operator_claims, &trust->operator_key,
                                                    trust->now_s, &operator_token, err);
    if (status == CYX_OK)
        status = cyx_jwt_account_write(&account, &trust->operator_signing, trust->now_s,
                                       &account_token, err);
    if (status == CYX_OK)
        status = cyx_jwt_account_write(&system, &trust->operator_signing, trust->now_s,
                                       &system_token, err);
    if (status != CYX_OK)
        return status;
    cyx_buf_printf(&text,
                   "# Made by `cyxwiz trust init`; include it in nats-server's configuration.\n"
                   "operator: \"%s\"\nsystem_account: \"%s\"\nresolver: MEMORY\n"
                   "resolver_preload: {\n  %s: \"%s\"\n  %s: \"%s\"\n}\n",
                   operator_token.data, trust->system.text, trust->account.text, account_token.data,
                   trust->system.text, system_token.data);
    return write_text(trust, "nats.conf", text.data, err);
}

static enum cyx_status write_all(const struct trust *trust, struct cyx_error *err)
{
    char account[CYX_NKEY_TEXT_BYTES + 1];
    snprintf(account, sizeof(account), "%s\n", trust->account.text);
    enum cyx_status status = write_seed(trust, "operator.seed", &trust->operator_key, err);
    if (status == CYX_OK)
        status = write_seed(trust, "operator-signing.seed", &trust->operator_signing, err);
    if (status == CYX_OK)
        status = write_seed(trust, "account.seed", &trust->account, err);
    if (status == CYX_OK)
        status = write_seed(trust, "account-signing.seed", &trust->account_signing, err);
    if (status == CYX_OK)
        status = write_text(trust, "account", account, err);
    if (status == CYX_OK)
        status = write_users(trust, err);
    return status == CYX_OK ? write_server(trust, err) : status;
}

static void tell(const struct cli *cli, const char *folder, const char *account, bool made)
{
    if (cli->json) {
        json_t *body =
            json_pack("{s:s, s:s?, s:b}", "folder", folder, "account", account, "made", made);
        cli_print_json(body);
        json_decref(body);
    } else if (made) {
        printf(
            "Keys of account %s made in %s.\n"
            "nats-server includes nats.conf; the registry reads the folder (CYXWIZ_NATS_TRUST);\n"
            "each service takes its own <service>.creds (CYXWIZ_NATS_CREDS). Keep operator.seed "
            "offline.\n",
            account, folder);
    } else {
        printf("The keys in %s are there already.\n", folder);
    }
}

enum cyx_status cli_trust_init(struct cli *cli, struct cyx_error *err)
{
    CYX_CLEANUP_BUF struct cyx_buf path = {0};
    __attribute__((cleanup(wipe))) struct trust trust = {.folder = cli->arguments[0],
                                                         .now_s = (int64_t)time(NULL)};
    cyx_buf_printf(&path, "%s/nats.conf", trust.folder);
    if (path.failed)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory");
    if (access(path.data, F_OK) == 0) {
        tell(cli, trust.folder, NULL, false);
        return CYX_OK;
    }
    enum cyx_status status = cli_make_folders(trust.folder, err);
    if (status == CYX_OK && chmod(trust.folder, 0700) != 0)
        status = cyx_error_errno(err, "cannot make %s private", trust.folder);
    if (status == CYX_OK)
        status = make_keys(&trust, err);
    if (status == CYX_OK)
        status = write_all(&trust, err);
    if (status == CYX_OK)
        tell(cli, trust.folder, trust.account.text, true);
    return status;
}
