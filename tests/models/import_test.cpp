// Importing configurations: what is built, and what is refused with which words.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "frontends/gguf/blocks.h"
#include "frontends/json_file.h"
#include "frontends/open/open_checkpoint.h"
#include "models/import.h"
#include "models/registry.h"
#include "models/weight_catalogs.h"
#include "tests/frontends/gguf/writer.h"
#include "tests/frontends/test_files.h"

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
  ASSERT_EQ(model->ends.size(), 2);
  EXPECT_EQ(model->ends[0].id, 3);
  EXPECT_EQ(model->ends[1].id, 7);
  EXPECT_EQ(model->ends[1].source, "eos_token_id.1 of config.json");
}

TEST(Import, RefusalsNameTheFieldAndTheWayOut) {
  const auto with = [](const char* key, const json& value) {
    json config = tiny();
    config[key] = value;
    return error_of(config);
  };
  EXPECT_EQ(
      with("model_type", "qwen4"),
      fmt::format("config.json: \"model_type\" is \"qwen4\", which is not supported; did you "
                  "mean \"qwen2\", \"qwen3\", \"qwen3_5\"; `sinter arch` lists the {} that are",
                  families().size()));
  EXPECT_EQ(
      with("hidden_act", "swiglu7"),
      "config.json: \"hidden_act\" is \"swiglu7\", which is not supported; known: silu, swish, "
      "relu2, gelu, gelu_python, gelu_pytorch_tanh, gelu_new, gelu_fast, gelu_accurate, sigmoid, "
      "tanh");
  EXPECT_EQ(
      with("num_key_value_heads", 3),
      "config.json: \"num_attention_heads\" is 4, expected a multiple of \"num_key_value_heads\", "
      "which is 3");
  EXPECT_EQ(with("num_hidden_layers", 100000),
            "config.json: \"num_hidden_layers\" is 100000, expected an integer from 1 to 1024");
  EXPECT_NE(with("hidden_size", "many").find("\"hidden_size\""), std::string::npos);
  EXPECT_NE(with("hidden_size", -5).find("\"hidden_size\""), std::string::npos);
  EXPECT_EQ(with("layer_types", {"full_attention", "chunked_attention"}),
            "config.json: \"layer_types\" has \"chunked_attention\", which is not supported; "
            "supported are \"full_attention\" and \"sliding_attention\"");
  EXPECT_EQ(with("eos_token_id", "2"),
            "config.json: \"eos_token_id\" is \"2\", expected a token id");
  EXPECT_NE(with("synthetic_structure", "sparse").find("synthetic_structure"), std::string::npos);
  EXPECT_NE(with("quantization", {{"group_size", 128}, {"bits", 4}}).find("64 columns"),
            std::string::npos);
}

TEST(Import, EndTokensOutsideTheVocabularyAreANote) {
  json config = tiny();
  config["eos_token_id"] = {3, 96, -1, 18446744073709551615ULL};
  const auto model = import_synthetic(config);
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(model->ends.size(), 1);
  EXPECT_EQ(model->notes.size(), 3);
  EXPECT_EQ(model->notes[0],
            "config.json: \"eos_token_id.1\" is 96, but the vocabulary has 96 tokens; it is "
            "ignored");
}

// What the weight is, "" when there is none.
std::string type_of(const ImportedModel& model, const std::string& name) {
  const ir::ValueId id = model.module.find_symbol(name);
  return id < 0 ? "" : fmt::format("{}", fmt::join(model.module.weight(id).shape, "x"));
}

TEST(Import, FieldsThatAreMissingHaveTheDefaultsOfTheFamily) {
  json config = tiny();
  config.erase("head_dim");
  config.erase("num_key_value_heads");
  config["num_attention_heads"] = 32;
  const auto shape_of = [&](const char* type, const char* projection) {
    config["model_type"] = type;
    const auto model = import_synthetic(config);
    return model.ok() ? type_of(*model, fmt::format("model.layers.0.self_attn.{}", projection))
                      : std::string(model.status().message());
  };
  EXPECT_EQ(shape_of("qwen3", "q_proj"), "4096x64");
  EXPECT_EQ(shape_of("qwen3", "k_proj"), "4096x64");
  EXPECT_EQ(shape_of("llama", "k_proj"), "64x64");
  config["num_key_value_heads"] = nullptr;
  EXPECT_EQ(shape_of("qwen3", "k_proj"), "4096x64");
  config.erase("num_key_value_heads");
  config["num_attention_heads"] = 20;
  config["head_dim"] = 16;
  EXPECT_EQ(shape_of("bitnet", "k_proj"), "80x64");
}

json tiny_gemma4() {
  return {{"model_type", "gemma4_text"},
          {"vocab_size", 96},
          {"hidden_size", 64},
          {"intermediate_size", 32},
          {"num_hidden_layers", 6},
          {"num_attention_heads", 4},
          {"num_key_value_heads", 2},
          {"head_dim", 16},
          {"global_head_dim", 32},
          {"sliding_window", 16},
          {"max_position_embeddings", 256},
          {"vocab_size_per_layer_input", 90},
          {"hidden_size_per_layer_input", 8}};
}

