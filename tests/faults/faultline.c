/* A preloaded counter of calls that change the disk; one of them is where a fault happens.
 *
 * Every call of the list at the end that concerns a watched path gets the next number, whichever thread makes it
 * and whoever it comes from: Python, SQLite, ctypes. At number `at` the process is killed before or after the
 * call, power is cut first where mounts are given, the call fails with an errno, or a write stops half way.
 *
 * Each call is carried out as a raw system call, so nothing here depends on the C library's own state. The settings
 * are made before threads begin; a forked child inherits them and the count. Tests talk to it through the
 * `faultline_` functions (tests/faults/preload.py), whole processes through the environment (see `from_environment`).
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#if __SIZEOF_LONG__ != 8
#error "Only 64-bit Linux: offsets are passed to the kernel in one register."
#endif

enum action { NONE, KILL_BEFORE, KILL_AFTER, FAIL, SHORT_WRITE };
enum verdict { GO_ON, DIE_AFTERWARDS, REFUSE, WRITE_HALF };

#define PREFIXES 4
#define MOUNTS 4
#define SHUTDOWN 0x8004587DU /* EXT4_IOC_SHUTDOWN and XFS_IOC_GOINGDOWN */
#define JOURNAL_FLUSHED 1U /* what a commit by the clock leaves: every name, but only content that was synced */
#define NOTHING_FLUSHED 2U

static char prefixes[PREFIXES][PATH_MAX];
static int watched;
static int mounts[MOUNTS];
static uint32_t flushed[MOUNTS];
static int powered;
static long at;
static enum action action;
static int error_number;
static int is_forever;
static int report = -1;
static char report_path[PATH_MAX];
static long count;
static int is_dying;
static __thread int is_paused;

/* --- where a call goes ---------------------------------------------------------------------------------- */

/* Take "//", "." and ".." out of an absolute path, in place; links are left alone. */
static void tidy(char *path) {
    char *out = path;
    for (char *in = path; *in;) {
        while (*in == '/') in++;
        char *end = in;
        while (*end && *end != '/') end++;
        size_t size = (size_t)(end - in);
        if (size == 2 && in[0] == '.' && in[1] == '.') {
            while (out > path && *--out != '/') {}
        } else if (size > 0 && !(size == 1 && in[0] == '.')) {
            *out++ = '/';
            memmove(out, in, size);
            out += size;
        }
        in = end;
    }
    if (out == path) *out++ = '/';
    *out = 0;
}

static void descriptor_path(int descriptor, char *path) {
    char link[32];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    long size = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
    path[size > 0 ? size : 0] = 0;
}

static void absolute_path(int folder, const char *name, char *path) {
    path[0] = 0;
    if (name[0] != '/' && folder == AT_FDCWD && syscall(SYS_getcwd, path, PATH_MAX) < 0) path[0] = 0;
    if (name[0] != '/' && folder != AT_FDCWD) descriptor_path(folder, path);
    size_t size = strlen(path);
    snprintf(path + size, PATH_MAX - size, "/%s", name);
    tidy(path);
}

/* The path or the two paths that a call concerns, absolute; pipes and sockets have names that begin otherwise. */
struct place {
    const char *path, *target;
};
typedef char two_paths[2][PATH_MAX];

static struct place on(int descriptor, two_paths space) {
    descriptor_path(descriptor, space[0]);
    return (struct place){space[0], NULL};
}

static struct place in(int folder, const char *name, two_paths space) {
    absolute_path(folder, name, space[0]);
    return (struct place){space[0], NULL};
}

static struct place between(int folder, const char *old, int other, const char *new, two_paths space) {
    absolute_path(folder, old, space[0]);
    absolute_path(other, new, space[1]);
    return (struct place){space[0], space[1]};
}

static int is_watched(const char *path) {
    for (int i = 0; i < watched; i++) {
        size_t size = strlen(prefixes[i]);
        if (strncmp(path, prefixes[i], size) == 0 && (path[size] == 0 || path[size] == '/')) return 1;
    }
    return 0;
}

/* --- what happens there --------------------------------------------------------------------------------- */

