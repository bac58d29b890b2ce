#include "sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "filter.h"
#include "sandbox_internal.h"

#include "base/banned.h"

enum { CHECK_TIMEOUT_MS = 10000, TREE_DEPTH = 8 };

/* Sanitizers map terabytes for their shadow, which RLIMIT_DATA counts. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
static const bool data_is_limited = false;
#else
static const bool data_is_limited = true;
#endif

/* Beyond its limit a child may map this much before the kernel refuses: stacks of threads are mapped and hardly used. */
static const int64_t mapped_slack_bytes = 512 << 20;

static const char *const bubblewrap = "/usr/bin/bwrap";

const char *sandbox_walls_name(enum sandbox_walls walls)
{
    static const char *const names[] = {"bubblewrap", "landlock", "none"};
    return names[walls];
}

const char *sandbox_program(const struct sandbox *self)
{
    return self->program;
}

const struct sandbox_state *sandbox_state(const struct sandbox *self)
{
    return &self->state;
}

/* ---- starting ----------------------------------------------------------------------------------- */

/* All that the child needs, made before fork. */
struct launch {
    const struct sandbox *sandbox;
    const struct sandbox_plan *plan;
    struct sandbox_words command, environment;
    char procs[SANDBOX_PATH_BYTES + 16]; /* its group's cgroup.procs, "" without */
    int input, output;                   /* the child's ends */
    int filter, rules;                   /* bubblewrap's filter in a file; Landlock's rules; -1 */
    bool merges;                         /* standard error goes where standard output goes */
};

static void limit(int what, int64_t bytes)
{
    const struct rlimit limits = {(rlim_t)bytes, (rlim_t)bytes};
    setrlimit(what, &limits);
}

static void set_limits(const struct launch *launch)
{
    const struct sandbox_limits *limits = &launch->plan->limits;
    limit(RLIMIT_CORE, 0);
    if (limits->disk_bytes)
        limit(RLIMIT_FSIZE, limits->disk_bytes);
    /* A GPU's driver maps far more than it uses, so there the watch alone looks. */
    if (limits->memory_bytes && !*launch->procs && !launch->plan->gpu && data_is_limited)
        limit(RLIMIT_DATA, limits->memory_bytes + mapped_slack_bytes);
}

static void write_to(const char *path, const char *text)
{
    int file = open(path, O_WRONLY | O_CLOEXEC);
    if (file < 0)
        return;
    ssize_t written = write(file, text, strlen(text));
    (void)written;
    close(file);
}

static bool enter_walls(const struct launch *launch)
{
    if (launch->plan->writable && chdir(launch->plan->writable[0]) != 0)
        return false;
    if (launch->rules >= 0 && walls_enter_landlock(launch->rules) != 0)
        return false;
    const struct cyx_buf *filter = &launch->sandbox->filter;
    return !filter->length || filter_apply(filter->data, filter->length) == 0;
}

/* Between fork and exec: system calls alone. 127: the program is not there; 126: the walls are not. */
static _Noreturn void enter(const struct launch *launch)
{
    bool wrapped = launch->sandbox->state.walls == SANDBOX_BUBBLEWRAP;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    write_to("/proc/self/oom_score_adj", "500"); /* sooner than the agent */
    if (*launch->procs)
        write_to(launch->procs, "0");
    set_limits(launch);
    dup2(launch->input, STDIN_FILENO);
    dup2(launch->output, STDOUT_FILENO);
    if (launch->merges)
        dup2(launch->output, STDERR_FILENO);
    if (!wrapped && !enter_walls(launch))
        _exit(126);
    bool passes_filter = wrapped && launch->filter >= 0;
    if (passes_filter && launch->filter == SANDBOX_FILTER_FD)
        fcntl(launch->filter, F_SETFD, 0);
    else if (passes_filter)
        dup2(launch->filter, SANDBOX_FILTER_FD);
    close_range(passes_filter ? SANDBOX_FILTER_FD + 1 : SANDBOX_FILTER_FD, ~0U, 0);
    execve(wrapped ? bubblewrap : launch->command.list[0], (char *const *)launch->command.list,
           (char *const *)launch->environment.list);
    _exit(127);
}

static int filter_file(const struct sandbox *self)
{
    int file = self->filter.length ? memfd_create("filter", MFD_CLOEXEC) : -1;
    if (file >= 0 &&
        (write(file, self->filter.data, self->filter.length) != (ssize_t)self->filter.length ||
         lseek(file, 0, SEEK_SET) != 0)) {
        close(file);
        return -1;
    }
    return file;
}

