// The target table: one row per machine that plans can be compiled for.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace sinter::codegen {

// Kinds of device for which phases are scheduled and weights laid out differently.
enum class Device { host, gpu };
std::string_view name(Device device);

struct Target {
  std::string_view name;
  std::string_view family;  // code of one family never runs on another
  std::string_view triple;
  std::vector<std::string_view> flags;     // for Clang
  std::vector<std::string_view> features;  // that a CPU must report (runtime/host/cpu.h)
  // For predictions when nothing was measured.
  double bandwidth_gbs;  // streaming read of the whole machine
  double gmacs;          // int8 multiply-adds per nanosecond of the whole machine
  // Of a GPU, for occupancy: vector registers that a lane of a SIMD (of NVIDIA: a scheduler) can
  // have in all, shared among waves in steps of `register_step`; waves that it can hold.
  int registers = 0, register_step = 0, most_waves = 0;
  int shared_bytes = 0;  // of a GPU: memory that a block can have

  Device device() const { return family.starts_with("host") ? Device::host : Device::gpu; }
};

const std::vector<Target>& targets();

// Waves of a kernel that a SIMD can hold, as its registers allow; 0 for CPUs.
int occupancy(const Target& target, uint32_t registers_per_lane);

// "host" stands for every CPU target of the machine that compiles; names are separated by commas.
// Error: names the unknown target and lists the known.
absl::StatusOr<std::vector<Target>> parse_targets(std::string_view list);

}  // namespace sinter::codegen
