/* Winograd's minimal filtering for gate blocks: maps of tiles, products of matrices, and both at once.
 *
 * The text is compiled once for each type of numbers and side of the kernel. What comes before it, written by
 * compiler.py, defines REAL (float or double), R (side of the kernel), NAME (of a function), and the maps FORTH, KERNEL
 * and BACK of stkit.cells.tiles.Tiles in one dimension.
 *
 * Layouts. LANES channels lie side by side, the last ones filled up with zeros.
 *   field    B P H W C              as torch has it, channels last
 *   signal   P*N/S A*A (C/LANES S LANES + LANES)
 *            tiles of a field, transformed, S of them, a stack, together: those of as many images of a slice as have no
 *            more than TILES, filled up to a multiple of GROUP, or TILES of one image. The last LANES numbers are a gap:
 *            at powers of two the places of a tile would drive each other out of the cache.
 *   kernel   C_out/COLUMNS A*A C_in COLUMNS
 *   sum      C_out/COLUMNS C_in R*R COLUMNS
 *            gradient of a kernel
 *
 * Axes: B batch, P slices, H height, W width, A side of a tile, M cells that a tile is for, N tiles.
 */

#define A (M + R - 1)
#define MARGIN (R / 2)

typedef REAL NAME(Vector) __attribute__((vector_size(LANES * sizeof(REAL)), aligned(sizeof(REAL)), may_alias));
typedef double NAME(Wide) __attribute__((vector_size(LANES * sizeof(double)), aligned(sizeof(double)), may_alias));
#define VECTOR NAME(Vector)
#define WIDE NAME(Wide)

/* One dimension of a map: x and y are every `from`-th and `to`-th vector. Zeros of the maps fall away when compiled. */

static inline __attribute__((always_inline)) void NAME(forth)(const VECTOR *x, int from, VECTOR *y, int to)
{
    UNROLLED
    for (int i = 0; i < A; i++) {
        VECTOR sum = {0};
        UNROLLED
        for (int j = 0; j < A; j++)
            if (FORTH[i][j] != 0) sum += (REAL)FORTH[i][j] * x[j * from];
        y[i * to] = sum;
    }
}

static inline __attribute__((always_inline)) void NAME(forth_adjoint)(const VECTOR *x, int from, VECTOR *y, int to)
{
    UNROLLED
    for (int j = 0; j < A; j++) {
        VECTOR sum = {0};
        UNROLLED
        for (int i = 0; i < A; i++)
            if (FORTH[i][j] != 0) sum += (REAL)FORTH[i][j] * x[i * from];
        y[j * to] = sum;
    }
}

static inline __attribute__((always_inline)) void NAME(back)(const VECTOR *x, int from, VECTOR *y, int to)
{
    UNROLLED
    for (int i = 0; i < M; i++) {
        VECTOR sum = {0};
        UNROLLED
        for (int j = 0; j < A; j++)
            if (BACK[i][j] != 0) sum += (REAL)BACK[i][j] * x[j * from];
        y[i * to] = sum;
    }
}

static inline __attribute__((always_inline)) void NAME(back_adjoint)(const VECTOR *x, int from, VECTOR *y, int to)
{
    UNROLLED
    for (int j = 0; j < A; j++) {
        VECTOR sum = {0};
        UNROLLED
        for (int i = 0; i < M; i++)
            if (BACK[i][j] != 0) sum += (REAL)BACK[i][j] * x[i * from];
        y[j * to] = sum;
    }
}

static inline __attribute__((always_inline)) void NAME(kernel)(const WIDE *x, int from, WIDE *y, int to)
{
    UNROLLED
    for (int i = 0; i < A; i++) {
        WIDE sum = {0};
        UNROLLED
        for (int j = 0; j < R; j++)
            if (KERNEL[i][j] != 0) sum += KERNEL[i][j] * x[j * from];
        y[i * to] = sum;
    }
}

static inline __attribute__((always_inline)) void NAME(kernel_adjoint)(const VECTOR *x, int from, VECTOR *y, int to)
{
    UNROLLED
    for (int j = 0; j < R; j++) {
        VECTOR sum = {0};
        UNROLLED
        for (int i = 0; i < A; i++)
            if (KERNEL[i][j] != 0) sum += (REAL)KERNEL[i][j] * x[i * from];
        y[j * to] = sum;
    }
}

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

#ifdef UNIT
/* For the matrix unit: digits of each STEPS channels, those of the same weight together; what rows are worth; and the gap.
 * Of a kernel: digits of each STEPS channels that come in; what columns are worth. */
