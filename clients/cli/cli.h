/*
 * The `cyxwiz` command: what its parts share. A command is a row of the table in commands.c: its words, options, help
 * and function; parsing, --help and shell completion are made from that one table.
 *
 * Exit codes: 0 done; 1 it was done and failed (a job that failed, say); 2 wrong usage; 3 no such thing; 4 not signed in or
 * not allowed; 5 a server or device is away; 6 the input is not valid; 130 interrupted.
 *
 * One thread. Functions that fail fill the error and leave printing to main.
 */
#ifndef CYX_CLI_CLI_H
#define CYX_CLI_CLI_H

#include <jansson.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/status.h"
#include "contract/job_spec.h"
#include "http/client.h"
#include "nn/data/data.h"

enum cli_exit {
    CLI_OK = 0,
    CLI_FAILED = 1,
    CLI_USAGE = 2,
    CLI_NOT_FOUND = 3,
    CLI_DENIED = 4,
    CLI_AWAY = 5,
    CLI_INVALID = 6,
    CLI_INTERRUPTED = 130
};

enum { CLI_OPTIONS_LIMIT = 12 };

struct cli_option {
    const char *name;    /* "data-dir" */
    char letter;         /* 0: none */
    const char *metavar; /* NULL: a switch */
    const char *help;
    const char *choices; /* words with spaces between, for checking and completion; NULL: any */
};

struct cli;

struct cli_command {
    const char *words;     /* "job submit" */
    const char *arguments; /* "SPEC"; "[ID]" is optional; "INPUT..." one or more; "" none */
    const char *summary;
    const char *example;
    const struct cli_option *options; /* up to one without a name; may be NULL */
    enum cyx_status (*run)(struct cli *cli, struct cyx_error *err);
    const char *details; /* more about the arguments, lines with their ends; NULL: nothing to add */
};

struct cli {
    const struct cli_command *command;
    const char *group; /* "job" when help was asked about all its commands */
    const char
        *values[CLI_OPTIONS_LIMIT]; /* of command->options by row; "" for a switch that is set */
    const char *const *arguments;   /* behind the last one stands NULL */
    size_t n_arguments;
    bool json;
    bool failed; /* the call worked and what it asked about had failed: exit code 1 */
    bool usage;  /* what failed is how it was called: exit code 2 */
    const char *url_option, *token_option, *ca_option;
    char *url, *token, *ca; /* found by cli_open_http() */
    struct cyx_http_client *http;
};

extern const struct cli_command cli_commands[];
extern const size_t cli_commands_count;

/* The option's value, NULL when it was not given. The name must be one of the command's. */
const char *cli_value(const struct cli *cli, const char *name);

/* The option as a number in [min, max]; `ret_value` stays as it is where it was not given. */
enum cyx_status cli_whole_number(struct cli *cli, const char *name, int64_t min, int64_t max,
                                 int64_t *ret_value, struct cyx_error *err);

/* Set by SIGINT and SIGTERM. */
extern volatile sig_atomic_t cli_interrupted;
extern atomic_bool cli_cancel;

/* args.c: fills `cli`; CYX_ERR_INVALID with what is wrong; `ret_help` when help was asked for. The options that every
 * command takes may stand before the command too. */
enum cyx_status cli_parse(struct cli *cli, int argc, char **argv, bool *ret_help,
                          struct cyx_error *err);
/* Of the command; else of its group ("job"); else of all. */
void cli_print_help(const struct cli *cli);

/* remote.c: the spec and the gateway. */
/* Reads a spec and judges it whole, shapes too, by the very code that the gateway runs: no round trip for a mistake.
 * Of data on this machine the shape is known once they were opened: sample.rank is 0 until then. */
enum cyx_status cli_read_spec(const char *path, struct cyx_buf *ret_text,
                              struct cyx_job_spec **ret_spec, struct cyx_error *err);
