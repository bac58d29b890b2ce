/*
 * A service's life: this program starts itself as a small service and looks at it from outside: ready, not ready,
 * metrics, stopping in good order, a second signal, settings that are wrong.
 */
#include "servers.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "http/client.h"
#include "svc/svc.h"

static const char *own_path;

/* ---- the service ---- */

struct app {
    struct cyx_svc *svc;
    struct cyx_db *db;
    struct cyx_cache *cache;
    struct cyx_bus *bus;
    struct cyx_outbox_relay *outbox;
};

struct creation {
    const struct cyx_bus_message *request;
};

static enum cyx_status create_body(void *ctx, struct cyx_db_conn *conn, struct cyx_error *err)
{
    const struct creation *creation = ctx;
    const struct cyx_outbox_event event = {.subject = "cyx.evt.thing.created",
                                           .message_id = creation->request->meta.request_id,
                                           .request_id = creation->request->meta.request_id,
                                           .json = creation->request->data};
    return cyx_outbox_add_event(conn, &event, err);
}

static enum cyx_status create_thing(void *ctx, const struct cyx_bus_message *request,
                                    struct cyx_buf *reply, struct cyx_error *err)
{
    struct app *app = ctx;
    struct creation creation = {.request = request};
    cyx_buf_puts(reply, "{\"created\":true}");
    return cyx_db_transaction(app->db, create_body, &creation, err);
}

/* Answers after a second, so that a stop can fall into the middle of it. */
static enum cyx_status take_long(void *ctx, const struct cyx_bus_message *request,
                                 struct cyx_buf *reply, struct cyx_error *err)
{
    (void)request;
    struct app *app = ctx;
    enum cyx_status status = cyx_bus_publish(app->bus, "sample.entered", NULL, "{}", 2, err);
    if (status != CYX_OK)
        return status;
    sleep(1);
    cyx_buf_puts(reply, "{\"finished\":true}");
    return CYX_OK;
}

static enum cyx_status stop_by_itself(void *ctx, const struct cyx_bus_message *request,
                                      struct cyx_buf *reply, struct cyx_error *err)
{
    (void)request;
    (void)reply;
    (void)err;
    struct app *app = ctx;
    cyx_svc_quit(app->svc, 3);
    return CYX_OK;
}

static const struct cyx_bus_route routes[] = {
    {"cyx.svc.sample.create", create_thing},
    {"cyx.svc.sample.slow", take_long},
    {"cyx.svc.sample.quit", stop_by_itself},
};

static int service_main(void)
{
    struct app app = {0};
    struct cyx_error err = {0};
    if (cyx_svc_create("sample", &app.svc, &err) != CYX_OK ||
        cyx_svc_open_database(app.svc, &app.db, &err) != CYX_OK ||
        cyx_svc_open_cache(app.svc, &app.cache, &err) != CYX_OK ||
        cyx_svc_open_bus(app.svc, &app.bus, &err) != CYX_OK ||
        cyx_svc_open_outbox(app.svc, &app.outbox, &err) != CYX_OK ||
        cyx_bus_serve_table(app.bus, routes, CYX_COUNT_OF(routes), "sample", &app, &err) != CYX_OK)
        return cyx_svc_fail(app.svc, &err);
    int code = cyx_svc_run(app.svc);
    cyx_svc_destroy(app.svc);
    return code;
}

/* ---- looking at it ---- */

struct service {
    char folder[64], port_file[96], log_file[96];
    pid_t pid;
    struct cyx_bus *bus;
    struct cyx_http_client *http;
    struct latch entered;
};

static void start_process(struct service *service)
{
    service->pid = fork();
    assert_true(service->pid >= 0);
    if (service->pid > 0)
        return;
    int log = open(service->log_file, O_WRONLY | O_CREAT | O_APPEND, 0600);
    dup2(log, STDERR_FILENO);
    execl(own_path, own_path, "service", (char *)NULL);
    _exit(127);
}

static bool has_port(void *ctx)
{
    struct service *service = ctx;
    return access(service->port_file, R_OK) == 0;
}

static void read_text(const char *path, char *ret_text, size_t size)
{
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    cyx_buf_read_file(&text, path, 1 << 20, NULL);
    snprintf(ret_text, size, "%s", text.data ? text.data : "");
}

static int setup(void **state)
{
    struct service *service = calloc(1, sizeof(*service));
    *state = service;
    service->entered = (struct latch)LATCH_INIT;
    snprintf(service->folder, sizeof(service->folder), "/tmp/cyx-svc-XXXXXX");
    if (!mkdtemp(service->folder))
        return -1;
    snprintf(service->port_file, sizeof(service->port_file), "%s/port", service->folder);
    snprintf(service->log_file, sizeof(service->log_file), "%s/log", service->folder);
    setenv("CYXWIZ_HEALTH_PORT_FILE", service->port_file, 1);
    setenv("CYXWIZ_MIGRATIONS_DIR", CYX_SOURCE_DIR "/tests/integration/svc_migrations", 1);
    struct cyx_error err = {0};
    const struct cyx_bus_options options = {.url = servers_env("CYXWIZ_NATS_URL"), .name = "test"};
    if (cyx_bus_connect(&options, &service->bus, &err) != CYX_OK)
        fail_msg("%s", err.message);
    return 0;
}

