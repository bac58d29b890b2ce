/* cyxwiz train: the same loop as the worker's, with a progress bar and no service. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"
#include "contract/message.h"
#include "nn/train/tensorboard.h"
#include "nn/train/trainer.h"

#include "base/banned.h"

struct watcher {
    struct cli_bar bar;
    bool quiet;
    int64_t first_step;            /* where this run began */
    struct cyx_tensorboard *board; /* NULL: none is written */
};

static double seconds_left(const struct watcher *watcher, const struct cyx_train_event *e)
{
    int64_t done = e->step - watcher->first_step;
    if (done <= 0 || e->elapsed_seconds <= 0)
        return -1;
    return (double)(e->total_steps - e->step) * e->elapsed_seconds / (double)done;
}

/* A curve that cannot be written is told of once and does not stop the training. */
static void write_board(struct watcher *watcher, const struct cyx_train_event *e)
{
    struct cyx_error err = {0};
    if (!watcher->board || cyx_tensorboard_event(watcher->board, e, &err) == CYX_OK)
        return;
    cli_bar_clear(&watcher->bar);
    fprintf(stderr, "No TensorBoard files from here on: %s\n", err.message);
    cyx_tensorboard_close(watcher->board);
    watcher->board = NULL;
}

static void on_event(void *context, const struct cyx_train_event *e)
{
    char accuracy[CLI_PERCENT_BYTES];
    struct watcher *watcher = context;
    write_board(watcher, e);
    if (watcher->quiet)
        return;
    const struct cli_bar_state state = {.epoch = e->epoch,
                                        .epochs = e->epochs,
                                        .step = e->step,
                                        .total_steps = e->total_steps,
                                        .loss = e->loss,
                                        .accuracy = e->accuracy,
                                        .images_per_second = e->images_per_second,
                                        .seconds_left = seconds_left(watcher, e)};
    if (e->kind == CYX_TRAIN_STARTED) {
        watcher->first_step = e->step;
        fprintf(stderr, "Training on %s (%s), %" PRId64 " epochs, %" PRId64 " steps%s\n",
                e->device->name, e->device->backend, e->epochs, e->total_steps,
                e->step ? ", from a checkpoint" : "");
    } else if (e->kind == CYX_TRAIN_STEP) {
        cli_bar_draw(&watcher->bar, &state, false);
    } else if (e->kind == CYX_TRAIN_EPOCH) {
        cli_bar_clear(&watcher->bar);
        fprintf(stderr,
                "epoch %" PRId64 "/%" PRId64
                "  loss %.4f  test loss %.4f  test accuracy %s  %.0f img/s\n",
                e->epoch, e->epochs, e->loss, e->eval_loss, cli_percent(e->eval_accuracy, accuracy),
                e->images_per_second);
    } else if (e->kind == CYX_TRAIN_NOTICE) {
        cli_bar_clear(&watcher->bar);
        fprintf(stderr, "%s\n", e->message);
    }
}

/* runs/<name>, the name made fit for a path. */
static void default_output(const struct cyx_job_spec *spec, struct cyx_buf *ret_path)
{
    cyx_buf_puts(ret_path, "runs/");
    for (const char *c = spec->name; *c; c++) {
        bool plain = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') ||
                     (*c >= '0' && *c <= '9') || *c == '-' || *c == '_';
        cyx_buf_append(ret_path, plain ? c : "_", 1);
    }
}

/* `curves`: the folder of the TensorBoard files, NULL where there are none. */
static void print_result(const struct cli *cli, const struct cyx_train_result *r,
                         const char *curves)
{
    char accuracy[CLI_PERCENT_BYTES];
    if (cli->json) {
        json_t *body = json_pack(
            "{s:o, s:o, s:f, s:I, s:I, s:f, s:f, s:I, s:s, s:s, s:s, s:s, s:I}", "test_accuracy",
            cyx_message_number(r->test_accuracy), "test_loss", cyx_message_number(r->test_loss),
            "train_loss", r->train_loss, "epochs", (json_int_t)r->epochs, "steps",
            (json_int_t)r->steps, "images_per_second", r->images_per_second, "seconds", r->seconds,
            "faults", (json_int_t)r->faults, "backend", r->device.backend, "device", r->device.name,
            "model_path", r->model_path, "model_sha256", r->model_sha256, "model_bytes",
            (json_int_t)r->model_bytes);
        cli_print_json(body);
        json_decref(body);
        return;
    }
    printf("Test accuracy  %s\nTest loss      %.4f\nSpeed          %.0f images a second on %s "
           "(%s)\n"
           "Model          %s (%" PRId64 " bytes)\nSHA-256        %s\n",
           cli_percent(r->test_accuracy, accuracy), r->test_loss, r->images_per_second,
           r->device.name, r->device.backend, r->model_path, r->model_bytes, r->model_sha256);
    if (curves)
        printf("Curves         tensorboard --logdir %s\n", curves);
}

