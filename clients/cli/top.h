/*
 * What `cyxwiz top` shows: nodes and jobs as rows, sorted, and their cells as text. No terminal and no network here; top.c
 * fetches, top_screen.c draws.
 *
 * Ownership: a view is the caller's, zero-initialised before the first; top_view_finish() frees its rows. One thread at a time.
 */
#ifndef CYXWIZ_CLI_TOP_H
#define CYXWIZ_CLI_TOP_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TOP_TEXT_BYTES = 160, TOP_TABLES = 2 };

struct top_node {
    char id[40], name[TOP_TEXT_BYTES], status[16], walls[16];
    double jobs, cpu_percent, images_per_second, disk_free_bytes, received, sent;
    double memory_percent, gpu_percent, power_watts; /* negative: not known */
};

struct top_job {
    char id[40], name[TOP_TEXT_BYTES], state[16], node[TOP_TEXT_BYTES];
    double done; /* 0 to 1, negative: has not begun */
    double epoch, epochs, loss, images_per_second;
    double accuracy, seconds_left; /* negative: not known */
    int64_t rank;                  /* as the gateway listed it, newest first */
    char note[TOP_TEXT_BYTES];     /* why it waits, why it failed */
};

struct top_view {
    struct top_node *nodes;
    struct top_job *jobs;
    size_t n_nodes, n_jobs;
    size_t online, running, waiting; /* counted over all */
    char error[TOP_TEXT_BYTES]; /* of the last call; the rows are then those of the last good one */
    int64_t at_ms;              /* since 1970 */
};

/* Takes the rows from the answers of GET /nodes and /jobs (arrays). False when memory ran out: the view is as it was. */
bool top_view_read(struct top_view *view, const json_t *nodes, const json_t *jobs);
void top_view_finish(struct top_view *view);

/* A column; `optional` ones are shown where the terminal is wide. A width of 0: what is left. */
struct top_column {
    const char *title;
    int width;
    bool right, optional;
};
struct top_table {
    const char *name;
    const struct top_column *columns;
    size_t n_columns;
    size_t (*count)(const struct top_view *view);
    void (*sort)(struct top_view *view, size_t column, bool reversed);
    /* The cell's text; returns how warm it is: 0 plain, 1 good, 2 warm, 3 hot, 4 dim. */
    int (*cell)(const struct top_view *view, size_t row, size_t column,
                char ret_text[TOP_TEXT_BYTES]);
    /* A text that takes the place of the cells from `from` on, NULL: none. */
    const char *(*note)(const struct top_view *view, size_t row, size_t *ret_from);
};
extern const struct top_table top_tables[TOP_TABLES]; /* nodes, jobs */

/* The widths of a table's columns on a screen of `width` (0: not shown), one space between them. */
void top_widths(const struct top_table *table, int width, int *ret_widths);

#endif
