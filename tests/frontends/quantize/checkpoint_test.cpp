// Matrices of a checkpoint, quantized on demand, and the form in which MLX stores matrices.
#include "frontends/quantize/checkpoint.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "frontends/open/open_checkpoint.h"
#include "frontends/quantize/mlx_form.h"
#include "frontends/rounding/quantizers.h"
#include "tests/frontends/test_files.h"

namespace sinter::frontends {
namespace {

std::vector<float> normal_numbers(size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 0.02F);
  std::vector<float> values(count);
  for (float& w : values) w = normal(random);
  return values;
}

class OneMatrix {
 public:
  explicit OneMatrix(const std::vector<float>& values) {
    folder_.write("config.json", "{}");
    folder_.write("model.safetensors",
                  safetensors_bytes({f32_tensor("m.up_proj.weight", {300, 256}, values),
                                     f32_tensor("m.norm.weight", {4}, {1, 2, 3, 4})}));
    auto opened = open_checkpoint(folder_.path());
    EXPECT_TRUE(opened.ok()) << opened.status();
    source_ = *std::move(opened);
  }
  QuantizedCheckpoint quantized(const std::string& text) const {
    const auto rule = parse_quantize_rule(text);
    auto choice = choose_quantization(*source_, {*rule});
    EXPECT_TRUE(choice.ok()) << choice.status();
    return {*source_, *std::move(choice)};
  }
  const Checkpoint& source() const { return *source_; }

 private:
  TempDir folder_;
  std::unique_ptr<Checkpoint> source_;
};

TEST(QuantizedCheckpoint, GivesPackedMatricesAndTheirError) {
  const std::vector<float> values = normal_numbers(300 * 256, 1);
  const OneMatrix file(values);
  const QuantizedCheckpoint checkpoint = file.quantized("affine:4:64");
  const ir::WeightFormat format{ir::CodeMap::affine, 4, 64, 0, ir::DType::f32};
  // The type is known before anything is computed.
  ASSERT_TRUE(checkpoint.type("m.up_proj").ok());
  EXPECT_EQ(checkpoint.type("m.up_proj")->format, format);
  EXPECT_TRUE(checkpoint.errors().empty());

  const auto matrix = checkpoint.matrix("m.up_proj");
  ASSERT_TRUE(matrix.ok()) << matrix.status();
  EXPECT_EQ(matrix->type.format, format);
  EXPECT_TRUE(ir::is_complete(*matrix));
  double error = 0, norm = 0;
  std::vector<float> row(256);
  for (int64_t r = 0; r < 300; ++r) {
    ir::decode_row(*matrix, r, row.data());
    for (size_t c = 0; c < 256; ++c) {
      const double w = values[static_cast<size_t>(r) * 256 + c];
      error += (w - row[c]) * (w - row[c]);
      norm += w * w;
    }
  }
  ASSERT_EQ(checkpoint.errors().size(), 1U);
  const QuantizationError reported = checkpoint.errors()[0];
  EXPECT_EQ(reported.layer, "up_proj");
  EXPECT_EQ(reported.matrices, 1);
  EXPECT_EQ(reported.parameters, 300 * 256);
  EXPECT_NEAR(reported.relative(), std::sqrt(error / norm), 1e-9);
  EXPECT_GT(reported.relative(), 0.05);
  EXPECT_LT(reported.relative(), 0.15);

  // Asked again, also after `release`, it is the same and was not quantized again.
  checkpoint.release("m.up_proj");
  EXPECT_EQ(checkpoint.matrix("m.up_proj")->codes.data(), matrix->codes.data());
  EXPECT_EQ(checkpoint.errors()[0].matrices, 1);
  EXPECT_EQ(checkpoint.matrix("m.norm")->type.format.map, ir::CodeMap::dense);
}

TEST(QuantizedCheckpoint, TernaryHasTheMeanOfAllMagnitudesAsScale) {
  std::vector<float> values = normal_numbers(300 * 256, 2);
  const OneMatrix file(values);
  const QuantizedCheckpoint checkpoint = file.quantized("ternary");
  double mean = 0;
  for (const float w : values) mean += std::fabs(w);
  mean /= static_cast<double>(values.size());
  const auto matrix = checkpoint.matrix("m.up_proj");
  ASSERT_TRUE(matrix.ok()) << matrix.status();
  EXPECT_EQ(matrix->type.format.group, 128);
  for (int64_t i = 0; i < 300 * 2; ++i) {
    EXPECT_EQ(ir::read_element(ir::DType::f32, matrix->scales.data(), i), static_cast<float>(mean));
    EXPECT_EQ(ir::read_element(ir::DType::f32, matrix->biases.data(), i),
              -static_cast<float>(mean));
  }
  std::vector<uint8_t> codes(256);
  for (int64_t r = 0; r < 300; ++r) {
    ir::decode_codes(*matrix, r, codes.data());
    for (size_t c = 0; c < 256; ++c) {
      const double t = std::nearbyint(values[static_cast<size_t>(r) * 256 + c] / mean);
      ASSERT_EQ(codes[c], std::clamp(t, -1.0, 1.0) + 1);
    }
  }
}

TEST(QuantizedCheckpoint, TernaryOfZerosHasTheLeastScale) {
  const OneMatrix file(std::vector<float>(300 * 256, 0.0F));
  const QuantizedCheckpoint checkpoint = file.quantized("ternary");
  const auto matrix = checkpoint.matrix("m.up_proj");
  ASSERT_TRUE(matrix.ok()) << matrix.status();
  EXPECT_EQ(ir::read_element(ir::DType::f32, matrix->scales.data(), 0), 1e-5F);
  EXPECT_EQ(checkpoint.errors()[0].relative(), 0);
}

TEST(QuantizedCheckpoint, RefusesNumbersThatAreNotFinite) {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    std::vector<float> values = normal_numbers(300 * 256, 3);
    values[299 * 256 + 17] = bad;
    const OneMatrix file(values);
    for (const char* rule : {"affine:8:32", "ternary"}) {
      const QuantizedCheckpoint checkpoint = file.quantized(rule);
      expect_error(checkpoint.matrix("m.up_proj"), {"m.up_proj", "row 299, column 17", "finite"});
      EXPECT_TRUE(checkpoint.errors().empty());
    }
  }
}