static enum cyx_status prepare(struct launch *launch, const char *const *argv, char *group,
                               struct cyx_error *err)
{
    const struct sandbox *self = launch->sandbox;
    launch->filter = launch->rules = -1;
    if (self->state.walls == SANDBOX_BUBBLEWRAP) {
        walls_bubblewrap(self, launch->plan, argv, &launch->command);
        launch->filter = filter_file(self);
        if (self->filter.length && launch->filter < 0)
            return cyx_error_errno(err, "cannot hand the filter of system calls over");
    } else {
        for (; *argv; argv++)
            sandbox_say(&launch->command, *argv);
    }
    if (self->state.walls == SANDBOX_LANDLOCK &&
        (launch->rules = walls_landlock(self, launch->plan)) < 0)
        return cyx_error_errno(err, "cannot make Landlock's rules");
    walls_environment(launch->plan, &launch->environment);
    if (*self->groups && group_make(self->groups, &launch->plan->limits, group))
        snprintf(launch->procs, sizeof(launch->procs), "%s/cgroup.procs", group);
    if (launch->command.failed || launch->environment.failed)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "the trainer's command is too long");
    return CYX_OK;
}

static void launch_finish(struct launch *launch)
{
    cyx_arena_finish(&launch->command.arena);
    cyx_arena_finish(&launch->environment.arena);
    if (launch->filter >= 0)
        close(launch->filter);
    if (launch->rules >= 0)
        close(launch->rules);
}

static enum cyx_status start(struct launch *launch, struct sandbox_process *process,
                             struct cyx_error *err)
{
    int to[2], from[2];
    if (pipe2(to, O_CLOEXEC) != 0)
        return cyx_error_errno(err, "cannot make a pipe to the trainer");
    if (pipe2(from, O_CLOEXEC) != 0) {
        close(to[0]);
        close(to[1]);
        return cyx_error_errno(err, "cannot make a pipe to the trainer");
    }
    launch->input = to[0];
    launch->output = from[1];
    process->pid = fork();
    if (process->pid == 0)
        enter(launch);
    close(to[0]);
    close(from[1]);
    process->input = to[1];
    process->output = from[0];
    if (process->pid < 0) {
        close(to[1]);
        close(from[0]);
        return cyx_error_errno(err, "cannot start the trainer");
    }
    return CYX_OK;
}

static enum cyx_status spawn(const struct sandbox *self, const struct sandbox_plan *plan,
                             const char *const *argv, bool merges,
                             struct sandbox_process *ret_process, struct cyx_error *err)
{
    struct launch launch = {.sandbox = self, .plan = plan, .merges = merges};
    struct sandbox_process process = {.wrapped = self->state.walls == SANDBOX_BUBBLEWRAP};
    enum cyx_status status = prepare(&launch, argv, process.group, err);
    if (status == CYX_OK)
        status = start(&launch, &process, err);
    launch_finish(&launch);
    if (status == CYX_OK)
        *ret_process = process;
    else
        group_remove(process.group);
    return status;
}

enum cyx_status sandbox_spawn(const struct sandbox *self, const struct sandbox_plan *plan,
                              const char *const *argv, struct sandbox_process *ret_process,
                              struct cyx_error *err)
{
    return spawn(self, plan, argv, false, ret_process, err);
}

/* ---- ending ------------------------------------------------------------------------------------- */

void sandbox_ask_to_stop(struct sandbox_process *process)
{
    if (process->input >= 0)
        close(process->input);
    process->input = -1;
}

void sandbox_kill(const struct sandbox_process *process)
{
    kill(process->pid, SIGKILL);
}

/* bubblewrap ends with 128 + the signal that ended its child. */
static int unwrapped(int wait_status)
{
    int code = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 0;
    return code > 128 ? code - 128 : wait_status;
}

enum cyx_status sandbox_wait(struct sandbox_process *process, int64_t timeout_ms,
                             int *ret_wait_status)
{
    int status = 0;
    pid_t ended = 0;
    sandbox_ask_to_stop(process);
    close(process->output);
    struct pollfd end = {.fd = (int)syscall(SYS_pidfd_open, process->pid, 0), .events = POLLIN};
    if (end.fd >= 0) {
        while (poll(&end, 1, (int)timeout_ms) < 0 && errno == EINTR)
            ;
        close(end.fd);
    }
    while ((ended = waitpid(process->pid, &status, end.fd >= 0 ? WNOHANG : 0)) < 0 &&
           errno == EINTR)
        ;
    if (ended != process->pid)
        return CYX_ERR_TIMEOUT;
    *ret_wait_status = process->wrapped ? unwrapped(status) : status;
    group_remove(process->group);
    return CYX_OK;
}

/* ---- looking ------------------------------------------------------------------------------------ */

static int64_t own_memory_bytes(int pid)
{
    char path[64], line[128];
    int64_t sum_kib = 0, kib = 0;
    snprintf(path, sizeof(path), "/proc/%d/status", pid);
    FILE *file = fopen(path, "re");
    if (!file)
        return 0;
    while (fgets(line, sizeof(line), file))
        if (sscanf(line, "RssAnon: %" SCNd64 " kB", &kib) == 1 ||
            sscanf(line, "RssShmem: %" SCNd64 " kB", &kib) == 1)
            sum_kib += kib;
    fclose(file);
    return sum_kib * 1024;
}

