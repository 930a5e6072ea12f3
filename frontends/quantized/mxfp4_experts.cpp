#include "frontends/quantized/mxfp4_experts.h"

#include <array>
#include <cstring>
#include <utility>
#include <vector>

#include "frontends/error_text.h"

namespace sinter::frontends {
namespace {

constexpr int kGroup = 32;
constexpr int64_t kBlockBytes = 16;

struct Half {
  std::string_view name;
  int64_t first_row;
};
constexpr std::array<Half, 2> kHalves = {{{"gate_proj", 0}, {"up_proj", 1}}};
constexpr std::string_view kFused = "gate_up_proj";

// Of `rows` of an expert.
ir::RowPlaces alternate_rows(int64_t rows, const Half& half) {
  return {.run = rows, .stored_run = 2 * rows, .first = half.first_row, .step = 2};
}

// Experts' biases: as they are, or every second one as a matrix of its own.
absl::Status add_bias(const std::string& stem, const std::string& experts, bool fused,
                      const std::vector<int64_t>& rows, QuantizedModules& modules) {
  const std::string name = stem + "_bias";
  const StoredTensor* bias = modules.find(name);
  if (bias == nullptr) return absl::OkStatus();
  const std::optional<ir::DType> dtype = float_type(bias->dtype);
  if (!dtype || bias->shape != rows) {
    return invalid("{}, expected F16, BF16 or F32 {}", stored_as(name, *bias), shape_text(rows));
  }
  modules.taken.insert(name);
  ir::Matrix matrix;
  matrix.type.shape = rows;
  matrix.type.format.scale_type = *dtype;
  matrix.codes = bias->bytes;
  if (!fused) return modules.add(stem + ".bias", std::move(matrix), {});
  const auto size = static_cast<size_t>(ir::byte_size(*dtype));
  matrix.type.shape.back() /= 2;
  for (const Half& half : kHalves) {
    std::vector<uint8_t> elements(bias->bytes.size() / 2);
    for (size_t i = 0; i < elements.size() / size; ++i) {
      std::memcpy(elements.data() + i * size,
                  bias->bytes.data() + (2 * i + static_cast<size_t>(half.first_row)) * size, size);
    }
    matrix.codes = modules.checkpoint.keep(std::move(elements));
    absl::Status status = modules.add(fmt::format("{}{}.bias", experts, half.name), matrix, {});
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status add_experts(const std::string& stem, QuantizedModules& modules) {
  const std::string blocks_name = stem + "_blocks";
  const std::string scales_name = stem + "_scales";
  const StoredTensor& blocks = *modules.find(blocks_name);
  const auto scales = modules.need(scales_name, blocks_name);
  if (!scales.ok()) return scales.status();
  if (blocks.dtype != "U8" || blocks.shape.size() != 4 || blocks.shape[3] != kBlockBytes ||
      blocks.bytes.empty()) {
    return invalid("{}, expected U8 [experts, rows, groups, {}]", stored_as(blocks_name, blocks),
                   kBlockBytes);
  }
  const std::vector<int64_t> groups(blocks.shape.begin(), blocks.shape.end() - 1);
  if ((*scales)->dtype != "U8" || (*scales)->shape != groups) {
    return invalid("{}, expected U8 {} like {}", stored_as(scales_name, **scales),
                   shape_text(groups), in_quotes(blocks_name));
  }
  if (absl::Status status = check_finite(scales_name, **scales, ir::DType::e8m0); !status.ok())
    return status;

  const auto module = module_of(stem, kFused);
  const bool fused = module.has_value();
  const std::string experts(module.value_or(""));
  if (fused && groups[1] % 2 != 0) {
    return invalid("{}; rows of gate and up alternate, so their number must be even",
                   stored_as(blocks_name, blocks));
  }
  modules.taken.insert(blocks_name);
  modules.taken.insert(scales_name);
  ir::Matrix matrix;
  matrix.type.shape = {groups[0], groups[1], groups[2] * kGroup};
  matrix.type.format.map = ir::CodeMap::fp4;
  matrix.type.format.bits = 4;
  matrix.type.format.group = kGroup;
  matrix.type.format.scale_type = ir::DType::e8m0;
  matrix.codes = blocks.bytes;
  matrix.scales = (*scales)->bytes;
  absl::Status status;
  if (fused) {
    matrix.type.shape[1] /= 2;
    for (const Half& half : kHalves) {
      matrix.places = alternate_rows(matrix.type.shape[1], half);
      status = modules.add(experts + std::string(half.name), matrix, {});
      if (!status.ok()) return status;
    }
  } else {
    status = modules.add(stem, std::move(matrix), {});
    if (!status.ok()) return status;
  }
  return add_bias(stem, experts, fused, {groups[0], groups[1]}, modules);
}

}  // namespace

absl::Status read_mxfp4_experts(QuantizedModules& modules) {
  for (const auto& [name, tensor] : modules.tensors) {
    const auto stem = module_of(name, "_blocks");
    if (!stem) continue;
    absl::Status status = add_experts(std::string(*stem), modules);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace sinter::frontends
