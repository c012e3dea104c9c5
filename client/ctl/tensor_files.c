/* Sets of safetensors files: which tensor goes where, heads, indexes, and the change of names at
 * the end. */
#include "client/ctl/tensor_files.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/ctl/ctl.h"

/* A file's name until it is whole. */
struct part_name {
    char text[PD_CTL_FILE_NAME_BYTES + sizeof ".part"];
};

static struct part_name part_of(const char *name)
{
    struct part_name part;
    (void)snprintf(part.text, sizeof part.text, "%s.part", name);
    return part;
}

struct index_name {
    char text[PD_CTL_FILE_NAME_BYTES];
};

static struct index_name index_of(const char *stem)
{
    struct index_name index;
    (void)snprintf(index.text, sizeof index.text, "%s.safetensors.index.json", stem);
    return index;
}

static bool no_memory(const struct pd_ctl_folder *folder)
{
    (void)pd_ctl_refuse("there is no memory for the lists of %s", folder->path);
    return false;
}

/* Takes tensors over; the files are still to come. */
static bool take_tensors(struct pd_ctl_tensor_files *files, struct pd_safetensors_tensor *tensors,
                         size_t count)
{
    files->tensors = tensors;
    files->count = count;
    files->file_of = calloc(count + 1, sizeof *files->file_of);
    files->files = calloc(PD_CTL_FILES_MAX, sizeof *files->files);
    if (tensors == NULL || files->file_of == NULL || files->files == NULL) {
        return no_memory(files->folder);
    }
    return true;
}

void pd_ctl_tensor_files_close(struct pd_ctl_tensor_files *files)
{
    for (size_t i = 0; i < files->file_count; i++) {
        pd_ctl_file_close(files->files[i].fd);
        if (files->made) {
            (void)pd_ctl_file_remove(files->folder, part_of(files->files[i].name).text);
        }
    }
    for (size_t i = 0; i < files->count && files->tensors != NULL; i++) {
        free(files->tensors[i].name);
    }
    free(files->tensors);
    free(files->file_of);
    free(files->files);
    free(files->by_name);
    *files = (struct pd_ctl_tensor_files){0};
}

/* ---- Making ---- */

/* In the tensors' order, as many in a file as fit. */
static bool divide(struct pd_ctl_tensor_files *files, uint64_t file_bytes)
{
    uint64_t room = 0;
    for (size_t i = 0; i < files->count; i++) {
        uint64_t bytes = files->tensors[i].end - files->tensors[i].begin;
        if (files->file_count == 0 || bytes > room) {
            if (files->file_count == PD_CTL_FILES_MAX) {
                (void)pd_ctl_refuse(
                    "the tensors need more than %d files: give a larger --file-size",
                    PD_CTL_FILES_MAX);
                return false;
            }
            files->files[files->file_count++].fd = -1;
            room = file_bytes;
        }
        files->file_of[i] = (uint16_t)(files->file_count - 1);
        room -= bytes < room ? bytes : room;
        files->bytes += bytes;
    }
    for (size_t i = 0; i < files->file_count; i++) {
        char *name = files->files[i].name;
        if (files->file_count == 1) {
            (void)snprintf(name, PD_CTL_FILE_NAME_BYTES, "%s.safetensors", files->stem);
        } else {
            (void)snprintf(name, PD_CTL_FILE_NAME_BYTES, "%s-%05zu-of-%05zu.safetensors",
                           files->stem, i + 1, files->file_count);
        }
    }
    return true;
}

