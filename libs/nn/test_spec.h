/* Test support: a job spec that must be good. Include cmocka.h before it. */
#ifndef CYX_NN_TEST_SPEC_H
#define CYX_NN_TEST_SPEC_H

#include <string.h>

#include "contract/job_spec.h"

/* The caller's to destroy; the test fails at what is wrong. */
static inline struct cyx_job_spec *parse(const char *text)
{
    struct cyx_job_spec *spec = NULL;
    struct cyx_error error = {0};
    if (cyx_job_spec_parse(text, strlen(text), &spec, &error) != CYX_OK)
        fail_msg("%s: %s", error.pointer, error.message);
    return spec;
}

#endif
