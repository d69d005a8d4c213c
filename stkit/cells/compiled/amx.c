/* Products of float32 matrices by the matrix unit of a processor (AMX), which multiplies whole numbers of 8 bits and
 * adds in 32.
 *
 * A row of the left operand, for GROUPED steps of the sum together, is whole numbers of 32 bits times a power of two. A
 * column of the right one is whole numbers of 24 bits times what fits its largest best, so that kernels, which come
 * from far, take less memory. With digits of 8 bits they are x0 2^24 + x1 2^16 + x2 2^8 + x3 and y0 2^16 + y1 2^8 + y2.
 * A product is the sum of x0*y0 2^40, (x0*y1 + x1*y0) 2^32 and so on down to 2^16, each without any rounding; what is
 * left out is below 2^-30 of the largest numbers of the row and the column. So what makes an error is that a column has
 * 24 bits for its largest number, and that a result is float32 again.
 *
 * A tile is 16 rows of 64 bytes. Of the left operand it has 16 rows and STEPS steps of the sum, of the right one these
 * steps and 16 columns. Steps k, 16+k, 32+k and 48+k lie side by side, so that a row of a tile is made of four vectors.
 */

#ifdef MATRIX_UNIT
#define UNIT
#define unit unit_is_used
#include <immintrin.h>

#define LARGEST 0x7f7f00 /* of a number of the right operand */
#define TILE 1024
#define STEPS 64
#define GROUPED 128

static void start_unit(void)
{
    struct __attribute__((packed)) {
        unsigned char palette, row, none[14];
        unsigned short bytes[16];
        unsigned char rows[16];
    } tiles = {.palette = 1};
    for (int tile = 0; tile < 8; tile++) {
        tiles.bytes[tile] = 64;
        tiles.rows[tile] = 16;
    }
    __asm__ volatile("" ::"r"(&tiles) : "memory");
    _tile_loadconfig(&tiles);
}

/* The larger of what was found and of a number's size, as bits: nan is larger than all. */
static inline __m512i larger(__m512i found, __m512 x)
{
    return _mm512_max_epi32(found, _mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(0x7fffffff)));
}

/* Of rows of a left operand: the powers of two that make numbers of at most this size whole, and what these are worth.
 * The largest digits are 127, so that a little room is left. Numbers below 2^-96 count as zero; where one is not finite
 * neither is the product. */
static inline void scales(__m512i largest, __m512 *factor, __m512 *worth)
{
    __m512i bits = _mm512_castps_si512(_mm512_mul_ps(_mm512_castsi512_ps(largest), _mm512_set1_ps(1.004f)));
    __m512i exponent = _mm512_srli_epi32(bits, 23);
    __mmask16 none = _mm512_cmplt_epi32_mask(exponent, _mm512_set1_epi32(31));
    __mmask16 not_finite = _mm512_cmpeq_epi32_mask(exponent, _mm512_set1_epi32(255));
    __m512i up = _mm512_slli_epi32(_mm512_sub_epi32(_mm512_set1_epi32(284), exponent), 23);
    __m512i down = _mm512_slli_epi32(_mm512_sub_epi32(exponent, _mm512_set1_epi32(6)), 23); /* times 2^24 */
    *factor = _mm512_castsi512_ps(_mm512_mask_mov_epi32(up, none, _mm512_setzero_si512()));
    *worth = _mm512_castsi512_ps(_mm512_mask_mov_epi32(down, none, _mm512_setzero_si512()));
    *worth = _mm512_mask_mov_ps(*worth, not_finite, _mm512_set1_ps(__builtin_nanf("")));
}

