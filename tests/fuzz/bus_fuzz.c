/*
 * Any bytes as what a worker says to the scheduler: the first byte chooses the handler, the rest is the message. The
 * handlers are the service's own; the database behind them is played here, and holds what reaches it to be JSON.
 */
#include <stdlib.h>
#include <string.h>

#include "api.h"
#include "contract/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool true_always)
{
    if (!true_always)
        abort();
}

static void must_be_json(const char *text)
{
    json_t *json = text ? json_loads(text, JSON_DECODE_ANY, NULL) : NULL;
    must(!text || json);
    json_decref(json);
}

enum cyx_status cyx_sched_gather_hear(struct cyx_sched_gather *self, struct cyx_sched_word *word,
                                      struct cyx_error *err)
{
    (void)self;
    must(cyx_id_valid(word->claim.job_id) && cyx_id_valid(word->claim.node_id));
    must(word->claim.token > 0);
    if (word->report) {
        must_be_json(word->report->error);
        must_be_json(word->report->result);
        must(word->report->event != CYX_SCHED_COMPLETE || word->report->model->sha256[0]);
    }
    return cyx_error_set(err, CYX_ERR_NOT_FOUND, "/job_id", "no job here");
}

enum cyx_status cyx_sched_store_progress(struct cyx_sched_store *self,
                                         const struct cyx_sched_claim *claim, const char *progress,
                                         const struct cyx_sched_artifact *checkpoint,
                                         bool *ret_cancel, struct cyx_error *err)
{
    (void)self, (void)err;
    must(cyx_id_valid(claim->job_id));
    must_be_json(progress);
    must(!checkpoint || strlen(checkpoint->sha256) == 64);
    *ret_cancel = false;
    return CYX_OK;
}

enum cyx_status cyx_sched_store_renew(struct cyx_sched_store *self,
                                      const struct cyx_sched_claim *claim, bool *ret_gone,
                                      struct cyx_error *err)
{
    (void)self, (void)err;
    must(cyx_id_valid(claim->job_id) && cyx_id_valid(claim->boot_id) && claim->token > 0);
    *ret_gone = true;
    return CYX_OK;
}

enum cyx_status cyx_sched_store_load(struct cyx_sched_store *self, const char *node_id,
                                     double cpu_percent, struct cyx_error *err)
{
    (void)self, (void)node_id, (void)cpu_percent, (void)err;
    return CYX_OK;
}

const char *cyx_sched_join(struct cyx_arena *arena, const char *const *items, size_t count)
{
    (void)arena, (void)items, (void)count;
    return "";
}

void cyx_sched_tell(struct cyx_sched_app *app, const char *node_id, const char *what,
                    const char *job_id, int64_t token)
{
    (void)app, (void)node_id, (void)what, (void)token;
    must(cyx_id_valid(job_id));
}

enum cyx_status cyx_sched_store_seat(struct cyx_sched_store *self,
                                     const struct cyx_sched_claim *claim,
                                     struct cyx_sched_seat *ret_seat, struct cyx_error *err)
{
    (void)self, (void)ret_seat;
    must(cyx_id_valid(claim->job_id) && cyx_id_valid(claim->node_id) && claim->token > 0);
    return cyx_error_set(err, CYX_ERR_CONFLICT, "/token", "nothing is held here");
}

void cyx_sched_tell_attempt(struct cyx_sched_app *app, const struct cyx_sched_job *job,
                            const char *but_node_id)
{
    (void)app, (void)job, (void)but_node_id;
}

void cyx_sched_show(struct cyx_sched_app *app, struct cyx_buf *text,
                    const struct cyx_sched_job *job, const struct cyx_sched_account *account,
                    const struct cyx_sched_transition *transitions, size_t n_transitions)
{
    (void)app, (void)text, (void)job, (void)account, (void)transitions, (void)n_transitions;
}

void cyx_sched_matcher_wake(struct cyx_sched_matcher *matcher)
{
    (void)matcher;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct cyx_sched_app app;
    struct cyx_error err = {0};
    CYX_CLEANUP_BUF struct cyx_buf reply = {0};
    if (size == 0)
        return 0;
    const struct cyx_bus_message message = {
        .subject = "cyx.node.01935b1e-0000-7000-8000-000000000001.heartbeat",
        .data = (const char *)data + 1,
        .length = size - 1};
    enum cyx_status status = CYX_OK;
    switch (data[0] % 4) {
    case 0:
        status = cyx_sched_api_accept(&app, &message, &reply, &err);
        break;
    case 1:
        status = cyx_sched_api_progress(&app, &message, &reply, &err);
        break;
    case 2:
        status = cyx_sched_api_finish(&app, &message, &reply, &err);
        break;
    default:
        cyx_sched_api_heartbeat(&app, &message);
    }
    must(status == CYX_OK || err.message[0]);
    return 0;
}
