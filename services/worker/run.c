/* One job from accept to finish. */
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <ftw.h>
#include <math.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "agent_internal.h"
#include "artifacts.h"
#include "base/clock.h"
#include "base/log.h"
#include "contract/dataset.h"
#include "contract/message.h"
#include "contract/subjects.h"
#include "gang.h"
#include "meeting.h"
#include "trainer.h"
#include "upload.h"

#include "base/banned.h"

enum {
    LINE_BYTES_LIMIT = 64 * 1024,
    POLL_MS = 200,
    LEASE_RENEWAL_MS = 1500, /* the contract asks for 2 s at least */
    STOP_GRACE_MS = 20000,   /* a trainer that was asked to stop and does not */
    FINISH_ATTEMPTS = 40,
    DISK_LOOK_MS = 500,
    KILL_GRACE_MS = 10000, /* then it hangs inside the kernel, and we go on without it */
};

struct run {
    struct agent *agent;
    struct slot *slot;
    const struct api_job *job;
    struct api_accepted accepted;
    struct artifacts artifacts;
    struct gang *gang; /* NULL: it trains alone */
    struct sandbox_process process;
    char folder[WORKER_PATH_BYTES / 2]; /* ours: the specification, what travels */
    char data[WORKER_PATH_BYTES / 2 + 16];
    char initial[WORKER_PATH_BYTES];         /* weights to begin with, "-": none */
    const char *data_dir;                    /* where the data set lies: `data`, or the node's */
    char output[WORKER_PATH_BYTES / 2 + 16]; /* the trainer's */
    struct cyx_buf pending;                  /* bytes of a line that is not whole yet */
    struct api_progress progress;
    int64_t renewed_ms, stop_asked_ms, log_number;
    int64_t started_ms, heard_ms, disk_looked_ms, killed_ms;
    struct worker_usage usage;
    bool training;
    bool lost, cancel; /* the lease is gone; the scheduler wants it stopped */
    struct worker_end end;
    json_t *result;
    char model_path[WORKER_PATH_BYTES], device[128];
};

static void look_after(struct run *run);
static void stop_if_asked(struct run *run);
static void end_now(struct run *run);

static int64_t now_ms(void)
{
    return cyx_clock_monotonic_ns() / 1000000;
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *where)
{
    (void)info;
    (void)kind;
    (void)where;
    return remove(path);
}

