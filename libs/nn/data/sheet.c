/* Contact sheets: pictures of a data set side by side, each scaled to its cell. */
#include <stdlib.h>
#include <string.h>

#include "nn/data/image_ops.h"
#include "nn/data/inspect.h"
#include "nn/data/pipeline.h"
#include "nn/data/private.h"

#include "base/banned.h"

enum { CELL = 96, GAP = 4, PAPER = 245 };

struct sheet {
    const struct cyx_data *data;
    const struct cyx_data_part *part;
    struct cyx_pipeline *original, *evaluation,
        *training; /* the last two NULL: pictures as they are */
    struct cyx_scratch *scratch;
    struct cyx_image picture, scaled, between, *paper;
    float *floats;
    struct cyx_error *error;
};

/* (C,H,W) floats from 0 to 1 as an RGB picture; grey and two channels show the first. */
static bool to_picture(struct sheet *self, const struct cyx_pipeline *pipeline)
{
    const struct cyx_sample_shape *sample = cyx_pipeline_sample(pipeline);
    int64_t plane = sample->dim[1] * sample->dim[2], channels = sample->dim[0];
    if (!cyx_image_reserve(&self->picture, sample->dim[1], sample->dim[2], 3))
        return false;
    for (int64_t i = 0; i < plane; i++) {
        for (int64_t c = 0; c < 3; c++) {
            float x = self->floats[(channels >= 3 ? c : 0) * plane + i] * 255.0f + 0.5f;
            self->picture.data[3 * i + c] = (uint8_t)(x > 0 ? (x < 255 ? x : 255) : 0);
        }
    }
    return true;
}

/* Small pictures grow by whole factors, pixel by pixel; large ones shrink. */
static bool scale(struct sheet *self)
{
    const struct cyx_image *picture = &self->picture;
    int64_t longer = picture->height > picture->width ? picture->height : picture->width;
    if (longer <= CELL) {
        int64_t factor = CELL / longer;
        return cyx_image_resize(picture, picture->height * factor, picture->width * factor,
                                CYX_NEAREST, &self->between, &self->scaled);
    }
    int64_t height = picture->height * CELL / longer, width = picture->width * CELL / longer;
    return cyx_image_resize(picture, height > 0 ? height : 1, width > 0 ? width : 1, CYX_BILINEAR,
                            &self->between, &self->scaled);
}

static void paste(struct sheet *self, int64_t line, int64_t column)
{
    const struct cyx_image *from = &self->scaled;
    int64_t top = GAP + line * (CELL + GAP) + (CELL - from->height) / 2;
    int64_t left = GAP + column * (CELL + GAP) + (CELL - from->width) / 2;
    for (int64_t y = 0; y < from->height; y++)
        memcpy(self->paper->data + 3 * ((top + y) * self->paper->width + left),
               from->data + 3 * y * from->width, (size_t)(3 * from->width));
}

/* A row that cannot be read leaves its cell empty: it is told of as a fault. */
static enum cyx_status show(struct sheet *self, const struct cyx_pipeline *pipeline, uint32_t row,
                            uint32_t epoch, int64_t line, int64_t column)
{
    if (cyx_pipeline_row(pipeline, self->part, row, epoch, self->scratch, self->floats, NULL) !=
        CYX_OK)
        return CYX_OK;
    if (!to_picture(self, pipeline) || !scale(self))
        return data_no_memory("a contact sheet", self->error);
    paste(self, line, column);
    return CYX_OK;
}

static bool is_broken(const struct cyx_data_part *part, int64_t row)
{
    return part->broken && atomic_load(&part->broken[row]);
}

/* The rows of class `label` (-1: any), from the first on. */
static int64_t next_row(const struct sheet *self, int64_t from, int32_t label)
{
    for (int64_t row = from; row < self->part->count; row++)
        if ((label < 0 || self->part->labels[row] == label) && !is_broken(self->part, row))
            return row;
    return -1;
}

static enum cyx_status draw_line(struct sheet *self, int64_t line, int32_t label, int64_t first)
{
    enum cyx_status status = CYX_OK;
    int64_t row = first;
    for (int64_t column = 0; status == CYX_OK && row >= 0 && column < CYX_SHEET_COLUMNS; column++) {
        if (!self->training) {
            status = show(self, self->original, (uint32_t)row, 0, line, column);
            row = next_row(self, row + 1, label);
        } else if (column == 0) {
            status = show(self, self->evaluation, (uint32_t)row, 0, line, column);
        } else {
            status = show(self, self->training, (uint32_t)row, (uint32_t)column - 1, line, column);
        }
    }
    return status;
}

