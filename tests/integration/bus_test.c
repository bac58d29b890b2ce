/* libs/bus against a real NATS server: requests, plain messages, restarts, drain, a worker's credential. */
#include "servers.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "bus/stream.h"

static struct cyx_bus *connect_with(struct cyx_bus_options options)
{
    struct cyx_error err = {0};
    struct cyx_bus *bus = NULL;
    options.url = servers_env("CYXWIZ_NATS_URL");
    options.name = "test";
    if (cyx_bus_connect(&options, &bus, &err) != CYX_OK)
        fail_msg("%s", err.message);
    return bus;
}

static struct cyx_bus *connect_bus(void)
{
    return connect_with((struct cyx_bus_options){0});
}

static enum cyx_status ask(struct cyx_bus *bus, const char *subject, const char *json,
                           int64_t timeout_ms, struct cyx_buf *reply, struct cyx_error *err)
{
    const struct cyx_bus_meta meta = {.request_id = "req-1", .account = "account-1"};
    return cyx_bus_request(bus, subject, &meta, json, strlen(json), timeout_ms, reply, err);
}

static enum cyx_status echo(void *ctx, const struct cyx_bus_message *request, struct cyx_buf *reply,
                            struct cyx_error *err)
{
    (void)ctx;
    (void)err;
    cyx_buf_printf(reply,
                   "{\"subject\":\"%s\",\"data\":%s,\"request_id\":\"%s\",\"account\":\"%s\"}",
                   request->subject, request->data, request->meta.request_id,
                   request->meta.account ? request->meta.account : "");
    return CYX_OK;
}

static void test_bus__a_request_is_answered_with_its_headers(void **state)
{
    (void)state;
    struct cyx_bus *bus = connect_bus();
    struct cyx_error err = {0};
    assert_int_equal(cyx_bus_serve(bus, "cyx.svc.echo.*", "echo", echo, NULL, &err), CYX_OK);
    CYX_CLEANUP_BUF struct cyx_buf reply = {0};
    assert_int_equal(ask(bus, "cyx.svc.echo.get", "[1]", 5000, &reply, &err), CYX_OK);
    assert_string_equal(reply.data, "{\"subject\":\"cyx.svc.echo.get\",\"data\":[1],"
                                    "\"request_id\":\"req-1\",\"account\":\"account-1\"}");
    assert_int_equal(cyx_bus_drain(bus, 5000), CYX_OK);
    cyx_bus_destroy(bus);
}

static enum cyx_status refuse(void *ctx, const struct cyx_bus_message *request,
                              struct cyx_buf *reply, struct cyx_error *err)
{
    (void)ctx;
    (void)request;
    cyx_buf_puts(reply, "half an answer");
    return cyx_error_set(err, CYX_ERR_CONFLICT, "/spec/epochs", "no \"such\" thing\n");
}

static void test_bus__a_handlers_error_travels(void **state)
{
    (void)state;
    struct cyx_bus *bus = connect_bus();
    struct cyx_error err = {0};
    assert_int_equal(cyx_bus_serve(bus, "cyx.svc.refuse.get", "refuse", refuse, NULL, &err),
                     CYX_OK);
    CYX_CLEANUP_BUF struct cyx_buf reply = {0};
    assert_int_equal(ask(bus, "cyx.svc.refuse.get", "{}", 5000, &reply, &err), CYX_ERR_CONFLICT);
    assert_int_equal(err.status, CYX_ERR_CONFLICT);
    assert_string_equal(err.pointer, "/spec/epochs");
    assert_string_equal(err.message, "no \"such\" thing "); /* a line end is none in a sentence */
    assert_int_equal(reply.length, 0);
    cyx_bus_destroy(bus);
}

