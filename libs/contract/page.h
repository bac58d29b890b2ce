/*
 * Sorted lists in pages: what a request asks (limit, sort, cursor), and the cursor that leads on. A cursor tells where the last page
 * ended by the value that was sorted by and the id, so that nothing is shown twice or left out when that row has changed
 * or gone since. Of lists in the order of their ids, which rise with time, it is the last id.
 *
 * Ownership: a page is a plain value; `orders` is a static table that ends with a row without a name, the first row is
 * the default. Any thread.
 *
 *     static const struct cyx_page_order orders[] = {{"-created_at", true}, {"name", false}, {0}};
 *     struct cyx_page page;
 *     status = cyx_page_read(message, orders, &page, err);
 *     … where ($1::uuid is null or (name, id) > ($2, $1)) order by name, id limit page.limit + 1 …
 *     next_cursor = cyx_page_next(orders, &page, last_name, last_id);
 */
#ifndef CYX_CONTRACT_PAGE_H
#define CYX_CONTRACT_PAGE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/id.h"
#include "base/status.h"

enum { CYX_PAGE_VALUE_BYTES = 512, CYX_PAGE_CURSOR_BYTES = 1200 };

struct cyx_page_order {
    const char *name; /* "name", "-name" for falling */
    bool by_id;
};

struct cyx_page {
    int64_t limit;
    size_t order;                     /* which of the table */
    char id[CYX_ID_BYTES];            /* behind this row; "": from the start */
    char value[CYX_PAGE_VALUE_BYTES]; /* that was sorted by; "" in an order by id */
};

/* From a message's "limit", "sort" and "cursor", each of which may be absent. CYX_ERR_INVALID names the member. */
enum cyx_status cyx_page_read(const json_t *message, const struct cyx_page_order *orders,
                              struct cyx_page *ret_page, struct cyx_error *err);

/* The same from texts; NULL or "": not given. */
enum cyx_status cyx_page_parse(const char *sort, const char *cursor, int64_t limit,
                               const struct cyx_page_order *orders, struct cyx_page *ret_page,
                               struct cyx_error *err);

/* For a statement's parameter: NULL on the first page. */
const char *cyx_page_id(const struct cyx_page *self);

/* The cursor behind a page whose last row has this value (may be NULL in an order by id) and id. */
json_t *cyx_page_next(const struct cyx_page_order *orders, const struct cyx_page *self,
                      const char *value, const char *id);

#endif