#define DIGITS(blocks) (((blocks) + 3) / 4 * PARTS) /* lines of 16 numbers to a row */
#define GROUPS(blocks) (((blocks) + 7) / 8)
static inline long NAME(place_of_digits)(long blocks, long stack)
{
    return DIGITS(blocks) * stack * 16 + GROUPS(blocks) * stack + LANES;
}
static inline long NAME(kernel_of_digits)(long blocks)
{
    return DIGITS(blocks) * 2 * TILE / 4 + GROUPS(blocks) * COLUMNS;
}
#else
#define unit 0
#endif
/* Rows of a slice of a signal, and of a stack. */
long NAME(rows_of_slice)(long batch, long height, long width) { return NAME(slots)(batch, NAME(tiles)(height, width)); }
long NAME(rows_of_stack)(long batch, long height, long width) { return NAME(stack)(batch, NAME(tiles)(height, width)); }
/* How many numbers a signal has: one that will be a left operand, or not. */
long NAME(signal)(long batch, long planes, long height, long width, long channels, int operand)
{
    long tiles = NAME(tiles)(height, width), stack = NAME(stack)(batch, tiles), blocks = NAME(blocks)(channels);
    long place = NAME(place)(blocks, stack);
#ifdef UNIT
    if (unit && operand) place = NAME(place_of_digits)(blocks, stack);
#endif
    return planes * NAME(slots)(batch, tiles) / stack * A * A * place;
}
/* How many numbers a packed kernel has, of so many channels filled up. */
long NAME(packed)(long out, long in)
{
    long panels = (out + COLUMNS - 1) / COLUMNS;
#ifdef UNIT
    if (unit) return panels * A * A * NAME(kernel_of_digits)(NAME(blocks)(in));
#endif
    return panels * A * A * in * COLUMNS;
}

#ifdef UNIT
/* Up to 8 blocks of channels of a tile at all places, in digits. */
static void NAME(put_digits)(const VECTOR (*values)[8], long some, REAL *place, long next, long lines, long stack, long row,
                             long group)
{
    for (int one = 0; one < A * A; one++, place += next) {
        __m512 x[8], factor, worth;
        __m512i largest = _mm512_setzero_si512();
        for (long block = 0; block < 8; block++) {
            x[block] = block < some ? (__m512)values[one][block] : _mm512_setzero_ps();
            largest = larger(largest, x[block]);
        }
        scales(_mm512_set1_epi32(_mm512_reduce_max_epi32(largest)), &factor, &worth);
        for (long step = 0; step < (some + 3) / 4; step++) {
            char *to = (char *)(place + ((group * 2 + step) * PARTS * stack + row) * 16);
            digits(x + 4 * step, factor, to, stack * 64);
            for (int part = 0; part < PARTS; part++) __builtin_prefetch(to + part * stack * 64 + 128, 1, 3); /* for the tile after the next */
        }
        place[lines * stack * 16 + group * stack + row] = worth[0];
    }
}
#endif

/* Fields to signals: tiles with zeros around the field, mapped forth. Of `every` fields of a slice these are from `first` on. */
void NAME(transform)(const REAL *field, REAL *signal, long batch, long planes, long height, long width, long channels,
                     long every, long first, int operand, int threads)
{
    long down = (height + M - 1) / M, across = (width + M - 1) / M, tiles = down * across;
    long blocks = NAME(blocks)(channels), stack = NAME(stack)(every, tiles), step = NAME(place)(blocks, stack);
#pragma omp parallel for collapse(2) schedule(static) num_threads(threads)
    for (long image = 0; image < batch * planes; image++)
        for (long row = 0; row < down; row++) {
            const REAL *cells = field + image * height * width * channels; /* image: B P */
            long place = image % planes * NAME(slots)(every, tiles) + NAME(row)(first + image / planes, every, tiles) +
                         row * across;
            for (long column = 0; column < across; column++) {
#ifdef UNIT
                VECTOR many[A * A][8];
#endif
                for (long block = 0; block < blocks; block++) {
                    long left = channels - block * LANES;
                    VECTOR tile[A * A], half[A * A];
                    for (int u = 0; u < A; u++)
                        for (int v = 0; v < A; v++) {
                            long y = row * M - MARGIN + u, x = column * M - MARGIN + v;
                            int inside = y >= 0 && y < height && x >= 0 && x < width;
                            const REAL *cell = cells + (y * width + x) * channels + block * LANES;
                            tile[u * A + v] = inside ? NAME(some)(cell, left) : (VECTOR){0};
                        }
                    for (int v = 0; v < A; v++) NAME(forth)(tile + v, A, half + v, A);
                    long slot = place + column;
                    REAL *out = signal + slot / stack * A * A * step + (block * stack + slot % stack) * LANES;
                    long to = step;
#ifdef UNIT
                    if (unit && operand) {
                        out = (REAL *)&many[0][block % 8];
                        to = 8 * LANES;
                    }
#endif
                    for (int u = 0; u < A; u++) {
                        VECTOR line[A];
                        NAME(forth)(half + u * A, 1, line, 1);
                        UNROLLED
                        for (int v = 0; v < A; v++) {
                            *(VECTOR *)(out + (u * A + v) * to) = line[v];
                            __builtin_prefetch(out + (u * A + v) * to + 2 * LANES, 1, 3); /* for the tile after the next */
                        }
                    }
#ifdef UNIT
                    if (unit && operand && (block % 8 == 7 || block + 1 == blocks)) {
                        long next = NAME(place_of_digits)(blocks, stack);
                        NAME(put_digits)(many, block % 8 + 1, signal + slot / stack * A * A * next, next, DIGITS(blocks),
                                         stack, slot % stack, block / 8);
                    }
#endif
                }
            }
        }
}

