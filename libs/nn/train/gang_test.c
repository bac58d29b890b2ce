/*
 * Gangs on the real Fashion-MNIST, their members threads of this process: equal to one run of a larger batch where that is
 * what the arithmetic says, the same bits after an interruption, and learning where members meet seldom.
 */
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "nn/format/safetensors.h"
#include "nn/test_fashion.h"
#include "nn/test_folder.h"
#include "nn/test_spec.h"
#include "nn/train/trainer.h"

enum { NODES = 3, NEVER = -1 };

#define SPEC(batch, layers, optimizer, more)                                                       \
    "{\"name\":\"gang\",\"model\":{\"layers\":[" layers "]},\"data\":{\"dataset\":"                \
    "\"fashion-mnist\",\"batch_size\":" batch "},\"loss\":{\"type\":\"CrossEntropyLoss\"},"        \
    "\"optimizer\":{" optimizer "},\"seed\":9," more "}"
#define PLAIN                                                                                      \
    "{\"type\":\"Flatten\"},{\"type\":\"Linear\",\"out_features\":32},{\"type\":\"Tanh\"},"        \
    "{\"type\":\"Linear\",\"out_features\":10}"
/* All that members may have apart from one another between two meetings. */
#define RICH                                                                                       \
    "{\"type\":\"MaxPool2d\",\"kernel_size\":4},{\"type\":\"Conv2d\",\"out_channels\":6,"          \
    "\"kernel_size\":3,\"padding\":1},{\"type\":\"BatchNorm2d\"},{\"type\":\"ReLU\"},"             \
    "{\"type\":\"Flatten\"},{\"type\":\"Dropout\",\"p\":0.1},"                                     \
    "{\"type\":\"Linear\",\"out_features\":10}"
static const char rich_spec[] =
    SPEC("250", RICH, "\"type\":\"AdamW\",\"lr\":0.01",
         "\"scheduler\":{\"type\":\"ReduceLROnPlateau\",\"patience\":0,\"threshold\":0.5},"
         "\"epochs\":3,\"checkpoint\":{\"every_steps\":20}");

/* ---- where members meet ---- */

struct table {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int nodes, there, round;
    bool left; /* one is gone: nobody waits for it */
    double *sums;
    float *mean;
    float *brought[NODES];
    size_t count;
    int64_t meetings;
};

struct member {
    struct table *table;
    struct cyx_gang gang;
    struct cyx_train_options options;
    struct cyx_train_result result;
    struct cyx_error error;
    enum cyx_status status;
    pthread_t thread;
    atomic_bool cancel;
    int64_t cancel_at, checkpoints, epochs, last_step;
    double last_lr;
    char out[256];
};

static void take_mean(struct table *table)
{
    table->sums = calloc(table->count, sizeof(*table->sums));
    free(table->mean);
    table->mean = malloc(table->count * sizeof(*table->mean));
    for (int r = 0; r < table->nodes; r++)
        cyx_gang_add(table->sums, table->brought[r], table->count);
    cyx_gang_mean(table->sums, table->nodes, table->mean, table->count);
    free(table->sums);
    table->there = 0;
    table->round++;
    table->meetings++;
    pthread_cond_broadcast(&table->changed);
}

static enum cyx_status meet(void *context, float *values, size_t count, struct cyx_error *error)
{
    struct member *member = context;
    struct table *table = member->table;
    pthread_mutex_lock(&table->lock);
    int round = table->round;
    table->brought[member->gang.rank] = values;
    table->count = count;
    if (++table->there == table->nodes)
        take_mean(table);
    while (table->round == round && !table->left)
        pthread_cond_wait(&table->changed, &table->lock);
    bool met = table->round != round;
    if (met)
        memcpy(values, table->mean, count * sizeof(*values));
    pthread_mutex_unlock(&table->lock);
    return met ? CYX_OK : cyx_error_set(error, CYX_ERR_CANCELLED, NULL, "a member is gone");
}

static void on_event(void *context, const struct cyx_train_event *event)
{
    struct member *member = context;
    member->checkpoints += event->kind == CYX_TRAIN_CHECKPOINT;
    member->epochs += event->kind == CYX_TRAIN_EPOCH;
    member->last_step = event->step;
    if (event->kind == CYX_TRAIN_STEP)
        member->last_lr = event->lr;
    if (event->kind == CYX_TRAIN_STEP && event->step == member->cancel_at)
        atomic_store(&member->cancel, true);
}

static void *run_member(void *context)
{
    struct member *member = context;
    member->status = cyx_train(&member->options, &member->result, &member->error);
    pthread_mutex_lock(&member->table->lock);
    member->table->left = true;
    pthread_cond_broadcast(&member->table->changed);
    pthread_mutex_unlock(&member->table->lock);
    return NULL;
}

