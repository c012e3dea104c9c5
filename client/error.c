/* Sentences for people, one per thread. */
#include <stdarg.h>
#include <stdio.h>

#include "client/private.h"

static _Thread_local char error_text[PD_CALL_TEXT_BYTES];

int pd_error_set(int status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vsnprintf(error_text, sizeof error_text, format, args);
    va_end(args);
    return status;
}

int pd_error_plain(int status)
{
    return pd_error_set(status, "%s", paramd_status_text(status));
}

const char *paramd_error(void)
{
    return error_text;
}
