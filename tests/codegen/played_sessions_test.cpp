// Sessions on a GPU that the CPU plays: the runtime's GPU executor, a driver that is none, and the
// kernels of a real model, thread by thread. Sequences come and go, and each gets, token for token
// and bit for bit, what it gets alone.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "codegen/compile/object_cache.h"
#include "codegen/device_plan.h"
#include "codegen/layouts/weight_sections.h"
#include "codegen/plan_builder.h"
#include "frontends/open/open_checkpoint.h"
#include "tests/codegen/hybrid_model.h"
#include "tests/codegen/kernel_harness.h"
#include "tests/codegen/windows.h"
#include "tests/runtime/gpu/double.h"
#include "tests/runtime/session/random_schedule.h"
#include "tests/runtime/session/run_alone.h"

namespace sinter::codegen::test {
namespace {

constexpr int64_t kChunk = 40;

struct PlayedCase {
  std::string name, golden;
  ir::DType kv_format = ir::DType::f16;
  size_t target = 0;       // number of what plays
  unsigned schedules = 8;  // how many are tried
  int64_t window = 0;      // of the first layer; 0: none
  int64_t context = 100;
  bool mtp = false;  // with the head that drafts tokens
};
void PrintTo(const PlayedCase& c, std::ostream* out) { *out << c.name; }

class PlayedSession : public ::testing::TestWithParam<PlayedCase> {
 protected:
  // The golden model, whose kernels run on `on` when the double is told to run them.
  void load(const PlayedCase& c, const TestTarget& on) {
    std::unique_ptr<frontends::Checkpoint> checkpoint;  // none: weights are synthetic
    absl::StatusOr<models::ImportedModel> imported = delta_model();
    if (c.golden != "delta") {
      auto opened = frontends::open_checkpoint(SINTER_TEST_GOLDENS "/" + c.golden);
      ASSERT_TRUE(opened.ok()) << opened.status();
      checkpoint = *std::move(opened);
      imported = models::import_checkpoint(*checkpoint, {}, {.mtp = c.mtp});
    }
    ASSERT_TRUE(imported.ok()) << imported.status();
    if (c.window != 0) give_window(imported->module, c.window);
    CompileOptions options;
    options.targets = *parse_targets("gfx1100");
    options.kv_format = c.kv_format;
    options.chunk = kChunk;
    options.rows = {8, 32};
    const auto compiled = lower_model(*imported, checkpoint.get(), options);
    ASSERT_TRUE(compiled.ok()) << compiled.status();
    const DeviceCompilation& device = compiled->devices[0];
    const auto object = compile_shared(device.source.text, on.target);
    ASSERT_TRUE(object.ok()) << object.status();
    code_ = LoadedCode(*object);
    simt_.emplace(on.wave);
    for (const runtime::Kernel& kernel : device.source.kernels) play(kernel.symbol);
    play("sinter_sample");
    play("sinter_stream");
    gpu_.memory = size_t{1} << 30;
    write(checkpoint.get(), *imported, *compiled, options);
  }

 private:
  LoadedCode code_;
  std::optional<SimtMachine> simt_;

 protected:
  runtime::GpuDouble gpu_;
  std::shared_ptr<runtime::Model> model_;

 private:
  void play(const std::string& symbol) {
    gpu_.kernels[symbol] = [this, kernel = code_.find_simt(symbol)](const GpuArguments& arguments) {
      const runtime::GpuDouble::Launch& launch = gpu_.launches.back();
      // Blocks come in one order and the other.
      const Grid grid{static_cast<int>(launch.blocks), gpu_.launches.size() % 2 == 0,
                      launch.shared_bytes};
      const auto status = simt_->run(kernel, arguments, grid);
      EXPECT_TRUE(status.ok()) << launch.kernel << ": " << status;
    };
  }

