/* cyxwiz describe: what a spec's model is made of and what a step of it takes, with nothing run. */
#include <inttypes.h>
#include <string.h>

#include "model.h"
#include "model/summary.h"

#include "base/banned.h"

static const char *input_name(const struct cyx_job_spec *spec, size_t layer, size_t input)
{
    int32_t from = spec->layers[layer].input_index[input];
    return from < 0 ? "input" : spec->layers[from].name;
}

/* Whether each layer reads nothing but the one before it. */
static bool is_chain(const struct cyx_job_spec *spec)
{
    for (size_t i = 0; i < spec->n_layers; i++)
        if (spec->layers[i].n_inputs > 1 || spec->layers[i].input_index[0] != (int32_t)i - 1)
            return false;
    return true;
}

/* ---- JSON ---- */

static json_t *shape_json(const struct cyx_shape *shape)
{
    json_t *list = json_array();
    for (int i = 0; i < shape->rank; i++)
        json_array_append_new(list, json_integer(shape->dim[i]));
    return list;
}

static json_t *layer_json(const struct cyx_job_spec *spec, const struct cyx_model_summary *summary,
                          size_t index)
{
    const struct cyx_layer_spec *layer = &spec->layers[index];
    const struct cyx_layer_summary *row = &summary->layers[index];
    json_t *inputs = json_array();
    for (size_t i = 0; i < layer->n_inputs; i++)
        json_array_append_new(inputs, json_string(input_name(spec, index, i)));
    return json_pack("{s:s, s:s, s:o, s:o, s:I, s:I, s:I}", "name", layer->name, "type",
                     cyx_layer_type_name(layer->type), "inputs", inputs, "output_shape",
                     shape_json(&row->output), "parameters", (json_int_t)row->parameters, "buffers",
                     (json_int_t)row->buffers, "flops_per_sample", (json_int_t)row->forward_flops);
}

static json_t *memory_json(const struct cyx_step_memory *memory)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "parameters_bytes",
                     (json_int_t)memory->parameters, "buffers_bytes", (json_int_t)memory->buffers,
                     "optimizer_bytes", (json_int_t)memory->optimizer, "batch_bytes",
                     (json_int_t)memory->batch, "arena_bytes", (json_int_t)memory->arena,
                     "arena_unshared_bytes", (json_int_t)memory->arena_unshared, "total_bytes",
                     (json_int_t)memory->total);
}

static void print_json(const struct cyx_job_spec *spec, const struct cyx_model_summary *summary)
{
    json_t *layers = json_array();
    for (size_t i = 0; i < spec->n_layers; i++)
        json_array_append_new(layers, layer_json(spec, summary, i));
    json_t *body = json_pack(
        "{s:s, s:s, s:I, s:o, s:{s:s, s:I}, s:I, s:I, s:I, s:I, s:I, s:{s:o, s:o}}", "name",
        spec->name, "dataset", cyx_data_spec_name(&spec->data), "batch", (json_int_t)summary->batch,
        "layers", layers, "loss", "type", cyx_loss_type_name(spec->loss.type), "flops_per_sample",
        (json_int_t)summary->loss_flops, "parameters", (json_int_t)summary->parameters, "buffers",
        (json_int_t)summary->buffers, "activations", (json_int_t)summary->activations,
        "forward_flops_per_sample", (json_int_t)summary->forward_flops, "training_flops_per_sample",
        (json_int_t)summary->training_flops, "memory", "training", memory_json(&summary->training),
        "inference", memory_json(&summary->inference));
    cli_print_json(body);
    json_decref(body);
}

/* ---- text ---- */

static void add_inputs(struct cli_table *table, const struct cyx_job_spec *spec, size_t layer)
{
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    for (size_t i = 0; i < spec->layers[layer].n_inputs; i++)
        cyx_buf_printf(&text, "%s%s", i > 0 ? ", " : "", input_name(spec, layer, i));
    cli_table_add(table, "%s", text.failed ? "" : text.data);
}

static void add_shape(struct cli_table *table, const struct cyx_shape *shape)
{
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    for (int i = 0; i < shape->rank; i++)
        cyx_buf_printf(&text, "%s%" PRId64, i > 0 ? ", " : "[", shape->dim[i]);
    cli_table_add(table, "%s]", text.failed ? "" : text.data);
}

static void add_count(struct cli_table *table, int64_t count)
{
    char text[CLI_AMOUNT_BYTES];
    cli_format_count(count, text);
    cli_table_add(table, "%s", count ? text : "-");
}

static void add_short(struct cli_table *table, int64_t count)
{
    char text[CLI_AMOUNT_BYTES];
    cli_format_short(count, text);
    cli_table_add(table, "%s", count ? text : "-");
}

static void add_bytes(struct cli_table *table, int64_t bytes)
{
    char text[CLI_AMOUNT_BYTES];
    cli_format_bytes(bytes, text);
    cli_table_add(table, "%s", bytes ? text : "-");
}

