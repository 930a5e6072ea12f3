// The gated delta rule for 16 rows of a sequence at a time, by matrix units: with L(t) the sum of
// the logarithms of the decays up to row t, and S the state before,
//
//   A(t,s) = beta(t) e^(L(t) - L(s)) k(t) k(s), s < t        R(t) = beta(t) (v(t) - e^L(t) S k(t))
//   P(t,s) = e^(L(t) - L(s)) q(t) k(s), s <= t               D = (I + A)^-1 R
//   y(t) = e^L(t) S q(t) + sum over s of P(t,s) D(s)
//   S' = e^L(15) S + sum over t of e^(L(15) - L(t)) D(t) k(t)^T
//
// D(t) is what row t adds to the state, times k(t): what the scan (gpu/delta.h) finds one after
// another. (Yang et al., "Gated Delta Networks: Improving Mamba2 with Delta Rule".)
//
// Half of the waves have 16 rows of the state each, in registers in the form in which sums of
// products come, which is also that of left sides. The others have A, its inverse and P meanwhile.
#pragma once

#include "gpu/delta.h"
#include "gpu/float_matrix.h"

namespace sinter {

template <class H>
struct DeltaChunk {
  static constexpr bool fits = FloatMatrix::exists && H::run <= sizes::most_delta_chunk_run;
  static constexpr int rows = sizes::delta_chunk;
  static constexpr int height = sizes::delta_chunk_height;
  static constexpr int splits = (H::value_dim + height - 1) / height;
  // Numbers of rows in shared memory, such that lanes use different banks.
  static constexpr int key_stride = sizes::delta_key_stride(H::run);
  static constexpr int value_stride = sizes::delta_value_stride;
  static constexpr int square_stride = sizes::delta_square_stride;
  static constexpr int input_floats = sizes::delta_chunk_inputs(H::run);

  // Of a chunk; those of two lie one behind the other.
  struct Inputs {
    float* k;      // [rows][key_stride]
    float* q;      // [rows][key_stride]
    float* v;      // [rows][value_stride]
    float* gates;  // [rows][log decay, beta]

    static SINTER_MEMBER Inputs of(u8* base, int buffer) {
      Inputs in;
      in.k = reinterpret_cast<float*>(base) + buffer * input_floats;
      in.q = in.k + rows * key_stride;
      in.v = in.q + rows * key_stride;
      in.gates = in.v + rows * value_stride;
      return in;
    }
  };
  // What is computed of one.
  struct Squares {
    float* inverse;  // [rows][square_stride], of I + A
    float* p;        // [rows][square_stride]

    static SINTER_MEMBER Squares of(u8* base) {
      Squares s;
      s.inverse = reinterpret_cast<float*>(base) + 2 * input_floats;
      s.p = s.inverse + rows * square_stride;
      return s;
    }
  };
};

// Sums of the logarithms of decays, up to each row of a chunk, one to a lane. Below -120 nothing is
// left of a state, and differences stay numbers.
struct LogDecays {
  float sum;

  static SINTER_MEMBER LogDecays of(const float* gates) {
    const int t = lane() % sizes::delta_chunk;
    const float log = gates[t * 2];
    float sum = log < -120.0F ? -120.0F : log;
#pragma clang loop unroll(full)
    for (int before = 1; before < sizes::delta_chunk; before *= 2) {
      const float other = at(sum, lane() - before);
      if (t >= before) sum += other;
    }
    return {sum};
  }
  SINTER_MEMBER float up_to(int t) const { return at(sum, t); }

