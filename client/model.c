/* Model handles: join, attach, leave, the definition, and what is known of blocks without asking.
 */
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "client/private.h"
#include "proto/arena.h"
#include "proto/codec.h"

/* ---- The user's definition as a message ---- */

static Paramd__Hyper *hyper_message(struct pd_arena *arena, const struct paramd_hyper *hyper)
{
    Paramd__Hyper *message = pd_arena_take(arena, sizeof *message);
    if (message != NULL) {
        paramd__hyper__init(message);
        message->name = (char *)(uintptr_t)hyper->name;
        message->number = hyper->number;
        if (hyper->text != NULL) {
            message->text = (char *)(uintptr_t)hyper->text;
        }
    }
    return message;
}

Paramd__Hyper **pd_hyper_messages(struct pd_arena *arena, const struct paramd_hyper *hypers,
                                  size_t count)
{
    Paramd__Hyper **messages = pd_arena_take(arena, (count + 1) * sizeof(Paramd__Hyper *));
    for (size_t i = 0; messages != NULL && i < count; i++) {
        messages[i] = hyper_message(arena, &hypers[i]);
        if (messages[i] == NULL) {
            return NULL;
        }
    }
    return messages;
}

static Paramd__Group *group_message(struct pd_arena *arena, const struct paramd_group *group)
{
    Paramd__Group *message = pd_arena_take(arena, sizeof *message);
    if (message == NULL) {
        return NULL;
    }
    paramd__group__init(message);
    message->name = (char *)(uintptr_t)group->name;
    message->optimizer = (char *)(uintptr_t)group->optimizer;
    message->n_hypers = group->hyper_count;
    message->hypers = pd_hyper_messages(arena, group->hypers, group->hyper_count);
    return message->hypers == NULL ? NULL : message;
}

static Paramd__Tensor *tensor_message(struct pd_arena *arena, const struct paramd_tensor *tensor)
{
    Paramd__Tensor *message = pd_arena_take(arena, sizeof *message);
    if (message == NULL) {
        return NULL;
    }
    paramd__tensor__init(message);
    message->name = (char *)(uintptr_t)tensor->name;
    message->n_shape = tensor->rank;
    message->shape = (uint64_t *)(uintptr_t)tensor->shape;
    message->group = tensor->group;
    message->init = (Paramd__Initialiser)tensor->init;
    message->a = tensor->a;
    message->b = tensor->b;
    message->seed = tensor->seed;
    return message;
}

static Paramd__Definition *definition_message(struct pd_arena *arena,
                                              const struct paramd_definition *definition)
{
    Paramd__Definition *message = pd_arena_take(arena, sizeof *message);
    Paramd__Group **groups =
        pd_arena_take(arena, (definition->group_count + 1) * sizeof(Paramd__Group *));
    Paramd__Tensor **tensors =
        pd_arena_take(arena, (definition->tensor_count + 1) * sizeof(Paramd__Tensor *));
    if (message == NULL || groups == NULL || tensors == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < definition->group_count; i++) {
        groups[i] = group_message(arena, &definition->groups[i]);
        if (groups[i] == NULL) {
            return NULL;
        }
    }
    for (size_t i = 0; i < definition->tensor_count; i++) {
        tensors[i] = tensor_message(arena, &definition->tensors[i]);
        if (tensors[i] == NULL) {
            return NULL;
        }
    }
    paramd__definition__init(message);
    message->n_groups = definition->group_count;
    message->groups = groups;
    message->n_tensors = definition->tensor_count;
    message->tensors = tensors;
    message->block_elements = definition->block_elements;
    message->ack_level = (Paramd__AckLevel)definition->ack_level;
    return message;
}

/* ---- What can be wrong with it before anything is made of it ---- */

static bool hypers_named(const struct paramd_hyper *hypers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (hypers[i].name == NULL) {
            return false;
        }
    }
    return true;
}

static int check_tensors(const struct paramd_definition *definition)
{
    for (size_t i = 0; i < definition->tensor_count; i++) {
        const struct paramd_tensor *tensor = &definition->tensors[i];
        if (tensor->name == NULL) {
            return pd_error_set(PARAMD_INVALID, "model %s: tensor %zu has no name",
                                definition->name, i);
        }
        if (tensor->rank > PARAMD_RANK_MAX) {
            return pd_error_set(PARAMD_INVALID,
                                "model %s: tensor %s has rank %u: 1 to %d are "
                                "allowed",
                                definition->name, tensor->name, tensor->rank, PARAMD_RANK_MAX);
        }
    }
    return PARAMD_OK;
}

