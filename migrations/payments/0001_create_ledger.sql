-- The ledger: double entry, append-only. The database itself refuses a transfer that does not sum to zero, an
-- account below zero that may not be, and any change of what was written.

create table ledger_account (
    id         uuid primary key,
    kind       text not null check (kind in ('user', 'node', 'platform', 'escrow', 'external')),
    owner_id   uuid, -- the account, node or job; null for platform and external
    balance    bigint not null default 0, -- base units, kept by the trigger below
    entries    bigint not null default 0,
    created_at timestamptz not null default now(),
    unique nulls not distinct (kind, owner_id),
    constraint balance_not_negative check (balance >= 0 or kind = 'external')
);

create table transfer (
    id              uuid primary key,
    idempotency_key text not null unique check (length(idempotency_key) between 1 and 128),
    kind            text not null check (kind in ('grant', 'hold', 'release', 'refund')),
    job_id          uuid,
    memo            text not null default '',
    created_at      timestamptz not null default now()
);
create index transfer_job on transfer (job_id) where job_id is not null;

create table entry (
    seq               bigint generated always as identity primary key,
    id                uuid not null unique,
    transfer_id       uuid not null references transfer (id),
    ledger_account_id uuid not null references ledger_account (id),
    amount            bigint not null check (amount <> 0), -- positive: into the account
    balance           bigint not null default 0,           -- of the account behind this entry
    created_at        timestamptz not null default now()
);
create index entry_account on entry (ledger_account_id, seq desc);
create index entry_transfer on entry (transfer_id);

create function apply_entry() returns trigger language plpgsql as $$
begin
    update ledger_account set balance = balance + new.amount, entries = entries + 1
     where id = new.ledger_account_id returning balance into new.balance;
    return new;
end $$;
create trigger apply_entry before insert on entry for each row execute function apply_entry();

create function check_transfer_sums_to_zero() returns trigger language plpgsql as $$
declare
    total numeric;
begin
    select sum(amount) into total from entry where transfer_id = new.transfer_id;
    if total <> 0 then
        raise exception 'transfer % sums to %, not to zero', new.transfer_id, total
            using errcode = 'check_violation', constraint = 'transfer_sums_to_zero';
    end if;
    return null;
end $$;
create constraint trigger transfer_sums_to_zero after insert on entry
    deferrable initially deferred for each row execute function check_transfer_sums_to_zero();

create function refuse_change() returns trigger language plpgsql as $$
begin
    raise exception '% is append-only: write a new entry instead', tg_table_name
        using errcode = 'check_violation', constraint = 'append_only';
end $$;
create trigger append_only before update or delete on entry for each row execute function refuse_change();
create trigger append_only before update or delete on transfer for each row execute function refuse_change();

-- What is held for a job and what became of it. 'void': the job ended before anything was held.
create table escrow (
    job_id       uuid primary key,
    account_id   uuid not null,
    state        text not null check (state in ('held', 'refused', 'settled', 'refunded', 'void')),
    held         bigint not null default 0 check (held >= 0),
    released     bigint not null default 0 check (released >= 0),
    refunded     bigint not null default 0 check (refunded >= 0),
    node_id      uuid,
    node_share   bigint not null default 0 check (node_share >= 0),
    platform_fee bigint not null default 0 check (platform_fee >= 0),
    reason       text not null default '',
    created_at   timestamptz not null default now(),
    ended_at     timestamptz,
    constraint released_and_refunded_is_held
        check (state not in ('settled', 'refunded') or released + refunded = held),
    constraint shares_are_released check (node_share + platform_fee = released)
);

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
