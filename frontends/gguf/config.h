// The metadata of a GGUF file as the fields of a configuration that models are read from.
#pragma once

#include <array>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "frontends/gguf/architectures.h"
#include "frontends/gguf/gguf.h"
#include "frontends/json_fields.h"

namespace sinter::frontends {

struct GgufConfig {
  Json fields;
  // The keys that fields are from, for messages.
  std::map<std::string, std::string, std::less<>> names;
  std::vector<std::string> notes;  // what the user should know
};

// Errors: a key that is missing, has a wrong value or contradicts another one or the tensors; one
// that is not known and would change what the model computes.
absl::StatusOr<GgufConfig> read_gguf_config(const Gguf& gguf, const GgufArchitecture& architecture);

// A tensor that is a part of the configuration.
inline constexpr std::string_view kRopeFactors = "rope_freqs.weight";

// Projections of a layer that may have biases.
inline constexpr std::array<std::string_view, 4> kAttention = {"attn_q", "attn_k", "attn_v",
                                                               "attn_output"};
inline constexpr std::array<std::string_view, 3> kMlp = {"ffn_gate", "ffn_up", "ffn_down"};

}  // namespace sinter::frontends
