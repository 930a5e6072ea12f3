// The shape rules that rows of ir/ops.def name: the type of the result, or an error that names the
// op and what was found.
#pragma once

#include "absl/status/statusor.h"
#include "ir/type.h"

namespace sinter::ir {

class ShapeOperands;

namespace shape_rule {

// Ops share rules: most are declared more than once.
#define SINTER_OP(name, op_class, operands, attributes, rule) \
  absl::StatusOr<TensorType> rule(ShapeOperands& in);
#include "ir/ops.def"

}  // namespace shape_rule

}  // namespace sinter::ir
