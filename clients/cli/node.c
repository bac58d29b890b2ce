/* cyxwiz node: what nodes there are, and what an operator does with them. */
#include <string.h>

#include "cli.h"
#include "contract/message.h"

#include "base/banned.h"

/* Why it takes nothing new says more than "draining". */
static const char *shown_status(const json_t *node)
{
    const char *status = cli_text(node, "status"), *closed = cli_text(node, "closed");
    bool proof = strcmp(closed, "proving") == 0 || strcmp(closed, "unproven") == 0;
    return proof && strcmp(status, "draining") == 0 ? closed : status;
}

enum cyx_status cli_node_list(struct cli *cli, struct cyx_error *err)
{
    static const struct cli_column columns[] = {{"ID", 36},   {"STATUS", 8}, {"JOBS", 4},
                                                {"CPU", 5},   {"IMG/S", 7},  {"PRICE/H", 10},
                                                {"DEVICE", 0}};
    CYX_CLEANUP_JSON json_t *nodes = NULL;
    const json_t *node;
    size_t i;
    enum cyx_status status = cli_call_list(cli, "/api/v1/nodes", "nodes", SIZE_MAX, &nodes, err);
    if (status != CYX_OK)
        return status;
    if (cli->json) {
        cli_print_json(nodes);
        return CYX_OK;
    }
    cli_print_titles(columns, 7);
    json_array_foreach(nodes, i, node)
    {
        char jobs[16], cpu[16], speed[16];
        const json_t *device = json_array_get(json_object_get(node, "devices"), 0);
        snprintf(jobs, sizeof(jobs), "%.0f", cli_number(node, "running_jobs"));
        snprintf(cpu, sizeof(cpu), "%.0f %%", cli_number(node, "cpu_percent"));
        snprintf(speed, sizeof(speed), "%.0f", cli_number(node, "images_per_second"));
        cli_print_row(columns,
                      (const char *const[]){cli_text(node, "id"), shown_status(node), jobs, cpu,
                                            speed, cli_text(node, "price_per_hour"),
                                            cli_text(device, "name")},
                      7);
    }
    return CYX_OK;
}

static void node_path(struct cyx_buf *path, const char *id, const char *rest)
{
    cyx_buf_puts(path, "/api/v1/nodes/");
    cli_append_part(path, id);
    cyx_buf_puts(path, rest);
}

enum cyx_status cli_node_token(struct cli *cli, struct cyx_error *err)
{
    CYX_CLEANUP_JSON json_t *reply = NULL;
    int64_t life_s = 0;
    const char *node_id = cli_value(cli, "node");
    enum cyx_status status = cli_whole_number(cli, "life", 1, 604800, &life_s, err);
    if (status != CYX_OK)
        return status;
    json_t *body = json_object();
    if (node_id)
        json_object_set_new(body, "node_id", json_string(node_id));
    if (life_s)
        json_object_set_new(body, "life_s", json_integer((json_int_t)life_s));
    status = cli_call(cli, "POST", "/api/v1/nodes/tokens", body, &reply, err);
    if (status != CYX_OK)
        return status;
    if (cli->json) {
        cli_print_json(reply);
        return CYX_OK;
    }
    printf("%s\n", cli_text(reply, "token"));
    fprintf(stderr,
            "Good once, until %s. On the node: CYXWIZ_ENROL_TOKEN=… CYXWIZ_GATEWAY_URL=%s\n",
            cli_text(reply, "expires_at"), cli->url);
    return CYX_OK;
}

/* Orders something for the node of the first argument; `body` is taken. */
static enum cyx_status order(struct cli *cli, const char *rest, json_t *body, json_t **ret_reply,
                             struct cyx_error *err)
{
    CYX_CLEANUP_BUF struct cyx_buf path = {0};
    node_path(&path, cli->arguments[0], rest);
    enum cyx_status status = cli_call(cli, "POST", path.data, body, ret_reply, err);
    if (status == CYX_OK && cli->json)
        cli_print_json(*ret_reply);
    return status;
}

enum cyx_status cli_node_revoke(struct cli *cli, struct cyx_error *err)
{
    CYX_CLEANUP_JSON json_t *reply = NULL;
    const char *reason = cli_value(cli, "reason");
    json_t *body = reason ? json_pack("{s:s}", "reason", reason) : json_object();
    enum cyx_status status = order(cli, "/revoke", body, &reply, err);
    if (status == CYX_OK && !cli->json)
        printf("Revoked: node %s is cut off, its jobs go elsewhere. To let it in again: "
               "cyxwiz node token --node %s\n",
               cli->arguments[0], cli->arguments[0]);
    return status;
}

enum cyx_status cli_node_rotate(struct cli *cli, struct cyx_error *err)
{
    CYX_CLEANUP_JSON json_t *reply = NULL;
    enum cyx_status status = order(cli, "/rotate", json_object(), &reply, err);
    if (status == CYX_OK && !cli->json)
        printf("Node %s was asked for a new key; the old one ends when it comes.\n",
               cli->arguments[0]);
    return status;
}

enum cyx_status cli_node_drain(struct cli *cli, struct cyx_error *err)
{
    CYX_CLEANUP_JSON json_t *reply = NULL;
    const char *reason = cli_value(cli, "reason");
    json_t *body = reason ? json_pack("{s:s}", "reason", reason) : json_object();
    enum cyx_status status = order(cli, "/drain", body, &reply, err);
    if (status != CYX_OK || cli->json)
        return status;
    double running = cli_number(json_object_get(reply, "node"), "running_jobs");
    printf("Nothing new goes to node %s; %.0f job%s still there.\n", cli->arguments[0], running,
           running == 1 ? " is" : "s are");
    return CYX_OK;
}

enum cyx_status cli_node_undrain(struct cli *cli, struct cyx_error *err)
{
    CYX_CLEANUP_JSON json_t *reply = NULL;
    enum cyx_status status = order(cli, "/undrain", json_object(), &reply, err);
    if (status == CYX_OK && !cli->json)
        printf("Node %s takes jobs again.\n", cli->arguments[0]);
    return status;
}

enum cyx_status cli_node_maintain(struct cli *cli, struct cyx_error *err)
{
    CYX_CLEANUP_JSON json_t *reply = NULL;
    CYX_CLEANUP_BUF struct cyx_buf path = {0};
    const char *from = cli_value(cli, "from"), *until = cli_value(cli, "until");
    const char *cancel = cli_value(cli, "cancel"), *reason = cli_value(cli, "reason");
    if (!until == !cancel)
        return cyx_error_set(
            err, CYX_ERR_INVALID, NULL,
            "give --until TIME for a new window, or --cancel WINDOW, one of the two");
    enum cyx_status status;
    if (cancel) {
        node_path(&path, cli->arguments[0], "/maintenance/");
        cli_append_part(&path, cancel);
        status = cli_call(cli, "DELETE", path.data, NULL, &reply, err);
        if (status == CYX_OK && cli->json)
            cli_print_json(reply);
    } else {
        json_t *body =
            json_pack("{s:s, s:s*, s:s*}", "ends_at", until, "starts_at", from, "reason", reason);
        status = order(cli, "/maintenance", body, &reply, err);
    }
    if (status == CYX_OK && !cli->json)
        printf(cancel
                   ? "The window is taken back.\n"
                   : "In that time nothing new goes to the node, and its silence alarms nobody.\n");
    return status;
}