 private:
  static SINTER_MEMBER float at(float value, int from) {
    return __builtin_bit_cast(float, shuffle(__builtin_bit_cast(u32, value), from & 31));
  }
};

// A type for a number.
template <int N>
struct DeltaPieces {
  static constexpr int value = N;
};

// c += the products of rows of `left` and of `right`, two runs of eight columns.
template <int Run, int Stride>
SINTER_INLINE void multiply_rows(const float* left, const float* right, float (&c)[2][4]) {
  const int g = lane() / 4;
  const int q = lane() % 4;
#pragma clang loop unroll_count(2)
  for (int j = 0; j < Run; j += 8) {
    const f32x2 upper = *reinterpret_cast<const f32x2*>(left + g * Stride + j + 2 * q);
    const f32x2 lower = *reinterpret_cast<const f32x2*>(left + (g + 8) * Stride + j + 2 * q);
    const auto a = FloatMatrix::Left::of({upper[0], upper[1], lower[0], lower[1]});
#pragma clang loop unroll(full)
    for (int n = 0; n < 2; ++n) {
      const f32x2 two = *reinterpret_cast<const f32x2*>(right + (n * 8 + g) * Stride + j + 2 * q);
      FloatMatrix::multiply(c[n], a, FloatMatrix::Right::of(two[0], two[1]));
    }
  }
}

// By a wave: A of a chunk, then the inverse of I + A in its place.
template <class H>
SINTER_INLINE void delta_inverse(const typename DeltaChunk<H>::Inputs& in, float* inverse) {
  using C = DeltaChunk<H>;
  constexpr int stride = C::square_stride;
  float c[2][4] = {};
  multiply_rows<H::run, C::key_stride>(in.k, in.k, c);
  const auto logs = LogDecays::of(in.gates);
#pragma clang loop unroll(full)
  for (int i = 0; i < 8; ++i) {
    const int t = lane() / 4 + i % 4 / 2 * 8;
    const int s = i / 4 * 8 + lane() % 4 * 2 + i % 2;
    const float ratio = exp(logs.up_to(t) - logs.up_to(s));
    inverse[t * stride + s] = s < t ? in.gates[t * 2 + 1] * ratio * c[i / 4][i % 4] : 0.0F;
  }
  wave_barrier();
  // A lane has a column of the inverse: x(t) = 1 or 0 less the sum of A(t,s) x(s).
  const int column = lane() % C::rows;
  float x[C::rows];
#pragma clang loop unroll(full)
  for (int t = 0; t < C::rows; ++t) {
    float sum = t == column ? 1.0F : 0.0F;
#pragma clang loop unroll(full)
    for (int s = 0; s < t; ++s) sum = fma(-inverse[t * stride + s], x[s], sum);
    x[t] = sum;
  }
  wave_barrier();
  if (lane() < C::rows)
#pragma clang loop unroll(full)
    for (int t = 0; t < C::rows; ++t) inverse[t * stride + column] = x[t];
}

// By another: P.
template <class H>
SINTER_INLINE void delta_scores(const typename DeltaChunk<H>::Inputs& in, float* p) {
  using C = DeltaChunk<H>;
  float c[2][4] = {};
  multiply_rows<H::run, C::key_stride>(in.q, in.k, c);
  const auto logs = LogDecays::of(in.gates);
#pragma clang loop unroll(full)
  for (int i = 0; i < 8; ++i) {
    const int t = lane() / 4 + i % 4 / 2 * 8;
    const int s = i / 4 * 8 + lane() % 4 * 2 + i % 2;
    const float ratio = exp(logs.up_to(t) - logs.up_to(s));
    p[t * C::square_stride + s] = s <= t ? ratio * c[i / 4][i % 4] : 0.0F;
  }
}

// What a wave has of the state: 16 rows, and of what is found of them for the rows of a chunk.
template <class H>
struct DeltaWave {
  using C = DeltaChunk<H>;
  static constexpr int tiles = H::run / 8;
  float s[tiles][4];   // rows g and g + 8, columns 8 n + 2 q and one more
  float known[2][4];   // S k, for rows 8 n + 2 q and one more of the chunk
  float result[2][4];  // S q, then y

  // f(two numbers, where they lie in the state of a head); `first`: the wave's first row.
  template <class F>
  SINTER_MEMBER void for_each(int first, const F& f) {
#pragma clang loop unroll(full)
    for (int half = 0; half < 2; ++half) {
      const int row = first + lane() / 4 + half * 8;
      if (row >= H::value_dim) continue;
#pragma clang loop unroll(full)
      for (int n = 0; n < tiles; ++n)
        f(s[n][half * 2], s[n][half * 2 + 1], row * H::run + n * 8 + lane() % 4 * 2);
    }
  }
  SINTER_MEMBER void load_from(const float* head, int first) {
#pragma clang loop unroll(full)
    for (int n = 0; n < tiles; ++n)
#pragma clang loop unroll(full)
      for (int i = 0; i < 4; ++i) s[n][i] = 0;
    for_each(first, [&](float& a, float& b, int at) {
      const f32x2 two = *reinterpret_cast<const f32x2*>(head + at);
      a = two[0];
      b = two[1];
    });
  }
  SINTER_MEMBER void store_to(float* head, int first) {
    for_each(first, [&](float& a, float& b, int at) {
      *reinterpret_cast<f32x2*>(head + at) = f32x2{a, b};
    });
  }

