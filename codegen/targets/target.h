// The target table: one row per machine that plans can be compiled for says all that is known of
// it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace sinter::codegen {

// Kinds of device for which phases are scheduled or weights laid out differently. Targets of one
// kind share a device plan.
enum class Device { host, gpu };
struct DeviceKind {
  Device device;
  std::string_view name;  // in plans
  bool gpu;       // runs the kernels of codegen/device/gpu; else those of codegen/device/cpu
  int64_t chunk;  // rows of a prefill step, when nothing else is asked for
};
// Hosts first.
const std::vector<DeviceKind>& device_kinds();
const DeviceKind& kind_of(Device device);

// Code of one family never runs on another. A row says what is asked of all its targets.
struct TargetFamily {
  // In plans; of CPUs as HostCpu::family has it.
  std::string_view name;
  std::string_view triple;     // Clang's
  std::string_view emulation;  // LLD's name for its shared objects; nothing is linked of PTX
  bool ptx = false;            // code is PTX, which drivers and ptxas translate
  bool has_metadata = false;   // shared objects say what kernels occupy of a GPU
};
const std::vector<TargetFamily>& target_families();

// What multiplies tiles of bytes on a GPU, as codegen/device/gpu/matrix.h has it.
enum class MatrixUnit {
  none,    // integer dots
  turing,  // mma.m8n8k16
  ampere,  // mma.m16n8k32
  cdna2,   // MFMA 16x16x16
  cdna3,   // MFMA 16x16x32
  rdna3,   // WMMA, operands in both halves of a wave
  rdna4,   // WMMA
};

struct Target {
  std::string_view name;
  std::string_view family;  // of target_families()
  Device device;
  std::vector<std::string_view> flags;     // for Clang
  std::vector<std::string_view> features;  // that a CPU must report (runtime/host/cpu.h)
  // For predictions when nothing was measured.
  double bandwidth_gbs;  // streaming read of the whole machine
  double gmacs;          // int8 multiply-adds per nanosecond of the whole machine

  // Of a GPU.
  int wave = 0;  // lanes
  MatrixUnit matrix_unit = MatrixUnit::none;
  // For occupancy: vector registers that a lane of a SIMD (of NVIDIA: a scheduler) can have in all,
  // shared among waves in steps of `register_step`; waves that it can hold.
  int registers = 0, register_step = 0, most_waves = 0;
  int shared_bytes = 0;  // memory that a block can have
  // The machines that code of a generic target runs on.
  std::vector<std::string_view> machines = {};
};

const std::vector<Target>& targets();
const TargetFamily& family_of(const Target& target);

// Waves of a kernel that a SIMD can hold, as its registers allow; 0 for CPUs.
int occupancy(const Target& target, uint32_t registers_per_lane);

// "host" stands for every CPU target of the machine that compiles; names are separated by commas.
// Error: names the unknown target and lists the known.
absl::StatusOr<std::vector<Target>> parse_targets(std::string_view list);

}  // namespace sinter::codegen
