/* Losses, optimizers and learning-rate schedulers: torch.nn's and torch.optim's names and defaults. */
#include "contract/job_tables.h"

#include "base/banned.h"

/* ---- losses ---- */

#define AT(member) offsetof(struct cyx_loss_spec, member)

#define WEIGHTS(key_, help_)                                                                       \
    .key = (key_), .kind = SPEC_CUSTOM, .offset = AT(weight), .min = 0, .max = RATE_MAX,           \
    .read = spec_read_weights, .help = (help_),                                                    \
    .schema =                                                                                      \
        "{\"type\":\"array\",\"minItems\":1,\"maxItems\":65536,\"items\":{\"type\":\"number\","    \
        "\"minimum\":0,\"maximum\":1000000}}"

static const struct spec_field cross_entropy_fields[] = {
    {.key = "label_smoothing",
     .kind = SPEC_NUMBER,
     .offset = AT(label_smoothing),
     .min = 0,
     .max = 1,
     .below_max = true,
     .help = "Part of the target that is spread over all classes."},
    {.key = "ignore_index",
     .kind = SPEC_INTEGER,
     .offset = AT(ignore_index),
     .min = -2147483648.0,
     .max = 2147483647.0,
     .fallback = -100,
     .help = "The class whose samples do not count."},
    {WEIGHTS("weight", "A weight for each class; 1 for all when left out.")},
};

/* The loss is a mean by these weights. */
static enum cyx_status check_cross_entropy(struct spec_reader *reader, json_t *json, void *target)
{
    (void)json;
    const struct cyx_loss_spec *loss = target;
    for (size_t i = 0; i < loss->n_weight; i++)
        if (loss->weight[i] > 0)
            return CYX_OK;
    return loss->n_weight == 0 ? CYX_OK
                               : spec_fail_at(reader, "weight", "expected a weight above 0");
}

static const char *const loss_targets[] = {"data", "one_hot", "input", NULL};

#define TARGET                                                                                     \
    {                                                                                              \
        .key = "target", .kind = SPEC_CHOICE, .offset = AT(target), .choices = loss_targets,       \
        .help = "What the output is compared with: the data set's numbers, its class as a vector " \
                "of 0 and 1, or the input itself (autoencoders)."                                  \
    }

static const struct spec_field element_loss_fields[] = {TARGET};

static const struct spec_field smooth_l1_fields[] = {
    {.key = "beta",
     .kind = SPEC_NUMBER,
     .offset = AT(beta),
     .min = 0,
     .above_min = true,
     .max = RATE_MAX,
     .fallback = 1,
     .help = "Where the square turns into the absolute value."},
    TARGET,
};

static const struct spec_field bce_fields[] = {
    {WEIGHTS("pos_weight", "A weight of the ones, for each output; 1 for all when left out.")},
    TARGET,
};

static const struct spec_field loss_common[] = {TYPE_FIELD};

static const struct spec_object loss_variants[] = {
    [CYX_LOSS_CROSS_ENTROPY] = {"CrossEntropyLoss", cross_entropy_fields,
                                SPEC_COUNT(cross_entropy_fields), check_cross_entropy,
                                .help = "Takes logits, so the model ends without a softmax."},
    [CYX_LOSS_MSE] = {"MSELoss", element_loss_fields, SPEC_COUNT(element_loss_fields),
                      .help = "The mean of (x - t)²."},
    [CYX_LOSS_L1] = {"L1Loss", element_loss_fields, SPEC_COUNT(element_loss_fields),
                     .help = "The mean of |x - t|."},
    [CYX_LOSS_SMOOTH_L1] = {"SmoothL1Loss", smooth_l1_fields, SPEC_COUNT(smooth_l1_fields),
                            .help = "A square within beta, the absolute value beyond."},
    [CYX_LOSS_BCE_WITH_LOGITS] = {"BCEWithLogitsLoss", bce_fields, SPEC_COUNT(bce_fields),
                                  .help =
                                      "Binary cross entropy; takes logits, targets from 0 to 1."},
};

const struct spec_union spec_losses = {
    .what = "loss type",
    .variants = loss_variants,
    .n_variants = SPEC_COUNT(loss_variants),
    .common = loss_common,
    .n_common = SPEC_COUNT(loss_common),
};

