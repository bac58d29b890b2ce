/*
 * Private to libs/contract: JSON in one form, so that equal values are equal bytes: compact, keys
 * in order of their bytes, numbers as the shortest text that reads back as the same double.
 */
#ifndef CYX_CONTRACT_CANONICAL_H
#define CYX_CONTRACT_CANONICAL_H

#include <jansson.h>

#include "base/buf.h"

/* Appends `json`; sets ret_text->failed when memory ran out. Depth is the caller's to limit. */
void spec_canonical(const json_t *json, struct cyx_buf *ret_text);

#endif
