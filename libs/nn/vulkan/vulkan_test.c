/* What the Vulkan backend says when things are missing, its cache on disk, and how products are cut. */
#include "model/test_specs.h"

#include <dirent.h>
#include <stdio.h>
#include <unistd.h>

#include "nn/vulkan/device.h"
#include "nn/vulkan/tiles.h"

static const struct cyx_backend *vulkan;

static struct cyx_device *open_device(const char *cache_dir)
{
    struct cyx_device *device = NULL;
    struct cyx_error error = {0};
    struct cyx_device_options options = {.cache_dir = cache_dir};
    if (vulkan->device_open(&options, &device, &error) != CYX_OK)
        fail_msg("%s", error.message);
    return device;
}

static void test_device__names_itself_and_its_memory(void **state)
{
    (void)state;
    struct cyx_device *device = open_device(NULL);
    struct cyx_device_info info;
    vulkan->device_info(device, &info);
    assert_string_equal(info.backend, "vulkan");
    assert_true(strlen(info.name) > 0);
    assert_true(info.memory_bytes > 0);
    vulkan->device_close(device);
    vulkan->device_close(NULL);
}

static void test_device__refuses_an_index_that_is_not_there(void **state)
{
    (void)state;
    struct cyx_device *device = NULL;
    struct cyx_error error = {0};
    assert_int_equal(
        vulkan->device_open(&(struct cyx_device_options){.index = 99}, &device, &error),
        CYX_ERR_UNAVAILABLE);
    assert_non_null(strstr(error.message, "no Vulkan device 99"));
    assert_null(device);
}

static void test_device__says_what_to_install_without_a_driver(void **state)
{
    (void)state;
    struct cyx_device *device = NULL;
    struct cyx_error error = {0};
    setenv("VK_ICD_FILENAMES", "/nonexistent/none.json", 1);
    setenv("VK_DRIVER_FILES", "/nonexistent/none.json", 1);
    enum cyx_status status = vulkan->device_open(NULL, &device, &error);
    unsetenv("VK_ICD_FILENAMES");
    unsetenv("VK_DRIVER_FILES");
    assert_int_equal(status, CYX_ERR_UNAVAILABLE);
    assert_non_null(strstr(error.message, "install"));
}

static void test_device__refuses_an_unknown_tiling(void **state)
{
    (void)state;
    struct cyx_device *device = NULL;
    struct cyx_error error = {0};
    setenv("CYXWIZ_VULKAN_TILING", "hexagons", 1);
    enum cyx_status status = vulkan->device_open(NULL, &device, &error);
    unsetenv("CYXWIZ_VULKAN_TILING");
    assert_int_equal(status, CYX_ERR_INVALID);
    assert_non_null(strstr(error.message, "hexagons"));
}

/* A training program of a small model; its status, and the loss of one step on zeros. */
static enum cyx_status one_step(struct cyx_device *device, const char *layers, int64_t batch,
                                float *ret_loss, struct cyx_error *error)
{
    struct cyx_job_spec *spec = spec_of_layers(layers);
    struct cyx_graph *graph =
        graph_of(spec, (struct cyx_graph_options){.batch = batch, .training = true}, true);
    struct cyx_session *session = NULL;
    struct cyx_program *program = NULL;
    enum cyx_status status = vulkan->session_create(device, graph, &session, error);
    if (status == CYX_OK)
        status = vulkan->program_create(session, graph, &program, error);
    if (status == CYX_OK) {
        size_t pixels = (size_t)cyx_shape_count(&graph->values[graph->input].shape);
        float *input = calloc(pixels, sizeof *input);
        int32_t *target = calloc((size_t)batch, sizeof *target);
        struct cyx_feed feed = {input, target, 1, 1, {0.1}};
        struct cyx_step_result result = {0};
        uint64_t ticket = 0;
        status = vulkan->submit(program, &feed, &ticket, error);
        if (status == CYX_OK)
            status = vulkan->wait(program, ticket, &result, error);
        *ret_loss = result.loss;
        free(input);
        free(target);
    }
    vulkan->program_destroy(program);
    vulkan->session_destroy(session);
    cyx_graph_destroy(graph);
    cyx_job_spec_destroy(spec);
    return status;
}

