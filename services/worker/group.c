/* Control groups (cgroup v2, kernel's Documentation/admin-guide/cgroup-v2.rst) with a limit of memory, one a job. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <mntent.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sandbox_internal.h"

#include "base/banned.h"

enum { PROCESSES_LIMIT = 4096 };

static bool write_text(const char *folder, const char *file, const char *text)
{
    char path[SANDBOX_PATH_BYTES + 64];
    snprintf(path, sizeof(path), "%s/%s", folder, file);
    int out = open(path, O_WRONLY | O_CLOEXEC);
    if (out < 0)
        return false;
    bool good = write(out, text, strlen(text)) == (ssize_t)strlen(text);
    close(out);
    return good;
}

static bool write_number(const char *folder, const char *file, int64_t number)
{
    char text[32];
    snprintf(text, sizeof(text), "%" PRId64, number);
    return write_text(folder, file, text);
}

/* The file's text, "" when it cannot be read. */
static void read_text(const char *folder, const char *file, char *ret_text, size_t size)
{
    char path[SANDBOX_PATH_BYTES + 64];
    *ret_text = '\0';
    snprintf(path, sizeof(path), "%s/%s", folder, file);
    FILE *in = fopen(path, "re");
    if (!in)
        return;
    size_t length = fread(ret_text, 1, size - 1, in);
    ret_text[length] = '\0';
    fclose(in);
}

/* The folder of our own group: the mount of type cgroup2 and the line "0::/path" of /proc/self/cgroup. */
static bool find_own(char ret_folder[SANDBOX_PATH_BYTES / 2])
{
    char mount[SANDBOX_PATH_BYTES / 4] = "", text[SANDBOX_PATH_BYTES];
    FILE *mounts = setmntent("/proc/self/mounts", "re");
    if (!mounts)
        return false;
    struct mntent entry;
    while (!*mount && getmntent_r(mounts, &entry, text, sizeof(text)))
        if (strcmp(entry.mnt_type, "cgroup2") == 0)
            snprintf(mount, sizeof(mount), "%s", entry.mnt_dir);
    endmntent(mounts);
    read_text("/proc/self", "cgroup", text, sizeof(text));
    char *own = strstr(text, "0::/");
    if (!*mount || !own || (own != text && own[-1] != '\n'))
        return false;
    own[strcspn(own, "\n")] = '\0';
    snprintf(ret_folder, SANDBOX_PATH_BYTES / 2, "%s%s", mount, own + 3);
    return true;
}

static bool has_word(const char *text, const char *word)
{
    const char *at = strstr(text, word);
    size_t length = strlen(word);
    return at && (at == text || at[-1] == ' ') && strchr(" \n", at[length]) != NULL;
}

/* Groups with controllers hold no processes themselves, so we move into a leaf before we switch memory on. */
void groups_open(char ret_folder[SANDBOX_PATH_BYTES])
{
    char own[SANDBOX_PATH_BYTES / 2], leaf[SANDBOX_PATH_BYTES], controllers[256];
    *ret_folder = '\0';
    if (!find_own(own))
        return;
    read_text(own, "cgroup.controllers", controllers, sizeof(controllers));
    snprintf(leaf, sizeof(leaf), "%s/agent", own);
    if (!has_word(controllers, "memory") || (mkdir(leaf, 0755) != 0 && errno != EEXIST))
        return;
    if (write_number(leaf, "cgroup.procs", getpid()) &&
        write_text(own, "cgroup.subtree_control",
                   has_word(controllers, "pids") ? "+memory +pids" : "+memory")) {
        snprintf(ret_folder, SANDBOX_PATH_BYTES, "%s", own);
        return;
    }
    write_number(own, "cgroup.procs", getpid());
    rmdir(leaf);
}

bool group_make(const char *folder, const struct sandbox_limits *limits,
                char ret_group[SANDBOX_PATH_BYTES])
{
    static atomic_uint made;
    char group[SANDBOX_PATH_BYTES];
    int length = snprintf(group, sizeof(group), "%s/job-%d-%u", folder, (int)getpid(),
                          atomic_fetch_add(&made, 1));
    if (length < 0 || (size_t)length >= sizeof(group) || mkdir(group, 0755) != 0)
        return false;
    if (limits->memory_bytes && !write_number(group, "memory.max", limits->memory_bytes)) {
        rmdir(group);
        return false;
    }
    write_text(group, "memory.swap.max", "0"); /* absent without swap accounting */
    write_text(group, "memory.oom.group", "1");
    write_number(group, "pids.max", PROCESSES_LIMIT);
    snprintf(ret_group, SANDBOX_PATH_BYTES, "%s", group);
    return true;
}

void group_remove(const char *group)
{
    if (*group) {
        write_text(group, "cgroup.kill", "1");
        rmdir(group);
    }
}

int64_t group_memory_bytes(const char *group)
{
    char text[64];
    int64_t bytes = 0;
    read_text(group, "memory.current", text, sizeof(text));
    return sscanf(text, "%" SCNd64, &bytes) == 1 ? bytes : 0;
}

bool group_killed_for_memory(const char *group)
{
    char text[512];
    int64_t kills = 0;
    read_text(group, "memory.events", text, sizeof(text));
    const char *line = strstr(text, "oom_kill ");
    return line && sscanf(line, "oom_kill %" SCNd64, &kills) == 1 && kills > 0;
}
