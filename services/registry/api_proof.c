/* Challenges on their way: asking nodes for benchmarks, taking what they say, judging it. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "api.h"
#include "base/log.h"
#include "contract/message.h"
#include "contract/subjects.h"
#include "store_proof.h"
#include "wire.h"

#include "base/banned.h"

enum { ASK_LIMIT = 50 }; /* at one look: a fleet that comes up together is asked bit by bit */

static void draw(void *ret_bytes, size_t length)
{
    if (getrandom(ret_bytes, length, 0) != (ssize_t)length)
        abort(); /* cannot be, for so few */
}

static double draw_unit(void)
{
    uint64_t word;
    draw(&word, sizeof(word));
    return (double)(word >> 11) * 0x1p-53;
}

/* ---- asking ---- */

static enum cyx_status publish(struct cyx_registry_app *app, const struct cyx_challenge *challenge,
                               struct cyx_error *err)
{
    char subject[CYX_SUBJECT_BYTES];
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    enum cyx_status status = cyx_message_write(
        json_pack("{s:s, s:s, s:I}", "challenge_id", challenge->id, "backend", challenge->backend,
                  "index", (json_int_t)challenge->device_index),
        &text, err);
    if (status == CYX_OK)
        status = cyx_subject_node(subject, challenge->node_id, CYX_NODE_CHALLENGE);
    if (status == CYX_OK)
        status = cyx_bus_publish(app->bus, subject, NULL, text.data, text.length, err);
    return status;
}

void cyx_registry_ask_proofs(struct cyx_registry_app *app, const char *node_id)
{
    struct cyx_challenge challenge;
    struct cyx_error err = {0};
    enum cyx_status status = CYX_OK;
    if (!app->store.proof.required)
        return;
    for (int i = 0; status == CYX_OK && i < (node_id ? 1 : ASK_LIMIT); i++) {
        status = cyx_registry_store_challenge(&app->store, node_id, &challenge, &err);
        if (status == CYX_OK)
            status = publish(app, &challenge, &err);
    }
    if (status != CYX_OK && status != CYX_ERR_NOT_FOUND)
        cyx_log(CYX_LOG_WARN, "nodes were not asked for benchmarks", CYX_STR("error", err.message));
}

/* ---- judging ---- */

static enum cyx_status conclude(struct cyx_registry_app *app, const struct cyx_challenge *challenge,
                                const struct cyx_proof_outcome *outcome,
                                struct cyx_registry_node *ret_node, struct cyx_error *err)
{
    static const char *const ends[] = {"answered", "busy", "no-answer", "failed"};
    struct cyx_registry_why why = {0};
    enum cyx_status status =
        cyx_registry_store_prove(&app->store, challenge, outcome, draw_unit(), ret_node, err);
    if (status != CYX_OK)
        return status;
    bool refuted = ret_node->id[0] && strcmp(cyx_proof_closes(ret_node, &why), "unproven") == 0;
    cyx_metric_add(app->proofs, 1, outcome->wrong ? "wrong" : ends[outcome->end]);
    cyx_log(refuted ? CYX_LOG_WARN : CYX_LOG_INFO,
            refuted ? "a benchmark did not bear out what a node claims" : "benchmark",
            CYX_STR("node_id", challenge->node_id), CYX_STR("backend", challenge->backend),
            CYX_INT("index", challenge->device_index), CYX_STR("end", ends[outcome->end]),
            CYX_INT("elapsed_ms", challenge->elapsed_ms),
            CYX_STR("why", refuted ? why.message : NULL));
    cyx_registry_ask_proofs(app, challenge->node_id); /* its next device, if one is due */
    return CYX_OK;
}

void cyx_registry_expire_proofs(struct cyx_registry_app *app)
{
    const struct cyx_proof_outcome outcome = {.end = CYX_PROOF_NO_ANSWER};
    struct cyx_challenge challenge;
    struct cyx_registry_node node;
    struct cyx_error err = {0};
    enum cyx_status status = CYX_OK;
    while (app->store.proof.required && status == CYX_OK) {
        status = cyx_registry_store_expire_challenge(&app->store, &challenge, &err);
        if (status == CYX_OK)
            status = conclude(app, &challenge, &outcome, &node, &err);
    }
    if (status != CYX_OK && status != CYX_ERR_NOT_FOUND)
        cyx_log(CYX_LOG_WARN, "unanswered benchmarks were not looked at",
                CYX_STR("error", err.message));
}

/* ---- what a node says ---- */

