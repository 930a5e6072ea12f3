// What is computed on a row before it is multiplied or written: norms and elementwise ops, in any
// order, from rows in memory. A block prepares a row together.
#pragma once

#include "gpu/math.h"
#include "sparsemixer.h"

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

// Who works on a row together: all threads of a block, by the floats in shared memory that they sum
// through (`scratch` of sum_block), or the lanes of a wave.
struct Wave {};
template <class Team>
constexpr int members = __is_same(Team, Wave) ? wave_size : threads;
SINTER_INLINE int member(float*) { return thread(); }
SINTER_INLINE int member(Wave) { return lane(); }
SINTER_INLINE void meet(float*) { barrier(); }
SINTER_INLINE void meet(Wave) {}
SINTER_INLINE float sum_of(float value, float* scratch) { return sum_block(value, scratch); }
SINTER_INLINE float sum_of(float value, Wave) { return sum_lanes<wave_size>(value); }
SINTER_INLINE float max_of(float value, float* scratch) { return max_block(value, scratch); }
SINTER_INLINE float max_of(float value, Wave) { return max_lanes<wave_size>(value); }
// All threads of a block, where a wave has `Run` runs of columns one behind the other.
template <int Run>
struct Runs {
  float* scratch;
};
template <int Run>
SINTER_INLINE void meet(Runs<Run>) {
  barrier();
}
template <int Run>
SINTER_INLINE float sum_of(float value, Runs<Run> team) {
  return sum_block(value, team.scratch);
}
template <int Run>
SINTER_INLINE float max_of(float value, Runs<Run> team) {
  return max_block(value, team.scratch);
}
// Runs of columns that lie in one wave; for the block as `float*` and a wave it does not matter.
template <class Team>
constexpr int runs_of = 1;
template <int Run>
constexpr int runs_of<Runs<Run>> = Run;
// How often a team must go over a row.
template <int Cols, class Team>
constexpr int rounds_of = (Cols + members<Team> * held * runs_of<Team> - 1) /
                          (members<Team> * held * runs_of<Team>)*runs_of<Team>;
// The first of the columns that a thread holds in round i.
template <class Team>
SINTER_INLINE int first_column(int i, Team team) {
  return (i * members<Team> + member(team)) * held;
}
template <int Run>
SINTER_INLINE int first_column(int i, Runs<Run>) {
  return (((i / Run * waves + wave()) * Run + i % Run) * wave_size + lane()) * held;
}

// A run of such columns, by a wave: where no column needs those of other runs it can be prepared
// alone.
template <int Run>
struct RunOfRow {
  int number;
};
template <int Run>
constexpr int runs_of<RunOfRow<Run>> = Run;
template <int Run>
SINTER_INLINE void meet(RunOfRow<Run>) {}
template <int Run>
SINTER_INLINE int first_column(int i, RunOfRow<Run> part) {
  return ((part.number * Run + i) * wave_size + lane()) * held;
}
template <int Cols, int Run>
constexpr int rounds_of<Cols, RunOfRow<Run>> = Run;
// The same by as many waves of a block as a run has rounds, which meet in shared memory, and also
// where columns need of all others one number. All waves take part; the others have no columns.
template <int Run>
struct WavesOfRun {
  int number;
  float factor;   // whole_factor() of the row
  float* shared;  // [Run][wave_size * held]
};
template <int Run>
SINTER_INLINE void meet(WavesOfRun<Run>) {}
template <int Run>
SINTER_INLINE int first_column(int, WavesOfRun<Run> part) {
  constexpr int nowhere = 1 << 30;
  return wave() < Run ? ((part.number * Run + wave()) * wave_size + lane()) * held : nowhere;
}
template <int Cols, int Run>
constexpr int rounds_of<Cols, WavesOfRun<Run>> = 1;

template <class Team>
constexpr bool by_waves = false;
template <int Run>
constexpr bool by_waves<WavesOfRun<Run>> = true;

