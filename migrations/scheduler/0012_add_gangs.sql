-- Jobs of several nodes. Each member of an attempt has an assignment, a lease and a token of its own; the highest token is the
-- first member's (rank 0) and stands in the job, the one of rank r is less by r.
alter table job add nodes smallint not null default 1 check (nodes between 1 and 8);
alter table assignment
    add rank smallint not null default 0,
    add members smallint not null default 1,     -- of its attempt
    add price bigint not null default 0,         -- per hour, when it was assigned
    add counted boolean not null default false,  -- its time was of use to the user
    add check (rank >= 0 and rank < members);
alter table assignment drop constraint assignment_outcome_check;
alter table assignment add constraint assignment_outcome_check -- done: a member's part, of which the job is no end
    check (outcome in ('completed', 'done', 'failed', 'cancelled', 'handed-back'));
drop index assignment_one_a_job;
create unique index assignment_one_a_job on assignment (job_id, rank) where ended_at is null;
alter table job_transition add members uuid[]; -- whom it was given to, by rank; null: one node

-- All or none, whatever the code does.
create function guard_gang() returns trigger language plpgsql as $$
begin
    if (select count(*) from assignment where job_id = new.job_id
        and token > new.token + new.rank - new.members and token <= new.token + new.rank) <> new.members then
        raise exception 'job %: % nodes are assigned together or not at all', new.job_id, new.members
            using errcode = 'check_violation';
    end if;
    return null;
end
$$;
create constraint trigger guard_gang after insert on assignment deferrable initially deferred
    for each row when (new.members > 1) execute function guard_gang();
