/*
 * ONNX's operator cases (Debian's libonnx-testdata) on the reference and on every device: each case that has a
 * counterpart here runs, the others are counted with the reason, by operator.
 *
 * Tolerance: torch.testing's for float32 (rtol 1.3e-6, atol 1e-5); ONNX's own runner allows rtol 1e-3.
 */
#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "onnx_import.h"
#include "reference.h"
#include "runners.h"

#define DATA "/usr/share/libonnx-testdata/data"

static const double RTOL = 1.3e-6, ATOL = 1e-5;

enum { OPERATORS = 512, NAME = 128, PATH_BYTES = 512, LISTED = 16384 };

static struct runners runners;

/* ---- what came of it ---- */

struct tally {
    char name[NAME];
    int passed, failed, not_applicable;
    char reasons[LISTED]; /* "case: reason" a line */
};

static struct tally tallies[OPERATORS];
static size_t n_tallies;

static struct tally *tally_of(const char *name)
{
    for (size_t i = 0; i < n_tallies; i++)
        if (strcmp(tallies[i].name, name) == 0)
            return &tallies[i];
    assert_true(n_tallies < OPERATORS);
    snprintf(tallies[n_tallies].name, NAME, "%s", name);
    return &tallies[n_tallies++];
}

/* The operator that a case is about; function bodies and graphs of several have no single one. */
static void operator_name(const struct cyx_onnx_model *model, const char *case_name,
                          char ret_name[NAME])
{
    const char *end = strstr(case_name, "_expanded");
    if (end)
        snprintf(ret_name, NAME, "(function bodies)");
    else if (model->n_nodes == 1)
        snprintf(ret_name, NAME, "%s", model->nodes[0].op_type);
    else
        snprintf(ret_name, NAME, "(several operators)");
}

/* A line a case, but where the operator is not there at all. */
static void note_reason(struct tally *tally, const char *case_name, const char *reason)
{
    char missing[2 * NAME];
    size_t used = strlen(tally->reasons);
    tally->not_applicable++;
    snprintf(missing, sizeof missing, "no counterpart of %s", tally->name);
    if (strcmp(reason, missing) != 0)
        snprintf(tally->reasons + used, LISTED - used, "      %s: %s\n", case_name, reason);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const struct tally *)a)->name, ((const struct tally *)b)->name);
}

static int print_tallies(void)
{
    int passed = 0, failed = 0, not_applicable = 0;
    qsort(tallies, n_tallies, sizeof tallies[0], compare_names);
    for (size_t i = 0; i < n_tallies; i++) {
        const struct tally *t = &tallies[i];
        bool missing = t->passed + t->failed == 0 && t->reasons[0] == '\0';
        printf("  %-24s %3d passed %3d failed %3d not applicable%s\n%s", t->name, t->passed,
               t->failed, t->not_applicable, missing ? ": no counterpart" : "", t->reasons);
        passed += t->passed;
        failed += t->failed;
        not_applicable += t->not_applicable;
    }
    printf("ONNX: %d passed, %d failed, %d not applicable\n", passed, failed, not_applicable);
    return failed;
}

/* ---- a case ---- */

/* input_0.pb, input_1.pb … of the first data set. */
static bool read_tensors(const char *folder, const char *kind, struct cyx_onnx_tensor **ret_tensors,
                         size_t *ret_count, char reason[160])
{
    for (*ret_count = 0; *ret_count < ONNX_TENSORS; ++*ret_count) {
        char path[PATH_BYTES + 64];
        struct cyx_error error = {0};
        snprintf(path, sizeof path, "%s/test_data_set_0/%s_%zu.pb", folder, kind, *ret_count);
        if (access(path, R_OK) != 0)
            return true;
        if (cyx_onnx_tensor_open(path, &ret_tensors[*ret_count], &error) != CYX_OK) {
            snprintf(reason, 160, "%s %zu is no tensor", kind, *ret_count);
            return false;
        }
    }
    snprintf(reason, 160, "more than %d tensors", ONNX_TENSORS);
    return false;
}

