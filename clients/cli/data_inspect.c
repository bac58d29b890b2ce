/* cyxwiz data inspect: what a data set holds, how it is spread, what cannot be read, and how its pictures look. */
#include <inttypes.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "cli.h"
#include "contract/dataset.h"
#include "contract/message.h"
#include "nn/data/inspect.h"

#include "base/banned.h"

enum { LOOKED_AT = 2000, FAULTS_SHOWN = 10, CLASSES_SHOWN = 40 };

/* What was pointed at, opened. */
struct subject {
    struct cyx_data_spec spec;
    struct cyx_job_spec *job; /* NULL: not a spec */
    struct cyx_column_spec target;
    struct cyx_buf train, test; /* paths found within a folder */
    struct cyx_data *data;
    bool knows_sample; /* `sample` is what the transforms make */
    struct cyx_sample_shape sample;
    struct cyx_statistics train_numbers, test_numbers;
};

static void finish(struct subject *subject)
{
    cyx_statistics_finish(&subject->train_numbers);
    cyx_statistics_finish(&subject->test_numbers);
    cyx_data_close(subject->data);
    cyx_job_spec_destroy(subject->job);
    cyx_buf_finish(&subject->train);
    cyx_buf_finish(&subject->test);
}
#define CLEANUP_SUBJECT __attribute__((cleanup(finish)))

/* ---- what was pointed at ---- */

static bool ends_with(const char *path, const char *end)
{
    size_t n = strlen(path), m = strlen(end);
    return n > m && strcasecmp(path + n - m, end) == 0;
}

