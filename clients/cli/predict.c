/* cyxwiz predict: what a trained model says of images, arrays and rows of data sets. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "contract/dataset.h"
#include "contract/message.h"
#include "model.h"
#include "nn/data/input.h"
#include "nn/data/pipeline.h"

#include "base/banned.h"

enum { BATCH = 64, TOP = 3, NUMBERS_SHOWN = 8, FLOATS_LIMIT = 1 << 28 };

struct sample {
    const char *name; /* "photo.jpg", "fashion-mnist:7" */
    int64_t truth;    /* its class, -1: not known */
};

/* All that is asked about, and what the model said. */
struct asked {
    struct cli *cli;
    struct cyx_predictor *predictor;
    struct cyx_arena arena; /* names */
    struct sample *samples;
    float *inputs, *outputs, *probabilities;
    size_t count, n_in, n_out; /* samples; floats of one */
    int64_t top;
    bool any_truth;
};

static void finish(struct asked *asked)
{
    free(asked->samples);
    free(asked->inputs);
    free(asked->outputs);
    free(asked->probabilities);
    cyx_arena_finish(&asked->arena);
}

static enum cyx_status no_memory(struct cyx_error *err)
{
    return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for so many inputs");
}

/* ---- inputs ---- */

static void shape_text(const int64_t *dim, int rank, char ret_text[96])
{
    int used = snprintf(ret_text, 96, "(");
    for (int i = 0; i < rank; i++)
        used +=
            snprintf(ret_text + used, 96 - (size_t)used, "%s%" PRId64, i > 0 ? ", " : "", dim[i]);
    snprintf(ret_text + used, 96 - (size_t)used, ")");
}

static enum cyx_status check_shape(const struct asked *asked, const char *word,
                                   const struct cyx_sample_shape *sample, struct cyx_error *err)
{
    const struct cyx_shape *wanted = cyx_predictor_input_shape(asked->predictor);
    bool same = sample->rank == wanted->rank;
    for (int i = 0; same && i < wanted->rank; i++)
        same = sample->dim[i] == wanted->dim[i];
    if (same)
        return CYX_OK;
    char got[96], expected[96];
    shape_text(sample->dim, sample->rank, got);
    shape_text(wanted->dim, wanted->rank, expected);
    bool size_alone = wanted->rank == 3 && sample->rank == 3 && sample->dim[0] == wanted->dim[0];
    return cyx_error_set(err, CYX_ERR_INVALID, NULL,
                         "%s is %s after the spec's transforms, the model takes %s%s", word, got,
                         expected, size_alone ? "; --resize brings an image to that size" : "");
}

static enum cyx_status make_room(struct asked *asked, size_t more, struct cyx_error *err)
{
    size_t count = asked->count + more;
    if (count > FLOATS_LIMIT / asked->n_in)
        return cyx_error_set(err, CYX_ERR_TOO_LARGE, NULL,
                             "%zu inputs of %zu numbers are too many at once: ask in parts", count,
                             asked->n_in);
    float *inputs = realloc(asked->inputs, count * asked->n_in * sizeof(*inputs));
    if (inputs)
        asked->inputs = inputs;
    struct sample *samples = realloc(asked->samples, count * sizeof(*samples));
    if (samples)
        asked->samples = samples;
    return inputs && samples ? CYX_OK : no_memory(err);
}

/* The word without its rows, then the row: "fashion-mnist:0-9" and 7 give "fashion-mnist:7". */
static const char *name_row(struct asked *asked, const char *word, const struct cyx_input *input,
                            uint32_t row)
{
    const char *colon = strrchr(word, ':');
    bool rows = colon && colon[1] && colon[1 + strspn(colon + 1, "0123456789,-")] == '\0';
    if (input->is_one)
        return cyx_arena_strdup(&asked->arena, word);
    return cyx_arena_printf(&asked->arena, "%.*s:%" PRIu32,
                            (int)(rows ? (size_t)(colon - word) : strlen(word)), word, row);
}

