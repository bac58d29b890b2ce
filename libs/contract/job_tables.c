#include "contract/job_tables.h"

#include <string.h>

#include "base/banned.h"

/* ---- the job ---- */

#define AT(member) offsetof(struct cyx_job_spec, member)

static const struct spec_field model_fields[] = {
    {.key = "layers",
     .kind = SPEC_UNION_LIST,
     .offset = AT(layers),
     .required = true,
     .set = &spec_layers,
     .items_min = 1,
     .items_max = CYX_JOB_LAYERS_LIMIT,
     .read = spec_read_layers,
     .help = "The layers, in the order in which they run."},
};

static const struct spec_object model_object = {"model", model_fields, SPEC_COUNT(model_fields),
                                                .help = "The network."};

static const char *const backend_names[] = {"auto", "cpu", "vulkan", NULL};
static const char *const priority_names[] = {"low", "normal", "high", "critical", NULL};

/* A list of labels or regions of the resources. */
#define WISHES(member, sentence)                                                                   \
    {                                                                                              \
        .key = #member, .kind = SPEC_CUSTOM,                                                       \
        .offset = offsetof(struct cyx_resources_spec, member), .items_min = 0,                     \
        .items_max = CYX_JOB_WISHES_LIMIT, .read = spec_read_wishes, .help = sentence,             \
        .schema = "{\"type\":\"array\",\"maxItems\":32,\"uniqueItems\":true,\"items\":{\"type\":"  \
                  "\"string\",\"pattern\":\"^[A-Za-z0-9][A-Za-z0-9._=/-]{0,63}$\"}}"               \
    }

static const struct spec_field resources_fields[] = {
    {.key = "backend",
     .kind = SPEC_CHOICE_TEXT,
     .offset = offsetof(struct cyx_resources_spec, backend),
     .choices = backend_names,
     .help = "What computes; auto takes a GPU where there is one."},
    {.key = "device_memory_bytes",
     .kind = SPEC_INTEGER,
     .offset = offsetof(struct cyx_resources_spec, device_memory_bytes),
     .min = 0,
     .max = 1e15,
     .help = "Least device memory wanted besides the plan's own need."},
    {.key = "threads",
     .kind = SPEC_INTEGER,
     .offset = offsetof(struct cyx_resources_spec, threads),
     .min = 0,
     .max = 1024,
     .help = "CPU threads; 0 takes what the node offers."},
    {.key = "host_memory_bytes",
     .kind = SPEC_INTEGER,
     .offset = offsetof(struct cyx_resources_spec, host_memory_bytes),
     .min = 0,
     .max = 1e15,
     .help = "Least main memory of the node."},
    WISHES(labels, "Labels that the node must have."),
    WISHES(avoid_labels, "Labels that the node must not have."),
    WISHES(regions, "Regions of which the node must lie in one."),
    WISHES(avoid_regions, "Regions in which the node must not lie."),
    {.key = "max_price_per_hour",
     .kind = SPEC_CUSTOM,
     .offset = offsetof(struct cyx_resources_spec, max_price_per_hour_base_units),
     .read = spec_read_price,
     .help = "The most that an hour on the node may cost; any price when left out.",
     .schema = "{\"type\":\"string\",\"pattern\":\"^(0|[1-9][0-9]*)(\\\\.[0-9]{1,9})? CYX$\","
               "\"examples\":[\"2 CYX\"]}"},
    {.key = "min_reputation",
     .kind = SPEC_NUMBER,
     .offset = offsetof(struct cyx_resources_spec, min_reputation),
     .min = 0,
     .max = 1,
     .help = "Least share of its jobs that the node brought to an end; a new node has 0.5."},
    {.key = "nodes",
     .kind = SPEC_INTEGER,
     .offset = offsetof(struct cyx_resources_spec, nodes),
     .min = 1,
     .max = CYX_JOB_NODES_LIMIT,
     .fallback = 1,
     .help = "How many nodes train the model together, each on its own shard of every epoch."},
};

static const struct spec_object resources_object = {"resources", resources_fields,
                                                    SPEC_COUNT(resources_fields),
                                                    .help = "What the job wants of a node."};

