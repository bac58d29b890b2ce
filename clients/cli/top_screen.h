/*
 * The terminal of `cyxwiz top` (ncurses): what is drawn and what the keys do. One thread, one screen a process.
 *
 *     if (top_screen_open(&screen)) { top_screen_draw(&screen, &view); … top_screen_close(&screen); }
 */
#ifndef CYXWIZ_CLI_TOP_SCREEN_H
#define CYXWIZ_CLI_TOP_SCREEN_H

#include "top.h"

struct top_screen {
    void *terminal;                             /* SCREEN */
    size_t focus;                               /* the table that keys act on */
    size_t sort[TOP_TABLES], first[TOP_TABLES]; /* column; first row shown */
    bool reversed[TOP_TABLES], help, colour;
};

/* False: this terminal cannot (TERM is unknown). */
bool top_screen_open(struct top_screen *self);
void top_screen_close(struct top_screen *self);

/* Sorts the view's rows as it is asked to, and draws. */
void top_screen_draw(struct top_screen *self, struct top_view *view);

/* Waits up to `timeout_ms` for a key and does what it says; false: to quit. `ret_changed`: to be drawn again. */
bool top_screen_key(struct top_screen *self, int timeout_ms, bool *ret_changed);

#endif
