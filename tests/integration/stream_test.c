/* bus/stream.h against a real JetStream: deduplication, redelivery, giving up, tails, gaps, restarts. */
#include "servers.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "bus/stream.h"

static struct cyx_bus *connect_bus(void)
{
    const struct cyx_bus_options options = {.url = servers_env("CYXWIZ_NATS_URL"), .name = "test"};
    struct cyx_error err = {0};
    struct cyx_bus *bus = NULL;
    if (cyx_bus_connect(&options, &bus, &err) != CYX_OK)
        fail_msg("%s", err.message);
    return bus;
}

/* A stream of this test's own: NAME with the subjects name.>. */
static struct cyx_bus *connect_with_stream(const char *name, int64_t per_subject)
{
    struct cyx_bus *bus = connect_bus();
    char subject[64];
    snprintf(subject, sizeof(subject), "%s.>", name);
    const struct cyx_bus_stream stream = {
        .name = name, .subjects = {subject}, .max_messages_per_subject = per_subject};
    struct cyx_error err = {0};
    if (cyx_bus_ensure_stream(bus, &stream, &err) != CYX_OK)
        fail_msg("%s", err.message);
    return bus;
}

static uint64_t publish(struct cyx_bus *bus, const char *subject, const char *id, const char *json)
{
    struct cyx_error err = {0};
    uint64_t sequence = 0;
    if (cyx_bus_publish_event(bus, subject, id, NULL, json, strlen(json), &sequence, &err) !=
        CYX_OK)
        fail_msg("%s", err.message);
    return sequence;
}

static void publish_numbers(struct cyx_bus *bus, const char *subject, int from, int to)
{
    for (int i = from; i < to; i++) {
        char text[16];
        snprintf(text, sizeof(text), "%d", i);
        publish(bus, subject, NULL, text);
    }
}

static void test_stream__the_same_message_id_is_stored_once(void **state)
{
    (void)state;
    struct cyx_bus *bus = connect_with_stream("DEDUP", 0);
    uint64_t first = publish(bus, "DEDUP.a", "id-1", "{}");
    assert_int_equal(publish(bus, "DEDUP.a", "id-1", "{}"), first);
    assert_int_equal(publish(bus, "DEDUP.a", "id-2", "{}"), first + 1);
    cyx_bus_destroy(bus);
}

static void test_stream__ensuring_it_again_changes_its_limits(void **state)
{
    (void)state;
    struct cyx_bus *bus = connect_with_stream("LIMITS", 0);
    const struct cyx_bus_stream other = {
        .name = "LIMITS", .subjects = {"LIMITS.>", "MORE.>"}, .max_bytes = 1 << 20};
    const struct cyx_bus_stream overlap = {.name = "OVERLAP", .subjects = {"LIMITS.a"}};
    struct cyx_error err = {0};
    assert_int_equal(cyx_bus_ensure_stream(bus, &other, &err), CYX_OK);
    publish(bus, "MORE.a", NULL, "{}");
    assert_int_equal(cyx_bus_ensure_stream(bus, &overlap, &err), CYX_ERR_CONFLICT);
    cyx_bus_destroy(bus);
}

static void test_stream__a_subject_without_stream_is_said(void **state)
{
    (void)state;
    struct cyx_bus *bus = connect_bus();
    struct cyx_error err = {0};
    assert_int_equal(cyx_bus_publish_event(bus, "homeless", "1", NULL, "{}", 2, NULL, &err),
                     CYX_ERR_UNAVAILABLE);
    assert_non_null(strstr(err.message, "no stream takes homeless"));
    cyx_bus_destroy(bus);
}

/* ---- asynchronous publishing ---- */

struct outcomes {
    struct latch ok, failed;
    enum cyx_status last;
};

static void on_published(void *ctx, enum cyx_status status, uint64_t sequence)
{
    struct outcomes *outcomes = ctx;
    outcomes->last = status;
    latch_add(status == CYX_OK && sequence > 0 ? &outcomes->ok : &outcomes->failed, 1);
}

