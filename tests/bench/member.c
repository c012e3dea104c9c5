/* Opening clients and joining models for member.h. */
#include <err.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/bench/member.h"

enum { NAME_BYTES = 24 };

void pd_member_check(int status, const char *what)
{
    if (status != PARAMD_OK) {
        errx(1, "%s: %s", what, paramd_error());
    }
}

struct paramd_client *pd_member_open(const struct pd_member_way *way)
{
    struct paramd_client *client = NULL;
    const struct paramd_options options = {
        .address = way->address,
        .no_thread = !way->threaded,
        .payload_sum = way->payload_sum ? PARAMD_SUM_ON : PARAMD_SUM_OFF,
        .shared_memory =
            way->transport == PD_TRANSPORT_SHM ? PARAMD_SHARED_AUTO : PARAMD_SHARED_OFF,
        .busy_poll_us = way->busy_poll_us};
    pd_member_check(paramd_open(&options, &client), "open");
    return client;
}

struct paramd_model *pd_member_join(struct paramd_client *client, const char *model, size_t tensors,
                                    size_t elements, enum paramd_ack_level ack_level)
{
    const struct paramd_group group = {.name = "all", .optimizer = "adam"};
    struct paramd_tensor *list = calloc(tensors, sizeof *list);
    char(*names)[NAME_BYTES] = calloc(tensors, sizeof *names);
    struct paramd_model *joined = NULL;
    if (list == NULL || names == NULL) {
        err(1, "definition");
    }
    for (size_t i = 0; i < tensors; i++) {
        (void)snprintf(names[i], sizeof names[i], "w%zu", i);
        list[i] = (struct paramd_tensor){
            .name = names[i], .rank = 1, .shape = {elements}, .init = PARAMD_INIT_ZEROS};
    }
    const struct paramd_definition definition = {.name = model,
                                                 .groups = &group,
                                                 .group_count = 1,
                                                 .tensors = list,
                                                 .tensor_count = tensors,
                                                 .ack_level = ack_level};
    pd_member_check(paramd_join(client, &definition, NULL, PD_MEMBER_TIMEOUT_MS, &joined), "join");
    free(names);
    free(list);
    return joined;
}

void pd_member_leave(struct paramd_client *client, struct paramd_model *model)
{
    pd_member_check(paramd_leave(model, PD_MEMBER_TIMEOUT_MS), "leave");
    paramd_close(client);
}