static const char small[] = "{\"type\":\"Flatten\"},{\"type\":\"Linear\",\"out_features\":10}";

/* Path of the one file in `folder`; fails when there is none or another. */
static void only_file(const char *folder, char *ret_path, size_t size)
{
    int files = 0;
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(ret_path, size, "%s/%s", folder, entry->d_name);
        files++;
    }
    closedir(dir);
    assert_int_equal(files, 1);
}

static void test_cache__is_written_once_and_a_broken_one_replaced(void **state)
{
    (void)state;
    char folder[] = "/tmp/cyx-vulkan-XXXXXX", path[512];
    CYX_CLEANUP_BUF struct cyx_buf first = {0}, again = {0};
    struct cyx_error error = {0};
    float loss = 0;
    assert_non_null(mkdtemp(folder));
    struct cyx_device *device = open_device(folder);
    assert_int_equal(one_step(device, small, 4, &loss, &error), CYX_OK);
    vulkan->device_close(device);
    only_file(folder, path, sizeof path);
    assert_int_equal(cyx_buf_read_file(&first, path, 1 << 24, &error), CYX_OK);
    assert_true(first.length > 24);
    assert_memory_equal(first.data, "cyxvkpc1", 8);

    first.data[first.length - 1] ^= 1; /* its checksum is now wrong */
    assert_int_equal(cyx_file_write_atomic(path, first.data, first.length, 0600, &error), CYX_OK);
    first.data[first.length - 1] ^= 1;
    device = open_device(folder);
    assert_int_equal(one_step(device, small, 4, &loss, &error), CYX_OK);
    vulkan->device_close(device);
    only_file(folder, path, sizeof path);
    assert_int_equal(cyx_buf_read_file(&again, path, 1 << 24, &error), CYX_OK);
    assert_int_equal(first.length, again.length);
    assert_memory_equal(first.data, again.data, first.length);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(folder), 0);
}

static void test_cache__that_cannot_be_written_is_done_without(void **state)
{
    (void)state;
    struct cyx_error error = {0};
    float loss = 0;
    struct cyx_device *device = open_device("/proc/none/of/this");
    assert_int_equal(one_step(device, small, 4, &loss, &error), CYX_OK);
    /* zeros in, zero weights: every class is as likely */
    assert_true(loss > 2.302584f && loss < 2.302586f);
    vulkan->device_close(device);
}

/* 8192 x 64 x 28 x 28 floats are 1.6 GB: more than one binding of llvmpipe's 128 MiB, or fine on a large GPU. */
static void test_program__too_large_for_the_device_is_refused_in_words(void **state)
{
    (void)state;
    struct cyx_error error = {0};
    float loss = 0;
    struct cyx_device *device = open_device(NULL);
    if (device->properties.limits.maxStorageBufferRange > 1u << 30) {
        vulkan->device_close(device);
        skip();
    }
    enum cyx_status status = one_step(
        device,
        "{\"type\":\"Conv2d\",\"out_channels\":64,\"kernel_size\":1},{\"type\":\"Flatten\"},"
        "{\"type\":\"Linear\",\"out_features\":10}",
        8192, &loss, &error);
    assert_int_equal(status, CYX_ERR_UNSUPPORTED);
    assert_non_null(strstr(error.message, "0:out takes 1568.0 MiB"));
    assert_non_null(strstr(error.message, "smaller batch"));
    if (device->properties.limits.maxStorageBufferRange <= 1u << 27) { /* 784 x 50,000 floats */
        status = one_step(device,
                          "{\"type\":\"Flatten\"},{\"type\":\"Linear\",\"out_features\":50000},"
                          "{\"type\":\"Linear\",\"out_features\":10}",
                          1, &loss, &error);
        assert_int_equal(status, CYX_ERR_UNSUPPORTED);
        assert_non_null(strstr(error.message, "1.weight takes 149.5 MiB"));
        assert_non_null(strstr(error.message, "smaller layer"));
    }
    vulkan->device_close(device);
}

enum { TRAIN_BATCH = 4, TRAIN_PIXELS = 28 * 28, PARAM_LIMIT = 40 * TRAIN_PIXELS };

