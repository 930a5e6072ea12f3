#include "frontends/quantized/compressed_tensors.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <utility>
#include <vector>

#include "frontends/error_text.h"

namespace sinter::frontends {
namespace {

int64_t groups_of(const ir::Matrix& matrix) {
  return matrix.type.cols() / matrix.type.format.group;
}

// Zero points as the compressor packs them: I32 [rows * bits / 32, groups], whose words hold the
// codes of following rows.
void packed_shifts(const ir::Matrix& matrix, int64_t row, uint8_t* out) {
  const int64_t groups = groups_of(matrix);
  const int bits = matrix.type.format.bits;
  const int per_word = 32 / bits;
  const uint8_t* words = matrix.biases.data() + row / per_word * groups * 4;
  for (int64_t g = 0; g < groups; ++g) {
    uint32_t word;
    std::memcpy(&word, words + g * 4, sizeof(word));
    out[g] = static_cast<uint8_t>(word >> (row % per_word * bits) & ((1U << bits) - 1U));
  }
}

// Zero points as I8 [rows, groups], which count from the middle of the codes.
void byte_shifts(const ir::Matrix& matrix, int64_t row, uint8_t* out) {
  const int64_t groups = groups_of(matrix);
  const int middle = 1 << (matrix.type.format.bits - 1);
  for (int64_t g = 0; g < groups; ++g)
    out[g] = static_cast<uint8_t>(static_cast<int8_t>(matrix.biases[row * groups + g]) + middle);
}

constexpr ir::MatrixOrder kPackedShifts = {.shifts = packed_shifts};
constexpr ir::MatrixOrder kByteShifts = {.shifts = byte_shifts};

// What the configuration says of all quantized modules.
struct CompressedScheme {
  int bits = 4;
  int64_t group_size = 0;  // 0: one group per row
  bool symmetric = true;
};

absl::Status expect_tensor(const std::string& name, const StoredTensor& tensor,
                           std::string_view dtype, const std::vector<int64_t>& shape) {
  if (tensor.dtype == dtype && tensor.shape == shape) return absl::OkStatus();
  return invalid("{}, expected {} {} by the module's weight_packed and config.json",
                 stored_as(name, tensor), dtype, shape_text(shape));
}

absl::StatusOr<CompressedScheme> read_weights(const Json& weights,
                                              const QuantizedModules& modules) {
  const auto field = [&](std::string_view name) {
    return modules.field(fmt::format("config_groups.weights.{}", name));
  };
  CompressedScheme scheme;
  const auto type = get_string_or(weights, "type", modules.file, "int");
  if (!type.ok()) return type.status();
  if (*type != "int") {
    return invalid("{} is {}, expected \"int\" for format pack-quantized", field("type"),
                   in_quotes(*type));
  }
  const auto bits = get_int(weights, "num_bits", modules.file);
  if (!bits.ok()) return bits.status();
  if (*bits != 2 && *bits != 4 && *bits != 8)
    return invalid("{} is {}, supported are 2, 4, 8", field("num_bits"), *bits);
  scheme.bits = static_cast<int>(*bits);
  const auto strategy = get_string_or(weights, "strategy", modules.file, "group");
  if (!strategy.ok()) return strategy.status();
  if (*strategy == "group") {
    const auto group_size = get_int(weights, "group_size", modules.file, kPositive);
    if (!group_size.ok()) return group_size.status();
    scheme.group_size = *group_size;
  } else if (*strategy != "channel") {
    return invalid("{} is {}, supported are group, channel", field("strategy"),
                   in_quotes(*strategy));
  }
  const auto symmetric = get_bool_or(weights, "symmetric", modules.file, true);
  if (!symmetric.ok()) return symmetric.status();
  scheme.symmetric = *symmetric;
  return scheme;
}

// `weights` of the groups of modules, which must say the same.
absl::StatusOr<const Json*> common_weights(const QuantizedModules& modules) {
  const auto groups = get_object(modules.block, "config_groups", modules.file);
  if (!groups.ok()) return groups.status();
  const Json* common = nullptr;
  for (const auto& group : (*groups)->items()) {
    const auto weights = get_object(group.value(), "weights", modules.file);
    if (!weights.ok()) return weights.status();
    if (common != nullptr && *common != **weights) {
      return invalid("{} quantizes weights in several ways, which is not supported",
                     modules.field("config_groups"));
    }
    common = *weights;
  }
  if (common != nullptr) return common;
  return invalid("{} is empty", modules.field("config_groups"));
}

// Groups of columns in the order of columns: said so, or not at all.
absl::Status refuse_sorted_columns(const std::string& module, int64_t cols, int64_t group,
                                   const QuantizedModules& modules) {
  const std::string name = module + ".weight_g_idx";
  const StoredTensor* index = modules.find(name);
  if (index == nullptr) return absl::OkStatus();
  if (index->dtype == "I32" && index->shape == std::vector<int64_t>{cols}) {
    bool in_order = true;
    bool unset = true;  // -1 everywhere, as the compressor begins
    for (int64_t c = 0; c < cols; ++c) {
      int32_t stored;
      std::memcpy(&stored, index->bytes.data() + c * 4, sizeof(stored));
      in_order &= stored == c / group;
      unset &= stored == -1;
    }
    if (in_order || unset) return absl::OkStatus();
  }
  return invalid(
      "{}: columns were sorted before they were grouped (actorder), which is not "
      "supported; quantize with actorder static or none",
      stored_as(name, *index));
}

absl::Status check_shape(const std::string& name, const StoredTensor& tensor, int64_t rows,
                         int64_t cols) {
  int64_t shape[2] = {0, 0};
  const bool wide = tensor.dtype == "I64";
  if ((wide || tensor.dtype == "I32") && tensor.shape == std::vector<int64_t>{2}) {
    for (int i = 0; i < 2; ++i) {
      if (wide) {
        std::memcpy(&shape[i], tensor.bytes.data() + i * 8, 8);
      } else {
        int32_t extent;
        std::memcpy(&extent, tensor.bytes.data() + i * 4, 4);
        shape[i] = extent;
      }
    }
    if (shape[0] == rows && shape[1] == cols) return absl::OkStatus();
    return invalid("{}: tensor {} says [{}, {}], but the packed codes are [{}, {}]", tensor.file,
                   in_quotes(name), shape[0], shape[1], rows, cols);
  }
  return invalid("{}, expected I64 [2]", stored_as(name, tensor));
}

absl::Status add_shifts(const std::string& name, const StoredTensor& zeros, ir::Matrix& matrix) {
  const int64_t rows = matrix.type.rows();
  const int64_t groups = groups_of(matrix);
  const int bits = matrix.type.format.bits;
  const int per_word = 32 / bits;
  if (zeros.dtype == "I8") {
    if (absl::Status status = expect_tensor(name, zeros, "I8", {rows, groups}); !status.ok())
      return status;
    const int middle = 1 << (bits - 1);
    for (const uint8_t byte : zeros.bytes) {
      const auto zero = static_cast<int8_t>(byte);
      if (zero >= -middle && zero < middle) continue;
      return invalid("{}: tensor {} has the zero point {}, which does not fit in {} bits",
                     zeros.file, in_quotes(name), zero, bits);
    }
    matrix.order = &kByteShifts;
  } else {
    absl::Status status =
        expect_tensor(name, zeros, "I32", {(rows + per_word - 1) / per_word, groups});
    if (!status.ok()) return status;
    matrix.order = &kPackedShifts;
  }
  matrix.type.format.map = ir::CodeMap::shifted;
  matrix.type.format.zero = 0;
  matrix.biases = zeros.bytes;
  return absl::OkStatus();
}

// Zero points of symmetric weights, which some compressors write although they say nothing: the
// middle of the codes, or the number 0, or bytes that nobody set.
absl::Status check_redundant_zeros(const std::string& name, const StoredTensor& zeros,
                                   ir::Matrix matrix, const QuantizedModules& modules) {
  const int64_t rows = matrix.type.rows();
  const int64_t groups = groups_of(matrix);
  const bool no_bits_set =
      std::all_of(zeros.bytes.begin(), zeros.bytes.end(), [](uint8_t byte) { return byte == 0; });
  if (no_bits_set) return absl::OkStatus();
  if (absl::Status status = add_shifts(name, zeros, matrix); !status.ok()) return status;
  const int middle = 1 << (matrix.type.format.bits - 1);
  std::vector<uint8_t> shifts(static_cast<size_t>(groups));
  for (int64_t row = 0; row < rows; ++row) {
    matrix.order->shifts(matrix, row, shifts.data());
    for (size_t g = 0; g < shifts.size(); ++g) {
      if (shifts[g] == middle) continue;
      return invalid(
          "{}: tensor {} has the zero point {} for row {}, group {}, but {} is true; if the "
          "weights are asymmetric, say \"symmetric\": false",
          zeros.file, in_quotes(name), shifts[g] - middle, row, g,
          modules.field("config_groups.weights.symmetric"));
    }
  }
  return absl::OkStatus();
}

// `weights` are those of config_groups.
absl::Status add_integers(const std::string& module, const CompressedScheme& scheme,
                          QuantizedModules& modules) {
  const std::string packed_name = module + ".weight_packed";
  const std::string scale_name = module + ".weight_scale";
  const std::string shape_name = module + ".weight_shape";
  const std::string zeros_name = module + ".weight_zero_point";
  const StoredTensor& packed = *modules.find(packed_name);
  if (packed.dtype != "I32" || packed.shape.size() != 2 || packed.bytes.empty()) {
    return invalid("{}, expected I32 [out, in * {} / 32]", stored_as(packed_name, packed),
                   scheme.bits);
  }
  const int64_t rows = packed.shape[0];
  const int64_t cols = packed.shape[1] * 32 / scheme.bits;
  const int64_t group = scheme.group_size == 0 ? cols : scheme.group_size;
  if (cols % group != 0) {
    return invalid("{}, which has {} columns, not a multiple of the group_size {} of {}",
                   stored_as(packed_name, packed), cols, group, modules.file);
  }
  const auto scale = modules.need(scale_name, packed_name);
  if (!scale.ok()) return scale.status();
  const std::optional<ir::DType> scale_type = float_type((*scale)->dtype);
  absl::Status status = expect_tensor(scale_name, **scale, scale_type ? (*scale)->dtype : "BF16",
                                      {rows, cols / group});
  if (!status.ok()) return status;
  status = check_finite(scale_name, **scale, *scale_type);
  if (!status.ok()) return status;
  if (const StoredTensor* shape = modules.find(shape_name); shape != nullptr) {
    status = check_shape(shape_name, *shape, rows, cols);
    if (!status.ok()) return status;
  }
  status = refuse_sorted_columns(module, cols, group, modules);
  if (!status.ok()) return status;

  ir::Matrix matrix;
  matrix.type.shape = {rows, cols};
  matrix.type.format.map = ir::CodeMap::symmetric;
  matrix.type.format.bits = scheme.bits;
  matrix.type.format.group = static_cast<int>(group);
  matrix.type.format.zero = 1 << (scheme.bits - 1);
  matrix.type.format.scale_type = *scale_type;
  matrix.codes = packed.bytes;
  matrix.scales = (*scale)->bytes;
  if (!scheme.symmetric) {
    const auto zeros = modules.need(zeros_name, packed_name);
    if (!zeros.ok()) return zeros.status();
    status = add_shifts(zeros_name, **zeros, matrix);
    if (!status.ok()) return status;
  } else if (const StoredTensor* zeros = modules.find(zeros_name); zeros != nullptr) {
    status = check_redundant_zeros(zeros_name, *zeros, matrix, modules);
    if (!status.ok()) return status;
  }
  return modules.add(
      module, std::move(matrix),
      {".weight_packed", ".weight_scale", ".weight_shape", ".weight_zero_point", ".weight_g_idx"});
}

constexpr int kNvfp4Group = 16;

absl::Status add_nvfp4(const std::string& module, QuantizedModules& modules) {
  const std::string packed_name = module + ".weight_packed";
  const std::string scale_name = module + ".weight_scale";
  const std::string global_name = module + ".weight_global_scale";
  const StoredTensor& packed = *modules.find(packed_name);
  if (packed.dtype != "U8" || packed.shape.size() != 2 || packed.bytes.empty() ||
      packed.shape[1] * 2 % kNvfp4Group != 0) {
    return invalid("{}, expected U8 [out, in / 2] with whole groups of {} columns",
                   stored_as(packed_name, packed), kNvfp4Group);
  }
  const int64_t rows = packed.shape[0];
  const int64_t cols = packed.shape[1] * 2;
  const auto scale = modules.need(scale_name, packed_name);
  if (!scale.ok()) return scale.status();
  const auto global = modules.need(global_name, packed_name);
  if (!global.ok()) return global.status();
  absl::Status status = expect_tensor(scale_name, **scale, "F8_E4M3", {rows, cols / kNvfp4Group});
  if (!status.ok()) return status;
  status = check_finite(scale_name, **scale, ir::DType::e4m3);
  if (!status.ok()) return status;
  const auto divisor = read_scale(global_name, **global);
  if (!divisor.ok()) return divisor.status();
  if (!std::isfinite(1 / *divisor)) {
    return invalid("{}: tensor {} is {}, which is too small to divide by", (*global)->file,
                   in_quotes(global_name), *divisor);
  }

  ir::Matrix matrix;
  matrix.type.shape = {rows, cols};
  matrix.type.format.map = ir::CodeMap::fp4;
  matrix.type.format.bits = 4;
  matrix.type.format.group = kNvfp4Group;
  matrix.type.format.scale_type = ir::DType::e4m3;
  matrix.type.format.tensor_scale = true;
  matrix.codes = packed.bytes;
  matrix.scales = (*scale)->bytes;
  matrix.tensor_scale = 1 / *divisor;
  // The scale of activations is for kernels that make them E2M1 too.
  return modules.add(
      module, std::move(matrix),
      {".weight_packed", ".weight_scale", ".weight_global_scale", ".input_global_scale"});
}

constexpr std::string_view kIntegers = "pack-quantized";
constexpr std::string_view kFloats = "nvfp4-pack-quantized";
constexpr std::string_view kDense = "dense";  // nothing is packed

// The format of all modules: of the block, or of its groups where the block has none; where nobody
// says it, what the dtype of the packed codes belongs to.
absl::StatusOr<std::string_view> read_format(const QuantizedModules& modules) {
  std::string_view found;
  const auto take = [&](const Json& object, const std::string& name) -> absl::Status {
    const Json* value = find_field(object, "format");
    if (value == nullptr) return absl::OkStatus();
    for (const std::string_view known : {kIntegers, kFloats, kDense}) {
      if (*value != known) continue;
      if (!found.empty() && found != known) {
        return invalid("{} is {}, but another group's is {}; all groups must have the same format",
                       name, in_quotes(known), in_quotes(found));
      }
      found = known;
      return absl::OkStatus();
    }
    return invalid("{} is {}, which is not supported; supported are {}, {}", name, describe(*value),
                   kIntegers, kFloats);
  };
  if (absl::Status status = take(modules.block, modules.field("format")); !status.ok())
    return status;
  const Json* groups = find_field(modules.block, "config_groups");
  if (found.empty() && groups != nullptr && groups->is_object()) {
    for (const auto& group : groups->items()) {
      absl::Status status =
          take(group.value(), modules.field(fmt::format("config_groups.{}.format", group.key())));
      if (!status.ok()) return status;
    }
  }
  if (!found.empty()) return found;
  for (const auto& [name, tensor] : modules.tensors)
    if (module_of(name, ".weight_packed")) return tensor.dtype == "U8" ? kFloats : kIntegers;
  return kIntegers;
}

// Parts of the configuration that change what the tensors mean.
absl::Status refuse_transforms(const QuantizedModules& modules) {
  for (const char* field : {"transform_config", "sparsity_config"}) {
    const Json* value = find_field(modules.block, field);
    if (value == nullptr || value->empty()) continue;
    const Json* format = find_field(*value, "format");
    if (format != nullptr && *format == "dense") continue;
    return invalid("{} is not empty, which is not supported", modules.field(field));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status read_compressed_tensors(QuantizedModules& modules) {
  const auto format = read_format(modules);
  if (!format.ok()) return format.status();
  if (*format == kDense) return absl::OkStatus();
  const bool integers = *format == kIntegers;
  if (absl::Status status = refuse_transforms(modules); !status.ok()) return status;
  CompressedScheme scheme;
  if (integers) {
    const auto weights = common_weights(modules);
    if (!weights.ok()) return weights.status();
    const auto read = read_weights(**weights, modules);
    if (!read.ok()) return read.status();
    scheme = *read;
  }
  for (const auto& [name, tensor] : modules.tensors) {
    const auto module = module_of(name, ".weight_packed");
    if (!module) continue;
    absl::Status status = integers ? add_integers(std::string(*module), scheme, modules)
                                   : add_nvfp4(std::string(*module), modules);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace sinter::frontends
