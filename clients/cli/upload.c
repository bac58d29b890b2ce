/* cyxwiz upload, and cyxwiz uploads: data sets and models of one's own on the platform. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/id.h"
#include "blob/sha256.h"
#include "blob/tar.h"
#include "cli.h"
#include "contract/message.h"

#include "base/banned.h"

struct upload {
    struct cli *cli;
    char path[PATH_MAX]; /* the file that goes up: the user's, or the packed folder */
    int packed;          /* descriptor of the packed folder, which has no name any more; -1: none */
    char name[NAME_MAX + 1];
    char sha256[CYX_SHA256_HEX];
    uint64_t bytes;
    struct cli_bar bar;
    int64_t began_ms;
    uint64_t began_bytes;
    bool began;
};

/* The last part of a path, whatever slashes stand behind it. */
static void take_name(const char *path, char *ret_name, size_t size)
{
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/')
        end--;
    size_t start = end;
    while (start > 0 && path[start - 1] != '/')
        start--;
    snprintf(ret_name, size, "%.*s", (int)(end - start), path + start);
}

/* Into a file without a name, so that nothing stays behind however this ends. */
static enum cyx_status pack(struct upload *self, const char *folder, struct cyx_error *err)
{
    const char *where = getenv("TMPDIR");
    CYX_CLEANUP_BUF struct cyx_buf path = {0};
    cyx_buf_printf(&path, "%s/cyxwiz-upload-XXXXXX", where && *where ? where : "/tmp");
    self->packed = path.failed ? -1 : mkostemp(path.data, O_CLOEXEC);
    if (self->packed < 0)
        return cyx_error_errno(err, "cannot make a file in %s (TMPDIR names another folder)",
                               where && *where ? where : "/tmp");
    unlink(path.data);
    snprintf(self->path, sizeof(self->path), "/proc/self/fd/%d", self->packed);
    if (self->bar.live)
        fprintf(stderr, "Packing %s …", folder);
    enum cyx_status status = cyx_tar_pack(folder, self->path, err);
    if (self->bar.live)
        fprintf(stderr, "\r\033[K");
    return status;
}

static enum cyx_status take_path(struct upload *self, struct cyx_error *err)
{
    const char *path = self->cli->arguments[0], *name = cli_value(self->cli, "name");
    char whole[PATH_MAX];
    struct stat info;
    if (stat(path, &info) != 0)
        return cyx_error_errno(err, "cannot read %s", path);
    take_name(realpath(path, whole) ? whole : path, self->name, sizeof(self->name));
    if (name)
        snprintf(self->name, sizeof(self->name), "%s", name);
    if (S_ISDIR(info.st_mode))
        return pack(self, path, err);
    if (!S_ISREG(info.st_mode))
        return cyx_error_set(err, CYX_ERR_INVALID, NULL, "%s is neither a file nor a folder", path);
    if (info.st_size == 0)
        return cyx_error_set(err, CYX_ERR_INVALID, NULL, "%s is empty", path);
    snprintf(self->path, sizeof(self->path), "%s", path);
    return CYX_OK;
}

static enum cyx_status announce(struct upload *self, json_t **ret_upload, struct cyx_error *err)
{
    const char *kind = cli_value(self->cli, "kind");
    return cli_call(self->cli, "POST", "/api/v1/uploads",
                    json_pack("{s:s, s:s, s:s, s:I}", "kind", kind ? kind : "dataset", "name",
                              self->name, "sha256", self->sha256, "bytes", (json_int_t)self->bytes),
                    ret_upload, err);
}

static enum cyx_status on_progress(void *user, uint64_t done, uint64_t total)
{
    struct upload *self = user;
    int64_t now_ms = cyx_clock_monotonic_ns() / 1000000;
    if (!self->began) {
        self->began = true;
        self->began_ms = now_ms;
        self->began_bytes = done;
    }
    int64_t passed_ms = now_ms - self->began_ms;
    double rate = passed_ms > 0 ? (double)(done - self->began_bytes) * 1000 / (double)passed_ms : 0;
    cli_bar_draw_bytes(&self->bar, self->name, (int64_t)done, (int64_t)total, rate);
    return CYX_OK;
}

