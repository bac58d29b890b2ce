#include "gateway.h"

#include <ctype.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

#include "base/banned.h"

enum { TOKEN_RANDOM_BYTES = 32 };

static const char *const role_names[] = {"user", "operator", "admin"};

/* What an unknown account's password is compared with: of the same cost as a real one, and of no
 * password. */
static const char decoy_hash[] = "$argon2id$v=19$m=65536,t=2,p=1$0YthMzDCxbp+zsLSOY22Dw$u4i/"
                                 "ADreyxDNGlaGCZGyHx1skuwijRK8TwjuW3B0QpM";

enum cyx_status gateway_init(struct cyx_error *ret_error)
{
    if (sodium_init() < 0)
        return cyx_error_set(ret_error, CYX_ERR_INTERNAL, NULL, "libsodium cannot start");
    return CYX_OK;
}

const char *gateway_role_name(enum gateway_role role)
{
    return role_names[role];
}

bool gateway_role_parse(const char *text, enum gateway_role *ret_role)
{
    for (size_t i = 0; i < sizeof(role_names) / sizeof(role_names[0]); i++) {
        if (strcmp(text, role_names[i]) == 0) {
            *ret_role = (enum gateway_role)i;
            return true;
        }
    }
    return false;
}

enum cyx_status gateway_email_normalise(const char *text, char ret_email[GATEWAY_EMAIL_BYTES],
                                        struct cyx_error *ret_error)
{
    size_t length = strlen(text);
    const char *at = strrchr(text, '@');
    bool fits = length < GATEWAY_EMAIL_BYTES && at && at != text && at - text <= 64 && at[1] &&
                at[1] != '.' && text[length - 1] != '.' &&
                memchr(text, '@', (size_t)(at - text)) == NULL;
    for (size_t i = 0; fits && i < length; i++)
        fits = (unsigned char)text[i] > ' ' && text[i] != 0x7f;
    if (!fits)
        return cyx_error_set(ret_error, CYX_ERR_INVALID, "/email",
                             "expected an e-mail address such as name@example.org");
    for (size_t i = 0; i <= length; i++)
        ret_email[i] = (char)((text[i] >= 'A' && text[i] <= 'Z') ? text[i] + ('a' - 'A') : text[i]);
    return CYX_OK;
}

/* Characters of UTF-8 text (the JSON reader has checked that it is that). */
static size_t count_characters(const char *text)
{
    size_t count = 0;
    for (; *text; text++)
        count += ((unsigned char)*text & 0xc0) != 0x80;
    return count;
}

enum cyx_status gateway_name_check(const char *text, struct cyx_error *ret_error)
{
    size_t characters = count_characters(text);
    bool fits = characters >= 1 && characters <= 100 && strlen(text) < GATEWAY_NAME_BYTES;
    for (const char *c = text; fits && *c; c++)
        fits = (unsigned char)*c >= ' ' && *c != 0x7f;
    if (!fits)
        return cyx_error_set(ret_error, CYX_ERR_INVALID, "/name",
                             "expected 1 to 100 printable characters");
    return CYX_OK;
}

enum cyx_status gateway_password_check(const char *text, struct cyx_error *ret_error)
{
    if (count_characters(text) < GATEWAY_PASSWORD_MIN || strlen(text) > GATEWAY_PASSWORD_LIMIT)
        return cyx_error_set(ret_error, CYX_ERR_INVALID, "/password",
                             "expected a password of %d characters at least and %d bytes at most",
                             GATEWAY_PASSWORD_MIN, GATEWAY_PASSWORD_LIMIT);
    return CYX_OK;
}

enum cyx_status gateway_password_hash(const char *password,
                                      char ret_hash[GATEWAY_PASSWORD_HASH_BYTES],
                                      struct cyx_error *ret_error)
{
    _Static_assert(GATEWAY_PASSWORD_HASH_BYTES >= crypto_pwhash_STRBYTES, "room for the hash");
    if (crypto_pwhash_str(ret_hash, password, strlen(password), crypto_pwhash_OPSLIMIT_INTERACTIVE,
                          crypto_pwhash_MEMLIMIT_INTERACTIVE) != 0)
        return cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL,
                             "hashing a password needs 64 MiB of memory that is not there");
    return CYX_OK;
}

bool gateway_password_verify(const char *hash, const char *password)
{
    size_t length = strlen(password);
    if (length > GATEWAY_PASSWORD_LIMIT)
        length = 0; /* no account has such a one, but it takes its time all the same */
    bool same = crypto_pwhash_str_verify(hash ? hash : decoy_hash, password, length) == 0;
    return same && hash && length > 0;
}

