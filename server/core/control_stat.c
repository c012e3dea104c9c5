/* What the daemon tells about itself: LIST, and STAT, whose counters are asked of all shards and
 * added up. proto/README.md says what each counter means. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/core/control_state.h"

enum { COUNTERS_MAX = 192 };

/* The counters of an answer while it is made. */
struct counters {
    Paramd__Counter *values;
    Paramd__Counter **pointers;
    size_t count;
};

static bool counters_init(struct pd_control *control, struct counters *counters)
{
    counters->count = 0;
    counters->values = pd_arena_take(&control->arena, COUNTERS_MAX * sizeof *counters->values);
    counters->pointers = pd_arena_take(&control->arena, COUNTERS_MAX * sizeof *counters->pointers);
    return counters->values != NULL && counters->pointers != NULL;
}

static void add(struct counters *counters, const char *name, double value)
{
    if (counters->count == COUNTERS_MAX) {
        return;
    }
    Paramd__Counter *counter = &counters->values[counters->count];
    paramd__counter__init(counter);
    counter->name = (char *)(uintptr_t)name;
    counter->value = value;
    counters->pointers[counters->count++] = counter;
}

static void describe(const struct pd_control_model *model, Paramd__ModelInfo *info)
{
    paramd__model_info__init(info);
    info->name = model->definition->name;
    info->number = model->number;
    info->generation = model->generation;
    info->ready = model->state == PD_MODEL_READY;
    info->tensors = model->definition->tensor_count;
    info->blocks = model->definition->block_count;
    info->elements = model->definition->element_count;
    info->memory_bytes = model->bytes;
    info->sessions = model->sessions;
    info->ack_level = model->definition->ack_level;
}

static void no_room(struct pd_control_effects *effects, struct pd_conn_id conn, uint64_t request_id)
{
    pd_control_error(effects, conn, request_id, PARAMD_RESOURCE_EXHAUSTED,
                     "no room for the answer: ask again later");
}

void pd_control_list(struct pd_control *control, const struct pd_control_request *request,
                     struct pd_control_effects *effects)
{
    const Paramd__List *list = (const Paramd__List *)request->header;
    Paramd__Listed listed = PARAMD__LISTED__INIT;
    Paramd__ModelInfo infos[PD_PAGE_ITEMS / 2];
    Paramd__ModelInfo *pointers[PD_PAGE_ITEMS / 2];
    listed.request_id = request->request_id;
    listed.models = pointers;
    /* Numbers only grow, so the table, which keeps the order of insertion, is sorted by them. */
    struct pd_control_model *model = control->numbers;
    for (; model != NULL; model = model->by_number.next) {
        if (model->number <= list->after || model->state == PD_MODEL_DELETED) {
            continue;
        }
        if (listed.n_models == PD_PAGE_ITEMS / 2) {
            listed.more = true;
            break;
        }
        describe(model, &infos[listed.n_models]);
        pointers[listed.n_models] = &infos[listed.n_models];
        listed.n_models++;
    }
    pd_control_answer(effects, request->conn, PD_KIND_LISTED, &listed.base);
}

static void answer_definition(const struct pd_control_request *request,
                              const struct pd_control_model *model,
                              struct pd_control_effects *effects)
{
    Paramd__Stated stated = PARAMD__STATED__INIT;
    Paramd__ModelInfo info;
    uint8_t *bytes;
    size_t count;
    describe(model, &info);
    stated.request_id = request->request_id;
    stated.model = &info;
    if (pd_definition_encode(model->definition, &bytes, &count) != PARAMD_OK) {
        no_room(effects, request->conn, request->request_id);
        return;
    }
    pd_control_answer_payload(effects, request->conn, PD_KIND_STATED, &stated.base, bytes, count);
    free(bytes);
}

/* Tensors of a page: names are long, so a page is bounded by the header's limit as well. */
static uint32_t page_of(const struct pd_definition *definition, uint32_t first)
{
    size_t bytes = 0;
    uint32_t count = 0;
    while (first + count < definition->tensor_count && count < PD_PAGE_ITEMS) {
        const struct pd_tensor_def *tensor = &definition->tensors[first + count];
        bytes += 160 + strlen(tensor->name) + strlen(definition->groups[tensor->group].name);
        if (bytes > PD_HEADER_BYTES_MAX / 2) {
            break;
        }
        count++;
    }
    return count;
}

