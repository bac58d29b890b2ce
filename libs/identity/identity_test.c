#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "identity/jwt.h"

/* RFC 8032 section 7.1, test 2: seed, public key and the signature of the one byte 0x72. */
static const uint8_t rfc_seed[32] = {
    0x4c, 0xcd, 0x08, 0x9b, 0x28, 0xff, 0x96, 0xda, 0x9d, 0xb6, 0xc3, 0x46, 0xec, 0x11, 0x4e, 0x0f,
    0x5b, 0x8a, 0x31, 0x9f, 0x35, 0xab, 0xa6, 0x24, 0xda, 0x8c, 0xf6, 0xed, 0x4f, 0xb8, 0xa6, 0xfb};
static const uint8_t rfc_public[32] = {
    0x3d, 0x40, 0x17, 0xc3, 0xe8, 0x43, 0x89, 0x5a, 0x92, 0xb7, 0x0a, 0xa7, 0x4d, 0x1b, 0x7e, 0xbc,
    0x9c, 0x98, 0x2c, 0xcf, 0x2e, 0xc4, 0x96, 0x8c, 0xc0, 0xcd, 0x55, 0xf1, 0x2a, 0xf4, 0x66, 0x0c};
static const uint8_t rfc_signature_start[8] = {0x92, 0xa0, 0x09, 0xa9, 0xf0, 0xd4, 0xca, 0xb8};

static void test_nkey__is_the_rfcs_key_in_nats_text(void **state)
{
    (void)state;
    struct cyx_nkey key = {.kind = CYX_NKEY_USER}, again;
    struct cyx_error err = {0};
    char seed[CYX_NKEY_SEED_BYTES];
    uint8_t signature[CYX_NKEY_SIGNATURE_BYTES];
    memcpy(key.seed, rfc_seed, sizeof(rfc_seed));
    cyx_nkey_seed_text(&key, seed);
    assert_memory_equal(seed, "SU", 2);
    assert_int_equal(cyx_nkey_parse_seed(seed, CYX_NKEY_USER, &again, &err), CYX_OK);
    assert_memory_equal(again.seed, rfc_seed, 32);
    assert_memory_equal(again.public_bytes, rfc_public, 32);
    assert_int_equal(again.text[0], 'U');
    assert_int_equal(strlen(again.text), 56);
    assert_true(cyx_nkey_public_valid(again.text, CYX_NKEY_USER));
    assert_int_equal(cyx_nkey_sign(&again, "\x72", 1, signature, &err), CYX_OK);
    assert_memory_equal(signature, rfc_signature_start, sizeof(rfc_signature_start));
    assert_int_equal(cyx_nkey_verify(again.text, CYX_NKEY_USER, "\x72", 1, signature, &err),
                     CYX_OK);
    assert_int_equal(cyx_nkey_verify(again.text, CYX_NKEY_USER, "\x73", 1, signature, &err),
                     CYX_ERR_DENIED);
}

static void test_nkey__kinds_begin_with_their_letters(void **state)
{
    (void)state;
    static const struct {
        enum cyx_nkey_kind kind;
        char letter;
    } cases[] = {{CYX_NKEY_OPERATOR, 'O'}, {CYX_NKEY_ACCOUNT, 'A'}, {CYX_NKEY_USER, 'U'}};
    for (size_t i = 0; i < 3; i++) {
        struct cyx_nkey key, read;
        struct cyx_error err = {0};
        char seed[CYX_NKEY_SEED_BYTES];
        assert_int_equal(cyx_nkey_create(cases[i].kind, &key, &err), CYX_OK);
        cyx_nkey_seed_text(&key, seed);
        assert_int_equal(seed[0], 'S');
        assert_int_equal(seed[1], cases[i].letter);
        assert_int_equal(key.text[0], cases[i].letter);
        for (size_t k = 0; k < 3; k++) { /* a key of one kind is none of another */
            assert_int_equal(cyx_nkey_parse_seed(seed, cases[k].kind, &read, &err),
                             i == k ? CYX_OK : CYX_ERR_INVALID);
            assert_int_equal(cyx_nkey_public_valid(key.text, cases[k].kind), i == k);
        }
    }
}

static void test_nkey__a_slip_of_the_pen_is_noticed(void **state)
{
    (void)state;
    struct cyx_nkey key, read;
    struct cyx_error err = {0};
    char seed[CYX_NKEY_SEED_BYTES + 1];
    assert_int_equal(cyx_nkey_create(CYX_NKEY_USER, &key, &err), CYX_OK);
    cyx_nkey_seed_text(&key, seed);
    for (size_t i = 0; i < 58; i++) {
        char kept = seed[i];
        seed[i] = kept == 'A' ? 'B' : 'A';
        assert_int_equal(cyx_nkey_parse_seed(seed, CYX_NKEY_USER, &read, &err), CYX_ERR_INVALID);
        seed[i] = kept;
    }
    for (size_t i = 0; i < 56; i++) {
        char kept = key.text[i];
        key.text[i] = kept == '7' ? '6' : '7';
        assert_false(cyx_nkey_public_valid(key.text, CYX_NKEY_USER));
        key.text[i] = kept;
    }
    static const char *const bad[] = {"", "SU", "lower", NULL};
    for (size_t i = 0; bad[i]; i++) {
        assert_int_equal(cyx_nkey_parse_seed(bad[i], CYX_NKEY_USER, &read, &err), CYX_ERR_INVALID);
        assert_false(cyx_nkey_public_valid(bad[i], CYX_NKEY_USER));
    }
    assert_false(cyx_nkey_public_valid(NULL, CYX_NKEY_USER));
    memcpy(seed + 58, "\n", 2); /* as in a file */
    assert_int_equal(cyx_nkey_parse_seed(seed, CYX_NKEY_USER, &read, &err), CYX_OK);
}

