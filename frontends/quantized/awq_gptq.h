// AWQ and GPTQ: codes of four bits (GPTQ: 2, 3, 4 or 8) in I32 words, stored with the input
// dimension first: `<module>.qweight`, `.scales` [in / group, out] and `.qzeros`, the codes of zero
// per group, w = scale * (code - zero). GPTQ also has `.g_idx`, the group of every column.
// Source: AutoAWQ awq/modules/linear/gemm.py; AutoGPTQ auto_gptq/nn_modules/qlinear.
#pragma once

#include "frontends/quantized/modules.h"

namespace sinter::frontends {

// qweight [in, out / 8]: eight rows of the matrix to a word, in the order 0 2 4 6 1 3 5 7.
absl::Status read_awq(QuantizedModules& modules);

// qweight [in * bits / 32, out]: a column of words holds the codes of a row as one LSB-first
// stream; qzeros [in / group, out * bits / 32] a stream per group of columns, less 1 in the
// checkpoint format "gptq".
absl::Status read_gptq(QuantizedModules& modules);

}  // namespace sinter::frontends
