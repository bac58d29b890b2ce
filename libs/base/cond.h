/*
 * A condition variable whose waits end by CLOCK_MONOTONIC, the clock of cyx_clock_monotonic_ns(), so that a step of the
 * time of day neither cuts a wait short nor makes it hours long.
 */
#ifndef CYX_BASE_COND_H
#define CYX_BASE_COND_H

#include <pthread.h>

void cyx_cond_init(pthread_cond_t *ret_cond);

#endif
