// The tensor types of GGUF files: blocks of numbers with their scales, and a plain decoder of each,
// the judge of the matrices that readers make of them.
// Source: ggml-common.h and ggml-quants.c of ggml-org/ggml; ids are those of `enum ggml_type`.
#pragma once

#include <cstdint>
#include <string_view>

#include "absl/types/span.h"
#include "ir/matrix.h"

namespace sinter::frontends {

struct GgmlType {
  uint32_t id;
  std::string_view name;
  int block_elements;
  int block_bytes;

  // out[block_elements]; null for types that cannot be read.
  void (*decode)(const uint8_t* block, float* out) = nullptr;
  // Whether no scale of a block is infinite or NaN; null for types without scales.
  bool (*scales_are_finite)(const uint8_t* block) = nullptr;

  // How the type is written as a weight, when the weight descriptor has words for it; map `dense`
  // with `blocks` null for plain floats.
  bool has_format = false;
  ir::WeightFormat format = {};
  ir::BlockLayout blocks = {};             // of packed formats
  const ir::MatrixOrder* order = nullptr;  // where `blocks` has no words for something

  // Why a type of this id is refused although the id is known: it stands for several layouts, or no
  // file should hold it.
  std::string_view refusal = {};
};

// PQ2_0 and Q2_0. Files of older programs have blocks of the former under the id of the latter.
inline constexpr uint32_t kPrismQ2 = 142, kQ2 = 42;

absl::Span<const GgmlType> ggml_types();

// Null when no type has this id.
const GgmlType* find_ggml_type(uint32_t id);

}  // namespace sinter::frontends