/* ---- a gang ---- */

struct gang {
    const char *spec, *out, *resume_from;
    int nodes;
    int64_t every, max_steps, cancel_at; /* cancel_at: of the first member; 0: never */
    struct member members[NODES];
    int64_t meetings;
};

static void run_gang(struct gang *g)
{
    struct cyx_job_spec *spec = parse(g->spec);
    struct table table = {.nodes = g->nodes};
    pthread_mutex_init(&table.lock, NULL);
    pthread_cond_init(&table.changed, NULL);
    for (int r = 0; r < g->nodes; r++) {
        struct member *member = &g->members[r];
        *member = (struct member){.table = &table,
                                  .gang = {.rank = r,
                                           .nodes = g->nodes,
                                           .every_steps = g->every,
                                           .meet = meet,
                                           .context = member},
                                  .cancel_at = r == 0 && g->cancel_at ? g->cancel_at : NEVER};
        snprintf(member->out, sizeof(member->out), "%s/%d", path_of(g->out), r);
        member->options = (struct cyx_train_options){.spec = spec,
                                                     .data_dir = path_of("data"),
                                                     .output_dir = member->out,
                                                     .backend = "cpu",
                                                     .resume_from = g->resume_from,
                                                     .device = {.threads = 1},
                                                     .max_steps = g->max_steps,
                                                     .on_event = on_event,
                                                     .context = member,
                                                     .gang = g->nodes > 1 ? &member->gang : NULL,
                                                     .cancel = &member->cancel};
    }
    char data[256];
    snprintf(data, sizeof(data), "%s", path_of("data"));
    for (int r = 0; r < g->nodes; r++) {
        g->members[r].options.data_dir = data;
        assert_int_equal(pthread_create(&g->members[r].thread, NULL, run_member, &g->members[r]),
                         0);
    }
    for (int r = 0; r < g->nodes; r++)
        pthread_join(g->members[r].thread, NULL);
    g->meetings = table.meetings;
    free(table.mean);
    pthread_cond_destroy(&table.changed);
    pthread_mutex_destroy(&table.lock);
    cyx_job_spec_destroy(spec);
}

static void must_finish(struct gang *g)
{
    run_gang(g);
    for (int r = 0; r < g->nodes; r++)
        if (g->members[r].status != CYX_OK)
            fail_msg("member %d: %s %s", r, g->members[r].error.pointer,
                     g->members[r].error.message);
}

/* The largest distance of two models' weights, and the largest weight of the first. */
static double distance(const char *a, const char *b, double *ret_largest)
{
    struct cyx_safetensors *first = NULL, *second = NULL;
    double most = 0;
    *ret_largest = 0;
    assert_int_equal(cyx_safetensors_open(a, &first, NULL), CYX_OK);
    assert_int_equal(cyx_safetensors_open(b, &second, NULL), CYX_OK);
    for (size_t t = 0; t < first->n_tensors; t++) {
        const struct cyx_safetensors_tensor *tensor = &first->tensors[t];
        size_t count = 1;
        for (int i = 0; i < tensor->rank; i++)
            count *= (size_t)tensor->shape[i];
        float *x = malloc(count * sizeof(*x)), *y = malloc(count * sizeof(*y));
        assert_int_equal(cyx_safetensors_read_f32(first, tensor->name, x, count, NULL), CYX_OK);
        assert_int_equal(cyx_safetensors_read_f32(second, tensor->name, y, count, NULL), CYX_OK);
        for (size_t i = 0; i < count; i++) {
            most = fmax(most, fabs((double)x[i] - (double)y[i]));
            *ret_largest = fmax(*ret_largest, fabs((double)x[i]));
        }
        free(x);
        free(y);
    }
    cyx_safetensors_close(first);
    cyx_safetensors_close(second);
    return most;
}

/* ---- tests ---- */

static void expect_one_large_batch(const char *of_members, const char *of_one, const char *name)
{
    char alone_out[32];
    snprintf(alone_out, sizeof(alone_out), "%s-alone", name);
    struct gang together = {
        .spec = of_members, .out = name, .nodes = NODES, .every = 1, .max_steps = 60};
    struct gang alone = {.spec = of_one, .out = alone_out, .nodes = 1, .max_steps = 60};
    must_finish(&together);
    must_finish(&alone);
    assert_int_equal(together.meetings, 60);
    assert_int_equal(together.members[0].result.samples * NODES, alone.members[0].result.samples);
    double largest = 0;
    double most = distance(together.members[0].result.model_path,
                           alone.members[0].result.model_path, &largest);
    printf("%s: weights up to %.3g, at most %.3g apart\n", name, largest, most);
    /* Sums of float32 in another order, over 60 steps: some hundred units in the last place of the largest weight. */
    assert_true(largest > 0.05 && most < 5e-5 * largest);
    assert_true(fabs(together.members[0].result.test_accuracy -
                     alone.members[0].result.test_accuracy) < 0.0011);
}

