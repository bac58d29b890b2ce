#include "nn/data/pipeline.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "contract/data_shape.h"
#include "nn/data/image_ops.h"
#include "nn/data/private.h"
#include "nn/data/view.h"
#include "nn/tensor/philox.h"

#include "base/banned.h"

enum { WORDS_A_TRANSFORM = 16 };

struct step {
    struct cyx_transform_spec spec;
    uint32_t index; /* in the spec: which words of the generator are its own */
};

struct cyx_pipeline {
    const struct cyx_data *data;
    uint64_t seed;
    struct step steps[CYX_TRANSFORMS_LIMIT]; /* of images, before ToTensor */
    size_t n_steps;
    struct cyx_transform_spec normalize[CYX_TRANSFORMS_LIMIT];
    size_t n_normalize;
    struct view_table table; /* ToTensor and Normalize of bytes */
    struct cyx_sample_shape sample;
};

struct cyx_scratch {
    struct cyx_image decoded, spare[2], between;
    int last; /* which spare the view may lie in */
    struct cyx_buf file;
};

/* ---- creation ---- */

static enum cyx_status refuse(size_t index, struct cyx_error *error, const char *name,
                              const char *why)
{
    char pointer[48];
    snprintf(pointer, sizeof(pointer), "/data/transforms/%zu", index);
    return cyx_error_set(error, CYX_ERR_INVALID, pointer, "%s %s", name, why);
}

static enum cyx_status check_transform(const struct cyx_data *data, size_t index,
                                       const struct cyx_transform_spec *t, struct cyx_error *error)
{
    const char *name = cyx_transform_name(t->type);
    bool bytes = data->train.kind != CYX_ROWS_FLOATS;
    bool moves = t->type == CYX_TRANSFORM_CENTER_CROP || t->type == CYX_TRANSFORM_RANDOM_CROP ||
                 t->type == CYX_TRANSFORM_RANDOM_HORIZONTAL_FLIP ||
                 t->type == CYX_TRANSFORM_RANDOM_VERTICAL_FLIP;
    int64_t channels = data->row.rank > 1 ? data->row.dim[0] : 1;
    if (cyx_transform_is_of_images(t->type) && data->row.rank != 3)
        return refuse(index, error, name, "works on images, the data have none");
    if (cyx_transform_is_of_images(t->type) && !moves && !bytes)
        return refuse(index, error, name,
                      "works on images of bytes, the data's are floats: give them as uint8");
    if (t->type == CYX_TRANSFORM_COLOR_JITTER && channels != 1 && channels != 3)
        return refuse(index, error, name, "works on images of one or three channels");
    if (t->type == CYX_TRANSFORM_NORMALIZE && t->n_channels != 0 &&
        (int64_t)t->n_channels != channels)
        return refuse(index, error, name, "has numbers for other channels than the data have");
    return CYX_OK;
}

/* What the evaluation leaves out or does in another way. */
static bool keep_step(struct cyx_transform_spec *t, bool training)
{
    if (training)
        return true;
    if (t->type == CYX_TRANSFORM_RANDOM_CROP)
        t->type = CYX_TRANSFORM_CENTER_CROP;
    return t->type == CYX_TRANSFORM_CENTER_CROP || t->type == CYX_TRANSFORM_RESIZE;
}

static enum cyx_status take_transforms(struct cyx_pipeline *self, const struct cyx_data_spec *spec,
                                       bool training, struct cyx_error *error)
{
    for (size_t i = 0; i < spec->n_transforms; i++) {
        struct step step = {.spec = spec->transforms[i], .index = (uint32_t)i};
        enum cyx_status status = check_transform(self->data, i, &step.spec, error);
        if (status != CYX_OK)
            return status;
        if (step.spec.type == CYX_TRANSFORM_NORMALIZE)
            self->normalize[self->n_normalize++] = step.spec;
        else if (cyx_transform_is_of_images(step.spec.type) && keep_step(&step.spec, training))
            self->steps[self->n_steps++] = step;
    }
    return CYX_OK;
}

