#include "base/version.h"

#include "base/banned.h"

const char *cyx_version(void)
{
    return CYX_VERSION;
}
