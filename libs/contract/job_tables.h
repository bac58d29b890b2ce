/*
 * Private to libs/contract: the tables that say what a job spec is. job_spec.c reads by them,
 * job_schema.c writes the JSON Schema from them. Static data; any thread.
 */
#ifndef CYX_CONTRACT_JOB_TABLES_H
#define CYX_CONTRACT_JOB_TABLES_H

#include "contract/job_spec.h"
#include "contract/spec_reader.h"

extern const struct spec_object spec_job;
extern const struct spec_union spec_layers, spec_losses, spec_optimizers, spec_schedulers,
    spec_transforms;

/* What a layer takes as `inputs`, by type. */
size_t spec_layer_inputs(enum cyx_layer_type type);

/* Readers of job_layers.c and job_values.c, named by the tables. */
spec_read_fn spec_read_layers, spec_read_transforms, spec_read_channels, spec_read_dataset,
    spec_read_job_name, spec_read_metrics, spec_read_budget, spec_read_betas, spec_read_padding;

#endif
