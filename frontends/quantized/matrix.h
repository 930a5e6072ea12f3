// A matrix of a checkpoint, quantized: packed as MLX packs it.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "frontends/mapped_file.h"
#include "frontends/rounding/rules.h"
#include "ir/matrix.h"

namespace sinter::frontends {

// Owns the bytes behind `view()`.
struct QuantizedMatrix {
  ir::WeightType type;
  std::vector<uint8_t> codes;
  std::vector<uint8_t> scales;
  std::vector<uint8_t> biases;
  // Sums over all elements: of (w - q)^2 and of w^2, where q is what the bytes decode to.
  double squared_error = 0;
  double squared_norm = 0;

  ir::Matrix view() const {
    return {.type = type, .codes = codes, .scales = scales, .biases = biases};
  }
};

// Quantizes on a few threads, some rows at a time. `name` is for messages; `files` own the source's
// bytes, and get the memory of rows back that are done. Errors: NaN or infinity among the numbers,
// a scale beyond the range of its type.
using Files = absl::Span<const std::shared_ptr<const MappedFile>>;
absl::StatusOr<QuantizedMatrix> quantize_matrix(std::string_view name, const ir::Matrix& source,
                                                const QuantizeTo& to, Files files = {});

}  // namespace sinter::frontends
