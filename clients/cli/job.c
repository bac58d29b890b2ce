/* cyxwiz job: submit, list, show, watch, cancel, logs. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "cli.h"
#include "contract/job_spec.h"
#include "contract/message.h"
#include "http/sse.h"

#include "base/banned.h"

static void job_path(struct cyx_buf *path, const char *id, const char *behind)
{
    cyx_buf_puts(path, "/api/v1/jobs/");
    cli_append_part(path, id);
    cyx_buf_puts(path, behind);
}

static bool has_ended(const char *state)
{
    return strcmp(state, "completed") == 0 || strcmp(state, "failed") == 0 ||
           strcmp(state, "cancelled") == 0;
}

static enum cyx_status get_job(struct cli *cli, const char *id, json_t **ret_job,
                               struct cyx_error *err)
{
    CYX_CLEANUP_BUF struct cyx_buf path = {0};
    job_path(&path, id, "");
    return cli_call(cli, "GET", path.data, NULL, ret_job, err);
}

/* ---- show ---- */

/* What the speed of the node that was chosen is known by. */
static const char *speed_by(const json_t *placement)
{
    const char *by = cli_text(placement, "speed_by");
    if (strcmp(by, "benchmark") == 0)
        return " (by its benchmark)";
    return json_is_true(json_object_get(placement, "measured")) ? "" : " (guessed)";
}

/* Why it waits, and why it runs where it does. */
static void print_placement(const json_t *job)
{
    const json_t *pending = json_object_get(job, "pending"),
                 *placement = json_object_get(job, "placement"),
                 *array = json_object_get(job, "array");
    if (json_is_object(pending))
        printf("Waiting    %s (%s)\nHelps      %s\n", cli_text(pending, "message"),
               cli_text(pending, "code"), cli_text(pending, "remedy"));
    if (*cli_text(job, "node_id"))
        printf("Node       %s\n", cli_text(job, "node_id"));
    if (json_is_object(placement))
        printf("Chosen     score %.2f: speed %.2f%s, price %.2f, reputation %.2f, load %.2f, data "
               "%.0f\n",
               cli_number(placement, "score"), cli_number(placement, "speed"), speed_by(placement),
               cli_number(placement, "price"), cli_number(placement, "reputation"),
               cli_number(placement, "load"), cli_number(placement, "data"));
    if (json_is_object(array))
        printf("Array      %s, %.0f of %.0f\n", cli_text(array, "id"),
               cli_number(array, "index") + 1, cli_number(array, "count"));
    if (*cli_text(job, "deadline"))
        printf("Deadline   %s\n", cli_text(job, "deadline"));
}

/* The nodes of a job of several, the first of which evaluates and saves. */
static void print_gang(const json_t *job)
{
    const json_t *gang = json_object_get(job, "gang"), *member;
    size_t i;
    if (!json_is_object(gang))
        return;
    printf("Nodes      %.0f at once\n", cli_number(gang, "nodes"));
    json_array_foreach(json_object_get(gang, "members"), i, member)
    {
        const char *ended = cli_text(member, "ended_cause");
        printf("           %.0f  %s  %s, %.1f s, %s an hour\n", cli_number(member, "rank"),
               cli_text(member, "node_id"),
               *ended                             ? ended
               : *cli_text(member, "accepted_at") ? "running"
                                                  : "offered",
               cli_number(member, "device_ms") / 1000, cli_text(member, "price_per_hour"));
    }
}

static void print_job(const json_t *job)
{
    const json_t *progress = json_object_get(job, "progress"),
                 *result = json_object_get(job, "result"), *error = json_object_get(job, "error"),
                 *escrow = json_object_get(job, "escrow"), *step;
    size_t i;
    printf("Job        %s\nName       %s\nState      %s\n", cli_text(job, "id"),
           cli_text(job, "name"), cli_text(job, "state"));
    print_placement(job);
    print_gang(job);
    if (json_is_object(progress) && cli_number(progress, "step") > 0)
        printf(
            "Progress   epoch %.0f of %.0f, step %.0f of %.0f, loss %.4f, %.0f images a second\n",
            cli_number(progress, "epoch"), cli_number(progress, "epochs"),
            cli_number(progress, "step"), cli_number(progress, "total_steps"),
            cli_number(progress, "loss"), cli_number(progress, "images_per_second"));
    char accuracy[CLI_PERCENT_BYTES];
    if (json_is_object(result))
        printf("Result     test accuracy %s, test loss %.4f\n",
               cli_percent(cyx_message_number_of(result, "test_accuracy"), accuracy),
               cli_number(result, "test_loss"));
    if (json_is_object(error))
        printf("Error      %s%s%s\n", cli_text(error, "pointer"),
               *cli_text(error, "pointer") ? ": " : "", cli_text(error, "message"));
    if (json_is_object(escrow))
        printf("Escrow     %s: held %s, released %s, refunded %s\n", cli_text(escrow, "state"),
               cli_text(escrow, "held"), cli_text(escrow, "released"),
               cli_text(escrow, "refunded"));
    const json_t *transitions = json_object_get(job, "transitions");
    json_array_foreach(transitions, i, step)
    {
        printf("%s %s  %-10s %s\n", i == 0 ? "History   " : "          ", cli_text(step, "at"),
               cli_text(step, "to"), cli_text(step, "cause"));
    }
}

