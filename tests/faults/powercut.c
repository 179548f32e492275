/*
 * Keeps what a power cut would leave on the disk.
 *
 * Preloaded into a process (LD_PRELOAD), it mirrors the files below $POWERCUT_FROM into $POWERCUT_TO. A file's mirror
 * holds the bytes that the file held when it was last synced: a file that was never synced is not there, bytes written
 * since the last sync are not there. This is the worst that POSIX allows. When the process is gone, the mirror is the
 * disk after the power cut.
 *
 *   fsync, fdatasync   copy the whole file over its mirror before they return. Copying the whole of it, rather than the
 *                      ranges written, holds whatever way the bytes came in: write, pwrite, ftruncate, mmap.
 *   rename, unlink     move and remove the mirror too, at once, as a journalling file system may. Only synced bytes move
 *                      along: a file renamed before it was synced is empty under its new name.
 *   anything else      has no effect on the mirror, so that O_SYNC, sync_file_range and their like count for nothing.
 *
 * A process killed in the middle of the copy leaves a mirror that is new at its beginning and old at its end: an fsync
 * that had not returned. That is legal, any part of what was being synced may have reached the disk. Two threads may
 * sync at once; two processes that write the same files may not.
 *
 * With $POWERCUT_AT = "before:N", "within:N" or "after:N" the process kills itself at its N-th sync of such a file:
 * before any of it counts, half way through the copy, or when all of it counts but the caller has not been told.
 *
 * Whatever goes wrong here aborts the process: a mirror that cannot be trusted must not pass a test.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum moment { NEVER, BEFORE, WITHIN, AFTER };

static char source[PATH_MAX];
static char target[PATH_MAX];
static enum moment moment = NEVER;
static long syncs_to_go;

/* Guards the mirror, and makes a rename or unlink and its repetition in the mirror one step. */
static pthread_mutex_t mirror_lock = PTHREAD_MUTEX_INITIALIZER;

static void die(const char *what)
{
    fprintf(stderr, "powercut: %s: %s\n", what, strerror(errno));
    abort();
}

static void cut_power(void)
{
    kill(getpid(), SIGKILL);
}

__attribute__((constructor)) static void configure(void)
{
    const char *from = getenv("POWERCUT_FROM");
    const char *to = getenv("POWERCUT_TO");
    const char *at = getenv("POWERCUT_AT");

    if (from == NULL || to == NULL)
        return; /* a child that was not given a mirror: source stays empty and nothing is mirrored */
    if (realpath(from, source) == NULL)
        die(from);
    if (realpath(to, target) == NULL)
        die(to);
    if (at == NULL)
        return;
    if (sscanf(at, "before:%ld", &syncs_to_go) == 1)
        moment = BEFORE;
    else if (sscanf(at, "within:%ld", &syncs_to_go) == 1)
        moment = WITHIN;
    else if (sscanf(at, "after:%ld", &syncs_to_go) == 1)
        moment = AFTER;
    else
        die("POWERCUT_AT is not understood");
}

/* The C library's own function. */
static void *next(const char *name)
{
    void *function = dlsym(RTLD_NEXT, name);
    if (function == NULL)
        die(name);
    return function;
}

static int real_renameat(int old_folder, const char *old_name, int new_folder, const char *new_name)
{
    int (*function)(int, const char *, int, const char *) = next("renameat");
    return function(old_folder, old_name, new_folder, new_name);
}

static int real_unlinkat(int folder, const char *name, int flags)
{
    int (*function)(int, const char *, int) = next("unlinkat");
    return function(folder, name, flags);
}

/* Writes the mirror's path of an absolute path without links; 0 if the path is not below the source. */
static int mirror_of(const char *path, char mirror[PATH_MAX])
{
    size_t length = strlen(source);
    if (length == 0 || strncmp(path, source, length) != 0 || path[length] != '/')
        return 0;
    if (snprintf(mirror, PATH_MAX, "%s%s", target, path + length) >= PATH_MAX)
        die(path);
    return 1;
}

/* The same for an open file. A file that has been unlinked has no mirror: its path ends in " (deleted)". */
static int mirror_of_file(int fd, char mirror[PATH_MAX])
{
    char link[64], path[PATH_MAX];
    struct stat status;
    int saved_errno = errno;
    ssize_t length = -1;

    if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_nlink > 0) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        length = readlink(link, path, sizeof path - 1);
    }
    errno = saved_errno;
    if (length < 0)
        return 0;
    path[length] = '\0';
    return mirror_of(path, mirror);
}

/* The same for a name, as the *at() calls take it. The name itself may be a link, or not exist. */
static int mirror_of_name(int folder, const char *name, char mirror[PATH_MAX])
{
    char given[PATH_MAX], parent[PATH_MAX], path[PATH_MAX];
    int saved_errno = errno, inside = 0;

    if (name[0] == '/' || folder == AT_FDCWD)
        snprintf(given, sizeof given, "%s", name);
    else if (snprintf(given, sizeof given, "/proc/self/fd/%d/%s", folder, name) >= (int)sizeof given)
        die(name);

    char *slash = strrchr(given, '/');
    const char *last = slash == NULL ? name : strrchr(name, '/') == NULL ? name : strrchr(name, '/') + 1;
    if (slash != NULL)
        slash[slash == given ? 1 : 0] = '\0';
    if (realpath(slash == NULL ? "." : given, parent) != NULL) {
        if (snprintf(path, sizeof path, "%s/%s", parent, last) >= (int)sizeof path)
            die(name);
        inside = mirror_of(path, mirror);
    }
    errno = saved_errno;
    return inside;
}

