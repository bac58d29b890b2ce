/*
 * What a heartbeat says of its machine (`system`), made safe to keep and to show: known names alone, numbers that can be,
 * texts of bounded length; the rest is dropped. Nothing is decided by it. Any thread.
 */
#ifndef CYX_REGISTRY_SYSTEM_H
#define CYX_REGISTRY_SYSTEM_H

#include <jansson.h>

#include "registry.h"

/* Compact JSON of what is good in `given`; "" for nothing (NULL, no object, too long all in all). */
void cyx_registry_system_clean(const json_t *given, char ret_text[CYX_REGISTRY_SYSTEM_BYTES]);

/* The object again, or JSON null for "". */
json_t *cyx_registry_system_json(const char *text);

#endif
