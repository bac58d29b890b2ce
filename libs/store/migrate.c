#include "store/migrate.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "store/db_internal.h"

#include "base/banned.h"

enum { FILES_MAX = 9999, FILE_BYTES_MAX = 1024 * 1024 };

struct migration {
    int number;
    const char *name; /* the file's */
};

struct folder {
    const char *path;
    struct dirent **entries;
    int count;
};

static void folder_finish(struct folder *self)
{
    for (int i = 0; i < self->count; i++)
        free(self->entries[i]);
    free(self->entries);
}

static bool is_sql(const char *name)
{
    size_t length = strlen(name);
    return name[0] != '.' && length > 4 && strcmp(name + length - 4, ".sql") == 0;
}

static int select_sql(const struct dirent *entry)
{
    return is_sql(entry->d_name);
}

/* NNNN of "NNNN_verb_noun.sql", -1 for a name of another form. */
static int number_of(const char *name)
{
    size_t stem = strlen(name) - 4;
    if (stem < 6 || strspn(name, "0123456789") != 4 || name[4] != '_' ||
        strspn(name + 5, "abcdefghijklmnopqrstuvwxyz0123456789_") + 5 != stem)
        return -1;
    return (int)strtol(name, NULL, 10);
}

static enum cyx_status folder_read(struct folder *self, struct cyx_error *err)
{
    int count = scandir(self->path, &self->entries, select_sql, alphasort);
    if (count < 0)
        return cyx_error_errno(err, "migrations: cannot read the folder %s", self->path);
    self->count = count;
    if (count == 0 || count > FILES_MAX)
        return cyx_error_set(err, CYX_ERR_INVALID, NULL, "migrations: %s holds %d .sql files",
                             self->path, count);
    for (int i = 0; i < count; i++) {
        const char *name = self->entries[i]->d_name;
        if (number_of(name) < 0)
            return cyx_error_set(err, CYX_ERR_INVALID, NULL,
                                 "migrations: %s/%s must be named NNNN_verb_noun.sql", self->path,
                                 name);
        if (i > 0 && number_of(name) == number_of(self->entries[i - 1]->d_name))
            return cyx_error_set(err, CYX_ERR_INVALID, NULL,
                                 "migrations: %s/%s has the same number as %s; give it the next",
                                 self->path, name, self->entries[i - 1]->d_name);
    }
    return CYX_OK;
}

/* The schema and the table of what was applied; the schema may have been made by whoever made the
 * role. */
static enum cyx_status ensure_table(struct cyx_db_conn *conn, struct cyx_error *err)
{
    const char *schema = conn->db->schema;
    CYX_CLEANUP_RESULT struct cyx_db_result *found = NULL;
    enum cyx_status status = cyx_db_query(conn, "select 1 from pg_namespace where nspname = $1",
                                          &found, err, CYX_DB_TEXT(schema));
    if (status != CYX_OK)
        return status;
    char sql[512];
    if (cyx_db_rows(found) == 0) {
        snprintf(sql, sizeof(sql), "create schema %s", schema);
        status = cyx_db_script(conn, sql, err);
        if (status != CYX_OK)
            return status;
    }
    snprintf(sql, sizeof(sql),
             "create table if not exists %s.schema_migrations (number integer primary key,"
             " name text not null, sha256 text not null,"
             " applied_at timestamptz not null default now())",
             schema);
    return cyx_db_script(conn, sql, err);
}

static enum cyx_status hash(struct cyx_db_conn *conn, const struct cyx_buf *text, char ret_hex[65],
                            struct cyx_error *err)
{
    CYX_CLEANUP_RESULT struct cyx_db_result *row = NULL;
    enum cyx_status status =
        cyx_db_query_one(conn, "select encode(sha256($1::bytea), 'hex')", &row, err,
                         CYX_DB_BYTES(text->data ? text->data : "", text->length));
    if (status == CYX_OK)
        snprintf(ret_hex, 65, "%s", cyx_db_text(row, 0, 0));
    return status;
}

static enum cyx_status run_file(struct cyx_db_conn *conn, const struct migration *file,
                                const struct cyx_buf *text, const char *sha256,
                                struct cyx_error *err)
{
    struct cyx_error why = {0};
    enum cyx_status status = cyx_db_script(conn, text->data ? text->data : "", &why);
    if (status == CYX_OK && PQtransactionStatus(conn->pg) != PQTRANS_INTRANS)
        status = cyx_error_set(&why, CYX_ERR_INVALID, NULL,
                               "it ends the transaction; leave begin, commit and rollback out");
    if (status != CYX_OK)
        return cyx_error_set(err, status, NULL, "migrations: %s: %s", file->name, why.message);
    return cyx_db_query(
        conn, "insert into schema_migrations (number, name, sha256) values ($1, $2, $3)", NULL, err,
        CYX_DB_INT(file->number), CYX_DB_TEXT(file->name), CYX_DB_TEXT(sha256));
}

