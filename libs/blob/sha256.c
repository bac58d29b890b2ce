#include "blob/sha256.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/banned.h"
#include "base/id.h"

struct cyx_sha256 {
    EVP_MD_CTX *context;
};

void cyx_sha256_destroy(struct cyx_sha256 *self)
{
    if (!self)
        return;
    EVP_MD_CTX_free(self->context);
    free(self);
}

struct cyx_sha256 *cyx_sha256_create(void)
{
    struct cyx_sha256 *self = calloc(1, sizeof(*self));
    if (!self)
        return NULL;
    self->context = EVP_MD_CTX_new();
    if (!self->context || EVP_DigestInit_ex(self->context, EVP_sha256(), NULL) != 1) {
        cyx_sha256_destroy(self);
        return NULL;
    }
    return self;
}

enum cyx_status cyx_sha256_update(struct cyx_sha256 *self, const void *bytes, size_t length)
{
    return EVP_DigestUpdate(self->context, bytes, length) == 1 ? CYX_OK : CYX_ERR_INTERNAL;
}

enum cyx_status cyx_sha256_final(struct cyx_sha256 *self, char ret_hex[CYX_SHA256_HEX])
{
    unsigned char digest[CYX_SHA256_BYTES];
    unsigned length = 0;
    if (EVP_DigestFinal_ex(self->context, digest, &length) != 1 || length != sizeof(digest) ||
        EVP_DigestInit_ex(self->context, EVP_sha256(), NULL) != 1)
        return CYX_ERR_INTERNAL;
    cyx_hex_encode(digest, sizeof(digest), ret_hex);
    return CYX_OK;
}

enum cyx_status cyx_sha256_bytes(const void *bytes, size_t length, char ret_hex[CYX_SHA256_HEX])
{
    unsigned char digest[CYX_SHA256_BYTES];
    unsigned made = 0;
    if (EVP_Digest(bytes, length, digest, &made, EVP_sha256(), NULL) != 1)
        return CYX_ERR_INTERNAL;
    cyx_hex_encode(digest, sizeof(digest), ret_hex);
    return CYX_OK;
}

static enum cyx_status hash_descriptor(int fd, struct cyx_sha256 *hash, uint64_t *ret_size)
{
    enum { CHUNK = 1 << 18 };
    unsigned char *chunk = malloc(CHUNK);
    if (!chunk)
        return CYX_ERR_NO_MEMORY;
    enum cyx_status status = CYX_OK;
    uint64_t size = 0;
    while (status == CYX_OK) {
        ssize_t n = read(fd, chunk, CHUNK);
        if (n == 0)
            break;
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            status = CYX_ERR_IO;
            break;
        }
        size += (uint64_t)n;
        status = cyx_sha256_update(hash, chunk, (size_t)n);
    }
    int code = errno;
    free(chunk);
    errno = code;
    *ret_size = size;
    return status;
}

enum cyx_status cyx_sha256_file(const char *path, char ret_hex[CYX_SHA256_HEX], uint64_t *ret_size,
                                struct cyx_error *ret_error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return cyx_error_errno(ret_error, "cannot read %s", path);
    struct cyx_sha256 *hash = cyx_sha256_create();
    uint64_t size = 0;
    char hex[CYX_SHA256_HEX];
    enum cyx_status status = hash ? hash_descriptor(fd, hash, &size) : CYX_ERR_NO_MEMORY;
    int code = errno;
    if (status == CYX_OK)
        status = cyx_sha256_final(hash, hex);
    cyx_sha256_destroy(hash);
    close(fd);
    errno = code;
    if (status == CYX_ERR_IO)
        return cyx_error_errno(ret_error, "cannot read %s", path);
    if (status != CYX_OK)
        return cyx_error_set(ret_error, status, NULL, "cannot hash %s", path);
    memcpy(ret_hex, hex, sizeof(hex));
    if (ret_size)
        *ret_size = size;
    return CYX_OK;
}

bool cyx_sha256_valid(const char *text)
{
    if (!text)
        return false;
    size_t length = strspn(text, "0123456789abcdef");
    return length == CYX_SHA256_HEX - 1 && text[length] == '\0';
}
