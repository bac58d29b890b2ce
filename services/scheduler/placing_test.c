/*
 * Who gets which node, and why not: the running scheduler on real PostgreSQL and NATS. Scores, labels, quotas, shares,
 * making way, order, deadlines, arrays and quotes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "world.h"

/* The spec with a member of `resources` or `schedule` set; takes `value` over. */
static json_t *spec_with(const char *name, const char *object, const char *key, json_t *value)
{
    json_t *made = spec(name);
    json_t *inner = json_object_get(made, object);
    if (!inner) {
        inner = json_object();
        json_object_set_new(made, object, inner);
    }
    json_object_set_new(inner, key, value);
    return made;
}

static void submit_as(const char *account_id, json_t *body_spec, char ret_id[CYX_ID_BYTES])
{
    json_t *body = json_pack("{s:s, s:o}", "account_id", account_id, "spec", body_spec);
    json_t *reply = ask(bus, CYX_SVC_SCHEDULER_SUBMIT, body, CYX_OK);
    snprintf(ret_id, CYX_ID_BYTES, "%s",
             json_string_value(json_object_get(json_object_get(reply, "job"), "id")));
    json_decref(reply);
    hold(ret_id);
}

static void cancel(const char *job_id)
{
    json_decref(ask(bus, CYX_SVC_SCHEDULER_CANCEL, json_pack("{s:s}", "job_id", job_id), CYX_OK));
}

static void set_quota(const char *account_id, json_t *set)
{
    json_decref(ask(bus, CYX_SVC_SCHEDULER_QUOTA,
                    json_pack("{s:s, s:o}", "account_id", account_id, "set", set), CYX_OK));
}

static struct worker *worker_with(struct worker_options options)
{
    options.heartbeat_ms = HEARTBEAT_MS;
    return worker_create(&options);
}

static bool is_online(void *ctx)
{
    return number("select count(*) from node where online and id = $1", ctx) == 1;
}

