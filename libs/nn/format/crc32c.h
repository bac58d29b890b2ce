/*
 * CRC-32C (Castagnoli; RFC 3720 appendix B.4 has its check values), as TFRecord files want it. Some hundred bytes a
 * record: sixteen entries of table, four bits at a time, are enough. Any thread.
 */
#ifndef CYX_NN_FORMAT_CRC32C_H
#define CYX_NN_FORMAT_CRC32C_H

#include <stddef.h>
#include <stdint.h>

uint32_t cyx_crc32c(const void *bytes, size_t length);

#endif
