-- Data sets and models that accounts bring: announced, received in parts, whole once their hash was verified.

create table upload (
    id           uuid primary key,
    account_id   uuid not null references account (id),
    kind         text not null check (kind in ('dataset', 'model')),
    name         text not null check (length(name) between 1 and 100),
    sha256       text not null check (sha256 ~ '^[0-9a-f]{64}$'),
    bytes        bigint not null check (bytes > 0),
    received     bigint not null default 0, -- by this account, of an upload that is not whole yet
    created_at   timestamptz not null default now(),
    completed_at timestamptz,
    unique (account_id, kind, sha256)
);
create index upload_created on upload (account_id, created_at desc, id desc);
create index upload_name on upload (account_id, name, id);
create index upload_bytes on upload (account_id, bytes, id);
create index upload_sha256 on upload (sha256);
