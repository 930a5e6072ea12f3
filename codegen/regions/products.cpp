#include "codegen/regions/products.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "codegen/device/sizes.h"
#include "codegen/regions/weight_structs.h"

namespace sinter::codegen {

int64_t most_row_cols(const RegionContext& c, const ir::WeightFormat& format) {
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  if (format.group > 0 || multiplies_floats(format)) return kMost;
  const int64_t top = c.planes() == 1 ? 127 : 127 * 256;
  if (c.on_gpu()) return kMost / top / 8 * 2048;  // each of 256 threads has 8 of 2048
  return std::min(kMost / (((int64_t{1} << format.level_bits()) - 1) * 128), kMost / top * 16) /
         32 * 32;
}

int64_t prepared_row_bytes(const RegionContext& c, const ir::WeightType& type) {
  if (multiplies_floats(type.format)) return type.cols() * 4;
  const int64_t cols = kernel_type(type).cols();
  return sizes::prepared_row_bytes(c.on_gpu() ? sizes::gpu_row_codes(cols) : cols, row_groups(type),
                                   c.planes());
}

int64_t shared_row_bytes(const RegionContext& c, const ir::WeightType& type) {
  if (multiplies_floats(type.format)) return sizes::shared_floats_bytes(type.cols());
  return sizes::shared_row_bytes(kernel_type(type).cols(), row_groups(type), c.planes());
}

int64_t few_rows_form(const RegionContext& c) {
  const int64_t rows = c.lowered.shape.most_rows;
  return rows <= 8 ? 8 : rows <= 16 ? 16 : 32;
}

int rows_together(const RegionContext& c) {
  if (!c.on_gpu() || c.one_row() || !c.few_rows()) return 1;
  // Rows are whole runs: there is room for as many as the schedule may have.
  return static_cast<int>(std::gcd(c.lowered.shape.most_rows, int64_t{8}));
}

int64_t column_splits(const ir::WeightType& type, int64_t out_width) {
  const bool floats = multiplies_floats(type.format);
  const ir::WeightType packed = floats ? type : kernel_type(type);
  const int64_t bits =
      packed.format.is_dense() ? 8 * ir::byte_size(packed.format.scale_type) : packed.format.bits;
  return sizes::column_splits(
      (out_width + kTileRows - 1) / kTileRows,
      sizes::pieces_of(packed.cols(), floats ? sizes::piece_of_floats : sizes::piece_of_codes),
      kTileRows * packed.cols() * bits / 8);
}

std::string handed_sums(RegionContext& c, Emitter& e, const ir::WeightType& type, int64_t parts,
                        int64_t out_width, int64_t number) {
  if (!c.on_gpu()) return "";
  const int64_t splits = column_splits(type, out_width);
  if (splits == 1) return "nullptr, ";
  const int64_t bytes =
      sizes::column_split_bytes(c.lowered.shape.most_rows, parts * out_width, splits);
  const Buffer buffer = c.pinned(fmt::format("columns {}", number), bytes);
  return e.pointer(buffer, "Handed", Access::update) + ", ";
}

GpuShape gpu_shape(const RegionContext& c, const ir::WeightType& type, int64_t out_width) {
  const int64_t tiles = (out_width + kTileRows - 1) / kTileRows;
  const int64_t units = tiles * column_splits(type, out_width);
  if (c.one_row()) return {units, 0, sizes::one_row_shared_bytes(shared_row_bytes(c, type))};
  if (c.few_rows()) {
    const int64_t parts = type.rows() / out_width;
    return {units, 0, sizes::few_rows_shared_bytes(few_rows_form(c), parts)};
  }
  const bool floats = multiplies_floats(type.format);
  const int64_t block_groups =
      type.format.group > 0 && !floats ? sizes::gpu_block / dot_group(kernel_type(type)) : 0;
  const int64_t shared =
      floats ? sizes::dense_tile_shared_bytes : sizes::tile_shared_bytes(c.planes(), block_groups);
  return {(tiles + sizes::most_waves - 1) / sizes::most_waves,
          floats ? sizes::dense_tokens(tiles) : sizes::tile_tokens, shared};
}

}  // namespace sinter::codegen
