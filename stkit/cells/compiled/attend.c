/* Attention over keys that are their own values, softmax(Q K^T) K, by the matrix unit of a processor (AMX), which
 * multiplies numbers of 16 bits (bfloat16) and adds in float32. amx.c comes before it.
 *
 * A float32 is the sum of three of 16 bits, without any rounding: each takes the 8 leading bits of what is left. Of the
 * nine products of two such sums the six largest are added up; what is left out is below 2^-24 of the product.
 *
 * An operand lies in panels: SIDE rows of a left one or columns of a right one, and SIDE steps of the sum; of each
 * part, two tiles of 16 rows or columns. Step k lies beside step 16 + k, in pairs, as the unit multiplies them. Keys
 * are always to the left and queries to the right: so scores come with a key in each row, softmax goes down the
 * columns, and what is made of scores is an operand as it stands.
 */

#if defined(UNIT) && defined(__AMX_BF16__)
#define HAS_ATTENTION 1
#define SIDE 32
#define PARTS 3
#define PANEL (PARTS * 2 * TILE)
#define BLOCK 128 /* keys whose scores are there together */
#define CHUNK 512 /* keys that lie in panels together on the way forth */
#define ACROSS (BLOCK / SIDE)

/* Two vectors, steps of a sum that lie beside each other, to PARTS vectors of pairs, `apart` bytes apart. */
static inline __attribute__((always_inline)) void pairs(__m512 x, __m512 y, char *to, long apart)
{
    const __m512i half = _mm512_set1_epi32(0x8000), upper = _mm512_set1_epi32(0xffff0000);
    UNROLLED
    for (int part = 0; part < PARTS; part++) {
        __m512i a = _mm512_castps_si512(x), b = _mm512_castps_si512(y);
        if (part < PARTS - 1) a = _mm512_add_epi32(a, half), b = _mm512_add_epi32(b, half);
        a = _mm512_and_si512(a, upper), b = _mm512_and_si512(b, upper);
        _mm512_store_si512(to + part * apart, _mm512_or_si512(_mm512_srli_epi32(a, 16), b));
        x = _mm512_sub_ps(x, _mm512_castsi512_ps(a)), y = _mm512_sub_ps(y, _mm512_castsi512_ps(b));
    }
}

static inline __m512 some_of(const float *from, long count)
{
    if (count >= 16) return _mm512_loadu_ps(from);
    return count > 0 ? _mm512_maskz_loadu_ps((1 << count) - 1, from) : _mm512_setzero_ps();
}

/* `rows` rows of a matrix, at most SIDE, with zeros for the others: panels that are summed along the rows, and panels
 * that are summed across them. `turned`: these as columns of a right operand, those as rows of a left one. */
static void along(const float *from, long stride, long rows, long columns, char *to, int turned)
{
    for (long first = 0; first < columns; first += SIDE, to += PANEL) {
        for (long row = 0; row < SIDE; row++) {
            const float *own = from + row * stride + first;
            long left = row < rows ? columns - first : 0;
            pairs(some_of(own, left), some_of(own + 16, left - 16), to + row * 64, 2 * TILE);
        }
        if (turned)
            for (long tile = 0; tile < 2 * PARTS; tile++) turn(to + tile * TILE);
    }
}

static void across(const float *from, long stride, long rows, long columns, char *to, long next, int turned)
{
    for (long first = 0; first < columns; first += SIDE, to += next) {
        for (long row = 0; row < 16; row++)
            for (long half = 0; half < 2; half++) {
                const float *own = from + row * stride + first + half * 16;
                long left = columns - first - half * 16;
                pairs(some_of(own, row < rows ? left : 0), some_of(own + 16 * stride, row + 16 < rows ? left : 0),
                      to + half * TILE + row * 64, 2 * TILE);
            }
        if (turned)
            for (long tile = 0; tile < 2 * PARTS; tile++) turn(to + tile * TILE);
    }
}

/* SIDE rows and columns of a product: begun, added to for `panels` panels of the sum, and ended. */
static inline __attribute__((always_inline)) void begin(const float *sum, long stride, int anew)
{
    __asm__ volatile("" ::: "memory");
    if (anew) {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    } else {
        _tile_loadd(0, sum, stride * 4);
        _tile_loadd(1, sum + 16, stride * 4);
        _tile_loadd(2, sum + 16 * stride, stride * 4);
        _tile_loadd(3, sum + 16 * stride + 16, stride * 4);
    }
}