static void test_bus__without_a_responder_the_service_is_named(void **state)
{
    (void)state;
    struct cyx_bus *bus = connect_bus();
    struct cyx_error err = {0};
    assert_int_equal(ask(bus, "cyx.svc.nowhere.get", "{}", 5000, NULL, &err), CYX_ERR_UNAVAILABLE);
    assert_string_equal(err.message, "no nowhere answers");
    cyx_bus_destroy(bus);
}

/* A handler that reports that it runs, then waits until it may go on. */
struct gate {
    struct latch entered, open;
};

static enum cyx_status wait_at_gate(void *ctx, const struct cyx_bus_message *request,
                                    struct cyx_buf *reply, struct cyx_error *err)
{
    (void)request;
    struct gate *gate = ctx;
    latch_add(&gate->entered, 1);
    if (!latch_wait(&gate->open, 1))
        return cyx_error_set(err, CYX_ERR_INTERNAL, NULL, "the gate never opened");
    cyx_buf_puts(reply, "{\"passed\":true}");
    return CYX_OK;
}

static void test_bus__a_slow_answer_is_a_timeout(void **state)
{
    (void)state;
    struct gate gate = {LATCH_INIT, LATCH_INIT};
    struct cyx_bus *bus = connect_bus();
    struct cyx_error err = {0};
    assert_int_equal(cyx_bus_serve(bus, "t.slow", "slow", wait_at_gate, &gate, &err), CYX_OK);
    assert_int_equal(ask(bus, "t.slow", "{}", 100, NULL, &err), CYX_ERR_TIMEOUT);
    assert_int_equal(latch_count(&gate.entered), 1);
    latch_add(&gate.open, 1);
    cyx_bus_destroy(bus);
}

struct call {
    pthread_t thread;
    struct cyx_bus *bus;
    const char *subject;
    enum cyx_status status;
    struct cyx_error err;
    struct cyx_buf reply;
};

static void *call_main(void *ctx)
{
    struct call *call = ctx;
    call->status = ask(call->bus, call->subject, "{}", 20000, &call->reply, &call->err);
    return NULL;
}

static void call_start(struct call *call, struct cyx_bus *bus, const char *subject)
{
    *call = (struct call){.bus = bus, .subject = subject};
    assert_int_equal(pthread_create(&call->thread, NULL, call_main, call), 0);
}

static enum cyx_status call_end(struct call *call)
{
    pthread_join(call->thread, NULL);
    cyx_buf_finish(&call->reply);
    return call->status;
}

static void test_bus__handlers_run_side_by_side(void **state)
{
    (void)state;
    struct gate gate = {LATCH_INIT, LATCH_INIT};
    struct cyx_bus *bus = connect_with((struct cyx_bus_options){.workers = 3});
    struct cyx_error err = {0};
    assert_int_equal(cyx_bus_serve(bus, "t.par", "par", wait_at_gate, &gate, &err), CYX_OK);
    struct call calls[3];
    for (int i = 0; i < 3; i++)
        call_start(&calls[i], bus, "t.par");
    assert_true(latch_wait(&gate.entered, 3)); /* all at once, before any has ended */
    latch_add(&gate.open, 1);
    for (int i = 0; i < 3; i++)
        assert_int_equal(call_end(&calls[i]), CYX_OK);
    cyx_bus_destroy(bus);
}

static enum cyx_status is_busy(struct cyx_bus *bus, struct cyx_error *err)
{
    return ask(bus, "t.busy", "{}", 300, NULL, err);
}

static void test_bus__a_full_queue_says_busy_at_once(void **state)
{
    (void)state;
    struct gate gate = {LATCH_INIT, LATCH_INIT};
    struct cyx_bus *bus = connect_with((struct cyx_bus_options){.workers = 1, .queue_limit = 1});
    struct cyx_error err = {0};
    assert_int_equal(cyx_bus_serve(bus, "t.busy", "busy", wait_at_gate, &gate, &err), CYX_OK);
    struct call first;
    call_start(&first, bus, "t.busy");
    assert_true(latch_wait(&gate.entered, 1));
    assert_int_equal(is_busy(bus, &err), CYX_ERR_TIMEOUT); /* it lies in the queue */
    assert_int_equal(is_busy(bus, &err), CYX_ERR_UNAVAILABLE);
    assert_non_null(strstr(err.message, "busy"));
    latch_add(&gate.open, 1);
    assert_int_equal(call_end(&first), CYX_OK);
    cyx_bus_destroy(bus);
}

