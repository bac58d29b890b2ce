-- The scheduler: jobs, who holds them, every transition; its own projection of the registry's nodes; the
-- outbox of its events and the inbox of those that it consumes.

-- What the events of the registry told: all that matching needs, so that there is no join across schemas.
create table node (
    id                uuid primary key,
    boot_id           uuid not null,
    online            boolean not null,
    -- of the last event taken over: older ones are passed over
    revision          bigint not null,
    name              text not null,
    cpus              integer not null,
    cpu_memory_bytes  bigint not null, -- 0: has no such device
    gpu_memory_bytes  bigint not null,
    soft_memory_bytes bigint not null,
    price_per_hour    bigint not null check (price_per_hour >= 0),
    -- a node that lets offers pass, or hands a job back, is left alone for a while
    offers_missed     integer not null default 0,
    rests_until       timestamptz not null default '-infinity',
    updated_at        timestamptz not null default now()
);

create table job (
    id                  uuid primary key,
    account_id          uuid not null,
    idempotency_key     text check (length(idempotency_key) between 1 and 200),
    name                text not null check (length(name) between 1 and 400),
    spec                json not null, -- canonical text, as cyx_job_spec_parse() gives it
    state               text not null check (state in
                            ('queued', 'assigned', 'running', 'completed', 'failed', 'cancelled')),
    -- what matching reads of the spec
    priority            smallint not null check (priority between 0 and 3),
    budget              bigint not null check (budget >= 0),
    backend             text not null check (backend in ('auto', 'cpu', 'vulkan')),
    memory_bytes        bigint not null check (memory_bytes >= 0),
    threads             integer not null check (threads >= 0),
    parameters          bigint not null,
    flops_per_sample    bigint not null,
    training_bytes      bigint not null,
    -- life
    funded              boolean not null default false,
    cancel_requested    boolean not null default false,
    requeues            integer not null default 0,
    failures            integer not null default 0,
    attempt             integer not null default 0, -- times that a node accepted it
    token               bigint not null default 0,  -- of the last assignment: rises, fences old workers off
    node_id             uuid,                       -- of the last assignment
    not_before          timestamptz not null default '-infinity',
    created_at          timestamptz not null default now(),
    assigned_at         timestamptz,
    started_at          timestamptz,
    ended_at            timestamptz,
    -- outcome
    checkpoint_sha256   text check (checkpoint_sha256 ~ '^[0-9a-f]{64}$'),
    checkpoint_bytes    bigint check (checkpoint_bytes > 0),
    checkpoint_step     bigint check (checkpoint_step >= 0),
    result              json,
    model_sha256        text check (model_sha256 ~ '^[0-9a-f]{64}$'),
    model_bytes         bigint check (model_bytes > 0),
    error               json,
    device_ms           bigint not null default 0, -- from accept to end, of all assignments
    price_per_hour      bigint,                    -- of the last node, when it was assigned
    cost                bigint,                    -- as payments settled it
    check ((ended_at is not null) = (state in ('completed', 'failed', 'cancelled'))),
    check (state <> 'completed' or (result is not null and model_sha256 is not null)),
    check (state <> 'failed' or error is not null),
    unique (account_id, idempotency_key)
);
create index job_matchable on job (priority desc, created_at, id) where state = 'queued' and funded;
create index job_by_account on job (account_id, id desc);
create index job_by_state on job (state, id desc);

-- A lease. The two partial indexes are what makes double assignment impossible, whatever the code does.
create table assignment (
    job_id       uuid not null references job (id),
    token        bigint not null check (token > 0),
    node_id      uuid not null,
    boot_id      uuid not null,
    offered_at   timestamptz not null default now(),
    accepted_at  timestamptz,
    lease_until  timestamptz not null, -- before the accept: until when the offer stands
    ended_at     timestamptz,
    ended_cause  text,
    outcome      text check (outcome in ('completed', 'failed', 'cancelled', 'handed-back')), -- of finish
    progress     json,
    primary key (job_id, token),
    check ((ended_at is null) = (ended_cause is null))
);
create unique index assignment_one_a_job on assignment (job_id) where ended_at is null;
create unique index assignment_one_a_node on assignment (node_id) where ended_at is null;
create index assignment_lease on assignment (lease_until) where ended_at is null;

create table job_transition (
    id         bigint generated always as identity primary key,
    job_id     uuid not null references job (id),
    from_state text, -- null for the first
    to_state   text not null,
    cause      text not null,
    node_id    uuid,
    token      bigint,
    at         timestamptz not null default now()
);
create index job_transition_by_job on job_transition (job_id, id);

-- What has ended never changes, and no state is reached but along an arrow of a job's life.
create function guard_job() returns trigger language plpgsql as $$
begin
    if tg_op = 'DELETE' then
        raise exception 'jobs are kept: % cannot be deleted', old.id using errcode = 'check_violation';
    end if;
    if new.id <> old.id or new.account_id <> old.account_id or new.spec::text <> old.spec::text then
        raise exception 'job %: id, account and spec do not change', old.id using errcode = 'check_violation';
    end if;
    if new.token < old.token then
        raise exception 'job %: the token never falls', old.id using errcode = 'check_violation';
    end if;
    if old.state in ('completed', 'failed', 'cancelled') and
       (new.state <> old.state or new.ended_at <> old.ended_at or new.token <> old.token
        or new.result::text is distinct from old.result::text
        or new.error::text is distinct from old.error::text
        or new.model_sha256 is distinct from old.model_sha256
        or new.model_bytes is distinct from old.model_bytes
        or new.device_ms <> old.device_ms) then
        raise exception 'job % is %: what has ended does not change', old.id, old.state
            using errcode = 'check_violation';
    end if;
    if new.state <> old.state and (old.state, new.state) not in
       (('queued', 'assigned'), ('queued', 'cancelled'), ('queued', 'failed'),
        ('assigned', 'running'), ('assigned', 'queued'), ('assigned', 'cancelled'), ('assigned', 'failed'),
        ('running', 'completed'), ('running', 'failed'), ('running', 'cancelled'), ('running', 'queued')) then
        raise exception 'job %: % does not become %', old.id, old.state, new.state
            using errcode = 'check_violation';
    end if;
    return new;
end
$$;
create trigger guard_job before update or delete on job for each row execute function guard_job();

create function guard_transition() returns trigger language plpgsql as $$
begin
    raise exception 'transitions are history: they are neither changed nor deleted'
        using errcode = 'check_violation';
end
$$;
create trigger guard_transition before update or delete on job_transition
    for each row execute function guard_transition();

create table outbox (
    id          bigint generated always as identity primary key,
    subject     text not null check (length(subject) between 1 and 255),
    message_id  text not null unique check (length(message_id) between 1 and 128),
    request_id  text,
    traceparent text,
    payload     text not null check (octet_length(payload) <= 1000000),
    created_at  timestamptz not null default now()
);
create table inbox (
    consumer   text not null,
    message_id text not null,
    seen_at    timestamptz not null default now(),
    primary key (consumer, message_id)
);
create index inbox_seen_at on inbox (seen_at);
