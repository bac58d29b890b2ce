/*
 * The gateway's face: HTTP and messages <-> rules and store. What the api_*.c files share, and the handlers that
 * main.c's table names.
 *
 * Every handler runs on a worker of the HTTP server, behind api_before() (who asks?) unless its route says
 * CYX_ROUTE_NO_HOOK, and may block. ctx is the struct app. Errors are left in response->error.
 */
#ifndef CYX_GATEWAY_API_H
#define CYX_GATEWAY_API_H

#include <jansson.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <string.h>

#include "blob/blob.h"
#include "blob/grant.h"
#include "gateway.h"
#include "http/server.h"
#include "http/ws.h"
#include "import.h"
#include "live.h"
#include "memo.h"
#include "store.h"
#include "svc/svc.h"

enum {
    API_ROUTE_GRANT = CYX_ROUTE_USER_1,    /* a worker's grant is a credential here too */
    API_ROUTE_OPERATOR = CYX_ROUTE_USER_2, /* for operators and administrators */
    API_ROUTE_ADMIN = CYX_ROUTE_USER_3,    /* for administrators */
    API_ROUTE_ACCOUNT = CYX_ROUTE_USER_4,  /* an API key needs the scope "account" to write */
    API_SMALL_BODY_BYTES = 16 * 1024,
    API_HASHING_AT_ONCE = 2, /* 64 MiB each */
};
#define API_ARTIFACT_LIMIT_BYTES (UINT64_C(4) << 30)

struct upload; /* api_receive.h */

struct app {
    struct cyx_svc *svc;
    struct cyx_db *db;
    struct cyx_cache *cache;
    struct cyx_bus *bus;
    struct cyx_outbox_relay *outbox;
    struct store *store;
    struct cyx_blob_store *blobs;
    struct importer *importer;
    struct live *live;
    struct readers *readers; /* of what is live */
    struct memo *memo;       /* answers to GET of a job */
    struct cyx_http_server *http;
    struct cyx_forward *forward; /* the proxies before us */
    struct prune *prune;         /* NULL: the audit log is kept */
    uint8_t grant_key[CYX_GRANT_KEY_BYTES];
    const char *public_url, *web_dir;
    const char *cors_origins; /* that may ask from pages of their own; "": none */
    char *examples;           /* the answer of GET /examples */
    sem_t hashing;
    int64_t upload_quota_bytes; /* of an account */
    int64_t sign_ins_a_minute;  /* tries from an address */
    int64_t requests_a_minute;  /* of an account; an address without a credential has a tenth */
    pthread_mutex_t uploads_lock;
    struct upload *uploads; /* in progress */
    struct cyx_metric *requests, *seconds;
};

/* Settings, the store, the first account, the HTTP server with main.c's routes; and the reverse. */
enum cyx_status api_open(struct app *app, const struct cyx_http_route *routes, size_t count,
                         struct cyx_error *err);
void api_close(struct app *app);

/* ---- who asks ---------------------------------------------------------------------------------- */

enum api_caller_kind { API_CALLER_SESSION, API_CALLER_KEY, API_CALLER_GRANT };

struct api_caller { /* request->user behind api_before() */
    enum api_caller_kind kind;
    struct gateway_account account; /* not for grants */
    struct cyx_grant grant;         /* for grants alone */
    const char *session_token;      /* for sessions alone, as the other two */
    char session_hash[GATEWAY_HASH_BYTES];
    int64_t expires_ms;        /* of session or key; 0: never */
    unsigned scopes;           /* enum gateway_scope */
    char key_id[CYX_ID_BYTES]; /* for keys alone */
    bool audited;              /* its end goes into the audit log */
};

static inline const struct api_caller *api_caller(const struct cyx_http_request *request)
{
    return request->user;
}

/* A limit: at most `a_minute` of `what`, counted for `who` of this `kind`. */
struct api_rate {
    const char *kind, *who, *what;
    int64_t a_minute;
};

/* Counts one; sets the RateLimit headers. CYX_ERR_RATE_LIMITED with Retry-After when it is one too many. */
enum cyx_status api_limit(struct app *app, struct cyx_http_response *response,
                          const struct api_rate *rate);

