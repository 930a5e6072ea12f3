// BitNet: matrices of -1, 0 and 1 with one scale. Packed: `<module>.weight` U8 [ceil(out / 4), in]
// and `<module>.weight_scale` [1]; bits 2l and 2l + 1 of byte row r are the code, 0 to 2, of row
// r + l * ceil(out / 4). Online: dense master weights that are made ternary when they are read.
// Source: transformers integrations/bitnet.py; 1bitLLM's modeling_bitnet.py.
#pragma once

#include "frontends/quantized/modules.h"

namespace sinter::frontends {

absl::Status read_bitnet(QuantizedModules& modules);

// The ternary matrix of dense master weights: s = mean |w|, at least 1e-5, and codes of
// round(w / s), half to even, within -1..1. `codes` gets the packed codes, which the matrix
// borrows. Error: the mean is no finite number.
absl::StatusOr<ir::Matrix> make_ternary(const ir::Matrix& master, std::vector<uint8_t>& codes);

}  // namespace sinter::frontends
