/* Winograd by the matrix unit: operands in digits, and their products. */

#ifdef UNIT
/* Group number `group` of a tile's channels, `some` blocks of LANES, at all places in digits: row `slot` of a signal. */
static void NAME(put_digits)(const VECTOR (*values)[8], long group, long some, long blocks, REAL *signal, long stack,
                             long slot)
{
    long next = NAME(place_of_digits)(blocks, stack), row = slot % stack;
    REAL *place = signal + slot / stack * A * A * next;
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
            for (int part = 0; part < PARTS; part++) /* for the tile after the next */
                __builtin_prefetch(to + part * stack * 64 + 128, 1, 3);
        }
        place[(DIGITS(blocks) * 16 + group) * stack + row] = worth[0];
    }
}

/* As `pack`, in digits. */
static void NAME(pack_digits)(const REAL *kernel, REAL *packed, long panels, long out, long each_out, long rows,
                              long each_in, long out_step, long in_step, REAL *scratch, int threads)
{
    long blocks = rows / LANES, size = NAME(kernel_of_digits)(blocks);
#pragma omp parallel for collapse(2) schedule(static) num_threads(threads)
    for (long panel = 0; panel < panels; panel++)
        for (long group = 0; group < GROUPS(blocks); group++)
            for (int half = 0; half < 2; half++) {
                REAL *found = scratch + THREAD * NAME(scratch)();
                long first = group * GROUPED, some = rows - first < GROUPED ? rows - first : GROUPED;
                for (long row = 0; row < some; row++)
                    NAME(transform_row)(kernel, panel * COLUMNS + half * LANES, out, each_out,
                                        NAME(channel)(first + row, each_in), out_step, in_step, found + row * LANES,
                                        (GROUPED + 1) * LANES);
                for (long place = 0; place < A * A; place++) {
                    const VECTOR *values = (const VECTOR *)(found + place * (GROUPED + 1) * LANES);
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
                    _mm512_storeu_ps(own + (DIGITS(blocks) * 16 + group) * COLUMNS + half * 16, worth);
                }
            }
}

/* As `products`. */
static void NAME(products_by_unit)(const Term *terms, int count_of_terms, long plane, long planes, long slots,
                                   long slot, long stack, long panel, long panels, long from, long places, REAL *sum)
{
    long stride = panels * COLUMNS, step = GROUP * stride + LANES;
    start_unit();
    for (long place = 0; place < places; place++)
        for (long p = 0; p < panels; p++) {
            int anew = 1;
            for (const Term *term = terms; term < terms + count_of_terms; term++) {
                long read = plane + term->shift, blocks = term->blocks;
                if (read < 0 || read >= planes) continue;
                long own_place = (read * slots + slot) / stack * A * A + from + place;
                const REAL *signal = (const REAL *)term->signal + own_place * NAME(place_of_digits)(blocks, stack);
                const REAL *kernel = (const REAL *)term->kernel +
                                     ((panel + p) * A * A + from + place) * NAME(kernel_of_digits)(blocks);
                const REAL *rows = signal + DIGITS(blocks) * 16 * stack;
                const REAL *columns = kernel + DIGITS(blocks) * 16 * COLUMNS;
                for (long group = 0; group < GROUPS(blocks); group++) {
                    long left = (blocks + 3) / 4 - 2 * group;
                    long part = stack * 64;
                    Left own = {(const char *)signal + group * 2 * PARTS * part, PARTS * part, part, TILE,
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
                if (i * 16 < stack) x[i] = _mm512_loadu_ps(from + one * next + (i * 16 + row) * LANES);
                else x[i] = _mm512_setzero_ps();
            digits(x, factor, to + one * apart + row * 64, TILE);
        }
    return worth;
}

/* The products of a line of places in `weigh`: `some` blocks of channels with `panels` panels of the gradient, which has
 * `columns` times LANES columns from there on. */
static void NAME(outers_by_unit)(const REAL *signal, long signal_step, const REAL *gradient, long gradient_step,
                                 long some, long panels, long columns, long stacks, long stack, REAL *to, long stride)
{
    char left[2][CHANNELS / 16][PARTS][TILE] __attribute__((aligned(64)));
    char right[2][2][PARTS][TILE] __attribute__((aligned(64)));
    float rows[CHANNELS], of_columns[COLUMNS];
    start_unit();
    for (long v = 0; v < A; v++, signal += signal_step, gradient += gradient_step)
        for (long first = 0; first < stacks; first += 2) {
            long steps = stacks - first < 2 ? stacks - first : 2;
            for (long block = 0; block < some; block++) {
                const REAL *from = signal + first * A * A * signal_step + block * stack * LANES;
                __m512 worth = NAME(digits_of_tiles)(from, A * A * signal_step, steps, stack, left[0][block][0],
                                                     sizeof left[0]);
                _mm512_storeu_ps(rows + block * 16, worth);
                for (long step = 0; step < steps; step++)
                    for (int part = 0; part < PARTS; part++) turn(left[step][block][part]);
            }
            for (long p = 0; p < panels; p++) {
                for (long half = 0; half < 2; half++) {
                    long column = p * 2 + half;
                    __m512 worth = _mm512_setzero_ps();
                    const REAL *from = gradient + first * A * A * gradient_step + column * stack * LANES;
                    if (column < columns)
                        worth = NAME(digits_of_tiles)(from, A * A * gradient_step, steps, stack, right[0][half][0],
                                                      sizeof right[0]);
                    _mm512_storeu_ps(of_columns + half * 16, worth);
                }
                __asm__ volatile("" ::: "memory");
                Left own = {left[0][0][0], sizeof left[0], TILE, PARTS * TILE, rows};
                Right other = {right[0][0][0], of_columns};
                multiply_tiles(own, other, some, steps, to + p * CHANNELS * stride + v * COLUMNS, LANES * stride,
                               stride, first == 0, (const char *)right);
            }
        }
    _tile_release();
}
#endif
