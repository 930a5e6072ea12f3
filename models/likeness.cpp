#include "models/likeness.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "models/model_fields.h"
#include "models/neutral_fields.h"
#include "models/registry.h"

namespace sinter::models {

namespace {

// Names that are asked for in vain before an import ends: layers are alike, and a configuration
// may speak of millions of experts.
constexpr int kMostMissing = 1 << 11;

// "model.layers.*.input_layernorm"
std::string pattern_of(std::string_view name) {
  std::string pattern;
  while (!name.empty()) {
    const size_t dot = std::min(name.find('.'), name.size());
    const std::string_view component = name.substr(0, dot);
    const bool number =
        !component.empty() && component.find_first_not_of("0123456789") == std::string_view::npos;
    pattern += fmt::format("{}{}", pattern.empty() ? "" : ".", number ? "*" : component);
    name.remove_prefix(std::min(dot + 1, name.size()));
  }
  return pattern;
}

// A checkpoint's names and shapes. What is asked for is given, and what is missing written down;
// no weight is looked at.
class NamesCatalog : public WeightCatalog {
 public:
  NamesCatalog(const frontends::Checkpoint& checkpoint, const Family& family)
      : tensors_(family.tensors) {
    const auto add = [&](const std::string& key, const std::vector<int64_t>& shape) {
      const auto is_left_out = [&](const std::string& from) { return matches(key, from); };
      if (std::ranges::none_of(family.skipped, is_left_out) &&
          std::ranges::none_of(family.drafting, is_left_out))
        names_.emplace(rename(key, tensors_), Stored{key, shape});
    };
    for (const auto& [key, matrix] : checkpoint.matrices)
      if (!checkpoint.computed.contains(key)) add(key, matrix.type.shape);
    for (const auto& [key, reason] : checkpoint.unsupported) add(key, {});
  }

  bool has(std::string_view name) const override { return names_.contains(name); }
  std::string source(std::string_view name) const override { return std::string(name); }

  absl::StatusOr<StoredWeight> find(std::string_view name,
                                    const std::vector<int64_t>& shape) const override {
    const auto found = names_.find(name);
    // Rows may be filled up, columns not.
    if (found == names_.end() ||
        (!found->second.shape.empty() && (found->second.shape.size() != shape.size() ||
                                          found->second.shape.back() != shape.back()))) {
      if (auto status = miss(name); !status.ok()) return status;
    }
    return weight(name, shape);
  }
  absl::StatusOr<StoredWeight> view(std::string_view name, const std::vector<int64_t>& /*whole*/,
                                    const std::vector<int64_t>& shape,
                                    const ir::RowPlaces& places) const override {
    if (auto status = ask(name); !status.ok()) return status;
    auto stored = weight(name, shape);
    stored.source = fmt::format("{} from {}", name, places.first);
    stored.used = {std::string(name)};
    return stored;
  }
  absl::StatusOr<StoredWeight> computed(std::string_view name, const std::vector<int64_t>& shape,
                                        std::string_view what,
                                        const std::function<double(double)>& /*number*/,
                                        int64_t /*repeat*/) const override {
    if (auto status = ask(name); !status.ok()) return status;
    return StoredWeight{fmt::format("{} {}", name, what), {shape, {}}, {std::string(name)}};
  }
  absl::StatusOr<std::vector<float>> numbers(std::string_view name) const override {
    if (auto status = ask(name); !status.ok()) return status;
    return std::vector<float>{0.5F};
  }
  absl::StatusOr<std::vector<float>> signs(int64_t /*width*/) const override {
    return absl::NotFoundError("no weight is rotated here");
  }
  std::vector<int64_t> stored_shape(std::string_view name) const override {
    const auto found = names_.find(name);
    return found == names_.end() ? std::vector<int64_t>() : found->second.shape;
  }

  std::vector<std::string> missing() const { return {missing_.begin(), missing_.end()}; }
  std::vector<std::string> unused(const std::set<std::string>& used) const {
    std::set<std::string> left;
    for (const auto& [name, stored] : names_)
      if (!used.contains(name)) left.insert(pattern_of(stored.key));
    return {left.begin(), left.end()};
  }

 private:
  struct Stored {
    std::string key;  // of the checkpoint
    std::vector<int64_t> shape;
  };

  static StoredWeight weight(std::string_view name, const std::vector<int64_t>& shape) {
    ir::WeightType type{shape, {}};
    type.format.scale_type = ir::DType::f16;
    return {std::string(name), type, {}};
  }
  absl::Status ask(std::string_view name) const {
    return has(name) ? absl::OkStatus() : miss(name);
  }
  absl::Status miss(std::string_view name) const {
    missing_.insert(pattern_of(rename_back(name, tensors_)));
    return ++misses_ > kMostMissing ? absl::NotFoundError("too many are missing")
                                    : absl::OkStatus();
  }

  std::span<const Rename> tensors_;
  std::map<std::string, Stored, std::less<>> names_;
  mutable std::set<std::string> missing_;  // patterns of names
  mutable int misses_ = 0;
};

}  // namespace

Likeness likeness(const frontends::Checkpoint& checkpoint, const Family& family) {
  const ModelFields fields =
      read_fields(checkpoint.config, checkpoint.config_file, checkpoint.config_names, family);
  const Config config(fields.values, fields.file, fields.names,
                      nlohmann::json::parse(family.defaults));
  config.mark_read("model_type");
  const NamesCatalog catalog(checkpoint, family);
  Importer importer(family.model_type, config, catalog);
  const bool is_built = family.import(importer).ok();
  Likeness like{&family, catalog.missing(), catalog.unused(importer.used()), {}, is_built};
  for (const auto& field : fields.values.items()) {
    // As the file has it, wherever: an entry's rules see the fields of a text model inside another.
    constexpr std::string_view kInner = "text_config.";
    const auto shown = fields.names.find(field.key());
    std::string name = shown == fields.names.end() ? field.key() : shown->second;
    if (name.starts_with(kInner)) name.erase(0, kInner.size());
    if (!config.was_read(field.key()) && !field.value().is_null() &&
        !is_neutral_config(field.key(), field.value()))
      like.unread.push_back(std::move(name));
  }
  return like;
}

Likeness most_like(const frontends::Checkpoint& checkpoint) {
  const auto order = [](const Likeness& like) {
    return std::tuple(like.missing.size() + like.unused.size(), !like.is_built, like.unread.size());
  };
  Likeness best = likeness(checkpoint, families().front());
  for (const Family& family : families()) {
    if (&family == best.family) continue;
    Likeness next = likeness(checkpoint, family);
    if (order(next) < order(best)) best = std::move(next);
  }
  return best;
}

bool has_sizes(const frontends::Checkpoint& checkpoint, const Family& family) {
  const ModelFields fields =
      read_fields(checkpoint.config, checkpoint.config_file, checkpoint.config_names, family);
  return std::ranges::all_of(
      std::initializer_list<const char*>{"vocab_size", "hidden_size", "num_hidden_layers",
                                         "num_attention_heads"},
      [&](const char* field) { return fields.values.contains(field); });
}

}  // namespace sinter::models
