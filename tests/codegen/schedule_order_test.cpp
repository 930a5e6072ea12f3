// Schedules of whole models, run phase by phase in every order that their dependences allow.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <random>

#include "runtime/plan/dependences.h"
#include "runtime/plan/extent.h"
#include "runtime/session/step_table.h"
#include "tests/codegen/compiled_model.h"

namespace sinter {
namespace {

using runtime::Argument;
using runtime::DevicePlan;
using runtime::Schedule;

// The memory of one sequence and the phases' code: what an executor is, with the order left open.
class ScheduleInterpreter {
 public:
  explicit ScheduleInterpreter(const runtime::Model& model)
      : model_(model), plan_(model.device_plan()) {
    auto code = runtime::HostCode::load(model.file(), model.code());
    EXPECT_TRUE(code.ok()) << code.error().message;
    if (code.ok()) code_ = *code;
    states_.resize(layout_.page_bytes + kSlack);
    arena_.resize(plan_.arena_bytes + kSlack, 0);
    step_.resize(runtime::step_table_bytes(plan_.chunk) + kSlack);
    logits_.resize(static_cast<size_t>(plan_.logits_rows * model.plan().vocab_size) * 4 + kSlack);
    scratch_.resize(plan_.scratch_bytes + kSlack);
  }

  // The bits of all rows of logits.
  std::vector<uint8_t> run(const Schedule& schedule, const std::vector<size_t>& order,
                           const std::vector<int32_t>& tokens, int position) {
    std::vector<StepRow> rows;
    for (const int32_t token : tokens) {
      const int row = static_cast<int>(rows.size());
      rows.push_back({.token = token, .position = position + row, .sequence = 0, .logits = row});
    }
    runtime::write_step_table(aligned(step_), plan_.chunk, rows);
    for (const size_t number : order) {
      const runtime::Phase& phase = schedule.phases[number];
      std::vector<void*> arguments;
      for (const Argument& argument : phase.arguments) arguments.push_back(address(argument));
      const Launch launch{.args = arguments.data(),
                          .step = reinterpret_cast<const StepParams*>(aligned(step_)),
                          .pages = &page_,
                          .pages_per_sequence = 1,
                          .scratch = aligned(scratch_),
                          .worker = 0,
                          .workers = 1};
      code_->kernel(phase.kernel)(&launch);
    }
    const uint8_t* const made = aligned(logits_);
    return {made, made + rows.size() * static_cast<size_t>(model_.plan().vocab_size) * 4};
  }

 private:
  static constexpr int page_ = 0;  // the only one
  static constexpr uint64_t kSlack = 512;

  static uint8_t* aligned(std::vector<uint8_t>& bytes) {
    const auto at = reinterpret_cast<uintptr_t>(bytes.data());
    return bytes.data() + (64 - at % 64) % 64;
  }
  void* address(const Argument& argument) {
    switch (argument.region) {
      case Argument::Region::weights:
        return const_cast<uint8_t*>(model_.file().weights_at(plan_, argument.offset));
      case Argument::Region::state:
        return aligned(states_) + layout_.offsets[argument.index] + argument.offset;
      case Argument::Region::arena:
        return aligned(arena_) + argument.offset;
      case Argument::Region::logits:
        return aligned(logits_) + argument.offset;
    }
    return nullptr;
  }

  const runtime::Model& model_;
  const DevicePlan& plan_;
  std::shared_ptr<const runtime::HostCode> code_;
  runtime::StateLayout layout_{plan_.states};
  std::vector<uint8_t> states_, arena_, step_, logits_, scratch_;
};

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

class ScheduleOrder : public ::testing::TestWithParam<std::string> {};

TEST_P(ScheduleOrder, EveryOrderThatTheDependencesAllowGivesTheSameBits) {
  const auto checkpoint = frontends::open_checkpoint(SINTER_TEST_GOLDENS "/" + GetParam());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const auto model = models::import_checkpoint(**checkpoint);
  ASSERT_TRUE(model.ok()) << model.status();
  const CompiledModel compiled =
      compile_and_load(*model, checkpoint->get(), "order_" + GetParam(), codegen::Activations::a8);
  ASSERT_NE(compiled.model, nullptr);
  const DevicePlan& device = compiled.model->device_plan();
  const std::vector<int32_t> prompt = {1, 2, 3, 4, 5, 6, 7};
  const std::vector<std::vector<int32_t>> next = {{8}, {9}, {10}};
  const Schedule& prefill =
      device.schedules[*device.schedule_for(Schedule::Entry::main, device.chunk)];
  const Schedule& decode = device.schedules[*device.schedule_for(Schedule::Entry::main, 1)];
  std::mt19937 random(7);
  size_t other_orders = 0;
  std::vector<std::vector<uint8_t>> expected;
  for (int round = 0; round < 12; ++round) {
    ScheduleInterpreter machine(*compiled.model);
    const auto order_of = [&](const Schedule& schedule) {
      const auto written = written_order(schedule);
      if (round == 0) return written;
      auto order = random_order(runtime::dependences(device, schedule), random);
      other_orders += order != written ? 1 : 0;
      return order;
    };
    std::vector<std::vector<uint8_t>> made = {machine.run(prefill, order_of(prefill), prompt, 0)};
    int position = static_cast<int>(prompt.size());
    for (const auto& tokens : next)
      made.push_back(machine.run(decode, order_of(decode), tokens, position++));
    if (round == 0) expected = made;
    EXPECT_TRUE(made == expected) << "round " << round;
  }
  EXPECT_GT(other_orders, 0U) << "every phase waits for all before it: nothing was tried";
}

TEST_P(ScheduleOrder, AnOrderThatBreaksADependenceDoesNot) {
  const auto checkpoint = frontends::open_checkpoint(SINTER_TEST_GOLDENS "/" + GetParam());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const auto model = models::import_checkpoint(**checkpoint);
  ASSERT_TRUE(model.ok()) << model.status();
  const CompiledModel compiled =
      compile_and_load(*model, checkpoint->get(), "broken_" + GetParam(), codegen::Activations::a8);
  ASSERT_NE(compiled.model, nullptr);
  const DevicePlan& device = compiled.model->device_plan();
  const Schedule& decode = device.schedules[*device.schedule_for(Schedule::Entry::main, 1)];
  const auto written = written_order(decode);
  const auto expected = ScheduleInterpreter(*compiled.model).run(decode, written, {3}, 0);
  auto swapped = written;  // the embedding after the product that reads it
  std::ranges::rotate(swapped, swapped.begin() + 3);
  EXPECT_TRUE(ScheduleInterpreter(*compiled.model).run(decode, swapped, {3}, 0) != expected);
}

INSTANTIATE_TEST_SUITE_P(Goldens, ScheduleOrder,
                         ::testing::Values("hf_qwen3", "mlx_mixed", "bitnet_online",
                                           "gguf_llama_q4_0"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace sinter