static enum cyx_status read_rows(struct asked *asked, const char *word,
                                 const struct cyx_input *input, const struct cyx_pipeline *pipeline,
                                 struct cyx_scratch *scratch, struct cyx_error *err)
{
    enum cyx_status status = make_room(asked, input->n_rows, err);
    for (size_t i = 0; i < input->n_rows && status == CYX_OK; i++) {
        uint32_t row = input->rows[i];
        struct sample sample = {.name = name_row(asked, word, input, row), .truth = -1};
        if (!sample.name)
            return no_memory(err);
        if (input->part->labels && cyx_predictor_class(asked->predictor, 0))
            sample.truth = input->part->labels[row];
        if (sample.truth >= (int64_t)asked->n_out)
            sample.truth = -1;
        asked->any_truth = asked->any_truth || sample.truth >= 0;
        status = cyx_pipeline_row(pipeline, input->part, row, 0, scratch,
                                  asked->inputs + asked->count * asked->n_in, err);
        asked->samples[asked->count++] = sample;
    }
    return status;
}

static enum cyx_status read_input(struct asked *asked, const char *word,
                                  const struct cyx_input_options *options, struct cyx_error *err)
{
    const struct cyx_job_spec *spec = cyx_predictor_spec(asked->predictor);
    struct cyx_input input = {0};
    struct cyx_pipeline *pipeline = NULL;
    struct cyx_scratch *scratch = cyx_scratch_create();
    enum cyx_status status = scratch ? cyx_input_open(word, options, &input, err) : no_memory(err);
    if (status == CYX_OK)
        status = cyx_pipeline_create(input.data, &spec->data, false, spec->seed, &pipeline, err);
    if (status == CYX_OK)
        status = check_shape(asked, word, cyx_pipeline_sample(pipeline), err);
    if (status == CYX_OK)
        status = read_rows(asked, word, &input, pipeline, scratch, err);
    cyx_pipeline_destroy(pipeline);
    cyx_scratch_destroy(scratch);
    cyx_input_finish(&input);
    return status;
}

static enum cyx_status read_inputs(struct asked *asked, struct cyx_error *err)
{
    CYX_CLEANUP_BUF struct cyx_buf data_dir = {0};
    struct cli *cli = asked->cli;
    enum cyx_status status = cli_data_dir(cli, &data_dir, err);
    const struct cyx_input_options options = {.data_dir = data_dir.data,
                                              .sample =
                                                  cyx_predictor_spec(asked->predictor)->data.sample,
                                              .resize = cli_value(cli, "resize") != NULL};
    for (size_t i = 1; i < cli->n_arguments && status == CYX_OK; i++)
        status = read_input(asked, cli->arguments[i], &options, err);
    return status;
}

/* ---- answers ---- */

/* Indices of the `n` largest, the first of equals first; NaN counts as the smallest. */
static void find_top(const float *values, size_t count, size_t n, size_t *ret_top)
{
    for (size_t k = 0; k < n; k++) {
        size_t best = count;
        for (size_t i = 0; i < count; i++) {
            bool taken = false;
            for (size_t j = 0; j < k; j++)
                taken = taken || ret_top[j] == i;
            if (!taken && (best == count || values[i] > values[best] ||
                           (values[best] != values[best] && values[i] == values[i])))
                best = i;
        }
        ret_top[k] = best;
    }
}

static json_t *classes_json(const struct asked *asked, size_t sample, const size_t *top)
{
    bool scores = cyx_predictor_kind(asked->predictor) == CYX_OUTPUT_SCORES;
    json_t *list = json_array();
    for (int64_t k = 0; k < asked->top; k++) {
        size_t at = sample * asked->n_out + top[k];
        json_t *entry = json_pack(
            "{s:s, s:I, s:o}", "class", cyx_predictor_class(asked->predictor, top[k]), "index",
            (json_int_t)top[k], "output", cyx_message_number((double)asked->outputs[at]));
        if (!scores)
            json_object_set_new(entry, "probability",
                                cyx_message_number((double)asked->probabilities[at]));
        json_array_append_new(list, entry);
    }
    return list;
}

