// Whole models in the packed forms of other tools, against the same numbers as dense weights.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "ir/interpreter.h"
#include "models/registry.h"
#include "tests/codegen/compiled_model.h"
#include "tests/frontends/quantized/packed_modules.h"

namespace sinter {
namespace {

using frontends::Json;
using frontends::ModelFolder;
using frontends::Quantized;
using frontends::TestTensor;

constexpr int64_t kHidden = 96;
constexpr int64_t kInner = 160;
constexpr int64_t kHead = 32;
constexpr int64_t kHeads = 4;
constexpr int64_t kKvHeads = 2;
constexpr int64_t kVocab = 48;
constexpr int64_t kGroup = 32;

struct Packing {
  std::string name;
  Json block;  // quantization_config
  std::vector<TestTensor> (*tensors)(const Quantized& q, const std::string& module);
  uint32_t min_zero = 1;
  uint32_t max_zero = 15;
  std::string format = "shifted b4 g32 f32";
};

const std::vector<Packing>& packings() {
  static const std::vector<Packing> all = {
      {"awq",
       {{"quant_method", "awq"}, {"bits", 4}, {"group_size", kGroup}},
       frontends::awq_tensors},
      {"gptq",
       {{"quant_method", "gptq"}, {"bits", 4}, {"group_size", kGroup}},
       [](const Quantized& q, const std::string& module) {
         return frontends::gptq_tensors(q, 1, module);
       }},
      // Zeros as version 2 stores them under the name of version 1, and biases of zeros.
      {"gptq_symmetric",
       {{"quant_method", "gptq"},
        {"bits", 4},
        {"group_size", kGroup},
        {"sym", true},
        {"checkpoint_format", "gptq"}},
       [](const Quantized& q, const std::string& module) {
         auto tensors = frontends::gptq_tensors(q, 0, module);
         tensors.push_back(frontends::f32_tensor(module + ".bias", {q.rows},
                                                 std::vector<float>(static_cast<size_t>(q.rows))));
         return tensors;
       },
       8,
       8,
       "symmetric b4 z8 g32 f32"},
      {"compressed_tensors",
       {{"quant_method", "compressed-tensors"},
        {"format", "pack-quantized"},
        {"ignore", {"lm_head"}},
        {"config_groups",
         {{"group_0",
           {{"targets", {"Linear"}},
            {"weights",
             {{"num_bits", 4},
              {"type", "int"},
              {"strategy", "group"},
              {"group_size", kGroup},
              {"symmetric", false},
              {"actorder", nullptr}}}}}}}},
       frontends::pack_quantized_tensors}};
  return all;
}

// A llama of two layers, once packed and once with the numbers that the packed form stands for.
struct Twins {
  ModelFolder packed;
  ModelFolder dense;

  explicit Twins(const Packing& packing) {
    dense.config = {{"model_type", "llama"},
                    {"hidden_size", kHidden},
                    {"intermediate_size", kInner},
                    {"num_attention_heads", kHeads},
                    {"num_key_value_heads", kKvHeads},
                    {"head_dim", kHead},
                    {"num_hidden_layers", 2},
                    {"vocab_size", kVocab},
                    {"rms_norm_eps", 1e-5},
                    {"max_position_embeddings", 64},
                    {"rope_theta", 10000.0},
                    {"tie_word_embeddings", false},
                    {"hidden_act", "silu"}};
    packed.config = dense.config;
    packed.config["quantization_config"] = packing.block;
    add_plain("model.embed_tokens.weight", {kVocab, kHidden}, 0.5F, 0);
    add_plain("lm_head.weight", {kVocab, kHidden}, 0.2F, 0);
    add_plain("model.norm.weight", {kHidden}, 0.2F, 1);
    for (int layer = 0; layer < 2; ++layer) {
      const std::string prefix = fmt::format("model.layers.{}.", layer);
      add_plain(prefix + "input_layernorm.weight", {kHidden}, 0.2F, 1);
      add_plain(prefix + "post_attention_layernorm.weight", {kHidden}, 0.2F, 1);
      add_module(packing, prefix + "self_attn.q_proj", kHeads * kHead, kHidden);
      add_module(packing, prefix + "self_attn.k_proj", kKvHeads * kHead, kHidden);
      add_module(packing, prefix + "self_attn.v_proj", kKvHeads * kHead, kHidden);
      add_module(packing, prefix + "self_attn.o_proj", kHidden, kHeads * kHead);
      add_module(packing, prefix + "mlp.gate_proj", kInner, kHidden);
      add_module(packing, prefix + "mlp.up_proj", kInner, kHidden);
      add_module(packing, prefix + "mlp.down_proj", kHidden, kInner);
    }
  }

