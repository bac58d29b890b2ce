#include "nn/data/view.h"

#include <string.h>

#include "base/banned.h"

static float normalized(const struct cyx_transform_spec *normalize, size_t n, float x,
                        int64_t channel)
{
    for (size_t i = 0; i < n; i++) {
        int64_t c = normalize[i].n_channels == 0 ? 0 : channel;
        x = (x - (float)normalize[i].mean[c]) / (float)normalize[i].std[c];
    }
    return x;
}

void view_table_init(struct view_table *self, const struct cyx_transform_spec *normalize,
                     size_t n_normalize)
{
    for (int64_t c = 0; c < CYX_CHANNELS_LIMIT; c++)
        for (int byte = 0; byte < 256; byte++)
            self->value[c][byte] = normalized(normalize, n_normalize, (float)byte / 255.0f, c);
}

/* (F) is one channel of one line, (C,L) is C channels of one line. */
void view_of_row(struct view *self, const struct cyx_row_shape *shape,
                 const struct cyx_data_part *part, uint32_t row)
{
    int64_t channels = shape->rank > 1 ? shape->dim[0] : 1;
    int64_t height = shape->rank == 3 ? shape->dim[1] : 1;
    int64_t width = shape->dim[shape->rank - 1];
    size_t begin = (size_t)row * (size_t)(channels * height * width);
    *self = (struct view){.height = height, .width = width, .channels = channels};
    if (part->kind == CYX_ROWS_BYTES)
        self->bytes = part->bytes + begin;
    else
        self->floats = part->floats + begin;
    self->pixel = shape->channels_last ? channels : 1;
    self->row = width * self->pixel;
    self->channel = shape->channels_last ? 1 : height * width;
}

void view_of_image(struct view *self, struct cyx_image *image)
{
    *self = (struct view){.bytes = image->data,
                          .height = image->height,
                          .width = image->width,
                          .channels = image->channels,
                          .row = image->width * image->channels,
                          .pixel = image->channels,
                          .channel = 1,
                          .image = image};
}

static void move(struct view *self, ptrdiff_t elements)
{
    if (self->floats)
        self->floats += elements;
    else
        self->bytes += elements;
}

void view_crop(struct view *self, int64_t top, int64_t left, int64_t height, int64_t width)
{
    if (height != self->height || width != self->width)
        self->image = NULL;
    move(self, top * self->row + left * self->pixel);
    self->height = height;
    self->width = width;
}

void view_flip_rows(struct view *self)
{
    move(self, (self->height - 1) * self->row);
    self->row = -self->row;
    self->image = NULL;
}

void view_flip_columns(struct view *self)
{
    move(self, (self->width - 1) * self->pixel);
    self->pixel = -self->pixel;
    self->image = NULL;
}

/* Copies the view's bytes to where `to` begins, a line every `line` bytes. */
static void copy_bytes(const struct view *self, uint8_t *to, int64_t line)
{
    for (int64_t y = 0; y < self->height; y++) {
        const uint8_t *from = self->bytes + y * self->row;
        uint8_t *out = to + y * line;
        if (self->channel == 1 && self->pixel == self->channels) {
            memcpy(out, from, (size_t)(self->width * self->channels));
            continue;
        }
        for (int64_t x = 0; x < self->width; x++, from += self->pixel)
            for (int64_t c = 0; c < self->channels; c++)
                *out++ = from[c * self->channel];
    }
}

bool view_copy(const struct view *self, struct cyx_image *to)
{
    if (!cyx_image_reserve(to, self->height, self->width, (int)self->channels))
        return false;
    copy_bytes(self, to->data, self->width * self->channels);
    return true;
}

static int64_t limited(int64_t x, int64_t least, int64_t most)
{
    return x < least ? least : x > most ? most : x;
}

