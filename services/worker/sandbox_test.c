/* The sandbox by what a program inside it can do: this same binary, run there as a probe. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sandbox.h"

#include "base/banned.h"

/* ---- the probe: exit code 0 when what it tried worked, 1 when it was refused ---------------------- */

static int can_write(const char *path)
{
    int file = open(path, O_WRONLY | O_CREAT, 0600);
    return file < 0 || write(file, "x", 1) != 1;
}

static int can_read(const char *path)
{
    char byte;
    int file = open(path, O_RDONLY);
    return file < 0 || read(file, &byte, 1) != 1;
}

static int fill(const char *path, size_t bytes)
{
    char block[65536] = {0};
    int file = open(path, O_WRONLY | O_CREAT, 0600);
    for (size_t done = 0; done < bytes; done += sizeof(block))
        if (write(file, block, sizeof(block)) != (ssize_t)sizeof(block))
            return 1;
    return 0;
}

/* Touches memory, or is refused it; says so and waits. */
static int eat(size_t bytes)
{
    char *block = malloc(bytes);
    if (!block)
        return 1;
    memset(block, 1, bytes);
    __asm__ volatile("" : : "r"(block) : "memory");
    printf("eaten\n");
    fflush(stdout);
    pause();
    free(block);
    return 0;
}

static int others_seen(void)
{
    char path[32];
    int seen = 0;
    for (int pid = 1; pid < 100000; pid++) {
        snprintf(path, sizeof(path), "/proc/%d", pid);
        seen += access(path, F_OK) == 0;
    }
    return seen > 3;
}

static int descriptors_beyond_three(void)
{
    int open_ones = 0;
    for (int fd = 3; fd < 256; fd++)
        open_ones += fcntl(fd, F_GETFD) >= 0;
    return open_ones != 0;
}

static int probe(const char *what, const char *path)
{
    if (strcmp(what, "socket") == 0)
        return socket(AF_INET, SOCK_STREAM, 0) < 0;
    if (strcmp(what, "unix-socket") == 0)
        return socket(AF_UNIX, SOCK_STREAM, 0) < 0;
    if (strcmp(what, "namespace") == 0)
        return unshare(CLONE_NEWUSER) != 0;
    if (strcmp(what, "trace") == 0)
        return ptrace(PTRACE_TRACEME, 0, 0, 0) != 0;
    if (strcmp(what, "write") == 0)
        return can_write(path);
    if (strcmp(what, "read") == 0)
        return can_read(path);
    if (strcmp(what, "fill") == 0)
        return fill(path, 8 << 20);
    if (strcmp(what, "eat") == 0)
        return eat((size_t)1 << 30);
    if (strcmp(what, "others") == 0)
        return others_seen();
    if (strcmp(what, "descriptors") == 0)
        return descriptors_beyond_three();
    if (strcmp(what, "secret") == 0)
        return getenv("CYXWIZ_NATS_PASSWORD") == NULL;
    if (strcmp(what, "crash") == 0)
        return raise(SIGSEGV);
    if (strcmp(what, "abort") == 0)
        abort();
    char byte;
    return read(STDIN_FILENO, &byte, 1) == 0 ? 7 : 8; /* "stop": until the input ends */
}

/* ---- the tests ----------------------------------------------------------------------------------- */

struct world {
    struct sandbox *sandbox;
    char folder[64], scratch[96], shown[96], hidden[96];
};

static void make_file(const char *path)
{
    int file = open(path, O_WRONLY | O_CREAT, 0600);
    assert_true(file >= 0 && write(file, "secret", 6) == 6);
    close(file);
}

static const char *wanted = "auto"; /* CYXWIZ_SANDBOX of the run */