static const struct spec_field schedule_fields[] = {
    {.key = "after",
     .kind = SPEC_CUSTOM,
     .offset = offsetof(struct cyx_schedule_spec, after),
     .items_min = 0,
     .items_max = CYX_JOB_AFTER_LIMIT,
     .read = spec_read_after,
     .help = "Ids of own jobs that must complete before this one starts.",
     .schema = "{\"type\":\"array\",\"maxItems\":64,\"uniqueItems\":true,\"items\":{\"type\":"
               "\"string\",\"format\":\"uuid\"}}"},
    {.key = "deadline",
     .kind = SPEC_CUSTOM,
     .offset = offsetof(struct cyx_schedule_spec, deadline_ms),
     .read = spec_read_deadline,
     .help = "The job fails when it has not ended by then.",
     .schema = "{\"type\":\"string\",\"format\":\"date-time\"}"},
    {.key = "retries",
     .kind = SPEC_INTEGER,
     .offset = offsetof(struct cyx_schedule_spec, retries),
     .min = 0,
     .max = CYX_JOB_RETRIES_LIMIT,
     .fallback = 2,
     .help = "How often a failure that may pass is tried again."},
    {.key = "array",
     .kind = SPEC_INTEGER,
     .offset = offsetof(struct cyx_schedule_spec, array),
     .min = 1,
     .max = CYX_JOB_ARRAY_LIMIT,
     .fallback = 1,
     .help = "How many copies are submitted; each one's seed is one more than the last's."},
};

static const struct spec_object schedule_object = {"schedule", schedule_fields,
                                                   SPEC_COUNT(schedule_fields),
                                                   .help = "When the job runs, and how often."};

static const struct spec_field checkpoint_fields[] = {
    {.key = "every_steps",
     .kind = SPEC_INTEGER,
     .offset = AT(checkpoint_steps),
     .min = 1,
     .max = 1e9,
     .fallback = 200,
     .help = "Optimizer steps between two checkpoints: the most that a lost node costs."},
};

static const struct spec_object checkpoint_object = {"checkpoint", checkpoint_fields,
                                                     SPEC_COUNT(checkpoint_fields),
                                                     .help = "When the training is saved."};

static const struct spec_field sync_fields[] = {
    {.key = "every_steps",
     .kind = SPEC_INTEGER,
     .offset = AT(sync_steps),
     .min = 1,
     .max = 10000,
     .fallback = 16,
     .help = "Optimizer steps between two meetings, where all go on from the mean of what they "
             "have; 1 equals one node with a batch that is so many times as large."},
};

static const struct spec_object sync_object = {
    "sync", sync_fields, SPEC_COUNT(sync_fields),
    .help = "How several nodes train together (resources.nodes)."};

static const char *const warmup_intervals[] = {"step", "epoch", NULL};

static const struct spec_field warmup_fields[] = {
    {.key = "total_iters",
     .kind = SPEC_INTEGER,
     .offset = offsetof(struct cyx_warmup_spec, total_iters),
     .min = 1,
     .max = 1e9,
     .help = "Intervals until the full learning rate."},
    {.key = "start_factor",
     .kind = SPEC_NUMBER,
     .offset = offsetof(struct cyx_warmup_spec, start_factor),
     .min = 0,
     .max = 1,
     .above_min = true,
     .fallback = 1.0 / 3,
     .help = "Factor on the learning rate at the start."},
    {.key = "interval",
     .kind = SPEC_CHOICE_BOOL,
     .offset = offsetof(struct cyx_warmup_spec, per_epoch),
     .choices = warmup_intervals,
     .help = "When the warm-up advances."},
};

static enum cyx_status check_warmup(struct spec_reader *reader, json_t *json, void *target)
{
    if (((const struct cyx_warmup_spec *)target)->total_iters == 0 && json_object_size(json) > 0)
        return spec_fail(reader, "the warm-up needs the member \"total_iters\": how many intervals "
                                 "it takes");
    return CYX_OK;
}

