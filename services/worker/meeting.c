#include "meeting.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "trainer.h"

#include "base/banned.h"

enum { LINE_BYTES = 64 };

/* ---- files ---- */

enum cyx_status meeting_read(const char *path, void *ret_bytes, size_t length,
                             struct cyx_error *err)
{
    struct stat info;
    size_t done = 0;
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return cyx_error_errno(err, "cannot open %s", path);
    bool good = fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && (size_t)info.st_size == length;
    while (good && done < length) {
        ssize_t n = read(fd, (char *)ret_bytes + done, length - done);
        good = n > 0 || (n < 0 && errno == EINTR);
        done += n > 0 ? (size_t)n : 0;
    }
    close(fd);
    return good ? CYX_OK
                : cyx_error_set(err, CYX_ERR_CORRUPT, NULL, "%s is no plain file of %zu bytes",
                                path, length);
}

enum cyx_status meeting_write(const char *path, const void *bytes, size_t length,
                              struct cyx_error *err)
{
    size_t done = 0;
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    bool good = fd >= 0;
    while (good && done < length) {
        ssize_t n = write(fd, (const char *)bytes + done, length - done);
        good = n > 0 || (n < 0 && errno == EINTR);
        done += n > 0 ? (size_t)n : 0;
    }
    if (fd >= 0 && close(fd) != 0)
        good = false;
    return good ? CYX_OK : cyx_error_errno(err, "cannot write %s", path);
}

/* ---- standard input ---- */

static void take_line(struct meeting *self, const char *line)
{
    if (strcmp(line, "stop") == 0) {
        atomic_store(self->stop, true);
    } else if (strncmp(line, "met ", 4) == 0) {
        pthread_mutex_lock(&self->lock);
        self->met = strtoll(line + 4, NULL, 10);
        pthread_cond_broadcast(&self->changed);
        pthread_mutex_unlock(&self->lock);
    }
}

static void *hear(void *ctx)
{
    struct meeting *self = ctx;
    char line[LINE_BYTES], byte;
    size_t length = 0;
    ssize_t n;
    while ((n = read(STDIN_FILENO, &byte, 1)) > 0 || (n < 0 && errno == EINTR)) {
        if (n < 0)
            continue;
        if (byte != '\n') {
            line[length] = byte;
            length += length + 1 < sizeof(line);
            continue;
        }
        line[length] = '\0';
        length = 0;
        take_line(self, line);
    }
    atomic_store(self->stop, true);
    pthread_mutex_lock(&self->lock);
    self->closed = true;
    pthread_cond_broadcast(&self->changed);
    pthread_mutex_unlock(&self->lock);
    return NULL;
}

bool meeting_watch_input(struct meeting *self)
{
    pthread_t thread;
    pthread_mutex_init(&self->lock, NULL);
    pthread_cond_init(&self->changed, NULL);
    return pthread_create(&thread, NULL, hear, self) == 0 && pthread_detach(thread) == 0;
}

/* ---- a meeting ---- */

enum cyx_status meeting_meet(void *ctx, float *values, size_t count, struct cyx_error *err)
{
    struct meeting *self = ctx;
    char path[4096];
    snprintf(path, sizeof(path), "%s/" MEETING_VALUES, self->output_dir);
    enum cyx_status status = meeting_write(path, values, count * sizeof(*values), err);
    if (status != CYX_OK)
        return status;
    self->round++;
    trainer_say(json_pack("{s:s, s:I, s:I}", "event", "meet", "round", (json_int_t)self->round,
                          "count", (json_int_t)count));
    pthread_mutex_lock(&self->lock);
    while (self->met < self->round && !self->closed)
        pthread_cond_wait(&self->changed, &self->lock);
    bool met = self->met >= self->round;
    pthread_mutex_unlock(&self->lock);
    return met ? meeting_read(self->mean_path, values, count * sizeof(*values), err)
               : cyx_error_set(err, CYX_ERR_CANCELLED, NULL, "training was ended at a meeting");
}
