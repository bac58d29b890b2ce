#include "events.h"

#include "nn/format/tfevents.h"

#include "base/banned.h"

/* A file here is the writer's own object. */
static struct cyx_tfevents *file_of(struct py_events *self)
{
    return (struct cyx_tfevents *)self;
}

enum cyx_status py_events_open(const char *folder, int64_t first_step,
                               struct py_events **ret_events, struct cyx_error *ret_error)
{
    struct cyx_tfevents *file = NULL;
    enum cyx_status status = cyx_tfevents_create(folder, first_step, &file, ret_error);
    if (status == CYX_OK)
        *ret_events = (struct py_events *)file;
    return status;
}

enum cyx_status py_events_scalar(struct py_events *self, int64_t step, const char *tag,
                                 double value, struct cyx_error *ret_error)
{
    const struct cyx_tfevents_scalar scalar = {tag, value};
    return cyx_tfevents_scalars(file_of(self), step, &scalar, 1, ret_error);
}

enum cyx_status py_events_text(struct py_events *self, int64_t step, const char *tag,
                               const char *markdown, struct cyx_error *ret_error)
{
    return cyx_tfevents_text(file_of(self), step, tag, markdown, ret_error);
}

void py_events_close(struct py_events *self)
{
    cyx_tfevents_close(file_of(self));
}
