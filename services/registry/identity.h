/*
 * Identities: who a node is, by its key. A one-time token lets a key in, as a new node or as one that lost its key; the
 * key's owner asks for NATS tokens with its signature, and may put a new key in its place. No SQL, no clock, no NATS.
 *
 * Pure: any thread.
 */
#ifndef CYX_REGISTRY_IDENTITY_H
#define CYX_REGISTRY_IDENTITY_H

#include <jansson.h>

#include "base/id.h"
#include "blob/sha256.h"
#include "identity/nkey.h"

enum {
    CYX_ENROL_TOKEN_BYTES = 64,    /* "cyxn_", 43 characters and the NUL fit */
    CYX_ENROL_TOKEN_LIFE_S = 3600, /* when nobody says */
    CYX_ENROL_TOKEN_LIFE_LIMIT_S = 604800,
    CYX_RENEWAL_SKEW_MS = 300000, /* how far a node's clock may be off */
};

/* A new token and what is kept of it. */
enum cyx_status cyx_enrol_token_new(char ret_token[CYX_ENROL_TOKEN_BYTES],
                                    char ret_hash[CYX_SHA256_HEX], struct cyx_error *err);
enum cyx_status cyx_enrol_token_hash(const char *token, char ret_hash[CYX_SHA256_HEX],
                                     struct cyx_error *err);

/* {token, public_key} */
struct cyx_joining {
    const char *token, *public_key;
};
enum cyx_status cyx_joining_parse(const json_t *message, struct cyx_joining *ret_joining,
                                  struct cyx_error *err);

/*
 * {node_id, public_key, at, signature, new_key?, new_signature?}: both keys sign contract/enrol.h's text. Checked to be
 * signed by the keys it names, within the skew of `now_ms`; whether the key is the node's is for the store to say.
 */
struct cyx_renewal {
    const char *node_id, *public_key, *new_key; /* new_key NULL: the same key goes on */
};
enum cyx_status cyx_renewal_parse(const json_t *message, int64_t now_ms,
                                  struct cyx_renewal *ret_renewal, struct cyx_error *err);

#endif
