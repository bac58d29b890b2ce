/* The rows of `cyxwiz top`: from the gateway's JSON, sorted, and as text. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "top.h"

#include "base/banned.h"

/* ---- reading ------------------------------------------------------------------------------------ */

/* Cut at a whole character; what could steer a terminal becomes "?". */
static void take_text(const json_t *object, const char *key, char *ret_text, size_t size)
{
    snprintf(ret_text, size, "%s", cli_text(object, key));
    size_t length = strlen(ret_text), whole = length;
    while (whole > 0 && ((unsigned char)ret_text[whole - 1] & 0xC0) == 0x80)
        whole--;
    if (length + 1 == size && whole > 0 && (unsigned char)ret_text[whole - 1] >= 0xC0)
        ret_text[whole - 1] = '\0';
    for (char *at = ret_text; *at; at++)
        if ((unsigned char)*at < 0x20 || *at == 0x7F ||
            ((unsigned char)*at == 0xC2 && (unsigned char)at[1] < 0xA0))
            *at = '?';
}

static double known(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : -1;
}

static double percent_of(double part, double whole)
{
    return whole > 0 && part >= 0 ? 100 * part / whole : -1;
}

/* Several GPUs: the busiest; one that says only its memory: how full that is. */
static double gpu_percent(const json_t *system)
{
    double most = -1;
    const json_t *gpu;
    size_t i;
    json_array_foreach(json_object_get(system, "gpus"), i, gpu)
    {
        double busy = known(gpu, "busy_percent");
        if (busy < 0)
            busy = percent_of(known(gpu, "memory_used_bytes"), known(gpu, "memory_total_bytes"));
        if (busy > most)
            most = busy;
    }
    return most;
}

static double all_watts(const json_t *system)
{
    double sum = known(system, "power_watts");
    const json_t *gpu;
    size_t i;
    json_array_foreach(json_object_get(system, "gpus"), i, gpu)
    {
        double watts = known(gpu, "power_watts");
        if (watts >= 0)
            sum = (sum < 0 ? 0 : sum) + watts;
    }
    return sum;
}

static void read_node(const json_t *json, struct top_node *node)
{
    const json_t *system = json_object_get(json, "system");
    take_text(json, "id", node->id, sizeof(node->id));
    take_text(json, "name", node->name, sizeof(node->name));
    take_text(json, "status", node->status, sizeof(node->status));
    take_text(json_object_get(system, "sandbox"), "walls", node->walls, sizeof(node->walls));
    node->jobs = cli_number(json, "running_jobs");
    node->cpu_percent = cli_number(json, "cpu_percent");
    node->images_per_second = cli_number(json, "images_per_second");
    node->memory_percent =
        percent_of(cli_number(json, "memory_used_bytes"), cli_number(json, "host_memory_bytes"));
    node->gpu_percent = gpu_percent(system);
    node->power_watts = all_watts(system);
    node->disk_free_bytes = known(system, "disk_free_bytes");
    node->received = known(system, "network_receive_bytes_per_second");
    node->sent = known(system, "network_send_bytes_per_second");
}

static bool is_one_of(const char *state, const char *const *states)
{
    for (; *states; states++)
        if (strcmp(state, *states) == 0)
            return true;
    return false;
}

static bool is_running(const struct top_job *job)
{
    return is_one_of(job->state, (const char *const[]){"running", "assigned", NULL});
}

static void find_node(const struct top_view *view, const char *id, char ret_name[TOP_TEXT_BYTES])
{
    for (size_t i = 0; i < view->n_nodes; i++)
        if (*id && strcmp(view->nodes[i].id, id) == 0)
            snprintf(ret_name, TOP_TEXT_BYTES, "%s", view->nodes[i].name);
}

