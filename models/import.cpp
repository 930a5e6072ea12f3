#include "models/import.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>
#include <span>
#include <string_view>

#include "frontends/error_text.h"
#include "frontends/json_fields.h"
#include "frontends/near_names.h"
#include "frontends/quantized/mlx.h"
#include "models/likeness.h"
#include "models/model_fields.h"
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

// The family that the configuration names, or an error with those that are known. `checkpoint` may
// be null.
absl::StatusOr<const Family*> family_of(const nlohmann::json& fields, const std::string& file,
                                        std::span<const Family> own,
                                        const frontends::Checkpoint* checkpoint) {
  const auto type = frontends::get_string(fields, "model_type", file);
  if (!type.ok()) return type.status();
  if (const Family* family = find_family(*type, own)) return family;
  std::vector<std::string_view> known;
  for (const Family& family : families()) known.push_back(family.model_type);
  for (const Family& family : own) known.push_back(family.model_type);
  std::string hints;
  for (const std::string_view name : frontends::near_names(*type, known))
    hints += (hints.empty() ? "; did you mean " : ", ") + frontends::in_quotes(name);
  if (checkpoint != nullptr) {
    const Likeness like = most_like(*checkpoint);
    if (like.is_complete() && has_sizes(*checkpoint, *like.family))
      hints += fmt::format(
          "; its fields and tensors look like {}: `sinter arch MODEL` prints an entry to start "
          "from, which --arch-from takes",
          frontends::in_quotes(like.family->model_type));
  }
  return absl::InvalidArgumentError(
      fmt::format("{}: \"model_type\" is {}, which is not supported{}; `sinter arch` lists the {} "
                  "that are",
                  file, frontends::in_quotes(*type), hints, known.size()));
}

// An entry may do nothing in vain: what it says would be believed.
absl::Status check_entry(const Importer& importer) {
  const Entry& entry = *importer.entry;
  if (!entry.blocks.empty() && !importer.flags_taken)
    return frontends::invalid("{}: \"blocks\" is not empty, but {} has blocks of its own",
                              entry.where, entry.base);
  for (const std::string& field : entry.defaults)
    if (!importer.config().was_read(field))
      return frontends::invalid("{}: \"defaults.{}\" is no field that {} reads", entry.where, field,
                                entry.base);
  return absl::OkStatus();
}

absl::StatusOr<ImportedModel> import_config(const ModelFields& fields, const Family& family,
                                            const frontends::Checkpoint* checkpoint,
                                            const WeightCatalog& catalog,
                                            const ImportOptions& options,
                                            std::set<std::string>& used) {
  // generation_config.json first: it is what says how text is made.
  std::vector<Config> configs;
  if (checkpoint != nullptr && checkpoint->generation_config.is_object())
    configs.emplace_back(checkpoint->generation_config, checkpoint->generation_file,
                         checkpoint->generation_names);
  configs.emplace_back(fields.values, fields.file, fields.names,
                       nlohmann::json::parse(family.defaults));
  const Config& config = configs.back();
  config.mark_read("model_type");

  Importer importer(family.model_type, config, catalog);
  importer.entry = family.entry ? &*family.entry : nullptr;
  importer.drafts = options.mtp;
  auto module = family.import(importer);
  if (!module.ok()) return module.status();
  if (options.mtp && module->further.empty())
    return absl::UnimplementedError(
        fmt::format("{}: no multi-token-prediction head is known of {}; compile without --mtp",
                    fields.file, family.model_type));
  used.insert(importer.used().begin(), importer.used().end());

  ImportedModel model;
  model.module = *std::move(module);
  model.architecture = family.model_type;
  model.vocab_size = importer.integer("vocab_size");
  model.layers = importer.integer("num_hidden_layers");
  model.max_positions = importer.max_positions;
  model.bos_id = find_bos(configs, model.vocab_size);
  auto ends = find_end_tokens(configs, checkpoint, model.vocab_size);
  if (!ends.ok()) return ends.status();
  model.ends = *std::move(ends);
  if (configs.size() > 1) model.generation = read_generation(configs.front());
  if (importer.entry != nullptr) {
    if (auto status = check_entry(importer); !status.ok()) return status;
    model.notes.push_back(fmt::format("{}: describes the model, on the base of {}",
                                      family.entry->where, family.entry->base));
    model.sources = family.entry->sources;
  }
  if (const auto unread = config.unread(is_neutral_config); !unread.empty())
    config.note(
        fmt::format("unknown fields were ignored: {}; if one of them changes what the model "
                    "computes, the results are wrong",
                    fmt::join(unread, ", ")));
  for (const Config& one : configs)
    model.notes.insert(model.notes.end(), one.notes().begin(), one.notes().end());
  return model;
}

