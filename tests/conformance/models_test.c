/*
 * Whole models with every layer, on every device against the double-precision reference: residuals with BatchNorm,
 * branches with transposed convolutions, norms over rows; each with another loss, optimizer and clipping. Every
 * value of a step, then losses, running statistics and parameters over steps in a shared arena.
 */
#include "model/test_specs.h"

#include <math.h>
#include <stdio.h>

#include "reference.h"
#include "runners.h"

enum { BATCH = 6, STEPS = 4, PIXELS = 28 * 28, TEXT_LIMIT = 4096 };

static struct runners runners;

/*
 * Quotes are single, which is easier to read here. `optimizer` may go on to other members of the spec. No bias stands
 * right before a BatchNorm: its gradient is nothing but rounding.
 */
struct model {
    const char *what, *layers, *optimizer, *loss;
};

static const struct model models[] = {
    {"residuals",
     "{'type':'Conv2d','out_channels':8,'kernel_size':3,'stride':2,'padding':1,'bias':false},"
     "{'type':'BatchNorm2d'},{'type':'ReLU','name':'a'},"
     "{'type':'Conv2d','out_channels':8,'kernel_size':3,'padding':'same','bias':false},"
     "{'type':'BatchNorm2d'},{'type':'ReLU'},"
     "{'type':'Conv2d','out_channels':8,'kernel_size':3,'padding':'same','bias':false},"
     "{'type':'BatchNorm2d','name':'b'},{'type':'Add','inputs':['b','a']},"
     "{'type':'ReLU','name':'c'},"
     "{'type':'Conv2d','out_channels':12,'kernel_size':3,'stride':2,'padding':1,'bias':false},"
     "{'type':'BatchNorm2d','name':'d','momentum':0.3},"
     "{'type':'Conv2d','inputs':['c'],'out_channels':12,'kernel_size':1,'stride':2,"
     "'bias':false},"
     "{'type':'BatchNorm2d','name':'e','affine':false},{'type':'Add','inputs':['d','e']},"
     "{'type':'ReLU'},{'type':'GlobalAvgPool2d'},{'type':'Flatten'},"
     "{'type':'Linear','out_features':10}",
     "'type':'SGD','momentum':0.9,'weight_decay':0.01,"
     "'param_groups':[{'params':['*.bias'],'weight_decay':0,'lr':0.02}]},'clip':{'norm':1",
     "{'type':'CrossEntropyLoss','label_smoothing':0.1,'ignore_index':4}"},
    {"branches",
     "{'type':'MaxPool2d','name':'x','kernel_size':3,'stride':3,'dilation':2,'ceil_mode':true},"
     "{'type':'Conv2d','name':'a','out_channels':3,'kernel_size':3,'padding':1},"
     "{'type':'ConvTranspose2d','name':'b','inputs':['x'],'out_channels':4,'kernel_size':3,"
     "'padding':1},{'type':'ReLU','name':'c'},"
     "{'type':'AvgPool2d','name':'d','inputs':['a'],'kernel_size':3,'stride':1,'padding':1,"
     "'count_include_pad':false},"
     "{'type':'Concat','inputs':['a','c','d']},{'type':'LeakyReLU','negative_slope':0.2},"
     "{'type':'ConvTranspose2d','out_channels':4,'kernel_size':4,'stride':2,'padding':1,"
     "'groups':2},{'type':'ReLU'},"
     "{'type':'AvgPool2d','kernel_size':2,'ceil_mode':true,'padding':1},"
     "{'type':'Flatten'},{'type':'Linear','out_features':10}",
     "'type':'Adam','weight_decay':0.01,"
     "'param_groups':[{'params':['a.*'],'lr':0.005}]},'clip':{'norm':0.5",
     "{'type':'CrossEntropyLoss','weight':[1,2,0.5,1,1,3,1,0.1,1,1]}"},
    {"autoencoder",
     "{'type':'Conv2d','out_channels':6,'kernel_size':3,'stride':2,'padding':1},{'type':'ReLU'},"
     "{'type':'Conv2d','out_channels':9,'kernel_size':3,'stride':2,'padding':1},{'type':'GELU'},"
     "{'type':'ConvTranspose2d','out_channels':6,'kernel_size':4,'stride':2,'padding':1},"
     "{'type':'ReLU'},"
     "{'type':'ConvTranspose2d','out_channels':1,'kernel_size':3,'stride':2,'padding':1,"
     "'output_padding':1},{'type':'Sigmoid'}",
     "'type':'SGD','momentum':0.9", "{'type':'MSELoss','target':'input'}"},
    /* Pooled to one pixel, where (N,H,W,C) and (N,C,H,W) are the same bytes. */
    {"pixels",
     "{'type':'Conv2d','out_channels':12,'kernel_size':1,'stride':4},"
     "{'type':'ConvTranspose2d','name':'t','out_channels':6,'kernel_size':2,'stride':2},"
     "{'type':'GlobalAvgPool2d','name':'g'},"
     "{'type':'MaxPool2d','name':'m','inputs':['t'],'kernel_size':14},"
     "{'type':'Concat','inputs':['g','m']},{'type':'Flatten'},{'type':'Linear','out_features':10}",
     "'type':'SGD'", "{'type':'CrossEntropyLoss'}"},
    {"rows",
     "{'type':'AdaptiveAvgPool2d','output_size':[4,7]},{'type':'Reshape','shape':[4,-1]},"
     "{'type':'Linear','name':'p','out_features':6},{'type':'GELU'},"
     "{'type':'LayerNorm','normalized_shape':6},{'type':'Linear','out_features':6},"
     "{'type':'Softmax','name':'q'},{'type':'Linear','inputs':['p'],'out_features':6},"
     "{'type':'SiLU','name':'r'},{'type':'Add','inputs':['q','r','p']},{'type':'BatchNorm1d'},"
     "{'type':'LayerNorm','bias':false},{'type':'Tanh'},{'type':'Flatten'},"
     "{'type':'Linear','out_features':12},{'type':'GELU','approximate':'tanh'},"
     "{'type':'LayerNorm','elementwise_affine':false},{'type':'Linear','out_features':12},"
     "{'type':'Dropout','p':0.2},{'type':'Sigmoid'},{'type':'Linear','out_features':10},"
     "{'type':'LogSoftmax'}",
     "'type':'RMSprop','momentum':0.5,'centered':true},'clip':{'value':0.01",
     "{'type':'BCEWithLogitsLoss','pos_weight':[1,2,3,1,0.5,1,1,1,1,1],'target':'one_hot'}"},
};