static void tell(long number, const char *name, struct place place) {
    char line[2 * PATH_MAX + 64];
    const char *arrow = place.target ? " -> " : "", *target = place.target ? place.target : "";
    int size = snprintf(line, sizeof line, "%ld %s %s%s%s", number, name, place.path, arrow, target);
    for (char *c = line; *c; c++)
        if ((unsigned char)*c < ' ') *c = '?';
    line[size++] = '\n';
    int descriptor = report;
    if (report_path[0])
        descriptor = (int)syscall(SYS_openat, AT_FDCWD, report_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (descriptor >= 0) syscall(SYS_write, descriptor, line, (size_t)size);
}

static void halt(void) {
    for (;;) syscall(SYS_ppoll, NULL, 0UL, NULL, NULL, 0UL);
}

static void die(void) {
    for (int i = 0; i < powered; i++) {
        if (syscall(SYS_ioctl, mounts[i], SHUTDOWN, &flushed[i]) != 0) {
            static const char failed[] = "faultline: this filesystem can't be shut down\n";
            syscall(SYS_write, 2, failed, sizeof failed - 1);
            syscall(SYS_exit_group, 99);
        }
    }
    syscall(SYS_kill, getpid(), SIGKILL);
    halt();
}

/* Number a call, and say what is to become of it. */
static enum verdict enter(const char *name, struct place place, int can_be_short) {
    if (is_paused) return GO_ON;
    if (!is_watched(place.path) && !(place.target && is_watched(place.target))) return GO_ON;
    if (__atomic_load_n(&is_dying, __ATOMIC_SEQ_CST)) halt();
    long number = __atomic_add_fetch(&count, 1, __ATOMIC_SEQ_CST);
    if (at == 0 || number < at || (number > at && !is_forever)) return GO_ON;
    if (action == SHORT_WRITE && !can_be_short) return GO_ON;
    if (number == at || action == NONE) tell(number, name, place);
    switch (action) {
    case KILL_BEFORE:
        __atomic_store_n(&is_dying, 1, __ATOMIC_SEQ_CST);
        die();
        return REFUSE;
    case KILL_AFTER:
        __atomic_store_n(&is_dying, 1, __ATOMIC_SEQ_CST);
        return DIE_AFTERWARDS;
    case FAIL:
        /* An interrupted call is rightly made again at once: every second one must get through. */
        return error_number == EINTR && (number - at) % 2 ? GO_ON : REFUSE;
    case SHORT_WRITE:
        return WRITE_HALF;
    default:
        return GO_ON;
    }
}

static int refused(void) {
    errno = error_number;
    return -1;
}

/* --- the calls ------------------------------------------------------------------------------------------ */

/* `where` says which paths it concerns, `halve` shrinks its arguments to half of the bytes, the rest makes it. */
#define BODY(name, where, can_be_short, halve, ...)                            \
    {                                                                          \
        two_paths space;                                                        \
        struct iovec half;                                                     \
        int error_before = errno;                                              \
        enum verdict verdict = watched && !is_paused ? enter(name, where, can_be_short) : GO_ON; \
        (void)half;                                                            \
        errno = error_before;                                                  \
        if (verdict == REFUSE) return refused();                               \
        if (verdict == WRITE_HALF) halve;                                      \
        long result = __VA_ARGS__;                                             \
        if (verdict == DIE_AFTERWARDS) die();                                  \
        return result;                                                         \
    }

#define CALL(type, name, parameters, where, ...) type name parameters BODY(#name, where, 0, (void)0, __VA_ARGS__)
#define CALL_TWICE(type, name, twin, parameters, where, ...) \
    CALL(type, name, parameters, where, __VA_ARGS__)         \
    CALL(type, twin, parameters, where, __VA_ARGS__)
#define WRITE(name, parameters, halve, ...) ssize_t name parameters BODY(#name, on(fd, space), 1, halve, __VA_ARGS__)
#define HALF_OF_SIZE (size = (size + 1) / 2)
#define HALF_OF_PARTS \
    (half.iov_base = parts->iov_base, half.iov_len = (parts->iov_len + 1) / 2, parts = &half, number = 1)

WRITE(write, (int fd, const void *data, size_t size), HALF_OF_SIZE, syscall(SYS_write, fd, data, size))
WRITE(pwrite, (int fd, const void *data, size_t size, off_t offset), HALF_OF_SIZE,
      syscall(SYS_pwrite64, fd, data, size, offset))
WRITE(pwrite64, (int fd, const void *data, size_t size, off64_t offset), HALF_OF_SIZE,
      syscall(SYS_pwrite64, fd, data, size, offset))
WRITE(writev, (int fd, const struct iovec *parts, int number), HALF_OF_PARTS, syscall(SYS_writev, fd, parts, number))
WRITE(pwritev, (int fd, const struct iovec *parts, int number, off_t offset), HALF_OF_PARTS,
      syscall(SYS_pwritev, fd, parts, number, offset, 0L))
WRITE(pwritev64, (int fd, const struct iovec *parts, int number, off64_t offset), HALF_OF_PARTS,
      syscall(SYS_pwritev, fd, parts, number, offset, 0L))
WRITE(pwritev2, (int fd, const struct iovec *parts, int number, off_t offset, int flags), HALF_OF_PARTS,
      syscall(SYS_pwritev2, fd, parts, number, offset, 0L, flags))
WRITE(pwritev64v2, (int fd, const struct iovec *parts, int number, off64_t offset, int flags), HALF_OF_PARTS,
      syscall(SYS_pwritev2, fd, parts, number, offset, 0L, flags))

CALL(int, fsync, (int fd), on(fd, space), syscall(SYS_fsync, fd))
CALL(int, fdatasync, (int fd), on(fd, space), syscall(SYS_fdatasync, fd))
CALL(int, syncfs, (int fd), on(fd, space), syscall(SYS_syncfs, fd))
CALL(int, sync_file_range, (int fd, off64_t offset, off64_t size, unsigned flags), on(fd, space),
     syscall(SYS_sync_file_range, fd, offset, size, flags))
CALL_TWICE(int, ftruncate, ftruncate64, (int fd, off64_t size), on(fd, space), syscall(SYS_ftruncate, fd, size))
CALL_TWICE(int, truncate, truncate64, (const char *path, off64_t size), in(AT_FDCWD, path, space),
           syscall(SYS_truncate, path, size))
CALL_TWICE(int, fallocate, fallocate64, (int fd, int mode, off64_t offset, off64_t size), on(fd, space),
           syscall(SYS_fallocate, fd, mode, offset, size))
CALL(ssize_t, copy_file_range, (int in, off64_t *in_offset, int fd, off64_t *offset, size_t size, unsigned flags), on(fd, space),
     syscall(SYS_copy_file_range, in, in_offset, fd, offset, size, flags))
CALL_TWICE(ssize_t, sendfile, sendfile64, (int fd, int in, off64_t *offset, size_t size), on(fd, space),
           syscall(SYS_sendfile, fd, in, offset, size))

CALL(int, rename, (const char *old, const char *new), between(AT_FDCWD, old, AT_FDCWD, new, space),
     syscall(SYS_renameat2, AT_FDCWD, old, AT_FDCWD, new, 0))
CALL(int, renameat, (int folder, const char *old, int other, const char *new), between(folder, old, other, new, space),
     syscall(SYS_renameat2, folder, old, other, new, 0))
CALL(int, renameat2, (int folder, const char *old, int other, const char *new, unsigned flags),
     between(folder, old, other, new, space), syscall(SYS_renameat2, folder, old, other, new, flags))
CALL(int, link, (const char *old, const char *new), between(AT_FDCWD, old, AT_FDCWD, new, space),
     syscall(SYS_linkat, AT_FDCWD, old, AT_FDCWD, new, 0))
CALL(int, linkat, (int folder, const char *old, int other, const char *new, int flags),
     between(folder, old, other, new, space), syscall(SYS_linkat, folder, old, other, new, flags))
CALL(int, symlink, (const char *content, const char *path), in(AT_FDCWD, path, space),
     syscall(SYS_symlinkat, content, AT_FDCWD, path))
CALL(int, symlinkat, (const char *content, int folder, const char *path), in(folder, path, space),
     syscall(SYS_symlinkat, content, folder, path))
CALL(int, unlink, (const char *path), in(AT_FDCWD, path, space), syscall(SYS_unlinkat, AT_FDCWD, path, 0))
CALL(int, unlinkat, (int folder, const char *path, int flags), in(folder, path, space),
     syscall(SYS_unlinkat, folder, path, flags))
CALL(int, mkdir, (const char *path, mode_t mode), in(AT_FDCWD, path, space), syscall(SYS_mkdirat, AT_FDCWD, path, mode))
CALL(int, mkdirat, (int folder, const char *path, mode_t mode), in(folder, path, space),
     syscall(SYS_mkdirat, folder, path, mode))
CALL(int, rmdir, (const char *path), in(AT_FDCWD, path, space), syscall(SYS_unlinkat, AT_FDCWD, path, AT_REMOVEDIR))
CALL_TWICE(int, creat, creat64, (const char *path, mode_t mode), in(AT_FDCWD, path, space),
           syscall(SYS_openat, AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode))

/* These two return the error instead of setting errno; nothing falls back on writing zeros. */
static int allocated(const char *name, int fd, off64_t offset, off64_t size)
    BODY(name, on(fd, space), 0, (void)0, syscall(SYS_fallocate, fd, 0, offset, size))

#define ALLOCATE(name)                                          \
    int name(int fd, off64_t offset, off64_t size) {            \
        int error_before = errno;                               \
        int error = allocated(#name, fd, offset, size) == 0 ? 0 : errno; \
        errno = error_before;                                   \
        return error;                                           \
    }

ALLOCATE(posix_fallocate)
ALLOCATE(posix_fallocate64)

/* Only an open that makes, empties or hides a file changes the disk. */
#define CHANGES (O_CREAT | O_TRUNC | (O_TMPFILE & ~O_DIRECTORY))

static int opened(const char *name, int folder, const char *path, int flags, mode_t mode) {
    if (!(flags & CHANGES)) return (int)syscall(SYS_openat, folder, path, flags, mode);
    BODY(name, in(folder, path, space), 0, (void)0, syscall(SYS_openat, folder, path, flags, mode))
}

#define OPEN(name, folder, ...)                                                         \
    int name(__VA_ARGS__, int flags, ...) {                                             \
        va_list rest;                                                                   \
        va_start(rest, flags);                                                          \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;         \
        va_end(rest);                                                                   \
        return opened(#name, folder, path, flags, mode);                                \
    }

OPEN(open, AT_FDCWD, const char *path)
OPEN(open64, AT_FDCWD, const char *path)
OPEN(openat, folder, int folder, const char *path)
OPEN(openat64, folder, int folder, const char *path)

/* --- control -------------------------------------------------------------------------------------------- */

/* Count calls below this absolute path without links; 0, or -1 where there is no room for another. */
int faultline_watch(const char *prefix) {
    if (watched == PREFIXES || prefix[0] != '/' || strlen(prefix) >= PATH_MAX) return -1;
    strcpy(prefixes[watched], prefix);
    tidy(prefixes[watched]);
    watched++;
    return 0;
}

/* Begin to count at one; the fault comes at call `number`, never where it is 0. With NONE the calls are only told:
 * that one, or all from it on. */
void faultline_arm(long number, int what, int error, int forever) {
    action = (enum action)what;
    error_number = error;
    is_forever = forever;
    at = number;
    __atomic_store_n(&count, 0, __ATOMIC_SEQ_CST);
}

/* Cut the power of the filesystem mounted here before a kill; 0, or -1 with errno. */
int faultline_power(const char *mount, int is_journal_flushed) {
    if (powered == MOUNTS) return -1;
    int descriptor = (int)syscall(SYS_openat, AT_FDCWD, mount, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (descriptor < 0) return -1;
    flushed[powered] = is_journal_flushed ? JOURNAL_FLUSHED : NOTHING_FLUSHED;
    mounts[powered++] = descriptor;
    return 0;
}

/* Forget all paths, mounts and the fault; the count stands still and can be read. */
void faultline_disarm(void) {
    at = 0;
    watched = 0;
    action = NONE;
    while (powered > 0) syscall(SYS_close, mounts[--powered]);
}

/* Let calls of this thread pass uncounted while 1: they are the world's, not the program's. */
void faultline_pause(int paused) { is_paused = paused; }

long faultline_count(void) { return __atomic_load_n(&count, __ATOMIC_SEQ_CST); }

/* Write the line "NUMBER CALL PATH [-> PATH]" to this descriptor when the fault comes, and for NONE; -1: to none. */
void faultline_report_fd(int descriptor) { report = descriptor; }

/* FAULTLINE_WATCH=PATH:PATH, _AT, _ACTION=kill_before|kill_after|fail|short_write, _ERRNO (a number), _FOREVER=1,
 * _POWER=MOUNT:MOUNT, _REPORT=PATH (a line is appended). Every process of the run counts for itself. */
__attribute__((constructor)) static void from_environment(void) {
    static const char *const actions[] = {"none", "kill_before", "kill_after", "fail", "short_write"};
    char list[4 * PATH_MAX], *rest;
    const char *value = getenv("FAULTLINE_WATCH");
    if (!value) return;
    snprintf(list, sizeof list, "%s", value);
    for (char *path = strtok_r(list, ":", &rest); path; path = strtok_r(NULL, ":", &rest)) faultline_watch(path);
    if ((value = getenv("FAULTLINE_POWER"))) {
        snprintf(list, sizeof list, "%s", value);
        for (char *path = strtok_r(list, ":", &rest); path; path = strtok_r(NULL, ":", &rest)) faultline_power(path, 0);
    }
    if ((value = getenv("FAULTLINE_REPORT"))) snprintf(report_path, sizeof report_path, "%s", value);
    int what = NONE;
    if ((value = getenv("FAULTLINE_ACTION")))
        for (int i = 0; i <= SHORT_WRITE; i++)
            if (strcmp(value, actions[i]) == 0) what = i;
    const char *number = getenv("FAULTLINE_AT"), *error = getenv("FAULTLINE_ERRNO"), *forever = getenv("FAULTLINE_FOREVER");
    faultline_arm(number ? atol(number) : 0, what, error ? atoi(error) : EIO, forever && atoi(forever));
}
