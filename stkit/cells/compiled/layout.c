/* Winograd's minimal filtering for gate blocks: how fields, signals and kernels lie in memory.
 *
 * The files are compiled as one text, for each type of numbers and side of the kernel: common.c, amx.c (for float),
 * layout.c, maps.c, digits.c, transforms.c, products.c, winograd.c. What compiler.py writes after common.c defines REAL
 * (float or double), R (side of the kernel), NAME (of a function), and the maps FORTH, KERNEL and BACK of
 * stkit.cells.tiles.Tiles in one dimension.
 *
 * Layouts. LANES channels lie side by side, the last ones filled up with zeros.
 *   field    B P H W C              as torch has it, channels last
 *   signal   P*N/S A*A (C/LANES S LANES + LANES)
 *            tiles of a field, transformed, S of them, a stack, together: those of as many images of a slice as have no
 *            more than TILES, filled up to a multiple of GROUP, or TILES of one image. The last LANES numbers are a
 *            gap: at powers of two the places of a tile would drive each other out of the cache.
 *   kernel   C_out/COLUMNS A*A C_in COLUMNS
 *   sum      C_out/COLUMNS C_in R*R COLUMNS
 *            gradient of a kernel
 *
 * Axes: B batch, P slices, H height, W width, A side of a tile, M cells that a tile is for, N tiles.
 */

#define A (M + R - 1)
#define MARGIN (R / 2)

/* What is done where there is a matrix unit. Rows of a stack come in groups: those of one of its tiles. */
#ifdef UNIT
#define IF_UNIT(...) __VA_ARGS__
#define GROUP 16
#else
#define IF_UNIT(...)
#define GROUP 8
static const int unit = 0;
#endif

typedef REAL NAME(Vector) __attribute__((vector_size(LANES * sizeof(REAL)), aligned(sizeof(REAL)), may_alias));
typedef double NAME(Wide) __attribute__((vector_size(LANES * sizeof(double)), aligned(sizeof(double)), may_alias));
#define VECTOR NAME(Vector)
#define WIDE NAME(Wide)

/* Up to LANES channels from memory, and back to it. */

static inline VECTOR NAME(some)(const REAL *from, long count)
{
    if (count >= LANES) return *(const VECTOR *)from;
    VECTOR found = {0};
    for (long lane = 0; lane < count; lane++) found[lane] = from[lane];
    return found;
}

static inline void NAME(put)(REAL *to, VECTOR value, long count)
{
    if (count >= LANES) {
        *(VECTOR *)to = value;
        return;
    }
    for (long lane = 0; lane < count; lane++) to[lane] = value[lane];
}

static inline long NAME(blocks)(long channels) { return (channels + LANES - 1) / LANES; }

/* Tiles of a field, images that go together, and the rows that a slice of a signal has for `batch` images. */
static inline long NAME(tiles)(long height, long width) { return (height + M - 1) / M * ((width + M - 1) / M); }
static inline long NAME(images)(long tiles) { return tiles < TILES ? TILES / tiles : 1; }
static inline long NAME(stack)(long batch, long tiles)
{
    long images = NAME(images)(tiles) < batch ? NAME(images)(tiles) : batch, rows = images * tiles;
    return rows < TILES ? (rows + GROUP - 1) / GROUP * GROUP : TILES;
}
/* Rows of images that go together, and of all of a slice: whole stacks. */
static inline long NAME(filled)(long batch, long tiles)
{
    long stack = NAME(stack)(batch, tiles);
    return tiles < TILES ? stack : (tiles + stack - 1) / stack * stack;
}
static inline long NAME(slots)(long batch, long tiles)
{
    long images = NAME(images)(tiles);
    return (batch + images - 1) / images * NAME(filled)(batch, tiles);
}
static inline long NAME(row)(long image, long batch, long tiles)
{
    long images = NAME(images)(tiles);
    return image / images * NAME(filled)(batch, tiles) + image % images * tiles;
}
/* Numbers from one place of a stack to the next. */
static inline long NAME(place)(long blocks, long stack) { return (blocks * stack + 1) * LANES; }

/* For the matrix unit: of each STEPS channels the digits, those of the same weight together, 16 numbers of memory to a
 * row or column; what each row or column is worth, for every GROUPED channels; of a signal the gap. */
#define NUMBERS(blocks, digits) (((blocks) + 3) / 4 * (digits))
#define GROUPS(blocks) (((blocks) + 7) / 8)
static inline long NAME(place_of_digits)(long blocks, long stack)
{
    return (NUMBERS(blocks, DIGITS_LEFT) * 16 + GROUPS(blocks)) * stack + LANES;
}
static inline long NAME(kernel_of_digits)(long blocks)
{
    return (NUMBERS(blocks, DIGITS_RIGHT) * 16 + GROUPS(blocks)) * COLUMNS;
}

/* Whether an operand of so many blocks of channels is for the matrix unit: of fewer than it multiplies at once, vectors
 * are as fast, and sooner made. */
static inline int NAME(in_digits)(long blocks) { return unit && blocks > 2; }

/* Rows of a slice of a signal, and of a stack. */
long NAME(rows_of_slice)(long batch, long height, long width) { return NAME(slots)(batch, NAME(tiles)(height, width)); }
long NAME(rows_of_stack)(long batch, long height, long width) { return NAME(stack)(batch, NAME(tiles)(height, width)); }
/* How many numbers a signal has: one that will be a left operand, or not. */
long NAME(signal)(long batch, long planes, long height, long width, long channels, int operand)
{
    long tiles = NAME(tiles)(height, width), stack = NAME(stack)(batch, tiles), blocks = NAME(blocks)(channels);
    long place = operand && NAME(in_digits)(blocks) ? NAME(place_of_digits)(blocks, stack) : NAME(place)(blocks, stack);
    return planes * NAME(slots)(batch, tiles) / stack * A * A * place;
}
/* How many numbers a packed kernel has, of so many channels filled up. */
long NAME(packed)(long out, long in)
{
    long each = NAME(in_digits)(NAME(blocks)(in)) ? NAME(kernel_of_digits)(NAME(blocks)(in)) : in * COLUMNS;
    return (out + COLUMNS - 1) / COLUMNS * A * A * each;
}

long NAME(scratch)(void); /* numbers of scratch memory that each thread takes */

/* Where a channel of `each`, every one filled up to whole LANES, stands without these; -1: it fills up. */
static inline long NAME(channel)(long filled, long each)
{
    long whole = NAME(blocks)(each) * LANES;
    return filled % whole < each ? filled / whole * each + filled % whole : -1;
}

/* One of the products that are summed: a signal's rows with a kernel. The signal is read `shift` slices further on. */
typedef struct {
    const void *signal, *kernel;
    long blocks, shift;
} Term;
