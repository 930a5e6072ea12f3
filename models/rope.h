// RoPE frequencies from a configuration: plain, linear, dynamic, llama3 and YaRN scaling.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "models/config.h"

namespace sinter::models {

struct Rope {
  std::vector<float> inv_freq;  // one per rotated pair
  double scale = 1.0;           // of cos and sin (YaRN's attention factor)
  bool interleaved = false;     // pairs (2i, 2i+1) instead of (i, i + dims/2)
  int64_t max_positions = 0;    // that the model is made for
  int64_t dims() const { return static_cast<int64_t>(inv_freq.size()) * 2; }
};

// Reads `rope_theta`, `rope_scaling` or the newer `rope_parameters` (both: the former counts, as in
// transformers), also keyed by layer type, `partial_rotary_factor`, MLX's `rope_traditional`; from
// GGUF files also `frequency_factors`. `max_positions` is max_position_embeddings: YaRN may reach
// further; "dynamic" is plain RoPE up to there, and its other frequencies beyond are not supported.
// An unknown rope type is an error. Formulas: transformers `modeling_rope_utils.py`; YaRN is
// arXiv:2309.00071.
absl::StatusOr<Rope> read_rope(const Config& config, int64_t head_dim, int64_t max_positions);

}  // namespace sinter::models
