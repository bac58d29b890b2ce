/* cyxwiz top: nodes and jobs, looked at every few seconds; a plain table where there is no terminal. */
#include "top.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/cond.h"
#include "cli.h"
#include "contract/message.h"
#include "top_screen.h"

#include "base/banned.h"

enum { KEY_WAIT_MS = 100, RECENT_JOBS = 40 };

/* Both parts of the screen share this; the fetching thread alone calls the gateway. */
struct top {
    struct cli *cli;
    int64_t interval_ms;
    pthread_t fetcher;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool ended;
    uint64_t fetched; /* counts looks */
    struct top_view view;
};

/* Appends the list `key` of a GET to `all`. */
static enum cyx_status append(struct cli *cli, const char *path, const char *key, json_t *all,
                              struct cyx_error *err)
{
    CYX_CLEANUP_JSON json_t *body = NULL;
    enum cyx_status status = cli_call(cli, "GET", path, NULL, &body, err);
    if (status == CYX_OK)
        json_array_extend(all, json_object_get(body, key));
    return status;
}

static bool has_ended(const json_t *job)
{
    const char *state = cli_text(job, "state");
    return strcmp(state, "completed") == 0 || strcmp(state, "failed") == 0 ||
           strcmp(state, "cancelled") == 0;
}

/* All that runs and waits, up to a page of each, and of the ended ones the newest. */
static enum cyx_status fetch_jobs(struct cli *cli, json_t *jobs, struct cyx_error *err)
{
    CYX_CLEANUP_JSON json_t *recent = json_array();
    char path[64];
    json_t *job;
    size_t i;
    enum cyx_status status = append(cli, "/api/v1/jobs?state=running&limit=100", "jobs", jobs, err);
    if (status == CYX_OK)
        status = append(cli, "/api/v1/jobs?state=assigned&limit=100", "jobs", jobs, err);
    if (status == CYX_OK)
        status = append(cli, "/api/v1/jobs?state=queued&limit=100", "jobs", jobs, err);
    snprintf(path, sizeof(path), "/api/v1/jobs?limit=%d", RECENT_JOBS);
    if (status == CYX_OK)
        status = append(cli, path, "jobs", recent, err);
    json_array_foreach(recent, i, job)
    {
        if (has_ended(job))
            json_array_append(jobs, job);
    }
    return status;
}

static enum cyx_status fetch(struct cli *cli, json_t **ret_nodes, json_t **ret_jobs,
                             struct cyx_error *err)
{
    json_t *nodes = json_array(), *jobs = json_array();
    enum cyx_status status = append(cli, "/api/v1/nodes?limit=100", "nodes", nodes, err);
    if (status == CYX_OK)
        status = fetch_jobs(cli, jobs, err);
    if (status == CYX_OK) {
        *ret_nodes = nodes;
        *ret_jobs = jobs;
        return CYX_OK;
    }
    json_decref(nodes);
    json_decref(jobs);
    return status;
}

/* ---- once --------------------------------------------------------------------------------------- */

static enum cyx_status print_table(const struct top_table *which, const struct top_view *view,
                                   struct cyx_error *err)
{
    CLI_CLEANUP_TABLE struct cli_table table;
    struct cli_table_column columns[16];
    for (size_t i = 0; i < which->n_columns; i++)
        columns[i] = (struct cli_table_column){which->columns[i].title, which->columns[i].right};
    cli_table_init(&table, columns, which->n_columns);
    for (size_t row = 0; row < which->count(view); row++) {
        for (size_t i = 0; i < which->n_columns; i++) {
            char text[TOP_TEXT_BYTES] = "";
            (void)which->cell(view, row, i, text);
            cli_table_add(&table, "%s", text);
        }
    }
    return cli_table_print(&table, err);
}

static enum cyx_status print_tables(struct top_view *view, struct cyx_error *err)
{
    top_tables[0].sort(view, 0, false);
    top_tables[1].sort(view, 2, false);
    enum cyx_status status = print_table(&top_tables[0], view, err);
    printf("\n");
    return status == CYX_OK ? print_table(&top_tables[1], view, err) : status;
}

