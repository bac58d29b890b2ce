/* cyxwiz model, login, and the local stack. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "blob/sha256.h"
#include "cli.h"
#include "contract/message.h"

#include "base/banned.h"

/* ---- models ---- */

enum cyx_status cli_model_list(struct cli *cli, struct cyx_error *err)
{
    static const struct cli_column columns[] = {{"ID", 36},    {"VERSION", 7},  {"ACCURACY", 8},
                                                {"BYTES", 10}, {"DATASET", 14}, {"NAME", 0}};
    CYX_CLEANUP_JSON json_t *models = NULL;
    const json_t *model;
    size_t i;
    enum cyx_status status = cli_call_list(cli, "/api/v1/models", "models", SIZE_MAX, &models, err);
    if (status != CYX_OK)
        return status;
    if (cli->json) {
        cli_print_json(models);
        return CYX_OK;
    }
    cli_print_titles(columns, 6);
    json_array_foreach(models, i, model)
    {
        char version[16], percent[CLI_PERCENT_BYTES], bytes[24];
        snprintf(version, sizeof(version), "%.0f", cli_number(model, "version"));
        const json_t *metrics = json_object_get(model, "metrics");
        const char *accuracy =
            cli_percent(cyx_message_number_of(metrics, "test_accuracy"), percent);
        snprintf(bytes, sizeof(bytes), "%.0f", cli_number(model, "bytes"));
        cli_print_row(columns,
                      (const char *const[]){cli_text(model, "id"), version, accuracy, bytes,
                                            cli_text(model, "dataset"), cli_text(model, "name")},
                      6);
    }
    return CYX_OK;
}

struct pull {
    struct cyx_sha256 *hash;
    char expected[CYX_SHA256_HEX], got[CYX_SHA256_HEX];
};

static enum cyx_status pull_chunk(void *user, const void *bytes, size_t length)
{
    struct pull *pull = user;
    return cyx_sha256_update(pull->hash, bytes, length);
}

static enum cyx_status pull_restart(void *user)
{
    struct pull *pull = user;
    return cyx_sha256_final(pull->hash, pull->got);
}

static enum cyx_status pull_verify(void *user)
{
    struct pull *pull = user;
    enum cyx_status status = cyx_sha256_final(pull->hash, pull->got);
    return status == CYX_OK && strcmp(pull->got, pull->expected) != 0 ? CYX_ERR_CORRUPT : status;
}

static enum cyx_status download(struct cli *cli, const char *url, const char *sha256,
                                const char *path, struct cyx_error *err)
{
    struct pull pull = {.hash = cyx_sha256_create()};
    CYX_CLEANUP_HTTP_RESULT struct cyx_http_result result = {0};
    char etag[CYX_SHA256_HEX + 4];
    if (!pull.hash)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory");
    snprintf(pull.expected, sizeof(pull.expected), "%s", sha256);
    snprintf(etag, sizeof(etag), "\"%s\"", sha256);
    const struct cyx_http_download wanted = {.url = url,
                                             .etag = etag,
                                             .on_chunk = pull_chunk,
                                             .on_restart = pull_restart,
                                             .user = &pull};
    enum cyx_status status =
        cyx_http_client_download_file(cli->http, &wanted, path, pull_verify, &result, err);
    if (status == CYX_OK)
        status = cyx_http_result_check(&result, err);
    if (status == CYX_ERR_CORRUPT)
        cyx_error_set(err, status, NULL,
                      "what came is not the model (SHA-256 %s, expected %s); try again", pull.got,
                      sha256);
    cyx_sha256_destroy(pull.hash);
    return status;
}

