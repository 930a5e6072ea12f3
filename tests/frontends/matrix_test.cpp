// The host decoder against vectors worked by hand from the format's rules.
#include "ir/matrix.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

namespace sinter::ir {
namespace {

absl::Span<const uint8_t> bytes_of(const std::vector<uint32_t>& words) {
  return {reinterpret_cast<const uint8_t*>(words.data()), words.size() * 4};
}
absl::Span<const uint8_t> bytes_of(const std::vector<float>& values) {
  return {reinterpret_cast<const uint8_t*>(values.data()), values.size() * 4};
}

Matrix packed(const std::vector<uint32_t>& words, int64_t rows, int64_t cols, int bits, int group) {
  Matrix matrix;
  matrix.type.shape = {rows, cols};
  matrix.type.format = {CodeMap::affine, bits, group, 0, DType::f32};
  matrix.codes = bytes_of(words);
  return matrix;
}

struct WordVector {
  int bits;
  std::vector<uint32_t> words;  // codes i mod 2^bits, i = 0..31
};

class DecodeCodes : public testing::TestWithParam<WordVector> {};

TEST_P(DecodeCodes, ReadsOneLittleEndianBitStream) {
  const auto& [bits, words] = GetParam();
  const Matrix matrix = packed(words, 1, 32, bits, 32);
  std::vector<uint8_t> codes(32);
  decode_codes(matrix, 0, codes.data());
  for (int i = 0; i < 32; ++i) EXPECT_EQ(codes[i], i % (1 << bits)) << "code " << i;
}

TEST_P(DecodeCodes, FindsTheSecondRow) {
  const auto& [bits, words] = GetParam();
  std::vector<uint32_t> two_rows(words.size(), 0xFFFFFFFF);
  two_rows.insert(two_rows.end(), words.begin(), words.end());
  const Matrix matrix = packed(two_rows, 2, 32, bits, 32);
  std::vector<uint8_t> codes(32);
  decode_codes(matrix, 1, codes.data());
  for (int i = 0; i < 32; ++i) EXPECT_EQ(codes[i], i % (1 << bits)) << "code " << i;
  decode_codes(matrix, 0, codes.data());
  EXPECT_EQ(codes, std::vector<uint8_t>(32, static_cast<uint8_t>((1 << bits) - 1)));
}

INSTANTIATE_TEST_SUITE_P(
    EveryWidth, DecodeCodes,
    testing::Values(
        WordVector{1, {0xaaaaaaaa}}, WordVector{2, {0xe4e4e4e4, 0xe4e4e4e4}},
        WordVector{3, {0x88fac688, 0xc688fac6, 0xfac688fa}},
        WordVector{4, {0x76543210, 0xfedcba98, 0x76543210, 0xfedcba98}},
        WordVector{5, {0x8a418820, 0xc5a92839, 0xca307b9a, 0x38bdab49, 0xffbbcdeb}},
        WordVector{6, {0x440c2040, 0xa2481c61, 0x3ce34c2c, 0x544d2450, 0xa6585d65, 0x7de75c6d}},
        WordVector{8,
                   {0x03020100, 0x07060504, 0x0b0a0908, 0x0f0e0d0c, 0x13121110, 0x17161514,
                    0x1b1a1918, 0x1f1e1d1c}}),
    [](const auto& width) { return "b" + std::to_string(width.param.bits); });

TEST(DecodeRow, OneBitSymmetricCodesAreMinusAndPlusTheScale) {
  // Bits set where i % 3 == 0; scale 2s, bias -s with s = 0.02.
  const std::vector<uint32_t> words = {0x49249249};
  const std::vector<float> scales = {0.04F};
  const std::vector<float> biases = {-0.02F};
  Matrix matrix = packed(words, 1, 32, 1, 32);
  matrix.scales = bytes_of(scales);
  matrix.biases = bytes_of(biases);
  std::vector<float> row(32);
  decode_row(matrix, 0, row.data());
  for (int i = 0; i < 32; ++i) EXPECT_EQ(row[i], i % 3 == 0 ? 0.02F : -0.02F) << i;
}

TEST(DecodeRow, TernaryCodes) {
  const std::vector<uint32_t> words = {0x264251a4};
  const float expected[] = {-1, 0, 1, 1, 0, -1, 0, 0, 1, -1, -1, 0, 1, 0, 1, -1};
  Matrix matrix = packed(words, 1, 16, 2, 16);
  matrix.type.format.map = CodeMap::ternary;
  const std::vector<float> scales = {0.5F};
  matrix.scales = bytes_of(scales);
  std::vector<float> row(16);
  decode_row(matrix, 0, row.data());
  for (int i = 0; i < 16; ++i) EXPECT_EQ(row[i], 0.5F * expected[i]) << i;

  // The same numbers as the affine format stores them: bias == -scale.
  matrix.type.format.map = CodeMap::affine;
  const std::vector<float> biases = {-0.5F};
  matrix.biases = bytes_of(biases);
  decode_row(matrix, 0, row.data());
  for (int i = 0; i < 16; ++i) EXPECT_EQ(row[i], 0.5F * expected[i]) << i;
}

TEST(DecodeRow, NegativeScaleWithTheMaximumAsBias) {
  // (i - 8) / 8 quantized to 4 bits.
  const int codes[] = {15, 14, 14, 13, 13, 12, 12, 11, 11, 11, 10, 10, 9, 9, 8, 8,
                       7,  7,  6,  6,  5,  5,  4,  4,  3,  3,  2,  2,  1, 1, 0, 0};
  std::vector<uint32_t> words(4);
  for (int i = 0; i < 32; ++i) words[i / 8] |= static_cast<uint32_t>(codes[i]) << (i % 8 * 4);
  const std::vector<float> scales = {-0.26136364F};
  const std::vector<float> biases = {2.875F};
  Matrix matrix = packed(words, 1, 32, 4, 32);
  matrix.scales = bytes_of(scales);
  matrix.biases = bytes_of(biases);
  std::vector<float> row(32);
  decode_row(matrix, 0, row.data());
  for (int i = 0; i < 32; ++i) {
    EXPECT_NEAR(row[i], (i - 8) / 8.0, 0.26136364 / 2 + 1e-6) << i;
  }
  EXPECT_FLOAT_EQ(row[0], 2.875F - 15 * 0.26136364F);
  EXPECT_EQ(row[31], 2.875F);
}

TEST(DecodeRow, TakesScaleAndBiasOfTheColumnsGroupAndRow) {
  // Two rows of two groups; b2 codes 0..3; the first row is the worked example {-1, -.5, 0, .5}.
  const std::vector<uint32_t> words(8, 0xe4e4e4e4);
  const std::vector<float> scales = {0.5F, 1, 2, 3};
  const std::vector<float> biases = {-1, 10, 20, 30};
  Matrix matrix = packed(words, 2, 64, 2, 32);
  matrix.scales = bytes_of(scales);
  matrix.biases = bytes_of(biases);
  std::vector<float> row(64);
  for (int r = 0; r < 2; ++r) {
    decode_row(matrix, r, row.data());
    for (int c = 0; c < 64; ++c) {
      const int g = r * 2 + c / 32;
      EXPECT_EQ(row[c], scales[g] * static_cast<float>(c % 4) + biases[g]) << r << "," << c;
    }
  }
}

TEST(DecodeRow, SymmetricSubtractsTheZeroPoint) {
  const std::vector<uint32_t> words = {0xaaaaaaaa};
  const std::vector<float> scales = {4};
  Matrix matrix = packed(words, 1, 32, 1, 32);
  matrix.type.format.map = CodeMap::symmetric;
  matrix.type.format.zero = 0.5;
  matrix.scales = bytes_of(scales);
  std::vector<float> row(32);
  decode_row(matrix, 0, row.data());
  for (int i = 0; i < 32; ++i) EXPECT_EQ(row[i], i % 2 == 1 ? 2 : -2) << i;
}

TEST(DecodeRow, DenseRowsOfEveryType) {
  const uint16_t halves[] = {0x3C00, 0xC000, 0x3800, 0x0001};  // 1, -2, 0.5, 2^-24
  const uint16_t brain[] = {0x3F80, 0xC000, 0x3F00, 0x7F7F};   // 1, -2, 0.5, largest
  const float single[] = {1, -2, 0.5F, 1e-40F};
  Matrix matrix;
  matrix.type.shape = {2, 2};
  float row[2];
  const auto expect_row = [&](const void* data, size_t size, DType dtype, float a, float b) {
    matrix.type.format.scale_type = dtype;
    matrix.codes = {static_cast<const uint8_t*>(data), size};
    decode_row(matrix, 1, row);
    EXPECT_EQ(row[0], a);
    EXPECT_EQ(row[1], b);
  };
  expect_row(halves, sizeof(halves), DType::f16, 0.5F, std::ldexp(1.0F, -24));
  expect_row(brain, sizeof(brain), DType::bf16, 0.5F, 3.3895314e38F);
  expect_row(single, sizeof(single), DType::f32, 0.5F, 1e-40F);
}

TEST(ReadElement, HalfPrecisionSpecialValues) {
  const uint16_t halves[] = {0x7C00, 0xFC00, 0x7E00, 0x8000, 0x7BFF, 0x03FF, 0x0400};
  const auto* bytes = reinterpret_cast<const uint8_t*>(halves);
  EXPECT_EQ(read_element(DType::f16, bytes, 0), INFINITY);
  EXPECT_EQ(read_element(DType::f16, bytes, 1), -INFINITY);
  EXPECT_TRUE(std::isnan(read_element(DType::f16, bytes, 2)));
  EXPECT_TRUE(std::signbit(read_element(DType::f16, bytes, 3)));
  EXPECT_EQ(read_element(DType::f16, bytes, 4), 65504);
  EXPECT_EQ(read_element(DType::f16, bytes, 5), std::ldexp(1023.0F, -24));
  EXPECT_EQ(read_element(DType::f16, bytes, 6), std::ldexp(1.0F, -14));
}

TEST(ReadElement, ReadsFromUnalignedBytes) {
  uint8_t bytes[9] = {};
  const int32_t value = -7;
  std::memcpy(bytes + 1 + 4, &value, 4);
  EXPECT_EQ(read_element(DType::i32, bytes + 1, 1), -7);
}

}  // namespace
}  // namespace sinter::ir
