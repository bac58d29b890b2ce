/* How much device memory is really there: pieces that are held together, each with a mark that is read back in the end. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/philox.h"
#include "nn/bench/private.h"

#include "base/banned.h"

enum { MARK_ELEMENTS = 1024, PIECES_LIMIT = 4096 };
#define MIB (INT64_C(1) << 20)
#define LEAST_PIECE (16 * MIB)
#define SHARED_LEAST (128 * MIB) /* below which the registry takes it for none */
#define SHARED_LIMIT (256 * MIB)

struct piece {
    struct bench_rig rig;
    int64_t bytes;
};

static int64_t lesser(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* What the machine could give without taking it from others: not only what lies idle, caches too. */
static int64_t available(void)
{
    FILE *file = fopen("/proc/meminfo", "re");
    char line[128];
    int64_t bytes = (int64_t)sysconf(_SC_AVPHYS_PAGES) * sysconf(_SC_PAGESIZE);
    while (file && fgets(line, sizeof(line), file))
        if (strncmp(line, "MemAvailable:", 13) == 0)
            bytes = strtoll(line + 13, NULL, 10) * 1024;
    if (file)
        fclose(file);
    return bytes;
}

/* How far it is to go without being a burden to others. */
static int64_t goal(struct cyx_benchmark *self)
{
    int64_t claim = self->info.memory_bytes / 100 * 95;
    if (self->shares_memory) {
        int64_t half = available() / 2;
        return lesser(claim, lesser(SHARED_LIMIT, half > SHARED_LEAST ? half : SHARED_LEAST));
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

/*
 * As many pieces as `tried` bytes need, as large as the device makes them: one that is refused is asked for by halves,
 * since devices have a largest allocation. Returns how many there are.
 */
static size_t take_pieces(struct cyx_benchmark *self, int64_t tried, struct piece *pieces)
{
    int64_t size = (self->is_gpu ? 512 : 64) * MIB, asked = 0;
    size_t count = 0;
    while (tried - asked >= MIB && count < PIECES_LIMIT) {
        struct piece *piece = &pieces[count];
        piece->bytes = lesser(size, tried - asked);
        if (take_and_mark(self, count, piece->bytes, &piece->rig)) {
            asked += piece->bytes;
            count++;
        } else if ((size = piece->bytes / 2) < LEAST_PIECE) {
            break;
        }
    }
    return count;
}

enum cyx_status bench_memory(struct cyx_benchmark *self, int64_t *ret_bytes,
                             int64_t *ret_tried_bytes, struct cyx_error *ret_error)
{
    const int64_t tried = goal(self) / MIB * MIB;
    int64_t held = 0;
    struct piece *pieces = calloc(PIECES_LIMIT, sizeof(*pieces));
    if (!pieces)
        return cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL, "no memory for a benchmark");
    size_t count = take_pieces(self, tried, pieces);
    for (size_t i = 0; i < count; i++)
        if (holds_mark(&pieces[i].rig, i))
            held += pieces[i].bytes;
    for (size_t i = 0; i < count; i++)
        bench_rig_finish(&pieces[i].rig);
    free(pieces);
    *ret_bytes = held;
    *ret_tried_bytes = tried;
    return CYX_OK;
}
