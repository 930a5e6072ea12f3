// A weight's type in kernel source: which of the structs of codegen/device/*/weights.h it is.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "codegen/layouts/layout.h"
#include "codegen/schedule/emitter.h"
#include "ir/type.h"

namespace sinter::codegen {

struct PackedWeight {
  ir::ValueId id;
  std::string_view name;
  const ir::WeightType& type;  // of the graph
  const PackedLayout& layout;
  int64_t sources;  // matrices that make the weight
};

// Declares the type `Weights` and the variable `w`. Error: no kernel has such groups of columns.
absl::Status declare_weights(Emitter& e, const PackedWeight& weight);

// Whether rows are multiplied as floats, not as quantized integers.
bool multiplies_floats(const ir::WeightFormat& format);

// The form in which rows are multiplied with weights of a type of the graph; see activations.h
// there. `planes`: int8 planes of an activation; `together`: rows that lie together.
std::string rows_type(const ir::WeightType& type, int planes, int together = 1);

// Groups of columns with a scale of the activations.
int64_t row_groups(const ir::WeightType& type);

}  // namespace sinter::codegen
