// What products with packed weights need, whichever region they are in.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "codegen/regions/context.h"
#include "ir/type.h"

namespace sinter::codegen {

// Writes more into the body of a phase.
using EmitMore = std::function<absl::Status(Emitter&)>;

// Products with packed weights of one input, with the work on rows before them and the elementwise
// ops behind each. `then`, for steps of one row: what all workers go on with in the same phase.
absl::Status lower_products(RegionContext& c, const ir::Node& node, const EmitMore& then);

// Columns that a row may have: where all share a scale, int32 holds the sum of a row's products,
// of levels below 2^bits with a plane of -128..127, and of a lane's or thread's activations.
int64_t most_row_cols(const RegionContext& c, const ir::WeightFormat& format);

// Bytes of a row of the input as the kernels for `type` multiply it
// (codegen/device/*/activations.h).
int64_t prepared_row_bytes(const RegionContext& c, const ir::WeightType& type);
// The same in shared memory of a GPU's block, which multiplies one row.
int64_t shared_row_bytes(const RegionContext& c, const ir::WeightType& type);

// Rows as products multiply them: a struct of codegen/device/gpu/activations.h.
struct RowsForm {
  std::string type;
  int64_t row_bytes = 0;
  bool operator==(const RowsForm&) const = default;
};
// That which all readers of a value take, where each multiplies it as it is, in groups of columns
// of which every `span` columns have whole ones: then the phase that computes such spans can leave
// it so (RegionContext::prepared).
std::optional<RowsForm> rows_form_of_readers(const RegionContext& c, ir::ValueId value,
                                             int64_t span);

// How a product is spread over a GPU (codegen/device/gpu/matvec.h and matmul.h).
struct GpuShape {
  int64_t blocks = 1;
  int64_t rows_per_block = 0;
  int64_t shared_bytes = 0;
};
GpuShape gpu_shape(const RegionContext& c, const ir::WeightType& type, int64_t out_width);
// Splits of the columns of a tile (codegen/device/sizes.h) where steps have few rows.
int64_t column_splits(const ir::WeightType& type, int64_t out_width);
// On a GPU the argument of a product's function, with a comma behind it, that says where these
// leave their sums. Products that run at one time have different numbers.
std::string handed_sums(RegionContext& c, Emitter& e, const ir::WeightType& type, int64_t parts,
                        int64_t out_width, int64_t number = 0);

// Rows that multiply_few (codegen/device/gpu/few_rows.h) has a form for: 8, 16 or 32.
int64_t few_rows_form(const RegionContext& c);

// How many rows of the step lie together when they are prepared for products.
int rows_together(const RegionContext& c);

}  // namespace sinter::codegen
