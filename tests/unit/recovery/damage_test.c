/* Damage of every kind to a data directory, one at a time, some thousand places: recovery refuses,
 * naming file and offset, or comes to the very same state, because what was damaged means nothing
 * or an older snapshot has it, too, and then it says so. Only of the batch that was in flight when
 * the daemon was killed may something be left out, and then it says so; and what an old copy of the
 * last segment does not have, beyond what is noted elsewhere. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/frame.h"
#include "tests/support/check_main.h"
#include "tests/unit/recovery/story.h"

enum {
    SECTOR_BYTES = 512,
    SCRATCH_BYTES = 1024 * 1024,
    TEXT_BYTES = 512,
    HEARD_OF_MIN = 700 /* of the damages to each directory: refused, or told */
};

/* What recovery has to bring back. */
struct state {
    uint64_t control; /* a sum over all that it knows */
    uint64_t models[PD_STORY_MODELS][PD_STORY_SHARDS];
};

/* What the damage was to, and what came of it. */
struct damaged {
    struct pd_image image;
    char text[TEXT_BYTES];
};

static struct pd_story story;
static struct damaged damaged;
static uint8_t scratch[SCRATCH_BYTES]; /* bytes of damaged files */
static uint64_t random_state;

static uint64_t below(uint64_t limit)
{
    uint64_t z = random_state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (z ^ (z >> 31)) % limit;
}

/* ---- states ---- */

static uint64_t control_sum(struct pd_control *control)
{
    struct pd_control_effects effects = {.log_room = UINT64_MAX};
    struct pd_link *link;
    uint64_t sum = 0;
    pd_link_init(&effects.records);
    pd_link_init(&effects.messages);
    pd_link_init(&effects.notes);
    ck_assert_int_eq(pd_control_recovered(control, false, 1, &effects), PARAMD_OK);
    while ((link = pd_list_pop(&effects.records)) != NULL) {
        struct pd_control_record *record = PD_CONTAINER(link, struct pd_control_record, link);
        struct pd_span span = {record->bytes, record->header_count + record->payload_count};
        sum = sum * 31 + pd_payload_sum(&span, 1) + record->kind;
        free(record);
    }
    while ((link = pd_list_pop(&effects.messages)) != NULL) {
        pd_message_destroy(PD_CONTAINER(link, struct pd_message, link));
    }
    while ((link = pd_list_pop(&effects.notes)) != NULL) {
        free(PD_CONTAINER(link, struct pd_note, link));
    }
    return sum;
}

static struct state state_of(const struct pd_recovery *recovery)
{
    struct state state = {.control = control_sum(recovery->control)};
    for (unsigned i = 0; i < PD_STORY_MODELS; i++) {
        for (unsigned j = 0; j < PD_STORY_SHARDS; j++) {
            state.models[i][j] = pd_shard_hash(recovery->shards[j], story.models[i]);
        }
    }
    return state;
}

/* Of a directory that must be good. */
static struct state recovered_state(const struct pd_image *image)
{
    struct pd_sim_disk *sim = pd_image_disk(image);
    struct pd_found found;
    pd_found_init(&found, pd_sim_disk_of(sim), PD_STORY_SHARDS);
    ck_assert_msg(found.status == PARAMD_OK, "%s", found.error);
    ck_assert_uint_eq(found.told_count, 0);
    struct state state = state_of(found.recovery);
    pd_found_deinit(&found);
    pd_sim_disk_destroy(sim);
    return state;
}

/* ---- what is held against it ---- */

/* A directory, how it is when whole, and, if it was killed, what may be missing. */
struct subject {
    const char *name;
    struct pd_image *image;
    struct state whole;
    bool killed;
    unsigned noted; /* the first time of which nothing says how far the logs had come by then */
    uint64_t controls[PD_STORY_TIMES]; /* as it was at each time; the last: before its last batch */
};

/* Refused; the same state, and told that an older snapshot gave it or what was left out; without
 * what was in flight, and told so; the same state, since nothing is read there; as after a kill a
 * little earlier. */
