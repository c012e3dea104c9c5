/* paramctl models: what the daemon holds, a line each. */
#include <stdio.h>

#include "client/ctl/ctl.h"
#include "client/ctl/table.h"
#include "client/ctl/units.h"

static void write_cell(const void *rows, size_t row, size_t column, char text[PD_CTL_CELL_BYTES])
{
    const struct paramd_model_info *model = &((const struct paramd_model_info *)rows)[row];
    switch (column) {
    case 0:
        pd_ctl_put_cell(text, model->name);
        break;
    case 1:
        pd_ctl_put_cell(text, model->ready ? "yes" : "no");
        break;
    case 2:
        pd_ctl_put_cell(text, pd_ctl_ack_level_name(model->ack_level));
        break;
    case 3:
        pd_ctl_put_cell(text, pd_ctl_thousands(model->tensors).text);
        break;
    case 4:
        pd_ctl_put_cell(text, pd_ctl_thousands(model->elements).text);
        break;
    case 5:
        pd_ctl_put_cell(text, pd_ctl_bytes((double)model->memory_bytes).text);
        break;
    default:
        pd_ctl_put_cell(text, pd_ctl_thousands(model->sessions).text);
        break;
    }
}

static json_t *describe(const struct paramd_model_info *models, size_t count)
{
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        if (json_array_append_new(list, pd_ctl_json_model(&models[i])) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return json_pack("{s:o}", "models", list);
}

enum pd_ctl_exit pd_ctl_models(const struct pd_ctl *ctl)
{
    struct paramd_model_info *models;
    size_t count;
    int status = paramd_list(ctl->client, ctl->timeout_ms, &models, &count);
    if (status != PARAMD_OK) {
        return pd_ctl_failed(ctl, status);
    }
    enum pd_ctl_exit outcome = PD_CTL_OK;
    if (ctl->json) {
        outcome = pd_ctl_print_json(describe(models, count));
    } else {
        struct pd_ctl_table table = {
            .titles = {"MODEL", "READY", "LEVEL", "TENSORS", "ELEMENTS", "MEMORY", "SESSIONS"},
            .right = {false, false, false, true, true, true, true},
            .rows = count,
            .cell = write_cell,
        };
        pd_ctl_print_table(&table, models);
    }
    paramd_free(models);
    return outcome;
}
