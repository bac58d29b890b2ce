-- Claims are proved by benchmarks. What they gave stands with each device in node.devices ("proof").
alter table node
    add proof_closed text not null default '', -- '', 'proving' or 'unproven': what the benchmarks say of it
    add proof_due_at timestamptz;              -- when a device of it is to be challenged next; null: not at all
create index node_proof_due_at on node (proof_due_at) where proof_due_at is not null;

-- The challenge that a node is at: one at a time. The clock runs from started_at, when it was told the seed.
create table challenge (
    node_id      uuid primary key references node (id),
    id           uuid not null unique,
    boot_id      uuid not null,
    backend      text not null,
    device_index integer not null,
    made_at      timestamptz not null default clock_timestamp(),
    started_at   timestamptz,
    seed         bigint,
    width        integer,
    depth        integer,
    rows         integer,
    told         jsonb -- what the node said that it measured
);
create index challenge_made_at on challenge (made_at);