enum outcome { REFUSED, TOLD, CUT, UNUSED, LATE, OUTCOMES };

static bool was_told(const struct pd_found *found, const char *file, const char *what)
{
    for (unsigned i = 0; i < found->told_count; i++) {
        if (strncmp(found->told[i], file, strlen(file)) == 0 &&
            strstr(found->told[i], what) != NULL) {
            return true;
        }
    }
    return false;
}

/* Whether a shard's state is as after one of the records of the last batch, and was told to be. */
static bool is_cut_shard(const struct subject *subject, const struct pd_found *found,
                         const struct state *state, unsigned shard)
{
    char log[PD_DISK_NAME_BYTES];
    (void)snprintf(log, sizeof log, "shard-%03u.", shard);
    for (unsigned i = 1; i < PD_STORY_MODELS; i++) {
        if (state->models[i][shard] != subject->whole.models[i][shard]) {
            return false;
        }
    }
    for (unsigned i = 0; i < PD_STORY_LAST; i++) {
        if (state->models[0][shard] == story.logged[shard][i]) {
            return was_told(found, log, " ends at offset ");
        }
    }
    return state->models[0][shard] == story.logged[shard][PD_STORY_LAST];
}

static bool is_cut(const struct subject *subject, const struct pd_found *found,
                   const struct state *state)
{
    bool right = state->control == subject->whole.control ||
                 (state->control == subject->controls[PD_STORY_TIMES - 1] &&
                  was_told(found, "control.", " ends at offset "));
    for (unsigned i = 0; right && i < PD_STORY_SHARDS; i++) {
        right = is_cut_shard(subject, found, state, i);
    }
    return right && subject->killed;
}

static bool same_bytes(const struct pd_image_file *one, const struct pd_image_file *other)
{
    return one->count == other->count && memcmp(one->bytes, other->bytes, one->count) == 0;
}

/* Whether a segment of the log, of the last daemon, is as it was when it was the last one, at some
 * time after the position that is noted. */
static bool has_late_copy(const struct subject *subject, const char *log)
{
    for (unsigned i = 0; i < damaged.image.count; i++) {
        const struct pd_image_file *now = &damaged.image.files[i];
        const struct pd_image_file *whole = pd_image_find(subject->image, now->name);
        struct pd_wal_segment segment;
        if (strncmp(now->name, log, strlen(log)) != 0 || whole == NULL || same_bytes(now, whole) ||
            pd_wal_segment_read(now->bytes, &segment) != PARAMD_OK) {
            continue;
        }
        for (unsigned j = subject->noted; j < PD_STORY_TIMES; j++) {
            const struct pd_image_file *old = pd_image_find(&story.older[j], now->name);
            if (old != NULL && same_bytes(now, old)) {
                return true;
            }
        }
    }
    return false;
}

static bool is_late_control(const struct subject *subject, const struct state *state)
{
    bool was = false;
    for (unsigned i = subject->noted; i < PD_STORY_TIMES; i++) {
        was = was || state->control == subject->controls[i];
    }
    return was && has_late_copy(subject, "control.00000003.");
}

static bool is_late_shard(const struct subject *subject, const struct state *state, unsigned shard)
{
    char log[PD_DISK_NAME_BYTES];
    uint64_t hashes[PD_STORY_MODELS];
    bool was = false;
    (void)snprintf(log, sizeof log, "shard-%03u.00000003.", shard);
    for (unsigned i = 0; i < PD_STORY_MODELS; i++) {
        hashes[i] = state->models[i][shard];
    }
    unsigned first = story.batches_by[subject->noted][shard] - 1; /* the last one by then */
    for (unsigned i = first; i < story.batch_counts[shard]; i++) {
        was = was || story.batches[shard][i] == pd_story_sum(hashes);
    }
    return was && has_late_copy(subject, log);
}