enum cyx_status cli_open_http(struct cli *cli, struct cyx_error *err);
/* One call; `body` (taken, may be NULL) as JSON; the answer's JSON is the caller's. A status of 400 and up is a failure. */
enum cyx_status cli_call(struct cli *cli, const char *method, const char *path, json_t *body,
                         json_t **ret_json, struct cyx_error *err);
/* The items of a list of the gateway, page by page, at most `limit` (from 1): the array `member` of its answers joined.
 * `path` may hold a query. The array is the caller's. */
enum cyx_status cli_call_list(struct cli *cli, const char *path, const char *member, size_t limit,
                              json_t **ret_items, struct cyx_error *err);
void cli_close(struct cli *cli);
/* .cyxwiz/<name> here or in the nearest folder above: of the local stack that `make up` laid there. False: none. */
bool cli_find_stack(const char *name, struct cyx_buf *ret_path);
/* Percent-encodes one part of a path. */
void cli_append_part(struct cyx_buf *path, const char *part);
/* Where the gateway is, the key, and its authority's file if it has one of its own. */
enum cyx_status cli_save_client(const struct cli *cli, const char *token, char *ret_path,
                                size_t size, struct cyx_error *err);

/* output.c */
bool cli_is_terminal(FILE *stream);
/* Indented on a terminal. */
void cli_print_json(const json_t *json);
/* On one line always, for a stream of them. */
void cli_print_json_line(const json_t *json);
const char *cli_text(const json_t *object, const char *key); /* "" where there is none */
double cli_number(const json_t *object, const char *key);

struct cli_column {
    const char *title;
    int width;
};
/* Cells are cut to their width; the last column is not. */
void cli_print_row(const struct cli_column *columns, const char *const *cells, size_t count);
void cli_print_titles(const struct cli_column *columns, size_t count);

/* table.c: a table whose columns are as wide as their widest cell. */
struct cli_table_column {
    const char *title;
    bool right; /* numbers */
};
struct cli_table {
    const struct cli_table_column *columns;
    size_t n_columns;
    struct cyx_arena arena;
    char **cells; /* row by row */
    size_t n_cells, capacity;
    bool failed; /* memory ran out */
};
void cli_table_init(struct cli_table *table, const struct cli_table_column *columns,
                    size_t n_columns);
