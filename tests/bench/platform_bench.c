/*
 * What the scheduler carries: simulated nodes speak the real protocol to a real scheduler and registry, on real
 * PostgreSQL (with fsync) and NATS. `make bench-platform` runs it by tests/support/servers.
 *
 *   platform_bench [nodes] [seconds]      1000 nodes, 10 s a measurement
 *
 * Every node enrols, beats every two seconds, takes each offer, accepts it and finishes it at once; so a placement is
 * counted when its offer arrives, and costs an assignment, an accept and a finish, each a transaction with its history
 * and events. Queued jobs are rows written by SQL (as many as a day's submits), kept at their number while it runs.
 * Durable: the offer is sent after its transaction has committed.
 */
#include <dirent.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "contract/subjects.h"
#include "fleet.h"
#include "http/client.h"
#include "store/db.h"

enum { NODES_MAX = 4096, RING = 8192, HANDS = 32, SUBMITTERS = 8, LATENCIES = 20000 };
static const char account_prefix[] = "01935b1e-0000-7000-8000-";

struct node {
    char id[CYX_ID_BYTES], boot_id[CYX_ID_BYTES];
    char last_job[CYX_ID_BYTES];
    int64_t last_token;
};

struct taken {
    size_t node;
    char job_id[CYX_ID_BYTES];
    int64_t token;
};

