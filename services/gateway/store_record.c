/* What is kept of ended jobs' telemetry. */
#include <stdio.h>

#include "store_internal.h"

#include "base/banned.h"

enum cyx_status store_record_add(struct store *self, const struct store_record *record,
                                 const char *points, struct cyx_error *err)
{
    return cyx_db_run(
        self->db,
        "insert into record (job_id, points, n_points, n_seen, log_sha256, log_bytes, log_lines) "
        "values ($1, $2, $3, $4, nullif($5, ''), $6, $7) on conflict (job_id) do nothing",
        NULL, err, CYX_DB_TEXT(record->job_id), CYX_DB_TEXT(points), CYX_DB_INT(record->n_points),
        CYX_DB_INT(record->n_seen), CYX_DB_TEXT(record->log_sha256), CYX_DB_INT(record->log_bytes),
        CYX_DB_INT(record->log_lines));
}

enum cyx_status store_record_find(struct store *self, const char *job_id,
                                  struct store_record *ret_record, struct cyx_buf *ret_points,
                                  struct cyx_error *err)
{
    CYX_CLEANUP_RESULT struct cyx_db_result *row = NULL;
    enum cyx_status status =
        cyx_db_run_one(self->db,
                       "select n_points, n_seen, log_sha256, log_bytes, log_lines, "
                       "case when $2 then points end from record where job_id = $1",
                       &row, err, CYX_DB_TEXT(job_id), CYX_DB_BOOL(ret_points != NULL));
    if (status != CYX_OK)
        return status;
    struct store_record record = {.n_points = cyx_db_int(row, 0, 0),
                                  .n_seen = cyx_db_int(row, 0, 1),
                                  .log_bytes = cyx_db_int(row, 0, 3),
                                  .log_lines = cyx_db_int(row, 0, 4)};
    snprintf(record.job_id, sizeof(record.job_id), "%s", job_id);
    snprintf(record.log_sha256, sizeof(record.log_sha256), "%s", cyx_db_text(row, 0, 2));
    if (ret_points)
        cyx_buf_puts(ret_points, cyx_db_text(row, 0, 5));
    *ret_record = record;
    return CYX_OK;
}
