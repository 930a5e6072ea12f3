// Where the elements of a view lie: reshapes and slices move nothing, so kernels read a view from
// the tensor that it was cut from.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "ir/graph.h"

namespace sinter::ir {

// A row of a tensor as runs of equal length whose elements lie together; where they begin in a row
// of the tensor that views made it from, as far as those were followed.
class Runs {
 public:
  // `count` runs of `length` elements, one after another.
  Runs(int64_t count, int64_t length);

  // From the result of a `reshape` or `slice` to its operand. A slice that is narrower than a run
  // divides it. An error says why runs do not stay whole and equal.
  absl::Status follow(const Module& module, const Node& view);

  int64_t count() const { return static_cast<int64_t>(starts_.size()); }
  int64_t length() const { return length_; }
  int64_t offset() const { return starts_[0]; }
  // From the beginning of a run to that of the next (their length when there is one run); nothing
  // when the distances differ.
  std::optional<int64_t> stride() const;
  // Whether every run begins at a multiple of `extent`.
  bool aligned_to(int64_t extent) const;
  bool operator==(const Runs& other) const = default;

 private:
  int64_t length_;
  std::vector<int64_t> starts_;
};

// What is read of a value: each of these once.
void add_once(std::vector<Runs>& read, Runs runs);

// Elements of a row (one token) of a tensor.
int64_t row_elements(const Module& module, ValueId value);

}  // namespace sinter::ir
