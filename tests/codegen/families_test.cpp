// Every family of the registry as a small model without weights: the graph of a layer of each kind
// as it is imported, the phases that passes make of it, and how many of them a step of one row has.
// The texts are in tests/codegen/families/; SINTER_UPDATE_TEXTS=1 writes them anew.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "codegen/plan_builder.h"
#include "codegen/schedule/join_phases.h"
#include "frontends/open/open_checkpoint.h"
#include "ir/ops.h"
#include "models/import.h"
#include "models/registry.h"
#include "passes/pipeline.h"

namespace sinter {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// What a family's small configuration has beside or instead of the common fields; null: it has
// none.
struct Difference {
  std::string_view model_type;
  std::string_view fields;
};
constexpr std::string_view kCommon = R"({
    "vocab_size": 96, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
    "max_position_embeddings": 64, "quantization": {"group_size": 32, "bits": 4}})";
constexpr Difference kDifferences[] = {
    {"openelm", R"({"num_query_heads": [4, 6], "num_kv_heads": [2, 3], "ffn_dim_divisor": 32,
                    "ffn_multipliers": [2.0, 3.0]})"},
    {"dots1", R"({"num_experts": 8, "num_experts_per_tok": 2, "n_shared_experts": 2,
                  "first_k_dense_replace": 1})"},
    {"lfm2", R"({"layer_types": ["conv", "full_attention"]})"},
    {"lfm2_moe", R"({"num_hidden_layers": 3, "num_dense_layers": 1,
                     "layer_types": ["conv", "conv", "full_attention"]})"},
    {"qwen3_5", R"({"full_attention_interval": 2})"},
    {"qwen3_5_text", R"({"full_attention_interval": 2})"},
    {"qwen3_5_moe", R"({"full_attention_interval": 2})"},
    {"qwen3_5_moe_text", R"({"full_attention_interval": 2})"},
    {"qwen3_next", R"({"full_attention_interval": 2})"},
    // What the file says beside the rotation is checked where the checkpoint is opened.
    {"prism_hadamard_qwen35",
     R"({"full_attention_interval": 2, "hadamard_config": {}, "synthetic_rotation": 32})"},
    {"gemma2", R"({"sliding_window": 8})"},
    {"gemma3_text", R"({"sliding_window": 8, "sliding_window_pattern": 2})"},
    {"gemma3", R"({"sliding_window": 8, "sliding_window_pattern": 2})"},
    {"olmo3", R"({"sliding_window": 8, "num_hidden_layers": 4})"},
    {"cohere2", R"({"sliding_window": 8, "num_hidden_layers": 4})"},
    {"smollm3", R"({"num_hidden_layers": 4})"},
    {"llama4_text", R"({"num_hidden_layers": 4, "attention_chunk_size": 8})"},
    {"llama4", R"({"num_hidden_layers": 4, "attention_chunk_size": 8})"},
    {"phimoe", R"({"num_local_experts": 4, "num_experts_per_tok": 2})"},
    {"deepseek_v2", R"({"num_key_value_heads": 4, "q_lora_rank": 64, "kv_lora_rank": 32,
                        "qk_nope_head_dim": 16, "qk_rope_head_dim": 16, "v_head_dim": 24,
                        "n_routed_experts": 8, "num_experts_per_tok": 2, "n_shared_experts": 2,
                        "moe_intermediate_size": 32, "first_k_dense_replace": 1})"},
    {"deepseek_v3", R"({"num_key_value_heads": 4, "q_lora_rank": 64, "kv_lora_rank": 32,
                        "qk_nope_head_dim": 16, "qk_rope_head_dim": 16, "v_head_dim": 24,
                        "n_routed_experts": 8, "num_experts_per_tok": 2, "n_shared_experts": 1,
                        "moe_intermediate_size": 32, "first_k_dense_replace": 1, "n_group": 4,
                        "topk_group": 2})"},
    {"glm4_moe_lite", R"({"num_key_value_heads": 4, "q_lora_rank": 64, "kv_lora_rank": 32,
                          "qk_nope_head_dim": 24, "qk_rope_head_dim": 16, "v_head_dim": 32,
                          "n_routed_experts": 6, "num_experts_per_tok": 2, "n_shared_experts": 1,
                          "moe_intermediate_size": 32, "first_k_dense_replace": 1})"},
    {"kimi_linear", R"({"num_hidden_layers": 3, "num_key_value_heads": 4, "q_lora_rank": null,
                        "kv_lora_rank": 32, "qk_nope_head_dim": 16, "qk_rope_head_dim": 8,
                        "v_head_dim": 16, "mla_use_nope": true, "num_experts": 6,
                        "num_experts_per_token": 2, "num_shared_experts": 1,
                        "moe_intermediate_size": 32, "first_k_dense_replace": 1,
                        "linear_attn_config": {"full_attn_layers": [3], "kda_layers": [1, 2],
                        "head_dim": 32, "num_heads": 4, "short_conv_kernel_size": 4}})"},
    {"mamba", R"({"time_step_rank": 32})"},
    {"mamba2", R"({"num_heads": 4, "head_dim": 32, "n_groups": 2})"},
    {"bamba", R"({"attn_layer_indices": [1], "mamba_n_heads": 4, "mamba_d_head": 32,
                  "mamba_n_groups": 2})"},
    {"falcon_h1", R"({"mamba_d_ssm": 128, "mamba_n_heads": 8, "mamba_d_head": 16,
                      "mamba_n_groups": 2})"},
    {"granitemoehybrid", R"({"layer_types": ["mamba", "attention"], "num_local_experts": 4,
                             "num_experts_per_tok": 2, "shared_intermediate_size": 64,
                             "mamba_n_heads": 4, "mamba_d_head": 32, "mamba_n_groups": 2})"},
    {"nemotron_h", R"({"num_hidden_layers": 4, "hybrid_override_pattern": "M-*E",
                       "mamba_num_heads": 8, "mamba_head_dim": 16, "ssm_state_size": 16,
                       "n_groups": 2, "n_routed_experts": 6, "n_shared_experts": 1,
                       "moe_intermediate_size": 32, "moe_shared_expert_intermediate_size": 64,
                       "num_experts_per_tok": 2})"},
    {"jamba", R"({"num_hidden_layers": 4, "attn_layer_period": 4, "attn_layer_offset": 2,
                  "num_experts": 4, "num_experts_per_tok": 2, "mamba_d_state": 16,
                  "mamba_dt_rank": 32})"},
    {"minimax", R"({"layer_types": ["linear_attention", "full_attention"], "num_local_experts": 4,
                    "num_experts_per_tok": 2})"},
    {"gemma3n_text",
     R"({"quantization": null, "num_hidden_layers": 5, "intermediate_size": 128, "sliding_window": 16,
                         "vocab_size_per_layer_input": 96, "hidden_size_per_layer_input": 32,
                         "num_kv_shared_layers": 2, "laurel_rank": 32,
                         "layer_types": ["sliding_attention", "sliding_attention",
                         "full_attention", "sliding_attention", "full_attention"]})"},
    {"gemma3n",
     R"({"quantization": null, "num_hidden_layers": 5, "intermediate_size": 128, "sliding_window": 16,
                    "vocab_size_per_layer_input": 96, "hidden_size_per_layer_input": 32,
                    "num_kv_shared_layers": 2, "laurel_rank": 32,
                         "layer_types": ["sliding_attention", "sliding_attention",
                         "full_attention", "sliding_attention", "full_attention"]})"},
    {"gemma4_text", R"({"num_hidden_layers": 6, "global_head_dim": 32, "sliding_window": 16,
                        "vocab_size_per_layer_input": 96, "hidden_size_per_layer_input": 32,
                        "num_kv_shared_layers": 0})"},
    {"gemma4", R"({"num_hidden_layers": 6, "global_head_dim": 32, "sliding_window": 16,
                   "vocab_size_per_layer_input": 96, "hidden_size_per_layer_input": 32,
                   "num_kv_shared_layers": 0})"},
};

