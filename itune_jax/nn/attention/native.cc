// Causal attention inside the segments of packed rows, on the threads of XLA's CPU client. `native.py` builds, calls
// and explains it. Float32; heads share keys in groups; a query sees the keys from `first` to itself, and in rows where
// several segments share a trunk (`grouped`) those of a second range before them, in the same pass.
//
// Scores of a block of queries lie transposed, [keys, queries]: the softmax runs down a vector of queries with no sum
// across its lanes, and each of the five products is a sum of (one number) × (one vector), read as the operands lie.

#include <algorithm>
#include <atomic>
#include <cmath>
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace {

#if defined(__AVX512F__)
constexpr int W = 16, R = 8;  // lanes of a vector; rows of a tile of 2 vectors: what the registers hold
#elif defined(__AVX__)
constexpr int W = 8, R = 6;
#else
constexpr int W = 4, R = 8;
#endif
constexpr int Q = 32, KEYS = 64;  // queries and keys of a block
constexpr int STRETCH = 256;      // positions, at least, that one thread takes at a time
constexpr float NEG = -1e30f;     // a score that is not seen, as in mask.py

typedef float Vec __attribute__((vector_size(4 * W)));
typedef int32_t Ints __attribute__((vector_size(4 * W)));

template <typename V = Vec, typename T>
inline V load(const T* from) {
  V v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

inline void store(float* to, Vec v) { std::memcpy(to, &v, sizeof v); }

// e^x to 2 units in the last place: 2^n times a polynomial on the rest (Cephes); a NaN stays one.
inline Vec exponential(Vec x) {
  Vec given = x;
  x = x < -87.0f ? Vec{} - 87.0f : x;
  x = x > 88.0f ? Vec{} + 88.0f : x;
  Vec shifted = x * 1.44269504f + 12582912.0f;  // 1.5 · 2^23: the nearest integer lies in the lowest bits
  Vec n = shifted - 12582912.0f;
  Vec r = x - n * 0.693359375f + n * 2.12194440e-4f;
  Vec p = Vec{} + 1.9875691500e-4f;
  for (float c : {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f})
    p = p * r + c;
  p = p * r * r + r + 1.0f;
  return given != given ? given : (Vec)((Ints)p + ((Ints)shifted << 23));
}

// tanh x: near 0 by a polynomial (Cephes), so that little is not lost against 1.
inline Vec tangent(Vec x) {
  Vec z = x * x, p = Vec{} - 5.70498872745e-3f;
  for (float c : {2.06390887954e-2f, -5.37397155531e-2f, 1.33314422036e-1f, -3.33332819422e-1f}) p = p * z + c;
  return z < 0.390625f ? x + x * z * p : 1.0f - 2.0f / (exponential(2.0f * x) + 1.0f);
}

// A matrix as it lies: element (r, c) at data[r · row + c · column].
struct Matrix {
  const float* data;
  int64_t row, column;
};

template <int rows, int vectors>
inline void tile(int depth, Matrix a, const float* b, int64_t b_row, float* c, int64_t c_row, bool add) {
  Vec sum[rows][vectors];
  for (int r = 0; r < rows; ++r)
    for (int v = 0; v < vectors; ++v) sum[r][v] = add ? load(c + r * c_row + v * W) : Vec{};
  for (int d = 0; d < depth; ++d) {
    Vec right[vectors];
    for (int v = 0; v < vectors; ++v) right[v] = load(b + d * b_row + v * W);
    for (int r = 0; r < rows; ++r) {
      float left = a.data[r * a.row + d * a.column];
      for (int v = 0; v < vectors; ++v) sum[r][v] += left * right[v];
    }
  }
  for (int r = 0; r < rows; ++r)
    for (int v = 0; v < vectors; ++v) store(c + r * c_row + v * W, sum[r][v]);
}

// As `tile`, of as many rows as are left.
template <int most, int vectors>
inline void rest(int rows, int depth, Matrix a, const float* b, int64_t b_row, float* c, int64_t c_row, bool add) {
  if (rows == most) return tile<most, vectors>(depth, a, b, b_row, c, c_row, add);
  if constexpr (most > 1) rest<most - 1, vectors>(rows, depth, a, b, b_row, c, c_row, add);
}

template <int vectors>
void strip(int rows, int depth, Matrix a, const float* b, int64_t b_row, float* c, int64_t c_row, bool add) {
  auto from = [&](int r) { return Matrix{a.data + r * a.row, a.row, a.column}; };
  int r = 0;
  for (; r + R <= rows; r += R) tile<R, vectors>(depth, from(r), b, b_row, c + r * c_row, c_row, add);
  if (r < rows) rest<R - 1, vectors>(rows - r, depth, from(r), b, b_row, c + r * c_row, c_row, add);
}

// c [rows, columns] (+)= a [rows, depth] b [depth, columns]; columns are whole vectors.
void product(int rows, int columns, int depth, Matrix a, const float* b, int64_t b_row, float* c, int64_t c_row,
             bool add) {
  int n = 0;
  for (; n + 2 * W <= columns; n += 2 * W) strip<2>(rows, depth, a, b + n, b_row, c + n, c_row, add);
  for (; n < columns; n += W) strip<1>(rows, depth, a, b + n, b_row, c + n, c_row, add);
}

struct Given {
  const float *q, *k, *v;  // [B, T, N, H], [B, T, K, H]
  const int32_t* first;    // [B, T]: the first key that a query sees; behind it, none
  const int32_t *trunk, *behind;  // [B, T], or null: from `trunk` to before `behind` it sees keys too, before `first`
  int64_t B, T, N, K, H;
  float scale, softcap;

  int64_t query(int64_t b, int64_t t, int64_t n) const { return ((b * T + t) * N + n) * H; }
  int64_t key(int64_t b, int64_t t, int64_t k) const { return ((b * T + t) * K + k) * H; }
  Vec capped(Vec s) const { return softcap ? softcap * tangent(s / softcap) : s; }
};

// What one thread does at a time: queries of the heads that share one head of keys.
struct Stretch {
  int64_t b, k, begin, end;
};

// alone: no query behind a cut sees a key before it, so that a stretch owns the gradients of its keys.
std::vector<Stretch> stretches(const Given& x, bool alone) {
  std::vector<Stretch> found;
  std::vector<int32_t> least(x.T + 1, INT32_MAX);  // the first key that a query at or behind a position sees
  for (int64_t b = 0; b < x.B; ++b) {
    for (int64_t t = x.T, at = (b + 1) * x.T; t-- > 0;) {
      least[t] = std::min(least[t + 1], x.first[--at]);
      if (x.trunk && x.trunk[at] < x.behind[at]) least[t] = std::min(least[t], x.trunk[at]);
    }
    for (int64_t begin = 0, t = 1; t <= x.T; ++t) {
      if (t < x.T && (t - begin < STRETCH || (alone && least[t] < t))) continue;
      for (int64_t k = 0; k < x.K; ++k) found.push_back({b, k, begin, t});
      begin = t;
    }
  }
  return found;
}

// Runs f(0) … f(n - 1) on the pool's threads and this one. This one waits only for what others have begun: a pool whose
// threads are all busy delays nothing.
template <typename F>
void parallel(ffi::ThreadPool& pool, int n, F f) {
  struct State {
    std::atomic<int> next{0}, done{0};
    std::mutex mutex;
    std::condition_variable all;
  };
  auto state = std::make_shared<State>();
  auto work = [state, n, f] {
    for (int i; (i = state->next++) < n;) {
      f(i);
      if (++state->done < n) continue;
      std::lock_guard<std::mutex> lock(state->mutex);
      state->all.notify_all();
    }
  };
  int helpers = std::min<int>(pool.num_threads(), n) - 1;
  for (int i = 0; i < helpers; ++i) pool.Schedule([work] { work(); });
  work();
  std::unique_lock<std::mutex> lock(state->mutex);
  state->all.wait(lock, [&] { return state->done == n; });
}

// Up to Q queries of one head from position `start` on.
template <bool grouped> struct Block {
  int32_t first[Q], at[Q], trunk[grouped ? Q : 1], behind[grouped ? Q : 1];
  int64_t start, least, end;  // keys from `least` to `end` are seen by one of them
  int n;

  Block(const Given& x, const Stretch& s, int64_t start) : start(start), n(std::min<int64_t>(Q, s.end - start)) {
    least = end = start + n;
    for (int i = 0; i < Q; ++i) {
      first[i] = i < n ? x.first[s.b * x.T + start + i] : INT32_MAX;
      at[i] = start + i;
      least = std::min<int64_t>(least, first[i]);
      if constexpr (grouped) {
        trunk[i] = i < n ? x.trunk[s.b * x.T + start + i] : 0;
        behind[i] = i < n ? x.behind[s.b * x.T + start + i] : 0;
      }
    }
    if constexpr (grouped) least = next(0);
  }
  int keys(int64_t k0) const { return std::min<int64_t>(KEYS, end - k0); }
  Ints sees(int c, int key) const {
    Ints seen = (load<Ints>(first + c) <= key) & (load<Ints>(at + c) >= key);
    if constexpr (grouped) seen |= (load<Ints>(trunk + c) <= key) & (load<Ints>(behind + c) > key);
    return seen;
  }
  // The next key from k0 on that one of them sees.
  int64_t next(int64_t k0) const {
    int64_t found = grouped ? end : k0;
    for (int i = 0; grouped && i < n; ++i) {
      const int64_t from = std::max<int64_t>(k0, k0 < behind[i] ? trunk[i] : first[i]);
      if (from <= at[i]) found = std::min(found, from);
    }
    return found;
  }
};

// The lanes of the lower (half 0) or upper halves of a and b in turn.
template <int half, int... lane>
inline Vec zip(Vec a, Vec b, std::integer_sequence<int, lane...>) {
#if defined(__clang__)
  return __builtin_shufflevector(a, b, (lane / 2 + half * W / 2 + lane % 2 * W)...);
#else
  return __builtin_shuffle(a, b, Ints{(lane / 2 + half * W / 2 + lane % 2 * W)...});
#endif
}

// to [H, Q] = the block's rows at `from`, times `by`; zeros where there is no query. W rows of W numbers change places
// by zipping the upper half of the rows into the lower, log2(W) times.
void transpose(const float* from, int64_t row, int n, int64_t H, float by, float* to) {
  constexpr std::make_integer_sequence<int, W> lanes;
  for (int i = 0; i < Q; i += W) {
    for (int64_t h = 0; h < H; h += W) {
      Vec rows[W], zipped[W];
      for (int r = 0; r < W; ++r) rows[r] = i + r < n ? load(from + (i + r) * row + h) * by : Vec{};
      for (int round = 1; round < W; round *= 2) {
        for (int r = 0; r < W / 2; ++r) {
          zipped[2 * r] = zip<0>(rows[r], rows[r + W / 2], lanes);
          zipped[2 * r + 1] = zip<1>(rows[r], rows[r + W / 2], lanes);
        }
        std::copy_n(zipped, W, rows);
      }
      for (int r = 0; r < W; ++r) store(to + (h + r) * Q + i, rows[r]);
    }
  }
}

// One more block of keys in the running softmax: scores become weights, in place.
template <bool grouped>
void online_softmax(const Given& x, const Block<grouped>& block, int64_t k0, int keys, float* scores, float* top,
                    float* total, float* fade) {
  for (int c = 0; c < Q; c += W) {
    Vec before = load(top + c), most = before;
    for (int j = 0; j < keys; ++j) {
      Vec s = block.sees(c, k0 + j) ? x.capped(load(scores + j * Q + c)) : Vec{} + NEG;
      store(scores + j * Q + c, s);
      most = ((s > most) | (s != s)) ? s : most;
    }
    Vec less = exponential(before - most), sum = load(total + c) * less;
    for (int j = 0; j < keys; ++j) {
      Vec s = load(scores + j * Q + c), p = s <= NEG / 2 ? Vec{} : exponential(s - most);
      store(scores + j * Q + c, p);
      sum += p;
    }
    store(fade + c, less);
    store(top + c, most);
    store(total + c, sum);
  }
}

template <bool grouped>
void forward(const Given& x, const Stretch& s, float* out, float* lse) {
  const int64_t H = x.H, q_row = x.N * H, k_row = x.K * H;
  std::vector<float> scratch(2 * H * Q + KEYS * Q);
  float *q = scratch.data(), *sum = q + H * Q, *scores = sum + H * Q;
  float top[Q], total[Q], fade[Q];
  for (int64_t n = s.k * (x.N / x.K); n < (s.k + 1) * (x.N / x.K); ++n) {
    for (int64_t start = s.begin; start < s.end; start += Q) {
      Block<grouped> block(x, s, start);
      transpose(x.q + x.query(s.b, start, n), q_row, block.n, H, x.scale, q);
      std::fill_n(sum, H * Q, 0.0f);
      std::fill_n(top, Q, NEG);
      std::fill_n(total, Q, 0.0f);
      for (int64_t k0 = block.least; k0 < block.end; k0 = block.next(k0 + KEYS)) {
        int keys = block.keys(k0);
        product(keys, Q, H, {x.k + x.key(s.b, k0, s.k), k_row, 1}, q, Q, scores, Q, false);
        online_softmax(x, block, k0, keys, scores, top, total, fade);
        for (int i = 0; i < block.n && k0 > block.least; ++i)
          for (int64_t h = 0; h < H; ++h) sum[i * H + h] *= fade[i];
        product(block.n, H, keys, {scores, 1, Q}, x.v + x.key(s.b, k0, s.k), k_row, sum, H, true);
      }
      for (int i = 0; i < block.n; ++i) {
        const bool none = total[i] == 0;
        const int64_t to = x.query(s.b, start + i, n);
        for (int64_t h = 0; h < H; ++h) out[to + h] = none ? 0.0f : sum[i * H + h] / total[i];
        lse[to / H] = none ? NEG : top[i] + std::log(total[i]);
      }
    }
  }
}

struct Gradients {
  const float *out, *lse, *d_out, *d_lse;
  float *d_q, *d_k, *d_v;
};

// weights [keys, Q] from scores, and d_scores from the gradient of the weights: dS = P ∘ (dP - Σ dO∘O + dlse), where
// drop is what is taken off; times the cap's slope and the scale. Both in place.
template <bool grouped>
void score_gradients(const Given& x, const Block<grouped>& block, int64_t k0, int keys, const float* lse,
                     const float* drop, float* p, float* d) {
  for (int c = 0; c < Q; c += W) {
    const Vec lse_c = load(lse + c), drop_c = load(drop + c);
    for (int j = 0; j < keys; ++j) {
      Vec score = x.capped(load(p + j * Q + c));
      Vec weight = block.sees(c, k0 + j) ? exponential(score - lse_c) : Vec{};
      Vec slope = x.softcap ? 1.0f - (score / x.softcap) * (score / x.softcap) : Vec{} + 1.0f;
      store(p + j * Q + c, weight);
      store(d + j * Q + c, weight * (load(d + j * Q + c) - drop_c) * slope * x.scale);
    }
  }
}

template <bool grouped>
void backward(const Given& x, const Stretch& s, const Gradients& g) {
  const int64_t H = x.H, q_row = x.N * H, k_row = x.K * H;
  std::vector<float> scratch(2 * H * Q + 2 * KEYS * Q);
  float *q = scratch.data(), *d_out = q + H * Q, *p = d_out + H * Q, *d = p + KEYS * Q;
  float lse[Q], drop[Q];
  for (int64_t t = s.begin; t < s.end; ++t)
    for (float* of : {g.d_k, g.d_v}) std::fill_n(of + x.key(s.b, t, s.k), H, 0.0f);
  for (int64_t n = s.k * (x.N / x.K); n < (s.k + 1) * (x.N / x.K); ++n) {
    for (int64_t start = s.begin; start < s.end; start += Q) {
      Block<grouped> block(x, s, start);
      const int64_t at = x.query(s.b, start, n);
      transpose(x.q + at, q_row, block.n, H, x.scale, q);
      transpose(g.d_out + at, q_row, block.n, H, 1.0f, d_out);
      std::fill_n(lse, Q, 0.0f);
      std::fill_n(drop, Q, 0.0f);
      for (int i = 0; i < block.n; ++i) {
        const int64_t row = at + i * q_row;
        Vec along{};
        for (int64_t h = 0; h < H; h += W) along += load(g.d_out + row + h) * load(g.out + row + h);
        for (int w = 0; w < W; ++w) drop[i] += along[w];
        drop[i] -= g.d_lse[row / H];
        lse[i] = g.lse[row / H];
        std::fill_n(g.d_q + row, H, 0.0f);
      }
      for (int64_t k0 = block.least; k0 < block.end; k0 = block.next(k0 + KEYS)) {
        const int keys = block.keys(k0);
        const int64_t key = x.key(s.b, k0, s.k);
        product(keys, Q, H, {x.k + key, k_row, 1}, q, Q, p, Q, false);
        product(keys, Q, H, {x.v + key, k_row, 1}, d_out, Q, d, Q, false);
        score_gradients(x, block, k0, keys, lse, drop, p, d);
        product(keys, H, block.n, {p, Q, 1}, g.d_out + at, q_row, g.d_v + key, k_row, true);
        product(keys, H, block.n, {d, Q, 1}, x.q + at, q_row, g.d_k + key, k_row, true);
        product(block.n, H, keys, {d, 1, Q}, x.k + key, k_row, g.d_q + at, q_row, true);
      }
    }
  }
}

using Floats = ffi::Buffer<ffi::F32>;
using Integers = ffi::Buffer<ffi::S32>;
using Made = ffi::Result<Floats>;

// Axes before the last three count as rows. trunk, behind: without elements where no row is grouped.
Given given(Floats q, Floats k, Floats v, Integers first, Integers trunk, Integers behind, float scale, float softcap) {
  auto of_q = q.dimensions(), of_k = k.dimensions();
  const int64_t T = of_q[of_q.size() - 3], N = of_q[of_q.size() - 2], H = of_q.back(), K = of_k[of_k.size() - 2];
  const int64_t B = T * N * H != 0 ? q.element_count() / (T * N * H) : 0;
  auto spans = [](Integers x) { return x.element_count() ? x.typed_data() : nullptr; };
  return {q.typed_data(), k.typed_data(), v.typed_data(), first.typed_data(), spans(trunk), spans(behind),
          B,              T,              N,              K,                  H,            scale,         softcap};
}

ffi::Error Forward(ffi::ThreadPool pool, Floats q, Floats k, Floats v, Integers first, Integers trunk, Integers behind,
                   Made out, Made lse, float scale, float softcap) {
  const Given x = given(q, k, v, first, trunk, behind, scale, softcap);
  const auto all = stretches(x, false);
  const auto run = x.trunk ? forward<true> : forward<false>;
  parallel(pool, all.size(), [&](int i) { run(x, all[i], out->typed_data(), lse->typed_data()); });
  return ffi::Error::Success();
}

ffi::Error Backward(ffi::ThreadPool pool, Floats q, Floats k, Floats v, Integers first, Integers trunk, Integers behind,
                    Floats out, Floats lse, Floats d_out, Floats d_lse, Made d_q, Made d_k, Made d_v, float scale,
                    float softcap) {
  const Given x = given(q, k, v, first, trunk, behind, scale, softcap);
  const Gradients g{out.typed_data(),  lse.typed_data(),  d_out.typed_data(), d_lse.typed_data(),
                    d_q->typed_data(), d_k->typed_data(), d_v->typed_data()};
  const auto all = stretches(x, true);
  const auto run = x.trunk ? backward<true> : backward<false>;
  parallel(pool, all.size(), [&](int i) { run(x, all[i], g); });
  return ffi::Error::Success();
}

}  // namespace

#define QKV Ctx<ffi::ThreadPool>().Arg<Floats>().Arg<Floats>().Arg<Floats>()
#define ROWS QKV.Arg<Integers>().Arg<Integers>().Arg<Integers>()
#define HOW Attr<float>("scale").Attr<float>("softcap")
XLA_FFI_DEFINE_HANDLER_SYMBOL(attention_forward, Forward, ffi::Ffi::Bind().ROWS.Ret<Floats>().Ret<Floats>().HOW);
XLA_FFI_DEFINE_HANDLER_SYMBOL(attention_backward, Backward,
                              ffi::Ffi::Bind().ROWS.Arg<Floats>().Arg<Floats>().Arg<Floats>().Arg<Floats>()
                                  .Ret<Floats>().Ret<Floats>().Ret<Floats>().HOW);
