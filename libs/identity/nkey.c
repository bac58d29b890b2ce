#include "identity/nkey.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <string.h>

#include "base/id.h"

#include "base/banned.h"

enum { KEY_BYTES = 32, CRC_BYTES = 2, PREFIX_SEED = 18 << 3, RAW_LIMIT = 36 };

/* CRC-16/XMODEM: polynomial 0x1021, from 0, highest bit first. */
static uint16_t crc16(const uint8_t *bytes, size_t length)
{
    uint16_t crc = 0;
    for (size_t i = 0; i < length; i++) {
        crc = (uint16_t)(crc ^ (bytes[i] << 8));
        for (int bit = 0; bit < 8; bit++)
            crc = (uint16_t)(crc & 0x8000 ? (crc << 1) ^ 0x1021 : crc << 1);
    }
    return crc;
}

/* RFC 4648 base32 without padding. */
static void base32_encode(const uint8_t *bytes, size_t length, char *ret_text)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    uint32_t pending = 0;
    int bits = 0;
    for (size_t i = 0; i < length; i++) {
        pending = pending << 8 | bytes[i];
        for (bits += 8; bits >= 5; bits -= 5)
            *ret_text++ = alphabet[pending >> (bits - 5) & 31];
    }
    if (bits > 0)
        *ret_text++ = alphabet[pending << (5 - bits) & 31];
    *ret_text = '\0';
}

/* Exactly `length` bytes out of `n` characters; false for anything else. */
static bool base32_decode(const char *text, size_t n, uint8_t *ret_bytes, size_t length)
{
    uint32_t pending = 0;
    int bits = 0;
    size_t done = 0;
    for (size_t i = 0; i < n; i++) {
        char c = text[i];
        bool letter = c >= 'A' && c <= 'Z';
        if (!letter && (c < '2' || c > '7'))
            return false;
        pending = pending << 5 | (uint32_t)(letter ? c - 'A' : c - '2' + 26);
        bits += 5;
        if (bits >= 8) {
            if (done == length)
                return false;
            bits -= 8;
            ret_bytes[done++] = (uint8_t)(pending >> bits);
        }
    }
    return done == length && (pending & ((1U << bits) - 1)) == 0;
}

/* Appends the check sum, least byte first, and writes the text. */
static void seal(uint8_t *raw, size_t length, char *ret_text)
{
    uint16_t crc = crc16(raw, length);
    raw[length] = (uint8_t)crc;
    raw[length + 1] = (uint8_t)(crc >> 8);
    base32_encode(raw, length + CRC_BYTES, ret_text);
}

static bool unseal(const char *text, size_t n, uint8_t *ret_raw, size_t length)
{
    if (!base32_decode(text, n, ret_raw, length + CRC_BYTES))
        return false;
    uint16_t crc = crc16(ret_raw, length);
    return ret_raw[length] == (uint8_t)crc && ret_raw[length + 1] == (uint8_t)(crc >> 8);
}

static enum cyx_status crypto_failed(struct cyx_error *err, const char *what)
{
    return cyx_error_set(err, CYX_ERR_INTERNAL, NULL, "the crypto library cannot %s", what);
}

/* Fills the public half from seed and kind. */
static enum cyx_status derive(struct cyx_nkey *key, struct cyx_error *err)
{
    size_t length = KEY_BYTES;
    EVP_PKEY *pkey = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, key->seed, KEY_BYTES);
    bool made = pkey && EVP_PKEY_get_raw_public_key(pkey, key->public_bytes, &length) == 1;
    EVP_PKEY_free(pkey);
    if (!made)
        return crypto_failed(err, "make a key");
    uint8_t raw[RAW_LIMIT] = {(uint8_t)key->kind};
    memcpy(raw + 1, key->public_bytes, KEY_BYTES);
    seal(raw, 1 + KEY_BYTES, key->text);
    return CYX_OK;
}

enum cyx_status cyx_nkey_create(enum cyx_nkey_kind kind, struct cyx_nkey *ret_key,
                                struct cyx_error *err)
{
    CYX_CLEANUP_NKEY struct cyx_nkey key = {.kind = kind};
    cyx_random_bytes(key.seed, sizeof(key.seed));
    enum cyx_status status = derive(&key, err);
    if (status == CYX_OK)
        *ret_key = key;
    return status;
}