static enum cyx_status take_ready(struct cyx_registry_app *app, const char *node_id,
                                  const struct cyx_registry_said *said, struct cyx_buf *reply,
                                  struct cyx_error *err)
{
    struct cyx_proof_task task;
    uint64_t seed;
    draw(&seed, sizeof(seed));
    cyx_proof_plan(said->told.products_flops_per_second, seed >> 1,
                   &task); /* fits a JSON integer */
    enum cyx_status status =
        cyx_registry_store_ready(&app->store, node_id, said->challenge_id, &said->told, &task, err);
    if (status != CYX_OK)
        return status;
    return cyx_message_write(json_pack("{s:I, s:I, s:I, s:I}", "seed", (json_int_t)task.seed,
                                       "width", (json_int_t)task.size.width, "depth",
                                       (json_int_t)task.size.depth, "rows", (json_int_t)task.rows),
                             reply, err);
}

/* CYX_ERR_CORRUPT when the product is wrong, CYX_ERR_INVALID when it is none. */
static enum cyx_status check(const struct cyx_proof_task *task, const char *outputs,
                             struct cyx_error *err)
{
    int64_t rows[CYX_PROOF_SAMPLES];
    float *values = calloc((size_t)task->rows, sizeof(*values));
    if (!values)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for an answer");
    enum cyx_status status = cyx_registry_outputs_read(outputs, values, (size_t)task->rows, err);
    for (int i = 0; i < CYX_PROOF_SAMPLES; i++)
        rows[i] = (int64_t)(draw_unit() * (double)task->rows);
    if (status == CYX_OK)
        status = cyx_proof_check(task, values, rows, NULL, err);
    free(values);
    return status;
}

static enum cyx_status take_end(struct cyx_registry_app *app, const char *node_id,
                                const struct cyx_registry_said *said, struct cyx_buf *reply,
                                struct cyx_error *err)
{
    struct cyx_challenge challenge;
    struct cyx_registry_node node;
    struct cyx_error wrong = {0};
    struct cyx_proof_outcome outcome = {.end = said->step == CYX_STEP_BUSY ? CYX_PROOF_BUSY
                                                                           : CYX_PROOF_FAILED,
                                        .reason = said->message};
    enum cyx_status status =
        cyx_registry_store_end_challenge(&app->store, node_id, said->challenge_id, &challenge, err);
    if (status == CYX_OK && said->step == CYX_STEP_ANSWER && challenge.elapsed_ms < 0)
        status = cyx_error_set(err, CYX_ERR_CONFLICT, "/step", "it was not told the seed yet");
    if (status != CYX_OK)
        return status;
    if (said->step == CYX_STEP_ANSWER) {
        enum cyx_status checked = check(&challenge.task, said->outputs, &wrong);
        if (checked != CYX_OK && checked != CYX_ERR_CORRUPT && checked != CYX_ERR_INVALID)
            return cyx_error_set(err, checked, NULL, "%s", wrong.message);
        outcome = (struct cyx_proof_outcome){.end = CYX_PROOF_ANSWERED,
                                             .told = challenge.told,
                                             .task = challenge.task,
                                             .elapsed_ms = challenge.elapsed_ms,
                                             .wrong = checked == CYX_OK ? NULL : wrong.message};
    }
    status = conclude(app, &challenge, &outcome, &node, err);
    if (status != CYX_OK)
        return status;
    struct cyx_registry_why why = {0};
    const char *closes = node.id[0] ? cyx_proof_closes(&node, &why) : "";
    return cyx_message_write(
        json_pack("{s:b, s:o}", "proved", !*closes, "message", cyx_message_new_text(why.message)),
        reply, err);
}

enum cyx_status cyx_registry_api_prove(void *ctx, const struct cyx_bus_message *request,
                                       struct cyx_buf *reply, struct cyx_error *err)
{
    struct cyx_registry_app *app = ctx;
    CYX_CLEANUP_JSON json_t *message = NULL;
    const char *node_id = NULL;
    struct cyx_registry_said said;
    enum cyx_status status = cyx_message_parse(request->data, request->length, &message, err);
    if (status == CYX_OK)
        status = cyx_message_id(message, "node_id", &node_id, err);
    if (status == CYX_OK)
        status = cyx_registry_check_speaker(request, node_id, err);
    if (status == CYX_OK)
        status = cyx_registry_said_parse(message, &said, err);
    if (status != CYX_OK)
        return status;
    return said.step == CYX_STEP_READY ? take_ready(app, node_id, &said, reply, err)
                                       : take_end(app, node_id, &said, reply, err);
}
