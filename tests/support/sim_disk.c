/* Each file has two sets of bytes: as it reads now, and as it is on the platter. A sector that
 * differs is dirty; sync copies the dirty ones, a crash some of them. Names likewise. */
#include "tests/support/sim_disk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILES_MAX = 1024, NAME_CHANGES_MAX = 4096 };

struct bytes {
    uint8_t *data;
    uint64_t count;
};

struct file {
    struct bytes now;
    struct bytes kept;
    bool *dirty; /* of each sector; none but of those from dirty_first on, before dirty_end */
    uint64_t sectors;
    uint64_t dirty_first;
    uint64_t dirty_end;
    unsigned openers;
    bool locked;
    bool used;
};

/* A name, and the file that has it. */
struct name {
    char text[PD_DISK_NAME_BYTES + 16];
    unsigned file;
};

struct names {
    struct name entries[FILES_MAX];
    unsigned count;
};

/* A name that has changed: the file gets it, loses it (file FILES_MAX), or another one before. */
struct name_change {
    char from[PD_DISK_NAME_BYTES + 16]; /* empty: none */
    char to[PD_DISK_NAME_BYTES + 16];
    unsigned file;
};

struct pd_sim_disk {
    struct pd_disk disk;
    uint64_t random;
    struct file files[FILES_MAX];
    unsigned file_count; /* those behind were never used */
    struct names now;
    struct names kept;
    struct name_change changes[NAME_CHANGES_MAX];
    unsigned change_count;
    uint64_t epoch; /* of open files: a crash ends it */
    uint64_t calls;
    uint64_t space;
    enum pd_sim_fault fault;
    uint64_t fault_call; /* 0: none is planned */
};

static const struct pd_disk_result done = {PARAMD_OK, "done"};
static const struct pd_disk_result broken = {PARAMD_DISK, "a simulated failure"};
static const struct pd_disk_result full = {PARAMD_RESOURCE_EXHAUSTED, "a simulated full disk"};
static const struct pd_disk_result absent = {PARAMD_NOT_FOUND, "there is no such file"};

static void require(bool condition, const char *what)
{
    if (!condition) {
        (void)fprintf(stderr, "sim_disk: %s\n", what);
        abort();
    }
}

static uint64_t random_below(struct pd_sim_disk *sim, uint64_t limit)
{
    uint64_t z = sim->random += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (z ^ (z >> 31)) % limit;
}

/* Counts a call; whether the planned fault is one of those it can have, and happens now. */
static bool fault_now(struct pd_sim_disk *sim, enum pd_sim_fault fault)
{
    bool now = sim->fault_call > 0 && sim->calls >= sim->fault_call && sim->fault == fault;
    if (now) {
        sim->fault_call = 0;
    }
    return now;
}

static bool begin_call(struct pd_sim_disk *sim)
{
    sim->calls++;
    return !fault_now(sim, PD_SIM_FAIL);
}

/* --- files --- */

static void resize(struct bytes *bytes, uint64_t count)
{
    if (count > bytes->count) {
        bytes->data = realloc(bytes->data, count);
        require(bytes->data != NULL, "no memory");
        memset(bytes->data + bytes->count, 0, count - bytes->count);
    }
    bytes->count = count;
}

/* Room for so many bytes; false: the disk is full. */
static bool grow(struct pd_sim_disk *sim, struct file *file, uint64_t count)
{
    if (count <= file->now.count) {
        return true;
    }
    uint64_t used = 0;
    for (unsigned i = 0; i < sim->now.count; i++) {
        used += sim->files[sim->now.entries[i].file].now.count;
    }
    if (used + (count - file->now.count) > sim->space) {
        return false;
    }
    resize(&file->now, count);
    uint64_t sectors = (count + PD_SIM_SECTOR_BYTES - 1) / PD_SIM_SECTOR_BYTES;
    file->dirty = realloc(file->dirty, sectors * sizeof *file->dirty);
    require(file->dirty != NULL, "no memory");
    memset(file->dirty + file->sectors, 0, sectors - file->sectors);
    file->sectors = sectors;
    return true;
}

static struct file *file_of(struct pd_sim_disk *sim, int handle)
{
    uint64_t epoch = (uint64_t)handle / FILES_MAX;
    require(epoch == sim->epoch, "a file that was open before a crash is used");
    return &sim->files[(unsigned)handle % FILES_MAX];
}