static json_t *numbers_json(const struct asked *asked, size_t sample)
{
    json_t *list = json_array();
    for (size_t i = 0; i < asked->n_out; i++)
        json_array_append_new(
            list, cyx_message_number((double)asked->outputs[sample * asked->n_out + i]));
    return list;
}

static void print_json(const struct asked *asked, size_t *top)
{
    const struct cyx_shape *shape = cyx_predictor_output_shape(asked->predictor);
    bool classes = cyx_predictor_kind(asked->predictor) != CYX_OUTPUT_NUMBERS;
    json_t *list = json_array();
    for (size_t i = 0; i < asked->count; i++) {
        const struct sample *sample = &asked->samples[i];
        json_t *entry = json_pack("{s:s}", "input", sample->name);
        find_top(asked->probabilities + i * asked->n_out, asked->n_out, (size_t)asked->top, top);
        if (sample->truth >= 0)
            json_object_set_new(
                entry, "truth",
                json_string(cyx_predictor_class(asked->predictor, (size_t)sample->truth)));
        if (classes) {
            json_object_set_new(entry, "classes", classes_json(asked, i, top));
        } else {
            json_t *dims = json_array();
            for (int d = 0; d < shape->rank; d++)
                json_array_append_new(dims, json_integer(shape->dim[d]));
            json_object_set_new(entry, "shape", dims);
            json_object_set_new(entry, "outputs", numbers_json(asked, i));
        }
        json_array_append_new(list, entry);
    }
    cli_print_json(list);
    json_decref(list);
}

static void add_value(struct cyx_buf *text, const struct asked *asked, float value)
{
    char percent[CLI_PERCENT_BYTES];
    if (cyx_predictor_kind(asked->predictor) == CYX_OUTPUT_SCORES)
        cyx_buf_printf(text, "%.4g", (double)value);
    else
        cyx_buf_puts(text, cli_percent((double)value, percent));
}

static void add_answers(struct cli_table *table, const struct asked *asked, size_t sample,
                        const size_t *top)
{
    CYX_CLEANUP_BUF struct cyx_buf first = {0};
    CYX_CLEANUP_BUF struct cyx_buf others = {0};
    const float *values = asked->probabilities + sample * asked->n_out;
    add_value(&first, asked, values[top[0]]);
    for (int64_t k = 1; k < asked->top; k++) {
        cyx_buf_printf(&others, "%s%s ", k > 1 ? ", " : "",
                       cyx_predictor_class(asked->predictor, top[k]));
        add_value(&others, asked, values[top[k]]);
    }
    bool known = values[top[0]] == values[top[0]]; /* not NaN */
    cli_table_add(table, "%s", known ? cyx_predictor_class(asked->predictor, top[0]) : "-");
    cli_table_add(table, "%s", first.failed ? "" : first.data);
    if (asked->top > 1)
        cli_table_add(table, "%s", others.failed ? "" : others.data);
}

static enum cyx_status print_classes(const struct asked *asked, size_t *top, struct cyx_error *err)
{
    struct cli_table_column columns[5] = {{"INPUT", false}};
    size_t n = 1;
    bool scores = cyx_predictor_kind(asked->predictor) == CYX_OUTPUT_SCORES;
    if (asked->any_truth)
        columns[n++] = (struct cli_table_column){"TRUTH", false};
    columns[n++] = (struct cli_table_column){"PREDICTION", false};
    columns[n++] = (struct cli_table_column){scores ? "SCORE" : "PROBABILITY", true};
    if (asked->top > 1)
        columns[n++] = (struct cli_table_column){"NEXT", false};
    CLI_CLEANUP_TABLE struct cli_table table;
    cli_table_init(&table, columns, n);
    for (size_t i = 0; i < asked->count; i++) {
        const struct sample *sample = &asked->samples[i];
        cli_table_add(&table, "%s", sample->name);
        if (asked->any_truth)
            cli_table_add(&table, "%s",
                          sample->truth >= 0
                              ? cyx_predictor_class(asked->predictor, (size_t)sample->truth)
                              : "-");
        find_top(asked->probabilities + i * asked->n_out, asked->n_out, (size_t)asked->top, top);
        add_answers(&table, asked, i, top);
    }
    return cli_table_print(&table, err);
}

