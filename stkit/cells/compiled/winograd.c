/* Products and the maps around them, shared out among threads. */

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

long NAME(scratch)(void)
{
    long ahead = TILES / GROUP * A * (M + 1) * (GROUP * PANELS * COLUMNS + LANES);
    long back = TILES / GROUP * A * A * (GROUP * PANELS_BACK * COLUMNS + LANES);
    long outers = PANELS_OUTER * CHANNELS * (A * COLUMNS + LANES), kernels = (A * A + 1) * CHANNELS * LANES;
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
                REAL *sum = scratch + THREAD * size;
                REAL *line_sum = sum + TILES / GROUP * A * M * (GROUP * PANELS * COLUMNS + LANES);
                long panel = share * wide, panels = panel + wide <= all ? wide : all - panel;
                long last = (group + 1) * images < batch ? (group + 1) * images : batch;
                for (long begin = 0; begin < filled; begin += stack) {
                    long own_rows = (last - group * images) * tiles - begin;
                    long wide_step = GROUP * panels * COLUMNS + LANES;
                    for (long u = 0; u < A; u++) { /* the way back in one dimension while a line of places is at hand */
                        NAME(products)(terms, count_of_terms, plane, planes, slots, group * filled + begin, stack,
                                       panel, panels, u * A, A, line_sum);
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
                            const REAL *from =
                                sum + row / GROUP * A * M * wide_step + row % GROUP * panels * COLUMNS + part;
                            VECTOR cells[M * M];
                            for (int j = 0; j < M; j++) {
                                VECTOR line[A];
                                UNROLLED
                                for (int u = 0; u < A; u++) line[u] = *(const VECTOR *)(from + (u * M + j) * wide_step);
                                NAME(back)(line, 1, cells + j, M);
                            }
                            long own = channels - channel % each;
                            VECTOR more = {0};
                            if (offset) more = NAME(some)(offset + NAME(channel)(channel, channels), own);
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
                    for (long cell = 0; cell < height * width; cell++) {
                        REAL *to = field + ((image * planes + plane) * height * width + cell) * channels_out + first;
                        for (long c = 0; c < own; c += LANES) NAME(put)(to + c, (VECTOR){0}, own - c);
                    }
                for (long begin = 0; begin < filled; begin += stack) {
                    long own_rows = (last - group * images) * tiles - begin;
                    NAME(products)(terms, count_of_terms, plane, planes, slots, group * filled + begin, stack, panel,
                                   panels, 0, A * A, sum);
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

/* Add to a kernel's sum what rows of a signal from `read` on and of a gradient, which has `of_out` times LANES
 * channels, from `written` on give: whole stacks. */
void NAME(weigh)(const REAL *signal, const REAL *gradient, REAL *sum, long in, long of_out, long read, long written,
                 long rows, long stack, REAL *scratch, int threads)
{
    long blocks = NAME(blocks)(in), all = (of_out * LANES + COLUMNS - 1) / COLUMNS;
    long parts = (blocks + CHANNELS / LANES - 1) / (CHANNELS / LANES);
    long wide = NAME(together)(all, parts, PANELS_OUTER, threads);
    long shares = (all + wide - 1) / wide, stride = A * COLUMNS + LANES;
    long signal_step = NAME(place)(blocks, stack), gradient_step = NAME(place)(of_out, stack);
#pragma omp parallel for collapse(2) schedule(dynamic, 1) num_threads(threads)
    for (long share = 0; share < shares; share++)
        for (long part = 0; part < parts; part++) {
            REAL *found = scratch + THREAD * NAME(scratch)();
            long first = part * (CHANNELS / LANES);
            long panel = share * wide, panels = panel + wide <= all ? wide : all - panel;
            long some = blocks - first < CHANNELS / LANES ? blocks - first : CHANNELS / LANES;
            for (int u = 0; u < A; u++) { /* a line of places at a time, mapped back while it is at hand */
                NAME(outers)(signal + (read / stack * A * A + u * A) * signal_step + first * stack * LANES, signal_step,
                             gradient + (written / stack * A * A + u * A) * gradient_step +
                                 panel * (COLUMNS / LANES) * stack * LANES,
                             gradient_step, some, panels, of_out - panel * (COLUMNS / LANES), rows / stack, stack,
                             found, stride);
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

