#include "placement.h"

#include <math.h>
#include <string.h>

#include "base/banned.h"

bool cyx_sched_backend_parse(const char *name, enum cyx_sched_backend *ret_backend)
{
    for (int i = CYX_SCHED_ANY; name && i <= CYX_SCHED_VULKAN; i++) {
        if (strcmp(name, cyx_sched_backend_name((enum cyx_sched_backend)i)) == 0) {
            *ret_backend = (enum cyx_sched_backend)i;
            return true;
        }
    }
    return false;
}

const char *cyx_sched_backend_name(enum cyx_sched_backend backend)
{
    return backend == CYX_SCHED_CPU ? "cpu" : backend == CYX_SCHED_VULKAN ? "vulkan" : "auto";
}

int cyx_sched_size(double flops_per_sample)
{
    if (!(flops_per_sample > 1))
        return 0;
    int size = (int)(log2(flops_per_sample) / 3);
    return size < CYX_SCHED_SIZES ? size : CYX_SCHED_SIZES - 1;
}

double cyx_sched_reputation(const struct cyx_sched_node *node)
{
    return (node->good + 1) / (node->good + node->bad + 2);
}

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* Memory of the largest device that counts for this backend, 0 when the node has none. */
static int64_t device_memory(enum cyx_sched_backend backend, const struct cyx_sched_node *node)
{
    if (backend == CYX_SCHED_CPU)
        return node->cpu_memory_bytes;
    if (backend == CYX_SCHED_VULKAN)
        return larger(node->gpu_memory_bytes, node->soft_memory_bytes);
    int64_t memory = larger(node->gpu_memory_bytes, node->cpu_memory_bytes);
    return memory > 0 ? memory : node->soft_memory_bytes;
}

/* A minute at this price, rounded up. */
static int64_t minute_price(int64_t price_per_hour)
{
    return price_per_hour / 60 + (price_per_hour % 60 > 0);
}

/* The next text of a list joined by commas, NULL at its end; `ret_length` without the comma. */
static const char *next_item(const char **rest, size_t *ret_length)
{
    const char *item = *rest;
    if (!item || !*item)
        return NULL;
    *ret_length = strcspn(item, ",");
    *rest = item + *ret_length + (item[*ret_length] == ',');
    return item;
}

static bool list_has(const char *list, const char *wanted, size_t wanted_length)
{
    size_t length;
    for (const char *item; (item = next_item(&list, &length));)
        if (length == wanted_length && memcmp(item, wanted, length) == 0)
            return true;
    return false;
}

static bool has_all(const char *wanted, const char *list)
{
    size_t length;
    for (const char *item; (item = next_item(&wanted, &length));)
        if (!list_has(list, item, length))
            return false;
    return true;
}

static bool has_any(const char *refused, const char *list)
{
    size_t length;
    for (const char *item; (item = next_item(&refused, &length));)
        if (list_has(list, item, length))
            return true;
    return false;
}

/* Whether the node's region is one of the list, or lies within one. */
static bool lies_in(const char *regions, const char *region)
{
    size_t length, own = region ? strlen(region) : 0;
    for (const char *item; own > 0 && (item = next_item(&regions, &length));)
        if (length <= own && memcmp(item, region, length) == 0 &&
            (region[length] == '\0' || region[length] == '/'))
            return true;
    return false;
}

static bool asks(const char *list)
{
    return list && *list;
}

enum cyx_sched_misfit cyx_sched_fit(const struct cyx_sched_need *need,
                                    const struct cyx_sched_node *node)
{
    int64_t memory = device_memory(need->backend, node);
    int64_t price = node->price_per_hour_base_units;
    if (memory <= 0)
        return CYX_SCHED_NO_BACKEND;
    if (memory < need->memory_bytes)
        return CYX_SCHED_NO_MEMORY;
    if (need->host_memory_bytes > node->host_memory_bytes)
        return CYX_SCHED_NO_HOST_MEMORY;
    if (need->threads > node->cpus)
        return CYX_SCHED_NO_THREADS;
    if (!has_all(need->labels, node->labels))
        return CYX_SCHED_NO_LABEL;
    if (has_any(need->avoid_labels, node->labels))
        return CYX_SCHED_BAD_LABEL;
    if ((asks(need->regions) && !lies_in(need->regions, node->region)) ||
        lies_in(need->avoid_regions, node->region))
        return CYX_SCHED_NO_REGION;
    if (cyx_sched_reputation(node) < need->min_reputation)
        return CYX_SCHED_LOW_REPUTATION;
    if (need->max_price_per_hour_base_units > 0 && price > need->max_price_per_hour_base_units)
        return CYX_SCHED_TOO_DEAR;
    if (minute_price(price) > need->budget_base_units / (need->nodes > 1 ? need->nodes : 1))
        return CYX_SCHED_OVER_BUDGET;
    if (node->closed && *node->closed)
        return CYX_SCHED_CLOSED;
    return CYX_SCHED_FITS;
}

