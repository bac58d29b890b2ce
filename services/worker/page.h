/*
 * The worker's own page for who lends the machine: what the node does, on this machine's loopback alone, and drain and
 * undrain. A browser that is led astray by another site cannot use it: the Host header must name the loopback, orders need
 * the page's token and its own origin. Docs: docs/contracts/platform.md section 5.1, decision 0019.
 *
 * civetweb's threads (four, with a time limit each) serve it from copies (board.h) and hand orders to the desk (desk.h);
 * none of them holds a lock while it reads or writes a socket. A page that cannot start is a warning.
 *
 * Ownership: start/stop; settings and agent outlive it. From the main thread.
 */
#ifndef CYX_WORKER_PAGE_H
#define CYX_WORKER_PAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "agent.h"

struct page;

struct page_settings {
    bool on, controls;     /* `controls`: it may drain the node */
    const char *host;      /* of the loopback */
    uint16_t port;         /* 0: a free one */
    const char *port_file; /* where the port is written; NULL: nowhere */
};

/* NULL: it is off, or could not start, which is logged. A port that is taken is replaced by a free one, with a warning. */
struct page *page_start(const struct page_settings *page, const struct agent_settings *settings,
                        struct agent *agent);
void page_stop(struct page *self);

#endif