json config_of(const models::Family& family) {
  json config = json::parse(kCommon);
  config["model_type"] = family.model_type;
  for (const Difference& difference : kDifferences)
    if (difference.model_type == family.model_type)
      config.merge_patch(json::parse(difference.fields));
  return config;
}

// The number of the layer that a label names, and what is behind it; -1: none.
std::pair<int64_t, std::string> layer_of(std::string_view label) {
  constexpr std::string_view kLayers = "layers.";
  const size_t at = label.find(kLayers);
  if (at == std::string_view::npos) return {-1, std::string(label)};
  const std::string_view rest = label.substr(at + kLayers.size());
  const size_t dot = std::min(rest.find('.'), rest.size());
  return {std::stoll(std::string(rest.substr(0, dot))),
          std::string(rest.substr(std::min(dot + 1, rest.size())))};
}

// Names of the same layer without what they share.
std::string short_label(std::string_view label) {
  std::string text;
  for (size_t at = 0; at < label.size();) {
    const size_t end = std::min(label.find('|', at), label.size());
    text += (at == 0 ? "" : "|") + layer_of(label.substr(at, end - at)).second;
    at = end + 1;
  }
  return text;
}

struct LayerText {
  std::string kind;    // "attention + MLP"
  std::string before;  // a line for each op
  std::string after;   // and for each phase
  int phases = 0;      // of a step of one row
};