/* One file with its head, whose tensors begin at first; ret_next: behind its last one. */
static bool make_file(struct pd_ctl_tensor_files *files, size_t file, size_t first,
                      size_t *ret_next)
{
    struct pd_ctl_file *one = &files->files[file];
    uint8_t *head;
    size_t head_bytes;
    size_t next = first;
    while (next < files->count && files->file_of[next] == file) {
        next++;
    }
    enum paramd_status status =
        pd_safetensors_make_head(files->tensors + first, next - first, &head, &head_bytes);
    if (status != PARAMD_OK) {
        (void)pd_ctl_refuse("%s/%s: %s", files->folder->path, one->name,
                            paramd_status_text((int)status));
        return false;
    }
    struct part_name part = part_of(one->name);
    one->head_bytes = head_bytes;
    one->fd = pd_ctl_file_make(files->folder, part.text, head_bytes + files->tensors[next - 1].end);
    bool made =
        one->fd >= 0 && pd_ctl_file_write(files->folder, part.text, one->fd, 0, head, head_bytes);
    free(head);
    *ret_next = next;
    return made;
}

bool pd_ctl_tensor_files_make(struct pd_ctl_tensor_files *files, const struct pd_ctl_folder *folder,
                              const char *stem, struct pd_safetensors_tensor *tensors, size_t count,
                              uint64_t file_bytes)
{
    uint8_t *head = NULL;
    size_t head_bytes;
    *files = (struct pd_ctl_tensor_files){.folder = folder, .stem = stem, .made = true};
    if (!take_tensors(files, tensors, count)) {
        return false;
    }
    /* Only for the sizes: each file is laid out by itself afterwards. */
    enum paramd_status status = pd_safetensors_make_head(tensors, count, &head, &head_bytes);
    free(head);
    if (status == PARAMD_NO_MEMORY) {
        return no_memory(folder);
    }
    if (!divide(files, file_bytes)) {
        return false;
    }
    size_t next = 0;
    for (size_t file = 0; file < files->file_count; file++) {
        if (!make_file(files, file, next, &next)) {
            return false;
        }
    }
    return true;
}

bool pd_ctl_tensor_files_write(const struct pd_ctl_tensor_files *files, size_t tensor,
                               uint64_t offset, const void *bytes, size_t count)
{
    const struct pd_ctl_file *file = &files->files[files->file_of[tensor]];
    return pd_ctl_file_write(files->folder, part_of(file->name).text, file->fd,
                             file->head_bytes + files->tensors[tensor].begin + offset, bytes,
                             count);
}

static json_t *describe_index(const struct pd_ctl_tensor_files *files)
{
    json_t *map = json_object();
    for (size_t i = 0; i < files->count; i++) {
        const char *file = files->files[files->file_of[i]].name;
        if (json_object_set_new(map, files->tensors[i].name, json_string(file)) != 0) {
            json_decref(map);
            return NULL;
        }
    }
    return json_pack("{s:{s:I}, s:o}", "metadata", "total_size", (json_int_t)files->bytes,
                     "weight_map", map);
}

bool pd_ctl_tensor_files_sync(struct pd_ctl_tensor_files *files)
{
    for (size_t i = 0; i < files->file_count; i++) {
        const struct pd_ctl_file *file = &files->files[i];
        if (!pd_ctl_file_sync(files->folder, part_of(file->name).text, file->fd)) {
            return false;
        }
    }
    return files->file_count == 1 ||
           pd_ctl_document_write(files->folder, part_of(index_of(files->stem).text).text,
                                 describe_index(files));
}

/* STEM-00001-of-00002.safetensors and the like, of any set of that stem. */
static bool of_stem(const char *stem, const char *name)
{
    static const char pattern[] = "-00000-of-00000.safetensors"; /* 0: any digit */
    size_t length = strlen(stem);
    size_t alike = 0;
    if (strncmp(name, stem, length) != 0) {
        return false;
    }
    name += length;
    while (name[alike] != '\0' && (pattern[alike] == '0' ? isdigit((unsigned char)name[alike]) != 0
                                                         : name[alike] == pattern[alike])) {
        alike++;
    }
    return strcmp(name, ".safetensors") == 0 || strcmp(name, ".safetensors.index.json") == 0 ||
           (name[alike] == '\0' && pattern[alike] == '\0');
}

static bool remove_stale(void *arg, const char *name)
{
    const struct pd_ctl_tensor_files *files = arg;
    if (!of_stem(files->stem, name) ||
        (files->file_count > 1 && strcmp(name, index_of(files->stem).text) == 0)) {
        return true;
    }
    for (size_t i = 0; i < files->file_count; i++) {
        if (strcmp(files->files[i].name, name) == 0) {
            return true;
        }
    }
    return pd_ctl_file_remove(files->folder, name);
}

