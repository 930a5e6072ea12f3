// From an imported model to a plan file: passes, lowering, memory, machine code, packed weights.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "codegen/layouts/weight_sections.h"
#include "codegen/regions/lower.h"
#include "codegen/schedule/memory.h"
#include "codegen/schedule/source.h"
#include "codegen/targets/target.h"
#include "frontends/checkpoint.h"
#include "models/import.h"
#include "runtime/plan/plan.h"

namespace sinter::codegen {

struct CompileOptions {
  std::vector<Target> targets;
  Activations activations = Activations::a8;
  ir::DType kv_format = ir::DType::f16;  // of states that are kept by position
  int64_t max_context = 0;               // 0: what the model says, at most 32768
  int64_t chunk = 0;                     // rows of a prefill step; 0: 128 on CPUs, 512 on GPUs
  // Rows of the steps that there are schedules for beside one row and the chunk; those that are not
  // below the chunk are left out. Empty: what default_rows() says.
  std::vector<int64_t> rows;
  // What is left out, to measure what it does: optional passes, and join_phases.
  std::vector<std::string> without;
  uint64_t seed = 1;  // of synthetic weights
  // GPUs get a kernel that runs a whole decode step (sinter_decode in runtime/abi/kernel_abi.h).
  bool persistent = false;
  // What is going on and how much of it is done, 0..1. May be empty.
  std::function<void(std::string_view what, double fraction)> progress;
};

// The graph as one kind of device runs it.
struct DeviceCompilation {
  Device device = Device::host;
  Lowering lowering;
  KernelSource source;
  std::vector<MemoryPlan> memory;  // of each schedule
  int64_t chunk = 0;
  int64_t logits_rows = 0;
  WeightPlaces weights;

  std::string memory_text() const;
};

// Everything about a compilation except machine code and weights; what `dump` shows.
struct Compilation {
  ir::Module module;             // after all passes
  ir::ValueId probe_input = -1;  // what probes multiply; -1: a synthetic model has no probes
  std::vector<passes::Remark> remarks;
  std::vector<DeviceCompilation> devices;  // the kinds that the targets name, hosts first
  std::vector<WeightSection> weight_sections;
  int64_t max_context = 0;
};

// A CPU's kernels for several rows are for any number of them; a GPU's are for 8, 16 or 32.
std::vector<int64_t> default_rows(Device device);

// Error: `options.without` names what cannot be left out; among others.
absl::StatusOr<Compilation> lower_model(const models::ImportedModel& model,
                                        const ir::MatrixSource* source,
                                        const CompileOptions& options);

// Writes the plan to `path`: the old file stays until the new one is whole. `checkpoint` is null
// for a synthetic model.
absl::StatusOr<runtime::Plan> compile_plan(const models::ImportedModel& model,
                                           const frontends::Checkpoint* checkpoint,
                                           const std::string& model_name,
                                           const CompileOptions& options, const std::string& path);

}  // namespace sinter::codegen
