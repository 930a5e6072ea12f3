#include "models/importer.h"

#include <utility>

namespace sinter::models {

Importer::Importer(std::string model_type, const Config& config, const WeightCatalog& catalog)
    : config_(config), catalog_(catalog), graph_(std::move(model_type)) {}

void Importer::fail(absl::Status status) {
  if (status_.ok()) status_ = std::move(status);
}

template <class T>
static T value_or_fail(absl::StatusOr<T> value, T fallback, Importer& importer) {
  if (value.ok()) return *std::move(value);
  importer.fail(value.status());
  return fallback;
}

int64_t Importer::integer(std::string_view field, frontends::IntRange range,
                          std::optional<int64_t> otherwise) {
  return value_or_fail<int64_t>(config_.integer(field, range, otherwise), range.min, *this);
}
double Importer::number(std::string_view field, NumberRange range) {
  return value_or_fail<double>(config_.number(field, range), range.min, *this);
}
bool Importer::flag(std::string_view field, std::optional<bool> otherwise) {
  return value_or_fail<bool>(config_.flag(field, otherwise), false, *this);
}
std::string Importer::text(std::string_view field) {
  return value_or_fail<std::string>(config_.text(field), "", *this);
}

// A weight of another shape may be so because of a size that the file leaves to its default.
static absl::Status with_assumptions(const absl::Status& status, const Config& config) {
  if (!absl::IsInvalidArgument(status)) return status;
  std::string text(status.message());
  for (const char* field : {"hidden_size", "intermediate_size", "num_attention_heads",
                            "num_key_value_heads", "head_dim", "vocab_size"}) {
    const nlohmann::json* value = config.find(field);
    if (value != nullptr && !config.has(field))
      text += fmt::format("; {} is missing and its default is {}", config.name(field),
                          frontends::describe(*value));
  }
  return absl::InvalidArgumentError(text);
}

ir::ValueId Importer::weight(std::string_view name, const std::vector<int64_t>& shape) {
  if (!ok()) return -1;
  if (const auto known = weights_.find(name); known != weights_.end()) return known->second;
  auto type = catalog_.type(name, shape);
  if (!type.ok()) {
    fail(with_assumptions(type.status(), config_));
    return -1;
  }
  used_.insert(std::string(name));
  const ir::ValueId id = graph_.weight(std::string(name), *std::move(type),
                                       {.sources = {std::string(name)}, .constant = {}});
  return weights_[std::string(name)] = id;
}

ir::ValueId Importer::dense(ir::ValueId weight) {
  if (!ok()) return -1;
  if (graph_.module().weight(weight).format.is_dense()) return weight;
  return graph_.add(ir::Op::dequantize, {weight});
}

ir::ValueId Importer::linear(ir::ValueId x, const std::string& name, int64_t out, int64_t in,
                             bool bias) {
  const ir::ValueId w = weight(name, {out, in});
  const ir::ValueId b = bias ? weight(name + ".bias", {out}) : -1;
  if (!ok()) return -1;
  graph_.set_label(name);
  const ir::ValueId numbers = dense(w);
  const ir::ValueId y = graph_.add(ir::Op::matmul, {x, numbers});
  return bias ? graph_.add(ir::Op::add, {y, b}) : y;
}

ir::ValueId Importer::rms_norm(ir::ValueId x, const std::string& name, int64_t size, double eps) {
  const ir::ValueId w = weight(name, {size});
  if (!ok()) return -1;
  graph_.set_label(name);
  return graph_.add(ir::Op::rms_norm, {x, w}, {{"eps", eps}});
}

absl::StatusOr<ir::Module> Importer::finish(ir::ValueId logits) {
  if (!status_.ok()) return status_;
  if (!graph_.status().ok()) return graph_.status();
  return graph_.finish({logits});
}

}  // namespace sinter::models