// Every sixth layer attends to all positions, with heads of its own.
TEST(Import, HeadsOfGemma4) {
  json config = tiny_gemma4();
  const auto shape_of = [&](const std::string& projection) {
    const auto model = import_synthetic(config);
    EXPECT_TRUE(model.ok()) << model.status();
    return model.ok() ? type_of(*model, "model.layers." + projection) : "";
  };
  EXPECT_EQ(shape_of("4.self_attn.v_proj"), "32x64");
  EXPECT_EQ(shape_of("5.self_attn.q_proj"), "128x64");
  EXPECT_EQ(shape_of("5.self_attn.v_proj"), "64x64");
  config["num_global_key_value_heads"] = 1;
  EXPECT_EQ(shape_of("5.self_attn.k_proj"), "64x64");
  config["attention_k_eq_v"] = true;
  EXPECT_EQ(shape_of("5.self_attn.k_proj"), "32x64");
  EXPECT_EQ(shape_of("5.self_attn.v_proj"), "");
  EXPECT_EQ(shape_of("4.self_attn.v_proj"), "32x64");
  config["per_layer_config"] = {{"5", {{"head_dim", 8}, {"num_key_value_heads", 4}}}};
  EXPECT_EQ(shape_of("5.self_attn.q_proj"), "32x64");
  EXPECT_EQ(shape_of("5.self_attn.k_proj"), "32x64");
  config["per_layer_config"] = {{"6", {{"head_dim", 8}}}};
  EXPECT_EQ(error_of(config),
            "config.json: \"per_layer_config.6\" is no number of a layer, which are 0 to 5");
  config["per_layer_config"] = {{"0", {{"sliding_window", 8}}}};
  EXPECT_EQ(error_of(config),
            "config.json: \"per_layer_config.0.sliding_window\" is not supported; supported are "
            "\"head_dim\" and \"num_key_value_heads\"");
}

TEST(Import, LayersOfGemma4ThatShareCaches) {
  json config = tiny_gemma4();
  config["layer_types"] = {"sliding_attention", "full_attention",    "sliding_attention",
                           "full_attention",    "sliding_attention", "sliding_attention"};
  config["num_kv_shared_layers"] = 2;
  config["use_double_wide_mlp"] = true;
  const auto model = import_synthetic(config);
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(type_of(*model, "model.layers.3.mlp.up_proj"), "32x64");
  EXPECT_EQ(type_of(*model, "model.layers.4.mlp.up_proj"), "64x64");
  EXPECT_EQ(type_of(*model, "model.layers.4.self_attn.k_proj"), "");
  EXPECT_EQ(model->module.find_symbol("layers.4.keys"), -1);
  // The last layer attends to all positions, whatever the list says.
  std::vector<std::string> read;
  for (const ir::Node& node : model->module.nodes)
    if (node.op == ir::Op::attention) read.push_back(model->module.value(node.operands[1]).name);
  EXPECT_EQ(read, (std::vector<std::string>{"layers.0.keys", "layers.1.keys", "layers.2.keys",
                                            "layers.3.keys", "layers.2.keys", "layers.3.keys"}));
  config.erase("layer_types");
  EXPECT_EQ(error_of(config),
            "config.json: \"num_kv_shared_layers\" is 2, but no layer before these has "
            "\"full_attention\" like layer 5");
  config["num_kv_shared_layers"] = 6;
  EXPECT_EQ(error_of(config),
            "config.json: \"num_kv_shared_layers\" is 6, expected an integer from 0 to 5");
}

TEST(Import, PartsOfGemma4ThatMayBeMissing) {
  json config = tiny_gemma4();
  const auto embeddings = [&] {
    const auto model = import_synthetic(config);
    EXPECT_TRUE(model.ok()) << model.status();
    return model.ok() ? count(model->module, ir::Op::embed) : 0;
  };
  EXPECT_EQ(embeddings(), 2);
  config["hidden_size_per_layer_input"] = 0;
  EXPECT_EQ(embeddings(), 1);
  config["hidden_size_per_layer_input"] = nullptr;
  EXPECT_EQ(embeddings(), 1);
  config["enable_moe_block"] = true;
  config["num_experts"] = 8;
  config["top_k_experts"] = 2;
  config["moe_intermediate_size"] = 16;
  const auto model = import_synthetic(config);
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(type_of(*model, "model.layers.0.experts.gate_proj"), "8x16x64");
  EXPECT_EQ(count(model->module, ir::Op::gather), 12);
  config["use_bidirectional_attention"] = "vision";
  EXPECT_TRUE(import_synthetic(config).ok());
  config["use_bidirectional_attention"] = "all";
  EXPECT_EQ(error_of(config),
            "config.json: \"use_bidirectional_attention\" is \"all\", which is not supported; "
            "supported is \"vision\"");
}

TEST(Import, ActivationsGoByTheNamesOfTransformers) {
  for (const auto& [name, op] :
       {std::pair("silu", ir::Op::silu), std::pair("swish", ir::Op::silu),
        std::pair("gelu", ir::Op::gelu_erf), std::pair("gelu_new", ir::Op::gelu),
        std::pair("gelu_pytorch_tanh", ir::Op::gelu), std::pair("relu2", ir::Op::relu2)}) {
    json config = tiny();
    config["hidden_act"] = name;
    const auto model = import_synthetic(config);
    ASSERT_TRUE(model.ok()) << model.status();
    EXPECT_EQ(count(model->module, op), 2) << name;
  }
}

