#include <fmt/format.h>

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
  for (DType dtype : {DType::f32, DType::f16, DType::bf16, DType::i32}) {
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

// A word that starts with `letter` and goes on with a number, e.g. "g128".
std::optional<Token> take_field(Cursor& cursor, char letter, std::string_view what) {
  if (!cursor.is(TokenKind::word) || cursor.token().text.front() != letter) {
    cursor.fail_expected(what);
    return std::nullopt;
  }
  return cursor.take(TokenKind::word, what);
}

std::optional<int> parse_count(Cursor& cursor, char letter, std::string_view what) {
  const auto field = take_field(cursor, letter, what);
  if (!field) return std::nullopt;
  const auto value = parse_whole<int>(std::string_view(field->text).substr(1));
  if (!value) {
    cursor.fail(field->offset, fmt::format("found {}, expected {}", describe(*field), what));
  }
  return value;
}

std::optional<WeightFormat> parse_format(Cursor& cursor) {
  WeightFormat format;
  if (cursor.accept(TokenKind::word, "affine")) {
    format.map = CodeMap::affine;
  } else if (cursor.accept(TokenKind::word, "symmetric")) {
    format.map = CodeMap::symmetric;
  } else if (cursor.accept(TokenKind::word, "ternary")) {
    format.map = CodeMap::ternary;
  }
  if (!format.is_dense()) {
    const auto bits = parse_count(cursor, 'b', "bits per code, e.g. b4");
    if (!bits) return std::nullopt;
    format.bits = *bits;
    if (format.map == CodeMap::symmetric) {
      const auto field = take_field(cursor, 'z', "a zero point, e.g. z7.5");
      if (!field) return std::nullopt;
      const auto zero = parse_double(std::string_view(field->text).substr(1));
      if (!zero) {
        cursor.fail(field->offset,
                    fmt::format("found {}, expected a zero point, e.g. z7.5", describe(*field)));
        return std::nullopt;
      }
      format.zero = *zero;
    }
    const auto group = parse_count(cursor, 'g', "a group size, e.g. g128");
    if (!group) return std::nullopt;
    format.group = *group;
  }
  if (!cursor.is(TokenKind::word) || !parse_dtype(cursor.token().text)) {
    cursor.fail_expected(format.is_dense() ? "affine, symmetric, ternary or an element type"
                                           : "the type of the scales");
    return std::nullopt;
  }
  format.scale_type = *parse_dtype(cursor.token().text);
  if (!cursor.advance()) return std::nullopt;
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
  if (!format || !cursor.expect(TokenKind::punctuation, ">")) return std::nullopt;
  type.format = *format;
  if (const absl::Status s = verify_type(type); !s.ok()) {
    cursor.fail(start, std::string(s.message()));
    return std::nullopt;
  }
  return type;
}

}  // namespace sinter::ir