static enum cyx_status too_much(void *ctx, const struct cyx_bus_message *request,
                                struct cyx_buf *reply, struct cyx_error *err)
{
    (void)ctx;
    (void)request;
    (void)err;
    for (int i = 0; i < 20000; i++)
        cyx_buf_puts(reply, "0123456789012345678901234567890123456789012345678901234567890123");
    return CYX_OK;
}

static void test_bus__what_is_too_large_is_refused_both_ways(void **state)
{
    (void)state;
    struct cyx_bus *bus = connect_bus();
    struct cyx_error err = {0};
    assert_int_equal(cyx_bus_serve(bus, "t.big", "big", too_much, NULL, &err), CYX_OK);
    assert_int_equal(ask(bus, "t.big", "{}", 5000, NULL, &err), CYX_ERR_TOO_LARGE);
    char *text = calloc(1, CYX_BUS_PAYLOAD_BYTES + 2);
    memset(text, ' ', CYX_BUS_PAYLOAD_BYTES + 1);
    assert_int_equal(ask(bus, "t.big", text, 5000, NULL, &err), CYX_ERR_TOO_LARGE);
    free(text);
    cyx_bus_destroy(bus);
}

struct heard {
    struct latch count;
    int next;
    bool in_order;
};

static void hear(void *ctx, const struct cyx_bus_message *message)
{
    struct heard *heard = ctx;
    heard->in_order &= strtol(message->data, NULL, 10) == heard->next++;
    heard->in_order &= message->meta.request_id && message->meta.traceparent;
    latch_add(&heard->count, 1);
}

static void test_bus__plain_messages_arrive_in_order(void **state)
{
    (void)state;
    struct heard heard = {.count = LATCH_INIT, .in_order = true};
    struct cyx_bus *bus = connect_bus();
    struct cyx_error err = {0};
    assert_int_equal(cyx_bus_subscribe(bus, "t.plain.*", NULL, hear, &heard, &err), CYX_OK);
    for (int i = 0; i < 1000; i++) {
        char text[16];
        int length = snprintf(text, sizeof(text), "%d", i);
        assert_int_equal(cyx_bus_publish(bus, "t.plain.a", NULL, text, (size_t)length, &err),
                         CYX_OK);
    }
    assert_true(latch_wait(&heard.count, 1000));
    assert_true(heard.in_order);
    cyx_bus_destroy(bus);
}

static bool connected(void *ctx)
{
    return cyx_bus_connected(ctx);
}

static bool disconnected(void *ctx)
{
    return !cyx_bus_connected(ctx);
}

static void test_bus__it_comes_back_when_the_server_does(void **state)
{
    (void)state;
    struct heard heard = {.count = LATCH_INIT, .in_order = true};
    struct cyx_bus *bus = connect_bus();
    struct cyx_error err = {0};
    assert_int_equal(cyx_bus_serve(bus, "t.back", "back", echo, NULL, &err), CYX_OK);
    assert_int_equal(cyx_bus_subscribe(bus, "t.kept", NULL, hear, &heard, &err), CYX_OK);
    servers_command("kill", "nats");
    assert_true(wait_for(disconnected, bus));
    int64_t start = cyx_clock_monotonic_ns();
    assert_int_equal(ask(bus, "t.back", "{}", 5000, NULL, &err), CYX_ERR_UNAVAILABLE);
    assert_true(cyx_clock_monotonic_ns() - start <
                1000000000); /* told at once, not at the time-out */
    assert_int_equal(cyx_bus_publish(bus, "t.kept", NULL, "0", 1, &err), CYX_OK);
    servers_command("start", "nats");
    assert_true(wait_for(connected, bus));
    assert_true(latch_wait(&heard.count, 1)); /* what was published meanwhile was kept */
    assert_int_equal(ask(bus, "t.back", "{}", 5000, NULL, &err), CYX_OK);
    cyx_bus_destroy(bus);
}