TEST(Import, WindowsCountOnlyWhereTheyNarrowAttention) {
  // Of each layer; 0: none.
  const auto windows = [](const json& config) {
    const auto model = import_synthetic(config);
    EXPECT_TRUE(model.ok()) << model.status();
    std::vector<int64_t> out;
    if (!model.ok()) return out;
    for (const ir::Node& node : model->module.nodes)
      if (node.op == ir::Op::attention) out.push_back(node.integer("window"));
    return out;
  };
  const std::vector<int64_t> none = {0, 0}, second = {0, 128};
  json config = tiny();
  config["max_position_embeddings"] = 256;
  config["sliding_window"] = 128;
  EXPECT_EQ(windows(config), none);
  config["use_sliding_window"] = true;
  EXPECT_EQ(windows(config), none);  // from layer 28 on
  config["max_window_layers"] = 1;
  EXPECT_EQ(windows(config), second);
  config["sliding_window"] = 256;
  EXPECT_EQ(windows(config), none);
  config["sliding_window"] = nullptr;
  EXPECT_EQ(windows(config), none);
  config["sliding_window"] = 128;
  config["model_type"] = "llama";
  EXPECT_EQ(windows(config), none);
  config["layer_types"] = {"full_attention", "sliding_attention"};
  EXPECT_EQ(windows(config), second);
  config["sliding_window"] = nullptr;
  EXPECT_EQ(error_of(config),
            "config.json: \"sliding_window\" is missing, but \"layer_types\" has "
            "\"sliding_attention\"");
  config["layer_types"] = {"full_attention"};
  EXPECT_EQ(error_of(config),
            "config.json: \"layer_types\" is an array of 1, expected a list of 2 texts");
}

// Four heads of 32 features in two groups.
json state_space(const std::string& type) {
  json config = tiny();
  config["model_type"] = type;
  if (type == "mamba2") {
    config.update({{"num_heads", 4}, {"head_dim", 32}, {"n_groups", 2}});
  } else if (type == "nemotron_h") {
    config.update({{"mamba_num_heads", 4},
                   {"mamba_head_dim", 32},
                   {"n_groups", 2},
                   {"hybrid_override_pattern", "M*"}});
  } else {
    config.update(
        {{"mamba_n_heads", 4}, {"mamba_d_head", 32}, {"mamba_n_groups", 2}, {"mamba_d_ssm", 128}});
  }
  return config;
}

TEST(Import, StateSpacesHaveScansInTheirLayers) {
  const auto scans = [](const json& config) {
    const auto model = import_synthetic(config);
    EXPECT_TRUE(model.ok()) << model.status();
    return model.ok() ? count(model->module, ir::Op::selective_scan) : -1;
  };
  for (const char* type : {"mamba2", "bamba", "falcon_h1", "granitemoehybrid"})
    EXPECT_EQ(scans(state_space(type)), 2) << type;
  EXPECT_EQ(scans(state_space("nemotron_h")), 1);
  json config = state_space("bamba");
  config["attn_layer_indices"] = {1};
  EXPECT_EQ(scans(config), 1);
  config = state_space("minimax");
  EXPECT_EQ(scans(config), 1);
  config = state_space("nemotron_h");
  config["layers_block_type"] = {"mamba", "linear_attention", "full_attention"};
  EXPECT_EQ(scans(config), 2);
}

TEST(Import, StepsOfStateSpacesLieWithinTheirLimits) {
  // The least and the largest of the first layer; none: 0.
  const auto limits = [](const json& config) {
    const auto model = import_synthetic(config);
    EXPECT_TRUE(model.ok()) << model.status();
    if (model.ok())
      for (const ir::Node& node : model->module.nodes)
        if (node.op == ir::Op::clamp) return std::pair(node.number("min"), node.number("max"));
    return std::pair(0.0, 0.0);
  };
  const double infinity = std::numeric_limits<double>::infinity();
  json config = state_space("mamba2");
  EXPECT_EQ(limits(config), std::pair(0.0, 0.0));
  config["time_step_limit"] = {0.0, infinity};
  EXPECT_EQ(limits(config), std::pair(0.0, 0.0));
  config["time_step_limit"] = {0.25, {{"__float__", "Infinity"}}};
  EXPECT_EQ(limits(config), std::pair(0.25, infinity));
  config["time_step_limit"] = {0.25, 0.5};
  EXPECT_EQ(limits(config), std::pair(0.25, 0.5));
  config = state_space("nemotron_h");
  config["time_step_limit"] = {0.25, 0.5};
  EXPECT_EQ(limits(config), std::pair(0.25, 0.5));
  config.erase("time_step_limit");
  EXPECT_EQ(limits(config), std::pair(0.001, infinity));
  config["time_step_limit"] = {0.5, 0.25};
  EXPECT_EQ(error_of(config),
            "config.json: \"time_step_limit\" is an array of 2, expected the least and the largest "
            "step");
}

TEST(Import, StateSpacesThatDoNotFitAreRefused) {
  json config = state_space("mamba2");
  config["num_heads"] = 3;
  EXPECT_EQ(error_of(config),
            "config.json: \"num_heads\" is 3, but heads of 32 features are not 128 channels");
  config = state_space("bamba");
  config["mamba_n_groups"] = 3;
  EXPECT_EQ(error_of(config),
            "config.json: \"mamba_n_heads\" is 4, expected a multiple of \"mamba_n_groups\", which "
            "is 3");
  config = state_space("nemotron_h");
  config["hybrid_override_pattern"] = "M?";
  EXPECT_EQ(error_of(config),
            "config.json: \"hybrid_override_pattern\" has \"?\", which is not supported; supported "
            "are M (mamba), * (attention), - (mlp) and E (moe)");
  config = state_space("granitemoehybrid");
  config["position_embedding_type"] = "alibi";
  EXPECT_EQ(error_of(config),
            "config.json: \"position_embedding_type\" is \"alibi\", which is not supported; "
            "supported are \"rope\" and \"nope\"");
  config = state_space("jamba");
  config["attn_layer_offset"] = 8;
  EXPECT_EQ(error_of(config),
            "config.json: \"attn_layer_offset\" is 8, but \"attn_layer_period\" is 8; no layer is "
            "meant");
}

