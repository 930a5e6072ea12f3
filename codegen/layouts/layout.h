// Weights as kernels read them: sizes, positions and the repacking from a checkpoint's bytes. The
// layouts (layout_table.h) are described beside the kernels that read them; change both together.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "codegen/device/sizes.h"
#include "ir/graph.h"
#include "ir/matrix.h"

namespace sinter::codegen {

// Of matrices all tile rows by 16 and differ in the order within a tile.
enum class Layout {
#define SINTER_LAYOUT(name) name,
#include "codegen/layouts/layouts.def"
};
std::string_view name(Layout layout);
inline constexpr int64_t kTileRows = sizes::lanes;

// A weight as kernels know it: rows of codes are filled up with columns to a multiple of 32, and
// with them the group where there is one to a row. Activations are 0 in these columns, whatever the
// codes. Kernels of floats take any number of columns.
ir::WeightType kernel_type(const ir::WeightType& type);

// Columns whose products kernels sum before they scale them, given a kernel_type: the largest of
// 128, 64, 32 and 16 that divides a group of the format, or the columns where there are no groups.
// 0 when none does and there is no kernel.
int64_t dot_group(const ir::WeightType& type);

// A run of bytes of a packed weight.
struct Piece {
  int64_t at = 0;  // from the weight's start; a multiple of 64
  int64_t bytes = 0;
  int64_t tile_bytes = 0;
  bool operator==(const Piece&) const = default;
};

// Where the pieces of a packed weight lie.
struct PackedLayout {
  Layout order = Layout::plain;
  int64_t parts = 1;  // equal runs of rows, each starting a tile of its own
  int64_t part_rows = 0;
  int64_t part_tiles = 0;
  Piece codes;       // for dense weights: the elements
  Piece scales;      // or all that belongs to a block of two levels
  Piece biases;      // affine
  Piece sub_scales;  // of two levels
  Piece sub_biases;  // of two levels, affine; or shifts
  Piece factors;     // with a scale of the tensor: a float32 of every source, then, as int32, the
                     // rows at which they begin
  int64_t bytes = 0;

  int64_t tiles() const { return parts * part_tiles; }
  // The piece that begins there; an empty one when none does.
  Piece piece_at(int64_t at) const;
  bool operator==(const PackedLayout&) const = default;
};

// Of a weight of the graph. Vectors and matrices keep their format. `sources`: matrices that make
// the weight.
PackedLayout packed_layout(const ir::WeightType& type, int64_t parts, Layout order,
                           int64_t sources = 1);

// Writes the weight in order of address to `write`, a few tiles at a time, so that it never lies in
// memory whole.
absl::Status pack_weight(const ir::WeightType& type, const ir::WeightData& data,
                         const PackedLayout& layout, const ir::MatrixSource& source,
                         const std::function<absl::Status(absl::Span<const uint8_t>)>& write);

}  // namespace sinter::codegen
