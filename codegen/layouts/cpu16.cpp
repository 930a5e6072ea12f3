// cpu16: one lane per row, as codegen/device/cpu/weights.h describes it.
#include <algorithm>

#include "codegen/layouts/tile.h"

namespace sinter::codegen {

namespace {

// Columns whose codes cpu16 keeps together: the chunks of every field are whole.
int64_t code_unit(const ir::WeightType& type) {
  return type.format.base3 ? kTritUnit : std::max(dot_group(type), kGpuSegment);
}

// One tile of codes; `codes` has 16 rows of `cols`.
void pack_cpu16_codes(const ir::WeightType& type, const uint8_t* codes, uint8_t* out) {
  const int64_t cols = type.cols();
  const int64_t unit = code_unit(type);
  const int bits = type.format.bits;
  for (int64_t u = 0; u < cols / unit; ++u) {
    int low = 0;
    for (int width = 8; width > 0; width /= 2) {
      if (!has_field(bits, width)) continue;
      const int per_chunk = 8 / width;
      const auto mask = static_cast<uint8_t>((1U << width) - 1U);
      for (int64_t step = 0; step < unit / 4; ++step) {
        uint8_t* chunk = out + step / per_chunk * 64;
        const int shift = static_cast<int>(step % per_chunk) * width;
        for (int64_t lane = 0; lane < kTileRows; ++lane)
          for (int64_t k = 0; k < 4; ++k) {
            const uint8_t code = codes[lane * cols + u * unit + step * 4 + k];
            chunk[lane * 4 + k] =
                static_cast<uint8_t>(chunk[lane * 4 + k] | (((code >> low) & mask) << shift));
          }
      }
      out += unit * 2 * width;
      low += width;
    }
  }
}

int64_t cpu16_scale_index(const ir::WeightType&, int64_t row, int64_t index) {
  return index * kTileRows + row;
}

}  // namespace

LayoutRow layout_cpu16() {
  return {.devices = {Device::host},
          .serves = serves_every_type,
          .pack_codes = pack_cpu16_codes,
          .scale_index = cpu16_scale_index,
          .codes_struct = "BitCodes"};
}

}  // namespace sinter::codegen
