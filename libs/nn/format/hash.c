#include "nn/format/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/id.h"

#include "base/banned.h"

static enum cyx_status finish(EVP_MD_CTX *context, bool ok, char ret_hex[CYX_SHA256_TEXT_BYTES],
                              struct cyx_error *ret_error)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    ok = ok && EVP_DigestFinal_ex(context, digest, &length) == 1 && length == 32;
    EVP_MD_CTX_free(context);
    if (!ok)
        return cyx_error_set(ret_error, CYX_ERR_INTERNAL, NULL, "SHA-256 failed in libcrypto");
    cyx_hex_encode(digest, length, ret_hex);
    return CYX_OK;
}

enum cyx_status cyx_sha256_bytes(const void *bytes, size_t length,
                                 char ret_hex[CYX_SHA256_TEXT_BYTES], struct cyx_error *ret_error)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool ok = context && EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1 &&
              EVP_DigestUpdate(context, bytes, length) == 1;
    return finish(context, ok, ret_hex, ret_error);
}

enum { CHUNK_BYTES = 1 << 16 };

/* 1 for a chunk hashed, 0 at the end, -1 with errno when the read failed, -2 when libcrypto did. */
static int update_from(int fd, EVP_MD_CTX *context, unsigned char *chunk)
{
    ssize_t n;
    do
        n = read(fd, chunk, CHUNK_BYTES);
    while (n < 0 && errno == EINTR);
    if (n <= 0)
        return (int)n;
    return EVP_DigestUpdate(context, chunk, (size_t)n) == 1 ? 1 : -2;
}

enum cyx_status cyx_sha256_file(const char *path, char ret_hex[CYX_SHA256_TEXT_BYTES],
                                struct cyx_error *ret_error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return cyx_error_errno(ret_error, "cannot read %s", path);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    unsigned char *chunk = malloc(CHUNK_BYTES);
    int more = chunk && context && EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1 ? 1 : -2;
    while (more == 1)
        more = update_from(fd, context, chunk);
    enum cyx_status failed = CYX_OK;
    if (more == -1)
        failed = cyx_error_errno(ret_error, "cannot read %s", path);
    close(fd);
    free(chunk);
    if (failed != CYX_OK) {
        EVP_MD_CTX_free(context);
        return failed;
    }
    return finish(context, more == 0, ret_hex, ret_error);
}