static struct name *find(struct names *names, const char *text)
{
    for (unsigned i = 0; i < names->count; i++) {
        if (strcmp(names->entries[i].text, text) == 0) {
            return &names->entries[i];
        }
    }
    return NULL;
}

static void drop_name(struct names *names, const char *text)
{
    struct name *name = find(names, text);
    if (name != NULL) {
        *name = names->entries[--names->count];
    }
}

static void copy_names(struct names *to, const struct names *from)
{
    memcpy(to->entries, from->entries, from->count * sizeof to->entries[0]);
    to->count = from->count;
}

static void apply(struct names *names, const struct name_change *change)
{
    drop_name(names, change->from);
    drop_name(names, change->to);
    if (change->file < FILES_MAX) {
        require(names->count < FILES_MAX, "too many files");
        struct name *name = &names->entries[names->count++];
        (void)snprintf(name->text, sizeof name->text, "%s", change->to);
        name->file = change->file;
    }
}

static void change_names(struct pd_sim_disk *sim, const char *from, const char *to, unsigned file)
{
    require(sim->change_count < NAME_CHANGES_MAX, "too many names changed without sync_names");
    struct name_change *change = &sim->changes[sim->change_count++];
    (void)snprintf(change->from, sizeof change->from, "%s", from);
    (void)snprintf(change->to, sizeof change->to, "%s", to);
    change->file = file;
    apply(&sim->now, change);
}

/* The place of a file that has no name and is not open, to be a new one. */
static unsigned take_place(struct pd_sim_disk *sim)
{
    unsigned place = 0;
    while (place < sim->file_count && sim->files[place].used) {
        place++;
    }
    require(place < FILES_MAX, "too many files");
    sim->file_count += place == sim->file_count;
    sim->files[place].used = true;
    return place;
}

/* Forgets files that no name, and no change of one, leads to. */
static void drop_nameless(struct pd_sim_disk *sim)
{
    bool named[FILES_MAX] = {false};
    for (unsigned i = 0; i < sim->now.count; i++) {
        named[sim->now.entries[i].file] = true;
    }
    for (unsigned i = 0; i < sim->file_count; i++) {
        struct file *file = &sim->files[i];
        if (file->used && !named[i] && file->openers == 0) {
            free(file->now.data);
            free(file->kept.data);
            free(file->dirty);
            *file = (struct file){.used = false};
        }
    }
}

static struct pd_disk_result sim_open(void *context, const char *text, enum pd_disk_mode mode,
                                      int *ret_file)
{
    struct pd_sim_disk *sim = context;
    if (!begin_call(sim)) {
        return broken;
    }
    const struct name *name = find(&sim->now, text);
    unsigned file = name == NULL ? 0 : name->file;
    if (name == NULL) {
        if (mode != PD_DISK_CREATE && mode != PD_DISK_CREATE_PAGES) {
            return absent;
        }
        if (fault_now(sim, PD_SIM_NO_SPACE)) {
            return full;
        }
        file = take_place(sim);
        change_names(sim, "", text, file);
    }
    sim->files[file].openers++;
    *ret_file = (int)(sim->epoch * FILES_MAX + file);
    return done;
}

static void sim_close(void *context, int handle)
{
    struct pd_sim_disk *sim = context;
    if ((uint64_t)handle / FILES_MAX == sim->epoch) { /* else a crash has closed it */
        file_of(sim, handle)->locked = false;
        file_of(sim, handle)->openers--;
    }
}

static struct pd_disk_result sim_read(void *context, int handle, uint64_t offset, void *bytes,
                                      size_t count, size_t *ret_count)
{
    struct pd_sim_disk *sim = context;
    if (!begin_call(sim)) {
        return broken;
    }
    const struct file *file = file_of(sim, handle);
    uint64_t rest = offset < file->now.count ? file->now.count - offset : 0;
    *ret_count = count < rest ? count : (size_t)rest;
    if (*ret_count > 0) {
        memcpy(bytes, file->now.data + offset, *ret_count);
    }
    return done;
}

static void mark_dirty(struct file *file, uint64_t first, uint64_t end)
{
    bool none = file->dirty_first == file->dirty_end;
    file->dirty_first = none || first < file->dirty_first ? first : file->dirty_first;
    file->dirty_end = none || end > file->dirty_end ? end : file->dirty_end;
    memset(file->dirty + first, true, end - first);
}

