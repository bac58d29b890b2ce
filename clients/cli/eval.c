/* cyxwiz eval: a trained model over the test part of a data set. */
#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "contract/dataset.h"
#include "contract/message.h"
#include "model.h"
#include "nn/infer/evaluate.h"

#include "base/banned.h"

enum { MATRIX_LIMIT = 20 }; /* classes whose matrix still fits a terminal */

struct report {
    const struct cli *cli;
    const struct cyx_predictor *predictor;
    const char *dataset;
    const struct cyx_evaluation *evaluation;
    double seconds;
};

static int64_t cell(const struct cyx_evaluation *e, int64_t truth, int64_t predicted)
{
    return e->confusion[truth * e->n_classes + predicted];
}

/* The part `count` of `of`; NaN of none. */
static double part(int64_t count, int64_t of)
{
    return of > 0 ? (double)count / (double)of : NAN;
}

/* ---- JSON ---- */

static json_t *class_json(const struct report *r, int64_t c)
{
    const struct cyx_evaluation *e = r->evaluation;
    int64_t count = cyx_evaluation_of_class(e, c), taken = cyx_evaluation_taken_for(e, c);
    return json_pack("{s:s, s:I, s:I, s:o, s:o}", "name",
                     cyx_predictor_class(r->predictor, (size_t)c), "count", (json_int_t)count,
                     "correct", (json_int_t)cell(e, c, c), "accuracy",
                     cyx_message_number(part(cell(e, c, c), count)), "precision",
                     cyx_message_number(part(cell(e, c, c), taken)));
}

static json_t *matrix_json(const struct cyx_evaluation *e)
{
    json_t *matrix = json_array();
    for (int64_t truth = 0; truth < e->n_classes; truth++) {
        json_t *row = json_array();
        for (int64_t predicted = 0; predicted < e->n_classes; predicted++)
            json_array_append_new(row, json_integer(cell(e, truth, predicted)));
        json_array_append_new(matrix, row);
    }
    return matrix;
}

static void print_json(const struct report *r)
{
    const struct cyx_evaluation *e = r->evaluation;
    const struct cyx_device_info *device = cyx_predictor_device(r->predictor);
    json_t *classes = json_array();
    for (int64_t c = 0; c < e->n_classes; c++)
        json_array_append_new(classes, class_json(r, c));
    json_t *body =
        json_pack("{s:s, s:s, s:s, s:I, s:I, s:o, s:o, s:o, s:o, s:f, s:s, s:s}", "name",
                  cyx_predictor_spec(r->predictor)->name, "dataset", r->dataset, "part", e->part,
                  "count", (json_int_t)e->count, "correct", (json_int_t)e->correct, "accuracy",
                  cyx_message_number(e->accuracy), "loss", cyx_message_number(e->loss), "classes",
                  classes, "confusion", matrix_json(e), "seconds", r->seconds, "backend",
                  device->backend, "device", device->name);
    cli_print_json(body);
    json_decref(body);
}

/* ---- text ---- */

/* The class that class `truth` is most often taken for, -1 where it never is. */
static int64_t worst_mistake(const struct cyx_evaluation *e, int64_t truth)
{
    int64_t worst = -1;
    for (int64_t p = 0; p < e->n_classes; p++)
        if (p != truth && cell(e, truth, p) > 0 &&
            (worst < 0 || cell(e, truth, p) > cell(e, truth, worst)))
            worst = p;
    return worst;
}

static enum cyx_status print_classes(const struct report *r, struct cyx_error *err)
{
    static const struct cli_table_column columns[] = {{"CLASS", false},
                                                      {"COUNT", true},
                                                      {"ACCURACY", true},
                                                      {"PRECISION", true},
                                                      {"MOSTLY TAKEN FOR", false}};
    const struct cyx_evaluation *e = r->evaluation;
    CLI_CLEANUP_TABLE struct cli_table table;
    char text[CLI_AMOUNT_BYTES], percent[CLI_PERCENT_BYTES];
    cli_table_init(&table, columns, 5);
    for (int64_t c = 0; c < e->n_classes; c++) {
        int64_t count = cyx_evaluation_of_class(e, c), worst = worst_mistake(e, c);
        cli_format_count(count, text);
        cli_table_add(&table, "%s", cyx_predictor_class(r->predictor, (size_t)c));
        cli_table_add(&table, "%s", text);
        cli_table_add(&table, "%s", cli_percent(part(cell(e, c, c), count), percent));
        cli_table_add(&table, "%s",
                      cli_percent(part(cell(e, c, c), cyx_evaluation_taken_for(e, c)), percent));
        if (worst >= 0)
            cli_table_add(&table, "%s (%" PRId64 ")",
                          cyx_predictor_class(r->predictor, (size_t)worst), cell(e, c, worst));
        else
            cli_table_add(&table, "-");
    }
    return cli_table_print(&table, err);
}

