#include "svc/svc.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "svc/svc_internal.h"

#include "base/banned.h"

/* The signals that end a service or have it read anew, taken by cyx_svc_run() alone. */
static sigset_t own_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    return set;
}

static double resident_bytes(void *ctx)
{
    (void)ctx;
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    if (cyx_buf_read_file(&text, "/proc/self/statm", 4096, NULL) != CYX_OK)
        return 0;
    const char *second = strchr(text.data, ' ');
    return second ? strtod(second, NULL) * (double)sysconf(_SC_PAGESIZE) : 0;
}

static double cpu_seconds(void *ctx)
{
    (void)ctx;
    struct timespec spent;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &spent);
    return (double)spent.tv_sec + (double)spent.tv_nsec / 1e9;
}

static enum cyx_status open_descriptors(struct cyx_svc *self, struct cyx_error *err)
{
    const sigset_t set = own_signals();
    signal(SIGPIPE, SIG_IGN);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    self->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    self->quit_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (self->signal_fd < 0 || self->quit_fd < 0)
        return cyx_error_errno(err, "cannot wait for signals");
    return CYX_OK;
}

static enum cyx_status read_settings(struct cyx_svc *self, struct cyx_error *err)
{
    enum cyx_log_level level = CYX_LOG_INFO;
    const char *name =
        cyx_config_choice(&self->config, "CYXWIZ_LOG_LEVEL", "info", "debug info warn error");
    cyx_log_level_parse(name, &level);
    cyx_log_set_level(level);
    self->drain_ms = cyx_config_int(&self->config, "CYXWIZ_DRAIN_MS", 10000, 0, 600000);
    return cyx_config_check(&self->config, err);
}

enum cyx_status cyx_svc_create(const char *name, struct cyx_svc **ret_svc, struct cyx_error *err)
{
    cyx_log_set_service(name);
    struct cyx_svc *self = calloc(1, sizeof(*self));
    if (!self)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "out of memory");
    self->name = name;
    self->signal_fd = self->quit_fd = -1;
    pthread_mutex_init(&self->lock, NULL);
    self->metrics = cyx_metrics_create();
    enum cyx_status status = self->metrics ? CYX_OK : CYX_ERR_NO_MEMORY;
    if (status == CYX_OK)
        status = open_descriptors(self, err);
    if (status == CYX_OK)
        status = read_settings(self, err);
    if (status != CYX_OK) {
        cyx_svc_destroy(self);
        return status;
    }
    cyx_metrics_gauge_function(self->metrics, "cyx_process_resident_bytes",
                               "Memory that the process holds.", resident_bytes, NULL);
    cyx_metrics_gauge_function(self->metrics, "cyx_process_cpu_seconds",
                               "Processor time that the process has used.", cpu_seconds, NULL);
    *ret_svc = self;
    return CYX_OK;
}

void cyx_svc_destroy(struct cyx_svc *self)
{
    if (!self)
        return;
    cyx_svc_health_stop(self);
    cyx_outbox_relay_stop(self->outbox, 0);
    cyx_bus_destroy(self->bus);
    cyx_cache_close(self->cache);
    cyx_db_close(self->db);
    cyx_metrics_destroy(self->metrics);
    cyx_config_finish(&self->config);
    if (self->signal_fd >= 0)
        close(self->signal_fd);
    if (self->quit_fd >= 0)
        close(self->quit_fd);
    pthread_mutex_destroy(&self->lock);
    free(self);
}

int cyx_svc_fail(struct cyx_svc *self, const struct cyx_error *err)
{
    cyx_log(CYX_LOG_ERROR, "cannot start", CYX_STR("status", cyx_status_name(err->status)),
            CYX_STR("reason", err->message));
    cyx_svc_destroy(self);
    return 1;
}

struct cyx_config *cyx_svc_config(struct cyx_svc *self)
{
    return &self->config;
}

struct cyx_metrics *cyx_svc_metrics(struct cyx_svc *self)
{
    return self->metrics;
}

enum cyx_status cyx_svc_add_check(struct cyx_svc *self, const char *name, cyx_svc_check check,
                                  void *ctx, struct cyx_error *err)
{
    enum cyx_status status = CYX_OK;
    pthread_mutex_lock(&self->lock);
    if (self->check_count == CYX_SVC_CHECKS_MAX) {
        status = cyx_error_set(err, CYX_ERR_TOO_LARGE, NULL, "more than %d readiness checks",
                               CYX_SVC_CHECKS_MAX);
    } else {
        self->checks[self->check_count].name = name;
        self->checks[self->check_count].check = check;
        self->checks[self->check_count].ctx = ctx;
        self->check_count++;
    }
    pthread_mutex_unlock(&self->lock);
    return status;
}

enum cyx_status cyx_svc_on_drain(struct cyx_svc *self, cyx_svc_drain drain, void *ctx,
                                 struct cyx_error *err)
{
    enum cyx_status status = CYX_OK;
    pthread_mutex_lock(&self->lock);
    if (self->drain_count == CYX_SVC_DRAINS_MAX) {
        status = cyx_error_set(err, CYX_ERR_TOO_LARGE, NULL, "more than %d drain functions",
                               CYX_SVC_DRAINS_MAX);
    } else {
        self->drains[self->drain_count].drain = drain;
        self->drains[self->drain_count].ctx = ctx;
        self->drain_count++;
    }
    pthread_mutex_unlock(&self->lock);
    return status;
}

