-- Trained models as private versions: what was trained, from what, by whom, and the hash of its bytes.

create table model (
    id         uuid primary key,
    account_id uuid not null,
    name       text not null check (length(name) between 1 and 100),
    version    integer not null check (version >= 1),
    visibility text not null default 'private' check (visibility in ('private')),
    job_id     uuid not null unique,
    node_id    uuid,
    sha256     text not null check (sha256 ~ '^[0-9a-f]{64}$'),
    bytes      bigint not null check (bytes > 0),
    format     text not null default 'safetensors',
    dataset    text not null,
    spec       jsonb not null,
    metrics    jsonb not null,
    created_at timestamptz not null default now(),
    unique (account_id, name, version)
);
create index model_of_account on model (account_id, id desc);

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