// Runs of columns that a prologue wants in one wave: 1, or what a struct says as `run`.
template <class Source>
constexpr int run_of = Source::run;
template <>
constexpr int run_of<const float*> = 1;
// Whether columns need no others but those of their run: `local` of a struct.
template <class Source>
constexpr bool is_local = Source::local;
template <>
constexpr bool is_local<const float*> = true;
// The team of a block that prepares the rows of a prologue.
template <int Run>
struct BlockOf {
  using Team = Runs<Run>;
};
template <>
struct BlockOf<1> {
  using Team = float*;
};
template <class Prologue>
using TeamOf = typename BlockOf<run_of<Prologue>>::Team;
template <class Prologue>
SINTER_INLINE TeamOf<Prologue> team_of(float* scratch) {
  return {scratch};
}

// A vector that all blocks are going to read comes nearer while the phase before runs.
template <int Count, class T>
SINTER_INLINE void fetch_ahead(const Launch* launch, const T* vector) {
#if defined(__NVPTX__)
  constexpr int line = 128;  // bytes
  for (index i = launch->worker + index{launch->workers} * thread();
       i * line < Count * static_cast<index>(sizeof(T)); i += index{launch->workers} * threads)
    __asm__ volatile("prefetch.global.L2 [%0];" ::"l"(
        reinterpret_cast<u64>((const __attribute__((address_space(1))) void*)vector) + i * line));
#else
  static_cast<void>(launch);
  static_cast<void>(vector);
#endif
}

// A prologue: prepare(r, row, team) makes this thread's columns of row r, eight from
// first_column(i, team) on for i < rounds_of; `run` is that of run_of. `source` says which row of
// the tensor row r is. An op by row is the struct of its name: its vectors and attributes are
// fields, in the order of the op table; a vector that is left out is of type void. What it reads is
// a tensor, or another prologue.
template <int Cols>
struct PlainRows {
  const float* x;  // [rows, Cols]
  RowMap source;

  static constexpr int cols = Cols;
  static constexpr int run = 1;
  static constexpr bool local = true;
  template <class Team>
  __device__ __attribute__((always_inline)) void prepare(index r,
                                                         Held (&row)[rounds_of<Cols, Team>],
                                                         Team team) const {
    const float* from = x + source(r) * Cols;
#pragma clang loop unroll(full)
    for (int i = 0; i < rounds_of<Cols, Team>; ++i)
      row[i] = hold<Cols, rows_are_aligned<Cols>>(from, first_column(i, team));
  }
};

// A head where views have left it: row r is run r % Count of row r / Count of a tensor, `Offset`
// and `Stride` elements apart.
template <int Cols, int Count, int Row, int Offset, int Stride>
struct RunRows {
  const float* x;  // [rows / Count, Row]

  static constexpr int cols = Cols;
  static constexpr int run = 1;
  static constexpr bool local = true;
  template <class Team>
  __device__ __attribute__((always_inline)) void prepare(index r,
                                                         Held (&row)[rounds_of<Cols, Team>],
                                                         Team team) const {
    constexpr bool aligned = Row % 4 == 0 && Offset % 4 == 0 && Stride % 4 == 0;
    const float* from = x + r / Count * Row + Offset + r % Count * Stride;
#pragma clang loop unroll(full)
    for (int i = 0; i < rounds_of<Cols, Team>; ++i)
      row[i] = hold<Cols, aligned>(from, first_column(i, team));
  }
};

// This thread's columns of a row that an op reads. Another prologue may have used what the team
// sums through.
template <int Cols, class Source, class Team>
SINTER_INLINE void prepare_source(const Source& x, index r, Held (&row)[rounds_of<Cols, Team>],
                                  Team team) {
  if constexpr (__is_same(Source, const float*)) {
    PlainRows<Cols>{x, {}}.prepare(r, row, team);
  } else {
    x.prepare(r, row, team);
    meet(team);
  }
}

// x * rsqrt(mean(x^2) + eps) * weight
template <int Cols, class Weight, class Source = const float*>
struct RmsNormRows {
  static constexpr bool has_weight = !__is_void(Weight);
  Source x;              // [rows, Cols]
  const Weight* weight;  // [Cols]
  float eps;
  RowMap source;