/* Floats lie in the image's bytes, (C,H,W): it has four times the width then. */
static bool pad_floats(struct view *self, const struct view *inside, int64_t y0, int64_t x0,
                       int64_t height, int64_t width, float fill, struct cyx_image *to)
{
    int64_t plane = height * width;
    if (!cyx_image_reserve(to, height * self->channels, width * (int64_t)sizeof(float), 1))
        return false;
    float *out = (float *)(void *)to->data;
    for (int64_t i = 0; i < plane * self->channels; i++)
        out[i] = fill;
    for (int64_t c = 0; c < self->channels; c++)
        for (int64_t y = 0; y < inside->height; y++)
            for (int64_t x = 0; x < inside->width; x++)
                out[c * plane + (y0 + y) * width + x0 + x] =
                    inside->floats[c * inside->channel + y * inside->row + x * inside->pixel];
    *self = (struct view){.floats = out,
                          .height = height,
                          .width = width,
                          .channels = self->channels,
                          .row = width,
                          .pixel = 1,
                          .channel = plane};
    return true;
}

bool view_crop_padded(struct view *self, int64_t top, int64_t left, int64_t height, int64_t width,
                      uint8_t fill, struct cyx_image *to)
{
    int64_t y0 = limited(top, 0, self->height), y1 = limited(top + height, 0, self->height);
    int64_t x0 = limited(left, 0, self->width), x1 = limited(left + width, 0, self->width);
    struct view inside = *self;
    view_crop(&inside, y0, x0, y1 - y0, x1 - x0);
    if (self->floats)
        return pad_floats(self, &inside, y0 - top, x0 - left, height, width, fill, to);
    int64_t line = width * self->channels;
    if (!cyx_image_reserve(to, height, width, (int)self->channels))
        return false;
    memset(to->data, fill, (size_t)(height * line));
    copy_bytes(&inside, to->data + (y0 - top) * line + (x0 - left) * self->channels, line);
    view_of_image(self, to);
    return true;
}

static void write_plane(const struct view *self, const float *table, const uint8_t *from, float *to)
{
    bool whole = self->pixel == 1 && self->row == self->width;
    int64_t lines = whole ? 1 : self->height;
    int64_t width = whole ? self->height * self->width : self->width;
    for (int64_t y = 0; y < lines; y++, to += width) {
        const uint8_t *line = from + y * self->row;
        for (int64_t x = 0; x < width; x++)
            to[x] = table[line[x * self->pixel]];
    }
}

/* Three interleaved channels in one pass. */
static void write_rgb(const struct view *self, const struct view_table *table, float *to)
{
    int64_t plane = self->height * self->width;
    const float *red = table->value[0], *green = table->value[1], *blue = table->value[2];
    for (int64_t y = 0; y < self->height; y++) {
        const uint8_t *pixel = self->bytes + y * self->row;
        for (int64_t x = 0; x < self->width; x++, pixel += self->pixel, to++) {
            to[0] = red[pixel[0]];
            to[plane] = green[pixel[1]];
            to[2 * plane] = blue[pixel[2]];
        }
    }
}

void view_write_bytes(const struct view *self, const struct view_table *table, float *to)
{
    if (self->channels == 3 && self->channel == 1) {
        write_rgb(self, table, to);
        return;
    }
    int64_t plane = self->height * self->width;
    for (int64_t c = 0; c < self->channels; c++)
        write_plane(self, table->value[c], self->bytes + c * self->channel, to + c * plane);
}

void view_write_floats(const struct view *self, const struct cyx_transform_spec *normalize,
                       size_t n_normalize, float *to)
{
    bool whole =
        self->pixel == 1 && self->row == self->width && self->channel == self->height * self->width;
    if (whole && n_normalize == 0) {
        memcpy(to, self->floats,
               (size_t)(self->channels * self->height * self->width) * sizeof(float));
        return;
    }
    for (int64_t c = 0; c < self->channels; c++) {
        for (int64_t y = 0; y < self->height; y++) {
            const float *line = self->floats + c * self->channel + y * self->row;
            for (int64_t x = 0; x < self->width; x++)
                *to++ = normalized(normalize, n_normalize, line[x * self->pixel], c);
        }
    }
}