static void make_parents(char *path)
{
    for (char *slash = strchr(path + strlen(target) + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(path, 0700) != 0 && errno != EEXIST)
            die(path);
        *slash = '/';
    }
}

static int open_mirror(char *path)
{
    make_parents(path);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        die(path);
    return fd;
}

/* Copies a file over its mirror in place, never through an empty one. Stops half way if the power is cut within. */
static void copy(int fd, char *mirror, int stop_half_way)
{
    static char block[1 << 20];
    struct stat status;
    off_t at = 0, end;
    ssize_t got;

    /*
     * Not through a descriptor of our own: closing that would drop the process's POSIX locks on the file, SQLite's
     * among them. A file open for writing only has to be opened again, but none of SQLite's is.
     */
    int reader = fd;
    if ((fcntl(fd, F_GETFL) & O_ACCMODE) == O_WRONLY) {
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        reader = open(link, O_RDONLY | O_CLOEXEC);
        if (reader < 0)
            die(mirror);
    }
    int writer = open_mirror(mirror);
    if (fstat(fd, &status) != 0)
        die(mirror);
    end = stop_half_way ? status.st_size / 2 : status.st_size;
    while (at < end) {
        size_t wanted = end - at < (off_t)sizeof block ? (size_t)(end - at) : sizeof block;
        got = pread(reader, block, wanted, at);
        if (got < 0)
            die(mirror);
        if (got == 0)
            break; /* truncated meanwhile by another thread */
        if (pwrite(writer, block, (size_t)got, at) != got)
            die(mirror);
        at += got;
    }
    if (stop_half_way)
        cut_power();
    if (ftruncate(writer, at) != 0)
        die(mirror);
    close(writer);
    if (reader != fd)
        close(reader);
}

/* `name` is fsync or fdatasync. */
static int sync_and_mirror(int fd, const char *name)
{
    char mirror[PATH_MAX];
    enum moment now = NEVER;

    if (mirror_of_file(fd, mirror)) {
        pthread_mutex_lock(&mirror_lock);
        if (moment != NEVER && --syncs_to_go == 0)
            now = moment;
        pthread_mutex_unlock(&mirror_lock);
    }
    if (now == BEFORE)
        cut_power();

    int (*real_sync)(int) = next(name);
    int result = real_sync(fd);
    if (result != 0)
        return result;

    pthread_mutex_lock(&mirror_lock);
    if (mirror_of_file(fd, mirror)) /* again: it may have been renamed while it was being synced */
        copy(fd, mirror, now == WITHIN);
    pthread_mutex_unlock(&mirror_lock);
    if (now == AFTER)
        cut_power();
    return 0;
}

int fsync(int fd)
{
    return sync_and_mirror(fd, "fsync");
}

int fdatasync(int fd)
{
    return sync_and_mirror(fd, "fdatasync");
}

/* Repeats in the mirror a rename that has taken place. */
static void mirror_rename(int has_old, const char *old_mirror, int has_new, char *new_mirror)
{
    int saved_errno = errno;

    if (has_new) {
        make_parents(new_mirror);
        if (!has_old || real_renameat(AT_FDCWD, old_mirror, AT_FDCWD, new_mirror) != 0) {
            if (has_old && errno != ENOENT)
                die(old_mirror);
            /* The name arrives, and none of the bytes: they were never synced. */
            int fd = open_mirror(new_mirror);
            if (ftruncate(fd, 0) != 0)
                die(new_mirror);
            close(fd);
        }
    } else if (has_old && real_unlinkat(AT_FDCWD, old_mirror, 0) != 0 && errno != ENOENT) {
        die(old_mirror);
    }
    errno = saved_errno;
}

int renameat(int old_folder, const char *old_name, int new_folder, const char *new_name)
{
    char old_mirror[PATH_MAX], new_mirror[PATH_MAX];
    int has_old = mirror_of_name(old_folder, old_name, old_mirror);
    int has_new = mirror_of_name(new_folder, new_name, new_mirror);

    pthread_mutex_lock(&mirror_lock);
    int result = real_renameat(old_folder, old_name, new_folder, new_name);
    if (result == 0 && (has_old || has_new))
        mirror_rename(has_old, old_mirror, has_new, new_mirror);
    pthread_mutex_unlock(&mirror_lock);
    return result;
}

int rename(const char *old_name, const char *new_name)
{
    return renameat(AT_FDCWD, old_name, AT_FDCWD, new_name);
}

int unlinkat(int folder, const char *name, int flags)
{
    char mirror[PATH_MAX];
    int has_mirror = (flags & AT_REMOVEDIR) == 0 && mirror_of_name(folder, name, mirror);

    pthread_mutex_lock(&mirror_lock);
    int result = real_unlinkat(folder, name, flags);
    if (result == 0 && has_mirror) {
        int saved_errno = errno;
        if (real_unlinkat(AT_FDCWD, mirror, 0) != 0 && errno != ENOENT)
            die(mirror);
        errno = saved_errno;
    }
    pthread_mutex_unlock(&mirror_lock);
    return result;
}

int unlink(const char *name)
{
    return unlinkat(AT_FDCWD, name, 0);
}
