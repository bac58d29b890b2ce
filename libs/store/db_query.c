#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "store/db_internal.h"

#include "base/banned.h"

enum { PARAMS_MAX = 32, NUMBER_BYTES = 32 };

/* Status by SQLSTATE: the first row whose prefix fits. */
static const struct {
    const char *prefix;
    enum cyx_status status;
} sqlstates[] = {
    {"23505", CYX_ERR_CONFLICT},    /* unique_violation */
    {"23P01", CYX_ERR_CONFLICT},    /* exclusion_violation */
    {"23", CYX_ERR_INVALID},        /* check, not null, foreign key */
    {"22", CYX_ERR_INVALID},        /* a value that the type does not take */
    {"P0001", CYX_ERR_CONFLICT},    /* raise exception in a trigger: a rule says no */
    {"40", CYX_ERR_CONFLICT},       /* serialization failure, deadlock */
    {"55P03", CYX_ERR_TIMEOUT},     /* lock_not_available */
    {"57014", CYX_ERR_TIMEOUT},     /* query_canceled, by the time limit */
    {"25P03", CYX_ERR_TIMEOUT},     /* idle_in_transaction_session_timeout */
    {"57P", CYX_ERR_UNAVAILABLE},   /* shutdown, crash, still starting */
    {"08", CYX_ERR_UNAVAILABLE},    /* connection lost */
    {"53300", CYX_ERR_UNAVAILABLE}, /* too_many_connections */
    {"53200", CYX_ERR_NO_MEMORY},
    {"53", CYX_ERR_IO}, /* disk full */
    {"58", CYX_ERR_IO},
    {"54", CYX_ERR_TOO_LARGE},
    {"42501", CYX_ERR_DENIED},
    {"28", CYX_ERR_DENIED},
};

void cyx_db_put_element(struct cyx_buf *text, const char *element)
{
    cyx_buf_puts(text, text->length ? "," : "{");
    if (!element) {
        cyx_buf_puts(text, "null");
        return;
    }
    cyx_buf_puts(text, "\"");
    while (*element) {
        size_t plain = strcspn(element, "\"\\");
        cyx_buf_append(text, element, plain);
        element += plain;
        if (*element) {
            const char escaped[2] = {'\\', *element++};
            cyx_buf_append(text, escaped, sizeof(escaped));
        }
    }
    cyx_buf_puts(text, "\"");
}

static enum cyx_status status_of(const char *sqlstate)
{
    for (size_t i = 0; i < sizeof(sqlstates) / sizeof(sqlstates[0]); i++)
        if (strncmp(sqlstate, sqlstates[i].prefix, strlen(sqlstates[i].prefix)) == 0)
            return sqlstates[i].status;
    return CYX_ERR_INTERNAL;
}

enum cyx_status cyx_db_fail(struct cyx_db_conn *conn, const PGresult *result, struct cyx_error *err)
{
    const char *sqlstate = result ? PQresultErrorField(result, PG_DIAG_SQLSTATE) : NULL;
    const char *constraint = result ? PQresultErrorField(result, PG_DIAG_CONSTRAINT_NAME) : NULL;
    const char *primary = result ? PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY) : NULL;
    snprintf(conn->sqlstate, sizeof(conn->sqlstate), "%s", sqlstate ? sqlstate : "");
    snprintf(conn->constraint, sizeof(conn->constraint), "%s", constraint ? constraint : "");
    if (!sqlstate) { /* libpq's own: the connection broke, at times before PQstatus() knows */
        const char *why = PQerrorMessage(conn->pg);
        conn->broken = true;
        return cyx_error_set(err, CYX_ERR_UNAVAILABLE, NULL, "database: %.*s",
                             (int)strcspn(why, "\n"), why);
    }
    if (!primary)
        primary = "failed";
    if (constraint)
        return cyx_error_set(err, status_of(sqlstate), NULL,
                             "database: %s (SQLSTATE %s, constraint %s)", primary, sqlstate,
                             constraint);
    return cyx_error_set(err, status_of(sqlstate), NULL, "database: %s (SQLSTATE %s)", primary,
                         sqlstate);
}

