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
#include "frontends/open/open_checkpoint.h"
#include "ir/ops.h"
#include "models/import.h"
#include "models/registry.h"

namespace sinter {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// What a family's small configuration has beside or instead of the common fields.
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
};

json config_of(const models::Family& family) {
  json config = json::parse(kCommon);
  config["model_type"] = family.model_type;
  for (const Difference& difference : kDifferences)
    if (difference.model_type == family.model_type) config.update(json::parse(difference.fields));
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

std::string kind_of(const std::vector<const ir::Node*>& nodes) {
  std::set<ir::Op> ops;
  bool shared = false;
  for (const ir::Node* node : nodes) {
    ops.insert(node->op);
    shared =
        shared || (node->op == ir::Op::matmul && node->label.find("shared") != std::string::npos);
  }
  std::string kind = ops.contains(ir::Op::attention)    ? "attention"
                     : ops.contains(ir::Op::delta_rule) ? "delta net"
                     : ops.contains(ir::Op::short_conv) ? "convolution"
                                                        : "";
  kind += kind.empty() ? "" : " + ";
  return kind + (!ops.contains(ir::Op::gather_matmul) ? "MLP"
                 : shared                             ? "experts + shared MLP"
                                                      : "experts");
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
  const bool has_delta = kind.starts_with("delta net");
  const bool has_experts = kind.find("experts") != std::string_view::npos;
  const bool has_shared = kind.find("shared") != std::string_view::npos;
  return (has_delta ? 4 : 3) + (has_experts ? 3 : 2) + (has_shared ? 1 : 0);
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
  options.targets = {codegen::targets().front()};
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