enum cyx_status cyx_svc_on_reload(struct cyx_svc *self, cyx_svc_reload reload, void *ctx,
                                  struct cyx_error *err)
{
    enum cyx_status status = CYX_OK;
    pthread_mutex_lock(&self->lock);
    if (self->reload_count == CYX_SVC_RELOADS_MAX) {
        status = cyx_error_set(err, CYX_ERR_TOO_LARGE, NULL, "more than %d reload functions",
                               CYX_SVC_RELOADS_MAX);
    } else {
        self->reloads[self->reload_count].reload = reload;
        self->reloads[self->reload_count].ctx = ctx;
        self->reload_count++;
        signal(SIGHUP, SIG_DFL); /* nohup has it ignored, and what is ignored is not told */
    }
    pthread_mutex_unlock(&self->lock);
    return status;
}

/* False: there is nothing to read anew. */
static bool reload(struct cyx_svc *self)
{
    pthread_mutex_lock(&self->lock);
    size_t count = self->reload_count; /* only ever added to */
    pthread_mutex_unlock(&self->lock);
    for (size_t i = 0; i < count; i++)
        self->reloads[i].reload(self->reloads[i].ctx);
    return count > 0;
}

bool cyx_svc_write_readiness(struct cyx_svc *self, struct cyx_buf *ret_json)
{
    CYX_CLEANUP_BUF struct cyx_buf checks = {0};
    pthread_mutex_lock(&self->lock);
    size_t count = self->check_count; /* only ever added to */
    bool draining = self->draining, ready = !draining;
    pthread_mutex_unlock(&self->lock);
    cyx_buf_puts(&checks, "");
    for (size_t i = 0; i < count; i++) {
        struct cyx_error why = {0};
        enum cyx_status status = self->checks[i].check(self->checks[i].ctx, &why);
        cyx_buf_puts(&checks, i ? "," : "");
        cyx_buf_json_string(&checks, self->checks[i].name);
        cyx_buf_puts(&checks, ":");
        cyx_buf_json_string(&checks, status == CYX_OK ? "ok" : why.message);
        ready &= status == CYX_OK;
    }
    cyx_buf_printf(ret_json, "{\"ready\":%s,\"draining\":%s,\"checks\":{%s}}",
                   ready ? "true" : "false", draining ? "true" : "false",
                   checks.data ? checks.data : "");
    return ready;
}

void cyx_svc_quit(struct cyx_svc *self, int code)
{
    pthread_mutex_lock(&self->lock);
    self->exit_code = code;
    pthread_mutex_unlock(&self->lock);
    const uint64_t one = 1;
    if (write(self->quit_fd, &one, sizeof(one)) < 0)
        return; /* the counter is full: it has been told already */
}

/* Waits for a signal or cyx_svc_quit(); gives the signal's number, 0 for the latter. */
static int wait_for_stop(struct cyx_svc *self)
{
    struct pollfd fds[2] = {{.fd = self->signal_fd, .events = POLLIN},
                            {.fd = self->quit_fd, .events = POLLIN}};
    for (;;) {
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            return 0;
        struct signalfd_siginfo info;
        if (fds[0].revents & POLLIN &&
            read(self->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info) &&
            !(info.ssi_signo == SIGHUP && reload(self)))
            return (int)info.ssi_signo;
        if (fds[1].revents & POLLIN)
            return 0;
    }
}

/* From here on a signal has its default effect: it ends the process. A SIGHUP has said what it had to. */
static void let_signals_kill(void)
{
    const sigset_t set = own_signals();
    signal(SIGHUP, SIG_IGN);
    signal(SIGTERM, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

static int64_t left_ms(int64_t end_ns)
{
    int64_t left = (end_ns - cyx_clock_monotonic_ns()) / 1000000;
    return left > 0 ? left : 0;
}

static bool drain(struct cyx_svc *self)
{
    int64_t end_ns = cyx_clock_monotonic_ns() + self->drain_ms * 1000000;
    bool clean = true;
    pthread_mutex_lock(&self->lock);
    self->draining = true;
    size_t count = self->drain_count;
    pthread_mutex_unlock(&self->lock);
    while (count-- > 0)
        self->drains[count].drain(self->drains[count].ctx, left_ms(end_ns));
    if (self->bus)
        clean = cyx_bus_quiet(self->bus, left_ms(end_ns)) == CYX_OK;
    cyx_outbox_relay_stop(self->outbox, left_ms(end_ns));
    self->outbox = NULL;
    if (self->bus)
        clean &= cyx_bus_drain(self->bus, left_ms(end_ns)) == CYX_OK;
    return clean;
}

int cyx_svc_run(struct cyx_svc *self)
{
    struct cyx_error err = {0};
    uint16_t port = 0;
    if (cyx_svc_health_start(self, &port, &err) != CYX_OK) {
        cyx_log(CYX_LOG_ERROR, "cannot start", CYX_STR("reason", err.message));
        self->exit_code = 1;
    } else {
        cyx_log(CYX_LOG_INFO, "READY", CYX_INT("health_port", port), CYX_INT("pid", getpid()));
        int number = wait_for_stop(self);
        cyx_log(CYX_LOG_INFO, "stopping", CYX_STR("signal", number ? strsignal(number) : NULL));
    }
    let_signals_kill();
    bool clean = drain(self);
    cyx_svc_health_stop(self);
    cyx_log(clean ? CYX_LOG_INFO : CYX_LOG_WARN,
            clean ? "stopped" : "stopped with work still running");
    return self->exit_code;
}
