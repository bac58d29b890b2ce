/* Folders of images: a folder a class, as torchvision's ImageFolder. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "contract/data_shape.h"
#include "nn/data/image.h"
#include "nn/data/private.h"

#include "base/banned.h"

enum { DEPTH_LIMIT = 8, CLASSES_LIMIT = 65536, FILES_LIMIT = 64 * 1024 * 1024 };

struct names {
    char **list;
    size_t n, room;
};

static void names_finish(struct names *self)
{
    for (size_t i = 0; i < self->n; i++)
        free(self->list[i]);
    free(self->list);
    *self = (struct names){0};
}
#define CLEANUP_NAMES __attribute__((cleanup(names_finish)))

static bool names_add(struct names *self, const char *name)
{
    if (self->n == self->room) {
        size_t room = self->room ? 2 * self->room : 64;
        char **list = realloc(self->list, room * sizeof(*list));
        if (!list)
            return false;
        self->list = list;
        self->room = room;
    }
    self->list[self->n] = strdup(name);
    return self->list[self->n] && ++self->n;
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Sorted names in a folder, without hidden ones. */
static enum cyx_status list_folder(const char *path, struct names *names, struct cyx_error *error)
{
    DIR *folder = opendir(path);
    enum cyx_status status = CYX_OK;
    if (!folder)
        return cyx_error_errno(error, "cannot open the folder %s", path);
    for (const struct dirent *entry; status == CYX_OK && (entry = readdir(folder));)
        if (entry->d_name[0] != '.' && !names_add(names, entry->d_name))
            status = data_no_memory(path, error);
    closedir(folder);
    if (status != CYX_OK)
        names_finish(names);
    if (names->n > 0)
        qsort(names->list, names->n, sizeof(*names->list), by_bytes);
    return status;
}

static bool is_image(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot && (strcasecmp(dot, ".png") == 0 || strcasecmp(dot, ".jpg") == 0 ||
                   strcasecmp(dot, ".jpeg") == 0);
}

/* ---- one part ---- */

struct walk {
    struct cyx_data *data;
    const struct cyx_data_spec *spec;
    struct cyx_sha256 *hash;
    size_t skip; /* bytes of a path that are not hashed: where the part lies */
    struct cyx_image_file *files;
    int32_t *labels;
    size_t n, room;
    int32_t label;
    struct cyx_error *error;
};

static bool walk_grow(struct walk *walk)
{
    if (walk->n < walk->room)
        return true;
    size_t room = walk->room ? 2 * walk->room : 1024;
    struct cyx_image_file *files = realloc(walk->files, room * sizeof(*files));
    walk->files = files ? files : walk->files;
    int32_t *labels = realloc(walk->labels, room * sizeof(*labels));
    walk->labels = labels ? labels : walk->labels;
    if (!files || !labels)
        return false;
    walk->room = room;
    return true;
}

/* Sizes from the header, and whether the transforms can use them. */
static enum cyx_status judge_file(const struct walk *walk, const char *path,
                                  struct cyx_image_shape *shape, struct cyx_error *why)
{
    shape->channels = walk->spec->source.channels;
    enum cyx_status status = cyx_image_probe(path, &shape->height, &shape->width, why);
    struct cyx_image_shape end = *shape;
    if (status == CYX_OK)
        status = cyx_transforms_shape(walk->spec->transforms, walk->spec->n_transforms, &end, why);
    return status;
}

static enum cyx_status add_file(struct walk *walk, const char *path, const struct stat *info)
{
    struct cyx_image_shape shape;
    struct cyx_error why = {0};
    struct cyx_data_memory *memory = walk->data->memory;
    char line[64];
    int n = snprintf(line, sizeof(line), " %lld\n", (long long)info->st_size);
    memory->n_seen++;
    if (cyx_sha256_update(walk->hash, path + walk->skip, strlen(path + walk->skip)) != CYX_OK ||
        cyx_sha256_update(walk->hash, line, (size_t)n) != CYX_OK)
        return cyx_error_set(walk->error, CYX_ERR_INTERNAL, NULL, "cannot hash %s", path);
    if (judge_file(walk, path, &shape, &why) != CYX_OK) {
        data_fault(walk->data, path, why.message);
        return CYX_OK;
    }
    const char *kept = cyx_arena_strdup(&memory->arena, path);
    if (!kept || !walk_grow(walk) || walk->n == FILES_LIMIT)
        return data_no_memory(path, walk->error);
    walk->files[walk->n] = (struct cyx_image_file){
        .path = kept, .width = (int32_t)shape.width, .height = (int32_t)shape.height};
    walk->labels[walk->n++] = walk->label;
    return CYX_OK;
}

