// Sizes within a tile of 16 rows, for the parts that measure layouts and that pack them.
#pragma once

#include <algorithm>
#include <cstdint>

#include "codegen/device/sizes.h"
#include "codegen/layouts/layout.h"
#include "codegen/layouts/layout_table.h"

namespace sinter::codegen {

// Columns of a block and of a segment of it in gpu16; rows of codes are filled up to a segment.
inline constexpr int64_t kGpuBlock = sizes::gpu_block;
inline constexpr int64_t kGpuSegment = 32;
// Columns and words of a row of codes in base 3.
inline constexpr int64_t kTritUnit = 256;
inline constexpr int64_t kTritWords = 13;

inline int64_t aligned(int64_t bytes) { return (bytes + 63) / 64 * 64; }

// The fields of a width: 8, or powers of two that sum to it, the widest first.
inline bool has_field(int bits, int width) {
  return bits == 8 ? width == 8 : width < 8 && (bits & width) != 0;
}

// Elements of a row that a layout keeps side by side.
inline int64_t run_of(Layout layout, int64_t element_bytes) {
  return std::max<int64_t>(1, row_of(layout).run_bytes / element_bytes);
}

// Numbers of scale_type of a row: the columns that a row was filled up with may begin another
// group.
inline int64_t scale_count(const ir::WeightType& type) {
  const int64_t scale_cols = type.format.scale_cols();
  return (type.cols() + scale_cols - 1) / scale_cols;
}

// Shifts: 4 bits to a row where that is enough, two rows to a byte.
inline int64_t shift_bytes(const ir::WeightFormat& format) {
  return format.bits <= 4 ? 8 : kTileRows;
}

// A block of two levels as a record of every row: the integers of the scales, of the
// biases, the scale and minus the bias of the block as one stream of bits, LSB first: kernels add
// what formats take off. Its words of four bytes (the last may have two) are stored one after
// another, each with the 16 rows.
inline int64_t record_bytes(const ir::WeightFormat& format) {
  const int64_t numbers = format.has_biases() ? 2 : 1;
  return numbers *
         (format.block / format.group * format.sub_bits / 8 + ir::byte_size(format.scale_type));
}

}  // namespace sinter::codegen