static void test_gang__a_step_equals_one_of_a_larger_batch(void **state)
{
    (void)state;
    expect_one_large_batch(SPEC("100", PLAIN, "\"type\":\"SGD\",\"lr\":0.1", "\"epochs\":1"),
                           SPEC("300", PLAIN, "\"type\":\"SGD\",\"lr\":0.1", "\"epochs\":1"),
                           "plain");
    expect_one_large_batch(
        SPEC("100", PLAIN, "\"type\":\"SGD\",\"lr\":0.05,\"momentum\":0.9", "\"epochs\":1"),
        SPEC("300", PLAIN, "\"type\":\"SGD\",\"lr\":0.05,\"momentum\":0.9", "\"epochs\":1"),
        "momentum");
}

static void test_gang__members_that_meet_seldom_learn(void **state)
{
    (void)state;
    struct gang g = {.spec = rich_spec, .out = "seldom", .nodes = NODES, .every = 16};
    must_finish(&g);
    /* 20,000 rows a member: 80 steps an epoch, of which the last is the fifth meeting; one more shares its evaluation. */
    assert_int_equal(g.members[0].result.steps, 240);
    assert_int_equal(g.meetings, 3 * (5 + 1));
    assert_int_equal(g.members[0].checkpoints,
                     3 * 4); /* at 32, 48, 64, 80: the first meetings behind 20, 40, 60, 80 */
    assert_int_equal(g.members[0].epochs, 3);
    assert_true(g.members[0].result.test_accuracy > 0.7);
    for (int r = 1; r < NODES; r++) {
        const struct member *other = &g.members[r];
        assert_int_equal(other->checkpoints, 0);
        assert_string_equal(other->result.model_path, "");
        assert_int_equal(other->last_step, 240);
        assert_true(other->last_lr == g.members[0].last_lr); /* by the first one's evaluation */
    }
    assert_true(g.members[0].last_lr < 0.0011);
    char path[300];
    snprintf(path, sizeof(path), "%s/checkpoint.safetensors", g.members[1].out);
    assert_int_equal(access(path, F_OK), -1);
}

static void test_gang__one_that_goes_on_gives_the_same_bits(void **state)
{
    (void)state;
    struct gang whole = {.spec = rich_spec, .out = "gang-whole", .nodes = NODES, .every = 7};
    must_finish(&whole);
    struct gang first = {
        .spec = rich_spec, .out = "gang-part", .nodes = NODES, .every = 7, .cancel_at = 30};
    run_gang(&first);
    for (int r = 0; r < NODES; r++)
        assert_int_equal(first.members[r].status, CYX_ERR_CANCELLED);
    assert_int_equal(first.members[0].last_step,
                     35); /* asked at 30, it stops where all stand alike */
    char from[300];
    snprintf(from, sizeof(from), "%s/checkpoint.safetensors", first.members[0].out);
    struct gang second = {
        .spec = rich_spec, .out = "gang-rest", .nodes = NODES, .every = 7, .resume_from = from};
    must_finish(&second);
    assert_string_equal(second.members[0].result.model_sha256,
                        whole.members[0].result.model_sha256);
    assert_true(second.members[0].result.test_loss == whole.members[0].result.test_loss);
}

static void test_gang__a_member_that_is_lost_ends_the_others(void **state)
{
    (void)state;
    struct gang g = {.spec = rich_spec, .out = "lost", .nodes = NODES, .every = 4};
    g.cancel_at = 10;
    run_gang(&g);
    assert_int_equal(g.members[1].status, CYX_ERR_CANCELLED);
    assert_string_equal(g.members[1].error.message, "a member is gone");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gang__a_step_equals_one_of_a_larger_batch),
        cmocka_unit_test(test_gang__members_that_meet_seldom_learn),
        cmocka_unit_test(test_gang__one_that_goes_on_gives_the_same_bits),
        cmocka_unit_test(test_gang__a_member_that_is_lost_ends_the_others),
    };
    if (access(FASHION_PACKAGE, R_OK) != 0) {
        printf("SKIP: %s is missing: install Debian's package dataset-fashion-mnist\n",
               FASHION_PACKAGE);
        return 77;
    }
    if (!folder_make("gang") || !fashion_unpack(path_of("data")))
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (!folder_remove())
        fprintf(stderr, "could not remove %s\n", folder);
    return failed;
}
