// Where the packed weights of device plans lie: what several of them read in the same layout is in
// the file once.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <vector>

#include "absl/status/statusor.h"
#include "codegen/layouts/layout.h"
#include "frontends/checkpoint.h"
#include "ir/graph.h"
#include "runtime/plan/file.h"

namespace sinter::codegen {

using WeightLayouts = std::map<ir::ValueId, PackedLayout>;

// The weights that the same device plans, and no others, read in the same layout. They lie one
// after another, in order.
struct WeightSection {
  std::vector<size_t> readers;  // numbers of device plans, ascending
  WeightLayouts weights;
  int64_t bytes = 0;  // with what kernels may touch behind the last one; a multiple of 64
};

// Of device plans that read these weights. There are as many sections as there are sets of device
// plans with something in common: one, where there is one device plan.
std::vector<WeightSection> weight_sections(const std::vector<WeightLayouts>& device_plans);

// A device plan's weights as its kernels see them: the sections that it reads, one after another.
struct WeightPlaces {
  std::map<ir::ValueId, int64_t> offsets;
  int64_t bytes = 0;
};
WeightPlaces weight_places(const std::vector<WeightSection>& sections, size_t device_plan);

// Packs the weights of a section into the file, a few tiles at a time. `progress` is called with
// the fraction done, in 0..1.
absl::StatusOr<runtime::Section> write_section(runtime::PlanWriter& writer,
                                               const ir::Module& module,
                                               const WeightSection& section,
                                               const frontends::Checkpoint& checkpoint,
                                               const std::function<void(double)>& progress);

}  // namespace sinter::codegen
