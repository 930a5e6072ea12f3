// The numbers of a weight, a row at a time: over the checkpoint matrices that make it, or over
// constants.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "ir/graph.h"
#include "ir/matrix.h"

namespace sinter::ir {

// Borrows the module's constants and the source's bytes; never holds more than the row asked for.
class WeightRows {
 public:
  // A dense table that is there already, row-major; data.size() == rows * cols.
  WeightRows(int64_t rows, int64_t cols, absl::Span<const float> data)
      : rows_(rows), cols_(cols), dense_(data) {}

  // Errors: the weight has no numbers, a source is missing or truncated, or the sources' shapes do
  // not make the weight's: their rows one after another, or the elements of vectors.
  static absl::StatusOr<WeightRows> open(const Module& module, ValueId weight,
                                         const MatrixSource& source);

  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }
  // out[cols]; 0 <= index < rows. Safe to call from several threads.
  void row(int64_t index, float* out) const;

 private:
  int64_t rows_ = 0;
  int64_t cols_ = 0;
  absl::Span<const float> dense_;
  std::vector<Matrix> parts_;
};

}  // namespace sinter::ir
