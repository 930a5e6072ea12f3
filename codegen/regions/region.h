// How kinds of fused regions become phases. A kind is a row of ir/regions.def and a file in this
// folder.
#pragma once

#include <array>

#include "absl/status/status.h"
#include "codegen/regions/context.h"
#include "ir/graph.h"
#include "ir/regions.h"

namespace sinter::codegen {

// Appends the phases of a `fused` node to the schedule.
using LowerRegion = absl::Status (*)(RegionContext& c, const ir::Node& node);

// That of each kind, in a file of its name.
#define SINTER_REGION(kind, ...) absl::Status lower_##kind(RegionContext& c, const ir::Node& node);
#include "ir/regions.def"

constexpr LowerRegion lowering_of(ir::RegionKind kind) {
  constexpr std::array table = {
#define SINTER_REGION(kind, ...) lower_##kind,
#include "ir/regions.def"
  };
  return table[static_cast<size_t>(kind)];
}

}  // namespace sinter::codegen
