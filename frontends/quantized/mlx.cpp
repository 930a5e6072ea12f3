#include "frontends/quantized/mlx.h"

#include <algorithm>
#include <array>
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

// Affine first: a block without a mode means it.
struct Mode {
  std::string_view name;
  ir::CodeMap map;
  int bits;        // by default for affine, always for the others
  int group_size;  // likewise
  ir::DType scale_type;
  const char* scale_name;
};
constexpr std::array<Mode, 4> kModes = {{
    {"affine", ir::CodeMap::affine, 4, 64, ir::DType::f16, ""},
    {"mxfp4", ir::CodeMap::fp4, 4, 32, ir::DType::e8m0, "E8M0"},
    {"mxfp8", ir::CodeMap::fp8, 8, 32, ir::DType::e8m0, "E8M0"},
    {"nvfp4", ir::CodeMap::fp4, 4, 16, ir::DType::e4m3, "E4M3"},
}};

const Mode& mode_of(const MlxParameters& parameters) {
  return kModes[static_cast<size_t>(parameters.mode)];
}

// Fields bits, group_size and mode of the block. Those that are absent have the mode's default,
// except that `whole`, the block of all modules, must say both of affine.
absl::StatusOr<MlxParameters> read_parameters(const Json& block, const std::string& where,
                                              bool whole) {
  MlxParameters parameters;
  if (const Json* name = find_field(block, "mode"); name != nullptr) {
    const auto* const mode = std::find_if(kModes.begin(), kModes.end(),
                                          [&](const Mode& known) { return *name == known.name; });
    if (mode == kModes.end()) {
      return invalid(
          "{}.mode\" is {}, which is not supported; supported are affine, mxfp4, mxfp8, nvfp4",
          where, describe(*name));
    }
    parameters = {mode->bits, mode->group_size, static_cast<MlxMode>(mode - kModes.begin())};
  }
  const bool affine = parameters.mode == MlxMode::affine;
  if (block.contains("bits") || (whole && affine)) {
    absl::StatusOr<int> bits = affine ? one_of(block, where, "bits", kBits)
                                      : one_of<1>(block, where, "bits", {mode_of(parameters).bits});
    if (!bits.ok()) return bits.status();
    parameters.bits = *bits;
  }
  if (block.contains("group_size") || (whole && affine)) {
    absl::StatusOr<int> group_size =
        affine ? one_of(block, where, "group_size", kGroupSizes)
               : one_of<1>(block, where, "group_size", {mode_of(parameters).group_size});
    if (!group_size.ok()) return group_size.status();
    parameters.group_size = *group_size;
  }
  return parameters;
}

bool is_parameter(std::string_view field) {
  return field == "bits" || field == "group_size" || field == "mode";
}

absl::StatusOr<MlxParameters> read_override(const Json& block, const std::string& where) {
  for (const auto& field : block.items()) {
    if (!is_parameter(field.key())) {
      return invalid("{}.{}\" is an unknown field, known are bits, group_size, mode", where,
                     one_line(field.key()));
    }
  }
  return read_parameters(block, where, false);
}