/* Gradients of gates of so many channels to signals: the adjoint of the way back. A gate may be missing. */
void NAME(untransform)(REAL *const *gates, REAL *signal, long batch, long planes, long height, long width,
                       long channels, int count_of_gates, long every, long first, int operand, int threads)
{
    long down = (height + M - 1) / M, across = (width + M - 1) / M, tiles = down * across;
    long each = NAME(blocks)(channels), blocks = each * count_of_gates;
    long stack = NAME(stack)(every, tiles), step = NAME(place)(blocks, stack);
#pragma omp parallel for collapse(2) schedule(static) num_threads(threads)
    for (long image = 0; image < batch * planes; image++)
        for (long row = 0; row < down; row++) {
            long place = image % planes * NAME(slots)(every, tiles) + NAME(row)(first + image / planes, every, tiles) +
                         row * across;
            for (long column = 0; column < across; column++) {
#ifdef UNIT
                VECTOR many[A * A][8];
#endif
                for (long block = 0; block < blocks; block++) {
                    const REAL *gate = gates[block / each];
                    long left = channels - block % each * LANES;
                    VECTOR tile[M * M], half[A * M];
                    for (int i = 0; i < M; i++)
                        for (int j = 0; j < M; j++) {
                            long y = row * M + i, x = column * M + j;
                            int inside = gate != 0 && y < height && x < width;
                            const REAL *cell =
                                gate + ((image * height + y) * width + x) * channels + block % each * LANES;
                            tile[i * M + j] = inside ? NAME(some)(cell, left) : (VECTOR){0};
                        }
                    for (int j = 0; j < M; j++) NAME(back_adjoint)(tile + j, M, half + j, M);
                    long slot = place + column;
                    REAL *out = signal + slot / stack * A * A * step + (block * stack + slot % stack) * LANES;
                    long to = step;
#ifdef UNIT
                    if (unit && operand) {
                        out = (REAL *)&many[0][block % 8];
                        to = 8 * LANES;
                    }
#endif
                    for (int u = 0; u < A; u++) {
                        VECTOR line[A];
                        NAME(back_adjoint)(half + u * M, 1, line, 1);
                        UNROLLED
                        for (int v = 0; v < A; v++) {
                            *(VECTOR *)(out + (u * A + v) * to) = line[v];
                            __builtin_prefetch(out + (u * A + v) * to + 2 * LANES, 1, 3); /* for the tile after the next */
                        }
                    }
#ifdef UNIT
                    if (unit && operand && (block % 8 == 7 || block + 1 == blocks)) {
                        long next = NAME(place_of_digits)(blocks, stack);
                        NAME(put_digits)(many, block % 8 + 1, signal + slot / stack * A * A * next, next, DIGITS(blocks),
                                         stack, slot % stack, block / 8);
                    }
#endif
                }
            }
        }
}

/* Where a channel of `each`, every one filled up to whole LANES, stands without these; -1: it fills up. */
long NAME(scratch)(void);
static inline long NAME(channel)(long filled, long each)
{
    long whole = NAME(blocks)(each) * LANES;
    return filled % whole < each ? filled / whole * each + filled % whole : -1;
}

/* LANES columns of a kernel's row, transformed in double precision: A*A vectors, `next` numbers apart. */
static inline void NAME(transform_row)(const REAL *kernel, long first, long columns, long each_out, long read, long out_step,
                                       long in_step, REAL *to, long next)
{
    WIDE cells[R * R], half[A * R], line[A];
    for (int cell = 0; cell < R * R; cell++) cells[cell] = (WIDE){0};
    for (int lane = 0; lane < LANES; lane++) {
        long column = NAME(channel)(first + lane, each_out);
        if (column < 0 || column >= columns || read < 0) continue;
        const REAL *from = kernel + column * out_step + read * in_step;
        for (int cell = 0; cell < R * R; cell++) ((double *)(cells + cell))[lane] = from[cell];
    }
    for (int j = 0; j < R; j++) NAME(kernel)(cells + j, R, half + j, R);
    for (int u = 0; u < A; u++) {
        NAME(kernel)(half + u * R, 1, line, 1);
        for (int v = 0; v < A; v++)
            *(VECTOR *)(to + (u * A + v) * next) = __builtin_convertvector(line[v], VECTOR);
    }
}

#ifdef UNIT
static void NAME(pack_digits)(const REAL *kernel, REAL *packed, long panels, long out, long each_out, long rows, long each_in,
                              long out_step, long in_step, REAL *scratch, int threads)
{
    long blocks = rows / LANES, size = NAME(kernel_of_digits)(blocks);
#pragma omp parallel for collapse(2) schedule(static) num_threads(threads)
    for (long panel = 0; panel < panels; panel++)
        for (long group = 0; group < GROUPS(blocks); group++)
            for (int half = 0; half < 2; half++) {
                REAL *found = scratch + THREAD * NAME(scratch)();
                long first = group * GROUPED, some = rows - first < GROUPED ? rows - first : GROUPED;
                for (long row = 0; row < some; row++)
                    NAME(transform_row)(kernel, panel * COLUMNS + half * LANES, out * each_out, each_out,
                                        NAME(channel)(first + row, each_in), out_step, in_step, found + row * LANES,
                                        GROUPED * LANES);
                for (long place = 0; place < A * A; place++) {
                    const VECTOR *values = (const VECTOR *)(found + place * GROUPED * LANES);
                    REAL *own = packed + (panel * A * A + place) * size;
                    __m512 factor, worth;
                    __m512i largest = _mm512_setzero_si512();
                    for (long row = 0; row < some; row++) largest = larger(largest, (__m512)values[row]);
                    scales(largest, &factor, &worth);
                    for (long step = 0; step * STEPS < some; step++) {
                        char *to = (char *)own + (((group * 2 + step) * 2 + half) * PARTS) * TILE;
                        for (long row = 0; row < 16; row++) {
                            __m512 x[4];
                            for (int i = 0; i < 4; i++) {
                                long one = step * STEPS + i * 16 + row;
                                x[i] = one < some ? (__m512)values[one] : _mm512_setzero_ps();
                            }
                            digits(x, factor, to + row * 64, TILE);
                        }
                    }
                    _mm512_storeu_ps(own + DIGITS(blocks) * 2 * TILE / 4 + group * COLUMNS + half * 16, worth);
                }
            }
}
#endif

