/*
 * The requirement that Vulkan trains as the CPU does: the example mnist-mlp, same seed, first 20 losses within 1e-4
 * relative. Once through cyx_train on real images (MNIST where CYXWIZ_DATA_DIR holds it, else Debian's
 * Fashion-MNIST), and once step by step on made-up batches, which needs no data set.
 */
#include "model/test_specs.h"

#include <math.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "contract/dataset.h"
#include "nn/train/trainer.h"

enum { LOSSES = 20, PATH_BYTES = 1024 };

static const double TOLERANCE = 1e-4;

struct losses {
    double loss[LOSSES];
    int count;
};

static void compare(const struct losses *cpu, const struct losses *vulkan, int count)
{
    double worst = 0;
    assert_int_equal(cpu->count, count);
    assert_int_equal(vulkan->count, count);
    for (int i = 0; i < count; i++) {
        double off = fabs(cpu->loss[i] - vulkan->loss[i]) / fabs(cpu->loss[i]);
        worst = off > worst ? off : worst;
        if (!(off <= TOLERANCE))
            fail_msg("step %d: cpu %.9g, vulkan %.9g", i + 1, cpu->loss[i], vulkan->loss[i]);
    }
    printf("losses %.6f … %.6f, at most %.2g apart\n", cpu->loss[0], cpu->loss[count - 1], worst);
    /* not two models that stand still */
    assert_true(fabs(cpu->loss[0] - cpu->loss[count - 1]) > 100 * worst * cpu->loss[0]);
}

/* ---- through the backends ---- */

static void train_on_noise(const char *backend_name, const struct cyx_job_spec *spec, int steps,
                           struct losses *ret_losses)
{
    const struct cyx_backend *backend;
    struct cyx_device *device;
    struct cyx_session *session;
    struct cyx_program *program;
    struct cyx_graph *graph = graph_of(
        spec, (struct cyx_graph_options){.batch = spec->data.batch_size, .training = true}, true);
    size_t pixels = (size_t)cyx_shape_count(&graph->values[graph->input].shape);
    float *input = calloc(pixels, sizeof *input);
    int32_t *target = calloc((size_t)graph->batch, sizeof *target);
    uint64_t random = 12345;
    assert_int_equal(cyx_backend_open(backend_name, NULL, &backend, &device, NULL), CYX_OK);
    assert_int_equal(backend->session_create(device, graph, &session, NULL), CYX_OK);
    assert_int_equal(backend->program_create(session, graph, &program, NULL), CYX_OK);
    for (size_t v = 0; v < graph->n_values; v++) {
        const struct cyx_value *value = &graph->values[v];
        size_t count = (size_t)cyx_shape_count(&value->shape);
        if (value->kind != CYX_VALUE_PARAM)
            continue;
        float *data = calloc(count, sizeof *data);
        double bound = 1 / sqrt((double)count / (double)value->shape.dim[0]);
        for (size_t i = 0; i < count && value->shape.rank > 1; i++) /* biases start at 0 */
            data[i] = (float)(bound * next_uniform(&random));
        assert_int_equal(backend->value_write(session, value->name, data, count, NULL), CYX_OK);
        free(data);
    }
    for (int step = 1; step <= steps; step++) {
        struct cyx_feed feed = {input, target, 1, (uint64_t)step, {spec->optimizer.lr}};
        struct cyx_step_result result;
        uint64_t ticket = 0;
        for (size_t i = 0; i < pixels; i++)
            input[i] = (float)next_uniform(&random);
        for (int64_t n = 0; n < graph->batch; n++) /* classes that can be told: a brighter corner */
            target[n] = input[(size_t)n * pixels / (size_t)graph->batch] > 0;
        assert_int_equal(backend->submit(program, &feed, &ticket, NULL), CYX_OK);
        assert_int_equal(backend->wait(program, ticket, &result, NULL), CYX_OK);
        ret_losses->loss[ret_losses->count++] = (double)result.loss;
    }
    backend->program_destroy(program);
    backend->session_destroy(session);
    backend->device_close(device);
    free(input);
    free(target);
    cyx_graph_destroy(graph);
}

static void check_example(const char *example, int steps)
{
    struct cyx_job_spec *spec = spec_of_example(example);
    struct losses cpu = {0}, vulkan = {0};
    train_on_noise("cpu", spec, steps, &cpu);
    train_on_noise("vulkan", spec, steps, &vulkan);
    compare(&cpu, &vulkan, steps);
    cyx_job_spec_destroy(spec);
}

static void test_first_losses__of_the_mlp_agree_step_by_step(void **state)
{
    (void)state;
    check_example("mnist-mlp", LOSSES);
}

