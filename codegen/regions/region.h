// How kinds of fused regions become phases. A kind is a row in ir/regions.h, a file in this folder
// and a line in region.cpp.
#pragma once

#include "absl/status/status.h"
#include "codegen/regions/context.h"
#include "ir/graph.h"
#include "ir/regions.h"

namespace sinter::codegen {

// Appends the phases of a `fused` node to the schedule.
using LowerRegion = absl::Status (*)(RegionContext& c, const ir::Node& node);

// That of a kind; `ir/regions.h` says what the kinds are.
LowerRegion lowering_of(ir::RegionKind kind);

absl::Status lower_attention(RegionContext& c, const ir::Node& node);
absl::Status lower_embed(RegionContext& c, const ir::Node& node);
absl::Status lower_experts(RegionContext& c, const ir::Node& node);
absl::Status lower_matmul(RegionContext& c, const ir::Node& node);
absl::Status lower_rope_table(RegionContext& c, const ir::Node& node);
absl::Status lower_router(RegionContext& c, const ir::Node& node);
absl::Status lower_rows(RegionContext& c, const ir::Node& node);
absl::Status lower_top_k(RegionContext& c, const ir::Node& node);

}  // namespace sinter::codegen
