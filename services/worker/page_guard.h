/*
 * Whom the page answers: pure rules on a request's headers. Any thread.
 */
#ifndef CYX_WORKER_PAGE_GUARD_H
#define CYX_WORKER_PAGE_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PAGE_TOKEN_BYTES = 33 };

struct page_header {
    const char *name, *value;
};

/*
 * One Host header, which names this machine's loopback and the page's port: else somebody's domain was pointed here (DNS
 * rebinding), or a proxy stands between.
 */
bool page_host_is_ours(const struct page_header *headers, size_t count, uint16_t port);

/* A browser says that another site makes it ask (Fetch Metadata). */
bool page_is_cross_site(const struct page_header *headers, size_t count);

/* Origin is the page's own, and X-Page-Token its token. */
bool page_may_order(const struct page_header *headers, size_t count, const char *token);

#endif
