// What a user asks to be quantized: "affine:4:64", "lm_head=affine:8:64", "*.mlp.*=ternary".
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "frontends/checkpoint.h"
#include "ir/type.h"

namespace sinter::frontends {

enum class QuantizeMode {
  keep,     // as stored
  affine,   // MLX's affine, `bits` and `group`
  ternary,  // BitNet's rule, one scale for a matrix, written as 2-bit affine
  mxfp4,    // FP4 codes and E8M0 scales per 32 columns
};

struct QuantizeRule {
  std::string text;  // as given, for messages
  // Names of modules, with * for any characters, ? for one, [...] for one of some; empty: every
  // matrix that is not quantized and that no pattern matches.
  std::string pattern;
  QuantizeMode mode = QuantizeMode::keep;
  int bits = 0;   // affine
  int group = 0;  // affine
};

// "[PATTERN=]FORMAT"; FORMAT is affine:BITS:GROUP, affine:BITS (GROUP 64), affine (4 bits),
// ternary, mxfp4 or keep.
absl::StatusOr<QuantizeRule> parse_quantize_rule(std::string_view text);

// One line for help texts.
extern const char* const kQuantizeFormats;

// How a matrix is to be quantized.
struct QuantizeTo {
  QuantizeMode mode = QuantizeMode::affine;
  ir::WeightFormat format;  // of the result
};

struct QuantizeChoice {
  // Matrices to quantize; all others stay as they are.
  std::map<std::string, QuantizeTo, std::less<>> matrices;
  // What stays although a rule is there for it, and why; a line per kind of layer.
  std::vector<std::string> notes;
};

// Which rule decides: of those with a pattern that matches, the last; else the one without a
// pattern. A matrix whose columns are no multiple of the group stays as it is. Errors: a pattern
// that matches no matrix, two rules without a pattern, rules that leave nothing to quantize.
absl::StatusOr<QuantizeChoice> choose_quantization(const Checkpoint& checkpoint,
                                                   absl::Span<const QuantizeRule> rules);

// What a user can do about a packed matrix that cannot stay as it is: ends a message.
std::string quantize_again(std::string_view module);

// The kind of a layer: "q_proj" of "model.layers.0.self_attn.q_proj".
std::string_view layer_class(std::string_view module);

}  // namespace sinter::frontends