enum cyx_status cli_job_show(struct cli *cli, struct cyx_error *err)
{
    CYX_CLEANUP_JSON json_t *job = NULL;
    enum cyx_status status = get_job(cli, cli->arguments[0], &job, err);
    if (status != CYX_OK)
        return status;
    if (cli->json)
        cli_print_json(job);
    else
        print_job(job);
    return CYX_OK;
}

/* ---- list ---- */

enum cyx_status cli_job_list(struct cli *cli, struct cyx_error *err)
{
    static const struct cli_column columns[] = {{"ID", 36},      {"STATE", 9},    {"PROGRESS", 8},
                                                {"ACCURACY", 8}, {"CREATED", 24}, {"NAME", 0}};
    CYX_CLEANUP_JSON json_t *jobs = NULL;
    CYX_CLEANUP_BUF struct cyx_buf path = {0};
    const json_t *job;
    int64_t limit = 20;
    size_t i;
    cyx_buf_puts(&path, "/api/v1/jobs?sort=");
    cli_append_part(&path, cli_value(cli, "sort") ? cli_value(cli, "sort") : "-created_at");
    if (cli_value(cli, "state")) {
        cyx_buf_puts(&path, "&state=");
        cli_append_part(&path, cli_value(cli, "state"));
    }
    enum cyx_status status = cli_whole_number(cli, "limit", 1, 1000000, &limit, err);
    if (status == CYX_OK)
        status = cli_call_list(cli, path.data, "jobs", (size_t)limit, &jobs, err);
    if (status != CYX_OK)
        return status;
    if (cli->json) {
        cli_print_json(jobs);
        return CYX_OK;
    }
    if (json_array_size(jobs) == 0) {
        printf("No jobs yet. Submit one: cyxwiz job submit docs/examples/fashion-cnn.json\n");
        return CYX_OK;
    }
    cli_print_titles(columns, 6);
    json_array_foreach(jobs, i, job)
    {
        char progress[16] = "", percent[CLI_PERCENT_BYTES];
        const char *accuracy = "";
        const json_t *p = json_object_get(job, "progress"), *r = json_object_get(job, "result");
        if (cli_number(p, "total_steps") > 0)
            snprintf(progress, sizeof(progress), "%.0f %%",
                     100 * cli_number(p, "step") / cli_number(p, "total_steps"));
        if (json_is_object(r))
            accuracy = cli_percent(cyx_message_number_of(r, "test_accuracy"), percent);
        cli_print_row(columns,
                      (const char *const[]){cli_text(job, "id"), cli_text(job, "state"), progress,
                                            accuracy, cli_text(job, "created_at"),
                                            cli_text(job, "name")},
                      6);
    }
    return CYX_OK;
}

/* ---- watch and follow: Server-Sent Events, resumed by their id ---- */

struct follow {
    struct cli *cli;
    const char *job_id;
    bool logs; /* print log lines alone */
    struct cli_bar bar;
    int64_t first_step, first_ns;
    char last_id[64];
    bool ended;
};

static void draw_step(struct follow *f, const json_t *data)
{
    int64_t step = (int64_t)cli_number(data, "step"),
            total = (int64_t)cli_number(data, "total_steps");
    int64_t now_ns = cyx_clock_monotonic_ns();
    if (f->first_ns == 0 || step < f->first_step) {
        f->first_ns = now_ns;
        f->first_step = step;
    }
    double elapsed = (double)(now_ns - f->first_ns) / 1e9;
    const struct cli_bar_state state = {.epoch = (int64_t)cli_number(data, "epoch"),
                                        .epochs = (int64_t)cli_number(data, "epochs"),
                                        .step = step,
                                        .total_steps = total,
                                        .loss = cli_number(data, "loss"),
                                        .accuracy = cyx_message_number_of(data, "accuracy"),
                                        .images_per_second = cli_number(data, "images_per_second"),
                                        .seconds_left = step > f->first_step
                                                            ? (double)(total - step) * elapsed /
                                                                  (double)(step - f->first_step)
                                                            : -1};
    cli_bar_draw(&f->bar, &state, false);
}

