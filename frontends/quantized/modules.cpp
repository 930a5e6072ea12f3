#include "frontends/quantized/modules.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "frontends/error_text.h"
#include "frontends/finite.h"
#include "frontends/quantized/awq_gptq.h"
#include "frontends/quantized/bitnet.h"
#include "frontends/quantized/compressed_tensors.h"
#include "frontends/quantized/mlx.h"
#include "frontends/quantized/mxfp4_experts.h"

namespace sinter::frontends {
namespace {

struct Method {
  std::string_view name;    // `quant_method` of config.json; MLX's own blocks have none
  std::string_view suffix;  // of a tensor that every module of the method has
  absl::Status (*read)(QuantizedModules& modules);
  // Fields that tell a block without a name to be of this method.
  std::array<std::string_view, 4> fields = {};
};

constexpr std::array<Method, 6> kMethods = {{
    {"", ".scales", read_mlx},
    {"awq", ".qweight", read_awq, {"w_bit", "q_group_size", "zero_point"}},
    {"bitnet", ".weight_scale", read_bitnet},
    {"compressed-tensors", ".weight_packed", read_compressed_tensors, {"config_groups"}},
    {"gptq", ".qweight", read_gptq, {"desc_act", "damp_percent", "true_sequential", "wbits"}},
    {"mxfp4", "_blocks", read_mxfp4_experts},
}};

const Method* find_method(std::string_view name) {
  const auto* const found = std::find_if(kMethods.begin(), kMethods.end(),
                                         [&](const Method& method) { return method.name == name; });
  return found == kMethods.end() ? nullptr : found;
}

}  // namespace

std::string QuantizedModules::field(std::string_view key) const {
  return fmt::format("{}: \"{}{}{}\"", file, block_name, block_name.empty() ? "" : ".", key);
}

const StoredTensor* QuantizedModules::find(std::string_view name) const {
  const auto found = tensors.find(name);
  return found == tensors.end() ? nullptr : &found->second;
}

absl::StatusOr<const StoredTensor*> QuantizedModules::need(std::string_view name,
                                                           std::string_view reason) const {
  if (const StoredTensor* tensor = find(name); tensor != nullptr) return tensor;
  const StoredTensor* other = find(reason);
  return invalid("{}: tensor {} is missing, although {} is there",
                 other == nullptr ? std::string(file) : other->file, in_quotes(name),
                 in_quotes(reason));
}

absl::Status QuantizedModules::add(const std::string& module, ir::Matrix matrix,
                                   std::initializer_list<std::string_view> suffixes) {
  if (!checkpoint.matrices.emplace(module, std::move(matrix)).second) {
    return invalid("{}: two sets of tensors make the module {}",
                   one_line(checkpoint.path.string(), 1000), in_quotes(module));
  }
  for (const std::string_view suffix : suffixes) taken.insert(module + std::string(suffix));
  return absl::OkStatus();
}

absl::Status read_quantized_modules(QuantizedModules& modules) {
  // 1bitLLM's configurations say it without a block.
  if (const Json* bits = find_field(modules.config, "weight_bits");
      modules.block.empty() && bits != nullptr && *bits == 1) {
    return read_bitnet(modules);
  }
  const auto name = method_of(modules.block, modules.file);
  if (!name.ok()) return name.status();
  if (const Method* method = find_method(*name); method != nullptr) return method->read(modules);
  std::vector<std::string_view> known;
  for (const Method& method : kMethods)
    if (!method.name.empty()) known.push_back(method.name);
  return invalid(
      "{} is {}, which is not supported; supported are {} and MLX's \"quantization\", which has "
      "none",
      modules.field("quant_method"), in_quotes(*name), fmt::join(known, ", "));
}

absl::StatusOr<std::string> method_of(const Json& block, std::string_view file) {
  auto name = get_string_or(block, "quant_method", file, "");
  if (!name.ok()) return name.status();
  if (!name->empty()) return absl::AsciiStrToLower(*name);
  for (const Method& method : kMethods) {
    for (const std::string_view field : method.fields)
      if (!field.empty() && block.contains(field)) return std::string(method.name);
  }
  return std::string();
}

bool has_tensors_of(std::string_view method, const StoredTensors& tensors) {
  const Method* known = find_method(method);
  if (known == nullptr) return false;
  // AWQ and GPTQ have scales under the same name as MLX.
  const bool words_of_others = known->name.empty() && has_tensors_of("gptq", tensors);
  return !words_of_others && std::any_of(tensors.begin(), tensors.end(), [&](const auto& tensor) {
    return tensor.first.ends_with(known->suffix);
  });
}

std::optional<ir::DType> float_type(std::string_view dtype) {
  if (dtype == "F16") return ir::DType::f16;
  if (dtype == "BF16") return ir::DType::bf16;
  if (dtype == "F32") return ir::DType::f32;
  return std::nullopt;
}

std::string stored_as(std::string_view name, const StoredTensor& tensor) {
  return fmt::format("{}: tensor {} is {} {}", tensor.file, in_quotes(name), tensor.dtype,
                     shape_text(tensor.shape));
}

absl::Status check_finite(std::string_view name, const StoredTensor& tensor, ir::DType dtype) {
  const std::optional<size_t> first = first_not_finite(dtype, tensor.bytes);
  if (!first) return absl::OkStatus();
  const auto groups = static_cast<size_t>(tensor.shape.back());
  return invalid(
      "{}: tensor {} is {} at row {}, group {}; scales and biases must be finite numbers",
      tensor.file, in_quotes(name),
      ir::read_element(dtype, tensor.bytes.data(), static_cast<int64_t>(*first)), *first / groups,
      *first % groups);
}

absl::Status check_e4m3_codes(std::string_view name, const StoredTensor& tensor) {
  const std::optional<size_t> first = first_not_finite(ir::DType::e4m3, tensor.bytes);
  if (!first) return absl::OkStatus();
  return invalid(
      "{}: tensor {} has the byte 0x{:02x}, the NaN of E4M3, at byte {}; the file is damaged",
      tensor.file, in_quotes(name), tensor.bytes[*first], with_commas(*first));
}

absl::StatusOr<float> read_scale(std::string_view name, const StoredTensor& tensor) {
  const std::optional<ir::DType> dtype = float_type(tensor.dtype);
  if (!dtype || tensor.bytes.size() != static_cast<size_t>(ir::byte_size(*dtype)))
    return invalid("{}, expected one number of F16, BF16 or F32", stored_as(name, tensor));
  const float number = ir::read_element(*dtype, tensor.bytes.data(), 0);
  if (std::isfinite(number) && number != 0) return number;
  return invalid("{}: tensor {} is {}; a scale must be finite and not 0", tensor.file,
                 in_quotes(name), number);
}

bool names_module(const Json& list, std::string_view module) {
  return std::any_of(list.begin(), list.end(), [&](const Json& entry) {
    if (!entry.is_string()) return false;
    const auto& name = entry.get_ref<const std::string&>();
    return !name.empty() && (module.starts_with(name) || module.ends_with(name));
  });
}

}  // namespace sinter::frontends
