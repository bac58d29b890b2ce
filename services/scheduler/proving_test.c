/*
 * Nodes that must prove what they claim, against the real registry and scheduler: the honest one gets work, those that
 * claim memory, speed or products that are not there do not, nor does one that says nothing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "contract/proof.h"
#include "identity/jwt.h"
#include "world.h"

static const double own_speed = 2e8; /* what this file computes surely */
#define GPU_BYTES (INT64_C(80) << 30)

/* ---- a node's side of a challenge ---- */

/* The outputs of all rows, by the reference that the registry checks with: slow, and right. */
static void compute(const struct cyx_proof_task *task, float *ret_outputs)
{
    int64_t rows[CYX_PROOF_SAMPLES];
    double outputs[CYX_PROOF_SAMPLES];
    for (int64_t at = 0; at < task->rows; at += CYX_PROOF_SAMPLES) {
        for (int64_t s = 0; s < CYX_PROOF_SAMPLES; s++)
            rows[s] = at + s < task->rows ? at + s : task->rows - 1;
        (void)cyx_proof_compute(task, rows, outputs, NULL);
        for (int64_t s = 0; s < CYX_PROOF_SAMPLES; s++)
            ret_outputs[rows[s]] = (float)outputs[s];
    }
}

/* Says `body` (taken) and gives the reply, NULL when it was refused. */
static json_t *say(struct cyx_bus *from, const char *node_id, json_t *body)
{
    char subject[CYX_SUBJECT_BYTES];
    CYX_CLEANUP_BUF struct cyx_buf reply = {0};
    json_object_set_new(body, "node_id", json_string(node_id));
    char *text = json_dumps(body, JSON_COMPACT);
    cyx_subject_from_node(subject, CYX_SVC_REGISTRY_PROVE, node_id);
    enum cyx_status status =
        cyx_bus_request(from, subject, NULL, text, strlen(text), WAIT_MS, &reply, NULL);
    free(text);
    json_decref(body);
    return status == CYX_OK ? json_loadb(reply.data, reply.length, 0, NULL) : NULL;
}

struct lies {
    double speed;      /* that it tells */
    int64_t memory;    /* that its benchmark found */
    bool skips_a_half; /* of the rows */
    int takes_ms;      /* besides what this machine takes */
};

static void prove(struct cyx_bus *from, const char *node_id, const json_t *challenge,
                  const struct lies *lies)
{
    const char *id = json_string_value(json_object_get(challenge, "challenge_id"));
    json_t *told = json_pack(
        "{s:f, s:f, s:f, s:I, s:I}", "products_flops_per_second", lies->speed,
        "convolutions_flops_per_second", lies->speed, "bandwidth_bytes_per_second", 1e9,
        "memory_bytes", (json_int_t)lies->memory, "memory_tried_bytes", (json_int_t)lies->memory);
    json_t *task_json =
        say(from, node_id,
            json_pack("{s:s, s:s, s:o}", "challenge_id", id, "step", "ready", "told", told));
    if (!task_json)
        return;
    const struct cyx_proof_task task = {
        .seed = (uint64_t)json_integer_value(json_object_get(task_json, "seed")),
        .size = {json_integer_value(json_object_get(task_json, "width")),
                 json_integer_value(json_object_get(task_json, "depth"))},
        .rows = json_integer_value(json_object_get(task_json, "rows"))};
    json_decref(task_json);
    float *outputs = calloc((size_t)task.rows, sizeof(*outputs));
    struct cyx_proof_task done = task;
    if (lies->skips_a_half)
        done.rows /= 2;
    compute(&done, outputs);
    nanosleep(&(struct timespec){.tv_sec = lies->takes_ms / 1000}, NULL);
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    cyx_base64url_write(outputs, (size_t)task.rows * sizeof(*outputs), &text);
    free(outputs);
    json_decref(say(
        from, node_id,
        json_pack("{s:s, s:s, s:s}", "challenge_id", id, "step", "answer", "outputs", text.data)));
}

static bool is_gpu(const json_t *challenge)
{
    return strcmp(json_string_value(json_object_get(challenge, "backend")), "vulkan") == 0;
}

static atomic_int honest_answers;

