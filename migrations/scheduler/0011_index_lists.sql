-- Lists of an account's jobs in other orders than that of their ids.
create index job_by_account_name on job (account_id, name, id);
create index job_by_account_state on job (account_id, state, id);