static bool is_whole_shard(const struct subject *subject, const struct state *state, unsigned shard)
{
    bool whole = true;
    for (unsigned i = 0; i < PD_STORY_MODELS; i++) {
        whole = whole && state->models[i][shard] == subject->whole.models[i][shard];
    }
    return whole;
}

/* The one thing that cannot be told in a directory whose daemon was killed: that the last segment
 * of a log is as it was when no more of it was noted elsewhere, since the daemon could have been
 * killed then. */
static bool is_late(const struct subject *subject, const struct state *state)
{
    bool right = state->control == subject->whole.control || is_late_control(subject, state);
    for (unsigned i = 0; right && i < PD_STORY_SHARDS; i++) {
        right = is_whole_shard(subject, state, i) || is_late_shard(subject, state, i);
    }
    return right && subject->killed;
}

/* A refusal names what is damaged, and leaves it to be looked at. */
static enum outcome check_refusal(const struct subject *subject, const struct pd_found *found,
                                  struct pd_sim_disk *sim)
{
    ck_assert_msg(found->status == PARAMD_CORRUPT || found->status == PARAMD_VERSION, "%s: %s: %s",
                  subject->name, damaged.text, found->error);
    ck_assert_msg(strstr(found->error, " at offset ") != NULL, "%s: %s: %s", subject->name,
                  damaged.text, found->error);
    ck_assert_msg(pd_image_equals(&damaged.image, sim), "%s: %s: changed although refused (%s)",
                  subject->name, damaged.text, found->error);
    return REFUSED;
}

static enum outcome check(const struct subject *subject)
{
    struct pd_sim_disk *sim = pd_image_disk(&damaged.image);
    struct pd_found found;
    enum outcome outcome = UNUSED;
    pd_found_init(&found, pd_sim_disk_of(sim), PD_STORY_SHARDS);
    if (found.status != PARAMD_OK) {
        outcome = check_refusal(subject, &found, sim);
    } else {
        struct state state = state_of(found.recovery);
        if (memcmp(&state, &subject->whole, sizeof state) == 0) {
            outcome = found.told_count > 0 ? TOLD : UNUSED;
            ck_assert_msg(outcome == UNUSED || was_told(&found, "snapshot-", "; going on with ") ||
                              was_told(&found, "", " ends at offset "),
                          "%s: %s: %s", subject->name, damaged.text, found.told[0]);
        } else {
            outcome = is_cut(subject, &found, &state) ? CUT : LATE;
            ck_assert_msg(outcome == CUT || is_late(subject, &state),
                          "%s: %s: served as if it were good (%s)", subject->name, damaged.text,
                          found.told_count > 0 ? found.told[0] : "nothing told");
        }
    }
    pd_found_deinit(&found);
    pd_sim_disk_destroy(sim);
    return outcome;
}

/* ---- kinds of damage: each changes damaged.image, and says how in damaged.text ---- */

__attribute__((format(printf, 1, 2))) static void note(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(damaged.text, sizeof damaged.text, format, arguments);
    va_end(arguments);
}

static struct pd_image_file *any_file(void)
{
    return &damaged.image.files[below(damaged.image.count)];
}

/* Its bytes, to be changed. */
static uint8_t *own_bytes(struct pd_image_file *file)
{
    ck_assert_uint_le(file->count, SCRATCH_BYTES);
    memcpy(scratch, file->bytes, file->count);
    file->bytes = scratch;
    return scratch;
}

/* Somewhere in it; mostly where something is written. */
static uint64_t any_offset(const struct pd_image_file *file)
{
    uint64_t offset = below(file->count);
    bool written = below(4) != 0;
    for (uint64_t i = 0; written && i < file->count && file->bytes[offset] == 0; i++) {
        offset = (offset + 1) % file->count;
    }
    return offset;
}

static void flip_a_bit(void)
{
    struct pd_image_file *file = any_file();
    if (file->count > 0) {
        uint64_t offset = any_offset(file);
        uint64_t bit = below(8);
        own_bytes(file)[offset] ^= (uint8_t)(1U << bit);
        note("bit %" PRIu64 " of %s at %" PRIu64, bit, file->name, offset);
    }
}

