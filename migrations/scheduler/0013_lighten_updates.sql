-- A job changes its state three times, and each change writes its row anew and an entry into each index that covers all
-- rows. So the spec, most of the row, stands beside it, and indexes that need not cover all rows do not.
create table job_spec (
    job_id uuid primary key references job (id),
    spec   json not null -- canonical text, as cyx_job_spec_parse() gives it
);
insert into job_spec (job_id, spec) select id, spec from job;

create or replace function guard_job() returns trigger language plpgsql as $$
begin
    if tg_op = 'DELETE' then
        raise exception 'jobs are kept: % cannot be deleted', old.id using errcode = 'check_violation';
    end if;
    if new.id <> old.id or new.account_id <> old.account_id then
        raise exception 'job %: id and account do not change', old.id using errcode = 'check_violation';
    end if;
    if new.token < old.token then
        raise exception 'job %: the token never falls', old.id using errcode = 'check_violation';
    end if;
    if old.state in ('completed', 'failed', 'cancelled') and
       (new.state <> old.state or new.ended_at <> old.ended_at or new.token <> old.token
        or new.result::text is distinct from old.result::text
        or new.error::text is distinct from old.error::text
        or new.model_sha256 is distinct from old.model_sha256
        or new.model_bytes is distinct from old.model_bytes
        or new.device_ms <> old.device_ms) then
        raise exception 'job % is %: what has ended does not change', old.id, old.state
            using errcode = 'check_violation';
    end if;
    if new.state <> old.state and (old.state, new.state) not in
       (('queued', 'assigned'), ('queued', 'cancelled'), ('queued', 'failed'),
        ('assigned', 'running'), ('assigned', 'queued'), ('assigned', 'cancelled'), ('assigned', 'failed'),
        ('running', 'completed'), ('running', 'failed'), ('running', 'cancelled'), ('running', 'queued')) then
        raise exception 'job %: % does not become %', old.id, old.state, new.state
            using errcode = 'check_violation';
    end if;
    return new;
end
$$;
create function guard_spec() returns trigger language plpgsql as $$
begin
    raise exception 'specs are neither changed nor deleted: %', old.job_id using errcode = 'check_violation';
end
$$;
create trigger guard_spec before update or delete on job_spec for each row execute function guard_spec();

alter table job drop column spec;

drop index job_by_state;
create index job_active on job (state, id desc) where state in ('queued', 'assigned', 'running');
alter table job drop constraint job_account_id_idempotency_key_key;
create unique index job_key on job (account_id, idempotency_key) where idempotency_key is not null;
