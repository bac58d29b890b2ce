/*
 * Where a job's trainer runs: a child process that sees the system's libraries, its own binary and what it is shown,
 * writes where it is allowed, has no network, may not make the system calls of filter.h, and has limits. bubblewrap
 * gives it namespaces of its own; where the system does not let it, Landlock keeps it out of the files and the filter
 * off the network. What works is found once by trying (sandbox_create), logged, and told in the heartbeat.
 *
 * Memory is limited by a control group (cgroup v2) where the worker may make one; elsewhere by RLIMIT_DATA and by the
 * watch of watch.h. One file's size is limited by RLIMIT_FSIZE; all of them together, time and silence by the watch.
 *
 * The child's environment holds a few names alone (none of the worker's settings and secrets), its descriptors are 0, 1
 * and 2. It is asked to stop by the end of its standard input. It dies with the thread that started it.
 *
 * Ownership: create/destroy. A process is waited for (sandbox_wait) by who spawned it. Units: bytes. Any thread.
 *
 *     const char *const data[] = {"/srv/data", NULL}, *const out[] = {"/srv/job/output", NULL};
 *     const struct sandbox_plan plan = {.read_only = data, .writable = out, .limits.memory_bytes = 2 << 30};
 *     sandbox_spawn(sandbox, &plan, argv, &process, &err);
 *     … read process.output …
 *     sandbox_wait(&process, 1000, &wait_status);
 */
#ifndef CYX_WORKER_SANDBOX_H
#define CYX_WORKER_SANDBOX_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/status.h"

enum { SANDBOX_PATH_BYTES = 4096 };

struct sandbox;

/* What holds the child in, from the strongest. */
enum sandbox_walls { SANDBOX_BUBBLEWRAP, SANDBOX_LANDLOCK, SANDBOX_NO_WALLS };

struct sandbox_state {
    enum sandbox_walls walls;
    bool filters;     /* the system calls */
    bool groups;      /* limits by cgroup v2, else by rlimits and the watch */
    char reason[256]; /* why it is not bubblewrap, "" when it is */
};

/*
 * `program` is this process's own binary, which is run as `program --sandbox-check` to try the walls. `wanted`:
 * "auto", "required" (CYX_ERR_UNSUPPORTED unless bubblewrap and the filter work), "landlock" (no namespaces) or "off".
 */
enum cyx_status sandbox_create(const char *wanted, struct sandbox **ret_sandbox,
                               struct cyx_error *err);
void sandbox_destroy(struct sandbox *self);
const struct sandbox_state *sandbox_state(const struct sandbox *self);

/* "bubblewrap", "landlock", "none". */
const char *sandbox_walls_name(enum sandbox_walls walls);

struct sandbox_limits {
    int64_t memory_bytes, disk_bytes; /* 0: none */
};

struct sandbox_plan {
    const char *const *read_only; /* NULL-terminated paths, absolute; NULL: none */
    const char *const *writable;  /* the first is also its working and temporary folder */
    const char *home;             /* one of them, or NULL */
    bool gpu;                     /* shows /dev/dri and /dev/nvidia* */
    struct sandbox_limits limits;
};

struct sandbox_process {
    pid_t pid;
    int input, output; /* ours of its standard input and output */
    bool wrapped;      /* `pid` is bubblewrap's, which passes the end of the child on */
    char group[SANDBOX_PATH_BYTES]; /* its control group, "" without one */
};

/* The path of this process's own binary, for argv[0]. */
const char *sandbox_program(const struct sandbox *self);

/* Runs argv[0], a path: this process's own binary, one of the system's, or below what the plan shows. */
enum cyx_status sandbox_spawn(const struct sandbox *self, const struct sandbox_plan *plan,
                              const char *const *argv, struct sandbox_process *ret_process,
                              struct cyx_error *err);

/* By the end of its standard input; may be called again. */
void sandbox_ask_to_stop(struct sandbox_process *process);

/* All of it, with SIGKILL. */
void sandbox_kill(const struct sandbox_process *process);

/*
 * Waits for the end, closes the descriptors, removes the group. A status as waitpid() gives it, of the child and not of
 * bubblewrap. CYX_ERR_TIMEOUT when it did not end (a process inside a hung driver cannot be killed): it is left alone.
 */
enum cyx_status sandbox_wait(struct sandbox_process *process, int64_t timeout_ms,
                             int *ret_wait_status);

/* Anonymous and shared memory that the process and all below it hold now; by the control group where there is one. */
int64_t sandbox_memory_bytes(const struct sandbox_process *process);

/* Whether the kernel has killed something of the group because of its limit. */
bool sandbox_ran_out_of_memory(const struct sandbox_process *process);

#endif
