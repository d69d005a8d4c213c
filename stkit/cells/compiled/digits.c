/* Winograd by the matrix unit: operands in digits, and their products. */

#ifdef UNIT
#define TWO 2

/* As `kernel`. After the first, points come in pairs of opposite sign, for which only odd powers differ. */
static inline __attribute__((always_inline)) void NAME(half_kernel)(const __m512d *x, int from, __m512d *y, int to)
{
    UNROLLED
    for (int i = 0; i < A; i++) {
        if (i % 2 == 0 && 0 < i && i < A - 1) continue;
        __m512d even = _mm512_setzero_pd(), odd = _mm512_setzero_pd();
        UNROLLED
        for (int j = 0; j < R; j += 2)
            if (KERNEL[i][j] != 0) even += KERNEL[i][j] * x[j * from];
        UNROLLED
        for (int j = 1; j < R; j += 2)
            if (KERNEL[i][j] != 0) odd += KERNEL[i][j] * x[j * from];
        y[i * to] = even + odd;
        if (0 < i && i < A - 1) y[(i + 1) * to] = even - odd;
    }
}

/* Group number `group` of a tile's channels, `some` blocks of LANES, at all places: row `slot` of a signal. */
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
            char *to = (char *)(place + ((group * 2 + step) * DIGITS_LEFT * stack + row) * 16);
            digits(x + 4 * step, factor, DIGITS_LEFT, to, stack * 64);
            for (int part = 0; part < DIGITS_LEFT; part++) /* for the tile after the next */
                __builtin_prefetch(to + part * stack * 64 + 128, 1, 3);
        }
        place[(NUMBERS(blocks, DIGITS_LEFT) * 16 + group) * stack + row] = worth[0];
    }
}

/* As `transform_row`, vector by vector, and the largest number of each place so far. */
static inline void NAME(transform_vectors)(const REAL *kernel, long first, long columns, long each_out, long read,
                                           long out_step, long in_step, __m512 *to, __m512i *largest)
{
    __m512i read_cells[(R * R + 15) / 16 * 16];
    for (int from = 0; from < R * R; from += 16) {
        __mmask16 some = from + 16 <= R * R ? 0xffff : (1 << (R * R - from)) - 1;
        UNROLLED
        for (int lane = 0; lane < LANES; lane++) {
            long column = NAME(channel)(first + lane, each_out);
            int none = column < 0 || column >= columns || read < 0;
            const REAL *own = none ? kernel : kernel + column * out_step + read * in_step + from;
            read_cells[from + lane] = _mm512_maskz_loadu_epi32(none ? 0 : some, own);
        }
        turn_rows(read_cells + from);
    }
    __m256 lower[A * A];
    for (int side = 0; side < 2; side++) {
        __m512d cells[R * R], half[A * R], line[A];
        for (int cell = 0; cell < R * R; cell++)
            cells[cell] = _mm512_cvtps_pd(_mm256_load_ps((const float *)(read_cells + cell) + side * 8));
        for (int j = 0; j < R; j++) NAME(half_kernel)(cells + j, R, half + j, R);
        for (int u = 0; u < A; u++) {
            NAME(half_kernel)(half + u * R, 1, line, 1);
            UNROLLED
            for (int v = 0; v < A; v++) {
                __m256 own = _mm512_cvtpd_ps(line[v]);
                if (side == 0) lower[u * A + v] = own;
                else {
                    __m512 both = _mm512_insertf32x8(_mm512_castps256_ps512(lower[u * A + v]), own, 1);
                    to[u * A + v] = both;
                    largest[u * A + v] = larger(largest[u * A + v], both);
                }
            }
        }
    }
}

/* Transformed kernels, each a vector of columns, `next` vectors from one to the other, as whole numbers in their
 * columns' units: each place is rounded to where it cancels most of what the rounding of those before it does to a
 * result. See `shares` in compiler.py. Two side by side: each is a chain of steps that wait for one another. */
