/*
 * The system calls that a job's trainer may make, as a seccomp program: all but those that reach the network, other
 * processes, the mounts, the kernel's keys and modules, or that open doors which kernels have had to close before. What
 * is refused fails with EPERM (clone3 with ENOSYS, so that the C library falls back to clone). A list of what is
 * refused and not of what is allowed, since a GPU's driver is a library of somebody else's: decision 0015.
 *
 * Ownership: the bytes are the caller's buffer's. Any thread.
 *
 *     struct cyx_buf program = {0};
 *     filter_build(&program, &err);
 *     filter_apply(program.data, program.length); // in the child, last before exec
 */
#ifndef CYX_WORKER_FILTER_H
#define CYX_WORKER_FILTER_H

#include "base/buf.h"
#include "base/status.h"

/* Appends the program, an array of struct sock_filter. CYX_ERR_UNSUPPORTED where libseccomp cannot. */
enum cyx_status filter_build(struct cyx_buf *ret_program, struct cyx_error *err);

/* Takes no memory: may be called between fork and exec. 0, or -1 with errno. New privileges are given up for good. */
int filter_apply(const void *program, size_t length_bytes);

#endif
