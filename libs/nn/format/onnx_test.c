#include "nn/format/onnx.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "onnx.pb-c.h"

static char *text(const char *literal)
{
    return (char *)literal; /* protobuf-c's strings are not const; nothing here writes them */
}

/* A convolution with a weight in float_data and a shape in raw_data, packed; free() it. */
struct sample {
    Cyx__Onnx__Model model;
    Cyx__Onnx__Graph graph;
    Cyx__Onnx__Opset opset;
    Cyx__Onnx__Node node;
    Cyx__Onnx__Attribute strides, alpha, pad;
    Cyx__Onnx__Tensor weight, shape;
    Cyx__Onnx__Value in, out;
    Cyx__Onnx__Attribute *attributes[3];
    Cyx__Onnx__Tensor *tensors[2];
    Cyx__Onnx__Value *ins[1], *outs[1];
    Cyx__Onnx__Node *nodes[1];
    Cyx__Onnx__Opset *opsets[1];
    char *inputs[3], *outputs[1];
    int64_t ints[2], dims[4], one_dim[1], raw[2];
    float weights[6];
};

static void sample_tensors(struct sample *s)
{
    s->weight = (Cyx__Onnx__Tensor)CYX__ONNX__TENSOR__INIT;
    s->shape = (Cyx__Onnx__Tensor)CYX__ONNX__TENSOR__INIT;
    memcpy(s->dims, (int64_t[]){2, 1, 1, 3}, sizeof s->dims);
    memcpy(s->weights, (float[]){1, 2, 3, 4, 5, 6.5f}, sizeof s->weights);
    s->weight.name = text("w");
    s->weight.has_data_type = s->shape.has_data_type = 1;
    s->weight.data_type = CYX_ONNX_FLOAT;
    s->weight.n_dims = 4;
    s->weight.dims = s->dims;
    s->weight.n_float_data = 6;
    s->weight.float_data = s->weights;
    s->one_dim[0] = 2;
    s->raw[0] = -1;
    s->raw[1] = 7;
    s->shape.name = text("shape");
    s->shape.data_type = CYX_ONNX_INT64;
    s->shape.n_dims = 1;
    s->shape.dims = s->one_dim;
    s->shape.has_raw_data = 1;
    s->shape.raw_data = (ProtobufCBinaryData){sizeof s->raw, (uint8_t *)s->raw};
}

static void sample_node(struct sample *s)
{
    s->node = (Cyx__Onnx__Node)CYX__ONNX__NODE__INIT;
    s->strides = s->alpha = s->pad = (Cyx__Onnx__Attribute)CYX__ONNX__ATTRIBUTE__INIT;
    s->ints[0] = 2;
    s->ints[1] = 3;
    s->strides.name = text("strides");
    s->strides.n_ints = 2;
    s->strides.ints = s->ints;
    s->alpha.name = text("alpha");
    s->alpha.has_f = 1;
    s->alpha.f = 0.5f;
    s->pad.name = text("auto_pad");
    s->pad.has_s = 1;
    s->pad.s = (ProtobufCBinaryData){10, (uint8_t *)text("SAME_UPPER")};
    s->attributes[0] = &s->strides;
    s->attributes[1] = &s->alpha;
    s->attributes[2] = &s->pad;
    s->inputs[0] = text("x");
    s->inputs[1] = text("w");
    s->inputs[2] = text("");
    s->outputs[0] = text("y");
    s->node.op_type = text("Conv");
    s->node.n_input = 3;
    s->node.input = s->inputs;
    s->node.n_output = 1;
    s->node.output = s->outputs;
    s->node.n_attribute = 3;
    s->node.attribute = s->attributes;
}