static void fill_a_sector(void)
{
    struct pd_image_file *file = any_file();
    if (file->count >= SECTOR_BYTES) {
        uint64_t offset = any_offset(file) % (file->count - SECTOR_BYTES + 1);
        bool zeros = below(2) == 0;
        uint8_t *bytes = own_bytes(file) + offset;
        for (unsigned i = 0; i < SECTOR_BYTES; i++) {
            bytes[i] = zeros ? 0 : (uint8_t)below(256);
        }
        note("%s in %s at %" PRIu64, zeros ? "zeros" : "noise", file->name, offset);
    }
}

/* A write that went to another place: some pages of it stand there, too. */
static void copy_pages(void)
{
    struct pd_image_file *file = any_file();
    uint64_t pages = file->count / 4096;
    if (pages >= 4) {
        uint64_t count = 1 + below(3);
        uint64_t from = any_offset(file) / 4096 % (pages - count);
        uint64_t to = below(pages - count);
        memmove(own_bytes(file) + to * 4096, scratch + from * 4096, count * 4096);
        note("%" PRIu64 " pages of %s from %" PRIu64 " to %" PRIu64, count, file->name, from * 4096,
             to * 4096);
    }
}

static void cut_a_file(void)
{
    struct pd_image_file *file = any_file();
    if (file->count > 0) {
        file->count = below(4) == 0 ? 0 : any_offset(file);
        note("%s ends at %" PRIu64, file->name, file->count);
    }
}

static void lengthen_a_file(void)
{
    struct pd_image_file *file = any_file();
    uint64_t more = 1 + below(8192);
    memset(own_bytes(file) + file->count, below(2) == 0 ? 0 : 0xa5, more);
    file->count += more;
    note("%s is %" PRIu64 " bytes longer", file->name, more);
}

static void remove_a_file(void)
{
    struct pd_image_file *file = any_file();
    note("%s is missing", file->name);
    pd_image_remove(&damaged.image, file);
}

static void swap_files(void)
{
    struct pd_image_file *one = any_file();
    struct pd_image_file *other = any_file();
    struct pd_image_file kept = *one;
    one->bytes = other->bytes;
    one->count = other->count;
    other->bytes = kept.bytes;
    other->count = kept.count;
    note("%s and %s are exchanged", one->name, other->name);
}

static void copy_a_file(void)
{
    struct pd_image_file *one = any_file();
    const struct pd_image_file *other = any_file();
    one->bytes = other->bytes;
    one->count = other->count;
    note("%s is a copy of %s", one->name, other->name);
}

/* From another time or directory: one file, or all whose name has the same text at that place. */
static void take_from(const struct pd_image *other, const char *what, bool epoch)
{
    const struct pd_image_file *file = &other->files[below(other->count)];
    const char *dot = strchr(file->name, '.');
    note("%s%s as in %s", file->name, epoch ? " and its like" : "", what);
    for (unsigned i = 0; i < other->count; i++) {
        const char *this_dot = strchr(other->files[i].name, '.');
        bool alike = epoch && dot != NULL && this_dot != NULL && strncmp(dot, this_dot, 9) == 0;
        if (alike || &other->files[i] == file) {
            pd_image_put(&damaged.image, &other->files[i]);
        }
    }
}

static void take_an_older_file(void)
{
    unsigned time = (unsigned)below(PD_STORY_TIMES);
    char text[32];
    (void)snprintf(text, sizeof text, "time %u", time);
    take_from(&story.older[time], text, false);
}

static void take_an_older_epoch(void)
{
    unsigned time = (unsigned)below(PD_STORY_TIMES);
    char text[32];
    (void)snprintf(text, sizeof text, "time %u", time);
    take_from(&story.older[time], text, true);
}

