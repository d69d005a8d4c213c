/* What every part begins with: sizes, and what the machine has. compiler.py defines M, LANES and TILES. */

#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <omp.h>
#define THREAD omp_get_thread_num()
#define UNROLLED _Pragma("GCC unroll 16")
#define PANELS (128 / COLUMNS)
#define PANELS_BACK (64 / COLUMNS)
#define PANELS_OUTER (256 / COLUMNS)
#define CHANNELS 128
#define DEPTH 4
#define CHAIN 16
#ifdef __AVX512F__
#define COLUMNS 32
#define ROWS 8
#define EVEN 8
#else
#define COLUMNS 16
#define ROWS 4
#define EVEN 4
#endif
long columns(void) { return COLUMNS; }

/* Ask for large pages for memory that has not been used yet: fewer addresses to look up. */
void advise(void *from, long bytes)
{
#ifdef MADV_HUGEPAGE
    size_t page = 1 << 21, first = ((size_t)from + page - 1) / page * page, last = ((size_t)from + bytes) / page * page;
    if (last > first) madvise((void *)first, last - first, MADV_HUGEPAGE);
#endif
}

/* Whether there is a matrix unit that adds up products of bytes. */
#if defined(__AMX_INT8__) && defined(__AVX512BW__) && defined(__linux__)
#define MATRIX_UNIT
#include <sys/syscall.h>
#include <unistd.h>
#endif

/* How many digits numbers of its left and its right operand have. */
#define DIGITS_LEFT 4
#define DIGITS_RIGHT 3

static int unit_is_used;

/* Whether it is used from now on, if that is wanted: the system must allow it, once for a process. */
int use_unit(int wanted)
{
#ifdef MATRIX_UNIT
    const long ask = 0x1023, registers = 18; /* ARCH_REQ_XCOMP_PERM, XTILEDATA */
    unit_is_used = wanted && syscall(SYS_arch_prctl, ask, registers) == 0;
#endif
    return unit_is_used;
}
