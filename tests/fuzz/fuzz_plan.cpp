// A plan file. An input that begins with "{" takes the place of its header, with checksums made
// right, so that the checks behind them are reached; what then opens is loaded and runs a step if
// the program is still the one that was written. Other inputs are damage, five bytes each: where,
// and what to flip there; none may go unnoticed.
#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "runtime/plan/head.h"
#include "runtime/session/session.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/memory_folder.h"
#include "tests/runtime/toy_plan.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

namespace sinter::fuzz {
namespace {

using namespace runtime;

std::span<const uint8_t> bytes_of(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

// Everything of a plan that kernels are given, and nothing else.
std::string program(const Plan& plan) {
  Plan kept;
  kept.vocab_size = plan.vocab_size;
  kept.max_context = plan.max_context;
  for (DevicePlan device : plan.device_plans) {
    for (Schedule& schedule : device.schedules) {
      for (Phase& phase : schedule.phases) {
        phase.name.clear();
        phase.what.clear();
        phase.weight_bytes = 0;
        phase.operations = phase.predicted_us = 0;
      }
    }
    for (Kernel& kernel : device.kernels) kernel.summary.clear();
    for (PlanState& state : device.states) state.name.clear();
    device.probes.clear();
    device.weights.clear();
    device.source = device.memory = {};
    kept.device_plans.push_back(std::move(device));
  }
  for (const CodeObject& code : plan.code) {
    kept.code.emplace_back();
    kept.code.back().device_plan = code.device_plan;
    kept.code.back().section = code.section;
  }
  return plan_to_json(kept, -1);
}

struct Seed {
  MemoryFolder folder;
  std::string file;
  PlanHead head;
  std::string json;
  std::string program;

  Seed() {
    const std::string path = folder.path() / "seed.plan";
    const std::string error =
        toy::write_plan(path, toy::with_probes, toy::kernel_object(),
                        R"({"model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []}})");
    if (!error.empty()) fail("the plan cannot be written", error);
    file = toy::read_file(path);
    head = decode_head(bytes_of(file));
    json = file.substr(head.header_offset);
    program = fuzz::program((*PlanFile::open(path, true))->plan());
  }
};

Seed& seed() {
  static Seed made;
  return made;
}

void run_step(std::shared_ptr<const PlanFile> file) {
  LoadOptions options;
  options.threads = 1;
  auto model = Model::load(std::move(file), options);
  if (!model.ok()) return check_message(model.error().message);
  auto session = Session::create(*model, 16);
  if (!session.ok()) return check_message(session.error().message);
  for (const Status& status :
       {(*session)->prefill(std::vector<int32_t>{1, 2, 3}), (*session)->decode(4)})
    if (!status.ok()) check_message(status.error().message);
}

void open_header(std::string_view json) {
  keep_if_json(json);
  PlanHead head = seed().head;
  head.header_bytes = json.size();
  head.header_checksum = head_checksum(head, bytes_of(json));
  const auto encoded = encode_head(head);
  std::string changed = seed().file.substr(0, head.header_offset).append(json);
  std::memcpy(changed.data(), encoded.data(), encoded.size());
  auto file = PlanFile::open(seed().folder.write("changed.plan", changed), true);
  if (!file.ok()) return check_message(file.error().message);
  const Plan& plan = (*file)->plan();
  if (plan_to_json(plan, 1).size() <= 2) fail("a plan without a header");
  const auto code = choose_code(plan, detect_host_cpu());
  if (!code.ok()) return check_message(code.error().message);
  if (program(plan) == seed().program) run_step(*file);
}

void open_damaged(std::string_view edits) {
  std::string changed = seed().file;
  for (; edits.size() >= 5; edits.remove_prefix(5)) {
    uint32_t at = 0;
    std::memcpy(&at, edits.data(), sizeof(at));
    changed[at % changed.size()] ^= edits[4];
  }
  if (changed == seed().file) return;
  const auto file = PlanFile::open(seed().folder.write("damaged.plan", changed), true);
  if (file.ok()) fail("damage to a plan was not found");
  check_message(file.error().message);
}

}  // namespace

void use(std::string_view input) {
  input.starts_with('{') ? open_header(input) : open_damaged(input);
}

}  // namespace sinter::fuzz

// A header comes from the plan of this machine, which no corpus can hold: its code is in it.
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned number) {
  using namespace sinter::fuzz;
  if (size > 0 && data[0] == '{') return mutate_text(data, size, max_size, number);
  if (number % 4 != 0) return LLVMFuzzerMutate(data, size, max_size);
  const std::string& json = seed().json;
  if (json.size() > max_size) return size;
  std::memcpy(data, json.data(), json.size());
  return mutate_text(data, json.size(), max_size, number);
}
