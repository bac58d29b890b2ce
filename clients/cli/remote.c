/* The gateway: where it is, who we are, one call. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"
#include "contract/message.h"
#include "model/graph.h"

#include "base/banned.h"

enum { CLIENT_FILE_LIMIT = 65536 };

static void user_file(struct cyx_buf *path)
{
    const char *home = getenv("HOME"), *config = getenv("XDG_CONFIG_HOME");
    if (config && *config)
        cyx_buf_printf(path, "%s/cyxwiz/client.json", config);
    else
        cyx_buf_printf(path, "%s/.config/cyxwiz/client.json", home && *home ? home : ".");
}

bool cli_find_stack(const char *name, struct cyx_buf *ret_path)
{
    char here[4096];
    if (!getcwd(here, sizeof(here)))
        return false;
    for (char *slash = here + strlen(here); slash; slash = strrchr(here, '/')) {
        *slash = '\0';
        cyx_buf_clear(ret_path);
        cyx_buf_printf(ret_path, "%s/.cyxwiz/%s", here, name);
        if (!ret_path->failed && access(ret_path->data, R_OK) == 0)
            return true;
    }
    cyx_buf_clear(ret_path);
    return false;
}

/* That of the local stack; else the user's own file. */
static void find_client_file(struct cyx_buf *path)
{
    const char *given = getenv("CYXWIZ_CONFIG");
    if (given && *given)
        cyx_buf_puts(path, given);
    else if (!cli_find_stack("client.json", path))
        user_file(path);
}

static enum cyx_status read_client_file(struct cli *cli, struct cyx_error *err)
{
    CYX_CLEANUP_BUF struct cyx_buf path = {0};
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    CYX_CLEANUP_JSON json_t *body = NULL;
    find_client_file(&path);
    enum cyx_status status = cyx_buf_read_file(&text, path.data, CLIENT_FILE_LIMIT, err);
    if (status == CYX_ERR_NOT_FOUND)
        return CYX_OK;
    if (status == CYX_OK)
        status = cyx_message_parse(text.data, text.length, &body, err);
    if (status != CYX_OK)
        return cyx_error_set(err, status, NULL, "%s: %s", path.data, err->message);
    if (!cli->url && *cli_text(body, "url"))
        cli->url = strdup(cli_text(body, "url"));
    if (!cli->token && *cli_text(body, "token"))
        cli->token = strdup(cli_text(body, "token"));
    if (!cli->ca && *cli_text(body, "ca"))
        cli->ca = strdup(cli_text(body, "ca"));
    return CYX_OK;
}

static char *first_given(const char *option, const char *variable)
{
    const char *value = option ? option : getenv(variable);
    return value && *value ? strdup(value) : NULL;
}

enum cyx_status cli_open_http(struct cli *cli, struct cyx_error *err)
{
    if (cli->http)
        return CYX_OK;
    cli->url = first_given(cli->url_option, "CYXWIZ_GATEWAY_URL");
    cli->token = first_given(cli->token_option, "CYXWIZ_TOKEN");
    cli->ca = first_given(cli->ca_option, "CYXWIZ_GATEWAY_CA");
    if (!cli->url || !cli->token) {
        enum cyx_status status = read_client_file(cli, err);
        if (status != CYX_OK)
            return status;
    }
    if (!cli->url)
        return cyx_error_set(
            err, CYX_ERR_UNAVAILABLE, NULL,
            "no gateway is known: run `make up` in a checkout, or `cyxwiz login --url "
            "URL`, or set CYXWIZ_GATEWAY_URL");
    if (cli->ca && access(cli->ca, R_OK) != 0)
        return cyx_error_errno(err, "cannot read the gateway's authority %s", cli->ca);
    const struct cyx_http_client_options options = {.base_url = cli->url,
                                                    .bearer = cli->token,
                                                    .ca_file = cli->ca,
                                                    .user_agent = "cyxwiz-cli",
                                                    .cancel = &cli_interrupted};
    return cyx_http_client_create(&options, &cli->http, err);
}

enum cyx_status cli_call(struct cli *cli, const char *method, const char *path, json_t *body,
                         json_t **ret_json, struct cyx_error *err)
{
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    CYX_CLEANUP_HTTP_RESULT struct cyx_http_result result = {0};
    enum cyx_status status = body ? cyx_message_write(body, &text, err) : CYX_OK;
    if (status == CYX_OK)
        status = cli_open_http(cli, err);
    if (status != CYX_OK)
        return status;
    const struct cyx_http_call call = {
        .method = method, .url = path, .body = text.data, .body_length = text.length};
    status = cyx_http_client_call(cli->http, &call, &result, err);
    if (status == CYX_OK)
        status = cyx_http_result_check(&result, err);
    if (status == CYX_ERR_UNAUTHENTICATED && !cli->token)
        return cyx_error_set(err, status, NULL, "not signed in at %s: run `cyxwiz login`",
                             cli->url);
    if (status == CYX_OK && ret_json)
        status = cyx_message_parse(result.body.data, result.body.length, ret_json, err);
    return status;
}

