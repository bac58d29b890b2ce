-- Whose order a drain is: a node takes back its own, operators any.
alter table node add drained_by_node boolean not null default false;
