/*
 * The catalogue's sets: found below `data_dir`, verified by SHA-256 (contract/dataset.h), checked to hold what the
 * catalogue says.
 *
 * Layout: DATA_DIR/<data set>/<file name>. A verified file is noted in DATA_DIR/<data set>/.verified with its size
 * and time of change, so that the next run does not hash it again.
 */

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "nn/data/idx.h"
#include "nn/data/private.h"

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

static enum cyx_status open_role(struct cyx_data *self, const struct cyx_dataset *dataset,
                                 const char *folder, const char *role, struct cyx_idx *ret_idx,
                                 struct cyx_error *ret_error)
{
    for (size_t i = 0; i < dataset->n_files; i++) {
        const uint8_t *bytes;
        size_t length;
        CYX_CLEANUP_BUF struct cyx_buf path = {0};
        if (strcmp(dataset->files[i].role, role) != 0)
            continue;
        cyx_buf_printf(&path, "%s/%s", folder, dataset->files[i].name);
        if (path.failed)
            return data_no_memory(role, ret_error);
        enum cyx_status status = data_map(self, path.data, &bytes, &length, ret_error);
        return status == CYX_OK ? cyx_idx_parse(path.data, bytes, length, ret_idx, ret_error)
                                : status;
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

static enum cyx_status take_labels(struct cyx_data *self, const struct cyx_dataset *dataset,
                                   const struct cyx_idx *file, int64_t count,
                                   struct cyx_data_part *part, struct cyx_error *ret_error)
{
    int32_t *labels = data_alloc(self, (size_t)count, sizeof(*labels));
    if (!labels)
        return data_no_memory(dataset->name, ret_error);
    for (int64_t i = 0; i < count; i++) {
        if (file->data[i] >= dataset->n_classes)
            return cyx_error_set(ret_error, CYX_ERR_CORRUPT, "/data/dataset",
                                 "%s: label %lld is %d, expected below %zu", dataset->name,
                                 (long long)i, file->data[i], dataset->n_classes);
        labels[i] = file->data[i];
    }
    part->labels = labels;
    return CYX_OK;
}

static enum cyx_status open_part(struct cyx_data *self, const struct cyx_dataset *dataset,
                                 const char *folder, const char *images_role,
                                 const char *labels_role, int64_t count, struct cyx_data_part *part,
                                 struct cyx_error *ret_error)
{
    struct cyx_idx images = {0}, labels = {0};
    enum cyx_status status = open_role(self, dataset, folder, images_role, &images, ret_error);
    if (status == CYX_OK)
        status = open_role(self, dataset, folder, labels_role, &labels, ret_error);
    if (status != CYX_OK)
        return status;
    if (!images_fit(dataset, &images, count) || labels.rank != 1 || labels.shape[0] != count)
        return cyx_error_set(ret_error, CYX_ERR_CORRUPT, "/data/dataset",
                             "%s: expected %lld images of %lldx%lldx%lld with a label each",
                             dataset->name, (long long)count, (long long)dataset->channels,
                             (long long)dataset->height, (long long)dataset->width);
    part->kind = CYX_ROWS_BYTES;
    part->bytes = images.data;
    part->count = count;
    return take_labels(self, dataset, &labels, count, part, ret_error);
}

static enum cyx_status open_files(struct cyx_data *self, const struct cyx_dataset *dataset,
                                  const char *data_dir, struct cyx_error *ret_error)
{
    CYX_CLEANUP_BUF struct cyx_buf folder = {0};
    cyx_buf_printf(&folder, "%s/%s", data_dir ? data_dir : "", dataset->name);
    if (folder.failed)
        return data_no_memory(dataset->name, ret_error);
    self->format = CYX_SOURCE_CATALOGUE;
    self->row =
        (struct cyx_row_shape){3, {dataset->channels, dataset->height, dataset->width}, false};
    self->target = CYX_TARGET_CLASSES;
    self->n_classes = (int64_t)dataset->n_classes;
    self->class_names = dataset->classes;
    snprintf(self->fingerprint, sizeof(self->fingerprint), "%s",
             dataset->fingerprint ? dataset->fingerprint : "");
    enum cyx_status status = verify_all(dataset, folder.data, ret_error);
    if (status == CYX_OK)
        status = open_part(self, dataset, folder.data, "train-images", "train-labels",
                           dataset->n_train, &self->train, ret_error);
    if (status == CYX_OK)
        status = open_part(self, dataset, folder.data, "test-images", "test-labels",
                           dataset->n_test, &self->test, ret_error);
    return status;
}

enum cyx_status cyx_data_open_dataset(const struct cyx_dataset *dataset, const char *data_dir,
                                      struct cyx_data **ret_data, struct cyx_error *ret_error)
{
    struct cyx_data *self = data_new(dataset->name, ret_error);
    if (!self)
        return CYX_ERR_NO_MEMORY;
    enum cyx_status status = open_files(self, dataset, data_dir, ret_error);
    if (status != CYX_OK) {
        cyx_data_close(self);
        return status;
    }
    *ret_data = self;
    return CYX_OK;
}
