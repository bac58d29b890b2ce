-- What jobs ask of nodes and of the time, what nodes have, and why a node was chosen.
-- Lists of labels and regions are texts joined by commas; '' asks or has nothing.

alter table node
    add host_memory_bytes bigint not null default 0,
    add labels text not null default '',
    add region text not null default '',
    add cpu_percent real not null default 0,                   -- as its heartbeats last told
    add datasets text not null default '',                     -- that jobs have brought there
    add good double precision not null default 0,              -- assignments that ended well,
    add bad double precision not null default 0,               -- and that it lost
    -- FLOP/s that jobs reached there, by their size (cyx_sched_size()); 0: not yet
    add speed double precision[] not null default array_fill(0::double precision, array[16]);

alter table job
    add host_memory_bytes bigint not null default 0,
    add labels text not null default '',
    add avoid_labels text not null default '',
    add regions text not null default '',
    add avoid_regions text not null default '',
    add max_price_per_hour bigint not null default 0,          -- 0: any
    add min_reputation double precision not null default 0,
    add dataset text not null default '',
    add total_flops double precision not null default 0,
    -- jobs of one lane ask the same of a node: where the first finds none, the others find none
    add lane bigint not null default 0,
    add deadline timestamptz,
    add retries integer not null default 2 check (retries >= 0),
    add waits_for integer not null default 0 check (waits_for >= 0), -- jobs that must complete first
    add awaited boolean not null default false,                -- some job waits for this one
    add broken_by uuid,                                        -- of the jobs that it waits for
    add array_id uuid,
    add array_index integer,
    add array_count integer,
    add check ((array_id is null) = (array_index is null) and (array_id is null) = (array_count is null));
alter table job drop constraint job_idempotency_key_check;
alter table job add check (length(idempotency_key) between 1 and 210); -- members of an array: <key>#<index>

create table job_after (
    job_id   uuid not null references job (id),
    after_id uuid not null references job (id),
    primary key (job_id, after_id)
);
create index job_after_by_after on job_after (after_id);

alter table assignment add placement json; -- the score of the node when it was chosen, and its parts

-- The queue: by priority, then account, then lane, then age. Its head is found by skipping from lane to lane,
-- so that the cost of a placement depends on the lanes and not on the jobs.
drop index job_matchable;
create index job_queue on job (priority, account_id, lane, created_at, id)
    where state = 'queued' and funded and waits_for = 0;
create index job_deadline on job (deadline) where ended_at is null and deadline is not null;
create index job_broken on job (id) where state = 'queued' and broken_by is not null;
create index job_by_array on job (array_id, array_index) where array_id is not null;
-- Queued jobs of an account, for its quota.
create index job_queued on job (account_id) where state = 'queued';
