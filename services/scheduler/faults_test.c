/*
 * The scheduler where things go wrong: leases lost, workers that fail, die or do not answer, replicas killed, servers
 * away. As service_test.c: real processes, real servers.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#include "base/clock.h"
#include "integration/servers.h"
#include "world.h"

static void test_scheduler__a_lost_lease_is_given_to_another(void **state)
{
    (void)state;
    char id[CYX_ID_BYTES];
    struct cyx_error err = {0};
    struct worker *lost = new_worker("lost", false);
    submit_funded("moves on", id);
    struct claim old = accept_offer(lost, id);
    json_t *body = progress_json(lost, &old, 400);
    json_object_set_new(body, "checkpoint",
                        json_pack("{s:s, s:i, s:i}", "sha256", sha, "bytes", 77, "step", 400));
    json_decref(ask(bus, CYX_SVC_SCHEDULER_PROGRESS, body, CYX_OK));
    /* It still beats, but says no more that it holds the job: the lease runs out, the node stays. While the registry hears
     * it, it has as long as the worst node may be silent. */
    worker_holds(lost, &(struct claim){.token = 0});
    nanosleep(&(struct timespec){.tv_sec = LEASE_MS / 1000 + 2}, NULL);
    expect_state(id, "running");
    struct worker *heir = new_worker("heir", false);
    wait_event(id, 1, "queued", "lease-expired");
    struct claim new = worker_wait_offer(heir, WAIT_MS); /* not to the one that it ran on last */
    assert_true(new.token > old.token);
    worker_holds(heir, &new);
    json_t *accepted = ask(bus, CYX_SVC_SCHEDULER_ACCEPT, claim_json(heir, &new), CYX_OK);
    expect_text(json_object_get(accepted, "checkpoint"), "sha256", sha);
    assert_int_equal(
        json_integer_value(json_object_get(json_object_get(accepted, "checkpoint"), "step")), 400);
    json_decref(accepted);

    ask_error(bus, CYX_SVC_SCHEDULER_PROGRESS, progress_json(lost, &old, 500), CYX_ERR_CONFLICT,
              &err);
    ask_error(bus, CYX_SVC_SCHEDULER_FINISH, finish_json(lost, &old, "completed", NULL),
              CYX_ERR_CONFLICT, &err);
    assert_non_null(strstr(err.message, "lease-expired"));
    ask_error(bus, CYX_SVC_SCHEDULER_FINISH, finish_json(lost, &new, "completed", NULL),
              CYX_ERR_CONFLICT, &err); /* another's token */
    worker_holds(lost, &old);
    struct claim told = worker_wait_cancel(lost, WAIT_MS); /* its heartbeat gives it away */
    assert_int_equal(told.token, old.token);
    expect_state(id, "running");
    finish(heir, &new, "completed", NULL);
    expect_state(id, "completed");
    retire(lost);
    retire(heir);
}

static void test_scheduler__a_restarted_worker_loses_its_job_at_once(void **state)
{
    (void)state;
    char id[CYX_ID_BYTES];
    struct cyx_error err = {0};
    struct worker *worker = new_worker("restarts", false);
    submit_funded("survives", id);
    struct claim old = accept_offer(worker, id);
    int64_t start_ns = cyx_clock_monotonic_ns();
    worker_restart(worker);
    wait_event(id, 1, "queued", "node-restarted");
    struct claim new = worker_wait_offer(worker, WAIT_MS);
    assert_true((cyx_clock_monotonic_ns() - start_ns) / 1000000 <
                LEASE_MS); /* not by the lease's end */
    ask_error(bus, CYX_SVC_SCHEDULER_FINISH, finish_json(worker, &old, "completed", NULL),
              CYX_ERR_CONFLICT, &err);
    assert_string_equal(new.job_id, id);
    worker_holds(worker, &new);
    json_decref(ask(bus, CYX_SVC_SCHEDULER_ACCEPT, claim_json(worker, &new), CYX_OK));
    finish(worker, &new, "completed", NULL);
    expect_state(id, "completed");
    retire(worker);
}

static void test_scheduler__an_offline_node_loses_its_job(void **state)
{
    (void)state;
    char id[CYX_ID_BYTES];
    struct worker *worker = new_worker("dies", false);
    submit_funded("outlives", id);
    accept_offer(worker, id);
    worker_beat(worker, false);
    const json_t *event =
        watch_wait(events, 1, WAIT_MS, FIELDS("job_id", id, "from", "running", "to", "queued"));
    const char *cause = json_string_value(json_object_get(event, "cause"));
    assert_true(strcmp(cause, "node-offline") == 0 || strcmp(cause, "lease-expired") == 0);
    json_decref(ask(bus, CYX_SVC_SCHEDULER_CANCEL, target(id), CYX_OK));
    retire(worker);
}