/* A kernel, transformed in double precision: `out` groups of `each_out` channels, and the same of those that come in.
 * Turned round, with the steps exchanged, it is the transpose. */
void NAME(pack)(const REAL *kernel, REAL *packed, long out, long each_out, long in, long each_in, long out_step,
                long in_step, REAL *scratch, int threads)
{
    long rows = in * NAME(blocks)(each_in) * LANES;
    long panels = (out * NAME(blocks)(each_out) * LANES + COLUMNS - 1) / COLUMNS;
#ifdef UNIT
    if (unit) {
        NAME(pack_digits)(kernel, packed, panels, out, each_out, rows, each_in, out_step, in_step, scratch, threads);
        return;
    }
#endif
#pragma omp parallel for collapse(2) schedule(static) num_threads(threads)
    for (long panel = 0; panel < panels; panel++)
        for (long row = 0; row < rows; row++) {
            long read = NAME(channel)(row, each_in);
            REAL *to = packed + (panel * A * A * rows + row) * COLUMNS;
            for (int part = 0; part < COLUMNS; part += LANES)
                NAME(transform_row)(kernel, panel * COLUMNS + part, out * each_out, each_out, read, out_step, in_step,
                                    to + part, rows * COLUMNS);
        }
}

/* The gradient of a kernel from its sum. */
void NAME(unpack)(const REAL *sum, REAL *kernel, long out, long each_out, long in, long out_step, long in_step,
                  int threads)
{
    long columns = out * NAME(blocks)(each_out) * LANES, panels = (columns + COLUMNS - 1) / COLUMNS;
#pragma omp parallel for collapse(2) schedule(static) num_threads(threads)
    for (long panel = 0; panel < panels; panel++)
        for (long row = 0; row < in; row++)
            for (long c = 0; c < COLUMNS && panel * COLUMNS + c < columns; c++) {
                long column = NAME(channel)(panel * COLUMNS + c, each_out);
                if (column < 0) continue;
                for (int cell = 0; cell < R * R; cell++)
                    kernel[column * out_step + row * in_step + cell] =
                        sum[((panel * in + row) * R * R + cell) * COLUMNS + c];
            }
}

/* One of the products that are summed: a signal's rows with a kernel. The signal is read `shift` slices further on. */
typedef struct {
    const void *signal, *kernel;
    long blocks, shift;
} Term;

/* Ask for `lines` lines of memory that will be read soon. */
static inline __attribute__((always_inline)) void NAME(ahead)(const REAL *from, long lines)
{
    for (long line = 0; line < lines; line++) __builtin_prefetch((const char *)from + line * 64, 0, 3);
}

/* ROWS rows and COLUMNS columns of a product at one place of the tiles, added to `sum` unless `anew`. */
static inline __attribute__((always_inline)) void NAME(multiply)(const REAL *left, long apart,
                                                             const REAL *right, long blocks, REAL *sum, long stride,
                                                             int anew, const REAL *soon, long lines, long shift, long also)
{
    VECTOR found[ROWS][COLUMNS / LANES];
    UNROLLED
    for (int r = 0; r < ROWS; r++)
        UNROLLED
        for (int c = 0; c < COLUMNS / LANES; c++)
            found[r][c] = (VECTOR){0};
    for (long block = 0; block < blocks; block++, left += apart, soon += LANES * COLUMNS) {
        NAME(ahead)(soon, lines);
        NAME(ahead)(left + DEPTH * apart + shift, also);
        UNROLLED
        for (int k = 0; k < LANES; k++, right += COLUMNS)
            UNROLLED
            for (int r = 0; r < ROWS; r++) {
                REAL factor = left[r * LANES + k];
                UNROLLED
                for (int c = 0; c < COLUMNS / LANES; c++)
                    found[r][c] += factor * *(const VECTOR *)(right + c * LANES);
            }
    }
    UNROLLED
    for (int r = 0; r < ROWS; r++)
        UNROLLED
        for (int c = 0; c < COLUMNS / LANES; c++) {
            VECTOR *to = (VECTOR *)(sum + r * stride + c * LANES);
            if (anew) *to = found[r][c];
            else *to += found[r][c];
        }
}

