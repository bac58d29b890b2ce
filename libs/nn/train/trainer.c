#include "nn/train/trainer.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/clock.h"
#include "nn/train/run.h"

#include "base/banned.h"

#define CHECKPOINT_FILE "checkpoint.safetensors"
#define MODEL_FILE "model.safetensors"

/* The loop's own state, beside what it stands on. */
struct trainer {
    struct run run;
    int64_t started_ns, section_ns; /* section_ns: since when training steps run; 0 outside */
    int64_t training_ns;
    int64_t resumed_samples;
    int64_t met;       /* in a gang: steps done at the last meeting */
    int64_t submitted; /* optimizer steps, of all epochs; progress.step counts finished ones */
    double eval_loss, eval_accuracy;
    bool
        test_is_known; /* eval_* are of the part that the result tells of, and of the parameters as they are */
    int64_t told_faults; /* of the data, that a notice told of */
};

/* ---- events ---- */

static double training_seconds(const struct trainer *self)
{
    int64_t ns = self->training_ns;
    if (self->section_ns)
        ns += cyx_clock_monotonic_ns() - self->section_ns;
    return (double)ns * 1e-9;
}

static double images_per_second(const struct trainer *self)
{
    double seconds = training_seconds(self);
    int64_t samples = self->run.progress.samples - self->resumed_samples;
    return seconds > 0 ? (double)samples / seconds : 0;
}

static void emit(struct trainer *self, struct cyx_train_event *event)
{
    const struct run *run = &self->run;
    if (!run->options->on_event)
        return;
    event->device = &run->info;
    event->epochs = run->spec->epochs;
    event->step = run->progress.step;
    event->total_steps = run->total_steps;
    event->samples = run->progress.samples;
    event->images_per_second = images_per_second(self);
    event->elapsed_seconds = (double)(cyx_clock_monotonic_ns() - self->started_ns) * 1e-9;
    run->options->on_event(run->options->context, event);
}

/* 1-based; the last epoch stays the last when all is done. */
static int64_t epoch_now(const struct run *run)
{
    return run->progress.epoch < run->spec->epochs ? run->progress.epoch + 1 : run->spec->epochs;
}

static void emit_started(struct trainer *self)
{
    struct cyx_train_event event = {.kind = CYX_TRAIN_STARTED,
                                    .epoch = epoch_now(&self->run),
                                    .lr = self->run.lr.state.rate[0]};
    emit(self, &event);
}

/* Tells of files and rows that could not be read, when there are more than it told of. */
static void emit_faults(struct trainer *self)
{
    char message[2 * CYX_FAULT_BYTES];
    int64_t faults = cyx_data_faults_count(self->run.data);
    struct cyx_train_event event = {
        .kind = CYX_TRAIN_NOTICE, .epoch = epoch_now(&self->run), .message = message};
    if (faults == self->told_faults)
        return;
    self->told_faults = faults;
    cyx_data_faults_text(self->run.data, message);
    emit(self, &event);
}

/* ---- steps ---- */

/* Apart from those of other members, and from those of jobs whose seeds count up. */
static const uint64_t member_seed = UINT64_C(0x9e3779b97f4a7c15);

static int rank(const struct run *run)
{
    return run->options->gang ? run->options->gang->rank : 0;
}

static enum cyx_status diverged(const struct run *run, const struct cyx_step_result *result,
                                struct cyx_error *error)
{
    long long step = run->progress.step;
    if (run->spec->loss.type == CYX_LOSS_CROSS_ENTROPY && result->count == 0)
        return cyx_error_set(error, CYX_ERR_INVALID, "/loss/ignore_index",
                             "the batch of step %lld has no sample whose class counts, so there is "
                             "no mean: take a larger data.batch_size or another ignore_index",
                             step);
    return cyx_error_set(error, CYX_ERR_INVALID, "/optimizer/lr",
                         "loss became %s at step %lld: lower optimizer.lr, unless the data holds "
                         "such numbers (cyxwiz data inspect)",
                         isnan(result->loss) ? "NaN" : "infinite", step);
}

