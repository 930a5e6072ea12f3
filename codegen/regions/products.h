// What products with packed weights need, whichever region they are in.
#pragma once

#include <cstdint>

#include "codegen/regions/context.h"
#include "ir/type.h"

namespace sinter::codegen {

// Columns that a row may have: where all share a scale, int32 holds the sum of a row's products,
// of levels below 2^bits with a plane of -128..127, and of a lane's or thread's activations.
int64_t most_row_cols(const RegionContext& c, const ir::WeightFormat& format);

// Bytes of a row of the input as the kernels for `type` multiply it
// (codegen/device/*/activations.h).
int64_t prepared_row_bytes(const RegionContext& c, const ir::WeightType& type);

// How a product is spread over a GPU (codegen/device/gpu/matvec.h and matmul.h).
struct GpuShape {
  int64_t blocks = 1;
  int64_t tokens_per_block = 0;
  int64_t shared_bytes = 0;
};
GpuShape gpu_shape(const RegionContext& c, const ir::WeightType& type, int64_t out_width);

}  // namespace sinter::codegen
