// How states hold numbers: the one table of formats, and what a state takes. Kernels have each
// format by the same name in codegen/device/kv_cache.h.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "ir/graph.h"

namespace sinter::ir {

struct StateFormat {
  DType dtype;
  int bits;       // of a number or code
  int group = 0;  // features of a head that share a float16 scale; 0: numbers, no codes
};

inline constexpr std::array<StateFormat, 4> kStateFormats = {
    {{DType::f16, 16}, {DType::f32, 32}, {DType::q8, 8, 32}, {DType::q4, 4, 32}}};

// Null: states do not hold such elements, or there are none of that name.
const StateFormat* find_state_format(DType dtype);
const StateFormat* find_state_format(std::string_view name);
// "f16, f32, q8, q4"
std::string state_format_names();

// Of a position of a state [kv_heads, C, head_dim], as kernels keep it on any device: heads of
// features rounded up to 16, and their scales.
int64_t bytes_per_position(const TensorType& state);
// Of a state that has no positions, for a sequence: runs of the last extent rounded up to 16.
int64_t fixed_bytes(const TensorType& state);
// Numbers of such a run.
constexpr int64_t padded_run(int64_t extent) { return (extent + 15) / 16 * 16; }

// What a state gives back of the numbers of a head. As kernels do it, bit for bit: an infinity and
// what float16 cannot hold are NaN, and so is a group whose scale it cannot hold. A scale is the
// number of the group that is largest in size, 2^-14 at least; the lowest code stands for it.
void round_to(const StateFormat& format, float* head, int64_t head_dim);

// Gives all states that are kept by position the format.
void set_state_format(Module& module, DType dtype);

}  // namespace sinter::ir
