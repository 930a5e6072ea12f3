// The forms in which a row is multiplied: float32, or integers per group. A block prepares a row
// together.
#pragma once

#include "gpu/prologues.h"
#include "gpu/weights.h"

namespace sinter {

// What a group's integers stand for: x ~ scale * q. `bias` is scale times the sum of q, which zero
// points and biases of weights multiply, the same for all rows of the weights.
struct alignas(8) GroupScale {
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

// The largest integer of so many planes.
template <int Planes>
constexpr float top_code = Planes == 1 ? 127.0F : 127.0F * 256.0F;
// The scale of those that reach up to `most`; NaN where that is no number.
template <int Planes>
SINTER_INLINE float scale_of(float most) {
  constexpr float step = 1.0F / top_code<Planes>;
  return most * step + (most - most);
}

// Quantizes columns k.. that this thread holds and hands them to put(plane, column, 8 codes), which
// all lanes call, those beyond the last block of columns, too, and put_scale(group, scale); the sum
// of the integers. `row_most`: where the row has one scale, the largest size in it.
template <int Cols, int Group, int Planes, class Put, class PutScale>
SINTER_INLINE int quantize_held(const Held& x, int k, float row_most, const Put& put,
                                const PutScale& put_scale) {
  float most = row_most;
  if constexpr (Group > 0) {
#pragma clang loop unroll(full)
    for (int j = 0; j < held; ++j) most = larger_size(most, x.v[j]);
    most = max_size_of_lanes<Group / held>(most);
  }
  const float inverse = most > 1e-30F ? top_code<Planes> / most : 0.0F;
  u32x2 high;
  u32x2 low;
  int sum = 0;
#pragma clang loop unroll(full)
  for (int half = 0; half < 2; ++half) {
    u32 bits[4];
#pragma clang loop unroll(full)
    for (int j = 0; j < 4; ++j) bits[j] = round_to_low_bits(x.v[half * 4 + j] * inverse);
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
  if constexpr (Planes == 1) {
    put(0, k, low);
  } else {
    put(0, k, high);
    put(1, k, low);
  }
  if constexpr (Group > 0) {
    const int of_group = sum_lanes<Group / held>(sum);
    if (k < Cols && thread() % (Group / held) == 0) {
      const float scale = scale_of<Planes>(most);
      put_scale(k / Group, GroupScale{scale, scale * static_cast<float>(of_group)});
    }
  }
  return sum;
}

// Quantizes this thread's columns of a row. One plane: q in -127..127. Two planes: q = 256 high +
// low in -32512..32512, as exact as a 16-bit float; each plane is multiplied on its own. Columns up
// to a whole block are zero. A group with a NaN or an infinity has the scale NaN, and so have all
// products with it; its codes are whatever they are. Group 0: one scale for the row, as BitNet's
// models are trained with, not below that of 1e-5. `scratch`: three floats per wave that nobody
// else uses until after the next barrier.
template <int Cols, int Group, int Planes, class Team, class Put, class PutScale>
SINTER_INLINE void quantize(const Held (&row)[rounds_of<Cols, Team>], Team team, float* scratch,
                            const Put& put, const PutScale& put_scale) {
  float row_most = 0;
  int row_sum = 0;
  if constexpr (Group == 0) {
#pragma clang loop unroll(full)
    for (int i = 0; i < rounds_of<Cols, Team>; ++i)
#pragma clang loop unroll(full)
      for (int j = 0; j < held; ++j) row_most = larger_size(row_most, row[i].v[j]);
    row_most = larger_size(max_size_of_block(row_most, scratch + waves), 1e-5F);
  }
#pragma clang loop unroll(full)
  for (int i = 0; i < rounds_of<Cols, Team>; ++i)
    row_sum +=
        quantize_held<Cols, Group, Planes>(row[i], first_column(i, team), row_most, put, put_scale);
  if constexpr (Group == 0) {
    // Sums of a wave are exact integers in float32 only below 2^24; the total is rounded anyway.
    const float sum = sum_block(static_cast<float>(row_sum), scratch + 2 * waves);
    const float scale = scale_of<Planes>(row_most);
    if (thread() == 0) put_scale(0, GroupScale{scale, scale * sum});
  }
}

// Runs of a row, each of which a wave can have.
template <int Cols, class Prologue>
constexpr int runs_of_row =
    (Cols + wave_size * held * run_of<Prologue> - 1) / (wave_size * held * run_of<Prologue>);

// A run of row r of a prologue as integers, by its team.
template <int Cols, int Group, int Planes, class Prologue, class Team, class Put, class PutScale>
SINTER_INLINE void quantize_run(const Prologue& p, index r, Team team, const Put& put,
                                const PutScale& put_scale) {
  Held row[rounds_of<Cols, Team>];
  p.prepare(r, row, team);
#pragma clang loop unroll(full)
  for (int j = 0; j < rounds_of<Cols, Team>; ++j)
    quantize_held<Cols, Group, Planes>(row[j], first_column(j, team), 0, put, put_scale);
}

// Whether the columns of a prologue need no others but those of their run, of which a wave has
// several rounds: a row is then prepared run by run.
template <int Group, class Prologue>
constexpr bool by_local_runs = Group > 0 && run_of<Prologue> > 1 && is_local<Prologue>;

// Row r of a prologue as integers. `prepared` is called when little is left to do.
template <int Cols, int Group, int Planes, class Prologue, class Prepared, class Put,
          class PutScale>
SINTER_INLINE void quantize_row(const Prologue& p, index r, float* scratch,
                                const Prepared& prepared, const Put& put,
                                const PutScale& put_scale) {
  if constexpr (by_local_runs<Group, Prologue>) {
    prepared();
#pragma clang loop unroll(disable)
    for (int i = wave(); i < runs_of_row<Cols, Prologue>; i += waves)
      quantize_run<Cols, Group, Planes>(p, r, RunOfRow<run_of<Prologue>>{i}, put, put_scale);
  } else {
    const auto team = team_of<Prologue>(scratch);
    Held row[rounds_of<Cols, TeamOf<Prologue>>];
    p.prepare(r, row, team);
    prepared();
    quantize<Cols, Group, Planes>(row, team, scratch, put, put_scale);
  }
}

// Rows as integers in global memory, for kernels that multiply many: columns rounded up to whole
// blocks. Where `Together` is more than one, that many rows lie together, 32 columns of each at a
// time: what the lanes of a wave give to a matrix unit at once is then one run of bytes.
template <int Cols, int Group, int Planes, int Together = 1>
struct QuantizedRows {
  static constexpr int cols = Cols, group = Group, planes = Planes;
  static constexpr int groups = Group == 0 ? 1 : Cols / Group;
  // Scales that a block of columns has of its own.
  static constexpr int block_groups = Group == 0 ? 0 : block_cols / Group;
  static constexpr int blocks = (Cols + block_cols - 1) / block_cols;
  static constexpr int row_codes = sizes::gpu_row_codes(Cols);
  i8* codes;           // [Planes][rows / Together][row_codes / 32][Together][32]
  GroupScale* scales;  // [rows / Together][groups][Together]
  index rows;

  static __device__ QuantizedRows at(unsigned char* base, index rows) {
    const index whole = (rows + Together - 1) / Together * Together;
    return {reinterpret_cast<i8*>(base),
            reinterpret_cast<GroupScale*>(base + whole * Planes * row_codes), rows};
  }
  // Column 0 of a row; another is `column(k)` further.
  SINTER_MEMBER i8* row_of(int plane, index r) const {
    const index whole = (rows + Together - 1) / Together * Together;
    return codes + (plane * whole + r / Together * Together) * row_codes +
           r % Together * segment_cols;
  }
  static SINTER_MEMBER int column(int k) {
    return Together == 1 ? k : k / segment_cols * segment_cols * Together + k % segment_cols;
  }
  SINTER_MEMBER GroupScale& scale(index r, int g) const {
    return scales[(r / Together * groups + g) * Together + r % Together];
  }
  template <class Prologue>
  __device__ __attribute__((always_inline)) void write(index r, const Prologue& p,
                                                       float* scratch) const {
    quantize_row<Cols, Group, Planes>(p, r, scratch, [] {}, Put{*this, r}, PutScale{*this, r});
  }
  // Groups of plain rows do not need each other, nor do runs of others: blocks take parts of a row.
  template <class Prologue>
  static constexpr int parts = Group > 0 && __is_same(Prologue, PlainRows<Cols>) ? rounds<Cols>
                               : by_local_runs<Group, Prologue>
                                   ? (runs_of_row<Cols, Prologue> + waves - 1) / waves
                                   : 1;
  template <class Prologue>
  SINTER_MEMBER void write_part(index r, int part, const Prologue& p) const {
    if constexpr (__is_same(Prologue, PlainRows<Cols>)) {
      const int k = (part * threads + thread()) * held;
      write_held(r, k, hold<Cols, rows_are_aligned<Cols>>(p.x + p.source(r) * Cols, k));
    } else if (part * waves + wave() < runs_of_row<Cols, Prologue>) {
      write_run(r, RunOfRow<run_of<Prologue>>{part * waves + wave()}, p);
    }
  }
  template <class Prologue, class Team>
  SINTER_MEMBER void write_run(index r, Team team, const Prologue& p) const {
    quantize_run<Cols, Group, Planes>(p, r, team, Put{*this, r}, PutScale{*this, r});
  }
  // Columns k.., which this thread holds; none from Cols on. Lanes have the runs of a group in
  // order.
  SINTER_MEMBER void write_held(index r, int k, const Held& x) const {
    static_assert(Group > 0);
    quantize_held<Cols, Group, Planes>(x, k, 0, Put{*this, r}, PutScale{*this, r});
  }

 private:
  struct Put {
    const QuantizedRows& rows;
    index r;
    SINTER_MEMBER void operator()(int plane, int k, u32x2 eight) const {
      if (k < row_codes) *reinterpret_cast<u32x2*>(rows.row_of(plane, r) + column(k)) = eight;
    }
  };
  struct PutScale {
    const QuantizedRows& rows;
    index r;
    SINTER_MEMBER void operator()(int g, GroupScale s) const { rows.scale(r, g) = s; }
  };
};

// Row r as a phase before left it.
template <int Cols, int Group, int Planes, class Prepared, class Put, class PutScale>
SINTER_INLINE void quantize_row(const QuantizedRows<Cols, Group, Planes>& x, index r, float*,
                                const Prepared& prepared, const Put& put,
                                const PutScale& put_scale) {
  using X = QuantizedRows<Cols, Group, Planes>;
  prepared();
  u32x2 codes[Planes][rounds<X::row_codes>];
#pragma clang loop unroll(full)
  for (int i = 0; i < rounds<X::row_codes>; ++i)
#pragma clang loop unroll(full)
    for (int p = 0; p < Planes; ++p) {
      const int k = (i * threads + thread()) * held;
      codes[p][i] =
          k < X::row_codes ? *reinterpret_cast<const u32x2*>(x.row_of(p, r) + k) : u32x2{0, 0};
    }
  for (int g = thread(); g < X::groups; g += threads) put_scale(g, x.scale(r, g));
#pragma clang loop unroll(full)
  for (int i = 0; i < rounds<X::row_codes>; ++i)
#pragma clang loop unroll(full)
    for (int p = 0; p < Planes; ++p) put(p, (i * threads + thread()) * held, codes[p][i]);
}

// One such row in shared memory: blocks are padded so that lanes which read the same place of
// different blocks use different banks.
template <int Cols, int Group, int Planes>
struct SharedRow {
  static constexpr int planes = Planes;
  static constexpr int blocks = (Cols + block_cols - 1) / block_cols;
  static constexpr int stride = sizes::shared_block_stride;
  static constexpr int code_bytes = Planes * blocks * stride;
  static constexpr int groups = Group == 0 ? 1 : Cols / Group;
  static constexpr int bytes = sizes::shared_row_bytes(Cols, groups, Planes);
  static_assert(bytes == code_bytes + groups * sizeof(GroupScale));
  u8* base;

  __device__ __attribute__((always_inline)) u32x4 codes(int plane, int block, int k) const {
    return *reinterpret_cast<const u32x4*>(base + (plane * blocks + block) * stride + k);
  }
  __device__ __attribute__((always_inline)) GroupScale scale(int group) const {
    return reinterpret_cast<const GroupScale*>(base + code_bytes)[group];
  }
  template <class Prologue>
  __device__ __attribute__((always_inline)) void write(const Prologue& p, float* scratch,
                                                       index r = 0) const {
    // When the row is there the next phase's weights may come; what is left here is short.
    quantize_row<Cols, Group, Planes>(
        p, r, scratch, [] { release_next_phase(); },
        [&](int plane, int k, u32x2 eight) {
          if (k < blocks * block_cols)
            *reinterpret_cast<u32x2*>(base + (plane * blocks + k / block_cols) * stride +
                                      k % block_cols) = eight;
        },
        [&](int g, GroupScale scale) {
          reinterpret_cast<GroupScale*>(base + code_bytes)[g] = scale;
        });
  }
};

// A product with the integers x of a row, when its sum y is whole.
template <class W, class X>
SINTER_INLINE float finish_row(const W& w, index row, float y, const X& x) {
  if constexpr (!W::has_scales) {
    const GroupScale a = x.scale(0);
    y = fma(y, a.scale, W::sum_factor() * a.bias) * W::scale_factor();
  }
  return y * w.factor.of_row(row);
}

// Row r of a prologue, by a block.
template <int Cols, class Prologue>
SINTER_INLINE void write_floats(float* to, index r, const Prologue& p, float* scratch) {
  const auto team = team_of<Prologue>(scratch);
  Held row[rounds_of<Cols, TeamOf<Prologue>>];
  p.prepare(r, row, team);
#pragma clang loop unroll(full)
  for (int i = 0; i < rounds_of<Cols, TeamOf<Prologue>>; ++i) {
    const int k = first_column(i, team);
#pragma clang loop unroll(full)
    for (int j = 0; j < held; ++j)
      if (k + j < Cols) to[k + j] = row[i].v[j];
  }
}

// Rows as float32.
template <int Cols>
struct FloatRows {
  static constexpr int cols = Cols;
  float* values;  // [rows, Cols]
  index rows;

  template <class Prologue>
  static constexpr int parts = 1;

  static __device__ FloatRows at(unsigned char* base, index rows) {
    return {reinterpret_cast<float*>(base), rows};
  }
  template <class Prologue>
  __device__ __attribute__((always_inline)) void write(index r, const Prologue& p,
                                                       float* scratch) const {
    write_floats<Cols>(values + r * Cols, r, p, scratch);
  }
};

// Many rows: the prologue is a phase of its own, a row or a part of one to a block. What the phase
// before writes is awaited here.
template <class X, class Prologue>
SINTER_INLINE void write_rows(const Launch* launch, unsigned char* out, index rows,
                              const Prologue& prologue) {
  fetch_vectors(launch, prologue);
  await_phases();
  float* scratch = reinterpret_cast<float*>(shared_memory());
  const X x = X::at(out, rows);
  constexpr int parts = X::template parts<Prologue>;
  for (index unit = launch->worker; unit < rows * parts; unit += launch->workers) {
    if constexpr (parts > 1) {
      x.write_part(unit / parts, static_cast<int>(unit % parts), prologue);
    } else {
      x.write(unit, prologue, scratch);
      barrier();
    }
  }
}

// One row, a run of its columns to a block. Numbers of the whole row are found by every block.
template <class X, class Prologue>
SINTER_INLINE void write_row_by_runs(const Launch* launch, unsigned char* out,
                                     const Prologue& prologue) {
  constexpr int run = run_of<Prologue>;
  if constexpr (X::group > 0 && run <= waves && by_runs<Prologue>) {
    fetch_vectors(launch, prologue);
    await_phases();
    const X x = X::at(out, 1);
    float* const scratch = reinterpret_cast<float*>(shared_memory());
    float factor = 1;
    if (launch->worker < runs_of_row<X::cols, Prologue>)
      factor = whole_factor(prologue, 0, team_of<Prologue>(scratch));
    for (int i = launch->worker; i < runs_of_row<X::cols, Prologue>; i += launch->workers)
      x.write_run(0, WavesOfRun<run>{i, factor, scratch + sizes::reduce_bytes(waves) / 4},
                  prologue);
  } else {
    write_rows<X>(launch, out, 1, prologue);
  }
}

}  // namespace sinter