#undef AT

/* ---- optimizers ---- */

#define AT(member) offsetof(struct cyx_optimizer_spec, member)
#define RATE(key_, member, default_, help_)                                                        \
    .key = (key_), .kind = SPEC_NUMBER, .offset = AT(member), .min = 0, .max = RATE_MAX,           \
    .fallback = (default_), .help = (help_)

/* Not given: the optimizer's own (spec_read_param_groups leaves -1 here). */
#define GROUP_AT(member) offsetof(struct cyx_param_group_spec, member)
static const struct spec_field param_group_fields[] = {
    {.key = "params",
     .kind = SPEC_TAG,
     .required = true,
     .help = "Names of parameters, with * and ?: \"conv1.*\", \"*.bias\".",
     .schema = "{\"type\":\"array\",\"minItems\":1,\"maxItems\":256,\"items\":{\"type\":\"string\","
               "\"minLength\":1,\"maxLength\":128}}"},
    {.key = "lr",
     .kind = SPEC_NUMBER,
     .offset = GROUP_AT(lr),
     .min = 0,
     .max = RATE_MAX,
     .fallback = -1,
     .help = "Learning rate of this group; the optimizer's when left out."},
    {.key = "weight_decay",
     .kind = SPEC_NUMBER,
     .offset = GROUP_AT(weight_decay),
     .min = 0,
     .max = RATE_MAX,
     .fallback = -1,
     .help = "Weight decay of this group; the optimizer's when left out."},
};

const struct spec_object spec_param_group = {
    "the group", param_group_fields, SPEC_COUNT(param_group_fields),
    .help = "Parameters with a rate or decay of their own."};

static const struct spec_field optimizer_common[] = {
    TYPE_FIELD,
    {.key = "param_groups",
     .kind = SPEC_CUSTOM,
     .object = &spec_param_group,
     .items_min = 1,
     .items_max = CYX_PARAM_GROUPS_LIMIT - 1,
     .read = spec_read_param_groups,
     .help = "Groups of parameters; the first that matches takes a parameter, what is left has the "
             "optimizer's own options."},
};

#define LR(default_)                                                                               \
    {                                                                                              \
        RATE("lr", lr, default_, "Learning rate at the start."), .above_min = true                 \
    }
#define OPTIMIZER_EPS                                                                              \
    {                                                                                              \
        .key = "eps", .kind = SPEC_NUMBER, .offset = AT(eps), .min = 1e-30, .max = 1,              \
        .fallback = 1e-8, .help = "Added to the denominator."                                      \
    }
#define BETAS                                                                                      \
    {                                                                                              \
        .key = "betas", .kind = SPEC_CUSTOM, .offset = AT(betas), .min = 0, .max = 1,              \
        .below_max = true, .read = spec_read_betas, .help = "How slowly the two moments forget.",  \
        .schema =                                                                                  \
            "{\"type\":\"array\",\"minItems\":2,\"maxItems\":2,\"items\":{\"type\":\"number\","    \
            "\"minimum\":0,\"exclusiveMaximum\":1},\"default\":[0.9,0.999]}"                       \
    }

static const struct spec_field sgd_fields[] = {
    LR(1e-3),
    {.key = "momentum",
     .kind = SPEC_NUMBER,
     .offset = AT(momentum),
     .min = 0,
     .max = 1,
     .below_max = true,
     .help = "Part of the last step that goes on."},
    {.key = "dampening",
     .kind = SPEC_NUMBER,
     .offset = AT(dampening),
     .min = 0,
     .max = 1,
     .help = "Part of the gradient that momentum leaves out."},
    {RATE("weight_decay", weight_decay, 0, "Times the weight, added to its gradient.")},
    {.key = "nesterov",
     .kind = SPEC_BOOLEAN,
     .offset = AT(nesterov),
     .help = "Nesterov's momentum; needs momentum above 0 and dampening 0."},
};

static const struct spec_field adam_fields[] = {
    LR(1e-3),
    BETAS,
    OPTIMIZER_EPS,
    {RATE("weight_decay", weight_decay, 0, "Times the weight, added to its gradient.")},
};