/* Fills every parameter, or appends them all to `ret_params`. */
static void move_params(const struct cyx_graph *graph, struct cyx_session *session,
                        struct cyx_buf *ret_params)
{
    static float data[PARAM_LIMIT];
    struct cyx_error error = {0};
    for (size_t v = 0; v < graph->n_values; v++) {
        const struct cyx_value *value = &graph->values[v];
        size_t count = (size_t)cyx_shape_count(&value->shape);
        if (value->kind != CYX_VALUE_PARAM)
            continue;
        for (size_t i = 0; i < count; i++)
            data[i] = (float)((int)(i * 7 % 31) - 15) / 100;
        if (!ret_params) {
            assert_int_equal(vulkan->value_write(session, value->name, data, count, &error),
                             CYX_OK);
            continue;
        }
        assert_int_equal(vulkan->value_read(session, value->name, data, count, &error), CYX_OK);
        cyx_buf_append(ret_params, data, count * sizeof data[0]);
    }
}

static void train_clipped(struct cyx_program *program, uint64_t steps)
{
    static float input[TRAIN_BATCH * TRAIN_PIXELS];
    static const int32_t classes[TRAIN_BATCH] = {1, 2, 3, 4};
    struct cyx_error error = {0};
    for (size_t i = 0; i < sizeof input / sizeof input[0]; i++)
        input[i] = (float)(i % 17) / 16;
    for (uint64_t step = 1; step <= steps; step++) {
        struct cyx_feed feed = {input, classes, 1, step, {0.01}};
        struct cyx_step_result result;
        uint64_t ticket = 0;
        assert_int_equal(vulkan->submit(program, &feed, &ticket, &error), CYX_OK);
        assert_int_equal(vulkan->wait(program, ticket, &result, &error), CYX_OK);
        assert_true(result.grad_norm > 0.1f);
    }
}

/* Parameters of a small model after three steps with clipping, on a device that binds at most `limit` bytes. */
static void train_bound_by(uint32_t limit, struct cyx_buf *ret_params)
{
    struct cyx_error error = {0};
    struct cyx_device *device = open_device(NULL);
    struct cyx_session *session = NULL;
    struct cyx_program *program = NULL;
    if (limit < device->properties.limits.maxStorageBufferRange)
        device->properties.limits.maxStorageBufferRange = limit;
    struct cyx_job_spec *spec = spec_of(
        "{\"type\":\"Flatten\"},{\"type\":\"Linear\",\"out_features\":40},{\"type\":\"ReLU\"},"
        "{\"type\":\"Linear\",\"out_features\":30},{\"type\":\"Linear\",\"out_features\":10}",
        "\"type\":\"AdamW\"},\"clip\":{\"norm\":0.1", "");
    struct cyx_graph *graph =
        graph_of(spec, (struct cyx_graph_options){.batch = TRAIN_BATCH, .training = true}, true);
    assert_int_equal(vulkan->session_create(device, graph, &session, &error), CYX_OK);
    assert_int_equal(vulkan->program_create(session, graph, &program, &error), CYX_OK);
    move_params(graph, session, NULL);
    train_clipped(program, 3);
    move_params(graph, session, ret_params);
    vulkan->program_destroy(program);
    vulkan->session_destroy(session);
    cyx_graph_destroy(graph);
    cyx_job_spec_destroy(spec);
    vulkan->device_close(device);
}

/* 128 KiB hold the largest parameter, not all of them: several dispatches then do what one did, to the same bits. */
static void test_optimizer__fits_what_the_device_binds_at_once(void **state)
{
    (void)state;
    CYX_CLEANUP_BUF struct cyx_buf whole = {0}, parts = {0};
    train_bound_by(UINT32_MAX, &whole);
    train_bound_by(128 * 1024, &parts);
    assert_int_equal(whole.length, parts.length);
    assert_memory_equal(whole.data, parts.data, whole.length);
}

static void test_session__too_large_for_the_device_says_how_much(void **state)
{
    (void)state;
    struct cyx_device *device = open_device(NULL);
    struct cyx_error error = {0};
    struct cyx_vk_buffer buffer = {0};
    enum cyx_status status =
        cyx_vk_buffer_create(device, (int64_t)1 << 45, false, "the test", &buffer, &error);
    assert_int_equal(status, CYX_ERR_NO_MEMORY);
    assert_non_null(strstr(error.message, "33554432.0 MiB"));
    vulkan->device_close(device);
}