static int check_initial(const struct paramd_definition *definition,
                         const struct paramd_values *initial)
{
    for (size_t i = 0; i < definition->tensor_count; i++) {
        const struct paramd_tensor *tensor = &definition->tensors[i];
        if (tensor->init == PARAMD_INIT_CLIENT && (initial == NULL || initial[i].weights == NULL)) {
            return pd_error_set(PARAMD_INVALID,
                                "model %s, tensor %s: no first values are given for it: name an "
                                "initialiser, or give initial",
                                definition->name, tensor->name);
        }
    }
    return PARAMD_OK;
}

static int check_definition(const struct paramd_definition *definition)
{
    if (definition->name == NULL) {
        return pd_error_set(PARAMD_INVALID, "the model has no name");
    }
    if (definition->group_count > PD_GROUPS_MAX || definition->tensor_count > PD_TENSORS_MAX) {
        return pd_error_set(PARAMD_TOO_LARGE, "model %s: more than %d groups or %d tensors",
                            definition->name, PD_GROUPS_MAX, PD_TENSORS_MAX);
    }
    for (size_t i = 0; i < definition->group_count; i++) {
        const struct paramd_group *group = &definition->groups[i];
        if (group->name == NULL || group->optimizer == NULL ||
            !hypers_named(group->hypers, group->hyper_count)) {
            return pd_error_set(PARAMD_INVALID,
                                "model %s, group %zu: the name of the group, its optimizer or a "
                                "hyper-parameter is missing",
                                definition->name, i);
        }
    }
    return check_tensors(definition);
}

static int make_definition(const struct paramd_definition *definition,
                           struct pd_definition **ret_definition)
{
    int status = check_definition(definition);
    if (status != PARAMD_OK) {
        return status;
    }
    struct pd_arena arena;
    char text[PD_ERROR_TEXT_BYTES] = "this process is out of memory";
    pd_arena_init(&arena, PD_DEFINITION_DECODED_MAX);
    const Paramd__Definition *message = definition_message(&arena, definition);
    status = message == NULL
                 ? PARAMD_NO_MEMORY
                 : pd_definition_create(definition->name, message, ret_definition, text);
    pd_arena_deinit(&arena);
    return status == PARAMD_OK ? status
                               : pd_error_set(status, "model %s: %s", definition->name, text);
}

/* ---- The session's definition as the user's struct ---- */

static size_t hypers_of(const struct pd_definition *definition)
{
    size_t count = 0;
    for (size_t i = 0; i < definition->group_count; i++) {
        count += definition->groups[i].hyper_count;
    }
    return count;
}

static void show_tensor(const struct pd_tensor_def *from, struct paramd_tensor *to)
{
    to->name = from->name;
    to->rank = from->rank;
    memcpy(to->shape, from->shape, sizeof to->shape);
    to->group = from->group;
    to->init = (enum paramd_init)from->init;
    to->a = from->a;
    to->b = from->b;
    to->seed = from->seed;
}

/* Texts stay those of the session; everything else is one allocation. */
static struct paramd_definition *show_definition(const struct pd_definition *from)
{
    struct layout {
        struct paramd_definition definition;
        struct paramd_tensor tensors[];
    };
    size_t tensors_bytes = from->tensor_count * sizeof(struct paramd_tensor);
    size_t groups_bytes = from->group_count * sizeof(struct paramd_group);
    struct layout *layout = calloc(1, sizeof *layout + tensors_bytes + groups_bytes +
                                          hypers_of(from) * sizeof(struct paramd_hyper));
    if (layout == NULL) {
        return NULL;
    }
    struct paramd_group *groups =
        (struct paramd_group *)(void *)(layout->tensors + from->tensor_count);
    struct paramd_hyper *hypers = (struct paramd_hyper *)(void *)(groups + from->group_count);
    for (size_t i = 0; i < from->group_count; i++) {
        const struct pd_group_def *group = &from->groups[i];
        groups[i] =
            (struct paramd_group){group->name, group->optimizer, hypers, group->hyper_count};
        for (size_t j = 0; j < group->hyper_count; j++) {
            const struct pd_hyper_def *hyper = &group->hypers[j];
            *hypers++ = (struct paramd_hyper){hyper->name, hyper->number,
                                              hyper->text[0] != '\0' ? hyper->text : NULL};
        }
    }
    for (size_t i = 0; i < from->tensor_count; i++) {
        show_tensor(&from->tensors[i], &layout->tensors[i]);
    }
    layout->definition =
        (struct paramd_definition){.name = from->name,
                                   .groups = groups,
                                   .group_count = from->group_count,
                                   .tensors = layout->tensors,
                                   .tensor_count = from->tensor_count,
                                   .block_elements = from->block_elements,
                                   .ack_level = (enum paramd_ack_level)from->ack_level};
    return &layout->definition;
}