bool pd_ctl_tensor_files_publish(struct pd_ctl_tensor_files *files)
{
    for (size_t i = 0; i < files->file_count; i++) {
        const char *name = files->files[i].name;
        if (!pd_ctl_file_rename(files->folder, part_of(name).text, name)) {
            return false;
        }
    }
    struct index_name index = index_of(files->stem);
    return (files->file_count == 1 ||
            pd_ctl_file_rename(files->folder, part_of(index.text).text, index.text)) &&
           pd_ctl_folder_list(files->folder, remove_stale, files);
}

/* ---- Reading ---- */

bool pd_ctl_tensor_files_there(const struct pd_ctl_folder *folder, const char *stem)
{
    char single[PD_CTL_FILE_NAME_BYTES];
    (void)snprintf(single, sizeof single, "%s.safetensors", stem);
    return pd_ctl_folder_has(folder, single) || pd_ctl_folder_has(folder, index_of(stem).text);
}

/* Reads the head of a file that is open; NULL after the error was printed. */
static struct pd_safetensors *read_head(const struct pd_ctl_folder *folder,
                                        const struct pd_ctl_file *file, uint64_t file_bytes)
{
    uint8_t start[PD_SAFETENSORS_LENGTH_BYTES] = {0};
    char error[PD_SAFETENSORS_ERROR_BYTES] = "there is no memory for its header";
    uint64_t head_bytes = 0;
    struct pd_safetensors *tensors = NULL;
    size_t there = file_bytes < sizeof start ? (size_t)file_bytes : sizeof start;
    if (!pd_ctl_file_read(folder, file->name, file->fd, 0, start, there)) {
        return NULL;
    }
    if (pd_safetensors_head_bytes(start, file_bytes, &head_bytes, error) == PARAMD_OK) {
        uint8_t *head = malloc((size_t)head_bytes);
        if (head != NULL &&
            !pd_ctl_file_read(folder, file->name, file->fd, 0, head, (size_t)head_bytes)) {
            free(head);
            return NULL;
        }
        if (head != NULL && pd_safetensors_read_head(head, (size_t)head_bytes, file_bytes, &tensors,
                                                     error) == PARAMD_OK) {
            free(head);
            return tensors;
        }
        free(head);
    }
    (void)pd_ctl_refuse("%s/%s is no sound safetensors file: %s", folder->path, file->name, error);
    return NULL;
}

/* Opens one more file of the set, and takes its tensors over. */
static bool open_file(struct pd_ctl_tensor_files *files, const char *name)
{
    uint64_t file_bytes = 0;
    if (files->file_count == PD_CTL_FILES_MAX || strlen(name) >= PD_CTL_FILE_NAME_BYTES ||
        strchr(name, '/') != NULL) {
        (void)pd_ctl_refuse("%s: its index names more than %d files, or one whose name is too long "
                            "or has a slash",
                            files->folder->path, PD_CTL_FILES_MAX);
        return false;
    }
    struct pd_ctl_file *file = &files->files[files->file_count];
    (void)snprintf(file->name, sizeof file->name, "%s", name);
    file->fd = pd_ctl_file_open(files->folder, name, &file_bytes);
    if (file->fd < 0) {
        return false;
    }
    files->file_count++;
    struct pd_safetensors *more = read_head(files->folder, file, file_bytes);
    if (more == NULL) {
        return false;
    }
    size_t count = files->count + more->count;
    void *tensors = realloc(files->tensors, (count + 1) * sizeof *files->tensors);
    files->tensors = tensors != NULL ? tensors : files->tensors;
    void *file_of = realloc(files->file_of, (count + 1) * sizeof *files->file_of);
    files->file_of = file_of != NULL ? file_of : files->file_of;
    if (tensors == NULL || file_of == NULL) {
        pd_safetensors_destroy(more);
        return no_memory(files->folder);
    }
    file->head_bytes = more->head_bytes;
    for (size_t i = 0; i < more->count; i++) {
        files->file_of[files->count + i] = (uint16_t)(files->file_count - 1);
    }
    memcpy(files->tensors + files->count, more->tensors, more->count * sizeof *more->tensors);
    files->count = count;
    files->bytes += file_bytes - more->head_bytes;
    more->count = 0; /* the names have a new owner */
    pd_safetensors_destroy(more);
    return true;
}

