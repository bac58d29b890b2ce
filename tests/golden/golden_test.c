/*
 * Every device against PyTorch's recorded numbers: see generate.py, which made the files beside this one.
 * Tolerance of one operation: torch.testing's own for float32 (rtol 1.3e-6, atol 1e-5).
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "nn/format/safetensors.h"
#include "nn/optim/lr.h"
#include "op_graph.h"
#include "runners.h"

#define RTOL 1.3e-6
#define ATOL 1e-5

enum { LINEAR, CONV2D, MAX_POOL2D, CROSS_ENTROPY }; /* generate.py's numbers */
enum { ATTRIBUTES = 14, STEPS = 20, BATCHES = 5, BATCH = 8, PIXELS = 28 * 28, NAME = 96 };

static struct runners runners;

/* ---- the file ---- */

static struct cyx_safetensors *open_golden(const char *name)
{
    char path[512];
    struct cyx_error error = {0};
    struct cyx_safetensors *file = NULL;
    snprintf(path, sizeof path, "%s/tests/golden/%s", CYX_SOURCE_DIR, name);
    if (cyx_safetensors_open(path, &file, &error) != CYX_OK)
        fail_msg("%s", error.message);
    return file;
}

static const struct cyx_safetensors_tensor *find(const struct cyx_safetensors *file,
                                                 const char *name, const char *part)
{
    char full[2 * NAME];
    snprintf(full, sizeof full, "%s.%s", name, part);
    return cyx_safetensors_find(file, full);
}

/* The tensor's bytes, on the heap. */
static void *bytes_of(const struct cyx_safetensors *file,
                      const struct cyx_safetensors_tensor *tensor)
{
    struct cyx_error error = {0};
    size_t length = (size_t)(tensor->end - tensor->begin);
    void *bytes = malloc(length);
    assert_non_null(bytes);
    assert_int_equal(cyx_safetensors_read(file, tensor, bytes, length, &error), CYX_OK);
    return bytes;
}

static size_t count_of(const struct cyx_safetensors_tensor *tensor)
{
    return (size_t)(tensor->end - tensor->begin) / sizeof(float);
}

static void compare(const char *runner, const char *what, const float *got, const float *wanted,
                    size_t count, double rtol, double atol)
{
    for (size_t i = 0; i < count; i++) {
        double off = fabs((double)got[i] - (double)wanted[i]);
        if (!(off <= atol + rtol * fabs((double)wanted[i])))
            fail_msg("%s: %s[%zu] is %.9g, PyTorch has %.9g", runner, what, i, (double)got[i],
                     (double)wanted[i]);
    }
}

/* ---- one operation ---- */

struct layer_case {
    const struct cyx_safetensors *file;
    const char *name;
    int32_t attr[ATTRIBUTES];
    struct op_graph g;
    int32_t x, w, b, dy, y, dx, dw, db;
};

static struct cyx_shape shape_of(const struct cyx_safetensors_tensor *tensor)
{
    struct cyx_shape shape = {.rank = tensor->rank};
    for (int i = 0; i < tensor->rank; i++)
        shape.dim[i] = tensor->shape[i];
    return shape;
}

static int32_t operand(struct layer_case *c, const char *part)
{
    const struct cyx_safetensors_tensor *tensor = find(c->file, c->name, part);
    return tensor ? op_graph_param(&c->g, shape_of(tensor)) : CYX_NO_VALUE;
}

static int32_t result(struct layer_case *c, const char *part)
{
    const struct cyx_safetensors_tensor *tensor = find(c->file, c->name, part);
    return tensor ? op_graph_result(&c->g, shape_of(tensor)) : CYX_NO_VALUE;
}

static struct cyx_window window_of(const int32_t attr[ATTRIBUTES])
{
    struct cyx_window window = {.groups = attr[12]};
    for (int i = 0; i < 2; i++) {
        window.kernel[i] = attr[2 + i];
        window.stride[i] = attr[4 + i];
        window.dilation[i] = attr[6 + i];
        window.pad_begin[i] = attr[8 + i];
        window.pad_end[i] = attr[10 + i];
    }
    return window;
}