static void test_scheduler__failures(void **state)
{
    (void)state;
    char id[CYX_ID_BYTES];
    struct worker *worker = new_worker("fails", false);
    submit_funded("wrong", id);
    struct claim claim = accept_offer(worker, id);
    finish(worker, &claim, "failed", "unsupported");
    json_t *job = get_job(id);
    expect_text(job, "state", "failed");
    expect_text(json_object_get(job, "error"), "status", "unsupported");
    expect_text(json_object_get(job, "error"), "message", "as the test wants it");
    json_decref(job);

    submit_funded("unlucky", id);
    for (int i = 1; i <= 3; i++) {
        claim = accept_offer(worker, id);
        finish(worker, &claim, "failed", "io");
        if (i < 3) {
            wait_event(id, i, "queued", "worker-failed");
            expect_pending(id, "retry-backoff");
        }
    }
    wait_event(id, 1, "failed", "worker-failed");
    job = get_job(id);
    assert_int_equal(json_integer_value(json_object_get(job, "attempt")), 3);
    expect_text(json_object_get(job, "error"), "status", "io");
    json_decref(job);

    submit_funded("handed back", id);
    claim = accept_offer(worker, id);
    finish(worker, &claim, "handed-back", NULL);
    claim = accept_offer(worker, id);
    finish(worker, &claim, "completed", NULL);
    retire(worker);
}

static void test_scheduler__an_unanswered_offer_expires(void **state)
{
    (void)state;
    char id[CYX_ID_BYTES];
    struct worker *deaf = new_worker("deaf", false);
    submit_funded("unanswered", id);
    struct claim first = worker_wait_offer(deaf, WAIT_MS);
    wait_event(id, 1, "queued", "offer-expired");
    struct claim second = worker_wait_offer(deaf, WAIT_MS);
    assert_true(second.token > first.token);
    struct cyx_error err = {0};
    ask_error(bus, CYX_SVC_SCHEDULER_ACCEPT, claim_json(deaf, &first), CYX_ERR_CONFLICT, &err);
    json_decref(ask(bus, CYX_SVC_SCHEDULER_ACCEPT, claim_json(deaf, &second), CYX_OK));
    finish(deaf, &second, "completed", NULL);
    retire(deaf);
}

static bool nothing_is_hours_ahead(void *ctx)
{
    (void)ctx;
    return number("select (select count(*) from node where rests_until > clock_timestamp() + "
                  "interval '1 hour') + (select count(*) from job where state = 'queued' and "
                  "not_before > clock_timestamp() + interval '1 hour')",
                  NULL) == 0;
}

/* As it is after the database's clock was set back by an hour: nothing waits for that hour. */
static void test_scheduler__a_clock_set_back_holds_nothing_up(void **state)
{
    (void)state;
    char id[CYX_ID_BYTES];
    struct worker *worker = new_worker("patient", false);
    submit_funded("an hour ahead", id);
    struct claim first = worker_wait_offer(worker, WAIT_MS);
    assert_int_equal(
        number("with ahead as (update assignment set lease_until = lease_until + interval '1 hour' "
               "where job_id = $1 and ended_at is null returning 1) select count(*) from ahead",
               id),
        1);
    wait_event(id, 1, "queued", "offer-expired");
    struct claim second = worker_wait_offer(worker, WAIT_MS);
    assert_true(second.token > first.token);
    /* What rests or waits to be tried again does so no longer than it ever may. */
    number("with ahead as (update node set rests_until = clock_timestamp() + interval '3 hours' "
           "returning 1) select count(*) from ahead",
           NULL);
    json_decref(ask(bus, CYX_SVC_SCHEDULER_ACCEPT, claim_json(worker, &second), CYX_OK));
    finish(worker, &second, "handed-back", NULL);
    number("with ahead as (update job set not_before = clock_timestamp() + interval '3 hours' "
           "where id = $1 and state = 'queued' returning 1) select count(*) from ahead",
           id);
    assert_true(wait_for(nothing_is_hours_ahead, NULL));
    json_decref(ask(bus, CYX_SVC_SCHEDULER_CANCEL, target(id), CYX_OK));
    retire(worker);
}

enum { JOBS = 100, WORKERS = 4 };

static bool all_finished(void *ctx)
{
    struct worker **workers = ctx;
    int finished = 0;
    for (int i = 0; i < WORKERS; i++)
        finished += worker_finished(workers[i]);
    return finished == JOBS;
}

