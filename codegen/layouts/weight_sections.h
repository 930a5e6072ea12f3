// The packed weights of device plans in a plan file.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "codegen/layouts/layout.h"
#include "frontends/checkpoint.h"
#include "ir/graph.h"
#include "runtime/plan/file.h"

namespace sinter::codegen {

using WeightLayouts = std::map<ir::ValueId, PackedLayout>;

class WeightSections {
 public:
  explicit WeightSections(runtime::PlanWriter& writer) : writer_(writer) {}

  // The section with the weights one after another, filled up to `bytes`. Where a section before
  // has the same weights in the same layouts it is that one, and nothing is written. `progress` is
  // called with the fraction done, in 0..1.
  absl::StatusOr<runtime::Section> write(const ir::Module& module, const WeightLayouts& layouts,
                                         uint64_t bytes, const frontends::Checkpoint& checkpoint,
                                         const std::function<void(double fraction)>& progress);

 private:
  runtime::PlanWriter& writer_;
  std::vector<std::pair<WeightLayouts, runtime::Section>> written_;
};

}  // namespace sinter::codegen
