// format(value, spec), and str.format with it. See Python's "Format Specification Mini-Language".
#include "runtime/text/jinja/format.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "runtime/text/jinja/evaluator.h"
#include "runtime/text/jinja/integer.h"
#include "runtime/text/jinja/text.h"
#include "runtime/text/tokenizer/utf8.h"

namespace sinter::runtime::jinja {
namespace {

constexpr int kMaxPrecision = 10000;  // digits; a float64 has 1,074 at most behind its point

bool is_ascii_digit(char c) { return c >= '0' && c <= '9'; }

struct Spec {
  std::string fill = " ";
  char align = '\0';  // <, >, ^ or =
  char sign = '-';
  bool no_negative_zero = false, alternative = false;
  int64_t width = 0;
  char grouping = '\0';
  std::optional<int64_t> precision;
  char type = '\0';
};

[[noreturn]] void refuse(std::string_view spec, const Value& value) {
  throw Failure{fmt::format("the format '{}' does not fit a {}", spec, type_name(value))};
}

std::optional<int64_t> read_number(std::string_view* text) {
  if (text->empty() || !is_ascii_digit(text->front())) return std::nullopt;
  int64_t number = 0;
  for (; !text->empty() && is_ascii_digit(text->front()); text->remove_prefix(1)) {
    if (number > (int64_t{1} << 31)) throw Failure{"a format has too large a number"};
    number = number * 10 + (text->front() - '0');
  }
  return number;
}

Spec parse_spec(std::string_view text, const Value& value) {
  const std::string_view whole = text;
  Spec spec;
  const auto is_align = [](char c) { return c == '<' || c == '>' || c == '=' || c == '^'; };
  const auto skip = [&](char c) {
    if (!text.starts_with(c)) return false;
    text.remove_prefix(1);
    return true;
  };
  bool filled = false;
  if (!text.empty()) {
    const size_t first = tokenizer::next_utf8(text).length;
    if (text.size() > first && is_align(text[first])) {
      spec.fill = text.substr(0, first);
      spec.align = text[first];
      text.remove_prefix(first + 1);
      filled = true;
    } else if (is_align(text[0])) {
      spec.align = text[0];
      text.remove_prefix(1);
    }
  }
  if (!text.empty() && (text[0] == '+' || text[0] == '-' || text[0] == ' ')) {
    spec.sign = text[0];
    text.remove_prefix(1);
    if (value.string() != nullptr) refuse(whole, value);
  }
  spec.no_negative_zero = skip('z');
  spec.alternative = skip('#');
  if (!filled && skip('0')) {
    spec.fill = "0";
    if (spec.align == '\0' && value.is_number()) spec.align = '=';
  }
  spec.width = read_number(&text).value_or(0);
  if (skip(','))
    spec.grouping = ',';
  else if (skip('_'))
    spec.grouping = '_';
  if (text.starts_with(',') || text.starts_with('_')) refuse(whole, value);
  if (skip('.')) {
    spec.precision = read_number(&text);
    if (!spec.precision) refuse(whole, value);
  }
  if (text.size() > 1) refuse(whole, value);
  if (!text.empty()) spec.type = text[0];
  return spec;
}

// Digits in groups of `size`, with zeros before them up to `width` characters.
std::string grouped(std::string_view digits, char separator, size_t size, int64_t width,
                    Budget& budget) {
  if (separator == '\0') return padded(digits, width, "0", '>', budget);
  if (width > 0) budget.charge(static_cast<size_t>(width), 2);
  std::string reversed;
  size_t taken = 0;
  const auto wanted = static_cast<size_t>(std::max<int64_t>(width, 1));
  while (taken < digits.size() || reversed.size() < wanted) {
    // A separator stands before a digit only.
    if (taken != 0 && taken % size == 0) reversed += separator;
    reversed += taken < digits.size() ? digits[digits.size() - 1 - taken] : '0';
    ++taken;
  }
  std::reverse(reversed.begin(), reversed.end());
  return reversed;
}

// A number from its parts: "-", "0x", "1234" and ".5e+10%".
std::string put_together(const Spec& spec, bool minus, std::string_view prefix,
                         std::string_view digits, size_t group, std::string_view rest,
                         Budget& budget) {
  std::string head = minus ? "-" : spec.sign == '-' ? "" : std::string(1, spec.sign);
  head += prefix;
  const bool zeros = spec.fill == "0" && spec.align == '=';
  const auto taken = static_cast<int64_t>(head.size() + rest.size());
  std::string body = grouped(digits, spec.grouping, group, zeros ? spec.width - taken : 0, budget);
  body += rest;
  if (spec.align == '=')
    return head +
           padded(body, spec.width - static_cast<int64_t>(head.size()), spec.fill, '>', budget);
  return padded(head + body, spec.width, spec.fill, spec.align == '\0' ? '>' : spec.align, budget);
}

std::string format_integer(const Value& value, const Spec& spec, std::string_view text,
                           Budget& budget) {
  if (spec.precision || spec.no_negative_zero) refuse(text, value);
  if (spec.type == 'c') {
    const auto code = value.integer();
    if (spec.sign != '-' || spec.alternative || spec.grouping != '\0' || !code || *code < 0 ||
        *code > 0x10ffff || (*code >= 0xd800 && *code < 0xe000))
      refuse(text, value);
    std::string character;
    tokenizer::append_utf8(static_cast<uint32_t>(*code), &character);
    return put_together(spec, false, "", "", 3, character, budget);
  }
  const int base = spec.type == 'b'            ? 2
                   : spec.type == 'o'          ? 8
                   : (spec.type | 0x20) == 'x' ? 16
                                               : 10;
  if (spec.grouping == ',' && (base != 10 || spec.type == 'n')) refuse(text, value);
  if (spec.grouping == '_' && spec.type == 'n') refuse(text, value);
  std::string digits = integer_text(value, base, budget);
  const bool minus = digits.starts_with('-');
  if (minus) digits.erase(0, 1);
  std::string prefix;
  if (spec.alternative && base != 10) prefix = base == 2 ? "0b" : base == 8 ? "0o" : "0x";
  if (spec.type == 'X') {
    digits = upper(digits, budget);
    prefix = upper(prefix, budget);
  }
  return put_together(spec, minus, prefix, digits, base == 10 ? 3 : 4, "", budget);
}

std::string format_number(const Value& value, const Spec& spec, std::string_view text,
                          Budget& budget) {
  double number = value.as<double>() != nullptr ? *value.as<double>() : to_float(value);
  if (spec.grouping != '\0' && spec.type == 'n') refuse(text, value);
  if (spec.precision.value_or(0) > kMaxPrecision)
    throw Failure{fmt::format("a format asks for more than {} digits", kMaxPrecision)};
  const int precision = static_cast<int>(spec.precision.value_or(6));
  const char type = static_cast<char>(spec.type == '\0' ? '\0' : spec.type | 0x20);
  std::string digits;
  if (spec.type == '%') {
    digits = format_float(number * 100, 'f', precision, spec.alternative, budget) + "%";
  } else if (type == 'e' || type == 'f' || type == 'g' || type == 'n') {
    digits = format_float(number, type == 'n' ? 'g' : type, precision, spec.alternative, budget);
  } else if (!spec.precision) {
    digits = float_text(number);
    if (spec.alternative && digits.find('.') == std::string::npos && std::isfinite(number))
      digits.insert(std::min(digits.find('e'), digits.size()), ".");
  } else {
    // Like g, with at least one digit behind the point.
    const int used = std::max(precision, 1);
    const std::string scientific = fmt::format("{:.{}e}", number, used - 1);
    const size_t mark = scientific.find('e');
    const int exponent = mark == std::string::npos ? 0 : std::stoi(scientific.substr(mark + 1));
    digits = format_float(number, 'g', used, spec.alternative, budget);
    if (std::isfinite(number) && exponent == used - 1 && number != 0) {
      digits = scientific.substr(0, mark);
      if (digits.find('.') != std::string::npos && !spec.alternative) {
        digits.erase(digits.find_last_not_of('0') + 1);
        if (digits.ends_with('.')) digits.pop_back();
      }
      digits += scientific.substr(mark);
    } else if (std::isfinite(number) && digits.find_first_of(".e") == std::string::npos) {
      digits += ".0";
    }
  }
  bool minus = digits.starts_with('-');
  if (minus) digits.erase(0, 1);
  if (spec.no_negative_zero && digits.find_first_of("123456789in") == std::string::npos)
    minus = false;
  if (spec.type == 'E' || spec.type == 'F' || spec.type == 'G') digits = upper(digits, budget);
  const size_t whole = std::min(digits.find_first_not_of("0123456789"), digits.size());
  return put_together(spec, minus, "", std::string_view(digits).substr(0, whole), 3,
                      std::string_view(digits).substr(whole), budget);
}

std::string format_string(const Value& value, const Spec& spec, std::string_view text,
                          Budget& budget) {
  if ((spec.type != '\0' && spec.type != 's') || spec.align == '=' || spec.grouping != '\0' ||
      spec.alternative || spec.no_negative_zero)
    refuse(text, value);
  std::string_view shown = *value.string();
  budget.charge(shown.size());
  if (spec.precision) shown = shown.substr(0, byte_at(shown, *spec.precision));
  return padded(shown, spec.width, spec.fill, spec.align == '\0' ? '<' : spec.align, budget);
}

// The fields of a pattern for str.format.
class Fields {
 public:
  Fields(Evaluator& evaluator, bool markup, const Arguments& arguments, const Value* mapping)
      : evaluator_(evaluator), markup_(markup), arguments_(arguments), mapping_(mapping) {}

