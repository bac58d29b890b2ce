#include "marketplace.h"

#include <string.h>

#include "base/id.h"
#include "contract/message.h"

#include "base/banned.h"

static enum cyx_status read_hash(const json_t *model, const char **ret_sha256,
                                 struct cyx_error *err)
{
    unsigned char raw[32];
    const char *text = NULL;
    enum cyx_status status = cyx_message_text(model, "sha256", &text, err);
    if (status != CYX_OK)
        return status;
    if (!cyx_hex_decode(text, raw, sizeof(raw)) || strpbrk(text, "ABCDEF"))
        return cyx_error_set(err, CYX_ERR_INVALID, "/job/model/sha256",
                             "expected 64 lower-case hexadecimal digits");
    *ret_sha256 = text;
    return CYX_OK;
}

/* The catalogue's name, or how the spec calls the upload. */
static enum cyx_status read_dataset(json_t *data, const char **ret_name, struct cyx_error *err)
{
    const json_t *source = json_object_get(data, "dataset");
    if (!json_is_object(source))
        return cyx_message_text(data, "dataset", ret_name, err);
    const char *upload = json_string_value(json_object_get(source, "upload"));
    if (!upload)
        return cyx_error_set(err, CYX_ERR_INVALID, "/job/spec/data/dataset/upload",
                             "expected a text");
    *ret_name = upload;
    return CYX_OK;
}

static enum cyx_status read_job(const json_t *job, struct cyx_model_draft *draft,
                                struct cyx_error *err)
{
    json_t *spec = NULL, *data = NULL, *model = NULL, *result = NULL;
    enum cyx_status status = cyx_message_maybe_id(job, "node_id", &draft->node_id, err);
    if (status == CYX_OK)
        status = cyx_message_text(job, "name", &draft->name, err);
    if (status == CYX_OK)
        status = cyx_message_object(job, "spec", &spec, err);
    if (status == CYX_OK)
        status = cyx_message_object(spec, "data", &data, err);
    if (status == CYX_OK)
        status = read_dataset(data, &draft->dataset, err);
    if (status == CYX_OK)
        status = cyx_message_object(job, "result", &result, err);
    if (status == CYX_OK)
        status = cyx_message_object(job, "model", &model, err);
    if (status == CYX_OK)
        status = read_hash(model, &draft->sha256, err);
    if (status == CYX_OK)
        status = cyx_message_int(model, "bytes", 1, INT64_MAX, &draft->bytes, err);
    draft->spec = spec;
    draft->metrics_source = result;
    return status;
}

enum cyx_status cyx_model_draft_read(const json_t *event, struct cyx_model_draft *ret_draft,
                                     struct cyx_error *err)
{
    struct cyx_model_draft draft = {0};
    json_t *job = NULL;
    enum cyx_status status = cyx_message_id(event, "job_id", &draft.job_id, err);
    if (status == CYX_OK)
        status = cyx_message_id(event, "account_id", &draft.account_id, err);
    if (status == CYX_OK)
        status = cyx_message_object(event, "job", &job, err);
    if (status == CYX_OK)
        status = read_job(job, &draft, err);
    if (status == CYX_OK)
        *ret_draft = draft;
    return status;
}
