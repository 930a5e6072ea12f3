// What one kind of device runs, as a plan has it: kernels, schedules, addresses.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "codegen/plan_builder.h"
#include "ir/matrix.h"
#include "runtime/plan/plan.h"

namespace sinter::codegen {

// All but probes, fills and sections.
runtime::DevicePlan assemble_device_plan(const Compilation& compilation,
                                         const DeviceCompilation& device,
                                         const CompileOptions& options);

// What its probes must compute. Errors: the source's.
absl::StatusOr<std::vector<runtime::Probe>> device_plan_probes(const Compilation& compilation,
                                                               const DeviceCompilation& device,
                                                               const ir::MatrixSource& source);

// What makes the weights of a synthetic plan.
std::vector<runtime::Fill> device_plan_fills(const Compilation& compilation,
                                             const DeviceCompilation& device);

}  // namespace sinter::codegen
