// The input side of a matrix product: prologues (what is computed on a row before it is multiplied)
// and the forms in which a row is multiplied. A block prepares a row together.
#pragma once

#include "gpu/math.h"
#include "gpu/weights.h"

namespace sinter {

// Columns that a thread holds at a time, and how often the block must go over a row.
constexpr int held = 8;
template <int Cols>
constexpr int rounds = (Cols + threads * held - 1) / (threads * held);

struct Held {
  float v[held];
};
// Columns k.. of a row; zeros beyond `Cols`. Aligned: eight columns from a multiple of eight on can
// be read at once.
template <int Cols, bool Aligned, class T>
SINTER_INLINE Held hold(const T* row, int k) {
  struct alignas(16) Eight {
    T values[held];
  };
  Held x;
  if (Aligned && k + held <= Cols) {
    const Eight eight = *reinterpret_cast<const Eight*>(row + k);
#pragma clang loop unroll(full)
    for (int i = 0; i < held; ++i) x.v[i] = widen(eight.values[i]);
  } else {
#pragma clang loop unroll(full)
    for (int i = 0; i < held; ++i) x.v[i] = k + i < Cols ? widen(row[k + i]) : 0.0F;
  }
  return x;
}

// Whether all rows of float32 begin at a multiple of 16 bytes, as the first does.
template <int Cols>
constexpr bool rows_are_aligned = Cols % 4 == 0;

// Sum over the block; every thread gets it. `scratch`: one float per wave, that nobody else uses
// until after the next barrier.
SINTER_INLINE float sum_block(float value, float* scratch) {
  value = sum_lanes<wave_size>(value);
  if (lane() == 0) scratch[wave()] = value;
  barrier();
  float sum = 0;
#pragma clang loop unroll(full)
  for (int i = 0; i < waves; ++i) sum += scratch[i];
  return sum;
}

// The largest number over the block; every thread gets it. `scratch`: as of sum_block.
SINTER_INLINE float max_block(float value, float* scratch) {
  value = max_lanes<wave_size>(value);
  if (lane() == 0) scratch[wave()] = value;
  barrier();
  float most = scratch[0];
#pragma clang loop unroll(full)
  for (int i = 1; i < waves; ++i) most = larger(most, scratch[i]);
  return most;
}

// A prologue: prepare(r, row, scratch) makes this thread's columns of row r, (i * threads + thread)
// * 8 .. for i < rounds. `first` is the tensor row that row 0 stands for. An op by row is the
// struct of its name: its vectors and attributes are fields, in the order of the op table; a vector
// that is left out is of type void.
template <int Cols>
struct PlainRows {
  const float* x;  // [rows, Cols]
  index first;

  static constexpr int cols = Cols;
  __device__ __attribute__((always_inline)) void prepare(index r, Held (&row)[rounds<Cols>],
                                                         float*) const {
    const float* from = x + (first + r) * Cols;
#pragma clang loop unroll(full)
    for (int i = 0; i < rounds<Cols>; ++i)
      row[i] = hold<Cols, rows_are_aligned<Cols>>(from, (i * threads + thread()) * held);
  }
};

// x * rsqrt(mean(x^2) + eps) * weight
template <int Cols, class Weight>
struct RmsNormRows {
  const float* x;        // [rows, Cols]
  const Weight* weight;  // [Cols]
  float eps;
  index first;

