// From a checkpoint's bytes to a layout's, tile by tile.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <thread>
#include <utility>

#include "codegen/layouts/tile.h"
#include "runtime/support/half.h"

namespace sinter::codegen {

namespace {

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
  int64_t start(size_t matrix) const { return starts_[matrix]; }

 private:
  std::vector<ir::Matrix> matrices_;
  std::vector<int64_t> starts_;
};

// Codes in base 3: in a unit of 256 columns a row has 13 words, whose bytes k hold the codes of
// columns 4 step + k of five steps, as the fraction 0.ttttt of 256 in base 3, rounded up. Half h of
// the unit has words 6 h .. 6 h + 5; its last two steps are digits 2 h and 2 h + 1 of word 12.
struct TritPlace {
  int64_t word;
  int digit;
};
TritPlace trit_place(int64_t step) {
  const int64_t half = step / 32;
  const int64_t in_half = step % 32;
  if (in_half < 30) return {half * 6 + in_half / 5, static_cast<int>(in_half % 5)};
  return {12, static_cast<int>(half * 2 + in_half - 30)};
}

// The words of one row's unit: words[word][k].
void pack_trits(const uint8_t* codes, uint8_t (&words)[kTritWords][4]) {
  for (int64_t k = 0; k < 4; ++k) {
    std::array<std::array<int, 5>, kTritWords> digits{};
    for (int64_t step = 0; step < kTritUnit / 4; ++step) {
      const TritPlace place = trit_place(step);
      digits[static_cast<size_t>(place.word)][static_cast<size_t>(place.digit)] =
          codes[step * 4 + k];
    }
    for (size_t w = 0; w < digits.size(); ++w) {
      int number = 0;
      for (const int digit : digits[w]) number = number * 3 + digit;
      words[w][k] = static_cast<uint8_t>((number * 256 + 242) / 243);
    }
  }
}

// Words of a unit one after another, each with the 16 rows: the same on CPUs and GPUs.
void pack_codes_base3(const ir::WeightType& type, const uint8_t* codes, uint8_t* out) {
  for (int64_t unit = 0; unit < type.cols() / kTritUnit; ++unit)
    for (int64_t row = 0; row < kTileRows; ++row) {
      uint8_t words[kTritWords][4];
      pack_trits(codes + row * type.cols() + unit * kTritUnit, words);
      for (int64_t w = 0; w < kTritWords; ++w)
        std::memcpy(out + ((unit * kTritWords + w) * kTileRows + row) * 4, words[w], 4);
    }
}

// Integers of two levels in pieces of their own: for every block of columns the fields of the
// width, the widest first; in a field of w bits a vector of 16 bytes has 8 / w groups, group i in
// bits (i w) % 8 of the byte of its row.
void pack_sub(const ir::WeightFormat& format, int64_t groups, int64_t lane, const uint8_t* integers,
              uint8_t* out) {
  const int64_t per_block = format.block / format.group;
  for (int64_t g = 0; g < groups; ++g) {
    const int64_t i = g % per_block;
    uint8_t* field = out + g / per_block * per_block * format.sub_bits * 2;
    int low = 0;
    for (int width = 8; width > 0; width /= 2) {
      if (!has_field(format.sub_bits, width)) continue;
      const unsigned value = (unsigned{integers[g]} >> low) & ((1U << width) - 1U);
      uint8_t& byte = field[i * width / 8 * kTileRows + lane];
      byte = static_cast<uint8_t>(byte | value << (i * width % 8));
      field += per_block * width * 2;
      low += width;
    }
  }
}

void pack_shifts(const ir::WeightFormat& format, int64_t groups, int64_t lane,
                 const uint8_t* shifts, uint8_t* out) {
  for (int64_t g = 0; g < groups; ++g) {
    uint8_t* here = out + g * shift_bytes(format);
    if (format.bits > 4) {
      here[lane] = shifts[g];
    } else {
      here[lane / 2] = static_cast<uint8_t>(here[lane / 2] | shifts[g] << (lane % 2 * 4));
    }
  }
}

// The record of one row, in words of the 16 rows one after another.
void pack_record(const ir::WeightFormat& format, int64_t lane, const uint8_t* sub_scales,
                 const uint8_t* sub_biases, const uint8_t* scale, const uint8_t* bias,
                 uint8_t* out) {
  std::array<uint8_t, 64> record{};
  int64_t bit = 0;
  const auto put = [&](unsigned value, int bits) {
    for (int i = 0; i < bits; ++i, ++bit) {
      uint8_t& byte = record[static_cast<size_t>(bit / 8)];
      byte = static_cast<uint8_t>(byte | ((value >> i) & 1U) << (bit % 8));
    }
  };
  const int64_t groups = format.block / format.group;
  for (int64_t g = 0; g < groups; ++g) put(sub_scales[g], format.sub_bits);
  for (int64_t g = 0; format.has_biases() && g < groups; ++g) put(sub_biases[g], format.sub_bits);
  const int64_t number_bytes = ir::byte_size(format.scale_type);
  for (int64_t i = 0; i < number_bytes; ++i) put(scale[i], 8);
  for (int64_t i = 0; format.has_biases() && i < number_bytes; ++i)
    put(bias[i] ^ (i == number_bytes - 1 ? 0x80U : 0U), 8);
  const int64_t bytes = record_bytes(format);
  for (int64_t at = 0; at < bytes; at += 4) {
    const int64_t size = std::min<int64_t>(4, bytes - at);
    std::memcpy(out + at * kTileRows + lane * size, record.data() + at, static_cast<size_t>(size));
  }
}

// The row that lane `lane` of tile `tile` holds, or -1 for padding.
int64_t checkpoint_row(const PackedLayout& layout, int64_t tile, int64_t lane) {
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
  const auto put = [&](auto number) {
    std::vector<decltype(number(0.0F))> out;
    out.reserve(values.size());
    for (const float value : values) out.push_back(number(value));
    std::memcpy(bytes.data(), out.data(), out.size() * sizeof(out[0]));
  };
  // The numbers came from this type, so nothing is rounded.
  switch (type.format.scale_type) {
    case ir::DType::f16:
      put(runtime::f16_from_f32);
      break;
    case ir::DType::bf16:
      put(runtime::bf16_from_f32);
      break;
    default:
      put([](float value) { return value; });
  }
  return write(bytes);
}

// Packs the tiles of one weight, piece by piece.
class TilePacker {
 public:
  TilePacker(const ir::WeightType& stored, const PackedLayout& layout, const Rows& rows)
      : stored_(stored),
        type_(kernel_type(stored)),
        format_(stored.format),
        layout_(layout),
        rows_(rows) {}

