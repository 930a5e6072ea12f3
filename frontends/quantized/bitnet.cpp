#include "frontends/quantized/bitnet.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "frontends/error_text.h"
#include "frontends/rounding/quantizers.h"

namespace sinter::frontends {
namespace {

constexpr int64_t kPlanes = 4;

void plane_codes(const ir::Matrix& matrix, int64_t row, uint8_t* out) {
  const int64_t cols = matrix.type.cols();
  const int64_t byte_rows = static_cast<int64_t>(matrix.codes.size()) / cols;
  const uint8_t* bytes = matrix.codes.data() + row % byte_rows * cols;
  const auto shift = static_cast<int>(row / byte_rows * 2);
  for (int64_t c = 0; c < cols; ++c) out[c] = bytes[c] >> shift & 3;
}

constexpr ir::MatrixOrder kPlaneOrder = {.codes = plane_codes};

ir::WeightFormat ternary_format() {
  ir::WeightFormat format;
  format.map = ir::CodeMap::ternary;
  format.bits = 2;
  format.tensor_scale = true;
  return format;
}

struct Options {
  bool online = false;
  bool scale_multiplies = false;
  const Json* dense_modules = nullptr;  // modules_to_not_convert
};

absl::StatusOr<Options> read_options(const QuantizedModules& modules) {
  Options options;
  // 1bitLLM's configurations have no block.
  if (modules.block.empty()) {
    options.online = true;
    return options;
  }
  const auto where = [&](std::string_view field) {
    return fmt::format("{} is {}", modules.field(field),
                       describe(*find_field(modules.block, field)));
  };
  if (const Json* value = find_field(modules.block, "quantization_mode"); value != nullptr) {
    if (*value != "online" && *value != "offline")
      return invalid("{}, supported are online, offline", where("quantization_mode"));
    options.online = *value == "online";
  }
  if (const Json* value = find_field(modules.block, "linear_class"); value != nullptr) {
    if (*value != "bitlinear" && *value != "autobitlinear")
      return invalid("{}, supported are bitlinear, autobitlinear", where("linear_class"));
    options.scale_multiplies = *value == "autobitlinear";
  }
  if (const Json* value = find_field(modules.block, "use_rms_norm");
      value != nullptr && *value != false) {
    return invalid("{}; norms inside of linear layers are not supported", where("use_rms_norm"));
  }
  if (const Json* value = find_field(modules.block, "modules_to_not_convert"); value != nullptr) {
    if (!value->is_array())
      return invalid("{}, expected an array of names", where("modules_to_not_convert"));
    options.dense_modules = value;
  }
  return options;
}

// Code 3 stands for no number.
absl::Status check_codes(const std::string& name, const StoredTensor& tensor) {
  const auto has_three = [](uint8_t byte) { return (byte & byte >> 1 & 0x55) != 0; };
  uint8_t any = 0;  // branch-free, because every byte of the model passes through
  for (const uint8_t byte : tensor.bytes) any |= byte & byte >> 1 & 0x55;
  if (any == 0) return absl::OkStatus();
  const auto* const found = std::find_if(tensor.bytes.begin(), tensor.bytes.end(), has_three);
  const auto at = static_cast<int64_t>(found - tensor.bytes.begin());
  const int64_t cols = tensor.shape.back();
  return invalid(
      "{}: tensor {} has the byte 0x{:02x} at [{}, {}], which holds the code 3; ternary codes are "
      "0, 1 and 2, so the file is damaged or packed in another way",
      tensor.file, in_quotes(name), *found, at / cols, at % cols);
}

absl::Status read_packed(const std::string& module, const Options& options,
                         QuantizedModules& modules) {
  const std::string weight_name = module + ".weight";
  const std::string scale_name = module + ".weight_scale";
  const StoredTensor& weight = *modules.find(weight_name);
  if (options.dense_modules != nullptr && names_module(*options.dense_modules, module)) {
    return invalid("{}, which holds packed ternary codes, but {} lists it",
                   stored_as(weight_name, weight), modules.field("modules_to_not_convert"));
  }
  const auto scale = modules.need(scale_name, weight_name);
  if (!scale.ok()) return scale.status();
  if (weight.shape.size() != 2 || weight.bytes.empty()) {
    return invalid("{}; packed ternary codes have two dimensions, none of them 0",
                   stored_as(weight_name, weight));
  }
  if (absl::Status status = check_codes(weight_name, weight); !status.ok()) return status;
  const auto number = read_scale(scale_name, **scale);
  if (!number.ok()) return number.status();
  const float multiplier = options.scale_multiplies ? *number : 1 / *number;
  if (!std::isfinite(multiplier)) {
    return invalid("{}: tensor {} is {}, which is too small to divide by", (*scale)->file,
                   in_quotes(scale_name), *number);
  }

  ir::Matrix matrix;
  matrix.type.shape = {weight.shape[0] * kPlanes, weight.shape[1]};
  matrix.type.format = ternary_format();
  matrix.codes = weight.bytes;
  matrix.order = &kPlaneOrder;
  matrix.tensor_scale = multiplier;
  modules.checkpoint.padding_rows[module] = kPlanes - 1;
  return modules.add(module, std::move(matrix), {".weight", ".weight_scale"});
}

// The linear layers of attention and MLP; embeddings, norms and the head stay dense.
bool is_projection(std::string_view module, const StoredTensor& weight) {
  return weight.shape.size() == 2 && (module.find(".self_attn.") != std::string_view::npos ||
                                      module.find(".mlp.") != std::string_view::npos);
}

absl::Status read_master(const std::string& module, const StoredTensor& weight,
                         QuantizedModules& modules) {
  ir::Matrix master;
  master.type.shape = weight.shape;
  master.type.format.scale_type = *float_type(weight.dtype);
  master.codes = weight.bytes;
  std::vector<uint8_t> codes;
  auto matrix = make_ternary(master, codes);
  if (!matrix.ok()) {
    return invalid("{}: tensor {} {}", weight.file, in_quotes(module + ".weight"),
                   std::string(matrix.status().message()));
  }
  matrix->codes = modules.checkpoint.keep(std::move(codes));
  return modules.add(module, *std::move(matrix), {".weight"});
}

}  // namespace

absl::StatusOr<ir::Matrix> make_ternary(const ir::Matrix& master, std::vector<uint8_t>& codes) {
  const int64_t rows = master.type.rows();
  const int64_t cols = master.type.cols();
  std::vector<float> row(static_cast<size_t>(cols));
  double sum = 0;
  for (int64_t r = 0; r < rows; ++r) {
    ir::decode_row(master, r, row.data());
    for (const float w : row) sum += std::abs(w);
    if (std::isfinite(sum)) continue;
    const int64_t col = first_not_finite(row);
    return invalid("is infinite or NaN at [{}, {}]; weights must be finite numbers", r, col);
  }
  const double mean = sum / static_cast<double>(rows * cols);
  const float scale = std::max(static_cast<float>(mean), 1e-5F);

  const int64_t row_bytes = (cols + 3) / 4;
  codes.assign(static_cast<size_t>(rows * row_bytes), 0);
  for (int64_t r = 0; r < rows; ++r) {
    ir::decode_row(master, r, row.data());
    uint8_t* out = codes.data() + r * row_bytes;
    for (int64_t c = 0; c < cols; ++c) {
      const float rounded = std::nearbyint(row[static_cast<size_t>(c)] / scale);
      const auto code = static_cast<unsigned>(std::clamp(rounded, -1.0F, 1.0F) + 1);
      out[c / 4] = static_cast<uint8_t>(out[c / 4] | code << (c % 4 * 2));
    }
  }
  ir::Matrix matrix;
  matrix.type.shape = master.type.shape;
  matrix.type.format = ternary_format();
  matrix.codes = codes;
  matrix.tensor_scale = scale;
  return matrix;
}

absl::Status read_bitnet(QuantizedModules& modules) {
  const auto options = read_options(modules);
  if (!options.ok()) return options.status();
  for (const auto& [name, tensor] : modules.tensors) {
    const auto module = module_of(name, ".weight");
    if (!module) continue;
    const std::string key(*module);
    absl::Status status;
    if (tensor.dtype == "U8") {
      status = read_packed(key, *options, modules);
    } else if (modules.find(key + ".weight_scale") != nullptr) {
      status = invalid("{}, expected U8 because {} is there", stored_as(name, tensor),
                       in_quotes(key + ".weight_scale"));
    } else if (options->online && is_projection(key, tensor) && float_type(tensor.dtype) &&
               !tensor.bytes.empty() &&
               (options->dense_modules == nullptr || !names_module(*options->dense_modules, key))) {
      status = read_master(key, tensor, modules);
    }
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace sinter::frontends