static inline __attribute__((always_inline)) void add(const char *left, long next_left, const char *right,
                                                      long next_right, long panels)
{
#define ROWS_OF(part) \
    _tile_loadd(4, left + part * 2 * TILE, 64); \
    _tile_loadd(5, left + (part * 2 + 1) * TILE, 64)
#define COLUMNS_OF(part) \
    _tile_loadd(6, right + part * 2 * TILE, 64); \
    _tile_loadd(7, right + (part * 2 + 1) * TILE, 64)
#define FOUR_PRODUCTS \
    _tile_dpbf16ps(0, 4, 6); \
    _tile_dpbf16ps(1, 4, 7); \
    _tile_dpbf16ps(2, 5, 6); \
    _tile_dpbf16ps(3, 5, 7)
    const char *a = left, *b = right;
    for (long panel = 0; panel < panels; panel++, left += next_left, right += next_right) {
        ROWS_OF(0); /* small products first, so that they round little; one of both is kept each time */
        COLUMNS_OF(2);
        FOUR_PRODUCTS;
        COLUMNS_OF(1);
        FOUR_PRODUCTS;
        ROWS_OF(1);
        FOUR_PRODUCTS;
        COLUMNS_OF(0);
        FOUR_PRODUCTS;
        ROWS_OF(2);
        FOUR_PRODUCTS;
    }
    for (left = a, right = b; panels > 0; panels--, left += next_left, right += next_right) {
        ROWS_OF(0);
        COLUMNS_OF(0);
        FOUR_PRODUCTS;
    }
}

static inline __attribute__((always_inline)) void end(float *sum, long stride)
{
    _tile_stored(0, sum, stride * 4);
    _tile_stored(1, sum + 16, stride * 4);
    _tile_stored(2, sum + 16 * stride, stride * 4);
    _tile_stored(3, sum + 16 * stride + 16, stride * 4);
    __asm__ volatile("" ::: "memory");
}

/* The same product added to `sum`, SIDE by SIDE, of which each column is first multiplied by its factor. */
static void add_to(const char *left, long next_left, const char *right, long next_right, long panels,
                   const __m512 *factor, float *sum, int anew)
{
    float more[SIDE][SIDE] __attribute__((aligned(64)));
    begin(more[0], SIDE, 1);
    add(left, next_left, right, next_right, panels);
    end(anew ? sum : more[0], SIDE);
    if (anew) return;
    for (long row = 0; row < SIDE; row++)
        for (int half = 0; half < 2; half++) {
            float *to = sum + row * SIDE + half * 16;
            __m512 own = _mm512_load_ps(more[row] + half * 16);
            _mm512_store_ps(to, _mm512_fmadd_ps(_mm512_load_ps(to), factor[half], own));
        }
}

/* Scores of up to BLOCK keys, or products of keys with gradients, for SIDE queries. */
static void multiply_keys(const char *keys, const char *queries, long blocks, long panels, float *scores)
{
    for (long block = 0; block < blocks; block++) {
        begin(scores, SIDE, 1);
        add(keys + block * panels * PANEL, PANEL, queries, PANEL, panels);
        end(scores + block * SIDE * SIDE, SIDE);
    }
}