/* Forward, the fused ReLU's gradient when there is one, and both gradients. */
static void build_affine(struct layer_case *c, enum cyx_op op, enum cyx_op input_op,
                         enum cyx_op weight_op)
{
    struct cyx_window window = window_of(c->attr);
    int32_t dy = c->dy;
    struct cyx_node *nodes[4];
    int n = 0;
    nodes[n++] = op_graph_node(&c->g, op, 3, (int32_t[]){c->x, c->w, c->b}, 1, &c->y);
    nodes[0]->fused_relu = c->attr[1] != 0;
    if (nodes[0]->fused_relu) {
        dy = op_graph_result(&c->g, c->g.values[c->y].shape);
        nodes[n++] = op_graph_node(&c->g, CYX_OP_RELU_GRAD, 2, (int32_t[]){c->dy, c->y}, 1, &dy);
    }
    nodes[n++] = op_graph_node(&c->g, input_op, 2, (int32_t[]){dy, c->w}, 1, &c->dx);
    nodes[n++] =
        op_graph_node(&c->g, weight_op, 2, (int32_t[]){c->x, dy}, 2, (int32_t[]){c->dw, c->db});
    for (int i = 0; i < n; i++)
        nodes[i]->window = window;
}

static void build_pool(struct layer_case *c)
{
    int32_t index = op_graph_value(&c->g, CYX_VALUE_TRANSIENT, CYX_I32, c->g.values[c->y].shape);
    struct cyx_node *forward =
        op_graph_node(&c->g, CYX_OP_MAX_POOL2D, 1, &c->x, 2, (int32_t[]){c->y, index});
    struct cyx_node *backward =
        op_graph_node(&c->g, CYX_OP_MAX_POOL2D_GRAD, 2, (int32_t[]){c->dy, index}, 1, &c->dx);
    forward->window = backward->window = window_of(c->attr);
}

static void build_loss(struct layer_case *c)
{
    int32_t out = c->g.graph.result;
    op_graph_target(&c->g, c->g.values[c->x].shape.dim[0]);
    int32_t target = c->g.graph.target;
    struct cyx_node *forward =
        op_graph_node(&c->g, CYX_OP_CROSS_ENTROPY, 2, (int32_t[]){c->x, target}, 1, &out);
    struct cyx_node *backward = op_graph_node(&c->g, CYX_OP_CROSS_ENTROPY_GRAD, 3,
                                              (int32_t[]){c->x, target, out}, 1, &c->dx);
    forward->label_smoothing = backward->label_smoothing = c->attr[13] / 1000.0;
    c->g.graph.output = c->x;
}

static void build_case(struct layer_case *c)
{
    struct cyx_error error = {0};
    const struct cyx_safetensors_tensor *attr = find(c->file, c->name, "attr");
    assert_int_equal(cyx_safetensors_read(c->file, attr, c->attr, sizeof c->attr, &error), CYX_OK);
    op_graph_init(&c->g);
    c->x = operand(c, "x");
    c->w = operand(c, "w");
    c->b = operand(c, "b");
    c->dy = operand(c, "dy");
    c->y = c->attr[0] == CROSS_ENTROPY ? CYX_NO_VALUE : result(c, "y");
    c->dx = result(c, "dx");
    c->dw = result(c, "dw");
    c->db = result(c, "db");
    if (c->attr[0] == LINEAR)
        build_affine(c, CYX_OP_LINEAR, CYX_OP_LINEAR_GRAD_INPUT, CYX_OP_LINEAR_GRAD_WEIGHT);
    else if (c->attr[0] == CONV2D)
        build_affine(c, CYX_OP_CONV2D, CYX_OP_CONV2D_GRAD_INPUT, CYX_OP_CONV2D_GRAD_WEIGHT);
    else if (c->attr[0] == MAX_POOL2D)
        build_pool(c);
    else
        build_loss(c);
}

static void write_operand(const struct layer_case *c, const struct runner *runner,
                          struct cyx_session *session, int32_t value, const char *part)
{
    struct cyx_error error = {0};
    if (value == CYX_NO_VALUE)
        return;
    const struct cyx_safetensors_tensor *tensor = find(c->file, c->name, part);
    float *data = bytes_of(c->file, tensor);
    must_do(runner->name,
            runner->backend->value_write(session, c->g.values[value].name, data, count_of(tensor),
                                         &error),
            &error);
    free(data);
}