/* Which hashes a page has: 0 if there is no such block. */
static uint32_t hashes_of(const struct pd_definition *definition, const Paramd__Stat *stat)
{
    if (stat->first_tensor >= definition->tensor_count) {
        return 0;
    }
    uint64_t blocks = definition->tensors[stat->first_tensor].blocks;
    uint64_t left = stat->first_block < blocks ? blocks - stat->first_block : 0;
    uint64_t most = PD_HASHED_ELEMENTS_MAX / definition->block_elements;
    most = most < PD_HASHES_MAX ? most : PD_HASHES_MAX;
    return (uint32_t)(left < most ? left : most);
}

void pd_control_stat(struct pd_control *control, const struct pd_control_request *request,
                     struct pd_control_effects *effects)
{
    const Paramd__Stat *stat = (const Paramd__Stat *)request->header;
    struct pd_message like = {.kind = PD_MESSAGE_COUNT};
    uint32_t tensors = 0;
    uint32_t hashes = 0;
    if (stat->model[0] != '\0') {
        struct pd_control_model *model = pd_control_find(control, stat->model);
        if (model == NULL) {
            pd_control_error(effects, request->conn, request->request_id, PARAMD_NOT_FOUND,
                             "no model is named \"%.100s\"", stat->model);
            return;
        }
        if (stat->definition) {
            answer_definition(request, model, effects);
            return;
        }
        like.model = model->number;
        if (stat->hash) {
            hashes = hashes_of(model->definition, stat);
        } else {
            tensors = page_of(model->definition, stat->first_tensor);
        }
    }
    if (stat->hash && hashes == 0) {
        pd_control_error(effects, request->conn, request->request_id, PARAMD_INVALID,
                         "hashes of a block that does not exist: name a model, a tensor by "
                         "number and a block of it");
        return;
    }
    like.count = pd_count_create(stat->first_tensor, tensors);
    if (like.count != NULL) {
        like.count->first_block = stat->first_block;
        like.count->hash_count = hashes;
    }
    struct pd_control_ask *ask =
        like.count != NULL ? pd_control_ask_all(control, &like, request, effects) : NULL;
    if (ask == NULL) {
        free(like.count);
        no_room(effects, request->conn, request->request_id);
        return;
    }
    ask->count = like.count;
}

/* ---- adding up ---- */

static void count_tensor(struct pd_tensor_count *sum, const struct pd_tensor_count *of_shard)
{
    if (of_shard->version_min < sum->version_min) {
        sum->version_min = of_shard->version_min;
    }
    if (of_shard->version_max > sum->version_max) {
        sum->version_max = of_shard->version_max;
    }
    sum->version_sum += of_shard->version_sum;
}

static void count_model(struct pd_model_count *sum, const struct pd_model_count *of_shard)
{
    sum->pushes_applied += of_shard->pushes_applied;
    sum->pushes_refused_not_finite += of_shard->pushes_refused_not_finite;
    sum->pushes_refused_stale += of_shard->pushes_refused_stale;
    sum->pushes_duplicate += of_shard->pushes_duplicate;
    sum->pushes_expected += of_shard->pushes_expected;
    sum->blocks_pulled += of_shard->blocks_pulled;
    sum->blocks_unchanged += of_shard->blocks_unchanged;
    sum->bytes_pushed += of_shard->bytes_pushed;
    sum->bytes_pulled += of_shard->bytes_pulled;
    sum->weight += of_shard->weight;
    for (unsigned i = 0; i < PD_STALENESS_BUCKETS; i++) {
        sum->staleness[i] += of_shard->staleness[i];
    }
}

static void count_shard(struct pd_shard_count *sum, const struct pd_shard_count *of_shard)
{
    sum->connections += of_shard->connections;
    sum->connections_refused += of_shard->connections_refused;
    sum->frames_in += of_shard->frames_in;
    sum->frames_out += of_shard->frames_out;
    sum->protocol_errors += of_shard->protocol_errors;
    sum->copies += of_shard->copies;
    sum->held += of_shard->held;
    sum->memory_bytes += of_shard->memory_bytes;
    sum->snapshot_bytes += of_shard->snapshot_bytes;
}

void pd_control_count(struct pd_control_ask *ask, const struct pd_message *message)
{
    count_shard(&ask->count->shard, &message->count->shard);
    count_model(&ask->count->model, &message->count->model);
    for (uint32_t i = 0; i < ask->count->hash_count; i++) {
        ask->count->hashes[i] += message->count->hashes[i]; /* one shard has the block */
    }
    for (uint32_t i = 0; i < ask->count->tensor_count; i++) {
        count_tensor(&ask->count->tensors[i], &message->count->tensors[i]);
    }
}

/* ---- the answer ---- */

