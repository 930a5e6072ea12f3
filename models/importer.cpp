#include "models/importer.h"

#include <algorithm>
#include <utility>

namespace sinter::models {

namespace {

template <class T>
T value_or_fail(absl::StatusOr<T> value, T fallback, Importer& importer) {
  if (value.ok()) return *std::move(value);
  importer.fail(value.status());
  return fallback;
}

// A weight of another shape may be so because of a size that the file leaves to its default.
absl::Status with_assumptions(const absl::Status& status, const Config& config) {
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

}  // namespace

Importer::Importer(std::string model_type, const Config& config, const WeightCatalog& catalog)
    : config_(config), catalog_(catalog), graph_(std::move(model_type)) {}

void Importer::fail(absl::Status status) {
  if (status_.ok()) status_ = std::move(status);
}

int64_t Importer::integer(std::string_view field, frontends::IntRange range,
                          std::optional<int64_t> otherwise) {
  return value_or_fail<int64_t>(config_.integer(field, range, otherwise), range.min, *this);
}
double Importer::number(std::string_view field, NumberRange range,
                        std::optional<double> otherwise) {
  return value_or_fail<double>(config_.number(field, range, otherwise), range.min, *this);
}
bool Importer::flag(std::string_view field, std::optional<bool> otherwise) {
  return value_or_fail<bool>(config_.flag(field, otherwise), false, *this);
}
std::string Importer::text(std::string_view field, std::optional<std::string> otherwise) {
  return value_or_fail<std::string>(config_.text(field, std::move(otherwise)), "", *this);
}

std::vector<int64_t> Importer::integers(std::string_view field, int64_t count,
                                        frontends::IntRange range) {
  const nlohmann::json* value = config_.find(field);
  if (value == nullptr || !value->is_array())
    return std::vector<int64_t>(static_cast<size_t>(count), integer(field, range));
  return value_or_fail<std::vector<int64_t>>(config_.integers(field, count, range), {}, *this);
}
std::vector<double> Importer::numbers(std::string_view field, int64_t count) {
  return value_or_fail<std::vector<double>>(config_.numbers(field, count), {}, *this);
}
std::vector<std::string> Importer::texts(std::string_view field, int64_t count) {
  return value_or_fail<std::vector<std::string>>(config_.texts(field, count), {}, *this);
}

void Importer::expect(std::string_view field, const nlohmann::json& value) {
  const nlohmann::json* found = config_.find(field);
  if (found == nullptr || *found == value) return;
  fail(config_.refuse(field, fmt::format("is {}, which is not supported; supported is {}",
                                         frontends::describe(*found), value.dump())));
}

Rope Importer::rope(const RopeFields& fields) {
  return value_or_fail<Rope>(read_rope(config_, fields), {}, *this);
}

ir::ValueId Importer::add(const std::string& symbol, const absl::StatusOr<StoredWeight>& stored) {
  if (!stored.ok()) {
    fail(with_assumptions(stored.status(), config_));
    return -1;
  }
  used_.insert(stored->source);
  used_.insert(stored->used.begin(), stored->used.end());
  const ir::ValueId id =
      graph_.weight(symbol, stored->type, {.sources = {stored->source}, .constant = {}});
  return weights_[symbol] = id;
}

ir::ValueId Importer::weight(std::string_view name, const std::vector<int64_t>& shape) {
  if (!ok()) return -1;
  if (const auto known = weights_.find(name); known != weights_.end()) return known->second;
  return add(std::string(name), catalog_.find(name, shape));
}

ir::ValueId Importer::part(const PartOf& part, const std::vector<int64_t>& shape) {
  if (!ok()) return -1;
  if (part.places.in_order()) return weight(part.name, shape);
  std::vector<int64_t> whole = shape;
  whole[shape.size() > 2 ? 1 : 0] = part.whole;
  const ir::RowPlaces& at = part.places;
  // One name where all rows are the weight's, else one that says which.
  const std::string symbol = at.run == 0 ? part.name
                                         : fmt::format("{}[{}:{}:{}]", part.name, at.first,
                                                       at.first + at.run * at.step, at.step);
  if (const auto known = weights_.find(symbol); known != weights_.end()) return known->second;
  return add(symbol, catalog_.view(part.name, whole, shape, at));
}

ir::ValueId Importer::parts(const std::vector<PartOf>& parts, const std::string& symbol,
                            int64_t in) {
  if (!ok()) return -1;
  ir::WeightData data;
  ir::WeightType type;
  type.shape = {0, in};
  for (const PartOf& part : parts) {
    const int64_t rows = part.places.run * (part.whole / part.places.stored_run);
    const auto stored = catalog_.view(part.name, {part.whole, in}, {rows, in}, part.places);
    if (!stored.ok()) {
      fail(with_assumptions(stored.status(), config_));
      return -1;
    }
    type.format = stored->type.format;
    type.rotated = stored->type.rotated;
    type.shape[0] += rows;
    used_.insert(stored->used.begin(), stored->used.end());
    data.sources.push_back(stored->source);
  }
  return weights_[symbol] = graph_.weight(symbol, type, std::move(data));
}

ir::ValueId Importer::reshaped(std::string_view name, const std::vector<int64_t>& stored,
                               const std::vector<int64_t>& shape) {
  if (!ok()) return -1;
  if (const auto known = weights_.find(name); known != weights_.end()) return known->second;
  return add(std::string(name), catalog_.view(name, stored, shape, {}));
}

ir::ValueId Importer::computed(std::string_view name, const std::vector<int64_t>& shape,
                               std::string_view what, const std::function<double(double)>& number,
                               int64_t repeat) {
  if (!ok()) return -1;
  const std::string symbol = fmt::format("{} {}", name, what);
  if (const auto known = weights_.find(symbol); known != weights_.end()) return known->second;
  return add(symbol, catalog_.computed(name, shape, what, number, repeat));
}

ir::ValueId Importer::constant(int64_t size, float number) {
  if (!ok()) return -1;
  const std::string symbol = fmt::format("{} times {}", size, number);
  if (const auto known = weights_.find(symbol); known != weights_.end()) return known->second;
  return constant(symbol, std::vector<float>(static_cast<size_t>(size), number));
}

ir::ValueId Importer::constant(const std::string& symbol, std::vector<float> numbers) {
  if (!ok()) return -1;
  if (const auto known = weights_.find(symbol); known != weights_.end()) return known->second;
  const auto size = static_cast<int64_t>(numbers.size());
  return weights_[symbol] =
             graph_.weight(symbol, {{size}, {}}, {.sources = {}, .constant = std::move(numbers)});
}

ir::ValueId Importer::stacked(const std::string& experts, std::string_view name, int64_t count,
                              int64_t out, int64_t in, bool transposed) {
  if (!ok()) return -1;
  const std::string symbol = fmt::format("{}.{}", experts, name);
  if (has(symbol))
    return part({symbol, out, {.transposed = transposed ? out : 0}}, {count, out, in});
  // Halves of one matrix: first the rows of gate, then those of up.
  const std::string fused = experts + ".gate_up_proj";
  if (const bool up = name == "up_proj"; (up || name == "gate_proj") && has(fused))
    return part({fused,
                 2 * out,
                 {.run = out,
                  .stored_run = 2 * out,
                  .first = up ? out : 0,
                  .transposed = transposed ? 2 * out : 0}},
                {count, out, in});
  ir::WeightData data;
  ir::WeightType type;
  for (int64_t e = 0; e < count; ++e) {
    const std::string one = fmt::format("{}.{}.{}", experts, e, name);
    const auto stored = catalog_.find(one, {out, in});
    if (!stored.ok()) {
      fail(with_assumptions(stored.status(), config_));
      return -1;
    }
    if (e > 0 && type.format != stored->type.format) {
      fail(absl::UnimplementedError(fmt::format(
          "{}: experts in more than one format are not supported: the first {} is {}, that of "
          "expert {} is {}",
          config_.file(), name, to_string(type.format), e, to_string(stored->type.format))));
      return -1;
    }
    type.format = stored->type.format;
    used_.insert(stored->source);
    used_.insert(stored->used.begin(), stored->used.end());
    data.sources.push_back(stored->source);
  }
  type.shape = {count, out, in};
  const ir::ValueId id = graph_.weight(symbol, type, std::move(data));
  return weights_[symbol] = id;
}

ir::ValueId Importer::joined(const std::string& name, int64_t count, int64_t size) {
  if (!ok()) return -1;
  ir::WeightData data;
  ir::WeightType type;
  for (int64_t i = 0; i < count; ++i) {
    const auto stored = catalog_.find(fmt::format("{}.{}", name, i), {size});
    if (!stored.ok()) {
      fail(stored.status());
      return -1;
    }
    type.format = stored->type.format;
    used_.insert(stored->source);
    data.sources.push_back(stored->source);
  }
  type.shape = {count * size};
  return weights_[name] = graph_.weight(name, type, std::move(data));
}

double Importer::scalar(std::string_view name) {
  if (!ok()) return 0;
  const auto numbers = catalog_.numbers(name);
  if (!numbers.ok()) {
    fail(numbers.status());
  } else if (numbers->size() != 1) {
    fail(catalog_.find(name, {1}).status());
  } else {
    used_.insert(catalog_.source(name));
    return numbers->front();
  }
  return 0;
}

double Importer::mean(std::string_view name) {
  if (!ok()) return 0;
  const auto numbers = catalog_.numbers(name);
  if (!numbers.ok()) fail(numbers.status());
  if (!ok()) return 0;
  double sum = 0;
  for (const float number : *numbers) sum += number;
  return sum / static_cast<double>(std::max<size_t>(1, numbers->size()));
}

void Importer::ignore(std::string_view name) {
  if (!has(name)) return;
  // The shape does not matter: only the name in the checkpoint does.
  used_.insert(catalog_.source(name));
}

ir::ValueId Importer::dense(ir::ValueId weight) {
  if (!ok()) return -1;
  if (graph_.module().weight(weight).format.is_dense()) return weight;
  return graph_.add(ir::Op::dequantize, {weight});
}

ir::ValueId Importer::signs(int64_t width) {
  const std::string symbol = fmt::format("rotation.{}.signs", width);
  if (const auto known = weights_.find(symbol); known != weights_.end()) return known->second;
  auto signs = catalog_.signs(width);
  if (!signs.ok()) {
    fail(signs.status());
    return -1;
  }
  return weights_[symbol] =
             graph_.weight(symbol, {{width}, {}}, {.sources = {}, .constant = *std::move(signs)});
}

ir::ValueId Importer::rotated(ir::ValueId x, ir::ValueId weight) {
  if (!ok() || graph_.module().weight(weight).rotated == 0) return x;
  if (const auto known = rotated_.find(x); known != rotated_.end()) return known->second;
  const ir::WeightType& type = graph_.module().weight(weight);
  const int64_t block = type.rotated;
  const ir::ValueId of_width = signs(type.cols());
  if (!ok()) return -1;
  return rotated_[x] = graph_.add(ir::Op::rotate, {x, of_width}, {{"block", block}});
}

ir::ValueId Importer::rotated_back(ir::ValueId x, ir::ValueId table) {
  if (!ok() || graph_.module().weight(table).rotated == 0) return x;
  const ir::WeightType& type = graph_.module().weight(table);
  const int64_t block = type.rotated;
  const ir::ValueId of_width = signs(type.cols());
  if (!ok()) return -1;
  return graph_.add(ir::Op::rotate, {x, of_width}, {{"block", block}, {"inverse", true}});
}

ir::ValueId Importer::product(ir::ValueId x, ir::ValueId w, ir::ValueId bias,
                              const std::string& label) {
  if (!ok()) return -1;
  graph_.set_label(label);
  const ir::ValueId y = multiplied(x, w);
  return bias >= 0 ? graph_.add(ir::Op::add, {y, bias}) : y;
}

ir::ValueId Importer::linear(ir::ValueId x, const std::string& name, int64_t out, int64_t in,
                             bool bias) {
  const ir::ValueId w = weight(name, {out, in});
  return product(x, w, bias ? weight(name + ".bias", {out}) : -1, name);
}

ir::ValueId Importer::linear(ir::ValueId x, const PartOf& part, const std::string& label,
                             int64_t out, int64_t in, bool bias) {
  const ir::ValueId w = this->part(part, {out, in});
  PartOf bias_part{part.name + ".bias", part.whole, part.places};
  bias_part.places.transposed = 0;
  return product(x, w, bias ? this->part(bias_part, {out}) : -1, label);
}

ir::ValueId Importer::linear(ir::ValueId x, const std::vector<PartOf>& parts,
                             const std::string& label, int64_t in) {
  return product(x, this->parts(parts, label, in), -1, label);
}

ir::ValueId Importer::linear_with_columns(ir::ValueId x, const std::string& name, int64_t out,
                                          int64_t in, int64_t part, int64_t parts) {
  if (!ok()) return -1;
  // Rows lie one after another, so that a run of columns of [out, parts in] is each of `parts` rows
  // of [parts out, in].
  const std::string symbol = fmt::format("{}[:, {}:{}]", name, part * in, (part + 1) * in);
  const ir::ValueId w = add(symbol, catalog_.view(name, {out, parts * in}, {out, in},
                                                  {.run = 1, .stored_run = parts, .first = part}));
  if (ok() && graph_.module().weight(w).rotated != 0)
    fail(absl::UnimplementedError(fmt::format(
        "{}: the columns of {} are rotated, and signs of so many are not known for parts of them",
        config_.file(), frontends::in_quotes(name))));
  return product(x, w, -1, symbol);
}

ir::ValueId Importer::rms_norm(ir::ValueId x, const std::string& name, int64_t size, double eps) {
  const ir::ValueId w = weight(name, {size});
  if (!ok()) return -1;
  graph_.set_label(name);
  return graph_.add(ir::Op::rms_norm, {x, w}, {{"eps", eps}});
}

ir::ValueId Importer::affine(ir::ValueId x, double scale, double offset) {
  if (!ok() || (scale == 1 && offset == 0)) return x;
  return graph_.add(ir::Op::affine, {x}, {{"scale", scale}, {"offset", offset}});
}

ir::ValueId Importer::tokens() {
  if (tokens_ < 0)
    tokens_ = graph_.param(entry_name_ + "tokens", {ir::DType::i32, {ir::Dim::of('T')}});
  return tokens_;
}

ir::ValueId Importer::hidden(int64_t width) {
  tokens();  // the first parameter
  return graph_.param(entry_name_ + "hidden", {ir::DType::f32, {ir::Dim::of('T'), width}});
}

void Importer::begin_entry(std::vector<ir::ValueId> returned, const std::string& name) {
  graph_.begin_entry(std::move(returned), name);
  tokens_ = -1;
  angles_.clear();
  entry_name_ = name + ".";
}

ir::ValueId Importer::angles(const Rope& rope) {
  if (!ok()) return -1;
  for (const auto& [known, table] : angles_)
    if (known.same_angles(rope)) return table;
  const auto known = std::ranges::find_if(
      frequencies_, [&](const auto& entry) { return entry.first.same_angles(rope); });
  ir::ValueId inv_freq = known == frequencies_.end() ? -1 : known->second;
  if (inv_freq < 0) {
    const std::string symbol = frequencies_.empty()
                                   ? "rope.inv_freq"
                                   : fmt::format("rope.{}.inv_freq", frequencies_.size());
    inv_freq = graph_.weight(symbol, {{static_cast<int64_t>(rope.inv_freq.size())}, {}},
                             {.sources = {}, .constant = rope.inv_freq});
    frequencies_.emplace_back(rope, inv_freq);
  }
  graph_.set_label("rope");
  ir::Attributes attributes = {{"scale", rope.scale}};
  if (rope.log_scale != 0) {
    attributes["log_scale"] = rope.log_scale;
    attributes["log_period"] = rope.log_period;
    attributes["log_offset"] = rope.log_offset;
  }
  const ir::ValueId table =
      graph_.add(ir::Op::rope_table, {inv_freq, tokens()}, std::move(attributes));
  angles_.emplace_back(rope, table);
  return table;
}

std::string state_name(std::string_view layer, std::string_view what) {
  constexpr std::string_view kModel = "model.";
  if (layer.starts_with(kModel)) layer.remove_prefix(kModel.size());
  return fmt::format("{}{}", layer, what);
}

absl::StatusOr<ir::Module> Importer::finish(std::vector<ir::ValueId> returned) {
  if (!status_.ok()) return status_;
  if (!graph_.status().ok()) return graph_.status();
  return graph_.finish(std::move(returned));
}

}  // namespace sinter::models