/* Files of several sizes must all become one. */
static enum cyx_status shape_of_files(const struct cyx_data *data, const struct cyx_data_spec *spec,
                                      const struct cyx_data_part *part,
                                      struct cyx_image_shape *shape, struct cyx_error *error)
{
    for (int64_t i = 0; i < part->count; i++) {
        const struct cyx_image_file *file = &part->files[i];
        struct cyx_image_shape one = {data->row.dim[0], file->height, file->width};
        enum cyx_status status =
            cyx_transforms_shape(spec->transforms, spec->n_transforms, &one, error);
        if (status != CYX_OK)
            return status;
        if (shape->height == 0)
            *shape = one;
        if (one.height != shape->height || one.width != shape->width)
            return cyx_error_set(error, CYX_ERR_INVALID, "/data/transforms",
                                 "images become %lldx%lld and %lldx%lld (%s): add Resize with "
                                 "[height, width], or a crop behind it",
                                 (long long)shape->height, (long long)shape->width,
                                 (long long)one.height, (long long)one.width, file->path);
    }
    return CYX_OK;
}

static enum cyx_status find_sample(struct cyx_pipeline *self, const struct cyx_data_spec *spec,
                                   struct cyx_error *error)
{
    const struct cyx_data *data = self->data;
    struct cyx_sample_shape *sample = &self->sample;
    *sample = (struct cyx_sample_shape){.rank = data->row.rank,
                                        .target = data->target,
                                        .n_classes = data->n_classes,
                                        .n_targets = data->n_targets};
    memcpy(sample->dim, data->row.dim, sizeof(sample->dim));
    if (data->row.rank != 3)
        return CYX_OK;
    struct cyx_image_shape shape = {data->row.dim[0], data->row.dim[1], data->row.dim[2]};
    enum cyx_status status;
    if (shape.height > 0) {
        status = cyx_transforms_shape(spec->transforms, spec->n_transforms, &shape, error);
    } else {
        status = shape_of_files(data, spec, &data->train, &shape, error);
        if (status == CYX_OK)
            status = shape_of_files(data, spec, &data->test, &shape, error);
    }
    sample->dim[1] = shape.height;
    sample->dim[2] = shape.width;
    return status;
}

enum cyx_status cyx_pipeline_create(const struct cyx_data *data, const struct cyx_data_spec *spec,
                                    bool training, uint64_t seed,
                                    struct cyx_pipeline **ret_pipeline, struct cyx_error *ret_error)
{
    struct cyx_pipeline *self = calloc(1, sizeof(*self));
    if (!self)
        return data_no_memory("the transforms", ret_error);
    self->data = data;
    self->seed = seed;
    enum cyx_status status = take_transforms(self, spec, training, ret_error);
    if (status == CYX_OK)
        status = find_sample(self, spec, ret_error);
    if (status != CYX_OK) {
        cyx_pipeline_destroy(self);
        return status;
    }
    view_table_init(&self->table, self->normalize, self->n_normalize);
    *ret_pipeline = self;
    return CYX_OK;
}

void cyx_pipeline_destroy(struct cyx_pipeline *self)
{
    free(self);
}

const struct cyx_sample_shape *cyx_pipeline_sample(const struct cyx_pipeline *self)
{
    return &self->sample;
}

int64_t cyx_pipeline_elements(const struct cyx_pipeline *self)
{
    int64_t elements = 1;
    for (int i = 0; i < self->sample.rank; i++)
        elements *= self->sample.dim[i];
    return elements;
}

bool cyx_pipeline_is_heavy(const struct cyx_pipeline *self)
{
    bool heavy = self->data->train.kind == CYX_ROWS_FILES;
    for (size_t i = 0; i < self->n_steps; i++) {
        enum cyx_transform_type type = self->steps[i].spec.type;
        heavy = heavy || type == CYX_TRANSFORM_RESIZE || type == CYX_TRANSFORM_RANDOM_ROTATION ||
                type == CYX_TRANSFORM_COLOR_JITTER;
    }
    return heavy;
}

/* ---- scratch ---- */

struct cyx_scratch *cyx_scratch_create(void)
{
    return calloc(1, sizeof(struct cyx_scratch));
}

void cyx_scratch_destroy(struct cyx_scratch *self)
{
    if (!self)
        return;
    cyx_image_finish(&self->decoded);
    cyx_image_finish(&self->spare[0]);
    cyx_image_finish(&self->spare[1]);
    cyx_image_finish(&self->between);
    cyx_buf_finish(&self->file);
    free(self);
}

static struct cyx_image *spare(struct cyx_scratch *scratch)
{
    scratch->last = 1 - scratch->last;
    return &scratch->spare[scratch->last];
}

/* The view's bytes as an image that may be written to; NULL when memory ran out. */
static struct cyx_image *own(struct view *view, struct cyx_scratch *scratch)
{
    if (!view->image) {
        struct cyx_image *image = spare(scratch);
        if (!view_copy(view, image))
            return NULL;
        view_of_image(view, image);
    }
    return view->image;
}

