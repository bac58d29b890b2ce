#include "board.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "base/version.h"
#include "contract/message.h"

#include "base/banned.h"

struct job_note {
    char id[37], name[128], device[128], backend[16];
    bool trains;
    int64_t began_ms, trains_since_ms, ended_ms;
    int64_t epoch, epochs, step, total_steps;
    double loss, accuracy, eval_loss, eval_accuracy, images_per_second;
    char outcome[16], why[512];
};

struct place {
    int64_t told_ms; /* 0: nobody said anything yet */
    char closed[16], by[16], since[32], until[32], reason[256];
};

/* NAN: not known. */
struct sample {
    int64_t at_ms;
    double cpu_percent, memory_used_bytes, receive, send, disk_read, disk_write, power_watts;
    double gpu_busy_percent, gpu_memory_used_bytes, gpu_power_watts, images_per_second;
};

struct view {
    struct job_note slots[AGENT_SLOTS_LIMIT]; /* id "": none */
    struct job_note recent[BOARD_RECENT_LIMIT];
    size_t n_recent; /* ever; the newest stands at (n_recent - 1) % BOARD_RECENT_LIMIT */
    struct sample history[BOARD_HISTORY_LIMIT];
    size_t n_history; /* likewise */
    struct monitor_reading reading;
    bool has_reading;
    struct place place;
    int64_t started_ms, cache_bytes; /* -1: not counted yet */
};

struct board {
    pthread_mutex_t lock;
    struct view view;
};

enum cyx_status board_create(struct board **ret_board, struct cyx_error *err)
{
    struct board *self = calloc(1, sizeof(*self));
    if (!self)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for the worker's board");
    pthread_mutex_init(&self->lock, NULL);
    self->view.started_ms = cyx_clock_unix_ms();
    self->view.cache_bytes = -1;
    *ret_board = self;
    return CYX_OK;
}

void board_destroy(struct board *self)
{
    if (!self)
        return;
    pthread_mutex_destroy(&self->lock);
    free(self);
}

/* Plain text, also where it had to be cut. */
static void copy_text(char *ret_text, size_t size, const char *text)
{
    snprintf(ret_text, size, "%s", text ? text : "");
    cyx_text_clean(ret_text);
}

/* ---- notes ------------------------------------------------------------------------------------- */

void board_begin(struct board *self, int slot, const char *job_id, const char *name)
{
    struct job_note note = {.began_ms = cyx_clock_unix_ms(),
                            .loss = NAN,
                            .accuracy = NAN,
                            .eval_loss = NAN,
                            .eval_accuracy = NAN};
    copy_text(note.id, sizeof(note.id), job_id);
    copy_text(note.name, sizeof(note.name), name);
    pthread_mutex_lock(&self->lock);
    self->view.slots[slot] = note;
    pthread_mutex_unlock(&self->lock);
}

void board_step(struct board *self, int slot, const struct worker_event *event)
{
    pthread_mutex_lock(&self->lock);
    struct job_note *note = &self->view.slots[slot];
    if (event->kind == WORKER_EVENT_STARTED) {
        note->trains = true;
        note->trains_since_ms = cyx_clock_unix_ms();
        note->step = event->step;
        note->total_steps = event->total_steps;
        copy_text(note->device, sizeof(note->device), event->device);
        copy_text(note->backend, sizeof(note->backend), event->backend);
    } else if (event->kind == WORKER_EVENT_STEP || event->kind == WORKER_EVENT_EPOCH) {
        note->epoch = event->epoch;
        note->epochs = event->epochs;
        note->step = event->step;
        note->total_steps = event->total_steps;
        note->loss = event->loss;
        note->accuracy = event->accuracy;
        note->images_per_second = event->images_per_second;
    }
    if (event->kind == WORKER_EVENT_EPOCH) {
        note->eval_loss = event->eval_loss;
        note->eval_accuracy = event->eval_accuracy;
    }
    pthread_mutex_unlock(&self->lock);
}

void board_end(struct board *self, int slot, const char *outcome, const char *why)
{
    pthread_mutex_lock(&self->lock);
    struct view *view = &self->view;
    struct job_note *note = &view->slots[slot];
    if (note->id[0]) {
        note->ended_ms = cyx_clock_unix_ms();
        copy_text(note->outcome, sizeof(note->outcome), outcome);
        copy_text(note->why, sizeof(note->why), why);
        view->recent[view->n_recent++ % BOARD_RECENT_LIMIT] = *note;
        *note = (struct job_note){0};
    }
    pthread_mutex_unlock(&self->lock);
}

static double known(double value)
{
    return value >= 0 ? value : NAN;
}

static void add(double *sum, double value)
{
    if (value >= 0)
        *sum = isnan(*sum) ? value : *sum + value;
}