/* Within two units in the last place, as in gates.c, of what is not above 0; far below it, 0. */
static inline __attribute__((always_inline)) __m512 exponential(__m512 x)
{
    x = _mm512_max_ps(_mm512_set1_ps(-120.0f), x); /* the second one, if it is nan */
    __m512 power = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504088896341f)), 0);
    __m512 rest = _mm512_fnmadd_ps(power, _mm512_set1_ps(0.693359375f), x);
    rest = _mm512_fmadd_ps(power, _mm512_set1_ps(2.12194440e-4f), rest);
    __m512 sum = _mm512_set1_ps(1.9875691500e-4f);
    sum = _mm512_fmadd_ps(sum, rest, _mm512_set1_ps(1.3981999507e-3f));
    sum = _mm512_fmadd_ps(sum, rest, _mm512_set1_ps(8.3334519073e-3f));
    sum = _mm512_fmadd_ps(sum, rest, _mm512_set1_ps(4.1665795894e-2f));
    sum = _mm512_fmadd_ps(sum, rest, _mm512_set1_ps(1.6666665459e-1f));
    sum = _mm512_fmadd_ps(sum, rest, _mm512_set1_ps(5.0000001201e-1f));
    sum = _mm512_fmadd_ps(_mm512_mul_ps(sum, rest), rest, _mm512_add_ps(rest, _mm512_set1_ps(1.0f)));
    __m512i exponent = _mm512_slli_epi32(_mm512_cvtps_epi32(power), 23);
    __mmask16 tiny = _mm512_cmp_ps_mask(x, _mm512_set1_ps(-86.0f), _CMP_LT_OQ);
    return _mm512_castsi512_ps(
        _mm512_mask_mov_epi32(_mm512_add_epi32(_mm512_castps_si512(sum), exponent), tiny, _mm512_setzero_si512()));
}

/* `columns` columns of SIDE rows, a row of which is a column of the result, times `factors`: `rows` rows there. */
static void turned_back(const float *from, const float *factors, long rows, long columns, float *to, long stride)
{
    float tile[16][16] __attribute__((aligned(64)));
    for (long half = 0; half * 16 < rows; half++)
        for (long first = 0; first < columns; first += 16) {
            __m512 factor = _mm512_loadu_ps(factors + half * 16);
            for (long row = 0; row < 16; row++) {
                __m512 own = _mm512_loadu_ps(from + (first + row) * SIDE + half * 16);
                _mm512_store_ps(tile[row], _mm512_mul_ps(own, factor));
            }
            turn((char *)tile);
            long left = columns - first;
            __mmask16 some = left < 16 ? (1 << left) - 1 : 0xffff;
            for (long row = 0; row < 16 && half * 16 + row < rows; row++)
                _mm512_mask_storeu_ps(to + (half * 16 + row) * stride + first, some, _mm512_load_ps(tile[row]));
        }
}

/* What SIDE queries have found so far: the largest score, the sum of exponentials above it, and the sum of keys. */
typedef struct {
    float largest[SIDE], sum[SIDE], found[];
} Found;

/* `count` keys more, of which `allowed` (all where NULL) may be seen. */
static void look_at(const char *keys, const char *values, long count, const unsigned char *allowed,
                    const char *queries, long panels, Found *own, int anew)
{
    float scores[BLOCK][SIDE] __attribute__((aligned(64)));
    char weights[ACROSS][PANEL] __attribute__((aligned(64)));
    __m512 largest[2], sum[2], factor[2];
    long blocks = (count + SIDE - 1) / SIDE;
    multiply_keys(keys, queries, blocks, panels, scores[0]);
    for (int half = 0; half < 2; half++) {
        __m512 before = anew ? _mm512_set1_ps(-3e38f) : _mm512_loadu_ps(own->largest + half * 16);
        largest[half] = before;
        for (long key = 0; key < count; key++)
            if (!allowed || allowed[key])
                largest[half] = _mm512_max_ps(largest[half], _mm512_load_ps(scores[key] + half * 16));
        factor[half] = exponential(_mm512_sub_ps(before, largest[half]));
        sum[half] = _mm512_setzero_ps(); /* of these keys first: short chains of additions round less */
    }
    for (long block = 0; block < blocks; block++)
        for (long row = 0; row < 16; row++)
            for (int half = 0; half < 2; half++) {
                __m512 both[2];
                for (int one = 0; one < 2; one++) {
                    long key = block * SIDE + one * 16 + row;
                    both[one] = _mm512_setzero_ps();
                    if (key < count && (!allowed || allowed[key]))
                        both[one] = exponential(_mm512_sub_ps(_mm512_load_ps(scores[key] + half * 16), largest[half]));
                    sum[half] = _mm512_add_ps(sum[half], both[one]);
                }
                pairs(both[0], both[1], weights[block] + half * TILE + row * 64, 2 * TILE);
            }
    for (int half = 0; half < 2; half++) {
        _mm512_storeu_ps(own->largest + half * 16, largest[half]);
        if (!anew) sum[half] = _mm512_fmadd_ps(factor[half], _mm512_loadu_ps(own->sum + half * 16), sum[half]);
        _mm512_storeu_ps(own->sum + half * 16, sum[half]);
    }
    for (long panel = 0; panel < panels; panel++)
        add_to(values + panel * PANEL, panels * PANEL, weights[0], PANEL, blocks, factor,
               own->found + panel * SIDE * SIDE, anew);
}

