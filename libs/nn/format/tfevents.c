#include "nn/format/tfevents.h"

#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "nn/format/crc32c.h"
#include "tfevents.pb-c.h"

#include "base/banned.h"

#define FILE_VERSION "brain.Event:2"
#define NAME_START "events.out.tfevents."

enum { DT_STRING = 7, CRC_BYTES = 4, LENGTH_BYTES = 8, NAMES_LIMIT = 1000 };

struct cyx_tfevents {
    int fd;
    struct cyx_buf path;
    struct cyx_buf record; /* kept from call to call */
};

/* ---- records ---- */

/* TFRecord's mask: a CRC over bytes that hold CRCs would be weak. */
static uint32_t masked_crc(const void *bytes, size_t length)
{
    uint32_t crc = cyx_crc32c(bytes, length);
    return htole32(((crc >> 15) | (crc << 17)) + UINT32_C(0xa282ead8));
}

static enum cyx_status write_all(struct cyx_tfevents *self, const char *bytes, size_t length,
                                 struct cyx_error *error)
{
    while (length > 0) {
        ssize_t n = write(self->fd, bytes, length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return cyx_error_errno(error, "cannot write %s", self->path.data);
        bytes += n;
        length -= (size_t)n;
    }
    return CYX_OK;
}

static void pack_record(struct cyx_buf *record, const CyxTb__Event *event, uint8_t *packed)
{
    size_t length = cyx_tb__event__pack(event, packed);
    uint64_t little = htole64(length);
    uint32_t length_crc = masked_crc(&little, LENGTH_BYTES), crc = masked_crc(packed, length);
    cyx_buf_clear(record);
    cyx_buf_append(record, &little, LENGTH_BYTES);
    cyx_buf_append(record, &length_crc, CRC_BYTES);
    cyx_buf_append(record, packed, length);
    cyx_buf_append(record, &crc, CRC_BYTES);
}

static enum cyx_status write_event(struct cyx_tfevents *self, CyxTb__Event *event,
                                   struct cyx_error *error)
{
    event->wall_time = (double)cyx_clock_unix_ms() * 1e-3;
    uint8_t *packed = malloc(cyx_tb__event__get_packed_size(event) + 1);
    if (packed)
        pack_record(&self->record, event, packed);
    bool failed = !packed || self->record.failed;
    free(packed);
    if (failed)
        return cyx_error_set(error, CYX_ERR_NO_MEMORY, NULL, "no memory to write %s",
                             self->path.data);
    return write_all(self, self->record.data, self->record.length, error);
}

/* ---- files ---- */

/* A second that no file in the folder has in its name yet, so that names sort by age even where the clock does not. */
static int64_t free_second(const char *folder)
{
    int64_t second = cyx_clock_unix_ms() / 1000;
    DIR *listing = opendir(folder);
    const struct dirent *entry;
    while (listing && (entry = readdir(listing))) {
        if (strncmp(entry->d_name, NAME_START, strlen(NAME_START)) != 0)
            continue;
        int64_t taken = strtoll(entry->d_name + strlen(NAME_START), NULL, 10);
        if (taken >= second && taken < INT64_MAX)
            second = taken + 1;
    }
    if (listing)
        closedir(listing);
    return second;
}

static enum cyx_status open_file(struct cyx_tfevents *self, const char *folder,
                                 struct cyx_error *error)
{
    char host[65] = "localhost";
    if (gethostname(host, sizeof(host) - 1) != 0 || !*host)
        snprintf(host, sizeof(host), "localhost");
    for (int i = 0; i < NAMES_LIMIT; i++) {
        cyx_buf_clear(&self->path);
        cyx_buf_printf(&self->path, "%s/" NAME_START "%010" PRId64 ".%s.%ld.%d", folder,
                       free_second(folder), host, (long)getpid(), i);
        if (self->path.failed)
            return cyx_error_set(error, CYX_ERR_NO_MEMORY, NULL, "no memory for an event file");
        self->fd = open(self->path.data, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0644);
        if (self->fd >= 0)
            return CYX_OK;
        if (errno != EEXIST)
            break;
    }
    return cyx_error_errno(error, "cannot make %s", self->path.data);
}

static enum cyx_status begin_file(struct cyx_tfevents *self, int64_t first_step,
                                  struct cyx_error *error)
{
    CyxTb__Event version = CYX_TB__EVENT__INIT, start = CYX_TB__EVENT__INIT;
    CyxTb__SessionLog log = CYX_TB__SESSION_LOG__INIT;
    version.what_case = CYX_TB__EVENT__WHAT_FILE_VERSION;
    version.file_version = (char *)FILE_VERSION;
    log.status = CYX_TB__SESSION_LOG__SESSION_STATUS__START;
    start.step = first_step;
    start.what_case = CYX_TB__EVENT__WHAT_SESSION_LOG;
    start.session_log = &log;
    enum cyx_status status = write_event(self, &version, error);
    return status == CYX_OK ? write_event(self, &start, error) : status;
}

enum cyx_status cyx_tfevents_create(const char *folder, int64_t first_step,
                                    struct cyx_tfevents **ret_events, struct cyx_error *ret_error)
{
    struct cyx_tfevents *self = calloc(1, sizeof(*self));
    if (!self)
        return cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL, "no memory for an event file");
    self->fd = -1;
    enum cyx_status status = open_file(self, folder, ret_error);
    if (status == CYX_OK)
        status = begin_file(self, first_step, ret_error);
    if (status == CYX_OK)
        *ret_events = self;
    else
        cyx_tfevents_close(self);
    return status;
}

