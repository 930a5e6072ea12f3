// Kernels that every code object has: sampling, as runtime/session/sampler.h defines it, and a read
// of memory.
#pragma once

#include "gpu/platform.h"
#include "step.h"

namespace sinter {

// Tokens in the order of sampling: descending logit, equal ones by ascending id. A larger key comes
// first.
SINTER_INLINE u64 order_key(float logit, int id) {
  if (logit == 0.0F) logit = 0.0F;  // -0 and 0 are equal
  const u32 bits = __builtin_bit_cast(u32, logit);
  const u32 ordered = (bits & 0x80000000U) != 0 ? ~bits : bits | 0x80000000U;
  return static_cast<u64>(ordered) << 32 | (0xFFFFFFFFU - static_cast<u32>(id));
}
SINTER_INLINE int id_of(u64 key) { return static_cast<int>(0xFFFFFFFFU - static_cast<u32>(key)); }

SINTER_INLINE u64 shuffle_xor_wide(u64 value, int mask) {
  const u32 low = shuffle_xor(static_cast<u32>(value), mask);
  const u32 high = shuffle_xor(static_cast<u32>(value >> 32), mask);
  return static_cast<u64>(high) << 32 | low;
}
// Largest over the block, for every thread. `scratch`: a u64 per wave.
SINTER_INLINE u64 max_block(u64 value, u64* scratch) {
#pragma clang loop unroll(full)
  for (int mask = 1; mask < wave_size; mask *= 2) {
    const u64 other = shuffle_xor_wide(value, mask);
    value = other > value ? other : value;
  }
  barrier();
  if (lane() == 0) scratch[wave()] = value;
  barrier();
  for (int i = 0; i < waves; ++i) value = scratch[i] > value ? scratch[i] : value;
  return value;
}
SINTER_INLINE u64 sum_block_wide(u64 value, u64* scratch) {
#pragma clang loop unroll(full)
  for (int mask = 1; mask < wave_size; mask *= 2) value += shuffle_xor_wide(value, mask);
  barrier();
  if (lane() == 0) scratch[wave()] = value;
  barrier();
  value = 0;
  for (int i = 0; i < waves; ++i) value += scratch[i];
  return value;
}

// The weight of a token, an integer: see sampling_weight in runtime/session/sampler.h. No
// multiply-add may be fused here, the host's are not.
SINTER_INLINE u64 sampling_weight(float logit, float highest, float scale) {
#pragma clang fp contract(off)
  const float difference = logit - highest;
  const float exponent = difference * scale;
  if (!(exponent > -40.0F)) return 0;
  const float whole = __builtin_floorf(exponent + 0.5F);
  const float fraction = exponent - whole;
  constexpr float coefficients[] = {1.52527338e-5F, 1.54035304e-4F, 1.33335581e-3F, 9.61812911e-3F,
                                    5.55041087e-2F, 2.40226507e-1F, 6.93147181e-1F, 1.0F};
  float power = 0;
#pragma clang loop unroll(full)
  for (int i = 0; i < 8; ++i) {
    power = power * fraction;
    power = power + coefficients[i];
  }
  return static_cast<u64>(power * 4294967296.0F) >> static_cast<int>(-whole);
}

// Output number `draw` of SplitMix64 started at `seed`.
SINTER_INLINE u64 sampling_bits(u64 seed, u64 draw) {
  u64 z = seed + (draw + 1) * 0x9E3779B97F4A7C15UL;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9UL;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBUL;
  return z ^ (z >> 31);
}
SINTER_INLINE u64 multiply_high(u64 a, u64 b) {
  const u64 a0 = a & 0xFFFFFFFFU;
  const u64 a1 = a >> 32;
  const u64 b0 = b & 0xFFFFFFFFU;
  const u64 b1 = b >> 32;
  const u64 middle = a1 * b0 + (a0 * b0 >> 32);
  const u64 other = a0 * b1 + (middle & 0xFFFFFFFFU);
  return a1 * b1 + (middle >> 32) + (other >> 32);
}

// One block's view of the candidates: tokens whose key is at least `least`.
struct Candidates {
  const float* logits;
  int count;  // of the vocabulary
  float highest;
  float scale;
  u64* histogram;  // [256], shared

