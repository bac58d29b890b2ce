#include "contract/job_spec.h"

#include <stdlib.h>
#include <string.h>

#include "contract/canonical.h"
#include "contract/data_shape.h"
#include "contract/dataset.h"
#include "contract/job_tables.h"

#include "base/banned.h"

struct job_spec_block {
    struct cyx_job_spec spec; /* first: what the caller holds */
    struct cyx_arena arena;
};

/* Depth is judged before parsing, so that the parser's own stack is never at the mercy of the text.
 */
static size_t nesting(const char *json, size_t length)
{
    size_t depth = 0, deepest = 0;
    bool in_text = false;
    for (size_t i = 0; i < length; i++) {
        char c = json[i];
        if (in_text && c == '\\')
            i++;
        else if (c == '"')
            in_text = !in_text;
        else if (!in_text && (c == '{' || c == '['))
            deepest = ++depth > deepest ? depth : deepest;
        else if (!in_text && (c == '}' || c == ']') && depth > 0)
            depth--;
    }
    return deepest;
}

static enum cyx_status load(const char *json, size_t length, json_t **ret_root,
                            struct cyx_error *error)
{
    if (length > CYX_JOB_SPEC_LIMIT_BYTES)
        return cyx_error_set(error, CYX_ERR_TOO_LARGE, "",
                             "a job spec has at most %d bytes, got %zu", CYX_JOB_SPEC_LIMIT_BYTES,
                             length);
    if (nesting(json, length) > CYX_JOB_DEPTH_LIMIT)
        return cyx_error_set(error, CYX_ERR_INVALID, "",
                             "objects and lists stand more than %d deep in one another",
                             CYX_JOB_DEPTH_LIMIT);
    json_error_t why;
    *ret_root = json_loadb(json, length, JSON_REJECT_DUPLICATES, &why);
    if (*ret_root)
        return CYX_OK;
    if (json_error_code(&why) == json_error_out_of_memory)
        return cyx_error_set(error, CYX_ERR_NO_MEMORY, "", "memory ran out while reading JSON");
    return cyx_error_set(error, CYX_ERR_INVALID, "", "not JSON: line %d, column %d: %s", why.line,
                         why.column, why.text);
}

/* The training set without its validation part, as the trainer divides it. */
static enum cyx_status check_batch(struct spec_reader *reader, const struct cyx_dataset *set,
                                   const struct cyx_data_spec *data, int64_t nodes)
{
    int64_t n_train = set->n_train - (int64_t)((double)set->n_train * data->validation_part);
    if (data->batch_size <= n_train / nodes)
        return CYX_OK;
    spec_enter_key(reader, "data");
    enum cyx_status status =
        spec_fail_at(reader, "batch_size", "expected at most the %lld training images%s, got %lld",
                     (long long)(n_train / nodes), nodes > 1 ? " of each node" : "",
                     (long long)data->batch_size);
    spec_leave(reader);
    return status;
}

static enum cyx_status make_canonical(struct spec_reader *reader, const json_t *root,
                                      struct cyx_job_spec *spec)
{
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    spec_canonical(root, &text);
    spec->canonical = text.failed ? NULL : cyx_arena_strndup(reader->arena, text.data, text.length);
    return spec->canonical ? CYX_OK : spec_no_memory(reader);
}

/* What can be said without the files: shapes and counts are in the catalogue. */
static enum cyx_status judge_catalogue_set(struct spec_reader *reader, struct cyx_job_spec *spec)
{
    const struct cyx_dataset *set = cyx_dataset_find(spec->data.dataset);
    struct cyx_image_shape image = {set->channels, set->height, set->width};
    enum cyx_status status =
        cyx_transforms_shape(spec->data.transforms, spec->data.n_transforms, &image, reader->error);
    if (status != CYX_OK)
        return status;
    spec->dataset_hash = set->fingerprint;
    spec->data.sample =
        (struct cyx_sample_shape){.rank = 3,
                                  .dim = {image.channels, image.height, image.width},
                                  .target = CYX_TARGET_CLASSES,
                                  .n_classes = (int64_t)set->n_classes};
    return check_batch(reader, set, &spec->data, spec->resources.nodes);
}

/* ---- uploads ---- */