static void test_bus__drain_lets_a_handler_end_and_answer(void **state)
{
    (void)state;
    struct gate gate = {LATCH_INIT, LATCH_INIT};
    struct cyx_bus *server = connect_bus(), *client = connect_bus();
    struct cyx_error err = {0};
    assert_int_equal(cyx_bus_serve(server, "t.drain", "drain", wait_at_gate, &gate, &err), CYX_OK);
    struct call call;
    call_start(&call, client, "t.drain");
    assert_true(latch_wait(&gate.entered, 1));
    assert_int_equal(cyx_bus_quiet(server, 100), CYX_ERR_TIMEOUT); /* it still runs */
    assert_int_equal(ask(client, "t.drain", "{}", 5000, NULL, &err), CYX_ERR_UNAVAILABLE);
    latch_add(&gate.open, 1);
    assert_int_equal(cyx_bus_drain(server, 5000), CYX_OK);
    assert_int_equal(call_end(&call), CYX_OK);
    cyx_bus_destroy(server);
    cyx_bus_destroy(client);
}

static void test_bus__a_wrong_credential_is_told_at_once(void **state)
{
    (void)state;
    const struct cyx_bus_options options = {
        .url = servers_env("CYXWIZ_NATS_URL"), .user = "cyxwiz", .password = "secret-and-wrong"};
    struct cyx_error err = {0};
    struct cyx_bus *bus = NULL;
    int64_t start = cyx_clock_monotonic_ns();
    assert_int_equal(cyx_bus_connect(&options, &bus, &err), CYX_ERR_DENIED);
    assert_true(cyx_clock_monotonic_ns() - start < 5000000000);
    assert_null(strstr(err.message, "secret"));
}

static void test_bus__an_absent_server_is_named_without_password(void **state)
{
    (void)state;
    const struct cyx_bus_options options = {.url = "nats://me:secret@127.0.0.1:1", .wait_ms = 300};
    struct cyx_error err = {0};
    struct cyx_bus *bus = NULL;
    assert_int_equal(cyx_bus_connect(&options, &bus, &err), CYX_ERR_UNAVAILABLE);
    assert_non_null(strstr(err.message, "127.0.0.1:1"));
    assert_null(strstr(err.message, "secret"));
}

static void published(void *ctx, enum cyx_status status, uint64_t sequence)
{
    if (status == CYX_OK && sequence > 0)
        latch_add(ctx, 1);
}

