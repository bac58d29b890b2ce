#include "nn/format/safetensors_json.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

struct reader {
    const char *at, *end, *begin;
    struct cyx_arena *arena;
    struct cyx_safetensors *file;
    size_t tensors_capacity, metadata_capacity;
    enum cyx_status status;
    struct cyx_error *error;
};

/* Remembers the first refusal; every function below returns false after one. */
__attribute__((format(printf, 2, 3))) static bool refuse(struct reader *r, const char *format, ...)
{
    if (r->status != CYX_OK)
        return false;
    char what[256];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof(what), format, args);
    va_end(args);
    r->status = cyx_error_set(r->error, CYX_ERR_CORRUPT, NULL, "safetensors: header, byte %zu: %s",
                              (size_t)(r->at - r->begin), what);
    return false;
}

static bool out_of_memory(struct reader *r)
{
    if (r->status == CYX_OK)
        r->status =
            cyx_error_set(r->error, CYX_ERR_NO_MEMORY, NULL, "no memory for a safetensors header");
    return false;
}

static void skip_space(struct reader *r)
{
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\t' || *r->at == '\n' || *r->at == '\r'))
        r->at++;
}

static bool peek(struct reader *r, char c)
{
    skip_space(r);
    return r->at < r->end && *r->at == c;
}

static bool expect(struct reader *r, char c)
{
    if (!peek(r, c))
        return refuse(r, "expected '%c'", c);
    r->at++;
    return true;
}

/* Behind an element: true to go on, false with *ret_done at the closing `c`. */
static bool more(struct reader *r, char close, bool *ret_done)
{
    *ret_done = peek(r, close);
    if (*ret_done) {
        r->at++;
        return true;
    }
    return expect(r, ',');
}

static bool hex4(struct reader *r, uint32_t *ret_code)
{
    uint32_t code = 0;
    if (r->end - r->at < 4)
        return refuse(r, "a string that ends within an escape");
    for (int i = 0; i < 4; i++) {
        char c = *r->at++;
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0)
            return refuse(r, "expected four hexadecimal digits");
        code = code << 4 | (uint32_t)digit;
    }
    *ret_code = code;
    return true;
}

static size_t put_utf8(char *to, uint32_t code)
{
    if (code < 0x80) {
        to[0] = (char)code;
        return 1;
    }
    size_t n = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i > 0; i--, code >>= 6)
        to[i] = (char)(0x80 | (code & 0x3F));
    to[0] = (char)((n == 2 ? 0xC0 : n == 3 ? 0xE0 : 0xF0) | code);
    return n;
}

static bool unicode_escape(struct reader *r, char **to)
{
    uint32_t code = 0, low = 0;
    if (!hex4(r, &code))
        return false;
    if (code >= 0xDC00 && code <= 0xDFFF)
        return refuse(r, "half a surrogate pair");
    if (code >= 0xD800 && code <= 0xDBFF) {
        if (r->end - r->at < 6 || r->at[0] != '\\' || r->at[1] != 'u')
            return refuse(r, "half a surrogate pair");
        r->at += 2;
        if (!hex4(r, &low))
            return false;
        if (low < 0xDC00 || low > 0xDFFF)
            return refuse(r, "half a surrogate pair");
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    }
    if (code == 0)
        return refuse(r, "a string with a NUL in it");
    *to += put_utf8(*to, code);
    return true;
}

static bool escape(struct reader *r, char **to)
{
    static const char from[] = "\"\\/bfnrt", into[] = "\"\\/\b\f\n\r\t";
    if (r->at == r->end)
        return refuse(r, "a string without an end");
    char c = *r->at++;
    if (c == 'u')
        return unicode_escape(r, to);
    const char *known = c ? strchr(from, c) : NULL;
    if (!known)
        return refuse(r, "unknown escape");
    *(*to)++ = into[known - from];
    return true;
}