  static constexpr int cols = Cols;
  __device__ __attribute__((always_inline)) void prepare(index r, Held (&row)[rounds<Cols>],
                                                         float* scratch) const {
    const float* from = x + (first + r) * Cols;
    Held scale[rounds<Cols>];
    float squares = 0;
#pragma clang loop unroll(full)
    for (int i = 0; i < rounds<Cols>; ++i) {
      const int k = (i * threads + thread()) * held;
      row[i] = hold<Cols, rows_are_aligned<Cols>>(from, k);
      scale[i] = hold<Cols, true>(weight, k);
#pragma clang loop unroll(full)
      for (int j = 0; j < held; ++j) squares += row[i].v[j] * row[i].v[j];
    }
    const float factor = inverse_root(sum_block(squares, scratch) / Cols + eps);
#pragma clang loop unroll(full)
    for (int i = 0; i < rounds<Cols>; ++i)
#pragma clang loop unroll(full)
      for (int j = 0; j < held; ++j) row[i].v[j] *= factor * scale[i].v[j];
  }
};

// f(element j of Held i, its column) for this thread's columns of a row.
template <int Cols, class F>
SINTER_INLINE void for_each_held(const F& f) {
#pragma clang loop unroll(full)
  for (int i = 0; i < rounds<Cols>; ++i)
#pragma clang loop unroll(full)
    for (int j = 0; j < held; ++j) {
      const int k = (i * threads + thread()) * held + j;
      if (k < Cols) f(i, j, k);
    }
}

// (x - mean(x)) * rsqrt(mean((x - mean(x))^2) + eps) * weight + bias
template <int Cols, class Weight, class Bias>
struct LayerNormRows {
  const float* x;        // [rows, Cols]
  const Weight* weight;  // [Cols]
  const Bias* bias;      // [Cols]
  float eps;
  index first;

  static constexpr int cols = Cols;
  __device__ __attribute__((always_inline)) void prepare(index r, Held (&row)[rounds<Cols>],
                                                         float* scratch) const {
    PlainRows<Cols>{x, first}.prepare(r, row, scratch);
    float sum = 0;
    for_each_held<Cols>([&](int i, int j, int) { sum += row[i].v[j]; });
    const float mean = sum_block(sum, scratch) / Cols;
    float squares = 0;
    for_each_held<Cols>([&](int i, int j, int) {
      row[i].v[j] -= mean;
      squares += row[i].v[j] * row[i].v[j];
    });
    barrier();
    const float factor = inverse_root(sum_block(squares, scratch) / Cols + eps);
    for_each_held<Cols>([&](int i, int j, int k) {
      row[i].v[j] *= factor * load(weight + k);
      if constexpr (!__is_same(Bias, void)) row[i].v[j] += load(bias + k);
    });
  }
};

// x * rsqrt(sum(x^2) + eps)
template <int Cols>
struct L2NormRows {
  const float* x;  // [rows, Cols]
  float eps;
  index first;

  static constexpr int cols = Cols;
  __device__ __attribute__((always_inline)) void prepare(index r, Held (&row)[rounds<Cols>],
                                                         float* scratch) const {
    PlainRows<Cols>{x, first}.prepare(r, row, scratch);
    float squares = 0;
    for_each_held<Cols>([&](int i, int j, int) { squares += row[i].v[j] * row[i].v[j]; });
    const float factor = inverse_root(sum_block(squares, scratch) + eps);
    for_each_held<Cols>([&](int i, int j, int) { row[i].v[j] *= factor; });
  }
};

// e^x / sum(e^x), both times e^-max(x)
template <int Cols>
struct SoftmaxRows {
  const float* x;  // [rows, Cols]
  index first;

