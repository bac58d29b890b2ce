-- What an operator says of a node: labels joined by commas ("disk=ssd,lab"), and where it stands.
alter table node
    add labels text not null default '' check (length(labels) <= 1056),
    add region text not null default '' check (length(region) <= 64);