static int set_up(void **state)
{
    static struct world world;
    struct cyx_error err = {0};
    snprintf(world.folder, sizeof(world.folder), "/tmp/cyx sandbox XXXXXX");
    assert_non_null(mkdtemp(world.folder));
    snprintf(world.scratch, sizeof(world.scratch), "%s/scratch", world.folder);
    snprintf(world.shown, sizeof(world.shown), "%s/shown", world.folder);
    snprintf(world.hidden, sizeof(world.hidden), "%s/hidden", world.folder);
    assert_int_equal(mkdir(world.scratch, 0700), 0);
    make_file(world.shown);
    make_file(world.hidden);
    setenv("CYXWIZ_NATS_PASSWORD", "hunter2", 1);
    assert_int_equal(sandbox_create(wanted, &world.sandbox, &err), CYX_OK);
    *state = &world;
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;
    char path[128];
    snprintf(path, sizeof(path), "%s/made", world->scratch);
    unlink(path);
    rmdir(world->scratch);
    unlink(world->shown);
    unlink(world->hidden);
    rmdir(world->folder);
    sandbox_destroy(world->sandbox);
    return 0;
}

static void start(struct world *world, const struct sandbox_limits *limits, const char *what,
                  const char *path, struct sandbox_process *ret_process)
{
    struct cyx_error err = {0};
    const char *const read_only[] = {world->shown, NULL};
    const char *const writable[] = {world->scratch, NULL};
    const struct sandbox_plan plan = {
        .read_only = read_only, .writable = writable, .limits = *limits};
    const char *const argv[] = {sandbox_program(world->sandbox), "--probe", what, path, NULL};
    if (sandbox_spawn(world->sandbox, &plan, argv, ret_process, &err) != CYX_OK)
        fail_msg("%s", err.message);
}

/* How the probe ended: as waitpid() has it. */
static int tried(void **state, const char *what, const char *path)
{
    struct sandbox_process process;
    int status = -1;
    char byte;
    start(*state, &(struct sandbox_limits){0}, what, path, &process);
    while (read(process.output, &byte, 1) > 0) /* a slow machine may take its time */
        ;
    assert_int_equal(sandbox_wait(&process, 60000, &status), CYX_OK);
    return status;
}

enum { WORKED = 0, REFUSED = 1 << 8 };

static void skip_without_walls(const struct world *world)
{
    const struct sandbox_state *found = sandbox_state(world->sandbox);
    if (found->walls != SANDBOX_NO_WALLS)
        return;
    print_message("SKIP: nothing shuts a process in here: %s\n", found->reason);
    skip();
}

static void test_sandbox__says_what_holds(void **state)
{
    struct world *world = *state;
    const struct sandbox_state *found = sandbox_state(world->sandbox);
    print_message("walls: %s, filter: %d, groups: %d, %s\n", sandbox_walls_name(found->walls),
                  found->filters, found->groups, found->reason);
    assert_true(found->walls == SANDBOX_BUBBLEWRAP ? !*found->reason : *found->reason != '\0');
}

static void test_sandbox__has_no_network_and_no_way_to_others(void **state)
{
    const struct world *world = *state;
    if (!sandbox_state(world->sandbox)->filters)
        skip();
    assert_int_equal(tried(state, "socket", NULL), REFUSED);
    assert_int_equal(tried(state, "unix-socket", NULL), REFUSED);
    assert_int_equal(tried(state, "namespace", NULL), REFUSED);
#ifndef __SANITIZE_ADDRESS__
    assert_int_equal(tried(state, "trace", NULL), REFUSED);
#endif
    if (sandbox_state(world->sandbox)->walls == SANDBOX_BUBBLEWRAP)
        assert_int_equal(tried(state, "others", NULL), WORKED);
}

static void test_sandbox__writes_its_scratch_alone(void **state)
{
    const struct world *world = *state;
    char made[128], beside[128];
    skip_without_walls(world);
    snprintf(made, sizeof(made), "%s/made", world->scratch);
    snprintf(beside, sizeof(beside), "%s/beside", world->folder);
    assert_int_equal(tried(state, "write", made), WORKED);
    assert_int_equal(access(made, F_OK), 0);
    assert_int_equal(tried(state, "write", "made"), WORKED); /* it works in its scratch */
    tried(state, "write", beside);                           /* it has a /tmp of its own */
    assert_int_not_equal(access(beside, F_OK), 0);
    const char *const refused[] = {world->shown, "/usr/planted", "/etc/planted", "/dev/shm/planted",
                                   "/planted"};
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
        if (tried(state, "write", refused[i]) != REFUSED)
            fail_msg("it wrote %s", refused[i]);
}