/* ---- what is drawn ---- */

struct draw {
    struct cyx_philox key;
    uint32_t first; /* word of this transform */
};

static uint32_t draw_word(const struct draw *draw, uint32_t index)
{
    return cyx_philox_word(&draw->key, draw->first + index);
}

static int64_t draw_below(const struct draw *draw, uint32_t index, int64_t n)
{
    return (int64_t)((uint64_t)draw_word(draw, index) * (uint64_t)n >> 32);
}

/* In [0, 1). */
static double draw_unit(const struct draw *draw, uint32_t index)
{
    return draw_word(draw, index) * 0x1p-32;
}

static double draw_range(const struct draw *draw, uint32_t index, const double range[2])
{
    return range[0] + (range[1] - range[0]) * draw_unit(draw, index);
}

/* ---- steps ---- */

static bool resize(struct view *view, const struct cyx_transform_spec *t,
                   struct cyx_scratch *scratch)
{
    int64_t size[2];
    cyx_resize_shape(t, view->height, view->width, size);
    size[0] = size[0] > 0 ? size[0] : 1;
    size[1] = size[1] > 0 ? size[1] : 1;
    if (size[0] == view->height && size[1] == view->width)
        return true;
    struct cyx_image *from = own(view, scratch), *to = spare(scratch);
    if (!from || !cyx_image_resize(from, size[0], size[1], t->interpolation, &scratch->between, to))
        return false;
    view_of_image(view, to);
    return true;
}

/* The part of the view from (top, left) on, which may begin or end outside of it. */
static bool crop(struct view *view, const struct cyx_transform_spec *t, int64_t top, int64_t left,
                 struct cyx_scratch *scratch)
{
    bool inside = top >= 0 && left >= 0 && top + t->size[0] <= view->height &&
                  left + t->size[1] <= view->width;
    if (inside) {
        view_crop(view, top, left, t->size[0], t->size[1]);
        return true;
    }
    struct cyx_image *to = spare(scratch);
    return view_crop_padded(view, top, left, t->size[0], t->size[1], (uint8_t)t->fill, to);
}

/* torchvision's place: the half rounded to even; the border of a smaller image is larger right and below. */
static bool center_crop(struct view *view, const struct cyx_transform_spec *t,
                        struct cyx_scratch *scratch)
{
    int64_t place[2], size[2] = {view->height, view->width};
    for (int i = 0; i < 2; i++) {
        int64_t border = t->size[i] > size[i] ? (t->size[i] - size[i]) / 2 : 0;
        int64_t padded = t->size[i] > size[i] ? t->size[i] : size[i];
        place[i] = (int64_t)rint((double)(padded - t->size[i]) / 2) - border;
    }
    struct cyx_transform_spec black = *t;
    black.fill = 0;
    return crop(view, &black, place[0], place[1], scratch);
}

static bool random_crop(struct view *view, const struct cyx_transform_spec *t,
                        const struct draw *draw, struct cyx_scratch *scratch)
{
    int64_t place[2], size[2] = {view->height, view->width};
    for (int i = 0; i < 2; i++) {
        int64_t padded = size[i] + 2 * t->padding, border = t->padding;
        if (padded < t->size[i]) { /* pad_if_needed: the difference on both sides */
            border += t->size[i] - padded;
            padded += 2 * (t->size[i] - padded);
        }
        place[i] = draw_below(draw, (uint32_t)i, padded - t->size[i] + 1) - border;
    }
    return crop(view, t, place[0], place[1], scratch);
}

static bool rotate(struct view *view, const struct cyx_transform_spec *t, const struct draw *draw,
                   struct cyx_scratch *scratch)
{
    struct cyx_image *from = own(view, scratch), *to = spare(scratch);
    double degrees = draw_range(draw, 0, t->degrees);
    if (!from || !cyx_image_rotate(from, degrees, t->interpolation, (uint8_t)t->fill, to))
        return false;
    view_of_image(view, to);
    return true;
}

static bool jitter(struct view *view, const struct cyx_transform_spec *t, const struct draw *draw,
                   struct cyx_scratch *scratch)
{
    struct cyx_image *image = own(view, scratch);
    int order[4] = {0, 1, 2, 3};
    if (!image)
        return false;
    for (int i = 3; i > 0; i--) {
        int64_t j = draw_below(draw, (uint32_t)i, i + 1);
        int kept = order[i];
        order[i] = order[j];
        order[j] = kept;
    }
    for (int i = 0; i < 4; i++) {
        if (order[i] == 0)
            cyx_image_brightness(image, draw_range(draw, 4, t->brightness));
        else if (order[i] == 1)
            cyx_image_contrast(image, draw_range(draw, 5, t->contrast));
        else if (order[i] == 2)
            cyx_image_saturation(image, draw_range(draw, 6, t->saturation));
        else if (t->hue[0] != 0 || t->hue[1] != 0)
            cyx_image_hue(image, draw_range(draw, 7, t->hue));
    }
    return true;
}