static void print_event(struct follow *f, const char *event, const json_t *data)
{
    if (strcmp(event, "metrics") == 0 && strcmp(cli_text(data, "kind"), "step") == 0) {
        if (!f->logs)
            draw_step(f, data);
        return;
    }
    cli_bar_clear(&f->bar);
    if (strcmp(event, "log") == 0)
        printf("%s  %s%s\n", cli_text(data, "at"),
               strcmp(cli_text(data, "level"), "info") == 0 ? "" : "! ", cli_text(data, "message"));
    else if (strcmp(event, "state") == 0 && !f->logs)
        printf("%s  %s%s%s\n", cli_text(data, "at"), cli_text(data, "to"),
               *cli_text(data, "cause") ? ": " : "", cli_text(data, "cause"));
    fflush(stdout);
}

static enum cyx_status on_event(void *user, const struct cyx_sse_event *event)
{
    struct follow *f = user;
    CYX_CLEANUP_JSON json_t *data = json_loads(event->data, 0, NULL);
    snprintf(f->last_id, sizeof(f->last_id), "%s", event->id);
    if (!data)
        return CYX_OK;
    if (f->cli->json && !(f->logs && strcmp(event->event, "log") != 0)) {
        json_t *line = json_pack("{s:s, s:O}", "event", event->event, "data", data);
        cli_print_json_line(line);
        fflush(stdout);
        json_decref(line);
    } else if (!f->cli->json) {
        print_event(f, event->event, data);
    }
    if (strcmp(event->event, "state") == 0 && has_ended(cli_text(data, "to")))
        f->ended = true;
    return f->ended ? CYX_ERR_CANCELLED : CYX_OK; /* our own reason to end the stream */
}

/* One connection's worth of events. CYX_OK when the job ended or the connection did. */
static enum cyx_status stream_once(struct follow *f, struct cyx_error *err)
{
    CYX_CLEANUP_BUF struct cyx_buf path = {0};
    CYX_CLEANUP_HTTP_RESULT struct cyx_http_result result = {0};
    char resume[96];
    const char *headers[] = {"Accept: text/event-stream", NULL, NULL};
    struct cyx_sse sse = {.on_event = on_event, .user = f};
    job_path(&path, f->job_id, "/events");
    if (*f->last_id) {
        snprintf(resume, sizeof(resume), "Last-Event-ID: %s", f->last_id);
        headers[1] = resume;
    }
    const struct cyx_http_call call = {.method = "GET", .url = path.data, .headers = headers};
    enum cyx_status status =
        cyx_http_client_stream(f->cli->http, &call, cyx_sse_feed, &sse, &result, err);
    cyx_sse_finish(&sse);
    if (f->ended)
        return CYX_OK;
    if (status == CYX_OK)
        status = cyx_http_result_check(&result, err);
    return status;
}

/* Follows until the job has ended, over any number of connections. */
static enum cyx_status follow_job(struct follow *f, struct cyx_error *err)
{
    CYX_CLEANUP_JSON json_t *job = NULL;
    enum cyx_status status = cli_open_http(f->cli, err);
    int64_t pause_ms = 250;
    while (status == CYX_OK && !f->ended) {
        status = stream_once(f, err);
        bool away =
            status == CYX_ERR_UNAVAILABLE || status == CYX_ERR_TIMEOUT || status == CYX_ERR_IO;
        if (cli_interrupted)
            status = CYX_ERR_CANCELLED;
        else if (away)
            status = CYX_OK;
        if (status == CYX_OK && !f->ended) {
            nanosleep(
                &(struct timespec){.tv_sec = pause_ms / 1000, .tv_nsec = pause_ms % 1000 * 1000000},
                NULL);
            pause_ms = away && pause_ms < 4000 ? pause_ms * 2 : pause_ms;
            /* The stream may have forgotten a job that ended long ago; the job itself says. */
            json_decref(job);
            job = NULL;
            if (get_job(f->cli, f->job_id, &job, err) == CYX_OK &&
                has_ended(cli_text(job, "state")))
                f->ended = true;
        }
    }
    cli_bar_clear(&f->bar);
    if (status == CYX_ERR_CANCELLED)
        cyx_error_set(err, status, NULL, "stopped watching; the job goes on");
    return status;
}