/* ---- the score ---- */

enum kind { KIND_GPU, KIND_CPU, KIND_SOFTWARE, KIND_COUNT };

/* FLOP/s of a kind of device of which nothing is known yet; only their order matters. */
static const double guesses[KIND_COUNT] = {1e12, 1e11, 1e10};
enum {
    WEIGHT_SPEED = 40,
    WEIGHT_PRICE = 25,
    WEIGHT_REPUTATION = 15,
    WEIGHT_LOAD = 10,
    WEIGHT_DATA = 10
};

/* What would run the job there. */
static enum kind kind_of(const struct cyx_sched_need *need, const struct cyx_sched_node *node)
{
    if (need->backend != CYX_SCHED_CPU && node->gpu_memory_bytes > 0 &&
        node->gpu_memory_bytes >= need->memory_bytes)
        return KIND_GPU;
    return need->backend != CYX_SCHED_VULKAN && node->cpu_memory_bytes > 0 ? KIND_CPU
                                                                           : KIND_SOFTWARE;
}

double cyx_sched_benchmark(const struct cyx_sched_need *need, const struct cyx_sched_node *node)
{
    enum kind kind = kind_of(need, node);
    return kind == KIND_GPU   ? node->gpu_flops
           : kind == KIND_CPU ? node->cpu_flops
                              : node->soft_flops;
}

double cyx_sched_speed(const struct cyx_sched_need *need, const struct cyx_sched_node *node)
{
    int size = cyx_sched_size(need->flops_per_sample);
    int furthest = cyx_sched_benchmark(need, node) > 0 ? CYX_SCHED_NEAR : CYX_SCHED_SIZES;
    for (int away = 0; away <= furthest; away++) {
        if (size - away >= 0 && node->flops_per_second[size - away] > 0)
            return node->flops_per_second[size - away];
        if (size + away < CYX_SCHED_SIZES && node->flops_per_second[size + away] > 0)
            return node->flops_per_second[size + away];
    }
    return 0;
}

double cyx_sched_share(const struct cyx_sched_need *need, const struct cyx_sched_node *nodes,
                       size_t count, const struct cyx_sched_node *node)
{
    double reached = 0, possible = 0;
    for (size_t i = 0; i < count; i++) {
        double speed = cyx_sched_speed(need, &nodes[i]);
        double benchmark = cyx_sched_benchmark(need, &nodes[i]);
        if (speed > 0 && benchmark > 0 && kind_of(need, &nodes[i]) == kind_of(need, node)) {
            reached += speed;
            possible += benchmark;
        }
    }
    return possible > 0 ? reached / possible : 0;
}

/* What the candidates of one job are measured against. */
struct scale {
    double speed[KIND_COUNT]; /* of a node of this kind that is not measured */
    double share[KIND_COUNT]; /* of its benchmark that a node of this kind reaches */
    double fastest;
    int64_t cheapest;
};

static double speed_of(const struct scale *scale, const struct cyx_sched_need *need,
                       const struct cyx_sched_node *node)
{
    enum kind kind = kind_of(need, node);
    double speed = cyx_sched_speed(need, node);
    if (!(speed > 0))
        speed = cyx_sched_benchmark(need, node) * scale->share[kind];
    return speed > 0 ? speed : scale->speed[kind];
}

static const char *speed_by(const struct cyx_sched_need *need, const struct cyx_sched_node *node)
{
    return cyx_sched_speed(need, node) > 0       ? "jobs"
           : cyx_sched_benchmark(need, node) > 0 ? "benchmark"
                                                 : "guess";
}

static bool is_candidate(const struct cyx_sched_need *need, const struct cyx_sched_node *node)
{
    return !node->busy && cyx_sched_fit(need, node) == CYX_SCHED_FITS;
}

static void make_scale(const struct cyx_sched_need *need, const struct cyx_sched_node *nodes,
                       size_t count, struct scale *ret_scale)
{
    double sum[KIND_COUNT] = {0};
    size_t measured[KIND_COUNT] = {0};
    struct scale scale = {.cheapest = INT64_MAX};
    for (size_t i = 0; i < count; i++) {
        if (!is_candidate(need, &nodes[i]))
            continue;
        enum kind kind = kind_of(need, &nodes[i]);
        double speed = cyx_sched_speed(need, &nodes[i]);
        if (!(scale.share[kind] > 0)) {
            scale.share[kind] = cyx_sched_share(need, nodes, count, &nodes[i]);
            if (!(scale.share[kind] > 0))
                scale.share[kind] = CYX_SCHED_SHARE_GUESS;
        }
        sum[kind] += speed;
        measured[kind] += speed > 0;
        if (nodes[i].price_per_hour_base_units < scale.cheapest)
            scale.cheapest = nodes[i].price_per_hour_base_units;
    }
    for (int kind = 0; kind < KIND_COUNT; kind++)
        scale.speed[kind] = measured[kind] ? sum[kind] / (double)measured[kind] : guesses[kind];
    for (size_t i = 0; i < count; i++)
        if (is_candidate(need, &nodes[i]))
            scale.fastest = fmax(scale.fastest, speed_of(&scale, need, &nodes[i]));
    *ret_scale = scale;
}

