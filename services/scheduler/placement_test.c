#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "contract/money.h"
#include "quote.h"

#define GIB (INT64_C(1) << 30)

static struct cyx_sched_node node(const char *id, int64_t cpu, int64_t gpu, int64_t soft,
                                  int64_t price)
{
    struct cyx_sched_node made = {.cpus = 4,
                                  .host_memory_bytes = 8 * GIB,
                                  .cpu_memory_bytes = cpu,
                                  .gpu_memory_bytes = gpu,
                                  .soft_memory_bytes = soft,
                                  .price_per_hour_base_units = price * CYX_MONEY_ONE};
    snprintf(made.id, sizeof(made.id), "%s", id);
    return made;
}

static struct cyx_sched_need need_of(int64_t memory)
{
    return (struct cyx_sched_need){.memory_bytes = memory,
                                   .budget_base_units = 10 * CYX_MONEY_ONE,
                                   .flops_per_sample = 1e6,
                                   .total_flops = 1e12};
}

static const char *match(const struct cyx_sched_need *need, const struct cyx_sched_node *nodes,
                         size_t count)
{
    struct cyx_sched_score score;
    const struct cyx_sched_node *found = cyx_sched_match(need, nodes, count, &score);
    return found ? found->id : "none";
}

static void test_placement__fits_by_device(void **state)
{
    (void)state;
    const struct cyx_sched_node cpu = node("a", 8 * GIB, 0, 2 * GIB, 60);
    const struct cyx_sched_node gpu = node("b", 0, 16 * GIB, 0, 60);
    const struct cyx_sched_node soft = node("c", 0, 0, 2 * GIB, 60);
    struct cyx_sched_need need = need_of(GIB);

    assert_int_equal(cyx_sched_fit(&need, &cpu), CYX_SCHED_FITS);
    assert_int_equal(cyx_sched_fit(&need, &gpu), CYX_SCHED_FITS);
    assert_int_equal(cyx_sched_fit(&need, &soft), CYX_SCHED_FITS);
    need.backend = CYX_SCHED_CPU;
    assert_int_equal(cyx_sched_fit(&need, &gpu), CYX_SCHED_NO_BACKEND);
    assert_int_equal(cyx_sched_fit(&need, &cpu), CYX_SCHED_FITS);
    need.backend = CYX_SCHED_VULKAN;
    assert_int_equal(cyx_sched_fit(&need, &cpu), CYX_SCHED_FITS); /* by its software device */
    need.memory_bytes = 4 * GIB;
    assert_int_equal(cyx_sched_fit(&need, &cpu), CYX_SCHED_NO_MEMORY);
    need.backend = CYX_SCHED_ANY;
    assert_int_equal(cyx_sched_fit(&need, &cpu), CYX_SCHED_FITS);
    need.threads = 5;
    assert_int_equal(cyx_sched_fit(&need, &cpu), CYX_SCHED_NO_THREADS);
    need.threads = 4;
    need.budget_base_units = CYX_MONEY_ONE - 1; /* a minute costs 1 CYX */
    assert_int_equal(cyx_sched_fit(&need, &cpu), CYX_SCHED_OVER_BUDGET);
}

