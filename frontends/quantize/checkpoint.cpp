#include "frontends/quantize/checkpoint.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace sinter::frontends {

double QuantizationError::relative() const {
  return squared_norm > 0 ? std::sqrt(squared_error / squared_norm) : 0;
}

void add_error(std::string_view name, const QuantizedMatrix& matrix,
               std::vector<QuantizationError>& errors) {
  const std::string_view layer = layer_class(name);
  auto found = std::find_if(errors.begin(), errors.end(), [&](const QuantizationError& error) {
    return error.layer == layer && error.format == matrix.type.format;
  });
  if (found == errors.end()) {
    errors.push_back({.layer = std::string(layer), .format = matrix.type.format});
    found = std::prev(errors.end());
  }
  ++found->matrices;
  found->parameters += matrix.type.elements();
  found->squared_error += matrix.squared_error;
  found->squared_norm += matrix.squared_norm;
}

QuantizedCheckpoint::QuantizedCheckpoint(const Checkpoint& source, QuantizeChoice choice)
    : Checkpoint(source), choice_(std::move(choice)) {
  for (const auto& [name, to] : choice_.matrices)
    parameters_ += matrices.find(name)->second.type.elements();
}

absl::StatusOr<ir::WeightType> QuantizedCheckpoint::type(std::string_view name) const {
  absl::StatusOr<ir::WeightType> stored = Checkpoint::type(name);
  if (const auto to = choice_.matrices.find(name); stored.ok() && to != choice_.matrices.end())
    stored->format = to->second.format;
  return stored;
}

absl::StatusOr<ir::Matrix> QuantizedCheckpoint::matrix(std::string_view name) const {
  absl::StatusOr<ir::Matrix> source = Checkpoint::matrix(name);
  const auto to = choice_.matrices.find(name);
  if (!source.ok() || to == choice_.matrices.end()) return source;
  const std::lock_guard lock(mutex_);
  auto found = quantized_.find(name);
  if (found == quantized_.end()) {
    if (progress)
      progress(static_cast<double>(parameters_done_) / static_cast<double>(parameters_));
    absl::StatusOr<QuantizedMatrix> made = quantize_matrix(name, *source, to->second, storage);
    if (!made.ok()) return made.status();
    Checkpoint::release(name);
    add_error(name, *made, errors_);
    parameters_done_ += made->type.elements();
    found =
        quantized_.emplace(std::string(name), std::make_unique<QuantizedMatrix>(*std::move(made)))
            .first;
  }
  return found->second->view();
}

void QuantizedCheckpoint::release(std::string_view name) const {
  // Packed matrices could be had again only by quantizing them again.
  if (!choice_.matrices.contains(name)) Checkpoint::release(name);
}

std::vector<QuantizationError> QuantizedCheckpoint::errors() const {
  const std::lock_guard lock(mutex_);
  return errors_;
}

}  // namespace sinter::frontends