/* No way out of the folder that was uploaded. */
static bool stays_within(const char *path)
{
    if (*path == '/')
        return false;
    for (const char *part = path; *part;) {
        size_t length = strcspn(part, "/");
        if (length == 2 && strncmp(part, "..", 2) == 0)
            return false;
        part += length + (part[length] == '/');
    }
    return true;
}

static bool names_files(const struct cyx_source_spec *source)
{
    return source->format == CYX_SOURCE_IDX || source->format == CYX_SOURCE_NPY;
}

static enum cyx_status judge_paths(struct spec_reader *reader, const struct cyx_source_spec *source)
{
    const struct {
        const char *key, *path;
    } paths[] = {
        {"train", source->train},
        {"test", source->test},
        {"targets", names_files(source) ? source->targets : NULL},
        {"test_targets", names_files(source) ? source->test_targets : NULL},
    };
    for (size_t i = 0; i < SPEC_COUNT(paths); i++)
        if (paths[i].path && !stays_within(paths[i].path))
            return spec_fail_at(reader, paths[i].key,
                                "expected a path within the upload: relative, without \"..\"");
    return CYX_OK;
}

static enum cyx_target_kind target_of(const struct cyx_source_spec *source,
                                      const struct cyx_loss_spec *loss)
{
    bool classes = loss->type == CYX_LOSS_CROSS_ENTROPY || loss->target == CYX_LOSS_TARGET_ONE_HOT;
    if (source->format == CYX_SOURCE_IDX || source->format == CYX_SOURCE_IMAGE_FOLDER)
        classes = true;
    else if (source->task != CYX_TASK_AUTO)
        classes = source->task == CYX_TASK_CLASSES;
    else if (source->format == CYX_SOURCE_CSV)
        classes = source->n_target == 1;
    return classes ? CYX_TARGET_CLASSES : CYX_TARGET_NUMBERS;
}

/* Whether images of any size become one size. */
static bool transforms_fix_size(const struct cyx_data_spec *data)
{
    bool fixed = false;
    for (size_t i = 0; i < data->n_transforms; i++) {
        const struct cyx_transform_spec *t = &data->transforms[i];
        fixed |= t->type == CYX_TRANSFORM_CENTER_CROP || t->type == CYX_TRANSFORM_RANDOM_CROP;
        if (t->type == CYX_TRANSFORM_RESIZE)
            fixed = t->size[1] != 0;
    }
    return fixed;
}

/* The images' size before the transforms; of folders of several sizes one that no crop is too large for. */
static bool image_size(const struct cyx_data_spec *data, struct cyx_image_shape *ret_image)
{
    const struct cyx_source_spec *source = &data->source;
    *ret_image =
        (struct cyx_image_shape){source->shape.dim[0], source->shape.dim[1], source->shape.dim[2]};
    if (source->shape.rank == 3)
        return true;
    if (source->shape.rank != 0 || source->format != CYX_SOURCE_IMAGE_FOLDER ||
        !transforms_fix_size(data))
        return false;
    *ret_image =
        (struct cyx_image_shape){source->channels, CYX_IMAGE_SIDE_LIMIT, CYX_IMAGE_SIDE_LIMIT};
    return true;
}

/* The sample as the spec states it: of rank 0 where it states none (check_shared asks for it). */
static enum cyx_status judge_sample(struct spec_reader *reader, struct cyx_job_spec *spec)
{
    struct cyx_data_spec *data = &spec->data;
    const struct cyx_source_spec *source = &data->source;
    struct cyx_image_shape image;
    struct cyx_sample_shape sample = {
        .rank = (int)source->shape.rank,
        .dim = {source->shape.dim[0], source->shape.dim[1], source->shape.dim[2]},
        .target = target_of(source, &spec->loss),
        .n_classes = source->n_classes,
        .n_targets = source->n_target ? (int64_t)source->n_target : CYX_TARGETS_UNKNOWN,
    };
    if (source->format == CYX_SOURCE_CSV && sample.rank > 1)
        return spec_fail_at(reader, "shape", "expected [features]: a row of a CSV file is flat");
    bool images = source->format == CYX_SOURCE_IMAGE_FOLDER || source->format == CYX_SOURCE_IDX;
    if (images && sample.rank != 0 && sample.rank != 3)
        return spec_fail_at(reader, "shape", "expected [channels, height, width] of an image");
    if (source->format == CYX_SOURCE_IMAGE_FOLDER && sample.rank == 3 &&
        sample.dim[0] != source->channels)
        return spec_fail_at(reader, "shape", "expected %lld channels, as \"channels\" says",
                            (long long)source->channels);
    if (image_size(data, &image)) {
        enum cyx_status status =
            cyx_transforms_shape(data->transforms, data->n_transforms, &image, reader->error);
        if (status != CYX_OK)
            return status;
        sample.rank = 3;
        sample.dim[0] = image.channels;
        sample.dim[1] = image.height;
        sample.dim[2] = image.width;
    }
    data->sample = sample;
    return CYX_OK;
}