/* The images of one class, in the order of their paths. */
static enum cyx_status walk_folder(struct walk *walk, const char *path, int depth)
{
    CLEANUP_NAMES struct names names = {0};
    enum cyx_status status = list_folder(path, &names, walk->error);
    for (size_t i = 0; status == CYX_OK && i < names.n; i++) {
        struct stat info;
        CYX_CLEANUP_BUF struct cyx_buf below = {0};
        cyx_buf_printf(&below, "%s/%s", path, names.list[i]);
        if (below.failed)
            return data_no_memory(path, walk->error);
        if (stat(below.data, &info) != 0) {
            walk->data->memory->n_seen++;
            data_fault(walk->data, below.data, strerror(errno));
        } else if (S_ISDIR(info.st_mode) && depth < DEPTH_LIMIT) {
            status = walk_folder(walk, below.data, depth + 1);
        } else if (S_ISREG(info.st_mode) && is_image(names.list[i])) {
            status = add_file(walk, below.data, &info);
        }
    }
    return status;
}

static bool is_folder(const char *root, const char *name)
{
    struct stat info;
    CYX_CLEANUP_BUF struct cyx_buf path = {0};
    cyx_buf_printf(&path, "%s/%s", root, name);
    return !path.failed && stat(path.data, &info) == 0 && S_ISDIR(info.st_mode);
}

static int32_t find_class(const struct cyx_data *data, const char *name)
{
    for (int64_t i = 0; i < data->n_classes; i++)
        if (strcmp(data->class_names[i], name) == 0)
            return (int32_t)i;
    return -1;
}

static enum cyx_status walk_classes(struct walk *walk, const char *root)
{
    CLEANUP_NAMES struct names names = {0};
    enum cyx_status status = list_folder(root, &names, walk->error);
    for (size_t i = 0; status == CYX_OK && i < names.n; i++) {
        CYX_CLEANUP_BUF struct cyx_buf path = {0};
        if (!is_folder(root, names.list[i]))
            continue;
        cyx_buf_printf(&path, "%s/%s", root, names.list[i]);
        walk->label = find_class(walk->data, names.list[i]);
        if (path.failed)
            return data_no_memory(root, walk->error);
        if (walk->label < 0)
            return cyx_error_set(walk->error, CYX_ERR_INVALID, "/data/dataset/test",
                                 "%s: the training part has no class of this name", path.data);
        status = walk_folder(walk, path.data, 1);
    }
    return status;
}

/* Hands the lists over to the data set. */
static enum cyx_status keep_part(struct walk *walk, const char *root, struct cyx_data_part *part)
{
    struct cyx_data *data = walk->data;
    char first[CYX_FAULT_BYTES];
    cyx_data_fault(data, 0, first);
    if (walk->n == 0)
        return cyx_error_set(walk->error, CYX_ERR_INVALID, "/data/dataset",
                             "%s holds no folder with a PNG or JPEG file that can be read%s%s",
                             root, *first ? "; first: " : "", first);
    struct cyx_image_file *files = data_alloc(data, walk->n, sizeof(*files));
    int32_t *labels = data_alloc(data, walk->n, sizeof(*labels));
    atomic_uchar *broken = data_alloc(data, walk->n, sizeof(*broken));
    if (!files || !labels || !broken)
        return data_no_memory(root, walk->error);
    memcpy(files, walk->files, walk->n * sizeof(*files));
    memcpy(labels, walk->labels, walk->n * sizeof(*labels));
    for (size_t i = 0; i < walk->n; i++)
        atomic_init(&broken[i], 0);
    *part = (struct cyx_data_part){.count = (int64_t)walk->n,
                                   .kind = CYX_ROWS_FILES,
                                   .files = files,
                                   .labels = labels,
                                   .broken = broken};
    return CYX_OK;
}

