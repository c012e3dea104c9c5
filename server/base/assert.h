/* PD_ASSERT: for what the program itself guarantees; kept in release builds. Never for what a peer
 * sent. */
#ifndef PARAMD_SERVER_BASE_ASSERT_H
#define PARAMD_SERVER_BASE_ASSERT_H

/* Says where and what on stderr, and aborts. */
_Noreturn void pd_assert_failed(const char *file, int line, const char *condition);

#define PD_ASSERT(condition)                                                                       \
    ((condition) ? (void)0 : pd_assert_failed(__FILE__, __LINE__, #condition))

#endif
