-- Nodes that take nothing new for now, and how a node's assignments ended.
alter table node add closed text not null default ''; -- why nothing new is placed here; '' when it is open
create index assignment_of_node on assignment (node_id);
