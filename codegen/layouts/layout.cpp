#include "codegen/layouts/layout.h"

#include "codegen/layouts/tile.h"

namespace sinter::codegen {

namespace {

// Columns of a tile of floats as stored.
int64_t stored_cols(const ir::WeightType& type, Layout layout) {
  const int bytes = type.format.map == ir::CodeMap::fp8 ? 1 : ir::byte_size(type.format.scale_type);
  const int64_t run = run_of(layout, bytes);
  return (type.cols() + run - 1) / run * run;
}

}  // namespace

std::string_view name(Layout layout) { return row_of(layout).name; }

ir::WeightType kernel_type(const ir::WeightType& type) {
  ir::WeightType filled = type;
  const ir::WeightFormat& format = type.format;
  const bool codes = type.shape.size() > 1 && !format.is_dense() && format.map != ir::CodeMap::fp8;
  if (!codes) return filled;
  filled.shape.back() = (type.cols() + kGpuSegment - 1) / kGpuSegment * kGpuSegment;
  if (format.group == type.cols()) filled.format.group = static_cast<int>(filled.cols());
  return filled;
}

int64_t dot_group(const ir::WeightType& type) {
  const int64_t whole = type.format.group > 0 ? type.format.group : type.cols();
  for (const int64_t group : {128, 64, 32, 16})
    if (whole % group == 0) return group;
  return type.format.map == ir::CodeMap::fp8 && whole == type.cols() ? whole : 0;
}

Piece PackedLayout::piece_at(int64_t at) const {
  for (const Piece& piece : {codes, scales, biases, sub_scales, sub_biases, factors})
    if (piece.at == at && piece.bytes != 0) return piece;
  return {};
}

PackedLayout packed_layout(const ir::WeightType& of_graph, int64_t parts, Layout order,
                           int64_t sources) {
  const ir::WeightType type = kernel_type(of_graph);
  PackedLayout layout;
  layout.order = order;
  layout.parts = parts;
  layout.part_rows = type.rows() / parts;
  layout.part_tiles = (layout.part_rows + kTileRows - 1) / kTileRows;
  const ir::WeightFormat& format = type.format;
  const auto place = [&](Piece& piece, int64_t bytes) {
    piece = {layout.bytes, bytes, 0};
    layout.bytes += aligned(bytes);
  };
  if (type.shape.size() == 1) {
    place(layout.codes, type.cols() * ir::byte_size(format.scale_type));
    layout.bytes += 64;
    return layout;
  }
  const auto place_tiles = [&](Piece& piece, int64_t tile_bytes) {
    place(piece, layout.tiles() * tile_bytes);
    piece.tile_bytes = tile_bytes;
  };
  const int64_t element = ir::byte_size(format.scale_type);
  if (format.is_dense()) {
    place_tiles(layout.codes, kTileRows * stored_cols(type, order) * element);
    return layout;
  }
  const int64_t cols = type.cols();
  const int64_t code_cols = format.map == ir::CodeMap::fp8 ? stored_cols(type, order) : cols;
  place_tiles(layout.codes, format.base3 ? cols / kTritUnit * kTritWords * 4 * kTileRows
                                         : kTileRows * code_cols / 8 * format.bits);
  if (row_of(order).block_records && format.block > 0) {
    place_tiles(layout.scales, cols / format.block * record_bytes(format) * kTileRows);
  } else if (format.group > 0) {
    const int64_t numbers = scale_count(type) * element * kTileRows;
    const int64_t integers = cols / format.group * format.sub_bits * kTileRows / 8;
    place_tiles(layout.scales, numbers);
    if (format.has_biases()) place_tiles(layout.biases, numbers);
    if (format.block > 0) place_tiles(layout.sub_scales, integers);
    if (format.block > 0 && format.has_biases()) place_tiles(layout.sub_biases, integers);
  }
  if (format.map == ir::CodeMap::shifted)
    place_tiles(layout.sub_biases, scale_count(type) * shift_bytes(format));
  if (format.tensor_scale) place(layout.factors, sources * 8);
  return layout;
}

}  // namespace sinter::codegen