static void sample_init(struct sample *s)
{
    *s = (struct sample){.model = CYX__ONNX__MODEL__INIT,
                         .graph = CYX__ONNX__GRAPH__INIT,
                         .opset = CYX__ONNX__OPSET__INIT,
                         .in = CYX__ONNX__VALUE__INIT,
                         .out = CYX__ONNX__VALUE__INIT};
    sample_tensors(s);
    sample_node(s);
    s->nodes[0] = &s->node;
    s->tensors[0] = &s->weight;
    s->tensors[1] = &s->shape;
    s->in.name = text("x");
    s->out.name = text("y");
    s->ins[0] = &s->in;
    s->outs[0] = &s->out;
    s->graph.n_node = 1;
    s->graph.node = s->nodes;
    s->graph.n_initializer = 2;
    s->graph.initializer = s->tensors;
    s->graph.n_input = s->graph.n_output = 1;
    s->graph.input = s->ins;
    s->graph.output = s->outs;
    s->opset.has_version = 1;
    s->opset.version = 17;
    s->opsets[0] = &s->opset;
    s->model.n_opset_import = 1;
    s->model.opset_import = s->opsets;
    s->model.graph = &s->graph;
}

static uint8_t *sample_pack(const struct sample *s, size_t *ret_length)
{
    *ret_length = cyx__onnx__model__get_packed_size(&s->model);
    uint8_t *bytes = malloc(*ret_length);
    assert_non_null(bytes);
    cyx__onnx__model__pack(&s->model, bytes);
    return bytes;
}

static enum cyx_status parse_sample(const struct sample *s, struct cyx_onnx_model **ret_model,
                                    struct cyx_error *error)
{
    size_t length = 0;
    uint8_t *bytes = sample_pack(s, &length);
    enum cyx_status status = cyx_onnx_model_parse(bytes, length, ret_model, error);
    free(bytes);
    return status;
}

static void test_onnx__reads_nodes_attributes_and_tensors(void **state)
{
    (void)state;
    struct sample s;
    struct cyx_onnx_model *model = NULL;
    sample_init(&s);
    assert_int_equal(parse_sample(&s, &model, NULL), CYX_OK);
    assert_int_equal(model->opset, 17);
    assert_int_equal(model->n_nodes, 1);
    assert_string_equal(model->inputs[0], "x");
    assert_string_equal(model->outputs[0], "y");
    const struct cyx_onnx_node *node = &model->nodes[0];
    assert_string_equal(node->op_type, "Conv");
    assert_string_equal(node->domain, "");
    assert_int_equal(node->n_inputs, 3);
    assert_string_equal(node->inputs[2], "");
    assert_int_equal(cyx_onnx_attribute(node, "strides")->ints[1], 3);
    assert_true(cyx_onnx_float(node, "alpha", 1) == 0.5);
    assert_string_equal(cyx_onnx_string(node, "auto_pad", "NOTSET"), "SAME_UPPER");
    assert_string_equal(cyx_onnx_string(node, "mode", "none"), "none");
    assert_int_equal(cyx_onnx_int(node, "group", 1), 1);
    assert_true(model->initializers[0].floats[5] == 6.5f);
    assert_int_equal(model->initializers[0].dim[3], 3);
    assert_null(model->initializers[0].integers);
    assert_int_equal(model->initializers[1].integers[0], -1);
    assert_int_equal(model->initializers[1].integers[1], 7);
    cyx_onnx_model_destroy(model);
}

static void refuse(const struct sample *s, enum cyx_status wanted, const char *words)
{
    struct cyx_onnx_model *model = NULL;
    struct cyx_error error = {0};
    assert_int_equal(parse_sample(s, &model, &error), wanted);
    assert_null(model);
    if (!strstr(error.message, words))
        fail_msg("\"%s\" does not say \"%s\"", error.message, words);
}