/* Where it is and what it must hash to: of a model, or of a job's model. */
static enum cyx_status find_model(struct cli *cli, struct cyx_buf *ret_url, char *ret_name,
                                  size_t size, char ret_sha256[CYX_SHA256_HEX],
                                  struct cyx_error *err)
{
    const char *job_id = cli_value(cli, "job"), *model_id = cli->arguments[0];
    CYX_CLEANUP_JSON json_t *body = NULL;
    CYX_CLEANUP_BUF struct cyx_buf path = {0};
    if (!job_id == !model_id) {
        cli->usage = true;
        return cyx_error_set(err, CYX_ERR_INVALID, NULL,
                             "give a model's id (`cyxwiz model list`) or --job ID, one of the two");
    }
    cyx_buf_puts(&path, job_id ? "/api/v1/jobs/" : "/api/v1/models/");
    cli_append_part(&path, job_id ? job_id : model_id);
    enum cyx_status status = cli_call(cli, "GET", path.data, NULL, &body, err);
    if (status != CYX_OK)
        return status;
    const json_t *holder = job_id ? json_object_get(body, "model") : body;
    if (!json_is_string(json_object_get(holder, "sha256")))
        return cyx_error_set(err, CYX_ERR_CONFLICT, NULL, "job %s has no model: it is %s", job_id,
                             cli_text(body, "state"));
    snprintf(ret_name, size, "%s", cli_text(body, "name"));
    snprintf(ret_sha256, CYX_SHA256_HEX, "%s", cli_text(holder, "sha256"));
    cyx_buf_puts(ret_url, path.data);
    cyx_buf_puts(ret_url, job_id ? "/model" : "/download");
    return CYX_OK;
}

enum cyx_status cli_model_pull(struct cli *cli, struct cyx_error *err)
{
    char name[256] = "", sha256[CYX_SHA256_HEX] = "", path[512];
    CYX_CLEANUP_BUF struct cyx_buf url = {0};
    const char *output = cli_value(cli, "output");
    enum cyx_status status = find_model(cli, &url, name, sizeof(name), sha256, err);
    if (status != CYX_OK)
        return status;
    for (char *c = name; *c; c++)
        if (*c == '/' || (unsigned char)*c < ' ')
            *c = '_';
    if (!output) {
        snprintf(path, sizeof(path), "%s.safetensors", name);
        output = path;
    }
    status = download(cli, url.data, sha256, output, err);
    if (status != CYX_OK)
        return status;
    if (cli->json) {
        json_t *body = json_pack("{s:s, s:s}", "path", output, "sha256", sha256);
        cli_print_json(body);
        json_decref(body);
    } else {
        printf("%s (SHA-256 %s, verified)\n", output, sha256);
    }
    return CYX_OK;
}

/* ---- login ---- */

static enum cyx_status ask_password(char *ret_text, size_t size, struct cyx_error *err)
{
    const char *given = getenv("CYXWIZ_PASSWORD");
    struct termios before, silent;
    if (given && *given) {
        snprintf(ret_text, size, "%s", given);
        return CYX_OK;
    }
    if (!isatty(STDIN_FILENO) || tcgetattr(STDIN_FILENO, &before) != 0)
        return cyx_error_set(err, CYX_ERR_INVALID, NULL,
                             "no terminal to ask for the password: set CYXWIZ_PASSWORD");
    fprintf(stderr, "Password: ");
    silent = before;
    silent.c_lflag &= ~(tcflag_t)ECHO;
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent);
    bool read_one = fgets(ret_text, (int)size, stdin) != NULL;
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
    fprintf(stderr, "\n");
    ret_text[read_one ? strcspn(ret_text, "\n") : 0] = '\0';
    return read_one ? CYX_OK : cyx_error_set(err, CYX_ERR_INVALID, NULL, "no password was given");
}

