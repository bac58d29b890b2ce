/*
 * The worker's rules: what a trainer's line means, how much of it is told, how a trainer's end becomes the job's.
 * No bus, no HTTP, no processes here; pure functions on plain structs. Any thread.
 */
#ifndef CYX_WORKER_WORKER_H
#define CYX_WORKER_WORKER_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

enum { WORKER_PATH_BYTES = 4096, WORKER_STEP_INTERVAL_MS = 100 };

/* What the trainer (the child process) says, a JSON object a line on its standard output. */
enum worker_event_kind {
    WORKER_EVENT_STARTED,
    WORKER_EVENT_STEP,
    WORKER_EVENT_EPOCH,
    WORKER_EVENT_CHECKPOINT,
    WORKER_EVENT_NOTICE,
    WORKER_EVENT_MEET, /* of a gang: its values lie in a file (meeting.h) */
    WORKER_EVENT_RESULT,
    WORKER_EVENT_ERROR
};

struct worker_event {
    enum worker_event_kind kind;
    int64_t epoch, epochs, step, total_steps;
    int64_t round, count; /* MEET: which meeting, of how many values */
    double loss, accuracy, eval_loss, eval_accuracy, lr, images_per_second;
    int64_t device_memory_used_bytes,
        device_memory_budget_bytes; /* STEP, 0: the device does not say */
    char path[WORKER_PATH_BYTES];   /* CHECKPOINT, RESULT: the file */
    char device[128];               /* STARTED */
    char backend[16];
    char message[800]; /* NOTICE: for a person */
    json_t *result;    /* RESULT: the `result` object of scheduler.finish; the caller's reference */
    struct cyx_error error; /* ERROR */
};

/* CYX_ERR_CORRUPT for a line that is no event: the trainer and the agent are of one binary, so that is a bug. */
enum cyx_status worker_event_parse(const char *line, size_t length, struct worker_event *ret_event,
                                   struct cyx_error *err);
void worker_event_finish(struct worker_event *self);

/* Whether a step is told: ten a second at most, and the last of an epoch always. */
bool worker_step_is_told(int64_t now_ms, int64_t last_told_ms, const struct worker_event *event);

/* The end of a job as `scheduler.finish` wants it. */
enum worker_outcome {
    WORKER_COMPLETED,
    WORKER_FAILED,
    WORKER_CANCELLED,
    WORKER_HANDED_BACK,
    WORKER_DONE /* its part, as a member of a gang that is not the first */
};
const char *worker_outcome_name(enum worker_outcome outcome);

/* What a job may use of this node; 0: no limit. */
struct worker_limits {
    int64_t memory_bytes, disk_bytes, run_ms;
    int64_t silence_ms; /* without a word of the trainer: it hangs */
};

/* What it uses. */
struct worker_usage {
    int64_t memory_bytes, disk_bytes, run_ms;
    int64_t silent_ms, longest_silence_ms; /* since its last word; the longest before that */
};

enum worker_breach {
    WORKER_NO_BREACH,
    WORKER_BREACH_MEMORY,
    WORKER_BREACH_DISK,
    WORKER_BREACH_TIME,
    WORKER_BREACH_SILENCE
};

/*
 * The first limit that is passed. Silence is judged by the job's own pace: the setting, or ten times the longest silence
 * that it has broken so far, whichever is more, so that slow steps are no hang.
 */
enum worker_breach worker_breach_of(const struct worker_limits *limits,
                                    const struct worker_usage *usage);

struct worker_end {
    int wait_status;           /* as waitpid() gave it */
    bool stuck;                /* it did not even end by SIGKILL; wait_status says nothing */
    enum worker_breach breach; /* why it was killed by us, or by its control group */
    struct worker_limits limits;
    struct worker_usage usage; /* when it was last looked at */
    bool has_result;           /* a RESULT line came */
    bool has_error;            /* an ERROR line came */
    struct cyx_error error;    /* of that line */
    bool cancelled;            /* the scheduler asked to stop */
    bool draining;             /* this worker is being stopped */
};

/*
 * Result and exit code 0: completed. A limit passed: failed, which one and how much. A cancel or a drain: cancelled or
 * handed back. An error line: failed with it. A signal: failed, named; SIGKILL that we did not send is taken for the
 * kernel's out-of-memory killer and says so.
 */
enum worker_outcome worker_end_judge(const struct worker_end *end, struct cyx_error *ret_error);

/* The node's setting where the spec says "auto" or nothing, else the spec's. */
const char *worker_backend(const char *of_spec, const char *of_node);

#endif