  static constexpr int cols = Cols;
  static constexpr int run = run_of<Source>;
  static constexpr bool local = false;
  template <class Team>
  __device__ __attribute__((always_inline)) void prepare(index r,
                                                         Held (&row)[rounds_of<Cols, Team>],
                                                         Team team) const {
    prepare_source<Cols>(x, source(r), row, team);
    Held scale[rounds_of<Cols, Team>];
    if constexpr (has_weight)
#pragma clang loop unroll(full)
      for (int i = 0; i < rounds_of<Cols, Team>; ++i)
        scale[i] = hold<Cols, true>(weight, first_column(i, team));
    const float factor = factor_of(row, team);
#pragma clang loop unroll(full)
    for (int i = 0; i < rounds_of<Cols, Team>; ++i)
#pragma clang loop unroll(full)
      for (int j = 0; j < held; ++j) {
        if constexpr (has_weight) {
          row[i].v[j] *= factor * scale[i].v[j];
        } else {
          row[i].v[j] *= factor;
        }
      }
  }
  // What the columns of a row are multiplied by.
  template <class Team>
  SINTER_MEMBER float factor_of(const Held (&row)[rounds_of<Cols, Team>], Team team) const {
    float squares = 0;
#pragma clang loop unroll(full)
    for (int i = 0; i < rounds_of<Cols, Team>; ++i)
#pragma clang loop unroll(full)
      for (int j = 0; j < held; ++j) squares += row[i].v[j] * row[i].v[j];
    return inverse_root(sum_of(squares, team) / Cols + eps);
  }
  template <int Run>
  SINTER_MEMBER float factor_of(const Held (&)[1], WavesOfRun<Run> team) const {
    return team.factor;
  }
};

// f(element j of Held i, its column) for this thread's columns of a row.
template <int Cols, class Team, class F>
SINTER_INLINE void for_each_held(Team team, const F& f) {
#pragma clang loop unroll(full)
  for (int i = 0; i < rounds_of<Cols, Team>; ++i)
#pragma clang loop unroll(full)
    for (int j = 0; j < held; ++j) {
      const int k = first_column(i, team) + j;
      if (k < Cols) f(i, j, k);
    }
}

// (x - mean(x)) * rsqrt(mean((x - mean(x))^2) + eps) * weight + bias
template <int Cols, class Weight, class Bias, class Source = const float*>
struct LayerNormRows {
  Source x;              // [rows, Cols]
  const Weight* weight;  // [Cols]
  const Bias* bias;      // [Cols]
  float eps;
  RowMap source;

  static constexpr int cols = Cols;
  static constexpr int run = run_of<Source>;
  static constexpr bool local = false;
  template <class Team>
  __device__ __attribute__((always_inline)) void prepare(index r,
                                                         Held (&row)[rounds_of<Cols, Team>],
                                                         Team team) const {
    prepare_source<Cols>(x, source(r), row, team);
    float sum = 0;
    for_each_held<Cols>(team, [&](int i, int j, int) { sum += row[i].v[j]; });
    const float mean = sum_of(sum, team) / Cols;
    float squares = 0;
    for_each_held<Cols>(team, [&](int i, int j, int) {
      row[i].v[j] -= mean;
      squares += row[i].v[j] * row[i].v[j];
    });
    meet(team);
    const float factor = inverse_root(sum_of(squares, team) / Cols + eps);
    for_each_held<Cols>(team, [&](int i, int j, int k) {
      row[i].v[j] *= factor * load(weight + k);
      if constexpr (!__is_same(Bias, void)) row[i].v[j] += load(bias + k);
    });
  }
};

// x * rsqrt(sum(x^2) + eps)
template <int Cols, class Source = const float*>
struct L2NormRows {
  Source x;  // [rows, Cols]
  float eps;
  RowMap source;

  static constexpr int cols = Cols;
  static constexpr int run = run_of<Source>;
  static constexpr bool local = false;
  template <class Team>
  __device__ __attribute__((always_inline)) void prepare(index r,
                                                         Held (&row)[rounds_of<Cols, Team>],
                                                         Team team) const {
    prepare_source<Cols>(x, source(r), row, team);
    float squares = 0;
    for_each_held<Cols>(team, [&](int i, int j, int) { squares += row[i].v[j] * row[i].v[j]; });
    const float factor = inverse_root(sum_of(squares, team) + eps);
    for_each_held<Cols>(team, [&](int i, int j, int) { row[i].v[j] *= factor; });
  }
};