TEST(QuantizedCheckpoint, RefusesNumbersBeyondTheScale) {
  std::vector<float> values(300 * 256, 3e38F);
  values[5 * 256] = -3e38F;
  const OneMatrix file(values);
  expect_error(file.quantized("affine:2:32").matrix("m.up_proj"), {"m.up_proj", "row 5", "f32"});
}

TEST(QuantizedCheckpoint, Mxfp4HasOneByteOfScalePerGroup) {
  const OneMatrix file(normal_numbers(300 * 256, 6));
  const QuantizedCheckpoint checkpoint = file.quantized("mxfp4");
  const auto matrix = checkpoint.matrix("m.up_proj");
  ASSERT_TRUE(matrix.ok()) << matrix.status();
  EXPECT_EQ(ir::to_string(matrix->type.format), "fp4 g32 e8m0");
  EXPECT_EQ(matrix->scales.size(), 300U * 8U);
  EXPECT_TRUE(matrix->biases.empty());
  EXPECT_TRUE(ir::is_complete(*matrix));
  EXPECT_GT(checkpoint.errors()[0].relative(), 0.05);
  EXPECT_LT(checkpoint.errors()[0].relative(), 0.2);
  const auto again = to_mlx_form("m.up_proj", *matrix);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(absl::MakeConstSpan(again->codes), matrix->codes);
  EXPECT_EQ(absl::MakeConstSpan(again->scales), matrix->scales);
}

// Blocks of 32 columns: a scale, then nibbles k and k + 16 in a byte.
constexpr ir::BlockLayout kBlocks{
    .cols = 32, .bytes = 18, .fields = {{{.offset = 2, .bits = 4, .lanes = 16}}}};

TEST(MlxForm, HoldsWhatABlockFormatSays) {
  constexpr int64_t kRows = 8, kCols = 64;
  std::mt19937 random(4);
  std::vector<uint8_t> blocks(kRows * 2 * 18);
  for (uint8_t& byte : blocks) byte = static_cast<uint8_t>(random());
  for (int64_t b = 0; b < kRows * 2; ++b)
    write_element(ir::DType::f16, 0.01F * static_cast<float>(b + 1), blocks.data() + b * 18, 0);
  ir::Matrix matrix;
  matrix.type = {{kRows, kCols}, {ir::CodeMap::symmetric, 4, 32, 8, ir::DType::f16}};
  matrix.codes = blocks;
  matrix.blocks = &kBlocks;
  matrix.places = ir::RowPlaces::interleaved(4);
  const auto packed = to_mlx_form("m", matrix);
  ASSERT_TRUE(packed.ok()) << packed.status();
  EXPECT_EQ(packed->type.format, (ir::WeightFormat{ir::CodeMap::affine, 4, 32, 0, ir::DType::f16}));
  std::vector<float> expected(kCols), found(kCols);
  for (int64_t row = 0; row < kRows; ++row) {
    ir::decode_row(matrix, row, expected.data());
    ir::decode_row(packed->view(), row, found.data());
    for (size_t c = 0; c < kCols; ++c) ASSERT_FLOAT_EQ(found[c], expected[c]);
  }
}