/* The claims of a token whose signature is the signer's; fails the test else. */
static json_t *open_token(const struct cyx_buf *token, const struct cyx_nkey *signer)
{
    char claims[4096];
    uint8_t signature[CYX_NKEY_SIGNATURE_BYTES];
    size_t length = 0;
    struct cyx_error err = {0};
    const char *first = strchr(token->data, '.'), *last = strrchr(token->data, '.');
    assert_true(
        cyx_base64url_read(last + 1, strlen(last + 1), signature, sizeof(signature), &length));
    assert_int_equal(length, sizeof(signature));
    assert_int_equal(cyx_nkey_verify(signer->text, signer->kind, token->data,
                                     (size_t)(last - token->data), signature, &err),
                     CYX_OK);
    assert_true(cyx_base64url_read(token->data, (size_t)(first - token->data), claims,
                                   sizeof(claims), &length));
    assert_memory_equal(claims, "{\"typ\":\"JWT\",\"alg\":\"ed25519-nkey\"}", length);
    assert_true(
        cyx_base64url_read(first + 1, (size_t)(last - first - 1), claims, sizeof(claims), &length));
    json_t *json = json_loadb(claims, length, 0, NULL);
    assert_non_null(json);
    return json;
}

static void test_jwt__a_users_names_its_subjects_and_its_end(void **state)
{
    (void)state;
    struct cyx_nkey account, signing, user;
    struct cyx_error err = {0};
    CYX_CLEANUP_BUF struct cyx_buf token = {0};
    CYX_CLEANUP_BUF struct cyx_buf creds = {0};
    const char *const publish[] = {"cyx.node.17.>", "cyx.job.*.*.17", NULL};
    const char *const subscribe[] = {"_INBOX_17.>", NULL};
    cyx_nkey_create(CYX_NKEY_ACCOUNT, &account, &err);
    cyx_nkey_create(CYX_NKEY_ACCOUNT, &signing, &err);
    cyx_nkey_create(CYX_NKEY_USER, &user, &err);
    const struct cyx_jwt_user claims = {.subject = user.text,
                                        .name = "node 17",
                                        .account = account.text,
                                        .publish = publish,
                                        .subscribe = subscribe,
                                        .expires_s = 2000};
    assert_int_equal(cyx_jwt_user_write(&claims, &signing, 1000, &token, &err), CYX_OK);
    json_t *json = open_token(&token, &signing);
    json_t *nats = json_object_get(json, "nats");
    assert_string_equal(json_string_value(json_object_get(json, "sub")), user.text);
    assert_string_equal(json_string_value(json_object_get(json, "iss")), signing.text);
    assert_string_equal(json_string_value(json_object_get(nats, "issuer_account")), account.text);
    json_t *allow = json_object_get(json_object_get(nats, "pub"), "allow");
    assert_int_equal(json_array_size(allow), 2);
    assert_string_equal(json_string_value(json_array_get(allow, 1)), "cyx.job.*.*.17");
    json_decref(json);
    int64_t issued = 0, expires = 0;
    cyx_creds_write(token.data, &user, &creds);
    assert_int_equal(cyx_creds_times(creds.data, &issued, &expires, &err), CYX_OK);
    assert_int_equal(issued, 1000);
    assert_int_equal(expires, 2000);
    assert_int_equal(cyx_creds_times("no such thing", &issued, &expires, &err), CYX_ERR_CORRUPT);
}

static void test_jwt__an_accounts_holds_what_was_revoked(void **state)
{
    (void)state;
    struct cyx_nkey operator_key, account, user;
    struct cyx_error err = {0};
    CYX_CLEANUP_BUF struct cyx_buf token = {0};
    CYX_CLEANUP_BUF struct cyx_buf again = {0};
    cyx_nkey_create(CYX_NKEY_OPERATOR, &operator_key, &err);
    cyx_nkey_create(CYX_NKEY_ACCOUNT, &account, &err);
    cyx_nkey_create(CYX_NKEY_USER, &user, &err);
    struct cyx_jwt_revocation revoked = {.before_s = 1234};
    memcpy(revoked.key, user.text, sizeof(revoked.key));
    const struct cyx_jwt_account claims = {.subject = account.text,
                                           .name = "cyxwiz",
                                           .signing_key = account.text,
                                           .has_streams = true,
                                           .revocations = &revoked,
                                           .n_revocations = 1};
    assert_int_equal(cyx_jwt_account_write(&claims, &operator_key, 1300, &token, &err), CYX_OK);
    json_t *json = open_token(&token, &operator_key);
    json_t *nats = json_object_get(json, "nats");
    assert_int_equal(
        json_integer_value(json_object_get(json_object_get(nats, "revocations"), user.text)), 1234);
    assert_int_equal(
        json_integer_value(json_object_get(json_object_get(nats, "limits"), "disk_storage")), -1);
    json_decref(json);
    /* The same claims give the same token: a server that has it does nothing. */
    assert_int_equal(cyx_jwt_account_write(&claims, &operator_key, 1300, &again, &err), CYX_OK);
    assert_string_equal(token.data, again.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nkey__is_the_rfcs_key_in_nats_text),
        cmocka_unit_test(test_nkey__kinds_begin_with_their_letters),
        cmocka_unit_test(test_nkey__a_slip_of_the_pen_is_noticed),
        cmocka_unit_test(test_jwt__a_users_names_its_subjects_and_its_end),
        cmocka_unit_test(test_jwt__an_accounts_holds_what_was_revoked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