/* The row of `applied` with this number, or -1. */
static long row_of(const struct cyx_db_result *applied, int number)
{
    for (size_t i = 0; i < cyx_db_rows(applied); i++)
        if (cyx_db_int(applied, i, 0) == number)
            return (long)i;
    return -1;
}

static enum cyx_status apply(struct cyx_db_conn *conn, const struct folder *folder,
                             const struct migration *file, const struct cyx_db_result *applied,
                             struct cyx_error *err)
{
    char path[4096], sha256[65];
    snprintf(path, sizeof(path), "%s/%s", folder->path, file->name);
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    enum cyx_status status = cyx_buf_read_file(&text, path, FILE_BYTES_MAX, err);
    if (status == CYX_OK)
        status = hash(conn, &text, sha256, err);
    if (status != CYX_OK)
        return status;
    long row = row_of(applied, file->number);
    size_t rows = cyx_db_rows(applied);
    if (row >= 0) {
        if (strcmp(cyx_db_text(applied, (size_t)row, 2), sha256) == 0)
            return CYX_OK;
        return cyx_error_set(err, CYX_ERR_CONFLICT, NULL,
                             "migrations: %s was changed after it was applied as %s; restore it "
                             "and put the change into a new file",
                             path, cyx_db_text(applied, (size_t)row, 1));
    }
    if (rows > 0 && cyx_db_int(applied, rows - 1, 0) > file->number)
        return cyx_error_set(err, CYX_ERR_CONFLICT, NULL,
                             "migrations: %s comes before %s, which is applied already; give it a "
                             "higher number",
                             path, cyx_db_text(applied, rows - 1, 1));
    return run_file(conn, file, &text, sha256, err);
}

/* Every applied number up to the folder's highest must have its file; above it stands a newer
 * release. */
static enum cyx_status check_removed(const struct folder *folder,
                                     const struct cyx_db_result *applied, struct cyx_error *err)
{
    int highest = number_of(folder->entries[folder->count - 1]->d_name);
    for (size_t i = 0; i < cyx_db_rows(applied); i++) {
        int64_t number = cyx_db_int(applied, i, 0);
        bool found = number > highest;
        for (int k = 0; k < folder->count && !found; k++)
            found = number_of(folder->entries[k]->d_name) == number;
        if (!found)
            return cyx_error_set(err, CYX_ERR_CONFLICT, NULL,
                                 "migrations: %s was applied but is missing in %s; restore it",
                                 cyx_db_text(applied, i, 1), folder->path);
    }
    return CYX_OK;
}

static enum cyx_status migrate(void *ctx, struct cyx_db_conn *conn, struct cyx_error *err)
{
    const struct folder *folder = ctx;
    enum cyx_status status = cyx_db_script(
        conn, "set local statement_timeout to 0; set local lock_timeout to '60s'", err);
    if (status == CYX_OK)
        status =
            cyx_db_query(conn, "select pg_advisory_xact_lock(hashtext('cyxwiz migrations ' || $1))",
                         NULL, err, CYX_DB_TEXT(conn->db->schema));
    if (status == CYX_OK)
        status = ensure_table(conn, err);
    CYX_CLEANUP_RESULT struct cyx_db_result *applied = NULL;
    if (status == CYX_OK)
        status =
            cyx_db_query(conn, "select number, name, sha256 from schema_migrations order by number",
                         &applied, err);
    if (status == CYX_OK)
        status = check_removed(folder, applied, err);
    for (int i = 0; status == CYX_OK && i < folder->count; i++) {
        const char *name = folder->entries[i]->d_name;
        const struct migration file = {.number = number_of(name), .name = name};
        status = apply(conn, folder, &file, applied, err);
    }
    return status;
}

enum cyx_status cyx_migrate(struct cyx_db *db, const char *path, struct cyx_error *err)
{
    struct folder folder = {.path = path};
    enum cyx_status status = folder_read(&folder, err);
    if (status == CYX_OK)
        status = cyx_db_transaction(db, migrate, &folder, err);
    folder_finish(&folder);
    return status;
}
