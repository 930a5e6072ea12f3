#include "runtime/session/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <set>
#include <utility>
#include <vector>

namespace sinter::runtime {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::vector<int32_t> draw(const std::vector<float>& logits, const SamplingOptions& options,
                          int count) {
  Sampler sampler(options);
  std::vector<int32_t> tokens;
  for (int i = 0; i < count; ++i) {
    const auto token = sampler.sample(logits);
    EXPECT_TRUE(token.ok()) << token.error().message;
    tokens.push_back(token.ok() ? *token : -1);
  }
  return tokens;
}

std::set<int32_t> distinct(const std::vector<int32_t>& tokens) {
  return {tokens.begin(), tokens.end()};
}

// Logits without pattern, many of them equal: multiples of 1/8 between -8 and 8.
std::vector<float> many_logits(size_t count) {
  std::vector<float> logits(count);
  for (size_t i = 0; i < count; ++i) {
    logits[i] = static_cast<float>(sampling_bits(11, i) % 128) / 8.0f - 8.0f;
  }
  return logits;
}

// The definition in sampler.h, with a full sort and no shortcut.
int32_t sample_plainly(const std::vector<float>& logits, const SamplingOptions& options,
                       uint64_t draw_number) {
  std::vector<int32_t> order(logits.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int32_t>(i);
  std::sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    return std::pair(-logits[a], a) < std::pair(-logits[b], b);
  });
  if (options.top_k > 0) {
    order.resize(std::min(order.size(), static_cast<size_t>(options.top_k)));
  }
  const float scale = sampling_scale(options.temperature);
  std::vector<uint64_t> sums;
  uint64_t sum = 0;
  for (const int32_t id : order) {
    sums.push_back(sum += sampling_weight(logits[id], logits[order[0]], scale));
  }
  if (options.top_p < 1) {
    const double wanted = std::ceil(static_cast<double>(options.top_p) * static_cast<double>(sum));
    for (const uint64_t prefix : sums) {
      sum = prefix;
      if (static_cast<double>(prefix) >= wanted) break;
    }
  }
  // High half of a 64 by 64 bit product, from 32-bit halves.
  const uint64_t bits = sampling_bits(options.seed, draw_number);
  const uint64_t low = (bits & 0xFFFFFFFF) * (sum & 0xFFFFFFFF);
  const uint64_t middle = (bits >> 32) * (sum & 0xFFFFFFFF) + (low >> 32);
  const uint64_t other = (bits & 0xFFFFFFFF) * (sum >> 32) + (middle & 0xFFFFFFFF);
  const uint64_t target = (bits >> 32) * (sum >> 32) + (middle >> 32) + (other >> 32);
  for (size_t i = 0; i < order.size(); ++i) {
    if (sums[i] > target) return order[i];
  }
  return -1;
}

TEST(Sampler, GreedyTakesTheHighestLogitAndOfEqualOnesTheLowestId) {
  const SamplingOptions greedy = {.greedy = true};
  EXPECT_EQ(*sample(std::vector<float>{1, 5, 3}, greedy, 0), 1);
  EXPECT_EQ(*sample(std::vector<float>{1, 5, 3, 5, 5}, greedy, 0), 1);
  EXPECT_EQ(*sample(std::vector<float>{-kInfinity, -2, -2}, greedy, 0), 1);
}

TEST(Sampler, TemperatureZeroIsGreedy) {
  const std::vector<float> logits = {1, 2, 2, 0};
  EXPECT_EQ(distinct(draw(logits, {.temperature = 0}, 50)), std::set<int32_t>{1});
}

TEST(Sampler, TinyTemperaturesApproachGreedy) {
  const std::vector<float> logits = {1, 2, 1.999f, 0};
  for (const float temperature : {1e-5f, 1e-20f, 1e-44f}) {
    EXPECT_EQ(distinct(draw(logits, {.temperature = temperature}, 200)), std::set<int32_t>{1});
  }
}

