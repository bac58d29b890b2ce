/* docs/contracts/openapi.yaml as JSON, put into the program by embed_openapi.py when it is built. */
#ifndef CYX_GATEWAY_OPENAPI_H
#define CYX_GATEWAY_OPENAPI_H

#include <stddef.h>

extern const char gateway_openapi[];
extern const size_t gateway_openapi_length;

#endif