  // A plan whose code is the double's.
  void write(const frontends::Checkpoint* checkpoint, const models::ImportedModel& imported,
             const Compilation& compiled, const CompileOptions& options) {
    const std::string path = fmt::format("{}played_{}.plan", testing::TempDir(), ::getpid());
    auto writer = runtime::PlanWriter::create(path);
    ASSERT_TRUE(writer.ok()) << writer.error().message;
    runtime::Plan plan;
    plan.model = "played";
    plan.activations = "a8";
    plan.vocab_size = imported.vocab_size;
    if (!compiled.module.further.empty())
      plan.hidden_size = compiled.module.tensor(compiled.module.returns[1]).shape[1].value;
    plan.layers = imported.layers;
    plan.max_context = compiled.max_context;
    runtime::DevicePlan& device = plan.device_plans.emplace_back(
        assemble_device_plan(compiled, compiled.devices[0], options));
    if (checkpoint == nullptr) {
      device.fills = device_plan_fills(compiled, compiled.devices[0]);
      plan.seed = 1;
    }
    plan.code = {{"gfx1100", "amdgpu", {}, 0, {}, {}}};
    const std::string code =
        std::string(runtime::GpuDouble::code) + "\n" + runtime::code_mark(plan, plan.code[0]);
    plan.code[0].section = *(*writer)->add(std::string_view(code));
    ASSERT_EQ(compiled.weight_sections.size(), 1U);
    if (checkpoint != nullptr) {
      const auto section = write_section(**writer, compiled.module, compiled.weight_sections[0],
                                         *checkpoint, [](double) {});
      ASSERT_TRUE(section.ok()) << section.status();
      device.weights_sections = {*section};
    }
    const auto size = (*writer)->finish(plan);
    ASSERT_TRUE(size.ok()) << size.error().message;
    const auto file = runtime::PlanFile::open(path, true);
    ASSERT_TRUE(file.ok()) << file.error().message;
    std::filesystem::remove(path);
    auto loaded = runtime::Model::load(
        *file, {.threads = 1, .progress = {}, .device = "hip:0", .driver = gpu_.driver()});
    ASSERT_TRUE(loaded.ok()) << loaded.error().message;
    model_ = *loaded;
  }
};

TEST_P(PlayedSession, GivesEachSequenceWhatItGetsAlone) {
  const std::vector<TestTarget> targets = runnable_targets(Device::gpu);
  const PlayedCase& c = GetParam();
  ASSERT_GT(targets.size(), c.target);
  load(c, targets[c.target]);
  if (HasFailure()) return;
  int64_t rows = 0, logits = 0, draws = 0;
  for (unsigned seed = 0; seed < c.schedules; ++seed) {
    SCOPED_TRACE(seed);
    auto session = runtime::Session::create(
        model_, runtime::SessionOptions{.context = c.context,
                                        .sequences = 2 + seed % 4 * 10,
                                        .positions = seed % 2 == 0 ? 0 : 256,
                                        .executor = seed % 4 < 2 ? runtime::Executor::graph
                                                                 : runtime::Executor::eager});
    ASSERT_TRUE(session.ok()) << session.error().message;
    runtime::RandomSchedule schedule(*model_, **session, seed);
    schedule.run(16);
    session->reset();
    if (!HasFailure()) schedule.compare(RunSequenceAlone(model_, c.context));
    rows += schedule.rows();
    logits += schedule.logits();
    draws += schedule.draws();
    if (HasFailure()) return;
  }
  EXPECT_EQ(gpu_.abuse, std::vector<std::string>());
  fmt::print("  {} rows, {} rows of logits and {} draws were compared\n", rows, logits, draws);
}

// A model with a head that drafts tokens.
class PlayedDrafts : public PlayedSession {
 protected:
  using Logits = std::vector<float>;

