// gpt-oss as Hugging Face publishes it: experts in `<name>_blocks` U8 [experts, rows, groups, 16],
// two E2M1 codes to a byte, and `<name>_scales` U8 [experts, rows, groups] of E8M0. Rows of gate
// and up alternate in gate_up_proj; the modules here are `gate_proj`, `up_proj` and `down_proj`,
// with `.bias` [experts, rows].
// Source: transformers integrations/mxfp4.py.
#pragma once

#include "frontends/quantized/modules.h"

namespace sinter::frontends {

absl::Status read_mxfp4_experts(QuantizedModules& modules);

}  // namespace sinter::frontends
