/*
 * Opening a trained model from the command line's options (--spec, --backend, --threads, --device).
 *
 *     CLI_CLEANUP_MODEL struct cli_model model = {0};
 *     status = cli_open_model(cli, cli->arguments[0], 0, &model, err);
 */
#ifndef CYX_CLI_MODEL_H
#define CYX_CLI_MODEL_H

#include "cli.h"
#include "nn/infer/predictor.h"

struct cli_model {
    struct cyx_predictor *predictor;
    struct cyx_job_spec *spec; /* of --spec, else NULL */
};

/* `batch` 0: the spec's. */
enum cyx_status cli_open_model(struct cli *cli, const char *path, int64_t batch,
                               struct cli_model *model, struct cyx_error *err);
void cli_close_model(struct cli_model *model);
#define CLI_CLEANUP_MODEL __attribute__((cleanup(cli_close_model)))

/* The spec of a file that is a spec or, by its name's end ".safetensors", a model of ours. */
enum cyx_status cli_read_spec_of(const char *path, struct cyx_job_spec **ret_spec,
                                 struct cyx_error *err);

#endif
