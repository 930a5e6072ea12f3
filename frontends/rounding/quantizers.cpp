#include "frontends/rounding/quantizers.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "ir/matrix.h"
#include "runtime/support/half.h"

namespace sinter::frontends {
namespace {

constexpr int64_t kLargestGroup = 128;

// Half to even, of 0 <= x < 2^22: adding 1.5 * 2^23 leaves no bits behind the point. Unlike
// std::rint this is no call, so that loops over groups become vector code.
float round_small(float x) {
  constexpr float kNoFraction = 12582912.0F;
  return (x + kNoFraction) - kNoFraction;
}

// With the scale and bias of group `g` as they were written.
void decode_group(absl::Span<const uint8_t> codes, ir::DType scale_type, const PackedRow& row,
                  int64_t g) {
  const float scale = ir::read_element(scale_type, row.scales, g);
  const float bias = ir::read_element(scale_type, row.biases, g);
  float* decoded = row.decoded + g * static_cast<int64_t>(codes.size());
  for (size_t i = 0; i < codes.size(); ++i)
    decoded[i] = scale * static_cast<float>(codes[i]) + bias;
}

struct AffineGroup {
  float scale = 0;
  float bias = 0;
};

AffineGroup affine_group(absl::Span<const float> values, int bits) {
  constexpr float kLeastScale = 1e-7F;
  float least = std::numeric_limits<float>::infinity();
  float greatest = -least;
  for (const float w : values) {
    least = std::min(least, w);
    greatest = std::max(greatest, w);
  }
  if (bits == 1) return {std::max(greatest - least, kLeastScale), least};
  const auto top = static_cast<float>((1 << bits) - 1);
  const bool negative_edge = std::fabs(least) > std::fabs(greatest);
  const float edge = negative_edge ? least : greatest;
  const float step = std::max((greatest - least) / top, kLeastScale);
  const float scale = negative_edge ? step : -step;
  // The code of 0 becomes a whole number, so that the scale bends a little for it.
  const float zero = std::rint(edge / scale);
  if (zero == 0) return {scale, 0};
  return {edge / zero, edge};
}

}  // namespace

void pack_codes(absl::Span<const uint8_t> codes, int bits, uint8_t* out) {
  if (bits == 8) {
    std::memcpy(out, codes.data(), codes.size());
    return;
  }
  // Eight codes are `bits` bytes.
  for (size_t i = 0; i < codes.size(); i += 8) {
    uint64_t word = 0;
    for (size_t k = 0; k < 8; ++k) word |= static_cast<uint64_t>(codes[i + k]) << (bits * k);
    for (int b = 0; b < bits; ++b) *out++ = static_cast<uint8_t>(word >> (8 * b));
  }
}

bool write_element(ir::DType dtype, float value, uint8_t* bytes, int64_t index) {
  if (dtype == ir::DType::f32) {
    std::memcpy(bytes + index * 4, &value, 4);
    return std::isfinite(value);
  }
  const bool is_f16 = dtype == ir::DType::f16;
  const uint16_t half = is_f16 ? runtime::f16_from_f32(value) : runtime::bf16_from_f32(value);
  const int exponent = is_f16 ? 0x7C00 : 0x7F80;
  std::memcpy(bytes + index * 2, &half, 2);
  return (half & exponent) != exponent;
}

int64_t first_not_finite(absl::Span<const float> values) {
  constexpr uint32_t kExponent = 0x7F800000;
  uint32_t found = 0;
  for (const float w : values)
    found |= static_cast<uint32_t>((std::bit_cast<uint32_t>(w) & kExponent) == kExponent);
  if (found == 0) return -1;
  const auto* bad =
      std::find_if(values.begin(), values.end(), [](float w) { return !std::isfinite(w); });
  return bad - values.begin();
}

bool quantize_affine(absl::Span<const float> values, int bits, int group, ir::DType scale_type,
                     PackedRow out) {
  const auto top = static_cast<float>((1 << bits) - 1);
  std::array<uint8_t, kLargestGroup> codes;
  bool in_range = true;
  const auto groups = static_cast<int64_t>(values.size()) / group;
  for (int64_t g = 0; g < groups; ++g) {
    const auto w = values.subspan(static_cast<size_t>(g * group), static_cast<size_t>(group));
    const auto [scale, bias] = affine_group(w, bits);
    // Clamped before it is rounded, which is the same and keeps the number small.
    for (size_t i = 0; i < w.size(); ++i)
      codes[i] =
          static_cast<uint8_t>(round_small(std::min(std::max(0.0F, (w[i] - bias) / scale), top)));
    pack_codes({codes.data(), w.size()}, bits, out.codes + g * group * bits / 8);
    in_range &= write_element(scale_type, scale, out.scales, g);
    in_range &= write_element(scale_type, bias, out.biases, g);
    decode_group({codes.data(), w.size()}, scale_type, out, g);
  }
  return in_range;
}

bool quantize_ternary(absl::Span<const float> values, float scale, int group, ir::DType scale_type,
                      PackedRow out) {
  std::array<uint8_t, kLargestGroup> codes;
  bool in_range = true;
  const auto groups = static_cast<int64_t>(values.size()) / group;
  for (int64_t g = 0; g < groups; ++g) {
    const auto w = values.subspan(static_cast<size_t>(g * group), static_cast<size_t>(group));
    for (size_t i = 0; i < w.size(); ++i) {
      // round(w / scale) + 1, half to even: a half becomes 0, not 1 or -1.
      const float t = w[i] / scale;
      codes[i] = static_cast<uint8_t>(1 + (t > 0.5F ? 1 : 0) - (t < -0.5F ? 1 : 0));
    }
    pack_codes({codes.data(), w.size()}, 2, out.codes + g * group / 4);
    in_range &= write_element(scale_type, scale, out.scales, g);
    in_range &= write_element(scale_type, -scale, out.biases, g);
    decode_group({codes.data(), w.size()}, scale_type, out, g);
  }
  return in_range;
}

void quantize_mxfp4(absl::Span<const float> values, PackedRow out) {
  constexpr int64_t kGroup = 32;
  constexpr float kGreatest = 6;
  constexpr std::array<float, 8> kNumbers = {0, 0.5F, 1, 1.5F, 2, 3, 4, kGreatest};
  std::array<uint8_t, kGroup> group_codes;
  const auto groups = static_cast<int64_t>(values.size()) / kGroup;
  for (int64_t g = 0; g < groups; ++g) {
    const auto w = values.subspan(static_cast<size_t>(g * kGroup), kGroup);
    float magnitude = 0;
    for (const float x : w) magnitude = std::max(magnitude, std::fabs(x));
    // log2 of 0 is minus infinity: such a group has the least scale.
    const float exponent =
        std::clamp(std::round(std::log2(magnitude / kGreatest)), -127.0F, 127.0F);
    out.scales[g] = static_cast<uint8_t>(exponent + 127);
    const float scale = std::ldexp(1.0F, static_cast<int>(exponent));
    for (size_t i = 0; i < w.size(); ++i) {
      const float x = std::fabs(w[i] / scale);
      // One more for each middle between two numbers that x is beyond.
      const int code = (x > 0.25F ? 1 : 0) + (x >= 0.75F ? 1 : 0) + (x > 1.25F ? 1 : 0) +
                       (x >= 1.75F ? 1 : 0) + (x > 2.5F ? 1 : 0) + (x >= 3.5F ? 1 : 0) +
                       (x > 5.0F ? 1 : 0);
      out.decoded[static_cast<size_t>(g * kGroup) + i] =
          std::copysign(kNumbers[static_cast<size_t>(code)] * scale, w[i]);
      group_codes[i] = static_cast<uint8_t>(code | (std::signbit(w[i]) ? 8 : 0));
    }
    pack_codes(group_codes, 4, out.codes + g * kGroup / 2);
  }
}

}  // namespace sinter::frontends