static bool is_folder(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

/* A folder of classes, or one with the folders train and test. */
static enum cyx_status take_folder(struct subject *subject, const char *path, struct cyx_error *err)
{
    struct cyx_source_spec *source = &subject->spec.source;
    cyx_buf_printf(&subject->train, "%s/train", path);
    cyx_buf_printf(&subject->test, "%s/test", path);
    if (subject->train.failed || subject->test.failed)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for a path");
    bool parts = is_folder(subject->train.data);
    *source = (struct cyx_source_spec){.format = CYX_SOURCE_IMAGE_FOLDER,
                                       .train = parts ? subject->train.data : path,
                                       .channels = 3};
    if (parts && is_folder(subject->test.data))
        source->test = subject->test.data;
    return CYX_OK;
}

static enum cyx_status take_file(const struct cli *cli, struct subject *subject, const char *path,
                                 struct cyx_error *err)
{
    struct cyx_source_spec *source = &subject->spec.source;
    const char *target = cli_value(cli, "target");
    *source = (struct cyx_source_spec){.train = path, .header = true, .delimiter = ','};
    if (ends_with(path, ".csv") || ends_with(path, ".tsv")) {
        source->format = CYX_SOURCE_CSV;
        source->delimiter = ends_with(path, ".tsv") ? '\t' : ',';
        subject->target.name = target;
        source->target = &subject->target;
        source->n_target = target ? 1 : 0;
    } else if (ends_with(path, ".npy")) {
        source->format = CYX_SOURCE_NPY;
        source->targets = target;
    } else if (ends_with(path, ".npz") || ends_with(path, ".safetensors")) {
        source->format = ends_with(path, ".npz") ? CYX_SOURCE_NPZ : CYX_SOURCE_SAFETENSORS;
        source->targets = target;
    } else {
        source->format = CYX_SOURCE_IDX;
        source->targets = target;
    }
    struct stat info;
    if (stat(path, &info) == 0)
        return CYX_OK;
    return cyx_error_set(
        err, CYX_ERR_NOT_FOUND, NULL,
        "%s is neither a data set (`cyxwiz data list`), a spec, a file nor a folder", path);
}

static enum cyx_status choose(const struct cli *cli, struct subject *subject, struct cyx_error *err)
{
    static const struct cyx_transform_spec plain = {.type = CYX_TRANSFORM_TO_TENSOR};
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    const char *given = cli->arguments[0];
    subject->spec = (struct cyx_data_spec){.transforms = &plain, .n_transforms = 1};
    if (cyx_dataset_find(given)) {
        subject->spec.dataset = given;
        return CYX_OK;
    }
    if (is_folder(given))
        return take_folder(subject, given, err);
    if (!ends_with(given, ".json"))
        return take_file(cli, subject, given, err);
    enum cyx_status status = cli_read_spec(given, &text, &subject->job, err);
    if (status == CYX_OK)
        subject->spec = subject->job->data;
    return status;
}

/* Images of several sizes have no sample before a transform gives them one: that is no failure here. */
static enum cyx_status look(const struct cli *cli, struct subject *subject, struct cyx_error *err)
{
    CLI_CLEANUP_WHERE struct cli_where where = {0};
    struct cyx_error why = {0};
    enum cyx_status status =
        cli_where_init(cli, subject->job ? cli->arguments[0] : NULL, &where, err);
    if (status == CYX_OK)
        status = cyx_data_open(&subject->spec, &where.options, &subject->data, err);
    if (status != CYX_OK)
        return status;
    if (!subject->data)
        return CYX_ERR_INTERNAL;
    const struct cyx_data *data = subject->data;
    bool some = data->train.kind == CYX_ROWS_FILES && !cli_value(cli, "all");
    int64_t limit = some ? LOOKED_AT : 0;
    status = cyx_data_measure(data, &data->train, limit, &subject->train_numbers, err);
    if (status == CYX_OK && data->test.count > 0)
        status = cyx_data_measure(data, &data->test, limit, &subject->test_numbers, err);
    if (status != CYX_OK)
        return status;
    subject->knows_sample =
        cyx_data_sample(subject->data, &subject->spec, &subject->sample, &why) == CYX_OK;
    if (!subject->knows_sample && subject->job && err)
        *err = why;
    return !subject->knows_sample && subject->job ? why.status : CYX_OK;
}

/* ---- text ---- */

static void print_shape(const struct subject *subject)
{
    const struct cyx_row_shape *row = &subject->data->row;
    const struct cyx_statistics *numbers = &subject->train_numbers;
    printf("Row        ");
    if (row->rank == 3 && row->dim[1] == 0)
        printf("%" PRId64 " x %" PRId64 "..%" PRId64 " x %" PRId64 "..%" PRId64
               " (images of several sizes)",
               row->dim[0], numbers->height[0], numbers->height[1], numbers->width[0],
               numbers->width[1]);
    else
        for (int i = 0; i < row->rank; i++)
            printf("%s%" PRId64, i ? " x " : "", row->dim[i]);
    printf("\nSample     ");
    if (!subject->knows_sample)
        printf("needs Resize with [height, width], or a crop");
    for (int i = 0; subject->knows_sample && i < subject->sample.rank; i++)
        printf("%s%" PRId64, i ? " x " : "", subject->sample.dim[i]);
    printf("%s\n", subject->job ? " (with the spec's transforms)" : "");
    if (subject->data->target == CYX_TARGET_CLASSES)
        printf("Targets    %" PRId64 " classes\n", subject->data->n_classes);
    else if (subject->data->n_targets > 0)
        printf("Targets    %" PRId64 " number%s\n", subject->data->n_targets,
               subject->data->n_targets == 1 ? "" : "s");
    else
        printf("Targets    none\n");
}

static enum cyx_status print_numbers(const struct subject *subject, struct cyx_error *err)
{
    const struct cyx_statistics *s = &subject->train_numbers;
    const struct cli_table_column columns[] = {
        {subject->data->row.rank == 1 ? "FEATURE" : "CHANNEL", false},
        {"MEAN", true},
        {"DEVIATION", true},
        {"LEAST", true},
        {"MOST", true}};
    CLI_CLEANUP_TABLE struct cli_table table;
    char rows[CLI_AMOUNT_BYTES];
    cli_format_count(s->n_rows, rows);
    printf("\nThe training part's numbers, of %s rows%s\n\n", rows,
           subject->data->train.kind == CYX_ROWS_FLOATS ? "" : "; bytes count from 0 to 1");
    cli_table_init(&table, columns, 5);
    for (int64_t c = 0; c < s->n_channels; c++) {
        cli_table_add(&table, "%" PRId64, c);
        cli_table_add(&table, "%.4f", s->mean[c]);
        cli_table_add(&table, "%.4f", s->std[c]);
        cli_table_add(&table, "%.4g", s->least[c]);
        cli_table_add(&table, "%.4g", s->most[c]);
    }
    return cli_table_print(&table, err);
}

static void add_class(struct cli_table *table, const struct subject *subject, int64_t i)
{
    const struct cyx_data *data = subject->data;
    char amount[CLI_AMOUNT_BYTES], percent[CLI_PERCENT_BYTES];
    int64_t train = subject->train_numbers.class_counts[i];
    if (data->class_names)
        cli_table_add(table, "%s", data->class_names[i]);
    else
        cli_table_add(table, "%" PRId64, i);
    cli_format_count(train, amount);
    cli_table_add(table, "%s", amount);
    cli_table_add(table, "%s", cli_percent((double)train / (double)data->train.count, percent));
    cli_format_count(subject->test_numbers.class_counts ? subject->test_numbers.class_counts[i] : 0,
                     amount);
    cli_table_add(table, "%s", amount);
}

static enum cyx_status print_classes(const struct subject *subject, struct cyx_error *err)
{
    static const struct cli_table_column columns[] = {
        {"CLASS", false}, {"TRAIN", true}, {"PART", true}, {"TEST", true}};
    int64_t n = subject->data->n_classes;
    CLI_CLEANUP_TABLE struct cli_table table;
    cli_table_init(&table, columns, 4);
    for (int64_t i = 0; i < n && i < CLASSES_SHOWN; i++)
        add_class(&table, subject, i);
    printf("\n");
    enum cyx_status status = cli_table_print(&table, err);
    if (status == CYX_OK && n > CLASSES_SHOWN)
        printf("and %" PRId64 " more: --json\n", n - CLASSES_SHOWN);
    return status;
}

static void print_faults(const struct subject *subject)
{
    char text[2 * CYX_FAULT_BYTES];
    int64_t count = cyx_data_faults_count(subject->data);
    if (count == 0)
        return;
    cyx_data_faults_text(subject->data, text);
    printf("\nBroken     %.*s\n", (int)strcspn(text, ";"), text);
    for (int64_t i = 0; i < count && i < FAULTS_SHOWN; i++) {
        cyx_data_fault(subject->data, (size_t)i, text);
        printf("  %s\n", text);
    }
    if (count > FAULTS_SHOWN)
        printf("  and %" PRId64 " more\n", count - FAULTS_SHOWN);
}

static enum cyx_status print_text(const struct subject *subject, struct cyx_error *err)
{
    const struct cyx_data *data = subject->data;
    char train[CLI_AMOUNT_BYTES], test[CLI_AMOUNT_BYTES];
    cli_format_count(data->train.count, train);
    cli_format_count(data->test.count, test);
    printf("%s (%s)\n\nTraining   %s\nTest       %s\n", data->name,
           cyx_source_format_name(data->format), train, data->test.count > 0 ? test : "none");
    print_shape(subject);
    enum cyx_status status = print_numbers(subject, err);
    if (status == CYX_OK && subject->train_numbers.class_counts)
        status = print_classes(subject, err);
    print_faults(subject);
    return status;
}

/* ---- JSON ---- */

static json_t *sizes_json(int rank, const int64_t *dim)
{
    json_t *list = json_array();
    for (int i = 0; i < rank; i++)
        json_array_append_new(list, json_integer(dim[i]));
    return list;
}

static json_t *numbers_json(const double *numbers, int64_t n)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < n; i++)
        json_array_append_new(list, cyx_message_number(numbers[i]));
    return list;
}

