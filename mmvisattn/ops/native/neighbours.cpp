// What each pixel of a map has to do with the square of pixels around it.
//
//     products[n, h, i, j, y, x] = sum_c a[n, h, c, y, x] * b[n, h, c, y + i - r, x + j - r]
//     sums[n, h, c, y, x] = sum_ij weights[n, h, i, j, y, x] * v[n, h, c, y + i - r, x + j - r]
//
// with zeros beyond the map, r = k / 2, and h the heads, which share the channels. Turned sums are
// what each pixel gets as a neighbour: weights and v are taken at (y - i + r, x - j + r). Each of
// the three is linear in both of its arguments, and their derivatives are among the three.
//
// One vector holds neighbouring pixels of a row. Rows are copied into (C, width), padded, so that a
// vector may begin anywhere; they are few, and stay in the cache.

#include <algorithm>
#include <type_traits>
#include <vector>

#include "vectors.h"

namespace {

struct Shape {
    int64_t n, heads, channels, h, w, k;  // channels of a head
    int64_t radius() const { return k / 2; }
    int64_t taps() const { return k * k; }
};

// A map (N, heads, C, H, W), however it lies in memory.
template <class T>
struct Map {
    T* data;
    int64_t picture, channel, row, column;  // steps from each to the next

    Map(T* data, const int64_t* steps)
        : data(data), picture(steps[0]), channel(steps[1]), row(steps[2]), column(steps[3]) {}

    T* at(const Shape& s, int64_t image, int64_t y) const {
        return data + image / s.heads * picture + image % s.heads * s.channels * channel + y * row;
    }
};

inline int64_t whole_vectors(int64_t length, int64_t lanes) {
    return (length + lanes - 1) / lanes * lanes;
}

// Copies numbers that lie `step` apart.
template <class T>
inline void gather(T* to, const T* from, int64_t count, int64_t step) {
    if (step == 1) std::memcpy(to, from, count * sizeof(T));
    else for (int64_t x = 0; x < count; ++x) to[x] = from[x * step];
}

// Stores the first `count` numbers of a vector, or all there are, `step` apart.
template <class V, class T>
inline void scatter(T* to, V v, int64_t count, int64_t step) {
    constexpr int64_t lanes = sizeof(V) / sizeof(T);
    if (step == 1 && count >= lanes) return store(to, v);
    T values[lanes];
    store(values, v);
    for (int64_t x = 0; x < std::min(count, lanes); ++x) to[x * step] = values[x];
}

// The last rows of one head that were asked for, each as (C, width) with `before` zeros on the
// left and more on the right.
template <class T>
class Rows {
public:
    const int64_t width;

    Rows(const Map<const T>& map, const Shape& s, int64_t image, int64_t kept, int64_t before,
         int64_t width)
        : width(width), map(map), s(s), image(image), before(before), numbers(kept, -1),
          data(kept * s.channels * width, T(0)) {}