// x / (sum(x) + eps)
template <int Cols, class Source = const float*>
struct SumNormRows {
  Source x;  // [rows, Cols]
  float eps;
  RowMap source;

  static constexpr int cols = Cols;
  static constexpr int run = run_of<Source>;
  static constexpr bool local = false;
  template <class Team>
  __device__ __attribute__((always_inline)) void prepare(index r,
                                                         Held (&row)[rounds_of<Cols, Team>],
                                                         Team team) const {
    prepare_source<Cols>(x, source(r), row, team);
    float sum = 0;
    for_each_held<Cols>(team, [&](int i, int j, int) { sum += row[i].v[j]; });
    const float factor = 1.0F / (sum_of(sum, team) + eps);
    for_each_held<Cols>(team, [&](int i, int j, int) { row[i].v[j] *= factor; });
  }
};

// mean(x), in every column
template <int Cols, class Source = const float*>
struct MeanRows {
  Source x;  // [rows, Cols]
  RowMap source;

  static constexpr int cols = Cols;
  static constexpr int run = run_of<Source>;
  static constexpr bool local = false;
  template <class Team>
  __device__ __attribute__((always_inline)) void prepare(index r,
                                                         Held (&row)[rounds_of<Cols, Team>],
                                                         Team team) const {
    prepare_source<Cols>(x, source(r), row, team);
    float sum = 0;
    for_each_held<Cols>(team, [&](int i, int j, int) { sum += row[i].v[j]; });
    const float mean = sum_of(sum, team) / Cols;
    for_each_held<Cols>(team, [&](int i, int j, int) { row[i].v[j] = mean; });
  }
};

// e^x / sum(e^x), both times e^-max(x)
template <int Cols, class Source = const float*>
struct SoftmaxRows {
  Source x;  // [rows, Cols]
  RowMap source;

  static constexpr int cols = Cols;
  static constexpr int run = run_of<Source>;
  static constexpr bool local = false;
  template <class Team>
  __device__ __attribute__((always_inline)) void prepare(index r,
                                                         Held (&row)[rounds_of<Cols, Team>],
                                                         Team team) const {
    prepare_source<Cols>(x, source(r), row, team);
    float most = -__builtin_inff();
    for_each_held<Cols>(team, [&](int i, int j, int) { most = larger(most, row[i].v[j]); });
    most = max_of(most, team);
    float sum = 0;
    for_each_held<Cols>(team, [&](int i, int j, int) {
      row[i].v[j] = exp(row[i].v[j] - most);
      sum += row[i].v[j];
    });
    meet(team);
    const float factor = 1.0F / sum_of(sum, team);
    for_each_held<Cols>(team, [&](int i, int j, int) { row[i].v[j] *= factor; });
  }
};

// H (signs x), or signs (H x): the Walsh-Hadamard transform of runs of Block columns, in
// Sylvester's order. A block lies in a wave: columns meet in a thread, then in lanes, then in
// rounds. No other wave is waited for, and only the steps between lanes, five where a wave has 32,
// move numbers.
template <int Cols, class Signs, int Block, bool Inverse, class Source = const float*>
struct RotateRows {
  static constexpr bool has_signs = !__is_void(Signs);
  static constexpr int of_wave = wave_size * held;  // columns of a wave in a round
  Source x;                                         // [rows, Cols]
  const Signs* signs;                               // [Cols]
  RowMap source;

  static constexpr int cols = Cols;
  static constexpr int run = Block / of_wave > run_of<Source> ? Block / of_wave : run_of<Source>;
  static constexpr bool local = is_local<Source>;
  template <class Team>
  __device__ __attribute__((always_inline)) void prepare(index r,
                                                         Held (&row)[rounds_of<Cols, Team>],
                                                         Team team) const {
    constexpr int rounds = rounds_of<Cols, Team>;
    static_assert(Block <= of_wave || runs_of<Team> >= Block / of_wave || __is_same(Team, Wave) ||
                  by_waves<Team>);
    if constexpr (__is_same(Source, const float*)) {
      PlainRows<Cols>{x, {}}.prepare(source(r), row, team);
    } else {
      x.prepare(source(r), row, team);
    }
    const auto scale_round = [&](int i) __attribute__((always_inline)) {
      const Held factors = factors_at(first_column(i, team));
#pragma clang loop unroll(full)
      for (int j = 0; j < held; ++j) row[i].v[j] *= factors.v[j];
    };
#pragma clang loop unroll(full)
    for (int i = 0; i < rounds; ++i) {
      if (first_column(i, team) - lane() * held >= Cols) continue;  // of the whole wave
      if constexpr (!Inverse) scale_round(i);
      meet_in_thread(row[i]);
      meet_in_lanes(row[i]);
    }
    meet_in_rounds(row, team);
    if constexpr (Inverse)
#pragma clang loop unroll(full)
      for (int i = 0; i < rounds; ++i) scale_round(i);
  }