static enum cyx_status finish(struct cyx_db_conn *conn, PGresult *result,
                              struct cyx_db_result **ret_result, struct cyx_error *err)
{
    ExecStatusType kind = PQresultStatus(result);
    enum cyx_status status = CYX_OK;
    if (kind == PGRES_COMMAND_OK || kind == PGRES_TUPLES_OK)
        conn->sqlstate[0] = conn->constraint[0] = '\0';
    else
        status = cyx_db_fail(conn, result, err);
    if (status == CYX_OK && ret_result)
        *ret_result = (struct cyx_db_result *)result;
    else
        PQclear(result);
    return status;
}

/* A parameter as libpq wants it; numbers are written into `text`. */
static const char *param_value(const struct cyx_db_param *param, char text[NUMBER_BYTES])
{
    switch (param->kind) {
    case CYX_DB_KIND_INT:
        snprintf(text, NUMBER_BYTES, "%lld", (long long)param->integer);
        return text;
    case CYX_DB_KIND_DOUBLE:
        if (isnan(param->number))
            return "NaN";
        if (isinf(param->number))
            return param->number > 0 ? "Infinity" : "-Infinity";
        snprintf(text, NUMBER_BYTES, "%.17g", param->number);
        return text;
    case CYX_DB_KIND_BOOL:
        return param->integer ? "t" : "f";
    case CYX_DB_KIND_TEXT:
    case CYX_DB_KIND_BYTES:
        break;
    }
    return param->pointer;
}

enum cyx_status cyx_db_query_params(struct cyx_db_conn *conn, const char *sql, size_t count,
                                    const struct cyx_db_param *params,
                                    struct cyx_db_result **ret_result, struct cyx_error *err)
{
    if (count > PARAMS_MAX)
        return cyx_error_set(err, CYX_ERR_INTERNAL, NULL,
                             "database: %zu parameters are over the limit of %d", count,
                             PARAMS_MAX);
    const char *values[PARAMS_MAX + 1] = {NULL};
    int lengths[PARAMS_MAX + 1] = {0}, formats[PARAMS_MAX + 1] = {0};
    char numbers[PARAMS_MAX][NUMBER_BYTES];
    for (size_t i = 0; i < count; i++) {
        values[i] = param_value(&params[i], numbers[i]);
        if (params[i].kind != CYX_DB_KIND_BYTES)
            continue;
        if (params[i].length > INT32_MAX)
            return cyx_error_set(err, CYX_ERR_TOO_LARGE, NULL,
                                 "database: parameter %zu is over 2 GiB", i + 1);
        lengths[i] = (int)params[i].length;
        formats[i] = 1;
    }
    char name[CYX_DB_NAME_BYTES];
    PGresult *result = NULL;
    if (cyx_db_prepare(conn, sql, name, &result))
        result = PQexecPrepared(conn->pg, name, (int)count, values, lengths, formats, 0);
    else if (!result)
        result = PQexecParams(conn->pg, sql, (int)count, NULL, values, lengths, formats, 0);
    enum cyx_status status = finish(conn, result, ret_result, err);
    if (strcmp(conn->sqlstate, "0A000") == 0) /* its plan no longer fits a table that has changed */
        conn->broken = true;
    return status;
}

enum cyx_status cyx_db_query_one_params(struct cyx_db_conn *conn, const char *sql, size_t count,
                                        const struct cyx_db_param *params,
                                        struct cyx_db_result **ret_result, struct cyx_error *err)
{
    struct cyx_db_result *result = NULL;
    enum cyx_status status = cyx_db_query_params(conn, sql, count, params, &result, err);
    if (status != CYX_OK)
        return status;
    size_t rows = cyx_db_rows(result);
    if (rows != 1) {
        cyx_db_result_free(result);
        if (rows == 0)
            return cyx_error_set(err, CYX_ERR_NOT_FOUND, NULL, "database: no such row");
        return cyx_error_set(err, CYX_ERR_INTERNAL, NULL, "database: wanted one row, got %zu",
                             rows);
    }
    if (ret_result)
        *ret_result = result;
    else
        cyx_db_result_free(result);
    return CYX_OK;
}

enum cyx_status cyx_db_run_params(struct cyx_db *self, const char *sql, size_t count,
                                  const struct cyx_db_param *params,
                                  struct cyx_db_result **ret_result, struct cyx_error *err)
{
    struct cyx_db_conn *conn = NULL;
    enum cyx_status status = cyx_db_take(self, &conn, err);
    if (status == CYX_OK)
        status = cyx_db_query_params(conn, sql, count, params, ret_result, err);
    cyx_db_give(conn);
    return status;
}