/* Without classes, a line begins where the line before ended, or with the next picture. */
static enum cyx_status draw(struct sheet *self, size_t n_lines, const int32_t *lines)
{
    enum cyx_status status = CYX_OK;
    int64_t begin = 0;
    for (size_t line = 0; status == CYX_OK && line < n_lines; line++) {
        int64_t first = next_row(self, begin, lines[line]);
        if (first < 0 && lines[line] < 0)
            break;
        status = draw_line(self, (int64_t)line, lines[line], first);
        if (lines[line] < 0)
            begin = first + (self->training ? 1 : CYX_SHEET_COLUMNS);
    }
    return status;
}

static size_t choose_lines(const struct sheet *self, int32_t *ret_lines)
{
    int64_t n = self->part->labels ? self->data->n_classes : 4;
    n = n < CYX_SHEET_LINES_LIMIT ? n : CYX_SHEET_LINES_LIMIT;
    for (int64_t i = 0; i < n; i++)
        ret_lines[i] = self->part->labels ? (int32_t)i : -1;
    return (size_t)n;
}

/* The spec's transforms without Normalize, so that numbers stay colours. */
static enum cyx_status make_pipelines(struct sheet *self, const struct cyx_data_spec *spec,
                                      uint64_t seed)
{
    static const struct cyx_transform_spec plain[] = {
        {.type = CYX_TRANSFORM_RESIZE, .size = {CELL, 0}, .interpolation = CYX_BILINEAR},
        {.type = CYX_TRANSFORM_CENTER_CROP, .size = {CELL, CELL}},
        {.type = CYX_TRANSFORM_TO_TENSOR}};
    bool mixed = self->data->row.dim[1] == 0;
    struct cyx_data_spec bare = {.transforms = mixed ? plain : plain + 2,
                                 .n_transforms = mixed ? 3 : 1};
    if (!spec)
        return cyx_pipeline_create(self->data, &bare, false, 0, &self->original, self->error);
    bare = *spec;
    while (bare.n_transforms > 0 &&
           bare.transforms[bare.n_transforms - 1].type == CYX_TRANSFORM_NORMALIZE)
        bare.n_transforms--;
    enum cyx_status status =
        cyx_pipeline_create(self->data, &bare, false, seed, &self->evaluation, self->error);
    if (status == CYX_OK)
        status = cyx_pipeline_create(self->data, &bare, true, seed, &self->training, self->error);
    return status;
}

static enum cyx_status prepare(struct sheet *self, const struct cyx_data_spec *spec, uint64_t seed,
                               size_t n_lines)
{
    enum cyx_status status = make_pipelines(self, spec, seed);
    if (status != CYX_OK)
        return status;
    const struct cyx_pipeline *any = spec ? self->training : self->original;
    int64_t width = GAP + CYX_SHEET_COLUMNS * (CELL + GAP);
    int64_t height = GAP + (int64_t)n_lines * (CELL + GAP);
    self->scratch = cyx_scratch_create();
    self->floats = malloc((size_t)cyx_pipeline_elements(any) * sizeof(*self->floats));
    if (!self->scratch || !self->floats || !cyx_image_reserve(self->paper, height, width, 3))
        return data_no_memory("a contact sheet", self->error);
    memset(self->paper->data, PAPER, (size_t)(3 * height * width));
    return CYX_OK;
}

enum cyx_status cyx_data_sheet(const struct cyx_data *data, const struct cyx_data_part *part,
                               const struct cyx_data_spec *spec, uint64_t seed,
                               struct cyx_image *ret_sheet,
                               int32_t ret_lines[CYX_SHEET_LINES_LIMIT], size_t *ret_n_lines,
                               struct cyx_error *ret_error)
{
    if (data->row.rank != 3)
        return cyx_error_set(ret_error, CYX_ERR_UNSUPPORTED, "/data/dataset",
                             "%s has no pictures for a contact sheet", data->name);
    struct sheet self = {.data = data, .part = part, .paper = ret_sheet, .error = ret_error};
    size_t n_lines = choose_lines(&self, ret_lines);
    enum cyx_status status = prepare(&self, spec, seed, n_lines);
    if (status == CYX_OK)
        status = draw(&self, n_lines, ret_lines);
    if (status == CYX_OK)
        *ret_n_lines = n_lines;
    cyx_pipeline_destroy(self.original);
    cyx_pipeline_destroy(self.evaluation);
    cyx_pipeline_destroy(self.training);
    cyx_scratch_destroy(self.scratch);
    cyx_image_finish(&self.picture);
    cyx_image_finish(&self.scaled);
    cyx_image_finish(&self.between);
    free(self.floats);
    return status;
}
