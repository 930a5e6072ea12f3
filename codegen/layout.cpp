#include "codegen/layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <thread>
#include <utility>

namespace sinter::codegen {

namespace {

// Columns of a block and of a segment of it in gpu16.
constexpr int64_t kGpuBlock = 128;
constexpr int64_t kGpuSegment = 32;

int64_t aligned(int64_t bytes) { return (bytes + 63) / 64 * 64; }

// Columns of a dense tile as stored: gpu16 reads 16 bytes of a row at a time.
int64_t stored_cols(const ir::WeightType& type, Layout order) {
  const int64_t unit = order == Layout::gpu16 ? 16 / ir::byte_size(type.format.scale_type) : 1;
  return (type.cols() + unit - 1) / unit * unit;
}

// Rows of the concatenated sources by their number.
class Rows {
 public:
  static absl::StatusOr<Rows> open(const ir::WeightData& data, const ir::WeightType& type,
                                   const ir::MatrixSource& source) {
    Rows rows;
    int64_t total = 0;
    for (const std::string& name : data.sources) {
      auto matrix = source.matrix(name);
      if (!matrix.ok()) return matrix.status();
      rows.starts_.push_back(total);
      total += type.shape.size() == 1 ? matrix->type.cols() : matrix->type.rows();
      rows.matrices_.push_back(*matrix);
    }
    const int64_t expected = type.shape.size() == 1 ? type.cols() : type.rows();
    if (total != expected)
      return absl::InternalError(
          fmt::format("weight of {} rows has sources of {}", expected, total));
    return rows;
  }

  std::pair<const ir::Matrix*, int64_t> at(int64_t row) const {
    const auto next = std::upper_bound(starts_.begin(), starts_.end(), row);
    const size_t i = static_cast<size_t>(next - starts_.begin()) - 1;
    return {&matrices_[i], row - starts_[i]};
  }
  const std::vector<ir::Matrix>& matrices() const { return matrices_; }

