/*
 * Configuration of the WiredTiger build of smongo: what its CMake would have found out on
 * Linux and macOS. Written by hand; upstream's template is cmake/configs/wiredtiger_config.h.in.
 */
#ifndef SMONGO_WIREDTIGER_CONFIG_H
#define SMONGO_WIREDTIGER_CONFIG_H

#define VERSION "11.3.1"

/* A build of its own, not the one linked into mongod. */
#define WT_STANDALONE_BUILD 1

#define HAVE_BUILTIN_EXTENSION_LZ4 1
#define HAVE_BUILTIN_EXTENSION_ZSTD 1
/*
 * smongo-storage's, in the place of a compressor for hardware that is not built: a compressor of the journal
 * has to be there before recovery, when only the library itself can bring it.
 */
#define HAVE_BUILTIN_EXTENSION_IAA 1
#define iaa_extension_init smongo_journal_init

#define HAVE_CLOCK_GETTIME 1
#define HAVE_DLFCN_H 1
#define HAVE_GETTIMEOFDAY 1
#define HAVE_INTTYPES_H 1
#define HAVE_LIBDL 1
#define HAVE_LIBPTHREAD 1
#define HAVE_MEMORY_H 1
#define HAVE_POSIX_MEMALIGN 1
#define HAVE_SETRLIMIT 1
#define HAVE_STDINT_H 1
#define HAVE_STDLIB_H 1
#define HAVE_STRINGS_H 1
#define HAVE_STRING_H 1
#define HAVE_STRTOUQ 1
#define HAVE_SYS_STAT_H 1
#define HAVE_UNISTD_H 1

#if defined(__linux__)
#define HAVE_FALLOCATE 1
#define HAVE_FDATASYNC 1
#define HAVE_POSIX_FADVISE 1
#define HAVE_POSIX_FALLOCATE 1
#define HAVE_POSIX_MADVISE 1
#define HAVE_PTHREAD_COND_MONOTONIC 1
#define HAVE_SYNC_FILE_RANGE 1
#define HAVE_TIMER_CREATE 1
/* Buffers on page boundaries, as direct IO wants them. */
#define WT_BUFFER_ALIGNMENT_DEFAULT 4096
#else
#define WT_BUFFER_ALIGNMENT_DEFAULT 0
#endif

#if defined(__x86_64__)
#define HAVE_X86INTRIN_H 1
#endif

#define SPINLOCK_TYPE SPINLOCK_PTHREAD_MUTEX_ADAPTIVE

#ifndef _DARWIN_USE_64_BIT_INODE
#define _DARWIN_USE_64_BIT_INODE 1
#endif

#endif