static enum cyx_status print_numbers(const struct asked *asked, struct cyx_error *err)
{
    static const struct cli_table_column columns[] = {{"INPUT", false}, {"OUTPUT", false}};
    CLI_CLEANUP_TABLE struct cli_table table;
    cli_table_init(&table, columns, 2);
    for (size_t i = 0; i < asked->count; i++) {
        CYX_CLEANUP_BUF struct cyx_buf text = {0};
        for (size_t k = 0; k < asked->n_out && k < NUMBERS_SHOWN; k++)
            cyx_buf_printf(&text, "%s%.6g", k > 0 ? "  " : "",
                           (double)asked->outputs[i * asked->n_out + k]);
        if (asked->n_out > NUMBERS_SHOWN)
            cyx_buf_printf(&text, "  … %zu in all (--json)", asked->n_out);
        cli_table_add(&table, "%s", asked->samples[i].name);
        cli_table_add(&table, "%s", text.failed ? "" : text.data);
    }
    return cli_table_print(&table, err);
}

/* ---- the command ---- */

static enum cyx_status answer(struct asked *asked, struct cyx_error *err)
{
    size_t *top = calloc((size_t)asked->top, sizeof(*top));
    enum cyx_status status = CYX_OK;
    if (!top)
        return no_memory(err);
    if (asked->cli->json)
        print_json(asked, top);
    else if (cyx_predictor_kind(asked->predictor) == CYX_OUTPUT_NUMBERS)
        status = print_numbers(asked, err);
    else
        status = print_classes(asked, top, err);
    free(top);
    return status;
}

static enum cyx_status ask(struct asked *asked, struct cyx_error *err)
{
    size_t floats = asked->count * asked->n_out;
    asked->outputs = malloc(floats * sizeof(*asked->outputs));
    asked->probabilities = malloc(floats * sizeof(*asked->probabilities));
    if (!asked->outputs || !asked->probabilities)
        return no_memory(err);
    enum cyx_status status = cyx_predictor_run(asked->predictor, asked->inputs,
                                               (int64_t)asked->count, asked->outputs, err);
    if (status != CYX_OK)
        return status;
    cyx_predictor_probabilities(asked->predictor, asked->outputs, (int64_t)asked->count,
                                asked->probabilities);
    return answer(asked, err);
}

enum cyx_status cli_predict(struct cli *cli, struct cyx_error *err)
{
    CLI_CLEANUP_MODEL struct cli_model model = {0};
    struct asked asked = {.cli = cli, .top = TOP};
    enum cyx_status status = cli_whole_number(cli, "top", 1, INT32_MAX, &asked.top, err);
    if (status == CYX_OK)
        status = cli_open_model(cli, cli->arguments[0], BATCH, &model, err);
    if (status != CYX_OK)
        return status;
    asked.predictor = model.predictor;
    asked.n_in = (size_t)cyx_shape_count(cyx_predictor_input_shape(model.predictor));
    asked.n_out = (size_t)cyx_shape_count(cyx_predictor_output_shape(model.predictor));
    if ((size_t)asked.top > asked.n_out)
        asked.top = (int64_t)asked.n_out;
    status = read_inputs(&asked, err);
    if (status == CYX_OK)
        status = ask(&asked, err);
    finish(&asked);
    return status;
}