static void test_sandbox__reads_what_it_is_shown(void **state)
{
    const struct world *world = *state;
    skip_without_walls(world);
    assert_int_equal(tried(state, "read", world->shown), WORKED);
    assert_int_equal(tried(state, "read", world->hidden), REFUSED);
    assert_int_equal(tried(state, "read", "/etc/passwd"), REFUSED);
}

static void test_sandbox__inherits_neither_secrets_nor_descriptors(void **state)
{
    int kept = open("/etc/passwd", O_RDONLY); /* as a library would: without O_CLOEXEC */
    assert_int_equal(tried(state, "secret", NULL), REFUSED);
    assert_int_equal(tried(state, "descriptors", NULL), WORKED);
    close(kept);
}

static void test_sandbox__a_signal_is_told_through_the_walls(void **state)
{
    assert_int_equal(tried(state, "abort", NULL), SIGABRT);
    int status = tried(state, "crash", NULL);
    assert_true(WIFSIGNALED(status) ? WTERMSIG(status) == SIGSEGV
                                    : WEXITSTATUS(status) != 0); /* ASan turns it into an exit */
}

static void test_sandbox__a_file_has_a_limit(void **state)
{
    struct world *world = *state;
    struct sandbox_process process;
    int status = 0;
    start(world, &(struct sandbox_limits){.disk_bytes = 1 << 20}, "fill", "made", &process);
    assert_int_equal(sandbox_wait(&process, 60000, &status), CYX_OK);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGXFSZ);
}

static void test_sandbox__memory_is_seen_from_outside(void **state)
{
    struct sandbox_process process;
    int status = 0;
    char word[6];
    start(*state, &(struct sandbox_limits){0}, "eat", NULL, &process);
    assert_int_equal(read(process.output, word, 6), 6);
    assert_true(sandbox_memory_bytes(&process) >= INT64_C(1) << 30);
    sandbox_kill(&process);
    assert_int_equal(sandbox_wait(&process, 60000, &status), CYX_OK);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGKILL);
}

static void test_sandbox__memory_has_a_limit_in_the_kernel(void **state)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    print_message("SKIP: sanitizers map more than any limit\n");
    skip();
#endif
    struct sandbox_process process;
    int status = 0;
    start(*state, &(struct sandbox_limits){.memory_bytes = 64 << 20}, "eat", NULL, &process);
    char byte;
    assert_int_equal(read(process.output, &byte, 1), 0);
    bool by_group = sandbox_ran_out_of_memory(&process);
    assert_int_equal(sandbox_wait(&process, 60000, &status), CYX_OK);
    assert_true(by_group ? WIFSIGNALED(status) : status == REFUSED);
}

static void test_sandbox__stops_at_the_end_of_its_input(void **state)
{
    struct sandbox_process process;
    int status = 0;
    start(*state, &(struct sandbox_limits){0}, "stop", NULL, &process);
    sandbox_ask_to_stop(&process);
    assert_int_equal(sandbox_wait(&process, 60000, &status), CYX_OK);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 7);
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--sandbox-check") == 0)
        return 0;
    if (argc >= 3 && strcmp(argv[1], "--probe") == 0)
        return probe(argv[2], argc > 3 ? argv[3] : "");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sandbox__says_what_holds),
        cmocka_unit_test(test_sandbox__has_no_network_and_no_way_to_others),
        cmocka_unit_test(test_sandbox__writes_its_scratch_alone),
        cmocka_unit_test(test_sandbox__reads_what_it_is_shown),
        cmocka_unit_test(test_sandbox__inherits_neither_secrets_nor_descriptors),
        cmocka_unit_test(test_sandbox__a_signal_is_told_through_the_walls),
        cmocka_unit_test(test_sandbox__a_file_has_a_limit),
        cmocka_unit_test(test_sandbox__memory_is_seen_from_outside),
        cmocka_unit_test(test_sandbox__memory_has_a_limit_in_the_kernel),
        cmocka_unit_test(test_sandbox__stops_at_the_end_of_its_input),
    };
    int failed = cmocka_run_group_tests_name("auto", tests, set_up, tear_down);
    wanted = "landlock";
    return failed + cmocka_run_group_tests_name("landlock", tests, set_up, tear_down);
}
