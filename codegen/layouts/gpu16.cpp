// gpu16: 16 bytes of a row at a time, as codegen/device/gpu/weights.h describes it.
#include <algorithm>

#include "codegen/layouts/tile.h"

namespace sinter::codegen {

namespace {

// Codes of 8 bits are stored less 128: their matrix units multiply signed
// bytes.
void pack_gpu16_codes(const ir::WeightType& type, const uint8_t* codes, uint8_t* out) {
  const ir::WeightFormat& format = type.format;
  const int64_t cols = type.cols();
  for (int64_t block = 0; block < cols; block += kGpuBlock) {
    const int64_t segments = std::min(kGpuBlock, cols - block) / kGpuSegment;
    const bool whole = segments * kGpuSegment == kGpuBlock;
    int low = 0;
    for (int width = 8; width > 0; width /= 2) {
      if (!has_field(format.bits, width)) continue;
      const auto mask = static_cast<uint8_t>((1U << width) - 1U);
      for (int64_t row = 0; row < kTileRows; ++row)
        for (int64_t k = 0; k < segments * kGpuSegment; ++k) {
          const uint8_t stored = codes[row * cols + block + k] ^ (format.bits == 8 ? 0x80 : 0);
          const auto code = static_cast<uint8_t>((stored >> low) & mask);
          // Step `step` of four columns is in bits step * width of the segment's words.
          const int64_t step = k % kGpuSegment / 4;
          const int64_t word = k / kGpuSegment * width + step * width / 8;
          const int64_t at = whole ? (word / 4 * kTileRows + row) * 16 + word % 4 * 4
                                   : (word * kTileRows + row) * 4;
          uint8_t& byte = out[at + k % 4];
          byte = static_cast<uint8_t>(byte | code << (step * width % 8));
        }
      out += kTileRows * segments * kGpuSegment * width / 8;
      low += width;
    }
  }
}

int64_t gpu16_scale_index(const ir::WeightType& type, int64_t row, int64_t index) {
  const int64_t scale_cols = type.format.scale_cols();
  if (kGpuBlock % scale_cols != 0) return index * kTileRows + row;
  const int64_t per_block = kGpuBlock / scale_cols;
  const int64_t block = index / per_block;
  const int64_t here = std::min(per_block, scale_count(type) - block * per_block);
  return block * per_block * kTileRows + row * here + index % per_block;
}

}  // namespace

LayoutRow layout_gpu16() {
  return {.devices = {Device::gpu},
          .serves = serves_every_type,
          .run_bytes = 16,
          .pack_codes = pack_gpu16_codes,
          .scale_index = gpu16_scale_index,
          .block_records = true,
          .codes_struct = "BitCodes"};
}

}  // namespace sinter::codegen