TEST(Import, TraditionalRopeRotatesAdjacentPairs) {
  json config = tiny();
  config["model_type"] = "llama";
  config["rope_traditional"] = true;
  const auto model = import_synthetic(config);
  ASSERT_TRUE(model.ok()) << model.status();
  for (const ir::Node& node : model->module.nodes)
    if (node.op == ir::Op::rope) EXPECT_EQ(node.text("style", ""), "interleaved");
}

TEST(Import, FieldsThatNobodyReadAreNamed) {
  json config = tiny();
  config["initializer_range"] = 0.02;
  config["attn_logit_softcapping"] = 50.0;
  config["logit_scale"] = 1.0;
  config["future"] = nullptr;
  config["rope_scaling"] = {{"type", "default"}, {"factor", 4.0}};
  const auto model = import_synthetic(config);
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(model->notes,
            std::vector<std::string>{
                "config.json: unknown fields were ignored: \"attn_logit_softcapping\" (50.0), "
                "\"rope_scaling.factor\" (4.0); if one of them changes what the model computes, "
                "the results are wrong"});
}

// No value of any field may do more than give one clear line.
TEST(Import, HostileValuesGiveOneLine) {
  const std::vector<json> values = {-1,
                                    0,
                                    1,
                                    2,
                                    3,
                                    1e30,
                                    NAN,
                                    INFINITY,
                                    0.5,
                                    INT64_MIN,
                                    UINT64_MAX,
                                    int64_t{1} << 30,
                                    "x",
                                    "1e999",
                                    json(),
                                    json::array(),
                                    json::object(),
                                    true,
                                    json{{"full_attention", 3}}};
  std::vector<std::string> fields = {"rope_traditional",    "partial_rotary_factor",
                                     "layer_types",         "num_key_value_heads",
                                     "eos_token_id",        "bos_token_id",
                                     "tie_word_embeddings", "rope_scaling",
                                     "rope_parameters",     "original_max_position_embeddings",
                                     "quantization"};
  const std::vector<std::string> scaling = {"rope_type",
                                            "rope_theta",
                                            "factor",
                                            "low_freq_factor",
                                            "high_freq_factor",
                                            "beta_fast",
                                            "beta_slow",
                                            "original_max_position_embeddings",
                                            "truncate",
                                            "mscale",
                                            "mscale_all_dim",
                                            "attention_factor",
                                            "partial_rotary_factor",
                                            "frequency_factors"};
  const auto expect_one_line = [](const json& config) {
    const std::string error = error_of(config);
    EXPECT_EQ(error.find('\n'), std::string::npos) << error;
    EXPECT_LT(error.size(), 400) << error;
    if (error != "no error") EXPECT_TRUE(error.starts_with("config.json: ")) << error;
  };
  const std::vector<std::string> common = fields;
  for (const Family& family : families()) {
    fields = common;
    json config = tiny();
    config["model_type"] = family.model_type;
    const json defaults = json::parse(family.defaults);
    for (const auto& field : defaults.items())
      if (std::ranges::find(fields, field.key()) == fields.end()) fields.push_back(field.key());
    for (const std::string& field : fields) {
      for (const json& value : values) {
        json bad = config;
        bad[field] = value;
        expect_one_line(bad);
      }
    }
    for (const char* type : {"linear", "dynamic", "llama3", "yarn"}) {
      for (const std::string& field : scaling) {
        for (const json& value : values) {
          json bad = config;
          bad["rope_scaling"] = {{"rope_type", type},
                                 {"factor", 2},
                                 {"low_freq_factor", 1},
                                 {"high_freq_factor", 4},
                                 {"original_max_position_embeddings", 64}};
          bad["rope_scaling"][field] = value;
          expect_one_line(bad);
        }
      }
    }
  }
}

// DeepSeek-V3 with eight experts in four groups, of which two count.
json latent() {
  json config = tiny();
  config.erase("num_key_value_heads");
  config.erase("quantization");
  config.update({{"model_type", "deepseek_v3"},
                 {"num_hidden_layers", 3},
                 {"q_lora_rank", 24},
                 {"kv_lora_rank", 32},
                 {"qk_nope_head_dim", 16},
                 {"qk_rope_head_dim", 8},
                 {"v_head_dim", 12},
                 {"n_routed_experts", 8},
                 {"num_experts_per_tok", 2},
                 {"moe_intermediate_size", 16},
                 {"first_k_dense_replace", 1},
                 {"n_group", 4},
                 {"topk_group", 2}});
  return config;
}

std::vector<const ir::Node*> nodes_of(const ir::Module& module, ir::Op op) {
  std::vector<const ir::Node*> found;
  for (const ir::Node& node : module.nodes)
    if (node.op == op) found.push_back(&node);
  return found;
}