static void test_bus__a_workers_credential_is_enough_for_its_work(void **state)
{
    (void)state;
    const char *node = servers_env("CYXWIZ_TEST_NODE_ID");
    char inbox[64], subject[128], ask_subject[128], tell_subject[128];
    snprintf(inbox, sizeof(inbox), "_INBOX_%s", node);
    snprintf(ask_subject, sizeof(ask_subject), "cyx.svc.scheduler.progress.%s", node);
    snprintf(tell_subject, sizeof(tell_subject), "cyx.job.1.metrics.%s", node);
    struct cyx_bus *services = connect_bus();
    struct cyx_bus *worker = connect_with(
        (struct cyx_bus_options){.user = node, .password = node, .inbox_prefix = inbox});
    struct cyx_error err = {0};
    assert_int_equal(cyx_bus_ensure_stream(services, &cyx_bus_stream_jobs, &err), CYX_OK);
    assert_int_equal(
        cyx_bus_serve(services, "cyx.svc.scheduler.progress.*", "scheduler", echo, NULL, &err),
        CYX_OK);
    assert_int_equal(ask(worker, ask_subject, "{}", 5000, NULL, &err), CYX_OK);
    struct heard heard = {.count = LATCH_INIT, .in_order = true};
    snprintf(subject, sizeof(subject), "cyx.node.%s.offer", node);
    assert_int_equal(cyx_bus_subscribe(worker, subject, NULL, hear, &heard, &err), CYX_OK);
    assert_int_equal(cyx_bus_publish(services, subject, NULL, "0", 1, &err), CYX_OK);
    assert_true(latch_wait(&heard.count, 1));
    struct latch done = LATCH_INIT;
    assert_int_equal(cyx_bus_publish_async(worker, tell_subject, "1:1:step:1", NULL, "{}", 2,
                                           published, &done, &err),
                     CYX_OK);
    assert_true(latch_wait(&done, 1));
    assert_int_equal(
        cyx_bus_publish_event(worker, tell_subject, "1:1:step:2", NULL, "{}", 2, NULL, &err),
        CYX_OK);
    cyx_bus_destroy(worker);
    cyx_bus_destroy(services);
}

/* Changes a user's password in the private server's configuration. */
static void edit_configuration(const char *from, const char *to)
{
    char path[256], command[1024];
    snprintf(path, sizeof(path), "%s", servers_env("CYXWIZ_TEST_CONTROL"));
    *strrchr(path, '/') = '\0';
    snprintf(command, sizeof(command),
             "sed -i 's/password: \"%s\"/password: \"%s\"/' '%s/nats.conf'", from, to, path);
    assert_int_equal(system(command), 0);
}

static void on_lost(void *ctx)
{
    latch_add(ctx, 1);
}

static void test_bus__a_connection_lost_for_good_is_told(void **state)
{
    (void)state;
    const char *node = servers_env("CYXWIZ_TEST_NODE_ID");
    char inbox[64];
    snprintf(inbox, sizeof(inbox), "_INBOX_%s", node);
    struct latch lost = LATCH_INIT;
    struct cyx_bus *bus = connect_with((struct cyx_bus_options){
        .user = node, .password = node, .inbox_prefix = inbox, .lost = on_lost, .lost_ctx = &lost});
    servers_command("kill", "nats");
    edit_configuration(node, "changed");
    servers_command("start", "nats");
    assert_true(latch_wait(&lost, 1));
    cyx_bus_destroy(bus);
    servers_command("kill", "nats");
    edit_configuration("changed", node);
    servers_command("start", "nats");
    assert_int_equal(latch_count(&lost), 1);
}

int main(void)
{
    servers_env("CYXWIZ_NATS_URL");
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bus__a_request_is_answered_with_its_headers),
        cmocka_unit_test(test_bus__a_handlers_error_travels),
        cmocka_unit_test(test_bus__without_a_responder_the_service_is_named),
        cmocka_unit_test(test_bus__a_slow_answer_is_a_timeout),
        cmocka_unit_test(test_bus__handlers_run_side_by_side),
        cmocka_unit_test(test_bus__a_full_queue_says_busy_at_once),
        cmocka_unit_test(test_bus__what_is_too_large_is_refused_both_ways),
        cmocka_unit_test(test_bus__plain_messages_arrive_in_order),
        cmocka_unit_test(test_bus__it_comes_back_when_the_server_does),
        cmocka_unit_test(test_bus__drain_lets_a_handler_end_and_answer),
        cmocka_unit_test(test_bus__a_wrong_credential_is_told_at_once),
        cmocka_unit_test(test_bus__an_absent_server_is_named_without_password),
        cmocka_unit_test(test_bus__a_workers_credential_is_enough_for_its_work),
        cmocka_unit_test(test_bus__a_connection_lost_for_good_is_told),
    };
    return cmocka_run_group_tests_name("bus", tests, NULL, NULL);
}