static void test_placement__fits_by_wishes(void **state)
{
    (void)state;
    struct cyx_sched_node box = node("a", 8 * GIB, 0, 0, 2);
    struct cyx_sched_need need = need_of(GIB);
    need.host_memory_bytes = 8 * GIB + 1;
    assert_int_equal(cyx_sched_fit(&need, &box), CYX_SCHED_NO_HOST_MEMORY);
    need.host_memory_bytes = 8 * GIB;
    need.labels = "lab,disk=ssd";
    assert_int_equal(cyx_sched_fit(&need, &box), CYX_SCHED_NO_LABEL);
    box.labels = "disk=ssd";
    assert_int_equal(cyx_sched_fit(&need, &box), CYX_SCHED_NO_LABEL);
    box.labels = "x,disk=ssd,lab";
    assert_int_equal(cyx_sched_fit(&need, &box), CYX_SCHED_FITS);
    need.avoid_labels = "spot,x";
    assert_int_equal(cyx_sched_fit(&need, &box), CYX_SCHED_BAD_LABEL);
    need.avoid_labels = "di,disk"; /* a part of a label is not the label */
    assert_int_equal(cyx_sched_fit(&need, &box), CYX_SCHED_FITS);
    need.regions = "us,eu";
    assert_int_equal(cyx_sched_fit(&need, &box), CYX_SCHED_NO_REGION);
    box.region = "eu/west";
    assert_int_equal(cyx_sched_fit(&need, &box), CYX_SCHED_FITS);
    need.avoid_regions = "eu/west";
    assert_int_equal(cyx_sched_fit(&need, &box), CYX_SCHED_NO_REGION);
    need.avoid_regions = "eu/we"; /* the region's name is whole, or ends before a "/" */
    assert_int_equal(cyx_sched_fit(&need, &box), CYX_SCHED_FITS);
    need.max_price_per_hour_base_units = 2 * CYX_MONEY_ONE - 1;
    assert_int_equal(cyx_sched_fit(&need, &box), CYX_SCHED_TOO_DEAR);
    need.max_price_per_hour_base_units = 2 * CYX_MONEY_ONE;
    need.min_reputation = 0.5;
    assert_int_equal(cyx_sched_fit(&need, &box), CYX_SCHED_FITS); /* a new node has 0.5 */
    box.bad = 1;
    assert_int_equal(cyx_sched_fit(&need, &box), CYX_SCHED_LOW_REPUTATION);
    box.good = 8;
    assert_float_equal(cyx_sched_reputation(&box), 9.0 / 11, 1e-12);
    assert_int_equal(cyx_sched_fit(&need, &box), CYX_SCHED_FITS);
}

static void test_placement__prefers(void **state)
{
    (void)state;
    struct cyx_sched_node nodes[] = {node("n1", 8 * GIB, 0, 0, 2), node("n2", 8 * GIB, 0, 0, 1),
                                     node("n3", 8 * GIB, 8 * GIB, 0, 3),
                                     node("n4", 8 * GIB, 0, 0, 1)};
    struct cyx_sched_need need = need_of(GIB);
    assert_string_equal(match(&need, nodes, 4), "n3"); /* the GPU */
    need.backend = CYX_SCHED_CPU;
    assert_string_equal(match(&need, nodes, 4), "n2"); /* cheapest, then smallest id */
    nodes[1].busy = true;
    assert_string_equal(match(&need, nodes, 4), "n4");
    snprintf(need.last_node_id, sizeof(need.last_node_id), "n4");
    assert_string_equal(match(&need, nodes, 4), "n1"); /* not where it ran last */
    nodes[0].busy = nodes[2].busy = true;
    assert_string_equal(match(&need, nodes, 4), "n4"); /* unless nothing else will do */
    nodes[3].busy = true;
    assert_string_equal(match(&need, nodes, 4), "none");
}

/* Each part alone decides between two nodes that are the same otherwise. */
static void test_placement__scores_each_part(void **state)
{
    (void)state;
    struct cyx_sched_need need = need_of(GIB);
    struct cyx_sched_node nodes[] = {node("n1", 8 * GIB, 0, 0, 1), node("n2", 8 * GIB, 0, 0, 1)};
    const struct cyx_sched_node plain = nodes[1];
    assert_string_equal(match(&need, nodes, 2), "n1");
    nodes[1].good = 3;
    assert_string_equal(match(&need, nodes, 2), "n2");
    nodes[1] = plain;
    nodes[0].cpu_percent = 80;
    assert_string_equal(match(&need, nodes, 2), "n2");
    nodes[0].cpu_percent = 0;
    need.dataset = "mnist";
    nodes[1].datasets = "fashion-mnist,mnist";
    assert_string_equal(match(&need, nodes, 2), "n2");
    nodes[1].datasets = "fashion-mnist"; /* not this one */
    assert_string_equal(match(&need, nodes, 2), "n1");
    nodes[0].flops_per_second[cyx_sched_size(1e6)] = 1e9;
    nodes[1].flops_per_second[cyx_sched_size(1e6)] = 4e9;
    assert_string_equal(match(&need, nodes, 2), "n2");
    nodes[1].price_per_hour_base_units *= 100; /* faster, but not at any price */
    nodes[1].flops_per_second[cyx_sched_size(1e6)] = 1.2e9;
    assert_string_equal(match(&need, nodes, 2), "n1");

    struct cyx_sched_score score;
    nodes[1] = plain;
    nodes[1].flops_per_second[cyx_sched_size(1e6)] = 4e9;
    assert_ptr_equal(cyx_sched_match(&need, nodes, 2, &score), &nodes[1]);
    assert_true(score.measured && score.speed == 1 && score.price == 1 && score.load == 1);
    assert_float_equal(score.total, 0.40 + 0.25 + 0.15 * 0.5 + 0.10, 1e-9);
}

