/* paramctl tensors MODEL: its tensors, the groups' hyper-parameters as they are now, its
 * counters. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "client/ctl/ctl.h"
#include "client/ctl/table.h"
#include "client/ctl/units.h"

/* A daemon that has not counted a tensor yet tells a least version above the greatest. */
static uint64_t version_min(const struct paramd_tensor_info *tensor)
{
    return tensor->version_min <= tensor->version_max ? tensor->version_min : 0;
}

static bool same_group(const struct paramd_stat *stat, size_t a, size_t b)
{
    return strcmp(stat->hypers[a].group, stat->hypers[b].group) == 0;
}

static bool is_text(const struct paramd_hyper_info *hyper)
{
    return hyper->text[0] != '\0';
}

/* ---- for people ---- */

static void write_cell(const void *rows, size_t row, size_t column, char text[PD_CTL_CELL_BYTES])
{
    const struct paramd_tensor_info *tensor = &((const struct paramd_tensor_info *)rows)[row];
    switch (column) {
    case 0:
        pd_ctl_put_cell(text, tensor->name);
        break;
    case 1:
        pd_ctl_put_cell(text, pd_ctl_shape(tensor->rank, tensor->shape).text);
        break;
    case 2:
        pd_ctl_put_cell(text, tensor->group);
        break;
    case 3:
        pd_ctl_put_cell(text, pd_ctl_thousands(tensor->blocks).text);
        break;
    default:
        (void)snprintf(text, PD_CTL_CELL_BYTES, "%" PRIu64 "..%" PRIu64, version_min(tensor),
                       tensor->version_max);
        break;
    }
}

static void print_model(const struct paramd_model_info *model)
{
    (void)printf("model %s: %s; %s tensors, %s blocks, %s elements; %s; %s sessions\n"
                 "pushes are acknowledged when %s\n\n",
                 model->name, model->ready ? "ready" : "no values yet",
                 pd_ctl_thousands(model->tensors).text, pd_ctl_thousands(model->blocks).text,
                 pd_ctl_thousands(model->elements).text,
                 pd_ctl_bytes((double)model->memory_bytes).text,
                 pd_ctl_thousands(model->sessions).text, pd_ctl_ack_level_name(model->ack_level));
}

/* In the form in which `set` takes them. */
static void print_groups(const struct paramd_stat *stat)
{
    struct pd_ctl_words words = {0};
    for (size_t i = 0; i < stat->hyper_count; i++) {
        const struct paramd_hyper_info *hyper = &stat->hypers[i];
        char word[PD_CTL_CELL_BYTES];
        if (i == 0 || !same_group(stat, i - 1, i)) {
            pd_ctl_end_words(&words);
            (void)printf("\ngroup %s: %s\n", hyper->group, hyper->optimizer);
        }
        (void)snprintf(word, sizeof word, "%s=%s", hyper->name,
                       is_text(hyper) ? hyper->text : pd_ctl_number(hyper->number).text);
        pd_ctl_add_word(&words, word);
    }
    pd_ctl_end_words(&words);
}

/* The histogram of staleness stays in --json. */
static void print_counters(const struct paramd_stat *stat)
{
    (void)printf("\ncounters\n");
    for (size_t i = 0; i < stat->counter_count; i++) {
        const struct paramd_counter *counter = &stat->counters[i];
        const char *name = counter->name;
        struct pd_ctl_text value = pd_ctl_number(counter->value);
        if (strncmp(name, "staleness_", 10) == 0 && strcmp(name, "staleness_mean") != 0) {
            continue;
        }
        if (strncmp(name, "bytes_", 6) == 0) {
            value = pd_ctl_bytes(counter->value);
        } else if (counter->value >= 0 && counter->value == (double)(uint64_t)counter->value) {
            value = pd_ctl_thousands((uint64_t)counter->value);
        }
        (void)printf("    %-28s%20s\n", name, value.text);
    }
}

static void print_all(const struct paramd_stat *stat)
{
    struct pd_ctl_table table = {
        .titles = {"TENSOR", "SHAPE", "GROUP", "BLOCKS", "VERSIONS"},
        .right = {false, true, false, true, true},
        .rows = stat->tensor_count,
        .cell = write_cell,
    };
    print_model(&stat->model);
    pd_ctl_print_table(&table, stat->tensors);
    print_groups(stat);
    print_counters(stat);
}

/* ---- for programs ---- */

static json_t *describe_tensor(const struct paramd_tensor_info *tensor)
{
    json_t *shape = json_array();
    for (unsigned i = 0; i < tensor->rank; i++) {
        if (json_array_append_new(shape, json_integer((json_int_t)tensor->shape[i])) != 0) {
            json_decref(shape);
            return NULL;
        }
    }
    return json_pack("{s:s, s:o, s:s, s:I, s:I, s:I, s:I}", "name", tensor->name, "shape", shape,
                     "group", tensor->group, "blocks", (json_int_t)tensor->blocks, "version_min",
                     (json_int_t)version_min(tensor), "version_max",
                     (json_int_t)tensor->version_max, "version_sum",
                     (json_int_t)tensor->version_sum);
}

static json_t *describe_tensors(const struct paramd_stat *stat)
{
    json_t *list = json_array();
    for (size_t i = 0; i < stat->tensor_count; i++) {
        if (json_array_append_new(list, describe_tensor(&stat->tensors[i])) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

/* The group whose hyper-parameters begin at *place, which moves on to the next one's. */
static json_t *describe_group(const struct paramd_stat *stat, size_t *place)
{
    const struct paramd_hyper_info *first = &stat->hypers[*place];
    json_t *hypers = json_object();
    for (size_t i = *place; *place < stat->hyper_count && same_group(stat, i, *place); (*place)++) {
        const struct paramd_hyper_info *hyper = &stat->hypers[*place];
        json_t *value =
            is_text(hyper) ? json_string(hyper->text) : pd_ctl_json_number(hyper->number);
        if (json_object_set_new(hypers, hyper->name, value) != 0) {
            json_decref(hypers);
            return NULL;
        }
    }
    return json_pack("{s:s, s:s, s:o}", "name", first->group, "optimizer", first->optimizer,
                     "hypers", hypers);
}

static json_t *describe_groups(const struct paramd_stat *stat)
{
    json_t *list = json_array();
    for (size_t place = 0; place < stat->hyper_count;) {
        if (json_array_append_new(list, describe_group(stat, &place)) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

enum pd_ctl_exit pd_ctl_tensors(const struct pd_ctl *ctl)
{
    struct paramd_stat *stat;
    int status = paramd_stat(ctl->client, ctl->arguments[0], ctl->timeout_ms, &stat);
    if (status != PARAMD_OK) {
        return pd_ctl_failed(ctl, status);
    }
    enum pd_ctl_exit outcome = PD_CTL_OK;
    if (ctl->json) {
        outcome = pd_ctl_print_json(
            json_pack("{s:o, s:o, s:o, s:o}", "model", pd_ctl_json_model(&stat->model), "tensors",
                      describe_tensors(stat), "groups", describe_groups(stat), "counters",
                      pd_ctl_json_counters(stat)));
    } else {
        print_all(stat);
    }
    paramd_free(stat);
    return outcome;
}
