#include "filter.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/banned.h"

/* LeakSanitizer looks at its own process by ptrace(2). */
#ifdef __SANITIZE_ADDRESS__
#define TRACING
#else
#define TRACING "ptrace",
#endif

/* Names that this architecture or libseccomp does not know are passed over. */
static const char *const refused[] = {
    /* the network */
    "socket",
    "socketcall",
    "connect",
    "bind",
    "listen",
    "accept",
    "accept4",
    /* other processes */
    TRACING "process_vm_readv",
    "process_vm_writev",
    "process_madvise",
    "pidfd_getfd",
    "pidfd_open",
    "kcmp",
    "migrate_pages",
    "move_pages",
    /* namespaces, mounts, the file system's back doors */
    "unshare",
    "setns",
    "mount",
    "umount",
    "umount2",
    "pivot_root",
    "chroot",
    "move_mount",
    "open_tree",
    "fsopen",
    "fsconfig",
    "fsmount",
    "fspick",
    "mount_setattr",
    "name_to_handle_at",
    "open_by_handle_at",
    "fanotify_init",
    "quotactl",
    "quotactl_fd",
    "mknod",
    "mknodat",
    /* the kernel, the machine, its clock */
    "init_module",
    "finit_module",
    "delete_module",
    "kexec_load",
    "kexec_file_load",
    "bpf",
    "perf_event_open",
    "reboot",
    "swapon",
    "swapoff",
    "acct",
    "syslog",
    "sethostname",
    "setdomainname",
    "iopl",
    "ioperm",
    "settimeofday",
    "stime",
    "clock_settime",
    "clock_settime64",
    "adjtimex",
    "clock_adjtime",
    "vhangup",
    "lookup_dcookie",
    /* keys, and what has let programs out before */
    "add_key",
    "request_key",
    "keyctl",
    "userfaultfd",
    "io_uring_setup",
    "io_uring_enter",
    "io_uring_register",
    "modify_ldt",
    "uselib",
    "ustat",
    "sysfs",
    "nfsservctl",
};

static int refuse_by_name(scmp_filter_ctx filter)
{
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        int number = seccomp_syscall_resolve_name(refused[i]);
        if (number == __NR_SCMP_ERROR)
            continue;
        int failed = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), number, 0);
        if (failed && failed != -EDOM)
            return failed;
    }
    return 0;
}

/* New namespaces by clone's flags, and words put into a terminal's input. */
static int refuse_by_argument(scmp_filter_ctx filter)
{
    static const unsigned long spaces[] = {CLONE_NEWNS,  CLONE_NEWCGROUP, CLONE_NEWUTS,
                                           CLONE_NEWIPC, CLONE_NEWUSER,   CLONE_NEWPID,
                                           CLONE_NEWNET};
    int failed = 0;
    for (size_t i = 0; !failed && i < sizeof(spaces) / sizeof(spaces[0]); i++)
        failed = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1,
                                  SCMP_A0(SCMP_CMP_MASKED_EQ, spaces[i], spaces[i]));
    if (!failed)
        failed = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    const unsigned long terminal[] = {TIOCSTI, TIOCLINUX};
    for (size_t i = 0; !failed && i < 2; i++) /* the kernel looks at the low 32 bits alone */
        failed = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(ioctl), 1,
                                  SCMP_A1(SCMP_CMP_MASKED_EQ, 0xFFFFFFFF, terminal[i]));
    return failed;
}

/* libseccomp writes programs to descriptors alone. */
static enum cyx_status export(scmp_filter_ctx filter, struct cyx_buf *ret_program,
                              struct cyx_error *err) {
    char chunk[4096]; ssize_t n = -1; int file = memfd_create("filter", MFD_CLOEXEC);
    if (file >= 0 && seccomp_export_bpf(filter, file) == 0 &&
        lseek(file, 0, SEEK_SET) == 0) while ((n = read(file, chunk, sizeof(chunk))) > 0)
        cyx_buf_append(ret_program, chunk, (size_t)n);
    if (file >= 0) close(file);
    if (n != 0 || ret_program->failed ||
        ret_program->length == 0) return cyx_error_set(err, CYX_ERR_UNSUPPORTED, NULL,
                                                       "the filter could not be written out");
    return CYX_OK;
}

enum cyx_status filter_build(struct cyx_buf *ret_program, struct cyx_error *err)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    int failed = filter ? refuse_by_name(filter) : -1;
    if (!failed)
        failed = refuse_by_argument(filter);
    enum cyx_status status =
        failed ? cyx_error_set(err, CYX_ERR_UNSUPPORTED, NULL,
                               "libseccomp cannot make the filter of system calls here")
               : export(filter, ret_program, err);
    if (filter)
        seccomp_release(filter);
    return status;
}

int filter_apply(const void *program, size_t length_bytes)
{
    struct sock_fprog code = {.len = (unsigned short)(length_bytes / sizeof(struct sock_filter)),
                              .filter = (struct sock_filter *)program};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return -1;
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &code);
}
