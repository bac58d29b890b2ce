#include "nn/train/checkpoint.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "blob/sha256.h"
#include "nn/format/model_file.h"
#include "nn/format/safetensors.h"

#include "base/banned.h"

#define FORMAT_NAME "cyxwiz-checkpoint-2"

enum { PAIRS_LIMIT = 40 };

/* ---- values out of the session ---- */

struct entries {
    struct cyx_safetensors_entry *items;
    size_t count;
    struct cyx_arena arena;
};

static bool wanted(const struct cyx_value *value, bool with_state)
{
    return cyx_value_in_state_dict(value->kind) || (with_state && value->kind == CYX_VALUE_STATE);
}

static enum cyx_status read_value(const struct cyx_checkpoint_target *target,
                                  const struct cyx_value *value, struct entries *entries,
                                  struct cyx_error *error)
{
    size_t count = (size_t)cyx_shape_count(&value->shape);
    float *data = cyx_arena_calloc(&entries->arena, count, sizeof(*data));
    if (!data)
        return cyx_error_set(error, CYX_ERR_NO_MEMORY, NULL, "no memory to save %s", value->name);
    struct cyx_safetensors_entry *entry = &entries->items[entries->count++];
    *entry = (struct cyx_safetensors_entry){
        .name = value->name, .dtype = CYX_ST_F32, .rank = value->shape.rank, .data = data};
    for (int i = 0; i < value->shape.rank; i++)
        entry->shape[i] = value->shape.dim[i];
    return target->backend->value_read(target->session, value->name, data, count, error);
}

static enum cyx_status read_values(const struct cyx_checkpoint_target *target, bool with_state,
                                   struct entries *entries, struct cyx_error *error)
{
    const struct cyx_graph *graph = target->graph;
    entries->items = cyx_arena_calloc(&entries->arena, graph->n_values, sizeof(*entries->items));
    if (!entries->items)
        return cyx_error_set(error, CYX_ERR_NO_MEMORY, NULL, "no memory to save a model");
    for (size_t v = 0; v < graph->n_values; v++) {
        if (!wanted(&graph->values[v], with_state))
            continue;
        enum cyx_status status = read_value(target, &graph->values[v], entries, error);
        if (status != CYX_OK)
            return status;
    }
    return CYX_OK;
}

static bool all_finite(const float *data, size_t count)
{
    bool all = true;
    for (size_t i = 0; i < count; i++)
        all = all && isfinite(data[i]);
    return all;
}

/*
 * A loss may stay finite over weights that are not: oneDNN's fused ReLU takes NaN to 0. `entries` are those of
 * read_values() with state; optimizer state may be infinite where PyTorch's would.
 */
static enum cyx_status check_weights(const struct cyx_checkpoint_target *target,
                                     const struct entries *entries, int64_t step,
                                     struct cyx_error *error)
{
    const struct cyx_graph *graph = target->graph;
    for (size_t v = 0, entry = 0; v < graph->n_values; v++) {
        const struct cyx_value *value = &graph->values[v];
        if (!wanted(value, true))
            continue;
        const float *data = entries->items[entry++].data;
        if (cyx_value_in_state_dict(value->kind) &&
            !all_finite(data, (size_t)cyx_shape_count(&value->shape)))
            return cyx_error_set(error, CYX_ERR_INVALID, "/optimizer/lr",
                                 "%s is no longer finite at step %lld: lower optimizer.lr, unless "
                                 "the data holds NaN or infinity (cyxwiz data inspect)",
                                 value->name, (long long)step);
    }
    return CYX_OK;
}

/* ---- progress as metadata ---- */

/* One list of names and members for both directions. */
#define WHOLE_FIELDS(X)                                                                            \
    X("epoch", epoch)                                                                              \
    X("batch", batch)                                                                              \
    X("step", step)                                                                                \
    X("samples", samples)                                                                          \
    X("correct", correct)                                                                          \
    X("count", count)                                                                              \
    X("lr_calls", lr.calls)                                                                        \
    X("lr_warmup_calls", lr.warmup_calls)                                                          \
    X("lr_bad_epochs", lr.bad_epochs)                                                              \
    X("lr_cooldown_left", lr.cooldown_left)
#define REAL_FIELDS(X)                                                                             \
    X("loss_sum", loss_sum)                                                                        \
    X("last_train_loss", last_train_loss)                                                          \
    X("last_train_accuracy", last_train_accuracy)                                                  \
    X("lr_best", lr.best)

struct pairs {
    struct cyx_safetensors_pair items[PAIRS_LIMIT];
    size_t count;
};

