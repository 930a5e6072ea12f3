#include "ir/type.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>

#include "ir/verifier.h"

namespace sinter::ir {
namespace {

TEST(Type, PrintsShapesWithSymbols) {
  EXPECT_EQ(to_string(TensorType{DType::i32, {Dim::of('T')}}), "tensor<Txi32>");
  EXPECT_EQ(to_string(TensorType{DType::bf16, {2, Dim::of('C'), 64}}), "tensor<2xCx64xbf16>");
}

TEST(Type, PrintsEveryWeightFormat) {
  EXPECT_EQ(to_string(WeightType{{256}, {.scale_type = DType::f16}}), "weight<256, f16>");
  EXPECT_EQ(
      to_string(WeightType{
          {4, 8}, {.map = CodeMap::affine, .bits = 4, .group = 8, .scale_type = DType::bf16}}),
      "weight<4x8, affine b4 g8 bf16>");
  EXPECT_EQ(to_string(WeightType{{4, 8},
                                 {.map = CodeMap::symmetric,
                                  .bits = 1,
                                  .group = 8,
                                  .zero = 0.5,
                                  .scale_type = DType::f16}}),
            "weight<4x8, symmetric b1 z0.5 g8 f16>");
  EXPECT_EQ(to_string(WeightType{{4, 8}, {CodeMap::ternary, 2, 8, 0, DType::f32}}),
            "weight<4x8, ternary b2 g8 f32>");
}

TEST(Type, CountsBitsOfScalesAndBiases) {
  EXPECT_DOUBLE_EQ((WeightFormat{CodeMap::affine, 1, 128, 0, DType::f16}).bits_per_weight(), 1.25);
  EXPECT_DOUBLE_EQ((WeightFormat{CodeMap::symmetric, 1, 128, 0.5, DType::f16}).bits_per_weight(),
                   1.125);
  EXPECT_DOUBLE_EQ((WeightFormat{.scale_type = DType::bf16}).bits_per_weight(), 16);
}

TEST(Type, PacksEachRowToWholeBytes) {
  // 3 rows of 5 three-bit codes are 2 bytes each; one scale (and one bias) of 2 bytes per row.
  EXPECT_EQ((WeightType{{3, 5}, {CodeMap::symmetric, 3, 5, 4, DType::f16}}).packed_bytes(), 12);
  EXPECT_EQ((WeightType{{3, 5}, {CodeMap::affine, 3, 5, 0, DType::f16}}).packed_bytes(), 18);
  EXPECT_EQ((WeightType{{3, 5}, {.scale_type = DType::f32}}).packed_bytes(), 60);
}

// Kernels multiply levels less the lowest one as unsigned integers.
TEST(Type, TablesOfLevelsFitTheirCodes) {
  for (const CodeMapInfo& row : kCodeMaps) {
    if (row.levels.empty()) continue;
    EXPECT_EQ(row.levels.size(), size_t{1} << row.bits) << row.name;
    const auto [lowest, highest] = std::ranges::minmax(row.levels);
    if (row.level_bits > 0)
      EXPECT_EQ(static_cast<int>(std::bit_width(static_cast<unsigned>(highest - lowest))),
                row.level_bits)
          << row.name;
  }
  EXPECT_EQ((WeightFormat{CodeMap::fp4, 4}).unsigned_zero_point(), 6);
  EXPECT_EQ((WeightFormat{CodeMap::iq4, 4}).unsigned_zero_point(), 127);
  EXPECT_EQ((WeightFormat{CodeMap::sign, 1}).unsigned_zero_point(), 1);
  EXPECT_EQ((WeightFormat{CodeMap::ternary, 2}).unsigned_zero_point(), 1);
  EXPECT_EQ((WeightFormat{CodeMap::symmetric, 4, 8, 7.5}).unsigned_zero_point(), 7.5);
  EXPECT_EQ((WeightFormat{CodeMap::fp4, 4}).level_bits(), 5);
  EXPECT_EQ((WeightFormat{CodeMap::affine, 3}).level_bits(), 3);
}

TEST(Type, RefusesTypesThatMakeNoSense) {
  EXPECT_TRUE(verify_type(WeightType{{4, 8}, {CodeMap::affine, 8, 8, 0, DType::f32}}).ok());
  EXPECT_FALSE(verify_type(WeightType{{4, 8}, {CodeMap::affine, 9, 8, 0, DType::f32}}).ok());
  EXPECT_FALSE(verify_type(WeightType{{4, 8}, {CodeMap::affine, 0, 8, 0, DType::f32}}).ok());
  EXPECT_FALSE(verify_type(WeightType{{4, 8}, {CodeMap::affine, 4, 3, 0, DType::f32}}).ok());
  EXPECT_FALSE(verify_type(WeightType{{4, 8}, {CodeMap::affine, 4, 0, 0, DType::f32}}).ok());
  EXPECT_FALSE(verify_type(WeightType{{4, 8}, {CodeMap::affine, 4, 8, 1, DType::f32}}).ok());
  EXPECT_FALSE(verify_type(WeightType{{4, 8}, {CodeMap::affine, 4, 8, 0, DType::i32}}).ok());
  EXPECT_FALSE(verify_type(WeightType{{4, 8}, {CodeMap::symmetric, 4, 8, 0.25, DType::f32}}).ok());
  EXPECT_FALSE(verify_type(WeightType{{4, 8}, {CodeMap::symmetric, 4, 8, -1, DType::f32}}).ok());
  EXPECT_FALSE(verify_type(WeightType{{4, 8}, {CodeMap::ternary, 1, 8, 0, DType::f32}}).ok());
  EXPECT_FALSE(verify_type(WeightType{{2, 2, 4, 8}, {}}).ok());
  EXPECT_FALSE(verify_type(WeightType{{}, {}}).ok());
  EXPECT_FALSE(verify_type(WeightType{{0, 8}, {}}).ok());
  EXPECT_FALSE(verify_type(WeightType{{int64_t{1} << 40, int64_t{1} << 40}, {}}).ok());
  EXPECT_FALSE(verify_type(TensorType{DType::f32, {}}).ok());
  EXPECT_FALSE(verify_type(TensorType{DType::f32, {-1}}).ok());
  EXPECT_FALSE(verify_type(TensorType{DType::f32, {Dim::of('Q')}}).ok());
}

}  // namespace
}  // namespace sinter::ir
