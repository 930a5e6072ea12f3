// BitNet checkpoints made here: planes of packed codes, both senses of the scale, master weights.
#include "frontends/quantized/bitnet.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "frontends/open/open_checkpoint.h"
#include "tests/frontends/test_files.h"

namespace sinter::frontends {
namespace {

constexpr const char* kModule = "model.layers.0.mlp.up_proj";
constexpr const char* kWeight = "model.layers.0.mlp.up_proj.weight";
constexpr const char* kScale = "model.layers.0.mlp.up_proj.weight_scale";

class BitnetTest : public testing::Test {
 protected:
  BitnetTest() {
    config_["quantization_config"] = {{"quant_method", "bitnet"}};
    // Hugging Face's own example.
    tensors_ = {{kWeight, "U8", {2, 2}, std::string("\xa1\x18\x90\x0a", 4)},
                f32_tensor(kScale, {1}, {4})};
  }
  absl::StatusOr<std::unique_ptr<Checkpoint>> open() {
    dir_.write("config.json", config_.dump());
    dir_.write("model.safetensors", safetensors_bytes(tensors_));
    return open_checkpoint(dir_.path());
  }
  // All numbers of the module; none when it does not open.
  std::vector<float> numbers() {
    const auto checkpoint = open();
    EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
    if (!checkpoint.ok()) return {};
    return numbers(**checkpoint);
  }
  static std::vector<float> numbers(const Checkpoint& checkpoint) {
    const auto matrix = checkpoint.matrix(kModule);
    EXPECT_TRUE(matrix.ok()) << matrix.status();
    if (!matrix.ok()) return {};
    std::vector<float> out(static_cast<size_t>(matrix->type.elements()));
    for (int64_t r = 0; r < matrix->type.rows(); ++r)
      ir::decode_row(*matrix, r, out.data() + r * matrix->type.cols());
    return out;
  }
  Json& block() { return config_["quantization_config"]; }
  TempDir dir_;
  Json config_ = Json::object();
  std::vector<TestTensor> tensors_;
};

std::vector<float> scaled(std::vector<float> numbers, float scale) {
  for (float& number : numbers) number *= scale;
  return numbers;
}

const std::vector<float> kTernary = {0, -1, -1, 1, -1, 1, -1, 1, 1, 0, 0, -1, 1, -1, 1, -1};

TEST_F(BitnetTest, PlanesOfRowsFollowOneAnother) {
  EXPECT_EQ(numbers(), scaled(kTernary, 0.25F));
  const auto checkpoint = open();
  ASSERT_TRUE(checkpoint.ok());
  const ir::WeightFormat format = (*checkpoint)->matrix(kModule)->type.format;
  EXPECT_EQ(ir::to_string(format), "ternary b2 tensor");
}

TEST_F(BitnetTest, TheLinearClassSaysWhetherTheScaleMultiplies) {
  block()["linear_class"] = "autobitlinear";
  EXPECT_EQ(numbers(), scaled(kTernary, 4));
  block()["linear_class"] = "bitlinear";
  EXPECT_EQ(numbers(), scaled(kTernary, 0.25F));
  block()["linear_class"] = "linear";
  expect_error(open(),
               {"config.json: \"quantization_config.linear_class\" is \"linear\", supported "
                "are bitlinear, autobitlinear"});
}

TEST_F(BitnetTest, RowsThatFillTheLastByteAreDropped) {
  const auto checkpoint = open();
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  (*checkpoint)->drop_padding(kModule, 4);  // more than any padding
  EXPECT_EQ((*checkpoint)->matrix(kModule)->type.rows(), 8);
  (*checkpoint)->drop_padding(kModule, 5);
  EXPECT_EQ((*checkpoint)->matrix(kModule)->type.rows(), 5);
  std::vector<float> expected = scaled(kTernary, 0.25F);
  expected.resize(10);
  EXPECT_EQ(numbers(**checkpoint), expected);
}

TEST_F(BitnetTest, CodesAndScalesThatAreNoNumbersAreRefused) {
  tensors_[0].bytes[2] = '\x0c';
  expect_error(open(), {"model.safetensors: tensor", kWeight, "byte 0x0c at [1, 0]", "the code 3"});
  tensors_[0].bytes[2] = '\x90';
  for (const float bad : {NAN, INFINITY, 0.0F}) {
    tensors_[1] = f32_tensor(kScale, {1}, {bad});
    expect_error(open(), {"model.safetensors: tensor", kScale, "a scale must be finite and not 0"});
  }
  tensors_[1] = f32_tensor(kScale, {1}, {1e-40F});
  expect_error(open(), {"model.safetensors: tensor", kScale, "too small to divide by"});
  tensors_[1] = f32_tensor(kScale, {2}, {1, 1});
  expect_error(open(), {kScale, "is F32 [2], expected one number"});
  tensors_.pop_back();
  expect_error(open(), {"model.safetensors: tensor", kScale, "is missing", kWeight});
}

TEST_F(BitnetTest, WhatTheConfigurationSaysIsChecked) {
  block()["modules_to_not_convert"] = {"lm_head", "up_proj"};
  expect_error(open(), {"model.safetensors: tensor", kWeight,
                        "\"quantization_config.modules_to_not_convert\" lists it"});
  block()["modules_to_not_convert"] = {"lm_head"};
  EXPECT_TRUE(open().ok());
  block()["use_rms_norm"] = true;
  expect_error(open(), {"\"quantization_config.use_rms_norm\" is true", "not supported"});
  block()["use_rms_norm"] = false;
  block()["quantization_mode"] = "both";
  expect_error(open(), {"\"quantization_config.quantization_mode\" is \"both\""});
  block()["quantization_mode"] = "offline";
  tensors_[0] = f32_tensor(kWeight, {2, 2}, {1, 2, 3, 4});
  expect_error(open(),
               {"model.safetensors: tensor", kWeight, "is F32 [2, 2], expected U8", kScale});
}

TEST_F(BitnetTest, MasterWeightsBecomeTernaryWhenTheyAreRead) {
  block()["quantization_mode"] = "online";
  // The mean of the absolute values is 1; halves go to even.
  const std::vector<float> master = {0.5F, -0.5F, 0.75F, -2.5F, 1.5F, 0.25F, 0.0F, -2.0F};
  tensors_ = {f32_tensor(kWeight, {2, 4}, master),
              f32_tensor("model.embed_tokens.weight", {2, 4}, master),
              f32_tensor("lm_head.weight", {2, 4}, master)};
  EXPECT_EQ(numbers(), (std::vector<float>{0, 0, 1, -1, 1, 0, 0, -1}));
  const auto checkpoint = open();
  ASSERT_TRUE(checkpoint.ok());
  EXPECT_TRUE((*checkpoint)->matrix("model.embed_tokens")->type.format.is_dense());
  EXPECT_TRUE((*checkpoint)->matrix("lm_head")->type.format.is_dense());

  block()["modules_to_not_convert"] = {kModule};
  EXPECT_EQ(numbers(), master);
  block().erase("modules_to_not_convert");
  tensors_[0] = f32_tensor(kWeight, {1, 2}, {1, NAN});
  expect_error(open(), {"model.safetensors: tensor", kWeight, "infinite or NaN"});
  tensors_[0] = f32_tensor(kWeight, {1, 2}, {0, 0});
  EXPECT_EQ(numbers(), (std::vector<float>{0, 0}));

  config_ = {{"weight_bits", 1}};
  tensors_[0] = f32_tensor(kWeight, {1, 2}, {3, -1});
  EXPECT_EQ(numbers(), (std::vector<float>{2, 0}));  // -1/2 rounds to 0
}

}  // namespace
}  // namespace sinter::frontends