static void random_base64url(char ret_text[GATEWAY_TOKEN_BYTES])
{
    uint8_t bytes[TOKEN_RANDOM_BYTES];
    cyx_random_bytes(bytes, sizeof(bytes));
    sodium_bin2base64(ret_text, GATEWAY_TOKEN_BYTES, bytes, sizeof(bytes),
                      sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    sodium_memzero(bytes, sizeof(bytes));
}

void gateway_token_new(char ret_token[GATEWAY_TOKEN_BYTES])
{
    random_base64url(ret_token);
}

void gateway_api_key_new(char ret_key[GATEWAY_API_KEY_BYTES],
                         char ret_prefix[GATEWAY_API_KEY_PREFIX_BYTES])
{
    char token[GATEWAY_TOKEN_BYTES];
    random_base64url(token);
    snprintf(ret_key, GATEWAY_API_KEY_BYTES, "cyx_%s", token);
    sodium_memzero(token, sizeof(token));
    memcpy(ret_prefix, ret_key, GATEWAY_API_KEY_PREFIX_BYTES - 1);
    ret_prefix[GATEWAY_API_KEY_PREFIX_BYTES - 1] = '\0';
}

bool gateway_token_plausible(const char *text)
{
    size_t length = text ? strnlen(text, GATEWAY_TOKEN_BYTES) : 0;
    if (length != GATEWAY_TOKEN_BYTES - 1)
        return false;
    for (size_t i = 0; i < length; i++)
        if (!isalnum((unsigned char)text[i]) && text[i] != '-' && text[i] != '_')
            return false;
    return true;
}

bool gateway_api_key_plausible(const char *text)
{
    return text && strncmp(text, "cyx_", 4) == 0 && gateway_token_plausible(text + 4);
}

void gateway_token_hash(const char *token, char ret_hash[GATEWAY_HASH_BYTES])
{
    uint8_t digest[crypto_hash_sha256_BYTES];
    crypto_hash_sha256(digest, (const unsigned char *)token, strlen(token));
    cyx_hex_encode(digest, sizeof(digest), ret_hash);
}

void gateway_csrf_token(const char *session_token, char ret_token[GATEWAY_HASH_BYTES])
{
    static const unsigned char purpose[] = "cyxwiz csrf 1";
    uint8_t digest[crypto_auth_hmacsha256_BYTES];
    crypto_auth_hmacsha256_state state;
    crypto_auth_hmacsha256_init(&state, (const unsigned char *)session_token,
                                strlen(session_token));
    crypto_auth_hmacsha256_update(&state, purpose, sizeof(purpose) - 1);
    crypto_auth_hmacsha256_final(&state, digest);
    cyx_hex_encode(digest, sizeof(digest), ret_token);
    sodium_memzero(&state, sizeof(state));
}

bool gateway_csrf_matches(const char *session_token, const char *given)
{
    char expected[GATEWAY_HASH_BYTES];
    gateway_csrf_token(session_token, expected);
    if (!given || strlen(given) != GATEWAY_HASH_BYTES - 1)
        return false;
    return sodium_memcmp(expected, given, GATEWAY_HASH_BYTES - 1) == 0;
}

/* ---- scopes ---- */

static const char *const scope_names[] = {"read", "write", "account", "admin"};

unsigned gateway_scope_parse(const char *name)
{
    for (unsigned i = 0; i < sizeof(scope_names) / sizeof(scope_names[0]); i++)
        if (strcmp(name, scope_names[i]) == 0)
            return 1U << i;
    return 0;
}

const char *gateway_scope_name(unsigned scope)
{
    unsigned i = 0;
    while (i < 3 && !(scope & (1U << i)))
        i++;
    return scope_names[i];
}

void gateway_scopes_format(unsigned scopes, char ret_text[GATEWAY_SCOPES_BYTES])
{
    size_t used = 0;
    ret_text[0] = '\0';
    for (unsigned scope = 1; scope < GATEWAY_SCOPES_ALL; scope <<= 1)
        if (scopes & scope)
            used += (size_t)snprintf(ret_text + used, GATEWAY_SCOPES_BYTES - used, "%s%s",
                                     used ? " " : "", gateway_scope_name(scope));
}

unsigned gateway_scopes_parse(const char *text)
{
    unsigned scopes = 0;
    for (const char *at = text; *at;) {
        char word[16];
        size_t length = strcspn(at, " ");
        snprintf(word, sizeof(word), "%.*s", (int)length, at);
        scopes |= gateway_scope_parse(word);
        at += length;
        at += strspn(at, " ");
    }
    return scopes;
}

/* ---- wallets ---- */

enum cyx_status gateway_challenge_format(const struct gateway_challenge *challenge,
                                         char ret_text[GATEWAY_CHALLENGE_BYTES],
                                         struct cyx_error *ret_error)
{
    char issued[CYX_TIME_TEXT_BYTES], expires[CYX_TIME_TEXT_BYTES];
    cyx_time_format(challenge->issued_ms, issued);
    cyx_time_format(challenge->expires_ms, expires);
    int length = snprintf(ret_text, GATEWAY_CHALLENGE_BYTES,
                          "%s wants you to %s with your Ed25519 key:\n%s\n\nURI: %s\nVersion: 1\n"
                          "Nonce: %s\nIssued At: %s\nExpiration Time: %s",
                          challenge->domain, challenge->action, challenge->public_key,
                          challenge->uri, challenge->nonce, issued, expires);
    if (length < 0 || length >= GATEWAY_CHALLENGE_BYTES)
        return cyx_error_set(ret_error, CYX_ERR_TOO_LARGE, NULL,
                             "the gateway's own URL is too long for a challenge");
    return CYX_OK;
}

void gateway_nonce_new(char ret_nonce[GATEWAY_NONCE_BYTES])
{
    uint8_t bytes[(GATEWAY_NONCE_BYTES - 1) / 2];
    cyx_random_bytes(bytes, sizeof(bytes));
    cyx_hex_encode(bytes, sizeof(bytes), ret_nonce);
}

bool gateway_public_key_plausible(const char *text)
{
    return strlen(text) == GATEWAY_PUBLIC_KEY_BYTES - 1 &&
           strspn(text, "0123456789abcdef") == GATEWAY_PUBLIC_KEY_BYTES - 1;
}

bool gateway_signature_valid(const char *public_key, const char *text, const char *signature)
{
    uint8_t key[crypto_sign_PUBLICKEYBYTES], bytes[crypto_sign_BYTES];
    size_t length = 0;
    if (strlen(signature) != GATEWAY_SIGNATURE_DIGITS ||
        sodium_hex2bin(bytes, sizeof(bytes), signature, GATEWAY_SIGNATURE_DIGITS, NULL, &length,
                       NULL) != 0 ||
        length != sizeof(bytes) ||
        sodium_hex2bin(key, sizeof(key), public_key, strlen(public_key), NULL, &length, NULL) !=
            0 ||
        length != sizeof(key))
        return false;
    return crypto_sign_verify_detached(bytes, (const unsigned char *)text, strlen(text), key) == 0;
}

enum cyx_status gateway_idempotency_key_check(const char *text, struct cyx_error *ret_error)
{
    size_t length = strlen(text);
    bool fits = length >= 1 && length <= GATEWAY_IDEMPOTENCY_KEY_LIMIT;
    for (size_t i = 0; fits && i < length; i++)
        fits = text[i] >= '!' && text[i] <= '~';
    if (!fits)
        return cyx_error_set(ret_error, CYX_ERR_INVALID, NULL,
                             "Idempotency-Key: expected 1 to %d printable ASCII characters without "
                             "spaces, such as a UUID",
                             GATEWAY_IDEMPOTENCY_KEY_LIMIT);
    return CYX_OK;
}

/* A run of digits at *text that fits 63 bits; moves *text behind it. */
static bool read_number(const char **text, uint64_t *ret_number)
{
    uint64_t number = 0;
    const char *c = *text;
    for (; *c >= '0' && *c <= '9'; c++) {
        if (number > (INT64_MAX - 9) / 10)
            return false;
        number = number * 10 + (uint64_t)(*c - '0');
    }
    if (c == *text)
        return false;
    *text = c;
    *ret_number = number;
    return true;
}

enum cyx_status gateway_range_parse(const char *text, uint64_t limit_bytes,
                                    struct gateway_range *ret_range, struct cyx_error *ret_error)
{
    struct gateway_range range = {0};
    const char *c = text;
    bool fits = strncmp(c, "bytes ", 6) == 0;
    c += fits ? 6 : 0;
    fits = fits && read_number(&c, &range.first) && *c++ == '-' && read_number(&c, &range.last) &&
           *c++ == '/' && read_number(&c, &range.total) && *c == '\0' &&
           range.first <= range.last && range.last < range.total;
    if (!fits)
        return cyx_error_set(
            ret_error, CYX_ERR_INVALID, NULL,
            "Content-Range: expected \"bytes FIRST-LAST/TOTAL\" with FIRST <= LAST "
            "< TOTAL");
    if (range.total > limit_bytes)
        return cyx_error_set(ret_error, CYX_ERR_TOO_LARGE, NULL,
                             "expected at most %" PRIu64 " bytes, got %" PRIu64, limit_bytes,
                             range.total);
    *ret_range = range;
    return CYX_OK;
}
