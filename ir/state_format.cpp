#include "ir/state_format.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace sinter::ir {

namespace {

// The nearest float16, ties to even.
float round_to_half(float x) {
  if (!(std::fabs(x) < 65520.0F)) return NAN;
  if (x == 0) return x;
  // Eleven significant bits; steps of 2^-24 below 2^-14.
  const double step = std::ldexp(1.0, std::max(std::ilogb(x), -14) - 10);
  return static_cast<float>(std::nearbyint(x / step) * step);
}

bool is_larger(float x, float y) {
  const float a = std::fabs(x), b = std::fabs(y);
  // Of x and -x the negative one counts, whatever their order.
  return std::isnan(x) || a > b || (a == b && x < y);
}

void round_group(int bits, float* x, int64_t count) {
  const auto lowest = static_cast<float>(-(1 << (bits - 1)));
  float largest = 0;
  for (int64_t i = 0; i < count && !std::isnan(largest); ++i)
    if (is_larger(x[i], largest)) largest = x[i];
  constexpr float kLeast = 0x1p-14F;
  const bool small = largest != 0 && std::fabs(largest) < kLeast;
  const float scale = round_to_half(small ? std::copysign(kLeast, largest) : largest);
  const float inverse = std::fabs(scale) > 0 ? lowest / scale : 0.0F;
  for (int64_t i = 0; i < count; ++i) {
    const float code = std::clamp(std::nearbyint(x[i] * inverse), lowest, -lowest - 1);
    x[i] = scale * ((std::isnan(code) ? lowest : code) / lowest);
  }
}

}  // namespace

const StateFormat* find_state_format(DType dtype) {
  for (const StateFormat& format : kStateFormats)
    if (format.dtype == dtype) return &format;
  return nullptr;
}

const StateFormat* find_state_format(std::string_view wanted) {
  for (const StateFormat& format : kStateFormats)
    if (name(format.dtype) == wanted) return &format;
  return nullptr;
}

std::string state_format_names() {
  std::string names;
  for (const StateFormat& format : kStateFormats)
    names += fmt::format("{}{}", names.empty() ? "" : ", ", name(format.dtype));
  return names;
}

int64_t bytes_per_position(const TensorType& state) {
  const StateFormat& format = *find_state_format(state.dtype);
  const int64_t features = padded_run(state.shape[2].value);
  const int64_t scales = format.group == 0 ? 0 : (features + format.group - 1) / format.group;
  return state.shape[0].value * (features * format.bits / 8 + 2 * scales);
}

int64_t fixed_bytes(const TensorType& state) {
  int64_t runs = 1;
  for (size_t i = 0; i + 1 < state.shape.size(); ++i) runs *= state.shape[i].value;
  return runs * padded_run(state.shape.back().value) * byte_size(state.dtype);
}

void round_to(const StateFormat& format, float* head, int64_t head_dim) {
  if (format.group > 0) {
    for (int64_t i = 0; i < head_dim; i += format.group)
      round_group(format.bits, head + i, std::min<int64_t>(format.group, head_dim - i));
  } else {
    std::transform(head, head + head_dim, head, [&](float x) {
      return format.dtype == DType::f16 ? round_to_half(x) : std::isfinite(x) ? x : NAN;
    });
  }
}

void set_state_format(Module& module, DType dtype) {
  for (Value& value : module.values)
    if (auto* state = std::get_if<StateType>(&value.type);
        state != nullptr && info(state->kind).by_position)
      state->numbers.dtype = dtype;
}

}  // namespace sinter::ir