 private:
  // Rounds of a wave, or waves that have one each.
  template <class Team>
  SINTER_MEMBER void meet_in_rounds(Held (&row)[rounds_of<Cols, Team>], Team team) const {
#pragma clang loop unroll(full)
    for (int apart = 1; apart * of_wave < Block; apart *= 2)
#pragma clang loop unroll(full)
      for (int i = 0; i < rounds_of<Cols, Team>; ++i) {
        if ((i & apart) != 0 || first_column(i, team) - lane() * held >= Cols) continue;
#pragma clang loop unroll(full)
        for (int j = 0; j < held; ++j) {
          const float a = row[i].v[j];
          const float b = row[i + apart].v[j];
          row[i].v[j] = a + b;
          row[i + apart].v[j] = a - b;
        }
      }
  }
  template <int Run>
  SINTER_MEMBER void meet_in_rounds(Held (&row)[1], WavesOfRun<Run> team) const {
    constexpr int count = Block / of_wave;
    if constexpr (count > 1) {
      barrier();  // what another rotation left has been read
      if (wave() < Run)
#pragma clang loop unroll(full)
        for (int j = 0; j < held; ++j)
          team.shared[wave() * of_wave + j * wave_size + lane()] = row[0].v[j];
      barrier();
      if (wave() >= Run) return;
      const float* const first = team.shared + wave() / count * count * of_wave + lane();
#pragma clang loop unroll(full)
      for (int j = 0; j < held; ++j)
        row[0].v[j] = meet_all<count, of_wave>(first + j * wave_size, wave() % count);
    }
  }
  // Number `which` of the transform of `Count` numbers, `Apart` apart, in the order of the steps.
  template <int Count, int Apart>
  static SINTER_MEMBER float meet_all(const float* x, int which) {
    if constexpr (Count == 1) {
      return *x;
    } else {
      const float a = meet_all<Count / 2, Apart>(x, which % (Count / 2));
      const float b = meet_all<Count / 2, Apart>(x + Count / 2 * Apart, which % (Count / 2));
      return which < Count / 2 ? a + b : a - b;
    }
  }
  SINTER_MEMBER Held factors_at(int k) const {
    constexpr float scale = inverse_root_of_power(Block);
    Held factors;
    if constexpr (has_signs) factors = hold<Cols, true>(signs, k);
#pragma clang loop unroll(full)
    for (int j = 0; j < held; ++j) factors.v[j] = has_signs ? factors.v[j] * scale : scale;
    return factors;
  }
  static SINTER_MEMBER void meet_in_thread(Held& x) {
#pragma clang loop unroll(full)
    for (int apart = 1; apart < held && apart < Block; apart *= 2)
#pragma clang loop unroll(full)
      for (int j = 0; j < held; ++j) {
        if ((j & apart) != 0) continue;
        const float a = x.v[j];
        const float b = x.v[j + apart];
        x.v[j] = a + b;
        x.v[j + apart] = a - b;
      }
  }
  static SINTER_MEMBER void meet_in_lanes(Held& x) {
#pragma clang loop unroll(full)
    for (int apart = 1; apart < wave_size && apart * held < Block; apart *= 2) {
      const float sign = (lane() & apart) != 0 ? -1.0F : 1.0F;
#pragma clang loop unroll(full)
      for (int j = 0; j < held; ++j) x.v[j] = fma(x.v[j], sign, shuffle_by_mask(x.v[j], apart));
    }
  }
};