/* ---- Join and attach ---- */

static bool join_over(const void *arg)
{
    return pd_join_status(arg) != PARAMD_PENDING;
}

static int model_create(struct paramd_client *client, struct pd_join *join,
                        struct paramd_model **ret_model)
{
    struct paramd_model *model = calloc(1, sizeof *model);
    struct pd_client_session *session = pd_join_take_session(join);
    if (model != NULL) {
        model->definition = show_definition(pd_client_session_definition(session));
    }
    if (model == NULL || model->definition == NULL) {
        free(model);
        pd_client_session_destroy(session);
        return pd_error_plain(PARAMD_NO_MEMORY);
    }
    model->client = client;
    model->session = session;
    DL_APPEND(client->models, model);
    *ret_model = model;
    return PARAMD_OK;
}

/* Makes the join and waits for it (mutex held). */
static int run_join(struct paramd_client *client, const struct pd_join_options *options,
                    uint64_t deadline_us, struct paramd_model **ret_model)
{
    int status;
    struct pd_join *join = pd_join_create(client->core, options);
    if (join == NULL) {
        status = pd_error_plain(PARAMD_NO_MEMORY);
    } else if (!pd_client_wait(client, join_over, join, deadline_us)) {
        status = pd_timeout(client, pd_join_text(join));
    } else if (pd_join_status(join) != PARAMD_OK) {
        status = pd_error_set(pd_join_status(join), "%s", pd_join_text(join));
    } else {
        status = model_create(client, join, ret_model);
    }
    pd_join_destroy(join);
    return status;
}

/* Who the session is: the caller's choice, which this process may use once, or a random id. */
static int choose_session(struct pd_join_options *options, const struct paramd_session *session,
                          struct pd_identity **ret_identity)
{
    static const struct paramd_session none = {{0}};
    bool chosen = session != NULL && memcmp(session, &none, sizeof none) != 0;
    options->nonce = pd_process_nonce();
    if (options->nonce == 0 ||
        (!chosen && !pd_random_bytes(options->session, sizeof options->session))) {
        return pd_error_set(PARAMD_UNSUPPORTED, "the system gives no random numbers");
    }
    if (!chosen) {
        return PARAMD_OK;
    }
    memcpy(options->session, session->id, sizeof options->session);
    int status = pd_identity_take(options->model, session->id, ret_identity);
    if (status == PARAMD_SESSION_IN_USE) {
        return pd_error_set(status,
                            "model %s: another handle of this process uses this session: close it "
                            "first, or give each worker an id of its own",
                            options->model);
    }
    return status == PARAMD_OK ? status : pd_error_plain(status);
}

/* options->definition is consumed. */
static int join_with(struct paramd_client *client, struct pd_join_options *options,
                     const struct paramd_session *session, int timeout_ms,
                     struct paramd_model **ret_model)
{
    struct pd_identity *identity = NULL;
    struct paramd_model *model = NULL;
    uint64_t deadline_us = pd_deadline_us(timeout_ms);
    int status = choose_session(options, session, &identity);
    if (status == PARAMD_OK) {
        status = pd_client_enter(client);
    }
    if (status != PARAMD_OK) {
        pd_identity_give(identity);
        pd_definition_destroy(options->definition);
        return status;
    }
    status = run_join(client, options, deadline_us, &model);
    if (model != NULL) {
        model->identity = identity;
        *ret_model = model;
    } else {
        pd_identity_give(identity);
    }
    pd_client_kick(client);
    pd_client_leave(client);
    return status;
}

int paramd_join_as(struct paramd_client *client, const struct paramd_session *session,
                   const struct paramd_definition *definition, const struct paramd_values *initial,
                   int timeout_ms, struct paramd_model **ret_model)
{
    if (client->forks != pd_forks()) {
        return pd_error_plain(PARAMD_FORKED);
    }
    struct pd_join_options options = {.initial = initial, .model = definition->name};
    int status = make_definition(definition, &options.definition);
    if (status != PARAMD_OK) {
        return status;
    }
    status = check_initial(definition, initial);
    if (status != PARAMD_OK) {
        pd_definition_destroy(options.definition);
        return status;
    }
    return join_with(client, &options, session, timeout_ms, ret_model);
}

int paramd_join(struct paramd_client *client, const struct paramd_definition *definition,
                const struct paramd_values *initial, int timeout_ms,
                struct paramd_model **ret_model)
{
    return paramd_join_as(client, NULL, definition, initial, timeout_ms, ret_model);
}

