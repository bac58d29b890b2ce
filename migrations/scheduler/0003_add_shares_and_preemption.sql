-- Fair share among accounts, quotas, and making way for jobs of higher priority.

create table account (
    id                 uuid primary key,
    weight             double precision not null default 1 check (weight > 0),
    -- device seconds used, halved once every half-life; as of usage_at
    usage_s            double precision not null default 0,
    usage_at           timestamptz not null default now(),
    day                date not null default '-infinity', -- UTC
    day_ms             bigint not null default 0,         -- device time used on that day
    -- null: as the service is set
    running_limit      integer check (running_limit >= 0),
    queued_limit       integer check (queued_limit >= 0),
    device_hours_limit double precision check (device_hours_limit >= 0)
);

-- Device time as it is used up; folded into the account now and then, so that the ends of jobs do not queue for
-- their account's row.
create table charge (
    id         bigint generated always as identity primary key,
    account_id uuid not null,
    device_ms  bigint not null,
    at         timestamptz not null default clock_timestamp()
);

alter table job add preemptions integer not null default 0; -- times that it made way
alter table assignment
    add account_id uuid,
    add checkpointed_at timestamptz, -- what was done before is safe
    add preempt_for uuid,            -- the job that it makes way for
    add preempt_at timestamptz;
update assignment a set account_id = j.account_id from job j where j.id = a.job_id;
alter table assignment alter account_id set not null;
create index assignment_by_account on assignment (account_id) where ended_at is null;
create index assignment_preempt on assignment (preempt_for) where ended_at is null and preempt_for is not null;
