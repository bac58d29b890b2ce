#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "contract/enrol.h"
#include "identity.h"
#include "identity/jwt.h"

#define NODE "01935b1e-0000-7000-8000-0000000000b1"
#define NOW INT64_C(1700000000000)

static void test_enrol_token__is_long_and_new_each_time(void **state)
{
    (void)state;
    char first[CYX_ENROL_TOKEN_BYTES], second[CYX_ENROL_TOKEN_BYTES];
    char first_hash[CYX_SHA256_HEX], second_hash[CYX_SHA256_HEX], again[CYX_SHA256_HEX];
    struct cyx_error err = {0};
    assert_int_equal(cyx_enrol_token_new(first, first_hash, &err), CYX_OK);
    assert_int_equal(cyx_enrol_token_new(second, second_hash, &err), CYX_OK);
    assert_int_equal(strlen(first), 48);
    assert_string_not_equal(first, second);
    assert_string_not_equal(first_hash, second_hash);
    assert_int_equal(cyx_enrol_token_hash(first, again, &err), CYX_OK);
    assert_string_equal(again, first_hash);
    assert_null(strstr(first_hash, first));
}

static void put_signature(json_t *message, const char *member, const struct cyx_nkey *key,
                          const char *new_key, int64_t at_ms, const char *public_key)
{
    char text[CYX_RENEWAL_TEXT_BYTES];
    uint8_t signature[CYX_NKEY_SIGNATURE_BYTES];
    CYX_CLEANUP_BUF struct cyx_buf encoded = {0};
    snprintf(text, sizeof(text), CYX_RENEWAL_TEXT, NODE, (long long)at_ms, public_key,
             new_key ? new_key : "");
    assert_int_equal(cyx_nkey_sign(key, text, strlen(text), signature, NULL), CYX_OK);
    cyx_base64url_write(signature, sizeof(signature), &encoded);
    json_object_set_new(message, member, json_string(encoded.data));
}

static json_t *renewal(const struct cyx_nkey *key, const struct cyx_nkey *new_key, int64_t at_ms)
{
    json_t *message = json_pack("{s:s, s:s, s:I}", "node_id", NODE, "public_key", key->text, "at",
                                (json_int_t)at_ms);
    put_signature(message, "signature", key, new_key ? new_key->text : NULL, at_ms, key->text);
    if (new_key) {
        json_object_set_new(message, "new_key", json_string(new_key->text));
        put_signature(message, "new_signature", new_key, new_key->text, at_ms, key->text);
    }
    return message;
}

static enum cyx_status parse(json_t *message, struct cyx_renewal *ret_renewal,
                             struct cyx_error *err)
{
    *err = (struct cyx_error){0};
    return cyx_renewal_parse(message, NOW, ret_renewal, err);
}

static void test_renewal__the_keys_owner_is_believed(void **state)
{
    (void)state;
    struct cyx_nkey key, new_key;
    struct cyx_renewal read;
    struct cyx_error err = {0};
    cyx_nkey_create(CYX_NKEY_USER, &key, &err);
    cyx_nkey_create(CYX_NKEY_USER, &new_key, &err);
    json_t *message = renewal(&key, NULL, NOW - 1000);
    assert_int_equal(parse(message, &read, &err), CYX_OK);
    assert_string_equal(read.public_key, key.text);
    assert_null(read.new_key);
    json_decref(message);
    message = renewal(&key, &new_key, NOW);
    assert_int_equal(parse(message, &read, &err), CYX_OK);
    assert_string_equal(read.new_key, new_key.text);
    json_decref(message);
}

static void test_renewal__anybody_else_is_not(void **state)
{
    (void)state;
    struct cyx_nkey key, thief;
    struct cyx_renewal read;
    struct cyx_error err = {0};
    cyx_nkey_create(CYX_NKEY_USER, &key, &err);
    cyx_nkey_create(CYX_NKEY_USER, &thief, &err);

    json_t *message = renewal(&thief, NULL, NOW); /* signed by another key */
    json_object_set_new(message, "public_key", json_string(key.text));
    assert_int_equal(parse(message, &read, &err), CYX_ERR_UNAUTHENTICATED);
    assert_string_equal(err.pointer, "/signature");
    json_decref(message);

    message = renewal(&key, NULL, NOW - 1000); /* seen on its way, a new key slipped in */
    json_object_set_new(message, "new_key", json_string(thief.text));
    assert_int_equal(parse(message, &read, &err), CYX_ERR_UNAUTHENTICATED);
    json_decref(message);

    message = renewal(&key, &thief, NOW); /* a key whose owner did not agree */
    json_object_set(message, "new_signature", json_object_get(message, "signature"));
    assert_int_equal(parse(message, &read, &err), CYX_ERR_UNAUTHENTICATED);
    assert_string_equal(err.pointer, "/new_signature");
    json_decref(message);

    static const int64_t off_ms[] = {-CYX_RENEWAL_SKEW_MS - 1, CYX_RENEWAL_SKEW_MS + 1};
    for (size_t i = 0; i < 2; i++) { /* an old one sent again */
        message = renewal(&key, NULL, NOW + off_ms[i]);
        assert_int_equal(parse(message, &read, &err), CYX_ERR_UNAUTHENTICATED);
        assert_string_equal(err.pointer, "/at");
        json_decref(message);
    }

    message = renewal(&key, NULL, NOW);
    json_object_set_new(message, "signature", json_string("AAAA"));
    assert_int_equal(parse(message, &read, &err), CYX_ERR_UNAUTHENTICATED);
    json_object_set_new(message, "public_key", json_string("U"));
    assert_int_equal(parse(message, &read, &err), CYX_ERR_INVALID);
    assert_string_equal(err.pointer, "/public_key");
    json_decref(message);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_enrol_token__is_long_and_new_each_time),
        cmocka_unit_test(test_renewal__the_keys_owner_is_believed),
        cmocka_unit_test(test_renewal__anybody_else_is_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
