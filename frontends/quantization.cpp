#include "frontends/quantization.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>
#include <vector>

#include "frontends/error_text.h"

namespace sinter::frontends {
namespace {

constexpr std::array<int64_t, 7> kBits = {1, 2, 3, 4, 5, 6, 8};
constexpr std::array<int64_t, 3> kGroupSizes = {32, 64, 128};

template <size_t n>
absl::StatusOr<int> one_of(const Json& block, std::string_view where, std::string_view key,
                           const std::array<int64_t, n>& allowed) {
  // `where` ends in the field's path, so that the message reads "config.json: "quantization.bits"
  // is 7, ...".
  const Json* field = find_field(block, key);
  if (field != nullptr && field->is_number_integer()) {
    for (const int64_t value : allowed) {
      if (field->get<uint64_t>() == static_cast<uint64_t>(value)) return static_cast<int>(value);
    }
  }
  return invalid("{}.{}\" is {}, supported are {}", where, key,
                 field == nullptr ? "missing" : describe(*field), fmt::join(allowed, ", "));
}

absl::Status check_mode(const Json& block, std::string_view where) {
  const Json* mode = find_field(block, "mode");
  if (mode == nullptr || *mode == "affine") return absl::OkStatus();
  return invalid("{}.mode\" is {}, which is not supported; supported is \"affine\"", where,
                 describe(*mode));
}

absl::StatusOr<AffineParameters> read_override(const Json& block, const std::string& where) {
  if (absl::Status status = check_mode(block, where); !status.ok()) return status;
  AffineParameters
      parameters;  // an override that leaves one out means MLX's default, not the global value
  for (const auto& field : block.items()) {
    if (field.key() == "bits") {
      absl::StatusOr<int> bits = one_of(block, where, "bits", kBits);
      if (!bits.ok()) return bits.status();
      parameters.bits = *bits;
    } else if (field.key() == "group_size") {
      absl::StatusOr<int> group_size = one_of(block, where, "group_size", kGroupSizes);
      if (!group_size.ok()) return group_size.status();
      parameters.group_size = *group_size;
    } else if (field.key() != "mode") {
      return invalid("{}.{}\" is an unknown field, known are bits, group_size, mode", where,
                     one_line(field.key()));
    }
  }
  return parameters;
}

absl::StatusOr<Quantization> read_block(const Json& block, const std::string& name,
                                        std::string_view file) {
  const std::string where = fmt::format("{}: \"{}", file, name);
  if (!block.is_object()) return invalid("{}\" is {}, expected an object", where, describe(block));
  if (const Json* method = find_field(block, "quant_method"); method != nullptr) {
    return invalid(
        "{}.quant_method\" is {}, which is not supported; supported is MLX's \"quantization\" with "
        "mode \"affine\"",
        where, describe(*method));
  }
  if (absl::Status status = check_mode(block, where); !status.ok()) return status;
  absl::StatusOr<int> bits = one_of(block, where, "bits", kBits);
  if (!bits.ok()) return bits.status();
  absl::StatusOr<int> group_size = one_of(block, where, "group_size", kGroupSizes);
  if (!group_size.ok()) return group_size.status();

  Quantization quantization;
  quantization.global = {*bits, *group_size};
  for (const auto& field : block.items()) {
    const std::string& module = field.key();
    const Json& value = field.value();
    if (module == "bits" || module == "group_size" || module == "mode") continue;
    const std::string module_where = fmt::format("{}.{}", where, one_line(module));
    if (value.is_object()) {
      absl::StatusOr<AffineParameters> parameters = read_override(value, module_where);
      if (!parameters.ok()) return parameters.status();
      quantization.overrides[module] = *parameters;
    } else if (value == false) {
      quantization.overrides[module] = std::nullopt;
    } else {
      return invalid(
          "{}\" is {}, expected an object or false; a module without an entry has the global "
          "format",
          module_where, describe(value));
    }
  }
  return quantization;
}

// The name without leading "model." and "language_model." components, in which spellings of one
// module agree.
std::string_view canonical(std::string_view module) {
  for (;;) {
    bool stripped = false;
    for (const std::string_view prefix : {"model.", "language_model."}) {
      if (module.starts_with(prefix)) {
        module.remove_prefix(prefix.size());
        stripped = true;
      }
    }
    if (!stripped) return module;
  }
}

std::optional<ir::DType> float_type(std::string_view dtype) {
  if (dtype == "F16") return ir::DType::f16;
  if (dtype == "BF16") return ir::DType::bf16;
  if (dtype == "F32") return ir::DType::f32;
  return std::nullopt;
}

// Whether any element has all exponent bits set, which is how each of these types writes NaN and
// infinity. Branch-free inside, because every scale of the checkpoint passes through.
template <class Word>
bool any_not_finite(const uint8_t* bytes, size_t count, Word exponent_mask) {
  bool found = false;
  for (size_t i = 0; i < count; ++i) {
    Word word;
    std::memcpy(&word, bytes + i * sizeof(Word), sizeof(Word));
    found |= (word & exponent_mask) == exponent_mask;
  }
  return found;
}

absl::Status check_finite(const std::string& name, const StoredTensor& tensor, ir::DType dtype) {
  const size_t size = dtype == ir::DType::f32 ? 4 : 2;
  const size_t count = tensor.bytes.size() / size;
  const auto bad = [&](const uint8_t* bytes, size_t n) {
    switch (dtype) {
      case ir::DType::f16:
        return any_not_finite<uint16_t>(bytes, n, 0x7C00);
      case ir::DType::bf16:
        return any_not_finite<uint16_t>(bytes, n, 0x7F80);
      default:
        return any_not_finite<uint32_t>(bytes, n, 0x7F800000);
    }
  };
  if (!bad(tensor.bytes.data(), count)) return absl::OkStatus();
  size_t first = 0;
  while (!bad(tensor.bytes.data() + first * size, 1)) ++first;
  const auto groups = static_cast<size_t>(tensor.shape.back());
  return invalid(
      "{}: tensor {} is {} at row {}, group {}; scales and biases must be finite numbers",
      tensor.file, in_quotes(name),
      ir::read_element(dtype, tensor.bytes.data(), static_cast<int64_t>(first)), first / groups,
      first % groups);
}

}  // namespace

absl::StatusOr<std::optional<Quantization>> read_quantization(const Json& config,
                                                              std::string_view file) {
  struct Block {
    std::string name;
    const Json* value;
  };
  std::vector<Block> blocks;
  const Json* text_config = find_field(config, "text_config");
  for (const char* key : {"quantization", "quantization_config"}) {
    if (const Json* block = find_field(config, key)) blocks.push_back({key, block});
    if (text_config == nullptr) continue;
    if (const Json* block = find_field(*text_config, key)) {
      blocks.push_back({fmt::format("text_config.{}", key), block});
    }
  }
  if (blocks.empty()) return std::optional<Quantization>();
  for (const Block& block : blocks) {
    if (*block.value != *blocks[0].value) {
      return invalid("{}: \"{}\" and \"{}\" differ; remove the wrong one", file, blocks[0].name,
                     block.name);
    }
  }
  absl::StatusOr<Quantization> quantization = read_block(*blocks[0].value, blocks[0].name, file);
  if (!quantization.ok()) return quantization.status();
  return std::optional<Quantization>(*std::move(quantization));
}

absl::StatusOr<std::map<std::string, std::optional<AffineParameters>>> resolve_overrides(
    const Quantization& quantization, const std::set<std::string>& modules, std::string_view file) {
  std::multimap<std::string_view, const std::string*> by_canonical_name;
  for (const std::string& module : modules) by_canonical_name.emplace(canonical(module), &module);

  std::map<std::string, std::optional<AffineParameters>> resolved;
  std::map<std::string, std::string> source;  // module: the override that decided it
  for (const auto& [name, parameters] : quantization.overrides) {
    std::string module = name;
    if (!modules.contains(name)) {
      const auto [first, last] = by_canonical_name.equal_range(canonical(name));
      if (first == last) {
        return invalid(
            "{}: the quantization override {} names no module of the checkpoint; remove it or "
            "correct its name",
            file, in_quotes(name));
      }
      if (std::next(first) != last) {
        return invalid("{}: the quantization override {} may mean {} or {}; use the full name",
                       file, in_quotes(name), in_quotes(*first->second),
                       in_quotes(*std::next(first)->second));
      }
      module = *first->second;
    }
    const auto [entry, is_new] = resolved.emplace(module, parameters);
    if (!is_new && entry->second != parameters) {
      return invalid("{}: the quantization overrides {} and {} both mean module {} and differ",
                     file, in_quotes(source[module]), in_quotes(name), in_quotes(module));
    }
    source.emplace(module, name);
  }
  return resolved;
}

absl::StatusOr<ir::Matrix> affine_matrix(std::string_view module, const StoredTensors& tensors,
                                         AffineParameters parameters) {
  const std::string weight_name = fmt::format("{}.weight", module);
  const std::string scales_name = fmt::format("{}.scales", module);
  const std::string biases_name = fmt::format("{}.biases", module);
  const auto scales = tensors.find(scales_name);
  if (scales == tensors.end()) return invalid("tensor {} is missing", in_quotes(scales_name));
  const std::string& file = scales->second.file;
  const auto weight = tensors.find(weight_name);
  if (weight == tensors.end()) {
    return invalid("{}: tensor {} is missing, although {} is there", file, in_quotes(weight_name),
                   in_quotes(scales_name));
  }
  if (weight->second.dtype != "U32") {
    return invalid("{}: tensor {} is {}, expected U32 because {} makes the module quantized",
                   weight->second.file, in_quotes(weight_name), weight->second.dtype,
                   in_quotes(scales_name));
  }
  const std::optional<ir::DType> scale_type = float_type(scales->second.dtype);
  if (!scale_type) {
    return invalid("{}: tensor {} is {}, expected F16, BF16 or F32{}", file, in_quotes(scales_name),
                   scales->second.dtype,
                   scales->second.dtype == "U8"
                       ? " (U8 scales belong to mxfp4, mxfp8 or nvfp4, which are not supported)"
                       : "");
  }
  const auto biases = tensors.find(biases_name);
  if (biases == tensors.end()) {
    return invalid("{}: tensor {} is missing, although {} is there; affine quantization needs both",
                   file, in_quotes(biases_name), in_quotes(scales_name));
  }
  if (biases->second.dtype != scales->second.dtype ||
      biases->second.shape != scales->second.shape) {
    return invalid("{}: tensor {} is {} {}, expected {} {} like {}", biases->second.file,
                   in_quotes(biases_name), biases->second.dtype, shape_text(biases->second.shape),
                   scales->second.dtype, shape_text(scales->second.shape), in_quotes(scales_name));
  }

  const std::vector<int64_t>& words = weight->second.shape;
  const std::vector<int64_t>& groups = scales->second.shape;
  const bool same_rows = words.size() >= 2 && groups.size() == words.size() &&
                         std::equal(words.begin(), words.end() - 1, groups.begin());
  if (!same_rows || weight->second.bytes.empty() || scales->second.bytes.empty()) {
    return invalid("{}: tensor {} is {}, which does not match {} {}", file, in_quotes(scales_name),
                   shape_text(groups), in_quotes(weight_name), shape_text(words));
  }
  // Neither product overflows: both tensors' bytes lie in the file.
  const int64_t cols = groups.back() * parameters.group_size;
  if (words.back() * 32 != cols * parameters.bits) {
    return invalid(
        "{}: tensor {} has {} words per row, but the {} groups of {} need {} columns of {} bits "
        "({} words); bits or group_size of this module is wrong in config.json",
        weight->second.file, in_quotes(weight_name), words.back(), groups.back(),
        parameters.group_size, cols, parameters.bits, cols * parameters.bits / 32);
  }
  for (const auto& part : {scales, biases}) {
    absl::Status status = check_finite(part->first, part->second, *scale_type);
    if (!status.ok()) return status;
  }

  ir::Matrix matrix;
  matrix.type.shape = words;
  matrix.type.shape.back() = cols;
  matrix.type.format.map = ir::CodeMap::affine;
  matrix.type.format.bits = parameters.bits;
  matrix.type.format.group = parameters.group_size;
  matrix.type.format.scale_type = *scale_type;
  matrix.codes = weight->second.bytes;
  matrix.scales = scales->second.bytes;
  matrix.biases = biases->second.bytes;
  return matrix;
}

}  // namespace sinter::frontends