static void honest(struct cyx_bus *from, const char *node_id, const json_t *challenge)
{
    const struct lies none = {own_speed, is_gpu(challenge) ? GPU_BYTES : INT64_C(1) << 28,
                              .skips_a_half = false};
    prove(from, node_id, challenge, &none);
    atomic_fetch_add(&honest_answers, 1);
}

/* A card that says 80 GiB, and that holds 8. */
static void forgetful(struct cyx_bus *from, const char *node_id, const json_t *challenge)
{
    const struct lies lies = {own_speed, is_gpu(challenge) ? INT64_C(8) << 30 : INT64_C(1) << 28,
                              false};
    prove(from, node_id, challenge, &lies);
}

/* Says that it is ten times as fast, and takes the time that it takes. */
static void boaster(struct cyx_bus *from, const char *node_id, const json_t *challenge)
{
    const struct lies lies = {2e9, INT64_C(1) << 28, false, .takes_ms = 4000};
    prove(from, node_id, challenge, &lies);
}

/* Twice as fast by doing the half. */
static void skimper(struct cyx_bus *from, const char *node_id, const json_t *challenge)
{
    const struct lies lies = {own_speed, INT64_C(1) << 28, .skips_a_half = true};
    prove(from, node_id, challenge, &lies);
}

/* ---- what becomes of it ---- */

static struct worker *new_node(const char *name, int64_t gpu_bytes,
                               void (*on_challenge)(struct cyx_bus *, const char *, const json_t *))
{
    const struct worker_options options = {.name = name,
                                           .heartbeat_ms = HEARTBEAT_MS,
                                           .gpu_memory_bytes = gpu_bytes,
                                           .on_challenge = on_challenge};
    return worker_create(&options);
}

static json_t *shown(const struct worker *worker)
{
    json_t *reply =
        ask(bus, CYX_SVC_REGISTRY_GET, json_pack("{s:s}", "node_id", worker_id(worker)), CYX_OK);
    json_t *node = json_incref(json_object_get(reply, "node"));
    json_decref(reply);
    return node;
}

/* Waits until the registry says that of the node ("" for open) and gives the node. */
static json_t *wait_closed(const struct worker *worker, const char *closed)
{
    const int64_t until_ns = cyx_clock_monotonic_ns() + 3 * WAIT_MS * INT64_C(1000000);
    for (;;) {
        json_t *node = shown(worker);
        const char *got = json_string_value(json_object_get(node, "closed"));
        if (strcmp(got ? got : "", closed) == 0)
            return node;
        if (cyx_clock_monotonic_ns() > until_ns)
            fail_msg("expected \"%s\": %s", closed, json_dumps(node, JSON_INDENT(1)));
        json_decref(node);
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    }
}

static const json_t *proof_of(const json_t *node, size_t device)
{
    return json_object_get(json_array_get(json_object_get(node, "devices"), device), "proof");
}

/* Nothing is placed there, and a job that only it could take says why. */
static void expect_unproven(struct worker *worker, const char *code, const char *words)
{
    char job_id[CYX_ID_BYTES];
    json_t *node = wait_closed(worker, "unproven"), *why = json_object_get(node, "unproven");
    expect_text(why, "code", code);
    expect_text(node, "status", "draining");
    if (!strstr(json_string_value(json_object_get(why, "message")), words))
        fail_msg("no \"%s\" in %s", words, json_dumps(why, 0));
    json_decref(node);
    submit_funded("waits for an honest node", job_id);
    expect_pending_for(job_id, "no-node-fits", "benchmark did not bear out");
    json_decref(ask(bus, CYX_SVC_SCHEDULER_CANCEL, target(job_id), CYX_OK));
    retire(worker);
}

static void test_proving__an_honest_node_gets_work(void **state)
{
    (void)state;
    char job_id[CYX_ID_BYTES];
    struct worker *worker = new_node("honest", GPU_BYTES, honest);
    json_t *node = wait_closed(worker, "");
    expect_text(node, "status", "online");
    assert_true(json_is_null(json_object_get(node, "unproven")));
    for (size_t i = 0; i < 2; i++) {
        const json_t *proof = proof_of(node, i);
        double speed = json_number_value(json_object_get(proof, "flops_per_second"));
        expect_text(proof, "state", "proved");
        assert_true(speed > 1e6 && speed < 1e12);
        assert_null(json_object_get(proof, "due_ms")); /* nobody is told when */
    }
    json_decref(node);
    submit_funded("goes there", job_id);
    struct claim claim = accept_offer(worker, job_id);
    json_t *job = get_job(job_id), *placement = json_object_get(job, "placement");
    expect_text(placement, "speed_by", "benchmark");
    json_decref(job);
    finish(worker, &claim, "completed", NULL);
    /* A restart claims the same: it is open at once. */
    worker_restart(worker);
    node = shown(worker);
    expect_text(node, "status", "online");
    json_decref(node);
    retire(worker);
}

