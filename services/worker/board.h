/*
 * The board: what this worker does and did, as its own page tells it. Slots, the heartbeat and the page's desk note on it;
 * who reads copies all of it under a short lock and makes JSON of the copy, so that nobody who works waits for a reader.
 *
 * Ownership: create/destroy; texts are copied. Times are Unix ms. Any thread.
 *
 *     board_begin(board, slot, job->id, name);
 *     board_step(board, slot, &event);
 *     board_end(board, slot, "completed", NULL);
 */
#ifndef CYX_WORKER_BOARD_H
#define CYX_WORKER_BOARD_H

#include <jansson.h>

#include "agent.h"
#include "monitor.h"
#include "worker.h"

enum {
    BOARD_RECENT_LIMIT = 20,
    BOARD_HISTORY_LIMIT = 180, /* samples */
    BOARD_HISTORY_MS = 2000,   /* between two of them at least */
};

struct board;

enum cyx_status board_create(struct board **ret_board, struct cyx_error *err);
void board_destroy(struct board *self);

/* ---- a slot's job ---- */

/* Taken, and being prepared; `name` as its spec says. */
void board_begin(struct board *self, int slot, const char *job_id, const char *name);
/* STARTED: it trains, on which device. STEP and EPOCH: how far it is. Others say nothing here. */
void board_step(struct board *self, int slot, const struct worker_event *event);
/* How it ended: an outcome's name, or "lost"; `why` may be NULL. Nothing when none had begun. */
void board_end(struct board *self, int slot, const char *outcome, const char *why);

/* ---- the machine and the platform ---- */

/* With each heartbeat; NULL: the machine cannot be read now. */
void board_sample(struct board *self, const struct monitor_reading *reading,
                  double images_per_second);
/* What the registry said of this node (`node` of docs/contracts/platform.md section 2.1). */
void board_place(struct board *self, const json_t *node);
void board_cache(struct board *self, int64_t used_bytes);

/* ---- reading ---- */

/* What the board does not know by itself. */
struct board_about {
    const struct agent_settings *settings;
    bool connected; /* to the platform */
    bool stopping;  /* the process ends */
    bool controls;  /* the page may drain */
};

/* The answers of /api/status and /api/history, docs/contracts/platform.md section 5.1; NULL: no memory. */
json_t *board_status(struct board *self, const struct board_about *about);
json_t *board_history(struct board *self);

#endif
