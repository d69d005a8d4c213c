/* Fields and gradients to signals, and kernels to packed matrices. */

/* A block of a tile's map, done by columns in `half`, by rows into row `slot` of a signal. The map is `forth`, or the
 * adjoint of the way back. For an operand of the matrix unit blocks gather in `many`, and eight become digits. */
static inline __attribute__((always_inline)) void NAME(put_tile)(const VECTOR *half, int adjoint, VECTOR (*many)[8],
                                                                 long block, long blocks, REAL *signal, long stack,
                                                                 long slot, int operand)
{
    long to = NAME(place)(blocks, stack);
    REAL *out = signal + slot / stack * A * A * to + (block * stack + slot % stack) * LANES;
    IF_UNIT(if (operand && NAME(in_digits)(blocks)) { out = (REAL *)&many[0][block % 8]; to = 8 * LANES; })
    for (int u = 0; u < A; u++) {
        VECTOR line[A];
        if (adjoint) NAME(back_adjoint)(half + u * M, 1, line, 1);
        else NAME(forth)(half + u * A, 1, line, 1);
        UNROLLED
        for (int v = 0; v < A; v++) {
            *(VECTOR *)(out + (u * A + v) * to) = line[v];
            __builtin_prefetch(out + (u * A + v) * to + 2 * LANES, 1, 3); /* the tile after the next */
        }
    }
    IF_UNIT(if (operand && NAME(in_digits)(blocks) && (block % 8 == 7 || block + 1 == blocks))
                NAME(put_digits)(many, block / 8, block % 8 + 1, blocks, signal, stack, slot);)
}

/* Fields to signals: tiles with zeros around the field, mapped forth. Of `every` fields of a slice these are those from
 * `first` on. For an `operand` of the matrix unit they become digits. */
void NAME(transform)(const REAL *field, REAL *signal, long batch, long planes, long height, long width, long channels,
                     long every, long first, int operand, int threads)
{
    long down = (height + M - 1) / M, across = (width + M - 1) / M, tiles = down * across;
    long blocks = NAME(blocks)(channels), stack = NAME(stack)(every, tiles);
#pragma omp parallel for collapse(2) schedule(static) num_threads(threads)
    for (long image = 0; image < batch * planes; image++)
        for (long row = 0; row < down; row++) {
            const REAL *cells = field + image * height * width * channels; /* image: B P */
            long place = image % planes * NAME(slots)(every, tiles) + NAME(row)(first + image / planes, every, tiles) +
                         row * across;
            for (long column = 0; column < across; column++) {
                VECTOR many[A * A][8];
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
                    NAME(put_tile)(half, 0, many, block, blocks, signal, stack, place + column, operand);
                }
            }
        }
}

/* Zeros in the rows of a signal that fill up its stacks: `weigh` sums over them. */
void NAME(blank)(REAL *signal, long batch, long planes, long height, long width, long channels, int threads)
{
    long tiles = NAME(tiles)(height, width), stack = NAME(stack)(batch, tiles), blocks = NAME(blocks)(channels);
    long images = NAME(images)(tiles), filled = NAME(filled)(batch, tiles), step = NAME(place)(blocks, stack);
#pragma omp parallel for collapse(2) schedule(static) num_threads(threads)
    for (long plane = 0; plane < planes; plane++)
        for (long first = 0; first < batch; first += images) {
            long own = (first + images < batch ? images : batch - first) * tiles;
            for (long row = own; row < filled; row++) {
                long slot = plane * NAME(slots)(batch, tiles) + first / images * filled + row;
                REAL *to = signal + slot / stack * A * A * step + slot % stack * LANES;
                for (long place = 0; place < A * A; place++)
                    for (long block = 0; block < blocks; block++)
                        *(VECTOR *)(to + place * step + block * stack * LANES) = (VECTOR){0};
            }
        }
}

/* Gradients of gates of so many channels to signals: the adjoint of the way back. A gate may be missing. */
void NAME(untransform)(REAL *const *gates, REAL *signal, long batch, long planes, long height, long width,
                       long channels, int count_of_gates, long every, long first, int operand, int threads)
{
    long down = (height + M - 1) / M, across = (width + M - 1) / M, tiles = down * across;
    long each = NAME(blocks)(channels), blocks = each * count_of_gates, stack = NAME(stack)(every, tiles);
#pragma omp parallel for collapse(2) schedule(static) num_threads(threads)
    for (long image = 0; image < batch * planes; image++)
        for (long row = 0; row < down; row++) {
            long place = image % planes * NAME(slots)(every, tiles) + NAME(row)(first + image / planes, every, tiles) +
                         row * across;
            for (long column = 0; column < across; column++) {
                VECTOR many[A * A][8];
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
                    NAME(put_tile)(half, 1, many, block, blocks, signal, stack, place + column, operand);
                }
            }
        }
}

/* A kernel, transformed in double precision: `out` groups of `each_out` channels, and the same of those that come in.
 * Turned round, with the steps exchanged, it is the transpose. */
void NAME(pack)(const REAL *kernel, REAL *packed, long out, long each_out, long in, long each_in, long out_step,
                long in_step, REAL *scratch, int threads)
{
    long rows = in * NAME(blocks)(each_in) * LANES;
    long panels = (out * NAME(blocks)(each_out) * LANES + COLUMNS - 1) / COLUMNS;
    IF_UNIT(if (NAME(in_digits)(rows / LANES)) {
        NAME(pack_digits)(kernel, packed, panels, out * each_out, each_out, rows, each_in, out_step, in_step, scratch,
                          threads);
        return;
    })
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
