/*
 * Records what a process does to the files below one directory, in one total order; and fails one sync, or the writes of some
 * threads, if told to.
 *
 * Preloaded into the process under test. Each call is carried out and written down under one lock, so that the order in
 * the record is the order in which things happened. A sync is two entries: what stands before the first is what the
 * sync covers, and it holds from the second on. Whatever could change a file in a way that is not recorded ends the
 * process, so that nothing is overlooked.
 *
 * DISK_ROOT      the directory, absolute
 * DISK_RECORD    the record; entries are appended, each by one write
 * DISK_FAIL      the number of the sync that fails with EIO, counted from 1; the ones after it succeed
 *
 * DISK_DENY      a file; while it exists, threads whose name begins as it says get no room: "28 rocksdb:high" for ENOSPC to
 *                those that flush, "122 " for EDQUOT to all
 *
 * An entry: length of the rest (u32), kind (u8), a (u64), b (u64), length of the path (u16), path, data.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define FILES_MAX 65536
#define REAL(name) ((__typeof__(&name))real(#name))

struct file { int tracked, directory, append; uint64_t inode; char path[512]; };

static struct file files[FILES_MAX];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const char *root;
static size_t root_length;
static int record = -1;
static uint64_t syncs, failing;
static const char *denial;

static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

static void stop(const char *why) {
    char text[256];
    int length = snprintf(text, sizeof text, "disk shim: %s is not recorded\n", why);
    syscall(SYS_write, 2, text, (size_t)length);
    syscall(SYS_exit_group, 97);
}

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("DISK_RECORD");
    root = getenv("DISK_ROOT");
    if (!root || !path) { root = NULL; return; }
    root_length = strlen(root);
    const char *fail = getenv("DISK_FAIL");
    failing = fail ? strtoull(fail, NULL, 10) : 0;
    denial = getenv("DISK_DENY");
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    record = fcntl(fd, F_DUPFD_CLOEXEC, 1000);
    syscall(SYS_close, fd);
    if (record < 0) stop("a process without a record");
}

static int inside(const char *path) {
    return root && path && !strncmp(path, root, root_length) && (path[root_length] == '/' || !path[root_length]);
}

static struct file *tracked(int fd) {
    return root && fd >= 0 && fd < FILES_MAX && files[fd].tracked ? &files[fd] : NULL;
}

/* The error that this thread gets in place of room, or 0. */
static int denied(void) {
    char text[64] = "", name[16] = "";
    int fd = denial ? (int)syscall(SYS_openat, AT_FDCWD, denial, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) return 0;
    ssize_t length = syscall(SYS_read, fd, text, sizeof text - 1);
    syscall(SYS_close, fd);
    char *prefix = length > 0 ? strchr(text, ' ') : NULL;
    if (!prefix || prctl(PR_GET_NAME, name) || strncmp(name, prefix + 1, strlen(prefix + 1))) return 0;
    return atoi(text);
}

static void note(char kind, uint64_t a, uint64_t b, const char *path, const void *data, size_t length) {
    uint16_t path_length = (uint16_t)(path ? strlen(path) : 0);
    uint32_t rest = (uint32_t)(19 + path_length + length);
    unsigned char head[23];
    memcpy(head, &rest, 4);
    head[4] = (unsigned char)kind;
    memcpy(head + 5, &a, 8);
    memcpy(head + 13, &b, 8);
    memcpy(head + 21, &path_length, 2);
    struct iovec parts[3] = {{head, sizeof head}, {(void *)path, path_length}, {(void *)data, length}};
    if (syscall(SYS_writev, record, parts, 3) != (long)(rest + 4)) stop("an entry");
}

/* ------------------------------------------------------------------------------------------------- files */

static void track(int fd, const char *path, int flags, int existed) {
    struct stat found;
    if (fd < 0 || !inside(path)) return;
    if (fd >= FILES_MAX || strlen(path) >= sizeof files[0].path || fstat(fd, &found)) stop("an open file");
    struct file *file = &files[fd];
    file->tracked = 1;
    file->directory = S_ISDIR(found.st_mode);
    file->append = !!(flags & O_APPEND);
    file->inode = found.st_ino;
    strcpy(file->path, path);
    if (!existed) note('c', file->inode, 0, path, NULL, 0);
    else if (flags & O_TRUNC) note('t', file->inode, 0, NULL, NULL, 0);
}

static int open_at(int dir, const char *path, int flags, mode_t mode) {
    if (!inside(path)) return (int)syscall(SYS_openat, dir, path, flags, mode);
    if ((flags & O_TMPFILE) == O_TMPFILE) stop("O_TMPFILE");
    pthread_mutex_lock(&lock);
    int existed = !(flags & O_CREAT) || !faccessat(AT_FDCWD, path, F_OK, 0);
    int refusal = existed ? 0 : denied();
    if (refusal) {
        pthread_mutex_unlock(&lock);
        errno = refusal;
        return -1;
    }
    int fd = (int)syscall(SYS_openat, dir, path, flags, mode);
    int error = errno;
    track(fd, path, flags, existed);
    pthread_mutex_unlock(&lock);
    errno = error;
    return fd;
}

