/*
 * Functions that do not compile here, since each has led to overflows or silent errors elsewhere
 * (after git's banned.h). Include last in a .c file, behind all system headers.
 */
#ifndef CYX_BASE_BANNED_H
#define CYX_BASE_BANNED_H

#define CYX_BANNED(name) name##_is_banned_use_the_bounded_one

#undef strcpy
#define strcpy(d, s) CYX_BANNED(strcpy)
#undef strcat
#define strcat(d, s) CYX_BANNED(strcat)
#undef strncpy
#define strncpy(d, s, n) CYX_BANNED(strncpy)
#undef strncat
#define strncat(d, s, n) CYX_BANNED(strncat)
#undef sprintf
#define sprintf(...) CYX_BANNED(sprintf)
#undef vsprintf
#define vsprintf(...) CYX_BANNED(vsprintf)
#undef gets
#define gets(s) CYX_BANNED(gets)
#undef atoi
#define atoi(s) CYX_BANNED(atoi)
#undef atol
#define atol(s) CYX_BANNED(atol)
#undef atof
#define atof(s) CYX_BANNED(atof)
#undef strtok
#define strtok(s, d) CYX_BANNED(strtok)
#undef gmtime
#define gmtime(t) CYX_BANNED(gmtime)
#undef localtime
#define localtime(t) CYX_BANNED(localtime)
#undef ctime
#define ctime(t) CYX_BANNED(ctime)

#endif
