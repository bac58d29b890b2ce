-- Jobs that are left alone for a while before they are tried again.
create index job_not_before on job (not_before) where state = 'queued' and not_before > '-infinity';