static struct cyx_job_spec *spec_of_model(const struct model *model)
{
    char text[3][TEXT_LIMIT];
    const char *const from[] = {model->layers, model->optimizer, model->loss};
    for (int i = 0; i < 3; i++) {
        size_t length = strlen(from[i]);
        assert_true(length < TEXT_LIMIT);
        for (size_t k = 0; k <= length; k++)
            text[i][k] = from[i][k] == '\'' ? '"' : from[i][k];
    }
    return spec_of_parts(text[0], text[1], text[2]);
}

/* One model on one device, with the reference beside it. */
struct fixture {
    const struct runner *runner;
    const struct model *model;
    struct cyx_job_spec *spec;
    struct cyx_graph *graph;
    struct cyx_session *session;
    struct cyx_program *program;
    struct reference reference;
    float input[BATCH * PIXELS];
    int32_t classes[BATCH];
};

/* False, said aloud, where the device cannot do the model. */
static bool set_up(struct fixture *f, const struct runner *runner, const struct model *model)
{
    struct cyx_error error = {0};
    f->runner = runner;
    f->model = model;
    f->session = NULL;
    f->program = NULL;
    f->spec = spec_of_model(model);
    f->graph =
        graph_of(f->spec, (struct cyx_graph_options){.batch = BATCH, .training = true}, true);
    enum cyx_status status =
        runner->backend->session_create(runner->device, f->graph, &f->session, &error);
    if (status == CYX_OK)
        status = runner->backend->program_create(f->session, f->graph, &f->program, &error);
    reference_init(&f->reference, f->graph, true);
    must_do(runner->name, status, &error);
    fill_params(runner, f->session, f->graph, &f->reference, 0.3);
    return true;
}

