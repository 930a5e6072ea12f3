#include "models/weight_catalogs.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>

#include "frontends/error_text.h"

namespace sinter::models {

namespace {

int64_t elements(const std::vector<int64_t>& shape) {
  int64_t product = 1;
  for (const int64_t extent : shape) product *= extent;
  return product;
}

// Whether parts of a row of so many columns are stored as rows are that have no more.
bool divides_columns(const ir::WeightType& type, int64_t cols, const ir::Matrix* matrix) {
  const ir::WeightFormat& format = type.format;
  if (matrix != nullptr && matrix->order != nullptr) return false;
  if (matrix != nullptr && matrix->blocks != nullptr && !format.is_dense())
    return cols % matrix->blocks->cols == 0;
  return format.is_dense() ||
         (format.group > 0 && cols % format.group == 0 && cols * format.bits % 8 == 0);
}

}  // namespace

CheckpointCatalog::CheckpointCatalog(frontends::Checkpoint& checkpoint, const Family& family)
    : checkpoint_(checkpoint), tensors_(family.tensors) {
  const auto add = [&](const std::string& key) {
    std::string name = rename(key, tensors_);
    const auto& out = family.skipped;
    if (std::any_of(out.begin(), out.end(),
                    [&](const std::string& from) { return matches(key, from); })) {
      skipped_.push_back(key);
    } else {
      names_.emplace(std::move(name), key);
    }
  };
  for (const auto& [key, matrix] : checkpoint.matrices)
    if (!checkpoint.computed.contains(key)) add(key);
  for (const auto& [key, reason] : checkpoint.unsupported) add(key);
}

std::string CheckpointCatalog::source(std::string_view name) const {
  const auto found = names_.find(name);
  return found == names_.end() ? rename_back(name, tensors_) : found->second;
}

std::string CheckpointCatalog::shown(std::string_view name) const {
  return frontends::in_quotes(checkpoint_.shown_name(source(name)));
}

absl::StatusOr<StoredWeight> CheckpointCatalog::find(std::string_view name,
                                                     const std::vector<int64_t>& shape) const {
  const std::string key = source(name);
  checkpoint_.drop_padding(key, shape.front());
  auto type = checkpoint_.type(key);
  if (!type.ok()) return type.status();
  if (type->shape != shape)
    return absl::InvalidArgumentError(
        fmt::format("{}: tensor {} is [{}], but {} asks for [{}]; one of them is wrong",
                    frontends::one_line(checkpoint_.path.string(), 1000), shown(name),
                    fmt::join(type->shape, ", "), checkpoint_.config_file, fmt::join(shape, ", ")));
  return StoredWeight{key, rotated(key, *std::move(type)), {}};
}

ir::WeightType CheckpointCatalog::rotated(std::string_view key, ir::WeightType type) const {
  if (checkpoint_.rotation.rotates(key)) type.rotated = checkpoint_.rotation.block;
  return type;
}

absl::StatusOr<std::vector<float>> CheckpointCatalog::signs(int64_t width) const {
  const auto found = checkpoint_.rotation.signs.find(width);
  if (found == checkpoint_.rotation.signs.end())
    return frontends::invalid(
        "{}: rows of {} features are rotated, and there are no signs for them",
        frontends::one_line(checkpoint_.path.string(), 1000), width);
  return found->second;
}

absl::StatusOr<StoredWeight> CheckpointCatalog::view(std::string_view name,
                                                     const std::vector<int64_t>& whole,
                                                     const std::vector<int64_t>& shape,
                                                     const ir::RowPlaces& places) const {
  const std::string key = source(name);
  auto type = checkpoint_.type(key);
  if (!type.ok()) return type.status();
  if (!places.in_order()) {
    std::vector<int64_t> extents = whole;
    // Rows of a stack may be meant one after another.
    if (places.transposed != 0 && type->shape.size() > whole.size()) {
      extents[0] = places.transposed;
      extents.insert(extents.begin(), whole[0] / places.transposed);
    }
    if (places.transposed != 0) std::swap(extents.end()[-1], extents.end()[-2]);
    auto stored = find(name, extents);
    if (!stored.ok()) return stored.status();
  } else if (elements(type->shape) != elements(shape) ||
             (!type->format.is_dense() && type->cols() != shape.back())) {
    return find(name, whole).status();
  }
  const std::string view_key = fmt::format(
      "{} as {}x{} of {}", key, places.first, fmt::join(shape, "x"),
      fmt::join({places.run, places.step, places.outer, places.inner, places.transposed}, " "));
  // Another order that the matrix has already would be lost.
  const auto matrix = checkpoint_.matrices.find(key);
  if (matrix != checkpoint_.matrices.end() && !matrix->second.places.in_order() &&
      !places.in_order())
    return absl::UnimplementedError(
        fmt::format("{}: tensor {} has its rows in an order of its own, and parts of it are wanted",
                    frontends::one_line(checkpoint_.path.string(), 1000), shown(name)));
  if (const int64_t cols = shape.back();
      places.transposed == 0 && !places.in_order() && cols != whole.back() &&
      !divides_columns(*type, cols,
                       matrix == checkpoint_.matrices.end() ? nullptr : &matrix->second))
    return absl::UnimplementedError(fmt::format(
        "{}: tensor {} is {}, whose rows are not divided into parts of {} columns",
        frontends::one_line(checkpoint_.path.string(), 1000), shown(name), to_string(*type), cols));
  type->shape = shape;
  std::string of = key;
  if (places.transposed != 0 && !type->format.is_dense()) {
    auto numbers = decoded(key);
    if (!numbers.ok()) return numbers.status();
    of = *std::move(numbers);
    type->format = {};
  }
  checkpoint_.views[view_key] = {of, shape, places};
  return StoredWeight{view_key, rotated(key, *std::move(type)), {key}};
}

// Groups of codes lie in rows, and have no meaning in columns.
absl::StatusOr<std::string> CheckpointCatalog::decoded(const std::string& key) const {
  std::string name = fmt::format("{} decoded", key);
  if (checkpoint_.has(name)) return name;
  auto matrix = checkpoint_.matrix(key);
  if (!matrix.ok()) return matrix.status();
  const auto cols = static_cast<size_t>(matrix->type.cols());
  std::vector<float> row(cols);
  std::vector<uint8_t> bytes(static_cast<size_t>(matrix->type.elements()) * sizeof(float));
  for (int64_t i = 0; i < matrix->type.elements() / matrix->type.cols(); ++i) {
    ir::decode_row(*matrix, i, row.data());
    std::memcpy(bytes.data() + static_cast<size_t>(i) * cols * sizeof(float), row.data(),
                cols * sizeof(float));
  }
  ir::Matrix made;
  made.type.shape = matrix->type.shape;
  made.codes = checkpoint_.keep(std::move(bytes));
  checkpoint_.matrices[name] = std::move(made);
  checkpoint_.computed.insert(name);
  checkpoint_.release(key);
  return name;
}

absl::StatusOr<StoredWeight> CheckpointCatalog::computed(
    std::string_view name, const std::vector<int64_t>& shape, std::string_view what,
    const std::function<double(double)>& number, int64_t repeat) const {
  const std::string key = source(name);
  auto values = numbers(name);
  if (!values.ok()) return values.status();
  if (shape.size() > 1 || static_cast<int64_t>(values->size()) * repeat != shape[0]) {
    auto stored = find(name, shape);
    if (!stored.ok()) return stored.status();
  }
  const std::string computed_key = fmt::format("{} {}", key, what);
  ir::WeightType type{shape, {}};
  if (!checkpoint_.has(computed_key)) {
    std::vector<float> made_of_them;
    for (const float value : *values)
      made_of_them.insert(made_of_them.end(), static_cast<size_t>(repeat),
                          static_cast<float>(number(value)));
    std::vector<uint8_t> bytes(made_of_them.size() * sizeof(float));
    std::memcpy(bytes.data(), made_of_them.data(), bytes.size());
    ir::Matrix made;
    made.type = type;
    made.codes = checkpoint_.keep(std::move(bytes));
    checkpoint_.matrices[computed_key] = std::move(made);
    checkpoint_.plain_tensors.insert(computed_key);
    checkpoint_.computed.insert(computed_key);
  }
  return StoredWeight{computed_key, std::move(type), {key}};
}

absl::StatusOr<std::vector<float>> CheckpointCatalog::numbers(std::string_view name) const {
  const std::string key = source(name);
  auto matrix = checkpoint_.matrix(key);
  if (!matrix.ok()) return matrix.status();
  if (!matrix->type.format.is_dense())
    return frontends::invalid("{}: tensor {} is {}, expected floats",
                              frontends::one_line(checkpoint_.path.string(), 1000), shown(name),
                              to_string(matrix->type));
  if (auto status = checkpoint_.check_finite(key); !status.ok()) return status;
  const int64_t cols = matrix->type.cols();
  std::vector<float> values(static_cast<size_t>(matrix->type.elements()));
  for (int64_t row = 0; row < matrix->type.rows(); ++row)
    ir::decode_row(*matrix, row, values.data() + row * cols);
  return values;
}

std::vector<int64_t> CheckpointCatalog::stored_shape(std::string_view name) const {
  const auto found = checkpoint_.matrices.find(source(name));
  return found == checkpoint_.matrices.end() ? std::vector<int64_t>() : found->second.type.shape;
}

absl::StatusOr<StoredWeight> SyntheticCatalog::find(std::string_view name,
                                                    const std::vector<int64_t>& shape) const {
  ir::WeightType type{shape, {}};
  type.format.scale_type = ir::DType::f16;
  const StoredWeight dense{std::string(name), type, {}};
  if (shape.size() < 2 || !quantization_.has_value()) return dense;
  frontends::MlxParameters parameters = quantization_->global;
  const auto found = quantization_->overrides.find(std::string(name));
  if (found != quantization_->overrides.end()) {
    if (!found->second.has_value()) return dense;
    parameters = *found->second;
  }
  if (shape.back() % parameters.group_size != 0)
    return absl::InvalidArgumentError(
        fmt::format("{}: \"{}\" has {} columns, not a multiple of the quantization's group_size {}",
                    file_, name, shape.back(), parameters.group_size));
  type.format = frontends::weight_format(parameters, ir::DType::f16);
  if (type.format.has_biases() && (parameters.bits == 1 || symmetric_)) {
    type.format.map = parameters.bits == 2 ? ir::CodeMap::ternary : ir::CodeMap::symmetric;
    if (parameters.bits != 2)
      type.format.zero = parameters.bits == 1 ? 0.5 : 1 << (parameters.bits - 1);
  }
  // What has an override to stay dense is not rotated, and Bonsai's gates of delta nets are such.
  // Heads that draft tokens are put to a model that was rotated without them.
  if (rotation_ != 0 && !name.starts_with("mtp.") && shape.back() % rotation_ == 0)
    type.rotated = rotation_;
  return StoredWeight{std::string(name), std::move(type), {}};
}

absl::StatusOr<StoredWeight> SyntheticCatalog::view(std::string_view name,
                                                    const std::vector<int64_t>& whole,
                                                    const std::vector<int64_t>& shape,
                                                    const ir::RowPlaces& places) const {
  // What is stored with other extents is no matrix of a product.
  if (places.in_order()) {
    ir::WeightType type{shape, {}};
    type.format.scale_type = ir::DType::f16;
    return StoredWeight{std::string(name), type, {}};
  }
  auto stored = find(name, whole);
  if (!stored.ok()) return stored;
  stored->type.shape = shape;
  stored->source = fmt::format("{} from {}", name, places.first);
  return stored;
}

absl::StatusOr<StoredWeight> SyntheticCatalog::computed(
    std::string_view name, const std::vector<int64_t>& shape, std::string_view what,
    const std::function<double(double)>& /*number*/, int64_t /*repeat*/) const {
  return StoredWeight{fmt::format("{} {}", name, what), {shape, {}}, {}};
}

absl::StatusOr<std::vector<float>> SyntheticCatalog::numbers(std::string_view /*name*/) const {
  return std::vector<float>{0.5F};
}

absl::StatusOr<std::vector<float>> SyntheticCatalog::signs(int64_t width) const {
  std::vector<float> signs(static_cast<size_t>(width));
  for (size_t i = 0; i < signs.size(); ++i) signs[i] = i * 7 % 3 == 0 ? -1.0F : 1.0F;
  return signs;
}

std::vector<int64_t> SyntheticCatalog::stored_shape(std::string_view /*name*/) const { return {}; }

}  // namespace sinter::models