void run_remove_folder(const char *path)
{
    nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static void tell_log(struct run *run, const char *level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void tell_log(struct run *run, const char *level, const char *format, ...)
{
    char text[1024];
    int length = 0;
    const struct api_seat *seat = &run->accepted.seat;
    if (seat->rank > 0)
        length = snprintf(text, sizeof(text), "node %d of %d: ", seat->rank + 1, seat->nodes);
    va_list args;
    va_start(args, format);
    vsnprintf(text + length, sizeof(text) - (size_t)length, format, args);
    va_end(args);
    struct cyx_error err = {0};
    if (api_tell_log(run->agent->settings.bus, &run->agent->settings.node, run->job,
                     ++run->log_number, level, text, &err) != CYX_OK)
        cyx_log(CYX_LOG_DEBUG, "a log line was not published", CYX_STR("error", err.message));
}

/* Tells progress and renews the lease. A scheduler that is away is no reason to stop: the lease may outlive it. */
static void renew(struct run *run, struct cyx_error *err)
{
    struct agent *agent = run->agent;
    bool cancel = false;
    run->renewed_ms = now_ms();
    enum cyx_status status = api_progress(agent->settings.bus, &agent->settings.node, run->job,
                                          &run->progress, &cancel, err);
    if (status == CYX_ERR_CONFLICT || status == CYX_ERR_NOT_FOUND)
        run->lost = true;
    else if (status != CYX_OK)
        cyx_log(CYX_LOG_WARN, "progress was not taken", CYX_STR("job_id", run->job->id),
                CYX_STR("error", err->message));
    if (cancel || atomic_load(&run->slot->cancelled))
        run->cancel = true;
}

/* While bytes move: keeps the lease; ends the transfer when it is lost. */
static enum cyx_status pulse(void *ctx)
{
    struct run *run = ctx;
    struct cyx_error err = {0};
    if (now_ms() - run->renewed_ms >= LEASE_RENEWAL_MS)
        renew(run, &err);
    if (run->training)
        look_after(run);
    return run->lost || run->cancel ? CYX_ERR_CANCELLED : CYX_OK;
}

/* The uploaded model that training begins with. */
static enum cyx_status prepare_initial(struct run *run, const struct cyx_initial_spec *initial,
                                       struct cyx_error *err)
{
    snprintf(run->initial, sizeof(run->initial), "-");
    if (!initial->upload || !initial->sha256)
        return CYX_OK;
    snprintf(run->initial, sizeof(run->initial), "%s/initial.safetensors", run->folder);
    enum cyx_status status = artifacts_fetch(&run->artifacts, initial->sha256, run->initial, err);
    if (status == CYX_ERR_NOT_FOUND)
        return cyx_error_set(err, status, "/initial/upload", "the upload %s is no longer there",
                             initial->upload);
    return status;
}

/* A set of the catalogue, or an upload. */
static enum cyx_status prepare_data(struct run *run, const struct cyx_buf *text,
                                    struct cyx_error *err)
{
    const struct agent_settings *settings = &run->agent->settings;
    struct cyx_job_spec *spec = NULL;
    enum cyx_status status = cyx_job_spec_parse(text->data, text->length, &spec, err);
    snprintf(run->data, sizeof(run->data), "%s/data", run->folder);
    if (status == CYX_OK && spec->data.dataset) {
        status = artifacts_fetch_dataset(&run->artifacts, cyx_dataset_find(spec->data.dataset),
                                         settings->data_dir, run->data, &run->data_dir, err);
    } else if (status == CYX_OK) {
        run_remove_folder(run->data); /* of a process that was killed */
        run->data_dir = run->data;
        status = upload_prepare(&run->artifacts, settings->sandbox, &spec->data.source, run->folder,
                                run->data, settings->limits.disk_bytes, err);
    }
    if (status == CYX_OK && spec)
        status = prepare_initial(run, &spec->initial, err);
    cyx_job_spec_destroy(spec);
    return status;
}

static enum cyx_status prepare(struct run *run, char *ret_resume, size_t size,
                               struct cyx_error *err)
{
    char path[WORKER_PATH_BYTES];
    CYX_CLEANUP_BUF struct cyx_buf spec = {0};
    enum cyx_status status = CYX_OK;
    if ((mkdir(run->folder, 0700) != 0 && errno != EEXIST) ||
        (mkdir(run->output, 0700) != 0 && errno != EEXIST))
        return cyx_error_errno(err, "cannot make the folder %s", run->output);
    status = cyx_message_write(json_incref((json_t *)run->accepted.spec), &spec, err);
    snprintf(path, sizeof(path), "%s/spec.json", run->folder);
    if (status == CYX_OK)
        status = cyx_file_write_atomic(path, spec.data, spec.length, 0600, err);
    if (status == CYX_OK)
        status = prepare_data(run, &spec, err);
    snprintf(ret_resume, size, "-");
    if (status == CYX_OK && run->accepted.checkpoint_sha256) {
        snprintf(ret_resume, size, "%s/resume.safetensors", run->folder);
        status = artifacts_fetch(&run->artifacts, run->accepted.checkpoint_sha256, ret_resume, err);
    }
    return status;
}

/*
 * Links a file of the trainer's aside, since it replaces its files while one travels, and may not be trusted with what
 * it names: only a plain file of its own output folder, by its last name.
 */
static enum cyx_status set_aside(const struct run *run, const char *named,
                                 char ret_aside[WORKER_PATH_BYTES], struct cyx_error *err)
{
    struct stat info;
    char path[WORKER_PATH_BYTES];
    const char *slash = strrchr(named, '/');
    snprintf(path, sizeof(path), "%s/%.255s", run->output, slash ? slash + 1 : named);
    snprintf(ret_aside, WORKER_PATH_BYTES, "%s/upload.safetensors", run->folder);
    unlink(ret_aside);
    if (link(path, ret_aside) != 0)
        return cyx_error_errno(err, "cannot keep %s", path);
    if (lstat(ret_aside, &info) != 0 || !S_ISREG(info.st_mode)) {
        unlink(ret_aside);
        return cyx_error_set(err, CYX_ERR_DENIED, NULL, "%s is not a plain file", path);
    }
    return CYX_OK;
}

static void upload_checkpoint(struct run *run, const struct worker_event *event)
{
    struct cyx_error err = {0};
    char aside[WORKER_PATH_BYTES], sha256[CYX_SHA256_HEX];
    uint64_t bytes = 0;
    enum cyx_status status = set_aside(run, event->path, aside, &err);
    if (status == CYX_OK) {
        status = artifacts_push(&run->artifacts, aside, sha256, &bytes, &err);
        unlink(aside);
    }
    if (status == CYX_OK) {
        run->progress.checkpoint_sha256 = sha256;
        run->progress.checkpoint_bytes = bytes;
        run->progress.checkpoint_step = event->step;
        renew(run, &err);
        run->progress.checkpoint_sha256 = NULL;
    } else if (!run->lost && !run->cancel) {
        cyx_log(CYX_LOG_WARN, "a checkpoint was not uploaded", CYX_STR("job_id", run->job->id),
                CYX_STR("error", err.message));
        tell_log(run, "warn", "checkpoint of step %lld was not uploaded: %s",
                 (long long)event->step, err.message);
    }
}

static void note_progress(struct run *run, const struct worker_event *event)
{
    run->progress.epoch = event->epoch;
    run->progress.epochs = event->epochs;
    run->progress.step = event->step;
    run->progress.total_steps = event->total_steps;
    run->progress.loss = event->loss;
    run->progress.accuracy = event->accuracy;
    run->progress.images_per_second = event->images_per_second;
    atomic_store(&run->slot->images_per_second, event->images_per_second);
    if (event->device_memory_budget_bytes)
        monitor_note_device(run->agent->monitor, (size_t)run->slot->index, run->device,
                            event->device_memory_used_bytes, event->device_memory_budget_bytes);
    cyx_metric_set(run->agent->steps, event->images_per_second);
}

static void tell_epoch(struct run *run, const struct worker_event *event)
{
    char accuracy[40] = "";
    if (!isnan(event->eval_accuracy))
        snprintf(accuracy, sizeof(accuracy), ", test accuracy %.2f %%", 100 * event->eval_accuracy);
    tell_log(run, "info", "epoch %lld of %lld: loss %.4f, test loss %.4f%s",
             (long long)event->epoch, (long long)event->epochs, event->loss, event->eval_loss,
             accuracy);
}

/* What a person reads of an upload's files names them as the upload does, and not where they lie on this machine. */
static void leave_out_folder(const struct run *run, char *text)
{
    size_t length = strlen(run->data);
    for (char *at = text; length > 0 && (at = strstr(at, run->data));)
        memmove(at, at + length + (at[length] == '/'),
                strlen(at + length + (at[length] == '/')) + 1);
}

/* While the others are waited for: keeps the lease, sees to a stop; the trainer is not to blame for its silence. */
static enum cyx_status meeting_pulse(void *ctx)
{
    struct run *run = ctx;
    struct cyx_error err = {0};
    if (now_ms() - run->renewed_ms >= LEASE_RENEWAL_MS)
        renew(run, &err);
    if (!run->training)
        return run->lost || run->cancel ? CYX_ERR_CANCELLED : CYX_OK;
    run->heard_ms = now_ms();
    stop_if_asked(run);
    look_after(run);
    return run->killed_ms || run->process.input < 0 ? CYX_ERR_CANCELLED : CYX_OK;
}

static enum cyx_status exchange(struct run *run, const struct worker_event *event,
                                struct cyx_error *err)
{
    char path[WORKER_PATH_BYTES], line[48];
    if (!run->gang || event->count < 0 || event->count > CYX_GANG_BYTES_LIMIT / 4)
        return cyx_error_set(err, CYX_ERR_CORRUPT, NULL, "the trainer wants to meet nobody");
    size_t bytes = (size_t)event->count * sizeof(float);
    float *values = malloc(bytes + 1);
    if (!values)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for what nodes exchange");
    snprintf(path, sizeof(path), "%s/" MEETING_VALUES, run->output);
    enum cyx_status status = meeting_read(path, values, bytes, err);
    if (status == CYX_OK)
        status = gang_meet(run->gang, values, (size_t)event->count, err);
    snprintf(path, sizeof(path), "%s/" MEETING_MEAN, run->folder);
    if (status == CYX_OK)
        status = meeting_write(path, values, bytes, err);
    free(values);
    int length = snprintf(line, sizeof(line), "met %lld\n", (long long)event->round);
    if (status == CYX_OK && write(run->process.input, line, (size_t)length) != length)
        status = CYX_ERR_CANCELLED; /* it ends: how, its end will tell */
    return status;
}

/* A failure of the meeting ends the trainer, and is how the job's end is told. */
static void meet(struct run *run, const struct worker_event *event)
{
    struct cyx_error err = {0};
    enum cyx_status status = exchange(run, event, &err);
    if (status == CYX_OK || status == CYX_ERR_CANCELLED || run->killed_ms)
        return;
    run->end.has_error = true;
    run->end.error = err;
    end_now(run);
}

static void take_event(struct run *run, struct worker_event *event)
{
    struct cyx_error err = {0};
    board_step(run->agent->board, run->slot->index, event);
    switch (event->kind) {
    case WORKER_EVENT_STARTED:
        snprintf(run->device, sizeof(run->device), "%s", event->device);
        tell_log(run, "info", "training on %s (%s), %lld steps%s", event->device, event->backend,
                 (long long)event->total_steps, event->step > 0 ? ", from a checkpoint" : "");
        break;
    case WORKER_EVENT_STEP:
    case WORKER_EVENT_EPOCH:
        note_progress(run, event);
        if (run->accepted.seat.rank > 0)
            break; /* the first member tells of the job */
        api_tell_metrics(run->agent->settings.bus, &run->agent->settings.node, run->job, event,
                         &err);
        if (event->kind == WORKER_EVENT_EPOCH)
            tell_epoch(run, event);
        break;
    case WORKER_EVENT_CHECKPOINT:
        upload_checkpoint(run, event);
        break;
    case WORKER_EVENT_NOTICE:
        leave_out_folder(run, event->message);
        tell_log(run, "warn", "%s", event->message);
        break;
    case WORKER_EVENT_MEET:
        meet(run, event);
        break;
    case WORKER_EVENT_RESULT:
        run->end.has_result = true;
        run->result = json_incref(event->result);
        snprintf(run->model_path, sizeof(run->model_path), "%s", event->path);
        break;
    case WORKER_EVENT_ERROR:
        run->end.has_error = true;
        run->end.error = event->error;
        leave_out_folder(run, run->end.error.message);
        break;
    }
}

static void take_lines(struct run *run)
{
    char *from = run->pending.data;
    char *end = from + run->pending.length;
    for (char *at; from < end && (at = memchr(from, '\n', (size_t)(end - from))); from = at + 1) {
        struct worker_event event;
        struct cyx_error err = {0};
        *at = '\0';
        if (worker_event_parse(from, (size_t)(at - from), &event, &err) != CYX_OK) {
            cyx_log(CYX_LOG_ERROR, err.message, CYX_STR("job_id", run->job->id));
            continue;
        }
        take_event(run, &event);
        worker_event_finish(&event);
    }
    size_t rest = (size_t)(end - from);
    memmove(run->pending.data, from, rest);
    run->pending.length = rest;
    if (rest > LINE_BYTES_LIMIT)
        cyx_buf_clear(&run->pending);
}

static void end_now(struct run *run)
{
    if (run->killed_ms == 0)
        run->killed_ms = now_ms();
    sandbox_kill(&run->process);
}

/* The first of a gang saves what all have, behind the next meeting, for which its input must stay open. */
static void ask_to_stop(struct run *run)
{
    static const char stop[] = "stop\n";
    if (!run->gang || run->accepted.seat.rank > 0 ||
        write(run->process.input, stop, sizeof(stop) - 1) != (ssize_t)(sizeof(stop) - 1))
        sandbox_ask_to_stop(&run->process);
}

/* Asks the trainer to stop when there is a reason to; kills it when it does not, or when the job is not ours. */
static void stop_if_asked(struct run *run)
{
    if (atomic_load(&run->slot->cancelled))
        run->cancel = true;
    bool draining = atomic_load(&run->agent->draining);
    if (run->lost) {
        end_now(run);
    } else if ((run->cancel || draining) && run->stop_asked_ms == 0) {
        run->stop_asked_ms = now_ms();
        run->end.cancelled = run->cancel;
        run->end.draining = !run->cancel;
        ask_to_stop(run);
    } else if (run->stop_asked_ms && now_ms() - run->stop_asked_ms > STOP_GRACE_MS) {
        end_now(run);
    }
}

/* What lies in the trainer's folders; counts no further than a little over `limit_bytes`. */
static int64_t folder_bytes(const char *const *folders, int64_t limit_bytes)
{
    enum { ENTRY_BYTES = 512 }; /* of an empty file, that a million of them are not for nothing */
    int64_t sum = 0;
    FTS *walk = fts_open((char *const *)folders, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
    for (FTSENT *entry; walk && sum <= limit_bytes && (entry = fts_read(walk));)
        if (entry->fts_info == FTS_F)
            sum += ENTRY_BYTES + (int64_t)entry->fts_statp->st_blocks * 512;
        else if (entry->fts_info != FTS_DP)
            sum += ENTRY_BYTES;
    if (walk)
        fts_close(walk);
    return sum;
}

/* Looks whether the trainer keeps within the limits of this node, and kills it when it does not. */
static void look_after(struct run *run)
{
    const struct worker_limits *limits = &run->agent->settings.limits;
    int64_t now = now_ms();
    run->usage.memory_bytes =
        *run->process.group ? 0 : sandbox_memory_bytes(&run->process); /* the kernel looks */
    run->usage.run_ms = now - run->started_ms;
    run->usage.silent_ms = now - run->heard_ms;
    if (limits->disk_bytes && now - run->disk_looked_ms >= DISK_LOOK_MS) {
        run->usage.disk_bytes =
            folder_bytes((const char *const[]){run->output, NULL}, limits->disk_bytes);
        run->disk_looked_ms = now;
    }
    enum worker_breach breach = worker_breach_of(limits, &run->usage);
    if (breach == WORKER_NO_BREACH || run->killed_ms)
        return;
    run->end.breach = breach;
    run->end.usage = run->usage;
    end_now(run);
}

/* Something was heard: how long it had been silent is the job's pace. */
static void note_sound(struct run *run)
{
    int64_t silent_ms = now_ms() - run->heard_ms;
    if (silent_ms > run->usage.longest_silence_ms)
        run->usage.longest_silence_ms = silent_ms;
}

/* Until the trainer closes its output, that is, ends; or does not though it was killed. */
static void follow(struct run *run)
{
    char chunk[16384];
    while (!run->killed_ms || now_ms() - run->killed_ms < KILL_GRACE_MS) {
        struct pollfd ready = {.fd = run->process.output, .events = POLLIN};
        int n = poll(&ready, 1, POLL_MS);
        if (n > 0) {
            ssize_t got = read(run->process.output, chunk, sizeof(chunk));
            if (got == 0 || (got < 0 && errno != EINTR && errno != EAGAIN))
                break;
            if (got > 0) {
                note_sound(run);
                cyx_buf_append(&run->pending, chunk, (size_t)got);
            }
            if (run->pending.data)
                take_lines(run);
            run->heard_ms = now_ms(); /* what we did with it is not the trainer's silence */
        }
        struct cyx_error err = {0};
        if (now_ms() - run->renewed_ms >= LEASE_RENEWAL_MS)
            renew(run, &err);
        stop_if_asked(run);
        look_after(run);
    }
    run->training = false;
    monitor_note_device(run->agent->monitor, (size_t)run->slot->index, "", 0, 0);
    if (run->end.breach == WORKER_NO_BREACH && sandbox_ran_out_of_memory(&run->process))
        run->end.breach = WORKER_BREACH_MEMORY;
    run->end.limits = run->agent->settings.limits;
    run->end.stuck = sandbox_wait(&run->process, KILL_GRACE_MS, &run->end.wait_status) != CYX_OK;
}

static enum cyx_status train(struct run *run, const char *resume, struct cyx_error *err)
{
    const struct agent_settings *settings = &run->agent->settings;
    char spec[WORKER_PATH_BYTES], device[16], threads[16];
    snprintf(spec, sizeof(spec), "%s/spec.json", run->folder);
    snprintf(device, sizeof(device), "%d", run->slot->device);
    snprintf(threads, sizeof(threads), "%d", settings->slot_threads);
    const char *of_spec = json_string_value(
        json_object_get(json_object_get(run->accepted.spec, "resources"), "backend"));
    const char *backend = worker_backend(of_spec, settings->backend);
    char rank[16], nodes[16], mean[WORKER_PATH_BYTES];
    const struct api_seat *seat = &run->accepted.seat;
    snprintf(rank, sizeof(rank), "%d", seat->rank);
    snprintf(nodes, sizeof(nodes), "%d", seat->nodes);
    snprintf(mean, sizeof(mean), "%s/" MEETING_MEAN, run->folder);
    const char *const arguments[] = {sandbox_program(settings->sandbox),
                                     "--train",
                                     spec,
                                     run->data_dir,
                                     run->output,
                                     backend,
                                     resume,
                                     settings->cache_dir,
                                     device,
                                     threads,
                                     run->initial,
                                     run->gang ? rank : NULL,
                                     nodes,
                                     mean,
                                     NULL};
    const char *const read_only[] = {run->data_dir, run->folder, NULL};
    const char *const writable[] = {run->output, settings->cache_dir, NULL};
    const struct sandbox_plan plan = {.read_only = read_only,
                                      .writable = writable,
                                      .home = settings->cache_dir,
                                      .gpu = strcmp(backend, "cpu") != 0,
                                      .limits = {.memory_bytes = settings->limits.memory_bytes,
                                                 .disk_bytes = settings->limits.disk_bytes}};
    enum cyx_status status = sandbox_spawn(settings->sandbox, &plan, arguments, &run->process, err);
    run->training = status == CYX_OK;
    run->started_ms = run->heard_ms = now_ms();
    if (status == CYX_OK)
        follow(run);
    return status;
}

/* Says how it ended until the scheduler has taken it: a result that is not told would be trained again. */
static void finish(struct run *run, const struct api_finish *end)
{
    struct agent *agent = run->agent;
    struct cyx_error err = {0};
    enum cyx_status status = CYX_OK;
    for (int attempt = 0; attempt < FINISH_ATTEMPTS; attempt++) {
        status = api_finish(agent->settings.bus, &agent->settings.node, run->job, end, &err);
        if (status != CYX_ERR_UNAVAILABLE && status != CYX_ERR_TIMEOUT)
            break;
        nanosleep(&(struct timespec){.tv_nsec = 250000000}, NULL);
    }
    const char *outcome = worker_outcome_name(end->outcome);
    cyx_metric_add(agent->jobs, 1, outcome);
    if (status == CYX_OK)
        cyx_log(CYX_LOG_INFO, "job ended", CYX_STR("job_id", run->job->id),
                CYX_STR("outcome", outcome),
                CYX_STR("error", end->error ? end->error->message : NULL));
    else
        cyx_log(CYX_LOG_WARN, "the end of a job was not taken", CYX_STR("job_id", run->job->id),
                CYX_STR("outcome", outcome), CYX_STR("error", err.message));
}

static void conclude(struct run *run, enum cyx_status status, struct cyx_error *err)
{
    char sha256[CYX_SHA256_HEX];
    struct api_finish end = {.outcome = WORKER_FAILED, .error = err};
    if (status == CYX_OK)
        end.outcome = worker_end_judge(&run->end, err);
    if (end.outcome == WORKER_COMPLETED && run->accepted.seat.rank > 0)
        end.outcome = WORKER_DONE;
    else if (run->cancel)
        end.outcome = WORKER_CANCELLED;
    else if (atomic_load(&run->agent->draining))
        end.outcome = WORKER_HANDED_BACK;
    if (end.outcome == WORKER_COMPLETED) {
        run->cancel = false; /* it is done: too late to cancel */
        atomic_store(&run->slot->cancelled, false);
        end.result = run->result;
        end.model_sha256 = sha256;
        char aside[WORKER_PATH_BYTES];
        status = set_aside(run, run->model_path, aside, err);
        if (status == CYX_OK)
            status = artifacts_push(&run->artifacts, aside, sha256, &end.model_bytes, err);
        if (status != CYX_OK)
            end.outcome = WORKER_FAILED;
    }
    if (run->gang && end.outcome == WORKER_COMPLETED)
        gang_wait_taken(run->gang);
    if (run->lost) {
        cyx_log(CYX_LOG_WARN, "the lease was lost, the job goes on elsewhere",
                CYX_STR("job_id", run->job->id));
        board_end(run->agent->board, run->slot->index, "lost",
                  "its lease ended; it goes on elsewhere");
        return;
    }
    if (end.outcome == WORKER_FAILED)
        tell_log(run, "error", "%s%s%s", err->pointer, *err->pointer ? ": " : "", err->message);
    else
        end.error = NULL;
    cyx_bus_publish_wait(run->agent->settings.bus, 2000);
    finish(run, &end);
    board_end(run->agent->board, run->slot->index, worker_outcome_name(end.outcome),
              end.error ? end.error->message : NULL);
}

/* On its way out the worker takes nothing; told so, the scheduler need not wait for the offer to expire. */
static void decline(struct agent *agent, const struct api_job *job)
{
    const struct api_finish end = {.outcome = WORKER_HANDED_BACK};
    struct cyx_error err = {0};
    enum cyx_status status =
        api_finish(agent->settings.bus, &agent->settings.node, job, &end, &err);
    cyx_log(CYX_LOG_INFO, "an offer declined, since the worker ends", CYX_STR("job_id", job->id),
            CYX_STR("error", status == CYX_OK ? NULL : err.message));
}

/* Twice as long as a trainer may be silent: by then one that hangs has been found where it runs. */
static enum cyx_status join_gang(struct run *run, struct cyx_error *err)
{
    const struct agent_settings *settings = &run->agent->settings;
    const struct gang_settings gang = {.server = &settings->server,
                                       .identity = settings->identity,
                                       .bus = settings->bus,
                                       .node = &settings->node,
                                       .job = run->job,
                                       .seat = run->accepted.seat,
                                       .slot = run->slot->index,
                                       .patience_ms = 2 * settings->limits.silence_ms,
                                       .pulse = meeting_pulse,
                                       .ctx = run};
    return gang_create(&gang, &run->gang, err);
}

void run_job(struct slot *slot, const struct api_job *job)
{
    struct agent *agent = slot->agent;
    struct cyx_error err = {0};
    if (atomic_load(&agent->draining)) {
        decline(agent, job);
        return;
    }
    char resume[WORKER_PATH_BYTES];
    struct run run = {.agent = agent, .slot = slot, .job = job, .renewed_ms = now_ms()};
    enum cyx_status status =
        api_accept(agent->settings.bus, &agent->settings.node, job, &run.accepted, &err);
    if (status != CYX_OK) {
        cyx_log(CYX_LOG_WARN, "an offer was not ours to accept", CYX_STR("job_id", job->id),
                CYX_STR("error", err.message));
        return;
    }
    cyx_log(CYX_LOG_INFO, "job accepted", CYX_STR("job_id", job->id), CYX_INT("token", job->token),
            CYX_STR("checkpoint", run.accepted.checkpoint_sha256));
    board_begin(agent->board, slot->index, job->id,
                json_string_value(json_object_get(run.accepted.spec, "name")));
    snprintf(run.folder, sizeof(run.folder), "%s/jobs/%s", agent->settings.work_dir, job->id);
    snprintf(run.output, sizeof(run.output), "%s/output", run.folder);
    const struct cyx_http_client_options options = {.base_url = agent->settings.gateway_url,
                                                    .ca_file = agent->settings.gateway_ca,
                                                    .user_agent = "cyxwiz-worker"};
    run.artifacts = (struct artifacts){
        .cache = agent->cache, .grant = run.accepted.grant, .beat = pulse, .ctx = &run};
    status = cyx_http_client_create(&options, &run.artifacts.http, &err);
    if (status == CYX_OK)
        status = prepare(&run, resume, sizeof(resume), &err);
    if (status == CYX_OK && run.accepted.seat.nodes > 1)
        status = join_gang(&run, &err);
    if (status == CYX_OK)
        status = train(&run, resume, &err);
    conclude(&run, status, &err);
    gang_destroy(run.gang);
    cyx_http_client_destroy(run.artifacts.http);
    cyx_buf_finish(&run.pending);
    json_decref(run.result);
    json_decref(run.accepted.body);
    run_remove_folder(run.folder);
}
