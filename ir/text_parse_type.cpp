#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cmath>

#include "ir/text_parser.h"
#include "ir/text_syntax.h"
#include "ir/verifier.h"

namespace sinter::ir {

namespace {

template <class Number>
std::optional<Number> parse_whole(std::string_view text) {
  Number number{};
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc() || stop != end) return std::nullopt;
  return number;
}

std::optional<DType> parse_dtype(std::string_view text) {
  for (DType dtype : {DType::f32, DType::f16, DType::bf16, DType::i32, DType::e8m0, DType::e4m3,
                      DType::q8, DType::q4}) {
    if (text == name(dtype)) return dtype;
  }
  return std::nullopt;
}

// Extents up to the element type or the end: "Tx256xf32" leaves "f32". Nothing when malformed.
std::optional<std::vector<Dim>> parse_extents(std::string_view& text) {
  std::vector<Dim> shape;
  while (!text.empty()) {
    size_t length = 0;
    while (length < text.size() && is_digit(text[length])) ++length;
    if (length > 0) {
      const auto value = parse_integer(text.substr(0, length));
      if (!value) return std::nullopt;
      shape.emplace_back(*value);
    } else if (text[0] >= 'A' && text[0] <= 'Z') {
      length = 1;
      shape.push_back(Dim::of(text[0]));
    } else {
      return shape;
    }
    text.remove_prefix(length);
    if (text.empty()) return shape;
    if (text[0] != 'x' || text.size() == 1) return std::nullopt;
    text.remove_prefix(1);
  }
  return shape;
}

// A word that starts with `prefix` and goes on with a digit, e.g. "g128".
bool is_field(const Cursor& cursor, std::string_view prefix) {
  if (!cursor.is(TokenKind::word)) return false;
  const std::string_view text = cursor.token().text;
  return text.size() > prefix.size() && text.starts_with(prefix) && is_digit(text[prefix.size()]);
}

std::optional<Token> take_field(Cursor& cursor, std::string_view prefix, std::string_view what) {
  if (!is_field(cursor, prefix)) {
    cursor.fail_expected(what);
    return std::nullopt;
  }
  return cursor.take(TokenKind::word, what);
}

// False when the cursor failed.
bool parse_count(Cursor& cursor, std::string_view prefix, std::string_view what, int& count) {
  const auto field = take_field(cursor, prefix, what);
  if (!field) return false;
  const auto value = parse_whole<int>(std::string_view(field->text).substr(prefix.size()));
  if (!value) {
    return cursor.fail(field->offset, fmt::format("found {}, expected {}", describe(*field), what));
  }
  count = *value;
  return true;
}

bool parse_zero(Cursor& cursor, double& zero) {
  const auto field = take_field(cursor, "z", "a zero point, e.g. z7.5");
  if (!field) return false;
  const auto value = parse_double(std::string_view(field->text).substr(1));
  if (!value) {
    return cursor.fail(field->offset,
                       fmt::format("found {}, expected a zero point, e.g. z7.5", describe(*field)));
  }
  zero = *value;
  return true;
}

bool parse_element_type(Cursor& cursor, std::string_view what, DType& type) {
  if (!cursor.is(TokenKind::word) || !parse_dtype(cursor.token().text)) {
    return cursor.fail_expected(what);
  }
  type = *parse_dtype(cursor.token().text);
  return cursor.advance();
}

// "g32", or "g32 s6 o32 in256".
bool parse_groups(Cursor& cursor, WeightFormat& format) {
  if (!parse_count(cursor, "g", "a group size, e.g. g128", format.group)) return false;
  if (!is_field(cursor, "s")) return true;
  if (!parse_count(cursor, "s", "bits of a group's scale, e.g. s6", format.sub_bits)) return false;
  if (is_field(cursor, "o") &&
      !parse_count(cursor, "o", "what is taken off a group's scale, e.g. o32", format.sub_zero)) {
    return false;
  }
  return parse_count(cursor, "in", "columns of a block, e.g. in256", format.block);
}

std::optional<WeightFormat> parse_format(Cursor& cursor) {
  WeightFormat format;
  for (const CodeMapInfo& known : kCodeMaps) {
    if (known.map == CodeMap::dense || !cursor.accept(TokenKind::word, known.name)) continue;
    format.map = known.map;
    format.bits = known.bits;
    break;
  }
  if (format.is_dense()) {
    std::string what;
    for (const CodeMapInfo& known : kCodeMaps) {
      if (known.map != CodeMap::dense)
        what += fmt::format("{}{}", what.empty() ? "" : ", ", known.name);
    }
    what += " or an element type";
    if (!parse_element_type(cursor, what, format.scale_type)) return std::nullopt;
    return format;
  }
  if (format.map == CodeMap::ternary && cursor.accept(TokenKind::word, "base3")) {
    format.base3 = true;
    format.bits = 2;
  } else if (format.bits == 0 && !parse_count(cursor, "b", "bits per code, e.g. b4", format.bits)) {
    return std::nullopt;
  }
  if (format.map == CodeMap::symmetric && !parse_zero(cursor, format.zero)) return std::nullopt;
  format.tensor_scale = cursor.accept(TokenKind::word, "tensor");
  if (format.tensor_scale) return format;
  if (!parse_groups(cursor, format)) return std::nullopt;
  if (!parse_element_type(cursor, "the type of the scales", format.scale_type)) return std::nullopt;
  format.tensor_scale = cursor.accept(TokenKind::word, "tensor");
  return format;
}

}  // namespace

std::optional<int64_t> parse_integer(std::string_view text) { return parse_whole<int64_t>(text); }

std::optional<double> parse_double(std::string_view text) {
  const auto number = parse_whole<double>(text);
  return number && std::isfinite(*number) ? number : std::nullopt;
}