/* The summary beside the model, for whoever finds the folder later. */
static enum cyx_status write_summary(const char *folder, const struct cyx_job_spec *spec,
                                     const struct cyx_train_result *r, struct cyx_error *err)
{
    CYX_CLEANUP_BUF struct cyx_buf path = {0};
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    cyx_buf_printf(&path, "%s/summary.json", folder);
    enum cyx_status status = cyx_message_write(
        json_pack("{s:s, s:o, s:o, s:I, s:I, s:f, s:f, s:s, s:s, s:s}", "name", spec->name,
                  "test_accuracy", cyx_message_number(r->test_accuracy), "test_loss",
                  cyx_message_number(r->test_loss), "epochs", (json_int_t)r->epochs, "steps",
                  (json_int_t)r->steps, "images_per_second", r->images_per_second, "seconds",
                  r->seconds, "backend", r->device.backend, "model_path", r->model_path,
                  "model_sha256", r->model_sha256),
        &text, err);
    cyx_buf_puts(&text, "\n");
    if (status == CYX_OK)
        status = cyx_file_write_atomic(path.data, text.data, text.length, 0644, err);
    return status;
}

/* Where TensorBoard files go, NULL for nowhere. */
static const char *board_folder(const struct cli *cli, const char *output)
{
    const char *given = cli_value(cli, "tensorboard");
    if (given && strcmp(given, "off") == 0)
        return NULL;
    return given ? given : output;
}

static enum cyx_status open_board(const struct cyx_job_spec *spec, const char *folder,
                                  struct cyx_tensorboard **ret_board, struct cyx_error *err)
{
    if (!folder)
        return CYX_OK;
    enum cyx_status status = cli_make_folders(folder, err);
    return status == CYX_OK ? cyx_tensorboard_open(folder, spec, ret_board, err) : status;
}

static enum cyx_status run(struct cli *cli, const struct cyx_job_spec *spec, const char *output,
                           const struct cyx_data_options *where, struct cyx_error *err)
{
    struct cyx_train_result result;
    struct watcher watcher = {.bar.live = cli_is_terminal(stderr),
                              .quiet = cli->json && !cli_is_terminal(stderr)};
    CYX_CLEANUP_BUF struct cyx_buf checkpoint = {0};
    int64_t threads = spec->resources.threads, device = 0, max_steps = 0;
    enum cyx_status status = cli_whole_number(cli, "threads", 0, 1024, &threads, err);
    if (status == CYX_OK)
        status = cli_whole_number(cli, "device", 0, 255, &device, err);
    if (status == CYX_OK)
        status = cli_whole_number(cli, "max-steps", 0, INT64_MAX / 2, &max_steps, err);
    if (status == CYX_OK)
        status = cli_make_folders(output, err);
    if (status == CYX_OK)
        status = open_board(spec, board_folder(cli, output), &watcher.board, err);
    if (status != CYX_OK)
        return status;
    cyx_buf_printf(&checkpoint, "%s/checkpoint.safetensors", output);
    bool resume = cli_value(cli, "resume") && access(checkpoint.data, R_OK) == 0;
    const struct cyx_train_options options = {
        .spec = spec,
        .data_dir = where->data_dir,
        .base_dir = where->base_dir,
        .output_dir = output,
        .backend = cli_value(cli, "backend"),
        .resume_from = resume ? checkpoint.data : NULL,
        .device = {.index = (int)device, .threads = (int)threads, .cache_dir = output},
        .max_steps = max_steps,
        .on_event = on_event,
        .context = &watcher,
        .cancel = &cli_cancel};
    status = cyx_train(&options, &result, err);
    const char *curves = watcher.board ? board_folder(cli, output) : NULL;
    cyx_tensorboard_close(watcher.board);
    cli_bar_clear(&watcher.bar);
    if (status == CYX_ERR_CANCELLED)
        cyx_error_set(err, status, NULL, "stopped; `--resume` goes on from %s", checkpoint.data);
    if (status == CYX_OK)
        status = write_summary(output, spec, &result, err);
    if (status == CYX_OK)
        print_result(cli, &result, curves);
    return status;
}

enum cyx_status cli_train(struct cli *cli, struct cyx_error *err)
{
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    CLI_CLEANUP_WHERE struct cli_where where = {0};
    CYX_CLEANUP_BUF struct cyx_buf output = {0};
    struct cyx_job_spec *spec = NULL;
    enum cyx_status status = cli_read_spec(cli->arguments[0], &text, &spec, err);
    if (status == CYX_OK)
        status = cli_where_init(cli, cli->arguments[0], &where, err);
    if (status == CYX_OK) {
        if (cli_value(cli, "output"))
            cyx_buf_puts(&output, cli_value(cli, "output"));
        else
            default_output(spec, &output);
        status = run(cli, spec, output.data, &where.options, err);
    }
    cyx_job_spec_destroy(spec);
    return status;
}
