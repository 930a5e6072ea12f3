#include "codegen/targets/target.h"

#include <fmt/format.h>

#include <algorithm>

namespace sinter::codegen {

namespace {

// HIP without ROCm: no headers, no device library, one code object and no bundle around it.
struct Registers {
  int all, step, most_waves;
};
constexpr int kKilobyte = 1024;
Target amd(std::string_view name, int wave, double bandwidth_gbs, double gmacs, Registers r,
           int shared_bytes = 64 * kKilobyte) {
  return {name,
          "amdgpu",
          "amdgcn-amd-amdhsa",
          {"-x", "hip", "--cuda-device-only", "-nogpuinc", "-nogpulib", "--no-gpu-bundle-output",
           wave == 64 ? "-DSINTER_WAVE=64" : "-DSINTER_WAVE=32"},
          {},
          bandwidth_gbs,
          gmacs,
          r.all,
          r.step,
          r.most_waves,
          shared_bytes};
}

// The same source in Clang's CUDA mode. Without a toolkit Clang takes PTX 4.2, which knows none of
// these machines.
Target nvidia(std::string_view name, double bandwidth_gbs, double gmacs, int shared_bytes) {
  return {
      name,
      "nvptx",
      "nvptx64-nvidia-cuda",
      {"-x", "cuda", "--cuda-device-only", "-nocudainc", "-nocudalib", "--cuda-path=/nonexistent",
       "-Xclang", "-target-feature", "-Xclang", "+ptx78", "-DSINTER_WAVE=32"},
      {},
      bandwidth_gbs,
      gmacs,
      512,
      8,
      16,
      shared_bytes};
}

}  // namespace

int occupancy(const Target& target, uint32_t registers_per_lane) {
  if (target.register_step == 0) return 0;
  const int step = target.register_step;
  const int used = std::max((static_cast<int>(registers_per_lane) + step - 1) / step * step, step);
  return std::min(target.registers / used, target.most_waves);
}

std::string_view name(Device device) { return device == Device::host ? "host" : "gpu"; }

const std::vector<Target>& targets() {
  // Rows of a family stand from the least to the most demanding: the runtime takes the last that
  // the machine can run. Rates are those of two cores of a server part; `bench` prints what a
  // machine really does.
  static const std::vector<Target> table = {
      {"x86-64-v3",
       "host-x86-64",
       "x86_64-unknown-linux-gnu",
       {"-march=x86-64-v3"},
       {"avx2", "fma", "f16c", "bmi2"},
       50,
       130},
      {"x86-64-v4",
       "host-x86-64",
       "x86_64-unknown-linux-gnu",
       {"-march=x86-64-v4", "-mavx512vnni", "-mprefer-vector-width=512"},
       {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl", "avx512_vnni", "fma", "f16c",
        "bmi2"},
       50,
       270},
      {"aarch64",
       "host-aarch64",
       "aarch64-unknown-linux-gnu",
       {"-march=armv8.2-a+dotprod+fp16"},
       {"asimd", "asimddp", "fphp", "asimdhp"},
       30,
       100},
      amd("gfx90a", 64, 1300, 30000, {512, 8, 8}),
      amd("gfx942", 64, 4000, 90000, {512, 8, 8}),
      amd("gfx950", 64, 6000, 120000, {512, 8, 8}, 160 * kKilobyte),
      amd("gfx1030", 32, 450, 8000, {1024, 8, 16}),
      amd("gfx1100", 32, 850, 19000, {1536, 24, 16}),
      amd("gfx1101", 32, 560, 12000, {1536, 24, 16}),
      amd("gfx1102", 32, 260, 7000, {1024, 16, 16}),
      amd("gfx1103", 32, 80, 2600, {1024, 16, 16}),
      amd("gfx1150", 32, 90, 3600, {1024, 16, 16}),
      amd("gfx1151", 32, 212, 8500, {1536, 24, 16}),
      amd("gfx1152", 32, 90, 1800, {1024, 16, 16}),
      amd("gfx1200", 32, 290, 7000, {1536, 24, 16}),
      amd("gfx1201", 32, 580, 14000, {1536, 24, 16}),
      nvidia("sm_80", 1400, 24000, 163 * kKilobyte),
      nvidia("sm_86", 850, 23000, 99 * kKilobyte),
      nvidia("sm_89", 900, 48000, 99 * kKilobyte),
      nvidia("sm_90", 4500, 40000, 227 * kKilobyte),
  };
  return table;
}

absl::StatusOr<std::vector<Target>> parse_targets(std::string_view list) {
#if defined(__aarch64__)
  constexpr std::string_view kHost = "host-aarch64";
#else
  constexpr std::string_view kHost = "host-x86-64";
#endif
  std::vector<Target> chosen;
  const auto choose = [&](const Target& target) {
    if (std::none_of(chosen.begin(), chosen.end(),
                     [&](const Target& t) { return t.name == target.name; }))
      chosen.push_back(target);
  };
  while (!list.empty()) {
    const size_t comma = std::min(list.find(','), list.size());
    const std::string_view name = list.substr(0, comma);
    list.remove_prefix(std::min(comma + 1, list.size()));
    bool found = false;
    for (const Target& target : targets())
      if (target.name == name || (name == "host" && target.family == kHost)) {
        choose(target);
        found = true;
      }
    if (!found) {
      std::string known = "host";
      for (const Target& target : targets()) known += fmt::format(", {}", target.name);
      return absl::InvalidArgumentError(
          fmt::format("--target: \"{}\" is unknown; known: {}", name, known));
    }
  }
  if (chosen.empty())
    return absl::InvalidArgumentError("--target names no target; try --target host");
  // A family's rows keep the table's order, whatever order they were asked in.
  std::vector<Target> ordered;
  for (const Target& target : targets())
    for (const Target& c : chosen)
      if (c.name == target.name) ordered.push_back(target);
  return ordered;
}

}  // namespace sinter::codegen
