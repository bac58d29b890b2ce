/* Trained models, for the commands that use one: opening, and the spec beside a file that has none. */
#include "model.h"

#include <string.h>

#include "nn/format/model_file.h"

#include "base/banned.h"

/* The spec of --spec, with the sample's shape even where only the data tell it. */
static enum cyx_status read_given_spec(const struct cli *cli, struct cyx_job_spec **ret_spec,
                                       struct cyx_error *err)
{
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    CLI_CLEANUP_WHERE struct cli_where where = {0};
    const char *path = cli_value(cli, "spec");
    enum cyx_status status = path ? cli_read_spec(path, &text, ret_spec, err) : CYX_OK;
    if (status != CYX_OK || !path || (*ret_spec)->data.sample.rank > 0)
        return status;
    status = cli_where_init(cli, path, &where, err);
    return status == CYX_OK ? cyx_data_resolve(*ret_spec, &where.options, err) : status;
}

enum cyx_status cli_open_model(struct cli *cli, const char *path, int64_t batch,
                               struct cli_model *model, struct cyx_error *err)
{
    int64_t threads = 0, device = 0;
    enum cyx_status status = cli_whole_number(cli, "threads", 0, 1024, &threads, err);
    if (status == CYX_OK)
        status = cli_whole_number(cli, "device", 0, 255, &device, err);
    if (status == CYX_OK)
        status = read_given_spec(cli, &model->spec, err);
    if (status != CYX_OK)
        return status;
    const struct cyx_predictor_options options = {
        .model_path = path,
        .spec = model->spec,
        .backend = cli_value(cli, "backend"),
        .device = {.index = (int)device, .threads = (int)threads},
        .batch = batch};
    return cyx_predictor_create(&options, &model->predictor, err);
}

void cli_close_model(struct cli_model *model)
{
    cyx_predictor_destroy(model->predictor);
    cyx_job_spec_destroy(model->spec);
    *model = (struct cli_model){0};
}

static bool is_model(const char *path)
{
    static const char end[] = ".safetensors";
    size_t length = strlen(path), tail = sizeof(end) - 1;
    return length > tail && strcmp(path + length - tail, end) == 0;
}

static enum cyx_status read_models_spec(const char *path, struct cyx_job_spec **ret_spec,
                                        struct cyx_error *err)
{
    struct cyx_safetensors *file = NULL;
    struct cyx_model_about about = {0};
    enum cyx_status status = cyx_safetensors_open(path, &file, err);
    if (status == CYX_OK)
        status = cyx_model_about_read(file, &about, err);
    if (status == CYX_OK)
        status = cyx_model_about_spec(&about, path, ret_spec, err);
    cyx_model_about_finish(&about);
    cyx_safetensors_close(file);
    return status;
}

enum cyx_status cli_read_spec_of(const char *path, struct cyx_job_spec **ret_spec,
                                 struct cyx_error *err)
{
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    return is_model(path) ? read_models_spec(path, ret_spec, err)
                          : cli_read_spec(path, &text, ret_spec, err);
}
