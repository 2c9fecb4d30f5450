// Depthwise convolution with dilation, of maps that lie in memory as (N, H, W, C).
//
//     out[n, y, x, c] = bias[c] + sum_ij weight[i, j, c] * in[n, y + i d - b, x + j d - b, c]
//
// with b = before, the zeros on the left and at the top.
// The product of two maps may be added, which a derivative of x * convolved(x) asks for.
//
// One vector holds neighbouring channels of a pixel. Pixels of a row whose distance is the dilation
// d form a dense row of their own, a phase; a block of its outputs stays in registers while the
// inputs that it needs are read once each, for all the outputs that they count in.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "vectors.h"

namespace {

struct Shape {
    int64_t n, h, w, c, k, dilation, before;
};

// Maps (N, H, W, C), the weight (k * k, C) and the bias (C); bias and factors may be missing.
template <class T>
struct Arrays {
    const T *in, *weight, *bias, *factor, *other;
    T* out;
};

// The pixels x = first + u * dilation of a row, as outputs, and the inputs that they begin with:
// output u reads inputs u + shift to u + shift + k - 1 of the phase that begins at `from`.
struct Phase {
    int64_t first, length, from, inputs, shift;

    Phase(const Shape& s, int64_t first) : first(first), length(count(s, first)) {
        int64_t left = first - s.before;
        shift = (left - (s.dilation - 1) * (left < 0)) / s.dilation;  // rounded down
        from = left - shift * s.dilation;
        inputs = from < s.w ? count(s, from) : 0;
    }