// Layers behind the last, which draft tokens, are left out like other tensors that a family leaves
// out.
Family without_drafts(Family family, const ModelFields& fields) {
  family.skipped.insert(family.skipped.end(), family.drafting.begin(), family.drafting.end());
  const Config config(fields.values, fields.file, fields.names,
                      nlohmann::json::parse(family.defaults));
  const auto layers = config.integer("num_hidden_layers", kSize);
  const auto drafts = config.integer("num_nextn_predict_layers", {0, 64}, 0);
  if (layers.ok() && drafts.ok())
    for (int64_t i = 0; i < *drafts; ++i)
      family.skipped.push_back(fmt::format("^model.layers.{}", *layers + i));
  return family;
}

}  // namespace

absl::StatusOr<ImportedModel> import_checkpoint(frontends::Checkpoint& checkpoint,
                                                std::span<const Family> own,
                                                const ImportOptions& options) {
  const auto known = family_of(checkpoint.config, checkpoint.config_file, own, &checkpoint);
  if (!known.ok()) return known.status();
  const ModelFields fields =
      read_fields(checkpoint.config, checkpoint.config_file, checkpoint.config_names, **known);
  const Family family = options.mtp ? **known : without_drafts(**known, fields);
  const CheckpointCatalog catalog(checkpoint, family);
  const std::vector<std::string>& skipped = catalog.skipped();
  std::set<std::string> used(skipped.begin(), skipped.end());
  auto model = import_config(fields, family, &checkpoint, catalog, options, used);
  if (!model.ok()) return model.status();
  if (!skipped.empty())
    model->notes.push_back(
        fmt::format("{}: {} that {} as a text model does not use {} left out, the first is {}",
                    frontends::one_line(checkpoint.path.string(), 1000),
                    skipped.size() == 1 ? "1 tensor" : fmt::format("{} tensors", skipped.size()),
                    model->architecture, skipped.size() == 1 ? "is" : "are",
                    frontends::in_quotes(checkpoint.shown_name(skipped[0]))));
  const auto is_of_head = [&](const std::string& key) {
    return std::ranges::any_of((*known)->drafting,
                               [&](const std::string& from) { return matches(key, from); });
  };
  if (const auto count = std::ranges::count_if(skipped, is_of_head); count > 0)
    model->notes.push_back(fmt::format(
        "{}: {} of them {} of a multi-token-prediction head, which --mtp compiles",
        frontends::one_line(checkpoint.path.string(), 1000), count, count == 1 ? "is" : "are"));
  checkpoint.drop_zero_biases(used);
  if (auto status = checkpoint.check_all_used(used); !status.ok()) return status;
  model->sources.insert(model->sources.end(), checkpoint.sources.begin(), checkpoint.sources.end());
  return model;
}

absl::StatusOr<ImportedModel> import_synthetic(const nlohmann::json& config,
                                               std::span<const Family> own,
                                               const ImportOptions& options) {
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
  int64_t rotation = 0;
  if (config.contains("synthetic_rotation")) {
    const auto block = frontends::get_int(config, "synthetic_rotation", kFile, {2, 1 << 16});
    if (!block.ok()) return block.status();
    if ((*block & (*block - 1)) != 0)
      return absl::InvalidArgumentError(
          fmt::format("{}: \"synthetic_rotation\" is {}, expected a power of two", kFile, *block));
    rotation = *block;
  }
  const SyntheticCatalog catalog(kFile, *tied, *structure == "symmetric", rotation,
                                 *std::move(quantization));
  const auto family = family_of(config, kFile, own, nullptr);
  if (!family.ok()) return family.status();
  std::set<std::string> used;
  return import_config(read_fields(config, kFile, {}, **family), **family, nullptr, catalog,
                       options, used);
}

}  // namespace sinter::models