static enum cyx_status send(struct upload *self, const char *id, json_t **ret_upload,
                            struct cyx_error *err)
{
    CYX_CLEANUP_BUF struct cyx_buf url = {0};
    CYX_CLEANUP_HTTP_RESULT struct cyx_http_result result = {0};
    cyx_buf_puts(&url, "/api/v1/uploads/");
    cli_append_part(&url, id);
    cyx_buf_puts(&url, "/content");
    const struct cyx_http_upload upload = {.url = url.data,
                                           .path = self->path,
                                           .resumable = true,
                                           .on_progress = on_progress,
                                           .user = self};
    enum cyx_status status = cyx_http_client_upload(self->cli->http, &upload, &result, err);
    cli_bar_clear(&self->bar);
    if (status == CYX_OK)
        status = cyx_http_result_check(&result, err);
    if (status == CYX_ERR_CANCELLED || cli_interrupted)
        return cyx_error_set(err, CYX_ERR_CANCELLED, NULL,
                             "interrupted: the same command goes on where it stopped");
    url.length -= sizeof("/content") - 1;
    url.data[url.length] = '\0';
    return status == CYX_OK ? cli_call(self->cli, "GET", url.data, NULL, ret_upload, err) : status;
}

static void show(const struct upload *self, const json_t *upload, bool was_there)
{
    char size[CLI_AMOUNT_BYTES];
    cli_format_bytes((int64_t)cli_number(upload, "bytes"), size);
    printf("%s %s: %s, SHA-256 %.12s…, id %s\n", cli_text(upload, "name"),
           was_there ? "was there already" : "is uploaded", size, cli_text(upload, "sha256"),
           cli_text(upload, "id"));
    if (strcmp(cli_text(upload, "kind"), "dataset") == 0)
        printf(
            "A spec names it so: \"dataset\": {\"upload\": \"%s\", \"format\": …, \"train\": %s}\n",
            cli_text(upload, "name"),
            self->packed >= 0 ? "a path within the folder" : "the file's name");
    else
        printf("A job begins with it so: \"initial\": {\"upload\": \"%s\"}\n",
               cli_text(upload, "name"));
}

static enum cyx_status bring(struct upload *self, struct cyx_error *err)
{
    CYX_CLEANUP_JSON json_t *made = NULL;
    CYX_CLEANUP_JSON json_t *whole = NULL;
    enum cyx_status status = cli_open_http(self->cli, err);
    if (status == CYX_OK)
        status = take_path(self, err);
    if (status == CYX_OK)
        status = cyx_sha256_file(self->path, self->sha256, &self->bytes, err);
    if (status == CYX_OK)
        status = announce(self, &made, err);
    if (status != CYX_OK)
        return status;
    bool was_there = json_is_true(json_object_get(made, "complete"));
    if (!was_there)
        status = send(self, cli_text(made, "id"), &whole, err);
    if (status != CYX_OK)
        return status;
    const json_t *upload = was_there ? made : whole;
    if (self->cli->json)
        cli_print_json(upload);
    else
        show(self, upload, was_there);
    return CYX_OK;
}

enum cyx_status cli_upload(struct cli *cli, struct cyx_error *err)
{
    struct upload self = {.cli = cli, .packed = -1};
    self.bar.live = !cli->json && cli_is_terminal(stderr);
    enum cyx_status status = bring(&self, err);
    if (self.packed >= 0)
        close(self.packed);
    return status;
}

/* ---- uploads ------------------------------------------------------------------------------------ */

static enum cyx_status list_all(struct cli *cli, const char *kind, const char *sort, int64_t limit,
                                json_t **ret_uploads, struct cyx_error *err)
{
    CYX_CLEANUP_BUF struct cyx_buf path = {0};
    cyx_buf_puts(&path, "/api/v1/uploads?sort=");
    cli_append_part(&path, sort ? sort : "-created_at");
    if (kind)
        cyx_buf_printf(&path, "&kind=%s", kind);
    return cli_call_list(cli, path.data, "uploads", (size_t)limit, ret_uploads, err);
}