/* One UTF-8 sequence of RFC 3629, copied. */
static bool utf8(struct reader *r, char **to)
{
    const unsigned char *s = (const unsigned char *)r->at;
    size_t left = (size_t)(r->end - r->at);
    size_t n = s[0] < 0x80 ? 1 : s[0] >= 0xF0 ? 4 : s[0] >= 0xE0 ? 3 : s[0] >= 0xC2 ? 2 : 0;
    bool good = n > 0 && n <= left && s[0] <= 0xF4 && s[0] >= 0x20;
    for (size_t i = 1; good && i < n; i++)
        good = (s[i] & 0xC0) == 0x80;
    if (good && n > 2)
        good = !((s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xED && s[1] > 0x9F) ||
                 (s[0] == 0xF0 && s[1] < 0x90) || (s[0] == 0xF4 && s[1] > 0x8F));
    if (!good)
        return refuse(r, "a string that is not UTF-8 or has a control character");
    memcpy(*to, s, n);
    *to += n;
    r->at += n;
    return true;
}

/* Where the string that starts at r->at (behind its quote) ends; escapes only ever shrink. */
static size_t string_room(const struct reader *r)
{
    const char *s = r->at;
    while (s < r->end && *s != '"')
        s += *s == '\\' && r->end - s > 1 ? 2 : 1;
    return (size_t)(s - r->at) + 1;
}

static bool string(struct reader *r, const char **ret_text)
{
    if (!expect(r, '"'))
        return false;
    char *text = cyx_arena_alloc(r->arena, string_room(r));
    if (!text)
        return out_of_memory(r);
    char *to = text;
    for (;;) {
        if (r->at == r->end)
            return refuse(r, "a string without an end");
        if (*r->at == '"')
            break;
        if (*r->at == '\\') {
            r->at++;
            if (!escape(r, &to))
                return false;
        } else if (!utf8(r, &to)) {
            return false;
        }
    }
    r->at++;
    *to = '\0';
    *ret_text = text;
    return true;
}

/* A whole number below 2^63 without sign, fraction, exponent or leading zero. */
static bool whole(struct reader *r, uint64_t *ret_number)
{
    skip_space(r);
    const char *start = r->at;
    uint64_t number = 0;
    while (r->at < r->end && *r->at >= '0' && *r->at <= '9') {
        uint64_t digit = (uint64_t)(*r->at - '0');
        if (number > (INT64_MAX - digit) / 10)
            return refuse(r, "a number that is too large");
        number = number * 10 + digit;
        r->at++;
    }
    if (r->at == start || (*start == '0' && r->at - start > 1))
        return refuse(r, "expected a whole number");
    *ret_number = number;
    return true;
}

static bool shape(struct reader *r, struct cyx_safetensors_tensor *tensor)
{
    if (!expect(r, '['))
        return false;
    bool done = peek(r, ']');
    if (done)
        r->at++;
    while (!done) {
        uint64_t dim = 0;
        if (tensor->rank == CYX_SAFETENSORS_RANK_LIMIT)
            return refuse(r, "a shape of more than %d dimensions", CYX_SAFETENSORS_RANK_LIMIT);
        if (!whole(r, &dim))
            return false;
        tensor->shape[tensor->rank++] = (int64_t)dim;
        if (!more(r, ']', &done))
            return false;
    }
    return true;
}

static bool offsets(struct reader *r, struct cyx_safetensors_tensor *tensor)
{
    return expect(r, '[') && whole(r, &tensor->begin) && expect(r, ',') && whole(r, &tensor->end) &&
           expect(r, ']');
}

static bool dtype(struct reader *r, struct cyx_safetensors_tensor *tensor)
{
    const char *name = NULL;
    if (!string(r, &name))
        return false;
    for (int i = 0; i < CYX_ST_DTYPE_COUNT; i++) {
        if (strcmp(name, cyx_safetensors_dtype_name((enum cyx_safetensors_dtype)i)) == 0) {
            tensor->dtype = (enum cyx_safetensors_dtype)i;
            return true;
        }
    }
    return refuse(r, "unknown dtype \"%.40s\"", name);
}