static enum cyx_status open_part(struct walk *walk, const struct cyx_data_options *options,
                                 const char *given, struct cyx_data_part *part)
{
    CYX_CLEANUP_BUF struct cyx_buf root = {0};
    enum cyx_status status = data_path(options, given, &root, walk->error);
    walk->n = 0;
    walk->skip = root.length;
    if (status == CYX_OK)
        status = walk_classes(walk, root.data);
    return status == CYX_OK ? keep_part(walk, root.data, part) : status;
}

/* Those of the names that are folders. */
static enum cyx_status keep_classes(struct cyx_data *self, const struct names *names,
                                    const char *root, struct cyx_error *error)
{
    const char **classes = data_alloc(self, names->n ? names->n : 1, sizeof(*classes));
    if (!classes)
        return data_no_memory(root, error);
    self->class_names = classes;
    for (size_t i = 0; i < names->n; i++) {
        if (!is_folder(root, names->list[i]))
            continue;
        classes[self->n_classes] = cyx_arena_strdup(&self->memory->arena, names->list[i]);
        if (!classes[self->n_classes++])
            return data_no_memory(root, error);
    }
    if (self->n_classes < 1 || self->n_classes > CLASSES_LIMIT)
        return cyx_error_set(error, CYX_ERR_INVALID, "/data/dataset/train",
                             "%s has %lld folders, expected one for each of 1 to %d classes", root,
                             (long long)self->n_classes, CLASSES_LIMIT);
    return CYX_OK;
}

/* The training part's folders, sorted. */
static enum cyx_status find_classes(struct cyx_data *self, const char *root,
                                    struct cyx_error *error)
{
    struct names names = {0};
    enum cyx_status status = list_folder(root, &names, error);
    if (status == CYX_OK)
        status = keep_classes(self, &names, root, error);
    names_finish(&names);
    return status;
}

/* Height and width when all files agree, 0 otherwise. */
static void find_row(struct cyx_data *self, int64_t channels)
{
    const struct cyx_image_file *first = &self->train.files[0];
    self->row = (struct cyx_row_shape){3, {channels, first->height, first->width}, true};
    const struct cyx_data_part *parts[] = {&self->train, &self->test};
    for (int p = 0; p < 2; p++)
        for (int64_t i = 0; i < parts[p]->count; i++)
            if (parts[p]->files[i].height != first->height ||
                parts[p]->files[i].width != first->width)
                self->row.dim[1] = self->row.dim[2] = 0;
}

static enum cyx_status open_all(struct walk *walk, const struct cyx_data_options *options)
{
    struct cyx_data *self = walk->data;
    const struct cyx_source_spec *source = &walk->spec->source;
    CYX_CLEANUP_BUF struct cyx_buf root = {0};
    enum cyx_status status = data_path(options, source->train, &root, walk->error);
    if (status == CYX_OK)
        status = find_classes(self, root.data, walk->error);
    if (status == CYX_OK)
        status = open_part(walk, options, source->train, &self->train);
    if (status == CYX_OK && source->test)
        status = open_part(walk, options, source->test, &self->test);
    if (status == CYX_OK)
        find_row(self, source->channels);
    return status;
}

enum cyx_status data_open_folder(struct cyx_data *self, const struct cyx_data_spec *spec,
                                 const struct cyx_data_options *options, struct cyx_error *error)
{
    struct walk walk = {.data = self, .spec = spec, .hash = cyx_sha256_create(), .error = error};
    if (!walk.hash)
        return data_no_memory(spec->source.train, error);
    self->target = CYX_TARGET_CLASSES;
    self->memory->fault_what = "files";
    enum cyx_status status = open_all(&walk, options);
    if (status == CYX_OK)
        status = cyx_sha256_final(walk.hash, self->fingerprint);
    cyx_sha256_destroy(walk.hash);
    free(walk.files);
    free(walk.labels);
    return status;
}