// What layers are made of, how it is known, and the most phases that it should have.
struct Part {
  std::string_view name;
  int target;
};
constexpr Part kParts[] = {{"attention", 3},   {"delta net", 4}, {"state space", 4},
                           {"convolution", 3}, {"experts", 3},   {"shared MLP", 1},
                           {"MLP", 2}};

std::string kind_of(const std::vector<const ir::Node*>& nodes) {
  std::set<ir::Op> ops;
  bool shared = false;
  bool feeds = false;
  for (const ir::Node* node : nodes) {
    ops.insert(node->op);
    const bool product = node->op == ir::Op::matmul;
    shared = shared || (product && node->label.find("shared") != std::string::npos);
    feeds = feeds || (product && node->label.find("mlp") != std::string::npos);
  }
  const bool recurrent = ops.contains(ir::Op::delta_rule) || ops.contains(ir::Op::selective_scan);
  const bool experts = ops.contains(ir::Op::gather_matmul);
  const std::map<std::string_view, bool> has = {
      {"attention", ops.contains(ir::Op::attention)},
      {"delta net", ops.contains(ir::Op::delta_rule)},
      {"state space", ops.contains(ir::Op::selective_scan)},
      {"convolution", ops.contains(ir::Op::short_conv) && !recurrent},
      {"experts", experts},
      {"shared MLP", experts && shared},
      {"MLP", feeds && !experts}};
  std::vector<std::string_view> names;
  for (const Part& part : kParts)
    if (has.at(part.name)) names.push_back(part.name);
  if (names.empty()) names.emplace_back("MLP");  // a layer of its own
  return fmt::format("{}", fmt::join(names, " + "));
}

std::vector<LayerText> layers_of(const models::ImportedModel& model,
                                 const codegen::Compilation& compilation) {
  std::vector<LayerText> layers(static_cast<size_t>(model.layers));
  std::vector<std::vector<const ir::Node*>> nodes(layers.size());
  for (const ir::Node& node : model.module.nodes) {
    const auto [layer, label] = layer_of(node.label);
    if (layer < 0 || node.op == ir::Op::dequantize) continue;
    nodes[static_cast<size_t>(layer)].push_back(&node);
    layers[static_cast<size_t>(layer)].before +=
        fmt::format("  {} {}\n", ir::info(node.op).name, label);
  }
  for (size_t i = 0; i < layers.size(); ++i) layers[i].kind = kind_of(nodes[i]);
  for (const ir::Node& node : compilation.module.nodes) {
    const int64_t layer = layer_of(node.label).first;
    if (layer < 0) continue;
    std::vector<std::string_view> ops;
    for (const ir::Node& inner : node.body) ops.push_back(ir::info(inner.op).name);
    layers[static_cast<size_t>(layer)].after += fmt::format(
        "  {} {}: {}\n", node.text("kind"), short_label(node.label), fmt::join(ops, ", "));
  }
  const auto& decode = compilation.devices.front().lowering.schedules.front();
  EXPECT_EQ(decode.shape.name, "decode");
  for (const codegen::LoweredPhase& phase : decode.phases)
    if (const int64_t layer = layer_of(phase.name).first; layer >= 0)
      ++layers[static_cast<size_t>(layer)].phases;
  return layers;
}

// Most phases that a layer of a kind should have.
int target_of(std::string_view kind) {
  int target = 0;
  while (!kind.empty()) {
    const size_t end = std::min(kind.find(" + "), kind.size());
    const auto part = std::ranges::find(kParts, kind.substr(0, end), &Part::name);
    target += part->target;
    kind.remove_prefix(std::min(end + 3, kind.size()));
  }
  return target;
}

// "attention + MLP 5, attention + experts 6", and what the target is where it is less.
std::string phases_text(const std::vector<LayerText>& layers) {
  std::vector<std::string> order;
  std::map<std::string, std::set<int>> counts;
  for (const LayerText& layer : layers) {
    if (!counts.contains(layer.kind)) order.push_back(layer.kind);
    counts[layer.kind].insert(layer.phases);
  }
  std::vector<std::string> parts;
  for (const std::string& kind : order) {
    parts.push_back(fmt::format("{} {}", kind, fmt::join(counts[kind], " or ")));
    if (*counts[kind].rbegin() > target_of(kind))
      parts.back() += fmt::format(" (target {})", target_of(kind));
  }
  return fmt::format("{}", fmt::join(parts, ", "));
}

std::string read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

class Families : public ::testing::TestWithParam<size_t> {};