static void test_first_losses__of_the_cnn_agree_step_by_step(void **state)
{
    (void)state;
    check_example("fashion-cnn", 4);
}

/* ---- through the trainer ---- */

static bool shell(const char *text)
{
    char command[4 * PATH_BYTES], *argv[] = {(char[]){"sh"}, (char[]){"-c"}, command, NULL};
    pid_t pid = 0;
    int status = 0;
    snprintf(command, sizeof command, "%s", text);
    return posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ) == 0 &&
           waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* Unpacks Debian's files of the data set below `data_dir`; false when they are not on this machine. */
static bool unpack(const struct cyx_dataset *set, const char *data_dir)
{
    char folder[PATH_BYTES], command[3 * PATH_BYTES];
    snprintf(folder, sizeof folder, "%s/%s", data_dir, set->name);
    mkdir(folder, 0700);
    for (size_t i = 0; i < set->n_files; i++) {
        if (access(set->files[i].origin_path, R_OK) != 0)
            return false;
        snprintf(command, sizeof command, "gzip -dc '%s' > '%s/%s'", set->files[i].origin_path,
                 folder, set->files[i].name);
        if (!shell(command))
            return false;
    }
    return true;
}

/* The example on a data set that is here; NULL when there is none. `ret_data_dir` is where it lies. */
static struct cyx_job_spec *spec_with_data(const char *scratch, const char **ret_data_dir)
{
    const char *data_dir = getenv("CYXWIZ_DATA_DIR");
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%s/mnist/.", data_dir ? data_dir : "");
    if (data_dir && access(path, R_OK) == 0) {
        *ret_data_dir = data_dir;
        return spec_of_example("mnist-mlp");
    }
    if (!unpack(cyx_dataset_find("fashion-mnist"), scratch))
        return NULL;
    struct cyx_job_spec *spec = spec_of_example("mnist-mlp");
    spec->data.dataset = "fashion-mnist";
    spec->dataset_hash = cyx_dataset_find("fashion-mnist")->fingerprint;
    *ret_data_dir = scratch;
    return spec;
}

static void on_event(void *context, const struct cyx_train_event *event)
{
    struct losses *losses = context;
    if (event->kind == CYX_TRAIN_STEP && losses->count < LOSSES)
        losses->loss[losses->count++] = event->loss;
}

static void train(const struct cyx_job_spec *spec, const char *data_dir, const char *scratch,
                  const char *backend, struct losses *ret_losses)
{
    char output[PATH_BYTES];
    struct cyx_train_result result = {0};
    struct cyx_error error = {0};
    snprintf(output, sizeof output, "%s/%s", scratch, backend);
    struct cyx_train_options options = {
        .spec = spec,
        .data_dir = data_dir,
        .output_dir = output,
        .backend = backend,
        .max_steps = LOSSES,
        .on_event = on_event,
        .context = ret_losses,
    };
    if (cyx_train(&options, &result, &error) != CYX_OK)
        fail_msg("%s: %s %s", backend, error.pointer, error.message);
    assert_string_equal(result.device.backend, backend);
}

static void test_first_losses__agree_through_the_trainer(void **state)
{
    (void)state;
    char scratch[] = "/tmp/cyx-losses-XXXXXX";
    const char *data_dir = NULL;
    struct losses cpu = {0}, vulkan = {0};
    assert_non_null(mkdtemp(scratch));
    struct cyx_job_spec *spec = spec_with_data(scratch, &data_dir);
    if (!spec) {
        printf("SKIP the trainer: no data set here: apt-get install dataset-fashion-mnist\n");
        rmdir(scratch);
        skip();
    }
    train(spec, data_dir, scratch, "cpu", &cpu);
    train(spec, data_dir, scratch, "vulkan", &vulkan);
    compare(&cpu, &vulkan, LOSSES);
    cyx_job_spec_destroy(spec);
    char command[PATH_BYTES];
    snprintf(command, sizeof command, "rm -rf '%s'", scratch);
    assert_true(shell(command));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_losses__of_the_mlp_agree_step_by_step),
        cmocka_unit_test(test_first_losses__of_the_cnn_agree_step_by_step),
        cmocka_unit_test(test_first_losses__agree_through_the_trainer),
    };
    static const char *const names[] = {"cpu", "vulkan"};
    for (int i = 0; i < 2; i++) {
        const struct cyx_backend *backend;
        struct cyx_device *device;
        struct cyx_error error = {0};
        if (cyx_backend_open(names[i], NULL, &backend, &device, &error) != CYX_OK) {
            printf("SKIP %s: %s\n", names[i], error.message);
            return 77;
        }
        backend->device_close(device);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