static enum cyx_status watch(struct cli *cli, const char *id, struct cyx_error *err)
{
    CYX_CLEANUP_JSON json_t *job = NULL;
    struct follow f = {.cli = cli, .job_id = id, .bar.live = cli_is_terminal(stderr) && !cli->json};
    enum cyx_status status = follow_job(&f, err);
    if (status == CYX_OK)
        status = get_job(cli, id, &job, err);
    if (status != CYX_OK)
        return status;
    if (cli->json) {
        cli_print_json_line(job);
    } else {
        print_job(job);
    }
    cli->failed = strcmp(cli_text(job, "state"), "completed") != 0;
    return CYX_OK;
}

enum cyx_status cli_job_watch(struct cli *cli, struct cyx_error *err)
{
    return watch(cli, cli->arguments[0], err);
}

/* ---- submit ---- */

/* `object[key]`, made when it is not there. */
static json_t *member_object(json_t *object, const char *key)
{
    json_t *inner = json_object_get(object, key);
    if (inner)
        return inner;
    json_object_set_new(object, key, json_object());
    return json_object_get(object, key);
}

static enum cyx_status set_integer(struct cli *cli, const char *option, json_t *schedule,
                                   struct cyx_error *err)
{
    int64_t number = 0;
    enum cyx_status status = cli_whole_number(cli, option, 0, INT64_MAX, &number, err);
    if (status == CYX_OK && cli_value(cli, option))
        json_object_set_new(schedule, option, json_integer(number));
    return status;
}

/* Writes the options of `job submit` into the spec: they are members of it. */
static enum cyx_status apply_options(struct cli *cli, struct cyx_buf *text, struct cyx_error *err)
{
    const char *after = cli_value(cli, "after"), *deadline = cli_value(cli, "deadline"),
               *priority = cli_value(cli, "priority");
    if (!after && !deadline && !priority && !cli_value(cli, "retries") && !cli_value(cli, "array"))
        return CYX_OK;
    CYX_CLEANUP_JSON json_t *spec = NULL;
    enum cyx_status status = cyx_message_parse(text->data, text->length, &spec, err);
    if (status != CYX_OK)
        return status;
    json_t *schedule = member_object(spec, "schedule");
    if (priority)
        json_object_set_new(spec, "priority", json_string(priority));
    if (deadline)
        json_object_set_new(schedule, "deadline", json_string(deadline));
    if (after) {
        json_t *ids = json_array();
        for (const char *id = after; *id; id += strcspn(id, ","), id += *id == ',')
            json_array_append_new(ids, json_stringn(id, strcspn(id, ",")));
        json_object_set_new(schedule, "after", ids);
    }
    if ((status = set_integer(cli, "retries", schedule, err)) != CYX_OK ||
        (status = set_integer(cli, "array", schedule, err)) != CYX_OK)
        return status;
    cyx_buf_clear(text);
    return cyx_message_write(json_incref(spec), text, err);
}

/* ---- quote ---- */

static void print_seconds(const char *title, const json_t *range)
{
    if (json_is_object(range))
        printf("%-11s%.0f to %.0f s\n", title, cli_number(range, "low"), cli_number(range, "high"));
    else
        printf("%-11snot known: no node that fits has run a job or been benchmarked\n", title);
}

static void print_quote(const json_t *quote)
{
    const json_t *nodes = json_object_get(quote, "nodes"), *price = json_object_get(quote, "price"),
                 *pending = json_object_get(quote, "pending"),
                 *start = json_object_get(quote, "start_in_seconds");
    printf("Nodes      %.0f online, %.0f fit, %.0f of them free, %.0f measured, %.0f benchmarked\n",
           cli_number(nodes, "online"), cli_number(nodes, "fit"), cli_number(nodes, "free"),
           cli_number(nodes, "measured"), cli_number(nodes, "benchmarked"));
    print_seconds("Run time", json_object_get(quote, "run_seconds"));
    if (json_is_object(price))
        printf("Price      %s to %s, %s the budget of %s\n", cli_text(price, "low"),
               cli_text(price, "high"),
               json_is_true(json_object_get(quote, "within_budget")) ? "within" : "maybe more than",
               cli_text(quote, "budget"));
    else
        printf("Price      not known; at most the budget of %s\n", cli_text(quote, "budget"));
    if (json_is_number(start))
        printf("Start      in about %.0f s, %.0f jobs ahead\n", json_number_value(start),
               cli_number(quote, "jobs_ahead"));
    else
        printf("Start      not known, %.0f jobs ahead\n", cli_number(quote, "jobs_ahead"));
    if (json_is_object(pending))
        printf("Would wait %s (%s)\nHelps      %s\n", cli_text(pending, "message"),
               cli_text(pending, "code"), cli_text(pending, "remedy"));
}

