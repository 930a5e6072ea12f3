#include "models/importer.h"

#include <fmt/format.h>

#include <limits>
#include <utility>

#include "frontends/json_file.h"

namespace sinter::models {

namespace {
constexpr const char* kFile = "config.json";

// Large enough for every model there is, small enough that products of two sizes fit in 63 bits.
constexpr frontends::IntRange kSize{1, int64_t{1} << 30};
}  // namespace

Importer::Importer(std::string model_type, const nlohmann::json& config,
                   const WeightCatalog& catalog)
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

int64_t Importer::positive(std::string_view key) {
  return value_or_fail<int64_t>(frontends::get_int(config_, key, kFile, kSize), 1, *this);
}
int64_t Importer::positive_or(std::string_view key, int64_t fallback) {
  return value_or_fail<int64_t>(frontends::get_int_or(config_, key, kFile, fallback, kSize),
                                fallback, *this);
}
double Importer::number_or(std::string_view key, double fallback) {
  return value_or_fail<double>(frontends::get_double_or(config_, key, kFile, fallback), fallback,
                               *this);
}
bool Importer::flag_or(std::string_view key, bool fallback) {
  return value_or_fail<bool>(frontends::get_bool_or(config_, key, kFile, fallback), fallback,
                             *this);
}
std::string Importer::text_or(std::string_view key, const std::string& fallback) {
  return value_or_fail<std::string>(frontends::get_string_or(config_, key, kFile, fallback),
                                    fallback, *this);
}

ir::ValueId Importer::weight(std::string_view name, const std::vector<int64_t>& shape) {
  if (!ok()) return -1;
  const ir::ValueId known = graph_.module().find_symbol(name);
  if (known >= 0) return known;
  auto type = catalog_.type(name, shape);
  if (!type.ok()) {
    fail(type.status());
    return -1;
  }
  used_.insert(std::string(name));
  return graph_.weight(std::string(name), *std::move(type),
                       {.sources = {std::string(name)}, .constant = {}});
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
  return graph_.finish({logits});
}

}  // namespace sinter::models