/* A node that no job has run on yet counts as the mean of its kind, not as the slowest or the fastest. */
static void test_placement__takes_the_unmeasured_for_average(void **state)
{
    (void)state;
    struct cyx_sched_need need = need_of(GIB);
    struct cyx_sched_node nodes[] = {node("n1", 8 * GIB, 0, 0, 1), node("n2", 8 * GIB, 0, 0, 1),
                                     node("n3", 8 * GIB, 0, 0, 1)};
    nodes[0].flops_per_second[3] = 1e9; /* of another size: the nearest there is */
    nodes[2].flops_per_second[3] = 3e9;
    assert_string_equal(match(&need, nodes, 3), "n3");
    nodes[2].busy = true;
    struct cyx_sched_score score;
    assert_non_null(cyx_sched_match(&need, nodes, 2, &score));
    assert_float_equal(score.speed, 1, 1e-9);
    assert_float_equal(cyx_sched_speed(&need, &nodes[0]), 1e9, 0);
    assert_float_equal(cyx_sched_speed(&need, &nodes[1]), 0, 0);
}

/* By its benchmark, times what jobs reach of theirs on its like. */
static void test_placement__takes_benchmarks_before_guesses(void **state)
{
    (void)state;
    struct cyx_sched_need need = need_of(GIB);
    struct cyx_sched_score score;
    struct cyx_sched_node nodes[] = {node("n1", 8 * GIB, 0, 0, 1), node("n2", 8 * GIB, 0, 0, 1)};
    assert_non_null(cyx_sched_match(&need, nodes, 2, &score));
    assert_string_equal(score.speed_by, "guess");
    nodes[0].cpu_flops = 1e11;
    nodes[1].cpu_flops = 2e11;
    assert_ptr_equal(cyx_sched_match(&need, nodes, 2, &score), &nodes[1]);
    assert_string_equal(score.speed_by, "benchmark");
    assert_true(!score.measured && score.speed == 1);
    nodes[0].flops_per_second[cyx_sched_size(1e6)] = 3e10; /* n2 would reach 6e10 */
    assert_ptr_equal(cyx_sched_match(&need, nodes, 2, &score), &nodes[1]);
    nodes[1].price_per_hour_base_units *= 100;
    assert_ptr_equal(cyx_sched_match(&need, nodes, 2, &score), &nodes[0]);
    assert_string_equal(score.speed_by, "jobs");
    assert_float_equal(score.speed, 0.5, 1e-9);
    nodes[1].gpu_memory_bytes = 8 * GIB; /* runs there, of which no benchmark is known */
    assert_float_equal(cyx_sched_benchmark(&need, &nodes[1]), 0, 0);
    nodes[1].gpu_flops = 5e12;
    assert_float_equal(cyx_sched_benchmark(&need, &nodes[1]), 5e12, 0);
    assert_float_equal(cyx_sched_share(&need, nodes, 2, &nodes[1]), 0, 0);
    assert_float_equal(cyx_sched_share(&need, nodes, 2, &nodes[0]), 0.3, 1e-9);
}

