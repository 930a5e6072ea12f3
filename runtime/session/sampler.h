// Draws the next token from logits.
//
// The draw is a function of (logits, options, draw number) alone, in arithmetic that gives the same
// result on every machine: float32 without contraction, then integers. The order of summation does
// not matter, so that parallel reductions give the same token:
//
//   1. Candidates are ordered by descending logit, equal ones by ascending id; top_k keeps the
//   first
//      top_k of them.
//   2. weight(i) = sampling_weight(logit[i], highest logit, sampling_scale(temperature)): an
//   integer,
//      exp((logit[i] - highest) / temperature) in units of 2^-32.
//   3. top_p keeps the shortest prefix whose weights sum to at least top_p times all of them.
//   4. r = high 64 bits of sampling_bits(seed, draw) * (sum of the weights kept); the token is the
//      first whose cumulated weight exceeds r.
#pragma once

#include <cstdint>
#include <span>

#include "runtime/support/result.h"

namespace sinter::runtime {

struct SamplingOptions {
  float temperature = 1;  // >= 0; 0 is greedy
  int top_k = 0;          // >= 0; 0 is off
  float top_p = 1;        // 0 to 1; 1 is off; at least one candidate is always kept
  uint64_t seed = 0;
  bool greedy = false;  // the highest logit, of equal ones the lowest id; all else is ignored
};

// An error names the option that is out of range.
Status check(const SamplingOptions& options);

// What a model computed must be numbers. Error: names the first token whose logit is infinite or
// NaN. `logits`: of the token at `position` of a sequence, and of those after it, a row of
// `vocab_size` each.
Status check_logits(std::span<const float> logits, int64_t vocab_size, int64_t position);

// The token that draw number `draw` (from 0) gives. Errors: options out of range, no logits, a
// logit that is NaN or +infinity, all logits -infinity. A logit of -infinity excludes its token.
Result<int32_t> sample(std::span<const float> logits, const SamplingOptions& options,
                       uint64_t draw);

// Counts the draws.
class Sampler {
 public:
  explicit Sampler(const SamplingOptions& options) : options_(options) {}
  // Each success is one draw, greedy ones too.
  Result<int32_t> sample(std::span<const float> logits);

 private:
  SamplingOptions options_;
  uint64_t draw_ = 0;
};

// The parts of the definition above.

// Output number `draw` of SplitMix64 started at `seed`.
uint64_t sampling_bits(uint64_t seed, uint64_t draw);
// log2(e) / temperature, finite; temperature > 0.
float sampling_scale(float temperature);
// 2^((logit - highest) * scale) in units of 2^-32, to the accuracy of float32; 0 far below
// `highest`.
uint64_t sampling_weight(float logit, float highest, float scale);

}  // namespace sinter::runtime