static struct pd_disk_result sim_write(void *context, int handle, uint64_t offset,
                                       const void *bytes, size_t count)
{
    struct pd_sim_disk *sim = context;
    struct file *file = file_of(sim, handle);
    if (!begin_call(sim)) {
        return broken;
    }
    if (fault_now(sim, PD_SIM_NO_SPACE) || !grow(sim, file, offset + count)) {
        return full;
    }
    if (count == 0 || fault_now(sim, PD_SIM_LOST_WRITE)) {
        return done;
    }
    struct pd_disk_result result = done;
    if (fault_now(sim, PD_SIM_SHORT_WRITE)) {
        count = (size_t)random_below(sim, count);
        result = broken;
    } else if (fault_now(sim, PD_SIM_MISDIRECTED)) {
        uint64_t last = (file->now.count - count) / PD_SIM_SECTOR_BYTES;
        offset = random_below(sim, last + 1) * PD_SIM_SECTOR_BYTES;
    }
    memcpy(file->now.data + offset, bytes, count);
    if (fault_now(sim, PD_SIM_BIT_FLIP)) {
        uint64_t bit = random_below(sim, count * 8);
        file->now.data[offset + bit / 8] ^= (uint8_t)(1U << (bit % 8));
    }
    mark_dirty(file, offset / PD_SIM_SECTOR_BYTES,
               (offset + count + PD_SIM_SECTOR_BYTES - 1) / PD_SIM_SECTOR_BYTES);
    return result;
}

static struct pd_disk_result sim_allocate(void *context, int handle, uint64_t bytes)
{
    struct pd_sim_disk *sim = context;
    if (!begin_call(sim)) {
        return broken;
    }
    bool room = !fault_now(sim, PD_SIM_NO_SPACE) && grow(sim, file_of(sim, handle), bytes);
    return room ? done : full;
}

/* The sector as it reads now, or its first `count` bytes, gets to the platter. */
static void keep_sector(struct file *file, uint64_t sector, uint64_t count)
{
    uint64_t offset = sector * PD_SIM_SECTOR_BYTES;
    uint64_t rest = offset < file->kept.count ? file->kept.count - offset : 0;
    uint64_t part = count < rest ? count : rest;
    if (part > 0) {
        memcpy(file->kept.data + offset, file->now.data + offset, part);
    }
}

static struct pd_disk_result sim_sync(void *context, int handle)
{
    struct pd_sim_disk *sim = context;
    struct file *file = file_of(sim, handle);
    if (!begin_call(sim)) {
        return broken;
    }
    bool fails = fault_now(sim, PD_SIM_SYNC_FAILS);
    if (!fails) {
        resize(&file->kept, file->now.count);
    }
    for (uint64_t i = file->dirty_first; i < file->dirty_end; i++) {
        if (file->dirty[i] && !fails) {
            keep_sector(file, i, PD_SIM_SECTOR_BYTES);
        }
        file->dirty[i] = false;
    }
    file->dirty_first = file->dirty_end = 0;
    return fails ? broken : done;
}

static struct pd_disk_result sim_size(void *context, int handle, uint64_t *ret_bytes)
{
    struct pd_sim_disk *sim = context;
    if (!begin_call(sim)) {
        return broken;
    }
    *ret_bytes = file_of(sim, handle)->now.count;
    return done;
}

/* --- names --- */

static struct pd_disk_result sim_rename(void *context, const char *from, const char *to)
{
    struct pd_sim_disk *sim = context;
    const struct name *name = find(&sim->now, from);
    if (!begin_call(sim)) {
        return broken;
    }
    if (name == NULL) {
        return absent;
    }
    change_names(sim, from, to, name->file);
    return done;
}

static struct pd_disk_result sim_unlink(void *context, const char *text)
{
    struct pd_sim_disk *sim = context;
    if (!begin_call(sim)) {
        return broken;
    }
    if (find(&sim->now, text) == NULL) {
        return absent;
    }
    change_names(sim, "", text, FILES_MAX);
    return done;
}

static struct pd_disk_result sim_sync_names(void *context)
{
    struct pd_sim_disk *sim = context;
    if (!begin_call(sim)) {
        return broken;
    }
    copy_names(&sim->kept, &sim->now);
    sim->change_count = 0;
    drop_nameless(sim);
    return done;
}

static struct pd_disk_result sim_list(void *context, void (*each)(void *argument, const char *name),
                                      void *argument)
{
    struct pd_sim_disk *sim = context;
    if (!begin_call(sim)) {
        return broken;
    }
    for (unsigned i = 0; i < sim->now.count; i++) {
        each(argument, sim->now.entries[i].text);
    }
    return done;
}