static struct cyx_sched_pending pending_of(const struct cyx_sched_need *need,
                                           const struct cyx_sched_hold *hold,
                                           const struct cyx_sched_node *nodes, size_t count,
                                           const char *code)
{
    struct cyx_sched_pending pending;
    cyx_sched_pending(need, hold, nodes, count, &pending);
    assert_string_equal(cyx_sched_pending_name(pending.code), code);
    assert_int_equal(pending.message[0] != '\0', pending.code != CYX_SCHED_PENDING_NONE);
    assert_int_equal(pending.remedy[0] != '\0', pending.code != CYX_SCHED_PENDING_NONE);
    return pending;
}

static void test_placement__says_what_holds_a_job_back(void **state)
{
    (void)state;
    const struct cyx_sched_node nodes[] = {node("n1", 8 * GIB, 0, 0, 1)};
    const struct cyx_sched_need need = need_of(GIB);
    struct cyx_sched_hold hold = {.funded = false, .waits_for = 2, .wait_ms = 500};
    pending_of(&need, &hold, nodes, 1, "awaiting-escrow");
    hold.funded = true;
    struct cyx_sched_pending pending = pending_of(&need, &hold, nodes, 1, "waits-for-jobs");
    assert_string_equal(pending.message, "waits for 2 other jobs to complete");
    hold.waits_for = 0;
    hold.failures = 1;
    hold.wait_until_ms = INT64_C(1896091200000);
    pending = pending_of(&need, &hold, nodes, 1, "retry-backoff");
    assert_string_equal(pending.message, "failed 1 time for a reason that may pass; tried again "
                                         "at 2030-01-31T12:00:00.000Z");
    hold.wait_ms = 0;
    hold.quota = CYX_SCHED_QUOTA_RUNNING;
    hold.quota_limit = 3;
    pending = pending_of(&need, &hold, nodes, 1, "quota-running-jobs");
    assert_non_null(strstr(pending.message, "runs 3 jobs"));
    hold.quota = CYX_SCHED_QUOTA_DEVICE_HOURS;
    pending_of(&need, &hold, nodes, 1, "quota-device-hours");
    hold.quota = CYX_SCHED_PENDING_NONE;
    pending_of(&need, &hold, nodes, 1, "none");
    pending_of(&need, &hold, NULL, 0, "no-node-online");
}

static void expect_misfit(const struct cyx_sched_need *need, const char *message,
                          const char *remedy)
{
    struct cyx_sched_node nodes[] = {node("n1", 8 * GIB, 0, 0, 2), node("n2", 2 * GIB, 0, 0, 1)};
    const struct cyx_sched_hold hold = {.funded = true};
    nodes[0].labels = "lab";
    nodes[0].region = "eu";
    struct cyx_sched_pending pending = pending_of(need, &hold, nodes, 2, "no-node-fits");
    if (strcmp(pending.message, message) != 0 || !strstr(pending.remedy, remedy))
        fail_msg("got \"%s\", \"%s\"", pending.message, pending.remedy);
}