TEST(Sampler, TopKDrawsOnlyFromTheKHighest) {
  const std::vector<float> logits = {0.1f, 0.4f, 0.2f, 0.3f, 0.4f};
  EXPECT_EQ(distinct(draw(logits, {.top_k = 1}, 300)), std::set<int32_t>{1});
  EXPECT_EQ(distinct(draw(logits, {.top_k = 2}, 300)), (std::set<int32_t>{1, 4}));
  EXPECT_EQ(distinct(draw(logits, {.top_k = 3}, 300)), (std::set<int32_t>{1, 3, 4}));
  EXPECT_EQ(distinct(draw(logits, {.top_k = 99}, 300)).size(), 5u);
}

TEST(Sampler, TopPDrawsOnlyFromTheShortestSufficientPrefix) {
  // Probabilities 0.5, 0.25, 0.125, 0.125.
  const float log2 = std::log(2.0f);
  const std::vector<float> logits = {-3 * log2, -log2, -3 * log2, -2 * log2};
  EXPECT_EQ(distinct(draw(logits, {.top_p = 0}, 300)), std::set<int32_t>{1});
  EXPECT_EQ(distinct(draw(logits, {.top_p = 0.49f}, 300)), std::set<int32_t>{1});
  EXPECT_EQ(distinct(draw(logits, {.top_p = 0.51f}, 300)), (std::set<int32_t>{1, 3}));
  EXPECT_EQ(distinct(draw(logits, {.top_p = 0.8f}, 300)), (std::set<int32_t>{0, 1, 3}));
  EXPECT_EQ(distinct(draw(logits, {.top_p = 1}, 300)).size(), 4u);
}

TEST(Sampler, TopPCountsProbabilityWithinTopK) {
  const float log2 = std::log(2.0f);
  const std::vector<float> logits = {0, 0, -log2, -log2};  // 2 : 2 : 1 : 1
  // Within the first three (2 : 2 : 1) the first two are 0.8 of the whole, not 0.67.
  EXPECT_EQ(distinct(draw(logits, {.top_k = 3, .top_p = 0.79f}, 300)), (std::set<int32_t>{0, 1}));
}

TEST(Sampler, FrequenciesFollowTheSoftmax) {
  const std::vector<float> logits = {0.5f, -1.0f, 2.0f, 1.0f, -kInfinity};
  const SamplingOptions options = {.temperature = 0.8f, .seed = 7};
  constexpr int kDraws = 200000;
  std::vector<int> counts(logits.size());
  for (const int32_t token : draw(logits, options, kDraws)) ++counts[token];
  double total = 0;
  for (const float logit : logits) total += std::exp(logit / 0.8);
  for (size_t i = 0; i < logits.size(); ++i) {
    const double p = std::exp(logits[i] / 0.8) / total;
    // Five standard deviations of a binomial count.
    EXPECT_NEAR(counts[i], kDraws * p, 5 * std::sqrt(kDraws * p * (1 - p))) << "token " << i;
  }
}

TEST(Sampler, WeightsAreExponentialsToFloatAccuracy) {
  EXPECT_EQ(sampling_weight(3, 3, sampling_scale(1)), uint64_t{1} << 32);
  for (float x = 0; x > -15; x -= 0.01f) {
    const double exact = std::exp(static_cast<double>(x)) * 4294967296.0;
    const auto weight = static_cast<double>(sampling_weight(x, 0, sampling_scale(1)));
    EXPECT_NEAR(weight, exact, exact * 2e-6 + 1) << "at " << x;
  }
  EXPECT_EQ(sampling_weight(-100, 0, sampling_scale(1)), 0u);
  EXPECT_EQ(sampling_weight(-kInfinity, 0, sampling_scale(1)), 0u);
}

TEST(Sampler, SameSeedGivesTheSameTokensAndAnotherSeedOthers) {
  const std::vector<float> logits = many_logits(1000);
  const SamplingOptions options = {.temperature = 2, .seed = 42};
  SamplingOptions other = options;
  other.seed = 43;
  EXPECT_EQ(draw(logits, options, 100), draw(logits, options, 100));
  EXPECT_NE(draw(logits, options, 100), draw(logits, other, 100));
}

