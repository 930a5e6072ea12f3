// Numbers into low-bit codes, a row at a time: MLX's affine quantizer, BitNet's ternary rule,
// MXFP4.
#pragma once

#include <cstdint>

#include "absl/types/span.h"
#include "ir/type.h"

namespace sinter::frontends {

// Where a row goes: codes as one LSB-first bit stream, a scale and a bias per group.
struct PackedRow {
  uint8_t* codes;   // [cols * bits / 8]
  uint8_t* scales;  // [cols / group] numbers
  uint8_t* biases;  // [cols / group] numbers; not touched by formats without biases
  float* decoded;   // [cols]: what the bytes decode to
};

// A value as `dtype`, rounded to nearest even. False: it is beyond the range of the type (then what
// was written is infinite).
bool write_element(ir::DType dtype, float value, uint8_t* bytes, int64_t index);

// Codes of `bits` bits as one LSB-first stream; their count is a multiple of 8.
void pack_codes(absl::Span<const uint8_t> codes, int bits, uint8_t* out);

// The first element that is NaN or infinite; -1: none.
int64_t first_not_finite(absl::Span<const float> values);

// `values` are finite, their count is a multiple of the group; a group is 32, 64 or 128.

// w = scale * code + bias, to the bit as the CPU backend of MLX computes it: everything in float32,
// codes with the scale and bias before they are rounded to `scale_type`, half to even. Scales are
// negative where a group's largest magnitude is positive, so that this number is met exactly.
// One bit is not in MLX; its rule is that of PrismML's fork: code 0 is the group's least number,
// code 1 its greatest. False: a scale or bias is beyond the range of scale_type.
bool quantize_affine(absl::Span<const float> values, int bits, int group, ir::DType scale_type,
                     PackedRow out);

// w = scale * (code - 1), codes 0..2 of 2 bits, as affine with bias = -scale. `scale` is that of
// the whole matrix, the mean of |w| and at least kLeastTernaryScale, as BitNet's models were
// trained. False: the scale is beyond the range of scale_type.
bool quantize_ternary(absl::Span<const float> values, float scale, int group, ir::DType scale_type,
                      PackedRow out);
inline constexpr float kLeastTernaryScale = 1e-5F;

// FP4 (E2M1) codes and one E8M0 byte, 2^(byte - 127), per group of 32. The exponent is
// round(log2(max|w| / 6)) as in MLX, where OCP's text has floor(log2(max|w|)) - 2: of a number
// between two codes the even code is taken, and what is beyond 6 becomes 6. No biases.
void quantize_mxfp4(absl::Span<const float> values, PackedRow out);

}  // namespace sinter::frontends
