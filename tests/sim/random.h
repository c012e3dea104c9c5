/* One stream of random numbers for each component of a run, all of them made of the seed. Draw into
 * locals: C leaves the order of argument evaluation open. */
#ifndef PARAMD_TESTS_SIM_RANDOM_H
#define PARAMD_TESTS_SIM_RANDOM_H

#include <stdbool.h>
#include <stdint.h>

struct sim_random {
    uint64_t state;
};

static inline uint64_t sim_random_next(struct sim_random *random)
{
    random->state += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t x = random->state;
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

/* The stream of component `number` of a run. */
static inline struct sim_random sim_random_stream(uint64_t seed, uint64_t number)
{
    struct sim_random random = {seed * UINT64_C(0x2545f4914f6cdd1d) + number};
    random.state = sim_random_next(&random) ^ number << 32;
    return random;
}

/* From low to high, both included. */
static inline uint64_t sim_random_between(struct sim_random *random, uint64_t low, uint64_t high)
{
    uint64_t count = high - low + 1;
    return count == 0 ? sim_random_next(random) : low + sim_random_next(random) % count;
}

static inline bool sim_random_chance(struct sim_random *random, unsigned percent)
{
    return sim_random_next(random) % 100 < percent;
}

#endif