static const struct spec_field adamw_fields[] = {
    LR(1e-3),
    BETAS,
    OPTIMIZER_EPS,
    {RATE("weight_decay", weight_decay, 1e-2, "Times lr and the weight, taken off it each step.")},
};

static const struct spec_field rmsprop_fields[] = {
    LR(1e-2),
    {.key = "alpha",
     .kind = SPEC_NUMBER,
     .offset = AT(alpha),
     .min = 0,
     .max = 1,
     .fallback = 0.99,
     .help = "How slowly the mean of squares forgets."},
    OPTIMIZER_EPS,
    {RATE("weight_decay", weight_decay, 0, "Times the weight, added to its gradient.")},
    {.key = "momentum",
     .kind = SPEC_NUMBER,
     .offset = AT(momentum),
     .min = 0,
     .max = 1,
     .below_max = true,
     .help = "Part of the last step that goes on."},
    {.key = "centered",
     .kind = SPEC_BOOLEAN,
     .offset = AT(centered),
     .help = "Whether the gradient's variance divides instead of its mean square."},
};

static enum cyx_status check_optimizer(struct spec_reader *reader, json_t *json, void *target)
{
    (void)reader;
    (void)json;
    struct cyx_optimizer_spec *optimizer = target;
    struct cyx_param_group_spec *groups = (struct cyx_param_group_spec *)optimizer->groups;
    for (size_t i = 0; i < optimizer->n_groups; i++) {
        if (groups[i].lr < 0)
            groups[i].lr = optimizer->lr;
        if (groups[i].weight_decay < 0)
            groups[i].weight_decay = optimizer->weight_decay;
    }
    return CYX_OK;
}

static enum cyx_status check_sgd(struct spec_reader *reader, json_t *json, void *target)
{
    const struct cyx_optimizer_spec *sgd = target;
    if (sgd->nesterov && (sgd->momentum == 0 || sgd->dampening != 0))
        return spec_fail_at(reader, "nesterov", "nesterov needs momentum above 0 and dampening 0");
    return check_optimizer(reader, json, target);
}

static const struct spec_object optimizer_variants[] = {
    [CYX_OPTIMIZER_SGD] = {"SGD", sgd_fields, SPEC_COUNT(sgd_fields), check_sgd,
                           .help = "Gradient descent with momentum, as torch.optim.SGD."},
    [CYX_OPTIMIZER_ADAM] = {"Adam", adam_fields, SPEC_COUNT(adam_fields), check_optimizer,
                            .help = "Adam, as torch.optim.Adam."},
    [CYX_OPTIMIZER_RMSPROP] = {"RMSprop", rmsprop_fields, SPEC_COUNT(rmsprop_fields),
                               check_optimizer, .help = "RMSprop, as torch.optim.RMSprop."},
    [CYX_OPTIMIZER_ADAMW] = {"AdamW", adamw_fields, SPEC_COUNT(adamw_fields), check_optimizer,
                             .help = "Adam with decoupled weight decay, as torch.optim.AdamW."},
};

const struct spec_union spec_optimizers = {
    .what = "optimizer type",
    .variants = optimizer_variants,
    .n_variants = SPEC_COUNT(optimizer_variants),
    .common = optimizer_common,
    .n_common = SPEC_COUNT(optimizer_common),
};

#undef AT

/* ---- schedulers ---- */

#define AT(member) offsetof(struct cyx_scheduler_spec, member)
#define GAMMA                                                                                      \
    .key = "gamma", .kind = SPEC_NUMBER, .offset = AT(gamma), .min = 0, .max = 10,                 \
    .above_min = true, .help = "Factor on the learning rate."

static const char *const interval_names[] = {"epoch", "step", NULL};

static const struct spec_field scheduler_common[] = {
    TYPE_FIELD,
    {.key = "interval",
     .kind = SPEC_CHOICE_BOOL,
     .offset = AT(per_step),
     .choices = interval_names,
     .help = "When the schedule advances."},
};