static void test_stream__asynchronous_publishes_all_complete(void **state)
{
    (void)state;
    struct outcomes outcomes = {LATCH_INIT, LATCH_INIT, CYX_OK};
    struct cyx_bus *bus = connect_with_stream("ASYNC", 0);
    struct cyx_error err = {0};
    for (int i = 0; i < 3000; i++) {
        char id[16];
        snprintf(id, sizeof(id), "%d", i);
        assert_int_equal(
            cyx_bus_publish_async(bus, "ASYNC.a", id, NULL, "{}", 2, on_published, &outcomes, &err),
            CYX_OK);
    }
    assert_int_equal(cyx_bus_publish_wait(bus, 20000), CYX_OK);
    assert_true(latch_wait(&outcomes.ok, 3000));
    assert_int_equal(latch_count(&outcomes.failed), 0);
    assert_int_equal(publish(bus, "ASYNC.a", NULL, "{}"), 3001);
    cyx_bus_destroy(bus);
}

static void test_stream__an_asynchronous_publish_tells_its_failure(void **state)
{
    (void)state;
    struct outcomes outcomes = {LATCH_INIT, LATCH_INIT, CYX_OK};
    struct cyx_bus *bus = connect_bus();
    struct cyx_error err = {0};
    assert_int_equal(
        cyx_bus_publish_async(bus, "homeless", "1", NULL, "{}", 2, on_published, &outcomes, &err),
        CYX_OK);
    assert_true(latch_wait(&outcomes.failed, 1));
    assert_int_equal(outcomes.last, CYX_ERR_UNAVAILABLE);
    cyx_bus_destroy(bus);
}

static void test_stream__closing_ends_asynchronous_publishes(void **state)
{
    (void)state;
    struct outcomes outcomes = {LATCH_INIT, LATCH_INIT, CYX_OK};
    struct cyx_bus *bus = connect_with_stream("CLOSING", 0);
    struct cyx_error err = {0};
    publish(bus, "CLOSING.a", NULL, "{}");
    servers_command("kill", "nats");
    int sent = 0;
    while (sent < 100 && cyx_bus_publish_async(bus, "CLOSING.a", NULL, NULL, "{}", 2, on_published,
                                               &outcomes, &err) == CYX_OK)
        sent++;
    cyx_bus_destroy(bus);
    assert_int_equal(latch_count(&outcomes.ok) + latch_count(&outcomes.failed), sent);
    servers_command("start", "nats");
}

/* ---- durable consumers ---- */

struct seen {
    struct latch handled;
    uint64_t deliveries; /* of the last message */
    uint64_t fail_until; /* deliveries below this fail */
    enum cyx_status failure;
    int64_t last_ms, gap_ms;
    char last_data[32], last_id[32];
    bool has_ids;
    bool numbers[64]; /* those that came, and how many different ones */
    struct latch different;
};

static enum cyx_status on_event(void *ctx, const struct cyx_bus_message *message,
                                struct cyx_error *err)
{
    struct seen *seen = ctx;
    int64_t now_ms = cyx_clock_monotonic_ns() / 1000000;
    seen->gap_ms = now_ms - seen->last_ms;
    seen->last_ms = now_ms;
    seen->deliveries = message->deliveries;
    seen->has_ids = message->meta.request_id && message->meta.traceparent && message->sequence > 0;
    snprintf(seen->last_data, sizeof(seen->last_data), "%s", message->data);
    snprintf(seen->last_id, sizeof(seen->last_id), "%s", message->message_id);
    long number = strtol(message->data, NULL, 10);
    bool first_time = number >= 0 && number < 64 && !seen->numbers[number];
    if (first_time)
        seen->numbers[number] = true;
    enum cyx_status status = message->deliveries < seen->fail_until ? seen->failure : CYX_OK;
    latch_add(&seen->different, first_time);
    latch_add(&seen->handled, 1); /* behind it the test may look at `seen` */
    return status == CYX_OK ? CYX_OK : cyx_error_set(err, status, NULL, "not yet");
}

static void consume(struct cyx_bus *bus, const char *stream, struct seen *seen, int max_deliver)
{
    const struct cyx_bus_consumer consumer = {.stream = stream,
                                              .durable = "test",
                                              .handler = on_event,
                                              .ctx = seen,
                                              .ack_wait_ns = 10000000000, /* < LATCH_TIMEOUT_S */
                                              .retry_delay_ns = 200000000,
                                              .max_deliver = max_deliver};
    struct cyx_error err = {0};
    if (cyx_bus_consume(bus, &consumer, &err) != CYX_OK)
        fail_msg("%s", err.message);
}

