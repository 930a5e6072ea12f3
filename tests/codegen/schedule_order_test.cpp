// Schedules of whole models, run phase by phase in every order that their dependences allow.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <random>

#include "codegen/schedule/join_phases.h"
#include "frontends/open/open_checkpoint.h"
#include "runtime/plan/dependences.h"
#include "runtime/plan/synthetic.h"
#include "runtime/session/step_table.h"
#include "tests/codegen/compiled_model.h"
#include "tests/codegen/hybrid_model.h"

namespace sinter {
namespace {

using runtime::Argument;
using runtime::DevicePlan;
using runtime::Schedule;

constexpr int kSequences = 3;

// The memory of a few sequences and the phases' code: what an executor is, with the order left
// open. Each sequence has one page.
class ScheduleInterpreter {
 public:
  explicit ScheduleInterpreter(const runtime::Model& model)
      : model_(model), plan_(model.device_plan()) {
    auto code = runtime::HostCode::load(model.file(), model.code());
    EXPECT_TRUE(code.ok()) << code.error().message;
    if (code.ok()) code_ = *code;
    pages_.resize(layout_.page_bytes * kSequences + kSlack);
    fixed_.resize(layout_.fixed_bytes * kSequences + kSlack);
    arena_.resize(plan_.arena_bytes + kSlack, 0);
    step_.resize(runtime::step_table_bytes(plan_.chunk) + kSlack);
    logits_.resize(static_cast<size_t>(plan_.logits_rows * model.plan().vocab_size) * 4 + kSlack);
    hidden_.resize(static_cast<size_t>(kSequences * model.plan().hidden_size) * 4 + kSlack);
    scratch_.resize(plan_.scratch_bytes + kSlack);
    if (!plan_.synthetic()) return;
    weights_.resize(plan_.weight_bytes + kSlack);
    for (size_t i = 0; i < plan_.fills.size(); ++i)
      runtime::fill_range(plan_.fills, i, model.plan().seed, 0, runtime::fill_words(plan_.fills[i]),
                          aligned(weights_));
  }

  // The bits of all rows of logits.
  std::vector<uint8_t> run(const Schedule& schedule, const std::vector<size_t>& order,
                           const std::vector<StepRow>& rows) {
    runtime::write_step_table(aligned(step_), plan_.chunk, rows);
    for (const size_t number : order) {
      const runtime::Phase& phase = schedule.phases[number];
      std::vector<void*> arguments;
      for (const Argument& argument : phase.arguments) arguments.push_back(address(argument));
      const Launch launch{.args = arguments.data(),
                          .step = reinterpret_cast<const StepParams*>(aligned(step_)),
                          .pages = page_table_,
                          .pages_per_sequence = 1,
                          .scratch = aligned(scratch_),
                          .worker = 0,
                          .workers = 1};
      code_->kernel(phase.kernel)(&launch);
    }
    const auto with_logits =
        std::ranges::count_if(rows, [](const StepRow& row) { return row.logits >= 0; });
    const uint8_t* const made = aligned(logits_);
    return {made, made + static_cast<size_t>(with_logits * model_.plan().vocab_size) * 4};
  }

 private:
  static constexpr int page_table_[kSequences] = {2, 0, 1};
  static constexpr uint64_t kSlack = 512;

  static uint8_t* aligned(std::vector<uint8_t>& bytes) {
    const auto at = reinterpret_cast<uintptr_t>(bytes.data());
    return bytes.data() + (64 - at % 64) % 64;
  }
  void* address(const Argument& argument) {
    switch (argument.region) {
      case Argument::Region::weights:
        return plan_.synthetic()
                   ? aligned(weights_) + argument.offset
                   : const_cast<uint8_t*>(model_.file().weights_at(plan_, argument.offset));
      case Argument::Region::state: {
        const bool paged = plan_.states[argument.index].kind == runtime::PlanState::Kind::paged;
        return aligned(paged ? pages_ : fixed_) + layout_.offsets[argument.index] + argument.offset;
      }
      case Argument::Region::arena:
        return aligned(arena_) + argument.offset;
      case Argument::Region::logits:
        return aligned(logits_) + argument.offset;
      case Argument::Region::hidden:
        return aligned(hidden_) + argument.offset;
    }
    return nullptr;
  }