static void close_case(struct onnx_case *c)
{
    for (size_t i = 0; i < ONNX_TENSORS; i++) {
        cyx_onnx_tensor_destroy(c->inputs[i]);
        cyx_onnx_tensor_destroy(c->outputs[i]);
    }
    cyx_onnx_model_destroy(c->model);
}

static bool is_close(const char *runner, const char *case_name, const struct onnx_check *check,
                     const double *got)
{
    for (size_t i = 0; i < check->count; i++) {
        double wanted = (double)check->wanted[i], value = got[i] * check->scale;
        if (!(fabs(value - wanted) <= ATOL + RTOL * fabs(wanted)) && value != wanted) {
            printf("FAILED %s: %s: %s[%zu of %zu] is %.9g, wanted %.9g\n", runner, case_name,
                   check->what, i, check->count, value, wanted);
            return false;
        }
    }
    return true;
}

static bool run_reference(struct onnx_import *import, const char *case_name)
{
    struct reference reference;
    bool good = true;
    reference_init(&reference, &import->g.graph, true);
    for (size_t f = 0; f < import->n_fills; f++)
        for (size_t i = 0; i < import->fills[f].count; i++)
            reference.data[import->fills[f].value][i] = (double)import->fills[f].data[i];
    for (int64_t i = 0; import->target && i < import->g.graph.batch; i++)
        reference.data[import->g.graph.target][i] = import->target[i];
    reference.lr[0] = import->lr;
    reference.step = (double)import->step;
    reference_run(&reference, import->g.graph.n_nodes);
    for (size_t i = 0; i < import->n_checks && good; i++)
        good = is_close("reference", case_name, &import->checks[i],
                        reference.data[import->checks[i].value]);
    reference_finish(&reference);
    return good;
}

/* ---- on a device ---- */

struct device_run {
    const struct runner *runner;
    struct cyx_session *session;
    struct cyx_program *program;
    struct cyx_step_result result;
    struct cyx_error error;
};

static enum cyx_status start(struct device_run *run, struct onnx_import *import)
{
    const struct cyx_backend *backend = run->runner->backend;
    static const float input[1] = {0};
    static const int32_t no_target[1] = {0};
    uint64_t ticket = 0;
    struct cyx_feed feed = {.input = input,
                            .target = import->target ? import->target : no_target,
                            .step = import->step,
                            .lr = {import->lr}};
    enum cyx_status status =
        backend->session_create(run->runner->device, &import->g.graph, &run->session, &run->error);
    if (status == CYX_OK)
        status =
            backend->program_create(run->session, &import->g.graph, &run->program, &run->error);
    for (size_t i = 0; i < import->n_fills && status == CYX_OK; i++)
        status = backend->value_write(run->session, import->g.names[import->fills[i].value],
                                      import->fills[i].data, import->fills[i].count, &run->error);
    if (status == CYX_OK)
        status = backend->submit(run->program, &feed, &ticket, &run->error);
    return status == CYX_OK ? backend->wait(run->program, ticket, &run->result, &run->error)
                            : status;
}

static bool check_on_device(struct device_run *run, struct onnx_import *import,
                            const char *case_name, const struct onnx_check *check)
{
    const struct cyx_backend *backend = run->runner->backend;
    const struct cyx_value *value = &import->g.values[check->value];
    float *got = calloc(check->count, sizeof *got);
    double *wide = calloc(check->count, sizeof *wide);
    assert_true(got && wide);
    enum cyx_status status = CYX_OK;
    if (check->value == import->g.graph.result)
        got[0] = run->result.loss;
    else if (cyx_value_persists(value->kind))
        status = backend->value_read(run->session, value->name, got, check->count, &run->error);
    else
        status = backend->transient_read(run->program, value->name, got, check->count, &run->error);
    for (size_t i = 0; i < check->count; i++)
        wide[i] = (double)got[i];
    bool good = status == CYX_OK && is_close(run->runner->name, case_name, check, wide);
    if (status != CYX_OK)
        printf("FAILED %s: %s: %s\n", run->runner->name, case_name, run->error.message);
    free(got);
    free(wide);
    return good;
}

