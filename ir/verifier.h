// Checks a module's invariants: every value defined once and before its use, types as the op table
// says, weights used where weights may be, bodies only in `fused`, attributes known and complete,
// states mutated only by state ops.
#pragma once

#include "absl/status/status.h"
#include "ir/graph.h"

namespace sinter::ir {

struct OpInfo;

absl::Status verify(const Module& module);

// Whether a type makes sense by itself: extents are positive and their product fits, symbols are
// known, bits and groups are in range and groups divide the last extent, a state has the extents
// and a format of its kind (state_format.h).
absl::Status verify_type(const TensorType& type);
absl::Status verify_type(const WeightType& type);
absl::Status verify_type(const StateType& type);

// Attribute names and their types by a row of the op table.
absl::Status verify_attributes(const OpInfo& op, const Attributes& attributes);
// The same, and the number of operands. `fused` included: its kind is a region's.
absl::Status verify_attributes(const Node& node);

}  // namespace sinter::ir