  std::string run(std::string_view pattern, int depth) {
    if (depth == 0) throw Failure{"format() nests fields too deep"};
    std::string out;
    while (!pattern.empty()) {
      const size_t brace = pattern.find_first_of("{}");
      out += pattern.substr(0, brace);
      evaluator_.budget().charge(std::min(brace, pattern.size()) + 1);
      if (brace == std::string_view::npos) break;
      const char c = pattern[brace];
      pattern.remove_prefix(brace + 1);
      if (pattern.starts_with(c)) {
        out += c;
        pattern.remove_prefix(1);
        continue;
      }
      if (c == '}') throw Failure{"format() finds a } without a {"};
      out += field(&pattern, depth);
    }
    return out;
  }

 private:
  Budget& budget() { return evaluator_.budget(); }

  // "name!r:spec}" at the beginning of `rest`, which is what follows then.
  std::string field(std::string_view* rest, int depth) {
    budget().charge(kNodeCost);
    size_t at = 0;
    while (at < rest->size() &&
           std::string_view("}:!").find((*rest)[at]) == std::string_view::npos) {
      if ((*rest)[at] == '{') throw Failure{"format() finds a { in the name of a field"};
      if ((*rest)[at] == '[') at = std::min(rest->find(']', at), rest->size() - 1);
      ++at;
    }
    if (at >= rest->size()) throw Failure{"format() finds a { without a }"};
    const std::string_view name = rest->substr(0, at);
    char end = (*rest)[at];
    rest->remove_prefix(at + 1);
    char conversion = '\0';
    if (end == '!') {
      if (rest->size() < 2) throw Failure{"format() finds a ! without a conversion"};
      conversion = (*rest)[0];
      end = (*rest)[1];
      rest->remove_prefix(2);
      if (end != '}' && end != ':') throw Failure{"format() finds no : or } after a conversion"};
    }
    std::string_view spec;
    if (end == ':') {
      size_t open = 1, i = 0;
      for (; i < rest->size(); ++i) {
        if ((*rest)[i] == '{') ++open;
        if ((*rest)[i] == '}' && --open == 0) break;
      }
      if (open != 0) throw Failure{"format() finds a { without a }"};
      spec = rest->substr(0, i);
      rest->remove_prefix(i + 1);
    }
    const Value value = converted(value_of(name), conversion);
    return shown(value, run(spec, depth - 1));
  }