enum cyx_status cyx_db_run_one_params(struct cyx_db *self, const char *sql, size_t count,
                                      const struct cyx_db_param *params,
                                      struct cyx_db_result **ret_result, struct cyx_error *err)
{
    struct cyx_db_conn *conn = NULL;
    enum cyx_status status = cyx_db_take(self, &conn, err);
    if (status == CYX_OK)
        status = cyx_db_query_one_params(conn, sql, count, params, ret_result, err);
    cyx_db_give(conn);
    return status;
}

enum cyx_status cyx_db_script(struct cyx_db_conn *conn, const char *sql, struct cyx_error *err)
{
    PGresult *result = PQexec(conn->pg, sql);
    if (PQresultStatus(result) == PGRES_EMPTY_QUERY) {
        PQclear(result);
        return CYX_OK;
    }
    return finish(conn, result, NULL, err);
}

const char *cyx_db_constraint(const struct cyx_db_conn *conn)
{
    return conn->constraint;
}

const char *cyx_db_sqlstate(const struct cyx_db_conn *conn)
{
    return conn->sqlstate;
}

static const PGresult *pg_of(const struct cyx_db_result *result)
{
    return (const PGresult *)result;
}

size_t cyx_db_rows(const struct cyx_db_result *result)
{
    return result ? (size_t)PQntuples(pg_of(result)) : 0;
}

size_t cyx_db_affected(const struct cyx_db_result *result)
{
    if (!result)
        return 0;
    return (size_t)strtoull(PQcmdTuples((PGresult *)result), NULL, 10);
}

bool cyx_db_null(const struct cyx_db_result *result, size_t row, size_t column)
{
    return PQgetisnull(pg_of(result), (int)row, (int)column) == 1;
}

const char *cyx_db_text(const struct cyx_db_result *result, size_t row, size_t column)
{
    const char *text = PQgetvalue(pg_of(result), (int)row, (int)column);
    return text ? text : "";
}

int64_t cyx_db_int(const struct cyx_db_result *result, size_t row, size_t column)
{
    const char *text = cyx_db_text(result, row, column);
    char *end = NULL;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    return errno || end == text || *end ? 0 : value;
}

double cyx_db_double(const struct cyx_db_result *result, size_t row, size_t column)
{
    return strtod(cyx_db_text(result, row, column), NULL);
}

bool cyx_db_bool(const struct cyx_db_result *result, size_t row, size_t column)
{
    return cyx_db_text(result, row, column)[0] == 't';
}

int64_t cyx_db_time_ms(const struct cyx_db_result *result, size_t row, size_t column)
{
    /* "2026-11-24 02:25:00.125+00", since the session is set to ISO and UTC. */
    const char *text = cyx_db_text(result, row, column);
    char rfc3339[48];
    int64_t time_ms = 0;
    size_t length = strcspn(text, "+");
    if (length < 19 || length > 40 || text[10] != ' ')
        return 0;
    snprintf(rfc3339, sizeof(rfc3339), "%.10sT%.*sZ", text, (int)length - 11, text + 11);
    return cyx_time_parse(rfc3339, &time_ms) == CYX_OK ? time_ms : 0;
}

enum cyx_status cyx_db_bytes(const struct cyx_db_result *result, size_t row, size_t column,
                             void **ret_bytes, size_t *ret_length)
{
    if (cyx_db_null(result, row, column))
        return CYX_ERR_NOT_FOUND;
    size_t length = 0;
    unsigned char *decoded =
        PQunescapeBytea((const unsigned char *)cyx_db_text(result, row, column), &length);
    void *copy = decoded ? malloc(length + 1) : NULL;
    if (copy) {
        memcpy(copy, decoded, length);
        ((char *)copy)[length] = '\0';
        *ret_bytes = copy;
        *ret_length = length;
    }
    PQfreemem(decoded);
    return copy ? CYX_OK : CYX_ERR_NO_MEMORY;
}

void cyx_db_result_free(struct cyx_db_result *result)
{
    PQclear((PGresult *)result);
}

void cyx_db_result_cleanup(struct cyx_db_result **result)
{
    cyx_db_result_free(*result);
    *result = NULL;
}
