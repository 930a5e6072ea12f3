#include "frontends/rounding/rules.h"

#include <fnmatch.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <set>

#include "frontends/error_text.h"
#include "frontends/near_names.h"

namespace sinter::frontends {
namespace {

constexpr std::array<int, 7> kBits = {1, 2, 3, 4, 5, 6, 8};
constexpr std::array<int, 3> kGroups = {128, 64, 32};

template <size_t n>
std::optional<int> one_of(std::string_view text, const std::array<int, n>& allowed) {
  int number = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc() || stop != end) return std::nullopt;
  if (std::find(allowed.begin(), allowed.end(), number) == allowed.end()) return std::nullopt;
  return number;
}

std::vector<std::string_view> split(std::string_view text) {
  std::vector<std::string_view> parts;
  for (;;) {
    const size_t colon = text.find(':');
    parts.push_back(text.substr(0, colon));
    if (colon == std::string_view::npos) return parts;
    text.remove_prefix(colon + 1);
  }
}

bool matches(const QuantizeRule& rule, const std::string& name) {
  return ::fnmatch(rule.pattern.c_str(), name.c_str(), 0) == 0;
}

// What scales are rounded to: the type of the numbers, or the type that scales had before.
ir::DType scale_type_of(const ir::WeightFormat& source) {
  const bool is_float = source.scale_type == ir::DType::f16 ||
                        source.scale_type == ir::DType::bf16 || source.scale_type == ir::DType::f32;
  return is_float && (source.is_dense() || source.group > 0) ? source.scale_type : ir::DType::bf16;
}

// The format that the rule gives a matrix of so many columns; nullopt: no group divides them.
std::optional<QuantizeTo> format_for(const QuantizeRule& rule, const ir::WeightType& type) {
  QuantizeTo to;
  to.mode = rule.mode;
  to.format.map = ir::CodeMap::affine;
  to.format.scale_type = scale_type_of(type.format);
  if (rule.mode == QuantizeMode::mxfp4) {
    if (type.cols() % 32 != 0) return std::nullopt;
    to.format = {.map = ir::CodeMap::fp4, .bits = 4, .group = 32, .scale_type = ir::DType::e8m0};
    return to;
  }
  if (rule.mode == QuantizeMode::affine) {
    to.format.bits = rule.bits;
    to.format.group = rule.group;
    if (type.cols() % rule.group != 0) return std::nullopt;
    return to;
  }
  to.format.bits = 2;
  for (const int group : kGroups) {
    if (type.cols() % group != 0) continue;
    to.format.group = group;
    return to;
  }
  return std::nullopt;
}

absl::Status no_match(const QuantizeRule& rule, const std::vector<std::string_view>& names) {
  std::string hint;
  for (const std::string_view near : near_names(rule.pattern, names))
    hint += (hint.empty() ? "; did you mean " : ", ") + in_quotes(near);
  if (matches(rule, "lm_head")) {
    for (const std::string_view name : names)
      if (layer_class(name) == "embed_tokens")
        hint = fmt::format("; its output head is tied to {}", in_quotes(name));
  }
  if (hint.empty() && !names.empty())
    hint = fmt::format("; a name is like {}", in_quotes(names[names.size() / 2]));
  return invalid("--quantize {}: the pattern matches no matrix of the model{}",
                 in_quotes(rule.text), hint);
}

}  // namespace

const char* const kQuantizeFormats =
    "affine:BITS:GROUP (BITS 1, 2, 3, 4, 5, 6 or 8; GROUP 32, 64 or 128), ternary, mxfp4, keep";

std::string quantize_again(std::string_view module) {
  return fmt::format(
      "quantize it again, with --quantize '*{}=affine:8:32' for this kind of layer or '*=...' for "
      "all",
      layer_class(module));
}

std::string_view layer_class(std::string_view module) {
  return module.substr(module.rfind('.') + 1);
}

