// Whole models in the packed forms of other tools, against the same numbers as dense weights.
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "ir/interpreter.h"
#include "ir/state_format.h"
#include "tests/codegen/compiled_model.h"
#include "tests/codegen/small_model.h"
#include "tests/frontends/quantized/packed_modules.h"

namespace sinter {
namespace {

using frontends::Json;
using frontends::ModelFolder;
using frontends::Quantized;
using frontends::TestTensor;

constexpr int64_t kGroup = 32;
const SmallModel kModel = {.hidden = 96, .intermediate = 160, .head_dim = 32, .tied = false};
// Groups that no kernel reads.
constexpr int64_t kOddGroup = 20;
const SmallModel kOddModel = {
    .hidden = 120, .intermediate = 200, .heads = 3, .kv_heads = 1, .head_dim = 40, .tied = false};

struct Packing {
  std::string name;
  Json block;  // quantization_config
  std::vector<TestTensor> (*tensors)(const Quantized& q, const std::string& module);
  uint32_t min_zero = 1;
  uint32_t max_zero = 15;
  std::string format = "shifted b4 g32 f32";
  int64_t group = kGroup;

  const SmallModel& model() const { return group == kGroup ? kModel : kOddModel; }
};

Json awq(int64_t group) { return {{"quant_method", "awq"}, {"bits", 4}, {"group_size", group}}; }
Json gptq(int64_t group) { return {{"quant_method", "gptq"}, {"bits", 4}, {"group_size", group}}; }
std::vector<TestTensor> gptq_tensors(const Quantized& q, const std::string& module) {
  return frontends::gptq_tensors(q, 1, module);
}
Json compressed_tensors(int64_t group) {
  return {{"quant_method", "compressed-tensors"},
          {"format", "pack-quantized"},
          {"ignore", {"lm_head"}},
          {"config_groups",
           {{"group_0",
             {{"targets", {"Linear"}},
              {"weights",
               {{"num_bits", 4},
                {"type", "int"},
                {"strategy", "group"},
                {"group_size", group},
                {"symmetric", false},
                {"actorder", nullptr}}}}}}}};
}

const std::vector<Packing>& packings() {
  static const std::vector<Packing> all = {
      {"awq", awq(kGroup), frontends::awq_tensors},
      {"gptq", gptq(kGroup), gptq_tensors},
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
      {"compressed_tensors", compressed_tensors(kGroup), frontends::pack_quantized_tensors},
      {"awq_odd_groups", awq(kOddGroup), frontends::awq_tensors, 1, 15, "shifted b4 g20 f32",
       kOddGroup},
      {"gptq_odd_groups", gptq(kOddGroup), gptq_tensors, 1, 15, "shifted b4 g20 f32", kOddGroup},
      {"compressed_tensors_odd_groups", compressed_tensors(kOddGroup),
       frontends::pack_quantized_tensors, 1, 15, "shifted b4 g20 f32", kOddGroup}};
  return all;
}

// A llama of two layers, once packed and once with the numbers that the packed form stands for.
struct Twins {
  ModelFolder packed;
  ModelFolder dense;

  explicit Twins(const Packing& packing) {
    dense.config = packing.model().config();
    packed.config = dense.config;
    packed.config["quantization_config"] = packing.block;
    uint32_t state = 7;
    for (const SmallModel::Module& module : packing.model().modules()) {
      if (module.is_projection()) {
        add_packed(packing, module, frontends::next_number(state));
        continue;
      }
      dense.tensors.push_back(random_tensor(module, state));
      packed.tensors.push_back(dense.tensors.back());
    }
  }

 private:
  void add_packed(const Packing& packing, const SmallModel::Module& module, uint32_t seed) {
    Quantized q{module.shape[0], module.shape[1], packing.group, 4};
    // Codes spread about 4.6 and scales about 0.58 of their size: rows of deviation 1 / sqrt(cols).
    q.fill(packing.min_zero, packing.max_zero, 0.3F / std::sqrt(static_cast<float>(q.cols)), seed);
    for (TestTensor& tensor : packing.tensors(q, module.name))
      packed.tensors.push_back(std::move(tensor));
    dense.tensors.push_back(
        frontends::f32_tensor(module.name + ".weight", module.shape, q.numbers));
  }
};

// With caches of float32: shorter ones would make steps of what differs in its last bits.
std::vector<float> reference(const OpenedModel& opened, const std::vector<int32_t>& ids) {
  ir::Module module = opened.model.module;
  ir::set_state_format(module, ir::DType::f32);
  ir::InterpreterState state;
  const auto logits =
      ir::interpret(module, *opened.checkpoint, {ids, static_cast<int64_t>(ids.size())}, state);
  EXPECT_TRUE(logits.ok()) << logits.status();
  return logits.ok() ? logits->data : std::vector<float>();
}

std::vector<float> compiled(const OpenedModel& opened, const std::vector<int32_t>& ids,
                            codegen::Activations activations) {
  const auto [target, model] =
      compile_and_load(opened.model, opened.checkpoint.get(), "packed", activations);
  if (model == nullptr) return {};
  auto session = runtime::Session::create(model, 0, runtime::Executor::persistent);
  EXPECT_TRUE(session.ok()) << session.error().message;
  return session.ok() ? prefill_logits(**session, ids) : std::vector<float>();
}

class PackedModel : public testing::TestWithParam<size_t> {};

TEST_P(PackedModel, ComputesWhatItsDenseTwinDoes) {
  const Twins twins(packings()[GetParam()]);
  const OpenedModel packed = import_opened(twins.packed.open()),
                    dense = import_opened(twins.dense.open());
  ASSERT_FALSE(HasFailure());
  EXPECT_EQ(ir::to_string(packed.checkpoint->matrix("model.layers.1.mlp.down_proj")->type.format),
            packings()[GetParam()].format);
  const std::vector<int32_t> ids = some_tokens(21, kModel.vocab);
  const std::vector<float> want = reference(dense, ids);
  EXPECT_LT(relative_error(reference(packed, ids), want), 1e-6);
  EXPECT_LT(relative_error(compiled(packed, ids, codegen::Activations::a16), want), 2e-3);
  EXPECT_LT(relative_error(compiled(packed, ids, codegen::Activations::a8), want), 5e-2);
}

INSTANTIATE_TEST_SUITE_P(All, PackedModel, testing::Range(size_t{0}, packings().size()),
                         [](const auto& info) { return packings()[info.param].name; });

}  // namespace
}  // namespace sinter
