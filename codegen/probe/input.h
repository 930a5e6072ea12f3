// What the probes of a plan multiply and must compute (runtime/session/probe.h): a vector of
// constants, and its product with one row of a weight by the plain decoder.
#pragma once

#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"
#include "ir/graph.h"
#include "ir/matrix.h"

namespace sinter::codegen {

// Rows that a probe multiplies at most, the first of the weight: a few tiles cost next to nothing.
inline constexpr int64_t kProbeRows = 64;

// Adds the vector, a constant as long as the widest matrix of the module. It is multiplied without
// an error: its integers are what every quantization of a row makes of it, whatever the groups.
ir::ValueId add_probe_input(ir::Module& module);

struct ProbeResult {
  int64_t row = 0;  // of the weight
  double value = 0;
  double tolerance = 0;  // what rounding in float32 may change
};
// One of the first `rows` rows of a matrix times the input, of the row whose result says most; none
// when no row has a finite one. Errors: the source's.
absl::StatusOr<std::optional<ProbeResult>> probe_result(const ir::Module& module,
                                                        ir::ValueId weight, int64_t rows,
                                                        ir::ValueId input,
                                                        const ir::MatrixSource& source);

}  // namespace sinter::codegen