static enum cyx_status print_once(struct cli *cli, struct cyx_error *err)
{
    CYX_CLEANUP_JSON json_t *nodes = NULL;
    CYX_CLEANUP_JSON json_t *jobs = NULL;
    struct top_view view = {0};
    enum cyx_status status = fetch(cli, &nodes, &jobs, err);
    if (status != CYX_OK)
        return status;
    if (cli->json) {
        json_t *both = json_pack("{s:O, s:O}", "nodes", nodes, "jobs", jobs);
        cli_print_json(both);
        json_decref(both);
        return CYX_OK;
    }
    if (!top_view_read(&view, nodes, jobs))
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for the table");
    status = print_tables(&view, err);
    top_view_finish(&view);
    return status;
}

/* ---- live --------------------------------------------------------------------------------------- */

static void look(struct top *self)
{
    CYX_CLEANUP_JSON json_t *nodes = NULL;
    CYX_CLEANUP_JSON json_t *jobs = NULL;
    struct cyx_error err = {0};
    enum cyx_status status = fetch(self->cli, &nodes, &jobs, &err);
    pthread_mutex_lock(&self->lock);
    if (status == CYX_OK && top_view_read(&self->view, nodes, jobs)) {
        self->view.at_ms = cyx_clock_unix_ms();
        self->view.error[0] = '\0';
    } else {
        snprintf(self->view.error, sizeof(self->view.error), "%.150s",
                 *err.message ? err.message : "out of memory");
    }
    self->fetched++;
    pthread_mutex_unlock(&self->lock);
}

static void *keep_looking(void *ctx)
{
    struct top *self = ctx;
    pthread_mutex_lock(&self->lock);
    while (!self->ended) {
        pthread_mutex_unlock(&self->lock);
        look(self);
        int64_t at_ns = cyx_clock_monotonic_ns() + self->interval_ms * 1000000;
        struct timespec at = {.tv_sec = at_ns / 1000000000, .tv_nsec = at_ns % 1000000000};
        pthread_mutex_lock(&self->lock);
        while (!self->ended &&
               pthread_cond_timedwait(&self->changed, &self->lock, &at) != ETIMEDOUT)
            ;
    }
    pthread_mutex_unlock(&self->lock);
    return NULL;
}

static void show(struct top *self, struct top_screen *screen)
{
    uint64_t drawn = UINT64_MAX;
    bool changed = true;
    do {
        pthread_mutex_lock(&self->lock);
        if (changed || drawn != self->fetched)
            top_screen_draw(screen, &self->view);
        drawn = self->fetched;
        pthread_mutex_unlock(&self->lock);
    } while (!cli_interrupted && top_screen_key(screen, KEY_WAIT_MS, &changed));
}

static enum cyx_status watch(struct top *self, struct cyx_error *err)
{
    pthread_mutex_init(&self->lock, NULL);
    cyx_cond_init(&self->changed);
    look(self); /* what is wrong with the address or the key is said on the plain terminal */
    if (*self->view.error)
        return cyx_error_set(err, CYX_ERR_UNAVAILABLE, NULL, "%s", self->view.error);
    struct top_screen screen = {0};
    if (!top_screen_open(&screen)) /* TERM names a terminal that nobody knows */
        return print_tables(&self->view, err);
    if (pthread_create(&self->fetcher, NULL, keep_looking, self) != 0) {
        top_screen_close(&screen);
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no thread to look with");
    }
    show(self, &screen);
    top_screen_close(&screen);
    bool interrupted = cli_interrupted != 0;
    pthread_mutex_lock(&self->lock);
    self->ended = true;
    pthread_cond_broadcast(&self->changed);
    pthread_mutex_unlock(&self->lock);
    cli_interrupted = 1; /* a call that waits for the gateway ends */
    pthread_join(self->fetcher, NULL);
    top_view_finish(&self->view);
    return interrupted ? CYX_ERR_CANCELLED : CYX_OK;
}

enum cyx_status cli_top(struct cli *cli, struct cyx_error *err)
{
    int64_t seconds = 2;
    enum cyx_status status = cli_whole_number(cli, "interval", 1, 3600, &seconds, err);
    if (status != CYX_OK)
        return status;
    const char *terminal = getenv("TERM");
    bool live = cli_is_terminal(stdout) && cli_is_terminal(stdin) && terminal &&
                strcmp(terminal, "dumb") != 0;
    if (cli->json || cli_value(cli, "once") || !live)
        return print_once(cli, err);
    struct top top = {.cli = cli, .interval_ms = seconds * 1000};
    return watch(&top, err);
}