absl::StatusOr<QuantizeRule> parse_quantize_rule(std::string_view text) {
  QuantizeRule rule;
  rule.text = std::string(text);
  std::string_view format = text;
  if (const size_t equals = text.rfind('='); equals != std::string_view::npos) {
    rule.pattern = std::string(text.substr(0, equals));
    format = text.substr(equals + 1);
    if (rule.pattern.empty())
      return invalid("--quantize {}: there is no pattern before \"=\"", in_quotes(text));
  }
  const std::vector<std::string_view> parts = split(format);
  if (parts[0] == "affine" && parts.size() <= 3) {
    const auto bits = one_of(parts.size() > 1 ? parts[1] : "4", kBits);
    const auto group = one_of(parts.size() > 2 ? parts[2] : "64", kGroups);
    if (bits && group) {
      rule.mode = QuantizeMode::affine;
      rule.bits = *bits;
      rule.group = *group;
      return rule;
    }
  } else if (format == "ternary" || format == "mxfp4") {
    rule.mode = format == "ternary" ? QuantizeMode::ternary : QuantizeMode::mxfp4;
    return rule;
  } else if (format == "keep" && !rule.pattern.empty()) {
    return rule;
  }
  return invalid("--quantize {}: {} is not a format; formats are {}", in_quotes(text),
                 in_quotes(format), kQuantizeFormats);
}

absl::StatusOr<QuantizeChoice> choose_quantization(const Checkpoint& checkpoint,
                                                   absl::Span<const QuantizeRule> rules) {
  const QuantizeRule* general = nullptr;
  for (const QuantizeRule& rule : rules) {
    if (!rule.pattern.empty()) continue;
    if (general != nullptr)
      return invalid("--quantize {} and {}: both are for all matrices; give one of them a pattern",
                     in_quotes(general->text), in_quotes(rule.text));
    general = &rule;
  }

  std::vector<std::string_view> names;
  std::set<const QuantizeRule*> matched;
  QuantizeChoice choice;
  std::map<std::string, size_t> kept;  // by what is said of them
  size_t already = 0;
  for (const auto& [name, matrix] : checkpoint.matrices) {
    // Decay rates of state spaces and, where latent attention has them apart, what makes keys:
    // nothing is multiplied with their rows.
    const std::string_view layer = layer_class(name);
    if (matrix.type.shape.size() < 2 || layer == "A_log" || layer == "k_b_proj" ||
        layer == "embed_q")
      continue;
    names.push_back(name);
    const QuantizeRule* decides = nullptr;
    for (const QuantizeRule& rule : rules) {
      if (rule.pattern.empty() || !matches(rule, name)) continue;
      matched.insert(&rule);
      decides = &rule;
    }
    if (decides == nullptr) {
      if (general == nullptr) continue;
      if (!matrix.type.format.is_dense()) {
        ++already;
        continue;
      }
      decides = general;
    }
    if (decides->mode == QuantizeMode::keep) continue;
    if (const auto to = format_for(*decides, matrix.type)) {
      choice.matrices[name] = *to;
    } else {
      ++kept[fmt::format(
          "{} {} stays {}: {} columns are not a multiple of {}", layer_class(name),
          shape_text(matrix.type.shape), ir::to_string(matrix.type.format), matrix.type.cols(),
          decides->mode == QuantizeMode::affine ? fmt::format("the group of {}", decides->group)
                                                : std::string("32"))];
    }
  }
  for (const QuantizeRule& rule : rules)
    if (!rule.pattern.empty() && !matched.contains(&rule)) return no_match(rule, names);
  for (const auto& [text, count] : kept)
    choice.notes.push_back(count == 1 ? text : fmt::format("{} (in {} layers)", text, count));
  if (already > 0)
    choice.notes.push_back(fmt::format(
        "{} {} quantized already and {} as {}; a pattern such as \"*={}\" quantizes "
        "{} again",
        already, already == 1 ? "matrix is" : "matrices are", already == 1 ? "stays" : "stay",
        already == 1 ? "it is" : "they are", general->text, already == 1 ? "it" : "them"));
  if (choice.matrices.empty() && !choice.notes.empty())
    return invalid("--quantize {}: nothing is left to quantize: {}", in_quotes(rules[0].text),
                   choice.notes.front());
  return choice;
}

}  // namespace sinter::frontends