  __device__ __attribute__((always_inline)) u64 measure(bool weighted, int i) const {
    return weighted ? sampling_weight(logits[i], highest, scale) : 1;
  }
  __device__ __attribute__((always_inline)) u64 total(u64 least, u64* scratch) const {
    u64 sum = 0;
    for (int i = thread(); i < count; i += threads)
      if (order_key(logits[i], i) >= least) sum += measure(true, i);
    return sum_block_wide(sum, scratch);
  }
  // The key of the first candidate, in order, at which the running sum of measures exceeds
  // `target`; `least` when none does. Weightless tokens count for nothing. Radix select, 8 bits a
  // pass.
  __device__ __attribute__((always_inline)) u64 first_beyond(bool weighted, u64 least,
                                                             u64 target) const {
    u64 prefix = 0;
    for (int shift = 56; shift >= 0; shift -= 8) {
      barrier();
      for (int i = thread(); i < 256; i += threads) histogram[i] = 0;
      barrier();
      for (int i = thread(); i < count; i += threads) {
        const u64 key = order_key(logits[i], i);
        const bool in_prefix = shift == 56 || key >> (shift + 8) == prefix;
        if (!in_prefix || key < least || sampling_weight(logits[i], highest, scale) == 0) continue;
        add(histogram + (key >> shift & 255), measure(weighted, i));
      }
      barrier();
      int digit = 255;
      for (; digit >= 0; --digit) {
        if (histogram[digit] > target) break;
        target -= histogram[digit];
      }
      if (digit < 0) return least;
      prefix = prefix << 8 | static_cast<u64>(digit);
    }
    return prefix;
  }
  static __device__ void add(u64* p, u64 value) {
#if defined(SINTER_SIMT)
    *p += value;
#elif defined(__NVPTX__)
    __scoped_atomic_fetch_add(p, value, __ATOMIC_RELAXED, __MEMORY_SCOPE_WRKGRP);
#else
    __hip_atomic_fetch_add(p, value, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_WORKGROUP);
#endif
  }
};

// A negative SampleError when no token can be drawn.
SINTER_INLINE int draw_token(const float* logits, int vocab_size, const SampleParams& params,
                             u64 best, u64* shared) {
  const float highest = logits[id_of(best)];
  if (params.scale == 0.0F) return id_of(best);
  const Candidates candidates{logits, vocab_size, highest, params.scale, shared + waves};
  u64 least = 0;  // keys of candidates are at least this
  if (params.top_k > 0 && params.top_k < vocab_size)
    least = candidates.first_beyond(false, least, static_cast<u64>(params.top_k) - 1);
  if (params.top_p < 1.0F) {
    const u64 total = candidates.total(least, shared);
    const double wanted = static_cast<double>(params.top_p) * static_cast<double>(total);
    u64 threshold = static_cast<u64>(wanted);
    if (static_cast<double>(threshold) < wanted) ++threshold;
    if (threshold < 1) threshold = 1;
    least = candidates.first_beyond(true, least, threshold - 1);
  }
  const u64 total = candidates.total(least, shared);
  const u64 target = multiply_high(sampling_bits(params.seed, params.draw), total);
  return id_of(candidates.first_beyond(true, least, target));
}

// What sinter_sample is given: see runtime/abi/kernel_abi.h.
struct Sampling {
  const float* logits;   // of all rows of the logits buffer
  SampleParams* params;  // of every sequence
  StepParams* step;
  i32* ring;
  u64* workspace;
  int ring_size;
  int vocab_size;
};

// Draws the next token of row r. A team of blocks, of which this is number `member`, looks for the
// highest logit; the one that finishes last goes on alone.
SINTER_INLINE void draw_for_row(const Sampling& s, int r, int team, int member, int members) {
  u64* const shared = reinterpret_cast<u64*>(shared_memory());
  int* const flag = reinterpret_cast<int*>(shared + waves + 256);
  int* const arrived = reinterpret_cast<int*>(s.workspace) + team;
  // By block: best key; and problems seen.
  u64* const found = s.workspace + gpu_sample_blocks / 2 + 2 * (team * members);
  StepRow& row = step_rows(s.step)[r];
  const float* logits = s.logits + index{row.logits} * s.vocab_size;
  u64 best = 0;
  u64 problem = 0;  // 1: NaN
  for (int i = member * threads + thread(); i < s.vocab_size; i += members * threads) {
    const float logit = logits[i];
    if (logit != logit) problem = 1;
    const u64 key = order_key(logit, i);
    best = key > best ? key : best;
  }
  best = max_block(best, shared);
  problem = max_block(problem, shared);
  if (thread() == 0) {
    found[2 * member] = best;
    found[2 * member + 1] = problem;
    fence();
    *flag = fetch_add(arrived, 1);
  }
  barrier();
  if (*flag != members - 1) return;
  fence();
  best = 0;
  problem = 0;
  for (int i = thread(); i < members; i += threads) {
    best = found[2 * i] > best ? found[2 * i] : best;
    problem |= found[2 * i + 1];
  }
  best = max_block(best, shared);
  problem = max_block(problem, shared);
  const float highest = logits[id_of(best)];
  SampleParams& params = s.params[row.sequence];
  int token = 0;
  if (problem != 0) {
    token = sample_nan;
  } else if (highest - highest != 0.0F) {
    token = highest > 0 ? sample_infinite : sample_none;
  } else {
    token = draw_token(logits, s.vocab_size, params, best, shared);
  }
  barrier();
  for (int i = thread(); i < members; i += threads) {
    found[2 * i] = 0;
    found[2 * i + 1] = 0;
  }
  if (thread() == 0) {
    *arrived = 0;
    s.ring[index{r} * s.ring_size + params.drawn % s.ring_size] = token;
    ++params.drawn;
    ++params.draw;
    row.token = token < 0 ? 0 : token;
    ++row.position;
  }
}

SINTER_INLINE void sample(const Launch* launch, const Sampling& s) {
  const int rows = s.step->rows;
  const int members = launch->workers < rows ? 1 : launch->workers / rows;
  const int teams = launch->workers / members;
  const int team = launch->worker / members;
  if (team >= teams) return;
  for (int r = team; r < rows; r += teams) {
    if (step_rows(s.step)[r].logits >= 0)
      draw_for_row(s, r, team, launch->worker % members, members);
    barrier();
  }
}

static_assert((waves + 256) * 8 + 16 <= gpu_sample_shared_bytes);
static_assert(gpu_sample_blocks * (4 + 16) <= gpu_sample_workspace);

SINTER_INLINE void stream(const Launch* launch, const u8* memory, u64 bytes, u32* out) {
  const u64 chunk = u64{threads} * 16 * 8;
  u32x4 sum = {0, 0, 0, 0};
  for (u64 at = static_cast<u64>(launch->worker) * chunk; at < bytes;
       at += static_cast<u64>(launch->workers) * chunk) {
    u32x4 v[8];
#pragma clang loop unroll(full)
    for (int i = 0; i < 8; ++i) {
      const u64 here = at + static_cast<u64>(i * threads + thread()) * 16;
      v[i] = here < bytes ? load_stream<u32x4>(memory + here) : u32x4{0, 0, 0, 0};
    }
#pragma clang loop unroll(full)
    for (int i = 0; i < 8; ++i) sum ^= v[i];
  }
  // Random memory practically never sums up to this; the compiler cannot know.
  if ((sum[0] ^ sum[1] ^ sum[2] ^ sum[3]) == 0x5eed5eedU) *out = 1;
}

}  // namespace sinter

SINTER_PHASE(sinter_sample) {
  using namespace sinter;
  sample(launch, {arg<const float>(launch, 0), arg<SampleParams>(launch, 1),
                  arg<StepParams>(launch, 2), arg<i32>(launch, 3), arg<u64>(launch, 4),
                  static_cast<int>(reinterpret_cast<u64>(launch->args[5])),
                  static_cast<int>(reinterpret_cast<u64>(launch->args[6]))});
}
SINTER_PHASE(sinter_stream) {
  using namespace sinter;
  stream(launch, arg<const u8>(launch, 0), reinterpret_cast<u64>(launch->args[1]),
         arg<u32>(launch, 2));
}