/* Signs in and makes an API key, since a session is for browsers. */
static enum cyx_status make_key(struct cli *cli, const char *email, char *ret_key, size_t size,
                                struct cyx_error *err)
{
    char password[256], cookie[512], csrf[256];
    CYX_CLEANUP_BUF struct cyx_buf body = {0};
    CYX_CLEANUP_HTTP_RESULT struct cyx_http_result result = {0};
    CYX_CLEANUP_JSON json_t *session = NULL;
    CYX_CLEANUP_JSON json_t *key = NULL;
    enum cyx_status status = ask_password(password, sizeof(password), err);
    if (status == CYX_OK)
        status = cyx_message_write(json_pack("{s:s, s:s}", "email", email, "password", password),
                                   &body, err);
    explicit_bzero(password, sizeof(password));
    struct cyx_http_call call = {
        .method = "POST", .url = "/api/v1/session", .body = body.data, .body_length = body.length};
    if (status == CYX_OK)
        status = cyx_http_client_call(cli->http, &call, &result, err);
    if (status == CYX_OK)
        status = cyx_http_result_check(&result, err);
    if (status == CYX_OK)
        status = cyx_message_parse(result.body.data, result.body.length, &session, err);
    if (status != CYX_OK)
        return status;
    char set_cookie[512] = "";
    cyx_http_result_header(&result, "set-cookie", set_cookie, sizeof(set_cookie));
    set_cookie[strcspn(set_cookie, ";")] = '\0';
    snprintf(cookie, sizeof(cookie), "Cookie: %.480s", set_cookie);
    snprintf(csrf, sizeof(csrf), "X-CSRF-Token: %.200s", cli_text(session, "csrf_token"));
    static const char name[] = "{\"name\":\"cyxwiz command line\"}";
    call = (struct cyx_http_call){.method = "POST",
                                  .url = "/api/v1/api-keys",
                                  .headers = (const char *const[]){cookie, csrf, NULL},
                                  .body = name,
                                  .body_length = sizeof(name) - 1};
    status = cyx_http_client_call(cli->http, &call, &result, err);
    if (status == CYX_OK)
        status = cyx_http_result_check(&result, err);
    if (status == CYX_OK)
        status = cyx_message_parse(result.body.data, result.body.length, &key, err);
    if (status == CYX_OK)
        snprintf(ret_key, size, "%s", cli_text(key, "key"));
    return status;
}

enum cyx_status cli_login(struct cli *cli, struct cyx_error *err)
{
    char path[PATH_MAX], key[256];
    const char *email = cli_value(cli, "email"), *token = cli->token_option;
    if (!email == !token) {
        cli->usage = true;
        return cyx_error_set(
            err, CYX_ERR_INVALID, NULL,
            "give --email EMAIL to sign in, or --token KEY to keep a key you have");
    }
    enum cyx_status status = cli_open_http(cli, err);
    if (status == CYX_OK && email)
        cyx_http_client_set_bearer(cli->http, NULL);
    if (status == CYX_OK && email) {
        status = make_key(cli, email, key, sizeof(key), err);
        token = key;
    } else if (status == CYX_OK) {
        status = cli_call(cli, "GET", "/api/v1/account/balance", NULL, NULL, err);
    }
    if (status == CYX_OK)
        status = cli_save_client(cli, token, path, sizeof(path), err);
    if (status != CYX_OK)
        return status;
    if (cli->json) {
        CYX_CLEANUP_JSON json_t *body =
            json_pack("{s:s, s:s}", "url", cli->url, "client_file", path);
        cli_print_json(body);
    } else {
        printf("Signed in at %s; kept in %s\n", cli->url, path);
    }
    return CYX_OK;
}

/* ---- the local stack ---- */

/* deploy/local/stack above `from`, which is cut on the way. */
static bool find_stack(char *from, char *ret_path, size_t size)
{
    for (char *slash = from + strlen(from); slash; slash = strrchr(from, '/')) {
        *slash = '\0';
        int length = snprintf(ret_path, size, "%s/deploy/local/stack", from);
        if (length > 0 && (size_t)length < size && access(ret_path, X_OK) == 0)
            return true;
    }
    return false;
}

enum cyx_status cli_stack(struct cli *cli, struct cyx_error *err)
{
    char from[PATH_MAX], path[PATH_MAX + 32];
    ssize_t n = readlink("/proc/self/exe", from, sizeof(from) - 1);
    from[n > 0 ? n : 0] = '\0';
    if (!find_stack(from, path, sizeof(path)) &&
        (!getcwd(from, sizeof(from)) || !find_stack(from, path, sizeof(path))))
        return cyx_error_set(err, CYX_ERR_NOT_FOUND, NULL,
                             "no local stack here: run this in a checkout of CyxWiz");
    execl(path, path, cli->command->words, cli->json ? "--json" : NULL, NULL);
    return cyx_error_errno(err, "cannot run %s", path);
}
