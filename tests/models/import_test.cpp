// Importing configurations: what is built, and what is refused with which words.
#include <gtest/gtest.h>

#include "models/registry.h"

namespace sinter::models {
namespace {

using nlohmann::json;

json tiny() {
  return {{"model_type", "qwen3"},       {"vocab_size", 96},
          {"hidden_size", 64},           {"intermediate_size", 128},
          {"num_hidden_layers", 2},      {"num_attention_heads", 4},
          {"num_key_value_heads", 2},    {"head_dim", 16},
          {"tie_word_embeddings", true}, {"quantization", {{"group_size", 64}, {"bits", 4}}}};
}

std::string error_of(const json& config) {
  const auto model = import_synthetic(config);
  return model.ok() ? "no error" : std::string(model.status().message());
}

int count(const ir::Module& module, ir::Op op) {
  int n = 0;
  for (const ir::Node& node : module.nodes) n += node.op == op;
  return n;
}

TEST(Import, Qwen3HasItsOpsInEveryLayer) {
  const auto model = import_synthetic(tiny());
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(count(model->module, ir::Op::matmul), 2 * 7 + 1);
  EXPECT_EQ(count(model->module, ir::Op::rms_norm), 2 * 4 + 1);
  EXPECT_EQ(count(model->module, ir::Op::rope), 2 * 2);
  EXPECT_EQ(count(model->module, ir::Op::kv_append), 2 * 2);
  EXPECT_EQ(count(model->module, ir::Op::rope_table), 1);
  EXPECT_EQ(model->layers, 2);
}

TEST(Import, LlamaHasNoHeadNorms) {
  json config = tiny();
  config["model_type"] = "llama";
  const auto model = import_synthetic(config);
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(count(model->module, ir::Op::rms_norm), 2 * 2 + 1);
}

TEST(Import, BitNetHasSubNormsAndSquaredRelu) {
  json config = tiny();
  config["model_type"] = "bitnet";
  auto model = import_synthetic(config);
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(count(model->module, ir::Op::rms_norm), 2 * 4 + 1);
  EXPECT_EQ(count(model->module, ir::Op::relu2), 2);
  config["hidden_act"] = "silu";
  model = import_synthetic(config);
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(count(model->module, ir::Op::silu), 2);
}

TEST(Import, BiasesFollowTheConfiguration) {
  json config = tiny();
  config["model_type"] = "llama";
  config["attention_bias"] = true;
  config["mlp_bias"] = true;
  const auto model = import_synthetic(config);
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(count(model->module, ir::Op::add), 2 * (2 + 7));
}

TEST(Import, UntiedHeadIsAMatrixOfItsOwn) {
  json config = tiny();
  config["tie_word_embeddings"] = false;
  const auto model = import_synthetic(config);
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_GE(model->module.find_symbol("lm_head"), 0);
  EXPECT_LT(import_synthetic(tiny())->module.find_symbol("lm_head"), 0);
}

TEST(Import, EndTokensMayBeOneOrMany) {
  json config = tiny();
  config["eos_token_id"] = {3, 7};
  const auto model = import_synthetic(config);
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(model->eos_ids, (std::vector<int32_t>{3, 7}));
}

TEST(Import, RefusalsNameTheFieldAndTheWayOut) {
  const auto with = [](const char* key, const json& value) {
    json config = tiny();
    config[key] = value;
    return error_of(config);
  };
  EXPECT_EQ(with("model_type", "mamba"),
            "config.json: \"model_type\" is \"mamba\", which is not supported; known: qwen3, "
            "llama, bitnet");
  EXPECT_EQ(with("hidden_act", "swiglu7"),
            "config.json: \"hidden_act\" is \"swiglu7\", which is not supported; known: silu, "
            "gelu_pytorch_tanh, relu2");
  EXPECT_EQ(
      with("num_key_value_heads", 3),
      "config.json: \"num_attention_heads\" 4 is not a multiple of \"num_key_value_heads\" 3");
  EXPECT_EQ(with("num_hidden_layers", 100000),
            "config.json: \"num_hidden_layers\" is 100000, above 4096");
  EXPECT_NE(with("hidden_size", "many").find("\"hidden_size\""), std::string::npos);
  EXPECT_NE(with("hidden_size", -5).find("\"hidden_size\""), std::string::npos);
  EXPECT_NE(with("sliding_window", 128).find("sliding-window"), std::string::npos);
  EXPECT_NE(with("layer_types", {"full_attention", "sliding_attention"}).find("sliding-window"),
            std::string::npos);
  EXPECT_NE(with("eos_token_id", 96).find("eos_token_id"), std::string::npos);
  EXPECT_NE(with("synthetic_structure", "sparse").find("synthetic_structure"), std::string::npos);
  EXPECT_NE(with("quantization", {{"group_size", 128}, {"bits", 4}}).find("64 columns"),
            std::string::npos);
  json config = tiny();
  config.erase("vocab_size");
  EXPECT_NE(error_of(config).find("\"vocab_size\""), std::string::npos);
}

}  // namespace
}  // namespace sinter::models
