// Weights as kernels read them: sizes, positions and the repacking from a checkpoint's bytes. The
// layouts are described beside the kernels that read them; change both together.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "ir/graph.h"
#include "ir/matrix.h"

namespace sinter::codegen {

// Both tile rows by 16 and differ in the order within a tile.
enum class Layout {
  cpu16,  // one lane per row: codegen/device/cpu/weights.h
  gpu16,  // 16 bytes of a row at a time: codegen/device/gpu/weights.h
};
std::string_view name(Layout layout);
inline constexpr int64_t kTileRows = 16;

// Where the pieces of a packed weight lie, in bytes from its start. Every piece starts at a
// multiple of 64 and at least 64 readable bytes follow the last.
struct PackedLayout {
  Layout order = Layout::cpu16;
  int64_t parts = 1;  // equal runs of rows, each starting a tile of its own
  int64_t part_rows = 0;
  int64_t part_tiles = 0;
  int64_t codes = 0, codes_bytes = 0;  // for dense weights: the elements
  int64_t scales = 0, scales_bytes = 0;
  int64_t biases = 0, biases_bytes = 0;
  int64_t bytes = 0;

  int64_t tiles() const { return parts * part_tiles; }
};

// A vector (1-D) is stored as float32; matrices keep their format.
PackedLayout packed_layout(const ir::WeightType& type, int64_t parts, Layout order);

// Writes the weight in order of address to `write`, a few tiles at a time, so that it never lies in
// memory whole.
absl::Status pack_weight(const ir::WeightType& type, const ir::WeightData& data,
                         const PackedLayout& layout, const ir::MatrixSource& source,
                         const std::function<absl::Status(absl::Span<const uint8_t>)>& write);

}  // namespace sinter::codegen