/* Bytes of memory for `look`. */
long room_to_look(long queries, long channels)
{
    long panels = (channels + SIDE - 1) / SIDE, blocks = (queries + SIDE - 1) / SIDE;
    return 2 * (CHUNK / SIDE) * panels * PANEL +
           blocks * (panels * PANEL + (long)sizeof(Found) + panels * SIDE * SIDE * 4);
}

/* What `count` queries find, `batch` by `count` by `channels`, and the largest score of each and the sum of
 * exponentials above it, `2` by `batch` by `count`. Keys come in `parts`, of `sizes` each; `allowed` is `batch` by all
 * keys. */
void look(const float *queries, const float *const *parts, const long *sizes, long number,
          const unsigned char *allowed, long batch, long count, long channels, float *found, float *sums, char *room,
          int threads)
{
    long panels = (channels + SIDE - 1) / SIDE, blocks = (count + SIDE - 1) / SIDE, all = 0;
    long each = sizeof(Found) + panels * SIDE * SIDE * 4;
    char *keys = room, *values = keys + CHUNK / SIDE * panels * PANEL;
    char *own = values + CHUNK / SIDE * panels * PANEL, *states = own + blocks * panels * PANEL;
    for (long part = 0; part < number; part++) all += sizes[part];
#pragma omp parallel num_threads(threads)
    {
        start_unit();
        for (long sample = 0; sample < batch; sample++) {
            long seen = sample * all;
#pragma omp for schedule(static)
            for (long block = 0; block < blocks; block++)
                along(queries + (sample * count + block * SIDE) * channels, channels, count - block * SIDE, channels,
                      own + block * panels * PANEL, 1);
            for (long part = 0; part < number; part++)
                for (long first = 0; first < sizes[part]; first += CHUNK) {
                    long here = sizes[part] - first < CHUNK ? sizes[part] - first : CHUNK;
                    const float *from = parts[part] + (sample * sizes[part] + first) * channels;
                    int anew = part == 0 && first == 0;
#pragma omp for schedule(static)
                    for (long row = 0; row < here; row += SIDE) {
                        long to = row / SIDE * panels * PANEL;
                        along(from + row * channels, channels, here - row, channels, keys + to, 0);
                        across(from + row * channels, channels, here - row, channels, values + to, PANEL, 1);
                    }
#pragma omp for schedule(static)
                    for (long block = 0; block < blocks; block++)
                        for (long key = 0; key < here; key += BLOCK) {
                            long to = key / SIDE * panels * PANEL;
                            look_at(keys + to, values + to, here - key < BLOCK ? here - key : BLOCK,
                                    allowed ? allowed + seen + first + key : NULL, own + block * panels * PANEL, panels,
                                    (Found *)(states + block * each), anew && key == 0);
                        }
                    if (first + here == sizes[part]) seen += sizes[part];
                }
#pragma omp for schedule(static)
            for (long block = 0; block < blocks; block++) {
                const Found *state = (const Found *)(states + block * each);
                long rows = count - block * SIDE < SIDE ? count - block * SIDE : SIDE;
                long place = sample * count + block * SIDE;
                float factors[SIDE];
                for (long row = 0; row < SIDE; row++) factors[row] = 1.0f / state->sum[row];
                memcpy(sums + place, state->largest, rows * 4);
                memcpy(sums + batch * count + place, state->sum, rows * 4);
                turned_back(state->found, factors, rows, channels, found + place * channels, channels);
            }
        }
        _tile_release();
    }
}

/* What SIDE queries and their gradient add to the gradient of up to BLOCK keys, `of_keys`, and these to that of
 * the queries, `of_queries`, whose rows are channels: with the weights P and D = P . (G K^T - shift) for the gradient G
 * they are P^T G + D^T Q and D K. */
