/* exp, log, cos and integer powers in double, of plain IEEE operations only, so that every machine
 * gets the same bits. Used by schedules, bias corrections and initialisers, never per element of an
 * update. */
#ifndef PARAMD_SERVER_OPTIM_PORTABLE_MATH_H
#define PARAMD_SERVER_OPTIM_PORTABLE_MATH_H

#include <stdint.h>

/* base^n by repeated squaring. */
double pd_pow_int(double base, uint64_t n);
/* Within 2 ulp for |x| <= 700; 0 below, the largest double above. */
double pd_exp(double x);
/* Within 2 ulp for finite x > 0. */
double pd_log(double x);
/* Within 1e-15 absolute for |x| <= 1e6. */
double pd_cos(double x);

#endif
