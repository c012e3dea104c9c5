/* paramctl hash MODEL: one sum over all that a model is, to compare two runs or two daemons. */
#include <inttypes.h>
#include <stdio.h>

#include "client/ctl/ctl.h"

enum pd_ctl_exit pd_ctl_hash(const struct pd_ctl *ctl)
{
    const char *model = ctl->arguments[0];
    uint64_t hash;
    char digits[17];
    int status = paramd_hash(ctl->client, model, ctl->timeout_ms, &hash);
    if (status != PARAMD_OK) {
        return pd_ctl_failed(ctl, status);
    }
    (void)snprintf(digits, sizeof digits, "%016" PRIx64, hash);
    if (ctl->json) {
        return pd_ctl_print_json(json_pack("{s:s, s:s}", "model", model, "hash", digits));
    }
    (void)printf("%s  %s\n", digits, model);
    return PD_CTL_OK;
}
