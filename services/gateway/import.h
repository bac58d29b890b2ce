/*
 * Brings the data-set files that lie in CYXWIZ_DATA_DIR into the artifact store, so that workers can fetch them by
 * hash: linked, not copied, after their SHA-256 was compared with the catalogue's. A thread does it, so that the
 * gateway starts at once; it looks again every few seconds for files that came later, and sweeps uploads that
 * nobody went on with for a day.
 *
 * Ownership: the importer borrows the store and the folder's name. Any thread.
 *
 *     if (!importer_available(importer, set, 10000))
 *         …422, with importer_remedy(set, text, sizeof(text))
 */
#ifndef CYX_GATEWAY_IMPORT_H
#define CYX_GATEWAY_IMPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "blob/blob.h"
#include "contract/dataset.h"

struct importer;

/* Starts the thread. `data_dir` NULL: only what is in the store already is available. */
enum cyx_status importer_create(struct cyx_blob_store *blobs, const char *data_dir,
                                struct importer **ret_importer, struct cyx_error *err);

/* Waits for the look at a file in progress to end. NULL is fine. */
void importer_destroy(struct importer *self);

/*
 * Whether all files of the set are in the store, verified. When they are not, looks again at once and waits up to
 * `wait_ms` for that; 0 answers from the last look.
 */
bool importer_available(struct importer *self, const struct cyx_dataset *set, int64_t wait_ms);

/* "run `cyxwiz data fetch mnist` on …", for people. */
void importer_remedy(const struct cyx_dataset *set, char *ret_text, size_t size);

#endif