  // Logits of both entries for all tokens but the last, in steps of so many; then two drafts more.
  struct Both {
    Logits model, drafts;
    bool operator==(const Both&) const = default;
  };
  static Both run(runtime::Session& session, std::span<const int32_t> ids, size_t most) {
    Both both;
    const auto take = [](const auto& rows, Logits& to) {
      ASSERT_TRUE(rows.ok()) << rows.error().message;
      to.insert(to.end(), rows->begin(), rows->end());
    };
    const auto draft = [&](int64_t position, std::span<const int32_t> after) {
      const auto rows = static_cast<int64_t>(after.size());
      const runtime::Session::DraftPart part{0, position, after, rows};
      const auto status = session.draft({&part, 1});
      ASSERT_TRUE(status.ok()) << status.error().message;
      take(session.read_draft_logits(0, rows), both.drafts);
    };
    session.reset();
    const size_t count = ids.size() - 1;
    for (size_t done = 0; done < count; done += most) {
      const size_t size = std::min(most, count - done);
      const runtime::Session::Part part{0, ids.subspan(done, size), static_cast<int64_t>(size)};
      const auto status = session.step({&part, 1});
      EXPECT_TRUE(status.ok()) << status.error().message;
      take(session.read_logits(0, static_cast<int64_t>(size)), both.model);
      draft(static_cast<int64_t>(done), ids.subspan(done + 1, size));
    }
    for (int64_t i = 0; i < 2; ++i) draft(static_cast<int64_t>(count) + i, ids.first(1));
    return both;
  }
};

TEST_P(PlayedDrafts, HaveTheBitsOfEachRowAlone) {
  const std::vector<TestTarget> targets = runnable_targets(Device::gpu);
  const PlayedCase& c = GetParam();
  ASSERT_GT(targets.size(), c.target);
  load(c, targets[c.target]);
  if (HasFailure()) return;
  std::vector<int32_t> ids;
  for (int32_t i = 0; i < 14; ++i) ids.push_back(i * 7 % 48);
  std::optional<Both> alone;
  for (const auto executor : {runtime::Executor::graph, runtime::Executor::eager}) {
    auto session = runtime::Session::create(model_, c.context, executor);
    ASSERT_TRUE(session.ok()) << session.error().message;
    for (const size_t most : {size_t{1}, size_t{5}}) {
      const Both both = run(**session, ids, most);
      if (!alone) alone = both;
      EXPECT_EQ(both.model, alone->model) << most;
      EXPECT_EQ(both.drafts, alone->drafts) << most;
    }
    // A chunk adds up otherwise.
    const Both chunk = run(**session, ids, 13);
    EXPECT_EQ(chunk.drafts.size(), alone->drafts.size());
  }
  EXPECT_EQ(gpu_.abuse, std::vector<std::string>());
}

INSTANTIATE_TEST_SUITE_P(GpuWaves, PlayedDrafts,
                         ::testing::Values(PlayedCase{
                             .name = "OfQwen", .golden = "mtp_qwen3_5", .target = 1, .mtp = true}),
                         [](const auto& info) { return info.param.name; });

// With kChunk, rings of a window of 10 have 128 positions.
INSTANTIATE_TEST_SUITE_P(
    GpuWaves, PlayedSession,
    ::testing::Values(PlayedCase{"Of32", "mlx_b4_g64", ir::DType::q8, 0, 16},
                      PlayedCase{"Of64", "mlx_b2_ternary", ir::DType::f16, 1, 8},
                      PlayedCase{"WithWindow", "mlx_b2_ternary", ir::DType::f16, 0, 8, 10, 220},
                      // A machine without matrix units: in chunks of theirs the rows of a prompt
                      // depend on where a step begins.
                      PlayedCase{"WithDeltaRules", "delta", ir::DType::f16, 1},
                      PlayedCase{"WithChannels", "hf_mamba", ir::DType::f16, 0, 4},
                      PlayedCase{"WithStateSpaces", "hf_nemotron_h", ir::DType::f16, 1, 4}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace sinter::codegen::test
