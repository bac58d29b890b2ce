-- Health: what an operator ordered, what happened to a node, and why it is silent.
alter table node
    add status_since timestamptz not null default now(),
    add drained_at timestamptz,  -- an operator wants nothing new placed here
    add drain_reason text,
    add closed text not null default '', -- as the others were told last: '', 'draining', 'maintenance' or 'unproven'
    add silent_code text,        -- why it is offline, as far as is known; null while it is online
    add silent_message text;

-- From then to then nothing new is placed on the node, and its silence alarms nobody.
create table maintenance (
    id        uuid primary key,
    node_id   uuid not null references node (id),
    starts_at timestamptz not null,
    ends_at   timestamptz not null check (ends_at > starts_at),
    reason    text not null default '' check (length(reason) <= 200)
);
create index maintenance_of_node on maintenance (node_id, ends_at);

-- What became of a node, for its uptime and for those who wonder; kept for 90 days.
create table node_event (
    id      bigint generated always as identity primary key,
    node_id uuid not null,
    at      timestamptz not null default now(),
    kind    text not null check (kind in ('enrolled', 'online', 'offline', 'silent', 'closed', 'opened')),
    reason  text not null default ''
);
create index node_event_of_node on node_event (node_id, at desc, id desc);