static void read_job(const struct top_view *view, const json_t *json, struct top_job *job)
{
    const json_t *progress = json_object_get(json, "progress");
    take_text(json, "id", job->id, sizeof(job->id));
    take_text(json, "name", job->name, sizeof(job->name));
    take_text(json, "state", job->state, sizeof(job->state));
    find_node(view, cli_text(json, "node_id"), job->node);
    double step = cli_number(progress, "step"), steps = cli_number(progress, "total_steps");
    job->done = steps > 0 ? step / steps : -1;
    job->epoch = cli_number(progress, "epoch");
    job->epochs = cli_number(progress, "epochs");
    job->loss = cli_number(progress, "loss");
    job->accuracy = known(progress, "accuracy");
    job->images_per_second = cli_number(progress, "images_per_second");
    double batch = cli_number(json_object_get(json_object_get(json, "spec"), "data"), "batch_size");
    job->seconds_left = -1;
    if (is_running(job) && job->images_per_second > 0 && batch > 0)
        job->seconds_left = (steps - step) * batch / job->images_per_second;
    if (strcmp(job->state, "queued") == 0)
        take_text(json_object_get(json, "pending"), "message", job->note, sizeof(job->note));
    else if (strcmp(job->state, "failed") == 0)
        take_text(json_object_get(json, "error"), "message", job->note, sizeof(job->note));
}

bool top_view_read(struct top_view *view, const json_t *nodes, const json_t *jobs)
{
    size_t n_nodes = json_array_size(nodes), n_jobs = json_array_size(jobs);
    struct top_view made = {.n_nodes = n_nodes, .n_jobs = n_jobs, .at_ms = view->at_ms};
    made.nodes = calloc(n_nodes + 1, sizeof(*made.nodes));
    made.jobs = calloc(n_jobs + 1, sizeof(*made.jobs));
    if (!made.nodes || !made.jobs) {
        top_view_finish(&made);
        return false;
    }
    for (size_t i = 0; i < n_nodes; i++) {
        read_node(json_array_get(nodes, i), &made.nodes[i]);
        made.online += strcmp(made.nodes[i].status, "online") == 0;
    }
    for (size_t i = 0; i < n_jobs; i++) {
        struct top_job *job = &made.jobs[i];
        job->rank = (int64_t)i;
        read_job(&made, json_array_get(jobs, i), job);
        made.running += is_running(job);
        made.waiting += strcmp(job->state, "queued") == 0;
    }
    top_view_finish(view);
    *view = made;
    return true;
}

void top_view_finish(struct top_view *view)
{
    free(view->nodes);
    free(view->jobs);
    view->nodes = NULL;
    view->jobs = NULL;
    view->n_nodes = view->n_jobs = 0;
}

/* ---- text --------------------------------------------------------------------------------------- */

enum warmth { PLAIN, GOOD, WARM, HOT, DIM };

static int put_percent(double percent, char ret_text[TOP_TEXT_BYTES])
{
    snprintf(ret_text, TOP_TEXT_BYTES, percent < 0 ? "-" : "%.0f%%", percent);
    return percent < 0 ? DIM : percent >= 90 ? HOT : percent >= 60 ? WARM : GOOD;
}

static int put_bytes(double bytes, const char *behind, char ret_text[TOP_TEXT_BYTES])
{
    char amount[CLI_AMOUNT_BYTES];
    cli_format_bytes(bytes < 0 ? 0 : (int64_t)bytes, amount);
    snprintf(ret_text, TOP_TEXT_BYTES, "%s%s", bytes < 0 ? "-" : amount, bytes < 0 ? "" : behind);
    return bytes < 0 ? DIM : PLAIN;
}

static int put_speed(double images_per_second, char ret_text[TOP_TEXT_BYTES])
{
    snprintf(ret_text, TOP_TEXT_BYTES, images_per_second > 0 ? "%.0f" : "-", images_per_second);
    return images_per_second > 0 ? PLAIN : DIM;
}

static int put_text(const char *text, int warmth, char ret_text[TOP_TEXT_BYTES])
{
    snprintf(ret_text, TOP_TEXT_BYTES, "%s", text);
    return warmth;
}