static bool run_device(struct onnx_import *import, const char *case_name,
                       const struct runner *runner)
{
    struct device_run run = {.runner = runner};
    bool good = true;
    enum cyx_status status = start(&run, import);
    if (status != CYX_OK) {
        printf("FAILED %s: %s: %s\n", runner->name, case_name, run.error.message);
        good = false;
    } else {
        for (size_t i = 0; i < import->n_checks && good; i++)
            good = check_on_device(&run, import, case_name, &import->checks[i]);
    }
    runner->backend->program_destroy(run.program);
    runner->backend->session_destroy(run.session);
    return good;
}

/* Cases whose numbers do not follow from their models. */
static const struct {
    const char *case_name, *reason;
} faulty[] = {
    {"test_adam_multiple",
     "its numbers were made with an epsilon of 1e-2 that its model does not give (default 1e-6)"},
};

static const char *fault_of(const char *case_name)
{
    for (size_t i = 0; i < sizeof faulty / sizeof faulty[0]; i++)
        if (strcmp(faulty[i].case_name, case_name) == 0)
            return faulty[i].reason;
    return NULL;
}

static void judge(struct tally *tally, const struct onnx_case *c, const char *case_name)
{
    static struct onnx_import import;
    if (onnx_import_init(&import, c)) {
        bool good = import.n_checks > 0 && run_reference(&import, case_name);
        for (size_t r = 0; r < runners.count; r++)
            good = run_device(&import, case_name, &runners.items[r]) && good;
        tally->passed += good;
        tally->failed += !good;
    } else if (import.wrong) {
        printf("FAILED %s: %s\n", case_name, import.reason);
        tally->failed++;
    } else {
        note_reason(tally, case_name, import.reason);
    }
    onnx_import_finish(&import);
}

static void run_case(const char *folder, const char *case_name)
{
    char path[PATH_BYTES + 16], name[NAME], reason[160] = "";
    struct onnx_case c = {0};
    struct cyx_error error = {0};
    snprintf(path, sizeof path, "%s/model.onnx", folder);
    if (access(path, R_OK) != 0)
        return;
    must_do(case_name, cyx_onnx_model_open(path, &c.model, &error), &error);
    operator_name(c.model, case_name, name);
    struct tally *tally = tally_of(name);
    if (fault_of(case_name))
        note_reason(tally, case_name, fault_of(case_name));
    else if (read_tensors(folder, "input", c.inputs, &c.n_inputs, reason) &&
             read_tensors(folder, "output", c.outputs, &c.n_outputs, reason))
        judge(tally, &c, case_name);
    else
        note_reason(tally, case_name, reason);
    close_case(&c);
}

static void run_folder(const char *part)
{
    char folder[PATH_BYTES / 2];
    struct dirent **entries = NULL;
    snprintf(folder, sizeof folder, DATA "/%s", part);
    int count = scandir(folder, &entries, NULL, alphasort);
    assert_true(count > 2);
    for (int i = 0; i < count; i++) {
        char path[PATH_BYTES];
        snprintf(path, sizeof path, "%s/%.200s", folder, entries[i]->d_name);
        if (strncmp(entries[i]->d_name, "test_", 5) == 0)
            run_case(path, entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
}

static void test_onnx__every_case_with_a_counterpart_passes(void **state)
{
    (void)state;
    run_folder("node");
    run_folder("pytorch-converted");
    run_folder("pytorch-operator");
    run_folder("simple");
    assert_int_equal(print_tallies(), 0);
    assert_true(tally_of("Conv")->passed > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_onnx__every_case_with_a_counterpart_passes),
    };
    if (access(DATA "/node", R_OK) != 0) {
        printf("SKIP: no ONNX cases here: apt-get install libonnx-testdata\n");
        return 77;
    }
    runners_open(&runners);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    runners_close(&runners);
    return failed;
}