int paramd_create(struct paramd_client *client, const struct paramd_definition *definition,
                  int timeout_ms, struct paramd_model **ret_model)
{
    if (client->forks != pd_forks()) {
        return pd_error_plain(PARAMD_FORKED);
    }
    struct pd_join_options options = {.model = definition->name, .fill = true};
    int status = make_definition(definition, &options.definition);
    return status == PARAMD_OK ? join_with(client, &options, NULL, timeout_ms, ret_model) : status;
}

int paramd_attach(struct paramd_client *client, const char *name, int timeout_ms,
                  struct paramd_model **ret_model)
{
    if (!pd_name_valid(name)) {
        return pd_error_set(PARAMD_INVALID, "not a model's name: 1 to 255 of A-Z a-z 0-9 . _ / -");
    }
    struct pd_join_options options = {.model = name};
    return join_with(client, &options, NULL, timeout_ms, ret_model);
}

/* ---- Leave and close ---- */

void pd_client_model_free(struct paramd_model *model)
{
    pd_client_session_destroy(model->session);
    pd_identity_give(model->identity);
    DL_DELETE(model->client->models, model);
    free(model->definition);
    free(model);
}

static bool not_in_lost(const void *arg)
{
    const struct paramd_model *model = arg;
    return model->client->in_done != model;
}

/* Mutex held. A `lost` about it may be running on another thread: that ends first. */
static void free_unused(struct paramd_model *model)
{
    if (!not_in_lost(model)) {
        (void)pd_client_wait(model->client, not_in_lost, model, PD_NEVER);
    }
    pd_client_model_free(model);
}

static bool session_idle(const void *arg)
{
    return pd_client_session_unfinished(arg) == 0;
}

int paramd_leave(struct paramd_model *model, int timeout_ms)
{
    struct paramd_client *client = model->client;
    uint64_t deadline_us = pd_deadline_us(timeout_ms);
    int status = pd_client_enter(client);
    if (status != PARAMD_OK) {
        return status;
    }
    if (!pd_client_wait(client, session_idle, model->session, deadline_us)) {
        status = pd_timeout(client, "tickets of the model are unfinished");
    } else {
        Paramd__Goodbye goodbye = PARAMD__GOODBYE__INIT;
        goodbye.model = pd_client_session_number(model->session);
        struct pd_call *call =
            pd_call_start(client->core, model->session, PD_KIND_GOODBYE, &goodbye.base, NULL, 0);
        status = pd_client_finish_call(client, call, deadline_us, "leaving the model");
        if (status == PARAMD_OK) {
            pd_client_session_left(model->session);
            pd_call_destroy(call);
        } else if (status == PARAMD_SESSION_EXPIRED) {
            status = PARAMD_OK; /* gone is what it was to be; an answer was lost */
        }
    }
    if (status != PARAMD_TIMEOUT) {
        free_unused(model);
    }
    pd_client_leave(client);
    return status;
}

void paramd_model_close(struct paramd_model *model)
{
    if (model == NULL || pd_client_enter(model->client) != PARAMD_OK) {
        return;
    }
    struct paramd_client *client = model->client;
    free_unused(model);
    pd_client_kick(client);
    pd_client_leave(client);
}

/* ---- What is known ---- */

const struct paramd_definition *paramd_model_definition(const struct paramd_model *model)
{
    return model->definition;
}

long paramd_model_tensor(const struct paramd_model *model, const char *name)
{
    for (size_t i = 0; i < model->definition->tensor_count; i++) {
        if (strcmp(model->definition->tensors[i].name, name) == 0) {
            return (long)i;
        }
    }
    return -1;
}

int paramd_block(const struct paramd_model *model, uint32_t tensor, uint64_t block,
                 struct paramd_block_info *ret_info)
{
    int status = pd_client_enter(model->client);
    if (status != PARAMD_OK) {
        return status;
    }
    const struct pd_definition *definition = pd_client_session_definition(model->session);
    if (tensor >= definition->tensor_count || block >= definition->tensors[tensor].blocks) {
        status = pd_error_set(PARAMD_NOT_FOUND, "there is no block %llu of tensor %u",
                              (unsigned long long)block, (unsigned)tensor);
    } else {
        pd_client_session_block(model->session, tensor, block, ret_info);
    }
    pd_client_leave(model->client);
    return status;
}

void paramd_model_counters(const struct paramd_model *model, struct paramd_counters *ret_counters)
{
    if (pd_client_enter(model->client) != PARAMD_OK) {
        *ret_counters = (struct paramd_counters){0};
        return;
    }
    pd_client_session_counters(model->session, ret_counters);
    pd_client_leave(model->client);
}
