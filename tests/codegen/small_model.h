// Models of two layers with random weights, for tests that compile and run whole ones.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "models/import.h"
#include "tests/frontends/model_folder.h"

namespace sinter {

struct SmallModel {
  std::string model_type = "llama";
  int64_t hidden = 64, intermediate = 96, heads = 4, kv_heads = 2, head_dim = 16;
  bool tied = true;
  int64_t vocab = 48;

  frontends::Json config() const {
    return {{"model_type", model_type},
            {"hidden_size", hidden},
            {"intermediate_size", intermediate},
            {"num_attention_heads", heads},
            {"num_key_value_heads", kv_heads},
            {"head_dim", head_dim},
            {"num_hidden_layers", 2},
            {"vocab_size", vocab},
            {"rms_norm_eps", 1e-5},
            {"max_position_embeddings", 64},
            {"rope_theta", 10000.0},
            {"tie_word_embeddings", tied}};
  }

  struct Module {
    std::string name;
    std::vector<int64_t> shape;
    bool is_projection() const { return name.ends_with("_proj"); }
  };
  // BitNet has norms before the output projections.
  std::vector<Module> modules() const {
    std::vector<Module> all = {{"model.embed_tokens", {vocab, hidden}}, {"model.norm", {hidden}}};
    if (!tied) all.push_back({"lm_head", {vocab, hidden}});
    for (int layer = 0; layer < 2; ++layer) {
      const auto add = [&](const char* name, std::vector<int64_t> shape) {
        all.push_back({fmt::format("model.layers.{}.{}", layer, name), std::move(shape)});
      };
      add("input_layernorm", {hidden});
      add("post_attention_layernorm", {hidden});
      add("self_attn.q_proj", {heads * head_dim, hidden});
      add("self_attn.k_proj", {kv_heads * head_dim, hidden});
      add("self_attn.v_proj", {kv_heads * head_dim, hidden});
      add("self_attn.o_proj", {hidden, heads * head_dim});
      add("mlp.gate_proj", {intermediate, hidden});
      add("mlp.up_proj", {intermediate, hidden});
      add("mlp.down_proj", {hidden, intermediate});
      if (model_type != "bitnet") continue;
      add("self_attn.attn_sub_norm", {heads * head_dim});
      add("mlp.ffn_sub_norm", {intermediate});
    }
    return all;
  }
};

// Norms are near 1, rows of matrices have a deviation of about 1 / sqrt(columns).
inline frontends::TestTensor random_tensor(const SmallModel::Module& module, uint32_t& state) {
  const bool is_norm = module.shape.size() == 1;
  const float middle = is_norm ? 1 : 0;
  const float size = is_norm ? 0.2F : 1.7F / std::sqrt(static_cast<float>(module.shape.back()));
  size_t count = 1;
  for (const int64_t extent : module.shape) count *= static_cast<size_t>(extent);
  std::vector<float> numbers(count);
  for (float& number : numbers)
    number = middle + size * (static_cast<float>(frontends::next_number(state) % 2048) / 1024 - 1);
  return frontends::f32_tensor(module.name + ".weight", module.shape, numbers);
}

struct OpenedModel {
  std::unique_ptr<frontends::Checkpoint> checkpoint;
  models::ImportedModel model;
};

// A failure when it cannot be imported.
inline OpenedModel import_opened(
    absl::StatusOr<std::unique_ptr<frontends::Checkpoint>> checkpoint) {
  OpenedModel opened;
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
  if (!checkpoint.ok()) return opened;
  opened.checkpoint = *std::move(checkpoint);
  auto model = models::import_checkpoint(*opened.checkpoint);
  EXPECT_TRUE(model.ok()) << model.status();
  if (model.ok()) opened.model = *std::move(model);
  return opened;
}

// Token ids without a pattern.
inline std::vector<int32_t> some_tokens(int32_t count, int64_t vocab) {
  std::vector<int32_t> ids;
  for (int32_t i = 0; i < count; ++i) ids.push_back(i * 7 % static_cast<int32_t>(vocab));
  return ids;
}

// ||got - want|| / ||want||
inline double relative_error(const std::vector<float>& got, const std::vector<float>& want) {
  EXPECT_EQ(got.size(), want.size());
  double difference = 0, size = 0;
  for (size_t i = 0; i < std::min(got.size(), want.size()); ++i) {
    difference += std::pow(double{got[i]} - want[i], 2);
    size += std::pow(double{want[i]}, 2);
  }
  return std::sqrt(difference / size);
}

}  // namespace sinter