/* Takes the oldest open step's result into the sums, and tells of it. */
static enum cyx_status finish_step(struct trainer *self, struct cyx_error *error)
{
    struct run *run = &self->run;
    struct run_open_step open = run->open[0];
    memmove(run->open, run->open + 1, --run->n_open * sizeof(*run->open));
    struct cyx_step_result result;
    enum cyx_status status = run->backend->wait(open.program, open.ticket, &result, error);
    if (status != CYX_OK)
        return status;
    struct cyx_progress *progress = &run->progress;
    progress->step++;
    progress->batch++;
    progress->samples += open.rows;
    progress->loss_sum += (double)result.loss * (double)result.count;
    progress->correct += (int64_t)result.correct;
    progress->count += (int64_t)result.count;
    if (!isfinite(result.loss))
        return diverged(run, &result, error);
    run_look_at_device(run);
    struct cyx_train_event event = {
        .kind = CYX_TRAIN_STEP,
        .epoch = epoch_now(run),
        .loss = result.loss,
        .accuracy = run_accuracy(run, (double)result.correct, (double)result.count),
        .lr = open.lr,
        .grad_norm = result.grad_norm,
    };
    emit(self, &event);
    return CYX_OK;
}

static enum cyx_status drain(struct trainer *self, struct cyx_error *error)
{
    enum cyx_status status = CYX_OK;
    while (status == CYX_OK && self->run.n_open > 0)
        status = finish_step(self, error);
    return status;
}

static enum cyx_status start_step(struct trainer *self, const struct cyx_batch *batch,
                                  struct cyx_error *error)
{
    struct run *run = &self->run;
    struct run_open_step open = {.rows = batch->count, .lr = run->lr.state.rate[0]};
    enum cyx_status status = run_program(run, true, batch->count, &open.program, error);
    /* Tickets are a program's own: before another takes over, the first one's are done. */
    if (status == CYX_OK && run->n_open > 0 && run->open[0].program != open.program)
        status = drain(self, error);
    else if (status == CYX_OK && run->n_open == CYX_STEPS_IN_FLIGHT)
        status = finish_step(self, error);
    if (status != CYX_OK)
        return status;
    struct cyx_feed feed = {.input = batch->input,
                            .target = batch->target,
                            .seed = run->spec->seed + (uint64_t)rank(run) * member_seed,
                            .step = (uint64_t)self->submitted + 1};
    memcpy(feed.lr, run->lr.state.rate, sizeof(feed.lr));
    status = run->backend->submit(open.program, &feed, &open.ticket, error);
    if (status != CYX_OK)
        return status;
    self->submitted++;
    run->open[run->n_open++] = open;
    cyx_lr_after_step(&run->lr);
    return CYX_OK;
}

/* ---- files ---- */

static enum cyx_status make_folders(const char *path, struct cyx_error *error)
{
    char part[4096];
    if (!path || !*path)
        return cyx_error_set(error, CYX_ERR_INVALID, NULL, "expected a folder to write to");
    if (snprintf(part, sizeof(part), "%s", path) >= (int)sizeof(part))
        return cyx_error_set(error, CYX_ERR_INVALID, NULL, "the path %.40s… is too long", path);
    for (char *slash = part + 1;; slash++) {
        if (*slash != '/' && *slash != '\0')
            continue;
        char ends = *slash;
        *slash = '\0';
        if (mkdir(part, 0755) != 0 && errno != EEXIST)
            return cyx_error_errno(error, "cannot create %s", part);
        *slash = ends;
        if (!ends)
            break;
    }
    return CYX_OK;
}

static enum cyx_status output_path(const struct run *run, const char *name, char ret_path[4096],
                                   struct cyx_error *error)
{
    if (snprintf(ret_path, 4096, "%s/%s", run->options->output_dir, name) >= 4096)
        return cyx_error_set(error, CYX_ERR_INVALID, NULL, "the path of %s is too long", name);
    return CYX_OK;
}

static struct cyx_checkpoint_target target_of(const struct run *run)
{
    return (struct cyx_checkpoint_target){.backend = run->backend,
                                          .session = run->session,
                                          .graph = run_graph(run),
                                          .spec = run->spec,
                                          .classes = run->data->class_names,
                                          .n_classes = (size_t)run->data->n_classes};
}

/* Time spent here is not training's. */
static enum cyx_status checkpoint(struct trainer *self, struct cyx_error *error)
{
    struct run *run = &self->run;
    struct cyx_checkpoint_target target = target_of(run);
    char path[4096];
    enum cyx_status status = drain(self, error);
    if (status != CYX_OK || rank(run) > 0)
        return status;
    int64_t begin = cyx_clock_monotonic_ns();
    run->progress.lr = run->lr.state;
    status = output_path(run, CHECKPOINT_FILE, path, error);
    if (status == CYX_OK)
        status = cyx_checkpoint_save(path, &target, &run->progress, error);
    if (self->section_ns)
        self->section_ns += cyx_clock_monotonic_ns() - begin;
    if (status != CYX_OK)
        return status;
    struct cyx_train_event event = {.kind = CYX_TRAIN_CHECKPOINT,
                                    .epoch = epoch_now(run),
                                    .lr = run->lr.state.rate[0],
                                    .path = path};
    emit(self, &event);
    return CYX_OK;
}

