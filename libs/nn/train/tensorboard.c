#include "nn/train/tensorboard.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>

#include "base/buf.h"
#include "nn/format/tfevents.h"

#include "base/banned.h"

struct cyx_tensorboard {
    struct cyx_buf folder;
    const struct cyx_job_spec *spec;
    struct cyx_tfevents *events; /* NULL until training starts */
};

enum cyx_status cyx_tensorboard_open(const char *folder, const struct cyx_job_spec *spec,
                                     struct cyx_tensorboard **ret_board,
                                     struct cyx_error *ret_error)
{
    struct cyx_tensorboard *self = calloc(1, sizeof(*self));
    if (self)
        cyx_buf_puts(&self->folder, folder);
    if (!self || self->folder.failed) {
        cyx_tensorboard_close(self);
        return cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL, "no memory for event files");
    }
    self->spec = spec;
    *ret_board = self;
    return CYX_OK;
}

void cyx_tensorboard_close(struct cyx_tensorboard *self)
{
    if (!self)
        return;
    cyx_tfevents_close(self->events);
    cyx_buf_finish(&self->folder);
    free(self);
}

const char *cyx_tensorboard_path(const struct cyx_tensorboard *self)
{
    return self->events ? cyx_tfevents_path(self->events) : NULL;
}

/* The canonical spec, indented, as a block of code. */
static enum cyx_status write_spec(struct cyx_tensorboard *self, int64_t step,
                                  struct cyx_error *error)
{
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    json_t *spec = json_loads(self->spec->canonical, 0, NULL);
    char *pretty = spec ? json_dumps(spec, JSON_INDENT(2)) : NULL;
    cyx_buf_printf(&text, "```json\n%s\n```\n", pretty ? pretty : self->spec->canonical);
    free(pretty);
    json_decref(spec);
    if (text.failed)
        return cyx_error_set(error, CYX_ERR_NO_MEMORY, NULL, "no memory for event files");
    return cyx_tfevents_text(self->events, step, "spec", text.data, error);
}

static enum cyx_status start(struct cyx_tensorboard *self, const struct cyx_train_event *event,
                             struct cyx_error *error)
{
    cyx_tfevents_close(self->events);
    self->events = NULL;
    int64_t first_step = event->step > 0 ? event->step + 1 : 0;
    enum cyx_status status =
        cyx_tfevents_create(self->folder.data, first_step, &self->events, error);
    return status == CYX_OK ? write_spec(self, event->step, error) : status;
}

struct scalars {
    struct cyx_tfevents_scalar items[CYX_TFEVENTS_SCALARS_LIMIT];
    size_t count;
};

static void add(struct scalars *list, const char *tag, double value)
{
    list->items[list->count++] = (struct cyx_tfevents_scalar){tag, value};
}

/* The first, each `stride`th and the last. */
static bool is_kept(const struct cyx_train_event *event)
{
    int64_t stride = (event->total_steps + CYX_TENSORBOARD_POINTS - 1) / CYX_TENSORBOARD_POINTS;
    return stride <= 1 || event->step == 1 || event->step == event->total_steps ||
           event->step % stride == 0;
}

static enum cyx_status step(struct cyx_tensorboard *self, const struct cyx_train_event *event,
                            struct cyx_error *error)
{
    if (!is_kept(event))
        return CYX_OK;
    struct scalars list = {0};
    add(&list, "train/loss", event->loss);
    add(&list, "train/lr", event->lr);
    add(&list, "train/images_per_second", event->images_per_second);
    if (!isnan(event->accuracy))
        add(&list, "train/accuracy", event->accuracy);
    if (self->spec->clip.norm > 0)
        add(&list, "train/grad_norm", event->grad_norm);
    return cyx_tfevents_scalars(self->events, event->step, list.items, list.count, error);
}

static enum cyx_status epoch(struct cyx_tensorboard *self, const struct cyx_train_event *event,
                             struct cyx_error *error)
{
    struct scalars list = {0};
    add(&list, "eval/loss", event->eval_loss);
    if (!isnan(event->eval_accuracy))
        add(&list, "eval/accuracy", event->eval_accuracy);
    return cyx_tfevents_scalars(self->events, event->step, list.items, list.count, error);
}

enum cyx_status cyx_tensorboard_event(struct cyx_tensorboard *self,
                                      const struct cyx_train_event *event,
                                      struct cyx_error *ret_error)
{
    if (event->kind == CYX_TRAIN_STARTED)
        return start(self, event, ret_error);
    if (!self->events)
        return CYX_OK;
    switch (event->kind) {
    case CYX_TRAIN_STEP:
        return step(self, event, ret_error);
    case CYX_TRAIN_EPOCH:
        return epoch(self, event, ret_error);
    case CYX_TRAIN_CHECKPOINT: /* the curve is as durable as what goes on from there */
        return cyx_tfevents_sync(self->events, ret_error);
    default:
        return CYX_OK;
    }
}
