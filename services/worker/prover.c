#include "prover.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "contract/message.h"
#include "identity/jwt.h"
#include "nn/bench/benchmark.h"
#include "trainer.h"

#include "base/banned.h"

enum { LINE_LIMIT = 4096 };

static json_t *ready_json(const struct cyx_benchmark_result *r)
{
    json_t *told = json_pack(
        "{s:f, s:f, s:f, s:I, s:I}", "products_flops_per_second", r->products_flops_per_second,
        "convolutions_flops_per_second", r->convolutions_flops_per_second,
        "bandwidth_bytes_per_second", r->bandwidth_bytes_per_second, "memory_bytes",
        (json_int_t)r->memory_bytes, "memory_tried_bytes", (json_int_t)r->memory_tried_bytes);
    return json_pack("{s:s, s:o}", "event", "ready", "told", told);
}

/* One line of standard input; CYX_ERR_CANCELLED at its end. */
static enum cyx_status hear(char ret_line[LINE_LIMIT], struct cyx_error *err)
{
    size_t length = 0;
    for (;;) {
        ssize_t n = read(STDIN_FILENO, ret_line + length, LINE_LIMIT - 1 - length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0 || length + (size_t)n == LINE_LIMIT - 1)
            return cyx_error_set(err, CYX_ERR_CANCELLED, NULL, "no task came");
        length += (size_t)n;
        ret_line[length] = '\0';
        if (strchr(ret_line, '\n'))
            return CYX_OK;
    }
}

static enum cyx_status hear_task(struct cyx_proof_task *ret_task, struct cyx_error *err)
{
    char line[LINE_LIMIT];
    CYX_CLEANUP_JSON json_t *json = NULL;
    int64_t seed = 0;
    struct cyx_proof_task task = {0};
    enum cyx_status status = hear(line, err);
    if (status == CYX_OK)
        status = cyx_message_parse(line, strlen(line), &json, err);
    if (status == CYX_OK)
        status = cyx_message_int(json, "seed", 0, INT64_MAX, &seed, err);
    if (status == CYX_OK)
        status = cyx_message_int(json, "width", 1, 65536, &task.size.width, err);
    if (status == CYX_OK)
        status = cyx_message_int(json, "depth", 1, 1024, &task.size.depth, err);
    if (status == CYX_OK)
        status = cyx_message_int(json, "rows", 1, CYX_PROOF_ROWS_LIMIT, &task.rows, err);
    task.seed = (uint64_t)seed;
    if (status == CYX_OK)
        *ret_task = task;
    return status;
}

static enum cyx_status answer(struct cyx_benchmark *benchmark, const struct cyx_proof_task *task,
                              struct cyx_error *err)
{
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    float *outputs = calloc((size_t)task->rows, sizeof(*outputs));
    enum cyx_status status =
        outputs ? cyx_benchmark_answer(benchmark, task, outputs, err)
                : cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for an answer");
    if (status == CYX_OK)
        cyx_base64url_write(outputs, (size_t)task->rows * sizeof(*outputs), &text);
    free(outputs);
    if (status == CYX_OK && !text.data)
        status = cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for an answer");
    if (status == CYX_OK)
        trainer_say(json_pack("{s:s, s:s}", "event", "answer", "outputs", text.data));
    return status;
}

int prover_main(char **arguments)
{
    struct cyx_error err = {0};
    struct cyx_benchmark *benchmark = NULL;
    struct cyx_benchmark_result result;
    struct cyx_proof_task task;
    const struct cyx_device_options options = {.index = (int)strtol(arguments[1], NULL, 10),
                                               .threads = (int)strtol(arguments[3], NULL, 10),
                                               .cache_dir = arguments[2]};
    enum cyx_status status = cyx_benchmark_create(arguments[0], &options, &benchmark, &err);
    if (status == CYX_OK)
        status = cyx_benchmark_measure(benchmark, &result, &err);
    if (status == CYX_OK) {
        trainer_say(ready_json(&result));
        status = hear_task(&task, &err);
    }
    if (status == CYX_OK)
        status = answer(benchmark, &task, &err);
    if (status != CYX_OK && status != CYX_ERR_CANCELLED)
        trainer_say_error(&err);
    cyx_benchmark_destroy(benchmark);
    return status == CYX_OK ? 0 : status == CYX_ERR_CANCELLED ? TRAINER_EXIT_STOPPED : 1;
}