#define OPEN(name)                                                                                                     \
    int name(const char *path, int flags, ...) {                                                                       \
        va_list rest;                                                                                                  \
        va_start(rest, flags);                                                                                         \
        mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(rest, mode_t) : 0;                                      \
        va_end(rest);                                                                                                  \
        return open_at(AT_FDCWD, path, flags, mode);                                                                   \
    }
#define OPENAT(name)                                                                                                   \
    int name(int dir, const char *path, int flags, ...) {                                                              \
        va_list rest;                                                                                                  \
        va_start(rest, flags);                                                                                         \
        mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(rest, mode_t) : 0;                                      \
        va_end(rest);                                                                                                  \
        return open_at(dir, path, flags, mode);                                                                        \
    }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)
int creat(const char *path, mode_t mode) { return open_at(AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, mode); }

FILE *fopen(const char *path, const char *mode) {
    if (inside(path) && strpbrk(mode, "wa+")) stop("fopen for writing");
    return REAL(fopen)(path, mode);
}

int close(int fd) {
    if (!tracked(fd)) return (int)syscall(SYS_close, fd);
    pthread_mutex_lock(&lock);
    files[fd].tracked = 0;
    int outcome = (int)syscall(SYS_close, fd);
    int error = errno;
    pthread_mutex_unlock(&lock);
    errno = error;
    return outcome;
}

static ssize_t write_at(int fd, const void *data, size_t length, off_t at, int positioned) {
    struct file *file = tracked(fd);
    if (!file) return positioned ? syscall(SYS_pwrite64, fd, data, length, at) : syscall(SYS_write, fd, data, length);
    int refusal = denied();
    if (refusal) {
        errno = refusal;
        return -1;
    }
    pthread_mutex_lock(&lock);
    if (!positioned) at = lseek(fd, 0, file->append ? SEEK_END : SEEK_CUR);
    ssize_t written = positioned ? syscall(SYS_pwrite64, fd, data, length, at) : syscall(SYS_write, fd, data, length);
    int error = errno;
    if (written > 0) note('w', file->inode, (uint64_t)at, NULL, data, (size_t)written);
    pthread_mutex_unlock(&lock);
    errno = error;
    return written;
}

ssize_t write(int fd, const void *data, size_t length) { return write_at(fd, data, length, 0, 0); }
ssize_t pwrite(int fd, const void *data, size_t length, off_t at) { return write_at(fd, data, length, at, 1); }
ssize_t pwrite64(int fd, const void *data, size_t length, off_t at) { return write_at(fd, data, length, at, 1); }

ssize_t writev(int fd, const struct iovec *parts, int count) {
    if (!tracked(fd)) return syscall(SYS_writev, fd, parts, count);
    ssize_t all = 0;
    for (int i = 0; i < count; i++) {
        ssize_t written = parts[i].iov_len ? write_at(fd, parts[i].iov_base, parts[i].iov_len, 0, 0) : 0;
        if (written < 0) return all ? all : written;
        all += written;
        if ((size_t)written < parts[i].iov_len) break;
    }
    return all;
}

static int resize(int fd, off_t length) {
    struct file *file = tracked(fd);
    if (!file) return (int)syscall(SYS_ftruncate, fd, length);
    pthread_mutex_lock(&lock);
    int outcome = (int)syscall(SYS_ftruncate, fd, length);
    int error = errno;
    if (!outcome) note('t', file->inode, (uint64_t)length, NULL, NULL, 0);
    pthread_mutex_unlock(&lock);
    errno = error;
    return outcome;
}
int ftruncate(int fd, off_t length) { return resize(fd, length); }
int ftruncate64(int fd, off_t length) { return resize(fd, length); }

/* Space is reserved, or given back behind the end of a file; the size stays as it is, or the file grows by zeros. Anything
   else changes what is in it. */
static int reserve(int fd, int mode, off_t at, off_t length) {
    struct file *file = tracked(fd);
    if (!file) return (int)syscall(SYS_fallocate, fd, mode, at, length);
    int refusal = mode & FALLOC_FL_PUNCH_HOLE ? 0 : denied();
    if (refusal) {
        errno = refusal;
        return -1;
    }
    pthread_mutex_lock(&lock);
    struct stat before;
    fstat(fd, &before);
    int given_back = mode == (FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE) && at >= before.st_size;
    if ((mode & ~FALLOC_FL_KEEP_SIZE) && !given_back) stop("this mode of fallocate");
    int outcome = (int)syscall(SYS_fallocate, fd, mode, at, length);
    int error = errno;
    if (!outcome && !mode && at + length > before.st_size) {
        note('t', file->inode, (uint64_t)(at + length), NULL, NULL, 0);
    }
    pthread_mutex_unlock(&lock);
    errno = error;
    return outcome;
}
int fallocate(int fd, int mode, off_t at, off_t length) { return reserve(fd, mode, at, length); }
int fallocate64(int fd, int mode, off_t at, off_t length) { return reserve(fd, mode, at, length); }
int posix_fallocate(int fd, off_t at, off_t length) { return reserve(fd, 0, at, length) ? errno : 0; }
int posix_fallocate64(int fd, off_t at, off_t length) { return reserve(fd, 0, at, length) ? errno : 0; }

