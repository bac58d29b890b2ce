#include "servers.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

const char *servers_env(const char *name)
{
    const char *value = getenv(name);
    if (value && *value)
        return value;
    printf("SKIP: %s is not set; run this program as tests/support/servers PROGRAM\n", name);
    exit(77);
}

void servers_command(const char *verb, const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", servers_env("CYXWIZ_TEST_CONTROL"));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char line[512];
    int length = snprintf(line, sizeof(line), "%s %s\n", verb, name);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0 ||
        write(fd, line, (size_t)length) != length)
        fail_msg("control socket: %s", strerror(errno));
    ssize_t got = read(fd, line, sizeof(line) - 1);
    line[got > 0 ? got : 0] = '\0';
    close(fd);
    if (strcmp(line, "ok\n") != 0)
        fail_msg("%s %s: %s", verb, name, line);
}

void latch_add(struct latch *self, int64_t by)
{
    pthread_mutex_lock(&self->lock);
    self->count += by;
    pthread_cond_broadcast(&self->changed);
    pthread_mutex_unlock(&self->lock);
}

int64_t latch_count(struct latch *self)
{
    pthread_mutex_lock(&self->lock);
    int64_t count = self->count;
    pthread_mutex_unlock(&self->lock);
    return count;
}

bool latch_wait(struct latch *self, int64_t count)
{
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += LATCH_TIMEOUT_S;
    int waited = 0;
    pthread_mutex_lock(&self->lock);
    while (self->count < count && waited != ETIMEDOUT)
        waited = pthread_cond_timedwait(&self->changed, &self->lock, &end);
    bool reached = self->count >= count;
    pthread_mutex_unlock(&self->lock);
    return reached;
}

bool wait_for(bool (*ready)(void *ctx), void *ctx)
{
    for (int i = 0; i < LATCH_TIMEOUT_S * 100; i++) {
        if (ready(ctx))
            return true;
        poll(NULL, 0, 10);
    }
    return false;
}
