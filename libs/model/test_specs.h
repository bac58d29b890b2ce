/* Test support: specs from a few words. */
#ifndef CYX_MODEL_TEST_SPECS_H
#define CYX_MODEL_TEST_SPECS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "model/graph.h"

/* A job on MNIST (N,1,28,28), ten classes, from its parts as JSON. */
static inline struct cyx_job_spec *spec_of_parts(const char *layers, const char *optimizer,
                                                 const char *loss)
{
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    cyx_buf_printf(&text,
                   "{\"name\":\"test\",\"model\":{\"layers\":[%s]},\"data\":{\"dataset\":\"mnist\","
                   "\"batch_size\":4},\"loss\":%s,\"optimizer\":{%s},\"epochs\":1}",
                   layers, loss, optimizer);
    struct cyx_job_spec *spec = NULL;
    struct cyx_error err = {0};
    if (cyx_job_spec_parse(text.data, text.length, &spec, &err) != CYX_OK)
        fail_msg("%s: %s", err.pointer, err.message);
    return spec;
}

/* With these layers and optimizer; `loss` adds members to a CrossEntropyLoss. */
static inline struct cyx_job_spec *spec_of(const char *layers, const char *optimizer,
                                           const char *loss)
{
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    cyx_buf_printf(&text, "{\"type\":\"CrossEntropyLoss\"%s}", loss);
    return spec_of_parts(layers, optimizer, text.data);
}

static inline struct cyx_job_spec *spec_of_layers(const char *layers)
{
    return spec_of(layers, "\"type\":\"SGD\"", "");
}

static inline struct cyx_job_spec *spec_of_example(const char *name)
{
    CYX_CLEANUP_BUF struct cyx_buf path = {0}, text = {0};
    struct cyx_error err = {0};
    cyx_buf_printf(&path, "%s/docs/examples/%s.json", CYX_SOURCE_DIR, name);
    assert_int_equal(cyx_buf_read_file(&text, path.data, 1 << 20, &err), CYX_OK);
    struct cyx_job_spec *spec = NULL;
    if (cyx_job_spec_parse(text.data, text.length, &spec, &err) != CYX_OK)
        fail_msg("%s: %s", err.pointer, err.message);
    return spec;
}

/* Forward pass, or with `train` the whole step. */
static inline struct cyx_graph *graph_of(const struct cyx_job_spec *spec,
                                         struct cyx_graph_options options, bool train)
{
    struct cyx_graph *graph = NULL;
    struct cyx_error err = {0};
    if (cyx_graph_create(spec, &options, &graph, &err) != CYX_OK)
        fail_msg("%s: %s", err.pointer, err.message);
    if (train) {
        assert_int_equal(cyx_graph_differentiate(graph, &err), CYX_OK);
        assert_int_equal(cyx_graph_add_optimizer(graph, &spec->optimizer, &spec->clip, &err),
                         CYX_OK);
    }
    return graph;
}

/* xorshift64 (G. Marsaglia, 2003): numbers for tests. */
static inline uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* In [-1, 1). */
static inline double next_uniform(uint64_t *state)
{
    return (double)(next_random(state) >> 11) * 0x1p-52 - 1;
}

#endif
