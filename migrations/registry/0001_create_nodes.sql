-- The registry: nodes that have enrolled, and the outbox of their events.
create table node (
    id                uuid primary key,
    boot_id           uuid not null,
    name              text not null check (length(name) between 1 and 100),
    version           text not null check (length(version) between 1 and 64),
    status            text not null check (status in ('online', 'offline', 'draining')),
    devices           jsonb not null check (jsonb_typeof(devices) = 'array'),
    host_memory_bytes bigint not null check (host_memory_bytes > 0),
    cpus              integer not null check (cpus > 0),
    price_per_hour    bigint not null check (price_per_hour >= 0),
    -- rises with every event that tells of the node, so that consumers can tell newer from older
    revision          bigint not null default 1 check (revision > 0),
    enrolled_at       timestamptz not null default now(),
    last_heartbeat_at timestamptz not null default now(),
    -- what the last stored heartbeat told
    running_jobs      integer not null default 0,
    cpu_percent       double precision not null default 0,
    memory_used_bytes bigint not null default 0,
    images_per_second double precision not null default 0
);
create index node_status on node (status, id);

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
