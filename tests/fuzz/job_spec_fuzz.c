/* Any bytes as a job spec: refused with a sentence, or a spec whose canonical text is the same spec, and a graph. */
#include <stdlib.h>
#include <string.h>

#include "contract/job_spec.h"
#include "model/graph.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool true_always)
{
    if (!true_always)
        abort();
}

static void build(const struct cyx_job_spec *spec)
{
    struct cyx_graph *graph = NULL;
    struct cyx_error err = {0};
    struct cyx_model_cost cost;
    const struct cyx_graph_options options = {.batch = 2, .training = true};
    enum cyx_status status = cyx_graph_create(spec, &options, &graph, &err);
    if (status == CYX_OK)
        status = cyx_graph_differentiate(graph, &err);
    if (status == CYX_OK)
        status = cyx_graph_add_optimizer(graph, &spec->optimizer, &spec->clip, &err);
    must(status == CYX_OK || err.message[0]);
    cyx_graph_destroy(graph);
    status = cyx_model_cost(spec, &cost, &err);
    must(status != CYX_OK || (cost.parameters >= 0 && cost.training_bytes >= 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cyx_job_spec *spec = NULL, *again = NULL;
    struct cyx_error err = {0};
    if (cyx_job_spec_parse((const char *)data, size, &spec, &err) != CYX_OK) {
        must(err.message[0] != '\0');
        return 0;
    }
    must(cyx_job_spec_parse(spec->canonical, strlen(spec->canonical), &again, &err) == CYX_OK);
    must(strcmp(spec->canonical, again->canonical) == 0);
    build(spec);
    cyx_job_spec_destroy(again);
    cyx_job_spec_destroy(spec);
    return 0;
}
