#include "nn/data/dataset_files.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "blob/sha256.h"

#include "base/banned.h"

enum { STAMP_LIMIT_BYTES = 64 * 1024 };

/* The stamp's line for a file as it is now: it vouches for these bytes until size or time change.
 */
static void stamp_line(const struct cyx_dataset_file *file, const struct stat *info,
                       struct cyx_buf *line)
{
    cyx_buf_printf(line, "%s %lld %lld.%09ld %llu %s\n", file->sha256, (long long)info->st_size,
                   (long long)info->st_mtim.tv_sec, info->st_mtim.tv_nsec,
                   (unsigned long long)info->st_ino, file->name);
}

static bool stamp_has(const struct cyx_buf *stamp, const struct cyx_buf *line)
{
    const char *at = stamp->data;
    while (at && *at) {
        const char *end = strchr(at, '\n');
        if (!end)
            return false;
        if ((size_t)(end + 1 - at) == line->length && memcmp(at, line->data, line->length) == 0)
            return true;
        at = end + 1;
    }
    return false;
}

static enum cyx_status missing(const struct cyx_dataset *dataset, const char *path,
                               struct cyx_error *ret_error)
{
    if (errno != ENOENT && errno != ENOTDIR)
        return cyx_error_errno(ret_error, "cannot read %s", path);
    return cyx_error_set(ret_error, CYX_ERR_NOT_FOUND, "/data/dataset",
                         "%s is missing: run `cyxwiz data fetch %s`", path, dataset->name);
}

/* One file: vouched for by the stamp, or hashed. Appends its line to `fresh`. */
static enum cyx_status verify(const struct cyx_dataset *dataset,
                              const struct cyx_dataset_file *file, const char *path,
                              const struct cyx_buf *stamp, struct cyx_buf *fresh, bool *ret_hashed,
                              struct cyx_error *ret_error)
{
    struct stat info;
    if (stat(path, &info) != 0)
        return missing(dataset, path, ret_error);
    CYX_CLEANUP_BUF struct cyx_buf line = {0};
    stamp_line(file, &info, &line);
    if (line.failed)
        return cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL, "no memory to verify %s", path);
    cyx_buf_append(fresh, line.data, line.length);
    if (stamp_has(stamp, &line))
        return CYX_OK;
    *ret_hashed = true;
    char hex[CYX_SHA256_HEX];
    enum cyx_status status = cyx_sha256_file(path, hex, NULL, ret_error);
    if (status == CYX_OK && strcmp(hex, file->sha256) != 0)
        status = cyx_error_set(ret_error, CYX_ERR_CORRUPT, "/data/dataset",
                               "%s is not the catalogue's file (SHA-256 %.12s…, expected %.12s…): "
                               "remove it and run `cyxwiz data fetch %s`",
                               path, hex, file->sha256, dataset->name);
    return status;
}

static enum cyx_status verify_all(const struct cyx_dataset *dataset, const char *folder,
                                  struct cyx_error *ret_error)
{
    CYX_CLEANUP_BUF struct cyx_buf stamp = {0}, fresh = {0}, stamp_path = {0};
    cyx_buf_printf(&stamp_path, "%s/.verified", folder);
    if (stamp_path.failed)
        return cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL, "no memory to verify %s", folder);
    if (cyx_buf_read_file(&stamp, stamp_path.data, STAMP_LIMIT_BYTES, NULL) != CYX_OK)
        cyx_buf_clear(&stamp); /* none yet, or nonsense: hash again */
    bool hashed = false;
    for (size_t i = 0; i < dataset->n_files; i++) {
        CYX_CLEANUP_BUF struct cyx_buf path = {0};
        cyx_buf_printf(&path, "%s/%s", folder, dataset->files[i].name);
        if (path.failed)
            return cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL, "no memory to verify %s",
                                 folder);
        enum cyx_status status =
            verify(dataset, &dataset->files[i], path.data, &stamp, &fresh, &hashed, ret_error);
        if (status != CYX_OK)
            return status;
    }
    /* A folder that may not be written only costs the time to hash it again. */
    if (hashed && !fresh.failed)
        (void)cyx_file_write_atomic(stamp_path.data, fresh.data, fresh.length, 0644, NULL);
    return CYX_OK;
}

