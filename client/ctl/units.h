/* Numbers as people read them. Each function returns its text by value, for use inside one printf
 * call. */
#ifndef PARAMD_CLIENT_CTL_UNITS_H
#define PARAMD_CLIENT_CTL_UNITS_H

#include <stdint.h>

struct pd_ctl_text {
    char text[128]; /* a shape of rank 8 is the longest: 8 x 13 digits and 7 signs */
};

/* 1,234,567 */
struct pd_ctl_text pd_ctl_thousands(uint64_t number);
/* 812 B, 1.5 KiB, 12.0 MiB */
struct pd_ctl_text pd_ctl_bytes(double bytes);
/* 45 s, 12 min 3 s, 5 h 2 min, 3 d 4 h */
struct pd_ctl_text pd_ctl_duration(double seconds);
/* The fewest digits that read back as the same number. */
struct pd_ctl_text pd_ctl_number(double number);
/* 784x128 */
struct pd_ctl_text pd_ctl_shape(unsigned rank, const uint64_t *shape);

#endif