// Every map that is scale times code plus something, with one scale for the matrix.
TEST(MlxForm, OneScaleOfTheMatrixAndBitsAsSigns) {
  std::vector<uint8_t> codes(2 * 64 / 4, 0x24);  // 0, 1, 2, 0, ...
  ir::Matrix matrix;
  matrix.type = {{2, 64}, {.map = ir::CodeMap::ternary, .bits = 2, .tensor_scale = true}};
  matrix.codes = codes;
  matrix.tensor_scale = 0.3F;
  const auto ternary = to_mlx_form("m", matrix);
  ASSERT_TRUE(ternary.ok()) << ternary.status();
  std::vector<float> expected(64), found(64);
  ir::decode_row(matrix, 1, expected.data());
  ir::decode_row(ternary->view(), 1, found.data());
  EXPECT_EQ(found, expected);

  std::vector<uint8_t> scales(8);
  for (int64_t i = 0; i < 4; ++i)
    write_element(ir::DType::f16, 0.01F * static_cast<float>(i + 1), scales.data(), i);
  matrix = {};
  matrix.type = {{2, 64}, {ir::CodeMap::sign, 1, 32, 0, ir::DType::f16}};
  matrix.codes = codes;
  matrix.scales = scales;
  const auto sign = to_mlx_form("m", matrix);
  ASSERT_TRUE(sign.ok()) << sign.status();
  ir::decode_row(matrix, 1, expected.data());
  ir::decode_row(sign->view(), 1, found.data());
  EXPECT_EQ(found, expected);
}

TEST(MlxForm, RefusesABiasThatIsNotExact) {
  std::vector<uint8_t> blocks(18);
  write_element(ir::DType::f16, 60000.0F, blocks.data(), 0);
  ir::Matrix matrix;
  matrix.type = {{1, 32}, {ir::CodeMap::symmetric, 4, 32, 8, ir::DType::f16}};
  matrix.codes = blocks;
  matrix.blocks = &kBlocks;
  expect_error(to_mlx_form("m.q_proj", matrix), {"m.q_proj", "bias", "f16"});
}

TEST(MlxForm, LongGroupsBecomeSeveralAndShortOnesHaveNone) {
  const auto form = [](int64_t cols, const ir::WeightFormat& format, float tensor_scale = 1) {
    ir::Matrix matrix;
    matrix.type = {{4, cols}, format};
    matrix.tensor_scale = tensor_scale;
    return mlx_format(matrix);
  };
  EXPECT_EQ(form(512, {ir::CodeMap::ternary, 2, 256, 0, ir::DType::bf16})->group, 128);
  EXPECT_FALSE(form(512, {ir::CodeMap::symmetric, 6, 16, 32, ir::DType::f16}).has_value());
  EXPECT_EQ(form(192, {ir::CodeMap::affine, 4, 96, 0, ir::DType::f16})->group, 32);
  // One scale for the whole matrix; as 16 bits when that is exact.
  const ir::WeightFormat whole{.map = ir::CodeMap::ternary, .bits = 2, .tensor_scale = true};
  EXPECT_EQ(form(192, whole, 0.75F)->scale_type, ir::DType::bf16);
  EXPECT_EQ(form(192, whole, 0.3F)->scale_type, ir::DType::f32);
  EXPECT_EQ(form(192, whole, 0.3F)->group, 64);
  // Two levels of scales, a table of levels.
  EXPECT_FALSE(form(512, {.map = ir::CodeMap::affine,
                          .bits = 4,
                          .group = 32,
                          .scale_type = ir::DType::f16,
                          .block = 256,
                          .sub_bits = 6})
                   .has_value());
  EXPECT_FALSE(form(512, {ir::CodeMap::iq4, 4, 32, 0, ir::DType::f16}).has_value());
  EXPECT_EQ(mlx_mode(*form(64, {ir::CodeMap::fp4, 4, 32, 0, ir::DType::e8m0})), "mxfp4");
  EXPECT_EQ(mlx_mode(*form(64, {ir::CodeMap::fp4, 4, 16, 0, ir::DType::e4m3})), "nvfp4");
  EXPECT_EQ(mlx_mode(*form(64, {ir::CodeMap::fp8, 8, 32, 0, ir::DType::e8m0})), "mxfp8");
}

}  // namespace
}  // namespace sinter::frontends