    const T* row(int64_t y) {
        int64_t slot = y % numbers.size();
        T* to = &data[slot * s.channels * width];
        if (numbers[slot] != y) {
            const T* from = map.at(s, image, y);
            for (int64_t c = 0; c < s.channels; ++c)
                gather(to + c * width + before, from + c * map.channel, s.w, map.column);
            numbers[slot] = y;
        }
        return to;
    }

private:
    const Map<const T>& map;
    const Shape& s;
    int64_t image, before;
    std::vector<int64_t> numbers;
    std::vector<T> data;
};

// Calls `run(image, y, end)` with bands of rows that together are all heads of all pictures.
template <class Run>
void in_bands(const Shape& s, int threads, Run run) {
    int64_t images = s.n * s.heads;
    int64_t bands = images ? std::min(s.h, (threads + images - 1) / images) : 0;
#pragma omp parallel for num_threads(threads) schedule(dynamic)
    for (int64_t part = 0; part < images * bands; ++part) {
        int64_t band = part % bands;
        run(part / bands, s.h * band / bands, s.h * (band + 1) / bands);
    }
}

// Two rows of results are computed at once: they share most of the rows that they need.
constexpr int PAIR = 2;

// Adds `block` vectors, `step` apart, to the sums of both rows, each times the row's own factor.
template <int block, class V, class T>
inline void add(V (&sums)[PAIR][block], const T* first, const T* second, const T* from,
                int64_t step) {
    V own = load<V>(first), other = load<V>(second);
#pragma GCC unroll 16
    for (int j = 0; j < block; ++j) {
        V v = load<V>(from + j * step);
        sums[0][j] += own * v;
        sums[1][j] += other * v;
    }
}

// Stores the first `count` numbers of each vector, `column` apart; vectors lie `step` apart. A null
// pointer in `out` is a result that nobody needs.
template <int block, class V, class T>
inline void put(T* const (&out)[PAIR], const V (&sums)[PAIR][block], int64_t at, int64_t step,
                int64_t count, int64_t column) {
#pragma GCC unroll 2
    for (int p = 0; p < PAIR; ++p)
        if (out[p])
#pragma GCC unroll 16
            for (int j = 0; j < block; ++j)
                scatter(out[p] + at + j * step, sums[p][j], count, column);
}

// The products of two rows with one other, at `block` steps beside each other.
template <int block, class V, class T>
inline void products_of(const T* const (&own)[PAIR], int64_t own_step, const T* other,
                        int64_t other_step, T* const (&out)[PAIR], int64_t out_step,
                        const Shape& s) {
    constexpr int lanes = sizeof(V) / sizeof(T);
    for (int64_t x = 0; x < s.w; x += lanes) {
        V sums[PAIR][block] = {};
        for (int64_t c = 0; c < s.channels; ++c)
            add(sums, own[0] + c * own_step + x, own[1] + c * own_step + x,
                other + c * other_step + x, 1);
        put(out, sums, x, out_step, s.w - x, 1);
    }
}

template <class V, class T>
void products(const Map<const T>& a, const Map<const T>& b, T* out, const Shape& s, int threads) {
    constexpr int lanes = sizeof(V) / sizeof(T);
    int64_t width = whole_vectors(s.w, lanes), plane = s.h * s.w, r = s.radius();
    in_bands(s, threads, [&](int64_t image, int64_t begin, int64_t end) {
        Rows<T> owns(a, s, image, PAIR, 0, width);
        Rows<T> others(b, s, image, s.k + 1, r, width + s.k);
        for (int64_t y = begin; y < end; y += PAIR) {
            const T* own[PAIR] = {owns.row(y), owns.row(std::min(y + 1, end - 1))};
            for (int64_t row = y - r; row <= y + 1 + r; ++row) {
                T* to[PAIR];
                for (int p = 0; p < PAIR; ++p) {
                    int64_t i = row - (y + p) + r;
                    bool needed = i >= 0 && i < s.k && y + p < end;
                    int64_t tap = image * s.taps() + i * s.k;
                    to[p] = needed ? out + tap * plane + (y + p) * s.w : nullptr;
                }
                if (row < 0 || row >= s.h) {
                    for (T* first : to)
                        for (int64_t j = 0; first && j < s.k; ++j)
                            std::fill_n(first + j * plane, s.w, T(0));
                    continue;
                }
                const T* other = others.row(row);
                auto take = [&](auto block, int64_t j) {
                    T* from_j[PAIR] = {to[0] ? to[0] + j * plane : nullptr,
                                       to[1] ? to[1] + j * plane : nullptr};
                    products_of<block(), V, T>(own, width, other + j, others.width, from_j, plane, s);
                };
                int64_t j = 0;
                for (; j + 7 <= s.k; j += 7) take(std::integral_constant<int, 7>(), j);
                for (; j + 3 <= s.k; j += 3) take(std::integral_constant<int, 3>(), j);
                for (; j < s.k; ++j) take(std::integral_constant<int, 1>(), j);
            }
        }
    });
}

// A neighbour of all pixels of two rows: where its channels are, and its weight in each row.
template <class T>
struct Tap {
    const T *v, *weights[PAIR];
};

template <int block, class V, class T>
inline void sums_of(const std::vector<Tap<T>>& taps, int64_t from, int64_t step, const Map<T>& map,
                    T* const (&out)[PAIR], int64_t w) {
    constexpr int lanes = sizeof(V) / sizeof(T);
    for (int64_t x = 0; x < w; x += lanes) {
        V sums[PAIR][block] = {};
        for (const Tap<T>& tap : taps)
            add(sums, tap.weights[0] + x, tap.weights[1] + x, tap.v + from * step + x, step);
        put(out, sums, from * map.channel + x * map.column, map.channel, w - x, map.column);
    }
}

template <class V, class T>
void sums(const T* weights, const Map<const T>& v, const Map<T>& out, const Shape& s, bool turned,
          int threads) {
    constexpr int lanes = sizeof(V) / sizeof(T), block = 8;
    int64_t width = whole_vectors(s.w, lanes), plane = s.h * s.w, r = s.radius();
    in_bands(s, threads, [&](int64_t image, int64_t begin, int64_t end) {
        Rows<T> others(v, s, image, s.k + 1, r, width + s.k);
        std::vector<T> padded((PAIR * s.taps() + 1) * width, T(0));
        const T* zeros = &padded[PAIR * s.taps() * width];
        std::vector<Tap<T>> taps;
        for (int64_t y = begin; y < end; y += PAIR) {
            taps.clear();
            int64_t last = std::min(y + 1, end - 1);
            for (int64_t row = std::max<int64_t>(0, y - r); row <= std::min(s.h - 1, last + r); ++row)
                for (int64_t j = 0; j < s.k; ++j) {
                    Tap<T> tap = {others.row(row) + (turned ? s.k - 1 - j : j), {zeros, zeros}};
                    int64_t shift = turned ? r - j : 0;
                    for (int64_t p = 0; p <= last - y; ++p) {
                        int64_t i = turned ? y + p - row + r : row - (y + p) + r;
                        if (i < 0 || i >= s.k) continue;
                        const T* from = weights + (image * s.taps() + i * s.k + j) * plane +
                                        (turned ? row : y + p) * s.w;
                        int64_t first = std::max<int64_t>(0, -shift);
                        T* to = &padded[(p * s.taps() + i * s.k + j) * width];
                        int64_t seen = std::min(s.w, s.w - shift) - first;
                        if (seen > 0) gather(to + first, from + first + shift, seen, 1);
                        tap.weights[p] = to;
                    }
                    taps.push_back(tap);
                }
            T* to[PAIR] = {out.at(s, image, y), last > y ? out.at(s, image, last) : nullptr};
            int64_t c = 0;
            for (; c + block <= s.channels; c += block)
                sums_of<block, V>(taps, c, others.width, out, to, s.w);
            for (; c < s.channels; ++c) sums_of<1, V>(taps, c, others.width, out, to, s.w);
        }
    });
}

Shape shape_of(const int64_t* sizes) {
    return {sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5]};
}

}  // namespace

#define DEFINE(T, suffix)                                                                        \
    extern "C" void neighbour_products_##suffix(const T* a, const T* b, T* out,                  \
                                                const int64_t* a_steps, const int64_t* b_steps,  \
                                                const int64_t* sizes, int threads) {             \
        products<Vector<T>, T>({a, a_steps}, {b, b_steps}, out, shape_of(sizes), threads);       \
    }                                                                                            \
    extern "C" void neighbour_sums_##suffix(const T* weights, const T* v, T* out,                \
                                            const int64_t* v_steps, const int64_t* out_steps,    \
                                            const int64_t* sizes, int turned, int threads) {     \
        sums<Vector<T>, T>(weights, {v, v_steps}, {out, out_steps}, shape_of(sizes), turned,     \
                           threads);                                                             \
    }

DEFINE(float, float32)
DEFINE(double, float64)
