/* Plays a disk to a program that is started with LD_PRELOAD=disk.so; needs no rights and no mount.
 *
 *   DISK_FOLDER   the folder that is on this disk; other files are left alone
 *   DISK_PLATTER  gets a copy of each of its files when it was synced: what a power cut would leave
 *   DISK_FAULT    a file that says what is wrong, as long as it is there:
 *                   full BYTES   so many bytes fit in all
 *                   write-error  nothing can be written: EIO
 *                   sync-error   nothing can be synced: EIO
 *                   read-only    nothing can be opened for writing: EROFS
 *                   slow MS      each sync takes so many milliseconds
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The C library's own function of this name. */
#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

struct fault {
    char name[32];
    long number;
};

static struct fault current_fault(void) {
    struct fault fault = {"", 0};
    const char *path = getenv("DISK_FAULT");
    char text[64] = "";
    int fd = path ? REAL(open64)(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        if (read(fd, text, sizeof text - 1) > 0)
            sscanf(text, "%31s %ld", fault.name, &fault.number);
        close(fd);
    }
    return fault;
}

static int is(struct fault fault, const char *name) { return strcmp(fault.name, name) == 0; }

/* The name below the folder, empty for the folder itself, NULL for what is elsewhere. */
static const char *name_of(const char *path) {
    const char *folder = getenv("DISK_FOLDER");
    size_t length = folder ? strlen(folder) : 0;
    if (!length || strncmp(path, folder, length) != 0)
        return NULL;
    return path[length] == '/' ? path + length + 1 : path[length] ? NULL : path + length;
}

static const char *name_of_file(int fd, char path[PATH_MAX]) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length < 0)
        return NULL;
    path[length] = 0;
    return name_of(path);
}

static long long bytes_in_use(void) {
    DIR *folder = opendir(getenv("DISK_FOLDER"));
    long long sum = 0;
    struct dirent *entry;
    struct stat64 status;
    while (folder && (entry = readdir(folder)))
        if (fstatat64(dirfd(folder), entry->d_name, &status, 0) == 0 && S_ISREG(status.st_mode))
            sum += status.st_size;
    if (folder)
        closedir(folder);
    return sum;
}

/* Whether a file may become so long; else errno says why not. */
static int may_write(int fd, off64_t end) {
    char path[PATH_MAX];
    struct stat64 status;
    const char *name = name_of_file(fd, path);
    if (!name)
        return 1;
    struct fault fault = current_fault();
    if (is(fault, "write-error")) {
        errno = EIO;
        return 0;
    }
    if (is(fault, "full") && fstat64(fd, &status) == 0 && end > status.st_size &&
        bytes_in_use() + end - status.st_size > fault.number) {
        errno = ENOSPC;
        return 0;
    }
    return 1;
}

ssize_t write(int fd, const void *data, size_t length) {
    off64_t at = lseek64(fd, 0, SEEK_CUR);
    if (at >= 0 && !may_write(fd, at + (off64_t)length))
        return -1;
    return REAL(write)(fd, data, length);
}

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t at) {
    return may_write(fd, at + (off64_t)length) ? REAL(pwrite64)(fd, data, length, at) : -1;
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t at) {
    return pwrite64(fd, data, length, at);
}

int ftruncate64(int fd, off64_t length) {
    return may_write(fd, length) ? REAL(ftruncate64)(fd, length) : -1;
}

int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

int open64(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;
    va_end(more);
    if ((flags & O_ACCMODE) != O_RDONLY && name_of(path) && is(current_fault(), "read-only")) {
        errno = EROFS;
        return -1;
    }
    return REAL(open64)(path, flags, mode);
}

int open(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;
    va_end(more);
    return open64(path, flags, mode);
}

/* Copies what was synced. By the program's own descriptor: to close another one of the same file
 * would take away the program's locks on it. */
static void keep(int fd, const char *name, const char *platter) {
    char partial[PATH_MAX], whole[PATH_MAX], piece[1 << 16];
    snprintf(partial, sizeof partial, "%s/.%d-%d", platter, getpid(), gettid());
    snprintf(whole, sizeof whole, "%s/%s", platter, name);
    int copy = REAL(open64)(partial, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ssize_t length;
    for (off64_t at = 0; (length = pread64(fd, piece, sizeof piece, at)) > 0; at += length)
        if (REAL(write)(copy, piece, length) != length)
            abort();
    close(copy);
    rename(partial, whole);
}

/* A synced folder forgets the names that were removed from it. */
static void forget_removed(const char *folder, const char *platter) {
    DIR *kept = opendir(platter);
    struct dirent *entry;
    char path[PATH_MAX];
    while (kept && (entry = readdir(kept))) {
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (entry->d_name[0] != '.' && access(path, F_OK) != 0)
            unlinkat(dirfd(kept), entry->d_name, 0);
    }
    if (kept)
        closedir(kept);
}

static int sync_by(int (*real)(int), int fd) {
    char path[PATH_MAX];
    const char *name = name_of_file(fd, path), *platter = getenv("DISK_PLATTER");
    if (!name)
        return real(fd);
    struct fault fault = current_fault();
    if (is(fault, "sync-error")) {
        errno = EIO;
        return -1;
    }
    if (is(fault, "slow"))
        usleep(fault.number * 1000);
    int result = real(fd);
    if (result == 0 && platter && *name)
        keep(fd, name, platter);
    else if (result == 0 && platter)
        forget_removed(path, platter);
    return result;
}

int fsync(int fd) { return sync_by(REAL(fsync), fd); }

int fdatasync(int fd) { return sync_by(REAL(fdatasync), fd); }
