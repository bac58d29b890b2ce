/*
 * The trainer: this same binary as a child process in the sandbox, so that a crash of a driver takes the job down and
 * never the agent. `cyxwiz-worker --train SPEC DATA_DIR OUTPUT_DIR BACKEND CHECKPOINT|- CACHE_DIR DEVICE THREADS
 * INITIAL|- [RANK NODES MEAN]` trains, with the last three as a member of a gang (meeting.h), and speaks
 * JSON lines (worker.h) on standard output; the end of its standard input, or SIGTERM, makes it write a checkpoint and
 * end with code 3. `--probe BACKEND` prints one line with the devices; `--bench …` is prover.h's, `--unpack …` upload.h's;
 * `--sandbox-check` ends at once. All die with their parent.
 */
#ifndef CYX_WORKER_TRAINER_H
#define CYX_WORKER_TRAINER_H

#include <jansson.h>

#include "base/buf.h"
#include "sandbox.h"

enum { TRAINER_EXIT_STOPPED = 3 };

/* Runs in the child when argv says so; returns main's exit code, or -1 when argv asks for the agent. */
int trainer_main(int argc, char **argv);

/* In the child: a line on standard output, and what went wrong as one. Takes `line`. */
void trainer_say(json_t *line);
void trainer_say_error(const struct cyx_error *err);

/* The devices of this machine as a JSON array, found by a probing child in the sandbox. */
enum cyx_status trainer_probe(const struct sandbox *sandbox, const char *backend,
                              struct cyx_buf *ret_json, struct cyx_error *err);

#endif