std::optional<float> parse_float(std::string_view text) {
  const auto number = parse_whole<float>(text);
  return number && std::isfinite(*number) ? number : std::nullopt;
}

bool Cursor::advance() {
  if (!status_.ok()) return false;
  absl::StatusOr<Token> next = lexer_.next();
  if (!next.ok()) {
    status_ = next.status();
    return false;
  }
  token_ = *std::move(next);
  return true;
}

bool Cursor::accept(TokenKind kind, std::string_view text) { return is(kind, text) && advance(); }

bool Cursor::expect(TokenKind kind, std::string_view text) {
  if (is(kind, text)) return advance();
  return fail_expected(fmt::format("'{}'", text));
}

std::optional<Token> Cursor::take(TokenKind kind, std::string_view what) {
  if (!is(kind)) {
    fail_expected(what);
    return std::nullopt;
  }
  Token taken = std::move(token_);
  if (!advance()) return std::nullopt;
  return taken;
}

bool Cursor::fail(size_t offset, std::string_view message) {
  if (status_.ok()) status_ = lexer_.error(offset, message);
  return false;
}

bool Cursor::fail_expected(std::string_view what) {
  return fail(token_.offset, fmt::format("found {}, expected {}", describe(token_), what));
}

std::optional<TensorType> parse_tensor_type(Cursor& cursor) {
  const size_t start = cursor.token().offset;
  if (!cursor.expect(TokenKind::word, "tensor")) return std::nullopt;
  if (!cursor.expect(TokenKind::punctuation, "<")) return std::nullopt;
  const auto word = cursor.take(TokenKind::word, "a shape, e.g. Tx256xf32");
  if (!word || !cursor.expect(TokenKind::punctuation, ">")) return std::nullopt;
  std::string_view rest = word->text;
  auto shape = parse_extents(rest);
  const auto dtype = parse_dtype(rest);
  if (!shape || !dtype) {
    cursor.fail(word->offset,
                fmt::format("found {}, expected a shape, e.g. Tx256xf32", describe(*word)));
    return std::nullopt;
  }
  TensorType type{*dtype, *std::move(shape)};
  if (const absl::Status s = verify_type(type); !s.ok()) {
    cursor.fail(start, std::string(s.message()));
    return std::nullopt;
  }
  return type;
}

std::optional<WeightType> parse_weight_type(Cursor& cursor) {
  const size_t start = cursor.token().offset;
  if (!cursor.expect(TokenKind::word, "weight")) return std::nullopt;
  if (!cursor.expect(TokenKind::punctuation, "<")) return std::nullopt;
  const auto word = cursor.take(TokenKind::word, "a shape, e.g. 512x256");
  if (!word || !cursor.expect(TokenKind::punctuation, ",")) return std::nullopt;
  std::string_view rest = word->text;
  const auto shape = parse_extents(rest);
  WeightType type;
  bool constant = shape && rest.empty();
  if (constant) {
    for (const Dim& dim : *shape) {
      constant = constant && !dim.is_symbol();
      type.shape.push_back(dim.value);
    }
  }
  if (!constant) {
    cursor.fail(word->offset,
                fmt::format("found {}, expected a shape, e.g. 512x256", describe(*word)));
    return std::nullopt;
  }
  const auto format = parse_format(cursor);
  if (!format) return std::nullopt;
  type.format = *format;
  if (cursor.accept(TokenKind::punctuation, ",")) {
    constexpr std::string_view what = "the columns of a block, e.g. rotated 1024";
    if (!cursor.expect(TokenKind::word, "rotated")) return std::nullopt;
    const auto block = cursor.take(TokenKind::word, what);
    if (!block) return std::nullopt;
    const auto columns = parse_integer(block->text);
    if (!columns || *columns <= 0) {
      cursor.fail(block->offset, fmt::format("found {}, expected {}", describe(*block), what));
      return std::nullopt;
    }
    type.rotated = *columns;
  }
  if (!cursor.expect(TokenKind::punctuation, ">")) return std::nullopt;
  if (const absl::Status s = verify_type(type); !s.ok()) {
    cursor.fail(start, std::string(s.message()));
    return std::nullopt;
  }
  return type;
}

std::optional<StateType> parse_state_type(Cursor& cursor) {
  const size_t start = cursor.token().offset;
  if (!cursor.expect(TokenKind::word, "state")) return std::nullopt;
  if (!cursor.expect(TokenKind::punctuation, "<")) return std::nullopt;
  const auto word = cursor.take(TokenKind::word, "a shape, e.g. 2xCx64");
  if (!word || !cursor.expect(TokenKind::punctuation, ",")) return std::nullopt;
  std::string_view rest = word->text;
  auto shape = parse_extents(rest);
  if (!shape || !rest.empty()) {
    cursor.fail(word->offset,
                fmt::format("found {}, expected a shape, e.g. 2xCx64", describe(*word)));
    return std::nullopt;
  }
  StateType type;
  std::string kinds;
  bool known = false;
  for (const StateKindInfo& kind : kStateKinds) {
    kinds += fmt::format("{}{}", kinds.empty() ? "" : " or ", kind.name);
    if (known || !cursor.accept(TokenKind::word, kind.name)) continue;
    type.kind = kind.kind;
    known = true;
  }
  if (!known) {
    cursor.fail_expected(kinds);
    return std::nullopt;
  }
  type.numbers.shape = *std::move(shape);
  if (!parse_element_type(cursor, "an element type", type.numbers.dtype)) return std::nullopt;
  if (!cursor.expect(TokenKind::punctuation, ">")) return std::nullopt;
  if (const absl::Status s = verify_type(type); !s.ok()) {
    cursor.fail(start, std::string(s.message()));
    return std::nullopt;
  }
  return type;
}

}  // namespace sinter::ir
