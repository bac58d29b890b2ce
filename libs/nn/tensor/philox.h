/* What the engine draws from base/philox.h: its purposes. */
#ifndef CYX_NN_TENSOR_PHILOX_H
#define CYX_NN_TENSOR_PHILOX_H

#include "base/philox.h"

enum cyx_philox_purpose {
    CYX_PHILOX_DROPOUT,
    CYX_PHILOX_INIT,
    CYX_PHILOX_SHUFFLE,
    CYX_PHILOX_AUGMENT
};

#endif
