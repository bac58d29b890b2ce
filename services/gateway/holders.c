#include "holders.h"

#include <string.h>
#include <strings.h>

#include "base/banned.h"

static bool knows(const struct holders *self, const char *node_id)
{
    for (size_t i = 0; i < self->count; i++)
        if (strcasecmp(self->ids[i], node_id) == 0)
            return true;
    return false;
}

static void add(struct holders *self, const char *node_id)
{
    if (node_id && cyx_id_valid(node_id) && !knows(self, node_id) && self->count < HOLDERS_LIMIT)
        memcpy(self->ids[self->count++], node_id, CYX_ID_BYTES);
}

void holders_take(struct holders *self, const json_t *job)
{
    const json_t *transition, *member;
    size_t i, k;
    json_array_foreach(json_object_get(job, "transitions"), i, transition)
    {
        add(self, json_string_value(json_object_get(transition, "node_id")));
        json_array_foreach(json_object_get(transition, "members"), k, member)
            add(self, json_string_value(member));
    }
}

enum cyx_status holders_subject(char ret_subject[CYX_SUBJECT_BYTES], const char *job_id,
                                const char *kind)
{
    char last[32];
    snprintf(last, sizeof(last), "%s.*", kind);
    return cyx_subject_job(ret_subject, job_id, last);
}

bool holders_may_tell(const struct holders *self, const char *subject)
{
    const char *who = strrchr(subject, '.');
    return who && (strcmp(who + 1, CYX_JOB_STATE) == 0 || strcmp(who + 1, CYX_FROM_SERVICE) == 0 ||
                   knows(self, who + 1));
}