/* ---- epochs ---- */

static bool cancelled(const struct run *run)
{
    return run->options->cancel && atomic_load(run->options->cancel);
}

static bool enough(const struct trainer *self)
{
    int64_t limit = self->run.options->max_steps;
    return limit > 0 && self->submitted >= limit;
}

/* Whether the steps that two counts stand for are on different sides of a checkpoint that is due. */
static bool passes_checkpoint(const struct run *run, int64_t from, int64_t to)
{
    return from / run->spec->checkpoint_steps != to / run->spec->checkpoint_steps;
}

static enum cyx_status stop(struct trainer *self, struct cyx_error *error)
{
    enum cyx_status status = checkpoint(self, error);
    return status == CYX_OK ? cyx_error_set(error, CYX_ERR_CANCELLED, NULL,
                                            "training was cancelled at step %lld",
                                            (long long)self->run.progress.step)
                            : status;
}

/* What comes behind a step that was begun: `last` of the epoch. */
static enum cyx_status after_step(struct trainer *self, bool last, struct cyx_error *error)
{
    struct run *run = &self->run;
    const struct cyx_gang *gang = run->options->gang;
    int64_t saved = self->submitted - 1;
    if (gang && gang->rank > 0 && cancelled(run))
        return stop(self, error); /* there is nothing to save */
    if (gang && !last && !enough(self) && self->submitted % gang->every_steps != 0)
        return CYX_OK;
    if (gang) {
        enum cyx_status status = drain(self, error);
        if (status == CYX_OK)
            status = run_meet(run, error);
        if (status != CYX_OK)
            return status;
        saved = self->met;
        self->met = self->submitted;
    }
    if (cancelled(run))
        return stop(self, error);
    return !last && passes_checkpoint(run, saved, self->submitted) ? checkpoint(self, error)
                                                                   : CYX_OK;
}

/* The training steps of an epoch, from its first batch or from where the checkpoint stood. */
static enum cyx_status train_epoch(struct trainer *self, struct cyx_error *error)
{
    struct run *run = &self->run;
    struct cyx_batch batch;
    enum cyx_status status = CYX_OK;
    self->section_ns = cyx_clock_monotonic_ns();
    while (status == CYX_OK && !enough(self) && cyx_loader_next(run->train, &batch)) {
        status = start_step(self, &batch, error);
        if (status == CYX_OK)
            status = after_step(self, batch.index + 1 == cyx_loader_batches(run->train), error);
    }
    if (status == CYX_OK)
        status = cyx_loader_failure(run->train, error);
    if (status == CYX_OK)
        status = drain(self, error);
    self->training_ns += cyx_clock_monotonic_ns() - self->section_ns;
    self->section_ns = 0;
    return status;
}

static void close_epoch(struct run *run)
{
    struct cyx_progress *progress = &run->progress;
    double count = progress->count > 0 ? (double)progress->count : 1;
    progress->last_train_loss = progress->loss_sum / count;
    progress->last_train_accuracy = run_accuracy(run, (double)progress->correct, count);
    progress->loss_sum = 0;
    progress->correct = progress->count = 0;
    progress->batch = 0;
    progress->epoch++;
}

/* The part that the result tells of. */
static struct cyx_loader *final_part(const struct run *run)
{
    return run->test ? run->test : run->validation;
}

static enum cyx_status end_epoch(struct trainer *self, double lr, struct cyx_error *error)
{
    struct run *run = &self->run;
    close_epoch(run);
    if (run->progress.epoch < run->spec->epochs) /* prefetch while evaluating */
        cyx_loader_start(run->train, (uint32_t)run->progress.epoch, 0);
    struct cyx_loader *judge = run->validation ? run->validation : run->test;
    enum cyx_status status = CYX_OK;
    self->eval_loss = self->eval_accuracy = NAN;
    if (rank(run) == 0)
        status = run_evaluate(run, judge, &self->eval_loss, &self->eval_accuracy, error);
    double loss = self->eval_loss, accuracy = self->eval_accuracy;
    if (status == CYX_OK && run->options->gang &&
        run->spec->scheduler.type == CYX_SCHEDULER_REDUCE_LR_ON_PLATEAU)
        status = run_share(run, &loss, &accuracy, error);
    if (status != CYX_OK)
        return status;
    cyx_lr_after_epoch(&run->lr, loss, accuracy);
    self->test_is_known = judge == final_part(run);
    struct cyx_train_event event = {.kind = CYX_TRAIN_EPOCH,
                                    .epoch = run->progress.epoch,
                                    .loss = run->progress.last_train_loss,
                                    .accuracy = run->progress.last_train_accuracy,
                                    .eval_loss = self->eval_loss,
                                    .eval_accuracy = self->eval_accuracy,
                                    .lr = lr};
    emit(self, &event);
    emit_faults(self);
    return checkpoint(self, error);
}