/* One world a process; what threads share is under `lock`. */
static struct {
    struct cyx_bus *bus;
    struct cyx_db *db;
    char port_file[64], first_job[CYX_ID_BYTES];
    struct node nodes[NODES_MAX];
    size_t n_nodes;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct taken ring[RING];
    size_t head, count;
    bool stop, feeding;
    int64_t offers, finished, refused, want_queued;
    struct {
        char job_id[CYX_ID_BYTES];
        int64_t at_ns;
    } sent[LATENCIES]; /* submits that are timed */
    size_t n_sent;
    double latency_ms[LATENCIES];
    size_t n_latency;
} bench = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void pause_ms(int64_t ms)
{
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

static void die(const char *what, const struct cyx_error *err)
{
    fprintf(stderr, "%s: %s\n", what, err->message);
    exit(1);
}

/* ---- the database: what is set up, not what is measured ---- */

static int64_t sql(const char *text, const struct cyx_db_param *params, size_t count)
{
    struct cyx_db_conn *conn = NULL;
    struct cyx_db_result *rows = NULL;
    struct cyx_error err = {0};
    if (cyx_db_take(bench.db, &conn, &err) != CYX_OK ||
        cyx_db_query_params(conn, text, count, params, &rows, &err) != CYX_OK)
        die(text, &err);
    int64_t value = cyx_db_rows(rows) > 0 ? cyx_db_int(rows, 0, 0) : 0;
    cyx_db_result_free(rows);
    cyx_db_give(conn);
    return value;
}

static int64_t queued(void)
{
    return sql("select count(*) from job where state = 'queued' and funded", NULL, 0);
}

/* More of the first job: 20 accounts, 4 lanes each, two priorities. */
static void queue_jobs(int64_t count)
{
    const struct cyx_db_param params[] = {CYX_DB_TEXT(bench.first_job), CYX_DB_INT(count),
                                          CYX_DB_TEXT(account_prefix)};
    sql("with made as (insert into job (id, account_id, name, state, priority, budget, backend, "
        "memory_bytes, threads, parameters, flops_per_sample, training_bytes, funded, dataset, "
        "total_flops, lane, created_at) select gen_random_uuid(), ($3 || lpad((g % 20)::text, 12, "
        "'0'))::uuid, name, 'queued', g / 20 % 2, budget, backend, memory_bytes, threads, "
        "parameters, flops_per_sample, training_bytes, true, dataset, total_flops, g / 40 % 4, "
        "clock_timestamp() from job, generate_series(1, $2) g where job.id = $1 returning id) "
        "insert into job_spec (job_id, spec) select made.id, spec from made, job_spec where job_id "
        "= $1",
        params, 3);
}

/* Keeps the queue as long as it is to be while it is emptied. */
static void *feed(void *ctx)
{
    (void)ctx;
    int64_t fed = 0;
    pthread_mutex_lock(&bench.lock);
    while (!bench.stop) {
        int64_t missing = bench.feeding ? bench.finished - fed : 0;
        fed = bench.finished;
        pthread_mutex_unlock(&bench.lock);
        if (missing > 0)
            queue_jobs(missing);
        pause_ms(200);
        pthread_mutex_lock(&bench.lock);
    }
    pthread_mutex_unlock(&bench.lock);
    return NULL;
}

/* ---- the nodes ---- */

static struct cyx_error ask_once(const char *subject, json_t *body, json_t **ret_reply)
{
    struct cyx_error err = {0};
    struct cyx_buf reply = {0};
    char *text = json_dumps(body, JSON_COMPACT), own[CYX_SUBJECT_BYTES];
    const char *node_id = json_string_value(json_object_get(body, "node_id"));
    if (node_id && cyx_subject_from_node(own, subject, node_id) == CYX_OK)
        subject = own; /* a node asks on a subject of its own */
    if (cyx_bus_request(bench.bus, subject, NULL, text, strlen(text), 20000, &reply, &err) ==
            CYX_OK &&
        ret_reply)
        *ret_reply = json_loadb(reply.data, reply.length, 0, NULL);
    free(text);
    json_decref(body);
    cyx_buf_finish(&reply);
    return err;
}

static json_t *enrolment(const struct node *node, size_t index)
{
    char name[32];
    snprintf(name, sizeof(name), "node-%zu", index);
    return json_pack("{s:s, s:s, s:s, s:s, s:[{s:i, s:s, s:s, s:I, s:b, s:i}], s:I, s:i, s:s}",
                     "node_id", node->id, "name", name, "boot_id", node->boot_id, "version",
                     "0.1.0", "devices", "index", 0, "backend", "cpu", "name", "simulated",
                     "memory_bytes", (json_int_t)(INT64_C(8) << 30), "is_software", 0, "threads", 4,
                     "host_memory_bytes", (json_int_t)(INT64_C(8) << 30), "cpus", 4,
                     "price_per_hour", index % 2 ? "1 CYX" : "2 CYX");
}

static void *enrol_some(void *ctx)
{
    for (size_t i = (size_t)(uintptr_t)ctx; i < bench.n_nodes; i += SUBMITTERS) {
        struct cyx_error err =
            ask_once(CYX_SVC_REGISTRY_ENROL, enrolment(&bench.nodes[i], i), NULL);
        if (err.status != CYX_OK)
            die("enrol", &err);
    }
    return NULL;
}

/* Every node beats every two seconds, evenly spread. */
static void *beat(void *ctx)
{
    (void)ctx;
    size_t step = bench.n_nodes / 100 + 1;
    for (size_t next = 0; !__atomic_load_n(&bench.stop, __ATOMIC_RELAXED);) {
        for (size_t i = 0; i < step; i++, next = (next + 1) % bench.n_nodes) {
            char subject[CYX_SUBJECT_BYTES], text[256];
            struct node *node = &bench.nodes[next];
            cyx_subject_node(subject, node->id, CYX_NODE_HEARTBEAT);
            int length = snprintf(text, sizeof(text),
                                  "{\"boot_id\":\"%s\",\"seq\":1,\"jobs\":[],\"cpu_percent\":1,"
                                  "\"memory_used_bytes\":1000,\"images_per_second\":0}",
                                  node->boot_id);
            cyx_bus_publish(bench.bus, subject, NULL, text, (size_t)length, NULL);
        }
        pause_ms(20);
    }
    return NULL;
}

static struct node *find_node(const char *id)
{
    size_t low = 0, high = bench.n_nodes;
    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = strcmp(bench.nodes[middle].id, id);
        if (order == 0)
            return &bench.nodes[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

/* The latency of a submit that is timed; the lock is held. */
static void note_latency(const char *job_id)
{
    for (size_t i = bench.n_sent; i-- > 0;) {
        if (strcmp(bench.sent[i].job_id, job_id) == 0 && bench.n_latency < LATENCIES) {
            bench.latency_ms[bench.n_latency++] =
                (double)(cyx_clock_monotonic_ns() - bench.sent[i].at_ns) / 1e6;
            return;
        }
    }
}

static void on_offer(void *ctx, const struct cyx_bus_message *message)
{
    (void)ctx;
    char node_id[CYX_ID_BYTES];
    if (!cyx_subject_id(message->subject, node_id))
        return;
    json_t *json = json_loadb(message->data, message->length, 0, NULL);
    const char *job_id = json_string_value(json_object_get(json, "job_id"));
    int64_t token = json_integer_value(json_object_get(json, "token"));
    struct node *node = find_node(node_id);
    pthread_mutex_lock(&bench.lock);
    bool again = !node || (node->last_token == token && strcmp(node->last_job, job_id) == 0);
    if (!again && bench.count < RING) {
        struct taken *taken = &bench.ring[(bench.head + bench.count++) % RING];
        taken->node = (size_t)(node - bench.nodes);
        taken->token = node->last_token = token;
        snprintf(taken->job_id, sizeof(taken->job_id), "%s", job_id);
        snprintf(node->last_job, sizeof(node->last_job), "%s", job_id);
        bench.offers++;
        note_latency(job_id);
        pthread_cond_signal(&bench.changed);
    }
    pthread_mutex_unlock(&bench.lock);
    json_decref(json);
}

static json_t *claim(const struct taken *taken)
{
    const struct node *node = &bench.nodes[taken->node];
    return json_pack("{s:s, s:s, s:s, s:I}", "node_id", node->id, "boot_id", node->boot_id,
                     "job_id", taken->job_id, "token", (json_int_t)taken->token);
}

static json_t *completion(const struct taken *taken)
{
    json_t *body = claim(taken);
    json_object_update_new(
        body,
        json_pack("{s:s, s:{s:f, s:f, s:f, s:i, s:i, s:f, s:f, s:s, s:s}, s:{s:s, s:i}}", "outcome",
                  "completed", "result", "test_accuracy", 0.9, "test_loss", 0.3, "train_loss", 0.2,
                  "epochs", 3, "steps", 1407, "images_per_second", 5000.0, "seconds", 12.0,
                  "backend", "cpu", "device", "simulated", "model", "sha256",
                  "0f5a0ad5f9c0b7d1c1f7e1f94c0a3a3f30c1e0f5d1b2a3948576a1b2c3d4e5f6", "bytes", 9));
    return body;
}

static void *work(void *ctx)
{
    (void)ctx;
    pthread_mutex_lock(&bench.lock);
    while (!bench.stop) {
        if (bench.count == 0) {
            pthread_cond_wait(&bench.changed, &bench.lock);
            continue;
        }
        const struct taken taken = bench.ring[bench.head];
        bench.head = (bench.head + 1) % RING;
        bench.count--;
        pthread_mutex_unlock(&bench.lock);
        struct cyx_error err = ask_once(CYX_SVC_SCHEDULER_ACCEPT, claim(&taken), NULL);
        if (err.status == CYX_OK)
            err = ask_once(CYX_SVC_SCHEDULER_FINISH, completion(&taken), NULL);
        pthread_mutex_lock(&bench.lock);
        bench.finished += err.status == CYX_OK;
        bench.refused += err.status != CYX_OK;
    }
    pthread_mutex_unlock(&bench.lock);
    return NULL;
}

/* ---- submits that are timed ---- */

static json_t *submission(void)
{
    json_t *spec = json_load_file(CYX_SOURCE_DIR "/docs/examples/mnist-mlp.json", 0, NULL);
    char account[CYX_ID_BYTES];
    snprintf(account, sizeof(account), "%s%012d", account_prefix, 7);
    return json_pack("{s:s, s:o}", "account_id", account, "spec", spec);
}

/* What payments would say once it has held the budget. */
static void hold(const char *job_id)
{
    char event_id[CYX_ID_BYTES], text[256];
    cyx_id_new(event_id);
    int length = snprintf(text, sizeof(text),
                          "{\"event_id\":\"%s\",\"job_id\":\"%s\",\"account_id\":\"%s%012d\","
                          "\"amount\":\"1 CYX\"}",
                          event_id, job_id, account_prefix, 7);
    struct cyx_error err = {0};
    if (cyx_bus_publish_event(bench.bus, CYX_EVT_PAYMENT_HELD, event_id, NULL, text, (size_t)length,
                              NULL, &err) != CYX_OK)
        die("hold", &err);
}

static void submit_one(char ret_id[CYX_ID_BYTES])
{
    json_t *reply = NULL;
    int64_t start_ns = cyx_clock_monotonic_ns();
    struct cyx_error err = ask_once(CYX_SVC_SCHEDULER_SUBMIT, submission(), &reply);
    if (err.status != CYX_OK)
        die("submit", &err);
    const char *id = json_string_value(json_object_get(json_object_get(reply, "job"), "id"));
    snprintf(ret_id, CYX_ID_BYTES, "%s", id);
    json_decref(reply);
    pthread_mutex_lock(&bench.lock);
    if (bench.n_sent < LATENCIES) {
        snprintf(bench.sent[bench.n_sent].job_id, CYX_ID_BYTES, "%s", ret_id);
        bench.sent[bench.n_sent++].at_ns = start_ns;
    }
    pthread_mutex_unlock(&bench.lock);
    hold(ret_id);
}

struct pace {
    double each_ms, seconds;
};

static void *submit_paced(void *ctx)
{
    const struct pace *pace = ctx;
    int64_t start_ns = cyx_clock_monotonic_ns();
    char id[CYX_ID_BYTES];
    for (int i = 0; i * pace->each_ms < pace->seconds * 1000; i++) {
        int64_t due_ns = start_ns + (int64_t)(i * pace->each_ms * 1e6);
        int64_t now_ns = cyx_clock_monotonic_ns();
        if (due_ns > now_ns)
            nanosleep(
                &(struct timespec){(due_ns - now_ns) / 1000000000, (due_ns - now_ns) % 1000000000},
                NULL);
        submit_one(id);
    }
    return NULL;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void submit_at(double rate, double seconds)
{
    pthread_t threads[SUBMITTERS];
    struct pace pace = {1000.0 * SUBMITTERS / rate, seconds};
    for (int i = 0; i < SUBMITTERS; i++) {
        pthread_create(&threads[i], NULL, submit_paced, &pace);
        nanosleep(&(struct timespec){.tv_nsec = (long)(1e9 / rate)}, NULL);
    }
    for (int i = 0; i < SUBMITTERS; i++)
        pthread_join(threads[i], NULL);
    pause_ms(2000);
}

/* After three seconds at the same rate, so that every connection has prepared its statements. */
static void measure_latency(double rate, double seconds)
{
    submit_at(rate, 3);
    pthread_mutex_lock(&bench.lock);
    bench.n_sent = bench.n_latency = 0;
    pthread_mutex_unlock(&bench.lock);
    submit_at(rate, seconds);
    pthread_mutex_lock(&bench.lock);
    size_t n = bench.n_latency;
    qsort(bench.latency_ms, n, sizeof(*bench.latency_ms), by_size);
    printf("submit to offer at %.0f submits a second, %zu nodes: %zu of %zu offered\n"
           "  p50 %.1f ms, p90 %.1f ms, p99 %.1f ms, most %.1f ms (wanted: p99 < 50 ms)\n\n",
           rate, bench.n_nodes, n, bench.n_sent, n ? bench.latency_ms[n / 2] : -1,
           n ? bench.latency_ms[n * 9 / 10] : -1, n ? bench.latency_ms[n * 99 / 100] : -1,
           n ? bench.latency_ms[n - 1] : -1);
    bench.n_sent = 0;
    pthread_mutex_unlock(&bench.lock);
}

/* ---- throughput ---- */

/* A number of the scheduler's /metrics. */
static double metric(const char *name)
{
    char url[64] = "", port[16] = "";
    struct cyx_error err = {0};
    FILE *file = fopen(bench.port_file, "r");
    if (!file || !fgets(port, sizeof(port), file))
        return -1;
    fclose(file);
    snprintf(url, sizeof(url), "http://127.0.0.1:%d", (int)strtol(port, NULL, 10));
    struct cyx_http_client *http = NULL;
    CYX_CLEANUP_HTTP_RESULT struct cyx_http_result result = {0};
    const struct cyx_http_client_options options = {.base_url = url};
    const struct cyx_http_call call = {.method = "GET", .url = "/metrics"};
    double value = -1;
    if (cyx_http_client_create(&options, &http, &err) == CYX_OK &&
        cyx_http_client_call(http, &call, &result, &err) == CYX_OK) {
        const char *at = strstr(result.body.data, name);
        while (at && at != result.body.data && at[-1] != '\n') /* not within its HELP */
            at = strstr(at + 1, name);
        value = at ? strtod(at + strlen(name), NULL) : -1;
    }
    cyx_http_client_destroy(http);
    return value;
}

/* ---- processor time: says more than the clock where others use the machine ---- */

enum { SCHEDULER, POSTGRES, NATS, PROGRAMS };
static const char *const program_names[PROGRAMS] = {"cyxwiz-schedule", "postgres", "nats-server"};

struct process {
    long pid, parent, ticks;
    char name[32];
};

static bool read_process(const char *pid, struct process *ret_process)
{
    char path[64], text[1024];
    snprintf(path, sizeof(path), "/proc/%s/stat", pid);
    FILE *file = fopen(path, "r");
    size_t length = file ? fread(text, 1, sizeof(text) - 1, file) : 0;
    if (file)
        fclose(file);
    text[length] = '\0';
    const char *name = strchr(text, '('), *end = strrchr(text, ')');
    if (!name || !end)
        return false;
    *ret_process = (struct process){.pid = strtol(text, NULL, 10)};
    snprintf(ret_process->name, sizeof(ret_process->name), "%.*s", (int)(end - name - 1), name + 1);
    const char *at = end + 2; /* state, parent, …; times are the 14th and 15th field */
    for (int field = 3; field < 16 && at;
         field++, at = strchr(at, ' ') ? strchr(at, ' ') + 1 : NULL) {
        if (field == 4)
            ret_process->parent = strtol(at, NULL, 10);
        if (field == 14 || field == 15)
            ret_process->ticks += strtol(at, NULL, 10);
    }
    return true;
}

static bool descends(const struct process *all, size_t count, long pid, long from)
{
    for (int depth = 0; depth < 16 && pid > 1; depth++) {
        if (pid == from)
            return true;
        long parent = 0;
        for (size_t i = 0; i < count && !parent; i++)
            parent = all[i].pid == pid ? all[i].parent : 0;
        pid = parent;
    }
    return false;
}

/* Milliseconds of processor that ours have used so far. */
static void processor_ms(double ret_ms[PROGRAMS])
{
    static struct process all[4096];
    size_t count = 0;
    DIR *folder = opendir("/proc");
    for (struct dirent *entry; folder && count < 4096 && (entry = readdir(folder));)
        if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9')
            count += read_process(entry->d_name, &all[count]);
    if (folder)
        closedir(folder);
    memset(ret_ms, 0, sizeof(double) * PROGRAMS);
    for (size_t i = 0; i < count; i++)
        for (int k = 0; k < PROGRAMS; k++)
            if (strcmp(all[i].name, program_names[k]) == 0 &&
                descends(all, count, all[i].pid, getppid()))
                ret_ms[k] += 1000.0 * (double)all[i].ticks / (double)sysconf(_SC_CLK_TCK);
}

static int64_t offers(void)
{
    pthread_mutex_lock(&bench.lock);
    int64_t count = bench.offers;
    pthread_mutex_unlock(&bench.lock);
    return count;
}

static void measure_throughput(int64_t length, double seconds)
{
    int64_t missing = length - queued();
    if (missing > 0)
        queue_jobs(missing);
    sql("vacuum analyze job", NULL, 0);
    pthread_mutex_lock(&bench.lock);
    bench.feeding = true;
    pthread_mutex_unlock(&bench.lock);
    pause_ms(2000); /* to its pace */
    int64_t from = offers(), start_ns = cyx_clock_monotonic_ns();
    double from_s = metric("cyx_scheduler_match_seconds_sum");
    double from_n = metric("cyx_scheduler_match_seconds_count");
    double before_ms[PROGRAMS], after_ms[PROGRAMS];
    processor_ms(before_ms);
    pause_ms((int64_t)(seconds * 1000));
    processor_ms(after_ms);
    double took_s = (double)(cyx_clock_monotonic_ns() - start_ns) / 1e9;
    double placed = (double)(offers() - from);
    double match_s = metric("cyx_scheduler_match_seconds_sum") - from_s;
    double passes = metric("cyx_scheduler_match_seconds_count") - from_n;
    int64_t outbox = sql("select count(*) from outbox", NULL, 0);
    printf("%8lld %13.0f %10.2f %9.1f %8.1f %8lld", (long long)length, placed / took_s,
           1000 * match_s / placed, 1000 * match_s / passes, placed / passes, (long long)outbox);
    double all_ms = 0;
    for (int k = 0; k < PROGRAMS; k++) {
        printf(" %10.2f", (after_ms[k] - before_ms[k]) / placed);
        all_ms += (after_ms[k] - before_ms[k]) / placed;
    }
    printf(" %9.0f\n", 2000 / all_ms);
    fflush(stdout);
    pthread_mutex_lock(&bench.lock);
    bench.feeding = false;
    pthread_mutex_unlock(&bench.lock);
}

static int by_id(const void *a, const void *b)
{
    return strcmp(((const struct node *)a)->id, ((const struct node *)b)->id);
}

static void make_nodes(size_t count)
{
    pthread_t threads[SUBMITTERS];
    bench.n_nodes = count;
    for (size_t i = 0; i < count; i++) {
        cyx_id_new(bench.nodes[i].id);
        cyx_id_new(bench.nodes[i].boot_id);
    }
    qsort(bench.nodes, count, sizeof(bench.nodes[0]), by_id);
    for (uintptr_t i = 0; i < SUBMITTERS; i++)
        pthread_create(&threads[i], NULL, enrol_some, (void *)i);
    for (int i = 0; i < SUBMITTERS; i++)
        pthread_join(threads[i], NULL);
    while (sql("select count(*) from node where online", NULL, 0) < (int64_t)count)
        pause_ms(50);
}

static void open_all(void)
{
    struct cyx_error err = {0};
    const struct cyx_db_options options = {.dsn = getenv("CYXWIZ_DATABASE_URL"),
                                           .schema = "scheduler",
                                           .statement_timeout_ms = 120000};
    bench.bus = fleet_bus("platform-bench");
    if (cyx_db_open(&options, &bench.db, &err) != CYX_OK ||
        cyx_bus_subscribe(bench.bus, "cyx.node.*.offer", NULL, on_offer, NULL, &err) != CYX_OK)
        die("start", &err);
}

int main(int argc, char **argv)
{
    char port_setting[128];
    size_t nodes = argc > 1 ? strtoul(argv[1], NULL, 10) : 1000;
    double seconds = argc > 2 ? strtod(argv[2], NULL) : 10;
    if (!getenv("CYXWIZ_DATABASE_URL") || nodes < 1 || nodes > NODES_MAX) {
        fprintf(stderr, "run it by `make bench-platform`; 1 to %d nodes\n", NODES_MAX);
        return 2;
    }
    snprintf(bench.port_file, sizeof(bench.port_file), "/tmp/cyx-bench-%d.port", (int)getpid());
    snprintf(port_setting, sizeof(port_setting), "CYXWIZ_HEALTH_PORT_FILE=%s", bench.port_file);
    const char *const environment[] = {
        "CYXWIZ_QUOTA_QUEUED_JOBS=-1",
        "CYXWIZ_PROOF=off", /* these nodes compute nothing */
        "CYXWIZ_BUS_WORKERS=16",
        "CYXWIZ_DATABASE_POOL=12",
        "CYXWIZ_GRANT_KEY=000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
        port_setting,
        NULL};
    struct service *registry = service_start("cyxwiz-registry", environment);
    struct service *scheduler = service_start("cyxwiz-scheduler", environment);
    pthread_t hands[HANDS], beater, feeder;
    open_all();
    make_nodes(nodes);
    pthread_create(&beater, NULL, beat, NULL);
    pthread_create(&feeder, NULL, feed, NULL);
    for (int i = 0; i < HANDS; i++)
        pthread_create(&hands[i], NULL, work, NULL);
    submit_one(bench.first_job);
    pause_ms(2000);
    bench.n_sent = bench.n_latency = 0;
    measure_latency(100, seconds);
    printf("%8s %13s %10s %9s %8s %8s | processor ms a placement: %s %6s %s | 2 cores\n", "queued",
           "placements/s", "match ms", "ms/pass", "a pass", "outbox", "scheduler", "postgres",
           "nats");
    fflush(stdout);
    measure_throughput(1000, seconds);
    measure_throughput(10000, seconds);
    measure_throughput(100000, seconds);
    printf("wanted: 500 placements/s, and the same ms/placement in each row\n");
    printf("finished %lld jobs, %lld claims refused\n", (long long)bench.finished,
           (long long)bench.refused);
    pthread_mutex_lock(&bench.lock);
    bench.stop = true;
    pthread_cond_broadcast(&bench.changed);
    pthread_mutex_unlock(&bench.lock);
    for (int i = 0; i < HANDS; i++)
        pthread_join(hands[i], NULL);
    pthread_join(beater, NULL);
    pthread_join(feeder, NULL);
    cyx_bus_destroy(bench.bus);
    cyx_db_close(bench.db);
    service_stop(scheduler, SIGTERM);
    service_stop(registry, SIGTERM);
    unlink(bench.port_file);
    return 0;
}