/* The sentence names the test that the best nodes fail, what the job asks there and the best there is. */
static void test_placement__says_what_no_node_has(void **state)
{
    (void)state;
    struct cyx_sched_need need = need_of(16 * GIB);
    expect_misfit(&need,
                  "needs 16.0 GiB of memory on a device; the largest that is online has 8.0 GiB",
                  "a node with 16.0 GiB");
    need = need_of(GIB);
    need.backend = CYX_SCHED_VULKAN;
    expect_misfit(&need, "needs a Vulkan device; 2 nodes are online, and none has one",
                  "resources.backend");
    need = need_of(4 * GIB);
    need.threads = 64;
    expect_misfit(&need, "needs 64 processors; the most that a node that fits has is 4",
                  "resources.threads");
    need.threads = 0;
    need.host_memory_bytes = 64 * GIB;
    expect_misfit(&need,
                  "needs 64.0 GiB of main memory; the largest of the 1 nodes that have the device "
                  "has 8.0 GiB",
                  "resources.host_memory_bytes");
    need.host_memory_bytes = 0;
    need.max_price_per_hour_base_units = CYX_MONEY_ONE;
    expect_misfit(&need, "pays at most 1 CYX an hour; the cheapest node that fits costs 2 CYX",
                  "resources.max_price_per_hour");
    need = need_of(GIB);
    need.labels = "gpu=a100";
    expect_misfit(&need, "wants a node labelled gpu=a100; 2 nodes are online", "resources.labels");
    need = need_of(4 * GIB);
    need.avoid_labels = "lab";
    expect_misfit(&need, "refuses nodes labelled lab; 1 of 2 nodes online are right but for this",
                  "resources.avoid_labels");
    need = need_of(4 * GIB);
    need.regions = "us";
    expect_misfit(&need,
                  "wants a node in us; 1 of 2 nodes online are right but for this, the last in eu",
                  "resources.regions");
    need = need_of(4 * GIB);
    need.budget_base_units = 1000;
    expect_misfit(&need,
                  "its budget of 0.000001 CYX does not pay for a minute; an hour on the cheapest "
                  "node that fits costs 2 CYX",
                  "budget");
    need = need_of(4 * GIB);
    need.min_reputation = 0.9;
    expect_misfit(&need, "wants a reputation of 0.9 at least; the best that fits has 0.5",
                  "resources.min_reputation");
}

static void test_placement__says_that_all_are_busy(void **state)
{
    (void)state;
    struct cyx_sched_node nodes[] = {node("n1", 8 * GIB, 0, 0, 1), node("n2", 2 * GIB, 0, 0, 1)};
    const struct cyx_sched_need need = need_of(4 * GIB);
    const struct cyx_sched_hold hold = {.funded = true};
    pending_of(&need, &hold, nodes, 2, "none");
    nodes[0].busy = true; /* n2 is free, but too small */
    struct cyx_sched_pending pending = pending_of(&need, &hold, nodes, 2, "all-nodes-busy");
    assert_string_equal(pending.message, "1 of 2 nodes online fit, and all of them are busy");
}

static void test_quote__ranges_over_the_measured_nodes(void **state)
{
    (void)state;
    struct cyx_sched_node nodes[] = {node("n1", 8 * GIB, 0, 0, 1), node("n2", 8 * GIB, 0, 0, 9),
                                     node("n3", 8 * GIB, 0, 0, 1), node("n4", GIB, 0, 0, 1)};
    const struct cyx_sched_need need = need_of(4 * GIB); /* 1e12 FLOP */
    struct cyx_sched_quote quote;
    cyx_sched_quote(&need, nodes, 4, NULL, 0, 0, &quote);
    assert_true(quote.online == 4 && quote.fit == 3 && quote.free == 3 && quote.measured == 0);
    assert_true(quote.run_low_s == -1 && quote.price_low_base_units == -1 && quote.start_s == 0);

    nodes[0].flops_per_second[cyx_sched_size(1e6)] = 1e9;  /* 1000 s */
    nodes[1].flops_per_second[cyx_sched_size(1e6)] = 1e10; /* 100 s */
    nodes[3].flops_per_second[cyx_sched_size(1e6)] = 1e12; /* too small: does not count */
    cyx_sched_quote(&need, nodes, 4, NULL, 0, 0, &quote);
    assert_int_equal(quote.measured, 2);
    assert_float_equal(quote.run_low_s, 100, 1e-6);
    assert_float_equal(quote.run_high_s, 1000, 1e-6);
    assert_int_equal(quote.price_low_base_units, 250000000);  /* 9 CYX x 100 / 3600 */
    assert_int_equal(quote.price_high_base_units, 277777778); /* 1 CYX x 1000 / 3600, rounded up */
}