static void test_stream__a_refused_message_comes_again_after_its_delay(void **state)
{
    (void)state;
    struct seen seen = {.handled = LATCH_INIT,
                        .different = LATCH_INIT,
                        .fail_until = 3,
                        .failure = CYX_ERR_UNAVAILABLE};
    struct cyx_bus *bus = connect_with_stream("RETRY", 0);
    publish(bus, "RETRY.a", "one", "1");
    consume(bus, "RETRY", &seen, 0);
    assert_true(latch_wait(&seen.handled, 3));
    assert_int_equal(seen.deliveries, 3);
    assert_string_equal(seen.last_id, "one");
    assert_true(seen.has_ids);
    assert_true(seen.gap_ms >= 390); /* 200 ms doubled once */
    assert_int_equal(cyx_bus_drain(bus, 5000), CYX_OK);
    cyx_bus_destroy(bus);
    /* Acknowledged in the end: a second life of the consumer goes on behind it. */
    struct seen later = {.handled = LATCH_INIT, .different = LATCH_INIT};
    bus = connect_bus();
    publish(bus, "RETRY.a", NULL, "2");
    consume(bus, "RETRY", &later, 0);
    assert_true(latch_wait(&later.handled, 1));
    assert_string_equal(later.last_data, "2");
    cyx_bus_destroy(bus);
}

static void test_stream__a_message_is_given_up_and_the_next_one_follows(void **state)
{
    (void)state;
    struct seen seen = {.handled = LATCH_INIT,
                        .different = LATCH_INIT,
                        .fail_until = 100,
                        .failure = CYX_ERR_UNAVAILABLE};
    struct cyx_bus *bus = connect_with_stream("GIVEUP", 0);
    publish(bus, "GIVEUP.a", NULL, "1");
    consume(bus, "GIVEUP", &seen, 3);
    assert_true(latch_wait(&seen.handled, 3));
    assert_int_equal(seen.deliveries, 3);
    seen.fail_until = 0;
    publish(bus, "GIVEUP.a", NULL, "2");
    assert_true(latch_wait(&seen.handled, 4));
    assert_string_equal(seen.last_data, "2");
    cyx_bus_destroy(bus);
}

static void test_stream__a_message_that_will_never_do_is_given_up_at_once(void **state)
{
    (void)state;
    struct seen seen = {.handled = LATCH_INIT,
                        .different = LATCH_INIT,
                        .fail_until = 100,
                        .failure = CYX_ERR_INVALID};
    struct cyx_bus *bus = connect_with_stream("POISON", 0);
    publish_numbers(bus, "POISON.a", 0, 2);
    consume(bus, "POISON", &seen, 10);
    assert_true(latch_wait(&seen.handled, 2));
    assert_string_equal(seen.last_data, "1");
    assert_int_equal(seen.deliveries, 1);
    cyx_bus_destroy(bus);
}

static void test_stream__a_consumer_waits_for_its_stream(void **state)
{
    (void)state;
    struct seen seen = {.handled = LATCH_INIT, .different = LATCH_INIT};
    struct cyx_bus *bus = connect_bus();
    consume(bus, "LATER", &seen, 0);
    struct cyx_bus *publisher = connect_with_stream("LATER", 0);
    publish(publisher, "LATER.a", NULL, "1");
    assert_true(latch_wait(&seen.handled, 1));
    cyx_bus_destroy(publisher);
    cyx_bus_destroy(bus);
}

static bool connected(void *ctx)
{
    return cyx_bus_connected(ctx);
}

