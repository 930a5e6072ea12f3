// Whole models at the edges of what numbers can do: rows of any width, weights and caches that are
// no numbers, any number of threads.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "frontends/open/open_checkpoint.h"
#include "ir/interpreter.h"
#include "models/import.h"
#include "tests/codegen/compiled_model.h"
#include "tests/codegen/small_model.h"

namespace sinter {
namespace {

using codegen::Activations;
using frontends::ModelFolder;

// BitNet's are master weights, which become ternary with one scale of the matrix.
ModelFolder folder_of(const SmallModel& model) {
  uint32_t state = 7;
  std::vector<frontends::TestTensor> tensors;
  for (const SmallModel::Module& module : model.modules())
    tensors.push_back(random_tensor(module, state));
  return {.config = model.config(), .tensors = std::move(tensors)};
}

class OddWidths : public testing::TestWithParam<SmallModel> {};

TEST_P(OddWidths, ComputesWhatTheReferenceDoes) {
  const ModelFolder folder = folder_of(GetParam());
  const OpenedModel opened = import_opened(folder.open());
  ASSERT_FALSE(HasFailure());
  const std::vector<int32_t> ids = some_tokens(19, GetParam().vocab);
  ir::InterpreterState state;
  const auto want = ir::interpret(opened.model.module, *opened.checkpoint,
                                  {ids, static_cast<int64_t>(ids.size())}, state);
  ASSERT_TRUE(want.ok()) << want.status();
  for (const auto& [activations, tolerance] :
       {std::pair{Activations::a16, 3e-3}, std::pair{Activations::a8, 8e-2}}) {
    const auto model =
        compile_and_load(opened.model, opened.checkpoint.get(), "odd_widths", activations).model;
    ASSERT_NE(model, nullptr);
    auto session = runtime::Session::create(model, 0);
    ASSERT_TRUE(session.ok()) << session.error().message;
    EXPECT_LT(relative_error(prefill_logits(**session, ids), want->data), tolerance);
    (*session)->reset();
    std::vector<float> decoded;
    for (const int32_t id : ids) {
      const auto status = (*session)->decode(id);
      ASSERT_TRUE(status.ok()) << status.error().message;
      const auto row = (*session)->logits();
      decoded.insert(decoded.end(), row.begin(), row.end());
    }
    EXPECT_LT(relative_error(decoded, want->data), tolerance);
  }
}

INSTANTIATE_TEST_SUITE_P(All, OddWidths,
                         testing::Values(SmallModel{"bitnet", 260, 172, 4, 2, 20},
                                         SmallModel{"bitnet", 100, 274, 5, 1, 26},
                                         SmallModel{"llama", 102, 50, 3, 3, 14}),
                         [](const auto& info) {
                           return fmt::format("{}_{}_{}", info.param.model_type, info.param.hidden,
                                              info.param.intermediate);
                         });

// The bytes of a tensor with another number at `element`.
void spoil(ModelFolder& folder, const std::string& name, size_t element, float number) {
  std::string& data = folder.tensor(name).bytes;
  std::memcpy(data.data() + element * sizeof(float), &number, sizeof(float));
}

std::string compile_error(const OpenedModel& opened) {
  codegen::CompileOptions options;
  options.targets = {codegen::targets().front()};
  const std::string path = fmt::format("{}not_finite_{}.plan", testing::TempDir(), ::getpid());
  const auto plan =
      codegen::compile_plan(opened.model, opened.checkpoint.get(), "m", options, path);
  std::filesystem::remove(path);
  return plan.ok() ? "" : std::string(plan.status().message());
}

TEST(WeightsThatAreNotFinite, AreRefusedByName) {
  const std::string end =
      "; weights must be finite numbers: the file is damaged, or the training diverged";
  struct Case {
    std::string tensor;
    size_t element;
    float number;
    std::string said;
  };
  for (const Case& c :
       {Case{"model.norm.weight", 5, std::numeric_limits<float>::quiet_NaN(), "is NaN at [5]"},
        Case{"model.layers.1.self_attn.o_proj.weight", 64 * 3 + 9,
             std::numeric_limits<float>::infinity(), "is infinity at [3, 9]"},
        Case{"model.embed_tokens.weight", 64 * 47 + 63, -std::numeric_limits<float>::infinity(),
             "is -infinity at [47, 63]"}}) {
    ModelFolder folder = folder_of({});
    spoil(folder, c.tensor, c.element, c.number);
    const OpenedModel opened = import_opened(folder.open());
    ASSERT_FALSE(HasFailure());
    const std::string error = compile_error(opened);
    EXPECT_NE(error.find(fmt::format(": tensor \"{}\" {}{}", c.tensor, c.said, end)),
              std::string::npos)
        << error;
  }
  // A GGUF file has names of its own.
  auto checkpoint = frontends::open_checkpoint(SINTER_TEST_GOLDENS "/gguf_llama_f16");
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  ir::Matrix& norm = (*checkpoint)->matrices.at("model.norm");
  std::vector<uint8_t> bytes(norm.codes.begin(), norm.codes.end());
  std::fill(bytes.end() - ir::byte_size(norm.type.format.scale_type), bytes.end(), uint8_t{0xff});
  norm.codes = bytes;
  const std::string error = compile_error(import_opened(std::move(checkpoint)));
  EXPECT_NE(error.find("tensor \"output_norm.weight\" is NaN at ["), std::string::npos) << error;
}

// Values beyond what float16 can hold end the step that makes them, and no step before.
TEST(Caches, NumbersBeyondFloat16EndTheStep) {
  ModelFolder folder = folder_of({});
  // Of token 5 alone: its embedding has the only number in this column.
  for (size_t t = 0; t < 48; ++t) spoil(folder, "model.embed_tokens.weight", t * 64, 0);
  spoil(folder, "model.embed_tokens.weight", size_t{5} * 64, 1);
  spoil(folder, "model.layers.0.self_attn.v_proj.weight", 0, 1e6F);
  const OpenedModel opened = import_opened(folder.open());
  ASSERT_FALSE(HasFailure());
  for (const Activations activations : {Activations::a8, Activations::a16}) {
    const auto model =
        compile_and_load(opened.model, opened.checkpoint.get(), "overflow", activations).model;
    ASSERT_NE(model, nullptr);
    auto session = runtime::Session::create(model, 0);
    ASSERT_TRUE(session.ok()) << session.error().message;
    const auto message = [](const runtime::Status& status) {
      return status.ok() ? std::string() : status.error().message;
    };
    const std::vector<int32_t> before = {1, 2, 3}, with = {1, 5, 3};
    EXPECT_EQ(message((*session)->prefill(before)), "");
    EXPECT_NE(message((*session)->decode(5)).find("at position 3 is NaN"), std::string::npos);
    EXPECT_NE(message((*session)->decode(1)).find("at position 4 is NaN"), std::string::npos);
    (*session)->reset();
    EXPECT_NE(message((*session)->prefill(with)).find("at position 2 is NaN"), std::string::npos);
    (*session)->reset();
    EXPECT_EQ(message((*session)->prefill(before)), "");
  }
}

// The tiny model, far enough that attention splits its positions.
TEST(Threads, LogitsAreTheSameBitsForAnyNumberOfThem) {
  auto checkpoint =
      frontends::open_checkpoint(SINTER_TEST_GOLDENS "/../../models/tiny-bonsai-1bit");
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const auto imported = models::import_checkpoint(**checkpoint);
  ASSERT_TRUE(imported.ok()) << imported.status();
  const auto compiled = compile_and_load(*imported, checkpoint->get(), "threads", Activations::a8);
  ASSERT_NE(compiled.model, nullptr);
  const std::shared_ptr<const runtime::PlanFile> file(compiled.model, &compiled.model->file());
  std::vector<int32_t> prompt;
  for (int32_t i = 0; i < 90; ++i) prompt.push_back(i * 37 % 1021);
  std::vector<float> alone;
  for (const int threads : {1, 2, 3, 4, 5, 7, 8, 16, 33, 64}) {
    auto model = runtime::Model::load(file, {.threads = threads});
    ASSERT_TRUE(model.ok()) << model.error().message;
    for (const auto executor : {runtime::Executor::persistent, runtime::Executor::eager}) {
      // Waiting takes long where threads outnumber processors; one such count is enough.
      if (executor == runtime::Executor::eager && threads > 5 && threads < 64) continue;
      auto session = runtime::Session::create(*model, 0, executor);
      ASSERT_TRUE(session.ok()) << session.error().message;
      std::vector<float> all = prefill_logits(**session, prompt);
      const auto decode = [&](int32_t token) {
        const auto status = (*session)->decode(token);
        EXPECT_TRUE(status.ok()) << status.error().message;
        const auto row = (*session)->logits();
        all.insert(all.end(), row.begin(), row.end());
      };
      for (int32_t i = 0; i < 3; ++i) decode(i * 11);
      // Where splits become more.
      const auto status = (*session)->prefill(prompt);
      EXPECT_TRUE(status.ok()) << status.error().message;
      for (int32_t i = 0; i < 2; ++i) decode(i * 13);
      if (alone.empty()) alone = all;
      EXPECT_TRUE(all == alone) << threads << " threads, " << runtime::name(executor);
    }
  }
}

}  // namespace
}  // namespace sinter