static const struct spec_object warmup_object = {
    "the warm-up", warmup_fields, SPEC_COUNT(warmup_fields), check_warmup,
    .help = "Linear rise of the learning rate before the scheduler begins, as torch's LinearLR."};

static const struct spec_field clip_fields[] = {
    {.key = "norm",
     .kind = SPEC_NUMBER,
     .offset = offsetof(struct cyx_clip_spec, norm),
     .min = 0,
     .max = RATE_MAX,
     .help = "The largest norm of all gradients together (clip_grad_norm_)."},
    {.key = "value",
     .kind = SPEC_NUMBER,
     .offset = offsetof(struct cyx_clip_spec, value),
     .min = 0,
     .max = RATE_MAX,
     .help = "The largest absolute value of a gradient's element (clip_grad_value_)."},
};

static enum cyx_status check_clip(struct spec_reader *reader, json_t *json, void *target)
{
    (void)json;
    const struct cyx_clip_spec *clip = target;
    if (clip->norm > 0 && clip->value > 0)
        return spec_fail(reader, "expected norm or value, got both");
    return CYX_OK;
}

static const struct spec_object clip_object = {"clip", clip_fields, SPEC_COUNT(clip_fields),
                                               check_clip,
                                               .help = "Gradient clipping before each update."};

#undef AT
#define AT(member) offsetof(struct cyx_initial_spec, member)

static const struct spec_field initial_fields[] = {
    {.key = "file",
     .kind = SPEC_CUSTOM,
     .offset = AT(file),
     .read = spec_read_path,
     .help = "A safetensors file on this machine.",
     .schema = "{\"type\":\"string\",\"minLength\":1,\"maxLength\":4095}"},
    SPEC_UPLOAD(AT(upload),
                "Name or id of an uploaded model (`cyxwiz upload --kind model`), for jobs of the "
                "platform."),
    SPEC_UPLOAD_SHA256(AT(sha256)),
    {.key = "partial",
     .kind = SPEC_BOOLEAN,
     .offset = AT(partial),
     .help = "Whether only tensors of the same name and shape are taken, the rest drawn as usual; "
             "otherwise all must be there."},
};

static enum cyx_status check_initial(struct spec_reader *reader, json_t *json, void *target)
{
    (void)json;
    const struct cyx_initial_spec *initial = target;
    if (initial->sha256 && !initial->upload)
        return spec_fail_at(reader, "sha256", "belongs to \"upload\", which is not given");
    if (initial->partial && !initial->upload && !initial->file)
        return spec_fail_at(reader, "partial", "of what? Give \"file\" or \"upload\" beside it");
    return CYX_OK;
}

static const struct spec_object initial_object = {"initial", initial_fields,
                                                  SPEC_COUNT(initial_fields), check_initial,
                                                  .help = "The weights that training begins with."};

#undef AT
#define AT(member) offsetof(struct cyx_job_spec, member)

