/* Numbers as people read them: thousands, binary units, durations, shapes. */
#include "client/ctl/units.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct pd_ctl_text pd_ctl_thousands(uint64_t number)
{
    char digits[24];
    struct pd_ctl_text out = {""};
    size_t count = (size_t)snprintf(digits, sizeof digits, "%" PRIu64, number);
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        if (i > 0 && (count - i) % 3 == 0) {
            out.text[at++] = ',';
        }
        out.text[at++] = digits[i];
    }
    return out;
}

struct pd_ctl_text pd_ctl_bytes(double bytes)
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB"};
    struct pd_ctl_text out;
    if (bytes < 1024) {
        (void)snprintf(out.text, sizeof out.text, "%.0f B", bytes);
        return out;
    }
    size_t unit = 0;
    double number = bytes / 1024;
    /* What would be rounded to 1024.0 is one of the next unit. */
    while (number >= 1023.95 && unit + 1 < sizeof units / sizeof units[0]) {
        number /= 1024;
        unit++;
    }
    (void)snprintf(out.text, sizeof out.text, "%.1f %s", number, units[unit]);
    return out;
}

struct pd_ctl_text pd_ctl_duration(double seconds)
{
    struct pd_ctl_text out;
    uint64_t s = seconds > 0 ? (uint64_t)seconds : 0;
    uint64_t min = s / 60;
    uint64_t h = min / 60;
    if (h >= 24) {
        (void)snprintf(out.text, sizeof out.text, "%" PRIu64 " d %" PRIu64 " h", h / 24, h % 24);
    } else if (h > 0) {
        (void)snprintf(out.text, sizeof out.text, "%" PRIu64 " h %" PRIu64 " min", h, min % 60);
    } else if (min > 0) {
        (void)snprintf(out.text, sizeof out.text, "%" PRIu64 " min %" PRIu64 " s", min, s % 60);
    } else {
        (void)snprintf(out.text, sizeof out.text, "%" PRIu64 " s", s);
    }
    return out;
}

struct pd_ctl_text pd_ctl_number(double number)
{
    struct pd_ctl_text out;
    for (int digits = 6; digits <= 17; digits++) {
        (void)snprintf(out.text, sizeof out.text, "%.*g", digits, number);
        if (strtod(out.text, NULL) == number) {
            break;
        }
    }
    return out;
}

struct pd_ctl_text pd_ctl_shape(unsigned rank, const uint64_t *shape)
{
    struct pd_ctl_text out = {""};
    size_t at = 0;
    for (unsigned i = 0; i < rank && at < sizeof out.text; i++) {
        at += (size_t)snprintf(out.text + at, sizeof out.text - at, "%s%" PRIu64, i > 0 ? "x" : "",
                               shape[i]);
    }
    return out;
}