TEST(Import, LatentAttentionSharesAPartOfItsKeys) {
  json config = latent();
  auto model = import_synthetic(config);
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(count(model->module, ir::Op::concat), 3);
  EXPECT_EQ(type_of(*model, "model.layers.0.self_attn.q_b_proj"), "96x24");
  EXPECT_EQ(type_of(*model, "model.layers.0.self_attn.kv_a_proj_with_mqa"), "40x64");
  EXPECT_EQ(type_of(*model, "model.layers.0.self_attn.kv_b_proj"), "112x32");
  EXPECT_EQ(type_of(*model, "model.layers.0.self_attn.o_proj"), "64x48");
  for (const ir::Node* rope : nodes_of(model->module, ir::Op::rope)) {
    EXPECT_EQ(rope->integer("begin"), 16);
    EXPECT_EQ(rope->text("style"), "interleaved");
  }
  const auto scale = [&] {
    const auto imported = import_synthetic(config);
    EXPECT_TRUE(imported.ok()) << imported.status();
    return imported.ok() ? nodes_of(imported->module, ir::Op::attention)[0]->number("scale") : 0.0;
  };
  EXPECT_DOUBLE_EQ(scale(), 1 / std::sqrt(24.0));
  // Queries and keys are both times what YaRN makes of all their features.
  config["rope_scaling"] = {{"type", "yarn"},
                            {"factor", 4.0},
                            {"mscale_all_dim", 0.5},
                            {"mscale", 1.0},
                            {"original_max_position_embeddings", 64}};
  EXPECT_DOUBLE_EQ(scale(), std::pow(1 + 0.05 * std::log(4.0), 2) / std::sqrt(24.0));
  config["q_lora_rank"] = nullptr;
  config["rope_interleave"] = false;
  model = import_synthetic(config);
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(type_of(*model, "model.layers.0.self_attn.q_proj"), "96x64");
  EXPECT_EQ(nodes_of(model->module, ir::Op::rope)[0]->text("style"), "half");
  config["num_key_value_heads"] = 2;
  EXPECT_EQ(error_of(config),
            "config.json: \"num_key_value_heads\" is 2, but latent attention has a key for each of "
            "the 4 heads");
  config.erase("num_key_value_heads");
  config["qk_rope_head_dim"] = 7;
  EXPECT_EQ(
      error_of(config),
      "config.json: \"qk_rope_head_dim\" is 7, but RoPE rotates 6 features; expected as many");
}

TEST(Import, LayersWithoutExpertsAreListed) {
  json config = {{"model_type", "qwen3_moe"},
                 {"num_hidden_layers", 2},
                 {"hidden_size", 32},
                 {"num_attention_heads", 2},
                 {"vocab_size", 8},
                 {"num_experts", 4},
                 {"num_experts_per_tok", 2},
                 {"intermediate_size", 32},
                 {"moe_intermediate_size", 8},
                 {"head_dim", 16},
                 {"num_key_value_heads", 2}};
  config["mlp_only_layers"] = {0};
  EXPECT_EQ(error_of(config), "no error");
  config["mlp_only_layers"] = {2};
  EXPECT_EQ(error_of(config),
            "config.json: \"mlp_only_layers.0\" is 2, expected an integer from 0 to 1");
  config["mlp_only_layers"] = 1;
  EXPECT_EQ(error_of(config), "config.json: \"mlp_only_layers\" is 1, expected a list of layers");
  config["mlp_only_layers"] = nullptr;
  EXPECT_EQ(error_of(config), "no error");
}

TEST(Import, ExpertsOfGroups) {
  const auto choice = [](const json& config) {
    const auto model = import_synthetic(config);
    EXPECT_TRUE(model.ok()) << model.status();
    std::vector<int64_t> out;
    if (model.ok())
      for (const char* attribute : {"k", "groups", "groups_kept", "group_best"})
        out.push_back(nodes_of(model->module, ir::Op::top_k).back()->integer(attribute));
    return out;
  };
  json config = latent();
  EXPECT_EQ(choice(config), (std::vector<int64_t>{2, 4, 2, 2}));
  // All groups: no limit.
  config["topk_group"] = 4;
  EXPECT_EQ(choice(config), (std::vector<int64_t>{2, 1, 1, 1}));
  config["topk_group"] = 5;
  EXPECT_EQ(error_of(config), "config.json: \"topk_group\" is 5, but there are 4 groups");
  config["topk_group"] = 1;
  config["num_experts_per_tok"] = 3;
  EXPECT_EQ(error_of(config),
            "config.json: \"num_experts_per_tok\" is 3, but 1 groups have 2 experts");
  config["n_group"] = 8;
  EXPECT_EQ(error_of(config),
            "config.json: \"n_group\" is 8, expected groups of at least 2 of the 8 experts");
  config["scoring_func"] = "softmax";
  EXPECT_EQ(error_of(config),
            "config.json: \"scoring_func\" is \"softmax\", which is not supported; supported is "
            "\"sigmoid\"");
  config = latent();
  config["model_type"] = "deepseek_v2";
  EXPECT_EQ(choice(config), (std::vector<int64_t>{2, 1, 1, 1}));
  config["topk_method"] = "group_limited_greedy";
  EXPECT_EQ(choice(config), (std::vector<int64_t>{2, 4, 2, 1}));
  config["topk_method"] = "noaux_tc";
  EXPECT_EQ(error_of(config),
            "config.json: \"topk_method\" is \"noaux_tc\", which is not supported; supported are "
            "\"greedy\" and \"group_limited_greedy\"");
}

TEST(Import, LayersWithExperts) {
  const auto sparse = [](const json& config) {
    const auto model = import_synthetic(config);
    EXPECT_TRUE(model.ok()) << model.status();
    std::string out;
    for (int i = 0; model.ok() && i < 3; ++i)
      out += type_of(*model, fmt::format("model.layers.{}.mlp.gate", i)).empty() ? 'd' : 's';
    return out;
  };
  json config = latent();
  EXPECT_EQ(sparse(config), "dss");
  config["moe_layer_freq"] = 2;
  EXPECT_EQ(sparse(config), "dds");
  config["mlp_layer_types"] = {"sparse", "dense", "sparse"};
  EXPECT_EQ(sparse(config), "sds");
  config["mlp_layer_types"] = {"sparse", "dense", "moe"};
  EXPECT_EQ(error_of(config),
            "config.json: \"mlp_layer_types\" has \"moe\", which is not supported; supported are "
            "\"dense\" and \"sparse\"");
}