TEST(Sampler, DrawNumberAloneDecidesTheDraw) {
  const std::vector<float> logits = many_logits(1000);
  const SamplingOptions options = {.temperature = 2, .seed = 42};
  const std::vector<int32_t> tokens = draw(logits, options, 20);
  for (size_t i = 0; i < tokens.size(); ++i) EXPECT_EQ(*sample(logits, options, i), tokens[i]);
}

// Fixed for all machines: a change here changes what a seed means.
TEST(Sampler, DrawsAreTheSameOnEveryMachine) {
  EXPECT_EQ(sampling_bits(0, 0), 0xE220A8397B1DCDAFull);
  EXPECT_EQ(sampling_bits(0, 1), 0x6E789E6AA1B965F4ull);
  EXPECT_EQ(sampling_weight(-1.25f, 0.5f, sampling_scale(0.7f)), 352552384u);
}

TEST(Sampler, PartialSelectionAgreesWithAFullSort) {
  const std::vector<float> logits = many_logits(20000);
  for (const SamplingOptions& options :
       {SamplingOptions{.temperature = 4}, SamplingOptions{.temperature = 1, .top_p = 0.9f},
        SamplingOptions{.temperature = 100, .top_p = 0.999f},
        SamplingOptions{.temperature = 3, .top_k = 700},
        SamplingOptions{.temperature = 3, .top_k = 700, .top_p = 0.5f},
        SamplingOptions{.temperature = 0.01f}}) {
    for (uint64_t i = 0; i < 40; ++i) {
      EXPECT_EQ(*sample(logits, options, i), sample_plainly(logits, options, i))
          << options.temperature << " " << options.top_k << " " << options.top_p;
    }
  }
}

TEST(Sampler, ImpossibleLogitsAreErrors) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const bool greedy : {true, false}) {
    const SamplingOptions options = {.greedy = greedy};
    const auto error = [&](const std::vector<float>& logits) {
      const auto token = sample(logits, options, 0);
      return token.ok() ? std::string("no error") : token.error().message;
    };
    EXPECT_NE(error({1, 2, nan}).find("token 2 is NaN"), std::string::npos);
    EXPECT_NE(error({nan}).find("token 0 is NaN"), std::string::npos);
    EXPECT_NE(error({1, kInfinity}).find("token 1 is +infinity"), std::string::npos);
    EXPECT_NE(error({-kInfinity, -kInfinity}).find("all logits"), std::string::npos);
    EXPECT_NE(error({}).find("no logits"), std::string::npos);
  }
}

TEST(Sampler, AnErrorIsNotADraw) {
  const std::vector<float> logits = many_logits(100);
  Sampler sampler({.temperature = 5, .seed = 3});
  EXPECT_FALSE(sampler.sample(std::vector<float>{}).ok());
  EXPECT_EQ(*sampler.sample(logits), *sample(logits, {.temperature = 5, .seed = 3}, 0));
}

TEST(Sampler, OptionsOutOfRangeAreErrors) {
  const std::vector<float> logits = {1, 2};
  const auto error = [&](const SamplingOptions& options) {
    const auto token = sample(logits, options, 0);
    return token.ok() ? std::string("no error") : token.error().message;
  };
  EXPECT_NE(error({.temperature = -1}).find("temperature is -1"), std::string::npos);
  EXPECT_NE(error({.temperature = std::nanf("")}).find("temperature"), std::string::npos);
  EXPECT_NE(error({.top_k = -1}).find("top_k is -1"), std::string::npos);
  EXPECT_NE(error({.top_p = 1.5f}).find("top_p is 1.5"), std::string::npos);
  EXPECT_NE(error({.top_p = std::nanf("")}).find("top_p"), std::string::npos);
}

}  // namespace
}  // namespace sinter::runtime
