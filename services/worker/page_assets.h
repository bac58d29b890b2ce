/* The page's files (page/), put into the binary by the build. */
#ifndef CYX_WORKER_PAGE_ASSETS_H
#define CYX_WORKER_PAGE_ASSETS_H

#include <stddef.h>

struct page_asset {
    const char *path, *type;
    const char *bytes;
    size_t length;
};

extern const struct page_asset page_assets[];
extern const size_t page_assets_count;

#endif
