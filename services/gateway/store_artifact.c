#include <stdio.h>

#include "store_internal.h"

#include "base/banned.h"

enum cyx_status store_artifact_add(struct store *self, const struct store_artifact *artifact,
                                   struct cyx_error *err)
{
    return cyx_db_run(self->db,
                      "insert into artifact (sha256, job_id, node_id, token, bytes) "
                      "values ($1, $2, $3, $4, $5) on conflict (sha256, job_id) do nothing",
                      NULL, err, CYX_DB_TEXT(artifact->sha256), CYX_DB_TEXT(artifact->job_id),
                      CYX_DB_TEXT(artifact->node_id), CYX_DB_INT(artifact->token),
                      CYX_DB_INT(artifact->bytes));
}

enum cyx_status store_artifact_find(struct store *self, const char *sha256, const char *job_id,
                                    struct cyx_error *err)
{
    CYX_CLEANUP_RESULT struct cyx_db_result *row = NULL;
    return cyx_db_run_one(self->db, "select 1 from artifact where sha256 = $1 and job_id = $2",
                          &row, err, CYX_DB_TEXT(sha256), CYX_DB_TEXT(job_id));
}

enum cyx_status store_artifact_jobs(struct store *self, const char *sha256,
                                    char ret_job_ids[STORE_ARTIFACT_JOBS][CYX_ID_BYTES],
                                    size_t *ret_count, struct cyx_error *err)
{
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    enum cyx_status status =
        cyx_db_run(self->db,
                   "select job_id from artifact where sha256 = $1 "
                   "order by created_at desc limit $2",
                   &rows, err, CYX_DB_TEXT(sha256), CYX_DB_INT(STORE_ARTIFACT_JOBS));
    if (status != CYX_OK)
        return status;
    size_t count = cyx_db_rows(rows);
    for (size_t i = 0; i < count && i < STORE_ARTIFACT_JOBS; i++)
        snprintf(ret_job_ids[i], CYX_ID_BYTES, "%s", cyx_db_text(rows, i, 0));
    *ret_count = count < STORE_ARTIFACT_JOBS ? count : STORE_ARTIFACT_JOBS;
    return CYX_OK;
}