static enum cyx_status judge_upload(struct spec_reader *reader, struct cyx_job_spec *spec)
{
    const struct cyx_source_spec *source = &spec->data.source;
    spec_enter_key(reader, "data");
    spec_enter_key(reader, "dataset");
    enum cyx_status status = CYX_OK;
    if (!source->upload && (source->sha256 || source->shape.rank > 0))
        status = spec_fail_at(reader, source->sha256 ? "sha256" : "shape",
                              "belongs to \"upload\", which is not given");
    else if (source->upload && source->format == CYX_SOURCE_MEMORY)
        status = spec_fail_at(reader, "upload",
                              "a program's arrays are no upload: name a format "
                              "with files");
    else if (source->upload && (status = judge_paths(reader, source)) == CYX_OK)
        status = judge_sample(reader, spec);
    spec_leave(reader);
    spec_leave(reader);
    return status;
}

static enum cyx_status read_root(struct job_spec_block *block, json_t *root,
                                 struct cyx_error *error)
{
    struct spec_reader reader = {.arena = &block->arena, .error = error};
    struct cyx_job_spec *spec = &block->spec;
    enum cyx_status status = spec_read_object(&reader, root, &spec_job, spec);
    if (status != CYX_OK)
        return status;
    spec->dataset_hash = "";
    if (spec->data.dataset)
        status = judge_catalogue_set(&reader, spec);
    else
        status = judge_upload(&reader, spec);
    return status == CYX_OK ? make_canonical(&reader, root, spec) : status;
}

enum cyx_status cyx_job_spec_parse(const char *json, size_t length, struct cyx_job_spec **ret_spec,
                                   struct cyx_error *ret_error)
{
    struct cyx_error unread; /* the reader always has one to write to */
    struct cyx_error *error = ret_error ? ret_error : &unread;
    json_t *root = NULL;
    enum cyx_status status = load(json, length, &root, error);
    if (status != CYX_OK)
        return status;
    struct job_spec_block *block = calloc(1, sizeof(*block));
    if (!block) {
        json_decref(root);
        return cyx_error_set(error, CYX_ERR_NO_MEMORY, "", "memory ran out");
    }
    status = read_root(block, root, error);
    json_decref(root);
    if (status != CYX_OK) {
        cyx_job_spec_destroy(&block->spec);
        return status;
    }
    *ret_spec = &block->spec;
    return CYX_OK;
}

void cyx_job_spec_destroy(struct cyx_job_spec *self)
{
    if (!self)
        return;
    struct job_spec_block *block = (struct job_spec_block *)self;
    cyx_arena_finish(&block->arena);
    free(block);
}

enum cyx_status cyx_job_spec_check_shared(const struct cyx_job_spec *self,
                                          struct cyx_error *ret_error)
{
    char known[CYX_DATASET_NAMES_BYTES];
    if (self->initial.file && !self->initial.upload)
        return cyx_error_set(ret_error, CYX_ERR_INVALID, "/initial",
                             "a file of your own machine: bring it with `cyxwiz upload --kind "
                             "model`, and name it by \"upload\"");
    if (self->data.dataset)
        return CYX_OK;
    if (!self->data.source.upload)
        return cyx_error_set(
            ret_error, CYX_ERR_INVALID, "/data/dataset",
            "data on your own machine train with `cyxwiz train`, or on the platform "
            "after `cyxwiz upload`, named by \"upload\"; the platform has: %s",
            cyx_dataset_names(known));
    if (self->data.sample.rank == 0)
        return cyx_error_set(ret_error, CYX_ERR_INVALID, "/data/dataset/shape",
                             "say what one sample is before the transforms, such as [4] or "
                             "[3, 32, 32]; `cyxwiz data inspect` tells it%s",
                             self->data.source.format == CYX_SOURCE_IMAGE_FOLDER
                                 ? "; or Resize to [height, width]"
                                 : "");
    return CYX_OK;
}
