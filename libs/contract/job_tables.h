/*
 * Private to libs/contract: the tables that say what a job spec is. job_spec.c reads by them,
 * job_schema.c writes the JSON Schema from them. layer_tables.c has the layers, train_tables.c losses,
 * optimizers and schedulers, data_tables.c the data, job_tables.c the rest. Static data; any thread.
 */
#ifndef CYX_CONTRACT_JOB_TABLES_H
#define CYX_CONTRACT_JOB_TABLES_H

#include "contract/job_spec.h"
#include "contract/spec_reader.h"

extern const struct spec_object spec_job, spec_data;
extern const struct spec_union spec_layers, spec_losses, spec_optimizers, spec_schedulers,
    spec_transforms, spec_sources;

/* Ranges that no honest spec leaves; what fits a device is judged by the model's cost. */
#define RATE_MAX 1e6

/* The member that chooses a union's variant. */
#define TYPE_FIELD                                                                                 \
    {                                                                                              \
        .key = "type", .kind = SPEC_TAG, .required = true, .help = "Which one it is."              \
    }

/* What a layer takes as `inputs`, by type: from `least` to `most`. */
struct spec_input_range {
    size_t least, most;
};
struct spec_input_range spec_layer_inputs(enum cyx_layer_type type);

/* Judges a list's type and length (items_min, items_max); the length is 0 when it is absent. */
enum cyx_status spec_list_length(struct spec_reader *reader, const struct spec_field *field,
                                 const json_t *value, size_t *ret_n);

/* Readers of job_layers.c, job_values.c and data_values.c, named by the tables. */
spec_read_fn spec_read_layers, spec_read_transforms, spec_read_channels, spec_read_dataset,
    spec_read_job_name, spec_read_metrics, spec_read_budget, spec_read_betas, spec_read_padding,
    spec_read_sizes, spec_read_weights, spec_read_param_groups, spec_read_path, spec_read_columns,
    spec_read_delimiter, spec_read_resize, spec_read_range, spec_read_wishes, spec_read_price,
    spec_read_after, spec_read_deadline, spec_read_upload, spec_read_sha256;

/* What names an upload, and its hash, in a table whose struct has `upload` and `sha256`. */
#define SPEC_UPLOAD(offset_, help_)                                                                \
    {                                                                                              \
        .key = "upload", .kind = SPEC_CUSTOM, .offset = (offset_), .read = spec_read_upload,       \
        .help = (help_), .schema = "{\"type\":\"string\",\"minLength\":1,\"maxLength\":400}"       \
    }
#define SPEC_UPLOAD_SHA256(offset_)                                                                \
    {                                                                                              \
        .key = "sha256", .kind = SPEC_CUSTOM, .offset = (offset_), .read = spec_read_sha256,       \
        .help = "The upload's SHA-256; filled in at submit, and asked for where it is given.",     \
        .schema = "{\"type\":\"string\",\"pattern\":\"^[0-9a-f]{64}$\"}"                           \
    }

#endif
