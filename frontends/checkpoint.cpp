#include "frontends/checkpoint.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "frontends/error_text.h"
#include "frontends/finite.h"
#include "frontends/near_names.h"

namespace sinter::frontends {
namespace {

bool is_all_zero(const ir::Matrix& vector) {
  std::vector<float> numbers(static_cast<size_t>(vector.type.cols()));
  ir::decode_row(vector, 0, numbers.data());
  return std::all_of(numbers.begin(), numbers.end(), [](float number) { return number == 0; });
}

}  // namespace

std::optional<std::string_view> module_of(std::string_view name, std::string_view suffix) {
  if (name.size() <= suffix.size() || !name.ends_with(suffix)) return std::nullopt;
  return name.substr(0, name.size() - suffix.size());
}

void Checkpoint::release(std::string_view name) const {
  if (const auto view = views.find(name); view != views.end()) return release(view->second.of);
  const auto found = matrices.find(name);
  if (found == matrices.end()) return;
  for (const auto& file : storage) {
    for (const auto bytes : {found->second.codes, found->second.scales, found->second.biases}) {
      file->release(bytes);
    }
  }
}

absl::Span<const uint8_t> Checkpoint::keep(std::vector<uint8_t> bytes) {
  buffers.push_back(std::make_shared<const std::vector<uint8_t>>(std::move(bytes)));
  return *buffers.back();
}

void Checkpoint::keep(std::shared_ptr<const MappedFile> file) {
  sources.push_back(file->source());
  storage.push_back(std::move(file));
}

absl::Status Checkpoint::check_finite(std::string_view name) const {
  const auto found = matrices.find(name);
  if (found == matrices.end() || !found->second.type.format.is_dense()) return absl::OkStatus();
  const ir::Matrix& matrix = found->second;
  const ir::DType dtype = matrix.type.format.scale_type;
  const std::optional<size_t> first = first_not_finite(dtype, matrix.codes);
  if (!first) return absl::OkStatus();
  std::vector<int64_t> place(matrix.type.shape.size());
  auto rest = static_cast<int64_t>(*first);
  for (size_t i = place.size(); i-- > 0; rest /= matrix.type.shape[i])
    place[i] = rest % matrix.type.shape[i];
  const auto stored = stored_names.find(name);
  const std::string tensor = stored != stored_names.end()   ? stored->second
                             : plain_tensors.contains(name) ? std::string(name)
                                                            : std::string(name) + ".weight";
  const float number = ir::read_element(dtype, matrix.codes.data(), static_cast<int64_t>(*first));
  return invalid(
      "{}: tensor {} is {} at {}; weights must be finite numbers: the file is damaged, or the "
      "training diverged",
      file_name(path), in_quotes(tensor),
      std::isnan(number) ? "NaN"
      : number > 0       ? "infinity"
                         : "-infinity",
      shape_text(place));
}

absl::StatusOr<ir::Matrix> Checkpoint::matrix(std::string_view name) const {
  if (const auto view = views.find(name); view != views.end()) {
    auto stored = matrix(view->second.of);
    if (!stored.ok()) return stored;
    stored->type.shape = view->second.shape;
    if (!view->second.places.in_order()) stored->places = view->second.places;
    return stored;
  }
  if (const auto found = matrices.find(name); found != matrices.end()) return found->second;
  if (const auto found = unsupported.find(name); found != unsupported.end()) {
    return absl::UnimplementedError(found->second);
  }
  std::vector<std::string_view> names;
  for (const auto& [other, matrix] : matrices) names.push_back(other);
  for (const auto& [other, reason] : unsupported) names.push_back(other);
  for (const std::string& full : {std::string(name), std::string(name) + ".weight"}) {
    const auto found = absent.find(full);
    if (found == absent.end()) continue;
    return absl::NotFoundError(fmt::format("{}: tensor {} is missing; {}",
                                           one_line(path.string(), 1000), in_quotes(full),
                                           found->second));
  }
  std::string hint;
  for (const std::string_view near : near_names(name, names)) {
    hint += (hint.empty() ? "; did you mean " : ", ") + in_quotes(shown_name(near));
  }
  return absl::NotFoundError(fmt::format("{}: tensor {} is missing{}",
                                         one_line(path.string(), 1000), in_quotes(shown_name(name)),
                                         hint));
}

void Checkpoint::drop_padding(std::string_view name, int64_t rows) {
  const auto padding = padding_rows.find(name);
  const auto found = matrices.find(name);
  if (padding == padding_rows.end() || found == matrices.end()) return;
  int64_t& stored = found->second.type.shape.front();
  if (rows < stored && stored - rows <= padding->second) stored = rows;
}

absl::StatusOr<ir::WeightType> Checkpoint::type(std::string_view name) const {
  if (const auto view = views.find(name); view != views.end()) {
    auto stored = type(view->second.of);
    if (stored.ok()) stored->shape = view->second.shape;
    return stored;
  }
  absl::StatusOr<ir::Matrix> stored = Checkpoint::matrix(name);
  if (!stored.ok()) return stored.status();
  return stored->type;
}

void Checkpoint::drop_zero_biases(const std::set<std::string>& used) {
  for (auto it = matrices.begin(); it != matrices.end();) {
    const auto& [name, matrix] = *it;
    const auto module = module_of(name, ".bias");
    const bool redundant = module && !used.contains(name) && used.contains(std::string(*module)) &&
                           matrix.type.format.is_dense() && matrix.type.shape.size() == 1 &&
                           is_all_zero(matrix);
    if (redundant) plain_tensors.erase(name);
    it = redundant ? matrices.erase(it) : std::next(it);
  }
}

absl::Status Checkpoint::check_all_used(const std::set<std::string>& used) const {
  constexpr size_t kShown = 5;
  std::string shown;
  size_t count = 0;
  const auto look_at = [&](const std::string& name) {
    if (used.contains(name)) return;
    if (++count <= kShown) shown += (count == 1 ? "" : ", ") + in_quotes(shown_name(name));
  };
  for (const auto& [name, matrix] : matrices)
    if (!computed.contains(name)) look_at(name);
  for (const auto& [name, reason] : unsupported) look_at(name);
  if (count == 0) return absl::OkStatus();
  return invalid(
      "{}: {} not used by the architecture that {} names: {}{}; the weights are of "
      "another architecture",
      one_line(path.string(), 1000),
      count == 1 ? "1 tensor is" : fmt::format("{} tensors are", count), config_file, shown,
      count > kShown ? ", ..." : "");
}

}  // namespace sinter::frontends
