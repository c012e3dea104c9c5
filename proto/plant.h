/* Known bugs that the simulator must find, at the places where they would be: constant false here.
 * The simulator alone compiles the layers with another header of this name (tests/sim/planted). */
#ifndef PARAMD_PROTO_PLANT_H
#define PARAMD_PROTO_PLANT_H

#define pd_plant(name) false

#endif