static enum cyx_status open_role(const struct cyx_dataset *dataset, const char *folder,
                                 const char *role, struct cyx_idx *ret_idx,
                                 struct cyx_error *ret_error)
{
    for (size_t i = 0; i < dataset->n_files; i++) {
        if (strcmp(dataset->files[i].role, role) != 0)
            continue;
        CYX_CLEANUP_BUF struct cyx_buf path = {0};
        cyx_buf_printf(&path, "%s/%s", folder, dataset->files[i].name);
        if (path.failed)
            return cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL, "no memory to open %s", role);
        return cyx_idx_open(path.data, ret_idx, ret_error);
    }
    return cyx_error_set(ret_error, CYX_ERR_INTERNAL, NULL, "the catalogue's %s has no %s",
                         dataset->name, role);
}

static bool images_fit(const struct cyx_dataset *set, const struct cyx_idx *images, int64_t count)
{
    const int64_t *s = images->shape;
    if (images->rank == 3)
        return set->channels == 1 && s[0] == count && s[1] == set->height && s[2] == set->width;
    return images->rank == 4 && s[0] == count && s[1] == set->channels && s[2] == set->height &&
           s[3] == set->width;
}

static enum cyx_status check_part(const struct cyx_dataset *dataset,
                                  const struct cyx_data_part *part, int64_t count,
                                  struct cyx_error *ret_error)
{
    if (!images_fit(dataset, &part->images, count) || part->labels.rank != 1 ||
        part->labels.shape[0] != count)
        return cyx_error_set(ret_error, CYX_ERR_CORRUPT, "/data/dataset",
                             "%s: expected %lld images of %lldx%lldx%lld with a label each",
                             dataset->name, (long long)count, (long long)dataset->channels,
                             (long long)dataset->height, (long long)dataset->width);
    for (int64_t i = 0; i < count; i++)
        if (part->labels.data[i] >= dataset->n_classes)
            return cyx_error_set(ret_error, CYX_ERR_CORRUPT, "/data/dataset",
                                 "%s: label %lld is %d, expected below %zu", dataset->name,
                                 (long long)i, part->labels.data[i], dataset->n_classes);
    return CYX_OK;
}

static enum cyx_status open_part(const struct cyx_dataset *dataset, const char *folder,
                                 const char *images, const char *labels, int64_t count,
                                 struct cyx_data_part *ret_part, struct cyx_error *ret_error)
{
    enum cyx_status status = open_role(dataset, folder, images, &ret_part->images, ret_error);
    if (status == CYX_OK)
        status = open_role(dataset, folder, labels, &ret_part->labels, ret_error);
    if (status == CYX_OK)
        status = check_part(dataset, ret_part, count, ret_error);
    ret_part->count = count;
    return status;
}

enum cyx_status cyx_data_open(const struct cyx_dataset *dataset, const char *data_dir,
                              struct cyx_data **ret_data, struct cyx_error *ret_error)
{
    CYX_CLEANUP_BUF struct cyx_buf folder = {0};
    cyx_buf_printf(&folder, "%s/%s", data_dir, dataset->name);
    struct cyx_data *self = folder.failed ? NULL : calloc(1, sizeof(*self));
    if (!self)
        return cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL, "no memory to open a data set");
    self->dataset = dataset;
    enum cyx_status status = verify_all(dataset, folder.data, ret_error);
    if (status == CYX_OK)
        status = open_part(dataset, folder.data, "train-images", "train-labels", dataset->n_train,
                           &self->train, ret_error);
    if (status == CYX_OK)
        status = open_part(dataset, folder.data, "test-images", "test-labels", dataset->n_test,
                           &self->test, ret_error);
    if (status != CYX_OK) {
        cyx_data_close(self);
        return status;
    }
    *ret_data = self;
    return CYX_OK;
}

void cyx_data_close(struct cyx_data *self)
{
    if (!self)
        return;
    cyx_idx_finish(&self->train.images);
    cyx_idx_finish(&self->train.labels);
    cyx_idx_finish(&self->test.images);
    cyx_idx_finish(&self->test.labels);
    free(self);
}