static void NAME(round_together)(__m512 *kernel, long next, const __m512 *factor, const __m512 *unit)
{
    const __m512 most = _mm512_set1_ps(LARGEST), least = _mm512_set1_ps(-LARGEST);
    __m512 errors[A][A][TWO];
    for (int u = 0; u < A; u++) {
        __m512 found[A][TWO];
        UNROLLED
        for (int v = 0; v < A; v++) {
            __m512 above[TWO], known[TWO];
            UNROLLED
            for (int one = 0; one < TWO; one++) above[one] = _mm512_setzero_ps();
            for (int before = 0; before < u; before++)
                UNROLLED
                for (int one = 0; one < TWO; one++)
                    above[one] =
                        _mm512_fmadd_ps(_mm512_set1_ps((float)SHARES[u][before]), errors[before][v][one], above[one]);
            long place = ORDER[u] * A + ORDER[v];
            UNROLLED
            for (int one = 0; one < TWO; one++) known[one] = above[one];
            UNROLLED
            for (int before = 0; before < v; before++)
                if (SHARES[v][before] != 0)
                    UNROLLED
                    for (int one = 0; one < TWO; one++)
                        known[one] =
                            _mm512_fmadd_ps(_mm512_set1_ps((float)SHARES[v][before]), found[before][one], known[one]);
            UNROLLED
            for (int one = 0; one < TWO; one++) {
                __m512 x = kernel[one * next + place];
                __m512 whole =
                    _mm512_roundscale_ps(_mm512_mul_ps(_mm512_sub_ps(x, known[one]), factor[place]), 0);
                whole = _mm512_max_ps(_mm512_min_ps(whole, most), least);
                errors[u][v][one] = _mm512_fmsub_ps(whole, unit[place], x);
                found[v][one] = _mm512_add_ps(errors[u][v][one], above[one]);
                kernel[one * next + place] = whole;
            }
        }
    }
}

/* As `pack`, in digits. */
static void NAME(pack_digits)(const REAL *kernel, REAL *packed, long panels, long out, long each_out, long rows,
                              long each_in, long out_step, long in_step, REAL *scratch, int threads)
{
    const long next = A * A + 1; /* vectors from one row to the next */
    long blocks = rows / LANES, size = NAME(kernel_of_digits)(blocks);
#pragma omp parallel for collapse(2) schedule(static) num_threads(threads)
    for (long panel = 0; panel < panels; panel++)
        for (long group = 0; group < GROUPS(blocks); group++)
            for (int half = 0; half < 2; half++) {
                __m512 *found = (__m512 *)(scratch + THREAD * NAME(scratch)()), factor[A * A], unit[A * A];
                __m512i largest[A * A];
                long first = group * GROUPED, some = rows - first < GROUPED ? rows - first : GROUPED;
                for (long place = 0; place < A * A; place++) largest[place] = _mm512_setzero_si512();
                for (long row = 0; row < some; row++)
                    NAME(transform_vectors)(kernel, panel * COLUMNS + half * LANES, out, each_out,
                                            NAME(channel)(first + row, each_in), out_step, in_step, found + row * next,
                                            largest);
                for (long place = 0; place < A * A; place++) {
                    __m512 worth;
                    scales_right(largest[place], &factor[place], &worth);
                    unit[place] = _mm512_mul_ps(worth, _mm512_set1_ps(0x1p-16f));
                    REAL *own = packed + (panel * A * A + place) * size;
                    _mm512_storeu_ps(own + (NUMBERS(blocks, DIGITS_RIGHT) * 16 + group) * COLUMNS + half * 16, worth);
                }
                for (long row = 0; row < some; row += TWO)
                    NAME(round_together)(found + row * next, next, factor, unit);
                for (long place = 0; place < A * A; place++)
                    for (long step = 0; step * STEPS < some; step++) {
                        char *to = (char *)(packed + (panel * A * A + place) * size) +
                                   ((group * 2 + step) * 2 + half) * DIGITS_RIGHT * TILE;
                        for (long row = 0; row < 16; row++) {
                            __m512 x[4];
                            for (int i = 0; i < 4; i++) {
                                long one = step * STEPS + i * 16 + row;
                                x[i] = one < some ? found[one * next + place] : _mm512_setzero_ps();
                            }
                            digits(x, _mm512_set1_ps(1), DIGITS_RIGHT, to + row * 64, TILE);
                            for (int part = 0; part < DIGITS_RIGHT; part++) /* of the next place */
                                __builtin_prefetch(to + size * sizeof(REAL) + part * TILE + row * 64, 1, 3);
                        }
                    }
            }
}

