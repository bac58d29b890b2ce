#include "contract/page.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "contract/message.h"
#include "contract/subjects.h"

#include "base/banned.h"

static enum cyx_status find_order(const char *sort, const struct cyx_page_order *orders,
                                  size_t *ret_order, struct cyx_error *err)
{
    CYX_CLEANUP_BUF struct cyx_buf names = {0};
    *ret_order = 0;
    if (!sort || !*sort)
        return CYX_OK;
    for (size_t i = 0; orders[i].name; i++) {
        cyx_buf_printf(&names, "%s%s", i ? ", " : "", orders[i].name);
        if (strcmp(orders[i].name, sort) == 0) {
            *ret_order = i;
            return CYX_OK;
        }
    }
    return cyx_error_set(err, CYX_ERR_INVALID, "/sort", "expected one of %s",
                         names.failed ? "the list's orders" : names.data);
}

/* "<order>.<id>.<value in hexadecimal>" */
static bool read_cursor(const char *cursor, const struct cyx_page_order *order,
                        struct cyx_page *page)
{
    if (order->by_id) {
        if (cyx_id_valid(cursor))
            memcpy(page->id, cursor, CYX_ID_BYTES);
        return page->id[0] != '\0';
    }
    size_t name = strlen(order->name), length = strlen(cursor);
    size_t head = name + 1 + (CYX_ID_BYTES - 1) + 1;
    if (length < head || strncmp(cursor, order->name, name) != 0 || cursor[name] != '.' ||
        cursor[head - 1] != '.')
        return false;
    memcpy(page->id, cursor + name + 1, CYX_ID_BYTES - 1);
    size_t bytes = (length - head) / 2;
    return cyx_id_valid(page->id) && bytes < sizeof(page->value) &&
           cyx_hex_decode(cursor + head, page->value, bytes) && strlen(page->value) == bytes;
}

enum cyx_status cyx_page_parse(const char *sort, const char *cursor, int64_t limit,
                               const struct cyx_page_order *orders, struct cyx_page *ret_page,
                               struct cyx_error *err)
{
    struct cyx_page page = {.limit = limit};
    enum cyx_status status = find_order(sort, orders, &page.order, err);
    if (status != CYX_OK)
        return status;
    if (cursor && *cursor && !read_cursor(cursor, &orders[page.order], &page))
        return cyx_error_set(err, CYX_ERR_INVALID, "/cursor",
                             "expected a next_cursor of this list in the order %s",
                             orders[page.order].name);
    *ret_page = page;
    return CYX_OK;
}

enum cyx_status cyx_page_read(const json_t *message, const struct cyx_page_order *orders,
                              struct cyx_page *ret_page, struct cyx_error *err)
{
    const char *sort = NULL, *cursor = NULL;
    int64_t limit = CYX_LIST_DEFAULT;
    enum cyx_status status;
    if ((status = cyx_message_maybe_int(message, "limit", 1, CYX_LIST_LIMIT, &limit, err)) !=
            CYX_OK ||
        (status = cyx_message_maybe_text(message, "sort", &sort, err)) != CYX_OK ||
        (status = cyx_message_maybe_text(message, "cursor", &cursor, err)) != CYX_OK)
        return status;
    return cyx_page_parse(sort, cursor, limit, orders, ret_page, err);
}

const char *cyx_page_id(const struct cyx_page *self)
{
    return self->id[0] ? self->id : NULL;
}

json_t *cyx_page_next(const struct cyx_page_order *orders, const struct cyx_page *self,
                      const char *value, const char *id)
{
    const struct cyx_page_order *order = &orders[self->order];
    char hex[2 * CYX_PAGE_VALUE_BYTES], text[CYX_PAGE_CURSOR_BYTES];
    if (order->by_id)
        return json_string(id);
    size_t length = strnlen(value, CYX_PAGE_VALUE_BYTES - 1);
    cyx_hex_encode(value, length, hex);
    snprintf(text, sizeof(text), "%s.%s.%s", order->name, id, hex);
    return json_string(text);
}