static enum cyx_status post_spec(struct cli *cli, const char *url, const struct cyx_buf *text,
                                 json_t **ret_job, struct cyx_error *err)
{
    CYX_CLEANUP_HTTP_RESULT struct cyx_http_result result = {0};
    char key[256];
    const char *headers[] = {NULL, NULL};
    if (cli_value(cli, "key")) {
        snprintf(key, sizeof(key), "Idempotency-Key: %s", cli_value(cli, "key"));
        headers[0] = key;
    }
    enum cyx_status status = cli_open_http(cli, err);
    if (status != CYX_OK)
        return status;
    const struct cyx_http_call call = {.method = "POST",
                                       .url = url,
                                       .headers = headers,
                                       .body = text->data,
                                       .body_length = text->length,
                                       .idempotent = headers[0] != NULL};
    status = cyx_http_client_call(cli->http, &call, &result, err);
    if (status == CYX_OK)
        status = cyx_http_result_check(&result, err);
    if (status == CYX_ERR_UNAUTHENTICATED && !cli->token)
        return cyx_error_set(err, status, NULL, "not signed in at %s: run `cyxwiz login`",
                             cli->url);
    if (status == CYX_OK)
        status = cyx_message_parse(result.body.data, result.body.length, ret_job, err);
    return status;
}

static void print_submitted(const struct cli *cli, const json_t *job)
{
    const json_t *array = json_object_get(job, "array");
    const char *id = cli_text(job, "id");
    if (json_is_object(array))
        printf("Job %s, the first of an array of %.0f, is %s: %s/jobs/%s\n", id,
               cli_number(array, "count"), cli_text(job, "state"), cli->url, id);
    else
        printf("Job %s is %s: %s/jobs/%s\n", id, cli_text(job, "state"), cli->url, id);
}

enum cyx_status cli_job_submit(struct cli *cli, struct cyx_error *err)
{
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    CYX_CLEANUP_JSON json_t *job = NULL;
    struct cyx_job_spec *spec = NULL;
    enum cyx_status status = cli_read_spec(cli->arguments[0], &text, &spec, err);
    if (status == CYX_OK)
        status = cyx_job_spec_check_shared(spec, err);
    cyx_job_spec_destroy(spec);
    bool quote = cli_value(cli, "quote") != NULL;
    if (status == CYX_OK)
        status = apply_options(cli, &text, err);
    if (status == CYX_OK)
        status = post_spec(cli, quote ? "/api/v1/jobs/quote" : "/api/v1/jobs", &text, &job, err);
    if (status != CYX_OK)
        return status;
    if (cli->json)
        cli_print_json(job);
    else if (quote)
        print_quote(job);
    else
        print_submitted(cli, job);
    return cli_value(cli, "watch") && !quote ? watch(cli, cli_text(job, "id"), err) : CYX_OK;
}

enum cyx_status cli_job_cancel(struct cli *cli, struct cyx_error *err)
{
    CYX_CLEANUP_BUF struct cyx_buf path = {0};
    CYX_CLEANUP_JSON json_t *body = NULL;
    job_path(&path, cli->arguments[0], "/cancel");
    enum cyx_status status = cli_call(cli, "POST", path.data, json_object(), &body, err);
    if (status != CYX_OK)
        return status;
    const char *message = cli_text(body, "message");
    if (cli->json)
        cli_print_json(body);
    else
        printf("%s: %s.\n", cli_text(body, "outcome"), message);
    return CYX_OK;
}

enum cyx_status cli_job_logs(struct cli *cli, struct cyx_error *err)
{
    CYX_CLEANUP_BUF struct cyx_buf path = {0};
    CYX_CLEANUP_JSON json_t *lines = NULL;
    const json_t *line;
    size_t i;
    if (cli_value(cli, "follow")) {
        struct follow f = {.cli = cli, .job_id = cli->arguments[0], .logs = true};
        return follow_job(&f, err);
    }
    job_path(&path, cli->arguments[0], "/logs");
    enum cyx_status status = cli_call_list(cli, path.data, "lines", SIZE_MAX, &lines, err);
    if (status != CYX_OK)
        return status;
    if (cli->json) {
        cli_print_json(lines);
        return CYX_OK;
    }
    json_array_foreach(lines, i, line)
    {
        printf("%s  %-5s %s\n", cli_text(line, "at"), cli_text(line, "level"),
               cli_text(line, "message"));
    }
    return CYX_OK;
}
