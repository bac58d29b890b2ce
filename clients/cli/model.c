/* Trained models, for the commands that use one: opening, and the spec beside a file that has none. */
#include "model.h"

#include <string.h>

#include "base/banned.h"

enum cyx_status cli_open_model(struct cli *cli, const char *path, int64_t batch,
                               struct cli_model *model, struct cyx_error *err)
{
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    int64_t threads = 0, device = 0;
    enum cyx_status status = cli_whole_number(cli, "threads", 0, 1024, &threads, err);
    if (status == CYX_OK)
        status = cli_whole_number(cli, "device", 0, 255, &device, err);
    if (status == CYX_OK && cli_value(cli, "spec"))
        status = cli_read_spec(cli_value(cli, "spec"), &text, &model->spec, err);
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
