/*
 * cyxwiz-gateway: the door to the outside.
 * Owns accounts, sessions, API keys, wallets, audit log and artifacts (schema gateway). Listens on CYXWIZ_HTTP_ADDRESS: REST and
 * WebSocket under /api/v1 (docs/contracts/openapi.yaml), the dashboard elsewhere. Asks scheduler, registry, payments
 * and marketplace over NATS. Publishes cyx.evt.account.created; reads cyx.evt.job.> and cyx.job.> for live views.
 */
#include "api.h"

#include "base/banned.h"

#define V1 "/api/v1"

static const struct cyx_http_route routes[] = {
    {"POST", V1 "/session", api_session_create, CYX_ROUTE_NO_HOOK,
     .max_body_bytes = API_SMALL_BODY_BYTES},
    {"POST", V1 "/session/challenge", api_challenge_create, CYX_ROUTE_NO_HOOK,
     .max_body_bytes = API_SMALL_BODY_BYTES},
    {"POST", V1 "/session/wallet", api_session_wallet, CYX_ROUTE_NO_HOOK,
     .max_body_bytes = API_SMALL_BODY_BYTES},
    {"GET", V1 "/session", api_session_get},
    {"DELETE", V1 "/session", api_session_delete, API_ROUTE_ACCOUNT},
    {"POST", V1 "/api-keys", api_keys_create, API_ROUTE_ACCOUNT,
     .max_body_bytes = API_SMALL_BODY_BYTES},
    {"GET", V1 "/api-keys", api_keys_list},
    {"DELETE", V1 "/api-keys/{id}", api_keys_delete, API_ROUTE_ACCOUNT},
    {"POST", V1 "/wallets", api_wallets_create, API_ROUTE_ACCOUNT,
     .max_body_bytes = API_SMALL_BODY_BYTES},
    {"GET", V1 "/wallets", api_wallets_list},
    {"DELETE", V1 "/wallets/{id}", api_wallets_delete, API_ROUTE_ACCOUNT},
    {"PUT", V1 "/account/password", api_password_set, API_ROUTE_ACCOUNT,
     .max_body_bytes = API_SMALL_BODY_BYTES},
    {"POST", V1 "/jobs", api_jobs_create},
    {"GET", V1 "/jobs", api_jobs_list},
    {"POST", V1 "/jobs/validate", api_jobs_validate},
    {"POST", V1 "/jobs/quote", api_jobs_quote},
    {"GET", V1 "/jobs/{id}", api_jobs_get, .quick = api_jobs_get_quick},
    {"POST", V1 "/jobs/{id}/cancel", api_jobs_cancel, CYX_ROUTE_ANY_TYPE,
     .max_body_bytes = API_SMALL_BODY_BYTES},
    {"GET", V1 "/jobs/{id}/metrics", api_jobs_metrics},
    {"GET", V1 "/jobs/{id}/logs", api_jobs_logs},
    {"GET", V1 "/jobs/{id}/events", api_jobs_events},
    {"GET", V1 "/jobs/{id}/model", api_jobs_model},
    {"GET", V1 "/ws", .websocket = &api_websocket},
    {"GET", V1 "/nodes", api_nodes_list},
    {"POST", V1 "/nodes/tokens", api_nodes_token, API_ROUTE_OPERATOR,
     .max_body_bytes = API_SMALL_BODY_BYTES},
    {"POST", V1 "/nodes/join", api_nodes_join, CYX_ROUTE_NO_HOOK,
     .max_body_bytes = API_SMALL_BODY_BYTES},
    {"POST", V1 "/nodes/renew", api_nodes_renew, CYX_ROUTE_NO_HOOK,
     .max_body_bytes = API_SMALL_BODY_BYTES},
    {"GET", V1 "/nodes/{id}", api_nodes_get},
    {"POST", V1 "/nodes/{id}/drain", api_nodes_drain, API_ROUTE_OPERATOR,
     .max_body_bytes = API_SMALL_BODY_BYTES},
    {"POST", V1 "/nodes/{id}/undrain", api_nodes_undrain, API_ROUTE_OPERATOR,
     .max_body_bytes = API_SMALL_BODY_BYTES},
    {"POST", V1 "/nodes/{id}/maintenance", api_nodes_maintain, API_ROUTE_OPERATOR,
     .max_body_bytes = API_SMALL_BODY_BYTES},
    {"DELETE", V1 "/nodes/{id}/maintenance/{window}", api_nodes_maintain_no_more,
     API_ROUTE_OPERATOR},
    {"POST", V1 "/nodes/{id}/revoke", api_nodes_revoke, API_ROUTE_OPERATOR,
     .max_body_bytes = API_SMALL_BODY_BYTES},
    {"POST", V1 "/nodes/{id}/rotate", api_nodes_rotate, API_ROUTE_OPERATOR,
     .max_body_bytes = API_SMALL_BODY_BYTES},
    {"GET", V1 "/models", api_models_list},
    {"GET", V1 "/models/{id}", api_models_get},
    {"GET", V1 "/models/{id}/download", api_models_download},
    {"GET", V1 "/datasets", api_datasets_list},
    {"GET", V1 "/examples", api_examples_list},
    {"GET", V1 "/account/balance", api_account_balance},
    {"GET", V1 "/account/statement", api_account_statement},
    {"GET", V1 "/account/quota", api_account_quota},
    {"POST", V1 "/accounts", api_accounts_create, API_ROUTE_ADMIN,
     .max_body_bytes = API_SMALL_BODY_BYTES},
    {"GET", V1 "/accounts", api_accounts_list, API_ROUTE_ADMIN},
    {"PATCH", V1 "/accounts/{id}", api_accounts_change, API_ROUTE_ADMIN,
     .max_body_bytes = API_SMALL_BODY_BYTES},
    {"PUT", V1 "/accounts/{id}/quota", api_accounts_quota_set, API_ROUTE_ADMIN},
    {"GET", V1 "/audit", api_audit_list, API_ROUTE_ADMIN},
    {"GET", V1 "/artifacts/{sha256}", api_artifacts_get, API_ROUTE_GRANT},
    {"PUT", V1 "/artifacts/{sha256}", api_receive_put, API_ROUTE_GRANT,
     .max_body_bytes = API_ARTIFACT_LIMIT_BYTES, .deadline_ms = -1, .sink = &api_artifacts_sink},
    {"POST", V1 "/uploads", api_uploads_create, 0, .max_body_bytes = API_SMALL_BODY_BYTES},
    {"GET", V1 "/uploads", api_uploads_list},
    {"GET", V1 "/uploads/{id}", api_uploads_get},
    {"DELETE", V1 "/uploads/{id}", api_uploads_delete},
    {"GET", V1 "/uploads/{id}/content", api_uploads_content},
    {"PUT", V1 "/uploads/{id}/content", api_receive_put, .max_body_bytes = API_ARTIFACT_LIMIT_BYTES,
     .deadline_ms = -1, .sink = &api_uploads_sink},
    {"GET", V1 "/openapi.json", api_openapi_get, CYX_ROUTE_NO_HOOK},
    {"GET", V1 "/reference", api_reference_get, CYX_ROUTE_NO_HOOK},
    {"GET", V1 "/reference.css", api_reference_css_get, CYX_ROUTE_NO_HOOK},
};

int main(void)
{
    struct app app = {0};
    struct cyx_error err = {0};
    if (cyx_svc_create("gateway", &app.svc, &err) != CYX_OK ||
        cyx_svc_open_database(app.svc, &app.db, &err) != CYX_OK ||
        cyx_svc_open_cache(app.svc, &app.cache, &err) != CYX_OK ||
        cyx_svc_open_bus(app.svc, &app.bus, &err) != CYX_OK ||
        cyx_svc_open_outbox(app.svc, &app.outbox, &err) != CYX_OK ||
        api_open(&app, routes, CYX_COUNT_OF(routes), &err) != CYX_OK) {
        api_close(&app);
        return cyx_svc_fail(app.svc, &err);
    }
    int code = cyx_svc_run(app.svc);
    api_close(&app);
    cyx_svc_destroy(app.svc);
    return code;
}
