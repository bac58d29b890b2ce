/* docs/contracts/openapi.yaml as JSON and as a page, put into the program by embed_openapi.py when it is built. */
#ifndef CYX_GATEWAY_OPENAPI_H
#define CYX_GATEWAY_OPENAPI_H

#include <stddef.h>

extern const char gateway_openapi[];
extern const size_t gateway_openapi_length;
extern const char gateway_reference[], gateway_reference_css[];
extern const size_t gateway_reference_length, gateway_reference_css_length;

#endif
