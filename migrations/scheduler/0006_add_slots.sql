-- A node with several GPUs takes a job on each: it has so many slots, and no slot has two jobs.
alter table node add slots smallint not null default 1 check (slots between 1 and 32);
alter table assignment add slot smallint not null default 0 check (slot between 0 and 31);
drop index assignment_one_a_node;
create unique index assignment_one_a_slot on assignment (node_id, slot) where ended_at is null;
