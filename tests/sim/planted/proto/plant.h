/* Stands before the product's proto/plant.h where the layers are compiled for the simulator. */
#ifndef PARAMD_TESTS_SIM_PLANTED_PLANT_H
#define PARAMD_TESTS_SIM_PLANTED_PLANT_H

#include "tests/sim/plants.h"

#endif