/* Waits until the scheduler knows the node. */
static void wait_known(struct worker *worker)
{
    const int64_t until_ns = cyx_clock_monotonic_ns() + WAIT_MS * INT64_C(1000000);
    while (!is_online((void *)worker_id(worker))) {
        assert_true(cyx_clock_monotonic_ns() < until_ns);
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
}

static void test_placing__keeps_why_a_node_was_chosen(void **state)
{
    (void)state;
    char id[CYX_ID_BYTES];
    struct worker *dear = worker_with((struct worker_options){.name = "dear", .price = "4 CYX"});
    struct worker *cheap = worker_with((struct worker_options){.name = "cheap", .price = "1 CYX"});
    wait_known(dear);
    wait_known(cheap);
    submit_funded("to the cheap one", id);
    struct claim claim = accept_offer(cheap, id);
    json_t *job = get_job(id);
    const json_t *placement = json_object_get(job, "placement");
    assert_float_equal(json_number_value(json_object_get(placement, "price")), 1, 1e-6);
    assert_float_equal(json_number_value(json_object_get(placement, "reputation")), 0.5, 1e-6);
    assert_true(json_is_false(json_object_get(placement, "measured")));
    assert_true(json_number_value(json_object_get(placement, "score")) > 0.5);
    json_decref(job);
    finish(cheap, &claim, "completed", NULL);
    /* What it did is remembered: speed, repute, and that the data lies there. */
    assert_int_equal(number("select count(*) from node where id = $1 and good = 1 and bad = 0 and "
                            "datasets = 'mnist' and (select max(s) from unnest(speed) s) > 0",
                            worker_id(cheap)),
                     1);
    submit_funded("again", id);
    claim = accept_offer(cheap, id);
    job = get_job(id);
    placement = json_object_get(job, "placement");
    assert_true(json_is_true(json_object_get(placement, "measured")));
    assert_float_equal(json_number_value(json_object_get(placement, "data")), 1, 1e-6);
    json_decref(job);
    finish(cheap, &claim, "failed", "io"); /* may pass: elsewhere, after a pause */
    claim = accept_offer(dear, id);
    assert_int_equal(number("select bad::int from node where id = $1", worker_id(cheap)), 1);
    finish(dear, &claim, "completed", NULL);
    retire(cheap);
    retire(dear);
}

static void test_placing__labels_regions_and_prices(void **state)
{
    (void)state;
    char labelled[CYX_ID_BYTES], near[CYX_ID_BYTES], poor[CYX_ID_BYTES], large[CYX_ID_BYTES];
    struct worker *plain =
        worker_with((struct worker_options){.name = "plain", .region = "us", .price = "2 CYX"});
    wait_known(plain);
    submit(spec_with("labelled", "resources", "labels", json_pack("[s]", "lab")), labelled);
    submit(spec_with("near", "resources", "regions", json_pack("[s]", "eu")), near);
    submit(spec_with("poor", "resources", "max_price_per_hour", json_string("1 CYX")), poor);
    submit(spec_with("large", "resources", "host_memory_bytes", json_integer(INT64_C(1) << 40)),
           large);
    hold(labelled);
    hold(near);
    hold(poor);
    hold(large);
    expect_pending_for(labelled, "no-node-fits", "labelled lab");
    expect_pending_for(near, "no-node-fits", "wants a node in eu");
    expect_pending_for(poor, "no-node-fits", "pays at most 1 CYX an hour");
    expect_pending_for(large, "no-node-fits", "1024.0 GiB of main memory");
    cancel(large);
    struct worker *lab = worker_with(
        (struct worker_options){.name = "lab", .label = "lab", .region = "us", .price = "2 CYX"});
    struct claim claim = accept_offer(lab, labelled);
    struct worker *west =
        worker_with((struct worker_options){.name = "west", .region = "eu/west", .price = "2 CYX"});
    struct claim other = accept_offer(west, near);
    finish(lab, &claim, "completed", NULL);
    finish(west, &other, "completed", NULL);
    cancel(poor);
    retire(plain);
    retire(lab);
    retire(west);
}

static void test_placing__quotas_hold_back_and_say_so(void **state)
{
    (void)state;
    static const char *const small = "01935b1e-0000-7000-8000-0000000acc11";
    char first[CYX_ID_BYTES], second[CYX_ID_BYTES];
    struct cyx_error err = {0};
    struct worker *a = new_worker("a", false), *b = new_worker("b", false);
    wait_known(a);
    wait_known(b);
    set_quota(small, json_pack("{s:i, s:i}", "running_jobs", 1, "queued_jobs", 2));
    submit_as(small, spec("one"), first);
    json_t *job = NULL;
    wait_event(first, 1, "assigned", "matched");
    job = get_job(first);
    struct worker *taker =
        strcmp(json_string_value(json_object_get(job, "node_id")), worker_id(a)) == 0 ? a : b;
    json_decref(job);
    struct claim claim = accept_offer(taker, first);
    submit_as(small, spec("two"), second);
    expect_pending_for(second, "quota-running-jobs", "runs 1 jobs");
    char third[CYX_ID_BYTES];
    submit_as(small, spec("three"), third);
    ask_error(bus, CYX_SVC_SCHEDULER_SUBMIT,
              json_pack("{s:s, s:o}", "account_id", small, "spec", spec("four")),
              CYX_ERR_RATE_LIMITED, &err);
    assert_non_null(strstr(err.message, "2 jobs queued"));
    /* Others are not held back by it. */
    char mine[CYX_ID_BYTES];
    submit_funded("of another account", mine);
    struct claim other = accept_offer(taker == a ? b : a, mine);
    finish(taker == a ? b : a, &other, "completed", NULL);
    finish(taker, &claim, "completed", NULL);
    wait_event(second, 1, "assigned", "matched");
    json_t *reply =
        ask(bus, CYX_SVC_SCHEDULER_QUOTA, json_pack("{s:s}", "account_id", small), CYX_OK);
    const json_t *quota = json_object_get(reply, "quota");
    const json_t *running = json_object_get(quota, "running_jobs");
    assert_float_equal(json_number_value(json_object_get(running, "used")), 1, 0);
    assert_float_equal(json_number_value(json_object_get(running, "limit")), 1, 0);
    assert_true(json_number_value(json_object_get(quota, "recent_device_seconds")) > 0);
    json_decref(reply);
    cancel(second);
    cancel(third);
    /* A day's device hours: used up at once. */
    set_quota(small,
              json_pack("{s:n, s:n, s:i}", "running_jobs", "queued_jobs", "device_hours_a_day", 0));
    submit_as(small, spec("tomorrow"), third);
    expect_pending_for(third, "quota-device-hours", "device hours of today");
    cancel(third);
    retire(a);
    retire(b);
}

/* Of two accounts with the same priority, the one that has used less goes first, whoever queued first. */
static void test_placing__shares_are_fair(void **state)
{
    (void)state;
    static const char *const greedy = "01935b1e-0000-7000-8000-0000000acc21";
    static const char *const modest = "01935b1e-0000-7000-8000-0000000acc22";
    char ids[4][CYX_ID_BYTES], later[CYX_ID_BYTES];
    for (int i = 0; i < 4; i++)
        submit_as(greedy, spec("greedy"), ids[i]);
    struct worker *worker = new_worker("only", false);
    struct claim claim = accept_offer(worker, ids[0]);
    submit_as(modest, spec("modest"), later);
    expect_pending_for(later, "all-nodes-busy", "busy");
    nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL); /* what is used is time */
    finish(worker, &claim, "completed", NULL);
    claim = accept_offer(worker, later); /* before the three that are older */
    finish(worker, &claim, "completed", NULL);
    /* A weight of a thousand makes what it used count for little; the modest one has used something by now. */
    set_quota(greedy, json_pack("{s:i}", "weight", 1000));
    submit_as(modest, spec("modest again"), later);
    for (int i = 1; i < 4; i++) {
        claim = accept_offer(worker, ids[i]);
        finish(worker, &claim, "completed", NULL);
    }
    claim = accept_offer(worker, later);
    finish(worker, &claim, "completed", NULL);
    retire(worker);
}