static json_t *classes_json(const struct subject *subject)
{
    const struct cyx_data *data = subject->data;
    const int64_t *train = subject->train_numbers.class_counts;
    const int64_t *test = subject->test_numbers.class_counts;
    json_t *list = json_array();
    for (int64_t i = 0; train && i < data->n_classes; i++)
        json_array_append_new(list, json_pack("{s:o, s:I, s:I}", "name",
                                              data->class_names ? json_string(data->class_names[i])
                                                                : json_sprintf("%" PRId64, i),
                                              "train", (json_int_t)train[i], "test",
                                              (json_int_t)(test ? test[i] : 0)));
    return list;
}

static json_t *faults_json(const struct subject *subject)
{
    char text[CYX_FAULT_BYTES];
    json_t *list = json_array();
    for (size_t i = 0; i < CYX_FAULTS_KEPT; i++) {
        cyx_data_fault(subject->data, i, text);
        if (!*text)
            break;
        json_array_append_new(list, json_string(text));
    }
    return list;
}

static void print_json(const struct subject *subject)
{
    const struct cyx_data *data = subject->data;
    const struct cyx_statistics *s = &subject->train_numbers;
    json_t *body = json_pack(
        "{s:s, s:s, s:I, s:I, s:o, s:o, s:s, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:I, s:o}", "name",
        data->name, "format", cyx_source_format_name(data->format), "train",
        (json_int_t)data->train.count, "test", (json_int_t)data->test.count, "row",
        sizes_json(data->row.rank, data->row.dim), "sample",
        subject->knows_sample ? sizes_json(subject->sample.rank, subject->sample.dim) : json_null(),
        "targets", data->target == CYX_TARGET_CLASSES ? "classes" : "numbers", "n_targets",
        (json_int_t)data->n_targets, "rows_measured", (json_int_t)s->n_rows, "mean",
        numbers_json(s->mean, s->n_channels), "std", numbers_json(s->std, s->n_channels), "least",
        numbers_json(s->least, s->n_channels), "most", numbers_json(s->most, s->n_channels),
        "classes", classes_json(subject), "faults", (json_int_t)cyx_data_faults_count(data),
        "fault_texts", faults_json(subject));
    cli_print_json(body);
    json_decref(body);
}