static void take_a_strangers_file(void)
{
    take_from(&story.stranger, "another directory", false);
}

static void take_an_older_manifest(void)
{
    unsigned time = (unsigned)below(PD_STORY_TIMES);
    pd_image_put(&damaged.image, pd_image_find(&story.older[time], "MANIFEST"));
    note("MANIFEST as at time %u", time);
}

/* ---- the tests ---- */

static const struct kind {
    const char *name;
    void (*damage)(void);
    unsigned samples; /* of each directory */
} kinds[] = {
    {"bit flipped", flip_a_bit, 900},
    {"sector lost", fill_a_sector, 300},
    {"pages misplaced", copy_pages, 100},
    {"file cut", cut_a_file, 150},
    {"file longer", lengthen_a_file, 50},
    {"file missing", remove_a_file, 100},
    {"files exchanged", swap_files, 250},
    {"file doubled", copy_a_file, 150},
    {"older file", take_an_older_file, 100},
    {"older epoch", take_an_older_epoch, 50},
    {"older MANIFEST", take_an_older_manifest, 20},
    {"file of another", take_a_strangers_file, 50},
};

enum { KINDS = sizeof kinds / sizeof kinds[0] };

static void damage_in_every_way(const struct subject *subject)
{
    unsigned heard_of = 0;
    for (unsigned i = 0; i < KINDS; i++) {
        unsigned counts[OUTCOMES] = {0};
        for (unsigned j = 0; j < kinds[i].samples; j++) {
            random_state = ((uint64_t)i << 32) + j;
            damaged.image = *subject->image;
            note("nothing");
            kinds[i].damage();
            counts[check(subject)]++;
        }
        (void)printf("%-8s %-16s %4u refused, %4u told, %4u cut, %4u unused, %4u late\n",
                     subject->name, kinds[i].name, counts[REFUSED], counts[TOLD], counts[CUT],
                     counts[UNUSED], counts[LATE]);
        heard_of += counts[REFUSED] + counts[TOLD] + counts[CUT];
    }
    (void)printf("%-8s %u heard of\n", subject->name, heard_of);
    ck_assert_uint_ge(heard_of, HEARD_OF_MIN);
}

static void stop(void)
{
    pd_story_free(&story);
}

START_TEST(a_directory_that_was_closed_whole_is_refused_or_means_the_same)
{
    struct subject subject = {.name = "clean", .image = &story.clean};
    pd_story_tell(&story, true);
    subject.whole = recovered_state(subject.image);
    damage_in_every_way(&subject);
}
END_TEST

/* With snapshots, and with all in the logs. */
START_TEST(of_one_that_was_killed_only_the_batch_in_flight_may_be_missing)
{
    struct subject subject = {.name = _i == 0 ? "killed" : "logs",
                              .image = &story.killed,
                              .killed = true,
                              .noted = _i == 0 ? 4 : 2}; /* by the last snapshot, by the start */
    pd_story_tell(&story, _i == 0);
    subject.whole = recovered_state(subject.image);
    for (unsigned i = 0; i < PD_STORY_TIMES; i++) {
        subject.controls[i] = recovered_state(&story.older[i]).control;
        ck_assert_uint_ne(subject.controls[i], subject.whole.control);
    }
    for (unsigned i = 0; i < PD_STORY_SHARDS; i++) {
        ck_assert_uint_eq(subject.whole.models[0][i], story.logged[i][PD_STORY_LAST]);
    }
    damage_in_every_way(&subject);
}
END_TEST

Suite *pd_test_suite(void)
{
    Suite *suite = suite_create("damage");
    TCase *cases = tcase_create("damage");
    tcase_add_checked_fixture(cases, NULL, stop);
    tcase_add_test(cases, a_directory_that_was_closed_whole_is_refused_or_means_the_same);
    tcase_add_loop_test(cases, of_one_that_was_killed_only_the_batch_in_flight_may_be_missing, 0,
                        2);
    suite_add_tcase(suite, cases);
    return suite;
}