TEST_P(Families, LayersBecomeThesePhases) {
  const models::Family& family = models::families()[GetParam()];
  const auto model = models::import_synthetic(config_of(family));
  ASSERT_TRUE(model.ok()) << model.status();
  codegen::CompileOptions options;
  options.targets = *codegen::parse_targets("sm_90");
  const auto compilation = codegen::lower_model(*model, nullptr, options);
  ASSERT_TRUE(compilation.ok()) << compilation.status();
  const auto layers = layers_of(*model, *compilation);
  EXPECT_EQ(phases_text(layers), family.phases) << "the row of models/registry.def";

  // Layers that read differently: later ones often begin with what an earlier one has left.
  std::string text;
  std::map<std::string, size_t> imported;
  std::set<std::string> seen;
  for (size_t i = 0; i < layers.size(); ++i) {
    const LayerText& layer = layers[i];
    if (!seen.insert(layer.before + layer.after).second) continue;
    const auto [same, is_new] = imported.emplace(layer.before, i);
    text += fmt::format("layer {}: {}\n{}{} phases\n{}", i, layer.kind,
                        is_new ? layer.before : fmt::format("  as layer {}\n", same->second),
                        layer.phases, layer.after);
  }
  const fs::path file = fs::path(SINTER_TEST_FAMILIES) / (family.model_type + ".txt");
  if (std::getenv("SINTER_UPDATE_TEXTS") != nullptr) {
    std::ofstream(file, std::ios::binary) << text;
  } else {
    EXPECT_EQ(read(file), text) << file << "; SINTER_UPDATE_TEXTS=1 writes it anew";
  }
}

// One of them here, another there, and all at once.
TEST_P(Families, AreCompiledWithoutOptionalPasses) {
  const auto model = models::import_synthetic(config_of(models::families()[GetParam()]));
  ASSERT_TRUE(model.ok()) << model.status();
  codegen::CompileOptions options;
  options.targets = *codegen::parse_targets("x86-64-v3,sm_90");
  std::vector<std::string> optional = {std::string(codegen::kJoinPhases)};
  for (const passes::Pass& pass : passes::pipeline())
    if (pass.optional) optional.emplace_back(pass.name);
  for (const auto& without : {std::vector{optional[GetParam() % optional.size()]}, optional}) {
    options.without = without;
    const auto compilation = codegen::lower_model(*model, nullptr, options);
    ASSERT_TRUE(compilation.ok()) << fmt::format("{}", fmt::join(without, ", ")) << ": "
                                  << compilation.status();
    for (const std::string& name : without)
      EXPECT_EQ(std::ranges::count_if(compilation->remarks,
                                      [&](const passes::Remark& remark) {
                                        return remark.pass == name && remark.reason == "left out";
                                      }),
                1)
          << name;
  }
}

TEST(FamilyRows, WhatIsNoOptionalPassIsRefused) {
  const auto model = models::import_synthetic(config_of(models::families()[0]));
  ASSERT_TRUE(model.ok()) << model.status();
  codegen::CompileOptions options;
  options.targets = {codegen::targets().front()};
  for (const char* name : {"fuse_attention", "fuse", ""}) {
    options.without = {"fuse_experts", name};
    EXPECT_EQ(codegen::lower_model(*model, nullptr, options).status().message(),
              fmt::format("--without: \"{}\" cannot be left out; what can: "
                          "prove_weight_structure, fuse_projections, fuse_routers, fuse_experts, "
                          "join_products, fuse_recurrences, fuse_prologues, join_phases",
                          name));
  }
}

INSTANTIATE_TEST_SUITE_P(All, Families, ::testing::Range(size_t{0}, models::families().size()),
                         [](const auto& index) {
                           std::string name = models::families()[index.param].model_type;
                           std::ranges::replace(name, '-', '_');
                           return name;
                         });

// The cases that the registry names are of these families, where they are at hand.
TEST(FamilyRows, GoldenCasesAreTheirs) {
  int found = 0;
  for (const models::Family& family : models::families()) {
    if (family.golden.empty()) continue;
    for (const char* place : {SINTER_TEST_GOLDENS, SINTER_MORE_GOLDENS}) {
      const fs::path folder = fs::path(place) / family.golden;
      if (!fs::exists(folder)) continue;
      ++found;
      const fs::path file = fs::exists(folder / "model.gguf") ? folder / "model.gguf" : folder;
      const auto checkpoint = frontends::open_checkpoint(file);
      ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
      EXPECT_EQ((*checkpoint)->config["model_type"], family.model_type) << family.golden;
    }
  }
  EXPECT_GE(found, 8);
}

}  // namespace
}  // namespace sinter