absl::StatusOr<Quantization> read_block(const Json& block, const std::string& where) {
  absl::StatusOr<MlxParameters> global = read_parameters(block, where, true);
  if (!global.ok()) return global.status();
  Quantization quantization;
  quantization.global = *global;
  for (const auto& field : block.items()) {
    const std::string& module = field.key();
    const Json& value = field.value();
    if (is_parameter(module)) continue;
    const std::string module_where = fmt::format("{}.{}", where, one_line(module));
    if (value.is_object()) {
      absl::StatusOr<MlxParameters> parameters = read_override(value, module_where);
      if (!parameters.ok()) return parameters.status();
      quantization.overrides[module] = *parameters;
    } else if (value == false) {
      quantization.overrides[module] = std::nullopt;
    } else if (value == true) {
      quantization.overrides[module] = quantization.global;
    } else if (!value.is_null()) {  // null says nothing: the module is as its tensors are
      return invalid(
          "{}\" is {}, expected an object, true, false or null; a module without an entry has the "
          "global format",
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

// The name without its last component.
std::string_view part_of(std::string_view module) {
  const size_t dot = module.rfind('.');
  return dot == std::string_view::npos ? std::string_view() : module.substr(0, dot);
}

// Modules with an override that the tensors contradict.
absl::Status check_overrides(const std::map<std::string, std::optional<MlxParameters>>& overrides,
                             const QuantizedModules& modules) {
  for (const auto& [module, parameters] : overrides) {
    const bool quantized = modules.find(module + ".scales") != nullptr;
    if (parameters && !quantized) {
      return invalid(
          "{}: the quantization override of module {} makes it quantized, but tensor {} is missing",
          modules.file, in_quotes(module), in_quotes(module + ".scales"));
    }
    if (!parameters && quantized) {
      return invalid("{}: the quantization override of module {} is false, but tensor {} is there",
                     modules.file, in_quotes(module), in_quotes(module + ".scales"));
    }
  }
  return absl::OkStatus();
}

// The type of the module's scales. Error: another one than its mode has.
absl::StatusOr<ir::DType> scale_type(const std::string& name, const StoredTensor& scales,
                                     const MlxParameters& parameters,
                                     std::string_view config_file) {
  const Mode& mode = mode_of(parameters);
  if (parameters.mode != MlxMode::affine) {
    if (scales.dtype == "U8") return mode.scale_type;
    return invalid(
        "{}: tensor {} is {}, expected U8 ({}) because {} says that the mode of this "
        "module is {}",
        scales.file, in_quotes(name), scales.dtype, mode.scale_name, config_file, mode.name);
  }
  if (const std::optional<ir::DType> dtype = float_type(scales.dtype)) return *dtype;
  return invalid(
      "{}: tensor {} is {}, expected F16, BF16 or F32{}", scales.file, in_quotes(name),
      scales.dtype,
      scales.dtype == "U8"
          ? fmt::format(" (U8 scales are of modes mxfp4, mxfp8 and nvfp4, {} says affine)",
                        config_file)
          : std::string());
}

// nvfp4 may have one more scale, stored as it makes the largest scale times the largest code.
constexpr float kNvfp4Largest = 448 * 6;

// Files the matrix of a module that has `<module>.scales`.
absl::Status add_matrix(const std::string& module, const MlxParameters& parameters,
                        QuantizedModules& modules) {
  const std::string weight_name = module + ".weight";
  const std::string scales_name = module + ".scales";
  const std::string biases_name = module + ".biases";
  const std::string global_name = module + ".global_scale";
  const bool affine = parameters.mode == MlxMode::affine;
  const StoredTensor& scales = *modules.find(scales_name);
  const auto need_weight = modules.need(weight_name, scales_name);
  if (!need_weight.ok()) return need_weight.status();
  const StoredTensor& weight = **need_weight;
  if (weight.dtype != "U32") {
    return invalid("{}: tensor {} is {}, expected U32 because {} makes the module quantized",
                   weight.file, in_quotes(weight_name), weight.dtype, in_quotes(scales_name));
  }
  const absl::StatusOr<ir::DType> dtype = scale_type(scales_name, scales, parameters, modules.file);
  if (!dtype.ok()) return dtype.status();
  const StoredTensor* biases = modules.find(biases_name);
  if (affine && biases == nullptr) {
    return invalid("{}: tensor {} is missing, although {} is there; affine quantization needs both",
                   scales.file, in_quotes(biases_name), in_quotes(scales_name));
  }
  if (!affine && biases != nullptr) {
    return invalid("{}: tensor {} is there, but modules of mode {} have no biases", biases->file,
                   in_quotes(biases_name), mode_of(parameters).name);
  }
  if (affine && (biases->dtype != scales.dtype || biases->shape != scales.shape)) {
    return invalid("{}, expected {} {} like {}", stored_as(biases_name, *biases), scales.dtype,
                   shape_text(scales.shape), in_quotes(scales_name));
  }

  const std::vector<int64_t>& words = weight.shape;
  const std::vector<int64_t>& groups = scales.shape;
  const bool same_rows = words.size() >= 2 && words.size() <= 3 && groups.size() == words.size() &&
                         std::equal(words.begin(), words.end() - 1, groups.begin());
  if (!same_rows || weight.bytes.empty() || scales.bytes.empty()) {
    return invalid("{}: tensor {} is {}, which does not match {} {}", scales.file,
                   in_quotes(scales_name), shape_text(groups), in_quotes(weight_name),
                   shape_text(words));
  }
  // Neither product overflows: both tensors' bytes lie in the file.
  const int64_t cols = groups.back() * parameters.group_size;
  if (words.back() * 32 != cols * parameters.bits) {
    return invalid(
        "{}: tensor {} has {} words per row, but the {} groups of {} need {} columns of {} bits "
        "({} words); bits or group_size of this module is wrong in {}",
        weight.file, in_quotes(weight_name), words.back(), groups.back(), parameters.group_size,
        cols, parameters.bits, cols * parameters.bits / 32, modules.file);
  }
  if (absl::Status status = check_finite(scales_name, scales, *dtype); !status.ok()) return status;
  if (affine) {
    if (absl::Status status = check_finite(biases_name, *biases, *dtype); !status.ok())
      return status;
  }
  if (parameters.mode == MlxMode::mxfp8) {
    if (absl::Status status = check_e4m3_codes(weight_name, weight); !status.ok()) return status;
  }

  ir::Matrix matrix;
  matrix.type.shape = words;
  matrix.type.shape.back() = cols;
  matrix.type.format = weight_format(parameters, *dtype);
  matrix.codes = weight.bytes;
  matrix.scales = scales.bytes;
  if (affine) matrix.biases = biases->bytes;
  if (const StoredTensor* global = modules.find(global_name);
      global != nullptr && parameters.mode == MlxMode::nvfp4) {
    const auto number = read_scale(global_name, *global);
    if (!number.ok()) return number.status();
    matrix.type.format.tensor_scale = true;
    matrix.tensor_scale = *number / kNvfp4Largest;
    modules.taken.insert(global_name);
  }
  return modules.add(module, std::move(matrix), {".weight", ".scales", ".biases"});
}

}  // namespace

absl::StatusOr<QuantizationBlock> find_quantization(const Json& config, std::string_view file,
                                                    const StoredTensors* tensors,
                                                    std::vector<std::string>* notes) {
  std::vector<QuantizationBlock> blocks;
  const Json* text_config = find_field(config, "text_config");
  // The last is what compressed-tensors wrote first.
  for (const char* key : {"quantization", "quantization_config", "compression_config"}) {
    if (const Json* block = find_field(config, key)) blocks.push_back({key, block});
    if (text_config == nullptr) continue;
    if (const Json* block = find_field(*text_config, key)) {
      blocks.push_back({fmt::format("text_config.{}", key), block});
    }
  }
  if (blocks.empty()) return QuantizationBlock();
  for (const QuantizationBlock& block : blocks) {
    if (block.value->is_object()) continue;
    return invalid("{}: \"{}\" is {}, expected an object", file, block.name,
                   describe(*block.value));
  }
  // A block of another method than the tensors are stored by was left over from the model that this
  // one was made from.
  if (tensors != nullptr && blocks.size() > 1) {
    std::vector<QuantizationBlock> fitting;
    std::string left_over;
    for (const QuantizationBlock& block : blocks) {
      const auto method = method_of(*block.value, file);
      if (!method.ok()) return method.status();
      if (has_tensors_of(*method, *tensors)) {
        fitting.push_back(block);
      } else {
        left_over = block.name;
      }
    }
    if (!fitting.empty() && fitting.size() < blocks.size()) {
      if (notes != nullptr) {
        notes->push_back(
            fmt::format("{}: \"{}\" is not how the tensors are stored and was ignored; \"{}\" "
                        "is",
                        file, left_over, fitting[0].name));
      }
      blocks = std::move(fitting);
    }
  }
  for (const QuantizationBlock& block : blocks) {
    if (*block.value != *blocks[0].value) {
      return invalid("{}: \"{}\" and \"{}\" differ; remove the wrong one", file, blocks[0].name,
                     block.name);
    }
  }
  return blocks[0];
}

absl::StatusOr<std::optional<Quantization>> read_quantization(const Json& config,
                                                              std::string_view file) {
  const absl::StatusOr<QuantizationBlock> block = find_quantization(config, file);
  if (!block.ok()) return block.status();
  if (block->value == nullptr) return std::optional<Quantization>();
  auto quantization = read_mlx_block(*block, file);
  if (!quantization.ok()) return quantization.status();
  return std::optional<Quantization>(*std::move(quantization));
}

absl::StatusOr<Quantization> read_mlx_block(const QuantizationBlock& block, std::string_view file) {
  const std::string where = fmt::format("{}: \"{}", file, block.name);
  if (const Json* method = find_field(*block.value, "quant_method"); method != nullptr) {
    return invalid("{}.quant_method\" is {}, but the quantization block of MLX has no such field",
                   where, describe(*method));
  }
  return read_block(*block.value, where);
}

ir::WeightFormat weight_format(const MlxParameters& parameters, ir::DType affine_scales) {
  const Mode& mode = mode_of(parameters);
  ir::WeightFormat format;
  format.map = mode.map;
  format.bits = parameters.bits;
  format.group = parameters.group_size;
  format.scale_type = parameters.mode == MlxMode::affine ? affine_scales : mode.scale_type;
  return format;
}

absl::StatusOr<std::map<std::string, std::optional<MlxParameters>>> resolve_overrides(
    const Quantization& quantization, const std::set<std::string>& modules, std::string_view file,
    std::vector<std::string>* notes) {
  std::set<std::string_view>
      parts;  // what holds a module: "layers.0.mlp" of "layers.0.mlp.up_proj"
  for (const std::string& module : modules) parts.insert(part_of(canonical(module)));
  const std::string* not_there = nullptr;
  std::multimap<std::string_view, const std::string*> by_canonical_name;
  for (const std::string& module : modules) by_canonical_name.emplace(canonical(module), &module);

  std::map<std::string, std::optional<MlxParameters>> resolved;
  std::map<std::string, std::string> source;  // module: the override that decided it
  for (const auto& [name, parameters] : quantization.overrides) {
    std::string module = name;
    if (!modules.contains(name)) {
      const auto [first, last] = by_canonical_name.equal_range(canonical(name));
      if (first == last) {
        // Of a part that this model does not have, such as the vision tower of the one that it was
        // taken from, or a head that is tied; `false` describes nothing that could be misread.
        const std::string_view part = part_of(canonical(name));
        if (!parameters || part.empty() || !parts.contains(part)) {
          if (parameters) not_there = &name;
          continue;
        }
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
  if (not_there != nullptr && notes != nullptr) {
    notes->push_back(fmt::format(
        "{}: quantization overrides of modules that the checkpoint does not have are ignored, such "
        "as {}",
        file, in_quotes(*not_there)));
  }
  return resolved;
}

absl::Status read_mlx(QuantizedModules& modules) {
  std::optional<Quantization> quantization;
  if (!modules.block_name.empty()) {
    auto block = read_mlx_block({modules.block_name, &modules.block}, modules.file);
    if (!block.ok()) return block.status();
    quantization = *std::move(block);
  }
  std::map<std::string, std::optional<MlxParameters>> overrides;
  if (quantization.has_value()) {
    std::set<std::string> names;
    for (const auto& [name, tensor] : modules.tensors) {
      if (const auto module = module_of(name, ".weight")) names.emplace(*module);
    }
    auto resolved =
        resolve_overrides(*quantization, names, modules.file, &modules.checkpoint.notes);
    if (!resolved.ok()) return resolved.status();
    overrides = *std::move(resolved);
    if (absl::Status status = check_overrides(overrides, modules); !status.ok()) return status;
  }
  for (const auto& [name, tensor] : modules.tensors) {
    if (const auto module = module_of(name, ".scales")) {
      const std::string key(*module);
      if (!quantization.has_value()) {
        return invalid("{}: tensor {} makes module {} quantized, but {} has no \"quantization\"",
                       tensor.file, in_quotes(name), in_quotes(key), modules.file);
      }
      const auto found = overrides.find(key);
      const MlxParameters parameters = found == overrides.end()
                                           ? quantization->global
                                           : *found->second;  // `false` was refused above
      absl::Status status = add_matrix(key, parameters, modules);
      if (!status.ok()) return status;
    } else if (const auto with_biases = module_of(name, ".biases")) {
      if (const auto scales = modules.need(std::string(*with_biases) + ".scales", name);
          !scales.ok()) {
        return scales.status();
      }
    } else if (const auto with_weight = module_of(name, ".weight");
               with_weight && quantization.has_value() && tensor.dtype == "U32" &&
               modules.find(std::string(*with_weight) + ".scales") == nullptr) {
      return invalid("{}: tensor {} holds codes (U32), but {} is missing", tensor.file,
                     in_quotes(name), in_quotes(std::string(*with_weight) + ".scales"));
    }
  }
  return absl::OkStatus();
}

}  // namespace sinter::frontends