/* With a data directory; of the last one if there was one since the start. */
static void snapshot_counters(const struct pd_control *control, const struct pd_control_ask *ask,
                              struct counters *counters)
{
    const struct pd_control_snapshots *snapshots = &control->snapshots;
    if (!control->options.records) {
        return;
    }
    add(counters, "snapshots_taken", (double)snapshots->taken);
    add(counters, "snapshots_failed", (double)snapshots->failed);
    add(counters, "snapshot_bytes_copied", (double)ask->count->shard.snapshot_bytes);
    if (snapshots->taken > 0) {
        add(counters, "snapshot_number", (double)snapshots->last.number);
        add(counters, "snapshot_bytes", (double)snapshots->last.bytes);
        add(counters, "snapshot_seconds", (double)snapshots->last.us / 1e6);
        add(counters, "snapshot_age_seconds", (double)(control->now_us - snapshots->done_us) / 1e6);
    }
}

static void daemon_counters(const struct pd_control *control, const struct pd_control_ask *ask,
                            struct counters *counters)
{
    const struct pd_shard_count *shards = &ask->count->shard;
    add(counters, "uptime_seconds", (double)(control->now_us - control->started_us) / 1e6);
    add(counters, "shards", control->options.shards);
    add(counters, "models", control->model_count);
    add(counters, "sessions", control->session_count);
    add(counters, "sessions_expired", (double)control->sessions_expired);
    add(counters, "connections", (double)shards->connections);
    add(counters, "connections_refused", (double)shards->connections_refused);
    add(counters, "frames_in", (double)shards->frames_in);
    add(counters, "frames_out", (double)shards->frames_out);
    add(counters, "protocol_errors", (double)shards->protocol_errors);
    add(counters, "block_copies", (double)shards->copies);
    add(counters, "frames_held", (double)shards->held);
    add(counters, "memory_bytes", (double)shards->memory_bytes);
    add(counters, "memory_bytes_max", (double)control->options.memory_max);
    snapshot_counters(control, ask, counters);
}

/* Means and sums over the last REPORTs of all sessions that are remembered. */
static void worker_counters(const struct pd_control *control, const struct pd_control_ask *ask,
                            struct counters *counters)
{
    double workers = 0;
    double reports = 0;
    double loss = 0;
    double samples = 0;
    double tokens = 0;
    uint64_t clock_min = UINT64_MAX;
    uint64_t clock_max = 0;
    const struct pd_control_session *session = control->sessions;
    for (; session != NULL; session = session->by_id.next) {
        if (session->id.model != ask->model) {
            continue;
        }
        workers += control->now_us - session->seen_us <= control->options.lease_us ? 1 : 0;
        if (session->reported) {
            reports += 1;
            loss += session->loss;
            samples += (double)session->samples;
            tokens += (double)session->tokens;
            clock_min = session->clock < clock_min ? session->clock : clock_min;
            clock_max = session->clock > clock_max ? session->clock : clock_max;
        }
    }
    add(counters, "workers_alive", workers);
    if (reports > 0) {
        add(counters, "reported_loss_mean", loss / reports);
        add(counters, "reported_samples", samples);
        add(counters, "reported_tokens", tokens);
        add(counters, "reported_clock_min", (double)clock_min);
        add(counters, "reported_clock_max", (double)clock_max);
    }
}

/* "staleness_0" ... in the arena; those that are 0 are left out. */
static void staleness_counters(struct pd_control *control, const struct pd_model_count *count,
                               struct counters *counters)
{
    double sum = 0;
    double pushes = 0;
    for (unsigned i = 0; i < PD_STALENESS_BUCKETS; i++) {
        sum += (double)count->staleness[i] * i;
        pushes += (double)count->staleness[i];
    }
    add(counters, "staleness_mean", pushes > 0 ? sum / pushes : 0);
    for (unsigned i = 0; i < PD_STALENESS_BUCKETS; i++) {
        char *name = count->staleness[i] > 0 ? pd_arena_take(&control->arena, 32) : NULL;
        if (name != NULL) {
            bool last = i == PD_STALENESS_BUCKETS - 1;
            (void)snprintf(name, 32, last ? "staleness_%u_or_more" : "staleness_%u", i);
            add(counters, name, (double)count->staleness[i]);
        }
    }
}

static void model_counters(struct pd_control *control, const struct pd_control_ask *ask,
                           struct counters *counters)
{
    const struct pd_model_count *count = &ask->count->model;
    add(counters, "pushes_applied", (double)count->pushes_applied);
    add(counters, "pushes_refused_not_finite", (double)count->pushes_refused_not_finite);
    add(counters, "pushes_refused_stale", (double)count->pushes_refused_stale);
    add(counters, "pushes_duplicate", (double)count->pushes_duplicate);
    add(counters, "pushes_out_of_order", (double)count->pushes_expected);
    add(counters, "blocks_pulled", (double)count->blocks_pulled);
    add(counters, "blocks_unchanged", (double)count->blocks_unchanged);
    add(counters, "bytes_pushed", (double)count->bytes_pushed);
    add(counters, "bytes_pulled", (double)count->bytes_pulled);
    add(counters, "weight", count->weight);
    worker_counters(control, ask, counters);
    staleness_counters(control, count, counters);
}

