/*
 * What a person wants to know of a data set before training on it: how its numbers are spread, how its classes are
 * balanced, and what its pictures and their augmentations look like.
 *
 * Ownership: cyx_statistics_finish() frees; a zeroed struct is valid and empty. One thread.
 *
 *     struct cyx_statistics statistics = {0};
 *     status = cyx_data_measure(data, &data->train, 2000, &statistics, &err);
 */
#ifndef CYX_NN_DATA_INSPECT_H
#define CYX_NN_DATA_INSPECT_H

#include "nn/data/data.h"
#include "nn/data/image.h"

enum { CYX_STATISTICS_LIMIT = 64 };

/* Before any transform but ToTensor: bytes count from 0 to 1. */
struct cyx_statistics {
    int64_t n_rows; /* that were looked at */
    int64_t
        n_channels; /* of images; features of rows, or 1 for all where they are more than the limit */
    double mean[CYX_STATISTICS_LIMIT], std[CYX_STATISTICS_LIMIT]; /* std of the population */
    double least[CYX_STATISTICS_LIMIT], most[CYX_STATISTICS_LIMIT];
    int64_t *class_counts; /* (n_classes), of all rows; NULL without classes */
    /* Images that are files: the smallest and the largest height and width. */
    int64_t height[2], width[2];
};

/*
 * Looks at `limit` rows, evenly spread (0: at all). Files that cannot be decoded become faults of the data and are
 * passed over; CYX_ERR_CORRUPT when none can.
 */
enum cyx_status cyx_data_measure(const struct cyx_data *data, const struct cyx_data_part *part,
                                 int64_t limit, struct cyx_statistics *ret_statistics,
                                 struct cyx_error *ret_error);
void cyx_statistics_finish(struct cyx_statistics *self);

enum { CYX_SHEET_COLUMNS = 10, CYX_SHEET_LINES_LIMIT = 16 };

/*
 * A contact sheet: a line a class (the first CYX_SHEET_LINES_LIMIT of them), each with as many of its pictures as
 * there are columns. With `spec`, each line is one picture: first as evaluation sees it, then as training would in
 * one epoch after another, all before Normalize. `ret_lines` tells the class of each line (-1: none).
 * CYX_ERR_UNSUPPORTED for data without pictures.
 */
enum cyx_status cyx_data_sheet(const struct cyx_data *data, const struct cyx_data_part *part,
                               const struct cyx_data_spec *spec, uint64_t seed,
                               struct cyx_image *ret_sheet,
                               int32_t ret_lines[CYX_SHEET_LINES_LIMIT], size_t *ret_n_lines,
                               struct cyx_error *ret_error);

#endif