/* The same for an account, without waiting: false when a worker must do it. */
bool api_limit_peek(struct app *app, struct cyx_http_response *response, const char *account_id);

/* Hooks of the HTTP server. */
enum cyx_status api_before(void *ctx, const struct cyx_http_route *route,
                           struct cyx_http_request *request, struct cyx_http_response *response);
void api_after(void *ctx, const struct cyx_http_route *route,
               const struct cyx_http_request *request, struct cyx_http_response *response);

/* Whether users come by HTTPS, here or through a proxy. */
static inline bool api_secure(const struct app *app)
{
    return strncmp(app->public_url, "https://", 8) == 0;
}

/* ---- signing in (api_session.c) ---------------------------------------------------------------- */

/* A try, for the audit log. */
struct api_sign_in {
    const char *action, *credential; /* as struct store_audit has them */
    const char *name;                /* the address or key that was named */
    const char *account_id;          /* NULL: nobody's */
    int http;
};

/* Counts a try from this address; CYX_ERR_RATE_LIMITED with Retry-After when it is one too many. */
enum cyx_status api_limit_sign_in(struct app *app, const struct cyx_http_request *request,
                                  struct cyx_http_response *response);

/* Answers 201 with a new session and its cookie, and notes it. */
enum cyx_status api_open_session(struct app *app, const struct cyx_http_request *request,
                                 struct cyx_http_response *response,
                                 const struct gateway_account *account,
                                 const struct api_sign_in *sign_in);

/* Notes a refusal (401 alone; not a broken body) and gives `status` back. */
enum cyx_status api_refuse_sign_in(struct app *app, const struct cyx_http_request *request,
                                   const struct api_sign_in *sign_in, enum cyx_status status);

/* Takes as long for an address that has no account as for a wrong password: CYX_ERR_UNAUTHENTICATED. */
enum cyx_status api_check_password(struct app *app, const char *email, const char *password,
                                   struct gateway_account *ret_account, struct cyx_error *err);

enum cyx_status api_hash_password(struct app *app, const char *password,
                                  char ret_hash[GATEWAY_PASSWORD_HASH_BYTES],
                                  struct cyx_error *err);

json_t *api_account_json(const struct gateway_account *account);

/* ---- the audit log (api_audit.c) --------------------------------------------------------------- */

void api_audit_request(struct app *app, const struct cyx_http_route *route,
                       const struct cyx_http_request *request, int http);
void api_audit_sign_in(struct app *app, const struct cyx_http_request *request,
                       const struct api_sign_in *sign_in);

/* Whether Origin is absent or one of the gateway's own. */
bool api_origin_own(const struct app *app, const struct cyx_http_request *request);

/* ---- bodies, calls, answers -------------------------------------------------------------------- */

/* The request's JSON; broken JSON is answered 400 with line and column. The caller drops the reference. */
enum cyx_status api_body(const struct cyx_http_request *request, struct cyx_http_response *response,
                         json_t **ret_json);

/* The same for an object that has the keys `allowed` (ends with NULL) and no others, 422 otherwise. */
enum cyx_status api_body_object(const struct cyx_http_request *request,
                                struct cyx_http_response *response, const char *const *allowed,
                                json_t **ret_object);

struct api_call {
    const char *service; /* for the sentence that says who is away */
    const char *subject;
    json_t *body;   /* taken over; NULL: no memory */
    bool own_body;  /* its members are the caller's own: errors may point into it */
    int timeout_ms; /* 0: CYX_REQUEST_TIMEOUT_MS */
};

/* A request over the bus on the caller's behalf. A service that is away: 503 with Retry-After. */
enum cyx_status api_call(struct app *app, const struct cyx_http_request *request,
                         struct cyx_http_response *response, const struct api_call *call,
                         json_t **ret_reply);

/* scheduler.get of a job of the caller's account; the path's {id}. The caller drops the reference. */
enum cyx_status api_own_job(struct app *app, const struct cyx_http_request *request,
                            struct cyx_http_response *response, json_t **ret_job);

/* The path's {id}; anything that is not a UUID is 404. */
enum cyx_status api_path_id(const struct cyx_http_request *request,
                            struct cyx_http_response *response, const char **ret_id);

/* Answers with `json` and drops the reference; NULL is CYX_ERR_NO_MEMORY. */
enum cyx_status api_respond(struct cyx_http_response *response, int http, json_t *json);