static bool fill_tensors(struct pd_control *control, const struct pd_control_model *model,
                         const struct pd_count *count, Paramd__Stated *stated)
{
    Paramd__TensorInfo *infos =
        pd_arena_take(&control->arena, (count->tensor_count + 1) * sizeof *infos);
    stated->tensors =
        pd_arena_take(&control->arena, (count->tensor_count + 1) * sizeof *stated->tensors);
    if (infos == NULL || stated->tensors == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < count->tensor_count; i++) {
        struct pd_tensor_def *def = &model->definition->tensors[count->first_tensor + i];
        Paramd__TensorInfo *info = &infos[i];
        paramd__tensor_info__init(info);
        info->name = def->name;
        info->shape = def->shape;
        info->n_shape = def->rank;
        info->group = model->definition->groups[def->group].name;
        info->blocks = def->blocks;
        info->version_min = count->tensors[i].version_min;
        info->version_max = count->tensors[i].version_max;
        info->version_sum = count->tensors[i].version_sum;
        stated->tensors[i] = info;
    }
    stated->n_tensors = count->tensor_count;
    stated->more = count->first_tensor + count->tensor_count < model->definition->tensor_count;
    return true;
}

static bool fill_hashes(const struct pd_control_model *model, struct pd_count *count,
                        Paramd__Stated *stated)
{
    uint64_t end = count->first_block + count->hash_count;
    stated->block_hash = count->hashes;
    stated->n_block_hash = count->hash_count;
    stated->more = end < model->definition->tensors[count->first_tensor].blocks;
    return true;
}

/* What belongs to the model as a whole comes with the first page of its tensors. */
static bool fill_model(struct pd_control *control, const struct pd_control_model *model,
                       const struct pd_control_ask *ask, Paramd__Stated *stated,
                       struct counters *counters)
{
    size_t groups = model->definition->group_count;
    if (ask->count->first_tensor != 0) {
        return true;
    }
    model_counters(control, ask, counters);
    stated->optimizers = pd_arena_take(&control->arena, groups * sizeof *stated->optimizers);
    stated->groups = pd_control_hypers(control, model, PD_HYPERS_NOW, &stated->n_groups);
    if (stated->optimizers == NULL || stated->groups == NULL) {
        return false;
    }
    for (size_t i = 0; i < groups; i++) {
        stated->optimizers[i] = model->definition->groups[i].optimizer;
    }
    stated->n_optimizers = groups;
    return true;
}

void pd_control_counted(struct pd_control *control, struct pd_control_ask *ask,
                        struct pd_control_effects *effects)
{
    Paramd__Stated stated = PARAMD__STATED__INIT;
    Paramd__ModelInfo info;
    struct counters counters;
    bool made = counters_init(control, &counters);
    stated.request_id = ask->request_id;
    stated.server = (char *)(uintptr_t)control->options.version;
    if (made && ask->model == 0) {
        daemon_counters(control, ask, &counters);
    } else if (made) {
        const struct pd_control_model *model = pd_control_find_number(control, ask->model);
        if (model == NULL || model->state == PD_MODEL_DELETED) {
            pd_control_error(effects, ask->conn, ask->request_id, PARAMD_NOT_FOUND,
                             "the model was deleted");
            return;
        }
        describe(model, &info);
        stated.model = &info;
        made = ask->count->hash_count > 0 ? fill_hashes(model, ask->count, &stated)
                                          : fill_model(control, model, ask, &stated, &counters) &&
                                                fill_tensors(control, model, ask->count, &stated);
    }
    if (!made) {
        no_room(effects, ask->conn, ask->request_id);
        return;
    }
    stated.counters = counters.pointers;
    stated.n_counters = counters.count;
    /* Beside many groups there is room for a smaller page only. */
    while (pd_frame_head_bytes(&stated.base) == 0 && stated.n_tensors > 1) {
        stated.n_tensors /= 2;
        stated.more = true;
    }
    if (pd_frame_head_bytes(&stated.base) == 0) {
        no_room(effects, ask->conn, ask->request_id);
        return;
    }
    pd_control_answer(effects, ask->conn, PD_KIND_STATED, &stated.base);
}