static bool apply(struct view *view, const struct step *step, const struct draw *draw,
                  struct cyx_scratch *scratch)
{
    const struct cyx_transform_spec *t = &step->spec;
    switch (t->type) {
    case CYX_TRANSFORM_RESIZE:
        return resize(view, t, scratch);
    case CYX_TRANSFORM_CENTER_CROP:
        return center_crop(view, t, scratch);
    case CYX_TRANSFORM_RANDOM_CROP:
        return random_crop(view, t, draw, scratch);
    case CYX_TRANSFORM_RANDOM_HORIZONTAL_FLIP:
        if (draw_unit(draw, 0) < t->p)
            view_flip_columns(view);
        return true;
    case CYX_TRANSFORM_RANDOM_VERTICAL_FLIP:
        if (draw_unit(draw, 0) < t->p)
            view_flip_rows(view);
        return true;
    case CYX_TRANSFORM_RANDOM_ROTATION:
        return rotate(view, t, draw, scratch);
    case CYX_TRANSFORM_COLOR_JITTER:
        return jitter(view, t, draw, scratch);
    case CYX_TRANSFORM_TO_TENSOR:
    case CYX_TRANSFORM_NORMALIZE:
        break;
    }
    return true;
}

/* ---- rows ---- */

static enum cyx_status decode(const struct cyx_pipeline *self, const struct cyx_image_file *file,
                              struct cyx_scratch *scratch, struct cyx_error *error)
{
    cyx_buf_clear(&scratch->file);
    enum cyx_status status =
        cyx_buf_read_file(&scratch->file, file->path, CYX_IMAGE_FILE_LIMIT_BYTES, error);
    if (status == CYX_OK)
        status = cyx_image_decode(scratch->file.data, scratch->file.length,
                                  (int)self->data->row.dim[0], &scratch->decoded, error);
    if (status == CYX_OK &&
        (scratch->decoded.height != file->height || scratch->decoded.width != file->width))
        status = cyx_error_set(error, CYX_ERR_CORRUPT, NULL, "it changed while it was used");
    return status;
}

static enum cyx_status open_row(const struct cyx_pipeline *self, const struct cyx_data_part *part,
                                uint32_t row, struct cyx_scratch *scratch, struct view *view,
                                struct cyx_error *error)
{
    if (part->kind != CYX_ROWS_FILES) {
        view_of_row(view, &self->data->row, part, row);
        return CYX_OK;
    }
    struct cyx_error why = {0};
    enum cyx_status status = CYX_ERR_CORRUPT;
    if (!atomic_load_explicit(&part->broken[row], memory_order_relaxed)) {
        status = decode(self, &part->files[row], scratch, &why);
        if (status != CYX_OK && !atomic_exchange(&part->broken[row], 1))
            data_fault(self->data, part->files[row].path, why.message);
    }
    if (status != CYX_OK)
        return cyx_error_set(error, CYX_ERR_CORRUPT, "/data/dataset", "%s could not be read",
                             part->files[row].path);
    view_of_image(view, &scratch->decoded);
    return CYX_OK;
}

enum cyx_status cyx_pipeline_row(const struct cyx_pipeline *self, const struct cyx_data_part *part,
                                 uint32_t row, uint32_t epoch, struct cyx_scratch *scratch,
                                 float *ret_input, struct cyx_error *ret_error)
{
    struct view view = {0};
    enum cyx_status status = open_row(self, part, row, scratch, &view, ret_error);
    if (status != CYX_OK)
        return status;
    struct draw draw = {
        .key = {.seed = self->seed, .step = epoch, .stream = row, .purpose = CYX_PHILOX_AUGMENT}};
    for (size_t i = 0; i < self->n_steps; i++) {
        draw.first = self->steps[i].index * WORDS_A_TRANSFORM;
        if (!apply(&view, &self->steps[i], &draw, scratch))
            return data_no_memory("an image", ret_error);
    }
    if (view.floats)
        view_write_floats(&view, self->normalize, self->n_normalize, ret_input);
    else
        view_write_bytes(&view, &self->table, ret_input);
    return CYX_OK;
}
