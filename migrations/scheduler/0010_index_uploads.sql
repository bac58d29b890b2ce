-- Whether jobs still need an upload: data sets by hash are uploads, by name the catalogue's.
create index job_by_upload on job (dataset, account_id) where ended_at is null and length(dataset) = 64;