    static int64_t count(const Shape& s, int64_t begin) {
        return (s.w - begin + s.dilation - 1) / s.dilation;
    }
};

// Channels are taken `lanes` at a time. The last vector ends with the last channel and may repeat
// channels of the one before it.
inline int64_t channel(const Shape& s, int64_t chunk, int64_t lanes) {
    int64_t last = s.c - lanes;
    return chunk * lanes < last ? chunk * lanes : last;
}

// Adds one row of the kernel to `block` outputs. K is the kernel's size, or 0 for any.
template <int K, int block, class V, class T>
inline void add_taps(V (&out)[block], const T* in, int64_t step, int64_t start, int64_t inputs,
                     const T* weight, const Shape& s) {
    if constexpr (K > 0) {
        V taps[K];
#pragma GCC unroll 16
        for (int j = 0; j < K; ++j) taps[j] = load<V>(weight + j * s.c);
#pragma GCC unroll 32
        for (int t = 0; t < block + K - 1; ++t) {
            if (uint64_t(start + t) >= uint64_t(inputs)) continue;
            V v = load<V>(in + (start + t) * step);
#pragma GCC unroll 16
            for (int j = 0; j < K; ++j)
                if (t - j >= 0 && t - j < block) out[t - j] += taps[j] * v;
        }
    } else {
        for (int64_t j = 0; j < s.k; ++j) {
            V tap = load<V>(weight + j * s.c);
#pragma GCC unroll 16
            for (int b = 0; b < block; ++b)
                if (uint64_t(start + b + j) < uint64_t(inputs))
                    out[b] += tap * load<V>(in + (start + b + j) * step);
        }
    }
}

// Outputs u, u + 1, ... of a phase, of line y of a picture whose first number is `image`.
template <int K, int block, class V, class T>
inline void forward_block(const Arrays<T>& arrays, int64_t image, int64_t y, int64_t c,
                          const Phase& phase, int64_t u, const Shape& s) {
    V sums[block];
    for (V& sum : sums) sum = arrays.bias ? load<V>(arrays.bias + c) : V{};
    int64_t step = s.dilation * s.c;
    for (int64_t i = 0; i < s.k; ++i) {
        int64_t row = y + i * s.dilation - s.before;
        if (row < 0 || row >= s.h) continue;
        const T* in = arrays.in + image + (row * s.w + phase.from) * s.c + c;
        add_taps<K, block>(sums, in, step, u + phase.shift, phase.inputs,
                           arrays.weight + i * s.k * s.c + c, s);
    }
    int64_t to = image + (y * s.w + phase.first + u * s.dilation) * s.c + c;
#pragma GCC unroll 16
    for (int b = 0; b < block; ++b, to += step) {
        if (u + b >= phase.length) break;
        if (arrays.factor) sums[b] += load<V>(arrays.factor + to) * load<V>(arrays.other + to);
        store(arrays.out + to, sums[b]);
    }
}

// Vectors of a group are computed together, and the whole map of one group before that of the next:
// memory is read in streams, and the lines that a kernel reaches stay in the cache.
constexpr int64_t GROUP = 4;

template <int K, class V, class T>
void forward(const Arrays<T>& arrays, const Shape& s, int threads) {
    constexpr int lanes = sizeof(V) / sizeof(T);
    int64_t chunks = (s.c + lanes - 1) / lanes, groups = (chunks + GROUP - 1) / GROUP;
#pragma omp parallel for num_threads(threads)
    for (int64_t job = 0; job < groups * s.n * s.h; ++job) {
        int64_t begin = job / (s.n * s.h) * GROUP, end = std::min(begin + GROUP, chunks);
        int64_t line = job % (s.n * s.h);
        int64_t y = line % s.h, image = (line - y) * s.w * s.c;
        for (int64_t first = 0; first < s.dilation && first < s.w; ++first) {
            Phase phase(s, first);
            for (int64_t u = 0; u < phase.length;) {
                bool eight = u + 4 < phase.length;
                for (int64_t chunk = begin; chunk < end; ++chunk) {
                    int64_t c = channel(s, chunk, lanes);
                    if (eight)
                        forward_block<K, 8, V>(arrays, image, y, c, phase, u, s);
                    else
                        forward_block<K, 4, V>(arrays, image, y, c, phase, u, s);
                }
                u += eight ? 8 : 4;
            }
        }
    }
}

// Adds what a line of outputs gives to the gradients of some rows of a kernel of size K; `row` is
// how far their inputs lie from each other. Several at once, because each sum waits for its last
// term, and few sums leave the processor idle.
template <int K, int rows, class V, class T>
inline void add_rows(V* into, const T* in, const T* grad, int64_t row, const Shape& s) {
    constexpr int block = 8;
    int64_t step = s.dilation * s.c;
    V sums[rows * K];
#pragma GCC unroll 32
    for (int j = 0; j < rows * K; ++j) sums[j] = into[j];
    for (int64_t first = 0; first < s.dilation && first < s.w; ++first) {
        Phase phase(s, first);
        const T* from = grad + first * s.c;
        for (int64_t u = 0; u < phase.length; u += block) {
            V grads[block];
#pragma GCC unroll 16
            for (int b = 0; b < block; ++b)
                grads[b] = u + b < phase.length ? load<V>(from + (u + b) * step) : V{};
            int64_t start = u + phase.shift;
#pragma GCC unroll 32
            for (int t = 0; t < block + K - 1; ++t) {
                if (uint64_t(start + t) >= uint64_t(phase.inputs)) continue;
                const T* column = in + phase.from * s.c + (start + t) * step;
#pragma GCC unroll 4
                for (int i = 0; i < rows; ++i) {
                    V v = load<V>(column + i * row);
#pragma GCC unroll 16
                    for (int j = 0; j < K; ++j)
                        if (t - j >= 0 && t - j < block) sums[i * K + j] += grads[t - j] * v;
                }
            }
        }
    }
#pragma GCC unroll 32
    for (int j = 0; j < rows * K; ++j) into[j] = sums[j];
}

// The same for one row of a kernel of any size.
template <class V, class T>
inline void add_row(V* into, const T* in, const T* grad, const Shape& s) {
    for (int64_t j = 0; j < s.k; ++j) {
        int64_t shift = j * s.dilation - s.before;
        for (int64_t x = shift < 0 ? -shift : 0; x < s.w && x + shift < s.w; ++x)
            into[j] += load<V>(grad + x * s.c) * load<V>(in + (x + shift) * s.c);
    }
}

// What a line of outputs gives to the gradients of weight and bias of some channels.
template <int K, class V, class T>
void add_line(V* sums, const T* in, const T* grad, int64_t line, int64_t c, const Shape& s) {
    constexpr int rows = 3;  // of the kernel at once
    int64_t y = line % s.h, above = y - s.before, row = s.dilation * s.w * s.c;
    int64_t from = (line - s.before) * s.w * s.c + c;
    grad += line * s.w * s.c + c;
    V even{}, odd{};
    for (int64_t x = 0; x < s.w; x += 2) {
        even += load<V>(grad + x * s.c);
        if (x + 1 < s.w) odd += load<V>(grad + (x + 1) * s.c);
    }
    sums[s.k * s.k] += even + odd;
    int64_t i = 0, end = s.k;  // the kernel's rows that lie on the map
    while (i < end && above + i * s.dilation < 0) ++i;
    while (i < end && above + (end - 1) * s.dilation >= s.h) --end;
    if constexpr (K > 0) {
        for (; i + rows <= end; i += rows)
            add_rows<K, rows>(sums + i * K, in + from + i * row, grad, row, s);
        for (; i < end; ++i) add_rows<K, 1>(sums + i * K, in + from + i * row, grad, row, s);
    } else {
        for (; i < end; ++i) add_row(sums + i * s.k, in + from + i * row, grad, s);
    }
}

// The gradients of weight and bias, one under the other: (k * k + 1, C). Each thread sums over
// lines of its own, and the sums are added in the order of the threads.
template <int K, class V, class T>
void weight_gradient(const T* in, const T* grad, T* out, const Shape& s, int threads) {
    constexpr int lanes = sizeof(V) / sizeof(T);
    int64_t chunks = (s.c + lanes - 1) / lanes, taps = s.k * s.k + 1, lines = s.n * s.h;
    std::vector<V> sums(threads * chunks * taps, V{});
#pragma omp parallel for num_threads(threads)
    for (int part = 0; part < threads; ++part) {
        for (int64_t line = lines * part / threads; line < lines * (part + 1) / threads; ++line)
            for (int64_t chunk = 0; chunk < chunks; ++chunk)
                add_line<K>(&sums[(part * chunks + chunk) * taps], in, grad, line,
                            channel(s, chunk, lanes), s);
    }
    for (int64_t chunk = 0; chunk < chunks; ++chunk)
        for (int64_t tap = 0; tap < taps; ++tap) {
            V sum = sums[chunk * taps + tap];
            for (int part = 1; part < threads; ++part)
                sum += sums[(part * chunks + chunk) * taps + tap];
            store(out + tap * s.c + channel(s, chunk, lanes), sum);
        }
}

// Turns n matrices of (rows, columns) into (columns, rows), square by square along the longer side,
// where memory is read or written in streams.
template <class T>
void transpose(const T* in, T* out, int64_t n, int64_t rows, int64_t columns, int threads) {
    constexpr int64_t side = 64 / sizeof(T);
    bool wide = columns > rows;
    int64_t shorter = wide ? rows : columns, longer = wide ? columns : rows;
    int64_t bands = (shorter + side - 1) / side;
#pragma omp parallel for num_threads(threads)
    for (int64_t band = 0; band < n * bands; ++band) {
        const T* from = in + band / bands * rows * columns;
        T* to = out + band / bands * rows * columns;
        for (int64_t at = 0; at < longer; at += side) {
            int64_t top = wide ? band % bands * side : at, left = wide ? at : band % bands * side;
            if (top + side <= rows && left + side <= columns) {
                T square[side][side];
                for (int64_t i = 0; i < side; ++i)
                    std::memcpy(square[i], from + (top + i) * columns + left, sizeof square[i]);
                for (int64_t j = 0; j < side; ++j)
#pragma GCC unroll 16
                    for (int64_t i = 0; i < side; ++i)
                        to[(left + j) * rows + top + i] = square[i][j];
            } else {
                for (int64_t j = left; j < columns && j < left + side; ++j)
                    for (int64_t i = top; i < rows && i < top + side; ++i)
                        to[j * rows + i] = from[i * columns + j];
            }
        }
    }
}

// Calls `run` with a kernel size and a vector that are known while compiling.
template <class T, class Run>
void specialised(const Shape& s, Run run) {
    using V = Vector<T>;
    using Single = typename VectorOf<T, 1>::type;
    if (s.c * sizeof(T) < sizeof(V)) return run.template operator()<0, Single>();
    if (s.k == 3) return run.template operator()<3, V>();
    if (s.k == 5) return run.template operator()<5, V>();
    if (s.k == 7) return run.template operator()<7, V>();
    run.template operator()<0, V>();
}

template <class T>
struct Forward {
    const Arrays<T>& arrays;
    const Shape& s;
    int threads;
    template <int K, class V>
    void operator()() const { forward<K, V>(arrays, s, threads); }
};

template <class T>
struct WeightGradient {
    const T *in, *grad;
    T* out;
    const Shape& s;
    int threads;
    template <int K, class V>
    void operator()() const { weight_gradient<K, V>(in, grad, out, s, threads); }
};

}  // namespace

#define DEFINE(T, suffix)                                                                        \
    extern "C" void depthwise_##suffix(const T* in, const T* weight, const T* bias,              \
                                       const T* factor, const T* other, T* out,                  \
                                       const int64_t* shape, int threads) {                      \
        Shape s;                                                                                 \
        std::memcpy(&s, shape, sizeof s);                                                        \
        Arrays<T> arrays{in, weight, bias, factor, other, out};                                  \
        specialised<T>(s, Forward<T>{arrays, s, threads});                                       \
    }                                                                                            \
    extern "C" void depthwise_weight_gradient_##suffix(const T* in, const T* grad, T* out,       \
                                                       const int64_t* shape, int threads) {      \
        Shape s;                                                                                 \
        std::memcpy(&s, shape, sizeof s);                                                        \
        specialised<T>(s, WeightGradient<T>{in, grad, out, s, threads});                         \
    }                                                                                            \
    extern "C" void transpose_##suffix(const T* in, T* out, const int64_t* shape, int threads) { \
        transpose(in, out, shape[0], shape[1], shape[2], threads);                               \
    }

DEFINE(float, float32)
DEFINE(double, float64)
