/*
 * NumPy's array files (https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html): "\x93NUMPY",
 * version, length and a Python dict of three members, then the elements. Only what is plain numbers, row-major and
 * little-endian is taken: pickled objects would be code.
 */
#include <stdio.h>
#include <string.h>

#include "nn/data/private.h"

#include "base/banned.h"

enum { HEADER_LIMIT_BYTES = 65536 };

/* The dict's text, read once from left to right. */
struct scan {
    const char *at, *end;
};

static void skip_spaces(struct scan *scan)
{
    while (scan->at < scan->end && (*scan->at == ' ' || *scan->at == '\n' || *scan->at == '\t'))
        scan->at++;
}

static bool take(struct scan *scan, const char *text)
{
    skip_spaces(scan);
    size_t length = strlen(text);
    if ((size_t)(scan->end - scan->at) < length || memcmp(scan->at, text, length) != 0)
        return false;
    scan->at += length;
    return true;
}

/* 'text' or "text", without escapes. */
static bool take_text(struct scan *scan, char *ret_text, size_t size)
{
    skip_spaces(scan);
    if (scan->at == scan->end || (*scan->at != '\'' && *scan->at != '"'))
        return false;
    char quote = *scan->at++;
    size_t used = 0;
    while (scan->at < scan->end && *scan->at != quote) {
        if (*scan->at == '\\' || used + 1 >= size)
            return false;
        ret_text[used++] = *scan->at++;
    }
    ret_text[used] = '\0';
    return scan->at++ < scan->end;
}

static bool take_number(struct scan *scan, int64_t *ret_number)
{
    skip_spaces(scan);
    int64_t number = 0;
    const char *first = scan->at;
    for (; scan->at < scan->end && *scan->at >= '0' && *scan->at <= '9'; scan->at++)
        if (__builtin_mul_overflow(number, INT64_C(10), &number) ||
            __builtin_add_overflow(number, *scan->at - '0', &number))
            return false;
    *ret_number = number;
    return scan->at > first;
}

/* (), (3,), (3, 4) */
static bool take_shape(struct scan *scan, struct array *array)
{
    array->rank = 0;
    if (!take(scan, "("))
        return false;
    while (!take(scan, ")")) {
        if (array->rank == ARRAY_RANK_LIMIT || !take_number(scan, &array->shape[array->rank]))
            return false;
        array->rank++;
        if (!take(scan, ",") && (scan->at == scan->end || *scan->at != ')' || array->rank == 1))
            return false;
    }
    return true;
}

static bool dtype_of(const char *descr, enum array_dtype *ret_dtype)
{
    static const struct {
        char name[4];
        enum array_dtype dtype;
    } known[] = {
        {"b1", ARRAY_BOOL}, {"u1", ARRAY_U8},  {"i1", ARRAY_I8},  {"u2", ARRAY_U16},
        {"i2", ARRAY_I16},  {"u4", ARRAY_U32}, {"i4", ARRAY_I32}, {"u8", ARRAY_U64},
        {"i8", ARRAY_I64},  {"f2", ARRAY_F16}, {"f4", ARRAY_F32}, {"f8", ARRAY_F64},
    };
    for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++) {
        if (strcmp(descr + 1, known[i].name) != 0)
            continue;
        *ret_dtype = known[i].dtype;
        return descr[0] == '<' || (descr[0] == '|' && array_dtype_bytes(known[i].dtype) == 1);
    }
    return false;
}

static enum cyx_status refuse(const char *why, struct cyx_error *error)
{
    return cyx_error_set(error, CYX_ERR_CORRUPT, "/data/dataset", "%s", why);
}

static enum cyx_status judge_descr(const char *descr, struct array *array, struct cyx_error *error)
{
    if (strlen(descr) >= 2 && dtype_of(descr, &array->dtype))
        return CYX_OK;
    return cyx_error_set(error, CYX_ERR_UNSUPPORTED, "/data/dataset",
                         descr[0] == '>'
                             ? "the dtype \"%.20s\" is big-endian: save a.astype(a.dtype."
                               "newbyteorder('<')) instead"
                             : "the dtype \"%.20s\" is none of plain numbers: save a.astype("
                               "'float32') or another number's instead",
                         descr);
}

