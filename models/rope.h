// RoPE frequencies from a configuration: plain, linear, dynamic, llama3, YaRN, LongRoPE and
// proportional scaling.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "models/config.h"

namespace sinter::models {

struct Rope {
  std::vector<float> inv_freq;  // one per rotated pair
  double scale = 1.0;           // of cos and sin (YaRN's attention factor)
  bool interleaved = false;     // pairs (2i, 2i+1) instead of (i, i + dims/2)
  int64_t max_positions = 0;    // that the model is made for
  // What YaRN's mscale_all_dim makes of queries and of keys alike, in latent attention: there it is
  // a factor of all of their features, not of those that are rotated.
  double mscale = 1.0;
  int64_t dims() const { return static_cast<int64_t>(inv_freq.size()) * 2; }
  // cos and sin grow with the position's logarithm: times 1 + log_scale log(1 + floor((position +
  // log_offset) / log_period)).
  double log_scale = 0;
  int64_t log_period = 1;
  int64_t log_offset = 0;
  bool same_angles(const Rope& other) const {
    return inv_freq == other.inv_freq && scale == other.scale && log_scale == other.log_scale &&
           log_period == other.log_period && log_offset == other.log_offset;
  }
};

// What RoPE is computed from.
struct RopeFields {
  int64_t head_dim = 0;
  int64_t max_positions = 0;  // max_position_embeddings
  // Of layers of several types each may have an object of its own in rope_parameters.
  std::string_view layer_type = "full_attention";
  // The field with the base, and whether scaling applies, where layers of this type have none.
  std::string_view theta = "rope_theta";
  bool scaled = true;
  // PhiMoE's: scaling other than LongRoPE is refused, and its factor of cos and sin is long_mscale,
  // or short_mscale for short texts.
  bool mscales = false;
};

// Reads `rope_theta`, `rope_scaling` or the newer `rope_parameters` (both: the former counts, as in
// transformers), also keyed by layer type, `partial_rotary_factor`, MLX's `rope_traditional`; from
// GGUF files also `frequency_factors`. YaRN may reach further than max_positions; "dynamic" is
// plain RoPE up to there, and its other frequencies beyond are not supported. LongRoPE has the
// factors for long texts, where max_positions are more than the original ones. An unknown rope type
// is an error. Formulas: transformers `modeling_rope_utils.py`; YaRN is arXiv:2309.00071, LongRoPE
// arXiv:2402.13753.
absl::StatusOr<Rope> read_rope(const Config& config, const RopeFields& fields);

}  // namespace sinter::models