typedef struct __attribute__((aligned(64))) {
    const char *right, *gradient_right; /* summed along channels */
    const char *left, *gradient_left;   /* summed across queries */
    float total[SIDE], shift[SIDE];     /* logarithm of the sum of exponentials, and product of gradient and found */
} Query;

static void look_back_at(const char *keys, const char *values, long count, const unsigned char *allowed,
                         const Query *query, long panels, float *of_keys, int anew_keys, float *of_queries, int anew)
{
    float scores[BLOCK][SIDE] __attribute__((aligned(64))), moved[BLOCK][SIDE] __attribute__((aligned(64)));
    char weights[ACROSS][PANEL] __attribute__((aligned(64))), slopes[ACROSS][PANEL] __attribute__((aligned(64)));
    char slopes_right[ACROSS][PANEL] __attribute__((aligned(64)));
    long blocks = (count + SIDE - 1) / SIDE;
    multiply_keys(keys, query->right, blocks, panels, scores[0]);
    multiply_keys(keys, query->gradient_right, blocks, panels, moved[0]);
    for (long block = 0; block < blocks; block++)
        for (long row = 0; row < 16; row++) {
            __m512 slope[2][2];
            for (int one = 0; one < 2; one++) {
                __m512 weight[2];
                long key = block * SIDE + one * 16 + row;
                for (int half = 0; half < 2; half++) {
                    weight[half] = slope[one][half] = _mm512_setzero_ps();
                    if (key >= count || (allowed && !allowed[key])) continue;
                    __m512 score = _mm512_load_ps(scores[key] + half * 16);
                    __m512 product = _mm512_load_ps(moved[key] + half * 16);
                    weight[half] = exponential(_mm512_sub_ps(score, _mm512_loadu_ps(query->total + half * 16)));
                    product = _mm512_sub_ps(product, _mm512_loadu_ps(query->shift + half * 16));
                    slope[one][half] = _mm512_mul_ps(weight[half], product);
                }
                pairs(weight[0], weight[1], weights[block] + one * TILE + row * 64, 2 * TILE);
                pairs(slope[one][0], slope[one][1], slopes[block] + one * TILE + row * 64, 2 * TILE);
            }
            for (int half = 0; half < 2; half++)
                pairs(slope[0][half], slope[1][half], slopes_right[block] + half * TILE + row * 64, 2 * TILE);
        }
    if (of_keys)
        for (long block = 0; block < blocks; block++)
            for (long panel = 0; panel < panels; panel++) {
                float *to = of_keys + (block * SIDE * panels + panel) * SIDE;
                begin(to, panels * SIDE, anew_keys);
                add(weights[block], 0, query->gradient_left + panel * PANEL, 0, 1);
                add(slopes[block], 0, query->left + panel * PANEL, 0, 1);
                end(to, panels * SIDE);
            }
    const __m512 ones[2] = {_mm512_set1_ps(1.0f), _mm512_set1_ps(1.0f)};
    for (long panel = 0; panel < panels; panel++)
        add_to(values + panel * PANEL, panels * PANEL, slopes_right[0], PANEL, blocks, ones,
               of_queries + panel * SIDE * SIDE, anew);
}

/* Bytes of memory for `look_back`. */
static long room_of_queries(long blocks, long panels) { return blocks * (4 * panels * PANEL + (long)sizeof(Query)); }

static long room_of_thread(long blocks, long panels)
{
    return 2 * ACROSS * panels * PANEL + (BLOCK + blocks * SIDE) * panels * SIDE * 4;
}

long room_to_look_back(long queries, long channels, int threads)
{
    long panels = (channels + SIDE - 1) / SIDE, blocks = (queries + SIDE - 1) / SIDE;
    return room_of_queries(blocks, panels) + threads * room_of_thread(blocks, panels);
}

/* The gradients of the queries, `slope`, and of those parts for which `slopes` has a place, from that of what was
 * found. `totals` and `shifts` are `batch` by `count`: see Query. */
