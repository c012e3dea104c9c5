/* Files of one directory, by POSIX calls relative to its descriptor. */
#include "client/ctl/folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/ctl/ctl.h"

/* A paramd.json that has a step for each of ten million blocks is shorter. */
enum { DOCUMENT_BYTES_MAX = 256 * 1024 * 1024 };

/* Of errno, about a file of the folder (NULL: the folder itself). */
static bool complain(const struct pd_ctl_folder *folder, const char *name, const char *what)
{
    (void)pd_ctl_refuse("%s%s%s could not be %s: %s", folder->path, name != NULL ? "/" : "",
                        name != NULL ? name : "", what, strerror(errno));
    return false;
}

bool pd_ctl_folder_open(struct pd_ctl_folder *folder, const char *path)
{
    folder->path = path;
    folder->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return folder->fd >= 0 || complain(folder, NULL, "opened");
}

bool pd_ctl_folder_make(struct pd_ctl_folder *folder, const char *path)
{
    folder->path = path;
    folder->fd = -1;
    if (mkdir(path, 0777) != 0 && errno != EEXIST) {
        return complain(folder, NULL, "made");
    }
    if (!pd_ctl_folder_open(folder, path)) {
        return false;
    }
    return flock(folder->fd, LOCK_EX | LOCK_NB) == 0 ||
           complain(folder, NULL, "taken for writing, as another export writes there");
}

void pd_ctl_folder_close(struct pd_ctl_folder *folder)
{
    pd_ctl_file_close(folder->fd);
}

bool pd_ctl_folder_sync(const struct pd_ctl_folder *folder)
{
    return fsync(folder->fd) == 0 || complain(folder, NULL, "brought to the disk");
}

bool pd_ctl_folder_list(const struct pd_ctl_folder *folder,
                        bool (*each)(void *arg, const char *name), void *arg)
{
    int fd = openat(folder->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *names = fd >= 0 ? fdopendir(fd) : NULL;
    if (names == NULL) {
        pd_ctl_file_close(fd);
        return complain(folder, NULL, "listed");
    }
    bool going = true;
    const struct dirent *entry;
    /* Safe on a stream of one's own, and readdir_r is not to be used any more. */
    // cppcheck-suppress readdirCalled
    while (going && (entry = readdir(names)) != NULL) {
        going = each(arg, entry->d_name);
    }
    (void)closedir(names);
    return going;
}

bool pd_ctl_folder_has(const struct pd_ctl_folder *folder, const char *name)
{
    return faccessat(folder->fd, name, F_OK, 0) == 0;
}

int pd_ctl_file_open(const struct pd_ctl_folder *folder, const char *name, uint64_t *ret_bytes)
{
    struct stat about;
    int fd =
        openat(folder->fd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* nobody waits in a pipe */
    if (fd < 0 || fstat(fd, &about) != 0) {
        (void)complain(folder, name, "opened");
        pd_ctl_file_close(fd);
        return -1;
    }
    if (!S_ISREG(about.st_mode)) {
        (void)pd_ctl_refuse("%s/%s is no file", folder->path, name);
        pd_ctl_file_close(fd);
        return -1;
    }
    *ret_bytes = (uint64_t)about.st_size;
    return fd;
}

int pd_ctl_file_make(const struct pd_ctl_folder *folder, const char *name, uint64_t bytes)
{
    int fd = openat(folder->fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) {
        (void)complain(folder, name, "made");
        return -1;
    }
    /* Where a file system cannot take room beforehand, a lack of it shows later. */
    if (bytes > 0 && fallocate(fd, 0, 0, (off_t)bytes) != 0 && errno != EOPNOTSUPP) {
        (void)complain(folder, name, "given its room");
        pd_ctl_file_close(fd);
        (void)pd_ctl_file_remove(folder, name);
        return -1;
    }
    return fd;
}

void pd_ctl_file_close(int fd)
{
    if (fd >= 0) {
        (void)close(fd);
    }
}

bool pd_ctl_file_read(const struct pd_ctl_folder *folder, const char *name, int fd, uint64_t offset,
                      void *bytes, size_t count)
{
    for (size_t done = 0; done < count;) {
        ssize_t some =
            pread(fd, (uint8_t *)bytes + done, count - done, (off_t)(offset + (uint64_t)done));
        if (some == 0) {
            errno = EIO; /* it was longer a moment ago */
        }
        if (some == 0 || (some < 0 && errno != EINTR)) {
            return complain(folder, name, "read");
        }
        done += some > 0 ? (size_t)some : 0;
    }
    return true;
}

bool pd_ctl_file_write(const struct pd_ctl_folder *folder, const char *name, int fd,
                       uint64_t offset, const void *bytes, size_t count)
{
    for (size_t done = 0; done < count;) {
        ssize_t some = pwrite(fd, (const uint8_t *)bytes + done, count - done,
                              (off_t)(offset + (uint64_t)done));
        if (some < 0 && errno != EINTR) {
            return complain(folder, name, "written");
        }
        done += some > 0 ? (size_t)some : 0;
    }
    return true;
}

bool pd_ctl_file_sync(const struct pd_ctl_folder *folder, const char *name, int fd)
{
    return fsync(fd) == 0 || complain(folder, name, "brought to the disk");
}

bool pd_ctl_file_rename(const struct pd_ctl_folder *folder, const char *from, const char *to)
{
    return renameat(folder->fd, from, folder->fd, to) == 0 || complain(folder, to, "put in place");
}

bool pd_ctl_file_remove(const struct pd_ctl_folder *folder, const char *name)
{
    return unlinkat(folder->fd, name, 0) == 0 || errno == ENOENT ||
           complain(folder, name, "removed");
}

json_t *pd_ctl_document_read(const struct pd_ctl_folder *folder, const char *name)
{
    uint64_t bytes = 0;
    int fd = pd_ctl_file_open(folder, name, &bytes);
    if (fd < 0) {
        return NULL;
    }
    char *text = bytes <= DOCUMENT_BYTES_MAX ? malloc((size_t)bytes + 1) : NULL;
    json_t *document = NULL;
    json_error_t at = {.text = "it is too large"};
    bool whole = text == NULL || pd_ctl_file_read(folder, name, fd, 0, text, (size_t)bytes);
    if (text != NULL && whole) {
        document = json_loadb(text, (size_t)bytes, JSON_REJECT_DUPLICATES, &at);
    }
    if (document == NULL && whole) {
        (void)pd_ctl_refuse("%s/%s cannot be read: %s", folder->path, name, at.text);
    }
    free(text);
    pd_ctl_file_close(fd);
    return document;
}

bool pd_ctl_document_write(const struct pd_ctl_folder *folder, const char *name, json_t *document)
{
    char *text = document != NULL ? json_dumps(document, JSON_INDENT(2)) : NULL;
    json_decref(document);
    if (text == NULL) {
        (void)pd_ctl_refuse("there is no memory for %s/%s", folder->path, name);
        return false;
    }
    int fd = pd_ctl_file_make(folder, name, 0);
    bool written = fd >= 0 && pd_ctl_file_write(folder, name, fd, 0, text, strlen(text)) &&
                   pd_ctl_file_sync(folder, name, fd);
    pd_ctl_file_close(fd);
    free(text);
    return written;
}