  Value value_of(std::string_view name) {
    std::string numbered;
    if (name.empty()) {
      if (explicit_) throw Failure{"format() mixes numbered and unnumbered fields"};
      numbered = fmt::format("{}", automatic_++);
      name = numbered;
    } else if (all_digits(name)) {
      if (automatic_ != 0) throw Failure{"format() mixes numbered and unnumbered fields"};
      explicit_ = true;
    }
    const size_t first = std::min(name.find_first_of(".["), name.size());
    Value value = argument(name.substr(0, first));
    for (std::string_view path = name.substr(first); !path.empty();) {
      budget().charge(kNodeCost);
      if (path[0] == '.') {
        const size_t end = std::min(path.find_first_of(".[", 1), path.size());
        if (end == 1) throw Failure{"format() has a field with an empty attribute"};
        value = evaluator_.attribute(value, std::string(path.substr(1, end - 1)));
        path.remove_prefix(end);
      } else if (path[0] == '[') {
        const size_t end = path.find(']');
        if (end == std::string_view::npos || end == 1)
          throw Failure{"format() has a field with an empty or open ["};
        const std::string_view key = path.substr(1, end - 1);
        value = evaluator_.item(
            value, all_digits(key) ? number(key) : evaluator_.string(std::string(key)));
        path.remove_prefix(end + 1);
      } else {
        throw Failure{"format() expects . or [ after a ]"};
      }
    }
    return value;
  }

