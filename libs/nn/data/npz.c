/*
 * NumPy's archives of arrays: a ZIP file (libzip) of NPY files. What a member claims to hold is judged before
 * memory is taken: a member that grows more than RATIO_LIMIT times is refused once it is large.
 */
#include <stdio.h>
#include <string.h>
#include <zip.h>

#include "nn/data/private.h"

#include "base/banned.h"

enum {
    PREFIX_BYTES =
        16 * 1024, /* of a member, for the header: NumPy's are 128 bytes or little more */
};
static const uint64_t SMALL_BYTES = UINT64_C(256) << 20, RATIO_LIMIT = 200;

static void close_file(zip_file_t **file)
{
    if (*file)
        zip_fclose(*file);
}
#define CLEANUP_FILE __attribute__((cleanup(close_file)))

static enum cyx_status not_there(zip_t *zip, const char *path, const char *name,
                                 struct cyx_error *error)
{
    char names[NAMES_BYTES] = "";
    size_t used = 0;
    zip_int64_t n = zip_get_num_entries(zip, 0);
    for (zip_int64_t i = 0; i < n && used + 1 < sizeof(names); i++) {
        const char *found = zip_get_name(zip, (zip_uint64_t)i, 0);
        used += (size_t)snprintf(names + used, sizeof(names) - used, "%s%.60s", i ? ", " : "",
                                 found ? found : "?");
    }
    return cyx_error_set(error, CYX_ERR_NOT_FOUND, "/data/dataset",
                         "%s has no array \"%.60s\"; it has: %s", path, name, names);
}

/* "x" is the member "x.npy". */
static bool find(zip_t *zip, const char *name, zip_stat_t *ret_info)
{
    char member[512];
    zip_stat_init(ret_info);
    int n = snprintf(member, sizeof(member), "%s.npy", name);
    if (n < (int)sizeof(member) && zip_stat(zip, member, 0, ret_info) == 0)
        return true;
    return zip_stat(zip, name, 0, ret_info) == 0;
}

static enum cyx_status judge_size(const zip_stat_t *info, const char *path, struct cyx_error *error)
{
    zip_uint64_t need = ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_INDEX;
    if ((info->valid & need) != need || info->size > ARRAY_BYTES_LIMIT)
        return cyx_error_set(error, CYX_ERR_CORRUPT, "/data/dataset",
                             "%s: a member without a sensible size", path);
    if (info->size > SMALL_BYTES && info->size / RATIO_LIMIT > info->comp_size)
        return cyx_error_set(
            error, CYX_ERR_TOO_LARGE, "/data/dataset",
            "%s: %s would grow from %llu to %llu bytes, more than %llu times: save "
            "it with numpy.savez if it is meant",
            path, info->name, (unsigned long long)info->comp_size, (unsigned long long)info->size,
            (unsigned long long)RATIO_LIMIT);
    return CYX_OK;
}

/* `length` bytes; fewer only where the member ends. */
static bool read_bytes(zip_file_t *file, void *bytes, uint64_t length, uint64_t *ret_read)
{
    uint64_t done = 0;
    while (done < length) {
        zip_int64_t n = zip_fread(file, (char *)bytes + done, length - done);
        if (n < 0)
            return false;
        if (n == 0)
            break;
        done += (uint64_t)n;
    }
    *ret_read = done;
    return true;
}

static enum cyx_status broken(const char *path, const char *name, const char *why,
                              struct cyx_error *error)
{
    return cyx_error_set(error, CYX_ERR_CORRUPT, "/data/dataset", "%s: %.80s: %.300s", path, name,
                         why);
}

/* The member's header lies in `prefix`; the elements follow into the array's own memory. */
static enum cyx_status read_elements(struct cyx_data *self, zip_file_t *file,
                                     const zip_stat_t *info, const uint8_t *prefix,
                                     uint64_t n_prefix, const char *path, struct array *ret_array,
                                     struct cyx_error *error)
{
    struct cyx_error why = {0};
    size_t header = 0;
    uint64_t wanted = 0, rest = 0;
    enum cyx_status status = npy_parse(prefix, (size_t)n_prefix, ret_array, &header, &why);
    if (status != CYX_OK)
        return cyx_error_set(error, status, why.pointer, "%s: %.80s: %.300s", path, info->name,
                             why.message);
    if (!array_bytes(ret_array, &wanted) || wanted != info->size - header)
        return broken(path, info->name, "its size is not what its shape wants", error);
    uint8_t *data = data_alloc(self, wanted ? (size_t)wanted : 1, 1);
    if (!data)
        return data_no_memory(path, error);
    uint64_t begun = n_prefix - header < wanted ? n_prefix - header : wanted;
    memcpy(data, prefix + header, (size_t)begun);
    if (!read_bytes(file, data + begun, wanted - begun, &rest) || rest != wanted - begun)
        return broken(path, info->name, "its compressed bytes are broken or cut short", error);
    ret_array->data = data;
    char beyond;
    if (!read_bytes(file, &beyond, 1, &rest) || rest != 0) /* also has the CRC checked */
        return broken(path, info->name, "its bytes are not those that were saved (CRC)", error);
    return CYX_OK;
}

static enum cyx_status read_member(struct cyx_data *self, zip_t *zip, const char *path,
                                   const char *name, struct array *ret_array,
                                   struct cyx_error *error)
{
    zip_stat_t info;
    uint8_t prefix[PREFIX_BYTES];
    uint64_t n_prefix = 0;
    if (!find(zip, name, &info))
        return not_there(zip, path, name, error);
    enum cyx_status status = judge_size(&info, path, error);
    if (status != CYX_OK)
        return status;
    CLEANUP_FILE zip_file_t *file = zip_fopen_index(zip, info.index, 0);
    if (!file)
        return broken(path, info.name, zip_strerror(zip), error);
    uint64_t first = info.size < sizeof(prefix) ? info.size : sizeof(prefix);
    if (!read_bytes(file, prefix, first, &n_prefix) || n_prefix != first)
        return broken(path, info.name, "its compressed bytes are broken or cut short", error);
    return read_elements(self, file, &info, prefix, n_prefix, path, ret_array, error);
}

enum cyx_status npz_open(struct cyx_data *self, const char *path, const char *name,
                         struct array *ret_array, struct cyx_error *error)
{
    int code = 0;
    zip_t *zip = zip_open(path, ZIP_RDONLY | ZIP_CHECKCONS, &code);
    if (!zip) {
        zip_error_t why;
        zip_error_init_with_code(&why, code);
        bool missing = code == ZIP_ER_NOENT;
        cyx_error_set(error, missing ? CYX_ERR_NOT_FOUND : CYX_ERR_CORRUPT, "/data/dataset",
                      "%s: %s", path, missing ? "there is no such file" : zip_error_strerror(&why));
        zip_error_fini(&why);
        return missing ? CYX_ERR_NOT_FOUND : CYX_ERR_CORRUPT;
    }
    enum cyx_status status = read_member(self, zip, path, name, ret_array, error);
    zip_discard(zip);
    return status;
}