#ifdef UNIT
/* The same by the matrix unit. */
static void NAME(products_by_unit)(const Term *terms, int count_of_terms, long plane, long planes, long slots, long slot,
                                   long stack, long panel, long panels, long from, long places, REAL *sum)
{
    long stride = panels * COLUMNS, step = GROUP * stride + LANES;
    start_unit();
    for (long place = 0; place < places; place++)
        for (long p = 0; p < panels; p++) {
            int anew = 1;
            for (const Term *term = terms; term < terms + count_of_terms; term++) {
                long read = plane + term->shift, blocks = term->blocks;
                if (read < 0 || read >= planes) continue;
                const REAL *signal = (const REAL *)term->signal + ((read * slots + slot) / stack * A * A + from + place) *
                                                                      NAME(place_of_digits)(blocks, stack);
                const REAL *kernel = (const REAL *)term->kernel +
                                     ((panel + p) * A * A + from + place) * NAME(kernel_of_digits)(blocks);
                const REAL *rows = signal + DIGITS(blocks) * stack * 16;
                const REAL *columns = kernel + DIGITS(blocks) * 2 * TILE / 4;
                for (long group = 0; group < GROUPS(blocks); group++) {
                    long left = (blocks + 3) / 4 - 2 * group;
                    Left own = {(const char *)signal + group * 2 * PARTS * stack * 64, PARTS * stack * 64, stack * 64, TILE,
                                rows + group * stack};
                    Right other = {(const char *)kernel + group * 2 * 2 * PARTS * TILE, columns + group * COLUMNS};
                    const char *soon = other.digits + 2 * 2 * PARTS * TILE;
                    multiply_tiles(own, other, stack / 16, left < 2 ? left : 2,
                                   sum + place * step + p * COLUMNS, places * step, stride, anew, soon);
                    anew = 0;
                }
            }
            if (anew)
                for (long row = 0; row < stack; row++)
                    memset(sum + (row / 16 * places + place) * step + row % 16 * stride + p * COLUMNS, 0,
                           COLUMNS * sizeof(REAL));
        }
    _tile_release();
}

/* LANES channels of the tiles of some stacks, `next` numbers apart, in digits: what the channels are worth. */
static inline __m512 NAME(digits_of_tiles)(const REAL *from, long next, long stacks, long stack, char *to, long apart)
{
    __m512 factor, worth;
    __m512i largest = _mm512_setzero_si512();
    for (long one = 0; one < stacks; one++)
        for (long tile = 0; tile < stack; tile++)
            largest = larger(largest, _mm512_loadu_ps(from + one * next + tile * LANES));
    scales(largest, &factor, &worth);
    for (long one = 0; one < stacks; one++)
        for (long row = 0; row < 16; row++) {
            __m512 x[4];
            for (int i = 0; i < 4; i++)
                x[i] = i * 16 < stack ? _mm512_loadu_ps(from + one * next + (i * 16 + row) * LANES) : _mm512_setzero_ps();
            digits(x, factor, to + one * apart + row * 64, TILE);
        }
    return worth;
}

/* The products of a line of places in `weigh`: `some` blocks of channels with `panels` panels of the gradient, which has
 * `columns` times LANES columns from there on. */
static void NAME(outers_by_unit)(const REAL *signal, long signal_step, const REAL *gradient, long gradient_step, long some,
                                 long panels, long columns, long stacks, long stack, REAL *to, long stride)
{
    char left[2][CHANNELS / 16][PARTS][TILE] __attribute__((aligned(64)));
    char right[2][2][PARTS][TILE] __attribute__((aligned(64)));
    float rows[CHANNELS], of_columns[COLUMNS];
    start_unit();
    for (long v = 0; v < A; v++, signal += signal_step, gradient += gradient_step)
        for (long first = 0; first < stacks; first += 2) {
            long steps = stacks - first < 2 ? stacks - first : 2;
            for (long block = 0; block < some; block++) {
                __m512 worth = NAME(digits_of_tiles)(signal + first * A * A * signal_step + block * stack * LANES,
                                                     A * A * signal_step, steps, stack, left[0][block][0], sizeof left[0]);
                _mm512_storeu_ps(rows + block * 16, worth);
                for (long step = 0; step < steps; step++)
                    for (int part = 0; part < PARTS; part++) turn(left[step][block][part]);
            }
            for (long p = 0; p < panels; p++) {
                for (long half = 0; half < 2; half++) {
                    long column = p * 2 + half;
                    __m512 worth = _mm512_setzero_ps();
                    if (column < columns)
                        worth = NAME(digits_of_tiles)(gradient + first * A * A * gradient_step + column * stack * LANES,
                                                      A * A * gradient_step, steps, stack, right[0][half][0], sizeof right[0]);
                    _mm512_storeu_ps(of_columns + half * 16, worth);
                }
                __asm__ volatile("" ::: "memory");
                Left own = {left[0][0][0], sizeof left[0], TILE, PARTS * TILE, rows};
                Right other = {right[0][0][0], of_columns};
                multiply_tiles(own, other, some, steps, to + p * CHANNELS * stride + v * COLUMNS, LANES * stride, stride,
                               first == 0, (const char *)right);
            }
        }
    _tile_release();
}
#endif

/* The sum of all terms at `places` places from `from` on, for the stack with row `slot` in it:
 * stack/GROUP places (GROUP panels*COLUMNS + LANES). */