static int put_seconds(double seconds, char ret_text[TOP_TEXT_BYTES])
{
    if (seconds < 0)
        return put_text("-", DIM, ret_text);
    if (seconds < 60)
        snprintf(ret_text, TOP_TEXT_BYTES, "%.0fs", seconds);
    else if (seconds < 3600)
        snprintf(ret_text, TOP_TEXT_BYTES, "%dm%02d", (int)seconds / 60, (int)seconds % 60);
    else if (seconds < 100 * 3600)
        snprintf(ret_text, TOP_TEXT_BYTES, "%dh%02d", (int)seconds / 3600, (int)seconds / 60 % 60);
    else
        snprintf(ret_text, TOP_TEXT_BYTES, "%.0fd", seconds / 86400);
    return PLAIN;
}

static int put_done(double done, char ret_text[TOP_TEXT_BYTES])
{
    enum { CELLS = 7 };
    if (done < 0)
        return put_text("-", DIM, ret_text);
    int filled = (int)(done * CELLS + 0.5);
    filled = filled > CELLS ? CELLS : filled;
    snprintf(ret_text, TOP_TEXT_BYTES, "%.*s%.*s %3.0f%%", filled, "#######", CELLS - filled,
             ".......", 100 * done);
    return GOOD;
}

/* ---- nodes -------------------------------------------------------------------------------------- */

enum node_column {
    N_NAME,
    N_STATUS,
    N_JOBS,
    N_CPU,
    N_MEM,
    N_GPU,
    N_WATTS,
    N_SPEED,
    N_DISK,
    N_IN,
    N_OUT,
    N_WALLS,
    N_COUNT
};
static const struct top_column node_columns[N_COUNT] = {
    [N_NAME] = {"NAME", 0, false, false},     [N_STATUS] = {"STATUS", 8, false, false},
    [N_JOBS] = {"JOBS", 4, true, false},      [N_CPU] = {"CPU", 5, true, false},
    [N_MEM] = {"MEM", 5, true, false},        [N_GPU] = {"GPU", 5, true, false},
    [N_WATTS] = {"POWER", 6, true, false},    [N_SPEED] = {"IMG/S", 7, true, false},
    [N_DISK] = {"DISK FREE", 9, true, false}, [N_IN] = {"NET IN", 11, true, true},
    [N_OUT] = {"NET OUT", 11, true, true},    [N_WALLS] = {"SANDBOX", 10, false, true},
};

static size_t node_count(const struct top_view *view)
{
    return view->n_nodes;
}

static int node_cell(const struct top_view *view, size_t row, size_t column,
                     char ret_text[TOP_TEXT_BYTES])
{
    const struct top_node *node = &view->nodes[row];
    bool online = strcmp(node->status, "online") == 0;
    switch ((enum node_column)column) {
    case N_NAME:
        return put_text(*node->name ? node->name : node->id, online ? PLAIN : DIM, ret_text);
    case N_STATUS:
        return put_text(node->status, online ? GOOD : HOT, ret_text);
    case N_JOBS:
        snprintf(ret_text, TOP_TEXT_BYTES, "%.0f", node->jobs);
        return node->jobs > 0 ? PLAIN : DIM;
    case N_CPU:
        return put_percent(online ? node->cpu_percent : -1, ret_text);
    case N_MEM:
        return put_percent(online ? node->memory_percent : -1, ret_text);
    case N_GPU:
        return put_percent(online ? node->gpu_percent : -1, ret_text);
    case N_WATTS:
        snprintf(ret_text, TOP_TEXT_BYTES, node->power_watts < 0 ? "-" : "%.0f W",
                 node->power_watts);
        return node->power_watts < 0 ? DIM : PLAIN;
    case N_SPEED:
        return put_speed(node->images_per_second, ret_text);
    case N_DISK:
        return put_bytes(node->disk_free_bytes, "", ret_text);
    case N_IN:
        return put_bytes(node->received, "/s", ret_text);
    case N_OUT:
        return put_bytes(node->sent, "/s", ret_text);
    default:
        return put_text(*node->walls ? node->walls : "-",
                        strcmp(node->walls, "bubblewrap") == 0 ? GOOD : WARM, ret_text);
    }
}

static const char *node_note(const struct top_view *view, size_t row, size_t *ret_from)
{
    (void)view;
    (void)row;
    (void)ret_from;
    return NULL;
}

/* ---- jobs --------------------------------------------------------------------------------------- */

