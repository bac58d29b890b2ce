/*
 * Any bytes on a connection to the HTTP server, whose handler reads its body as the services do: the server answers or
 * closes, and goes on serving. Each input is one connection over the loopback.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "contract/message.h"
#include "http/server.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct cyx_http_server *server;

static enum cyx_status echo(void *ctx, const struct cyx_http_request *req,
                            struct cyx_http_response *res)
{
    (void)ctx;
    CYX_CLEANUP_JSON json_t *body = NULL;
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    const char *name = NULL, *cursor = NULL;
    int64_t limit = 0;
    enum cyx_status status = cyx_message_parse(req->body, req->body_length, &body, &res->error);
    if (status == CYX_OK)
        status = cyx_message_maybe_text(body, "name", &name, &res->error);
    if (status == CYX_OK)
        status = cyx_message_page(body, &limit, &cursor, &res->error);
    if (status == CYX_OK)
        status = cyx_http_query_int(req, "limit", 1, 100, 20, &limit, &res->error);
    if (status != CYX_OK)
        return status;
    cyx_buf_json_string(&text, name ? name : cyx_http_param(req, "id"));
    return cyx_http_respond_json(res, 200, text.data, text.length);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    static const struct cyx_http_route routes[] = {
        {.method = "GET", .path = "/things/{id}", .handler = echo},
        {.method = "POST", .path = "/things/{id}", .handler = echo, .max_body_bytes = 65536}};
    /* libmicrohttpd may see the end of what was sent only at the deadline. */
    const struct cyx_http_options options = {
        .host = "127.0.0.1", .header_deadline_ms = 20, .request_deadline_ms = 20};
    struct cyx_error err = {0};
    if (cyx_http_server_create(&options, &server, &err) != CYX_OK ||
        cyx_http_server_add_routes(server, routes, 2, NULL, &err) != CYX_OK ||
        cyx_http_server_start(server, &err) != CYX_OK) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char answer[4096];
    const struct sockaddr_in address = {.sin_family = AF_INET,
                                        .sin_port = htons(cyx_http_server_port(server)),
                                        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof(address)) != 0)
        abort();                                  /* it serves no more */
    const struct linger at_once = {.l_onoff = 1}; /* or the ports run out */
    const struct timeval patience = {.tv_usec = 5000};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    if (send(fd, data, size, MSG_NOSIGNAL) >= 0 && shutdown(fd, SHUT_WR) == 0)
        while (recv(fd, answer, sizeof(answer), 0) > 0)
            ;
    close(fd);
    return 0;
}