static struct sample sample_of(const struct monitor_reading *reading)
{
    const struct system_sample *system = &reading->system;
    struct sample sample = {
        .cpu_percent = system->cpu_percent,
        .memory_used_bytes = (double)system->memory_used_bytes,
        .receive = system->network_receive_bytes_per_second,
        .send = system->network_send_bytes_per_second,
        .disk_read = system->disk_read_bytes_per_second,
        .disk_write = system->disk_write_bytes_per_second,
        .power_watts = known(system->power_watts),
        .gpu_busy_percent = NAN,
        .gpu_memory_used_bytes = NAN,
        .gpu_power_watts = NAN,
    };
    size_t n_busy = 0;
    for (size_t i = 0; i < reading->n_gpus; i++) {
        const struct gpu_sample *gpu = &reading->gpus[i];
        add(&sample.gpu_busy_percent, gpu->busy_percent);
        n_busy += gpu->busy_percent >= 0;
        add(&sample.gpu_memory_used_bytes, (double)gpu->memory_used_bytes);
        add(&sample.gpu_power_watts, gpu->power_watts);
    }
    if (n_busy)
        sample.gpu_busy_percent /= (double)n_busy;
    return sample;
}

void board_sample(struct board *self, const struct monitor_reading *reading,
                  double images_per_second)
{
    struct sample sample = {0};
    if (reading)
        sample = sample_of(reading);
    sample.at_ms = cyx_clock_unix_ms();
    sample.images_per_second = images_per_second;
    pthread_mutex_lock(&self->lock);
    struct view *view = &self->view;
    view->has_reading = reading != NULL;
    if (reading)
        view->reading = *reading;
    int64_t last_ms =
        view->n_history ? view->history[(view->n_history - 1) % BOARD_HISTORY_LIMIT].at_ms : 0;
    /* a tenth early is in time; a clock that was set back makes no gap */
    if (reading && llabs(sample.at_ms - last_ms) >= BOARD_HISTORY_MS * 9 / 10)
        view->history[view->n_history++ % BOARD_HISTORY_LIMIT] = sample;
    pthread_mutex_unlock(&self->lock);
}

/* The end of the maintenance that holds now: the first to begin. */
static const json_t *window_of(const json_t *node)
{
    const json_t *window, *first = NULL;
    size_t i;
    json_array_foreach(json_object_get(node, "maintenance"), i, window)
    {
        const char *starts = json_string_value(json_object_get(window, "starts_at"));
        const char *best = json_string_value(json_object_get(first, "starts_at"));
        if (starts && (!best || strcmp(starts, best) < 0))
            first = window;
    }
    return first;
}

