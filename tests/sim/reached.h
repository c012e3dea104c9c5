/* Which statuses and kinds of records the runs of this process have reached, for the summary. */
#ifndef PARAMD_TESTS_SIM_REACHED_H
#define PARAMD_TESTS_SIM_REACHED_H

/* A call, a start or a job ended so. What answers say is noted where a client reads them. */
void sim_reached_status(int status);

/* Two members of the summary, "statuses" and "records": how often each was seen. */
void sim_reached_print(void);

#endif
