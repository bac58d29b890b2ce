/* How much device memory is really there: pieces that are held together, each with a mark that is read back in the end. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/philox.h"
#include "nn/bench/private.h"

#include "base/banned.h"

enum { MARK_ELEMENTS = 1024, PIECES_LIMIT = 4096 };
#define MIB (INT64_C(1) << 20)
#define SHARED_LIMIT (256 * MIB)

static int64_t lesser(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* How far it is to go without being a burden to others. */
static int64_t goal(struct cyx_benchmark *self)
{
    int64_t claim = self->info.memory_bytes / 100 * 95;
    if (self->shares_memory) {
        int64_t idle = (int64_t)sysconf(_SC_AVPHYS_PAGES) * sysconf(_SC_PAGESIZE);
        return lesser(lesser(claim, SHARED_LIMIT), idle / 2);
    }
    self->backend->device_info(self->device, &self->info);
    int64_t left = self->info.memory_budget_bytes - self->info.memory_used_bytes;
    if (self->info.memory_budget_bytes > 0 && left < claim)
        claim = left > 0 ? left / 100 * 95 : 0;
    return claim;
}

/* A Linear whose weight is nearly all of the piece; its bias is the mark. Session_create zeroes, and so touches, both. */
static enum cyx_status take(struct cyx_benchmark *self, int64_t bytes, struct bench_rig *ret_rig,
                            struct cyx_error *error)
{
    char layers[160];
    int64_t columns = bytes / (int64_t)sizeof(float) / MARK_ELEMENTS;
    snprintf(layers, sizeof(layers), "{\"type\":\"Linear\",\"name\":\"piece\",\"out_features\":%d}",
             MARK_ELEMENTS);
    const struct bench_plan plan = {
        .layers = layers,
        .loss = "{\"type\":\"MSELoss\"}",
        .sample = {.rank = 1,
                   .dim = {columns > 1 ? columns - 1 : 1},
                   .target = CYX_TARGET_NUMBERS,
                   .n_targets = MARK_ELEMENTS},
        .batch = 1,
        .storage = true,
    };
    return bench_rig_make(self->backend, self->device, &plan, ret_rig, error);
}

static void draw_mark(size_t piece, float ret_mark[MARK_ELEMENTS])
{
    const struct cyx_philox key = {.seed = 1 + piece, .stream = (uint32_t)piece};
    for (uint32_t i = 0; i < MARK_ELEMENTS; i++)
        ret_mark[i] = cyx_philox_uniform(&key, i);
}

static bool holds_mark(struct bench_rig *rig, size_t piece)
{
    float expected[MARK_ELEMENTS], got[MARK_ELEMENTS];
    draw_mark(piece, expected);
    bool same =
        rig->backend->value_read(rig->session, "piece.bias", got, MARK_ELEMENTS, NULL) == CYX_OK;
    for (int i = 0; same && i < MARK_ELEMENTS; i++)
        same = got[i] == expected[i];
    return same;
}

static bool take_and_mark(struct cyx_benchmark *self, size_t index, int64_t bytes,
                          struct bench_rig *ret_rig)
{
    float mark[MARK_ELEMENTS];
    struct bench_rig rig = {0};
    if (take(self, bytes, &rig, NULL) != CYX_OK)
        return false;
    draw_mark(index, mark);
    if (rig.backend->value_write(rig.session, "piece.bias", mark, MARK_ELEMENTS, NULL) != CYX_OK) {
        bench_rig_finish(&rig);
        return false;
    }
    *ret_rig = rig;
    return true;
}

enum cyx_status bench_memory(struct cyx_benchmark *self, int64_t *ret_bytes,
                             int64_t *ret_tried_bytes, struct cyx_error *ret_error)
{
    const int64_t piece = (self->is_gpu ? 512 : 64) * MIB, tried = goal(self);
    struct bench_rig *pieces = calloc(PIECES_LIMIT, sizeof(*pieces));
    if (!pieces)
        return cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL, "no memory for a benchmark");
    size_t count = 0;
    int64_t held = 0;
    for (int64_t asked = 0; asked < tried && count < PIECES_LIMIT; asked += piece) {
        int64_t bytes = lesser(piece, tried - asked);
        if (bytes < MIB || !take_and_mark(self, count, bytes, &pieces[count]))
            break;
        count++;
    }
    for (size_t i = 0; i < count; i++)
        if (holds_mark(&pieces[i], i))
            held += lesser(piece, tried - (int64_t)i * piece);
    for (size_t i = 0; i < count; i++)
        bench_rig_finish(&pieces[i]);
    free(pieces);
    *ret_bytes = held;
    *ret_tried_bytes = tried - tried % MIB;
    return CYX_OK;
}
