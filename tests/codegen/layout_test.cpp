// The packed layout, read back by the description in codegen/device/cpu/weights.h and not by the
// code that writes it.
#include "codegen/layouts/layout.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <set>
#include <vector>

#include "codegen/layouts/layout_table.h"
#include "tests/codegen/kernel_harness.h"

namespace sinter::codegen::test {
namespace {

using ir::DType;

std::vector<uint8_t> pack(const ir::WeightType& type, const ir::WeightData& data,
                          const PackedLayout& layout, const ir::MatrixSource& source) {
  std::vector<uint8_t> out;
  const auto status = pack_weight(type, data, layout, source, [&](absl::Span<const uint8_t> bytes) {
    out.insert(out.end(), bytes.begin(), bytes.end());
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(static_cast<int64_t>(out.size()), layout.bytes) << to_string(type);
  out.resize(static_cast<size_t>(layout.bytes));
  return out;
}

// Row `row` of part `part` lies in this lane of this tile.
struct Place {
  int64_t tile, lane;
};
Place place_of(int64_t row, int64_t rows, int64_t parts) {
  const int64_t part_rows = rows / parts;
  const int64_t tiles = (part_rows + 15) / 16;
  const int64_t in_part = row % part_rows;
  return {row / part_rows * tiles + in_part / 16, in_part % 16};
}

int code_at(const std::vector<uint8_t>& packed, const ir::WeightType& type, Place place,
            int64_t col) {
  const int64_t bits = type.format.bits, group = type.format.group;
  int64_t at = place.tile * 16 * type.cols() * bits / 8 + col / group * group * 2 * bits;
  const int64_t step = col % group / 4, k = col % 4;
  const std::vector<int> fields = bits == 8   ? std::vector<int>{8}
                                  : bits == 7 ? std::vector<int>{4, 2, 1}
                                  : bits == 6 ? std::vector<int>{4, 2}
                                  : bits == 5 ? std::vector<int>{4, 1}
                                  : bits == 3 ? std::vector<int>{2, 1}
                                              : std::vector<int>{static_cast<int>(bits)};
  int code = 0, low = 0;
  for (const int w : fields) {
    const int64_t per_chunk = 8 / w;
    const auto byte = packed[static_cast<size_t>(at + step / per_chunk * 64 + 4 * place.lane + k)];
    code |= ((byte >> (step % per_chunk * w)) & ((1 << w) - 1)) << low;
    low += w;
    at += group * 2 * w;
  }
  return code;
}

void expect_coded_weight_packs(int64_t rows, int64_t cols, const ir::WeightFormat& format,
                               int64_t parts, int sources) {
  SCOPED_TRACE(fmt::format("{} x {} {} in {} parts of {} sources", rows, cols, to_string(format),
                           parts, sources));
  Random random(static_cast<uint64_t>(rows * cols + format.bits));
  RandomWeights weights;
  ir::WeightData data;
  // Sources of different heights.
  std::vector<int64_t> heights;
  int64_t left = rows;
  for (int s = 0; s < sources; ++s) {
    heights.push_back(s + 1 == sources ? left : left / 3 + 1);
    left -= heights.back();
    data.sources.push_back(fmt::format("source {}", s));
    weights.add_coded(data.sources.back(), heights.back(), cols, format, random);
  }
  const ir::WeightType type{{rows, cols}, format};
  const PackedLayout layout = packed_layout(type, parts, Layout::cpu16);
  const std::vector<uint8_t> packed = pack(type, data, layout, weights);
  for (const int64_t piece : {layout.codes.at, layout.scales.at, layout.biases.at, layout.bytes})
    EXPECT_EQ(piece % 64, 0);
  EXPECT_GE(layout.scales.at, layout.codes.at + layout.codes.bytes);
  EXPECT_EQ(layout.biases.bytes > 0, format.map == ir::CodeMap::affine);

  const int64_t groups = cols / format.group;
  std::vector<uint8_t> codes(static_cast<size_t>(cols));
  int64_t wrong = 0, row = 0;
  for (size_t s = 0; s < heights.size(); ++s) {
    const auto matrix = weights.matrix(data.sources[s]);
    ASSERT_TRUE(matrix.ok());
    for (int64_t r = 0; r < heights[s]; ++r, ++row) {
      const Place place = place_of(row, rows, parts);
      ir::decode_codes(*matrix, r, codes.data());
      for (int64_t c = 0; c < cols; ++c)
        wrong += code_at(packed, type, place, c) != codes[static_cast<size_t>(c)];
      const DType number = format.scale_type;
      for (int64_t g = 0; g < groups; ++g) {
        const int64_t at = (place.tile * groups + g) * 16 + place.lane;
        wrong += ir::read_element(number, packed.data() + layout.scales.at, at) !=
                 ir::read_element(number, matrix->scales.data(), r * groups + g);
        if (layout.biases.bytes > 0)
          wrong += ir::read_element(number, packed.data() + layout.biases.at, at) !=
                   ir::read_element(number, matrix->biases.data(), r * groups + g);
      }
    }
  }
  EXPECT_EQ(wrong, 0);

  // Lanes that hold no row have scale and bias zero: they multiply to zero, never to NaN.
  const int64_t part_rows = rows / parts;
  for (int64_t tile = 0; tile < layout.tiles(); ++tile)
    for (int64_t lane = 0; lane < 16; ++lane) {
      if (tile % layout.part_tiles * 16 + lane < part_rows) continue;
      for (int64_t g = 0; g < groups; ++g) {
        const int64_t at = (tile * groups + g) * 16 + lane;
        EXPECT_EQ(ir::read_element(format.scale_type, packed.data() + layout.scales.at, at), 0);
        if (layout.biases.bytes > 0) {
          EXPECT_EQ(ir::read_element(format.scale_type, packed.data() + layout.biases.at, at), 0);
        }
      }
    }
}

TEST(Layout, CodesOfEveryWidthReadBack) {
  int i = 0;
  for (const int bits : {1, 2, 3, 4, 5, 6, 7, 8})
    for (const int group : {32, 64, 128}) {
      const DType type = i % 3 == 0 ? DType::f32 : i % 3 == 1 ? DType::f16 : DType::bf16;
      expect_coded_weight_packs(1 + 7 * (i % 6), group * (1 + i % 4), affine(bits, group, type), 1,
                                1);
      expect_coded_weight_packs(2 * (5 + 11 * (i % 3)), group * 2, affine(bits, group, type), 2, 3);
      ++i;
    }
}

TEST(Layout, SymmetricAndTernaryStoreNoBiases) {
  expect_coded_weight_packs(17, 256, symmetric(1, 0.5, 128, DType::f16), 1, 1);
  expect_coded_weight_packs(33, 192, ternary(64, DType::bf16), 1, 2);
  EXPECT_LT(packed_layout({{16, 128}, symmetric(4, 8, 64, DType::f16)}, 1, Layout::cpu16).bytes,
            packed_layout({{16, 128}, affine(4, 64, DType::f16)}, 1, Layout::cpu16).bytes);
}

// More tiles than are packed at a time, by several threads.
TEST(Layout, LargeMatricesArePackedInBatches) {
  expect_coded_weight_packs(2100, 2048, affine(8, 128, DType::f16), 1, 2);
}

// One matrix under any name.
class OneMatrix : public ir::MatrixSource {
 public:
  explicit OneMatrix(ir::Matrix matrix) : matrix_(std::move(matrix)) {}
  absl::StatusOr<ir::Matrix> matrix(std::string_view) const override { return matrix_; }

 private:
  ir::Matrix matrix_;
};

// Blocks of 32 columns as GGUF's Q5_1 has them, in heads whose halves are interleaved, against the
// same codes, scales and biases in rows of their own.
TEST(Layout, BlocksPackLikeSeparateCodesAndScales) {
  const ir::BlockLayout blocks{
      .cols = 32, .bytes = 24, .fields = {{{8, 4, 16}, {4, 1, 1}}}, .scale = 0, .bias = 2};
  const int64_t rows = 40, cols = 128, groups = cols / 32;
  std::vector<uint8_t> bytes(static_cast<size_t>(rows * groups * blocks.bytes));
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(i * i * 31 + i / 7);
  ir::Matrix blocked;
  blocked.type = {{rows, cols},
                  {.map = ir::CodeMap::affine, .bits = 5, .group = 32, .scale_type = DType::f16}};
  blocked.codes = bytes;
  blocked.blocks = &blocks;
  blocked.places = ir::RowPlaces::interleaved(8);
  ASSERT_TRUE(ir::is_complete(blocked));

  std::vector<uint8_t> codes(static_cast<size_t>(rows * cols * 5 / 8)), scales, biases;
  std::vector<uint8_t> row(static_cast<size_t>(cols));
  for (int64_t r = 0; r < rows; ++r) {
    ir::decode_codes(blocked, r, row.data());
    for (int64_t bit = 0; bit < cols * 5; ++bit) {
      const int value = row[static_cast<size_t>(bit / 5)] >> (bit % 5) & 1;
      uint8_t& byte = codes[static_cast<size_t>(r * cols * 5 / 8 + bit / 8)];
      byte = static_cast<uint8_t>(byte | value << (bit % 8));
    }
    // Row 4 h + i of a head of 8 is stored as 2 i + h.
    const int64_t stored = r / 8 * 8 + r % 4 * 2 + r % 8 / 4;
    for (int64_t g = 0; g < groups; ++g) {
      const auto* block = bytes.data() + (stored * groups + g) * blocks.bytes;
      scales.insert(scales.end(), block, block + 2);
      biases.insert(biases.end(), block + 2, block + 4);
    }
  }
  ir::Matrix planar;
  planar.type = blocked.type;
  planar.codes = codes;
  planar.scales = scales;
  planar.biases = biases;
  for (const Layout order : {Layout::cpu16, Layout::gpu16}) {
    const PackedLayout layout = packed_layout(blocked.type, 1, order);
    EXPECT_EQ(pack(blocked.type, {{"w"}, {}}, layout, OneMatrix(blocked)),
              pack(blocked.type, {{"w"}, {}}, layout, OneMatrix(planar)))
        << name(order);
  }
}

TEST(Layout, DenseElementsReadBack) {
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16})
    for (const int64_t parts : {1, 2}) {
      const int64_t rows = 38, cols = 21;
      Random random(3);
      std::vector<float> values(static_cast<size_t>(rows * cols));
      for (float& value : values) value = random.uniform(-2, 2);
      RandomWeights weights;
      weights.add_dense("w", {rows, cols}, dtype, values);
      const ir::WeightType type{{rows, cols}, dense(dtype)};
      const auto packed =
          pack(type, {{"w"}, {}}, packed_layout(type, parts, Layout::cpu16), weights);
      const auto matrix = weights.matrix("w");
      ASSERT_TRUE(matrix.ok());
      for (int64_t r = 0; r < rows; ++r) {
        const Place place = place_of(r, rows, parts);
        for (int64_t c = 0; c < cols; ++c)
          ASSERT_EQ(
              ir::read_element(dtype, packed.data(), (place.tile * cols + c) * 16 + place.lane),
              ir::read_element(dtype, matrix->codes.data(), r * cols + c))
              << ir::name(dtype) << " row " << r << " column " << c;
      }
    }
}

TEST(Layout, VectorsKeepTheirType) {
  RandomWeights weights;
  weights.add_dense("a", {3}, DType::f16, {1.5F, -2.0F, 0.25F});
  weights.add_dense("b", {2}, DType::f16, {8.0F, -0.5F});
  weights.add_dense("c", {2}, DType::bf16, {3.0F, -0.125F});
  const auto expect = [&](const ir::WeightData& data, DType dtype, const std::vector<float>& want) {
    const ir::WeightType type{{static_cast<int64_t>(want.size())}, dense(dtype)};
    const auto packed = pack(type, data, packed_layout(type, 1, Layout::cpu16), weights);
    ASSERT_GE(static_cast<int64_t>(packed.size()), type.packed_bytes() + 64);
    for (size_t i = 0; i < want.size(); ++i)
      EXPECT_EQ(ir::read_element(dtype, packed.data(), static_cast<int64_t>(i)), want[i]);
  };
  expect({{"a", "b"}, {}}, DType::f16, {1.5F, -2.0F, 0.25F, 8.0F, -0.5F});
  expect({{"c"}, {}}, DType::bf16, {3.0F, -0.125F});
  expect({{}, {0.1F, 0.2F}}, DType::f32, {0.1F, 0.2F});
}

TEST(Layout, SourcesThatAreMissingOrTooShortAreErrors) {
  Random random(5);
  RandomWeights weights;
  weights.add_coded("w", 8, 64, affine(4, 64, DType::f16), random);
  const ir::WeightType type{{16, 64}, affine(4, 64, DType::f16)};
  const auto never = [](absl::Span<const uint8_t>) { return absl::OkStatus(); };
  const auto missing =
      pack_weight(type, {{"w", "v"}, {}}, packed_layout(type, 1, Layout::cpu16), weights, never);
  EXPECT_NE(missing.message().find("\"v\""), absl::string_view::npos) << missing;
  const auto few =
      pack_weight(type, {{"w"}, {}}, packed_layout(type, 1, Layout::cpu16), weights, never);
  EXPECT_NE(few.message().find("16 rows has sources of 8"), absl::string_view::npos) << few;
}

TEST(Layout, AnErrorOfTheWriterStopsPacking) {
  Random random(5);
  RandomWeights weights;
  weights.add_coded("w", 16, 64, affine(4, 64, DType::f16), random);
  const ir::WeightType type{{16, 64}, affine(4, 64, DType::f16)};
  int calls = 0;
  const auto status = pack_weight(type, {{"w"}, {}}, packed_layout(type, 1, Layout::cpu16), weights,
                                  [&](absl::Span<const uint8_t>) {
                                    ++calls;
                                    return absl::UnavailableError("disk full");
                                  });
  EXPECT_EQ(status, absl::UnavailableError("disk full"));
  EXPECT_EQ(calls, 1);
}

TEST(Layouts, EveryDeviceHasOneForEveryType) {
  std::set<std::string_view> names;
  for (const LayoutRow& row : layouts()) {
    EXPECT_TRUE(names.insert(row.name).second) << row.name;
    EXPECT_EQ(name(row.layout), row.name);
  }
  const ir::WeightType types[] = {{{16, 128}, affine(4, 64, DType::f16)},
                                  {{16, 100}, symmetric(4, 8, 50, DType::f16)},
                                  {{16, 100}, {}},
                                  {{100}, {}}};
  for (const DeviceKind& kind : device_kinds()) {
    const bool has_last = std::ranges::any_of(layouts(), [&](const LayoutRow& row) {
      return std::ranges::find(row.devices, kind.device) != row.devices.end() &&
             std::ranges::all_of(types, row.serves);
    });
    ASSERT_TRUE(has_last) << kind.name;
    for (const ir::WeightType& type : types) {
      const std::vector<Device>& devices = row_of(layout_for(kind.device, type)).devices;
      EXPECT_NE(std::ranges::find(devices, kind.device), devices.end()) << kind.name;
    }
  }
}

}  // namespace
}  // namespace sinter::codegen::test