static struct cyx_sched_score score_of(const struct scale *scale, const struct cyx_sched_need *need,
                                       const struct cyx_sched_node *node)
{
    int64_t price = node->price_per_hour_base_units;
    double idle = 1 - node->cpu_percent / 100;
    struct cyx_sched_score score = {
        .speed = speed_of(scale, need, node) / scale->fastest,
        .price = price > 0 ? (double)scale->cheapest / (double)price : 1,
        .reputation = cyx_sched_reputation(node),
        .load = idle > 1   ? 1
                : idle > 0 ? idle
                           : 0,
        .data =
            asks(need->dataset) && list_has(node->datasets, need->dataset, strlen(need->dataset)),
        .measured = cyx_sched_speed(need, node) > 0,
        .speed_by = speed_by(need, node),
    };
    score.total = (WEIGHT_SPEED * score.speed + WEIGHT_PRICE * score.price +
                   WEIGHT_REPUTATION * score.reputation + WEIGHT_LOAD * score.load +
                   WEIGHT_DATA * score.data) /
                  100;
    return score;
}

struct choice {
    const struct cyx_sched_node *node;
    struct cyx_sched_score score;
};

/* Whether `a` comes before `b` for this job. */
static bool better(const struct cyx_sched_need *need, const struct choice *a,
                   const struct choice *b)
{
    bool a_last = strcmp(a->node->id, need->last_node_id) == 0;
    bool b_last = strcmp(b->node->id, need->last_node_id) == 0;
    if (a_last != b_last)
        return b_last;
    if (fabs(a->score.total - b->score.total) > 1e-9)
        return a->score.total > b->score.total;
    if (a->node->price_per_hour_base_units != b->node->price_per_hour_base_units)
        return a->node->price_per_hour_base_units < b->node->price_per_hour_base_units;
    return strcmp(a->node->id, b->node->id) < 0;
}

const struct cyx_sched_node *cyx_sched_match(const struct cyx_sched_need *need,
                                             const struct cyx_sched_node *nodes, size_t count,
                                             struct cyx_sched_score *ret_score)
{
    struct choice best = {.node = NULL};
    struct scale scale;
    make_scale(need, nodes, count, &scale);
    for (size_t i = 0; i < count; i++) {
        if (!is_candidate(need, &nodes[i]))
            continue;
        struct choice choice = {&nodes[i], score_of(&scale, need, &nodes[i])};
        if (!best.node || better(need, &choice, &best))
            best = choice;
    }
    if (best.node && ret_score)
        *ret_score = best.score;
    return best.node;
}

static bool is_chosen(const struct cyx_sched_gang_choice *choice,
                      const struct cyx_sched_node *nodes, const char *id)
{
    for (size_t i = 0; i < choice->count; i++)
        if (strcmp(nodes[choice->places[i]].id, id) == 0)
            return true; /* a node's other slots are no other node */
    return false;
}

bool cyx_sched_match_gang(const struct cyx_sched_need *need, const struct cyx_sched_node *nodes,
                          size_t count, struct cyx_sched_gang_choice *ret_choice)
{
    size_t wanted = need->nodes > 1 ? (size_t)need->nodes : 1;
    struct scale scale;
    make_scale(need, nodes, count, &scale);
    ret_choice->count = 0;
    for (struct choice best = {.node = nodes};
         best.node && ret_choice->count < wanted && wanted <= CYX_SCHED_GANG_LIMIT;) {
        best.node = NULL;
        for (size_t i = 0; i < count; i++) {
            if (!is_candidate(need, &nodes[i]) || is_chosen(ret_choice, nodes, nodes[i].id))
                continue;
            struct choice choice = {&nodes[i], score_of(&scale, need, &nodes[i])};
            if (!best.node || better(need, &choice, &best))
                best = choice;
        }
        if (!best.node)
            break;
        ret_choice->scores[ret_choice->count] = best.score;
        ret_choice->places[ret_choice->count++] = (size_t)(best.node - nodes);
    }
    return ret_choice->count == wanted;
}

bool cyx_sched_is_kept(const struct cyx_sched_kept *kept, const char *node_id)
{
    for (size_t i = 0; kept && i < kept->count; i++)
        if (strcmp(kept->node_ids[i], node_id) == 0)
            return true;
    return false;
}