static enum cyx_status parse_dict(struct scan *scan, struct array *array, struct cyx_error *error)
{
    char key[24], descr[24] = "";
    bool order_known = false, shape_known = false, column_major = false;
    static const char broken[] = "the NPY header is not a dict of descr, fortran_order and shape";
    if (!take(scan, "{"))
        return refuse(broken, error);
    while (!take(scan, "}")) {
        if (!take_text(scan, key, sizeof(key)) || !take(scan, ":"))
            return refuse(broken, error);
        bool good;
        if (strcmp(key, "descr") == 0 && !descr[0]) {
            good = take_text(scan, descr, sizeof(descr)) && descr[0];
        } else if (strcmp(key, "fortran_order") == 0 && !order_known) {
            column_major = take(scan, "True");
            order_known = good = column_major || take(scan, "False");
        } else {
            good = strcmp(key, "shape") == 0 && !shape_known && take_shape(scan, array);
            shape_known = true;
        }
        if (!good || (!take(scan, ",") && (scan->at == scan->end || *scan->at != '}')))
            return refuse(broken, error);
    }
    skip_spaces(scan);
    if (scan->at != scan->end || !descr[0] || !order_known || !shape_known)
        return refuse(broken, error);
    if (column_major && array->rank > 1)
        return cyx_error_set(
            error, CYX_ERR_UNSUPPORTED, "/data/dataset",
            "the array is in Fortran order: save numpy.ascontiguousarray(a) instead");
    return judge_descr(descr, array, error);
}

enum cyx_status npy_parse(const uint8_t *bytes, size_t length, struct array *ret_array,
                          size_t *ret_header_bytes, struct cyx_error *error)
{
    if (length < 10 || memcmp(bytes, "\x93NUMPY", 6) != 0)
        return refuse("not an NPY file", error);
    size_t begin = bytes[6] == 1 ? 10 : 12, header = bytes[8] | (size_t)bytes[9] << 8;
    if (bytes[6] < 1 || bytes[6] > 3 || bytes[7] != 0 || length < begin)
        return refuse("an NPY file of a version other than 1, 2 and 3", error);
    if (bytes[6] > 1)
        header |= (size_t)bytes[10] << 16 | (size_t)bytes[11] << 24;
    if (header > HEADER_LIMIT_BYTES || header > length - begin)
        return refuse("the NPY header is cut short or over 65536 bytes", error);
    struct array array = {0};
    struct scan scan = {(const char *)bytes + begin, (const char *)bytes + begin + header};
    enum cyx_status status = parse_dict(&scan, &array, error);
    if (status != CYX_OK)
        return status;
    *ret_array = array;
    *ret_header_bytes = begin + header;
    return CYX_OK;
}

/* Puts the file's name before the sentence. */
static enum cyx_status named(enum cyx_status status, const char *path, struct cyx_error *error)
{
    if (status == CYX_OK || !error)
        return status;
    struct cyx_error inner = *error;
    return cyx_error_set(error, status, inner.pointer, "%s: %.400s", path, inner.message);
}

enum cyx_status npy_open(struct cyx_data *self, const char *path, struct array *ret_array,
                         struct cyx_error *error)
{
    const uint8_t *bytes = NULL;
    size_t length = 0, header = 0;
    struct array array = {0};
    uint64_t wanted = 0;
    enum cyx_status status = data_map(self, path, &bytes, &length, error);
    if (status != CYX_OK)
        return status;
    status = npy_parse(bytes, length, &array, &header, error);
    if (status != CYX_OK)
        return named(status, path, error);
    if (!array_bytes(&array, &wanted))
        return cyx_error_set(error, CYX_ERR_CORRUPT, "/data/dataset",
                             "%s: its shape has more elements than a file can hold", path);
    if (wanted != length - header)
        return cyx_error_set(error, CYX_ERR_CORRUPT, "/data/dataset",
                             "%s: its shape wants %llu bytes behind the header, there "
                             "are %zu",
                             path, (unsigned long long)wanted, length - header);
    array.data = bytes + header;
    size_t element = array_dtype_bytes(array.dtype);
    if (header % element != 0) { /* written by another hand than NumPy's, which aligns */
        void *copy = data_alloc(self, (size_t)wanted, 1);
        if (!copy)
            return data_no_memory(path, error);
        memcpy(copy, array.data, (size_t)wanted);
        array.data = copy;
    }
    *ret_array = array;
    return CYX_OK;
}