static void NAME(products)(const Term *terms, int count_of_terms, long plane, long planes, long slots, long slot,
                           long stack, long panel, long panels, long from, long places, REAL *sum)
{
#ifdef UNIT
    if (unit) {
        NAME(products_by_unit)(terms, count_of_terms, plane, planes, slots, slot, stack, panel, panels, from, places, sum);
        return;
    }
#endif
    long stride = panels * COLUMNS, step = GROUP * stride + LANES;
    long lines = (LANES * COLUMNS * sizeof(REAL) / 64 * ROWS + stack - 1) / stack;
    for (long place = from; place < from + places; place++) {
        int anew = 1;
        for (int t = 0; t < count_of_terms; t++) {
            const Term *term = terms + t;
            if (plane + term->shift < 0 || plane + term->shift >= planes) continue;
            long next = NAME(place)(term->blocks, stack);
            const REAL *signal = (const REAL *)term->signal +
                                 (((plane + term->shift) * slots + slot) / stack * A * A + place) * next;
            for (long first = 0; first < term->blocks; first += DEPTH) {
                long blocks = term->blocks - first < DEPTH ? term->blocks - first : DEPTH;
                for (long p = 0; p < panels; p++) {
                    const REAL *right = (const REAL *)term->kernel +
                                        (((panel + p) * A * A + place) * term->blocks + first) * LANES * COLUMNS;
                    const REAL *soon = right + blocks * LANES * COLUMNS;
                    for (long row = 0; row < stack; row += ROWS)
                        NAME(multiply)(signal + (first * stack + row) * LANES, stack * LANES, right, blocks,
                                   sum + (row / GROUP * places + place - from) * step + row % GROUP * stride + p * COLUMNS, stride,
                                   anew, soon + row / ROWS * lines * (64 / sizeof(REAL)), lines,
                                   p * (ROWS * LANES / panels), ROWS * LANES / panels * sizeof(REAL) / 64);
                }
                anew = 0;
            }
        }
        if (anew)
            for (long group = 0; group < stack / GROUP; group++)
                for (long one = 0; one < GROUP * stride; one++) sum[(group * places + place - from) * step + one] = 0;
    }
}

/* How many of `all` panels go together, at most `most`: as many as leave every thread its share of the work. */
static inline long NAME(together)(long all, long others, long most, int threads)
{
    for (long some = most < all ? most : all; some > 1; some--)
        if ((all + some - 1) / some * others % threads == 0) {
            long shares = (all + some - 1) / some;
            return (all + shares - 1) / shares;
        }
    return 1;
}

/* How work is shared out: images that go together, slices, and panels. */
#define UNITS(most)                                                                                            \
    long across = (width + M - 1) / M, tiles = NAME(tiles)(height, width), stack = NAME(stack)(batch, tiles);   \
    long slots = NAME(slots)(batch, tiles), images = NAME(images)(tiles), filled = NAME(filled)(batch, tiles); \
    long groups = (batch + images - 1) / images, all = (channels_out + COLUMNS - 1) / COLUMNS;                 \
    long wide = NAME(together)(all, groups * planes, most, threads), shares = (all + wide - 1) / wide;         \
    long size = NAME(scratch)();

/* Numbers of scratch memory that each thread takes. */
long NAME(scratch)(void)
{
    long ahead = TILES / GROUP * A * (M + 1) * (GROUP * PANELS * COLUMNS + LANES);
    long back = TILES / GROUP * A * A * (GROUP * PANELS_BACK * COLUMNS + LANES);
    long outers = PANELS_OUTER * CHANNELS * (A * COLUMNS + LANES), kernels = A * A * 128 * LANES;
    long most = ahead > back ? ahead : back;
    if (outers > most) most = outers;
    return kernels > most ? kernels : most;
}

