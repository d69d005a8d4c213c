/* Maps of tiles in one dimension, and of a kernel's row. */

/* x and y are every `from`-th and `to`-th vector. Zeros of the maps fall away when compiled. */
#define MAP(name, TYPE, OUT, IN, NUMBER)                                                                            \
    static inline __attribute__((always_inline)) void NAME(name)(const TYPE *x, int from, TYPE *y, int to)          \
    {                                                                                                               \
        UNROLLED                                                                                                    \
        for (int i = 0; i < OUT; i++) {                                                                             \
            TYPE sum = {0};                                                                                         \
            UNROLLED                                                                                                \
            for (int j = 0; j < IN; j++)                                                                            \
                if (NUMBER != 0) sum += NUMBER * x[j * from];                                                       \
            y[i * to] = sum;                                                                                        \
        }                                                                                                           \
    }

MAP(forth, VECTOR, A, A, (REAL)FORTH[i][j])
MAP(forth_adjoint, VECTOR, A, A, (REAL)FORTH[j][i])
MAP(back, VECTOR, M, A, (REAL)BACK[i][j])
MAP(back_adjoint, VECTOR, A, M, (REAL)BACK[j][i])
MAP(kernel, WIDE, A, R, KERNEL[i][j])
MAP(kernel_adjoint, VECTOR, R, A, (REAL)KERNEL[j][i])

/* LANES columns of a kernel's row, transformed in double precision: A*A vectors, `next` numbers apart. */
static inline void NAME(transform_row)(const REAL *kernel, long first, long columns, long each_out, long read,
                                       long out_step, long in_step, REAL *to, long next)
{
    REAL read_cells[R * R][LANES] __attribute__((aligned(64)));
    WIDE cells[R * R], half[A * R], line[A];
    for (int cell = 0; cell < R * R; cell++) *(VECTOR *)read_cells[cell] = (VECTOR){0};
    for (int lane = 0; lane < LANES; lane++) {
        long column = NAME(channel)(first + lane, each_out);
        if (column < 0 || column >= columns || read < 0) continue;
        const REAL *from = kernel + column * out_step + read * in_step;
        for (int cell = 0; cell < R * R; cell++) read_cells[cell][lane] = from[cell];
    }
    for (int cell = 0; cell < R * R; cell++) cells[cell] = __builtin_convertvector(*(VECTOR *)read_cells[cell], WIDE);
    for (int j = 0; j < R; j++) NAME(kernel)(cells + j, R, half + j, R);
    for (int u = 0; u < A; u++) {
        NAME(kernel)(half + u * R, 1, line, 1);
        for (int v = 0; v < A; v++)
            *(VECTOR *)(to + (u * A + v) * next) = __builtin_convertvector(line[v], VECTOR);
    }
}