static void check_result(const struct layer_case *c, const struct runner *runner,
                         struct cyx_program *program, int32_t value, const char *part)
{
    struct cyx_error error = {0};
    if (value == CYX_NO_VALUE)
        return;
    const struct cyx_safetensors_tensor *tensor = find(c->file, c->name, part);
    float *wanted = bytes_of(c->file, tensor), *got = calloc(count_of(tensor), sizeof *got);
    char what[NAME];
    assert_non_null(got);
    must_do(runner->name,
            runner->backend->transient_read(program, c->g.values[value].name, got, count_of(tensor),
                                            &error),
            &error);
    snprintf(what, sizeof what, "%s.%s", c->name, part);
    compare(runner->name, what, got, wanted, count_of(tensor), RTOL, ATOL);
    free(wanted);
    free(got);
}

static void run_case(struct layer_case *c, const struct runner *runner)
{
    static const float input[1] = {0};
    static const int32_t no_target[1] = {0};
    struct cyx_error error = {0};
    struct cyx_session *session = NULL;
    struct cyx_program *program = NULL;
    const struct cyx_safetensors_tensor *labels = find(c->file, c->name, "target");
    int32_t *target = labels ? bytes_of(c->file, labels) : NULL;
    struct cyx_feed feed = {.input = input, .target = target ? target : no_target, .step = 1};
    must_do(runner->name,
            runner->backend->session_create(runner->device, &c->g.graph, &session, &error), &error);
    must_do(runner->name, runner->backend->program_create(session, &c->g.graph, &program, &error),
            &error);
    write_operand(c, runner, session, c->x, "x");
    write_operand(c, runner, session, c->w, "w");
    write_operand(c, runner, session, c->b, "b");
    write_operand(c, runner, session, c->dy, "dy");
    struct cyx_step_result step = run_step(runner, program, &feed);
    if (labels) {
        float *wanted = bytes_of(c->file, find(c->file, c->name, "y"));
        compare(runner->name, c->name, &step.loss, wanted, 1, RTOL, ATOL);
        free(wanted);
    }
    check_result(c, runner, program, c->y, "y");
    check_result(c, runner, program, c->dx, "dx");
    check_result(c, runner, program, c->dw, "dw");
    check_result(c, runner, program, c->db, "db");
    runner->backend->program_destroy(program);
    runner->backend->session_destroy(session);
    free(target);
}

static void test_golden__layers_are_pytorchs(void **state)
{
    (void)state;
    struct cyx_safetensors *file = open_golden("layers.safetensors");
    size_t n_cases = 0;
    setenv("CYXWIZ_KEEP_VALUES", "1", 1);
    for (size_t i = 0; i < file->n_tensors; i++) {
        char name[NAME];
        snprintf(name, sizeof name, "%s", file->tensors[i].name);
        char *suffix = strstr(name, ".attr");
        if (!suffix)
            continue;
        *suffix = '\0';
        n_cases++;
        for (size_t r = 0; r < runners.count; r++) {
            struct layer_case c = {.file = file, .name = name};
            build_case(&c);
            run_case(&c, &runners.items[r]);
        }
    }
    unsetenv("CYXWIZ_KEEP_VALUES");
    assert_int_equal(n_cases, 17);
    cyx_safetensors_close(file);
}

/* ---- training ---- */

struct training {
    const struct cyx_safetensors *file;
    const char *name;
    struct cyx_job_spec *spec;
    struct cyx_graph *graph;
    float images[BATCHES][BATCH * PIXELS];
    int32_t *labels; /* BATCHES * BATCH */
    float *losses;
    double *rates;
};

static void open_training(struct training *t)
{
    struct cyx_error error = {0};
    char key[NAME];
    snprintf(key, sizeof key, "%s.spec", t->name);
    const char *spec = cyx_safetensors_metadata(t->file, key);
    assert_non_null(spec);
    must_do(t->name, cyx_job_spec_parse(spec, strlen(spec), &t->spec, &error), &error);
    struct cyx_graph_options options = {.batch = BATCH, .training = true};
    must_do(t->name, cyx_graph_create(t->spec, &options, &t->graph, &error), &error);
    must_do(t->name, cyx_graph_differentiate(t->graph, &error), &error);
    must_do(t->name, cyx_graph_add_optimizer(t->graph, &t->spec->optimizer, &t->spec->clip, &error),
            &error);
    uint8_t *images = bytes_of(t->file, cyx_safetensors_find(t->file, "images"));
    for (size_t i = 0; i < (size_t)BATCHES * BATCH * PIXELS; i++)
        t->images[i / (BATCH * PIXELS)][i % (BATCH * PIXELS)] = (float)images[i] / 255.0f;
    free(images);
    t->labels = bytes_of(t->file, cyx_safetensors_find(t->file, "labels"));
    t->losses = bytes_of(t->file, find(t->file, t->name, "losses"));
    t->rates = bytes_of(t->file, find(t->file, t->name, "rates"));
}

