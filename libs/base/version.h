/* Which CyxWiz this is: "0.1.0", from the top CMakeLists.txt. Any thread. */
#ifndef CYX_BASE_VERSION_H
#define CYX_BASE_VERSION_H

const char *cyx_version(void);

#endif
