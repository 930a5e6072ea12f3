// compressed-tensors (LLM Compressor): `<module>.weight_packed` with `.weight_scale`. Formats
// "pack-quantized", signed integers stored as codes from 0 in I32 words along the row, with
// `.weight_shape` and maybe `.weight_zero_point`; and "nvfp4-pack-quantized", E2M1 in U8 pairs with
// scales of E4M3 and `.weight_global_scale`, which divides.
// Source: vllm-project/compressed-tensors, src/compressed_tensors/compressors.
#pragma once

#include "frontends/quantized/modules.h"

namespace sinter::frontends {

absl::Status read_compressed_tensors(QuantizedModules& modules);

}  // namespace sinter::frontends