/* Signals to gates: products, summed over the sources, and the way back. An offset is added where there is one. */
void NAME(respond)(const Term *terms, int count_of_terms, REAL *const *gates, const REAL *offset, long batch,
                   long planes, long height, long width, long channels, int count_of_gates, REAL *scratch, int threads)
{
    long each = NAME(blocks)(channels) * LANES, channels_out = each * count_of_gates;
    UNITS(PANELS)
#pragma omp parallel for collapse(3) schedule(dynamic, 1) num_threads(threads)
    for (long share = 0; share < shares; share++)
        for (long plane = 0; plane < planes; plane++)
            for (long group = 0; group < groups; group++) {
                REAL *sum = scratch + THREAD * size, *line_sum = sum + TILES / GROUP * A * M * (GROUP * PANELS * COLUMNS + LANES);
                long panel = share * wide, panels = panel + wide <= all ? wide : all - panel;
                long last = (group + 1) * images < batch ? (group + 1) * images : batch;
                for (long begin = 0; begin < filled; begin += stack) {
                    long own_rows = (last - group * images) * tiles - begin;
                    long wide_step = GROUP * panels * COLUMNS + LANES;
                    for (long u = 0; u < A; u++) { /* the way back in one dimension while a line of places is at hand */
                        NAME(products)(terms, count_of_terms, plane, planes, slots, group * filled + begin, stack, panel,
                                       panels, u * A, A, line_sum);
                        for (long row = 0; row < stack && row < own_rows; row++)
                            for (long part = 0; part < panels * COLUMNS; part += LANES) {
                                long place = row % GROUP * panels * COLUMNS + part;
                                VECTOR line[A], cells[M];
                                UNROLLED
                                for (int v = 0; v < A; v++)
                                    line[v] = *(const VECTOR *)(line_sum + (row / GROUP * A + v) * wide_step + place);
                                NAME(back)(line, 1, cells, 1);
                                UNROLLED
                                for (int j = 0; j < M; j++)
                                    *(VECTOR *)(sum + ((row / GROUP * A + u) * M + j) * wide_step + place) = cells[j];
                            }
                    }
                    for (long row = 0; row < stack && row < own_rows; row++) {
                        long image = group * images + (begin + row) / tiles, tile = (begin + row) % tiles;
                        long top = tile / across * M, left = tile % across * M;
                        for (long part = 0; part < panels * COLUMNS; part += LANES) {
                            long channel = panel * COLUMNS + part;
                            if (channel >= channels_out) break;
                            const REAL *from = sum + row / GROUP * A * M * wide_step + row % GROUP * panels * COLUMNS + part;
                            VECTOR cells[M * M];
                            for (int j = 0; j < M; j++) {
                                VECTOR line[A];
                                UNROLLED
                                for (int u = 0; u < A; u++) line[u] = *(const VECTOR *)(from + (u * M + j) * wide_step);
                                NAME(back)(line, 1, cells + j, M);
                            }
                            long own = channels - channel % each;
                            VECTOR more = offset ? NAME(some)(offset + NAME(channel)(channel, channels), own) : (VECTOR){0};
                            REAL *gate = gates[channel / each] + channel % each;
                            for (int i = 0; i < M && top + i < height; i++) {
                                REAL *to =
                                    gate + (((image * planes + plane) * height + top + i) * width + left) * channels;
                                for (int j = 0; j < M && left + j < width; j++)
                                    NAME(put)(to + j * channels, cells[i * M + j] + more, own);
                            }
                        }
                    }
                }
            }
}

/* Signals of gradients to the gradient of a field: products with the transposes, and the adjoint of the way forth. */
void NAME(retrace)(const Term *terms, int count_of_terms, REAL *field, long batch, long planes, long height, long width,
                   long channels_out, REAL *scratch, int threads)
{
    UNITS(PANELS_BACK)
#pragma omp parallel for collapse(3) schedule(dynamic, 1) num_threads(threads)
    for (long share = 0; share < shares; share++)
        for (long plane = 0; plane < planes; plane++)
            for (long group = 0; group < groups; group++) {
                REAL *sum = scratch + THREAD * size;
                long panel = share * wide, panels = panel + wide <= all ? wide : all - panel;
                long last = (group + 1) * images < batch ? (group + 1) * images : batch;
                long first = panel * COLUMNS, own = channels_out - first;
                if (own > panels * COLUMNS) own = panels * COLUMNS;
                for (long image = group * images; image < last; image++)
                    for (long cell = 0; cell < height * width; cell++)
                        for (long c = 0; c < own; c += LANES)
                            NAME(put)(field + ((image * planes + plane) * height * width + cell) * channels_out + first + c,
                                      (VECTOR){0}, own - c);
                for (long begin = 0; begin < filled; begin += stack) {
                    long own_rows = (last - group * images) * tiles - begin;
                    NAME(products)(terms, count_of_terms, plane, planes, slots, group * filled + begin, stack, panel, panels,
                                   0, A * A, sum);
                    for (long row = 0; row < stack && row < own_rows; row++) {
                        long image = group * images + (begin + row) / tiles, tile = (begin + row) % tiles;
                        long top = tile / across * M - MARGIN, left = tile % across * M - MARGIN;
                        REAL *cells = field + (image * planes + plane) * height * width * channels_out + first;
                        for (long c = 0; c < own; c += LANES) {
                            VECTOR half[A * A];
                            long step = GROUP * panels * COLUMNS + LANES;
                            const REAL *from = sum + row / GROUP * A * A * step + row % GROUP * panels * COLUMNS + c;
                            for (int v = 0; v < A; v++) {
                                VECTOR line[A];
                                UNROLLED
                                for (int u = 0; u < A; u++) line[u] = *(const VECTOR *)(from + (u * A + v) * step);
                                NAME(forth_adjoint)(line, 1, half + v, A);
                            }
                            for (int u = 0; u < A; u++) {
                                long y = top + u;
                                if (y < 0 || y >= height) continue;
                                VECTOR line[A];
                                NAME(forth_adjoint)(half + u * A, 1, line, 1);
                                for (int v = 0; v < A; v++) {
                                    long x = left + v;
                                    if (x < 0 || x >= width) continue;
                                    REAL *to = cells + (y * width + x) * channels_out + c;
                                    NAME(put)(to, NAME(some)(to, own - c) + line[v], own - c);
                                }
                            }
                        }
                    }
                }
            }
}

/* The product of EVEN channels of a signal with COLUMNS of a gradient, over `stacks`, one after the other. Short chains of
 * additions round less: each of CHAIN tiles is added up for itself. */
