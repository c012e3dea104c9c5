/* Snapshots on command: who asked for one, and what they are told. How one is taken is not known
 * here; a REQUEST that waits costs nothing but itself. */
#include "server/core/control_state.h"

static const char stopping_text[] = "the daemon is stopping: ask again when it is back";

void pd_control_snapshots_init(struct pd_control_snapshots *snapshots)
{
    pd_link_init(&snapshots->waiting[false]);
    pd_link_init(&snapshots->waiting[true]);
    pd_link_init(&snapshots->sharing);
}

static void drop(struct pd_link *list)
{
    struct pd_link *link;
    while ((link = pd_list_pop(list)) != NULL) {
        pd_message_destroy(PD_CONTAINER(link, struct pd_message, link));
    }
}

void pd_control_snapshots_deinit(struct pd_control_snapshots *snapshots)
{
    drop(&snapshots->waiting[false]);
    drop(&snapshots->waiting[true]);
    drop(&snapshots->sharing);
}

void pd_control_snapshot_request(struct pd_control *control,
                                 const struct pd_control_request *request,
                                 struct pd_control_effects *effects)
{
    struct pd_control_snapshots *snapshots = &control->snapshots;
    bool pause = ((const Paramd__Snapshot *)request->header)->pause;
    if (!control->options.records) {
        pd_control_error(effects, request->conn, request->request_id, PARAMD_UNSUPPORTED,
                         "this daemon keeps nothing on disk: start it with --data-dir");
    } else if (snapshots->ended) {
        pd_control_error(effects, request->conn, request->request_id, PARAMD_BUSY, "%s",
                         stopping_text);
    } else if (snapshots->asker_count == PD_SNAPSHOT_ASKERS_MAX) {
        pd_control_error(effects, request->conn, request->request_id, PARAMD_BUSY,
                         "%u wait for a snapshot already: ask again when one has been taken",
                         snapshots->asker_count);
    } else {
        snapshots->asker_count++;
        pd_list_push(&snapshots->waiting[pause], &control->in_hand->link);
        control->in_hand = NULL;
    }
}

bool pd_control_snapshot_wanted(const struct pd_control *control, bool *ret_pause)
{
    const struct pd_control_snapshots *snapshots = &control->snapshots;
    bool plain = !pd_link_alone(&snapshots->waiting[false]);
    bool paused = !pd_link_alone(&snapshots->waiting[true]);
    /* In turns, so that neither kind keeps the other waiting for good. */
    *ret_pause = paused && !(plain && snapshots->paused);
    return (plain || paused) && !snapshots->under_way;
}

void pd_control_snapshot_begun(struct pd_control *control, bool pause)
{
    struct pd_control_snapshots *snapshots = &control->snapshots;
    snapshots->under_way = true;
    snapshots->paused = pause;
    pd_list_move(&snapshots->sharing, &snapshots->waiting[pause]);
}

static void answer(const struct pd_message *asker, const struct pd_snapshot_result *result,
                   struct pd_control_effects *effects)
{
    if (result->status != PARAMD_OK) {
        pd_control_error(effects, asker->conn, asker->request_id, result->status, "%s",
                         result->text);
        return;
    }
    Paramd__Snapshotted snapshotted = PARAMD__SNAPSHOTTED__INIT;
    snapshotted.request_id = asker->request_id;
    snapshotted.number = result->number;
    snapshotted.bytes = result->bytes;
    snapshotted.us = result->us;
    snapshotted.held_us = result->held_us;
    pd_control_answer(effects, asker->conn, PD_KIND_SNAPSHOTTED, &snapshotted.base);
}

static void answer_all(struct pd_control_snapshots *snapshots, struct pd_link *askers,
                       const struct pd_snapshot_result *result, struct pd_control_effects *effects)
{
    struct pd_link *link;
    while ((link = pd_list_pop(askers)) != NULL) {
        struct pd_message *asker = PD_CONTAINER(link, struct pd_message, link);
        effects->unanswered = false;
        answer(asker, result, effects);
        pd_control_give_back(asker, effects);
        snapshots->asker_count--;
    }
}

void pd_control_snapshot_done(struct pd_control *control, const struct pd_snapshot_result *result,
                              uint64_t now_us, struct pd_control_effects *effects)
{
    struct pd_control_snapshots *snapshots = &control->snapshots;
    snapshots->under_way = false;
    if (result->status == PARAMD_OK) {
        snapshots->taken++;
        snapshots->done_us = now_us;
        snapshots->last = *result;
        snapshots->last.text = NULL;
    } else {
        snapshots->failed++;
    }
    answer_all(snapshots, &snapshots->sharing, result, effects);
}

void pd_control_snapshots_end(struct pd_control *control, struct pd_control_effects *effects)
{
    static const struct pd_snapshot_result stopping = {.status = PARAMD_BUSY,
                                                       .text = stopping_text};
    control->snapshots.ended = true;
    answer_all(&control->snapshots, &control->snapshots.sharing, &stopping, effects);
    answer_all(&control->snapshots, &control->snapshots.waiting[false], &stopping, effects);
    answer_all(&control->snapshots, &control->snapshots.waiting[true], &stopping, effects);
}
