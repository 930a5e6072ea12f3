// gpt-oss experts: made here, and the same model as Hugging Face and as MLX store it.
#include "frontends/quantized/mxfp4_experts.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "tests/frontends/model_folder.h"

namespace sinter::frontends {
namespace {

const std::string kExperts = "model.layers.0.mlp.experts.";

class Mxfp4Experts : public testing::Test {
 protected:
  Mxfp4Experts() {
    folder_.config["quantization_config"] = {{"quant_method", "mxfp4"},
                                             {"modules_to_not_convert", {"lm_head"}}};
    // 2 experts of 4 rows of 32 columns: row r of expert e is all code r, with the scale 2^e.
    std::string blocks;
    std::string scales;
    std::vector<float> bias;
    for (int e = 0; e < 2; ++e) {
      for (int r = 0; r < 4; ++r) {
        blocks += std::string(16, static_cast<char>(r | r << 4));
        scales += static_cast<char>(127 + e);
        bias.push_back(static_cast<float>(10 * e + r));
      }
    }
    folder_.tensors = {{kExperts + "gate_up_proj_blocks", "U8", {2, 4, 1, 16}, blocks},
                       {kExperts + "gate_up_proj_scales", "U8", {2, 4, 1}, scales},
                       f32_tensor(kExperts + "gate_up_proj_bias", {2, 4}, bias),
                       {kExperts + "down_proj_blocks", "U8", {2, 4, 1, 16}, blocks},
                       {kExperts + "down_proj_scales", "U8", {2, 4, 1}, scales},
                       f32_tensor(kExperts + "down_proj_bias", {2, 4}, bias)};
  }
  // The first number of every row.
  std::vector<float> firsts(const std::string& module) const {
    const std::vector<float> all = numbers_of(folder_, kExperts + module);
    std::vector<float> out;
    for (size_t i = 0; i < all.size(); i += 32) out.push_back(all[i]);
    return out;
  }
  ModelFolder folder_;
};

TEST_F(Mxfp4Experts, RowsOfGateAndUpAlternate) {
  EXPECT_EQ(firsts("gate_proj"), (std::vector<float>{0, 1, 0, 2}));
  EXPECT_EQ(firsts("up_proj"), (std::vector<float>{0.5, 1.5, 1, 3}));
  EXPECT_EQ(firsts("down_proj"), (std::vector<float>{0, 0.5, 1, 1.5, 0, 1, 2, 3}));
  EXPECT_EQ(numbers_of(folder_, kExperts + "gate_proj.bias"), (std::vector<float>{0, 2, 10, 12}));
  EXPECT_EQ(numbers_of(folder_, kExperts + "up_proj.bias"), (std::vector<float>{1, 3, 11, 13}));
  EXPECT_EQ(numbers_of(folder_, kExperts + "down_proj.bias").size(), 8U);
  const auto checkpoint = folder_.open();
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_EQ((*checkpoint)->matrix(kExperts + "gate_proj")->type.shape,
            (std::vector<int64_t>{2, 2, 32}));
  EXPECT_EQ((*checkpoint)->matrix(kExperts + "down_proj")->type.shape,
            (std::vector<int64_t>{2, 4, 32}));
  EXPECT_EQ((*checkpoint)->matrices.size(), 6U);
}

TEST_F(Mxfp4Experts, TheLowNibbleComesFirst) {
  folder_.tensor(kExperts + "down_proj_blocks").bytes[0] = '\x71';
  const std::vector<float> numbers = numbers_of(folder_, kExperts + "down_proj");
  ASSERT_EQ(numbers.size(), 8U * 32U);
  EXPECT_EQ(numbers[0], 0.5F);
  EXPECT_EQ(numbers[1], 6);
}

TEST_F(Mxfp4Experts, TensorsThatDoNotFitAreNamed) {
  const std::vector<TestTensor> good = folder_.tensors;
  folder_.tensor(kExperts + "down_proj_scales").bytes[7] = '\xff';
  expect_error(folder_.open(), {"model.safetensors: tensor", "down_proj_scales", "nan at row 7"});
  folder_.tensors = good;
  folder_.tensor(kExperts + "down_proj_scales").shape = {4, 2, 1};
  expect_error(folder_.open(),
               {"model.safetensors: tensor", "down_proj_scales", "expected U8 [2, 4, 1]"});
  folder_.tensors = good;
  folder_.tensor(kExperts + "down_proj_blocks").shape = {2, 4, 2, 8};
  expect_error(folder_.open(), {"model.safetensors: tensor", "down_proj_blocks", "expected U8"});
  folder_.tensors = good;
  folder_.tensor(kExperts + "gate_up_proj_bias").shape = {8};
  expect_error(folder_.open(), {"model.safetensors: tensor", "gate_up_proj_bias", "[2, 4]"});
  folder_.tensors = good;
  folder_.remove(kExperts + "gate_up_proj_scales");
  expect_error(folder_.open(), {"model.safetensors: tensor", "gate_up_proj_scales", "is missing"});
}

}  // namespace
}  // namespace sinter::frontends