static void test_stream__a_consumer_goes_on_behind_a_restarted_server(void **state)
{
    (void)state;
    struct seen seen = {.handled = LATCH_INIT, .different = LATCH_INIT};
    struct cyx_bus *bus = connect_with_stream("RESTART", 0);
    consume(bus, "RESTART", &seen, 0);
    publish_numbers(bus, "RESTART.a", 0, 10);
    assert_true(latch_wait(&seen.handled, 10));
    servers_command("kill", "nats");
    servers_command("start", "nats");
    assert_true(wait_for(connected, bus));
    publish_numbers(bus, "RESTART.a", 10, 20);
    /* Acknowledgements that were lost bring some of the first ten again, but none is missing. */
    assert_true(latch_wait(&seen.different, 20));
    cyx_bus_destroy(bus);
}

/* ---- tails and reads ---- */

struct followed {
    struct latch count;
    int next;
    bool in_order;
    uint64_t first_sequence, last_pending;
    bool first_gap;
};

static void on_tail(void *ctx, const struct cyx_bus_message *message)
{
    struct followed *followed = ctx;
    if (latch_count(&followed->count) == 0) {
        followed->first_sequence = message->sequence;
        followed->first_gap = message->gap;
        followed->next = (int)strtol(message->data, NULL, 10);
    }
    followed->in_order &= strtol(message->data, NULL, 10) == followed->next++;
    followed->last_pending = message->pending;
    latch_add(&followed->count, 1);
}

static struct cyx_bus_tail *tail(struct cyx_bus *bus, const char *stream, const char *subject,
                                 uint64_t start, struct followed *followed)
{
    struct cyx_error err = {0};
    struct cyx_bus_tail *made = NULL;
    *followed = (struct followed){.count = LATCH_INIT, .in_order = true};
    if (cyx_bus_tail(bus, stream, subject, start, on_tail, followed, &made, &err) != CYX_OK)
        fail_msg("%s", err.message);
    return made;
}

static void test_stream__a_tail_replays_and_then_follows(void **state)
{
    (void)state;
    struct followed followed;
    struct cyx_bus *bus = connect_with_stream("TAIL", 0);
    publish_numbers(bus, "TAIL.a", 0, 500);
    publish_numbers(bus, "TAIL.other", 0, 5);
    struct cyx_bus_tail *t = tail(bus, "TAIL", "TAIL.a", 101, &followed);
    assert_true(latch_wait(&followed.count, 400));
    assert_int_equal(followed.first_sequence, 101);
    assert_int_equal(followed.last_pending, 0);
    publish_numbers(bus, "TAIL.a", 500, 510);
    assert_true(latch_wait(&followed.count, 410));
    assert_true(followed.in_order);
    assert_false(followed.first_gap);
    int64_t start = cyx_clock_monotonic_ns();
    cyx_bus_tail_stop(t);
    assert_true(cyx_clock_monotonic_ns() - start < 500000000); /* a waiting fetch is cut short */
    assert_int_equal(latch_count(&followed.count), 410);
    cyx_bus_destroy(bus);
}

static void test_stream__a_tail_from_now_on_skips_what_was(void **state)
{
    (void)state;
    struct followed followed;
    struct cyx_bus *bus = connect_with_stream("NOW", 0);
    publish_numbers(bus, "NOW.a", 0, 10);
    struct cyx_bus_tail *t = tail(bus, "NOW", "NOW.>", 0, &followed);
    publish_numbers(bus, "NOW.a", 10, 12);
    assert_true(latch_wait(&followed.count, 2));
    assert_int_equal(followed.first_sequence, 11);
    assert_false(followed.first_gap);
    cyx_bus_tail_stop(t);
    cyx_bus_destroy(bus);
}

static void test_stream__a_tail_tells_of_dropped_messages(void **state)
{
    (void)state;
    struct followed followed;
    struct cyx_bus *bus = connect_with_stream("GAP", 5);
    publish_numbers(bus, "GAP.a", 0, 20); /* only the last five are kept */
    struct cyx_bus_tail *t = tail(bus, "GAP", "GAP.>", 3, &followed);
    assert_true(latch_wait(&followed.count, 5));
    assert_int_equal(followed.first_sequence, 16);
    assert_true(followed.first_gap);
    cyx_bus_tail_stop(t);
    cyx_bus_destroy(bus);
}

