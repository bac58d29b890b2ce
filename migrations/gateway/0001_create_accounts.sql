-- Accounts, the ways to sign in, the artifacts that jobs own; outbox and inbox as libs/store/outbox.h asks.

create table account (
    id            uuid primary key,
    email         text not null unique check (email = lower(email) and length(email) between 3 and 254),
    name          text not null check (length(name) between 1 and 100),
    role          text not null check (role in ('user', 'operator', 'admin')),
    password_hash text not null check (password_hash like '$argon2id$%'),
    created_at    timestamptz not null default now()
);

-- Only the SHA-256 of a session's token is kept, so that who reads this table cannot sign in.
create table session (
    token_hash text primary key check (token_hash ~ '^[0-9a-f]{64}$'),
    account_id uuid not null references account (id) on delete cascade,
    created_at timestamptz not null default now(),
    expires_at timestamptz not null
);
create index session_account on session (account_id);
create index session_expiry on session (expires_at);

create table api_key (
    id           uuid primary key,
    account_id   uuid not null references account (id) on delete cascade,
    name         text not null check (length(name) between 1 and 100),
    prefix       text not null,
    key_hash     text not null unique check (key_hash ~ '^[0-9a-f]{64}$'),
    created_at   timestamptz not null default now(),
    last_used_at timestamptz,
    revoked_at   timestamptz
);
create index api_key_account on api_key (account_id, created_at desc) where revoked_at is null;

-- Which job has which bytes: who may read an artifact follows from it. The bytes lie in the blob store.
create table artifact (
    sha256     text not null check (sha256 ~ '^[0-9a-f]{64}$'),
    job_id     uuid not null,
    node_id    uuid not null,
    token      bigint not null,
    bytes      bigint not null check (bytes >= 0),
    created_at timestamptz not null default now(),
    primary key (sha256, job_id)
);
create index artifact_job on artifact (job_id);

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