TEST(Import, KimiLinearNamesTheKindOfEveryLayer) {
  json config = latent();
  config.update({{"model_type", "kimi_linear"},
                 {"q_lora_rank", nullptr},
                 {"linear_attn_config",
                  {{"full_attn_layers", {2}},
                   {"kda_layers", {1, 3}},
                   {"head_dim", 16},
                   {"num_heads", 3},
                   {"short_conv_kernel_size", 4}}}});
  const auto model = import_synthetic(config);
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(count(model->module, ir::Op::delta_rule), 2);
  EXPECT_EQ(count(model->module, ir::Op::short_conv), 6);
  EXPECT_EQ(count(model->module, ir::Op::attention), 1);
  EXPECT_EQ(count(model->module, ir::Op::rope), 0);
  EXPECT_EQ(type_of(*model, "model.layers.0.self_attn.A_log of -exp"), "48");
  config["linear_attn_config"]["kda_layers"] = {1};
  EXPECT_EQ(error_of(config),
            "config.json: \"linear_attn_config.full_attn_layers\" and "
            "\"linear_attn_config.kda_layers\" must have every layer once; layer 3 is in neither");
  config["linear_attn_config"]["kda_layers"] = {1, 2, 3};
  EXPECT_EQ(error_of(config),
            "config.json: \"linear_attn_config.full_attn_layers\" and "
            "\"linear_attn_config.kda_layers\" must have every layer once; layer 2 is in both");
  config["mla_use_nope"] = false;
  EXPECT_EQ(error_of(config),
            "config.json: \"mla_use_nope\" is false, which is not supported; supported is true");
}

TEST(Import, LayersThatDraftTokensAreLeftOut) {
  const std::filesystem::path golden =
      std::filesystem::path(SINTER_TEST_GOLDENS) / "hf_kimi_linear";
  json config = *frontends::read_json_object(golden / "config.json");
  config["num_hidden_layers"] = 2;
  config["linear_attn_config"]["full_attn_layers"] = json::array();
  const frontends::TempDir folder;
  std::filesystem::copy(golden / "model.safetensors", folder.path() / "model.safetensors");
  const auto import = [&](int drafts) -> absl::StatusOr<ImportedModel> {
    config["num_nextn_predict_layers"] = drafts;
    folder.write("config.json", config.dump());
    const auto checkpoint = frontends::open_checkpoint(folder.path());
    if (!checkpoint.ok()) return checkpoint.status();
    return import_checkpoint(**checkpoint);
  };
  const auto model = import(1);
  ASSERT_TRUE(model.ok()) << model.status();
  ASSERT_EQ(model->notes.size(), 1U);
  EXPECT_NE(model->notes[0].find("tensors that kimi_linear as a text model does not use are left "
                                 "out, the first is \"model.layers.2."),
            std::string::npos)
      << model->notes[0];
  EXPECT_NE(import(0).status().message().find("model.layers.2."), std::string::npos);
}

TEST(Import, ErrorsOfGgufFilesNameItsKeys) {
  using namespace frontends;
  const TempDir dir;
  const auto error_with = [&](const GgufKey& key) {
    GgufFile file;
    file.keys = {key_text("general.architecture", "qwen3"),
                 key_u32("qwen3.block_count", 1),
                 key_u32("qwen3.context_length", 64),
                 key_u32("qwen3.embedding_length", 32),
                 key_u32("qwen3.feed_forward_length", 32),
                 key_u32("qwen3.attention.head_count", 4),
                 key_f32("qwen3.attention.layer_norm_rms_epsilon", 1e-6F)};
    std::erase_if(file.keys, [&](const GgufKey& other) { return other.name == key.name; });
    file.keys.push_back(key);
    file.tensors = {f32_entry("token_embd.weight", {32, 5}, std::vector<float>(160))};
    const auto checkpoint = open_checkpoint(dir.write("m.gguf", file.bytes()));
    if (!checkpoint.ok()) return std::string(checkpoint.status().message());
    const auto model = import_checkpoint(**checkpoint);
    return model.ok() ? "no error" : std::string(model.status().message());
  };
  EXPECT_EQ(error_with(key_f32("qwen3.rope.freq_base", 0)),
            "m.gguf: \"qwen3.rope.freq_base\" is 0.0, expected a number from 1.000001 to "
            "1000000000000000");
  EXPECT_EQ(
      error_with(key_f32("qwen3.attention.layer_norm_rms_epsilon", -1)),
      "m.gguf: \"qwen3.attention.layer_norm_rms_epsilon\" is -1.0, expected a number from 0 to "
      "1");
  EXPECT_NE(error_with(key_f32("qwen3.attention.layer_norm_rms_epsilon", NAN)).find("is NaN"),
            std::string::npos);
  EXPECT_NE(error_with(key_f32("qwen3.rope.freq_base", 10000)).find("\"blk.0.attn_norm.weight\""),
            std::string::npos);
}

