/*
 * Upstream's src/support/global.c with a shorter calibration of the time stamp counter. As it is,
 * the first open in a process counts three times to 100 million, about half a second; a million
 * gives the ratio to 1 part in 100,000, and nothing but statistics and time-outs uses it.
 */
#include "wt_internal.h"

#undef WT_MILLION
#define WT_MILLION (10000)

#include SMONGO_WIREDTIGER_GLOBAL_C