  // S k and S q of all rows.
  SINTER_MEMBER void read_state(const typename C::Inputs& in) {
    const int g = lane() / 4;
    const int q = lane() % 4;
#pragma clang loop unroll(full)
    for (int n = 0; n < 2; ++n)
#pragma clang loop unroll(full)
      for (int i = 0; i < 4; ++i) known[n][i] = result[n][i] = 0;
#pragma clang loop unroll(full)
    for (int j = 0; j < tiles; ++j) {
      const auto a = FloatMatrix::Left::of(s[j]);
#pragma clang loop unroll(full)
      for (int n = 0; n < 2; ++n) {
        const int at = (n * 8 + g) * C::key_stride + j * 8 + 2 * q;
        const f32x2 key = *reinterpret_cast<const f32x2*>(in.k + at);
        FloatMatrix::multiply(known[n], a, FloatMatrix::Right::of(key[0], key[1]));
        const f32x2 query = *reinterpret_cast<const f32x2*>(in.q + at);
        FloatMatrix::multiply(result[n], a, FloatMatrix::Right::of(query[0], query[1]));
      }
    }
  }

  // c += x m^T, where x has a number for each row of the chunk and m is [rows][square_stride].
  static SINTER_MEMBER void multiply_square(const float (&x)[2][4], const float* m,
                                            float (&c)[2][4]) {
#pragma clang loop unroll(full)
    for (int k = 0; k < 2; ++k) {
      const auto a = FloatMatrix::Left::of(x[k]);
#pragma clang loop unroll(full)
      for (int n = 0; n < 2; ++n) {
        const f32x2 two = *reinterpret_cast<const f32x2*>(
            m + (n * 8 + lane() / 4) * C::square_stride + k * 8 + lane() % 4 * 2);
        FloatMatrix::multiply(c[n], a, FloatMatrix::Right::of(two[0], two[1]));
      }
    }
  }