static struct pd_disk_result sim_lock(void *context, const char *name, int *ret_file)
{
    struct pd_sim_disk *sim = context;
    struct pd_disk_result result = sim_open(context, name, PD_DISK_CREATE, ret_file);
    if (result.status != PARAMD_OK) {
        return result;
    }
    struct file *file = file_of(sim, *ret_file);
    if (file->locked) {
        return (struct pd_disk_result){PARAMD_BUSY, "another process uses this data directory"};
    }
    file->locked = true;
    return done;
}

/* --- the disk's own life --- */

struct pd_sim_disk *pd_sim_disk_create(uint64_t seed)
{
    struct pd_sim_disk *sim = calloc(1, sizeof *sim);
    require(sim != NULL, "no memory");
    sim->random = seed;
    sim->space = UINT64_MAX;
    sim->disk = (struct pd_disk){
        .context = sim,
        .open = sim_open,
        .close = sim_close,
        .read = sim_read,
        .write = sim_write,
        .allocate = sim_allocate,
        .sync = sim_sync,
        .size = sim_size,
        .rename = sim_rename,
        .unlink = sim_unlink,
        .sync_names = sim_sync_names,
        .list = sim_list,
        .lock = sim_lock,
    };
    return sim;
}

void pd_sim_disk_destroy(struct pd_sim_disk *sim)
{
    for (unsigned i = 0; i < sim->file_count; i++) {
        free(sim->files[i].now.data);
        free(sim->files[i].kept.data);
        free(sim->files[i].dirty);
    }
    free(sim);
}

const struct pd_disk *pd_sim_disk_of(struct pd_sim_disk *sim)
{
    return &sim->disk;
}

uint64_t pd_sim_disk_calls(const struct pd_sim_disk *sim)
{
    return sim->calls;
}

void pd_sim_disk_plan(struct pd_sim_disk *sim, enum pd_sim_fault fault, uint64_t call)
{
    sim->fault = fault;
    sim->fault_call = call;
}

bool pd_sim_disk_happened(const struct pd_sim_disk *sim)
{
    return sim->fault_call == 0;
}

void pd_sim_disk_limit(struct pd_sim_disk *sim, uint64_t bytes)
{
    sim->space = bytes;
}

void pd_sim_disk_kill(struct pd_sim_disk *sim)
{
    sim->epoch++;
    for (unsigned i = 0; i < sim->file_count; i++) {
        sim->files[i].locked = false;
        sim->files[i].openers = 0;
    }
}

static void crash_file(struct pd_sim_disk *sim, struct file *file, bool torn)
{
    if (file->now.count != file->kept.count && random_below(sim, 2) == 0) {
        resize(&file->kept, file->now.count);
    }
    for (uint64_t i = file->dirty_first; i < file->dirty_end; i++) {
        if (file->dirty[i] && random_below(sim, 2) == 0) {
            bool part = torn && random_below(sim, 4) == 0;
            keep_sector(file, i,
                        part ? random_below(sim, PD_SIM_SECTOR_BYTES)
                             : (uint64_t)PD_SIM_SECTOR_BYTES);
        }
    }
    file->dirty_first = file->dirty_end = 0;
    file->now.count = 0;
    resize(&file->now, file->kept.count);
    if (file->kept.count > 0) {
        memcpy(file->now.data, file->kept.data, file->kept.count);
    }
    file->sectors = (file->kept.count + PD_SIM_SECTOR_BYTES - 1) / PD_SIM_SECTOR_BYTES;
    if (file->sectors > 0) {
        memset(file->dirty, 0, file->sectors);
    }
}

void pd_sim_disk_crash(struct pd_sim_disk *sim, bool torn)
{
    pd_sim_disk_kill(sim);
    for (unsigned i = 0; i < sim->file_count; i++) {
        crash_file(sim, &sim->files[i], torn);
    }
    for (unsigned i = 0; i < sim->change_count; i++) {
        if (random_below(sim, 2) == 0) {
            apply(&sim->kept, &sim->changes[i]);
        }
    }
    copy_names(&sim->now, &sim->kept);
    sim->change_count = 0;
    drop_nameless(sim);
}

uint8_t *pd_sim_disk_bytes(struct pd_sim_disk *sim, const char *name, uint64_t *ret_bytes)
{
    const struct name *found = find(&sim->now, name);
    if (found == NULL) {
        return NULL;
    }
    struct file *file = &sim->files[found->file];
    *ret_bytes = file->now.count;
    return file->now.data;
}
