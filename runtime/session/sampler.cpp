#include "runtime/session/sampler.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

namespace sinter::runtime {
namespace {

__extension__ using Uint128 = unsigned __int128;

// The first candidates to be sorted; more only if these do not hold the draw.
constexpr size_t kFirstSorted = 64;

struct Candidate {
  float logit;
  int32_t id;
};

bool comes_before(const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
}

// The index of the highest logit, of equal ones the lowest.
Result<int32_t> highest_logit(std::span<const float> logits) {
  if (logits.empty()) return Error{"sampling: there are no logits"};
  if (logits.size() > static_cast<size_t>(std::numeric_limits<int32_t>::max())) {
    return Error{fmt::format("sampling: {} logits are more than token ids", logits.size())};
  }
  size_t highest = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (std::isnan(logits[i])) {
      return Error{fmt::format(
          "sampling: the logit of token {} is NaN; the model's output is not a number", i)};
    }
    if (logits[i] > logits[highest]) highest = i;
  }
  if (std::isinf(logits[highest])) {
    return Error{logits[highest] > 0
                     ? fmt::format("sampling: the logit of token {} is +infinity", highest)
                     : "sampling: all logits are -infinity; no token is allowed"};
  }
  return static_cast<int32_t>(highest);
}

// Candidates of which as few as needed get sorted.
class SortedPrefix {
 public:
  explicit SortedPrefix(std::vector<Candidate> candidates) : candidates_(std::move(candidates)) {}

  // Drops all but the first `count`.
  void truncate(size_t count) {
    if (count >= candidates_.size()) return;
    std::nth_element(candidates_.begin(), candidates_.begin() + static_cast<ptrdiff_t>(count),
                     candidates_.end(), comes_before);
    candidates_.resize(count);
  }

  size_t size() const { return candidates_.size(); }
  const std::vector<Candidate>& unordered() const { return candidates_; }

  // The candidate at `index` of the order.
  const Candidate& at(size_t index) {
    while (index >= sorted_) {
      const size_t end = std::min(candidates_.size(), std::max(kFirstSorted, sorted_ * 4));
      const auto begin = candidates_.begin() + static_cast<ptrdiff_t>(sorted_);
      const auto middle = candidates_.begin() + static_cast<ptrdiff_t>(end);
      if (middle != candidates_.end()) {
        std::nth_element(begin, middle, candidates_.end(), comes_before);
      }
      std::sort(begin, middle, comes_before);
      sorted_ = end;
    }
    return candidates_[index];
  }

 private:
  std::vector<Candidate> candidates_;
  size_t sorted_ = 0;
};

}  // namespace

Status check(const SamplingOptions& options) {
  if (!std::isfinite(options.temperature) || options.temperature < 0) {
    return Error{
        fmt::format("sampling: temperature is {}, expected 0 or more", options.temperature)};
  }
  if (options.top_k < 0) {
    return Error{fmt::format("sampling: top_k is {}, expected 0 (off) or more", options.top_k)};
  }
  if (!(options.top_p >= 0 && options.top_p <= 1)) {
    return Error{fmt::format("sampling: top_p is {}, expected 0 to 1", options.top_p)};
  }
  return Done{};
}

Status check_logits(std::span<const float> logits, int64_t vocab_size, int64_t position) {
  constexpr uint32_t kExponent = 0x7f800000;  // all ones for infinities and NaN
  bool any = false;                           // branch-free, because this is done for every token
  for (const float logit : logits) any |= (std::bit_cast<uint32_t>(logit) & kExponent) == kExponent;
  if (!any) return Done{};
  size_t first = 0;
  while (std::isfinite(logits[first])) ++first;
  const auto vocab = static_cast<size_t>(vocab_size);
  return Error{fmt::format(
      "the logit of token {} at position {} is {}: the model's output is not a finite number; its "
      "weights are damaged, or values inside it overflow (keys and values do beyond 65504)",
      first % vocab, position + static_cast<int64_t>(first / vocab),
      std::isnan(logits[first]) ? "NaN"
      : logits[first] > 0       ? "infinity"
                                : "-infinity")};
}

Result<int32_t> sample(std::span<const float> logits, const SamplingOptions& options,
                       uint64_t draw) {
  if (const Status status = check(options); !status.ok()) return status.error();
  const auto highest = highest_logit(logits);
  if (!highest.ok() || options.greedy || options.temperature == 0) return highest;

  const float scale = sampling_scale(options.temperature);
  const float highest_value = logits[*highest];
  const auto weight = [&](const Candidate& candidate) {
    return sampling_weight(candidate.logit, highest_value, scale);
  };
  // Tokens of weight 0 cannot be drawn, and come after all others in the order.
  std::vector<Candidate> candidates;
  for (size_t i = 0; i < logits.size(); ++i) {
    const Candidate candidate = {logits[i], static_cast<int32_t>(i)};
    if (weight(candidate) > 0) candidates.push_back(candidate);
  }
  SortedPrefix sorted(std::move(candidates));
  if (options.top_k > 0) sorted.truncate(static_cast<size_t>(options.top_k));

  // Each weight is at most 2^32 * sqrt(2), so that 2^31 of them fit.
  uint64_t total = 0;
  for (const Candidate& candidate : sorted.unordered()) total += weight(candidate);
  if (options.top_p < 1) {
    const double wanted =
        std::ceil(static_cast<double>(options.top_p) * static_cast<double>(total));
    const uint64_t threshold = std::max<uint64_t>(1, static_cast<uint64_t>(wanted));
    uint64_t kept = 0;
    for (size_t i = 0; i < sorted.size() && kept < threshold; ++i) kept += weight(sorted.at(i));
    total = kept;
  }
  const auto target =
      static_cast<uint64_t>((Uint128{sampling_bits(options.seed, draw)} * total) >> 64);
  uint64_t cumulated = 0;
  for (size_t i = 0; i < sorted.size(); ++i) {
    cumulated += weight(sorted.at(i));
    if (cumulated > target) return sorted.at(i).id;
  }
  return highest;  // not reached: target < total
}

Result<int32_t> Sampler::sample(std::span<const float> logits) {
  auto token = runtime::sample(logits, options_, draw_);
  if (token.ok()) ++draw_;
  return token;
}

uint64_t sampling_bits(uint64_t seed, uint64_t draw) {
  // Steele, Lea, Flood: Fast splittable pseudorandom number generators (OOPSLA 2014).
  uint64_t z = seed + (draw + 1) * 0x9E3779B97F4A7C15ull;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}

float sampling_scale(float temperature) {
  constexpr float kLog2E = 1.44269504f;
  return std::min(kLog2E / temperature, std::numeric_limits<float>::max());
}

uint64_t sampling_weight(float logit, float highest, float scale) {
  const float exponent = (logit - highest) * scale;
  if (!(exponent > -40.0f)) return 0;
  const float whole = std::floor(exponent + 0.5f);
  const float fraction = exponent - whole;  // -0.5 to 0.5, exact
  // 2^fraction by its power series: the coefficients are ln(2)^k / k!.
  constexpr float kCoefficients[] = {1.52527338e-5f, 1.54035304e-4f, 1.33335581e-3f, 9.61812911e-3f,
                                     5.55041087e-2f, 2.40226507e-1f, 6.93147181e-1f, 1.0f};
  float power = 0;
  for (const float coefficient : kCoefficients) {
    power = power * fraction;
    power = power + coefficient;
  }
  const auto fixed = static_cast<uint64_t>(power * 4294967296.0f);
  return fixed >> static_cast<int>(-whole);
}

}  // namespace sinter::runtime