static void add_pair(struct pairs *pairs, const char *key, const char *value)
{
    pairs->items[pairs->count++] = (struct cyx_safetensors_pair){key, value ? value : ""};
}

static void add_progress(struct pairs *pairs, struct cyx_arena *arena,
                         const struct cyx_progress *progress)
{
#define ADD_WHOLE(key, member)                                                                     \
    add_pair(pairs, key, cyx_arena_printf(arena, "%" PRId64, progress->member));
#define ADD_REAL(key, member)                                                                      \
    add_pair(pairs, key, cyx_arena_printf(arena, "%.17g", progress->member));
    WHOLE_FIELDS(ADD_WHOLE)
    REAL_FIELDS(ADD_REAL)
    for (int g = 0; g < CYX_PARAM_GROUPS_LIMIT; g++)
        add_pair(pairs, cyx_arena_printf(arena, "lr_rate.%d", g),
                 cyx_arena_printf(arena, "%.17g", progress->lr.rate[g]));
}

static bool read_whole(const struct cyx_safetensors *file, const char *key, int64_t *ret_number)
{
    const char *text = cyx_safetensors_metadata(file, key);
    char *end = NULL;
    if (!text || *text < '0' || *text > '9')
        return false;
    errno = 0;
    *ret_number = strtoll(text, &end, 10);
    return errno == 0 && *end == '\0';
}

static bool read_real(const struct cyx_safetensors *file, const char *key, double *ret_number)
{
    const char *text = cyx_safetensors_metadata(file, key);
    char *end = NULL;
    if (!text || !*text)
        return false;
    *ret_number = strtod(text, &end);
    return *end == '\0';
}

static bool read_progress(const struct cyx_safetensors *file, struct cyx_progress *progress)
{
    bool good = true;
#define READ_WHOLE(key, member) good = read_whole(file, key, &progress->member) && good;
#define READ_REAL(key, member) good = read_real(file, key, &progress->member) && good;
    WHOLE_FIELDS(READ_WHOLE)
    REAL_FIELDS(READ_REAL)
    for (int g = 0; g < CYX_PARAM_GROUPS_LIMIT; g++) {
        char key[24];
        snprintf(key, sizeof(key), "lr_rate.%d", g);
        good = read_real(file, key, &progress->lr.rate[g]) && good;
    }
    return good;
}

/* ---- files ---- */

static enum cyx_status encode(const struct entries *entries, const struct pairs *pairs,
                              struct cyx_buf *bytes, struct cyx_error *error)
{
    return cyx_safetensors_encode(entries->items, entries->count, pairs->items, pairs->count, bytes,
                                  error);
}

enum cyx_status cyx_checkpoint_save(const char *path, const struct cyx_checkpoint_target *target,
                                    const struct cyx_progress *progress,
                                    struct cyx_error *ret_error)
{
    struct entries entries = {0};
    struct pairs pairs = {0};
    CYX_CLEANUP_BUF struct cyx_buf bytes = {0};
    char spec_hash[CYX_SHA256_HEX];
    const char *canonical = target->spec->canonical;
    enum cyx_status status = cyx_sha256_bytes(canonical, strlen(canonical), spec_hash);
    if (status == CYX_OK)
        status = read_values(target, true, &entries, ret_error);
    if (status == CYX_OK)
        status = check_weights(target, &entries, progress->step, ret_error);
    if (status == CYX_OK) {
        add_pair(&pairs, "format", FORMAT_NAME);
        add_pair(&pairs, "cyxwiz.spec_sha256", spec_hash);
        add_pair(&pairs, "cyxwiz.dataset", target->spec->dataset_hash);
        add_progress(&pairs, &entries.arena, progress);
        status = encode(&entries, &pairs, &bytes, ret_error);
    }
    if (status == CYX_OK)
        status = cyx_file_write_atomic(path, bytes.data, bytes.length, 0600, ret_error);
    cyx_arena_finish(&entries.arena);
    return status;
}

static bool metadata_is(const struct cyx_safetensors *file, const char *key, const char *expected)
{
    const char *value = cyx_safetensors_metadata(file, key);
    return value && strcmp(value, expected) == 0;
}

static enum cyx_status check_checkpoint(const struct cyx_safetensors *file, const char *path,
                                        const struct cyx_job_spec *spec, struct cyx_error *error)
{
    char spec_hash[CYX_SHA256_HEX];
    if (cyx_sha256_bytes(spec->canonical, strlen(spec->canonical), spec_hash) != CYX_OK)
        return cyx_error_set(error, CYX_ERR_INTERNAL, NULL, "SHA-256 failed");
    if (!metadata_is(file, "format", FORMAT_NAME))
        return cyx_error_set(error, CYX_ERR_CORRUPT, NULL, "%s is not a checkpoint", path);
    if (!metadata_is(file, "cyxwiz.spec_sha256", spec_hash))
        return cyx_error_set(
            error, CYX_ERR_INVALID, NULL,
            "%s is a checkpoint of another spec: start anew, or give the spec that "
            "it was made with",
            path);
    if (!metadata_is(file, "cyxwiz.dataset", spec->dataset_hash))
        return cyx_error_set(error, CYX_ERR_INVALID, NULL,
                             "%s was made with another version of the data set: start anew", path);
    return CYX_OK;
}

