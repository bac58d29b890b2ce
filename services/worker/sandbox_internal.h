/* What sandbox.c (processes), sandbox_walls.c (what a child sees) and group.c (cgroup v2) share. */
#ifndef CYX_WORKER_SANDBOX_INTERNAL_H
#define CYX_WORKER_SANDBOX_INTERNAL_H

#include "base/arena.h"
#include "base/buf.h"
#include "sandbox.h"

enum { SANDBOX_FILTER_FD = 3, SANDBOX_ARGUMENTS = 256 };

struct sandbox {
    struct sandbox_state state;
    bool user_namespace;   /* bubblewrap with one; as root without user namespaces it needs none */
    struct cyx_buf filter; /* filter.h's program, empty when it is off */
    char program[SANDBOX_PATH_BYTES]; /* this process's binary */
    char groups[SANDBOX_PATH_BYTES];  /* where jobs' control groups are made, "" without them */
};

/* A command made before fork, since the child between fork and exec takes no memory. */
struct sandbox_words {
    struct cyx_arena arena;
    const char *list[SANDBOX_ARGUMENTS]; /* NULL-terminated */
    size_t count;
    bool failed; /* too many, or no memory */
};
void sandbox_say(struct sandbox_words *words, const char *word);

/* bubblewrap's command line for `argv`. */
void walls_bubblewrap(const struct sandbox *self, const struct sandbox_plan *plan,
                      const char *const *argv, struct sandbox_words *words);
/* Landlock's rules as a descriptor for walls_enter_landlock(), -1 where the kernel has none. */
int walls_landlock(const struct sandbox *self, const struct sandbox_plan *plan);
/* Between fork and exec. 0, or -1 with errno. */
int walls_enter_landlock(int rules);
/* The names of the environment that pass, and HOME, TMPDIR. */
void walls_environment(const struct sandbox_plan *plan, struct sandbox_words *words);

/* Where this process may make control groups with limits, "" where it may not; moves this process into a leaf. */
void groups_open(char ret_folder[SANDBOX_PATH_BYTES]);
/* A new group with these limits. False (and nothing made) when that fails. */
bool group_make(const char *folder, const struct sandbox_limits *limits,
                char ret_group[SANDBOX_PATH_BYTES]);
void group_remove(const char *group);
int64_t group_memory_bytes(const char *group);
bool group_killed_for_memory(const char *group);

#endif
