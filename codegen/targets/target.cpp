#include "codegen/targets/target.h"

#include <fmt/format.h>

#include <algorithm>

namespace sinter::codegen {

namespace {

constexpr int kKilobyte = 1024;

// What tells codegen/device/gpu/matrix.h of a unit; empty where there is none. No unit is
// forgotten: compilers warn of a switch without it.
std::string_view flag_of(MatrixUnit unit) {
  switch (unit) {
    case MatrixUnit::none:
      break;
    case MatrixUnit::turing:
      return "-DSINTER_MATRIX_TURING";
    case MatrixUnit::ampere:
      return "-DSINTER_MATRIX_AMPERE";
    case MatrixUnit::cdna2:
      return "-DSINTER_MATRIX_CDNA2";
    case MatrixUnit::cdna3:
      return "-DSINTER_MATRIX_CDNA3";
    case MatrixUnit::rdna3:
      return "-DSINTER_MATRIX_RDNA3";
    case MatrixUnit::rdna4:
      return "-DSINTER_MATRIX_RDNA4";
  }
  return {};
}

void add_gpu_flags(Target& target) {
  target.flags.emplace_back(target.wave == 64 ? "-DSINTER_WAVE=64" : "-DSINTER_WAVE=32");
  if (const std::string_view flag = flag_of(target.matrix_unit); !flag.empty())
    target.flags.push_back(flag);
}

// A row of the tables of GPUs.
struct Gpu {
  std::string_view name;
  int wave;
  MatrixUnit unit;
  double bandwidth_gbs, gmacs;
  int registers, register_step, most_waves;
  int shared_kilobytes;
  Device device = Device::gpu;
};

Target target_of(const Gpu& gpu) {
  Target target{};
  target.name = gpu.name;
  target.device = gpu.device;
  target.bandwidth_gbs = gpu.bandwidth_gbs;
  target.gmacs = gpu.gmacs;
  target.wave = gpu.wave;
  target.matrix_unit = gpu.unit;
  target.registers = gpu.registers;
  target.register_step = gpu.register_step;
  target.most_waves = gpu.most_waves;
  target.shared_bytes = gpu.shared_kilobytes * kKilobyte;
  return target;
}

struct AmdGpu {
  Gpu gpu;
  bool dots = true;  // v_dot4 of signed bytes
  std::vector<std::string_view> machines = {};
};

// HIP without ROCm: no headers, no device library, one code object and no bundle around it.
Target amd(const AmdGpu& row) {
  Target target = target_of(row.gpu);
  target.family = "amdgpu";
  target.flags = {"-x",        "hip",       "--cuda-device-only",
                  "-nogpuinc", "-nogpulib", "--no-gpu-bundle-output"};
  target.machines = row.machines;
  add_gpu_flags(target);
  if (!row.dots) target.flags.emplace_back("-DSINTER_NO_DOT4");
  // Two waves of 256 registers each are more than a SIMD holds.
  if (target.registers < 512) target.flags.emplace_back("-DSINTER_SIMD_WAVES=1");
  return target;
}

struct NvidiaGpu {
  Gpu gpu;
  std::string_view ptx;  // the version: drivers of older CUDA cannot read it
};

// The same source in Clang's CUDA mode. Without a toolkit Clang takes PTX 4.2, which knows none of
// these machines.
Target nvidia(const NvidiaGpu& row) {
  Target target = target_of(row.gpu);
  target.family = "nvptx";
  target.flags = {"-x",
                  "cuda",
                  "--cuda-device-only",
                  "-nocudainc",
                  "-nocudalib",
                  "--cuda-path=/nonexistent",
                  "-Xclang",
                  "-target-feature",
                  "-Xclang",
                  row.ptx};
  add_gpu_flags(target);
  return target;
}

// Rows of a family stand from the least to the most demanding: the runtime takes the last that the
// machine can run. Rates of CPUs are those of two cores of a server part, those of a generic target
// of a machine in the middle of what it stands for; `bench` prints what a machine really does.

const std::vector<Target>& cpus() {
  static const std::vector<Target> table = {
      {"x86-64-v3",
       "host-x86-64",
       Device::host,
       {"-march=x86-64-v3"},
       {"avx2", "fma", "f16c", "bmi2"},
       50,
       130},
      {"x86-64-v4",
       "host-x86-64",
       Device::host,
       {"-march=x86-64-v4", "-mavx512vnni", "-mprefer-vector-width=512"},
       {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl", "avx512_vnni", "fma", "f16c",
        "bmi2"},
       50,
       270},
      {"aarch64",
       "host-aarch64",
       Device::host,
       {"-march=armv8.2-a+dotprod+fp16"},
       {"asimd", "asimddp", "fphp", "asimdhp"},
       30,
       100},
  };
  return table;
}

// clang-format off
const std::vector<AmdGpu>& amd_gpus() {
  using enum MatrixUnit;
  // What a generic target stands for, and what of it has no integer dots: LLVM's AMDGPUUsage,
  // "Generic Processors". Their registers are the fewest of their machines.
  static const std::vector<AmdGpu> table = {
      // name          lanes unit    GB/s  Gmac/s   registers  KB shared
      {{"gfx9-generic",    64, none,   450,   2500,  256,  4, 10,  64}, false,
       {"gfx900", "gfx902", "gfx904", "gfx906", "gfx909", "gfx90c"}},
      {{"gfx9-4-generic",  64, cdna3, 4000,  90000,  512,  8,  8,  64}, true, {"gfx942", "gfx950"}},
      {{"gfx10-1-generic", 32, none,   400,   2500, 1024,  8, 20,  64}, false,
       {"gfx1010", "gfx1011", "gfx1012", "gfx1013"}},
      {{"gfx10-3-generic", 32, none,   350,   6000, 1024,  8, 16,  64}, true,
       {"gfx1030", "gfx1031", "gfx1032", "gfx1033", "gfx1034", "gfx1035", "gfx1036"}},
      {{"gfx11-generic",   32, rdna3,  260,   7000, 1024, 16, 16,  64}, true,
       {"gfx1100", "gfx1101", "gfx1102", "gfx1103", "gfx1150", "gfx1151", "gfx1152", "gfx1153"}},
      {{"gfx12-generic",   32, rdna4,  290,   7000, 1536, 24, 16,  64}, true, {"gfx1200", "gfx1201"}},
      {{"gfx90a",          64, cdna2, 1300,  30000,  512,  8,  8,  64}},
      {{"gfx942",          64, cdna3, 4000,  90000,  512,  8,  8,  64}},
      {{"gfx950",          64, cdna3, 6000, 120000,  512,  8,  8, 160}},
      {{"gfx1030",         32, none,   450,   8000, 1024,  8, 16,  64}},
      {{"gfx1100",         32, rdna3,  850,  19000, 1536, 24, 16,  64}},
      {{"gfx1101",         32, rdna3,  560,  12000, 1536, 24, 16,  64}},
      {{"gfx1102",         32, rdna3,  260,   7000, 1024, 16, 16,  64}},
      {{"gfx1103",         32, rdna3,   80,   2600, 1024, 16, 16,  64}},
      {{"gfx1150",         32, rdna3,   90,   3600, 1024, 16, 16,  64}},
      {{"gfx1151",         32, rdna3,  212,   8500, 1536, 24, 16,  64}},
      {{"gfx1152",         32, rdna3,   90,   1800, 1024, 16, 16,  64}},
      {{"gfx1200",         32, rdna4,  290,   7000, 1536, 24, 16,  64}},
      {{"gfx1201",         32, rdna4,  580,  14000, 1536, 24, 16,  64}},
  };
  return table;
}

const std::vector<NvidiaGpu>& nvidia_gpus() {
  using enum MatrixUnit;
  static const std::vector<NvidiaGpu> table = {
      // name  lanes unit     GB/s Gmac/s  registers  KB shared  PTX
      {{"sm_75",  32, turing,  280, 12000, 512, 8,  8,  64}, "+ptx78"},
      {{"sm_80",  32, ampere, 1400, 24000, 512, 8, 16, 163}, "+ptx78"},
      {{"sm_86",  32, ampere,  850, 23000, 512, 8, 12,  99}, "+ptx78"},
      {{"sm_89",  32, ampere,  900, 48000, 512, 8, 12,  99}, "+ptx78"},
      {{"sm_90",  32, ampere, 4500, 40000, 512, 8, 16, 227}, "+ptx78"},
      {{"sm_100", 32, ampere, 6500, 40000, 512, 8, 16, 227}, "+ptx86"},
      {{"sm_120", 32, ampere, 1500, 60000, 512, 8, 12,  99}, "+ptx87"},
  };
  return table;
}
// clang-format on

}  // namespace

int occupancy(const Target& target, uint32_t registers_per_lane) {
  if (target.register_step == 0) return 0;
  const int step = target.register_step;
  const int used = std::max((static_cast<int>(registers_per_lane) + step - 1) / step * step, step);
  return std::min(target.registers / used, target.most_waves);
}

const std::vector<DeviceKind>& device_kinds() {
  static const std::vector<DeviceKind> table = {
      {Device::host, "host", false, 128},
      {Device::gpu, "gpu", true, 512},
  };
  return table;
}

const DeviceKind& kind_of(Device device) {
  return *std::ranges::find(device_kinds(), device, &DeviceKind::device);
}

const std::vector<TargetFamily>& target_families() {
  static const std::vector<TargetFamily> table = {
      {.name = "host-x86-64", .triple = "x86_64-unknown-linux-gnu", .emulation = "elf_x86_64"},
      {.name = "host-aarch64", .triple = "aarch64-unknown-linux-gnu", .emulation = "aarch64linux"},
      {.name = "amdgpu",
       .triple = "amdgcn-amd-amdhsa",
       .emulation = "elf64_amdgpu",
       .has_metadata = true},
      {.name = "nvptx", .triple = "nvptx64-nvidia-cuda", .emulation = "", .ptx = true},
  };
  return table;
}

// Every target has one (tests/codegen/target_test.cpp).
const TargetFamily& family_of(const Target& target) {
  return *std::ranges::find(target_families(), target.family, &TargetFamily::name);
}

const std::vector<Target>& targets() {
  static const std::vector<Target> all = [] {
    std::vector<Target> rows = cpus();
    for (const AmdGpu& row : amd_gpus()) rows.push_back(amd(row));
    for (const NvidiaGpu& row : nvidia_gpus()) rows.push_back(nvidia(row));
    return rows;
  }();
  return all;
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
