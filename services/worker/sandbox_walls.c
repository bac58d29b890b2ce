/* What a job's trainer sees: bubblewrap's command line, Landlock's rules, the environment. */
#include <fcntl.h>
#include <glob.h>
#include <linux/landlock.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox_internal.h"

#include "base/banned.h"

/* Libraries, the loader's files, and what drivers look up. Nobody's home, no /etc beyond this. */
static const char *const system_paths[] = {
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/sys",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/alternatives",
    "/etc/vulkan",
    "/etc/glvnd",
    "/etc/drirc",
    "/etc/nvidia",
    "/etc/localtime",
    NULL,
};

static const char *const gpu_devices[] = {"/dev/dri", "/dev/nvidia*", "/dev/dxg", NULL};

void sandbox_say(struct sandbox_words *words, const char *word)
{
    if (!word || words->count + 1 >= SANDBOX_ARGUMENTS)
        words->failed = true;
    else
        words->list[words->count++] = word;
}

static void say_all(struct sandbox_words *words, const char *const *list)
{
    for (; list && *list; list++)
        sandbox_say(words, *list);
}

static void bind_path(struct sandbox_words *words, const char *how, const char *path)
{
    sandbox_say(words, how);
    sandbox_say(words, path);
    sandbox_say(words, path);
}

static void bind_all(struct sandbox_words *words, const char *how, const char *const *paths)
{
    for (; paths && *paths; paths++)
        bind_path(words, how, *paths);
}

/* Those of the patterns that are there. */
static void bind_devices(struct sandbox_words *words)
{
    for (const char *const *pattern = gpu_devices; *pattern; pattern++) {
        glob_t found;
        if (glob(*pattern, 0, NULL, &found) != 0)
            continue;
        for (size_t i = 0; i < found.gl_pathc; i++)
            bind_path(words, "--dev-bind-try", cyx_arena_strdup(&words->arena, found.gl_pathv[i]));
        globfree(&found);
    }
}

/* The small file systems in memory (/, /dev, /tmp) are read-only or of 64 MiB, so that they are no way around limits. */
void walls_bubblewrap(const struct sandbox *self, const struct sandbox_plan *plan,
                      const char *const *argv, struct sandbox_words *words)
{
    static const char *const spaces[] = {"bwrap",
                                         "--die-with-parent",
                                         "--new-session",
                                         "--unshare-ipc",
                                         "--unshare-pid",
                                         "--unshare-net",
                                         "--unshare-uts",
                                         "--unshare-cgroup-try",
                                         "--cap-drop",
                                         "ALL",
                                         NULL};
    static const char *const with_user[] = {"--unshare-user", "--disable-userns", NULL};
    static const char *const folders[] = {"--proc",   "/proc",   "--dev", "/dev", "--size",
                                          "67108864", "--tmpfs", "/tmp",  NULL};
    say_all(words, spaces);
    if (self->user_namespace)
        say_all(words, with_user);
    say_all(words, folders);
    if (plan->gpu)
        bind_devices(words);
    say_all(words, (const char *const[]){"--remount-ro", "/dev", NULL});
    bind_all(words, "--ro-bind-try", system_paths);
    bind_path(words, "--ro-bind", self->program);
    bind_all(words, "--ro-bind", plan->read_only);
    bind_all(words, "--bind", plan->writable);
    say_all(words, (const char *const[]){"--remount-ro", "/", NULL});
    if (plan->writable) {
        sandbox_say(words, "--chdir");
        sandbox_say(words, plan->writable[0]);
    }
    if (self->filter.length)
        say_all(words, (const char *const[]){"--seccomp", "3", NULL});
    sandbox_say(words, "--");
    say_all(words, argv);
}

/* ---- Landlock (landlock(7)) -------------------------------------------------------------------- */

static const __u64 reading =
    LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
static const __u64 everything = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1; /* of its first version */
static const __u64 of_files =
    LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE;

/* A path that is not there is passed over. */
static void allow(int rules, const char *path, __u64 access)
{
    struct stat info;
    int folder = open(path, O_PATH | O_CLOEXEC);
    if (folder < 0)
        return;
    if (fstat(folder, &info) == 0 && !S_ISDIR(info.st_mode))
        access &= of_files;
    const struct landlock_path_beneath_attr beneath = {.allowed_access = access,
                                                       .parent_fd = folder};
    syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &beneath, 0);
    close(folder);
}

static void allow_all(int rules, const char *const *paths, __u64 access)
{
    for (; paths && *paths; paths++)
        allow(rules, *paths, access);
}

int walls_landlock(const struct sandbox *self, const struct sandbox_plan *plan)
{
    const struct landlock_ruleset_attr handled = {.handled_access_fs = everything};
    int rules = (int)syscall(SYS_landlock_create_ruleset, &handled, sizeof(handled), 0);
    if (rules < 0)
        return -1;
    allow_all(rules, system_paths, reading);
    allow_all(rules, plan->read_only, reading);
    allow_all(rules, (const char *const[]){"/proc", self->program, NULL}, reading);
    allow(rules, "/dev", plan->gpu ? reading | LANDLOCK_ACCESS_FS_WRITE_FILE : reading);
    allow(rules, "/dev/null", reading | LANDLOCK_ACCESS_FS_WRITE_FILE);
    allow_all(rules, plan->writable, everything);
    return rules;
}

int walls_enter_landlock(int rules)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return -1;
    return (int)syscall(SYS_landlock_restrict_self, rules, 0);
}

/* ---- the environment ---------------------------------------------------------------------------- */

static bool passes(const char *variable)
{
    static const char *const names[] = {
        "PATH=", "LANG=", "LC_ALL=", "TZ=", "LD_LIBRARY_PATH=", "NVIDIA_VISIBLE_DEVICES="};
    static const char *const families[] = {"OMP_",  "DNNL_", "ONEDNN_", "VK_",
                                           "MESA_", "LP_",   "ASAN_",   "UBSAN_",
                                           "LSAN_", "TSAN_", "__GLX_",  "__EGL_"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strncmp(variable, names[i], strlen(names[i])) == 0)
            return true;
    for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++)
        if (strncmp(variable, families[i], strlen(families[i])) == 0)
            return true;
    return false;
}

void walls_environment(const struct sandbox_plan *plan, struct sandbox_words *words)
{
    for (char **variable = environ; *variable; variable++)
        if (passes(*variable))
            sandbox_say(words, *variable);
    if (plan->home)
        sandbox_say(words, cyx_arena_printf(&words->arena, "HOME=%s", plan->home));
    if (plan->writable)
        sandbox_say(words, cyx_arena_printf(&words->arena, "TMPDIR=%s", plan->writable[0]));
}