static void test_quote__takes_benchmarks_where_no_job_ran(void **state)
{
    (void)state;
    struct cyx_sched_node nodes[] = {node("n1", 8 * GIB, 0, 0, 1), node("n2", 8 * GIB, 0, 0, 1)};
    const struct cyx_sched_need need = need_of(4 * GIB); /* 1e12 FLOP */
    struct cyx_sched_quote quote;
    nodes[0].cpu_flops = 1e11;
    cyx_sched_quote(&need, nodes, 2, NULL, 0, 0, &quote);
    assert_true(quote.measured == 0 && quote.benchmarked == 1);
    assert_float_equal(quote.run_low_s, 10, 1e-6); /* from about all of it to a tenth */
    assert_float_equal(quote.run_high_s, 100, 1e-6);
    nodes[1].cpu_flops = 2e11;
    nodes[1].flops_per_second[cyx_sched_size(1e6)] = 1e11; /* the half: so does n1 */
    cyx_sched_quote(&need, nodes, 2, NULL, 0, 0, &quote);
    assert_true(quote.measured == 1 && quote.benchmarked == 1);
    assert_float_equal(quote.run_low_s, 10, 1e-6);
    assert_float_equal(quote.run_high_s, 20, 1e-6);
}

/* What a small network reached says little of a large one: the benchmark says more, until jobs of about this size ran. */
static void test_quote__takes_the_benchmark_before_jobs_of_another_size(void **state)
{
    (void)state;
    struct cyx_sched_node nodes[] = {node("n1", 8 * GIB, 0, 0, 1), node("n2", 8 * GIB, 0, 0, 1)};
    const struct cyx_sched_need need = need_of(4 * GIB); /* 1e12 FLOP */
    struct cyx_sched_quote quote;
    struct cyx_sched_score score;
    nodes[0].cpu_flops = nodes[1].cpu_flops = 1e11;
    nodes[0].flops_per_second[cyx_sched_size(1e3)] = 4e8;
    nodes[0].flops_per_second[cyx_sched_size(1e9)] = 9e10;
    cyx_sched_quote(&need, nodes, 1, NULL, 0, 0, &quote);
    assert_true(quote.measured == 0 && quote.benchmarked == 1);
    assert_float_equal(quote.run_low_s, 10, 1e-6);
    assert_float_equal(quote.run_high_s, 100, 1e-6);
    nodes[0].price_per_hour_base_units--; /* as fast as the other, and cheaper */
    assert_ptr_equal(cyx_sched_match(&need, nodes, 2, &score), &nodes[0]);
    assert_string_equal(score.speed_by, "benchmark");
    assert_float_equal(score.speed, 1, 1e-9);

    nodes[0].flops_per_second[cyx_sched_size(1e6) + 1] = 2e10; /* the next size is near enough */
    cyx_sched_quote(&need, nodes, 1, NULL, 0, 0, &quote);
    assert_true(quote.measured == 1 && quote.benchmarked == 0);
    assert_float_equal(quote.run_low_s, 50, 1e-6);
    assert_float_equal(quote.run_high_s, 50, 1e-6);
}

static void test_quote__starts_when_those_before_it_have_ended(void **state)
{
    (void)state;
    struct cyx_sched_node nodes[] = {node("n1", 8 * GIB, 0, 0, 1), node("n2", 8 * GIB, 0, 0, 1),
                                     node("n3", 8 * GIB, 0, 0, 1)};
    struct cyx_sched_busy busy[] = {{"n1", 50}, {"n2", 20}, {"n3", -1}};
    const struct cyx_sched_need need = need_of(GIB);
    struct cyx_sched_quote quote;
    nodes[0].busy = nodes[1].busy = nodes[2].busy = true;
    cyx_sched_quote(&need, nodes, 3, busy, 3, 0, &quote);
    assert_float_equal(quote.start_s, 20, 0);
    assert_int_equal(quote.pending.code, CYX_SCHED_ALL_NODES_BUSY);
    cyx_sched_quote(&need, nodes, 3, busy, 3, 1, &quote);
    assert_float_equal(quote.start_s, 50, 0);
    cyx_sched_quote(&need, nodes, 3, busy, 3, 2, &quote); /* nobody knows when n3 ends */
    assert_float_equal(quote.start_s, -1, 0);
    nodes[2].busy = false;
    cyx_sched_quote(&need, nodes, 3, busy, 2, 0, &quote);
    assert_float_equal(quote.start_s, 0, 0);
    cyx_sched_quote(&need, nodes, 3, busy, 2, 1, &quote); /* the one ahead takes n3 */
    assert_float_equal(quote.start_s, 20, 0);
}

