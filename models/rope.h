// RoPE frequencies from a configuration: plain, linear, llama3 and YaRN scaling.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

namespace sinter::models {

struct Rope {
  std::vector<float> inv_freq;  // one per rotated pair
  double scale = 1.0;           // of cos and sin (YaRN's attention factor)
  int64_t dims() const { return static_cast<int64_t>(inv_freq.size()) * 2; }
};

// Reads `rope_theta`, `rope_scaling` or the newer `rope_parameters`, `partial_rotary_factor`; from
// GGUF files also `frequency_factors` in them. An unknown rope type is an error. Formulas:
// transformers `modeling_rope_utils.py`; YaRN is arXiv:2309.00071.
absl::StatusOr<Rope> read_rope(const nlohmann::json& config, int64_t head_dim,
                               int64_t max_positions);

}  // namespace sinter::models