/* ---- the contact sheet ---- */

static void name_lines(const struct subject *subject, const int32_t *lines, size_t n_lines)
{
    for (size_t i = 0; i < n_lines && lines[i] >= 0; i++) {
        const char *const *names = subject->data->class_names;
        char number[16];
        snprintf(number, sizeof(number), "%d", lines[i]);
        printf("%s%s", i ? ", " : ", a line a class: ", names ? names[lines[i]] : number);
    }
}

static enum cyx_status write_sheet(const struct cli *cli, const struct subject *subject,
                                   struct cyx_error *err)
{
    const char *path = cli_value(cli, "sheet");
    bool transforms = cli_value(cli, "transforms") != NULL;
    struct cyx_image sheet = {0};
    CYX_CLEANUP_BUF struct cyx_buf png = {0};
    int32_t lines[CYX_SHEET_LINES_LIMIT];
    size_t n_lines = 0;
    if (transforms && !subject->job)
        return cyx_error_set(err, CYX_ERR_INVALID, NULL,
                             "--transforms shows a spec's: give the spec (.json) instead of %s",
                             cli->arguments[0]);
    enum cyx_status status =
        cyx_data_sheet(subject->data, &subject->data->train, transforms ? &subject->spec : NULL,
                       subject->job ? subject->job->seed : 0, &sheet, lines, &n_lines, err);
    if (status == CYX_OK)
        status = cyx_image_encode_png(&sheet, &png, err);
    if (status == CYX_OK)
        status = cyx_file_write_atomic(path, png.data, png.length, 0644, err);
    if (status == CYX_OK && !cli->json) {
        printf("\nSheet      %s%s", path,
               transforms ? ", first as evaluation sees it, then as training does" : "");
        name_lines(subject, lines, n_lines);
        printf("\n");
    }
    cyx_image_finish(&sheet);
    return status;
}

enum cyx_status cli_data_inspect(struct cli *cli, struct cyx_error *err)
{
    CLEANUP_SUBJECT struct subject subject = {0};
    enum cyx_status status = choose(cli, &subject, err);
    if (status == CYX_OK)
        status = look(cli, &subject, err);
    if (status == CYX_OK && cli->json)
        print_json(&subject);
    else if (status == CYX_OK)
        status = print_text(&subject, err);
    if (status == CYX_OK && cli_value(cli, "sheet"))
        status = write_sheet(cli, &subject, err);
    return status;
}