 private:
  std::vector<ir::Matrix> matrices_;
  std::vector<int64_t> starts_;
};

// The fields of a width: 8, or powers of two that sum to it, the widest first.
bool has_field(int bits, int width) {
  return bits == 8 ? width == 8 : width < 8 && (bits & width) != 0;
}

// One tile of codes; `codes` has 16 rows of `cols`.
void pack_codes_cpu16(const ir::WeightFormat& format, int64_t cols, const uint8_t* codes,
                      uint8_t* out) {
  const int64_t group = format.group;
  for (int64_t g = 0; g < cols / group; ++g) {
    int low = 0;
    for (int width = 8; width > 0; width /= 2) {
      if (!has_field(format.bits, width)) continue;
      const int per_chunk = 8 / width;
      const auto mask = static_cast<uint8_t>((1U << width) - 1U);
      for (int64_t step = 0; step < group / 4; ++step) {
        uint8_t* chunk = out + step / per_chunk * 64;
        const int shift = static_cast<int>(step % per_chunk) * width;
        for (int64_t lane = 0; lane < kTileRows; ++lane)
          for (int64_t k = 0; k < 4; ++k) {
            const uint8_t code = codes[lane * cols + g * group + step * 4 + k];
            chunk[lane * 4 + k] =
                static_cast<uint8_t>(chunk[lane * 4 + k] | (((code >> low) & mask) << shift));
          }
      }
      out += group * 2 * width;
      low += width;
    }
  }
}

// As above, for GPUs. Codes of 8 bits are stored less 128: their matrix units multiply signed
// bytes.
void pack_codes_gpu16(const ir::WeightFormat& format, int64_t cols, const uint8_t* codes,
                      uint8_t* out) {
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

// Where group `g` of row `row` of a tile has its scale, in elements.
int64_t scale_index(Layout order, const ir::WeightFormat& format, int64_t cols, int64_t row,
                    int64_t g) {
  if (order == Layout::cpu16) return g * kTileRows + row;
  const int64_t per_block = kGpuBlock / format.group;
  const int64_t block = g / per_block;
  const int64_t here = std::min(per_block, cols / format.group - block * per_block);
  return block * per_block * kTileRows + row * here + g % per_block;
}

// The row that lane `lane` of tile `tile` holds, or -1 for padding.
int64_t row_of(const PackedLayout& layout, int64_t tile, int64_t lane) {
  const int64_t in_part = tile % layout.part_tiles * kTileRows + lane;
  return in_part < layout.part_rows ? tile / layout.part_tiles * layout.part_rows + in_part : -1;
}

using PackTile = std::function<void(int64_t tile, uint8_t* out)>;
using Write = std::function<absl::Status(absl::Span<const uint8_t>)>;

// Runs pack_tile for all tiles on a few threads, batch after batch, and writes what they made,
// padded to `end`.
absl::Status write_tiles(int64_t tiles, int64_t tile_bytes, int64_t padded_bytes,
                         const PackTile& pack_tile, const Write& write) {
  const int64_t batch = std::max<int64_t>(1, (int64_t{4} << 20) / std::max<int64_t>(tile_bytes, 1));
  const auto threads =
      static_cast<int64_t>(std::clamp(std::thread::hardware_concurrency(), 1U, 8U));
  std::vector<uint8_t> buffer;
  for (int64_t first = 0; first < tiles; first += batch) {
    const int64_t count = std::min(batch, tiles - first);
    buffer.assign(static_cast<size_t>(count * tile_bytes), 0);
    const auto work = [&](int64_t worker) {
      for (int64_t i = worker; i < count; i += threads)
        pack_tile(first + i, buffer.data() + i * tile_bytes);
    };
    std::vector<std::thread> pool;
    if (count * tile_bytes > 65536)
      for (int64_t i = 1; i < threads; ++i) pool.emplace_back(work, i);
    else
      for (int64_t i = 1; i < threads; ++i) work(i);
    work(0);
    for (std::thread& thread : pool) thread.join();
    if (auto status = write(buffer); !status.ok()) return status;
  }
  buffer.assign(static_cast<size_t>(padded_bytes - tiles * tile_bytes), 0);
  return buffer.empty() ? absl::OkStatus() : write(buffer);
}

absl::Status pack_vector(const ir::WeightType& type, const ir::WeightData& data,
                         const PackedLayout& layout, const ir::MatrixSource& source,
                         const Write& write) {
  std::vector<float> values = data.constant;
  if (values.empty()) {
    auto rows = Rows::open(data, type, source);
    if (!rows.ok()) return rows.status();
    for (const ir::Matrix& matrix : rows->matrices()) {
      const size_t at = values.size();
      values.resize(at + static_cast<size_t>(matrix.type.cols()));
      ir::decode_row(matrix, 0, values.data() + at);
    }
  }
  std::vector<uint8_t> bytes(static_cast<size_t>(layout.bytes), 0);
  std::memcpy(bytes.data(), values.data(), values.size() * sizeof(float));
  return write(bytes);
}

}  // namespace

std::string_view name(Layout layout) { return layout == Layout::cpu16 ? "cpu16" : "gpu16"; }

PackedLayout packed_layout(const ir::WeightType& type, int64_t parts, Layout order) {
  PackedLayout layout;
  layout.order = order;
  layout.parts = parts;
  layout.part_rows = type.rows() / parts;
  layout.part_tiles = (layout.part_rows + kTileRows - 1) / kTileRows;
  const ir::WeightFormat& format = type.format;
  if (type.shape.size() == 1) {
    layout.codes_bytes = type.cols() * 4;
    layout.bytes = aligned(layout.codes_bytes) + 64;
    return layout;
  }
  if (format.is_dense()) {
    layout.codes_bytes =
        layout.tiles() * kTileRows * stored_cols(type, order) * ir::byte_size(format.scale_type);
    layout.bytes = aligned(layout.codes_bytes);
    return layout;
  }
  layout.codes_bytes = layout.tiles() * kTileRows * type.cols() / 8 * format.bits;
  layout.scales = aligned(layout.codes_bytes);
  layout.scales_bytes =
      layout.tiles() * kTileRows * (type.cols() / format.group) * ir::byte_size(format.scale_type);
  layout.bytes = layout.scales + aligned(layout.scales_bytes);
  if (format.map == ir::CodeMap::affine) {
    layout.biases = layout.bytes;
    layout.biases_bytes = layout.scales_bytes;
    layout.bytes += aligned(layout.biases_bytes);
  }
  return layout;
}

absl::Status pack_weight(const ir::WeightType& type, const ir::WeightData& data,
                         const PackedLayout& layout, const ir::MatrixSource& source,
                         const Write& write) {
  if (type.shape.size() == 1) return pack_vector(type, data, layout, source, write);
  auto rows = Rows::open(data, type, source);
  if (!rows.ok()) return rows.status();
  const int64_t cols = type.cols();
  const ir::WeightFormat& format = type.format;
  const int64_t element = ir::byte_size(format.scale_type);

  if (format.is_dense()) {
    return write_tiles(
        layout.tiles(), kTileRows * stored_cols(type, layout.order) * element, layout.bytes,
        [&](int64_t tile, uint8_t* out) {
          for (int64_t lane = 0; lane < kTileRows; ++lane) {
            const int64_t row = row_of(layout, tile, lane);
            if (row < 0) continue;
            const auto [matrix, r] = rows->at(row);
            const uint8_t* from = ir::row_data(*matrix, r);
            const int64_t unit = layout.order == Layout::gpu16 ? 16 / element : 1;
            for (int64_t k = 0; k < cols; ++k)
              std::memcpy(out + ((k / unit * kTileRows + lane) * unit + k % unit) * element,
                          from + k * element, static_cast<size_t>(element));
          }
        },
        write);
  }

  const int64_t groups = cols / format.group;
  absl::Status status = write_tiles(
      layout.tiles(), kTileRows * cols / 8 * format.bits, layout.scales,
      [&](int64_t tile, uint8_t* out) {
        std::vector<uint8_t> codes(static_cast<size_t>(kTileRows * cols), 0);
        for (int64_t lane = 0; lane < kTileRows; ++lane) {
          const int64_t row = row_of(layout, tile, lane);
          if (row < 0) continue;
          const auto [matrix, r] = rows->at(row);
          ir::decode_codes(*matrix, r, codes.data() + lane * cols);
        }
        const auto pack = layout.order == Layout::cpu16 ? pack_codes_cpu16 : pack_codes_gpu16;
        pack(format, cols, codes.data(), out);
      },
      write);
  using GroupBytes = const uint8_t* (*)(const ir::Matrix&, int64_t row, int64_t group);
  const auto per_group = [&](GroupBytes bytes_of) {
    return [&, bytes_of](int64_t tile, uint8_t* out) {
      for (int64_t lane = 0; lane < kTileRows; ++lane) {
        const int64_t row = row_of(layout, tile, lane);
        if (row < 0) continue;
        const auto [matrix, r] = rows->at(row);
        for (int64_t g = 0; g < groups; ++g)
          std::memcpy(out + scale_index(layout.order, format, cols, lane, g) * element,
                      bytes_of(*matrix, r, g), static_cast<size_t>(element));
      }
    };
  };
  const int64_t scale_tile = kTileRows * groups * element;
  const int64_t scales_end = layout.biases > 0 ? layout.biases : layout.bytes;
  if (status.ok())
    status = write_tiles(layout.tiles(), scale_tile, scales_end - layout.scales,
                         per_group(ir::scale_bytes), write);
  if (status.ok() && layout.biases > 0)
    status = write_tiles(layout.tiles(), scale_tile, layout.bytes - layout.biases,
                         per_group(ir::bias_bytes), write);
  return status;
}

}  // namespace sinter::codegen