// The values of x in the columns that a row names; a vector has the same for all rows.
template <int Cols, int Width, class T, bool OfVector>
struct GatherRows {
  const T* x;          // [rows, Width], or [Width]
  const i32* columns;  // [rows, Cols]

  static constexpr int cols = Cols;
  static constexpr int run = 1;
  static constexpr bool local = true;
  template <class Team>
  __device__ __attribute__((always_inline)) void prepare(index r,
                                                         Held (&row)[rounds_of<Cols, Team>],
                                                         Team team) const {
#pragma clang loop unroll(full)
    for (int i = 0; i < rounds_of<Cols, Team>; ++i) row[i] = Held{};
    for_each_held<Cols>(team, [&](int i, int j, int k) {
      row[i].v[j] = load(x + (OfVector ? 0 : r * Width) + columns[r * Cols + k]);
    });
  }
};

// SparseMixer's shares of the columns that a row names: of those that are not chosen before and not
// far below.
template <int Cols, int Width, class T, bool OfVector>
struct SparsemixerRows {
  const float* x;      // [rows, Width]
  const i32* columns;  // [rows, Cols]
  float margin;

  static constexpr int cols = Cols;
  static constexpr int run = 1;
  static constexpr bool local = true;
  template <class Team>
  __device__ __attribute__((always_inline)) void prepare(index r,
                                                         Held (&row)[rounds_of<Cols, Team>],
                                                         Team team) const {
#pragma clang loop unroll(full)
    for (int i = 0; i < rounds_of<Cols, Team>; ++i) row[i] = Held{};
    for_each_held<Cols>(team, [&](int i, int j, int k) {
      row[i].v[j] = sparsemixer_share<Width>(x + r * Width, columns + r * Cols, k, margin,
                                             [](float y) { return exp(y); });
    });
  }
};

// Prologues that an elementwise function takes its arguments from.
template <class... Prologues>
struct Arguments {
  static constexpr int run = 1;
  static constexpr bool local = true;
  // f(element j of Held i, its column, elements of the prologues at it) for this thread's columns.
  template <int Cols, class Team, class F>
  __device__ __attribute__((always_inline)) void for_each(index, Team team, const F& f) const {
    for_each_held<Cols>(team, f);
  }
};
template <class First, class... Rest>
struct Arguments<First, Rest...> {
  First first;
  Arguments<Rest...> rest;

  static constexpr int run =
      First::run > Arguments<Rest...>::run ? First::run : Arguments<Rest...>::run;
  static constexpr bool local = First::local && Arguments<Rest...>::local;
  template <int Cols, class Team, class F>
  __device__ __attribute__((always_inline)) void for_each(index r, Team team, const F& f) const {
    Held y[rounds_of<Cols, Team>];
    first.prepare(r, y, team);
    if constexpr (sizeof...(Rest) > 0) meet(team);  // what it sums through is used again
    rest.template for_each<Cols>(
        r, team, [&](int i, int j, int k, auto... ys) __attribute__((always_inline)) {
          f(i, j, k, y[i].v[j], ys...);
        });
  }
};

// f(row, column, columns left, elements of each of the prologues)
template <int Cols, class F, class Prologues>
struct MapRows {
  F f;
  Prologues arguments;

  static constexpr int cols = Cols;
  static constexpr int run = Prologues::run;
  static constexpr bool local = Prologues::local;
  template <class Team>
  __device__ __attribute__((always_inline)) void prepare(index r,
                                                         Held (&row)[rounds_of<Cols, Team>],
                                                         Team team) const {
#pragma clang loop unroll(full)
    for (int i = 0; i < rounds_of<Cols, Team>; ++i) row[i] = Held{};
    arguments.template for_each<Cols>(
        r, team, [&](int i, int j, int k, auto... ys) __attribute__((always_inline)) {
          row[i].v[j] = f(r, k, Cols - k, ys...);
        });
  }
};
SINTER_INLINE Arguments<> make_arguments() { return {}; }
template <class First, class... Rest>
SINTER_INLINE Arguments<First, Rest...> make_arguments(const First& first, const Rest&... rest) {
  return {first, make_arguments(rest...)};
}
template <int Cols, class F, class... Prologues>
SINTER_INLINE MapRows<Cols, F, Arguments<Prologues...>> map_rows(const F& f,
                                                                 const Prologues&... prologues) {
  return {f, make_arguments(prologues...)};
}

