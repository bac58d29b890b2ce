-- Scopes and expiry of API keys, wallets that sign in, the audit log.

alter table api_key
    add column scopes text not null default 'read write account admin',
    add column expires_at timestamptz;

-- An Ed25519 key that signs in for an account. A key belongs to one account.
create table wallet (
    id           uuid primary key,
    account_id   uuid not null references account (id) on delete cascade,
    public_key   text not null unique check (public_key ~ '^[0-9a-f]{64}$'),
    name         text not null check (length(name) between 1 and 100),
    created_at   timestamptz not null default now(),
    last_used_at timestamptz
);
create index wallet_account on wallet (account_id, created_at desc);

-- What a wallet was asked to sign; whoever answers deletes it, so that it serves once.
create table wallet_challenge (
    nonce      text primary key check (nonce ~ '^[0-9a-f]{64}$'),
    purpose    text not null check (purpose in ('sign-in', 'link')),
    public_key text not null check (public_key ~ '^[0-9a-f]{64}$'),
    message    text not null,
    expires_at timestamptz not null
);
create index wallet_challenge_expiry on wallet_challenge (expires_at);

-- Who did what. Rows outlive the account and the key that they name; nothing but the service writes here.
create table audit (
    id         bigint generated always as identity primary key,
    at         timestamptz not null default now(),
    account_id uuid,
    credential text not null check (credential in ('session', 'key', 'password', 'wallet', 'none')),
    key_id     uuid,
    action     text not null,
    target     text not null,
    status     integer not null,
    address    text not null,
    request_id text not null
);
create index audit_account on audit (account_id, id desc);
create index audit_action on audit (action, id desc);