static enum cyx_status load_values(const struct cyx_safetensors *file,
                                   const struct cyx_checkpoint_target *target,
                                   struct cyx_error *error)
{
    const struct cyx_graph *graph = target->graph;
    enum cyx_status status = CYX_OK;
    for (size_t v = 0; v < graph->n_values && status == CYX_OK; v++) {
        const struct cyx_value *value = &graph->values[v];
        if (!wanted(value, true))
            continue;
        size_t count = (size_t)cyx_shape_count(&value->shape);
        float *data = malloc(count * sizeof(*data));
        if (!data)
            return cyx_error_set(error, CYX_ERR_NO_MEMORY, NULL, "no memory to load %s",
                                 value->name);
        status = cyx_safetensors_read_f32(file, value->name, data, count, error);
        if (status == CYX_OK)
            status = target->backend->value_write(target->session, value->name, data, count, error);
        free(data);
    }
    return status;
}

enum cyx_status cyx_checkpoint_load(const char *path, const struct cyx_checkpoint_target *target,
                                    struct cyx_progress *ret_progress, struct cyx_error *ret_error)
{
    struct cyx_safetensors *file = NULL;
    enum cyx_status status = cyx_safetensors_open(path, &file, ret_error);
    if (status != CYX_OK)
        return status;
    struct cyx_progress progress = {0};
    status = check_checkpoint(file, path, target->spec, ret_error);
    if (status == CYX_OK && !read_progress(file, &progress))
        status = cyx_error_set(ret_error, CYX_ERR_CORRUPT, NULL,
                               "%s does not say where training stood", path);
    if (status == CYX_OK)
        status = load_values(file, target, ret_error);
    cyx_safetensors_close(file);
    if (status == CYX_OK)
        *ret_progress = progress;
    return status;
}

/* PyTorch's BatchNorm counts its training batches as a scalar int64 in the state_dict. */
static enum cyx_status add_batch_counts(const struct cyx_checkpoint_target *target,
                                        const int64_t *steps, struct entries *entries,
                                        struct cyx_error *error)
{
    const struct cyx_graph *graph = target->graph;
    for (size_t n = 0; n < graph->n_forward_nodes; n++) {
        const struct cyx_node *node = &graph->nodes[n];
        if (node->op != CYX_OP_BATCH_NORM && node->op != CYX_OP_BATCH_NORM_INFERENCE)
            continue;
        const char *name = cyx_arena_printf(&entries->arena, "%s.num_batches_tracked",
                                            target->spec->layers[node->layer].name);
        if (!name)
            return cyx_error_set(error, CYX_ERR_NO_MEMORY, NULL, "no memory to save a model");
        entries->items[entries->count++] =
            (struct cyx_safetensors_entry){.name = name, .dtype = CYX_ST_I64, .data = steps};
    }
    return CYX_OK;
}

enum cyx_status cyx_model_save(const char *path, const struct cyx_checkpoint_target *target,
                               int64_t steps, char ret_sha256[CYX_SHA256_HEX], int64_t *ret_bytes,
                               struct cyx_error *ret_error)
{
    struct entries entries = {0};
    struct pairs pairs = {0};
    CYX_CLEANUP_BUF struct cyx_buf bytes = {0};
    enum cyx_status status = read_values(target, false, &entries, ret_error);
    if (status == CYX_OK)
        status = add_batch_counts(target, &steps, &entries, ret_error);
    if (status == CYX_OK)
        status = cyx_model_about_pairs(target->spec, target->classes, target->n_classes,
                                       &entries.arena, pairs.items, &pairs.count, ret_error);
    if (status == CYX_OK)
        status = encode(&entries, &pairs, &bytes, ret_error);
    if (status == CYX_OK)
        status = cyx_sha256_bytes(bytes.data, bytes.length, ret_sha256);
    if (status == CYX_OK)
        status = cyx_file_write_atomic(path, bytes.data, bytes.length, 0644, ret_error);
    cyx_arena_finish(&entries.arena);
    if (status == CYX_OK)
        *ret_bytes = (int64_t)bytes.length;
    return status;
}