/* As `scales`, of columns of a right operand: the largest number of each becomes the largest that there is. */
static inline void scales_right(__m512i largest, __m512 *factor, __m512 *worth)
{
    const float least = 0x1p-96f;
    __m512 size = _mm512_castsi512_ps(largest);
    __mmask16 some = _mm512_cmp_ps_mask(size, _mm512_set1_ps(least), _CMP_NLT_UQ);
    __mmask16 not_finite = _mm512_cmpgt_epi32_mask(largest, _mm512_set1_epi32(0x7f7fffff));
    *factor = _mm512_maskz_div_ps(some, _mm512_set1_ps(LARGEST), size);
    *worth = _mm512_maskz_mul_ps(some, size, _mm512_set1_ps(0x1p16f / LARGEST));
    *worth = _mm512_mask_mov_ps(*worth, not_finite, _mm512_set1_ps(__builtin_nanf("")));
}

/* Four vectors of steps of the sum to `count` vectors of their last digits, side by side, `apart` bytes apart. */
static inline __attribute__((always_inline)) void digits(const __m512 *x, __m512 factor, int count, char *to,
                                                         long apart)
{
    const __m512i half = _mm512_set1_epi32(0x80808080), odd = _mm512_set1_epi32(0x00ff00ff),
                  low = _mm512_set1_epi32(0x0000ffff);
    __m512i y[4];
    UNROLLED
    for (int i = 0; i < 4; i++) y[i] = _mm512_add_epi32(_mm512_cvtps_epi32(_mm512_mul_ps(x[i], factor)), half);
#define SELECT(mask, a, b) _mm512_ternarylogic_epi32(mask, a, b, 0xca)
    __m512i a = SELECT(odd, y[0], _mm512_slli_epi32(y[1], 8)), b = SELECT(odd, _mm512_srli_epi32(y[0], 8), y[1]);
    __m512i c = SELECT(odd, y[2], _mm512_slli_epi32(y[3], 8)), d = SELECT(odd, _mm512_srli_epi32(y[2], 8), y[3]);
    __m512i found[DIGITS_LEFT] = {SELECT(low, _mm512_srli_epi32(b, 16), d), SELECT(low, _mm512_srli_epi32(a, 16), c),
                                  SELECT(low, b, _mm512_slli_epi32(d, 16)), SELECT(low, a, _mm512_slli_epi32(c, 16))};
    UNROLLED
    for (int part = 0; part < count; part++)
        _mm512_store_si512(to + part * apart, _mm512_xor_si512(half, found[DIGITS_LEFT - count + part]));
}

/* 16 rows of 16 fours of bytes, turned round in place. */
static inline __attribute__((always_inline)) void turn_rows(__m512i *x)
{
    __m512i y[16];
    UNROLLED
    for (int i = 0; i < 16; i += 2) {
        y[i] = _mm512_unpacklo_epi32(x[i], x[i + 1]);
        y[i + 1] = _mm512_unpackhi_epi32(x[i], x[i + 1]);
    }
    UNROLLED
    for (int i = 0; i < 16; i += 4)
        UNROLLED
        for (int j = 0; j < 2; j++) {
            x[i + 2 * j] = _mm512_unpacklo_epi64(y[i + j], y[i + j + 2]);
            x[i + 2 * j + 1] = _mm512_unpackhi_epi64(y[i + j], y[i + j + 2]);
        }
    UNROLLED
    for (int i = 0; i < 4; i++) { /* x[4 g + i]: rows 4 g to 4 g + 3, columns i, i + 4, i + 8, i + 12 */
        __m512i a = _mm512_shuffle_i32x4(x[i], x[4 + i], 0x88), b = _mm512_shuffle_i32x4(x[i], x[4 + i], 0xdd);
        __m512i c = _mm512_shuffle_i32x4(x[8 + i], x[12 + i], 0x88);
        __m512i d = _mm512_shuffle_i32x4(x[8 + i], x[12 + i], 0xdd);
        x[i] = _mm512_shuffle_i32x4(a, c, 0x88);
        x[8 + i] = _mm512_shuffle_i32x4(a, c, 0xdd);
        x[4 + i] = _mm512_shuffle_i32x4(b, d, 0x88);
        x[12 + i] = _mm512_shuffle_i32x4(b, d, 0xdd);
    }
}