  static bool all_digits(std::string_view text) {
    return !text.empty() && std::all_of(text.begin(), text.end(), is_ascii_digit);
  }
  Value number(std::string_view digits) {
    if (digits.size() > 18) throw Failure{"format() has too large an index"};
    return *from_digits(digits, 10, budget());
  }

  Value argument(std::string_view name) {
    if (all_digits(name)) {
      const int64_t index = *number(name).integer();
      if (index < static_cast<int64_t>(arguments_.positional.size()) && mapping_ == nullptr)
        return arguments_.positional[static_cast<size_t>(index)];
    } else if (mapping_ != nullptr) {
      const Mapping* dict = mapping_->mapping();
      if (dict == nullptr)
        throw Failure{fmt::format("format_map() needs a dict, not {}", described(*mapping_))};
      if (const Value* found = dict->find(evaluator_.string(std::string(name)), budget()))
        return *found;
    } else {
      for (const auto& [key, value] : arguments_.keywords)
        if (key == name) return value;
    }
    throw Failure{fmt::format("format() has no value for '{{{}}}'", name.substr(0, 40))};
  }

  Value converted(Value value, char conversion) {
    switch (conversion) {
      case '\0':
        return value;
      case 's':
        return evaluator_.string(evaluator_.text(value));
      case 'r':
        return evaluator_.string(to_repr(value, budget()));
      case 'a':
        return evaluator_.string(ascii(to_repr(value, budget())));
      default:
        throw Failure{fmt::format("format() knows no conversion '!{}'", conversion)};
    }
  }
  static std::string ascii(std::string_view text) {
    std::string out;
    while (!text.empty()) {
      const tokenizer::Utf8Unit unit = tokenizer::next_utf8(text);
      const uint32_t c = unit.code_point;
      out += c < 0x80      ? std::string(1, static_cast<char>(c))
             : c < 0x100   ? fmt::format("\\x{:02x}", c)
             : c < 0x10000 ? fmt::format("\\u{:04x}", c)
                           : fmt::format("\\U{:08x}", c);
      text.remove_prefix(unit.length);
    }
    return out;
  }

  std::string shown(const Value& value, const std::string& spec) {
    if (!markup_) return format_value(value, spec, budget());
    if (!value.is_markup()) return escaped(format_value(value, spec, budget()), budget());
    if (!spec.empty()) throw Failure{"a format has a specification for Markup"};
    return evaluator_.text(value);
  }

  Evaluator& evaluator_;
  bool markup_;
  const Arguments& arguments_;
  const Value* mapping_;
  size_t automatic_ = 0;   // how many fields had no number
  bool explicit_ = false;  // there was a field with a number
};

}  // namespace

std::string format_float(double number, char conversion, int precision, bool alternative,
                         Budget& budget) {
  if (!std::isfinite(number)) return float_text(number);
  precision = std::clamp(precision, 0, kMaxPrecision);
  budget.charge(600 + 10 * static_cast<size_t>(precision));
  if (conversion == 'g') precision = std::max(precision, 1);
  const std::string spec =
      fmt::format("{{:{}.{}{}}}", alternative ? "#" : "", precision, conversion);
  return fmt::format(fmt::runtime(spec), number);
}

std::string format_value(const Value& value, std::string_view spec, Budget& budget) {
  budget.charge(kNodeCost + spec.size());
  if (spec.empty()) return to_text(value, budget);
  if (!value.is_number() && value.string() == nullptr) refuse(spec, value);
  const Spec parsed = parse_spec(spec, value);
  if (value.string() != nullptr) return format_string(value, parsed, spec, budget);
  const char type = parsed.type;
  constexpr std::string_view kFloatTypes = "eEfFgG%";
  const bool as_float = type != '\0' && kFloatTypes.find(type) != std::string_view::npos;
  if (value.is_integer() && !as_float) {
    if (type != '\0' && std::string_view("bcdoxXn").find(type) == std::string_view::npos)
      refuse(spec, value);
    return format_integer(value, parsed, spec, budget);
  }
  if (type != '\0' && type != 'n' && !as_float) refuse(spec, value);
  return format_number(value, parsed, spec, budget);
}

Value format_fields(Evaluator& evaluator, const Value& pattern, const Arguments& arguments,
                    const Value* mapping) {
  Fields fields(evaluator, pattern.is_markup(), arguments, mapping);
  return make_text(fields.run(*pattern.string(), 3), pattern.is_markup(), evaluator.budget());
}

}  // namespace sinter::runtime::jinja
