#include "models/import.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <set>
#include <span>
#include <string_view>

#include "frontends/error_text.h"
#include "frontends/json_fields.h"
#include "frontends/quantized/mlx.h"
#include "models/neutral_fields.h"
#include "models/registry.h"
#include "models/weight_catalogs.h"

namespace sinter::models {

namespace {

constexpr const char* kFile = "config.json";

// The token that begins a text; -1 when there is none.
int32_t find_bos(std::span<const Config> configs, int64_t vocab_size) {
  for (const Config& config : configs) {
    if (!config.has("bos_token_id")) continue;
    const auto id = config.integer("bos_token_id", {0, vocab_size - 1});
    if (id.ok()) return static_cast<int32_t>(*id);
  }
  return -1;
}

absl::StatusOr<ImportedModel> import_config(const nlohmann::json& fields,
                                            const frontends::Checkpoint* checkpoint,
                                            const WeightCatalog& catalog,
                                            std::set<std::string>& used) {
  const std::string file = checkpoint == nullptr ? kFile : checkpoint->config_file;
  const auto type = frontends::get_string(fields, "model_type", file);
  if (!type.ok()) return type.status();
  const Architecture* architecture = nullptr;
  std::vector<std::string_view> known;
  for (const Architecture& row : architectures()) {
    known.push_back(row.model_type);
    if (row.model_type == *type) architecture = &row;
  }
  if (architecture == nullptr)
    return absl::InvalidArgumentError(
        fmt::format("{}: \"model_type\" is {}, which is not supported; known: {}", file,
                    frontends::in_quotes(*type), fmt::join(known, ", ")));
  // generation_config.json first: it is what says how text is made.
  std::vector<Config> configs;
  if (checkpoint != nullptr && checkpoint->generation_config.is_object())
    configs.emplace_back(checkpoint->generation_config, checkpoint->generation_file,
                         checkpoint->generation_names);
  configs.emplace_back(fields, file,
                       checkpoint == nullptr ? FieldNames() : checkpoint->config_names,
                       architecture->defaults());
  const Config& config = configs.back();
  config.mark_read("model_type");

  Importer importer(*type, config, catalog);
  auto module = architecture->import(importer);
  if (!module.ok()) return module.status();
  used = importer.used();

  ImportedModel model;
  model.module = *std::move(module);
  model.architecture = *type;
  model.vocab_size = importer.integer("vocab_size");
  model.layers = importer.integer("num_hidden_layers");
  model.max_positions = importer.max_positions;
  model.bos_id = find_bos(configs, model.vocab_size);
  auto ends = find_end_tokens(configs, checkpoint, model.vocab_size);
  if (!ends.ok()) return ends.status();
  model.ends = *std::move(ends);
  if (configs.size() > 1) model.generation = read_generation(configs.front());
  if (const auto unread = config.unread(is_neutral_config); !unread.empty())
    config.note(
        fmt::format("unknown fields were ignored: {}; if one of them changes what the model "
                    "computes, the results are wrong",
                    fmt::join(unread, ", ")));
  for (const Config& one : configs)
    model.notes.insert(model.notes.end(), one.notes().begin(), one.notes().end());
  return model;
}

}  // namespace

absl::StatusOr<ImportedModel> import_checkpoint(frontends::Checkpoint& checkpoint) {
  const CheckpointCatalog catalog(checkpoint);
  std::set<std::string> used;
  auto model = import_config(checkpoint.config, &checkpoint, catalog, used);
  if (!model.ok()) return model.status();
  checkpoint.drop_zero_biases(used);
  if (auto status = checkpoint.check_all_used(used); !status.ok()) return status;
  model->sources = checkpoint.sources;
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
  const SyntheticCatalog catalog(kFile, *tied, *structure == "symmetric", *std::move(quantization));
  std::set<std::string> used;
  return import_config(config, nullptr, catalog, used);
}

}  // namespace sinter::models
