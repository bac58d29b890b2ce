/*
 * Migrations: files NNNN_verb_noun.sql in one folder, applied in order of their numbers, forward
 * only.
 *
 * All that is missing is applied in one transaction under an advisory lock, so that replicas may
 * start at once and a file that fails leaves nothing behind. The schema (named after the service,
 * given to cyx_db_open) is created and is the search_path while the files run; they hold plain
 * statements and no begin or commit. <schema>.schema_migrations remembers number, name and SHA-256
 * of each: a file that was changed or removed after it was applied is refused with a sentence that
 * says so.
 *
 *     cyx_migrate(db, "/usr/share/cyxwiz/migrations/scheduler", &err);
 */
#ifndef CYX_STORE_MIGRATE_H
#define CYX_STORE_MIGRATE_H

#include "store/db.h"

/* `folder` holds the service's files, such as migrations/scheduler. A file is at most 1 MiB. */
enum cyx_status cyx_migrate(struct cyx_db *db, const char *folder, struct cyx_error *err);

#endif
