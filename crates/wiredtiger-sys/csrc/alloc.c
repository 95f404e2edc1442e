/*
 * Upstream's src/os_common/os_alloc.c over mimalloc. Every write allocates an update and, sooner or
 * later, another thread frees it: with glibc's allocator that is more than a third of the time of a
 * load, and a third of the memory beside the cache.
 *
 * All memory of the library that a caller may free, or the reverse, goes through this file.
 */
#include "wt_internal.h"

#include <mimalloc.h>

#define calloc mi_calloc
#define free mi_free
#define malloc mi_malloc
#define posix_memalign mi_posix_memalign
#define realloc mi_realloc

#include SMONGO_WIREDTIGER_ALLOC_C
