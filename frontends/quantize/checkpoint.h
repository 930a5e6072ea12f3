// A checkpoint whose matrices are quantized while a model is compiled from it.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "frontends/checkpoint.h"
#include "frontends/quantized/matrix.h"
#include "frontends/rounding/rules.h"

namespace sinter::frontends {

// What quantizing did to the matrices of one kind of layer that have one format.
struct QuantizationError {
  std::string layer;  // "q_proj"
  ir::WeightFormat format;
  int64_t matrices = 0;
  int64_t parameters = 0;
  double squared_error = 0;
  double squared_norm = 0;

  // ||w - q|| / ||w||; 0 for matrices of zeros.
  double relative() const;
};

// Adds a matrix to its kind's sum; `errors` stays in the order in which kinds came.
void add_error(std::string_view name, const QuantizedMatrix& matrix,
               std::vector<QuantizationError>& errors);

// A matrix is quantized when it is first asked for, and the pages of the file that it was made from
// are given back; the packed form stays in memory, so that at the peak there are all packed
// matrices and the source of one.
class QuantizedCheckpoint : public Checkpoint {
 public:
  QuantizedCheckpoint(const Checkpoint& source, QuantizeChoice choice);

  absl::StatusOr<ir::WeightType> type(std::string_view name) const override;
  absl::StatusOr<ir::Matrix> matrix(std::string_view name) const override;
  void release(std::string_view name) const override;

  const QuantizeChoice& choice() const { return choice_; }
  // Of all matrices that were quantized so far.
  std::vector<QuantizationError> errors() const;

  // Called before a matrix is quantized with the part that is done of all, 0..1. May be empty.
  std::function<void(double fraction)> progress;

 private:
  QuantizeChoice choice_;
  int64_t parameters_ = 0;  // to quantize

  mutable std::mutex mutex_;  // guards what follows
  mutable std::map<std::string, std::unique_ptr<QuantizedMatrix>, std::less<>> quantized_;
  mutable std::vector<QuantizationError> errors_;
  mutable int64_t parameters_done_ = 0;
};

}  // namespace sinter::frontends