 private:
  // Numbers in [middle - size, middle + size).
  void add_plain(const std::string& name, const std::vector<int64_t>& shape, float size,
                 float middle) {
    size_t count = 1;
    for (const int64_t extent : shape) count *= static_cast<size_t>(extent);
    std::vector<float> numbers(count);
    for (float& number : numbers)
      number =
          middle + size * (static_cast<float>(frontends::next_number(state_) % 2048) / 1024 - 1);
    for (ModelFolder* folder : {&packed, &dense})
      folder->tensors.push_back(frontends::f32_tensor(name, shape, numbers));
  }
  void add_module(const Packing& packing, const std::string& name, int64_t rows, int64_t cols) {
    Quantized q{rows, cols, kGroup, 4};
    // Codes spread about 4.6 and scales about 0.58 of their size: rows of deviation 1 / sqrt(cols).
    q.fill(packing.min_zero, packing.max_zero, 0.3F / std::sqrt(static_cast<float>(cols)),
           frontends::next_number(state_));
    for (TestTensor& tensor : packing.tensors(q, name)) packed.tensors.push_back(std::move(tensor));
    dense.tensors.push_back(frontends::f32_tensor(name + ".weight", {rows, cols}, q.numbers));
  }
  uint32_t state_ = 7;
};

struct Opened {
  std::unique_ptr<frontends::Checkpoint> checkpoint;
  models::ImportedModel model;
};

Opened open(const ModelFolder& folder) {
  Opened opened;
  auto checkpoint = folder.open();
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
  if (!checkpoint.ok()) return opened;
  opened.checkpoint = *std::move(checkpoint);
  auto model = models::import_checkpoint(*opened.checkpoint);
  EXPECT_TRUE(model.ok()) << model.status();
  if (model.ok()) opened.model = *std::move(model);
  return opened;
}

std::vector<float> reference(const Opened& opened, const std::vector<int32_t>& ids) {
  ir::InterpreterState state;
  const auto logits = ir::interpret(opened.model.module, *opened.checkpoint,
                                    {ids, static_cast<int64_t>(ids.size())}, state);
  EXPECT_TRUE(logits.ok()) << logits.status();
  return logits.ok() ? logits->data : std::vector<float>();
}

std::vector<float> compiled(const Opened& opened, const std::vector<int32_t>& ids,
                            codegen::Activations activations) {
  const auto [target, model] =
      compile_and_load(opened.model, opened.checkpoint.get(), "packed", activations);
  if (model == nullptr) return {};
  auto session = runtime::Session::create(model, 0, runtime::Executor::persistent);
  EXPECT_TRUE(session.ok()) << session.error().message;
  return session.ok() ? prefill_logits(**session, ids) : std::vector<float>();
}

double relative_error(const std::vector<float>& got, const std::vector<float>& want) {
  EXPECT_EQ(got.size(), want.size());
  double difference = 0, size = 0;
  for (size_t i = 0; i < std::min(got.size(), want.size()); ++i) {
    difference += std::pow(double{got[i]} - want[i], 2);
    size += std::pow(double{want[i]}, 2);
  }
  return std::sqrt(difference / size);
}

class PackedModel : public testing::TestWithParam<size_t> {};

TEST_P(PackedModel, ComputesWhatItsDenseTwinDoes) {
  const Twins twins(packings()[GetParam()]);
  const Opened packed = open(twins.packed), dense = open(twins.dense);
  ASSERT_FALSE(HasFailure());
  EXPECT_EQ(ir::to_string(packed.checkpoint->matrix("model.layers.1.mlp.down_proj")->type.format),
            packings()[GetParam()].format);
  std::vector<int32_t> ids;
  for (int32_t i = 0; i < 21; ++i) ids.push_back(i * 7 % static_cast<int32_t>(kVocab));
  const std::vector<float> want = reference(dense, ids);
  EXPECT_LT(relative_error(reference(packed, ids), want), 1e-6);
  EXPECT_LT(relative_error(compiled(packed, ids, codegen::Activations::a16), want), 2e-3);
  EXPECT_LT(relative_error(compiled(packed, ids, codegen::Activations::a8), want), 5e-2);
}

INSTANTIATE_TEST_SUITE_P(All, PackedModel, testing::Range(size_t{0}, packings().size()),
                         [](const auto& info) { return packings()[info.param].name; });

}  // namespace
}  // namespace sinter
