-- Device time is counted up from renewal to renewal, each span at most a lease: a step of the database's clock then
-- neither charges an hour nor takes one back.
alter table assignment add used_ms bigint not null default 0 check (used_ms >= 0);