static inline __attribute__((always_inline)) void NAME(outer)(const REAL *signal, long signal_step,
                                                              const REAL *gradient, long gradient_step, long apart,
                                                              long stacks, long stack, REAL *to, long stride,
                                                              const REAL *soon, long lines)
{
    for (long one = 0; one < stacks; one++, signal += signal_step, gradient += gradient_step) {
        NAME(ahead)(soon + one * signal_step, lines);
        for (long first = 0; first < stack; first += CHAIN) {
            VECTOR found[EVEN][COLUMNS / LANES];
            UNROLLED
            for (int r = 0; r < EVEN; r++)
                UNROLLED
                for (int c = 0; c < COLUMNS / LANES; c++) found[r][c] = (VECTOR){0};
            long last = first + CHAIN < stack ? first + CHAIN : stack;
            _Pragma("GCC unroll 8")
            for (long tile = first; tile < last; tile++) {
                VECTOR factors[COLUMNS / LANES];
                UNROLLED
                for (int c = 0; c < COLUMNS / LANES; c++)
                    factors[c] = *(const VECTOR *)(gradient + tile * LANES + c * apart);
                UNROLLED
                for (int r = 0; r < EVEN; r++)
                    UNROLLED
                    for (int c = 0; c < COLUMNS / LANES; c++) found[r][c] += signal[tile * LANES + r] * factors[c];
            }
            UNROLLED
            for (int r = 0; r < EVEN; r++)
                UNROLLED
                for (int c = 0; c < COLUMNS / LANES; c++) {
                    VECTOR *sum = (VECTOR *)(to + r * stride + c * LANES);
                    if (one == 0 && first == 0) *sum = found[r][c];
                    else *sum += found[r][c];
                }
        }
    }
}

/* Add to a kernel's sum what rows of a signal from `read` on and of a gradient, which has `of_out` times LANES channels,
 * from `written` on give: whole stacks. */
void NAME(weigh)(const REAL *signal, const REAL *gradient, REAL *sum, long in, long of_out, long read, long written,
                 long rows, long stack, REAL *scratch, int threads)
{
    long blocks = NAME(blocks)(in), all = (of_out * LANES + COLUMNS - 1) / COLUMNS;
    long parts = (blocks + CHANNELS / LANES - 1) / (CHANNELS / LANES), wide = NAME(together)(all, parts, PANELS_OUTER, threads);
    long shares = (all + wide - 1) / wide, stride = A * COLUMNS + LANES;
    long signal_step = NAME(place)(blocks, stack), gradient_step = NAME(place)(of_out, stack);
#pragma omp parallel for collapse(2) schedule(dynamic, 1) num_threads(threads)
    for (long share = 0; share < shares; share++)
        for (long part = 0; part < parts; part++) {
            REAL *found = scratch + THREAD * NAME(scratch)();
            long first = part * (CHANNELS / LANES), panel = share * wide, panels = panel + wide <= all ? wide : all - panel;
            long some = blocks - first < CHANNELS / LANES ? blocks - first : CHANNELS / LANES;
            for (int u = 0; u < A; u++) { /* a line of places at a time, mapped back while it is at hand */
#ifdef UNIT
                if (unit)
                    NAME(outers_by_unit)(signal + (read / stack * A * A + u * A) * signal_step + first * stack * LANES, signal_step,
                                         gradient + (written / stack * A * A + u * A) * gradient_step +
                                             panel * (COLUMNS / LANES) * stack * LANES,
                                         gradient_step, some, panels, of_out - panel * (COLUMNS / LANES), rows / stack, stack,
                                         found, stride);
                else
#endif
                for (int v = 0; v < A; v++)
                    for (long p = 0; p < panels; p++) {
                        long apart = (panel + p + 1) * (COLUMNS / LANES) <= of_out ? stack * LANES : 0;
                        const REAL *right = gradient + (written / stack * A * A + u * A + v) * gradient_step +
                                            (panel + p) * (COLUMNS / LANES) * stack * LANES;
                        for (long block = 0; block < some; block++)
                            for (int row = 0; row < LANES; row += EVEN) {
                                const REAL *left = signal + (read / stack * A * A + u * A + v) * signal_step +
                                                   (first + block) * stack * LANES + row;
                                NAME(outer)(left, A * A * signal_step, right, A * A * gradient_step, apart,
                                            rows / stack, stack,
                                            found + ((p * CHANNELS) + block * LANES + row) * stride + v * COLUMNS, stride,
                                            left - row + signal_step + (p * LANES + row) * stack / panels, EVEN * stack * LANES / LANES * sizeof(REAL) / 64 / panels);
                            }
                    }
                for (long p = 0; p < panels; p++)
                    for (long channel = 0; channel < some * LANES && first * LANES + channel < in; channel++)
                        for (int c = 0; c < COLUMNS; c += LANES) {
                            VECTOR line[A], cells[R];
                            const REAL *from = found + (p * CHANNELS + channel) * stride + c;
                            UNROLLED
                            for (int v = 0; v < A; v++) line[v] = *(const VECTOR *)(from + v * COLUMNS);
                            NAME(kernel_adjoint)(line, 1, cells, 1);
                            REAL *to = sum + ((panel + p) * in + first * LANES + channel) * R * R * COLUMNS + c;
                            for (int i = 0; i < R; i++) {
                                if (KERNEL[u][i] == 0) continue;
                                UNROLLED
                                for (int j = 0; j < R; j++)
                                    *(VECTOR *)(to + (i * R + j) * COLUMNS) += (REAL)KERNEL[u][i] * cells[j];
                            }
                        }
            }
        }
}
