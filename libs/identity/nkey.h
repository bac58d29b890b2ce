/*
 * Ed25519 keys in the text form of NATS (nkeys): base32 of a prefix byte, 32 bytes and a CRC-16, so that a key says by
 * its first letter what it is for and a slip of the pen is noticed. Public keys begin with O, A or U; seeds with SO,
 * SA or SU. Signatures are OpenSSL's.
 *
 * Ownership: plain values; a key that holds a seed is wiped by cyx_nkey_wipe(). Errors: CYX_ERR_INVALID for a text
 * that is no key of the wanted kind, CYX_ERR_INTERNAL when the crypto library fails. Pure: any thread.
 *
 *     struct cyx_nkey key;
 *     char seed[CYX_NKEY_SEED_BYTES], signature[CYX_NKEY_SIGNATURE_BYTES];
 *     cyx_nkey_create(CYX_NKEY_USER, &key, &err);
 *     cyx_nkey_seed_text(&key, seed);               "SU…", secret
 *     puts(key.text);                               "U…", public
 *     cyx_nkey_sign(&key, "nonce", 5, signature, &err);
 */
#ifndef CYX_IDENTITY_NKEY_H
#define CYX_IDENTITY_NKEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum {
    CYX_NKEY_TEXT_BYTES = 57,      /* 56 characters and the NUL */
    CYX_NKEY_SEED_BYTES = 59,      /* 58 and the NUL */
    CYX_NKEY_SIGNATURE_BYTES = 64, /* binary */
};

/* The prefix byte; its upper five bits are the first letter in base32. */
enum cyx_nkey_kind {
    CYX_NKEY_ACCOUNT = 0 << 3,
    CYX_NKEY_OPERATOR = 14 << 3,
    CYX_NKEY_USER = 20 << 3,
};

struct cyx_nkey {
    enum cyx_nkey_kind kind;
    uint8_t seed[32], public_bytes[32];
    char text[CYX_NKEY_TEXT_BYTES]; /* the public key */
};

enum cyx_status cyx_nkey_create(enum cyx_nkey_kind kind, struct cyx_nkey *ret_key,
                                struct cyx_error *err);

/* From a seed's text; spaces and line ends behind it are passed over, as files have them. */
enum cyx_status cyx_nkey_parse_seed(const char *text, enum cyx_nkey_kind kind,
                                    struct cyx_nkey *ret_key, struct cyx_error *err);

void cyx_nkey_seed_text(const struct cyx_nkey *self, char ret_text[CYX_NKEY_SEED_BYTES]);
void cyx_nkey_wipe(struct cyx_nkey *self);
#define CYX_CLEANUP_NKEY __attribute__((cleanup(cyx_nkey_wipe)))

/* Whether `text` is a public key of this kind, its check sum right. NULL is not. */
bool cyx_nkey_public_valid(const char *text, enum cyx_nkey_kind kind);

enum cyx_status cyx_nkey_sign(const struct cyx_nkey *self, const void *bytes, size_t length,
                              uint8_t ret_signature[CYX_NKEY_SIGNATURE_BYTES],
                              struct cyx_error *err);

/* CYX_ERR_DENIED unless the owner of the public key signed exactly these bytes. */
enum cyx_status cyx_nkey_verify(const char *public_text, enum cyx_nkey_kind kind, const void *bytes,
                                size_t length, const uint8_t signature[CYX_NKEY_SIGNATURE_BYTES],
                                struct cyx_error *err);

#endif