static void test_quote__counts_before_it_only_what_can_run(void **state)
{
    (void)state;
    struct cyx_sched_node nodes[] = {node("n1", 8 * GIB, 0, 0, 1), node("n2", 16 * GIB, 0, 0, 1)};
    const struct cyx_sched_ahead lanes[] = {
        {need_of(GIB), 3}, {need_of(12 * GIB), 4}, {need_of(64 * GIB), 500}};
    nodes[0].busy = nodes[1].busy = true;
    assert_int_equal(cyx_sched_count_ahead(lanes, 3, nodes, 2), 7);
    assert_int_equal(cyx_sched_count_ahead(lanes, 3, nodes, 1), 3);
    assert_int_equal(cyx_sched_count_ahead(lanes, 3, nodes, 0), 0);
}

static void test_placement__backends_go_both_ways(void **state)
{
    (void)state;
    enum cyx_sched_backend backend;
    assert_true(cyx_sched_backend_parse("vulkan", &backend));
    assert_int_equal(backend, CYX_SCHED_VULKAN);
    assert_false(cyx_sched_backend_parse("cuda", &backend));
    assert_int_equal(cyx_sched_size(0), 0);
    assert_int_equal(cyx_sched_size(8), 1);
    assert_int_equal(cyx_sched_size(1e300), CYX_SCHED_SIZES - 1);
}

static void test_placement__a_closed_node_says_why(void **state)
{
    (void)state;
    static const struct {
        const char *closed, *word;
    } cases[] = {{"draining", "drains"},
                 {"maintenance", "maintenance"},
                 {"unproven", "benchmark"},
                 {"proving", "is being benchmarked"}};
    const struct cyx_sched_need need = need_of(GIB);
    const struct cyx_sched_hold hold = {.funded = true};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct cyx_sched_pending pending;
        struct cyx_sched_node nodes[2] = {node("a", 8 * GIB, 0, 0, 60), node("b", 1, 0, 0, 60)};
        nodes[0].closed = cases[i].closed;
        assert_int_equal(cyx_sched_fit(&need, &nodes[0]), CYX_SCHED_CLOSED);
        assert_string_equal(match(&need, nodes, 2), "none");
        cyx_sched_pending(&need, &hold, nodes, 2, &pending);
        assert_int_equal(pending.code, CYX_SCHED_NO_NODE_FITS);
        assert_non_null(strstr(pending.message, cases[i].word));
        assert_true(strlen(pending.remedy) > 10);
        nodes[0].closed = "";
        assert_string_equal(match(&need, nodes, 2), "a");
    }
}

