/* A disk in memory that behaves as badly as disks may: what was not synced is lost in parts when it
 * crashes, and faults happen where they are asked for. The same seed and calls give the same bytes
 * on every machine. Out of memory it aborts. */
#ifndef PARAMD_TESTS_SUPPORT_SIM_DISK_H
#define PARAMD_TESTS_SUPPORT_SIM_DISK_H

#include <stdbool.h>
#include <stdint.h>

#include "server/storage/disk.h"

enum { PD_SIM_SECTOR_BYTES = 512 };

enum pd_sim_fault {
    PD_SIM_FAIL,        /* any call: DISK, and nothing is done */
    PD_SIM_NO_SPACE,    /* open (a new file), write or allocate: RESOURCE_EXHAUSTED */
    PD_SIM_SYNC_FAILS,  /* sync: DISK, and what was to be synced is not, though it looks clean: the
                           next sync succeeds, and reads show it until a crash */
    PD_SIM_SHORT_WRITE, /* write: a part is written, then DISK */
    PD_SIM_BIT_FLIP,    /* write: one bit is another one */
    PD_SIM_LOST_WRITE,  /* write: says OK and writes nothing */
    PD_SIM_MISDIRECTED, /* write: goes to another sector of the file */
    PD_SIM_FAULT_COUNT
};

struct pd_sim_disk;

struct pd_sim_disk *pd_sim_disk_create(uint64_t seed);
void pd_sim_disk_destroy(struct pd_sim_disk *sim);

/* Valid until destroy, across crashes. */
const struct pd_disk *pd_sim_disk_of(struct pd_sim_disk *sim);

/* Calls so far, of all functions but close. */
uint64_t pd_sim_disk_calls(const struct pd_sim_disk *sim);

/* The fault happens once, at the first call from this number on (1: the first call of all) that it
 * can happen to. One at a time: the next takes the place of one that has not happened. */
void pd_sim_disk_plan(struct pd_sim_disk *sim, enum pd_sim_fault fault, uint64_t call);
bool pd_sim_disk_happened(const struct pd_sim_disk *sim);

/* Space for all files together; without it there is no end to it. */
void pd_sim_disk_limit(struct pd_sim_disk *sim, uint64_t bytes);

/* The power fails: of the sectors and sizes that were not synced, and of the names, a random part
 * stays. With `torn` a sector that stays may stay in part. All open files and locks are gone. */
void pd_sim_disk_crash(struct pd_sim_disk *sim, bool torn);

/* The process dies alone: what was written is all there, synced or not. */
void pd_sim_disk_kill(struct pd_sim_disk *sim);

/* The bytes of a file as they read now, for a test to change; a crash undoes that. NULL: no such
 * file. */
uint8_t *pd_sim_disk_bytes(struct pd_sim_disk *sim, const char *name, uint64_t *ret_bytes);

#endif