static bool tensor_body(struct reader *r, struct cyx_safetensors_tensor *tensor)
{
    enum { DTYPE = 1, SHAPE = 2, OFFSETS = 4, ALL = 7 };
    int seen = 0;
    bool done = false;
    if (!expect(r, '{'))
        return false;
    while (!done) {
        const char *key = "";
        if (!string(r, &key) || !expect(r, ':'))
            return false;
        int field = strcmp(key, "dtype") == 0          ? DTYPE
                    : strcmp(key, "shape") == 0        ? SHAPE
                    : strcmp(key, "data_offsets") == 0 ? OFFSETS
                                                       : 0;
        if (field == 0 || seen & field)
            return refuse(r, "%s key \"%.40s\"", field ? "duplicate" : "unknown", key);
        seen |= field;
        bool good = field == DTYPE   ? dtype(r, tensor)
                    : field == SHAPE ? shape(r, tensor)
                                     : offsets(r, tensor);
        if (!good || !more(r, '}', &done))
            return false;
    }
    return seen == ALL || refuse(r, "\"%.100s\" lacks dtype, shape or data_offsets", tensor->name);
}

/* Room for one more element of an array that doubles within the arena. */
static void *grow(struct reader *r, void *array, size_t count, size_t *capacity, size_t size)
{
    if (count < *capacity)
        return array;
    size_t wanted = *capacity ? *capacity * 2 : 16;
    void *larger = cyx_arena_calloc(r->arena, wanted, size);
    if (!larger)
        return NULL;
    if (count)
        memcpy(larger, array, count * size);
    *capacity = wanted;
    return larger;
}

static bool tensor(struct reader *r, const char *name)
{
    struct cyx_safetensors *file = r->file;
    if (file->n_tensors == CYX_SAFETENSORS_TENSORS_LIMIT)
        return refuse(r, "more than %d tensors", CYX_SAFETENSORS_TENSORS_LIMIT);
    void *tensors =
        grow(r, file->tensors, file->n_tensors, &r->tensors_capacity, sizeof(*file->tensors));
    if (!tensors)
        return out_of_memory(r);
    file->tensors = tensors;
    file->tensors[file->n_tensors] = (struct cyx_safetensors_tensor){.name = name};
    return tensor_body(r, &file->tensors[file->n_tensors++]);
}

static int compare_key(const void *a, const void *b)
{
    const struct cyx_safetensors_pair *x = a, *y = b;
    return strcmp(x->key, y->key);
}

static bool metadata(struct reader *r)
{
    struct cyx_safetensors *file = r->file;
    if (!expect(r, '{'))
        return false;
    bool done = peek(r, '}');
    if (done)
        r->at++;
    while (!done) {
        void *pairs = grow(r, file->metadata, file->n_metadata, &r->metadata_capacity,
                           sizeof(*file->metadata));
        if (!pairs)
            return out_of_memory(r);
        file->metadata = pairs;
        struct cyx_safetensors_pair *pair = &file->metadata[file->n_metadata++];
        if (!string(r, &pair->key) || !expect(r, ':') || !string(r, &pair->value) ||
            !more(r, '}', &done))
            return false;
    }
    if (file->n_metadata)
        qsort(file->metadata, file->n_metadata, sizeof(*file->metadata), compare_key);
    for (size_t i = 1; i < file->n_metadata; i++)
        if (strcmp(file->metadata[i - 1].key, file->metadata[i].key) == 0)
            return refuse(r, "duplicate metadata key \"%.100s\"", file->metadata[i].key);
    return true;
}

static bool members(struct reader *r)
{
    bool metadata_seen = false;
    bool done = peek(r, '}');
    if (done)
        r->at++;
    while (!done) {
        const char *name = "";
        if (!string(r, &name) || !expect(r, ':'))
            return false;
        bool is_metadata = strcmp(name, "__metadata__") == 0;
        if (is_metadata && metadata_seen)
            return refuse(r, "__metadata__ stands twice");
        metadata_seen = metadata_seen || is_metadata;
        if (!(is_metadata ? metadata(r) : tensor(r, name)) || !more(r, '}', &done))
            return false;
    }
    return true;
}

enum cyx_status cyx_safetensors_json_parse(const char *header, size_t length,
                                           struct cyx_arena *arena, struct cyx_safetensors *self,
                                           struct cyx_error *ret_error)
{
    struct reader r = {.at = header,
                       .begin = header,
                       .end = header + length,
                       .arena = arena,
                       .file = self,
                       .error = ret_error};
    if (length == 0 || *header != '{') {
        refuse(&r, "expected '{'");
        return r.status;
    }
    r.at++;
    if (!members(&r))
        return r.status;
    skip_space(&r);
    if (r.at != r.end)
        refuse(&r, "something behind the closing brace");
    return r.status;
}
