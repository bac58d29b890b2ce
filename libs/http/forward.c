#include "http/forward.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/banned.h"

enum { ADDRESS_BITS = 128, V4_BITS = 96, HOPS_LIMIT = 64 };

/* IPv4 as ::ffff:a.b.c.d. */
struct address {
    unsigned char bytes[16];
};

struct network {
    struct address address;
    unsigned bits;
};

struct cyx_forward {
    bool rfc7239;
    struct network *networks;
    size_t count;
};

static bool parse_address(const char *text, struct address *ret_address, bool *ret_v4)
{
    static const unsigned char mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    struct address made;
    *ret_v4 = inet_pton(AF_INET, text, made.bytes + 12) == 1;
    if (*ret_v4)
        memcpy(made.bytes, mapped, sizeof(mapped));
    else if (inet_pton(AF_INET6, text, made.bytes) != 1)
        return false;
    *ret_address = made;
    return true;
}

static bool parse_network(char *text, struct network *ret_network)
{
    bool v4 = false;
    char *slash = strchr(text, '/'), *end = NULL;
    if (slash)
        *slash++ = '\0';
    if (!parse_address(text, &ret_network->address, &v4))
        return false;
    unsigned most = v4 ? ADDRESS_BITS - V4_BITS : ADDRESS_BITS;
    unsigned long bits = most;
    if (slash && (*slash < '0' || *slash > '9'))
        return false;
    if (slash)
        bits = strtoul(slash, &end, 10);
    if ((end && *end) || bits > most)
        return false;
    ret_network->bits = (unsigned)bits + (v4 ? V4_BITS : 0);
    return true;
}

static bool add_network(struct cyx_forward *self, const char *word, size_t length)
{
    char text[80];
    struct network *grown = realloc(self->networks, (self->count + 1) * sizeof(*grown));
    if (!grown)
        return false;
    self->networks = grown;
    snprintf(text, sizeof(text), "%.*s", (int)length, word);
    return length < sizeof(text) && parse_network(text, &self->networks[self->count]) &&
           ++self->count;
}

enum cyx_status cyx_forward_create(const char *proxies, bool rfc7239,
                                   struct cyx_forward **ret_forward, struct cyx_error *ret_error)
{
    struct cyx_forward *self = calloc(1, sizeof(*self));
    if (!self)
        return cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL, "no memory for the proxies");
    self->rfc7239 = rfc7239;
    for (const char *at = proxies ? proxies : ""; *(at += strspn(at, ", \t"));) {
        size_t length = strcspn(at, ", \t");
        if (!add_network(self, at, length)) {
            cyx_error_set(ret_error, CYX_ERR_INVALID, NULL,
                          "\"%.*s\" is no address or network of a proxy; give such as 127.0.0.1 or "
                          "10.0.0.0/8",
                          (int)(length < 60 ? length : 60), at);
            cyx_forward_destroy(self);
            return CYX_ERR_INVALID;
        }
        at += length;
    }
    *ret_forward = self;
    return CYX_OK;
}

void cyx_forward_destroy(struct cyx_forward *self)
{
    if (!self)
        return;
    free(self->networks);
    free(self);
}

static bool is_proxy(const struct cyx_forward *self, const struct address *address)
{
    for (size_t i = 0; i < self->count; i++) {
        const struct network *network = &self->networks[i];
        unsigned bytes = network->bits / 8, rest = network->bits % 8;
        unsigned char mask = (unsigned char)(0xff00u >> rest);
        if (memcmp(network->address.bytes, address->bytes, bytes) == 0 &&
            (rest == 0 || ((network->address.bytes[bytes] ^ address->bytes[bytes]) & mask) == 0))
            return true;
    }
    return false;
}

/* "192.0.2.1", "192.0.2.1:80", "2001:db8::1", "[2001:db8::1]:80". */
static bool parse_node(const char *from, size_t length, struct address *ret_address)
{
    char text[CYX_FORWARD_BYTES];
    bool v4 = false;
    if (length >= sizeof(text))
        return false;
    memcpy(text, from, length);
    text[length] = '\0';
    char *start = text, *colon = strchr(text, ':');
    if (*start == '[') {
        char *close = strchr(++start, ']');
        if (!close)
            return false;
        *close = '\0';
    } else if (colon && colon == strrchr(text, ':')) {
        *colon = '\0';
    }
    return parse_address(start, ret_address, &v4);
}

static void trim(const char **from, size_t *length)
{
    while (*length > 0 && (**from == ' ' || **from == '\t')) {
        (*from)++;
        (*length)--;
    }
    while (*length > 0 && ((*from)[*length - 1] == ' ' || (*from)[*length - 1] == '\t'))
        (*length)--;
}

/* What a proxy wrote of who came to it; false where that is no address. */
static bool parse_hop(const struct cyx_forward *self, const char *hop, size_t length,
                      struct address *ret_address)
{
    if (!self->rfc7239) {
        trim(&hop, &length);
        return parse_node(hop, length, ret_address);
    }
    for (const char *end = hop + length; hop < end;) { /* for=…;proto=…;by=… */
        const char *semicolon = memchr(hop, ';', (size_t)(end - hop));
        const char *part = hop;
        size_t n = (size_t)((semicolon ? semicolon : end) - hop);
        hop += n + 1;
        trim(&part, &n);
        if (n < 4 || strncasecmp(part, "for=", 4) != 0)
            continue;
        part += 4;
        n -= 4;
        if (n >= 2 && *part == '"' && part[n - 1] == '"') {
            part++;
            n -= 2;
        }
        return parse_node(part, n, ret_address);
    }
    return false;
}

static const char *write_address(const struct address *address, char ret_text[CYX_FORWARD_BYTES])
{
    static const unsigned char mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    bool v4 = memcmp(address->bytes, mapped, sizeof(mapped)) == 0;
    inet_ntop(v4 ? AF_INET : AF_INET6, address->bytes + (v4 ? 12 : 0), ret_text, CYX_FORWARD_BYTES);
    return ret_text;
}

/* Goes back through one line; false when the client was found, or the reading ended. */
static bool read_line(const struct cyx_forward *self, const char *line, int *hops,
                      struct address *client)
{
    size_t end = strlen(line);
    while (true) {
        size_t start = end;
        while (start > 0 && line[start - 1] != ',')
            start--;
        if (++*hops > HOPS_LIMIT || !parse_hop(self, line + start, end - start, client))
            return false;
        if (!is_proxy(self, client))
            return false;
        if (start == 0)
            return true;
        end = start - 1;
    }
}

const char *cyx_forward_client(const struct cyx_forward *self,
                               const struct cyx_http_request *request,
                               char ret_text[CYX_FORWARD_BYTES])
{
    struct address client;
    bool v4 = false;
    int hops = 0;
    if (!self || self->count == 0 || !parse_address(request->peer, &client, &v4) ||
        !is_proxy(self, &client))
        return request->peer;
    const char *name = self->rfc7239 ? "Forwarded" : "X-Forwarded-For";
    bool on = true;
    for (size_t i = request->header_count; on && i-- > 0;)
        if (strcasecmp(request->headers[i].name, name) == 0)
            on = read_line(self, request->headers[i].value, &hops, &client);
    return write_address(&client, ret_text);
}
