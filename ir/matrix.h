// A matrix as a checkpoint stores it, and the plain host decoder: the judge of every repacking and
// kernel.
#pragma once

#include <cstdint>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "ir/type.h"

namespace sinter::ir {

// Borrowed bytes (usually a memory-mapped file). Codes form one little-endian, LSB-first bit stream
// per row, rows starting at whole bytes; scales and biases are [rows, cols/group] of
// type.format.scale_type. Dense: `codes` holds the elements, scales and biases are empty. 1-D
// weights have rows() == 1.
struct Matrix {
  WeightType type;  // affine or dense: what is stored, before anything is proven about it
  absl::Span<const uint8_t> codes;
  absl::Span<const uint8_t> scales;
  absl::Span<const uint8_t> biases;
};

float read_element(DType dtype, const uint8_t* bytes, int64_t index);

// out[cols]: the numbers of a row.
void decode_row(const Matrix& matrix, int64_t row, float* out);
// out[cols]: the codes of a row (not for dense).
void decode_codes(const Matrix& matrix, int64_t row, uint8_t* out);

// Gives a module's numbers by name; implemented by checkpoints and by tests.
class MatrixSource {
 public:
  virtual ~MatrixSource() = default;
  virtual absl::StatusOr<Matrix> matrix(std::string_view name) const = 0;
  // The caller is done with this matrix: memory that can be had again from a file may be given
  // back.
  virtual void release(std::string_view /*name*/) const {}
};

}  // namespace sinter::ir