  const runtime::Model& model_;
  const DevicePlan& plan_;
  std::shared_ptr<const runtime::HostCode> code_;
  runtime::StateLayout layout_{plan_.states};
  std::vector<uint8_t> pages_, fixed_, arena_, step_, logits_, hidden_, scratch_;
  std::vector<uint8_t> weights_;  // where they are made, not stored
};

// The rows of a step: `tokens` of each sequence from its position on, all with logits.
struct Part {
  int sequence = 0;
  int position = 0;
  std::vector<int> tokens;
};
std::vector<StepRow> step_of(const std::vector<Part>& parts) {
  std::vector<StepRow> rows;
  for (const Part& part : parts) {
    int position = part.position;
    for (const int token : part.tokens)
      rows.push_back({.token = token,
                      .position = position++,
                      .sequence = part.sequence,
                      .logits = static_cast<int>(rows.size())});
  }
  return rows;
}

std::vector<size_t> written_order(const Schedule& schedule) {
  std::vector<size_t> order(schedule.phases.size());
  std::iota(order.begin(), order.end(), size_t{0});
  return order;
}

// One of the orders that the dependences allow.
std::vector<size_t> random_order(const std::vector<std::vector<uint32_t>>& before,
                                 std::mt19937& random) {
  std::vector<size_t> order;
  std::vector<bool> done(before.size());
  while (order.size() < before.size()) {
    std::vector<size_t> ready;
    for (size_t i = 0; i < before.size(); ++i)
      if (!done[i] && std::ranges::all_of(before[i], [&](uint32_t p) { return done[p]; }))
        ready.push_back(i);
    order.push_back(ready[random() % ready.size()]);
    done[order.back()] = true;
  }
  return order;
}

// `hybrid` and `delta` are small models with fixed state, another name is a golden.
// Phases that need nothing of each other stay apart: in layers as these have nothing else could
// change places.
CompiledModel compiled(const std::string& name, const std::string& purpose) {
  const std::string plan = purpose + "_" + name;
  codegen::CompileOptions options;
  options.without = {std::string(codegen::kJoinPhases)};
  if (name == "hybrid") return compile_and_load(hybrid_model(), nullptr, plan, options);
  if (name == "delta") return compile_and_load(delta_model(), nullptr, plan, options);
  const auto checkpoint = frontends::open_checkpoint(SINTER_TEST_GOLDENS "/" + name);
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
  if (!checkpoint.ok()) return {};
  const auto model = models::import_checkpoint(**checkpoint);
  EXPECT_TRUE(model.ok()) << model.status();
  if (!model.ok()) return {};
  return compile_and_load(*model, checkpoint->get(), plan, options);
}

class ScheduleOrder : public ::testing::TestWithParam<std::string> {};

// A prompt, steps of one row, and steps of several rows of several sequences.
TEST_P(ScheduleOrder, EveryOrderThatTheDependencesAllowGivesTheSameBits) {
  const auto model = compiled(GetParam(), "order").model;
  ASSERT_NE(model, nullptr);
  const DevicePlan& device = model->device_plan();
  const auto schedule_for = [&](int64_t rows) -> const Schedule& {
    return device.schedules[*device.schedule_for(Schedule::Entry::main, rows)];
  };
  const Schedule& decode = schedule_for(1);
  const Schedule& several = schedule_for(6);
  const Schedule& prefill = schedule_for(device.chunk);
  ASSERT_GT(several.most_rows, decode.most_rows);
  ASSERT_LT(several.most_rows, prefill.most_rows);
  const std::vector<std::pair<const Schedule*, std::vector<StepRow>>> steps = {
      {&prefill, step_of({{0, 0, {1, 2, 3, 4, 5, 6, 7}}})},
      {&decode, step_of({{0, 7, {8}}})},
      {&decode, step_of({{0, 8, {9}}})},
      {&several, step_of({{1, 0, {3, 1}}, {0, 9, {10}}, {2, 0, {5, 5, 6}}})},
      {&several, step_of({{2, 3, {2}}, {1, 2, {4, 4, 7, 1}}, {0, 10, {11}}})},
      {&decode, step_of({{1, 6, {12}}})}};
  std::map<const Schedule*, int> other_orders;
  std::mt19937 random(7);
  std::vector<std::vector<uint8_t>> expected;
  for (int round = 0; round < 12; ++round) {
    ScheduleInterpreter machine(*model);
    std::vector<std::vector<uint8_t>> made;
    for (const auto& [schedule, rows] : steps) {
      auto order = written_order(*schedule);
      if (round > 0) order = random_order(runtime::dependences(device, *schedule), random);
      other_orders[schedule] += order != written_order(*schedule) ? 1 : 0;
      made.push_back(machine.run(*schedule, order, rows));
    }
    if (round == 0) expected = made;
    EXPECT_TRUE(made == expected) << "round " << round;
  }
  for (const auto& [schedule, count] : other_orders)
    EXPECT_GT(count, 0) << schedule->name
                        << ": every phase waits for all before it: nothing was tried";
}

TEST_P(ScheduleOrder, AnOrderThatBreaksADependenceDoesNot) {
  const auto model = compiled(GetParam(), "broken").model;
  ASSERT_NE(model, nullptr);
  const DevicePlan& device = model->device_plan();
  const Schedule& decode = device.schedules[*device.schedule_for(Schedule::Entry::main, 1)];
  const auto step = step_of({{0, 0, {3}}});
  const auto written = written_order(decode);
  const auto expected = ScheduleInterpreter(*model).run(decode, written, step);
  auto swapped = written;  // the embedding after the product that reads it
  std::ranges::rotate(swapped, swapped.begin() + 3);
  EXPECT_TRUE(ScheduleInterpreter(*model).run(decode, swapped, step) != expected);
}

INSTANTIATE_TEST_SUITE_P(Models, ScheduleOrder,
                         ::testing::Values("hf_qwen3", "mlx_mixed", "bitnet_online",
                                           "gguf_llama_q4_0", "hybrid", "delta"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace sinter
