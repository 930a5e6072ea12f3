#include "models/registry.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "frontends/json_file.h"
#include "frontends/quantization.h"

namespace sinter::models {

const std::vector<Architecture>& architectures() {
  static const std::vector<Architecture> table = {
      {"qwen3", import_qwen3},
      {"llama", import_llama},
      {"bitnet", import_bitnet},
  };
  return table;
}

namespace {

constexpr const char* kFile = "config.json";

class CheckpointCatalog : public WeightCatalog {
 public:
  explicit CheckpointCatalog(frontends::Checkpoint& checkpoint) : checkpoint_(checkpoint) {}

  bool has(std::string_view name) const override { return checkpoint_.has(name); }

  absl::StatusOr<ir::WeightType> type(std::string_view name,
                                      const std::vector<int64_t>& shape) const override {
    checkpoint_.drop_padding(name, shape.front());
    auto type = checkpoint_.type(name);
    if (!type.ok()) return type.status();
    if (type->shape != shape)
      return absl::InvalidArgumentError(
          fmt::format("{}: tensor \"{}\" is [{}], but {} asks for [{}]; the two do not "
                      "belong together",
                      checkpoint_.path.string(), name, fmt::join(type->shape, ", "),
                      checkpoint_.config_file, fmt::join(shape, ", ")));
    return type;
  }

 private:
  frontends::Checkpoint& checkpoint_;
};

// Weights as `quantization` describes them; 1-bit matrices are symmetric, as 1-bit models are.
class SyntheticCatalog : public WeightCatalog {
 public:
  SyntheticCatalog(bool tied, bool symmetric, std::optional<frontends::Quantization> quantization)
      : tied_(tied), symmetric_(symmetric), quantization_(std::move(quantization)) {}

  bool has(std::string_view name) const override { return name != "lm_head" || !tied_; }

  absl::StatusOr<ir::WeightType> type(std::string_view name,
                                      const std::vector<int64_t>& shape) const override {
    ir::WeightType type{shape, {}};
    type.format.scale_type = ir::DType::f16;
    if (shape.size() != 2 || !quantization_.has_value()) return type;
    frontends::MlxParameters parameters = quantization_->global;
    const auto found = quantization_->overrides.find(std::string(name));
    if (found != quantization_->overrides.end()) {
      if (!found->second.has_value()) return type;
      parameters = *found->second;
    }
    if (shape[1] % parameters.group_size != 0)
      return absl::InvalidArgumentError(fmt::format(
          "{}: \"{}\" has {} columns, not a multiple of the quantization's group_size {}", kFile,
          name, shape[1], parameters.group_size));
    type.format = frontends::weight_format(parameters, ir::DType::f16);
    if (type.format.has_biases() && (parameters.bits == 1 || symmetric_)) {
      type.format.map = parameters.bits == 2 ? ir::CodeMap::ternary : ir::CodeMap::symmetric;
      if (parameters.bits != 2)
        type.format.zero = parameters.bits == 1 ? 0.5 : 1 << (parameters.bits - 1);
    }
    return type;
  }

 private:
  bool tied_;
  bool symmetric_;
  std::optional<frontends::Quantization> quantization_;
};

absl::Status read_token_ids(const nlohmann::json& object, std::string_view file,
                            ImportedModel& model) {
  constexpr frontends::IntRange kId{0, int64_t{1} << 31};
  if (const auto* eos = frontends::find_field(object, "eos_token_id"); eos != nullptr) {
    model.eos_ids.clear();
    const auto add = [&](const nlohmann::json& id) {
      if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() >= model.vocab_size)
        return absl::InvalidArgumentError(
            fmt::format("{}: \"eos_token_id\" has {}, expected token ids below {}", file,
                        frontends::describe(id), model.vocab_size));
      model.eos_ids.push_back(id.get<int32_t>());
      return absl::OkStatus();
    };
    if (eos->is_array()) {
      for (const auto& id : *eos)
        if (auto status = add(id); !status.ok()) return status;
    } else if (auto status = add(*eos); !status.ok()) {
      return status;
    }
  }
  if (const auto* bos = frontends::find_field(object, "bos_token_id");
      bos != nullptr && bos->is_number_integer()) {
    const auto id = frontends::get_int(object, "bos_token_id", file, kId);
    if (!id.ok()) return id.status();
    model.bos_id = static_cast<int32_t>(*id);
  }
  return absl::OkStatus();
}

absl::StatusOr<ImportedModel> import_config(const nlohmann::json& config,
                                            const nlohmann::json& generation_config,
                                            const WeightCatalog& catalog,
                                            std::set<std::string>& used) {
  const auto type = frontends::get_string(config, "model_type", kFile);
  if (!type.ok()) return type.status();
  ImportFunction import = nullptr;
  std::vector<std::string_view> known;
  for (const Architecture& a : architectures()) {
    known.push_back(a.model_type);
    if (a.model_type == *type) import = a.import;
  }
  if (import == nullptr)
    return absl::InvalidArgumentError(
        fmt::format("{}: \"model_type\" is \"{}\", which is not supported; known: {}", kFile, *type,
                    fmt::join(known, ", ")));
  Importer importer(*type, config, catalog);
  auto module = import(importer);
  if (!module.ok()) return module.status();
  used = importer.used();

  ImportedModel model;
  model.module = *std::move(module);
  model.architecture = *type;
  model.vocab_size = importer.positive("vocab_size");
  model.layers = importer.positive("num_hidden_layers");
  model.max_positions = importer.positive_or("max_position_embeddings", 2048);
  if (auto status = read_token_ids(config, kFile, model); !status.ok()) return status;
  if (generation_config.is_object())
    if (auto status = read_token_ids(generation_config, "generation_config.json", model);
        !status.ok())
      return status;
  return model;
}

}  // namespace

absl::StatusOr<ImportedModel> import_checkpoint(frontends::Checkpoint& checkpoint) {
  const CheckpointCatalog catalog(checkpoint);
  std::set<std::string> used;
  auto model = import_config(checkpoint.config, checkpoint.generation_config, catalog, used);
  if (!model.ok()) return model.status();
  checkpoint.drop_zero_biases(used);
  if (auto status = checkpoint.check_all_used(used); !status.ok()) return status;
  return model;
}

absl::StatusOr<ImportedModel> import_synthetic(const nlohmann::json& config) {
  auto quantization = frontends::read_quantization(config, kFile);
  if (!quantization.ok()) return quantization.status();
  const auto tied = frontends::get_bool_or(config, "tie_word_embeddings", kFile, false);
  if (!tied.ok()) return tied.status();
  const auto structure = frontends::get_string_or(config, "synthetic_structure", kFile, "affine");
  if (!structure.ok()) return structure.status();
  if (*structure != "affine" && *structure != "symmetric")
    return absl::InvalidArgumentError(
        fmt::format("{}: \"synthetic_structure\" is \"{}\", expected \"affine\" or \"symmetric\"",
                    kFile, *structure));
  const SyntheticCatalog catalog(*tied, *structure == "symmetric", *std::move(quantization));
  std::set<std::string> used;
  return import_config(config, nullptr, catalog, used);
}

}  // namespace sinter::models
