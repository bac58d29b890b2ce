/*
 * What a person points at to ask a model about it, as rows of data:
 *
 *   photo.jpg, digit.png       an image; grey or RGB, as the model wants it
 *   images.npy                 an array: one sample, or (N, …) samples; bytes are images, floats are taken as they are
 *   t10k-images-idx3-ubyte     an IDX file of images
 *   fashion-mnist              the test part of a set of the catalogue; "fashion-mnist/train" its training part
 *
 * Behind all but images may stand which rows: ":7", ":0-9", ":3,10-19"; else all. What a file is, its first bytes
 * say, not its name.
 *
 * An array is one sample when its shape is the sample's (for grey images (H,W) too). Images of an array lie
 * (C,H,W), or (H,W,C) where only that fits the sample's channels.
 *
 * Ownership: cyx_input_finish() frees; a zeroed struct is valid and empty. Immutable after opening: any thread.
 *
 *     struct cyx_input input = {0};
 *     status = cyx_input_open("fashion-mnist:0-9", &options, &input, &err);
 *     status = cyx_pipeline_create(input.data, &spec->data, false, 0, &pipeline, &err);
 *     status = cyx_pipeline_row(pipeline, input.part, input.rows[i], 0, scratch, sample, &err);
 */
#ifndef CYX_NN_DATA_INPUT_H
#define CYX_NN_DATA_INPUT_H

#include "nn/data/data.h"

struct cyx_input_options {
    const char *data_dir;           /* where the catalogue's sets lie */
    struct cyx_sample_shape sample; /* what the model gets */
    bool
        resize; /* images are first brought to the sample's height and width (bilinear, as torchvision) */
};

struct cyx_input {
    struct cyx_data *data;
    const struct cyx_data_part *part; /* of data */
    uint32_t *rows;
    size_t n_rows;
    bool is_one;            /* a sample by itself: its name is the word, without a row */
    struct cyx_data *owner; /* private: what `data` borrows from */
    uint8_t *pixels;        /* private */
};

/*
 * CYX_ERR_NOT_FOUND for no such file or set; CYX_ERR_INVALID for rows that are not there; CYX_ERR_CORRUPT for a file
 * that is none of these, or broken. The sentence names the word.
 */
enum cyx_status cyx_input_open(const char *word, const struct cyx_input_options *options,
                               struct cyx_input *ret_input, struct cyx_error *ret_error);
void cyx_input_finish(struct cyx_input *self);

#endif
