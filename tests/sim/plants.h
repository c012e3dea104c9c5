/* The known bugs that the simulator can have: names as the command line has them, and where they
 * are. The product is compiled with proto/plant.h, for which none of them exists. */
#ifndef PARAMD_TESTS_SIM_PLANTS_H
#define PARAMD_TESTS_SIM_PLANTS_H

/* X(name in the code, name of the plant, what it breaks) */
/* clang-format off */
#define SIM_PLANT_LIST(X) \
    X(no_dedupe, "no-dedupe", \
      "a push that comes twice is applied twice") \
    X(gap_accepted, "gap-accepted", \
      "a push is applied although one before it is missing") \
    X(refused_id_not_used, "refused-id-not-used", \
      "a refused push leaves its id free") \
    X(skip_jumps_unanswered, "skip-jumps-unanswered", \
      "SKIP passes over ids that are still to come") \
    X(expired_session_applied, "expired-session-applied", \
      "a forgotten session is resumed as a new one") \
    X(replaced_session_resumed, "replaced-session-resumed", \
      "a process resumes what another has taken over") \
    X(others_not_closed, "others-not-closed", \
      "a replaced process keeps its connections") \
    X(mixed_init, "mixed-init", \
      "a new attempt keeps values of the one before") \
    X(set_on_one_shard, "set-on-one-shard", \
      "without memory for all, SET is told to some") \
    X(torn_view, "torn-view", \
      "a push writes into a block that is being read") \
    X(resent_as_new, "resent-as-new", \
      "after a lost connection a push gets a new id") \
    X(ack_before_fsync, "ack-before-fsync", \
      "answers do not wait for the log") \
    X(fsync_retried, "fsync-retried", \
      "a sync that failed is tried again, and believed") \
    X(no_dirsync, "no-dirsync", \
      "the name of a log's new file is not made durable") \
    X(no_record_sum, "no-record-sum", \
      "a start believes records whose sums are wrong") \
    X(log_cut_early, "log-cut-early", \
      "a start reads the first segment of a log only") \
    X(left_too_early, "left-too-early", \
      "a segment tells of the next one before that is durable") \
    X(old_generation_accepted, "old-generation-accepted", \
      "a start takes what a file of a log held before for its end") \
    X(end_not_synced, "end-not-synced", \
      "a start takes an end record for durable that it found") \
    X(generation_not_recorded, "generation-not-recorded", \
      "models keep their generation over a crash") \
    X(set_not_logged, "set-not-logged", \
      "control tells a SET and does not record it") \
    X(step_not_restored, "step-not-restored", \
      "a snapshot has blocks without their steps") \
    X(ids_not_in_snapshot, "ids-not-in-snapshot", \
      "a snapshot has no push ids") \
    X(torn_slot_in_snapshot, "torn-slot-in-snapshot", \
      "a slot's last record is done again, which it has") \
    X(ids_not_moved, "ids-not-moved", \
      "push ids do not go along to another shard")
/* clang-format on */

enum sim_plant {
    sim_plant_none,
#define SIM_PLANT_ENUM(code, name, text) sim_plant_##code,
    SIM_PLANT_LIST(SIM_PLANT_ENUM)
#undef SIM_PLANT_ENUM
};

/* The bug of this process; set once, before the first run. */
extern enum sim_plant sim_plant_chosen;

#define pd_plant(code) (sim_plant_chosen == sim_plant_##code)

#endif