enum job_column {
    J_ID,
    J_NAME,
    J_STATE,
    J_DONE,
    J_EPOCH,
    J_LOSS,
    J_SPEED,
    J_LEFT,
    J_ACCURACY,
    J_NODE,
    J_COUNT
};
static const struct top_column job_columns[J_COUNT] = {
    [J_ID] = {"JOB", 8, false, false},      [J_NAME] = {"NAME", 0, false, false},
    [J_STATE] = {"STATE", 9, false, false}, [J_DONE] = {"PROGRESS", 12, false, false},
    [J_EPOCH] = {"EPOCH", 7, true, false},  [J_LOSS] = {"LOSS", 7, true, false},
    [J_SPEED] = {"IMG/S", 6, true, false},  [J_LEFT] = {"LEFT", 6, true, false},
    [J_ACCURACY] = {"ACC", 6, true, true},  [J_NODE] = {"NODE", 14, false, true},
};

static size_t job_count(const struct top_view *view)
{
    return view->n_jobs;
}

static int state_warmth(const char *state)
{
    if (strcmp(state, "failed") == 0)
        return HOT;
    if (is_one_of(state, (const char *const[]){"running", "completed", NULL}))
        return GOOD;
    return strcmp(state, "cancelled") == 0 ? DIM : WARM;
}

/* The end of a UUIDv7 is what tells two of the same moment apart. */
static const char *short_id(const char *id)
{
    size_t length = strlen(id);
    return length > 8 ? id + length - 8 : id;
}

static int job_cell(const struct top_view *view, size_t row, size_t column,
                    char ret_text[TOP_TEXT_BYTES])
{
    const struct top_job *job = &view->jobs[row];
    switch ((enum job_column)column) {
    case J_ID:
        return put_text(short_id(job->id), DIM, ret_text);
    case J_NAME:
        return put_text(job->name, PLAIN, ret_text);
    case J_STATE:
        return put_text(job->state, state_warmth(job->state), ret_text);
    case J_DONE:
        return put_done(job->done, ret_text);
    case J_EPOCH:
        snprintf(ret_text, TOP_TEXT_BYTES, job->epochs > 0 ? "%.0f/%.0f" : "-", job->epoch,
                 job->epochs);
        return job->epochs > 0 ? PLAIN : DIM;
    case J_LOSS:
        snprintf(ret_text, TOP_TEXT_BYTES, job->done > 0 ? "%.4f" : "-", job->loss);
        return job->done > 0 ? PLAIN : DIM;
    case J_SPEED:
        return put_speed(is_running(job) ? job->images_per_second : 0, ret_text);
    case J_LEFT:
        return put_seconds(job->seconds_left, ret_text);
    case J_ACCURACY:
        snprintf(ret_text, TOP_TEXT_BYTES, job->accuracy < 0 ? "-" : "%.1f%%", 100 * job->accuracy);
        return job->accuracy < 0 ? DIM : PLAIN;
    default:
        return put_text(*job->node ? job->node : "-", PLAIN, ret_text);
    }
}

static const char *job_note(const struct top_view *view, size_t row, size_t *ret_from)
{
    *ret_from = J_DONE;
    return *view->jobs[row].note ? view->jobs[row].note : NULL;
}

/* ---- order -------------------------------------------------------------------------------------- */

static int by_number(double a, double b)
{
    return a < b ? 1 : a > b ? -1 : 0; /* most first */
}

static int compare_nodes(const void *left, const void *right, void *ctx)
{
    const struct top_node *a = left, *b = right;
    const double of_a[N_COUNT] = {[N_JOBS] = a->jobs,
                                  [N_CPU] = a->cpu_percent,
                                  [N_MEM] = a->memory_percent,
                                  [N_GPU] = a->gpu_percent,
                                  [N_WATTS] = a->power_watts,
                                  [N_SPEED] = a->images_per_second,
                                  [N_DISK] = a->disk_free_bytes,
                                  [N_IN] = a->received,
                                  [N_OUT] = a->sent};
    const double of_b[N_COUNT] = {[N_JOBS] = b->jobs,
                                  [N_CPU] = b->cpu_percent,
                                  [N_MEM] = b->memory_percent,
                                  [N_GPU] = b->gpu_percent,
                                  [N_WATTS] = b->power_watts,
                                  [N_SPEED] = b->images_per_second,
                                  [N_DISK] = b->disk_free_bytes,
                                  [N_IN] = b->received,
                                  [N_OUT] = b->sent};
    size_t column = *(const size_t *)ctx;
    int order = column == N_STATUS  ? strcmp(b->status, a->status)
                : column == N_WALLS ? strcmp(a->walls, b->walls)
                                    : by_number(of_a[column], of_b[column]);
    if (order == 0)
        order = strcmp(a->name, b->name);
    return order ? order : strcmp(a->id, b->id);
}