static const struct spec_field job_fields[] = {
    {.key = "$schema",
     .kind = SPEC_IGNORED,
     .help = "For editors; ignored.",
     .schema = "{\"type\":\"string\"}"},
    {.key = "name",
     .kind = SPEC_CUSTOM,
     .offset = AT(name),
     .required = true,
     .read = spec_read_job_name,
     .help = "What people call the job.",
     .schema = "{\"type\":\"string\",\"minLength\":1,\"maxLength\":100}"},
    {.key = "model",
     .kind = SPEC_OBJECT,
     .required = true,
     .object = &model_object,
     .help = "The network."},
    {.key = "initial",
     .kind = SPEC_OBJECT,
     .offset = AT(initial),
     .object = &initial_object,
     .help = "The weights that training begins with; drawn as PyTorch does when left out."},
    {.key = "data",
     .kind = SPEC_OBJECT,
     .offset = AT(data),
     .required = true,
     .object = &spec_data,
     .help = "What the model learns from."},
    {.key = "loss",
     .kind = SPEC_UNION,
     .offset = AT(loss),
     .required = true,
     .set = &spec_losses,
     .help = "What the training makes small."},
    {.key = "optimizer",
     .kind = SPEC_UNION,
     .offset = AT(optimizer),
     .required = true,
     .set = &spec_optimizers,
     .help = "How weights follow their gradients."},
    {.key = "scheduler",
     .kind = SPEC_UNION,
     .offset = AT(scheduler),
     .set = &spec_schedulers,
     .help = "How the learning rate changes; it stays when left out."},
    {.key = "warmup",
     .kind = SPEC_OBJECT,
     .offset = AT(warmup),
     .object = &warmup_object,
     .help = "Linear warm-up of the learning rate; none when left out."},
    {.key = "clip",
     .kind = SPEC_OBJECT,
     .offset = AT(clip),
     .object = &clip_object,
     .help = "Gradient clipping; none when left out."},
    {.key = "epochs",
     .kind = SPEC_INTEGER,
     .offset = AT(epochs),
     .required = true,
     .min = 1,
     .max = CYX_JOB_EPOCHS_LIMIT,
     .help = "Passes over the training set."},
    {.key = "seed",
     .kind = SPEC_INTEGER,
     .offset = AT(seed),
     .min = 0,
     .max = SPEC_INTEGER_MAX,
     .help = "Same seed, same backend, same device: same bits."},
    {.key = "metrics",
     .kind = SPEC_CUSTOM,
     .offset = AT(metric_accuracy),
     .read = spec_read_metrics,
     .help = "What is measured besides the loss.",
     .schema = "{\"type\":\"array\",\"maxItems\":1,\"items\":{\"enum\":[\"accuracy\"]},"
               "\"default\":[\"accuracy\"]}"},
    {.key = "resources",
     .kind = SPEC_OBJECT,
     .offset = AT(resources),
     .object = &resources_object,
     .help = "What the job wants of a node."},
    {.key = "schedule",
     .kind = SPEC_OBJECT,
     .offset = AT(schedule),
     .object = &schedule_object,
     .help = "When the job runs, and how often."},
    {.key = "priority",
     .kind = SPEC_CHOICE,
     .offset = AT(priority),
     .choices = priority_names,
     .fallback = CYX_PRIORITY_NORMAL,
     .help = "Which of the waiting jobs goes first."},
    {.key = "budget",
     .kind = SPEC_CUSTOM,
     .offset = AT(budget_base_units),
     .read = spec_read_budget,
     .help = "The most that the job may cost, an amount with its unit.",
     .schema = "{\"type\":\"string\",\"pattern\":\"^(0|[1-9][0-9]*)(\\\\.[0-9]{1,9})? CYX$\","
               "\"default\":\"10 CYX\",\"examples\":[\"2.5 CYX\"]}"},
    {.key = "checkpoint",
     .kind = SPEC_OBJECT,
     .object = &checkpoint_object,
     .help = "When the training is saved."},
    {.key = "sync",
     .kind = SPEC_OBJECT,
     .object = &sync_object,
     .help = "How several nodes train together (resources.nodes)."},
};

static enum cyx_status check_job(struct spec_reader *reader, json_t *json, void *target)
{
    const struct cyx_job_spec *spec = target;
    if (spec->resources.nodes == 1 && json_object_size(json_object_get(json, "sync")) > 0)
        return spec_fail_at(reader, "sync",
                            "one node has nobody to meet: give resources.nodes, or leave sync out");
    return CYX_OK;
}

const struct spec_object spec_job = {"the job", job_fields, SPEC_COUNT(job_fields), check_job,
                                     .help = "A training job, as CyxWiz takes it."};

const char *cyx_layer_type_name(enum cyx_layer_type type)
{
    return (unsigned)type < CYX_LAYER_TYPE_COUNT ? spec_layers.variants[type].what : "unknown";
}

const char *cyx_loss_type_name(enum cyx_loss_type type)
{
    return (unsigned)type < spec_losses.n_variants ? spec_losses.variants[type].what : "unknown";
}

const char *cyx_priority_name(enum cyx_priority priority)
{
    return (unsigned)priority <= CYX_PRIORITY_CRITICAL ? priority_names[priority] : "unknown";
}