/* As `products`, of those terms that are in digits; whether there are none. */
static int NAME(products_by_unit)(const Term *terms, int count_of_terms, long plane, long planes, long slots,
                                  long slot, long stack, long panel, long panels, long from, long places, REAL *sum)
{
    long stride = panels * COLUMNS, step = GROUP * stride + LANES;
    int none = 1;
    for (const Term *term = terms; term < terms + count_of_terms; term++)
        if (0 <= plane + term->shift && plane + term->shift < planes && NAME(in_digits)(term->blocks)) none = 0;
    if (none) return 1;
    start_unit();
    for (long place = 0; place < places; place++)
        for (long p = 0; p < panels; p++) {
            int anew = 1;
            for (const Term *term = terms; term < terms + count_of_terms; term++) {
                long read = plane + term->shift, blocks = term->blocks;
                if (read < 0 || read >= planes || !NAME(in_digits)(blocks)) continue;
                long own_place = (read * slots + slot) / stack * A * A + from + place;
                const REAL *signal = (const REAL *)term->signal + own_place * NAME(place_of_digits)(blocks, stack);
                const REAL *kernel = (const REAL *)term->kernel +
                                     ((panel + p) * A * A + from + place) * NAME(kernel_of_digits)(blocks);
                const REAL *rows = signal + NUMBERS(blocks, DIGITS_LEFT) * 16 * stack;
                const REAL *columns = kernel + NUMBERS(blocks, DIGITS_RIGHT) * 16 * COLUMNS;
                for (long group = 0; group < GROUPS(blocks); group++) {
                    long left = (blocks + 3) / 4 - 2 * group;
                    long part = stack * 64;
                    Left own = {(const char *)signal + group * 2 * DIGITS_LEFT * part, DIGITS_LEFT * part, part, TILE,
                                rows + group * stack};
                    Right other = {(const char *)kernel + group * 2 * 2 * DIGITS_RIGHT * TILE,
                                   columns + group * COLUMNS};
                    const char *soon = other.digits + 2 * 2 * DIGITS_RIGHT * TILE;
                    multiply_tiles(own, other, stack / 16, left < 2 ? left : 2,
                                   sum + place * step + p * COLUMNS, places * step, stride, anew, soon);
                    anew = 0;
                }
            }
        }
    _tile_release();
    return 0;
}

/* LANES channels of the tiles of some stacks, `next` numbers apart, in digits: what the channels are worth. */
static inline __m512 NAME(digits_of_tiles)(const REAL *from, long next, long stacks, long stack, int count, char *to,
                                           long apart)
{
    __m512 factor, worth;
    __m512i largest = _mm512_setzero_si512();
    for (long one = 0; one < stacks; one++)
        for (long tile = 0; tile < stack; tile++)
            largest = larger(largest, _mm512_loadu_ps(from + one * next + tile * LANES));
    (count == DIGITS_LEFT ? scales : scales_right)(largest, &factor, &worth);
    for (long one = 0; one < stacks; one++)
        for (long row = 0; row < 16; row++) {
            __m512 x[4];
            for (int i = 0; i < 4; i++)
                if (i * 16 < stack) x[i] = _mm512_loadu_ps(from + one * next + (i * 16 + row) * LANES);
                else x[i] = _mm512_setzero_ps();
            digits(x, factor, count, to + one * apart + row * 64, TILE);
        }
    return worth;
}

/* The products of a line of places in `weigh`: `some` blocks of channels with `panels` panels of the gradient, which
 * has `columns` times LANES columns from there on. */
static void NAME(outers_by_unit)(const REAL *signal, long signal_step, const REAL *gradient, long gradient_step,
                                 long some, long panels, long columns, long stacks, long stack, REAL *to, long stride)
{
    char left[2][CHANNELS / 16][DIGITS_LEFT][TILE] __attribute__((aligned(64)));
    char right[2][2][DIGITS_RIGHT][TILE] __attribute__((aligned(64)));
    float rows[CHANNELS], of_columns[COLUMNS];
    start_unit();
    for (long v = 0; v < A; v++, signal += signal_step, gradient += gradient_step)
        for (long first = 0; first < stacks; first += 2) {
            long steps = stacks - first < 2 ? stacks - first : 2;
            for (long block = 0; block < some; block++) {
                const REAL *from = signal + first * A * A * signal_step + block * stack * LANES;
                __m512 worth = NAME(digits_of_tiles)(from, A * A * signal_step, steps, stack, DIGITS_LEFT,
                                                     left[0][block][0], sizeof left[0]);
                _mm512_storeu_ps(rows + block * 16, worth);
                for (long step = 0; step < steps; step++)
                    for (int part = 0; part < DIGITS_LEFT; part++) turn(left[step][block][part]);
            }
            for (long p = 0; p < panels; p++) {
                for (long half = 0; half < 2; half++) {
                    long column = p * 2 + half;
                    __m512 worth = _mm512_setzero_ps();
                    const REAL *from = gradient + first * A * A * gradient_step + column * stack * LANES;
                    if (column < columns)
                        worth = NAME(digits_of_tiles)(from, A * A * gradient_step, steps, stack, DIGITS_RIGHT,
                                                      right[0][half][0], sizeof right[0]);
                    _mm512_storeu_ps(of_columns + half * 16, worth);
                }
                __asm__ volatile("" ::: "memory");
                Left own = {left[0][0][0], sizeof left[0], TILE, DIGITS_LEFT * TILE, rows};
                Right other = {right[0][0][0], of_columns};
                multiply_tiles(own, other, some, steps, to + p * CHANNELS * stride + v * COLUMNS, LANES * stride,
                               stride, first == 0, (const char *)right);
            }
        }
    _tile_release();
}
#endif