static int state_rank(const char *state)
{
    static const char *const order[] = {"running", "assigned",  "queued",
                                        "failed",  "completed", "cancelled"};
    for (int i = 0; i < 6; i++)
        if (strcmp(state, order[i]) == 0)
            return i;
    return 6;
}

static int compare_jobs(const void *left, const void *right, void *ctx)
{
    const struct top_job *a = left, *b = right;
    int order = 0;
    switch (*(const enum job_column *)ctx) {
    case J_ID:
        break; /* newest first */
    case J_NAME:
        order = strcmp(a->name, b->name);
        break;
    case J_NODE:
        order = strcmp(a->node, b->node);
        break;
    case J_DONE:
        order = by_number(a->done, b->done);
        break;
    case J_EPOCH:
        order = by_number(a->epoch, b->epoch);
        break;
    case J_LOSS:
        order = by_number(a->loss, b->loss);
        break;
    case J_SPEED:
        order = by_number(a->images_per_second, b->images_per_second);
        break;
    case J_LEFT:
        order = by_number(a->seconds_left, b->seconds_left);
        break;
    case J_ACCURACY:
        order = by_number(a->accuracy, b->accuracy);
        break;
    default:
        order = state_rank(a->state) - state_rank(b->state);
    }
    if (order)
        return order;
    return a->rank < b->rank ? -1 : a->rank > b->rank;
}

static void reverse(void *rows, size_t count, size_t size)
{
    char *first = rows, swap[sizeof(struct top_job)];
    for (size_t i = 0; i < count / 2; i++) {
        char *a = first + i * size, *b = first + (count - 1 - i) * size;
        memcpy(swap, a, size);
        memcpy(a, b, size);
        memcpy(b, swap, size);
    }
}

static void sort_nodes(struct top_view *view, size_t column, bool reversed)
{
    qsort_r(view->nodes, view->n_nodes, sizeof(*view->nodes), compare_nodes, &column);
    if (reversed)
        reverse(view->nodes, view->n_nodes, sizeof(*view->nodes));
}

static void sort_jobs(struct top_view *view, size_t column, bool reversed)
{
    enum job_column by = (enum job_column)column;
    qsort_r(view->jobs, view->n_jobs, sizeof(*view->jobs), compare_jobs, &by);
    if (reversed)
        reverse(view->jobs, view->n_jobs, sizeof(*view->jobs));
}

const struct top_table top_tables[TOP_TABLES] = {
    {"Nodes", node_columns, N_COUNT, node_count, sort_nodes, node_cell, node_note},
    {"Jobs", job_columns, J_COUNT, job_count, sort_jobs, job_cell, job_note},
};

void top_widths(const struct top_table *table, int width, int *ret_widths)
{
    enum { FLEXIBLE_LEAST = 14 };
    int left = width;
    size_t flexible = 0;
    for (size_t i = 0; i < table->n_columns; i++) {
        const struct top_column *column = &table->columns[i];
        ret_widths[i] = column->optional ? 0 : column->width;
        if (column->width == 0)
            flexible = i;
        if (!column->optional)
            left -= column->width + (i > 0);
    }
    for (size_t i = 0; i < table->n_columns; i++) {
        const struct top_column *column = &table->columns[i];
        if (column->optional && left - column->width - 1 >= FLEXIBLE_LEAST) {
            ret_widths[i] = column->width;
            left -= column->width + 1;
        }
    }
    ret_widths[flexible] = left > 1 ? left : 1;
}
