#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/id.h"
#include "contract/message.h"
#include "store.h"
#include "store/migrate.h"

/* Real tables in a real PostgreSQL (CYXWIZ_DATABASE_URL, set by tests/support/servers). */

#define HASH "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static int open_db(void **state)
{
    struct cyx_error err = {0};
    struct cyx_db *db = NULL;
    struct cyx_db_options options = {.dsn = getenv("CYXWIZ_DATABASE_URL"), .schema = "marketplace"};
    if (cyx_db_open(&options, &db, &err) != CYX_OK ||
        cyx_migrate(db, CYX_SOURCE_DIR "/migrations/marketplace", &err) != CYX_OK) {
        fprintf(stderr, "%s\n", err.message);
        return -1;
    }
    *state = db;
    return 0;
}

static int close_db(void **state)
{
    cyx_db_close(*state);
    return 0;
}

static const struct cyx_page first_page = {.limit = 10};

static json_t *event_of(const char *account, const char *job, const char *sha256)
{
    return json_pack("{s:s, s:s, s:{s:s, s:{s:{s:s}}, s:{s:f}, s:{s:s, s:i}}}", "job_id", job,
                     "account_id", account, "job", "name", "fashion-cnn", "spec", "data", "dataset",
                     "fashion-mnist", "result", "test_accuracy", 0.91, "model", "sha256", sha256,
                     "bytes", 4096);
}

static enum cyx_status do_add(void *ctx, struct cyx_db_conn *conn, struct cyx_error *err)
{
    return store_add_model(conn, ctx, err);
}

static void add(struct cyx_db *db, const char *account, const char *job)
{
    struct cyx_error err = {0};
    CYX_CLEANUP_JSON json_t *event = event_of(account, job, HASH);
    struct cyx_model_draft draft;
    assert_int_equal(cyx_model_draft_read(event, &draft, &err), CYX_OK);
    if (cyx_db_transaction(db, do_add, &draft, &err) != CYX_OK)
        fail_msg("%s", err.message);
}

static void test_marketplace__versions_count_up_once_a_job(void **state)
{
    struct cyx_error err = {0};
    struct cyx_db_conn *conn = NULL;
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    char account[CYX_ID_BYTES], first[CYX_ID_BYTES], second[CYX_ID_BYTES];
    cyx_id_new(account);
    cyx_id_new(first);
    cyx_id_new(second);
    add(*state, account, first);
    add(*state, account, first); /* the event again */
    add(*state, account, second);
    assert_int_equal(cyx_db_take(*state, &conn, &err), CYX_OK);
    assert_int_equal(store_list_models(conn, account, &first_page, &rows, &err), CYX_OK);
    assert_int_equal(cyx_db_rows(rows), 2);
    assert_int_equal(cyx_db_int(rows, 0, STORE_MODEL_VERSION), 2);
    assert_string_equal(cyx_db_text(rows, 0, STORE_MODEL_JOB), second);
    assert_string_equal(cyx_db_text(rows, 1, STORE_MODEL_SHA256), HASH);
    cyx_db_give(conn);
}

static void test_marketplace__another_accounts_model_is_not_found(void **state)
{
    struct cyx_error err = {0};
    struct cyx_db_conn *conn = NULL;
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    CYX_CLEANUP_RESULT struct cyx_db_result *row = NULL;
    char account[CYX_ID_BYTES], job[CYX_ID_BYTES], stranger[CYX_ID_BYTES];
    cyx_id_new(account);
    cyx_id_new(job);
    cyx_id_new(stranger);
    add(*state, account, job);
    assert_int_equal(cyx_db_take(*state, &conn, &err), CYX_OK);
    assert_int_equal(store_list_models(conn, account, &first_page, &rows, &err), CYX_OK);
    const char *id = cyx_db_text(rows, 0, STORE_MODEL_ID);
    assert_int_equal(store_get_model(conn, stranger, id, &row, &err), CYX_ERR_NOT_FOUND);
    assert_int_equal(store_get_model(conn, account, id, &row, &err), CYX_OK);
    cyx_db_give(conn);
}

static void test_marketplace__refuses_an_event_without_a_proper_hash(void **state)
{
    (void)state;
    struct cyx_error err = {0};
    struct cyx_model_draft draft;
    char id[CYX_ID_BYTES];
    cyx_id_new(id);
    CYX_CLEANUP_JSON json_t *event = event_of(id, id, "../../etc/passwd");
    assert_int_equal(cyx_model_draft_read(event, &draft, &err), CYX_ERR_INVALID);
    assert_string_equal(err.pointer, "/job/model/sha256");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_marketplace__versions_count_up_once_a_job),
        cmocka_unit_test(test_marketplace__another_accounts_model_is_not_found),
        cmocka_unit_test(test_marketplace__refuses_an_event_without_a_proper_hash),
    };
    return cmocka_run_group_tests(tests, open_db, close_db);
}