/* A tile, turned round in place. */
static inline __attribute__((always_inline)) void turn(char *tile)
{
    __m512i x[16];
    UNROLLED
    for (int i = 0; i < 16; i++) x[i] = _mm512_load_si512(tile + i * 64);
    turn_rows(x);
    UNROLLED
    for (int i = 0; i < 16; i++) _mm512_store_si512(tile + i * 64, x[i]);
}

/* A left operand of a group of steps: bytes from one STEPS steps, part and tile to the next, and what its rows are
 * worth. */
typedef struct {
    const char *digits;
    long step, part, tile;
    const float *worth;
} Left;

/* Of the right operand: STEPS steps of two tiles of DIGITS_RIGHT parts each, one after the other, and what its columns
 * are worth. */
typedef struct {
    const char *digits;
    const float *worth;
} Right;

/* `tiles` times 16 rows and 32 columns of a product, of `steps` times STEPS steps, added to `sum` unless `anew`. Rows
 * of `sum` are `stride` numbers apart, and every 16 of them `below`. `soon` is what will be needed next, as much as
 * `right`. */
static void multiply_tiles(Left left, Right right, long tiles, long steps, float *sum, long below, long stride,
                           int anew, const char *soon)
{
    int found[4][16][16] __attribute__((aligned(64)));
    long lines = (steps * 2 * DIGITS_RIGHT * TILE / 64 + steps * tiles * 2 - 1) / (steps * tiles * 2);
    for (long tile = 0; tile < tiles; tile++)
        for (int half = 0; half < 2; half++) {
            _tile_zero(0);
            _tile_zero(1);
            _tile_zero(2);
            _tile_zero(3);
            for (long step = 0; step < steps; step++) {
                const char *a = left.digits + step * left.step + tile * left.tile;
                const char *b = right.digits + (step * 2 + half) * DIGITS_RIGHT * TILE;
#define LEFT(to, one) _tile_loadd(to, a + one * left.part, 64)
#define RIGHT(to, one) _tile_loadd(to, b + one * TILE, 64)
                LEFT(4, 0); /* each digit is read once, and sums of one weight are not added to one after the other */
                RIGHT(6, 2);
                _tile_dpbssd(2, 4, 6);
                RIGHT(7, 1);
                _tile_dpbssd(1, 4, 7);
                LEFT(5, 1);
                _tile_dpbssd(3, 5, 6);
                _tile_dpbssd(2, 5, 7);
                RIGHT(6, 0);
                _tile_dpbssd(0, 4, 6);
                LEFT(4, 2);
                _tile_dpbssd(1, 5, 6);
                _tile_dpbssd(3, 4, 7);
                LEFT(5, 3);
                _tile_dpbssd(2, 4, 6);
                _tile_dpbssd(3, 5, 6);
                for (long line = 0; line < lines; line++, soon += 64) __builtin_prefetch(soon, 0, 3);
            }
            _tile_stored(0, found[0], 64);
            _tile_stored(1, found[1], 64);
            _tile_stored(2, found[2], 64);
            _tile_stored(3, found[3], 64);
            __m512 worth = _mm512_loadu_ps(right.worth + half * 16), less = _mm512_set1_ps(0x1p-8f);
            for (int row = 0; row < 16; row++) {
                __m512 x = _mm512_cvtepi32_ps(_mm512_load_si512(found[3][row]));
                for (int level = 2; level >= 0; level--)
                    x = _mm512_fmadd_ps(x, less, _mm512_cvtepi32_ps(_mm512_load_si512(found[level][row])));
                __m512 both = _mm512_mul_ps(worth, _mm512_set1_ps(left.worth[tile * 16 + row]));
                float *to = sum + tile * below + row * stride + half * 16;
                _mm512_storeu_ps(to, anew ? _mm512_mul_ps(x, both) : _mm512_fmadd_ps(x, both, _mm512_loadu_ps(to)));
            }
        }
}
#endif