static void test_onnx__refuses_tensors_that_do_not_hold_their_shape(void **state)
{
    (void)state;
    struct sample s;
    sample_init(&s);
    s.dims[3] = 4;
    refuse(&s, CYX_ERR_CORRUPT, "\"w\" holds other than its shape's 8 elements");
    sample_init(&s);
    s.shape.raw_data.len = 15;
    refuse(&s, CYX_ERR_CORRUPT, "\"shape\" holds other");
    sample_init(&s);
    s.dims[0] = -1;
    refuse(&s, CYX_ERR_CORRUPT, "a shape that no file holds");
    sample_init(&s);
    s.dims[0] = s.dims[1] = INT64_C(1) << 40;
    refuse(&s, CYX_ERR_CORRUPT, "a shape that no file holds");
    sample_init(&s);
    int64_t many[CYX_ONNX_RANK_LIMIT + 1] = {1};
    s.weight.n_dims = CYX_ONNX_RANK_LIMIT + 1;
    s.weight.dims = many;
    refuse(&s, CYX_ERR_UNSUPPORTED, "9 dimensions");
    sample_init(&s);
    Cyx__Onnx__Pair elsewhere = CYX__ONNX__PAIR__INIT, *list[] = {&elsewhere};
    elsewhere.key = text("location");
    elsewhere.value = text("/etc/passwd");
    s.weight.n_external_data = 1;
    s.weight.external_data = list;
    refuse(&s, CYX_ERR_UNSUPPORTED, "lies in another file");
    sample_init(&s);
    s.model.graph = NULL;
    refuse(&s, CYX_ERR_CORRUPT, "no model");
}

/* Whatever the bytes: a model or a refusal. The sanitizers look at the rest. */
static void test_onnx__bears_every_truncation_and_every_flipped_byte(void **state)
{
    (void)state;
    struct sample s;
    size_t length = 0, refused = 0;
    sample_init(&s);
    uint8_t *bytes = sample_pack(&s, &length);
    for (size_t cut = 0; cut < length; cut++) {
        struct cyx_onnx_model *model = NULL;
        uint8_t *part = malloc(cut + 1);
        assert_non_null(part);
        memcpy(part, bytes, cut);
        refused += cyx_onnx_model_parse(part, cut, &model, NULL) != CYX_OK;
        cyx_onnx_model_destroy(model);
        free(part);
    }
    assert_true(refused > length / 2);
    for (size_t i = 0; i < length * 8; i++) {
        struct cyx_onnx_model *model = NULL;
        bytes[i / 8] ^= (uint8_t)(1u << i % 8);
        cyx_onnx_model_parse(bytes, length, &model, NULL);
        cyx_onnx_model_destroy(model);
        bytes[i / 8] ^= (uint8_t)(1u << i % 8);
    }
    free(bytes);
}

/* Puts the bytes so far into a field of type message in front of which `tag` stands. */
static size_t wrap(uint8_t *bytes, size_t begin, size_t end, uint8_t tag)
{
    uint8_t header[12] = {tag};
    size_t length = end - begin, n = 1;
    for (; length > 127; length >>= 7)
        header[n++] = (uint8_t)(length | 0x80);
    header[n++] = (uint8_t)length;
    memcpy(bytes + begin - n, header, n);
    return begin - n;
}

/* A graph in an attribute in a node in a graph, 50,000 times: what follows them would run out of stack. */
static void test_onnx__passes_over_graphs_within_graphs(void **state)
{
    (void)state;
    enum { DEPTH = 50000, ROOM = DEPTH * 16 };
    uint8_t *bytes = malloc(ROOM);
    struct cyx_onnx_model *model = NULL;
    assert_non_null(bytes);
    size_t begin = ROOM;
    for (int i = 0; i < DEPTH; i++) {
        begin = wrap(bytes, begin, ROOM, 6 << 3 | 2); /* AttributeProto.g */
        begin = wrap(bytes, begin, ROOM, 5 << 3 | 2); /* NodeProto.attribute */
        begin = wrap(bytes, begin, ROOM, 1 << 3 | 2); /* GraphProto.node */
    }
    begin = wrap(bytes, begin, ROOM, 7 << 3 | 2); /* ModelProto.graph */
    assert_int_equal(cyx_onnx_model_parse(bytes + begin, ROOM - begin, &model, NULL), CYX_OK);
    assert_int_equal(model->n_nodes, 1);
    assert_int_equal(model->nodes[0].n_attributes, 1);
    cyx_onnx_model_destroy(model);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_onnx__reads_nodes_attributes_and_tensors),
        cmocka_unit_test(test_onnx__refuses_tensors_that_do_not_hold_their_shape),
        cmocka_unit_test(test_onnx__bears_every_truncation_and_every_flipped_byte),
        cmocka_unit_test(test_onnx__passes_over_graphs_within_graphs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
