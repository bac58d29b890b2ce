#include "svc/config.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "base/id.h"

#include "base/banned.h"

enum { FILE_BYTES_MAX = 64 * 1024 };

/* Keeps the first thing that was wrong. */
__attribute__((format(printf, 2, 3))) static void wrong(struct cyx_config *self, const char *format,
                                                        ...)
{
    if (self->first.status != CYX_OK)
        return;
    char text[sizeof(self->first.message)];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    cyx_error_set(&self->first, CYX_ERR_INVALID, NULL, "%s", text);
}

/* What the file that NAME_FILE names holds, without the line end at its end; NULL when it is not set. */
static const char *from_file(struct cyx_config *self, const char *name)
{
    char file_name[128];
    snprintf(file_name, sizeof(file_name), "%s_FILE", name);
    const char *path = getenv(file_name);
    if (!path || !*path)
        return NULL;
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    struct cyx_error err = {0};
    if (cyx_buf_read_file(&text, path, FILE_BYTES_MAX, &err) != CYX_OK) {
        wrong(self, "%s: %s; let it name a readable file of at most %d bytes", file_name,
              err.message, FILE_BYTES_MAX);
        return NULL;
    }
    while (text.length > 0 && strchr("\r\n", text.data[text.length - 1]))
        text.length--;
    return cyx_arena_strndup(&self->arena, text.data ? text.data : "", text.length);
}

static const char *lookup(struct cyx_config *self, const char *name)
{
    const char *value = getenv(name);
    if (value && *value)
        return cyx_arena_strdup(&self->arena, value);
    value = from_file(self, name);
    return value && *value ? value : NULL;
}

const char *cyx_config_text(struct cyx_config *self, const char *name, const char *fallback)
{
    const char *value = lookup(self, name);
    return value ? value : fallback;
}

const char *cyx_config_require(struct cyx_config *self, const char *name, const char *remedy)
{
    const char *value = lookup(self, name);
    if (!value)
        wrong(self, "%s is not set; %s", name, remedy);
    return value ? value : "";
}

int64_t cyx_config_int(struct cyx_config *self, const char *name, int64_t fallback, int64_t min,
                       int64_t max)
{
    const char *value = lookup(self, name);
    if (!value)
        return fallback;
    char *end = NULL;
    errno = 0;
    long long number = strtoll(value, &end, 10);
    if (errno == 0 && *end == '\0' && end != value && number >= min && number <= max)
        return number;
    wrong(self, "%s is \"%s\"; set it to a whole number from %lld to %lld or leave it out for %lld",
          name, value, (long long)min, (long long)max, (long long)fallback);
    return fallback;
}

bool cyx_config_bool(struct cyx_config *self, const char *name, bool fallback)
{
    static const char *const yes[] = {"1", "true", "yes", "on"}, *const no[] = {"0", "false", "no",
                                                                                "off"};
    const char *value = lookup(self, name);
    if (!value)
        return fallback;
    for (int i = 0; i < 4; i++) {
        if (strcasecmp(value, yes[i]) == 0)
            return true;
        if (strcasecmp(value, no[i]) == 0)
            return false;
    }
    wrong(self, "%s is \"%s\"; set it to true or false or leave it out for %s", name, value,
          fallback ? "true" : "false");
    return fallback;
}

const char *cyx_config_choice(struct cyx_config *self, const char *name, const char *fallback,
                              const char *choices)
{
    const char *value = lookup(self, name);
    if (!value)
        return fallback;
    size_t length = strlen(value);
    for (const char *word = choices; *word;) {
        size_t word_length = strcspn(word, " ");
        if (word_length == length && strncmp(word, value, length) == 0)
            return value;
        word += word_length;
        word += strspn(word, " ");
    }
    wrong(self, "%s is \"%s\"; set it to one of: %s", name, value, choices);
    return fallback;
}

/* Cuts "host:port" or "[ipv6]:port" in place; false for anything else. */
static bool split_address(char *text, char **ret_host, uint16_t *ret_port)
{
    char *colon = strrchr(text, ':'), *end = NULL;
    if (!colon || colon == text || !colon[1])
        return false;
    errno = 0;
    long port = strtol(colon + 1, &end, 10);
    if (errno || *end || port < 0 || port > 65535 || colon[1] == '-' || colon[1] == '+')
        return false;
    *colon = '\0';
    if (text[0] == '[') {
        if (colon[-1] != ']')
            return false;
        colon[-1] = '\0';
        text++;
    } else if (strchr(text, ':')) {
        return false;
    }
    *ret_host = text;
    *ret_port = (uint16_t)port;
    return *text != '\0';
}

const char *cyx_config_address(struct cyx_config *self, const char *name, const char *fallback,
                               uint16_t *ret_port)
{
    const char *value = cyx_config_text(self, name, fallback);
    char *copy = cyx_arena_strdup(&self->arena, value), *host = NULL;
    *ret_port = 0;
    if (copy && split_address(copy, &host, ret_port))
        return host;
    wrong(self, "%s is \"%s\"; set it to HOST:PORT, such as %s", name, value, fallback);
    return "127.0.0.1";
}

void cyx_config_key(struct cyx_config *self, const char *name, void *ret_bytes, size_t length)
{
    const char *value = lookup(self, name);
    memset(ret_bytes, 0, length);
    if (value && strlen(value) == 2 * length && cyx_hex_decode(value, ret_bytes, length))
        return;
    memset(ret_bytes, 0, length);
    wrong(self, "%s is %s; set it to %zu hexadecimal digits, such as `openssl rand -hex %zu` gives",
          name, value ? "not a key" : "not set", 2 * length, length);
}

void cyx_config_refuse(struct cyx_config *self, const char *name, const char *format, ...)
{
    char text[400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    wrong(self, "%s: %s", name, text);
}

enum cyx_status cyx_config_check(const struct cyx_config *self, struct cyx_error *err)
{
    if (self->first.status == CYX_OK)
        return CYX_OK;
    return cyx_error_set(err, self->first.status, NULL, "%s", self->first.message);
}

void cyx_config_finish(struct cyx_config *self)
{
    cyx_arena_finish(&self->arena);
    *self = (struct cyx_config){0};
}