  // A row of the tile as it is in the checkpoint: f(lane, matrix, row).
  template <class F>
  void each_row(int64_t tile, const F& f) const {
    for (int64_t lane = 0; lane < kTileRows; ++lane) {
      const int64_t row = checkpoint_row(layout_, tile, lane);
      if (row < 0) continue;
      const auto [matrix, r] = rows_.at(row);
      f(lane, *matrix, r);
    }
  }

  void elements(int64_t tile, uint8_t* out) const {
    const int64_t element = ir::byte_size(format_.scale_type);
    const int64_t unit = run_of(layout_.order, element);
    std::vector<float> numbers(static_cast<size_t>(type_.cols()));
    each_row(tile, [&](int64_t lane, const ir::Matrix& matrix, int64_t r) {
      // Codes that no kernel reads have become float32.
      auto* const from = reinterpret_cast<uint8_t*>(numbers.data());
      if (matrix.type.format.is_dense()) {
        ir::copy_row(matrix, r, from);
      } else {
        ir::decode_row(matrix, r, numbers.data());
      }
      for (int64_t k = 0; k < type_.cols(); ++k)
        std::memcpy(out + ((k / unit * kTileRows + lane) * unit + k % unit) * element,
                    from + k * element, static_cast<size_t>(element));
    });
  }

  void codes(int64_t tile, uint8_t* out) const {
    const int64_t cols = type_.cols();
    std::vector<uint8_t> codes(static_cast<size_t>(kTileRows * cols), 0);
    each_row(tile, [&](int64_t lane, const ir::Matrix& matrix, int64_t r) {
      ir::decode_codes(matrix, r, codes.data() + lane * cols);
    });
    if (format_.base3) {
      pack_codes_base3(type_, codes.data(), out);
    } else if (format_.map == ir::CodeMap::fp8) {
      pack_fp8(codes.data(), out);
    } else {
      row_of(layout_.order).pack_codes(type_, codes.data(), out);
    }
  }

  void records(int64_t tile, uint8_t* out) const {
    std::vector<uint8_t> sub_scales(groups());
    std::vector<uint8_t> sub_biases(groups());
    const int64_t per_block = format_.block / format_.group;
    each_row(tile, [&](int64_t lane, const ir::Matrix& matrix, int64_t r) {
      ir::decode_sub_scales(matrix, r, sub_scales.data());
      if (format_.has_biases()) ir::decode_sub_biases(matrix, r, sub_biases.data());
      for (int64_t b = 0; b < type_.cols() / format_.block; ++b)
        pack_record(format_, lane, sub_scales.data() + b * per_block,
                    sub_biases.data() + b * per_block, ir::scale_bytes(matrix, r, b),
                    format_.has_biases() ? ir::bias_bytes(matrix, r, b) : nullptr,
                    out + b * record_bytes(format_) * kTileRows);
    });
  }

