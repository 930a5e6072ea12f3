// A plan whose kernels would read or write elsewhere than it says is refused before anything runs.
#include "runtime/plan/accesses.h"

#include <gtest/gtest.h>

#include <functional>

#include "runtime/plan/check.h"
#include "tests/runtime/toy_plan.h"

namespace sinter::runtime {
namespace {

using Access = Parameter::Access;
using Region = Argument::Region;

std::string error_with(const std::function<void(Plan&, DevicePlan&)>& edit) {
  Plan plan = toy::description();
  toy::with_probes(plan);
  plan.code = {{"toy", "host-x86-64", {}, 0, {4096, 1, 0}, {}}};
  plan.device_plans[0].fills = {{Fill::Kind::bits, "", 0, 64, 0, 0, 0}};
  edit(plan, plan.device_plans[0]);
  const Status status = check_contents(plan);
  return status.ok() ? std::string() : status.error().message;
}

TEST(PlanAccesses, ThePlanAsItIsIsTaken) {
  EXPECT_EQ(error_with([](Plan&, DevicePlan&) {}), "");
}

TEST(PlanAccesses, WhatDoesNotFitIsNamed) {
  struct Case {
    std::function<void(Plan&, DevicePlan&)> edit;
    std::string message;
  };
  const Case cases[] = {
      {[](Plan&, DevicePlan& d) { toy::decode(d)[1].arguments.pop_back(); },
       "decode[1]: 2 arguments for kernel toy_sum, which has 3 parameters"},
      {[](Plan&, DevicePlan& d) { d.kernels[2].parameters.clear(); },
       "decode[2]: 3 arguments for kernel toy_logits, which has 0 parameters"},
      {[](Plan&, DevicePlan& d) {
         std::swap(toy::prefill(d)[1].arguments[0], toy::prefill(d)[1].arguments[1]);
       },
       "prefill[1].arguments[0]: only a state has bytes per position"},
      {[](Plan&, DevicePlan& d) { d.scratch_bytes = 63; },
       "scratch_bytes 63 are less than the 64 that kernel toy_sum needs"},
      {[](Plan&, DevicePlan& d) { d.kernels[0].shared_bytes = 8; },
       "decode[0]: shared_bytes 0 are less than the 8 that kernel toy_remember needs"},
      // Weights
      {[](Plan&, DevicePlan& d) { d.weights[0].bytes = 1000; },
       "decode[1].arguments[1]: 1024 bytes at offset 0 are not within one weight"},
      {[](Plan&, DevicePlan& d) { toy::decode(d)[1].arguments[1].offset = 64; },
       "decode[1].arguments[1]: 1024 bytes at offset 64 are not within one weight"},
      {[](Plan&, DevicePlan& d) { toy::decode(d)[1].arguments[1].offset = 1; },
       "decode[1].arguments[1]: offset 1 is not a multiple of 64"},
      {[](Plan&, DevicePlan& d) { d.kernels[1].parameters[1].access = Access::update; },
       "decode[1].arguments[1]: weights are only read"},
      {[](Plan&, DevicePlan& d) { d.weights.push_back({"v", "", "plain", 64, 64, 0}); },
       "weights overlap at offset 64"},
      // States
      {[](Plan&, DevicePlan& d) { d.states[0].bytes_per_position = 3; },
       "decode[0].arguments[0]: 256 bytes at offset 0 reach beyond state 0, which has 192 in a "
       "page"},
      {[](Plan&, DevicePlan& d) {
         d.states[0] = {"history", PlanState::Kind::fixed, "i32", 0, 64};
       },
       "256 bytes at offset 0 reach beyond state 0, which has 64 for a sequence"},
      {[](Plan&, DevicePlan& d) { toy::decode(d)[0].arguments[0].offset = 64; },
       "256 bytes at offset 64 reach beyond state 0"},
      {[](Plan&, DevicePlan& d) { toy::decode(d)[0].arguments[1].index = 0; },
       "reach beyond state 0, which has 256 in a page"},
      {[](Plan&, DevicePlan& d) { d.kernels[0].parameters[1].bytes = 5; },
       "5 bytes at offset 0 reach beyond state 1, which has 4 for a sequence"},
      {[](Plan&, DevicePlan& d) { d.kernels[0].parameters[1].bytes_per_row = 4; },
       "reach beyond state 1"},
      {[](Plan&, DevicePlan& d) { d.states[1].bytes_per_position = 4; },
       "states[1] must have fixed bytes alone"},
      {[](Plan&, DevicePlan& d) { d.states[0].bytes_per_position = 0; },
       "states[0] must have bytes per position alone"},
      {[](Plan&, DevicePlan& d) { d.states[1].window = 1; },
       "states[1]: only a ring has a window and a number of positions"},
      // Too short for the window and a step; no whole pages; bytes that are no number of positions.
      {[](Plan&, DevicePlan& d) {
         d.states[1] = {"last", PlanState::Kind::ring, "i32", 0, 256, 64, 65};
       },
       "states[1]: a ring of 64 positions in 256 bytes does not serve a window of 65 and steps of"},
      {[](Plan&, DevicePlan& d) {
         d.states[1] = {"last", PlanState::Kind::ring, "i32", 0, 400, 100, 1};
       },
       "a ring of 100 positions in 400 bytes does not serve"},
      {[](Plan&, DevicePlan& d) {
         d.states[1] = {"last", PlanState::Kind::ring, "i32", 0, 500, 128, 1};
       },
       "a ring of 128 positions in 500 bytes does not serve"},
      {[](Plan&, DevicePlan& d) {
         d.states[1] = {"last", PlanState::Kind::ring, "i32", 0, 512, 128, 0};
       },
       "does not serve a window of 0"},
      // The arena
      {[](Plan&, DevicePlan& d) { d.arena_bytes = 79; },
       "prefill[1].arguments[2]: 16 bytes at offset 64 reach beyond the arena of 79"},
      {[](Plan&, DevicePlan& d) { d.chunk = d.schedules[1].most_rows = 5; },
       "prefill[1].arguments[2]: 20 bytes at offset 64 reach beyond the arena of 80"},
      {[](Plan&, DevicePlan& d) { toy::decode(d)[2].arguments[0].offset = 0; },
       "decode[2].arguments[0]: reads 4 bytes at offset 0 of the arena that no phase before it"},
      {[](Plan&, DevicePlan& d) { std::swap(toy::decode(d)[1], toy::decode(d)[2]); },
       "decode[1].arguments[0]: reads 4 bytes at offset 64 of the arena that no phase before it"},
      {[](Plan&, DevicePlan& d) {
         // Overwritten by another phase before it is read.
         d.kernels[3].parameters[1].bytes = 2;
         toy::decode(d).insert(toy::decode(d).begin() + 2, toy::probe(d)[0]);
       },
       "decode[3].arguments[0]: reads 4 bytes at offset 64 of the arena"},
      {[](Plan&, DevicePlan& d) {
         d.kernels.push_back({"toy_keep", "keeps", {{Access::update, 4, 0, 0, 0}}});
         toy::decode(d).push_back(toy::probe(d)[0]);
         toy::decode(d).back().kernel = 4;
         toy::decode(d).back().arguments = {{Region::arena, 64, 0}};
       },
       "decode[1].arguments[2]: overwrites what is kept between steps at offset 64"},
      // Logits
      {[](Plan& p, DevicePlan&) { p.vocab_size = 31; },
       "decode[2].arguments[2]: 128 bytes at offset 0, expected 124 at offset 0"},
      {[](Plan& p, DevicePlan&) { p.vocab_size = 33; }, "expected 132 at offset 0"},
      {[](Plan&, DevicePlan& d) { toy::decode(d).pop_back(); },
       "decode: no phase writes the logits"},
      {[](Plan&, DevicePlan& d) { d.schedules.erase(d.schedules.begin()); },
       "no schedule is for steps of one row"},
      {[](Plan&, DevicePlan& d) { d.kernels[2].parameters[2].access = Access::read; },
       "decode[2].arguments[2]: logits are only written"},
      // Probes
      {[](Plan&, DevicePlan& d) { d.probes[1].offset = 0; },
       "probes[1].offset 0: no phase writes there"},
      // Kernels
      {[](Plan&, DevicePlan& d) { d.kernels[1].symbol = "toy_remember"; },
       "kernels[1].symbol \"toy_remember\" is there twice"},
      {[](Plan&, DevicePlan& d) { d.kernels[1].parameters[1].bytes = UINT64_MAX; },
       "are not within one weight"},
      {[](Plan&, DevicePlan& d) { d.kernels[1].parameters[2].bytes_per_row = UINT64_MAX; },
       "reach beyond the arena"},
      {[](Plan&, DevicePlan& d) { d.kernels[1].parameters[1].bytes = 0; },
       "the kernel's parameter has no bytes"},
  };
  for (const Case& c : cases) {
    const std::string error = error_with(c.edit);
    EXPECT_NE(error.find(c.message), std::string::npos) << "not \"" << c.message << "\": " << error;
  }
}

TEST(PlanAccesses, HiddenStatesAreLeftBeforeTheyAreContinued) {
  struct Case {
    std::function<void(Plan&, DevicePlan&)> edit;
    std::string message;
  };
  const auto error = [](const std::function<void(Plan&, DevicePlan&)>& edit) {
    return error_with([&](Plan& plan, DevicePlan& device) {
      toy::with_mtp(plan);
      edit(plan, device);
    });
  };
  EXPECT_EQ(error([](Plan&, DevicePlan&) {}), "");
  const Case cases[] = {
      {[](Plan& p, DevicePlan&) { p.hidden_size = 0; }, "offset 0 is outside the region's 0 bytes"},
      {[](Plan& p, DevicePlan& d) {
         p.hidden_size = 0;
         for (Schedule& schedule : d.schedules)
           if (schedule.entry == Schedule::Entry::main) schedule.phases.pop_back();
       },
       "mtp_decode is of the entry mtp, but hidden_size is 0"},
      {[](Plan& p, DevicePlan&) { p.hidden_size = 5; },
       "decode[3].arguments[0]: 16 bytes at offset 0, expected 20 at offset 0"},
      {[](Plan& p, DevicePlan&) { p.hidden_size = 1 << 25; }, "hidden_size is 33554432, outside"},
      {[](Plan& p, DevicePlan&) { p.hidden_size = -1; }, "hidden_size is -1, outside"},
      {[](Plan&, DevicePlan& d) { toy::decode(d).pop_back(); }, "decode: no phase leaves hidden"},
      {[](Plan&, DevicePlan& d) { toy::drafts(d).pop_back(); },
       "mtp_prefill: no phase leaves hidden states"},
      {[](Plan&, DevicePlan& d) { std::swap(toy::drafts(d)[0], toy::drafts(d)[2]); },
       "mtp_prefill[1].arguments[0]: reads 4 bytes at offset 64 of the arena that no phase"},
      {[](Plan&, DevicePlan& d) {
         toy::drafts(d).insert(toy::drafts(d).begin(), toy::drafts(d)[2]);
       },
       "mtp_prefill[1].arguments[0]: hidden states are read where a step of the model left them"},
      {[](Plan&, DevicePlan& d) {
         toy::decode(d).insert(toy::decode(d).begin(), toy::drafts(d)[0]);
       },
       "decode[0].arguments[0]: hidden states are read where a step of the model left them"},
      {[](Plan&, DevicePlan& d) { toy::decode(d)[3].arguments[0].offset = 4; },
       "decode[3].arguments[0]: 16 bytes at offset 4, expected 16 at offset 0"},
      {[](Plan&, DevicePlan& d) { d.schedules.pop_back(); },
       "no schedule of the entry mtp serves steps of 4 rows"},
      {[](Plan&, DevicePlan& d) { d.schedules.erase(d.schedules.end() - 2); },
       "no schedule of the entry mtp is for steps of one row"},
  };
  for (const Case& c : cases) {
    const std::string found = error(c.edit);
    EXPECT_NE(found.find(c.message), std::string::npos) << "not \"" << c.message << "\": " << found;
  }
}

}  // namespace
}  // namespace sinter::runtime
