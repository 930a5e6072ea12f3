// Quantizers against vectors computed by hand, against MLX's own results and against the rules
// written down in float64.
#include "frontends/rounding/quantizers.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <random>
#include <vector>

#include "ir/matrix.h"

namespace sinter::frontends {
namespace {

struct Row {
  std::vector<uint8_t> bytes;  // of the codes
  std::vector<uint8_t> codes;
  std::vector<uint8_t> scale_bytes;
  std::vector<uint8_t> bias_bytes;
  std::vector<float> scales;
  std::vector<float> biases;
  std::vector<float> decoded;
  bool in_range = true;
};

template <class Quantize>
Row quantized(const std::vector<float>& values, int bits, int group, ir::DType scale_type,
              const Quantize& quantize) {
  const size_t groups = values.size() / static_cast<size_t>(group);
  const auto number = static_cast<size_t>(ir::byte_size(scale_type));
  Row row;
  row.bytes.resize(values.size() * static_cast<size_t>(bits) / 8);
  row.scale_bytes.resize(groups * number);
  row.bias_bytes.resize(groups * number);
  row.decoded.resize(values.size());
  row.in_range = quantize(PackedRow{row.bytes.data(), row.scale_bytes.data(), row.bias_bytes.data(),
                                    row.decoded.data()});
  ir::Matrix matrix;
  matrix.type = {{1, static_cast<int64_t>(values.size())},
                 {ir::CodeMap::affine, bits, group, 0, scale_type}};
  matrix.codes = row.bytes;
  matrix.scales = row.scale_bytes;
  matrix.biases = row.bias_bytes;
  row.codes.resize(values.size());
  ir::decode_codes(matrix, 0, row.codes.data());
  std::vector<float> judged(values.size());
  ir::decode_row(matrix, 0, judged.data());
  if (row.in_range) EXPECT_EQ(row.decoded, judged);
  for (size_t g = 0; g < groups; ++g) {
    row.scales.push_back(ir::read_element(scale_type, row.scale_bytes.data(), g));
    row.biases.push_back(ir::read_element(scale_type, row.bias_bytes.data(), g));
  }
  return row;
}

Row affine(const std::vector<float>& values, int bits, int group,
           ir::DType scale_type = ir::DType::f32) {
  return quantized(values, bits, group, scale_type, [&](const PackedRow& out) {
    return quantize_affine(values, bits, group, scale_type, out);
  });
}

Row ternary(const std::vector<float>& values, float scale, int group,
            ir::DType scale_type = ir::DType::f32) {
  return quantized(values, 2, group, scale_type, [&](const PackedRow& out) {
    return quantize_ternary(values, scale, group, scale_type, out);
  });
}

constexpr std::array<int, 7> kBits = {1, 2, 3, 4, 5, 6, 8};

TEST(Affine, LargestMagnitudeIsMetExactlyByANegativeScale) {
  std::vector<float> values;
  for (int i = 0; i < 32; ++i) values.push_back(static_cast<float>(i - 8) / 8);
  const Row row = affine(values, 4, 32);
  EXPECT_FLOAT_EQ(row.scales[0], -0.26136364F);
  EXPECT_EQ(row.biases[0], 2.875F);
  EXPECT_EQ(row.codes,
            (std::vector<uint8_t>{15, 14, 14, 13, 13, 12, 12, 11, 11, 11, 10, 10, 9, 9, 8, 8,
                                  7,  7,  6,  6,  5,  5,  4,  4,  3,  3,  2,  2,  1, 1, 0, 0}));
  EXPECT_EQ(row.decoded[31], 2.875F);
}

TEST(Affine, NumbersOnAGridAreExact) {
  std::vector<float> values;
  for (int i = 0; i < 32; ++i) values.push_back(static_cast<float>(i % 4) / 2 - 1);
  const Row row = affine(values, 2, 32);
  EXPECT_EQ(row.scales[0], 0.5F);
  EXPECT_EQ(row.biases[0], -1);
  for (int i = 0; i < 32; ++i) EXPECT_EQ(row.codes[static_cast<size_t>(i)], i % 4);
  EXPECT_EQ(row.decoded, values);
}

// Small whole numbers times a power of two per 32, some of them shifted to one side of 0: exact in
// every type, with many ties.
std::vector<float> shared_sample() {
  std::vector<float> values;
  uint64_t state = 1;
  for (int i = 0; i < 128 * 96; ++i) {
    state = state * 6364136223846793005U + 1442695040888963407U;
    const int group = i / 32;
    const auto whole = static_cast<float>(static_cast<int>(state >> 56) - 128);
    const float w = std::clamp(whole + static_cast<float>(group % 5 - 2) * 40, -255.0F, 255.0F);
    values.push_back(std::ldexp(w, group % 17 - 12));
  }
  return values;
}

// Codes, scales and biases of groups of 32, 64 and 128 in one FNV-1a hash, as the CPU backend of
// MLX (846d1762; of PrismML's fork 72ec298f for one bit) made them from the same numbers.
TEST(Affine, EqualsMlxToTheByte) {
  struct Case {
    ir::DType dtype;
    std::array<uint64_t, kBits.size()> hashes;
  };
  const std::array<Case, 3> cases = {{
      {ir::DType::f32,
       {0xf9e95dd8b0a3e672, 0xddc3a90bec2bcf8d, 0xf6706fa62ca3a92b, 0xba36c187a30aa1a3,
        0xc7cb876ff78c7389, 0x67925e393b952beb, 0x0b15915c5e23e3bb}},
      {ir::DType::f16,
       {0xec5a0ddbacaeeaaa, 0x255dcb8ab51fe023, 0x107a59a026af0326, 0x13d8281b88a1e625,
        0xa6af81eab641eafd, 0x79f4bdb4944ec3b3, 0xb2abd983ffbaad38}},
      {ir::DType::bf16,
       {0x2a82424f2c196a74, 0xf1019474fae72461, 0xede5d8f89135f11f, 0x81f844ed2d8aa2a9,
        0xc80eb8f6a6b5d0b0, 0x73051939e966bc32, 0x21ab08b7607cdd79}},
  }};
  const std::vector<float> values = shared_sample();
  for (const Case& c : cases) {
    for (size_t b = 0; b < kBits.size(); ++b) {
      uint64_t hash = 0xcbf29ce484222325U;
      for (const int group : {32, 64, 128}) {
        const Row row = affine(values, kBits[b], group, c.dtype);
        for (const auto* part : {&row.bytes, &row.scale_bytes, &row.bias_bytes})
          for (const uint8_t byte : *part) hash = (hash ^ byte) * 0x100000001b3U;
      }
      EXPECT_EQ(hash, c.hashes[b]) << kBits[b] << " bits, " << ir::name(c.dtype);
    }
  }
}

struct Rule {
  double scale;
  double bias;
};

// The rule in float64, for two bits and more.
Rule rule_of(const float* values, int group, int bits) {
  const auto [low, high] = std::minmax_element(values, values + group);
  const double least = *low, greatest = *high, top = std::exp2(bits) - 1;
  double scale = std::max((greatest - least) / top, 1e-7);
  double edge = least;
  if (std::abs(least) <= std::abs(greatest)) {
    scale = -scale;
    edge = greatest;
  }
  const double zero = std::nearbyint(edge / scale);
  return zero == 0 ? Rule{scale, 0} : Rule{edge / zero, edge};
}

TEST(Affine, FollowsTheRuleOnRandomNumbers) {
  std::mt19937 random(11);
  std::normal_distribution<float> normal;
  for (const int bits : {2, 3, 4, 5, 6, 8}) {
    for (const int group : {32, 64, 128}) {
      std::vector<float> values(static_cast<size_t>(group) * 64);
      const float shift = normal(random);
      for (float& w : values) w = normal(random) + shift;
      const Row row = affine(values, bits, group);
      for (size_t g = 0; g < 64; ++g) {
        const float* w = values.data() + g * static_cast<size_t>(group);
        const Rule rule = rule_of(w, group, bits);
        ASSERT_NEAR(row.scales[g], rule.scale, 1e-6 * std::abs(rule.scale));
        ASSERT_NEAR(row.biases[g], rule.bias, 1e-6 * std::abs(rule.bias));
        for (int i = 0; i < group; ++i) {
          const double exact =
              std::clamp((w[i] - rule.bias) / rule.scale, 0.0, std::exp2(bits) - 1);
          const double code = row.codes[g * static_cast<size_t>(group) + static_cast<size_t>(i)];
          ASSERT_LE(std::abs(code - exact), 0.5 + 1e-3);
        }
      }
    }
  }
}

TEST(Affine, OneBitIsTheLeastAndTheGreatestNumber) {
  std::vector<float> values(32, -0.75F);
  for (size_t i = 0; i < 32; i += 3) values[i] = 0.25F;
  const Row row = affine(values, 1, 32);
  EXPECT_EQ(row.bytes, (std::vector<uint8_t>{0x49, 0x92, 0x24, 0x49}));
  EXPECT_EQ(row.scales[0], 1);
  EXPECT_EQ(row.biases[0], -0.75F);
  EXPECT_EQ(row.decoded, values);
}

TEST(Affine, AllNegativeGroupsStartAtTheirLeastNumber) {
  std::vector<float> values;
  for (int i = 0; i < 32; ++i) values.push_back(-1 - static_cast<float>(i));
  const Row row = affine(values, 8, 32);
  EXPECT_GT(row.scales[0], 0);
  EXPECT_EQ(row.biases[0], -32);
  EXPECT_EQ(row.codes[31], 0);
  for (size_t i = 0; i < 32; ++i) EXPECT_NEAR(row.decoded[i], values[i], 0.501F * row.scales[0]);
}

TEST(Affine, ZerosStayZeros) {
  for (const int bits : kBits) {
    for (const ir::DType dtype : {ir::DType::f32, ir::DType::f16, ir::DType::bf16}) {
      const Row row = affine(std::vector<float>(64, 0.0F), bits, 64, dtype);
      EXPECT_TRUE(row.in_range);
      EXPECT_EQ(row.decoded, std::vector<float>(64, 0.0F)) << bits;
      EXPECT_EQ(row.codes, std::vector<uint8_t>(64, 0)) << bits;
    }
  }
}

TEST(Affine, EqualNumbersAreMetUpToTheRoundingOfTheScale) {
  for (const int bits : kBits) {
    const Row row = affine(std::vector<float>(32, 0.3F), bits, 32);
    for (const float w : row.decoded) EXPECT_NEAR(w, 0.3F, 1e-6) << bits;
  }
}

TEST(Affine, TinyNumbersTakeTheLeastScale) {
  std::vector<float> values(32, 1e-30F);
  values[1] = -1e-30F;
  const Row row = affine(values, 4, 32);
  EXPECT_EQ(row.scales[0], -1e-7F);
  EXPECT_EQ(row.biases[0], 0);
  EXPECT_EQ(row.codes, std::vector<uint8_t>(32, 0));
}

TEST(Affine, SaysWhenAScaleIsBeyondItsType) {
  std::vector<float> values(32, 65504.0F);
  values[0] = -65504.0F;
  EXPECT_TRUE(affine(values, 4, 32, ir::DType::f16).in_range);
  EXPECT_FALSE(affine(values, 1, 32, ir::DType::f16).in_range);
  EXPECT_TRUE(affine(values, 1, 32, ir::DType::bf16).in_range);
  values.assign(32, 3e38F);
  values[0] = -3e38F;
  for (const int bits : kBits) {
    EXPECT_FALSE(affine(values, bits, 32, ir::DType::f32).in_range) << bits;
    EXPECT_FALSE(affine(values, bits, 32, ir::DType::bf16).in_range) << bits;
  }
}

TEST(Ternary, IsScaleTimesMinusOneZeroOrOne) {
  std::vector<float> values(32, 0.0F);
  values[0] = 0.5F;   // half of the scale: 0
  values[1] = 0.51F;  // 1
  values[2] = -0.5F;
  values[3] = -0.51F;
  values[4] = 9;
  values[5] = -9;
  const Row row = ternary(values, 1.0F, 32);
  EXPECT_EQ(std::vector<uint8_t>(row.codes.begin(), row.codes.begin() + 7),
            (std::vector<uint8_t>{1, 2, 1, 0, 2, 0, 1}));
  EXPECT_EQ(row.scales[0], 1);
  EXPECT_EQ(row.biases[0], -1);
}

// t = -1,0,1,1,0,-1,0,0,1,-1,-1,0,1,0,1,-1 in one word.
TEST(Ternary, PacksAsMlxDoes) {
  const std::vector<float> t = {-1, 0, 1, 1, 0, -1, 0, 0, 1, -1, -1, 0, 1, 0, 1, -1};
  std::vector<float> values = t;
  values.insert(values.end(), t.begin(), t.end());
  const Row row = ternary(values, 1.0F, 32);
  EXPECT_EQ(row.bytes, (std::vector<uint8_t>{0xa4, 0x51, 0x42, 0x26, 0xa4, 0x51, 0x42, 0x26}));
  EXPECT_EQ(row.decoded, values);
}

TEST(Ternary, BiasIsTheNegativeScaleAsRounded) {
  const Row row = ternary(std::vector<float>(128, 0.1F), 0.1F, 64, ir::DType::bf16);
  EXPECT_EQ(row.scales.size(), 2U);
  for (size_t g = 0; g < 2; ++g) EXPECT_EQ(row.biases[g], -row.scales[g]);
  EXPECT_FALSE(ternary(std::vector<float>(32, 1e5F), 1e5F, 32, ir::DType::f16).in_range);
}

struct Mx {
  std::vector<uint8_t> codes;
  std::vector<uint8_t> scales;
  std::vector<float> decoded;
};

Mx mxfp4(const std::vector<float>& values) {
  Mx mx{std::vector<uint8_t>(values.size() / 2), std::vector<uint8_t>(values.size() / 32),
        std::vector<float>(values.size())};
  quantize_mxfp4(values, {mx.codes.data(), mx.scales.data(), nullptr, mx.decoded.data()});
  return mx;
}

TEST(Mxfp4, EveryCodeInOrder) {
  std::vector<float> values = {0,     0.5F,  1,  1.5F,  2,  3,  4,  6,
                               -0.0F, -0.5F, -1, -1.5F, -2, -3, -4, -6};
  values.resize(32, 0.0F);
  const Mx mx = mxfp4(values);
  EXPECT_EQ(mx.scales[0], 127);
  EXPECT_EQ(std::vector<uint8_t>(mx.codes.begin(), mx.codes.begin() + 8),
            (std::vector<uint8_t>{0x10, 0x32, 0x54, 0x76, 0x98, 0xBA, 0xDC, 0xFE}));
  EXPECT_EQ(mx.decoded, values);
}

TEST(Mxfp4, MiddlesGoToTheEvenCode) {
  std::vector<float> values = {0.25F, 0.75F, 1.25F, 1.75F, 2.5F, 3.5F, 5, 5.01F, 6};
  values.resize(32, 0.0F);
  const Mx mx = mxfp4(values);
  EXPECT_EQ(std::vector<float>(mx.decoded.begin(), mx.decoded.begin() + 9),
            (std::vector<float>{0, 1, 1, 2, 2, 4, 4, 6, 6}));
}

TEST(Mxfp4, ExponentIsRoundedNotFloored) {
  std::vector<float> values(32, 0.0F);
  const std::map<float, int> exponents = {{6, 0}, {8, 0}, {9, 1}, {12, 1}, {4.3F, 0}, {4.2F, -1}};
  for (const auto& [magnitude, exponent] : exponents) {
    values[3] = -magnitude;
    EXPECT_EQ(mxfp4(values).scales[0], 127 + exponent) << magnitude;
  }
  values[3] = 8;  // beyond 6 times the scale: what is there is the largest number
  EXPECT_EQ(mxfp4(values).decoded[3], 6);
}

TEST(Mxfp4, ZerosTinyAndHugeNumbers) {
  std::vector<float> values(96, 0.0F);
  for (size_t i = 0; i < 32; ++i) {
    values[32 + i] = 1e-44F;
    values[64 + i] = -3e38F;
  }
  const Mx mx = mxfp4(values);
  EXPECT_EQ(mx.scales[0], 0);
  EXPECT_EQ(mx.scales[1], 0);
  EXPECT_EQ(mx.decoded[0], 0);
  EXPECT_EQ(mx.decoded[32], 0);
  EXPECT_NEAR(mx.decoded[64], -3e38F, 0.5e38F);
}

TEST(Mxfp4, RandomNumbersTakeTheNearestCode) {
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  std::vector<float> values(32 * 200);
  for (float& w : values) w = normal(random);
  const Mx mx = mxfp4(values);
  for (size_t g = 0; g < 200; ++g) {
    const double scale = std::exp2(mx.scales[g] - 127.0);
    for (size_t i = g * 32; i < g * 32 + 32; ++i) {
      double best = 1e9;
      for (const double code : {0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0})
        best = std::min(best, std::abs(std::abs(values[i] / scale) - code));
      ASSERT_NEAR(std::abs(values[i] - mx.decoded[i]) / scale, best, 1e-6);
    }
  }
}

TEST(FirstNotFinite, FindsNanAndInfinity) {
  std::vector<float> values(100, 1.0F);
  EXPECT_EQ(first_not_finite(values), -1);
  values[98] = -std::numeric_limits<float>::infinity();
  EXPECT_EQ(first_not_finite(values), 98);
  values[7] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(first_not_finite(values), 7);
}

}  // namespace
}  // namespace sinter::frontends