TEST(Import, LayersOfLfm2AreReadFromNumbersOfKvHeads) {
  using namespace frontends;
  const TempDir dir;
  const auto error_with = [&](const GgufKey& key) {
    GgufFile file;
    file.keys = {key_text("general.architecture", "lfm2moe"),
                 key_u32("lfm2moe.block_count", 3),
                 key_u32("lfm2moe.context_length", 64),
                 key_u32("lfm2moe.embedding_length", 32),
                 key_u32("lfm2moe.feed_forward_length", 32),
                 key_u32("lfm2moe.attention.head_count", 4),
                 key_numbers<int32_t>("lfm2moe.attention.head_count_kv", kGgufInt32, {0, 2, 0}),
                 key_f32("lfm2moe.attention.layer_norm_rms_epsilon", 1e-6F),
                 key_u32("lfm2moe.shortconv.l_cache", 3),
                 key_u32("lfm2moe.expert_count", 4),
                 key_u32("lfm2moe.expert_used_count", 2),
                 key_u32("lfm2moe.expert_feed_forward_length", 8),
                 key_u32("lfm2moe.leading_dense_block_count", 0),
                 key_u32("lfm2moe.expert_gating_func", 2)};
    std::erase_if(file.keys, [&](const GgufKey& other) { return other.name == key.name; });
    file.keys.push_back(key);
    file.tensors = {f32_entry("token_embd.weight", {32, 5}, std::vector<float>(160))};
    const auto checkpoint = open_checkpoint(dir.write("m.gguf", file.bytes()));
    return checkpoint.ok() ? "no error" : std::string(checkpoint.status().message());
  };
  const std::string heads = "lfm2moe.attention.head_count_kv";
  const std::string expected =
      ", expected 3 numbers of KV heads, 0 for a convolution and else one divisor of "
      "\"lfm2moe.attention.head_count\", which is 4";
  EXPECT_EQ(error_with(key_u32("lfm2moe.leading_dense_block_count", 1)), "no error");
  EXPECT_EQ(error_with(key_u32(heads, 2)), "m.gguf: \"" + heads + "\" is 2" + expected);
  for (const std::vector<int32_t>& counts :
       {std::vector<int32_t>{0, 2}, {0, 2, 4}, {0, 3, 0}, {0, -1, 2}})
    EXPECT_NE(error_with(key_numbers(heads, kGgufInt32, counts)).find(expected), std::string::npos);
  EXPECT_EQ(error_with(key_u32("lfm2moe.expert_gating_func", 1)),
            "m.gguf: \"lfm2moe.expert_gating_func\" is 1, expected 2; other values are not "
            "supported for this architecture");
}

// What a file with these keys, one of them another or gone, is refused with.
class GgufKeys {
 public:
  GgufKeys(std::string architecture, std::vector<frontends::GgufKey> keys)
      : prefix_(architecture + "."), file_{.keys = std::move(keys), .tensors = {}} {
    for (frontends::GgufKey& key : file_.keys) key.name = prefix_ + key.name;
    file_.keys.push_back(frontends::key_text("general.architecture", architecture));
    file_.tensors = {frontends::f32_entry("token_embd.weight", {32, 5}, std::vector<float>(160)),
                     frontends::f32_entry("output.weight", {32, 5}, std::vector<float>(160))};
  }
  std::string error(const frontends::GgufFile& file) const {
    const auto checkpoint = frontends::open_checkpoint(dir_.write("m.gguf", file.bytes()));
    return checkpoint.ok() ? "no error" : std::string(checkpoint.status().message());
  }
  std::string with(frontends::GgufKey key) const {
    key.name = prefix_ + key.name;
    frontends::GgufFile file = without_key(key.name);
    file.keys.push_back(std::move(key));
    return error(file);
  }
  std::string without(const std::string& key) const { return error(without_key(prefix_ + key)); }
  const frontends::GgufFile& file() const { return file_; }

 private:
  frontends::GgufFile without_key(const std::string& name) const {
    frontends::GgufFile file = file_;
    std::erase_if(file.keys, [&](const frontends::GgufKey& key) { return key.name == name; });
    return file;
  }
  frontends::TempDir dir_;
  std::string prefix_;
  frontends::GgufFile file_;
};

TEST(Import, KeysOfLatentAttentionAgree) {
  using namespace frontends;
  const GgufKeys keys(
      "deepseek2",
      {key_u32("block_count", 3), key_u32("context_length", 64), key_u32("embedding_length", 32),
       key_u32("feed_forward_length", 32), key_u32("attention.head_count", 4),
       key_u32("attention.head_count_kv", 1), key_f32("attention.layer_norm_rms_epsilon", 1e-6F),
       key_u32("attention.kv_lora_rank", 16), key_u32("attention.key_length", 24),
       key_u32("attention.value_length", 16), key_u32("attention.key_length_mla", 20),
       key_u32("attention.value_length_mla", 12), key_u32("rope.dimension_count", 8),
       key_u32("leading_dense_block_count", 1), key_u32("expert_count", 4),
       key_u32("expert_used_count", 2), key_u32("expert_feed_forward_length", 8)});
  EXPECT_EQ(keys.error(keys.file()), "no error");
  EXPECT_EQ(keys.with(key_u32("attention.key_length", 20)),
            "m.gguf: \"deepseek2.attention.key_length\" is 20, expected 24, "
            "\"deepseek2.attention.kv_lora_rank\" and \"deepseek2.rope.dimension_count\"");
  EXPECT_EQ(keys.with(key_u32("attention.head_count_kv", 4)),
            "m.gguf: \"deepseek2.attention.head_count_kv\" is 4, expected 1, one latent row");
  EXPECT_EQ(keys.with(key_u32("attention.key_length_mla", 8)),
            "m.gguf: \"deepseek2.rope.dimension_count\" is 8, expected less than "
            "\"deepseek2.attention.key_length_mla\", which is 8");
  EXPECT_EQ(
      keys.without("attention.kv_lora_rank"),
      "m.gguf: \"deepseek2.attention.kv_lora_rank\" is missing, expected an integer from 1 to "
      "1073741824");
  EXPECT_EQ(keys.without("expert_count"),
            "m.gguf: \"deepseek2.expert_count\" is missing, expected a number of experts, since "
            "\"deepseek2.leading_dense_block_count\" is 1");
  EXPECT_EQ(keys.without("expert_used_count"),
            "m.gguf: \"deepseek2.expert_used_count\" is missing, expected a number above 0");
  EXPECT_EQ(
      keys.with(key_u32("expert_gating_func", 3)),
      "m.gguf: \"deepseek2.expert_gating_func\" is 3, expected 1 for softmax or 2 for sigmoid");
  EXPECT_EQ(keys.with(key_text("rope.scaling.type", "linear")),
            "m.gguf: \"deepseek2.rope.scaling.type\" is \"linear\", expected none or yarn");
  EXPECT_EQ(keys.with(key_f32("attention.temperature_scale", 0.1F))
                .find("m.gguf: \"deepseek2.attention.temperature_scale\" is 0.1"),
            0U);
  EXPECT_EQ(keys.with(key_u32("nextn_predict_layers", 1)),
            "m.gguf: \"deepseek2.nextn_predict_layers\" is 1 and counts layer 2, but tensor "
            "\"blk.2.nextn.eh_proj.weight\" is missing");
  GgufFile stretched = keys.file();
  stretched.keys.push_back(key_text("deepseek2.rope.scaling.type", "yarn"));
  stretched.keys.push_back(key_f32("deepseek2.rope.scaling.factor", 4));
  EXPECT_EQ(keys.error(stretched),
            "m.gguf: \"deepseek2.rope.scaling.yarn_log_multiplier\" is missing, expected a number "
            "above 0, which YaRN needs in latent attention");
}