enum cyx_status cyx_nkey_parse_seed(const char *text, enum cyx_nkey_kind kind,
                                    struct cyx_nkey *ret_key, struct cyx_error *err)
{
    CYX_CLEANUP_NKEY struct cyx_nkey key = {.kind = kind};
    uint8_t raw[RAW_LIMIT];
    size_t n = text ? strcspn(text, " \t\r\n") : 0;
    bool right =
        text && n == CYX_NKEY_SEED_BYTES - 1 && text[n + strspn(text + n, " \t\r\n")] == '\0' &&
        unseal(text, n, raw, 2 + KEY_BYTES) && raw[0] == (PREFIX_SEED | (unsigned)kind >> 5) &&
        raw[1] == ((unsigned)kind & 31) << 3;
    if (right)
        memcpy(key.seed, raw + 2, KEY_BYTES);
    OPENSSL_cleanse(raw, sizeof(raw));
    if (!right)
        return cyx_error_set(err, CYX_ERR_INVALID, NULL, "expected an nkey seed of 58 characters");
    enum cyx_status status = derive(&key, err);
    if (status == CYX_OK)
        *ret_key = key;
    return status;
}

void cyx_nkey_seed_text(const struct cyx_nkey *self, char ret_text[CYX_NKEY_SEED_BYTES])
{
    uint8_t raw[RAW_LIMIT] = {(uint8_t)(PREFIX_SEED | (unsigned)self->kind >> 5),
                              (uint8_t)(((unsigned)self->kind & 31) << 3)};
    memcpy(raw + 2, self->seed, KEY_BYTES);
    seal(raw, 2 + KEY_BYTES, ret_text);
    OPENSSL_cleanse(raw, sizeof(raw));
}

void cyx_nkey_wipe(struct cyx_nkey *self)
{
    OPENSSL_cleanse(self->seed, sizeof(self->seed));
}

static bool read_public(const char *text, enum cyx_nkey_kind kind, uint8_t ret_bytes[KEY_BYTES])
{
    uint8_t raw[RAW_LIMIT];
    if (!text || strnlen(text, CYX_NKEY_TEXT_BYTES) != CYX_NKEY_TEXT_BYTES - 1 ||
        !unseal(text, CYX_NKEY_TEXT_BYTES - 1, raw, 1 + KEY_BYTES) || raw[0] != (uint8_t)kind)
        return false;
    memcpy(ret_bytes, raw + 1, KEY_BYTES);
    return true;
}

bool cyx_nkey_public_valid(const char *text, enum cyx_nkey_kind kind)
{
    uint8_t bytes[KEY_BYTES];
    return read_public(text, kind, bytes);
}

enum cyx_status cyx_nkey_sign(const struct cyx_nkey *self, const void *bytes, size_t length,
                              uint8_t ret_signature[CYX_NKEY_SIGNATURE_BYTES],
                              struct cyx_error *err)
{
    size_t size = CYX_NKEY_SIGNATURE_BYTES;
    EVP_PKEY *pkey = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, self->seed, KEY_BYTES);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool done = pkey && ctx && EVP_DigestSignInit(ctx, NULL, NULL, NULL, pkey) == 1 &&
                EVP_DigestSign(ctx, ret_signature, &size, bytes, length) == 1;
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(pkey);
    return done ? CYX_OK : crypto_failed(err, "sign");
}

enum cyx_status cyx_nkey_verify(const char *public_text, enum cyx_nkey_kind kind, const void *bytes,
                                size_t length, const uint8_t signature[CYX_NKEY_SIGNATURE_BYTES],
                                struct cyx_error *err)
{
    uint8_t public_bytes[KEY_BYTES];
    if (!read_public(public_text, kind, public_bytes))
        return cyx_error_set(err, CYX_ERR_INVALID, NULL, "expected a public nkey of 56 characters");
    EVP_PKEY *pkey = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, public_bytes, KEY_BYTES);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ready = pkey && ctx && EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, pkey) == 1;
    bool right =
        ready && EVP_DigestVerify(ctx, signature, CYX_NKEY_SIGNATURE_BYTES, bytes, length) == 1;
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(pkey);
    if (!ready)
        return crypto_failed(err, "verify");
    return right ? CYX_OK
                 : cyx_error_set(err, CYX_ERR_DENIED, NULL, "the signature is not that key's");
}