static void test_placement__a_gang_takes_as_many_different_nodes(void **state)
{
    (void)state;
    struct cyx_sched_node nodes[] = {node("n1", 8 * GIB, 0, 0, 4), node("n2", 8 * GIB, 0, 0, 2),
                                     node("n2", 8 * GIB, 0, 0, 2), node("n3", 8 * GIB, 0, 0, 1),
                                     node("n4", GIB, 0, 0, 1),     node("n5", 8 * GIB, 0, 0, 1)};
    struct cyx_sched_need need = need_of(2 * GIB);
    struct cyx_sched_gang_choice choice;
    nodes[5].busy = true;
    nodes[2].slot = 1; /* of n2: no other node */
    need.nodes = 3;
    assert_true(cyx_sched_match_gang(&need, nodes, 6, &choice));
    assert_int_equal(choice.count, 3);
    assert_string_equal(nodes[choice.places[0]].id, "n3"); /* the best first: the cheapest here */
    assert_string_equal(nodes[choice.places[1]].id, "n2");
    assert_string_equal(nodes[choice.places[2]].id, "n1");
    assert_true(choice.scores[0].total > choice.scores[2].total);
    need.nodes = 4;
    assert_false(cyx_sched_match_gang(&need, nodes, 6, &choice)); /* n4 is too small, n5 busy */

    const struct cyx_sched_hold hold = {.funded = true};
    struct cyx_sched_pending pending;
    need.nodes = 5;
    cyx_sched_pending(&need, &hold, nodes, 6, &pending);
    assert_string_equal(cyx_sched_pending_name(pending.code), "too-few-nodes");
    need.nodes = 3; /* the budget pays for a minute of all of them, or none fits */
    need.budget_base_units = 3 * CYX_MONEY_ONE / 60 - 1;
    assert_int_equal(cyx_sched_fit(&need, &nodes[3]), CYX_SCHED_OVER_BUDGET);
    need.budget_base_units = 3 * (CYX_MONEY_ONE / 60 + 1);
    assert_int_equal(cyx_sched_fit(&need, &nodes[3]), CYX_SCHED_FITS);
}

static void test_placement__a_gangs_quote_is_for_all_of_its_nodes(void **state)
{
    (void)state;
    struct cyx_sched_node nodes[] = {node("n1", 8 * GIB, 0, 0, 1), node("n2", 8 * GIB, 0, 0, 1),
                                     node("n3", 8 * GIB, 0, 0, 1)};
    struct cyx_sched_need need = need_of(GIB);
    struct cyx_sched_quote alone, gang;
    for (int i = 0; i < 3; i++)
        for (int size = 0; size < CYX_SCHED_SIZES; size++)
            nodes[i].flops_per_second[size] = 1e9;
    cyx_sched_quote(&need, nodes, 3, NULL, 0, 0, &alone);
    need.nodes = 2;
    cyx_sched_quote(&need, nodes, 3, NULL, 0, 0, &gang);
    assert_float_equal(gang.run_low_s, alone.run_low_s / 2, 1e-6);
    assert_int_equal(gang.price_low_base_units, alone.price_low_base_units);
    assert_float_equal(gang.start_s, 0, 0);
    struct cyx_sched_busy busy[] = {{"n1", 10}, {"n2", 30}, {"n3", 20}};
    nodes[0].busy = nodes[1].busy = nodes[2].busy = true;
    cyx_sched_quote(&need, nodes, 3, busy, 3, 0, &gang);
    assert_float_equal(gang.start_s, 20, 0); /* when the second of them is free */
    nodes[2].busy = false;
    cyx_sched_quote(&need, nodes, 3, busy, 3, 0, &gang);
    assert_float_equal(gang.start_s, 10, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_placement__a_closed_node_says_why),
        cmocka_unit_test(test_placement__fits_by_device),
        cmocka_unit_test(test_placement__fits_by_wishes),
        cmocka_unit_test(test_placement__prefers),
        cmocka_unit_test(test_placement__scores_each_part),
        cmocka_unit_test(test_placement__takes_the_unmeasured_for_average),
        cmocka_unit_test(test_placement__takes_benchmarks_before_guesses),
        cmocka_unit_test(test_quote__takes_benchmarks_where_no_job_ran),
        cmocka_unit_test(test_placement__says_what_holds_a_job_back),
        cmocka_unit_test(test_placement__says_what_no_node_has),
        cmocka_unit_test(test_placement__says_that_all_are_busy),
        cmocka_unit_test(test_quote__ranges_over_the_measured_nodes),
        cmocka_unit_test(test_quote__takes_the_benchmark_before_jobs_of_another_size),
        cmocka_unit_test(test_quote__counts_before_it_only_what_can_run),
        cmocka_unit_test(test_quote__starts_when_those_before_it_have_ended),
        cmocka_unit_test(test_placement__backends_go_both_ways),
        cmocka_unit_test(test_placement__a_gang_takes_as_many_different_nodes),
        cmocka_unit_test(test_placement__a_gangs_quote_is_for_all_of_its_nodes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
