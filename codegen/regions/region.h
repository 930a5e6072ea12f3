// Kinds of fused regions. A kind is a file in this folder, a declaration here and a row in
// region.cpp.
#pragma once

#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "codegen/regions/context.h"
#include "ir/graph.h"

namespace sinter::codegen {

// Appends the phases of a `fused` node to the schedule.
using LowerRegion = absl::Status (*)(RegionContext& c, const ir::Node& node);

struct Region {
  std::string_view kind;
  LowerRegion lower;
};
const std::vector<Region>& regions();

absl::Status lower_attention(RegionContext& c, const ir::Node& node);
absl::Status lower_embed(RegionContext& c, const ir::Node& node);
absl::Status lower_experts(RegionContext& c, const ir::Node& node);
absl::Status lower_matmul(RegionContext& c, const ir::Node& node);
absl::Status lower_rope_table(RegionContext& c, const ir::Node& node);
absl::Status lower_rows(RegionContext& c, const ir::Node& node);
absl::Status lower_top_k(RegionContext& c, const ir::Node& node);

}  // namespace sinter::codegen
