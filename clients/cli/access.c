/* cyxwiz key and cyxwiz audit: who may call the gateway, and who did. */
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "contract/message.h"

#include "base/banned.h"

/* ---- API keys ---- */

/* "read,write" as a list. */
static json_t *words(const char *text)
{
    json_t *list = json_array();
    for (const char *at = text; *at;) {
        size_t length = strcspn(at, ", ");
        if (length > 0)
            json_array_append_new(list, json_stringn(at, length));
        at += length;
        at += strspn(at, ", ");
    }
    return list;
}

enum cyx_status cli_key_create(struct cli *cli, struct cyx_error *err)
{
    CYX_CLEANUP_JSON json_t *made = NULL;
    int64_t days = 0;
    enum cyx_status status = cli_whole_number(cli, "days", 1, 3650, &days, err);
    if (status != CYX_OK)
        return status;
    json_t *body = json_pack("{s:s}", "name", cli->arguments[0]);
    if (cli_value(cli, "scopes"))
        json_object_set_new(body, "scopes", words(cli_value(cli, "scopes")));
    if (days)
        json_object_set_new(body, "expires_in_days", json_integer(days));
    status = cli_call(cli, "POST", "/api/v1/api-keys", body, &made, err);
    if (status != CYX_OK)
        return status;
    if (cli->json) {
        cli_print_json(made);
        return CYX_OK;
    }
    printf("%s\n", cli_text(made, "key"));
    fprintf(stderr, "This key is shown this once. Revoke it with: cyxwiz key revoke %s\n",
            cli_text(made, "id"));
    return CYX_OK;
}

static void join(const json_t *list, char *ret_text, size_t size)
{
    const json_t *word;
    size_t i, used = 0;
    ret_text[0] = '\0';
    json_array_foreach(list, i, word)
    {
        int n =
            snprintf(ret_text + used, size - used, "%s%s", i ? "," : "", json_string_value(word));
        used += n > 0 && (size_t)n < size - used ? (size_t)n : 0;
    }
}

enum cyx_status cli_key_list(struct cli *cli, struct cyx_error *err)
{
    static const struct cli_column columns[] = {{"ID", 36},      {"PREFIX", 12},    {"SCOPES", 24},
                                                {"EXPIRES", 24}, {"LAST USED", 24}, {"NAME", 0}};
    CYX_CLEANUP_JSON json_t *body = NULL;
    const json_t *key;
    size_t i;
    enum cyx_status status = cli_call(cli, "GET", "/api/v1/api-keys", NULL, &body, err);
    if (status != CYX_OK)
        return status;
    const json_t *keys = json_object_get(body, "api_keys");
    if (cli->json) {
        cli_print_json(keys);
        return CYX_OK;
    }
    cli_print_titles(columns, 6);
    json_array_foreach(keys, i, key)
    {
        char scopes[64];
        join(json_object_get(key, "scopes"), scopes, sizeof(scopes));
        cli_print_row(columns,
                      (const char *const[]){cli_text(key, "id"), cli_text(key, "prefix"), scopes,
                                            cli_text(key, "expires_at"),
                                            cli_text(key, "last_used_at"), cli_text(key, "name")},
                      6);
    }
    return CYX_OK;
}

enum cyx_status cli_key_revoke(struct cli *cli, struct cyx_error *err)
{
    CYX_CLEANUP_BUF struct cyx_buf path = {0};
    cyx_buf_puts(&path, "/api/v1/api-keys/");
    cli_append_part(&path, cli->arguments[0]);
    return path.failed ? cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory")
                       : cli_call(cli, "DELETE", path.data, NULL, NULL, err);
}

/* ---- the audit log ---- */

static void append_query(struct cyx_buf *path, const struct cli *cli, const char *option,
                         const char *parameter)
{
    const char *value = cli_value(cli, option);
    if (!value)
        return;
    cyx_buf_printf(path, "&%s=", parameter);
    cli_append_part(path, value);
}

enum cyx_status cli_audit(struct cli *cli, struct cyx_error *err)
{
    static const struct cli_column columns[] = {{"AT", 24},      {"ACCOUNT", 36}, {"BY", 8},
                                                {"ADDRESS", 15}, {"STATUS", 6},   {"ACTION", 28},
                                                {"TARGET", 0}};
    CYX_CLEANUP_JSON json_t *body = NULL;
    CYX_CLEANUP_BUF struct cyx_buf path = {0};
    const json_t *entry;
    size_t i;
    cyx_buf_puts(&path, "/api/v1/audit?limit=");
    cli_append_part(&path, cli_value(cli, "limit") ? cli_value(cli, "limit") : "50");
    append_query(&path, cli, "account", "account_id");
    append_query(&path, cli, "action", "action");
    enum cyx_status status = path.failed ? cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory")
                                         : cli_call(cli, "GET", path.data, NULL, &body, err);
    if (status != CYX_OK)
        return status;
    const json_t *entries = json_object_get(body, "entries");
    if (cli->json) {
        cli_print_json(entries);
        return CYX_OK;
    }
    cli_print_titles(columns, 7);
    json_array_foreach(entries, i, entry)
    {
        char http[16];
        snprintf(http, sizeof(http), "%.0f", cli_number(entry, "status"));
        cli_print_row(columns,
                      (const char *const[]){cli_text(entry, "at"), cli_text(entry, "account_id"),
                                            cli_text(entry, "credential"),
                                            cli_text(entry, "address"), http,
                                            cli_text(entry, "action"), cli_text(entry, "target")},
                      7);
    }
    return CYX_OK;
}