/* The next cell, row by row. */
void cli_table_add(struct cli_table *table, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Prints the table; CYX_ERR_NO_MEMORY when a cell could not be kept. */
enum cyx_status cli_table_print(const struct cli_table *table, struct cyx_error *err);
void cli_table_finish(struct cli_table *table);
#define CLI_CLEANUP_TABLE __attribute__((cleanup(cli_table_finish)))

enum { CLI_AMOUNT_BYTES = 32 };
/* "18,496"; "1.25 M" (thousands); "40.1 MiB" */
void cli_format_count(int64_t count, char ret_text[CLI_AMOUNT_BYTES]);
void cli_format_short(int64_t count, char ret_text[CLI_AMOUNT_BYTES]);
void cli_format_bytes(int64_t bytes, char ret_text[CLI_AMOUNT_BYTES]);
int cli_characters(const char *text); /* of UTF-8 */

struct cli_bar {
    bool live;       /* a terminal: redrawn in place */
    int64_t last_ms; /* when it was last drawn */
    bool drawn;
};
struct cli_bar_state {
    int64_t epoch, epochs, step, total_steps;
    double loss, accuracy, images_per_second;
    double seconds_left; /* negative: not known */
};
/* "91.25 %"; "-" for NaN, where there is no such number. */
enum { CLI_PERCENT_BYTES = 16 };
const char *cli_percent(double part, char ret_text[CLI_PERCENT_BYTES]);

/* Draws at most ten times a second unless forced, never wider than the terminal: a line that wraps cannot be redrawn. */
void cli_bar_draw(struct cli_bar *bar, const struct cli_bar_state *state, bool force);
/* The same for bytes that go somewhere; `rate` in bytes a second, 0: not known. */
void cli_bar_draw_bytes(struct cli_bar *bar, const char *name, int64_t done, int64_t total,
                        double rate);
/* Leaves the line, so that other text can be printed. */
void cli_bar_clear(struct cli_bar *bar);

/* data.c: where data sets lie: --data-dir, CYXWIZ_DATA_DIR, those of the local stack, or the user's data folder. */
enum cyx_status cli_data_dir(const struct cli *cli, struct cyx_buf *ret_path,
                             struct cyx_error *err);
enum cyx_status cli_make_folders(const char *path, struct cyx_error *err);
/* Where a spec's data lie: the catalogue's in the data folder, relative paths in the spec file's folder (`spec_path`
 * NULL: the working directory). Points into the buffers, which the caller finishes. */
struct cli_where {
    struct cyx_buf data_dir, base_dir;
    struct cyx_data_options options;
};
enum cyx_status cli_where_init(const struct cli *cli, const char *spec_path,
                               struct cli_where *ret_where, struct cyx_error *err);
void cli_where_finish(struct cli_where *where);
#define CLI_CLEANUP_WHERE __attribute__((cleanup(cli_where_finish)))

/* Commands */
enum cyx_status cli_train(struct cli *cli, struct cyx_error *err);
enum cyx_status cli_describe(struct cli *cli, struct cyx_error *err);
enum cyx_status cli_predict(struct cli *cli, struct cyx_error *err);
enum cyx_status cli_eval(struct cli *cli, struct cyx_error *err);
enum cyx_status cli_job_submit(struct cli *cli, struct cyx_error *err);
enum cyx_status cli_job_list(struct cli *cli, struct cyx_error *err);
enum cyx_status cli_job_show(struct cli *cli, struct cyx_error *err);
enum cyx_status cli_job_watch(struct cli *cli, struct cyx_error *err);
enum cyx_status cli_job_cancel(struct cli *cli, struct cyx_error *err);
enum cyx_status cli_job_logs(struct cli *cli, struct cyx_error *err);
enum cyx_status cli_node_list(struct cli *cli, struct cyx_error *err);
enum cyx_status cli_node_show(struct cli *cli, struct cyx_error *err);
enum cyx_status cli_top(struct cli *cli, struct cyx_error *err);
enum cyx_status cli_node_drain(struct cli *cli, struct cyx_error *err);
enum cyx_status cli_node_undrain(struct cli *cli, struct cyx_error *err);
enum cyx_status cli_node_maintain(struct cli *cli, struct cyx_error *err);
enum cyx_status cli_node_token(struct cli *cli, struct cyx_error *err);
enum cyx_status cli_node_revoke(struct cli *cli, struct cyx_error *err);
enum cyx_status cli_node_rotate(struct cli *cli, struct cyx_error *err);
enum cyx_status cli_model_list(struct cli *cli, struct cyx_error *err);
enum cyx_status cli_model_pull(struct cli *cli, struct cyx_error *err);
enum cyx_status cli_upload(struct cli *cli, struct cyx_error *err);
enum cyx_status cli_uploads_list(struct cli *cli, struct cyx_error *err);
enum cyx_status cli_uploads_delete(struct cli *cli, struct cyx_error *err);
enum cyx_status cli_data_list(struct cli *cli, struct cyx_error *err);
enum cyx_status cli_data_fetch(struct cli *cli, struct cyx_error *err);
enum cyx_status cli_data_inspect(struct cli *cli, struct cyx_error *err);
enum cyx_status cli_key_create(struct cli *cli, struct cyx_error *err);
enum cyx_status cli_key_list(struct cli *cli, struct cyx_error *err);
enum cyx_status cli_key_revoke(struct cli *cli, struct cyx_error *err);
enum cyx_status cli_audit(struct cli *cli, struct cyx_error *err);
enum cyx_status cli_trust_init(struct cli *cli, struct cyx_error *err);
enum cyx_status cli_login(struct cli *cli, struct cyx_error *err);
enum cyx_status cli_stack(struct cli *cli, struct cyx_error *err);
enum cyx_status cli_completion(struct cli *cli, struct cyx_error *err);

#endif
