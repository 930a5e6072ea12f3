#include "ir/views.h"

#include <fmt/format.h>

#include <algorithm>

#include "ir/ops.h"

namespace sinter::ir {

Runs::Runs(int64_t count, int64_t length) : length_(length) {
  for (int64_t i = 0; i < count; ++i) starts_.push_back(i * length);
}

absl::Status Runs::follow(const Module& module, const Node& view) {
  if (view.op == Op::expand) {
    const int64_t width = module.tensor(view.results[0]).shape.back().value;
    std::vector<int64_t> columns;
    for (const int64_t start : starts_)
      for (int64_t at = start; at < start + length_; ++at) columns.push_back(at / width);
    starts_ = std::move(columns);
    length_ = 1;
    return absl::OkStatus();
  }
  if (view.op != Op::slice) return absl::OkStatus();  // a reshape keeps the order
  const int64_t kept = module.tensor(view.results[0]).shape.back().value;
  const int64_t whole = module.tensor(view.operands[0]).shape.back().value;
  if (length_ > kept) {
    if (length_ % kept != 0 || !aligned_to(kept))
      return absl::UnimplementedError(
          fmt::format("a slice of {} features cuts runs of {}", kept, length_));
    std::vector<int64_t> parts;
    for (const int64_t start : starts_)
      for (int64_t at = start; at < start + length_; at += kept) parts.push_back(at);
    starts_ = std::move(parts);
    length_ = kept;
  }
  for (int64_t& start : starts_) {
    if (start % kept + length_ > kept)
      return absl::UnimplementedError(
          fmt::format("runs of {} features cross the ends of a slice of {}", length_, kept));
    start = start / kept * whole + view.integer("begin") + start % kept;
  }
  return absl::OkStatus();
}

std::optional<int64_t> Runs::stride() const {
  if (starts_.size() == 1) return length_;
  const int64_t stride = starts_[1] - starts_[0];
  for (size_t i = 2; i < starts_.size(); ++i)
    if (starts_[i] - starts_[i - 1] != stride) return std::nullopt;
  return stride;
}

bool Runs::aligned_to(int64_t extent) const {
  return std::all_of(starts_.begin(), starts_.end(),
                     [extent](int64_t start) { return start % extent == 0; });
}

void add_once(std::vector<Runs>& read, Runs runs) {
  if (std::find(read.begin(), read.end(), runs) == read.end()) read.push_back(std::move(runs));
}

int64_t row_elements(const Module& module, ValueId value) {
  int64_t elements = 1;
  const auto& shape = module.tensor(value).shape;
  for (size_t i = 1; i < shape.size(); ++i) elements *= shape[i].value;
  return elements;
}

}  // namespace sinter::ir