static int setup_running(void **state)
{
    if (setup(state) != 0)
        return -1;
    struct service *service = *state;
    char port[16], url[64];
    struct cyx_error err = {0};
    start_process(service);
    if (!wait_for(has_port, service))
        fail_msg("the service did not become ready");
    read_text(service->port_file, port, sizeof(port));
    snprintf(url, sizeof(url), "http://127.0.0.1:%ld", strtol(port, NULL, 10));
    const struct cyx_http_client_options options = {.base_url = url, .max_attempts = 1};
    if (cyx_http_client_create(&options, &service->http, &err) != CYX_OK)
        fail_msg("%s", err.message);
    return 0;
}

static int teardown(void **state)
{
    struct service *service = *state;
    char command[128];
    if (service->pid > 0) {
        kill(service->pid, SIGKILL);
        waitpid(service->pid, NULL, 0);
    }
    cyx_http_client_destroy(service->http);
    cyx_bus_destroy(service->bus);
    snprintf(command, sizeof(command), "rm -rf %s", service->folder);
    int removed = system(command);
    free(service);
    return removed;
}

/* The status of GET `path`; the body must hold `part`. */
static int get(struct service *service, const char *path, const char *part)
{
    struct cyx_error err = {0};
    CYX_CLEANUP_HTTP_RESULT struct cyx_http_result result = {0};
    const struct cyx_http_call call = {.method = "GET", .url = path};
    if (cyx_http_client_call(service->http, &call, &result, &err) != CYX_OK)
        fail_msg("GET %s: %s", path, err.message);
    if (!strstr(result.body.data ? result.body.data : "", part))
        fail_msg("GET %s: no %s in %s", path, part, result.body.data ? result.body.data : "");
    return result.status;
}

static enum cyx_status ask(struct service *service, const char *subject, struct cyx_buf *reply,
                           struct cyx_error *err)
{
    return cyx_bus_request(service->bus, subject, NULL, "{}", 2, 5000, reply, err);
}