TEST(Import, KeysOfFalconH1Agree) {
  using namespace frontends;
  const GgufKeys keys(
      "falcon-h1",
      {key_u32("block_count", 2), key_u32("context_length", 64), key_u32("embedding_length", 32),
       key_u32("feed_forward_length", 32), key_u32("attention.head_count", 4),
       key_u32("attention.head_count_kv", 2), key_f32("attention.layer_norm_rms_epsilon", 1e-6F),
       key_u32("ssm.conv_kernel", 4), key_u32("ssm.inner_size", 64), key_u32("ssm.state_size", 16),
       key_u32("ssm.time_step_rank", 4), key_u32("ssm.group_count", 2)});
  EXPECT_EQ(keys.error(keys.file()), "no error");
  EXPECT_EQ(keys.with(key_u32("ssm.time_step_rank", 3)),
            "m.gguf: \"falcon-h1.ssm.inner_size\" is 64, expected a multiple of "
            "\"falcon-h1.ssm.time_step_rank\", which is 3");
  EXPECT_EQ(keys.without("ssm.state_size"),
            "m.gguf: \"falcon-h1.ssm.state_size\" is missing, expected an integer from 1 to "
            "1073741824");
  GgufFile tied = keys.file();
  tied.tensors.pop_back();
  EXPECT_EQ(
      keys.error(tied),
      "m.gguf: tensor \"output.weight\" is missing: logits are made by the embedding, and no "
      "key says what they are multiplied with; convert the model with a matrix of its own for "
      "them");
}

// Blocks of a matrix that is stored transposed do not lie where rows are: its numbers are decoded.
TEST(Import, PackedMatricesThatAreTransposedAreDecoded) {
  frontends::Checkpoint checkpoint;
  // Two heads of [3, 64] in Q8_0: codes that count up, a scale of 2^h.
  const frontends::GgmlType* q8 = nullptr;
  for (const frontends::GgmlType& type : frontends::ggml_types())
    if (type.name == "Q8_0") q8 = &type;
  ASSERT_NE(q8, nullptr);
  std::vector<uint8_t> bytes;
  for (int block = 0; block < 2 * 3 * 2; ++block) {
    const uint16_t scale = block < 6 ? 0x3C00 : 0x4000;  // 1 and 2
    bytes.insert(bytes.end(), {static_cast<uint8_t>(scale), static_cast<uint8_t>(scale >> 8)});
    for (int i = 0; i < 32; ++i) bytes.push_back(static_cast<uint8_t>(block % 6 * 10 + i));
  }
  ir::Matrix matrix;
  matrix.type.shape = {2, 3, 64};
  matrix.type.format = q8->format;
  matrix.codes = bytes;
  matrix.blocks = &q8->blocks;
  matrix.order = q8->order;
  checkpoint.matrices["k"] = matrix;
  const Family family;
  const CheckpointCatalog catalog(checkpoint, family);
  const auto stored = catalog.view("k", {2 * 64, 3}, {2 * 64, 3}, {.transposed = 64});
  ASSERT_TRUE(stored.ok()) << stored.status();
  EXPECT_TRUE(stored->type.format.is_dense());
  EXPECT_EQ(stored->used, std::vector<std::string>{"k"});
  const auto view = checkpoint.matrix(stored->source);
  ASSERT_TRUE(view.ok()) << view.status();
  std::array<float, 3> row;
  for (int h = 0; h < 2; ++h)
    for (int j = 0; j < 64; ++j) {
      ir::decode_row(*view, h * 64 + j, row.data());
      for (int i = 0; i < 3; ++i)
        EXPECT_EQ(row[static_cast<size_t>(i)], (1 + h) * ((2 * i + j / 32) * 10 + j % 32));
    }
  // Nothing that was computed counts as unused.
  EXPECT_TRUE(checkpoint.check_all_used({"k"}).ok());
  // Other extents are named.
  EXPECT_FALSE(catalog.view("k", {2 * 32, 3}, {2 * 32, 3}, {.transposed = 32}).ok());
}

TEST(Import, NegativeEpsilonIsNamed) {
  json config = tiny();
  config["rms_norm_eps"] = -1;
  EXPECT_EQ(error_of(config), "config.json: \"rms_norm_eps\" is -1, expected a number from 0 to 1");
  config["rms_norm_eps"] = NAN;
  EXPECT_EQ(error_of(config),
            "config.json: \"rms_norm_eps\" is NaN, expected a number from 0 to 1");
}

}  // namespace
}  // namespace sinter::models