  static constexpr int cols = Cols;
  __device__ __attribute__((always_inline)) void prepare(index r, Held (&row)[rounds<Cols>],
                                                         float* scratch) const {
    PlainRows<Cols>{x, first}.prepare(r, row, scratch);
    float most = -__builtin_inff();
    for_each_held<Cols>([&](int i, int j, int) { most = larger(most, row[i].v[j]); });
    most = max_block(most, scratch);
    float sum = 0;
    for_each_held<Cols>([&](int i, int j, int) {
      row[i].v[j] = exp(row[i].v[j] - most);
      sum += row[i].v[j];
    });
    barrier();
    const float factor = 1.0F / sum_block(sum, scratch);
    for_each_held<Cols>([&](int i, int j, int) { row[i].v[j] *= factor; });
  }
};

// What a group's integers stand for: x ~ scale * q. `bias` is scale times the sum of q, which zero
// points and biases of weights multiply, the same for all rows of the weights.
struct GroupScale {
  float scale;
  float bias;
};

// The largest size over the block; every thread gets it. `scratch`: as of sum_block.
SINTER_INLINE float max_size_of_block(float value, float* scratch) {
  value = max_size_of_lanes<wave_size>(value);
  if (lane() == 0) scratch[wave()] = value;
  barrier();
  float most = 0;
#pragma clang loop unroll(full)
  for (int i = 0; i < waves; ++i) most = larger_size(most, scratch[i]);
  return most;
}

// The nearest integer to x, ties to even, in the low 22 bits, |x| < 2^21: where float32 has no
// fraction, its bits count. A conversion takes a GPU several times as long.
SINTER_INLINE u32 round_to_low_bits(float x) { return __builtin_bit_cast(u32, x + 0x1.8p23F); }

// Quantizes this thread's columns and hands them to put(plane, column, 8 codes) and
// put_scale(group, scale). One plane: q in -127..127. Two planes: q = 256 high + low in
// -32512..32512, as exact as a 16-bit float; each plane is multiplied on its own. Columns up to a
// whole block are zero. A group with a NaN or an infinity has the scale NaN, and so have all
// products with it; its codes are whatever they are. Group 0: one scale for the row, as BitNet's
// models are trained with, not below that of 1e-5. `scratch`: three floats per wave that nobody
// else uses until after the next barrier.
template <int Cols, int Group, int Planes, class Put, class PutScale>
SINTER_INLINE void quantize(const Held (&row)[rounds<Cols>], float* scratch, const Put& put,
                            const PutScale& put_scale) {
  constexpr float top = Planes == 1 ? 127.0F : 127.0F * 256.0F;
  constexpr int padded = (Cols + block_cols - 1) / block_cols * block_cols;
  const auto scale_of = [](float most) __attribute__((always_inline)) {
    return most * (1.0F / top) + (most - most);
  };
  float row_most = 0;
  int row_sum = 0;
  if constexpr (Group == 0) {
#pragma clang loop unroll(full)
    for (int i = 0; i < rounds<Cols>; ++i)
#pragma clang loop unroll(full)
      for (int j = 0; j < held; ++j) row_most = larger_size(row_most, row[i].v[j]);
    row_most = larger_size(max_size_of_block(row_most, scratch + waves), 1e-5F);
  }
#pragma clang loop unroll(full)
  for (int i = 0; i < rounds<Cols>; ++i) {
    const int k = (i * threads + thread()) * held;
    float most = row_most;
    if constexpr (Group > 0) {
#pragma clang loop unroll(full)
      for (int j = 0; j < held; ++j) most = larger_size(most, row[i].v[j]);
      most = max_size_of_lanes<Group / held>(most);
    }
    const float inverse = most > 1e-30F ? top / most : 0.0F;
    u32x2 high;
    u32x2 low;
    int sum = 0;
#pragma clang loop unroll(full)
    for (int half = 0; half < 2; ++half) {
      u32 bits[4];
#pragma clang loop unroll(full)
      for (int j = 0; j < 4; ++j) bits[j] = round_to_low_bits(row[i].v[half * 4 + j] * inverse);
      low[half] = gather_bytes<0>(bits);
      if constexpr (Planes == 2) {
        // What the low byte, which is signed, leaves.
#pragma clang loop unroll(full)
        for (int j = 0; j < 4; ++j) bits[j] += 128;
        high[half] = gather_bytes<1>(bits);
        sum += 256 * dot4(high[half], 0x01010101U, 0);
      }
      sum = dot4(low[half], 0x01010101U, sum);
    }
    row_sum += sum;
    if (k < padded) {
      if constexpr (Planes == 1) {
        put(0, k, low);
      } else {
        put(0, k, high);
        put(1, k, low);
      }
    }
    if constexpr (Group > 0) {
      sum = sum_lanes<Group / held>(sum);
      if (k < Cols && thread() % (Group / held) == 0) {
        const float scale = scale_of(most);
        put_scale(k / Group, GroupScale{scale, scale * static_cast<float>(sum)});
      }
    }
  }
  if constexpr (Group == 0) {
    // Sums of a wave are exact integers in float32 only below 2^24; the total is rounded anyway.
    const float sum = sum_block(static_cast<float>(row_sum), scratch + 2 * waves);
    const float scale = scale_of(row_most);
    if (thread() == 0) put_scale(0, GroupScale{scale, scale * sum});
  }
}

// Rows as integers in global memory, for kernels that multiply many: columns rounded up to whole
// blocks.
template <int Cols, int Group, int Planes>
struct QuantizedRows {
  static constexpr int cols = Cols, group = Group, planes = Planes;
  static constexpr int groups = Group == 0 ? 1 : Cols / Group;
  // Scales that a block of columns has of its own.
  static constexpr int block_groups = Group == 0 ? 0 : block_cols / Group;
  static constexpr int blocks = (Cols + block_cols - 1) / block_cols;
  static constexpr int row_codes = blocks * block_cols;
  i8* codes;           // [Planes][rows][row_codes]
  GroupScale* scales;  // [rows][groups]
  index rows;