/* bubblewrap stands twice above the trainer, which starts nothing. */
static int64_t tree_memory_bytes(int pid, int depth)
{
    char path[64];
    int child = 0;
    int64_t sum = own_memory_bytes(pid);
    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", pid, pid);
    FILE *file = depth < TREE_DEPTH ? fopen(path, "re") : NULL;
    if (!file)
        return sum;
    while (fscanf(file, "%d", &child) == 1)
        sum += tree_memory_bytes(child, depth + 1);
    fclose(file);
    return sum;
}

int64_t sandbox_memory_bytes(const struct sandbox_process *process)
{
    return *process->group ? group_memory_bytes(process->group)
                           : tree_memory_bytes(process->pid, 0);
}

bool sandbox_ran_out_of_memory(const struct sandbox_process *process)
{
    return *process->group && group_killed_for_memory(process->group);
}

/* ---- finding out what works --------------------------------------------------------------------- */

/* What the child said, on one line. */
static void read_reason(int output, char *ret_text, size_t size)
{
    size_t length = 0;
    ssize_t n;
    while (length + 1 < size && (n = read(output, ret_text + length, size - 1 - length)) != 0)
        if (n > 0)
            length += (size_t)n;
        else if (errno != EINTR)
            break;
    ret_text[length] = '\0';
    ret_text[strcspn(ret_text, "\n")] = '\0';
}

/* Runs our own binary behind these walls; false and a reason when that does not work. */
static bool works(struct sandbox *self, enum sandbox_walls walls, bool user_namespace,
                  char *ret_reason, size_t size)
{
    struct cyx_error err = {0};
    struct sandbox_process process;
    int wait_status = 0;
    self->state.walls = walls;
    self->user_namespace = user_namespace;
    const struct sandbox_plan plan = {.gpu = true};
    const char *const argv[] = {self->program, "--sandbox-check", NULL};
    if (walls == SANDBOX_BUBBLEWRAP && access(bubblewrap, X_OK) != 0) {
        snprintf(ret_reason, size, "%s is not installed", bubblewrap);
        return false;
    }
    if (spawn(self, &plan, argv, true, &process, &err) != CYX_OK) {
        snprintf(ret_reason, size, "%.200s", err.message);
        return false;
    }
    read_reason(process.output, ret_reason, size);
    if (sandbox_wait(&process, CHECK_TIMEOUT_MS, &wait_status) == CYX_OK && wait_status == 0)
        return true;
    if (!*ret_reason)
        snprintf(ret_reason, size, "a trial ended with status %d", wait_status);
    return false;
}

static void find_walls(struct sandbox *self, bool landlock_alone)
{
    char reason[sizeof(self->state.reason)] = "";
    snprintf(self->state.reason, sizeof(self->state.reason), "CYXWIZ_SANDBOX is landlock");
    if (landlock_alone) {
        if (!works(self, SANDBOX_LANDLOCK, false, reason, sizeof(reason)))
            self->state.walls = SANDBOX_NO_WALLS;
        return;
    }
    if (works(self, SANDBOX_BUBBLEWRAP, true, self->state.reason, sizeof(self->state.reason)) ||
        (geteuid() == 0 && works(self, SANDBOX_BUBBLEWRAP, false, reason, sizeof(reason)))) {
        *self->state.reason = '\0';
        return;
    }
    if (works(self, SANDBOX_LANDLOCK, false, reason, sizeof(reason)))
        return;
    self->state.walls = SANDBOX_NO_WALLS;
}

enum cyx_status sandbox_create(const char *wanted, struct sandbox **ret_sandbox,
                               struct cyx_error *err)
{
    struct sandbox *self = calloc(1, sizeof(*self));
    if (!self)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for the sandbox");
    ssize_t length = readlink("/proc/self/exe", self->program, sizeof(self->program) - 1);
    if (length <= 0) {
        sandbox_destroy(self);
        return cyx_error_errno(err, "cannot find this program's own file");
    }
    groups_open(self->groups);
    self->state.groups = *self->groups != '\0';
    self->state.walls = SANDBOX_NO_WALLS;
    if (strcmp(wanted, "off") == 0) {
        snprintf(self->state.reason, sizeof(self->state.reason), "CYXWIZ_SANDBOX is off");
    } else {
        self->state.filters = filter_build(&self->filter, NULL) == CYX_OK;
        find_walls(self, strcmp(wanted, "landlock") == 0);
    }
    bool whole = self->state.walls == SANDBOX_BUBBLEWRAP && self->state.filters;
    if (strcmp(wanted, "required") == 0 && !whole) {
        cyx_error_set(err, CYX_ERR_UNSUPPORTED, NULL,
                      "CYXWIZ_SANDBOX is \"required\", but a trainer cannot be shut in here: %s",
                      *self->state.reason ? self->state.reason : "no filter of system calls");
        sandbox_destroy(self);
        return CYX_ERR_UNSUPPORTED;
    }
    *ret_sandbox = self;
    return CYX_OK;
}

void sandbox_destroy(struct sandbox *self)
{
    if (!self)
        return;
    cyx_buf_finish(&self->filter);
    free(self);
}