static void test_proving__is_asked_again_and_again(void **state)
{
    (void)state;
    struct worker *worker = new_node("asked again", 0, honest);
    json_decref(wait_closed(worker, ""));
    const int before = atomic_load(&honest_answers);
    const int64_t until_ns = cyx_clock_monotonic_ns() + WAIT_MS * INT64_C(1000000);
    while (atomic_load(&honest_answers) < before + 2) {
        assert_true(cyx_clock_monotonic_ns() < until_ns);
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    }
    json_decref(wait_closed(worker, ""));
    retire(worker);
}

static void test_proving__memory_that_is_not_there(void **state)
{
    (void)state;
    expect_unproven(new_node("forgetful", GPU_BYTES, forgetful), "memory",
                    "claims 80.0 GiB of memory; its benchmark could hold 8.0 GiB");
}

static void test_proving__speed_that_the_clock_denies(void **state)
{
    (void)state;
    expect_unproven(new_node("boaster", 0, boaster), "too-slow", "claims 2 GFLOP/s");
}

static void test_proving__products_that_were_not_made(void **state)
{
    (void)state;
    expect_unproven(new_node("skimper", 0, skimper), "wrong-product", "is wrong");
}

static void test_proving__a_node_that_never_answers(void **state)
{
    (void)state;
    struct worker *worker = new_node("silent", 0, NULL);
    json_t *node = shown(worker);
    expect_text(node, "closed", "proving");
    json_decref(node);
    expect_unproven(worker, "no-answer", "did not answer its benchmark within 12 s");
}

static void test_proving__a_version_that_is_too_old_is_told(void **state)
{
    (void)state;
    struct worker *worker = new_node("old", 0, honest);
    json_t *body = worker_enrolment(worker);
    json_object_set_new(body, "version", json_string("0.0.9"));
    json_decref(ask(bus, CYX_SVC_REGISTRY_ENROL, body, CYX_OK));
    json_t *node = shown(worker);
    const char *outdated = json_string_value(json_object_get(node, "outdated"));
    assert_non_null(outdated);
    assert_non_null(strstr(outdated, "its worker is version 0.0.9, the platform is "));
    json_decref(node);
    retire(worker);
}

/* Messages that are none, and those of another. */
static void test_proving__refuses_what_is_no_answer(void **state)
{
    (void)state;
    struct worker *worker = new_node("silent", 0, NULL);
    char id[CYX_ID_BYTES];
    cyx_id_new(id);
    static const struct {
        const char *step;
        enum cyx_status expected;
    } cases[] = {{"answer", CYX_ERR_INVALID},
                 {"ready", CYX_ERR_INVALID},
                 {"busy", CYX_ERR_NOT_FOUND},
                 {"dance", CYX_ERR_INVALID}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        ask(bus, CYX_SVC_REGISTRY_PROVE,
            json_pack("{s:s, s:s, s:s}", "node_id", worker_id(worker), "challenge_id", id, "step",
                      cases[i].step),
            cases[i].expected);
    retire(worker);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_proving__an_honest_node_gets_work),
        cmocka_unit_test(test_proving__is_asked_again_and_again),
        cmocka_unit_test(test_proving__memory_that_is_not_there),
        cmocka_unit_test(test_proving__speed_that_the_clock_denies),
        cmocka_unit_test(test_proving__products_that_were_not_made),
        cmocka_unit_test(test_proving__a_node_that_never_answers),
        cmocka_unit_test(test_proving__a_version_that_is_too_old_is_told),
        cmocka_unit_test(test_proving__refuses_what_is_no_answer),
    };
    return cmocka_run_group_tests(tests, start_proving, stop_all);
}
