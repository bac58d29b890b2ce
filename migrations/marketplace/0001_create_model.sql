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