// A prologue whose rows are written too, by those that keep them.
template <int Cols, class Prologue>
struct KeptRows {
  Prologue x;
  float* out;  // [rows, Cols]
  bool keep;

  static constexpr int cols = Cols;
  static constexpr int run = run_of<Prologue>;
  static constexpr bool local = is_local<Prologue>;
  template <class Team>
  __device__ __attribute__((always_inline)) void prepare(index r,
                                                         Held (&row)[rounds_of<Cols, Team>],
                                                         Team team) const {
    x.prepare(r, row, team);
    if (keep)
      for_each_held<Cols>(team, [&](int i, int j, int k) { out[r * Cols + k] = row[i].v[j]; });
  }
};
template <int Cols, class Prologue>
SINTER_INLINE KeptRows<Cols, Prologue> keep_rows(const Prologue& x, float* out, bool keep) {
  return {x, out, keep};
}

// What all blocks are going to read of a prologue's vectors comes nearer while the phase before
// runs. By a phase that has begun early, when its own weights are under way.
template <class Prologue>
SINTER_INLINE void fetch_vectors(const Launch*, const Prologue&) {}
template <int Cols, class Weight, class Source>
SINTER_INLINE void fetch_vectors(const Launch* launch, const RmsNormRows<Cols, Weight, Source>& p) {
  if constexpr (!__is_void(Weight)) fetch_ahead<Cols>(launch, p.weight);
  fetch_vectors(launch, p.x);
}
template <int Cols, class Weight, class Bias, class Source>
SINTER_INLINE void fetch_vectors(const Launch* launch,
                                 const LayerNormRows<Cols, Weight, Bias, Source>& p) {
  fetch_ahead<Cols>(launch, p.weight);
  if constexpr (!__is_void(Bias)) fetch_ahead<Cols>(launch, p.bias);
  fetch_vectors(launch, p.x);
}
template <int Cols, class Signs, int Block, bool Inverse, class Source>
SINTER_INLINE void fetch_vectors(const Launch* launch,
                                 const RotateRows<Cols, Signs, Block, Inverse, Source>& p) {
  if constexpr (!__is_void(Signs)) fetch_ahead<Cols>(launch, p.signs);
  fetch_vectors(launch, p.x);
}
template <int Cols, class Source>
SINTER_INLINE void fetch_vectors(const Launch* launch, const KeptRows<Cols, Source>& p) {
  fetch_vectors(launch, p.x);
}

// Whether a run of a row can be prepared alone, once whole_factor() is known.
template <class Prologue>
constexpr bool by_runs = is_local<Prologue>;
template <int Cols, class Weight, class Source>
constexpr bool by_runs<RmsNormRows<Cols, Weight, Source>> = is_local<Source>;
template <int Cols, class Signs, int Block, bool Inverse, class Source>
constexpr bool by_runs<RotateRows<Cols, Signs, Block, Inverse, Source>> = by_runs<Source>;
template <int Cols, class Source>
constexpr bool by_runs<KeptRows<Cols, Source>> = by_runs<Source>;
// The factor of the norm in a prologue, to the bits that it has where the whole block prepares the
// row: by the whole block. 1 where there is no norm.
template <class Prologue, class Team>
SINTER_INLINE float whole_factor(const Prologue&, index, Team) {
  return 1.0F;
}
template <int Cols, class Weight, class Source, class Team>
SINTER_INLINE float whole_factor(const RmsNormRows<Cols, Weight, Source>& p, index r, Team team) {
  Held row[rounds_of<Cols, Team>];
  prepare_source<Cols>(p.x, p.source(r), row, team);
  return p.factor_of(row, team);
}
template <int Cols, class Source, class Team>
SINTER_INLINE float whole_factor(const KeptRows<Cols, Source>& p, index r, Team team) {
  return whole_factor(p.x, r, team);
}
template <int Cols, class Signs, int Block, bool Inverse, class Source, class Team>
SINTER_INLINE float whole_factor(const RotateRows<Cols, Signs, Block, Inverse, Source>& p, index r,
                                 Team team) {
  return whole_factor(p.x, p.source(r), team);
}

}  // namespace sinter