/* ------------------------------------------------------------------------------------------------- syncs */

static int sync_file(int fd, long call) {
    struct file *file = tracked(fd);
    if (!file) return (int)syscall(call, fd);
    pthread_mutex_lock(&lock);
    uint64_t number = ++syncs, inode = file->inode;
    int directory = file->directory;
    char path[sizeof file->path];
    strcpy(path, file->path);
    note(directory ? 'B' : 'b', inode, number, path, NULL, 0);
    pthread_mutex_unlock(&lock);
    int outcome = number == failing ? -1 : (int)syscall(call, fd);
    int error = number == failing ? EIO : errno;
    pthread_mutex_lock(&lock);
    note(outcome ? 'f' : directory ? 'E' : 'e', inode, number, path, NULL, 0);
    pthread_mutex_unlock(&lock);
    errno = error;
    return outcome;
}
int fsync(int fd) { return sync_file(fd, SYS_fsync); }
int fdatasync(int fd) { return sync_file(fd, SYS_fdatasync); }
/* sync_file_range promises nothing about a power cut, so it is not recorded. */

/* ----------------------------------------------------------------------------------------------- entries */

static int entry(char kind, const char *path, const char *to, int outcome) {
    int error = errno;
    if (!outcome) note(kind, 0, 0, path, to, to ? strlen(to) : 0);
    pthread_mutex_unlock(&lock);
    errno = error;
    return outcome;
}
int rename(const char *from, const char *to) {
    if (inside(from) != inside(to)) stop("a rename across the border");
    if (!inside(from)) return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
    pthread_mutex_lock(&lock);
    return entry('r', from, to, (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0));
}
int link(const char *from, const char *to) {
    if (inside(from) != inside(to)) stop("a link across the border");
    if (!inside(from)) return (int)syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0);
    pthread_mutex_lock(&lock);
    return entry('l', from, to, (int)syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0));
}
int unlink(const char *path) {
    if (!inside(path)) return (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    pthread_mutex_lock(&lock);
    return entry('u', path, NULL, (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0));
}
int mkdir(const char *path, mode_t mode) {
    if (!inside(path)) return (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
    pthread_mutex_lock(&lock);
    return entry('m', path, NULL, (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode));
}
int rmdir(const char *path) {
    if (!inside(path)) return (int)syscall(SYS_unlinkat, AT_FDCWD, path, AT_REMOVEDIR);
    pthread_mutex_lock(&lock);
    return entry('d', path, NULL, (int)syscall(SYS_unlinkat, AT_FDCWD, path, AT_REMOVEDIR));
}

/* ------------------------------------------------------------------------------ what must not be overlooked */

void *mmap(void *at, size_t length, int access, int flags, int fd, off_t from) {
    if (tracked(fd) && (access & PROT_WRITE) && (flags & MAP_SHARED)) stop("a mapping that can be written");
    return (void *)syscall(SYS_mmap, at, length, access, flags, fd, from);
}
void *mmap64(void *at, size_t length, int access, int flags, int fd, off_t from) {
    return mmap(at, length, access, flags, fd, from);
}
int dup(int fd) {
    if (tracked(fd)) stop("dup");
    return (int)syscall(SYS_dup, fd);
}
int dup2(int from, int to) {
    if (tracked(from) || tracked(to)) stop("dup2");
    return REAL(dup2)(from, to);
}
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) {
    if (tracked(fd)) stop("pwritev");
    return REAL(pwritev)(fd, parts, count, at);
}
ssize_t copy_file_range(int from, off_t *at, int to, off_t *target, size_t length, unsigned flags) {
    if (tracked(to)) stop("copy_file_range");
    return syscall(SYS_copy_file_range, from, at, to, target, length, flags);
}
ssize_t sendfile(int to, int from, off_t *at, size_t length) {
    if (tracked(to)) stop("sendfile");
    return syscall(SYS_sendfile, to, from, at, length);
}
int unlinkat(int dir, const char *path, int flags) {
    if (inside(path)) stop("unlinkat");
    return (int)syscall(SYS_unlinkat, dir, path, flags);
}
int renameat(int from_dir, const char *from, int to_dir, const char *to) {
    if (inside(from) || inside(to)) stop("renameat");
    return (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, 0);
}
int truncate(const char *path, off_t length) {
    if (inside(path)) stop("truncate");
    return (int)syscall(SYS_truncate, path, length);
}