static void tear_down(struct fixture *f)
{
    reference_finish(&f->reference);
    f->runner->backend->program_destroy(f->program);
    f->runner->backend->session_destroy(f->session);
    cyx_graph_destroy(f->graph);
    cyx_job_spec_destroy(f->spec);
}

/* The same step on the device and by the reference. */
static struct cyx_step_result run_both(struct fixture *f, int step, double lr)
{
    struct reference *reference = &f->reference;
    struct cyx_feed feed = {.input = f->input, .target = f->classes, .seed = 42};
    feed.step = (uint64_t)step;
    for (int i = 0; i < CYX_PARAM_GROUPS_LIMIT; i++)
        feed.lr[i] = reference->lr[i] = lr / (i + 1);
    for (int i = 0; i < BATCH * PIXELS; i++) {
        f->input[i] = test_uniform(1000 + (uint64_t)step, i);
        reference->data[f->graph->input][i] = (double)f->input[i];
    }
    for (int n = 0; n < BATCH; n++) {
        f->classes[n] = (3 * n + step) % 10;
        if (f->graph->target != CYX_NO_VALUE)
            reference->data[f->graph->target][n] = f->classes[n];
    }
    reference->seed = feed.seed;
    reference->step = step;
    struct cyx_step_result result = run_step(f->runner, f->program, &feed);
    reference_run(reference, f->graph->n_nodes);
    return result;
}

static void compare_number(const struct fixture *f, const char *what, double got, double wanted,
                           double tolerance)
{
    if (!(fabs(got - wanted) <= tolerance * fabs(wanted)))
        fail_msg("%s: %s: %s %.9g, wanted %.9g", f->runner->name, f->model->what, what, got,
                 wanted);
}

static void compare_result(const struct fixture *f, struct cyx_step_result got, double tolerance)
{
    const double *wanted = f->reference.data[f->graph->result];
    compare_number(f, "loss", (double)got.loss, wanted[CYX_RESULT_LOSS], tolerance);
    compare_number(f, "norm", (double)got.grad_norm, wanted[CYX_RESULT_GRAD_NORM], tolerance);
    compare_number(f, "count", (double)got.count, wanted[CYX_RESULT_COUNT], 0);
    compare_number(f, "correct", (double)got.correct, wanted[CYX_RESULT_CORRECT], 0);
}

/* Sums of squares before the last of a chain need not be written. */
static bool is_compared(const struct cyx_graph *graph, size_t v)
{
    const struct cyx_value *value = &graph->values[v];
    bool sum =
        value->producer != CYX_NO_VALUE && graph->nodes[value->producer].op == CYX_OP_SQUARE_SUM;
    return value->dtype == CYX_F32 && value->kind != CYX_VALUE_INPUT &&
           value->kind != CYX_VALUE_RESULT && value->kind != CYX_VALUE_TARGET && !sum;
}

static void check_values(const struct runner *runner, const struct model *model)
{
    struct fixture f;
    if (set_up(&f, runner, model)) {
        /* roundings pass through some thirty nodes, a few of which divide by a deviation below 1 */
        double tolerance = 20 * sum_tolerance(800);
        compare_result(&f, run_both(&f, 1, 0.05), 1e-5);
        for (size_t v = 0; v < f.graph->n_values; v++) {
            if (is_compared(f.graph, v))
                compare_value(f.runner, f.session, f.program, f.graph, (int32_t)v,
                              f.reference.data[v], tolerance, model->what);
        }
    }
    tear_down(&f);
}

static void test_model__every_value_of_a_step_matches_reference(void **state)
{
    (void)state;
    setenv("CYXWIZ_KEEP_VALUES", "1", 1);
    for (size_t m = 0; m < sizeof models / sizeof models[0]; m++) {
        for (size_t r = 0; r < runners.count; r++)
            check_values(&runners.items[r], &models[m]);
    }
}

