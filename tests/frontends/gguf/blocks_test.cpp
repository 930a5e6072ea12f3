// Blocks of GGUF tensors: numbers worked out by hand, and matrices against the plain decoders.
#include "frontends/gguf/blocks.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "ir/matrix.h"

namespace sinter::frontends {
namespace {

const GgmlType& type_named(std::string_view name) {
  for (const GgmlType& type : ggml_types())
    if (type.name == name) return type;
  ADD_FAILURE() << "no type " << name;
  return ggml_types()[0];
}

std::vector<float> decode(std::string_view name, const std::vector<uint8_t>& block) {
  const GgmlType& type = type_named(name);
  EXPECT_EQ(block.size(), type.block_bytes) << name;
  std::vector<float> out(type.block_elements);
  type.decode(block.data(), out.data());
  return out;
}

// A block of zeros with some bytes set.
struct Byte {
  int at;
  uint8_t value;
};
std::vector<uint8_t> block_of(std::string_view name, const std::vector<Byte>& bytes) {
  std::vector<uint8_t> block(type_named(name).block_bytes);
  for (const Byte& byte : bytes) block[byte.at] = byte.value;
  return block;
}

constexpr uint8_t kHigh1 = 0x3C;     // 1.0 in half precision is 00 3c
constexpr uint8_t kHigh2 = 0x40;     // 2.0
constexpr uint8_t kHighHalf = 0x38;  // 0.5

TEST(GgmlBlocks, IdsAreUniqueAndNamed) {
  std::set<uint32_t> ids;
  std::set<std::string_view> names;
  for (const GgmlType& type : ggml_types()) {
    EXPECT_TRUE(ids.insert(type.id).second) << type.name;
    EXPECT_TRUE(names.insert(type.name).second) << type.name;
    EXPECT_EQ(find_ggml_type(type.id), &type);
    EXPECT_GT(type.block_bytes, 0);
    if (type.has_format) EXPECT_NE(type.decode, nullptr) << type.name;
  }
  EXPECT_EQ(find_ggml_type(1000), nullptr);
}

TEST(GgmlBlocks, PlainNumbers) {
  EXPECT_EQ(decode("F32", {0, 0, 0xC0, 0x3F})[0], 1.5F);
  EXPECT_EQ(decode("F16", {0, 0x3E})[0], 1.5F);
  EXPECT_EQ(decode("BF16", {0xC0, 0xBF})[0], -1.5F);
}

TEST(GgmlBlocks, NibblesAreSplitHalves) {
  // d = 2; byte 3 is 0x9A: element 3 has code 10, element 19 has code 9.
  auto x = decode("Q4_0", block_of("Q4_0", {{1, kHigh2}, {2 + 3, 0x9A}}));
  EXPECT_EQ(x[3], 4);
  EXPECT_EQ(x[19], 2);
  EXPECT_EQ(x[0], -16);
  // d = 0.5, m = 1
  x = decode("Q4_1", block_of("Q4_1", {{1, kHighHalf}, {3, kHigh1}, {4 + 3, 0x9A}}));
  EXPECT_EQ(x[3], 6);
  EXPECT_EQ(x[19], 5.5F);
  EXPECT_EQ(x[0], 1);
}

TEST(GgmlBlocks, FifthBitsAreAStream) {
  // Bits 3 and 19 of qh add 16 to elements 3 and 19.
  auto x = decode("Q5_0", block_of("Q5_0", {{1, kHigh1}, {2, 8}, {4, 8}, {6 + 3, 0x9A}}));
  EXPECT_EQ(x[3], 10);
  EXPECT_EQ(x[19], 9);
  EXPECT_EQ(x[4], -16);
  x = decode("Q5_1", block_of("Q5_1", {{1, kHigh1}, {3, kHighHalf}, {6, 8}, {8 + 3, 0x9A}}));
  EXPECT_EQ(x[3], 10.5F);
  EXPECT_EQ(x[19], 25.5F);
}

TEST(GgmlBlocks, Q8IsSigned) {
  const auto x = decode("Q8_0", block_of("Q8_0", {{1, kHighHalf}, {2, 0x80}, {33, 127}}));
  EXPECT_EQ(x[0], -64);
  EXPECT_EQ(x[31], 63.5F);
}

TEST(GgmlBlocks, Q2K) {
  // Element 128 + 32 + 17 = 177: bits 2, 3 of qs[32 + 17]; scale 11: low nibble 3, high nibble 2.
  const auto x = decode(
      "Q2_K", block_of("Q2_K", {{11, 0x23}, {16 + 49, 2 << 2}, {81, kHigh2}, {83, kHighHalf}}));
  EXPECT_EQ(x[177], 2 * 3 * 2 - 0.5F * 2);
  EXPECT_EQ(x[178], -1);
  EXPECT_EQ(x[0], 0);
}

TEST(GgmlBlocks, Q3K) {
  // Element 177: bits 2, 3 of qs[49], bit 5 of hmask[17]. Scale 11: high nibble of scales[3], bits
  // 4, 5 of scales[8 + 3]; 0x2D = 45, less 32 is 13.
  const std::vector<Byte> scale = {{96 + 3, 0xD0}, {96 + 11, 2 << 4}, {109, kHigh1}};
  std::vector<Byte> bytes = scale;
  bytes.push_back({32 + 49, 3 << 2});
  EXPECT_EQ(decode("Q3_K", block_of("Q3_K", bytes))[177], 13 * (3 - 4));
  bytes.push_back({17, 1 << 5});
  EXPECT_EQ(decode("Q3_K", block_of("Q3_K", bytes))[177], 13 * 3);
  EXPECT_EQ(decode("Q3_K", block_of("Q3_K", bytes))[178], 13 * -4);
}

TEST(GgmlBlocks, Q4KAndQ5K) {
  // Sub-block 1 (elements 32..63): scale s[1] & 63 = 5, min s[5] & 63 = 3; high nibbles of qs[0..].
  // Sub-block 6 (192..223): scale = low nibble of s[10] | s[2] >> 6 << 4 = 0x1C,
  // min = high nibble of s[10] | s[6] >> 6 << 4 = 0x23.
  std::vector<Byte> bytes = {{1, kHigh1},    {3, kHighHalf},  {4 + 1, 5},     {4 + 5, 3},
                             {4 + 10, 0x3C}, {4 + 2, 1 << 6}, {4 + 6, 2 << 6}};
  auto q4 = bytes;
  q4.push_back({16 + 7, 0xB0});       // element 32 + 7
  q4.push_back({16 + 96 + 2, 0x0E});  // element 192 + 2
  auto x = decode("Q4_K", block_of("Q4_K", q4));
  EXPECT_EQ(x[39], 5 * 11 - 1.5F);
  EXPECT_EQ(x[194], 0x1C * 14 - 0.5F * 0x23);
  EXPECT_EQ(x[195], -0.5F * 0x23);
  auto q5 = bytes;
  q5.push_back({48 + 7, 0xB0});
  q5.push_back({16 + 7, 1 << 1});
  q5.push_back({48 + 96 + 2, 0x0E});
  q5.push_back({16 + 2, 1 << 6});
  x = decode("Q5_K", block_of("Q5_K", q5));
  EXPECT_EQ(x[39], 5 * 27 - 1.5F);
  EXPECT_EQ(x[194], 0x1C * 30 - 0.5F * 0x23);
}

TEST(GgmlBlocks, Q6K) {
  // Element 128 + 64 + 40 = 232: high nibble of ql[64 + 40], bits 6, 7 of qh[32 + 8], scale 14.
  const auto x = decode(
      "Q6_K", block_of("Q6_K", {{104, 0x70}, {128 + 40, 3 << 6}, {192 + 14, 0xFE}, {209, kHigh1}}));
  EXPECT_EQ(x[232], -2 * (0x37 - 32));
  EXPECT_EQ(x[233], -2 * -32);
}

TEST(GgmlBlocks, LevelsOfIq4) {
  auto x = decode("IQ4_NL", block_of("IQ4_NL", {{1, kHigh2}, {2, 0xF8}}));
  EXPECT_EQ(x[0], 2);
  EXPECT_EQ(x[16], 226);
  EXPECT_EQ(x[1], -254);
  // Scale 3: high nibble of scales_l[1], bits 6, 7 of scales_h; 0x25 = 37, less 32 is 5.
  x = decode("IQ4_XS",
             block_of("IQ4_XS", {{1, kHigh1}, {2, 2 << 6}, {5, 0x50}, {8 + 48 + 2, 0x9F}}));
  EXPECT_EQ(x[96 + 2], 5 * 113);
  EXPECT_EQ(x[96 + 18], 5 * 13);
  EXPECT_EQ(x[0], -32 * -127);
}

TEST(GgmlBlocks, Tq2HasFourPlanesPerHalf) {
  // Element 128 + 2 * 32 + 5: bits 4, 5 of qs[32 + 5].
  const auto x = decode("TQ2_0", block_of("TQ2_0", {{37, 2 << 4}, {65, kHighHalf}}));
  EXPECT_EQ(x[197], 0.5F);
  EXPECT_EQ(x[198], -0.5F);
}

TEST(GgmlBlocks, Tq1HoldsBase3Fractions) {
  // trits t0..t4 are stored as ceil(256 * 0.t0t1t2t3t4 in base 3).
  const int trits[] = {2, 0, 1, 1, 2};
  int number = 0;
  for (const int t : trits) number = number * 3 + t;
  const auto five = static_cast<uint8_t>((number * 256 + 242) / 243);
  auto x = decode("TQ1_0", block_of("TQ1_0", {{3, five}, {32 + 5, five}, {53, kHigh2}}));
  for (int n = 0; n < 5; ++n) {
    EXPECT_EQ(x[n * 32 + 3], 2 * (trits[n] - 1)) << n;
    EXPECT_EQ(x[160 + n * 16 + 5], 2 * (trits[n] - 1)) << n;
  }
  x = decode("TQ1_0", block_of("TQ1_0", {{48 + 1, five}, {53, kHigh2}}));
  for (int n = 0; n < 4; ++n) EXPECT_EQ(x[240 + n * 4 + 1], 2 * (trits[n] - 1)) << n;
}

TEST(GgmlBlocks, OneAndTwoBits) {
  auto x = decode("Q1_0", block_of("Q1_0", {{1, kHigh2}, {2 + 9, 0x10}}));
  EXPECT_EQ(x[76], 2);
  EXPECT_EQ(x[75], -2);
  x = decode("Q2_0", block_of("Q2_0", {{1, kHigh2}, {2 + 9, 0xE4}}));
  EXPECT_EQ(x[36], -2);
  EXPECT_EQ(x[37], 0);
  EXPECT_EQ(x[38], 2);
  EXPECT_EQ(x[39], 4);
}

TEST(GgmlBlocks, Mxfp4SplitsHalvesUnderAnExponent) {
  // 10 32 54 76 98 BA DC FE with exponent 127: the sixteen E2M1 values, here in both halves.
  std::vector<uint8_t> block = {127, 0x10, 0x32, 0x54, 0x76, 0x98, 0xBA, 0xDC, 0xFE};
  block.resize(17);
  auto x = decode("MXFP4", block);
  const float low[] = {0, 1, 2, 4, -0.0F, -1, -2, -4};
  const float high[] = {0.5F, 1.5F, 3, 6, -0.5F, -1.5F, -3, -6};
  for (int j = 0; j < 8; ++j) {
    EXPECT_EQ(x[j], low[j]) << j;
    EXPECT_EQ(x[16 + j], high[j]) << j;
  }
  // The least scale, 2^-127, is a denormal number.
  block[0] = 0;
  x = decode("MXFP4", block);
  EXPECT_EQ(x[1], std::ldexp(1.0F, -127));
  EXPECT_EQ(x[16], std::ldexp(1.0F, -128));
}

TEST(GgmlBlocks, Nvfp4HasAScalePerSixteen) {
  // The second of four runs: codes j and j + 8 share a byte.
  const auto block =
      block_of("NVFP4", {{0, 0x38}, {1, 0x40}, {2, 0x7F}, {4 + 8 + 3, 0xF2}, {4 + 16, 0x77}});
  const auto x = decode("NVFP4", block);
  EXPECT_EQ(x[16 + 3], 2 * 1);
  EXPECT_EQ(x[16 + 11], 2 * -6);
  EXPECT_EQ(x[32], 0);  // 0x7F is no NaN here
  EXPECT_TRUE(type_named("NVFP4").scales_are_finite(block.data()));
  EXPECT_FALSE(type_named("NVFP4").scales_are_finite(block_of("NVFP4", {{3, 0x80}}).data()));
}

TEST(GgmlBlocks, ScalesThatAreNotFiniteAreSeen) {
  struct Case {
    std::string_view name;
    std::vector<int> high_bytes;  // of the f16 scales
  };
  for (const Case& c : std::vector<Case>{{"Q4_0", {1}},
                                         {"Q4_1", {1, 3}},
                                         {"Q5_0", {1}},
                                         {"Q5_1", {1, 3}},
                                         {"Q8_0", {1}},
                                         {"Q2_K", {81, 83}},
                                         {"Q3_K", {109}},
                                         {"Q4_K", {1, 3}},
                                         {"Q5_K", {1, 3}},
                                         {"Q6_K", {209}},
                                         {"IQ4_NL", {1}},
                                         {"IQ4_XS", {1}},
                                         {"TQ1_0", {53}},
                                         {"TQ2_0", {65}},
                                         {"Q1_0", {1}},
                                         {"Q2_0", {1}}}) {
    const GgmlType& type = type_named(c.name);
    EXPECT_TRUE(type.scales_are_finite(block_of(c.name, {}).data())) << c.name;
    for (const int at : c.high_bytes) {
      EXPECT_TRUE(type.scales_are_finite(block_of(c.name, {{at, 0x7B}}).data())) << c.name;
      EXPECT_FALSE(type.scales_are_finite(block_of(c.name, {{at, 0x7C}}).data())) << c.name;
      EXPECT_FALSE(type.scales_are_finite(block_of(c.name, {{at, 0xFE}}).data())) << c.name;
    }
  }
  EXPECT_FALSE(type_named("MXFP4").scales_are_finite(block_of("MXFP4", {{0, 255}}).data()));
  EXPECT_TRUE(type_named("MXFP4").scales_are_finite(block_of("MXFP4", {{0, 254}}).data()));
}

// Random blocks: the matrix over them has the numbers of the plain decoder.
TEST(GgmlBlocks, MatricesHaveTheNumbersOfTheBlocks) {
  std::mt19937 random(7);
  int checked = 0;
  for (const GgmlType& type : ggml_types()) {
    if (!type.has_format || type.format.is_dense()) continue;
    constexpr int kRows = 4;
    constexpr int kBlocks = 3;  // per row
    std::vector<uint8_t> bytes;
    while (bytes.size() < static_cast<size_t>(kRows * kBlocks * type.block_bytes)) {
      std::vector<uint8_t> block(type.block_bytes);
      for (uint8_t& byte : block) byte = static_cast<uint8_t>(random());
      if (type.scales_are_finite(block.data()))
        bytes.insert(bytes.end(), block.begin(), block.end());
    }
    const int cols = kBlocks * type.block_elements;
    ir::Matrix matrix;
    matrix.type = {{kRows, cols}, type.format};
    matrix.codes = bytes;
    matrix.blocks = &type.blocks;
    matrix.order = type.order;
    ASSERT_TRUE(ir::is_complete(matrix)) << type.name;
    // A head of four rows whose halves are interleaved: rows 0, 1, 2, 3 are stored as 0, 2, 1, 3.
    ir::Matrix interleaved = matrix;
    interleaved.places = ir::RowPlaces::interleaved(4);
    ASSERT_TRUE(ir::is_complete(interleaved)) << type.name;
    std::vector<float> row(cols);
    std::vector<float> expected(cols);
    for (int r = 0; r < kRows; ++r) {
      for (int b = 0; b < kBlocks; ++b) {
        type.decode(bytes.data() + (r * kBlocks + b) * type.block_bytes,
                    expected.data() + b * type.block_elements);
      }
      ir::decode_row(matrix, r, row.data());
      EXPECT_EQ(row, expected) << type.name << " row " << r;
      ir::decode_row(interleaved, std::vector<int>{0, 2, 1, 3}[r], row.data());
      EXPECT_EQ(row, expected) << type.name << " interleaved row " << r;
    }
    matrix.codes = absl::MakeSpan(bytes).subspan(1);
    EXPECT_FALSE(ir::is_complete(matrix)) << type.name;
    ++checked;
  }
  EXPECT_GE(checked, 7);
}

TEST(GgmlBlocks, VectorsMayBeInterleavedToo) {
  const std::vector<float> stored = {0, 2, 1, 3, 10, 12, 11, 13};
  ir::Matrix vector;
  vector.type = {{8}, {}};
  vector.codes = {reinterpret_cast<const uint8_t*>(stored.data()), stored.size() * 4};
  vector.places = ir::RowPlaces::interleaved(4);
  ASSERT_TRUE(ir::is_complete(vector));
  std::vector<float> row(8);
  ir::decode_row(vector, 0, row.data());
  EXPECT_EQ(row, (std::vector<float>{0, 1, 2, 3, 10, 11, 12, 13}));
}

}  // namespace
}  // namespace sinter::frontends
