#include "readers.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/every.h"
#include "base/log.h"

#include "base/banned.h"

enum { EVERY_MS = 2000, AT_ONCE = 500 };

struct readers {
    struct store *store;
    struct cyx_every *every; /* NULL: stopped */
    pthread_mutex_t lock;
    struct reader *first; /* with the lock */
    size_t count;
};

void readers_add(struct readers *self, struct reader *reader)
{
    pthread_mutex_lock(&self->lock);
    reader->next = self->first;
    reader->link = &self->first;
    if (self->first)
        self->first->link = &reader->next;
    self->first = reader;
    self->count++;
    pthread_mutex_unlock(&self->lock);
}

void readers_remove(struct readers *self, struct reader *reader)
{
    pthread_mutex_lock(&self->lock);
    if (reader->link) {
        *reader->link = reader->next;
        if (reader->next)
            reader->next->link = reader->link;
        reader->link = NULL;
        self->count--;
    }
    pthread_mutex_unlock(&self->lock);
}

static int by_name(const void *a, const void *b)
{
    const struct store_credential *x = a, *y = b;
    return x->session != y->session ? x->session - y->session : strcmp(x->name, y->name);
}

/* Each credential of an open stream once; the caller's to free(). */
static struct store_credential *list(struct readers *self, size_t *ret_count)
{
    size_t count = 0, different = 0;
    pthread_mutex_lock(&self->lock);
    struct store_credential *all = calloc(self->count + 1, sizeof(*all));
    for (struct reader *reader = self->first; all && reader; reader = reader->next) {
        if (!reader->ended)
            all[count++] = reader->credential;
    }
    pthread_mutex_unlock(&self->lock);
    if (all && count > 0)
        qsort(all, count, sizeof(*all), by_name);
    for (size_t i = 0; all && i < count; i++) {
        if (i == 0 || by_name(&all[i], &all[different - 1]) != 0)
            all[different++] = all[i];
    }
    *ret_count = different;
    return all;
}

/* The streams' ends are told outside the lock: who has them may remove them at that moment. */
static void end_streams(struct readers *self, const struct store_credential *ended, size_t count)
{
    struct cyx_ws *sockets[AT_ONCE];
    struct cyx_http_stream *streams[AT_ONCE];
    size_t n_sockets, n_streams;
    do {
        n_sockets = n_streams = 0;
        pthread_mutex_lock(&self->lock);
        for (struct reader *reader = self->first;
             reader && n_sockets < AT_ONCE && n_streams < AT_ONCE; reader = reader->next) {
            if (reader->ended ||
                !bsearch(&reader->credential, ended, count, sizeof(*ended), by_name))
                continue;
            reader->ended = true;
            if (reader->ws)
                sockets[n_sockets++] = cyx_ws_ref(reader->ws);
            else
                streams[n_streams++] = cyx_http_stream_ref(reader->stream);
        }
        pthread_mutex_unlock(&self->lock);
        for (size_t i = 0; i < n_sockets; i++) {
            cyx_ws_close(sockets[i], 1008, "the key or session that opened this has ended");
            cyx_ws_unref(sockets[i]);
        }
        for (size_t i = 0; i < n_streams; i++) {
            cyx_http_stream_end(streams[i]);
            cyx_http_stream_unref(streams[i]);
        }
        if (n_sockets + n_streams > 0)
            cyx_log(CYX_LOG_INFO, "live streams ended with the key or session that opened them",
                    CYX_INT("websockets", (int64_t)n_sockets),
                    CYX_INT("streams", (int64_t)n_streams));
    } while (n_sockets == AT_ONCE || n_streams == AT_ONCE);
}

static void sweep(void *ctx, struct cyx_every *every)
{
    struct readers *self = ctx;
    (void)every;
    size_t count = 0, n_ended = 0;
    struct store_credential *all = list(self, &count);
    enum cyx_status status = CYX_OK;
    struct cyx_error err = {0};
    for (size_t i = 0; all && status == CYX_OK && i < count; i += AT_ONCE) {
        bool ended[AT_ONCE] = {false};
        size_t some = count - i < AT_ONCE ? count - i : AT_ONCE;
        status = store_credentials_ended(self->store, &all[i], some, ended, &err);
        for (size_t k = 0; status == CYX_OK && k < some; k++) {
            if (ended[k])
                all[n_ended++] = all[i + k]; /* behind what is still to be asked for */
        }
    }
    if (status != CYX_OK) /* the next sweep tells */
        cyx_log(CYX_LOG_DEBUG, "who reads live was not looked up", CYX_STR("error", err.message));
    if (n_ended > 0)
        end_streams(self, all, n_ended);
    free(all);
}

enum cyx_status readers_create(struct store *store, struct readers **ret_readers,
                               struct cyx_error *err)
{
    struct readers *self = calloc(1, sizeof(*self));
    if (!self)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for the gateway");
    self->store = store;
    pthread_mutex_init(&self->lock, NULL);
    enum cyx_status status = cyx_every_start(sweep, self, EVERY_MS, &self->every, err);
    if (status == CYX_OK)
        *ret_readers = self;
    else
        readers_destroy(self);
    return status;
}

void readers_stop(struct readers *self)
{
    if (!self)
        return;
    cyx_every_stop(self->every);
    self->every = NULL;
}

void readers_destroy(struct readers *self)
{
    if (!self)
        return;
    readers_stop(self);
    pthread_mutex_destroy(&self->lock);
    free(self);
}
