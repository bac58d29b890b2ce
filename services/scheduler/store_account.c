/* Accounts: how much they use, how much they may. */
#include <string.h>

#include "store.h"

#include "base/banned.h"

static void read_account(const struct cyx_db_result *rows, struct cyx_sched_account *account)
{
    account->weight = cyx_db_double(rows, 0, 0);
    account->usage_s = cyx_db_double(rows, 0, 1);
    account->running = cyx_db_int(rows, 0, 2);
    account->queued = cyx_db_int(rows, 0, 3);
    account->device_hours_today = cyx_db_double(rows, 0, 4);
    account->running_limit = cyx_db_int(rows, 0, 5);
    account->queued_limit = cyx_db_int(rows, 0, 6);
    account->device_hours_limit = cyx_db_double(rows, 0, 7);
}

enum cyx_status cyx_sched_store_account(struct cyx_sched_store *self, const char *account_id,
                                        struct cyx_sched_account *ret_account,
                                        struct cyx_error *err)
{
    const struct cyx_sched_policy *policy = &self->policy;
    struct cyx_sched_account account = {.weight = 1};
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    memcpy(account.id, account_id, strnlen(account_id, sizeof(account.id) - 1));
    /* What has ended and is not folded yet counts as well as what runs. */
    enum cyx_status status = cyx_db_run_one(
        self->db,
        "with run as (select count(distinct job_id) as n, coalesce(sum(extract(epoch from "
        "clock_timestamp() - "
        "offered_at)), 0) as s from assignment where account_id = $1 and ended_at is null), "
        "late as (select coalesce(sum(device_ms), 0) / 1000.0 as s from charge "
        "where account_id = $1) "
        "select coalesce(a.weight, 1), coalesce(a.usage_s * power(0.5, extract(epoch from "
        "clock_timestamp() - a.usage_at) * 1000 / $2), 0) + run.s + late.s, run.n, "
        "(select count(*) from job where account_id = $1 and state = 'queued'), "
        "((case when a.day = (clock_timestamp() at time zone 'UTC')::date then a.day_ms else 0 "
        "end) / 1000.0 + run.s + late.s) / 3600.0, coalesce(a.running_limit, $3), "
        "coalesce(a.queued_limit, $4), coalesce(a.device_hours_limit, $5::float8) "
        "from run, late left join account a on a.id = $1",
        &rows, err, CYX_DB_TEXT(account_id), CYX_DB_INT(policy->share_half_life_ms),
        CYX_DB_INT(policy->running_limit), CYX_DB_INT(policy->queued_limit),
        CYX_DB_DOUBLE(policy->device_hours_limit));
    if (status == CYX_OK)
        read_account(rows, &account);
    if (status == CYX_OK)
        *ret_account = account;
    return status;
}

#define MAYBE(number) ((number) ? CYX_DB_DOUBLE(*(number)) : CYX_DB_NULL)

enum cyx_status cyx_sched_store_limit(struct cyx_sched_store *self, const char *account_id,
                                      const struct cyx_sched_limits *limits, struct cyx_error *err)
{
    struct cyx_db_conn *conn = NULL;
    enum cyx_status status = cyx_db_take(self->db, &conn, err);
    if (status != CYX_OK)
        return status;
    status = cyx_db_query(conn, "insert into account (id) values ($1) on conflict (id) do nothing",
                          NULL, err, CYX_DB_TEXT(account_id));
    if (status == CYX_OK)
        status = cyx_db_query(
            conn,
            "update account set weight = case when $2::float8 is null then weight "
            "when $2 <= 0 then 1 else $2 end, "
            "running_limit = case when $3::float8 is null then running_limit "
            "when $3 < 0 then null else $3::int end, "
            "queued_limit = case when $4::float8 is null then queued_limit "
            "when $4 < 0 then null else $4::int end, "
            "device_hours_limit = case when $5::float8 is null then device_hours_limit "
            "when $5 < 0 then null else $5 end where id = $1",
            NULL, err, CYX_DB_TEXT(account_id), MAYBE(limits->weight), MAYBE(limits->running),
            MAYBE(limits->queued), MAYBE(limits->device_hours));
    cyx_db_give(conn);
    return status;
}

enum cyx_status cyx_sched_store_fold(struct cyx_sched_store *self, struct cyx_error *err)
{
    struct cyx_db_conn *conn = NULL;
    enum cyx_status status = cyx_db_take(self->db, &conn, err);
    if (status != CYX_OK)
        return status;
    status = cyx_db_query(
        conn,
        "with taken as (delete from charge where id in (select id from charge order by id "
        "limit 10000 for update skip locked) returning account_id, device_ms, at), "
        "sums as (select account_id, sum(device_ms) as ms, coalesce(sum(device_ms) filter (where "
        "(at at time zone 'UTC')::date = (clock_timestamp() at time zone 'UTC')::date), 0) as "
        "today_ms from taken group by account_id order by account_id) "
        "insert into account (id, usage_s, day, day_ms) select account_id, ms / 1000.0, "
        "(clock_timestamp() at time zone 'UTC')::date, today_ms from sums "
        "on conflict (id) do update set usage_s = account.usage_s * power(0.5, extract(epoch from "
        "clock_timestamp() - account.usage_at) * 1000 / $1) + excluded.usage_s, "
        "usage_at = clock_timestamp(), day_ms = excluded.day_ms + "
        "case when account.day = excluded.day then account.day_ms else 0 end, day = excluded.day",
        NULL, err, CYX_DB_INT(self->policy.share_half_life_ms));
    /* What makes way for a job that waits no more goes on as if nothing had been. */
    if (status == CYX_OK)
        status = cyx_db_query(
            conn,
            "update assignment set preempt_for = null, preempt_at = null where ended_at is null "
            "and preempt_for is not null and not exists "
            "(select from job j where j.id = preempt_for and j.state = 'queued')",
            NULL, err);
    cyx_db_give(conn);
    return status;
}
