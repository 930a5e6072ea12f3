// Damages a small plan and opens the result: the whole file in one half of the cases, in the other
// the header's JSON with the checksum made right again, so that the checks behind it are reached.
// Usage: fuzz_plan COUNT
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "runtime/host_device.h"
#include "runtime/plan_file.h"
#include "runtime/plan_head.h"
#include "tests/fuzz/mutate.h"

namespace sinter::runtime {
namespace {

// A plan with at least one of everything that the header can hold; empty when it cannot be written.
std::string seed_plan(const std::string& path) {
  auto writer = PlanWriter::create(path);
  if (!writer.ok()) return "";
  const auto section = [&](std::string_view text) { return *(*writer)->add(text); };
  using Region = Argument::Region;
  Plan plan;
  DevicePlan device;
  device.device = "host";
  plan.model = "seed";
  plan.vocab_size = 8;
  plan.max_context = 32;
  device.chunk = 4;
  device.logits_rows = 2;
  plan.eos_ids = {1};
  plan.code = {{"a", "host-x86-64", {"avx2"}, 0, section("code a"), {{1, 2, 3, 4, 5, 6}, {}}},
               {"b", "host-aarch64", {}, 0, section("code b"), {}}};
  using Access = Parameter::Access;
  device.kernels = {
      {"one",
       "first",
       {{Access::read, 0, 4, 0, 0}, {Access::update, 64, 0, 0, 0}, {Access::write, 16, 4, 0, 0}}},
      {"two", "second", {{Access::read, 64, 0, 0, 0}, {Access::write, 0, 0, 32, 0}}},
      {"three", "third", {{Access::read, 64, 0, 0, 0}, {Access::write, 4, 0, 0, 0}}}};
  device.decode = {{"p",
                    "what",
                    0,
                    {{Region::tokens, 0, 0}, {Region::state, 0, 1}, {Region::arena, 64, 0}},
                    1,
                    2,
                    3},
                   {"q", "what", 1, {{Region::weights, 128, 0}, {Region::logits, 0, 0}}, 1, 2, 3}};
  device.prefill = device.decode;
  device.probe = {{"r", "what", 2, {{Region::weights, 128, 0}, {Region::arena, 64, 0}}, 1, 2, 3}};
  device.probes = {{"format", "w", 64, 1.5, 1e-3}};
  device.weights = {{"w", "weight", "plain", 64, 128}};
  device.states = {{"k", 64, 0}, {"s", 0, 64}};
  device.weight_bytes = 256;
  device.arena_bytes = 128;
  plan.remarks = {{"pass", true, "w", "reason", 1, 2}};
  device.weights_section = section(std::string(256, 'w'));
  plan.tokenizer = section("{}");
  plan.chat_template = section("{{ x }}");
  plan.device_plans = {device};
  if (!(*writer)->finish(plan).ok()) return "";
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

// The file with another header.
std::string with_json(const std::string& file, const std::string& json) {
  PlanHead head = decode_head({reinterpret_cast<const uint8_t*>(file.data()), plan_head_bytes});
  std::string changed = file.substr(0, head.header_offset) + json;
  head.header_bytes = json.size();
  head.header_checksum =
      head_checksum(head, {reinterpret_cast<const uint8_t*>(json.data()), json.size()});
  const auto encoded = encode_head(head);
  changed.replace(0, encoded.size(), reinterpret_cast<const char*>(encoded.data()), encoded.size());
  return changed;
}

// Opens `bytes` and touches what a reader gives out.
bool opens(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc)
      .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  const auto file = PlanFile::open(path, true);
  if (!file.ok()) {
    if (file.error().message.empty() || file.error().message.find('\n') != std::string::npos) {
      std::fprintf(stderr, "an error that is not one line: \"%s\"\n", file.error().message.c_str());
      std::exit(1);
    }
    return false;
  }
  const Plan& plan = (*file)->plan();
  const HostCpu cpu{"host-x86-64", "", {"avx2"}, 1};
  return choose_code(plan, cpu).ok() && plan_to_json(plan, 1).size() > 2 &&
         (*file)->verify(plan.device_plans[0].weights_section).ok();
}

int run(const std::string& folder, long count) {
  const std::string seed = seed_plan(folder + "/seed.plan");
  const std::string path = folder + "/damaged.plan";
  if (seed.empty() || !opens(path, seed)) {
    std::fprintf(stderr, "the seed plan does not open\n");
    return 1;
  }
  const PlanHead head =
      decode_head({reinterpret_cast<const uint8_t*>(seed.data()), plan_head_bytes});
  const std::string json = seed.substr(head.header_offset);
  uint64_t state = 0x5eed;
  long opened = 0;
  for (long i = 0; i < count; ++i) {
    if (i % 2 == 0) {
      const std::string damaged = mutate(seed, state);
      if (!opens(path, damaged) || damaged == seed) continue;
      std::fprintf(stderr, "case %ld: damage was not found\n", i);
      return 1;
    }
    if (opens(path, with_json(seed, mutate(json, state)))) ++opened;
  }
  std::printf(
      "%ld damaged plans: none crashed; %ld with another valid header opened, the rest were "
      "refused\n",
      count, opened);
  return 0;
}

}  // namespace
}  // namespace sinter::runtime

int main(int argc, char** argv) {
  const long count = argc == 2 ? std::strtol(argv[1], nullptr, 10) : 0;
  if (count <= 0) {
    std::fprintf(stderr, "usage: %s COUNT\n", argv[0]);
    return 2;
  }
  std::string folder = (std::filesystem::temp_directory_path() / "sinter-fuzz-XXXXXX").string();
  if (::mkdtemp(folder.data()) == nullptr) return 2;
  const int status = sinter::runtime::run(folder, count);
  std::error_code ignored;
  std::filesystem::remove_all(folder, ignored);
  return status;
}