/* Whatever the shape: tiles cover the product, splits cover k, and workgroups stay within the device's limits. */
static void check_cut(const struct cyx_device *device, struct cyx_vk_product product)
{
    struct cyx_vk_cut cut;
    cyx_vk_cut(device, &product, &cut);
    const struct cyx_vk_tile *tile = &cut.tile;
    assert_true(cut.tiles_m * tile->block_m >= product.m);
    assert_true((cut.tiles_m - 1) * tile->block_m < product.m);
    assert_true(cut.tiles_n * tile->block_n >= product.n);
    assert_true((cut.tiles_n - 1) * tile->block_n < product.n);
    assert_true(cut.splits * cut.k_chunk >= product.k);
    assert_true((cut.splits - 1) * cut.k_chunk < product.k);
    assert_true(product.may_split || cut.splits == 1);
    if (device->tiling == CYX_VK_TILING_REGISTERS) {
        assert_int_equal(tile->block_m, tile->tile_m);
        assert_int_equal(tile->block_n, tile->tile_n * tile->threads);
        return;
    }
    /* gemm_main.glsl: every invocation has a corner of the block, and loads whole rows of its slices */
    assert_int_equal(tile->threads, tile->block_m / tile->tile_m * (tile->block_n / tile->tile_n));
    assert_int_equal(tile->threads % tile->block_k, 0);
    assert_int_equal(tile->block_m % (tile->threads / tile->block_k), 0);
    assert_int_equal(tile->block_n % (tile->threads / tile->block_k), 0);
    assert_true(tile->threads >= tile->block_m && tile->threads % tile->block_m == 0);
    assert_true(tile->threads >= tile->block_n && tile->threads % tile->block_n == 0);
    assert_int_equal(tile->block_k % (tile->threads / tile->block_m), 0);
    assert_int_equal(tile->block_k % (tile->threads / tile->block_n), 0);
}

static void test_tiles__cover_every_product(void **state)
{
    (void)state;
    static const int64_t sizes[] = {1, 7, 31, 64, 129, 512, 4097};
    const size_t n = sizeof sizes / sizeof sizes[0];
    for (int tiling = 0; tiling < 2; tiling++) {
        struct cyx_device device = {
            .tiling = tiling ? CYX_VK_TILING_SHARED : CYX_VK_TILING_REGISTERS,
            .subgroup_size = 8,
            .properties.limits = {.maxComputeSharedMemorySize = 32768,
                                  .maxComputeWorkGroupInvocations = 1024,
                                  .maxComputeWorkGroupSize = {1024, 1024, 64}},
        };
        for (size_t i = 0; i < n * n * n * 2; i++)
            check_cut(&device, (struct cyx_vk_product){.m = sizes[i % n],
                                                       .n = sizes[i / n % n],
                                                       .k = sizes[i / n / n % n],
                                                       .groups = 1,
                                                       .may_split = i / n / n / n});
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tiles__cover_every_product),
        cmocka_unit_test(test_device__says_what_to_install_without_a_driver),
        cmocka_unit_test(test_device__names_itself_and_its_memory),
        cmocka_unit_test(test_device__refuses_an_index_that_is_not_there),
        cmocka_unit_test(test_device__refuses_an_unknown_tiling),
        cmocka_unit_test(test_cache__is_written_once_and_a_broken_one_replaced),
        cmocka_unit_test(test_cache__that_cannot_be_written_is_done_without),
        cmocka_unit_test(test_program__too_large_for_the_device_is_refused_in_words),
        cmocka_unit_test(test_optimizer__fits_what_the_device_binds_at_once),
        cmocka_unit_test(test_session__too_large_for_the_device_says_how_much),
    };
    struct cyx_device *device = NULL;
    struct cyx_error error = {0};
    vulkan = cyx_backend_vulkan();
    if (vulkan->device_open(NULL, &device, &error) != CYX_OK) {
        printf("SKIP vulkan: %s\n", error.message);
        return 77;
    }
    vulkan->device_close(device);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