/* Tells progress, with a checkpoint or without; gives whether the worker is to stop. */
static bool told_to_stop(struct worker *worker, const struct claim *claim, bool checkpoint)
{
    json_t *body = progress_json(worker, claim, 100);
    if (checkpoint)
        json_object_set_new(body, "checkpoint",
                            json_pack("{s:s, s:i, s:i}", "sha256", sha, "bytes", 77, "step", 100));
    json_t *reply = ask(bus, CYX_SVC_SCHEDULER_PROGRESS, body, CYX_OK);
    bool stop = json_is_true(json_object_get(reply, "cancel"));
    json_decref(reply);
    return stop;
}

static json_t *urgent(const char *name, const char *priority)
{
    json_t *made = spec(name);
    json_object_set_new(made, "priority", json_string(priority));
    return made;
}

static void wait_marked(const char *job_id)
{
    const int64_t until_ns = cyx_clock_monotonic_ns() + WAIT_MS * INT64_C(1000000);
    while (number("select count(*) from assignment where ended_at is null and preempt_for = $1",
                  job_id) == 0) {
        assert_true(cyx_clock_monotonic_ns() < until_ns);
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
}

static void test_placing__makes_way_at_the_next_checkpoint(void **state)
{
    (void)state;
    char normal[CYX_ID_BYTES], low[CYX_ID_BYTES], high[CYX_ID_BYTES];
    struct worker *a = new_worker("a", false), *b = new_worker("b", false);
    wait_known(a);
    submit_funded("normal", normal);
    wait_event(normal, 1, "assigned", "matched");
    json_t *job = get_job(normal);
    bool on_a = strcmp(json_string_value(json_object_get(job, "node_id")), worker_id(a)) == 0;
    json_decref(job);
    struct worker *with_normal = on_a ? a : b, *with_low = on_a ? b : a;
    struct claim normal_claim = accept_offer(with_normal, normal);
    wait_known(with_low);
    submit(urgent("low", "low"), low);
    hold(low);
    struct claim low_claim = accept_offer(with_low, low);
    nanosleep(&(struct timespec){.tv_sec = 1}, NULL); /* one that has just begun is left alone */
    submit(urgent("high", "high"), high);
    hold(high);
    wait_marked(high);
    assert_false(told_to_stop(with_low, &low_claim, false)); /* not yet: it would lose its work */
    assert_false(told_to_stop(with_normal, &normal_claim, true)); /* the low one is the cheaper */
    assert_true(told_to_stop(with_low, &low_claim, true));
    finish(with_low, &low_claim, "cancelled", NULL);
    wait_event(low, 1, "queued", "preempted");
    struct claim high_claim = accept_offer(with_low, high);
    job = get_job(low);
    expect_text(job, "state", "queued");
    expect_text(json_object_get(job, "checkpoint"), "sha256", sha);
    assert_int_equal(json_integer_value(json_object_get(job, "preemptions")), 1);
    assert_true(json_integer_value(json_object_get(job, "device_ms")) > 0); /* kept work is paid */
    json_decref(job);
    /* Nobody makes way for the one that made way, nor for an equal. */
    char other[CYX_ID_BYTES];
    submit(urgent("high too", "high"), other);
    hold(other);
    wait_marked(other); /* the normal one is the last that may */
    assert_false(told_to_stop(with_low, &high_claim, true));
    cancel(other); /* and goes on, since nobody wants its node any more */
    assert_false(told_to_stop(with_normal, &normal_claim, true));
    finish(with_normal, &normal_claim, "completed", NULL);
    low_claim = accept_offer(with_normal, low);
    finish(with_normal, &low_claim, "completed", NULL);
    finish(with_low, &high_claim, "completed", NULL);
    retire(a);
    retire(b);
}

static void expect_submit_refused(json_t *body_spec, enum cyx_status status, const char *pointer)
{
    struct cyx_error err = {0};
    ask_error(bus, CYX_SVC_SCHEDULER_SUBMIT, submit_json(body_spec, NULL), status, &err);
    assert_string_equal(err.pointer, pointer);
}

static void test_placing__jobs_wait_for_jobs(void **state)
{
    (void)state;
    char a[CYX_ID_BYTES], b[CYX_ID_BYTES], c[CYX_ID_BYTES], d[CYX_ID_BYTES];
    struct worker *worker = new_worker("worker", false);
    submit_funded("a", a);
    submit(spec_with("b", "schedule", "after", json_pack("[s]", a)), b);
    submit(spec_with("c", "schedule", "after", json_pack("[s, s]", a, b)), c);
    submit(spec_with("d", "schedule", "after", json_pack("[s]", c)), d);
    hold(b);
    hold(c);
    hold(d);
    expect_pending_for(c, "waits-for-jobs", "2 other jobs");
    struct claim claim = accept_offer(worker, a);
    finish(worker, &claim, "completed", NULL);
    claim = accept_offer(worker, b);
    expect_pending_for(c, "waits-for-jobs", "1 other job ");
    finish(worker, &claim, "failed", "invalid");
    /* What waits for what failed fails with its cause, and so on down the line. */
    wait_event(c, 1, "failed", "dependency-failed");
    wait_event(d, 1, "failed", "dependency-failed");
    json_t *job = get_job(d);
    expect_text(json_object_get(job, "error"), "status", "cancelled");
    json_decref(job);
    expect_submit_refused(spec_with("e", "schedule", "after", json_pack("[s]", c)),
                          CYX_ERR_CONFLICT, "/schedule/after/0");
    json_t *foreign = spec_with("e", "schedule", "after", json_pack("[s]", a));
    struct cyx_error err = {0};
    ask_error(bus, CYX_SVC_SCHEDULER_SUBMIT,
              json_pack("{s:s, s:o}", "account_id", stranger, "spec", foreign), CYX_ERR_INVALID,
              &err);
    submit(spec_with("f", "schedule", "after", json_pack("[s]", a)), d); /* it has completed */
    hold(d);
    claim = accept_offer(worker, d);
    finish(worker, &claim, "completed", NULL);
    retire(worker);
}

static json_t *in_ms(int64_t ms)
{
    char text[CYX_TIME_TEXT_BYTES];
    cyx_time_format(cyx_clock_unix_ms() + ms, text);
    return json_string(text);
}

static void test_placing__a_deadline_ends_a_job(void **state)
{
    (void)state;
    char id[CYX_ID_BYTES];
    struct cyx_error err = {0};
    expect_submit_refused(spec_with("past", "schedule", "deadline", in_ms(-1000)), CYX_ERR_INVALID,
                          "/schedule/deadline");
    submit(spec_with("too late", "schedule", "deadline", in_ms(500)), id);
    hold(id);
    wait_event(id, 1, "failed", "deadline-passed");
    struct worker *worker = new_worker("slow", false);
    submit(spec_with("runs too long", "schedule", "deadline", in_ms(1500)), id);
    hold(id);
    struct claim claim = accept_offer(worker, id);
    wait_event(id, 1, "failed", "deadline-passed");
    json_t *job = get_job(id);
    expect_text(json_object_get(job, "error"), "status", "timeout");
    assert_non_null(json_object_get(job, "deadline"));
    json_decref(job);
    ask_error(bus, CYX_SVC_SCHEDULER_PROGRESS, progress_json(worker, &claim, 5), CYX_ERR_CONFLICT,
              &err);
    worker_wait_cancel(worker, WAIT_MS); /* its heartbeat named a job that it has no more */
    retire(worker);
}

static void test_placing__no_retries_when_the_user_wants_none(void **state)
{
    (void)state;
    char id[CYX_ID_BYTES];
    struct worker *worker = new_worker("worker", false);
    submit(spec_with("once", "schedule", "retries", json_integer(0)), id);
    hold(id);
    struct claim claim = accept_offer(worker, id);
    finish(worker, &claim, "failed", "io");
    wait_event(id, 1, "failed", "worker-failed");
    retire(worker);
}

static void test_placing__an_array_is_all_its_members(void **state)
{
    (void)state;
    char key[CYX_ID_BYTES];
    cyx_id_new(key);
    json_t *body = submit_json(spec_with("sweep", "schedule", "array", json_integer(3)), key);
    json_t *reply = ask(bus, CYX_SVC_SCHEDULER_SUBMIT, json_deep_copy(body), CYX_OK);
    json_t *again = ask(bus, CYX_SVC_SCHEDULER_SUBMIT, body, CYX_OK); /* the same key: the same */
    const json_t *array = json_object_get(json_object_get(reply, "job"), "array");
    const char *array_id = json_string_value(json_object_get(array, "id"));
    assert_true(json_is_false(json_object_get(again, "created")));
    assert_int_equal(json_integer_value(json_object_get(array, "count")), 3);
    json_t *list = ask(bus, CYX_SVC_SCHEDULER_LIST,
                       json_pack("{s:s, s:s}", "account_id", account, "array", array_id), CYX_OK);
    const json_t *jobs = json_object_get(list, "jobs");
    assert_int_equal(json_array_size(jobs), 3);
    json_int_t seed = json_integer_value(
        json_object_get(json_object_get(json_object_get(reply, "job"), "spec"), "seed"));
    for (size_t i = 0; i < 3; i++) { /* newest first */
        const json_t *job = json_array_get(jobs, 2 - i);
        const json_t *of = json_object_get(job, "spec");
        assert_int_equal(json_integer_value(json_object_get(of, "seed")), seed + (json_int_t)i);
        assert_null(json_object_get(json_object_get(of, "schedule"), "array"));
        assert_int_equal(
            json_integer_value(json_object_get(json_object_get(job, "array"), "index")), i);
        cancel(json_string_value(json_object_get(job, "id")));
    }
    json_decref(list);
    json_decref(reply);
    json_decref(again);
}

static json_t *quote(json_t *body_spec)
{
    json_t *reply = ask(bus, CYX_SVC_SCHEDULER_QUOTE, submit_json(body_spec, NULL), CYX_OK);
    json_t *made = json_incref(json_object_get(reply, "quote"));
    json_decref(reply);
    return made;
}

static void test_placing__quotes_what_past_jobs_showed(void **state)
{
    (void)state;
    char id[CYX_ID_BYTES];
    int64_t before = number("select count(*) from job", NULL);
    nanosleep(&(struct timespec){.tv_nsec = 600000000}, NULL); /* nodes are read each half second */
    json_t *none = quote(spec("nobody"));
    expect_text(json_object_get(none, "pending"), "code", "no-node-online");
    assert_true(json_is_null(json_object_get(none, "run_seconds")));
    assert_true(json_is_null(json_object_get(none, "price")));
    json_decref(none);
    assert_int_equal(number("select count(*) from job", NULL), before); /* nothing is stored */

    struct worker *worker = worker_with((struct worker_options){.name = "b", .price = "3600 CYX"});
    submit_funded("first", id); /* 10 CYX do not pay for a minute there */
    expect_pending(id, "no-node-fits");
    json_t *rich = spec("rich");
    json_object_set_new(rich, "budget", json_string("100 CYX"));
    json_t *past_it = quote(json_deep_copy(rich)); /* what no node fits is not before it */
    assert_int_equal(json_integer_value(json_object_get(past_it, "jobs_ahead")), 0);
    assert_true(json_is_number(json_object_get(past_it, "start_in_seconds")));
    json_decref(past_it);
    cancel(id);
    submit(json_deep_copy(rich), id);
    hold(id);
    struct claim claim = accept_offer(worker, id);
    finish(worker, &claim, "completed", NULL); /* 5000 images a second */
    nanosleep(&(struct timespec){.tv_nsec = 600000000}, NULL);
    double epochs = json_number_value(json_object_get(rich, "epochs"));
    json_t *known = quote(rich);
    double run_s = json_number_value(json_object_get(json_object_get(known, "run_seconds"), "low"));
    /* 60,000 trained and 10,000 judged images an epoch, a third of the work each. */
    if (run_s < epochs * 60000 / 5000 || run_s > epochs * 70000 / 5000)
        fail_msg("%f seconds for %f epochs", run_s, epochs);
    double price =
        strtod(json_string_value(json_object_get(json_object_get(known, "price"), "high")), NULL);
    assert_float_equal(price, run_s, 0.01 * run_s); /* 1 CYX a second */
    assert_float_equal(json_number_value(json_object_get(known, "start_in_seconds")), 0, 0);
    assert_int_equal(
        json_integer_value(json_object_get(json_object_get(known, "nodes"), "measured")), 1);
    json_decref(known);
    retire(worker);
}

static void expect_cancel(const char *job_id, const char *part)
{
    json_t *reply = ask(bus, CYX_SVC_SCHEDULER_CANCEL, target(job_id), CYX_OK);
    const char *message = json_string_value(json_object_get(reply, "message"));
    if (!message || !strstr(message, part))
        fail_msg("expected \"%s\" in \"%s\"", part, message ? message : "none");
    json_decref(reply);
}

static void test_placing__a_cancel_says_what_happened(void **state)
{
    (void)state;
    char id[CYX_ID_BYTES];
    submit_funded("waits", id);
    expect_cancel(id, "it was waiting");
    expect_cancel(id, "it had been cancelled at 20");
    struct worker *worker = new_worker("worker", false);
    submit_funded("runs", id);
    struct claim claim = accept_offer(worker, id);
    expect_cancel(id, "its node was told to stop");
    finish(worker, &claim, "completed", NULL);
    expect_cancel(id, "it had completed at 20");
    retire(worker);
}

/* A change of a node that begins before a pass reads the nodes and is committed after it: the next pass sees it. */
static void test_placing__a_change_that_commits_late_is_seen(void **state)
{
    (void)state;
    struct cyx_error err = {0};
    struct cyx_db_conn *late = NULL;
    struct worker *slow = worker_with((struct worker_options){.name = "late"});
    wait_known(slow);
    assert_int_equal(cyx_db_take(db, &late, &err), CYX_OK);
    assert_int_equal(cyx_db_query(late, "begin", NULL, &err), CYX_OK);
    assert_int_equal(cyx_db_query(late, "update node set labels = 'gold' where id = $1", NULL, &err,
                                  CYX_DB_TEXT(worker_id(slow))),
                     CYX_OK);
    struct worker *other =
        worker_with((struct worker_options){.name = "other"}); /* a later change */
    wait_known(other);
    char golden[CYX_ID_BYTES];
    submit(spec_with("golden", "resources", "labels", json_pack("[s]", "gold")), golden);
    hold(golden); /* a pass that reads the nodes, and finds none with that label */
    nanosleep(&(struct timespec){.tv_nsec = 700000000}, NULL);
    expect_state(golden, "queued");
    assert_int_equal(cyx_db_query(late, "commit", NULL, &err), CYX_OK);
    cyx_db_give(late);
    struct claim claim = accept_offer(slow, golden);
    finish(slow, &claim, "completed", NULL);
    retire(slow);
    retire(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_placing__a_change_that_commits_late_is_seen),
        cmocka_unit_test(test_placing__keeps_why_a_node_was_chosen),
        cmocka_unit_test(test_placing__labels_regions_and_prices),
        cmocka_unit_test(test_placing__quotas_hold_back_and_say_so),
        cmocka_unit_test(test_placing__shares_are_fair),
        cmocka_unit_test(test_placing__makes_way_at_the_next_checkpoint),
        cmocka_unit_test(test_placing__jobs_wait_for_jobs),
        cmocka_unit_test(test_placing__a_deadline_ends_a_job),
        cmocka_unit_test(test_placing__no_retries_when_the_user_wants_none),
        cmocka_unit_test(test_placing__an_array_is_all_its_members),
        cmocka_unit_test(test_placing__quotes_what_past_jobs_showed),
        cmocka_unit_test(test_placing__a_cancel_says_what_happened),
    };
    return cmocka_run_group_tests(tests, start_all, stop_all);
}