  void numbers(int64_t tile, bool biases, uint8_t* out) const {
    const int64_t element = ir::byte_size(format_.scale_type);
    const auto bytes_of = biases ? ir::bias_bytes : ir::scale_bytes;
    const auto scale_index = row_of(layout_.order).scale_index;
    each_row(tile, [&](int64_t lane, const ir::Matrix& matrix, int64_t r) {
      for (int64_t i = 0; i < stored_.cols() / format_.scale_cols(); ++i)
        std::memcpy(out + scale_index(type_, lane, i) * element, bytes_of(matrix, r, i),
                    static_cast<size_t>(element));
    });
  }

  void integers(int64_t tile, bool biases, uint8_t* out) const {
    std::vector<uint8_t> integers(groups());
    const auto decode = biases ? ir::decode_sub_biases : ir::decode_sub_scales;
    const auto pack = format_.map == ir::CodeMap::shifted ? pack_shifts : pack_sub;
    each_row(tile, [&](int64_t lane, const ir::Matrix& matrix, int64_t r) {
      decode(matrix, r, integers.data());
      pack(format_, static_cast<int64_t>(integers.size()), lane, integers.data(), out);
    });
  }

 private:
  size_t groups() const { return static_cast<size_t>(stored_.cols() / format_.group); }

  // Bytes of a row like dense elements.
  void pack_fp8(const uint8_t* codes, uint8_t* out) const {
    const int64_t unit = run_of(layout_.order, 1);
    for (int64_t lane = 0; lane < kTileRows; ++lane)
      for (int64_t k = 0; k < type_.cols(); ++k)
        out[(k / unit * kTileRows + lane) * unit + k % unit] = codes[lane * type_.cols() + k];
  }

  const ir::WeightType& stored_;
  const ir::WeightType type_;  // in kernels
  const ir::WeightFormat& format_;
  const PackedLayout& layout_;
  const Rows& rows_;
};

}  // namespace

absl::Status pack_weight(const ir::WeightType& type, const ir::WeightData& data,
                         const PackedLayout& layout, const ir::MatrixSource& source,
                         const Write& write) {
  if (type.shape.size() == 1) return pack_vector(type, data, layout, source, write);
  auto rows = Rows::open(data, type, source);
  if (!rows.ok()) return rows.status();
  const TilePacker packer(type, layout, *rows);
  struct Work {
    const Piece& piece;
    PackTile pack;
  };
  const bool records = row_of(layout.order).block_records && type.format.block > 0;
  const std::vector<Work> work = {
      {layout.codes,
       [&](int64_t tile, uint8_t* out) {
         type.format.is_dense() ? packer.elements(tile, out) : packer.codes(tile, out);
       }},
      {layout.scales,
       [&](int64_t tile, uint8_t* out) {
         records ? packer.records(tile, out) : packer.numbers(tile, false, out);
       }},
      {layout.biases, [&](int64_t tile, uint8_t* out) { packer.numbers(tile, true, out); }},
      {layout.sub_scales, [&](int64_t tile, uint8_t* out) { packer.integers(tile, false, out); }},
      {layout.sub_biases, [&](int64_t tile, uint8_t* out) { packer.integers(tile, true, out); }},
  };
  int64_t written = 0;
  for (const Work& w : work) {
    if (w.piece.bytes == 0) continue;
    if (auto status =
            write_tiles(layout.tiles(), w.piece.tile_bytes, aligned(w.piece.bytes), w.pack, write);
        !status.ok())
      return status;
    written = w.piece.at + aligned(w.piece.bytes);
  }
  std::vector<uint8_t> rest(static_cast<size_t>(layout.bytes - written), 0);
  if (layout.factors.bytes > 0)
    for (size_t i = 0; i < rows->matrices().size(); ++i) {
      std::memcpy(rest.data() + i * 4, &rows->matrices()[i].tensor_scale, 4);
      const auto start = static_cast<int32_t>(rows->start(i));
      std::memcpy(rest.data() + (rows->matrices().size() + i) * 4, &start, 4);
    }
  return rest.empty() ? absl::OkStatus() : write(rest);
}

}  // namespace sinter::codegen