enum cyx_status cli_uploads_list(struct cli *cli, struct cyx_error *err)
{
    static const struct cli_table_column columns[] = {
        {"ID"}, {"KIND"}, {"SIZE", true}, {"RECEIVED", true}, {"NAME"}};
    CYX_CLEANUP_JSON json_t *uploads = NULL;
    CLI_CLEANUP_TABLE struct cli_table table = {0};
    int64_t limit = 50;
    const json_t *upload;
    size_t i;
    enum cyx_status status = cli_whole_number(cli, "limit", 1, 10000, &limit, err);
    if (status == CYX_OK)
        status =
            list_all(cli, cli_value(cli, "kind"), cli_value(cli, "sort"), limit, &uploads, err);
    if (status != CYX_OK)
        return status;
    if (cli->json) {
        cli_print_json(uploads);
        return CYX_OK;
    }
    cli_table_init(&table, columns, 5);
    json_array_foreach(uploads, i, upload)
    {
        char size[CLI_AMOUNT_BYTES];
        cli_format_bytes((int64_t)cli_number(upload, "bytes"), size);
        cli_table_add(&table, "%s", cli_text(upload, "id"));
        cli_table_add(&table, "%s", cli_text(upload, "kind"));
        cli_table_add(&table, "%s", size);
        cli_table_add(&table, "%d %%",
                      (int)(100 * cli_number(upload, "received") / cli_number(upload, "bytes")));
        cli_table_add(&table, "%s", cli_text(upload, "name"));
    }
    if (json_array_size(uploads) == 0)
        printf("No uploads yet. Bring one: cyxwiz upload FOLDER\n");
    return json_array_size(uploads) ? cli_table_print(&table, err) : CYX_OK;
}

/* By a name that one upload has, where it is no id. */
static enum cyx_status find_id(struct cli *cli, const char *given, char ret_id[CYX_ID_BYTES],
                               struct cyx_error *err)
{
    CYX_CLEANUP_JSON json_t *uploads = NULL;
    const json_t *upload;
    size_t i, found = 0;
    snprintf(ret_id, CYX_ID_BYTES, "%s", given);
    if (cyx_id_valid(given))
        return CYX_OK;
    enum cyx_status status = list_all(cli, NULL, "name", INT32_MAX, &uploads, err);
    json_array_foreach(uploads, i, upload)
    {
        if (strcmp(cli_text(upload, "name"), given) != 0)
            continue;
        snprintf(ret_id, CYX_ID_BYTES, "%s", cli_text(upload, "id"));
        found++;
    }
    if (status == CYX_OK && found != 1)
        return cyx_error_set(err, found ? CYX_ERR_CONFLICT : CYX_ERR_NOT_FOUND, NULL,
                             found
                                 ? "%zu uploads are called %s: give the id, as `cyxwiz uploads "
                                   "list` shows it"
                                 : "of your uploads %zu are called %s; `cyxwiz uploads list` lists "
                                   "them",
                             found, given);
    return status;
}

enum cyx_status cli_uploads_delete(struct cli *cli, struct cyx_error *err)
{
    char id[CYX_ID_BYTES];
    CYX_CLEANUP_BUF struct cyx_buf path = {0};
    enum cyx_status status = find_id(cli, cli->arguments[0], id, err);
    if (status != CYX_OK)
        return status;
    cyx_buf_puts(&path, "/api/v1/uploads/");
    cli_append_part(&path, id);
    status = cli_call(cli, "DELETE", path.data, NULL, NULL, err);
    if (status != CYX_OK)
        return status;
    if (cli->json) {
        CYX_CLEANUP_JSON json_t *body = json_pack("{s:s}", "deleted", id);
        cli_print_json(body);
    } else {
        printf("Deleted %s\n", cli->arguments[0]);
    }
    return CYX_OK;
}