static const struct spec_field step_lr_fields[] = {
    {.key = "step_size",
     .kind = SPEC_INTEGER,
     .offset = AT(step_size),
     .required = true,
     .min = 1,
     .max = 1e12,
     .help = "Intervals between two decays."},
    {GAMMA, .fallback = 0.1},
};

static const struct spec_field exponential_lr_fields[] = {{GAMMA, .required = true}};

static const struct spec_field cosine_fields[] = {
    {.key = "T_max",
     .kind = SPEC_INTEGER,
     .offset = AT(t_max),
     .min = 1,
     .max = 1e12,
     .help = "Intervals until eta_min; the whole job when left out."},
    {.key = "eta_min",
     .kind = SPEC_NUMBER,
     .offset = AT(eta_min),
     .min = 0,
     .max = RATE_MAX,
     .help = "Learning rate at the end."},
};

static const char *const monitor_names[] = {"loss", "accuracy", NULL};
static const char *const threshold_modes[] = {"rel", "abs", NULL};

static const struct spec_field plateau_fields[] = {
    {.key = "monitor",
     .kind = SPEC_CHOICE_BOOL,
     .offset = AT(monitor_accuracy),
     .choices = monitor_names,
     .help = "What is looked at after an epoch's evaluation: the loss is to fall (mode min), the "
             "accuracy to rise (mode max)."},
    {.key = "factor",
     .kind = SPEC_NUMBER,
     .offset = AT(factor),
     .min = 0,
     .max = 1,
     .above_min = true,
     .below_max = true,
     .fallback = 0.1,
     .help = "Factor on the learning rate."},
    {.key = "patience",
     .kind = SPEC_INTEGER,
     .offset = AT(patience),
     .min = 0,
     .max = 1e9,
     .fallback = 10,
     .help = "Epochs without improvement that are borne."},
    {.key = "threshold",
     .kind = SPEC_NUMBER,
     .offset = AT(threshold),
     .min = 0,
     .max = RATE_MAX,
     .fallback = 1e-4,
     .help = "What counts as an improvement."},
    {.key = "threshold_mode",
     .kind = SPEC_CHOICE_BOOL,
     .offset = AT(threshold_absolute),
     .choices = threshold_modes,
     .help = "Whether threshold is a part of the best value, or a difference."},
    {.key = "cooldown",
     .kind = SPEC_INTEGER,
     .offset = AT(cooldown),
     .min = 0,
     .max = 1e9,
     .help = "Epochs after a decay that do not count."},
    {.key = "min_lr",
     .kind = SPEC_NUMBER,
     .offset = AT(min_lr),
     .min = 0,
     .max = RATE_MAX,
     .help = "The learning rate never falls below."},
    {.key = "eps",
     .kind = SPEC_NUMBER,
     .offset = AT(plateau_eps),
     .min = 0,
     .max = 1,
     .fallback = 1e-8,
     .help = "Smaller changes of the learning rate are left out."},
};

static enum cyx_status check_plateau(struct spec_reader *reader, json_t *json, void *target)
{
    (void)json;
    if (((const struct cyx_scheduler_spec *)target)->per_step)
        return spec_fail_at(reader, "interval",
                            "ReduceLROnPlateau looks at an epoch's evaluation: expected \"epoch\"");
    return CYX_OK;
}

static const struct spec_object scheduler_variants[] = {
    {"StepLR", step_lr_fields, SPEC_COUNT(step_lr_fields),
     .help = "Times gamma every step_size intervals."},
    {"ExponentialLR", exponential_lr_fields, SPEC_COUNT(exponential_lr_fields),
     .help = "Times gamma every interval."},
    {"CosineAnnealingLR", cosine_fields, SPEC_COUNT(cosine_fields),
     .help = "Half a cosine from lr down to eta_min."},
    {"ReduceLROnPlateau", plateau_fields, SPEC_COUNT(plateau_fields), check_plateau,
     .help = "Times factor when the evaluation stops getting better."},
};

const struct spec_union spec_schedulers = {
    .what = "scheduler type",
    .first_value = CYX_SCHEDULER_STEP_LR,
    .variants = scheduler_variants,
    .n_variants = SPEC_COUNT(scheduler_variants),
    .common = scheduler_common,
    .n_common = SPEC_COUNT(scheduler_common),
};

#undef AT
