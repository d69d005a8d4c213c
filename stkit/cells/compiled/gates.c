/* What the cells' equations do with the pre-activations of the gates, F0(a + bias) F1(b) + F2(c) F3(d), and peepholes,
 * gate + weight memory, in float32.
 *
 * The functions are numbered as in stkit.cells.squash. Exponentials are those of Cody and Waite with the polynomials of
 * Moshier's Cephes library: within two units in the last place.
 */

typedef float Reals __attribute__((vector_size(LANES * sizeof(float)), aligned(sizeof(float)), may_alias));
typedef int Whole __attribute__((vector_size(LANES * sizeof(int)), aligned(sizeof(int)), may_alias));

enum { NOTHING, IDENTITY, SIGMOID, TANH, DOUBLE, COMPLEMENT };

static inline __attribute__((always_inline)) Reals chosen(Whole where, Reals yes, Reals no)
{
    return (Reals)((where & (Whole)yes) | (~where & (Whole)no));
}

static inline __attribute__((always_inline)) Reals exponential(Reals x)
{
    const float round = 12582912.0f; /* 1.5 * 2^23: adding it rounds to a whole number */
    x = chosen(x > 88.3f, (Reals){0} + 88.3f, x);
    x = chosen(x < -87.3f, (Reals){0} - 87.3f, x);
    Reals shifted = x * 1.44269504088896341f + round, power = shifted - round;
    Reals rest = x - power * 0.693359375f + power * 2.12194440e-4f;
    Reals sum = (Reals){0} + 1.9875691500e-4f;
    sum = sum * rest + 1.3981999507e-3f;
    sum = sum * rest + 8.3334519073e-3f;
    sum = sum * rest + 4.1665795894e-2f;
    sum = sum * rest + 1.6666665459e-1f;
    sum = sum * rest + 5.0000001201e-1f;
    sum = sum * rest * rest + rest + 1.0f;
    Whole exponent = (Whole)shifted - (Whole)((Reals){0} + round);
    return sum * (Reals)((exponent + 127) << 23);
}

static inline __attribute__((always_inline)) Reals sigmoid(Reals x) { return 1.0f / (1.0f + exponential(-x)); }

static inline __attribute__((always_inline)) Reals hyperbolic(Reals x)
{
    Whole sign = (Whole)x & (int)0x80000000;
    Reals size = (Reals)((Whole)x ^ sign), square = x * x;
    Reals sum = (Reals){0} - 5.70498872745e-3f;
    sum = sum * square + 2.06390887954e-2f;
    sum = sum * square - 5.37397155531e-2f;
    sum = sum * square + 1.33314422036e-1f;
    sum = sum * square - 3.33332819422e-1f;
    Reals small = sum * square * x + x;
    Reals large = (Reals)((Whole)(1.0f - 2.0f / (exponential(2.0f * size) + 1.0f)) | sign);
    return chosen(size < 0.625f, small, large);
}

static inline __attribute__((always_inline)) Reals squashed(int function, Reals x)
{
    switch (function) {
    case SIGMOID: return sigmoid(x);
    case TANH: return hyperbolic(x);
    case DOUBLE: return sigmoid(hyperbolic(x));
    case COMPLEMENT: return 1.0f - sigmoid(x);
    default: return x;
    }
}

/* The slope of a function at x, where it is y. */
static inline __attribute__((always_inline)) Reals slope(int function, Reals x, Reals y)
{
    switch (function) {
    case SIGMOID: return y * (1.0f - y);
    case TANH: return 1.0f - y * y;
    case COMPLEMENT: return y * (y - 1.0f);
    case DOUBLE: {
        Reals inner = hyperbolic(x);
        return y * (1.0f - y) * (1.0f - inner * inner);
    }
    default: return (Reals){0} + 1.0f;
    }
}

/* LANES numbers from `from`, or the `count` that are left, the others 0; and back. */
static inline Reals loaded(const float *from, long count)
{
    if (count >= LANES) return *(const Reals *)from;
    Reals found = {0};
    for (long lane = 0; lane < count; lane++) found[lane] = from[lane];
    return found;
}

static inline void stored(float *to, Reals value, long count)
{
    if (count >= LANES) *(Reals *)to = value;
    else
        for (long lane = 0; lane < count; lane++) to[lane] = value[lane];
}

void gate_value(const float *a, const float *b, const float *c, const float *d, float *out, long count,
                const int *functions, float bias, int threads)
{
#pragma omp parallel for schedule(static) num_threads(threads)
    for (long first = 0; first < count; first += LANES) {
        long left = count - first;
        Reals sum = squashed(functions[0], loaded(a + first, left) + bias);
        sum *= squashed(functions[1], loaded(b + first, left));
        if (d) sum += squashed(functions[2], loaded(c + first, left)) * squashed(functions[3], loaded(d + first, left));
        else if (c) sum += loaded(c + first, left);
        stored(out + first, sum, left);
    }
}

/* Slopes for a and b, and where there is a d for c and d. */
void gate_slopes(const float *gradient, const float *a, const float *b, const float *c, const float *d, float *of_a,
                 float *of_b, float *of_c, float *of_d, long count, const int *functions, float bias, int threads)
{
#pragma omp parallel for schedule(static) num_threads(threads)
    for (long first = 0; first < count; first += LANES) {
        long left = count - first;
        Reals given = loaded(gradient + first, left);
        Reals x = loaded(a + first, left) + bias, y = loaded(b + first, left);
        Reals one = squashed(functions[0], x), other = squashed(functions[1], y);
        stored(of_a + first, given * other * slope(functions[0], x, one), left);
        stored(of_b + first, given * one * slope(functions[1], y, other), left);
        if (!d) continue;
        x = loaded(c + first, left), y = loaded(d + first, left);
        one = squashed(functions[2], x), other = squashed(functions[3], y);
        stored(of_c + first, given * other * slope(functions[2], x, one), left);
        stored(of_d + first, given * one * slope(functions[3], y, other), left);
    }
}

/* A gate that looks at the memory. The weights come again every `period` numbers. */
void peephole_value(const float *gate, const float *weight, const float *memory, float *out, long count, long period,
                    int threads)
{
#pragma omp parallel for schedule(static) num_threads(threads)
    for (long first = 0; first < period; first += LANES) {
        long left = period - first;
        Reals own = loaded(weight + first, left);
        for (long at = first; at < count; at += period)
            stored(out + at, loaded(gate + at, left) + own * loaded(memory + at, left), left);
    }
}

/* Slopes for the memory and for the weights; that for the gate is the gradient itself. */
void peephole_slopes(const float *gradient, const float *weight, const float *memory, float *of_memory,
                     float *of_weight, long count, long period, int threads)
{
#pragma omp parallel for schedule(static) num_threads(threads)
    for (long first = 0; first < period; first += LANES) {
        long left = period - first;
        Reals own = loaded(weight + first, left), sum = {0};
        for (long at = first; at < count; at += period) {
            Reals given = loaded(gradient + at, left);
            stored(of_memory + at, given * own, left);
            sum += given * loaded(memory + at, left);
        }
        stored(of_weight + first, sum, left);
    }
}