/* Fails with `http` instead of the status's own code. */
#define api_fail_as(response, http, status, pointer, ...)                                          \
    ((response)->error_http = (http),                                                              \
     cyx_error_set(&(response)->error, (status), (pointer), __VA_ARGS__))

/* problem+json as text, from the arena. `http` 0: the status's own. */
json_t *api_problem(const struct cyx_error *error, const char *instance, const char *request_id);

/* An artifact's bytes with Range and ETag; CYX_ERR_NOT_FOUND when they are not here. */
enum cyx_status api_send_blob(struct app *app, const struct cyx_http_request *request,
                              struct cyx_http_response *response, const char *sha256,
                              const char *download_name);

/* "name" made fit for a file name, from the arena: letters, digits, ".", "_" and "-". */
const char *api_file_name(const struct cyx_http_request *request, const char *name,
                          const char *suffix);

/* Whether the bytes are a file of the data-set catalogue. */
bool api_is_dataset_file(const char *sha256);

/* ---- handlers ---------------------------------------------------------------------------------- */

cyx_http_handler api_session_create, api_session_get, api_session_delete; /* api_session.c */
cyx_http_handler api_keys_create, api_keys_list, api_keys_delete;
cyx_http_handler api_accounts_create, api_accounts_list, api_accounts_change; /* api_access.c */
cyx_http_handler api_password_set, api_challenge_create, api_session_wallet;
cyx_http_handler api_wallets_create, api_wallets_list, api_wallets_delete;
cyx_http_handler api_audit_list;                                                /* api_audit.c */
cyx_http_handler api_jobs_create, api_jobs_list, api_jobs_get, api_jobs_cancel; /* api_jobs.c */
cyx_http_handler api_jobs_get_quick;
cyx_http_handler api_jobs_validate, api_jobs_quote, api_jobs_model;
cyx_http_handler api_account_quota, api_accounts_quota_set;
cyx_http_handler api_nodes_list;                                   /* api_catalog.c */
cyx_http_handler api_nodes_token, api_nodes_join, api_nodes_renew; /* api_nodes.c */
cyx_http_handler api_nodes_get, api_nodes_revoke, api_nodes_rotate, api_nodes_drain;
cyx_http_handler api_nodes_undrain, api_nodes_maintain, api_nodes_maintain_no_more;
cyx_http_handler api_models_list, api_models_get, api_models_download;
cyx_http_handler api_datasets_list, api_examples_list, api_openapi_get;
cyx_http_handler api_reference_get, api_reference_css_get;
cyx_http_handler api_account_balance, api_account_statement;
cyx_http_handler api_artifacts_get; /* api_artifacts.c */
extern const struct cyx_http_sink api_artifacts_sink;
cyx_http_handler api_receive_put;                                       /* api_receive.c */
cyx_http_handler api_uploads_create, api_uploads_list, api_uploads_get; /* api_uploads.c */
cyx_http_handler api_uploads_delete, api_uploads_content;
extern const struct cyx_http_sink api_uploads_sink;
cyx_http_handler api_jobs_metrics, api_jobs_logs; /* api_records.c */
cyx_http_handler api_jobs_events;                 /* api_live.c */
extern const struct cyx_ws_handlers api_websocket;

/* cyx.evt.job.*: of a job that has ended, what is kept beyond the stream. */
enum cyx_status api_records_on_job(void *ctx, const struct cyx_bus_message *message,
                                   struct cyx_error *err);

/* What is kept of an ended job, or null. */
json_t *api_record_json(struct app *app, const char *job_id);

/* Whether a job in this state changes no more. */
static inline bool api_state_ended(const char *state)
{
    return strcmp(state, "completed") == 0 || strcmp(state, "failed") == 0 ||
           strcmp(state, "cancelled") == 0;
}

/* The account of CYXWIZ_ADMIN_EMAIL when it does not exist yet. */
enum cyx_status api_first_account(struct app *app, struct cyx_error *err);

/* Reads CYXWIZ_EXAMPLES_DIR into app->examples. A folder that is not there gives an empty list. */
enum cyx_status api_load_examples(struct app *app, const char *folder, struct cyx_error *err);

#endif
