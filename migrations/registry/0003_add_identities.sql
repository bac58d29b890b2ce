-- Who a node is: the keys that it had, and the tokens that let one in.
create table identity (
    node_id       uuid primary key,
    joined_at     timestamptz not null default now(),
    revoked_at    timestamptz, -- null: it may work
    revoked_why   text,
    rotate_wanted boolean not null default false -- an operator asked it for a new key
);

-- Every key that a node ever had; the one that is not revoked is its own now.
create table node_key (
    public_key text primary key check (length(public_key) = 56),
    node_id    uuid not null references identity (node_id),
    added_at   timestamptz not null default now(),
    revoked_at timestamptz,
    revoked_why text
);
create unique index node_key_of_node on node_key (node_id) where revoked_at is null;
create index node_key_revoked_at on node_key (revoked_at) where revoked_at is not null;

-- Good once, until then; only its SHA-256 is kept.
create table enrol_token (
    hash       text primary key check (length(hash) = 64),
    node_id    uuid, -- the node that gets a new key by it; null: a new node
    made_by    text not null, -- the account
    made_at    timestamptz not null default now(),
    expires_at timestamptz not null,
    used_at    timestamptz,
    used_by    uuid
);
create index enrol_token_expires_at on enrol_token (expires_at);