static bool is_open(const struct pd_ctl_tensor_files *files, const char *name)
{
    for (size_t i = 0; i < files->file_count; i++) {
        if (strcmp(files->files[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

/* The files in the order in which the index names them; it must say of each tensor where it is. */
static bool open_indexed(struct pd_ctl_tensor_files *files, json_t *map)
{
    const char *tensor;
    json_t *file;
    json_object_foreach(map, tensor, file)
    {
        const char *name = json_string_value(file);
        if (name == NULL) {
            (void)pd_ctl_refuse("%s/%s names no file for tensor %s", files->folder->path,
                                index_of(files->stem).text, tensor);
            return false;
        }
        if (!is_open(files, name) && !open_file(files, name)) {
            return false;
        }
    }
    bool agrees = json_object_size(map) == files->count && files->count > 0;
    for (size_t i = 0; agrees && i < files->count; i++) {
        const char *name = json_string_value(json_object_get(map, files->tensors[i].name));
        agrees = name != NULL && strcmp(name, files->files[files->file_of[i]].name) == 0;
    }
    if (!agrees) {
        (void)pd_ctl_refuse("%s/%s does not agree with the tensors in its files",
                            files->folder->path, index_of(files->stem).text);
    }
    return agrees;
}

static int compare_names(const void *a, const void *b, void *tensors)
{
    const struct pd_safetensors_tensor *of = tensors;
    return strcmp(of[*(const size_t *)a].name, of[*(const size_t *)b].name);
}

bool pd_ctl_tensor_files_open(struct pd_ctl_tensor_files *files, const struct pd_ctl_folder *folder,
                              const char *stem)
{
    struct index_name index = index_of(stem);
    char single[PD_CTL_FILE_NAME_BYTES];
    *files = (struct pd_ctl_tensor_files){.folder = folder, .stem = stem};
    if (!take_tensors(files, calloc(1, sizeof *files->tensors), 0)) {
        return false;
    }
    (void)snprintf(single, sizeof single, "%s.safetensors", stem);
    bool opened;
    if (pd_ctl_folder_has(folder, index.text)) {
        json_t *document = pd_ctl_document_read(folder, index.text);
        opened = document != NULL && open_indexed(files, json_object_get(document, "weight_map"));
        json_decref(document);
    } else {
        opened = open_file(files, single);
    }
    if (!opened) {
        return false;
    }
    files->by_name = calloc(files->count + 1, sizeof *files->by_name);
    if (files->by_name == NULL) {
        return no_memory(folder);
    }
    for (size_t i = 0; i < files->count; i++) {
        files->by_name[i] = i;
    }
    qsort_r(files->by_name, files->count, sizeof *files->by_name, compare_names, files->tensors);
    return true;
}

size_t pd_ctl_tensor_files_find(const struct pd_ctl_tensor_files *files, const char *name)
{
    size_t low = 0;
    size_t high = files->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(name, files->tensors[files->by_name[middle]].name);
        if (order == 0) {
            return files->by_name[middle];
        }
        low = order > 0 ? middle + 1 : low;
        high = order < 0 ? middle : high;
    }
    return files->count;
}

bool pd_ctl_tensor_files_read(const struct pd_ctl_tensor_files *files, size_t tensor,
                              uint64_t offset, void *bytes, size_t count)
{
    const struct pd_ctl_file *file = &files->files[files->file_of[tensor]];
    return pd_ctl_file_read(files->folder, file->name, file->fd,
                            file->head_bytes + files->tensors[tensor].begin + offset, bytes, count);
}