/* Its exit status, or 128 + the number of the signal that ended it. */
static int wait_exit(struct service *service)
{
    int status = 0;
    assert_int_equal(waitpid(service->pid, &status, 0), service->pid);
    service->pid = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void assert_log(struct service *service, const char *part)
{
    char log[20000];
    read_text(service->log_file, log, sizeof(log));
    if (!strstr(log, part))
        fail_msg("no %s in the log:\n%s", part, log);
}

/* The outcome of a request is counted behind its answer. */
static bool counted(void *ctx)
{
    struct service *service = ctx;
    CYX_CLEANUP_HTTP_RESULT struct cyx_http_result result = {0};
    const struct cyx_http_call call = {.method = "GET", .url = "/metrics"};
    return cyx_http_client_call(service->http, &call, &result, NULL) == CYX_OK &&
           strstr(result.body.data,
                  "cyx_bus_request_seconds_count{subject=\"cyx.svc.sample.create\","
                  "status=\"ok\"} 1\n");
}

static void test_svc__it_tells_health_readiness_and_metrics(void **state)
{
    struct service *service = *state;
    struct cyx_error err = {0};
    assert_int_equal(get(service, "/healthz", "alive"), 200);
    assert_int_equal(get(service, "/readyz",
                         "{\"ready\":true,\"draining\":false,\"checks\":"
                         "{\"database\":\"ok\",\"bus\":\"ok\"}}"),
                     200);
    assert_int_equal(ask(service, "cyx.svc.sample.create", NULL, &err), CYX_OK);
    assert_true(wait_for(counted, service));
    get(service, "/metrics", "\ncyx_bus_up 1\n");
    get(service, "/metrics", "\ncyx_cache_up ");
    get(service, "/metrics", "\ncyx_process_resident_bytes ");
    assert_log(service, "READY");
}

static bool is_ready(void *ctx)
{
    struct cyx_error err = {0};
    struct service *service = ctx;
    CYX_CLEANUP_HTTP_RESULT struct cyx_http_result result = {0};
    const struct cyx_http_call call = {.method = "GET", .url = "/readyz"};
    return cyx_http_client_call(service->http, &call, &result, &err) == CYX_OK &&
           result.status == 200;
}

static bool is_not_ready(void *ctx)
{
    return !is_ready(ctx);
}

static void test_svc__it_is_not_ready_without_its_servers(void **state)
{
    struct service *service = *state;
    struct cyx_error err = {0};
    servers_command("kill", "nats");
    assert_true(wait_for(is_not_ready, service));
    assert_int_equal(get(service, "/readyz", "the NATS server is away"), 503);
    assert_int_equal(get(service, "/healthz", "alive"), 200);
    servers_command("start", "nats");
    assert_true(wait_for(is_ready, service));
    servers_command("kill", "postgres");
    assert_int_equal(get(service, "/readyz", "database: "), 503);
    servers_command("start", "postgres");
    assert_true(wait_for(is_ready, service));
    servers_command("kill", "redis"); /* slower and nothing else */
    assert_int_equal(get(service, "/readyz", "\"ready\":true"), 200);
    assert_int_equal(ask(service, "cyx.svc.sample.create", NULL, &err), CYX_OK);
    servers_command("start", "redis");
}

struct call {
    pthread_t thread;
    struct service *service;
    enum cyx_status status;
    struct cyx_error err;
};

static void *call_slow(void *ctx)
{
    struct call *call = ctx;
    call->status = ask(call->service, "cyx.svc.sample.slow", NULL, &call->err);
    return NULL;
}

static void on_entered(void *ctx, const struct cyx_bus_message *message)
{
    (void)message;
    struct service *service = ctx;
    latch_add(&service->entered, 1);
}

/* Starts a request that takes a second, and returns when the service's handler has it. */
static void call_start(struct call *call, struct service *service)
{
    struct cyx_error err = {0};
    *call = (struct call){.service = service};
    if (cyx_bus_subscribe(service->bus, "sample.entered", NULL, on_entered, service, &err) !=
        CYX_OK)
        fail_msg("%s", err.message);
    assert_int_equal(pthread_create(&call->thread, NULL, call_slow, call), 0);
    assert_true(latch_wait(&service->entered, 1));
}

static void test_svc__a_signal_lets_requests_end_and_events_go_out(void **state)
{
    struct service *service = *state;
    struct call call;
    call_start(&call, service);
    int64_t start = cyx_clock_monotonic_ns();
    kill(service->pid, SIGTERM);
    assert_int_equal(wait_exit(service), 0);
    assert_true(cyx_clock_monotonic_ns() - start < 9000000000);
    pthread_join(call.thread, NULL);
    if (call.status != CYX_OK)
        fail_msg("%s", call.err.message);
    assert_log(service, "\"message\":\"stopping\",\"signal\":\"Terminated\"");
    assert_log(service, "\"message\":\"stopped\"");
}

static bool is_stopping(void *ctx)
{
    struct service *service = ctx;
    char log[20000];
    read_text(service->log_file, log, sizeof(log));
    return strstr(log, "stopping") != NULL;
}

static void test_svc__a_second_signal_ends_it_at_once(void **state)
{
    struct service *service = *state;
    struct call call;
    call_start(&call, service);
    kill(service->pid, SIGTERM);
    assert_true(wait_for(is_stopping, service));
    int status = 0;
    /* Again until it goes: the first may come before the default effect is back. */
    while (waitpid(service->pid, &status, WNOHANG) == 0)
        kill(service->pid, SIGTERM);
    service->pid = 0;
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
    pthread_join(call.thread, NULL);
    assert_int_not_equal(call.status, CYX_OK);
}

static void test_svc__it_can_stop_itself_with_a_code(void **state)
{
    struct service *service = *state;
    struct cyx_error err = {0};
    ask(service, "cyx.svc.sample.quit", NULL, &err);
    assert_int_equal(wait_exit(service), 3);
}

static void test_svc__wrong_settings_are_told_and_end_it(void **state)
{
    struct service *service = *state;
    setenv("CYXWIZ_BUS_WORKERS", "many", 1);
    start_process(service);
    assert_int_equal(wait_exit(service), 1);
    unsetenv("CYXWIZ_BUS_WORKERS");
    assert_log(service, "CYXWIZ_BUS_WORKERS is \\\"many\\\"; set it to a whole number");
    setenv("CYXWIZ_MIGRATIONS_DIR", "/nowhere", 1);
    start_process(service);
    assert_int_equal(wait_exit(service), 1);
    assert_log(service, "cannot read the folder /nowhere/sample");
}

#define RUNNING(f) cmocka_unit_test_setup_teardown(f, setup_running, teardown)

int main(int argc, char **argv)
{
    servers_env("CYXWIZ_DATABASE_URL");
    servers_env("CYXWIZ_NATS_URL");
    own_path = argv[0];
    if (argc == 2 && strcmp(argv[1], "service") == 0)
        return service_main();
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        RUNNING(test_svc__it_tells_health_readiness_and_metrics),
        RUNNING(test_svc__it_is_not_ready_without_its_servers),
        RUNNING(test_svc__a_signal_lets_requests_end_and_events_go_out),
        RUNNING(test_svc__a_second_signal_ends_it_at_once),
        RUNNING(test_svc__it_can_stop_itself_with_a_code),
        cmocka_unit_test_setup_teardown(test_svc__wrong_settings_are_told_and_end_it, setup,
                                        teardown),
    };
    return cmocka_run_group_tests_name("svc", tests, NULL, NULL);
}
