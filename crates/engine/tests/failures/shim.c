/*
 * Preloaded by the test: lets the n-th file operation of a kind fail.
 *
 * FAULT_DIR  only files below this directory count
 * FAULT_OPS  which kinds, letters of: w (write), s (sync), o (open), t (change of size), r (rename, unlink, mkdir), i (read)
 * FAULT_AT   the number of the operation that fails, from 1
 * FAULT_ERRNO  what it fails with
 * FAULT_STAYS  set: all later ones fail, too, as on a full disk
 * FAULT_LOG  written once when an operation has failed; counting begins when FAULT_LOG.on exists, and while
 *            FAULT_LOG.off exists none fails
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static const char *dir, *ops, *report;
static long at, error_number, stays;
static atomic_long counted;

__attribute__((constructor)) static void read_environment(void) {
    const char *n = getenv("FAULT_AT"), *e = getenv("FAULT_ERRNO");
    dir = getenv("FAULT_DIR");
    ops = getenv("FAULT_OPS");
    report = getenv("FAULT_LOG");
    at = n ? atol(n) : 0;
    error_number = e ? atol(e) : EIO;
    stays = getenv("FAULT_STAYS") != NULL;
}

static int inside(const char *path) {
    return path && strncmp(path, dir, strlen(dir)) == 0;
}

static int exists(const char *end) {
    char path[600];
    snprintf(path, sizeof path, "%s.%s", report, end);
    return syscall(SYS_faccessat, AT_FDCWD, path, F_OK) == 0;
}

static int counting(void) {
    static atomic_int begun;
    if (!begun && exists("on"))
        begun = 1;
    return begun;
}

/* Counts the operation; 1 with errno set when it is to fail. Raw system calls: the wrapped ones lead back here. */
static int fails(char kind, const char *name, const char *path) {
    char text[600];
    long n;
    int fd, length, before = errno;
    if (!dir || !ops || !report || !at || !strchr(ops, kind) || !inside(path))
        return 0;
    n = counting() ? atomic_fetch_add(&counted, 1) + 1 : 0;
    if ((n != at && !(stays && n > at)) || exists("off")) {
        errno = before;
        return 0;
    }
    if (n == at && (fd = (int)syscall(SYS_openat, AT_FDCWD, report, O_CREAT | O_WRONLY | O_TRUNC, 0644)) >= 0) {
        length = snprintf(text, sizeof text, "%s %s\n", name, path);
        (void)!syscall(SYS_write, fd, text, (size_t)length);
        syscall(SYS_close, fd);
    }
    errno = (int)error_number;
    return 1;
}

static int fails_fd(char kind, const char *name, int fd) {
    char link[64], path[512];
    ssize_t length;
    int before = errno;
    if (!dir || !ops || !strchr(ops, kind))
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
    errno = before;
    if (length <= 0)
        return 0;
    path[length] = 0;
    return fails(kind, name, path);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define WRAP_FD(kind, type, name, declared, passed) \
    type name declared {                            \
        if (fails_fd(kind, #name, fd))              \
            return -1;                              \
        return REAL(name) passed;                   \
    }
#define WRAP_PATH(kind, name, declared, passed) \
    int name declared {                         \
        if (fails(kind, #name, path))           \
            return -1;                          \
        return REAL(name) passed;               \
    }

WRAP_FD('w', ssize_t, write, (int fd, const void *data, size_t size), (fd, data, size))
WRAP_FD('w', ssize_t, pwrite, (int fd, const void *data, size_t size, off_t where), (fd, data, size, where))
WRAP_FD('w', ssize_t, pwrite64, (int fd, const void *data, size_t size, off64_t where), (fd, data, size, where))
WRAP_FD('w', ssize_t, writev, (int fd, const struct iovec *parts, int count), (fd, parts, count))
WRAP_FD('i', ssize_t, read, (int fd, void *data, size_t size), (fd, data, size))
WRAP_FD('i', ssize_t, pread, (int fd, void *data, size_t size, off_t where), (fd, data, size, where))
WRAP_FD('i', ssize_t, pread64, (int fd, void *data, size_t size, off64_t where), (fd, data, size, where))
WRAP_FD('s', int, fsync, (int fd), (fd))
WRAP_FD('s', int, fdatasync, (int fd), (fd))
WRAP_FD('s', int, sync_file_range, (int fd, off64_t from, off64_t count, unsigned flags), (fd, from, count, flags))
WRAP_FD('t', int, ftruncate, (int fd, off_t size), (fd, size))
WRAP_FD('t', int, ftruncate64, (int fd, off64_t size), (fd, size))
WRAP_FD('t', int, fallocate, (int fd, int mode, off_t from, off_t size), (fd, mode, from, size))
WRAP_FD('t', int, fallocate64, (int fd, int mode, off64_t from, off64_t size), (fd, mode, from, size))
WRAP_PATH('r', rename, (const char *path, const char *to), (path, to))
WRAP_PATH('r', unlink, (const char *path), (path))
WRAP_PATH('r', mkdir, (const char *path, mode_t mode), (path, mode))

#define WRAP_OPEN(name)                                         \
    int name(const char *path, int flags, ...) {                \
        mode_t mode = 0;                                        \
        va_list rest;                                           \
        va_start(rest, flags);                                  \
        if (flags & (O_CREAT | O_TMPFILE))                      \
            mode = va_arg(rest, mode_t);                        \
        va_end(rest);                                           \
        if (fails('o', #name, path))                            \
            return -1;                                          \
        return REAL(name)(path, flags, mode);                   \
    }

WRAP_OPEN(open)
WRAP_OPEN(open64)