void look_back(const float *gradient, const float *queries, const float *const *parts, const long *sizes, long number,
               const unsigned char *allowed, long batch, long count, long channels, const float *totals,
               const float *shifts, float *slope, float *const *slopes, char *room, int threads)
{
    long panels = (channels + SIDE - 1) / SIDE, blocks = (count + SIDE - 1) / SIDE, whole = panels * PANEL;
    Query *known = (Query *)(room + 4 * blocks * whole);
    char *own_room = room + room_of_queries(blocks, panels);
    long of_thread = room_of_thread(blocks, panels), pieces = 0, all = 0;
    int used[threads];
    for (int thread = 0; thread < threads; thread++) used[thread] = 0;
    for (long part = 0; part < number; part++) pieces += (sizes[part] + BLOCK - 1) / BLOCK, all += sizes[part];
#pragma omp parallel num_threads(threads)
    {
        char *keys = own_room + THREAD * of_thread, *values = keys + ACROSS * whole;
        float *of_keys = (float *)(values + ACROSS * whole), *of_queries = of_keys + BLOCK * panels * SIDE;
        start_unit();
        for (long sample = 0; sample < batch; sample++) {
#pragma omp for schedule(static)
            for (long block = 0; block < blocks; block++) {
                long place = sample * count + block * SIDE, rows = count - block * SIDE;
                const float *own = queries + place * channels, *given = gradient + place * channels;
                char *to = room + 4 * block * whole;
                Query *query = known + block;
                along(own, channels, rows, channels, to, 1);
                along(given, channels, rows, channels, to + whole, 1);
                across(own, channels, rows, channels, to + 2 * whole, PANEL, 0);
                across(given, channels, rows, channels, to + 3 * whole, PANEL, 0);
                query->right = to, query->gradient_right = to + whole;
                query->left = to + 2 * whole, query->gradient_left = to + 3 * whole;
                for (long row = 0; row < SIDE; row++) { /* a query that is none has a gradient of zeros */
                    query->total[row] = row < rows ? totals[place + row] : 0.0f;
                    query->shift[row] = row < rows ? shifts[place + row] : 0.0f;
                }
            }
            used[THREAD] = 0;
#pragma omp for schedule(static)
            for (long piece = 0; piece < pieces; piece++) {
                long part = 0, first = piece * BLOCK, before = 0;
                while (first >= (sizes[part] + BLOCK - 1) / BLOCK * BLOCK) {
                    first -= (sizes[part] + BLOCK - 1) / BLOCK * BLOCK;
                    before += sizes[part++];
                }
                long here = sizes[part] - first < BLOCK ? sizes[part] - first : BLOCK;
                long place = (sample * sizes[part] + first) * channels;
                const float *from = parts[part] + place;
                float *to = slopes[part] ? slopes[part] + place : NULL;
                for (long row = 0; row < here; row += SIDE) {
                    const float *own = from + row * channels;
                    along(own, channels, here - row, channels, keys + row / SIDE * whole, 0);
                    across(own, channels, here - row, channels, values + row / SIDE * whole, PANEL, 1);
                }
                for (long block = 0; block < blocks; block++)
                    look_back_at(keys, values, here, allowed ? allowed + sample * all + before + first : NULL,
                                 known + block, panels, to ? of_keys : NULL, block == 0,
                                 of_queries + block * panels * SIDE * SIDE, !used[THREAD]);
                used[THREAD] = 1;
                if (to)
                    for (long row = 0; row < here; row++)
                        memcpy(to + row * channels, of_keys + row * panels * SIDE, channels * 4);
            }
#pragma omp for schedule(static)
            for (long block = 0; block < blocks; block++) {
                float *sum = NULL, ones[SIDE];
                for (int thread = 0; thread < threads; thread++) {
                    float *from = (float *)(own_room + thread * of_thread + 2 * ACROSS * whole) +
                                  (BLOCK + block * SIDE) * panels * SIDE;
                    if (!used[thread]) continue;
                    if (sum)
                        for (long one = 0; one < panels * SIDE * SIDE; one++) sum[one] += from[one];
                    else sum = from;
                }
                for (long row = 0; row < SIDE; row++) ones[row] = 1.0f;
                long rows = count - block * SIDE < SIDE ? count - block * SIDE : SIDE;
                turned_back(sum, ones, rows, channels, slope + (sample * count + block * SIDE) * channels, channels);
            }
        }
        _tile_release();
    }
}
#else
#define HAS_ATTENTION 0
#endif

/* Whether there is attention by the matrix unit, and the system allows it. */
int attends(void) { return HAS_ATTENTION && unit_is_used; }
