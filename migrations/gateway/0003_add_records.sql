-- What stays of an ended job's telemetry when the stream has forgotten it: fewer points, and the log as an artifact.
create table record (
    job_id     uuid primary key,
    kept_at    timestamptz not null default now(),
    points     json not null,            -- metrics in the order of their sequences, each with its own
    n_points   integer not null,
    n_seen     bigint not null,          -- of which so many were made
    log_sha256 text check (log_sha256 ~ '^[0-9a-f]{64}$'), -- one line of JSON each; null: no lines
    log_bytes  bigint not null default 0,
    log_lines  bigint not null default 0
);