static enum cyx_status train_epochs(struct trainer *self, struct cyx_error *error)
{
    struct run *run = &self->run;
    enum cyx_status status = CYX_OK;
    if (run->progress.epoch < run->spec->epochs)
        cyx_loader_start(run->train, (uint32_t)run->progress.epoch, run->progress.batch);
    while (status == CYX_OK && run->progress.epoch < run->spec->epochs && !enough(self)) {
        double lr = run->lr.state.rate[0];
        self->test_is_known = false;
        status = train_epoch(self, error);
        if (status != CYX_OK)
            break;
        if (run->progress.batch == cyx_loader_batches(run->train))
            status = end_epoch(self, lr, error);
        else
            status = checkpoint(self, error); /* stopped by max_steps */
    }
    return status;
}

/* ---- the whole ---- */

static enum cyx_status finish(struct trainer *self, struct cyx_train_result *result,
                              struct cyx_error *error)
{
    struct run *run = &self->run;
    const struct cyx_progress *progress = &run->progress;
    struct cyx_checkpoint_target target = target_of(run);
    enum cyx_status status = CYX_OK;
    if (rank(run) == 0 && !self->test_is_known)
        status = run_evaluate(run, final_part(run), &self->eval_loss, &self->eval_accuracy, error);
    if (status == CYX_OK && rank(run) == 0)
        status = output_path(run, MODEL_FILE, result->model_path, error);
    if (status == CYX_OK && rank(run) == 0)
        status = cyx_model_save(result->model_path, &target, progress->step, result->model_sha256,
                                &result->model_bytes, error);
    if (status != CYX_OK)
        return status;
    result->test_accuracy = self->eval_accuracy;
    result->test_loss = self->eval_loss;
    result->train_loss = progress->count > 0 ? progress->loss_sum / (double)progress->count
                                             : progress->last_train_loss;
    result->epochs = progress->epoch;
    result->steps = progress->step;
    result->samples = progress->samples;
    result->images_per_second = images_per_second(self);
    result->seconds = (double)(cyx_clock_monotonic_ns() - self->started_ns) * 1e-9;
    result->device = run->info;
    result->faults = cyx_data_faults_count(run->data);
    return CYX_OK;
}

/* A run that was killed while it wrote left a file the size of the model. */
static enum cyx_status sweep_outputs(const struct run *run, struct cyx_error *error)
{
    static const char *const names[] = {CHECKPOINT_FILE, MODEL_FILE};
    enum cyx_status status = CYX_OK;
    for (size_t i = 0; i < sizeof names / sizeof *names && status == CYX_OK; i++) {
        char path[4096];
        status = output_path(run, names[i], path, error);
        if (status == CYX_OK)
            cyx_file_sweep_temporaries(path);
    }
    return status;
}

enum cyx_status cyx_train(const struct cyx_train_options *options,
                          struct cyx_train_result *ret_result, struct cyx_error *ret_error)
{
    struct trainer self = {.started_ns = cyx_clock_monotonic_ns()};
    struct cyx_train_result result = {0};
    enum cyx_status status = make_folders(options->output_dir, ret_error);
    if (status == CYX_OK)
        status = run_open(&self.run, options, ret_error);
    if (status == CYX_OK)
        status = sweep_outputs(&self.run, ret_error);
    if (status == CYX_OK) {
        self.submitted = self.met = self.run.progress.step;
        self.resumed_samples = self.run.progress.samples;
        emit_started(&self);
        emit_faults(&self);
        status = train_epochs(&self, ret_error);
    }
    if (status == CYX_OK)
        status = finish(&self, &result, ret_error);
    run_finish(&self.run);
    if (status == CYX_OK)
        *ret_result = result;
    return status;
}
