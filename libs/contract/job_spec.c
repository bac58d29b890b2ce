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
                                   const struct cyx_data_spec *data)
{
    int64_t n_train = set->n_train - (int64_t)((double)set->n_train * data->validation_part);
    if (data->batch_size <= n_train)
        return CYX_OK;
    spec_enter_key(reader, "data");
    enum cyx_status status =
        spec_fail_at(reader, "batch_size", "expected at most the %lld training images, got %lld",
                     (long long)n_train, (long long)data->batch_size);
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
    return check_batch(reader, set, &spec->data);
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
    if (self->data.dataset)
        return CYX_OK;
    return cyx_error_set(ret_error, CYX_ERR_INVALID, "/data/dataset",
                         "data on your own machine train with `cyxwiz train`; the platform has: %s",
                         cyx_dataset_names(known));
}
