/*
 * The prover: this same binary as a child in the sandbox, that benchmarks a device and answers a challenge, so that a
 * driver that crashes or hangs takes the benchmark down and never the agent. `cyxwiz-worker --bench BACKEND INDEX CACHE_DIR
 * THREADS` says on standard output, a JSON object a line, {"event":"ready","told":{…}}; reads {seed, width, depth, rows} from
 * standard input; says {"event":"answer","outputs":"…"} (float32, little-endian, base64url). What goes wrong is
 * {"event":"error",…} as the trainer's. The end of its standard input ends it.
 */
#ifndef CYX_WORKER_PROVER_H
#define CYX_WORKER_PROVER_H

/* In the child: BACKEND INDEX CACHE_DIR THREADS. Returns its exit code. */
int prover_main(char **arguments);

#endif
