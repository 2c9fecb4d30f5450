// Depthwise convolution with dilation, of maps that lie in memory as (N, H, W, C).
//
//     out[n, y, x, c] = bias[c] + sum_ij weight[i, j, c] * in[n, y + i d - b, x + j d - b, c]
//
// with b = before, the zeros on the left and at the top.
//
// One vector holds neighbouring channels of a pixel. Pixels of a row whose distance is the dilation
// d form a dense row of their own, a phase; a block of its outputs stays in registers while the
// inputs that it needs are read once each, for all the outputs that they count in.

#include <cstdint>
#include <cstring>
#include <vector>

#if defined(__AVX512F__)
constexpr int VECTOR_BYTES = 64;
#elif defined(__AVX__)
constexpr int VECTOR_BYTES = 32;
#else
constexpr int VECTOR_BYTES = 16;
#endif

namespace {

template <class T, int lanes>
struct VectorOf {
    typedef T type __attribute__((vector_size(lanes * sizeof(T))));
};

template <class V, class T>
inline V load(const T* from) {
    V v;
    std::memcpy(&v, from, sizeof v);
    return v;
}

template <class V, class T>
inline void store(T* to, V v) {
    std::memcpy(to, &v, sizeof v);
}

struct Shape {
    int64_t n, h, w, c, k, dilation, before;
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

template <int K, int block, class V, class T>
inline void forward_block(const T* image, const T* weight, const T* bias, T* out, int64_t y,
                          int64_t c, const Phase& phase, int64_t u, const Shape& s) {
    V sums[block];
    for (V& sum : sums) sum = bias ? load<V>(bias + c) : V{};
    int64_t step = s.dilation * s.c;
    for (int64_t i = 0; i < s.k; ++i) {
        int64_t row = y + i * s.dilation - s.before;
        if (row < 0 || row >= s.h) continue;
        const T* in = image + (row * s.w + phase.from) * s.c + c;
        add_taps<K, block>(sums, in, step, u + phase.shift, phase.inputs,
                           weight + i * s.k * s.c + c, s);
    }
    T* to = out + (phase.first + u * s.dilation) * s.c + c;
#pragma GCC unroll 16
    for (int b = 0; b < block; ++b)
        if (u + b < phase.length) store(to + b * step, sums[b]);
}

template <int K, class V, class T>
void forward(const T* in, const T* weight, const T* bias, T* out, const Shape& s, int threads) {
    constexpr int lanes = sizeof(V) / sizeof(T);
    int64_t chunks = (s.c + lanes - 1) / lanes;
#pragma omp parallel for num_threads(threads)
    for (int64_t line = 0; line < s.n * s.h; ++line) {
        const T* image = in + line / s.h * s.h * s.w * s.c;
        T* to = out + line * s.w * s.c;
        for (int64_t chunk = 0; chunk < chunks; ++chunk) {
            int64_t c = channel(s, chunk, lanes);
            for (int64_t first = 0; first < s.dilation && first < s.w; ++first) {
                Phase phase(s, first);
                int64_t u = 0;
                for (; u + 4 < phase.length; u += 8)
                    forward_block<K, 8, V>(image, weight, bias, to, line % s.h, c, phase, u, s);
                for (; u < phase.length; u += 4)
                    forward_block<K, 4, V>(image, weight, bias, to, line % s.h, c, phase, u, s);
            }
        }
    }
}

// Adds what `block` outputs of a phase give to the gradient of one row of the kernel.
template <int K, class V, class T>
inline void add_gradient(V* sums, const T* in, const T* grad, const Phase& phase, const Shape& s) {
    constexpr int block = 8;
    int64_t step = s.dilation * s.c;
    for (int64_t u = 0; u < phase.length; u += block) {
        V grads[block];
#pragma GCC unroll 16
        for (int b = 0; b < block; ++b)
            grads[b] = u + b < phase.length ? load<V>(grad + (u + b) * step) : V{};
        int64_t start = u + phase.shift;
        if constexpr (K > 0) {
#pragma GCC unroll 32
            for (int t = 0; t < block + K - 1; ++t) {
                if (uint64_t(start + t) >= uint64_t(phase.inputs)) continue;
                V v = load<V>(in + (start + t) * step);
#pragma GCC unroll 16
                for (int j = 0; j < K; ++j)
                    if (t - j >= 0 && t - j < block) sums[j] += grads[t - j] * v;
            }
        } else {
            for (int64_t j = 0; j < s.k; ++j)
#pragma GCC unroll 16
                for (int b = 0; b < block; ++b)
                    if (uint64_t(start + b + j) < uint64_t(phase.inputs))
                        sums[j] += grads[b] * load<V>(in + (start + b + j) * step);
        }
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
        for (int64_t line = lines * part / threads; line < lines * (part + 1) / threads; ++line) {
            const T* image = in + line / s.h * s.h * s.w * s.c;
            for (int64_t chunk = 0; chunk < chunks; ++chunk) {
                int64_t c = channel(s, chunk, lanes);
                const T* grads = grad + line * s.w * s.c + c;
                V* own = &sums[(part * chunks + chunk) * taps];
                for (int64_t x = 0; x < s.w; ++x) own[taps - 1] += load<V>(grads + x * s.c);
                for (int64_t i = 0; i < s.k; ++i) {
                    int64_t row = line % s.h + i * s.dilation - s.before;
                    if (row < 0 || row >= s.h) continue;
                    V registers[K > 0 ? K : 1];
                    V* into = own + i * s.k;
                    if constexpr (K > 0) std::memcpy(registers, into, sizeof registers);
                    for (int64_t first = 0; first < s.dilation && first < s.w; ++first) {
                        Phase phase(s, first);
                        add_gradient<K>(K > 0 ? registers : into,
                                        image + (row * s.w + phase.from) * s.c + c,
                                        grads + first * s.c, phase, s);
                    }
                    if constexpr (K > 0) std::memcpy(into, registers, sizeof registers);
                }
            }
        }
    }
    for (int64_t chunk = 0; chunk < chunks; ++chunk)
        for (int64_t tap = 0; tap < taps; ++tap) {
            V sum = sums[chunk * taps + tap];
            for (int part = 1; part < threads; ++part)
                sum += sums[(part * chunks + chunk) * taps + tap];
            store(out + tap * s.c + channel(s, chunk, lanes), sum);
        }
}

// Calls `run` with a kernel size and a vector that are known while compiling.
template <class T, class Run>
void specialised(const Shape& s, Run run) {
    constexpr int lanes = VECTOR_BYTES / sizeof(T);
    using V = typename VectorOf<T, lanes>::type;
    using Single = typename VectorOf<T, 1>::type;
    if (s.c < lanes) return run.template operator()<0, Single>();
    if (s.k == 3) return run.template operator()<3, V>();
    if (s.k == 5) return run.template operator()<5, V>();
    if (s.k == 7) return run.template operator()<7, V>();
    run.template operator()<0, V>();
}

template <class T>
struct Forward {
    const T *in, *weight, *bias;
    T* out;
    const Shape& s;
    int threads;
    template <int K, class V>
    void operator()() const { forward<K, V>(in, weight, bias, out, s, threads); }
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
    extern "C" void depthwise_##suffix(const T* in, const T* weight, const T* bias, T* out,      \
                                       const int64_t* shape, int threads) {                      \
        Shape s;                                                                                 \
        std::memcpy(&s, shape, sizeof s);                                                        \
        specialised<T>(s, Forward<T>{in, weight, bias, out, s, threads});                        \
    }                                                                                            \
    extern "C" void depthwise_weight_gradient_##suffix(const T* in, const T* grad, T* out,       \
                                                       const int64_t* shape, int threads) {      \
        Shape s;                                                                                 \
        std::memcpy(&s, shape, sizeof s);                                                        \
        specialised<T>(s, WeightGradient<T>{in, grad, out, s, threads});                         \
    }

DEFINE(float, float32)
DEFINE(double, float64)