/* A hundred jobs, four workers, two schedulers, one of which is killed in the middle and comes back. */
static void test_scheduler__replicas_never_assign_twice(void **state)
{
    (void)state;
    char(*ids)[CYX_ID_BYTES] = calloc(JOBS, sizeof(*ids));
    struct worker *workers[WORKERS];
    struct service *second = service_start("cyxwiz-scheduler", environment);
    for (int i = 0; i < WORKERS; i++)
        workers[i] = new_worker("hand", true);
    for (int i = 0; i < JOBS; i++) {
        submit_funded("one of many", ids[i]);
        if (i == JOBS / 2) { /* in the middle of submitting and working */
            assert_true(WIFSIGNALED(service_stop(second, SIGKILL)));
            second = service_start("cyxwiz-scheduler", environment);
        }
    }
    for (int i = 0; i < JOBS; i++)
        watch_wait(events, 1, WAIT_MS, FIELDS("job_id", ids[i], "to", "completed"));
    for (int i = 0; i < JOBS; i++) {
        /* Each event once; each held by one node from accept to end. Offers of the killed may be made anew. */
        assert_int_equal(watch_count(events, FIELDS("job_id", ids[i], "to", "completed")), 1);
        assert_int_equal(watch_count(events, FIELDS("job_id", ids[i], "to", "running")), 1);
        int told = watch_count(events, FIELDS("job_id", ids[i], "to", "assigned"));
        assert_int_equal(
            number(
                "select count(*) from job_transition where to_state = 'assigned' and job_id = $1",
                ids[i]),
            told);
        assert_int_equal(number("select count(*) from assignment where job_id = $1 and "
                                "accepted_at is not null",
                                ids[i]),
                         1);
    }
    /* No node ever held two at once. From the accept: the clock of an offer is read before its insert waits. */
    assert_int_equal(
        number("select count(*) from assignment a join assignment b on a.node_id = b.node_id "
               "and (a.job_id, a.token) <> (b.job_id, b.token) "
               "and a.accepted_at is not null and b.accepted_at is not null and "
               "tstzrange(a.accepted_at, a.ended_at) && tstzrange(b.accepted_at, b.ended_at)",
               NULL),
        0);
    assert_true(wait_for(all_finished, workers)); /* none was lost, none was done twice */
    for (int i = 0; i < WORKERS; i++)
        retire(workers[i]);
    assert_int_equal(service_stop(second, SIGTERM), 0);
    assert_int_equal(number("select count(*) from outbox", NULL), 0);
    free(ids);
}

/* A progress that is taken: the scheduler is back, and the token still holds. */
static void wait_renewed(struct worker *worker, const struct claim *claim)
{
    json_decref(ask(bus, CYX_SVC_SCHEDULER_PROGRESS, progress_json(worker, claim, 10), CYX_OK));
}

static void test_scheduler__outlives_its_servers(void **state)
{
    (void)state;
    char id[CYX_ID_BYTES];
    struct cyx_error err = {0};
    struct worker *worker = new_worker("patient", false);
    submit_funded("through thick and thin", id);
    struct claim claim = accept_offer(worker, id);
    servers_command("kill", "postgres");
    ask_error(bus, CYX_SVC_SCHEDULER_GET, target(id), CYX_ERR_UNAVAILABLE, &err);
    assert_null(strstr(err.message, "database:")); /* nothing of where and how it is kept */
    assert_null(strstr(err.message, "host"));
    /* Away for longer than a lease: nobody could renew, so nobody has lost anything. */
    nanosleep(&(struct timespec){.tv_sec = LEASE_MS / 1000 + 1}, NULL);
    servers_command("start", "postgres");
    wait_renewed(worker, &claim);
    expect_state(id, "running");
    finish(worker, &claim, "completed", NULL);
    expect_state(id, "completed");

    servers_command("kill", "nats");
    servers_command("start", "nats");
    submit_funded("after the storm", id);
    claim = accept_offer(worker, id);
    finish(worker, &claim, "completed", NULL);
    watch_wait(events, 1, WAIT_MS, FIELDS("job_id", id, "to", "completed"));
    retire(worker);
}

/* NATS lets a node publish under its own name alone; the name in the message counts for nothing. */
static void test_scheduler__a_node_cannot_end_anothers_job(void **state)
{
    (void)state;
    char id[CYX_ID_BYTES], subject[CYX_SUBJECT_BYTES];
    struct cyx_error err = {0};
    struct worker *holder = new_worker("holder", false), *thief;
    submit_funded("guarded", id);
    struct claim claim = accept_offer(holder, id);
    thief = new_worker("thief", false);
    static const char *const stems[] = {CYX_SVC_SCHEDULER_ACCEPT, CYX_SVC_SCHEDULER_PROGRESS,
                                        CYX_SVC_SCHEDULER_FINISH};
    for (size_t i = 0; i < sizeof(stems) / sizeof(stems[0]); i++) {
        assert_int_equal(cyx_subject_from_node(subject, stems[i], worker_id(thief)), CYX_OK);
        ask_error(bus, subject, finish_json(holder, &claim, "completed", NULL), CYX_ERR_DENIED,
                  &err);
        assert_string_equal(err.pointer, "/node_id");
    }
    expect_state(id, "running");
    finish(holder, &claim, "completed", NULL);
    expect_state(id, "completed");
    retire(holder);
    retire(thief);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scheduler__a_node_cannot_end_anothers_job),
        cmocka_unit_test(test_scheduler__a_lost_lease_is_given_to_another),
        cmocka_unit_test(test_scheduler__a_restarted_worker_loses_its_job_at_once),
        cmocka_unit_test(test_scheduler__an_offline_node_loses_its_job),
        cmocka_unit_test(test_scheduler__failures),
        cmocka_unit_test(test_scheduler__an_unanswered_offer_expires),
        cmocka_unit_test(test_scheduler__a_clock_set_back_holds_nothing_up),
        cmocka_unit_test(test_scheduler__replicas_never_assign_twice),
        cmocka_unit_test(test_scheduler__outlives_its_servers),
    };
    return cmocka_run_group_tests(tests, start_all, stop_all);
}