static void test_stream__a_tail_misses_nothing_when_the_server_dies(void **state)
{
    (void)state;
    struct followed followed;
    struct cyx_bus *bus = connect_with_stream("CRASH", 0);
    struct cyx_bus_tail *t = tail(bus, "CRASH", "CRASH.>", 1, &followed);
    publish_numbers(bus, "CRASH.a", 0, 50);
    assert_true(latch_wait(&followed.count, 50));
    for (int round = 1; round <= 2; round++) {
        servers_command("kill", "nats");
        servers_command("start", "nats");
        assert_true(wait_for(connected, bus));
        publish_numbers(bus, "CRASH.a", 50 * round, 50 * round + 50);
    }
    assert_true(latch_wait(&followed.count, 150));
    assert_true(followed.in_order); /* each once, none left out */
    cyx_bus_tail_stop(t);
    assert_int_equal(latch_count(&followed.count), 150);
    cyx_bus_destroy(bus);
}

static void test_stream__a_tail_left_open_ends_with_the_bus(void **state)
{
    (void)state;
    struct followed followed;
    struct cyx_bus *bus = connect_with_stream("OPEN", 0);
    tail(bus, "OPEN", "OPEN.>", 1, &followed);
    assert_int_equal(cyx_bus_drain(bus, 5000), CYX_OK);
    cyx_bus_destroy(bus);
}

static void test_stream__a_read_gives_what_is_there_and_returns(void **state)
{
    (void)state;
    struct followed followed = {.count = LATCH_INIT, .in_order = true};
    struct cyx_bus *bus = connect_with_stream("READ", 0);
    struct cyx_error err = {0};
    publish_numbers(bus, "READ.a", 0, 700);
    assert_int_equal(cyx_bus_read(bus, "READ", "READ.a", 0, 100000, on_tail, &followed, &err),
                     CYX_OK);
    assert_int_equal(latch_count(&followed.count), 700);
    assert_true(followed.in_order);
    assert_int_equal(cyx_bus_read(bus, "READ", "READ.a", 600, 10, on_tail, &followed, &err),
                     CYX_OK);
    assert_int_equal(latch_count(&followed.count), 710);
    int64_t start = cyx_clock_monotonic_ns();
    assert_int_equal(cyx_bus_read(bus, "READ", "READ.none", 0, 10, on_tail, &followed, &err),
                     CYX_OK);
    assert_true(cyx_clock_monotonic_ns() - start < 1000000000);
    assert_int_equal(latch_count(&followed.count), 710);
    assert_int_equal(cyx_bus_read(bus, "ABSENT", "x", 0, 10, on_tail, &followed, &err),
                     CYX_ERR_NOT_FOUND);
    cyx_bus_destroy(bus);
}

int main(void)
{
    servers_env("CYXWIZ_NATS_URL");
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stream__the_same_message_id_is_stored_once),
        cmocka_unit_test(test_stream__ensuring_it_again_changes_its_limits),
        cmocka_unit_test(test_stream__a_subject_without_stream_is_said),
        cmocka_unit_test(test_stream__asynchronous_publishes_all_complete),
        cmocka_unit_test(test_stream__an_asynchronous_publish_tells_its_failure),
        cmocka_unit_test(test_stream__closing_ends_asynchronous_publishes),
        cmocka_unit_test(test_stream__a_refused_message_comes_again_after_its_delay),
        cmocka_unit_test(test_stream__a_message_is_given_up_and_the_next_one_follows),
        cmocka_unit_test(test_stream__a_message_that_will_never_do_is_given_up_at_once),
        cmocka_unit_test(test_stream__a_consumer_waits_for_its_stream),
        cmocka_unit_test(test_stream__a_consumer_goes_on_behind_a_restarted_server),
        cmocka_unit_test(test_stream__a_tail_replays_and_then_follows),
        cmocka_unit_test(test_stream__a_tail_from_now_on_skips_what_was),
        cmocka_unit_test(test_stream__a_tail_tells_of_dropped_messages),
        cmocka_unit_test(test_stream__a_tail_misses_nothing_when_the_server_dies),
        cmocka_unit_test(test_stream__a_tail_left_open_ends_with_the_bus),
        cmocka_unit_test(test_stream__a_read_gives_what_is_there_and_returns),
    };
    return cmocka_run_group_tests_name("stream", tests, NULL, NULL);
}