/*
 * In a shared arena. Under SGD the parameters stay as close as the gradients; what divides by the gradient's own
 * size blows up the rounding of gradients near zero, so there the losses and running statistics alone are compared.
 */
static void check_training(const struct runner *runner, const struct model *model)
{
    struct fixture f;
    bool sgd = strstr(model->optimizer, "SGD") != NULL;
    if (set_up(&f, runner, model)) {
        for (int step = 1; step <= STEPS; step++)
            compare_result(&f, run_both(&f, step, sgd ? 0.05 : 0.002), 1e-4);
        for (size_t v = 0; v < f.graph->n_values; v++) {
            enum cyx_value_kind kind = f.graph->values[v].kind;
            if (kind == CYX_VALUE_BUFFER || (kind == CYX_VALUE_PARAM && sgd))
                compare_value(f.runner, f.session, f.program, f.graph, (int32_t)v,
                              f.reference.data[v], 1e-4, model->what);
        }
    }
    tear_down(&f);
}

static void test_model__training_matches_reference_in_a_shared_arena(void **state)
{
    (void)state;
    unsetenv("CYXWIZ_KEEP_VALUES");
    for (size_t m = 0; m < sizeof models / sizeof models[0]; m++) {
        for (size_t r = 0; r < runners.count; r++)
            check_training(&runners.items[r], &models[m]);
    }
}

/* BatchNorm's other face: the evaluation program reads what the training program's running statistics became. */
static void check_evaluation(const struct runner *runner, const struct model *model)
{
    struct fixture f;
    struct cyx_error error = {0};
    if (!set_up(&f, runner, model)) {
        tear_down(&f);
        return;
    }
    for (int step = 1; step <= 2; step++)
        run_both(&f, step, 0.05);
    struct cyx_graph *graph =
        graph_of(f.spec, (struct cyx_graph_options){.batch = BATCH, .training = false}, false);
    struct cyx_program *program = NULL;
    struct reference reference;
    must_do(runner->name, runner->backend->program_create(f.session, graph, &program, &error),
            &error);
    reference_init(&reference, graph, true);
    for (size_t v = 0; v < graph->n_values; v++) {
        const struct cyx_value *value = &graph->values[v];
        size_t bytes = (size_t)cyx_shape_count(&value->shape) * sizeof(double);
        if (cyx_value_in_state_dict(value->kind))
            memcpy(reference.data[v], reference_data(&f.reference, value->name), bytes);
    }
    for (int i = 0; i < BATCH * PIXELS; i++)
        reference.data[graph->input][i] = (double)f.input[i];
    for (int n = 0; n < BATCH && graph->target != CYX_NO_VALUE; n++)
        reference.data[graph->target][n] = f.classes[n];
    struct cyx_feed feed = {.input = f.input, .target = f.classes, .seed = 42, .step = 3};
    struct cyx_step_result got = run_step(runner, program, &feed);
    reference_run(&reference, graph->n_nodes);
    compare_number(&f, "loss in evaluation", (double)got.loss,
                   reference.data[graph->result][CYX_RESULT_LOSS], 1e-4);
    reference_finish(&reference);
    runner->backend->program_destroy(program);
    cyx_graph_destroy(graph);
    tear_down(&f);
}

static void test_model__evaluation_reads_the_running_statistics(void **state)
{
    (void)state;
    unsetenv("CYXWIZ_KEEP_VALUES");
    for (size_t r = 0; r < runners.count; r++)
        check_evaluation(&runners.items[r], &models[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model__every_value_of_a_step_matches_reference),
        cmocka_unit_test(test_model__training_matches_reference_in_a_shared_arena),
        cmocka_unit_test(test_model__evaluation_reads_the_running_statistics),
    };
    runners_open(&runners);
    if (runners.count == 0)
        return 77;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    runners_close(&runners);
    return failed;
}