static void close_training(struct training *t)
{
    cyx_graph_destroy(t->graph);
    cyx_job_spec_destroy(t->spec);
    free(t->labels);
    free(t->losses);
    free(t->rates);
}

/* Each parameter: writes its first value, or compares with its last. */
static void first_or_last(const struct training *t, const struct runner *runner,
                          struct cyx_session *session, const char *which)
{
    struct cyx_error error = {0};
    for (size_t v = 0; v < t->graph->n_values; v++) {
        const struct cyx_value *value = &t->graph->values[v];
        char part[NAME];
        if (value->kind != CYX_VALUE_PARAM)
            continue;
        snprintf(part, sizeof part, "%s.%s", which, value->name);
        const struct cyx_safetensors_tensor *tensor = find(t->file, t->name, part);
        assert_non_null(tensor);
        float *data = bytes_of(t->file, tensor), *got = calloc(count_of(tensor), sizeof *got);
        if (strcmp(which, "first") == 0) {
            must_do(
                runner->name,
                runner->backend->value_write(session, value->name, data, count_of(tensor), &error),
                &error);
        } else {
            char what[2 * NAME];
            snprintf(what, sizeof what, "%s: %s after %d steps", t->name, value->name, STEPS);
            must_do(
                runner->name,
                runner->backend->value_read(session, value->name, got, count_of(tensor), &error),
                &error);
            /* An operation's tolerance, for each of the steps that it passed through. */
            compare(runner->name, what, got, data, count_of(tensor), STEPS * RTOL, ATOL);
        }
        free(data);
        free(got);
    }
}

static void train(struct training *t, const struct runner *runner)
{
    struct cyx_error error = {0};
    struct cyx_session *session = NULL;
    struct cyx_program *program = NULL;
    struct cyx_lr lr;
    cyx_lr_init(&lr, t->spec, STEPS);
    must_do(runner->name,
            runner->backend->session_create(runner->device, t->graph, &session, &error), &error);
    must_do(runner->name, runner->backend->program_create(session, t->graph, &program, &error),
            &error);
    first_or_last(t, runner, session, "first");
    for (int step = 0; step < STEPS; step++) {
        struct cyx_feed feed = {.input = t->images[step % BATCHES],
                                .target = t->labels + (size_t)(step % BATCHES) * BATCH,
                                .step = (uint64_t)step + 1,
                                .lr = {lr.state.rate[0]}};
        char what[NAME];
        snprintf(what, sizeof what, "%s: loss of step %d", t->name, step + 1);
        if (lr.state.rate[0] != t->rates[step])
            fail_msg("%s: learning rate %.17g, PyTorch has %.17g", what, lr.state.rate[0],
                     t->rates[step]);
        struct cyx_step_result result = run_step(runner, program, &feed);
        compare(runner->name, what, &result.loss, &t->losses[step], 1, STEPS * RTOL, ATOL);
        cyx_lr_after_step(&lr);
    }
    first_or_last(t, runner, session, "last");
    runner->backend->program_destroy(program);
    runner->backend->session_destroy(session);
}

static void test_golden__optimizers_train_as_pytorch(void **state)
{
    (void)state;
    static const char *const names[] = {
        "sgd", "sgd_momentum_decay", "sgd_nesterov", "sgd_dampening", "adamw", "adamw_options"};
    struct cyx_safetensors *file = open_golden("training.safetensors");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct training *t = calloc(1, sizeof *t);
        assert_non_null(t);
        t->file = file;
        t->name = names[i];
        open_training(t);
        for (size_t r = 0; r < runners.count; r++)
            train(t, &runners.items[r]);
        close_training(t);
        free(t);
    }
    cyx_safetensors_close(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden__layers_are_pytorchs),
        cmocka_unit_test(test_golden__optimizers_train_as_pytorch),
    };
    runners_open(&runners);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    runners_close(&runners);
    return failed;
}