/* One page of a list: its items go to the end of `items`; the next one's cursor into `cursor`, empty behind the last. */
static enum cyx_status call_page(struct cli *cli, const char *path, const char *member,
                                 size_t limit, json_t *items, struct cyx_buf *cursor,
                                 struct cyx_error *err)
{
    CYX_CLEANUP_BUF struct cyx_buf url = {0};
    CYX_CLEANUP_JSON json_t *body = NULL;
    cyx_buf_printf(&url, "%s%climit=%zu", path, strchr(path, '?') ? '&' : '?', limit);
    if (cursor->length > 0) {
        cyx_buf_puts(&url, "&cursor=");
        cli_append_part(&url, cursor->data);
    }
    if (url.failed || cursor->failed)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for a list");
    enum cyx_status status = cli_call(cli, "GET", url.data, NULL, &body, err);
    if (status != CYX_OK)
        return status;
    if (json_array_extend(items, json_object_get(body, member)) != 0)
        return cyx_error_set(err, CYX_ERR_INTERNAL, NULL, "%s answered without %s", path, member);
    cyx_buf_clear(cursor);
    cyx_buf_puts(cursor, cli_text(body, "next_cursor"));
    return CYX_OK;
}

enum cyx_status cli_call_list(struct cli *cli, const char *path, const char *member, size_t limit,
                              json_t **ret_items, struct cyx_error *err)
{
    enum { PAGE = 200 }; /* the most that every list gives at once */
    CYX_CLEANUP_BUF struct cyx_buf cursor = {0};
    CYX_CLEANUP_JSON json_t *items = json_array();
    enum cyx_status status = CYX_OK;
    do {
        size_t left = limit - json_array_size(items);
        status = call_page(cli, path, member, left < PAGE ? left : PAGE, items, &cursor, err);
    } while (status == CYX_OK && cursor.length > 0 && json_array_size(items) < limit);
    if (status == CYX_OK)
        *ret_items = json_incref(items);
    return status;
}

void cli_close(struct cli *cli)
{
    cyx_http_client_destroy(cli->http);
    free(cli->url);
    free(cli->token);
    free(cli->ca);
}

void cli_append_part(struct cyx_buf *path, const char *part)
{
    for (const char *c = part; *c; c++) {
        if (strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~", *c))
            cyx_buf_append(path, c, 1);
        else
            cyx_buf_printf(path, "%%%02X", (unsigned char)*c);
    }
}

enum cyx_status cli_make_folders(const char *path, struct cyx_error *err)
{
    CYX_CLEANUP_BUF struct cyx_buf part = {0};
    for (const char *at = path; *at; at++) {
        cyx_buf_append(&part, at, 1);
        if ((at[1] != '/' && at[1] != '\0') || (*at == '/' && at == path))
            continue;
        if (mkdir(part.data, 0777) != 0 && errno != EEXIST)
            return cyx_error_errno(err, "cannot make the folder %s", part.data);
    }
    return CYX_OK;
}

enum cyx_status cli_save_client(const struct cli *cli, const char *token, char *ret_path,
                                size_t size, struct cyx_error *err)
{
    char ca[PATH_MAX];
    bool own = cli->ca && realpath(cli->ca, ca); /* it is read from other folders too */
    CYX_CLEANUP_BUF struct cyx_buf path = {0};
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    const char *given = getenv("CYXWIZ_CONFIG");
    if (given && *given)
        cyx_buf_puts(&path, given);
    else
        user_file(&path);
    char *slash = path.failed ? NULL : strrchr(path.data, '/');
    enum cyx_status status = CYX_OK;
    if (slash && slash != path.data) {
        *slash = '\0';
        status = cli_make_folders(path.data, err);
        *slash = '/';
    }
    if (status == CYX_OK)
        status = cyx_message_write(
            json_pack("{s:s, s:s, s:s*}", "url", cli->url, "token", token, "ca", own ? ca : NULL),
            &text, err);
    if (status == CYX_OK)
        status = cyx_file_write_atomic(path.data, text.data, text.length, 0600, err);
    if (status == CYX_OK)
        snprintf(ret_path, size, "%s", path.data);
    return status;
}

static void name_file(const char *path, struct cyx_error *err)
{
    const struct cyx_error kept = *err;
    cyx_error_set(err, kept.status, NULL, "%s: %s", path, kept.message);
}

enum cyx_status cli_read_spec(const char *path, struct cyx_buf *ret_text,
                              struct cyx_job_spec **ret_spec, struct cyx_error *err)
{
    struct cyx_job_spec *spec = NULL;
    struct cyx_model_cost cost;
    enum cyx_status status = cyx_buf_read_file(ret_text, path, CYX_JOB_SPEC_LIMIT_BYTES, err);
    if (status == CYX_OK)
        status =
            cyx_job_spec_parse(ret_text->data ? ret_text->data : "", ret_text->length, &spec, err);
    if (status == CYX_ERR_INVALID && !err->pointer[0]) /* no JSON: which file is the question */
        name_file(path, err);
    if (status == CYX_OK && spec->data.sample.rank > 0) /* else whoever opens the data judges */
        status = cyx_model_cost(spec, &cost, err);
    if (status == CYX_OK)
        *ret_spec = spec;
    else
        cyx_job_spec_destroy(spec);
    return status;
}
