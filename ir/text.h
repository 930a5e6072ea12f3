// The text form of a module: what `dump` prints and `opt` reads.
//
//   module @qwen3 {
//     weight @model.norm : weight<256, f16> = source("model.norm")
//     weight @layers.0.qkv : weight<512x256, symmetric b1 z0.5 g128 f16> = source("a.q_proj",
//     "a.k_proj", "a.v_proj") weight @rope.inv_freq : weight<2, f32> = constant(1, 0.01) state
//     @layers.0.k : state<2xCx64, paged f16> func @forward(%tokens: tensor<Txi32>) {
//       %5 = rms_norm %4, @model.norm {eps = 1e-06} label "norm" : tensor<Tx256xf32>
//       kv_append @layers.0.k, %5
//       %9 = fused {kind = "matmul"} label "layers.0.qkv" {
//         %8 = matmul %5, @layers.0.qkv : tensor<Tx512xf32>
//         ...
//       } : tensor<Tx512xf32>             // types of the values that leave, in the order of the
//       names on the left return %9
//     }
//   }
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "ir/graph.h"

namespace sinter::ir {

std::string print(const Module& module);

// How each value is printed, by id: "%tokens", "@layers.0.k", "%5" (results are numbered in order
// of definition).
std::vector<std::string> value_names(const Module& module);

// Errors are `<file>:<line>:<column>: what was found, what was expected`. The result is verified.
// parse(print(m)) gives a module that prints the same.
absl::StatusOr<Module> parse(std::string_view text, std::string_view file_name);

}  // namespace sinter::ir