const char *cyx_tfevents_path(const struct cyx_tfevents *self)
{
    return self->path.data;
}

enum cyx_status cyx_tfevents_sync(struct cyx_tfevents *self, struct cyx_error *ret_error)
{
    if (fdatasync(self->fd) != 0)
        return cyx_error_errno(ret_error, "cannot write %s", self->path.data);
    return CYX_OK;
}

void cyx_tfevents_close(struct cyx_tfevents *self)
{
    if (!self)
        return;
    if (self->fd >= 0)
        close(self->fd);
    cyx_buf_finish(&self->path);
    cyx_buf_finish(&self->record);
    free(self);
}

/* ---- values ---- */

static enum cyx_status write_summary(struct cyx_tfevents *self, int64_t step,
                                     CyxTb__Summary__Value **values, size_t count,
                                     struct cyx_error *error)
{
    CyxTb__Event event = CYX_TB__EVENT__INIT;
    CyxTb__Summary summary = CYX_TB__SUMMARY__INIT;
    summary.value = values;
    summary.n_value = count;
    event.step = step;
    event.what_case = CYX_TB__EVENT__WHAT_SUMMARY;
    event.summary = &summary;
    return write_event(self, &event, error);
}

enum cyx_status cyx_tfevents_scalars(struct cyx_tfevents *self, int64_t step,
                                     const struct cyx_tfevents_scalar *scalars, size_t count,
                                     struct cyx_error *ret_error)
{
    CyxTb__Summary__Value values[CYX_TFEVENTS_SCALARS_LIMIT];
    CyxTb__Summary__Value *list[CYX_TFEVENTS_SCALARS_LIMIT];
    if (count > CYX_TFEVENTS_SCALARS_LIMIT)
        return cyx_error_set(ret_error, CYX_ERR_INVALID, NULL, "more than %d scalars at once",
                             CYX_TFEVENTS_SCALARS_LIMIT);
    for (size_t i = 0; i < count; i++) {
        cyx_tb__summary__value__init(&values[i]);
        values[i].tag = (char *)scalars[i].tag;
        values[i].value_case = CYX_TB__SUMMARY__VALUE__VALUE_SIMPLE_VALUE;
        values[i].simple_value = (float)scalars[i].value;
        list[i] = &values[i];
    }
    return write_summary(self, step, list, count, ret_error);
}

enum cyx_status cyx_tfevents_text(struct cyx_tfevents *self, int64_t step, const char *tag,
                                  const char *markdown, struct cyx_error *ret_error)
{
    CyxTb__TensorShape shape = CYX_TB__TENSOR_SHAPE__INIT;
    CyxTb__Tensor tensor = CYX_TB__TENSOR__INIT;
    CyxTb__SummaryMetadata__PluginData plugin = CYX_TB__SUMMARY_METADATA__PLUGIN_DATA__INIT;
    CyxTb__SummaryMetadata metadata = CYX_TB__SUMMARY_METADATA__INIT;
    CyxTb__Summary__Value value = CYX_TB__SUMMARY__VALUE__INIT, *values = &value;
    ProtobufCBinaryData text = {.len = strlen(markdown), .data = (uint8_t *)markdown};
    tensor.dtype = DT_STRING;
    tensor.tensor_shape = &shape;
    tensor.n_string_val = 1;
    tensor.string_val = &text;
    plugin.plugin_name = (char *)"text";
    metadata.plugin_data = &plugin;
    value.tag = (char *)tag;
    value.value_case = CYX_TB__SUMMARY__VALUE__VALUE_TENSOR;
    value.tensor = &tensor;
    value.metadata = &metadata;
    return write_summary(self, step, &values, 1, ret_error);
}