  static __device__ QuantizedRows at(unsigned char* base, index rows) {
    return {reinterpret_cast<i8*>(base),
            reinterpret_cast<GroupScale*>(base + rows * Planes * row_codes), rows};
  }
  template <class Prologue>
  __device__ __attribute__((always_inline)) void write(index r, const Prologue& p,
                                                       float* scratch) const {
    Held row[rounds<Cols>];
    p.prepare(r, row, scratch);
    quantize<Cols, Group, Planes>(
        row, scratch,
        [&](int plane, int k, u32x2 eight) {
          *reinterpret_cast<u32x2*>(codes + (plane * rows + r) * row_codes + k) = eight;
        },
        [&](int g, GroupScale scale) { scales[r * groups + g] = scale; });
  }
};

// One such row in shared memory: blocks are padded so that lanes which read the same place of
// different blocks use different banks.
template <int Cols, int Group, int Planes>
struct SharedRow {
  static constexpr int planes = Planes;
  static constexpr int blocks = (Cols + block_cols - 1) / block_cols;
  static constexpr int stride = block_cols + 16;
  static constexpr int code_bytes = Planes * blocks * stride;
  static constexpr int groups = Group == 0 ? 1 : Cols / Group;
  static constexpr int bytes = code_bytes + groups * static_cast<int>(sizeof(GroupScale));
  u8* base;

  __device__ __attribute__((always_inline)) u32x4 codes(int plane, int block, int k) const {
    return *reinterpret_cast<const u32x4*>(base + (plane * blocks + block) * stride + k);
  }
  __device__ __attribute__((always_inline)) GroupScale scale(int group) const {
    return reinterpret_cast<const GroupScale*>(base + code_bytes)[group];
  }
  template <class Prologue>
  __device__ __attribute__((always_inline)) void write(const Prologue& p, float* scratch) const {
    Held row[rounds<Cols>];
    p.prepare(0, row, scratch);
    release_next_phase();  // its weights may come; what is left here is short
    quantize<Cols, Group, Planes>(
        row, scratch,
        [&](int plane, int k, u32x2 eight) {
          *reinterpret_cast<u32x2*>(base + (plane * blocks + k / block_cols) * stride +
                                    k % block_cols) = eight;
        },
        [&](int g, GroupScale scale) {
          reinterpret_cast<GroupScale*>(base + code_bytes)[g] = scale;
        });
  }
};

// Rows as float32.
template <int Cols>
struct FloatRows {
  static constexpr int cols = Cols;
  float* values;  // [rows, Cols]
  index rows;

  static __device__ FloatRows at(unsigned char* base, index rows) {
    return {reinterpret_cast<float*>(base), rows};
  }
  template <class Prologue>
  __device__ __attribute__((always_inline)) void write(index r, const Prologue& p,
                                                       float* scratch) const {
    Held row[rounds<Cols>];
    p.prepare(r, row, scratch);
#pragma clang loop unroll(full)
    for (int i = 0; i < rounds<Cols>; ++i) {
      const int k = (i * threads + thread()) * held;
#pragma clang loop unroll(full)
      for (int j = 0; j < held; ++j)
        if (k + j < Cols) values[r * Cols + k + j] = row[i].v[j];
    }
  }
};

// Many rows: the prologue is a phase of its own, a row to a block.
template <class X, class Prologue>
SINTER_INLINE void write_rows(const Launch* launch, unsigned char* out, index rows,
                              const Prologue& prologue) {
  float* scratch = reinterpret_cast<float*>(shared_memory());
  const X x = X::at(out, rows);
  for (index r = launch->worker; r < rows; r += launch->workers) {
    x.write(r, prologue, scratch);
    barrier();
  }
}

}  // namespace sinter