  // The results of `count` rows, and the state behind them. `place`: of the wave's rows in the
  // block; y: the first row's first number of the wave, `stride` from one row to the next.
  SINTER_MEMBER void update(const typename C::Inputs& in, const typename C::Squares& squares,
                            int place, int first, int count, float* y, index stride) {
    const int g = lane() / 4;
    const int q = lane() % 4;
    const auto logs = LogDecays::of(in.gates);
    const float last = logs.up_to(C::rows - 1);
    float left[2][4];   // R
    float added[2][4];  // D
    float to_last[2][2];
#pragma clang loop unroll(full)
    for (int n = 0; n < 2; ++n)
#pragma clang loop unroll(full)
      for (int i = 0; i < 2; ++i) {
        const int t = n * 8 + 2 * q + i;
        const float log = logs.up_to(t);
        const float factor = exp(log);
        const float beta = in.gates[t * 2 + 1];
        to_last[n][i] = exp(last - log);
#pragma clang loop unroll(full)
        for (int half = 0; half < 2; ++half) {
          const float v = in.v[t * C::value_stride + place + g + half * 8];
          left[n][half * 2 + i] = beta * fma(-factor, known[n][half * 2 + i], v);
          added[n][half * 2 + i] = 0;
          result[n][half * 2 + i] *= factor;
        }
      }
    multiply_square(left, squares.inverse, added);
    multiply_square(added, squares.p, result);
#pragma clang loop unroll(full)
    for (int n = 0; n < 2; ++n)
#pragma clang loop unroll(full)
      for (int i = 0; i < 4; ++i) {
        const int t = n * 8 + 2 * q + i % 2;
        const int row = first + g + i / 2 * 8;
        if (t < count && row < H::value_dim) y[t * stride + g + i / 2 * 8] = result[n][i];
        added[n][i] *= to_last[n][i % 2];
      }
    const float factor = exp(last);
    const FloatMatrix::Left a[2] = {FloatMatrix::Left::of(added[0]),
                                    FloatMatrix::Left::of(added[1])};
#pragma clang loop unroll(full)
    for (int n = 0; n < tiles; ++n) {
#pragma clang loop unroll(full)
      for (int i = 0; i < 4; ++i) s[n][i] *= factor;
#pragma clang loop unroll(full)
      for (int k = 0; k < 2; ++k) {
        const float* const key = in.k + (k * 8 + 2 * q) * C::key_stride + n * 8 + g;
        FloatMatrix::multiply(s[n], a[k], FloatMatrix::Right::of(key[0], key[C::key_stride]));
      }
    }
  }
};

// Many rows, second phase, as delta_many_rows; gates are logarithms of decays, and betas.
template <class H, int ValueRow, int ValueStride>
SINTER_INLINE void delta_many_chunks(const Launch* launch, const typename H::State& state,
                                     const DeltaInputs& given, float* y) {
  using C = DeltaChunk<H>;
  constexpr int parts = H::heads * C::splits;
  constexpr bool by_fours = ValueRow % 4 == 0 && ValueStride % 4 == 0;
  const index rows = launch->step->rows;
  const StepRow* const table = step_rows(launch);
  const int workers = launch->workers;
  const auto squares = C::Squares::of(shared_memory());
  int number = launch->worker;  // of the next unit of a sequence
  for (index begin = 0; begin < rows;) {
    const index end = end_of_sequence(table, begin, rows);
    for (; number < parts; number += workers) {
      const int h = number / C::splits;
      const int first = number % C::splits * C::height;
      const int key_head = h / (H::heads / H::key_heads);
      // Rows t.. of the sequence, as many as a chunk has, to a buffer, with zeros behind them.
      const auto fetch = [&](index t, int buffer) {
        const auto to = C::Inputs::of(shared_memory(), buffer);
        const int count = static_cast<int>(end - t < C::rows ? end - t : C::rows);
        const auto copy = [&](auto pieces, float* shared, int stride, const float* from, index row,
                              int width) {
          constexpr int size = decltype(pieces)::value;  // numbers
          const int of_row = (width + size - 1) / size;
          for (int i = thread(); i < C::rows * of_row; i += threads) {
            const int at = i / of_row;
            const int k = i % of_row * size;
            copy_to_shared<size * 4>(
                reinterpret_cast<u8*>(shared + at * stride + k),
                reinterpret_cast<const u8*>(from + (at < count ? at : 0) * row + k),
                at < count ? size * 4 : 0);
          }
        };
        const index keys = (t * H::key_heads + key_head) * H::run;
        copy(DeltaPieces<4>{}, to.k, C::key_stride, given.k + keys, H::key_heads * H::run, H::run);
        copy(DeltaPieces<4>{}, to.q, C::key_stride, given.q + keys, H::key_heads * H::run, H::run);
        copy(DeltaPieces<by_fours ? 4 : 1>{}, to.v, C::value_stride,
             given.v + t * ValueRow + h * ValueStride + first, ValueRow,
             H::value_dim - first < C::height ? H::value_dim - first : C::height);
        copy(DeltaPieces<2>{}, to.gates, 2, given.gates + (t * H::heads + h) * 2, H::heads * 2, 2);
        end_copies();
      };
      float* const head = state.run(table[begin].sequence, index{h} * H::value_dim);
      const int place = wave() * 16;
      // A wave without rows of the state may be one that finds A or P.
      const bool has_rows = place < C::height && first + place < H::value_dim;
      DeltaWave<H> mine;
      fetch(begin, 0);
      mine.load_from(head, has_rows ? first + place : H::value_dim);
      await_copies();
      barrier();
      int buffer = 0;
#pragma clang loop unroll(disable)
      for (index t = begin; t < end; t += C::rows, buffer ^= 1) {
        const auto in = C::Inputs::of(shared_memory(), buffer);
        const int count = static_cast<int>(end - t < C::rows ? end - t : C::rows);
        if (t + C::rows < end) fetch(t + C::rows, buffer ^ 1);
        if (place < C::height) {
          if (has_rows) mine.read_state(in);
        } else if (place == C::height) {
          delta_inverse<H>(in, squares.inverse);
        } else if (place == C::height + 16) {
          delta_scores<H>(in, squares.p);
        }
        barrier();
        if (has_rows)
          mine.update(in, squares, place, first + place, count,
                      y + (t * H::heads + h) * H::value_dim + first + place,
                      index{H::heads} * H::value_dim);
        await_copies();
        barrier();
      }
      if (has_rows) mine.store_to(head, first + place);
    }
    number -= parts;
    begin = end;
  }
}

template <class H, bool ByFeature>
constexpr bool delta_by_chunks = !ByFeature && DeltaChunk<H>::fits;

// In chunks where there are matrix units, else row by row. `Logs` of write_gates says which.
template <class H, bool ByFeature, int ValueRow, int ValueStride>
SINTER_INLINE void delta_many(const Launch* launch, const typename H::State& state,
                              const DeltaInputs& in, float* y) {
  if constexpr (delta_by_chunks<H, ByFeature>) {
    delta_many_chunks<H, ValueRow, ValueStride>(launch, state, in, y);
  } else {
    delta_many_rows<H, ByFeature, ValueRow, ValueStride>(launch, state, in, y);
  }
}

}  // namespace sinter