static enum cyx_status print_matrix(const struct report *r, struct cyx_error *err)
{
    const struct cyx_evaluation *e = r->evaluation;
    struct cli_table_column columns[MATRIX_LIMIT + 1] = {{"", false}};
    char titles[MATRIX_LIMIT][24];
    CLI_CLEANUP_TABLE struct cli_table table;
    for (int64_t c = 0; c < e->n_classes; c++) {
        snprintf(titles[c], sizeof(titles[c]), "%" PRId64, c);
        columns[c + 1] = (struct cli_table_column){titles[c], true};
    }
    printf("\nConfusion: a row for each true class, a column for what the model said\n\n");
    cli_table_init(&table, columns, (size_t)e->n_classes + 1);
    for (int64_t truth = 0; truth < e->n_classes; truth++) {
        cli_table_add(&table, "%" PRId64 " %s", truth,
                      cyx_predictor_class(r->predictor, (size_t)truth));
        for (int64_t predicted = 0; predicted < e->n_classes; predicted++)
            cli_table_add(&table, "%" PRId64, cell(e, truth, predicted));
    }
    return cli_table_print(&table, err);
}

static enum cyx_status print_text(const struct report *r, struct cyx_error *err)
{
    const struct cyx_evaluation *e = r->evaluation;
    const struct cyx_device_info *device = cyx_predictor_device(r->predictor);
    char count[CLI_AMOUNT_BYTES], percent[CLI_PERCENT_BYTES];
    cli_format_count(e->count, count);
    printf("%s on the %s part of %s, on %s (%s)\n\nSamples   %s\nLoss      %.4f\n",
           cyx_predictor_spec(r->predictor)->name, e->part, r->dataset, device->name,
           device->backend, count, e->loss);
    if (e->faults > 0)
        printf("Unread    %" PRId64
               " files or rows of the whole data set (`cyxwiz data inspect`)\n",
               e->faults);
    if (e->n_classes == 0)
        return CYX_OK;
    printf("Accuracy  %s\n\n", cli_percent(e->accuracy, percent));
    enum cyx_status status = print_classes(r, err);
    if (status == CYX_OK && e->n_classes <= MATRIX_LIMIT)
        status = print_matrix(r, err);
    else if (status == CYX_OK)
        printf("\nThe confusion matrix of so many classes: --json\n");
    return status;
}

/* ---- the data ---- */

/* What --data names: a set of the catalogue with the model's own transforms, or a spec's data. */
static enum cyx_status choose_data(const struct cli *cli, const struct cyx_predictor *predictor,
                                   struct cyx_data_spec *ret_data, struct cyx_job_spec **ret_spec,
                                   struct cyx_error *err)
{
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    const char *given = cli_value(cli, "data");
    *ret_data = cyx_predictor_spec(predictor)->data;
    if (!given)
        return CYX_OK;
    if (cyx_dataset_find(given)) {
        ret_data->dataset = given;
        ret_data->source.format = CYX_SOURCE_CATALOGUE;
        return CYX_OK;
    }
    if (access(given, R_OK) != 0)
        return cyx_error_set(err, CYX_ERR_NOT_FOUND, NULL,
                             "--data %s is neither a data set (`cyxwiz data list`) nor a spec file",
                             given);
    enum cyx_status status = cli_read_spec(given, &text, ret_spec, err);
    if (status == CYX_OK)
        *ret_data = (*ret_spec)->data;
    return status;
}

/* The model's spec names its files as they lay where the spec was. */
static enum cyx_status ask_for_data(struct cyx_error *err)
{
    const struct cyx_error kept = *err;
    return cyx_error_set(err, kept.status, kept.pointer,
                         "%s: give the spec that knows where the data lie (--data SPEC)",
                         kept.message);
}

static enum cyx_status evaluate(struct cli *cli, struct cyx_predictor *predictor,
                                struct cyx_error *err)
{
    CLI_CLEANUP_WHERE struct cli_where where = {0};
    const char *given = cli_value(cli, "data") ? cli_value(cli, "data") : cli_value(cli, "spec");
    struct cyx_job_spec *spec = NULL;
    struct cyx_data_spec data;
    struct cyx_evaluation evaluation = {0};
    enum cyx_status status = cli_where_init(cli, given, &where, err);
    if (status == CYX_OK)
        status = choose_data(cli, predictor, &data, &spec, err);
    int64_t begin_ns = cyx_clock_monotonic_ns();
    if (status == CYX_OK) {
        status = cyx_evaluate_data(predictor, &data, &where.options, &cli_cancel, &evaluation, err);
        if (status == CYX_ERR_NOT_FOUND && !given && data.source.format != CYX_SOURCE_CATALOGUE)
            status = ask_for_data(err);
    }
    if (status == CYX_OK) {
        const struct report report = {cli, predictor, cyx_data_spec_name(&data), &evaluation,
                                      (double)(cyx_clock_monotonic_ns() - begin_ns) * 1e-9};
        if (cli->json)
            print_json(&report);
        else
            status = print_text(&report, err);
    }
    cyx_evaluation_finish(&evaluation);
    cyx_job_spec_destroy(spec);
    return status;
}

enum cyx_status cli_eval(struct cli *cli, struct cyx_error *err)
{
    CLI_CLEANUP_MODEL struct cli_model model = {0};
    enum cyx_status status = cli_open_model(cli, cli->arguments[0], 0, &model, err);
    return status == CYX_OK ? evaluate(cli, model.predictor, err) : status;
}
