/*
 * An uploaded data set, made ready for the trainer: fetched by its hash, unpacked where it is an archive. Nobody vouches
 * for what it holds, so a child in the sandbox unpacks it (`cyxwiz-worker --unpack ARCHIVE FOLDER LIMIT_BYTES`), which sees
 * the archive and one folder, and ends at the limit. One thread at a time.
 *
 *     status = upload_prepare(&artifacts, sandbox, &spec->data.source, job_folder, data_folder, limit_bytes, &err);
 */
#ifndef CYX_WORKER_UPLOAD_H
#define CYX_WORKER_UPLOAD_H

#include "artifacts.h"
#include "contract/job_spec.h"
#include "sandbox.h"

/*
 * Fills `data`, a folder below `folder` that does not exist yet: with the archive's files, or with the one file as
 * source->train. What is wrong with the upload itself is CYX_ERR_INVALID at /data/dataset/upload: another node would say
 * the same. Not CYX_OK of the artifacts' beat ends it with that.
 */
enum cyx_status upload_prepare(const struct artifacts *artifacts, const struct sandbox *sandbox,
                               const struct cyx_source_spec *source, const char *folder,
                               const char *data, int64_t limit_bytes, struct cyx_error *err);

/* In the child: ARCHIVE FOLDER LIMIT_BYTES; main's exit code. */
int upload_unpack_main(char **arguments);

#endif