static enum cyx_status print_layers(const struct cyx_job_spec *spec,
                                    const struct cyx_model_summary *summary, struct cyx_error *err)
{
    static const struct cli_table_column with_inputs[] = {{"LAYER", false},     {"TYPE", false},
                                                          {"INPUTS", false},    {"OUTPUT", false},
                                                          {"PARAMETERS", true}, {"FLOPS", true}};
    static const struct cli_table_column chain[] = {{"LAYER", false},
                                                    {"TYPE", false},
                                                    {"OUTPUT", false},
                                                    {"PARAMETERS", true},
                                                    {"FLOPS", true}};
    CLI_CLEANUP_TABLE struct cli_table table;
    bool inputs = !is_chain(spec);
    cli_table_init(&table, inputs ? with_inputs : chain, inputs ? 6 : 5);
    for (size_t i = 0; i < spec->n_layers; i++) {
        const struct cyx_layer_summary *row = &summary->layers[i];
        cli_table_add(&table, "%s", spec->layers[i].name);
        cli_table_add(&table, "%s", cyx_layer_type_name(spec->layers[i].type));
        if (inputs)
            add_inputs(&table, spec, i);
        add_shape(&table, &row->output);
        add_count(&table, row->parameters);
        add_short(&table, row->forward_flops);
    }
    cli_table_add(&table, "loss");
    cli_table_add(&table, "%s", cyx_loss_type_name(spec->loss.type));
    if (inputs)
        cli_table_add(&table, "%s", spec->layers[spec->n_layers - 1].name);
    cli_table_add(&table, "[]");
    add_count(&table, 0);
    add_short(&table, summary->loss_flops);
    return cli_table_print(&table, err);
}

static void print_totals(const struct cyx_model_summary *summary)
{
    char count[CLI_AMOUNT_BYTES], bytes[CLI_AMOUNT_BYTES], training[CLI_AMOUNT_BYTES];
    cli_format_count(summary->parameters, count);
    cli_format_bytes(summary->training.parameters, bytes);
    printf("\nParameters        %s (%s)\n", count, bytes);
    if (summary->buffers > 0) {
        cli_format_count(summary->buffers, count);
        cli_format_bytes(summary->training.buffers, bytes);
        printf("Buffers           %s (%s), not trained\n", count, bytes);
    }
    cli_format_count(summary->activations, count);
    cli_format_bytes(4 * summary->activations, bytes);
    printf("Activations       %s (%s) for a batch of %" PRId64 "\n", count, bytes, summary->batch);
    cli_format_short(summary->forward_flops, count);
    cli_format_short(summary->training_flops, training);
    printf("FLOPs a sample    %s forward, %s a training step (a multiply-add is two)\n\n", count,
           training);
}

static enum cyx_status print_memory(const struct cyx_model_summary *summary, struct cyx_error *err)
{
    static const struct cli_table_column columns[] = {
        {"DEVICE MEMORY OF A STEP", false}, {"TRAINING", true}, {"INFERENCE", true}};
    const struct cyx_step_memory *t = &summary->training, *i = &summary->inference;
    const struct {
        const char *what;
        int64_t training, inference;
    } rows[] = {{"parameters and buffers", t->parameters + t->buffers, i->parameters + i->buffers},
                {"optimizer", t->optimizer, i->optimizer},
                {"batch", t->batch, i->batch},
                {"activations and gradients, planned", t->arena, i->arena},
                {"  (each with bytes of its own)", t->arena_unshared, i->arena_unshared},
                {"in all, as planned", t->total, i->total}};
    CLI_CLEANUP_TABLE struct cli_table table;
    cli_table_init(&table, columns, 3);
    for (size_t r = 0; r < sizeof(rows) / sizeof(rows[0]); r++) {
        cli_table_add(&table, "%s", rows[r].what);
        add_bytes(&table, rows[r].training);
        add_bytes(&table, rows[r].inference);
    }
    return cli_table_print(&table, err);
}

static enum cyx_status print_text(const struct cyx_job_spec *spec,
                                  const struct cyx_model_summary *summary, struct cyx_error *err)
{
    printf("%s on %s, batch %" PRId64 "\n\n", spec->name, cyx_data_spec_name(&spec->data),
           summary->batch);
    enum cyx_status status = print_layers(spec, summary, err);
    if (status != CYX_OK)
        return status;
    print_totals(summary);
    return print_memory(summary, err);
}

enum cyx_status cli_describe(struct cli *cli, struct cyx_error *err)
{
    struct cyx_job_spec *spec = NULL;
    struct cyx_model_summary *summary = NULL;
    CLI_CLEANUP_WHERE struct cli_where where = {0};
    int64_t batch = 0;
    enum cyx_status status = cli_whole_number(cli, "batch", 1, CYX_JOB_BATCH_LIMIT, &batch, err);
    if (status == CYX_OK)
        status = cli_read_spec_of(cli->arguments[0], &spec, err);
    if (status == CYX_OK)
        status = cli_where_init(cli, cli->arguments[0], &where, err);
    if (status == CYX_OK)
        status = cyx_data_resolve(spec, &where.options, err);
    if (status == CYX_OK)
        status = cyx_model_summarize(spec, batch ? batch : spec->data.batch_size, &summary, err);
    if (status == CYX_OK && cli->json)
        print_json(spec, summary);
    else if (status == CYX_OK)
        status = print_text(spec, summary, err);
    cyx_model_summary_destroy(summary);
    cyx_job_spec_destroy(spec);
    return status;
}
