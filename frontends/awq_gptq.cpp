#include "frontends/awq_gptq.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>
#include <vector>

#include "frontends/error_text.h"

namespace sinter::frontends {
namespace {

uint32_t word(const uint8_t* bytes, int64_t index) {
  uint32_t value;
  std::memcpy(&value, bytes + index * 4, sizeof(value));
  return value;
}

// Number `index` of an LSB-first stream of `bits` each, in words that are `stride` words apart.
uint8_t in_stream(const uint8_t* bytes, int64_t stride, int64_t index, int bits) {
  const int64_t bit = index * bits;
  const auto shift = static_cast<int>(bit % 32);
  uint32_t value = word(bytes, bit / 32 * stride) >> shift;
  if (shift + bits > 32) value |= word(bytes, (bit / 32 + 1) * stride) << (32 - shift);
  return static_cast<uint8_t>(value & ((1U << bits) - 1U));
}

// Where AWQ has the nibble of every eighth row.
constexpr std::array<int, 8> kAwqNibbles = {0, 4, 1, 5, 2, 6, 3, 7};

uint8_t awq_nibble(const uint8_t* bytes, int64_t row_of_words, int64_t words, int64_t column) {
  const int shift = 4 * kAwqNibbles[static_cast<size_t>(column % 8)];
  return word(bytes, row_of_words * words + column / 8) >> shift & 15;
}

void awq_codes(const ir::Matrix& matrix, int64_t row, uint8_t* out) {
  for (int64_t c = 0; c < matrix.type.cols(); ++c)
    out[c] = awq_nibble(matrix.codes.data(), c, matrix.type.rows() / 8, row);
}

void gptq_codes(const ir::Matrix& matrix, int64_t row, uint8_t* out) {
  for (int64_t c = 0; c < matrix.type.cols(); ++c) {
    out[c] =
        in_stream(matrix.codes.data() + row * 4, matrix.type.rows(), c, matrix.type.format.bits);
  }
}

const uint8_t* transposed_scale(const ir::Matrix& matrix, int64_t row, int64_t group) {
  return matrix.scales.data() +
         (group * matrix.type.rows() + row) * ir::byte_size(matrix.type.format.scale_type);
}

// The zeros are in `biases`, as stored.
void awq_shifts(const ir::Matrix& matrix, int64_t row, uint8_t* out) {
  for (int64_t g = 0; g < matrix.type.cols() / matrix.type.format.group; ++g)
    out[g] = awq_nibble(matrix.biases.data(), g, matrix.type.rows() / 8, row);
}

template <int added>
void gptq_shifts(const ir::Matrix& matrix, int64_t row, uint8_t* out) {
  const int bits = matrix.type.format.bits;
  const int64_t words = matrix.type.rows() * bits / 32;
  for (int64_t g = 0; g < matrix.type.cols() / matrix.type.format.group; ++g) {
    const uint8_t stored = in_stream(matrix.biases.data() + g * words * 4, 1, row, bits);
    out[g] = static_cast<uint8_t>(stored + added);
  }
}

constexpr ir::MatrixOrder kAwqOrder = {
    .codes = awq_codes, .scale = transposed_scale, .shifts = awq_shifts};
constexpr ir::MatrixOrder kGptqOrder = {
    .codes = gptq_codes, .scale = transposed_scale, .shifts = gptq_shifts<1>};
constexpr ir::MatrixOrder kGptqV2Order = {
    .codes = gptq_codes, .scale = transposed_scale, .shifts = gptq_shifts<0>};

// What the configuration says of all modules.
struct Scheme {
  int bits = 4;
  int64_t group_size = 0;  // -1: one group per row
  bool may_lack_zeros = false;
  bool sorted_columns = false;  // unless g_idx says otherwise
  const ir::MatrixOrder* order = nullptr;
};

absl::StatusOr<Scheme> read_scheme(const QuantizedModules& modules,
                                   std::initializer_list<int> widths) {
  Scheme scheme;
  const auto bits = get_int(modules.block, "bits", modules.file);
  if (!bits.ok()) return bits.status();
  if (std::find(widths.begin(), widths.end(), *bits) == widths.end()) {
    return invalid("{}.bits\" is {}, supported are {}", modules.where(), *bits,
                   fmt::join(widths, ", "));
  }
  const auto group_size = get_int(modules.block, "group_size", modules.file);
  if (!group_size.ok()) return group_size.status();
  if (*group_size != -1 && *group_size < 1) {
    return invalid("{}.group_size\" is {}, expected a positive number or -1", modules.where(),
                   *group_size);
  }
  scheme.bits = static_cast<int>(*bits);
  scheme.group_size = *group_size;
  return scheme;
}

// A field that has one value which can be read.
absl::Status expect_field(const QuantizedModules& modules, std::string_view key,
                          const Json& expected) {
  const Json* value = find_field(modules.block, key);
  if (value == nullptr || *value == expected) return absl::OkStatus();
  return invalid("{}.{}\" is {}, which is not supported; supported is {}", modules.where(), key,
                 one_line(value->dump(), 60), one_line(expected.dump(), 60));
}

absl::Status expect_tensor(const std::string& name, const StoredTensor& tensor,
                           std::string_view dtype, const std::vector<int64_t>& shape) {
  if (tensor.dtype == dtype && tensor.shape == shape) return absl::OkStatus();
  return invalid("{}, expected {} {} by its qweight and the group_size of config.json",
                 stored_as(name, tensor), dtype, shape_text(shape));
}

// GPTQ may have sorted columns before it grouped them.
absl::Status check_groups_in_order(const std::string& name, const StoredTensor& tensor,
                                   int64_t cols, int64_t group) {
  if (absl::Status status = expect_tensor(name, tensor, "I32", {cols}); !status.ok()) return status;
  for (int64_t c = 0; c < cols; ++c) {
    if (word(tensor.bytes.data(), c) == static_cast<uint32_t>(c / group)) continue;
    return invalid(
        "{}: tensor {} puts column {} into group {}, not {}: columns were sorted (desc_act), which "
        "is not supported; quantize with desc_act false",
        tensor.file, in_quotes(name), c, static_cast<int32_t>(word(tensor.bytes.data(), c)),
        c / group);
  }
  return absl::OkStatus();
}

// Makes the matrix symmetric when its shifts are all the same. Error: a shift that needs more bits
// than a code.
absl::Status look_at_shifts(const std::string& name, const StoredTensor& zeros,
                            ir::Matrix& matrix) {
  const auto groups = static_cast<size_t>(matrix.type.cols() / matrix.type.format.group);
  std::vector<uint8_t> shifts(groups);
  const int limit = 1 << matrix.type.format.bits;
  bool same = true;
  int first = -1;
  for (int64_t row = 0; row < matrix.type.rows(); ++row) {
    matrix.order->shifts(matrix, row, shifts.data());
    for (size_t g = 0; g < groups; ++g) {
      // 255 + 1 has become 0: no other way leads there, because 1 was added.
      if (shifts[g] >= limit || (shifts[g] == 0 && matrix.order == &kGptqOrder)) {
        return invalid(
            "{}: tensor {} holds {} for row {}, group {}, to which checkpoint format \"gptq\" adds "
            "1; the sum does not fit in {} bits, and tools disagree on what it means",
            zeros.file, in_quotes(name), limit - 1, row, g, matrix.type.format.bits);
      }
      if (first < 0) first = shifts[g];
      same &= shifts[g] == first;
    }
  }
  if (!same) return absl::OkStatus();
  matrix.type.format.map = ir::CodeMap::symmetric;
  matrix.type.format.zero = first;
  matrix.biases = {};
  return absl::OkStatus();
}

absl::Status add_matrix(const std::string& module, const Scheme& scheme,
                        QuantizedModules& modules) {
  const std::string weight_name = module + ".qweight";
  const std::string scales_name = module + ".scales";
  const std::string zeros_name = module + ".qzeros";
  const std::string index_name = module + ".g_idx";
  const StoredTensor& weight = *modules.find(weight_name);
  const auto scales = modules.need(scales_name, weight_name);
  if (!scales.ok()) return scales.status();
  const StoredTensor* zeros = modules.find(zeros_name);
  if (zeros == nullptr && !scheme.may_lack_zeros) {
    return modules.need(zeros_name, weight_name).status();
  }
  const bool awq = scheme.order == &kAwqOrder;
  if (weight.dtype != "I32" || weight.shape.size() != 2 || weight.bytes.empty() ||
      (!awq && weight.shape[0] * 32 % scheme.bits != 0)) {
    return invalid("{}, expected I32 [{}]", stored_as(weight_name, weight),
                   awq ? "in, out / 8" : "in * bits / 32, out");
  }
  const int64_t rows = awq ? weight.shape[1] * 8 : weight.shape[1];
  const int64_t cols = awq ? weight.shape[0] : weight.shape[0] * 32 / scheme.bits;
  const int64_t group = scheme.group_size == -1 ? cols : scheme.group_size;
  if (cols % group != 0) {
    return invalid("{}, which is {} columns; the group_size {} of config.json does not divide them",
                   stored_as(weight_name, weight), cols, group);
  }
  if (rows * scheme.bits % 32 != 0) {
    return invalid("{}, and codes of zero for {} rows do not fill whole words",
                   stored_as(weight_name, weight), rows);
  }
  const std::optional<ir::DType> scale_type = float_type((*scales)->dtype);
  if (absl::Status status = expect_tensor(
          scales_name, **scales, scale_type ? (*scales)->dtype : "F16", {cols / group, rows});
      !status.ok()) {
    return status;
  }
  if (absl::Status status = check_finite(scales_name, **scales, *scale_type); !status.ok())
    return status;

  ir::Matrix matrix;
  matrix.type.shape = {rows, cols};
  matrix.type.format.map = ir::CodeMap::shifted;
  matrix.type.format.bits = scheme.bits;
  matrix.type.format.group = static_cast<int>(group);
  matrix.type.format.scale_type = *scale_type;
  matrix.codes = weight.bytes;
  matrix.scales = (*scales)->bytes;
  matrix.order = scheme.order;
  if (zeros == nullptr) {
    matrix.type.format.map = ir::CodeMap::symmetric;
    matrix.type.format.zero = 1 << (scheme.bits - 1);
  } else {
    absl::Status status =
        expect_tensor(zeros_name, *zeros, "I32", {cols / group, rows * scheme.bits / 32});
    if (!status.ok()) return status;
    matrix.biases = zeros->bytes;
    status = look_at_shifts(zeros_name, *zeros, matrix);
    if (!status.ok()) return status;
  }
  if (const StoredTensor* index = modules.find(index_name); index != nullptr) {
    absl::Status status = check_groups_in_order(index_name, *index, cols, group);
    if (!status.ok()) return status;
  } else if (scheme.sorted_columns) {
    return invalid("{}.desc_act\" is true, but tensor {} is missing", modules.where(),
                   in_quotes(index_name));
  }
  return modules.add(module, std::move(matrix), {".qweight", ".qzeros", ".scales", ".g_idx"});
}

absl::Status add_matrices(const Scheme& scheme, QuantizedModules& modules) {
  for (const auto& [name, tensor] : modules.tensors) {
    const auto module = module_of(name, ".qweight");
    if (!module) continue;
    absl::Status status = add_matrix(std::string(*module), scheme, modules);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status read_awq(QuantizedModules& modules) {
  absl::StatusOr<Scheme> scheme = read_scheme(modules, {4});
  if (!scheme.ok()) return scheme.status();
  // Others order codes for one kernel.
  if (absl::Status status = expect_field(modules, "version", "gemm"); !status.ok()) return status;
  const auto zero_point = get_bool_or(modules.block, "zero_point", modules.file, true);
  if (!zero_point.ok()) return zero_point.status();
  scheme->may_lack_zeros = !*zero_point;
  scheme->order = &kAwqOrder;
  return add_matrices(*scheme, modules);
}

absl::Status read_gptq(QuantizedModules& modules) {
  absl::StatusOr<Scheme> scheme = read_scheme(modules, {2, 3, 4, 8});
  if (!scheme.ok()) return scheme.status();
  const auto format = get_string_or(modules.block, "checkpoint_format", modules.file, "gptq");
  if (!format.ok()) return format.status();
  if (*format != "gptq" && *format != "gptq_v2") {
    return invalid(
        "{}.checkpoint_format\" is {}, which is not supported; supported are gptq, "
        "gptq_v2",
        modules.where(), in_quotes(*format));
  }
  for (const auto& [field, expected] :
       {std::pair("is_marlin_format", Json(false)), std::pair("dynamic", Json::object())}) {
    if (absl::Status status = expect_field(modules, field, expected); !status.ok()) return status;
  }
  const auto desc_act = get_bool_or(modules.block, "desc_act", modules.file, false);
  if (!desc_act.ok()) return desc_act.status();
  scheme->sorted_columns = *desc_act;
  scheme->order = *format == "gptq" ? &kGptqOrder : &kGptqV2Order;
  return add_matrices(*scheme, modules);
}

}  // namespace sinter::frontends
