/*
 * The safetensors header's JSON: one flat object of known shape, read in one pass without a tree,
 * so that a hostile header of the greatest length costs no more memory than its tensors. Private to
 * format/.
 */
#ifndef CYX_NN_FORMAT_SAFETENSORS_JSON_H
#define CYX_NN_FORMAT_SAFETENSORS_JSON_H

#include "base/arena.h"
#include "nn/format/safetensors.h"

/* Fills tensors and metadata from `arena`; duplicate metadata keys are refused, names are checked
 * later. */
enum cyx_status cyx_safetensors_json_parse(const char *header, size_t length,
                                           struct cyx_arena *arena, struct cyx_safetensors *self,
                                           struct cyx_error *ret_error);

#endif
