/*
 * The trainer: this same binary as a child process, so that a crash of a driver takes the job down and never the
 * agent. `cyxwiz-worker --train SPEC DATA_DIR OUTPUT_DIR BACKEND CHECKPOINT|- CACHE_DIR` trains and speaks JSON lines
 * (worker.h) on standard output; SIGTERM makes it write a checkpoint and end with code 3. `--probe BACKEND` prints one
 * line with the devices. Both die with their parent.
 *
 * Ownership: worker_spawn() gives a process and a descriptor that the caller waits for and closes.
 */
#ifndef CYX_WORKER_TRAINER_H
#define CYX_WORKER_TRAINER_H

#include <sys/types.h>

#include "base/buf.h"
#include "base/status.h"

enum { TRAINER_EXIT_STOPPED = 3 };

/* Runs in the child when argv says so; returns main's exit code, or -1 when argv asks for the agent. */
int trainer_main(int argc, char **argv);

struct trainer_process {
    pid_t pid;
    int output; /* reading end of its standard output */
};

/* Starts this binary with `arguments` (NULL-terminated, without the program's name). */
enum cyx_status trainer_spawn(const char *const *arguments, struct trainer_process *ret_process,
                              struct cyx_error *err);

/* The devices of this machine as a JSON array, found by a probing child. */
enum cyx_status trainer_probe(const char *backend, struct cyx_buf *ret_json, struct cyx_error *err);

#endif
