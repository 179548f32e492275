/*
 * Fills the disk, and empties it again.
 *
 * Preloaded into a process (LD_PRELOAD): as long as the file $DISKFULL_WHILE exists, every write that would make a file
 * below $DISKFULL_FOLDER longer fails with ENOSPC, and nothing of it is written. Writes into what a file already holds
 * go on, as on a full disk. New files can be made, but stay empty.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static char folder[PATH_MAX];
static const char *flag;

__attribute__((constructor)) static void configure(void)
{
    const char *given = getenv("DISKFULL_FOLDER");

    flag = getenv("DISKFULL_WHILE");
    if (given != NULL && flag != NULL && realpath(given, folder) == NULL) {
        perror(given);
        abort();
    }
}

/* The C library's own function. */
static void *next(const char *name)
{
    void *function = dlsym(RTLD_NEXT, name);
    if (function == NULL) {
        fprintf(stderr, "diskfull: the C library has no %s\n", name);
        abort();
    }
    return function;
}

/* Whether the disk has no room for the file to reach up to `end`. Sets errno if so. */
static int full(int fd, off_t end)
{
    char link[64], path[PATH_MAX];
    struct stat status;
    size_t length = strlen(folder);
    int saved_errno = errno, is_full = 0;

    if (length > 0 && fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && end > status.st_size
        && access(flag, F_OK) == 0) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t got = readlink(link, path, sizeof path - 1);
        is_full = got > (ssize_t)length && strncmp(path, folder, length) == 0 && path[length] == '/';
    }
    errno = is_full ? ENOSPC : saved_errno;
    return is_full;
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at)
{
    ssize_t (*real_pwrite)(int, const void *, size_t, off_t) = next("pwrite");
    return full(fd, at + (off_t)count) ? -1 : real_pwrite(fd, bytes, count, at);
}

ssize_t write(int fd, const void *bytes, size_t count)
{
    ssize_t (*real_write)(int, const void *, size_t) = next("write");
    struct stat status;
    off_t at = -1;

    if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode))
        at = lseek(fd, 0, SEEK_CUR);
    return at >= 0 && full(fd, at + (off_t)count) ? -1 : real_write(fd, bytes, count);
}

int ftruncate(int fd, off_t size)
{
    int (*real_ftruncate)(int, off_t) = next("ftruncate");
    return full(fd, size) ? -1 : real_ftruncate(fd, size);
}

/* Where off_t has 64 bits these are the same functions under another name, and SQLite calls either. */
_Static_assert(sizeof(off_t) == 8, "files have 64-bit sizes");

ssize_t pwrite64(int fd, const void *bytes, size_t count, off_t at)
{
    return pwrite(fd, bytes, count, at);
}

int ftruncate64(int fd, off_t size)
{
    return ftruncate(fd, size);
}
