/* Products of matrices at the places of the tiles, summed over terms or tiles. */

/* Ask for `lines` lines of memory that will be read soon. */
static inline __attribute__((always_inline)) void NAME(ahead)(const REAL *from, long lines)
{
    for (long line = 0; line < lines; line++) __builtin_prefetch((const char *)from + line * 64, 0, 3);
}

/* ROWS rows and COLUMNS columns of a product at one place of the tiles, added to `sum` unless `anew`. */
static inline __attribute__((always_inline)) void NAME(multiply)(const REAL *left, long apart,
                                                                 const REAL *right, long blocks, REAL *sum,
                                                                 long stride, int anew, const REAL *soon, long lines,
                                                                 long shift, long also)
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

/* The sum of all terms at `places` places from `from` on, for the stack with row `slot` in it:
 * stack/GROUP places (GROUP panels*COLUMNS + LANES). */
static void NAME(products)(const Term *terms, int count_of_terms, long plane, long planes, long slots, long slot,
                           long stack, long panel, long panels, long from, long places, REAL *sum)
{
    int none = 1;
    IF_UNIT(if (unit) none = NAME(products_by_unit)(terms, count_of_terms, plane, planes, slots, slot, stack, panel,
                                                    panels, from, places, sum);)
    long stride = panels * COLUMNS, step = GROUP * stride + LANES;
    long lines = (LANES * COLUMNS * sizeof(REAL) / 64 * ROWS + stack - 1) / stack;
    for (long place = from; place < from + places; place++) {
        int anew = none;
        for (int t = 0; t < count_of_terms; t++) {
            const Term *term = terms + t;
            if (plane + term->shift < 0 || plane + term->shift >= planes || NAME(in_digits)(term->blocks)) continue;
            long next = NAME(place)(term->blocks, stack);
            const REAL *signal = (const REAL *)term->signal +
                                 (((plane + term->shift) * slots + slot) / stack * A * A + place) * next;
            for (long first = 0; first < term->blocks; first += DEPTH) {
                long blocks = term->blocks - first < DEPTH ? term->blocks - first : DEPTH;
                for (long p = 0; p < panels; p++) {
                    const REAL *right = (const REAL *)term->kernel +
                                        (((panel + p) * A * A + place) * term->blocks + first) * LANES * COLUMNS;
                    const REAL *soon = right + blocks * LANES * COLUMNS;
                    for (long row = 0; row < stack; row += ROWS) {
                        REAL *group = sum + (row / GROUP * places + place - from) * step;
                        NAME(multiply)(signal + (first * stack + row) * LANES, stack * LANES, right, blocks,
                                       group + row % GROUP * stride + p * COLUMNS, stride, anew,
                                       soon + row / ROWS * lines * (64 / sizeof(REAL)), lines,
                                       p * (ROWS * LANES / panels), ROWS * LANES / panels * sizeof(REAL) / 64);
                    }
                }
                anew = 0;
            }
        }
        if (anew)
            for (long group = 0; group < stack / GROUP; group++)
                for (long one = 0; one < GROUP * stride; one++) sum[(group * places + place - from) * step + one] = 0;
    }
}

/* The product of EVEN channels of a signal with COLUMNS of a gradient, over `stacks`, one after the other. Short chains
 * of additions round less: each of CHAIN tiles is added up for itself. */
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

/* The products of a line of places in `weigh`: `some` blocks of channels of a signal with `panels` panels of a
 * gradient, which has `columns` times LANES columns from there on. */
static void NAME(outers)(const REAL *signal, long signal_step, const REAL *gradient, long gradient_step, long some,
                         long panels, long columns, long stacks, long stack, REAL *to, long stride)
{
    IF_UNIT(if (NAME(in_digits)(some)) {
        NAME(outers_by_unit)(signal, signal_step, gradient, gradient_step, some, panels, columns, stacks, stack, to,
                             stride);
        return;
    })
    long lines = EVEN * stack * sizeof(REAL) / 64 / panels;
    for (int v = 0; v < A; v++, signal += signal_step, gradient += gradient_step)
        for (long p = 0; p < panels; p++) {
            long apart = (p + 1) * (COLUMNS / LANES) <= columns ? stack * LANES : 0;
            const REAL *right = gradient + p * (COLUMNS / LANES) * stack * LANES;
            for (long block = 0; block < some; block++)
                for (int row = 0; row < LANES; row += EVEN) {
                    const REAL *left = signal + block * stack * LANES;
                    NAME(outer)(left + row, A * A * signal_step, right, A * A * gradient_step, apart, stacks, stack,
                                to + (p * CHANNELS + block * LANES + row) * stride + v * COLUMNS, stride,
                                left + signal_step + (p * LANES + row) * stack / panels, lines);
                }
        }
}
