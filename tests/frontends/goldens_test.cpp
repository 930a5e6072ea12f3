// Checkpoints as their ecosystems write them.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "frontends/checkpoint.h"
#include "frontends/open/open_checkpoint.h"
#include "tests/frontends/test_files.h"

namespace sinter::frontends {
namespace {

namespace fs = std::filesystem;

const fs::path kGoldens = SINTER_TEST_GOLDENS;

// Opens, decodes every row and expects every number to be finite.
void expect_opens(const fs::path& folder) {
  const auto checkpoint = open_checkpoint(folder);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_TRUE((*checkpoint)->unsupported.empty());
  EXPECT_TRUE((*checkpoint)->has("model.layers.1.self_attn.q_proj"));
  EXPECT_TRUE((*checkpoint)->has("model.embed_tokens"));
  EXPECT_TRUE((*checkpoint)->has("model.norm"));
  for (const auto& [name, matrix] : (*checkpoint)->matrices) {
    std::vector<float> row(matrix.type.cols());
    for (int64_t r = 0; r < matrix.type.rows(); ++r) {
      ir::decode_row(matrix, r, row.data());
      for (const float value : row) ASSERT_TRUE(std::isfinite(value)) << name << " row " << r;
    }
  }
}

TEST(Goldens, OneBitSymmetricRowsAreMinusAndPlusOneNumberPerGroup) {
  const auto checkpoint = open_checkpoint(kGoldens / "mlx_b1_sym_tied");
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const auto matrix = (*checkpoint)->matrix("model.layers.0.mlp.down_proj");
  ASSERT_TRUE(matrix.ok()) << matrix.status();
  const ir::WeightFormat expected{ir::CodeMap::affine, 1, 128, 0, ir::DType::f16};
  EXPECT_EQ(matrix->type.format, expected);
  EXPECT_EQ(matrix->type.shape, (std::vector<int64_t>{256, 384}));
  std::vector<float> row(384);
  int positive = 0;
  for (int64_t r = 0; r < 256; ++r) {
    ir::decode_row(*matrix, r, row.data());
    for (int c = 0; c < 384; ++c) {
      ASSERT_NE(row[c], 0);
      ASSERT_EQ(std::fabs(row[c]), std::fabs(row[c / 128 * 128])) << r << "," << c;
      positive += row[c] > 0;
    }
  }
  EXPECT_GT(positive, 256 * 384 / 4);
  EXPECT_LT(positive, 256 * 384 * 3 / 4);
  EXPECT_FALSE((*checkpoint)->has("lm_head"));
}

TEST(Goldens, ShardsAndBiases) {
  expect_opens(kGoldens / "hf_llama_bias");
  const auto checkpoint = open_checkpoint(kGoldens / "hf_llama_bias");
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_EQ((*checkpoint)->storage.size(), 2);
  EXPECT_TRUE((*checkpoint)->has("model.layers.0.self_attn.q_proj.bias"));
  EXPECT_TRUE((*checkpoint)->has("lm_head"));
  EXPECT_EQ((*checkpoint)->config["model_type"], "llama");
  EXPECT_TRUE((*checkpoint)->generation_config.is_object());
}

class EcosystemGoldens : public testing::TestWithParam<const char*> {};

TEST_P(EcosystemGoldens, Open) { expect_opens(kGoldens / GetParam()); }

INSTANTIATE_TEST_SUITE_P(All, EcosystemGoldens,
                         testing::Values("hf_qwen3", "hf_llama_bias", "mlx_b1_asym",
                                         "mlx_b1_sym_tied", "mlx_b1_sym_untied", "mlx_b2_g64",
                                         "mlx_b2_ternary", "mlx_b3_g64", "mlx_b4_g32", "mlx_b4_g64",
                                         "mlx_b5_g64", "mlx_b6_g64", "mlx_b8_g64", "mlx_llama_b4",
                                         "mlx_mixed", "bitnet_packed", "hf_gpt_oss",
                                         "mlx_gpt_oss_mxfp4", "mlx_qwen3_moe_b3", "mlx_glm4_b4"),
                         [](const auto& name) { return std::string(name.param); });

// Hugging Face and MLX name and shape the experts of gpt-oss alike once they are read.
TEST(Goldens, ExpertsOfGptOssAreTheSameModulesInBothEcosystems) {
  const auto hf = open_checkpoint(kGoldens / "hf_gpt_oss");
  const auto mlx = open_checkpoint(kGoldens / "mlx_gpt_oss_mxfp4");
  ASSERT_TRUE(hf.ok()) << hf.status();
  ASSERT_TRUE(mlx.ok()) << mlx.status();
  ASSERT_EQ((*hf)->matrices.size(), (*mlx)->matrices.size());
  for (const auto& [name, matrix] : (*hf)->matrices) {
    const auto other = (*mlx)->matrix(name);
    ASSERT_TRUE(other.ok()) << other.status();
    EXPECT_EQ(matrix.type, other->type) << name;
  }
}

}  // namespace
}  // namespace sinter::frontends