static const char *text_of(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

void board_place(struct board *self, const json_t *node)
{
    struct place place = {.told_ms = cyx_clock_unix_ms()};
    copy_text(place.closed, sizeof(place.closed), text_of(node, "closed"));
    const json_t *order = NULL;
    if (strcmp(place.closed, "draining") == 0) {
        order = json_object_get(node, "drain");
        copy_text(place.since, sizeof(place.since), text_of(order, "since"));
        copy_text(place.by, sizeof(place.by), text_of(order, "by"));
    } else if (strcmp(place.closed, "maintenance") == 0) {
        order = window_of(node);
        copy_text(place.since, sizeof(place.since), text_of(order, "starts_at"));
        copy_text(place.until, sizeof(place.until), text_of(order, "ends_at"));
    }
    copy_text(place.reason, sizeof(place.reason), text_of(order, "reason"));
    if (strcmp(place.closed, "unproven") == 0)
        copy_text(place.reason, sizeof(place.reason),
                  text_of(json_object_get(node, "unproven"), "message"));
    pthread_mutex_lock(&self->lock);
    self->view.place = place;
    pthread_mutex_unlock(&self->lock);
}

void board_cache(struct board *self, int64_t used_bytes)
{
    pthread_mutex_lock(&self->lock);
    self->view.cache_bytes = used_bytes;
    pthread_mutex_unlock(&self->lock);
}

/* ---- reading ----------------------------------------------------------------------------------- */

/* On the heap: a reader's stack may be small. The caller frees it. */
static struct view *copy_view(struct board *self)
{
    struct view *view = malloc(sizeof(*view));
    if (!view)
        return NULL;
    pthread_mutex_lock(&self->lock);
    *view = self->view;
    pthread_mutex_unlock(&self->lock);
    return view;
}

static bool holds_a_job(const struct view *view)
{
    for (size_t i = 0; i < AGENT_SLOTS_LIMIT; i++)
        if (view->slots[i].id[0])
            return true;
    return false;
}

/* In one word, the gravest first, and why in a sentence. */
static const char *state_of(const struct view *view, const struct board_about *about,
                            const char **ret_why)
{
    const char *closed = view->place.closed;
    bool runs = holds_a_job(view);
    *ret_why = "";
    if (about->stopping) {
        *ret_why = "the worker was asked to end; what runs is kept and handed back";
        return "stopping";
    }
    if (!about->connected) {
        *ret_why = "the platform cannot be reached; what runs goes on, and new jobs wait";
        return "away";
    }
    if (!view->place.told_ms) {
        *ret_why = "the registry has not let this node in yet";
        return "starting";
    }
    if (strcmp(closed, "draining") == 0) {
        *ret_why = runs ? "nothing new comes here; what runs is trained to its end"
                        : "nothing new comes here";
        return runs ? "draining" : "drained";
    }
    if (strcmp(closed, "maintenance") == 0) {
        *ret_why = "a maintenance window is open: nothing new comes here until it ends";
        return "maintenance";
    }
    if (strcmp(closed, "proving") == 0) {
        *ret_why = "the platform is finding out by a benchmark what this node can do";
        return "proving";
    }
    if (strcmp(closed, "unproven") == 0) {
        *ret_why =
            "a benchmark of the platform did not bear out what this node says that it can do";
        return "unproven";
    }
    if (*closed) {
        *ret_why = "the platform places nothing here";
        return "closed";
    }
    return runs ? "running" : "free";
}

static json_t *maybe_integer(int64_t value)
{
    return value ? json_integer(value) : json_null();
}

static json_t *job_json(const struct job_note *note)
{
    json_t *job = json_pack(
        "{s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "id", note->id, "phase",
        note->trains ? "training" : "preparing", "name", cyx_message_new_text(note->name),
        "began_at", cyx_message_new_time(note->began_ms), "training_since",
        cyx_message_new_time(note->trains_since_ms), "device", cyx_message_new_text(note->device),
        "backend", cyx_message_new_text(note->backend), "epoch", maybe_integer(note->epoch),
        "epochs", maybe_integer(note->epochs), "step", maybe_integer(note->step), "total_steps",
        maybe_integer(note->total_steps));
    json_object_set_new(job, "loss", cyx_message_number(note->loss));
    json_object_set_new(job, "accuracy", cyx_message_number(note->accuracy));
    json_object_set_new(job, "test_loss", cyx_message_number(note->eval_loss));
    json_object_set_new(job, "test_accuracy", cyx_message_number(note->eval_accuracy));
    json_object_set_new(job, "images_per_second", cyx_message_number(note->images_per_second));
    return job;
}

/* Of a GPU's slot, or NULL where the slot is the whole machine's. */
static const char *slot_device(const struct agent_settings *settings, size_t slot)
{
    const json_t *device;
    size_t i;
    json_array_foreach(settings->node.devices, i, device)
    {
        const char *backend = text_of(device, "backend");
        if (backend && strcmp(backend, "vulkan") == 0 &&
            json_integer_value(json_object_get(device, "index")) == settings->slot_devices[slot])
            return text_of(device, "name");
    }
    return NULL;
}

static json_t *slots_json(const struct view *view, const struct agent_settings *settings)
{
    json_t *slots = json_array();
    for (size_t i = 0; i < settings->n_slots; i++)
        json_array_append_new(
            slots, json_pack("{s:I, s:o, s:o}", "index", (json_int_t)i, "device",
                             cyx_message_new_text(slot_device(settings, i)), "job",
                             view->slots[i].id[0] ? job_json(&view->slots[i]) : json_null()));
    return slots;
}

static json_t *recent_json(const struct view *view)
{
    json_t *recent = json_array();
    for (size_t back = 1; back <= BOARD_RECENT_LIMIT && back <= view->n_recent; back++) {
        const struct job_note *note = &view->recent[(view->n_recent - back) % BOARD_RECENT_LIMIT];
        json_t *job = job_json(note);
        json_object_del(job, "phase");
        json_object_set_new(job, "ended_at", cyx_message_new_time(note->ended_ms));
        json_object_set_new(job, "outcome", json_string(note->outcome));
        json_object_set_new(job, "why", cyx_message_new_text(note->why));
        json_array_append_new(recent, job);
    }
    return recent;
}

static json_t *node_json(const struct view *view, const struct board_about *about)
{
    const struct api_node *node = &about->settings->node;
    const struct place *place = &view->place;
    const char *why, *state = state_of(view, about, &why);
    json_t *object =
        json_pack("{s:s, s:s, s:s, s:s, s:o, s:o, s:s, s:o, s:o, s:o, s:b}", "id", node->id, "name",
                  node->name, "version", cyx_version(), "state", state, "why",
                  cyx_message_new_text(why), "started_at", cyx_message_new_time(view->started_ms),
                  "price_per_hour", node->price_per_hour, "region",
                  cyx_message_new_text(node->region), "labels", cyx_message_new_text(node->labels),
                  "told_at", cyx_message_new_time(place->told_ms), "connected", about->connected);
    json_object_set_new(object, "closed",
                        *place->closed
                            ? json_pack("{s:s, s:o, s:o, s:o, s:o}", "what", place->closed, "by",
                                        cyx_message_new_text(place->by), "since",
                                        cyx_message_new_text(place->since), "until",
                                        cyx_message_new_text(place->until), "reason",
                                        cyx_message_new_text(place->reason))
                            : json_null());
    return object;
}

static json_t *machine_json(const struct view *view)
{
    if (!view->has_reading)
        return json_null();
    json_t *machine = monitor_json(&view->reading);
    const struct system_sample *system = &view->reading.system;
    json_object_set_new(machine, "cpu_percent", json_real(system->cpu_percent));
    json_object_set_new(machine, "memory_used_bytes", json_integer(system->memory_used_bytes));
    json_object_set_new(machine, "memory_total_bytes", json_integer(system->memory_total_bytes));
    return machine;
}

static json_t *limits_json(const struct agent_settings *settings)
{
    const struct worker_limits *limits = &settings->limits;
    return json_pack("{s:I, s:o, s:o, s:o, s:o, s:o}", "slots", (json_int_t)settings->n_slots,
                     "memory_bytes", maybe_integer(limits->memory_bytes), "disk_bytes",
                     maybe_integer(limits->disk_bytes), "run_ms", maybe_integer(limits->run_ms),
                     "silence_ms", maybe_integer(limits->silence_ms), "threads",
                     maybe_integer(settings->slot_threads));
}

static json_t *sandbox_json(const struct sandbox_state *sandbox)
{
    return json_pack("{s:s, s:s, s:s, s:o}", "walls", sandbox_walls_name(sandbox->walls),
                     "system_calls", sandbox->filters ? "filtered" : "open", "limits",
                     sandbox->groups ? "cgroup" : "rlimits", "reason",
                     cyx_message_new_text(sandbox->reason));
}

json_t *board_status(struct board *self, const struct board_about *about)
{
    struct view *view = copy_view(self);
    if (!view)
        return NULL;
    const struct agent_settings *settings = about->settings;
    json_t *status = json_pack(
        "{s:o, s:o, s:b, s:O, s:o, s:o, s:o, s:o, s:{s:o, s:I}, s:o}", "at",
        cyx_message_new_time(cyx_clock_unix_ms()), "node", node_json(view, about), "controls",
        about->controls, "devices", settings->node.devices, "slots", slots_json(view, settings),
        "machine", machine_json(view), "limits", limits_json(settings), "sandbox",
        sandbox_json(settings->node.sandbox), "cache", "used_bytes",
        view->cache_bytes < 0 ? json_null() : json_integer(view->cache_bytes), "limit_bytes",
        (json_int_t)settings->cache_bytes, "recent", recent_json(view));
    free(view);
    return status;
}

static json_t *row_json(const struct sample *sample)
{
    const double values[] = {sample->cpu_percent,
                             sample->memory_used_bytes,
                             sample->receive,
                             sample->send,
                             sample->disk_read,
                             sample->disk_write,
                             sample->power_watts,
                             sample->gpu_busy_percent,
                             sample->gpu_memory_used_bytes,
                             sample->gpu_power_watts,
                             sample->images_per_second};
    json_t *row = json_array();
    json_array_append_new(row, json_integer(sample->at_ms));
    for (size_t i = 0; i < sizeof(values) / sizeof(*values); i++)
        json_array_append_new(row, cyx_message_number(values[i]));
    return row;
}

json_t *board_history(struct board *self)
{
    struct view *view = copy_view(self);
    if (!view)
        return NULL;
    json_t *rows = json_array();
    size_t first =
        view->n_history > BOARD_HISTORY_LIMIT ? view->n_history - BOARD_HISTORY_LIMIT : 0;
    for (size_t i = first; i < view->n_history; i++)
        json_array_append_new(rows, row_json(&view->history[i % BOARD_HISTORY_LIMIT]));
    free(view);
    return json_pack("{s:[s,s,s,s,s,s,s,s,s,s,s,s], s:o}", "columns", "at_ms", "cpu_percent",
                     "memory_used_bytes", "network_receive_bytes_per_second",
                     "network_send_bytes_per_second", "disk_read_bytes_per_second",
                     "disk_write_bytes_per_second", "power_watts", "gpu_busy_percent",
                     "gpu_memory_used_bytes", "gpu_power_watts", "images_per_second", "rows", rows);
}
