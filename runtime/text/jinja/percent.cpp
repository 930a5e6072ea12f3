// Python's `pattern % values`. See its "printf-style String Formatting".
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "runtime/text/jinja/format.h"
#include "runtime/text/jinja/integer.h"
#include "runtime/text/jinja/text.h"
#include "runtime/text/tokenizer/utf8.h"

namespace sinter::runtime::jinja {
namespace {

// The values, one after the other or by name.
class Values {
 public:
  Values(const Value& values, Budget& budget) : budget_(budget) {
    if (values.is_tuple()) {
      several_ = *values.items();
    } else {
      several_ = {values};
      // Python takes these for mappings, which may have more than a pattern asks for.
      mapping_ = values.mapping() != nullptr || values.is_list() || values.range() != nullptr ||
                 values.is<Undefined>();
      if (mapping_) names_ = values;
    }
  }
  const Value& next() {
    if (at_ == several_.size()) throw Failure{"a format has more places than there are values"};
    return several_[at_++];
  }
  // The next value is that of the name.
  void choose(std::string_view name) {
    require_defined(names_);
    const Mapping* dict = names_.mapping();
    if (dict == nullptr) throw Failure{"a format with names needs a dict"};
    const Value* found = dict->find(make_string(std::string(name), budget_), budget_);
    if (found == nullptr) throw Failure{fmt::format("a format finds no value for '{}'", name)};
    several_ = {*found};
    at_ = 0;
  }
  void finish() const {
    if (at_ < several_.size() && !mapping_)
      throw Failure{"a format has fewer places than there are values"};
  }

 private:
  Budget& budget_;
  std::vector<Value> several_;
  Value names_ = None{};
  size_t at_ = 0;
  bool mapping_ = false;
};

struct Place {
  bool left = false, plus = false, blank = false, alternative = false, zeros = false;
  int64_t width = 0;
  std::optional<int64_t> precision;
};

class Percent {
 public:
  Percent(bool markup, const Value& values, Budget& budget)
      : markup_(markup), values_(values, budget), budget_(budget) {}

  std::string run(std::string_view pattern) {
    std::string out;
    while (true) {
      const size_t at = std::min(pattern.find('%'), pattern.size());
      budget_.charge(at + kNodeCost);
      out += pattern.substr(0, at);
      if (at == pattern.size()) break;
      pattern.remove_prefix(at + 1);
      out += place(&pattern);
    }
    values_.finish();
    return out;
  }

 private:
  static char take(std::string_view* text) {
    if (text->empty()) throw Failure{"a format ends within a %"};
    const char c = text->front();
    text->remove_prefix(1);
    return c;
  }

  std::optional<int64_t> number(std::string_view* text) {
    if (text->starts_with('*')) {
      text->remove_prefix(1);
      const auto given = values_.next().integer();
      if (!given || *given > INT32_MAX || *given < -INT32_MAX)
        throw Failure{"* in a format needs an int"};
      return given;
    }
    std::optional<int64_t> result;
    while (!text->empty() && text->front() >= '0' && text->front() <= '9') {
      result = result.value_or(0) * 10 + (take(text) - '0');
      if (*result > INT32_MAX) throw Failure{"a format has a width that is too large"};
    }
    return result;
  }

  std::string place(std::string_view* rest) {
    if (rest->starts_with('%')) {
      rest->remove_prefix(1);
      return "%";
    }
    Place place;
    if (rest->starts_with('(')) {
      size_t open = 0, at = 0;
      for (; at < rest->size(); ++at) {
        if ((*rest)[at] == '(') ++open;
        if ((*rest)[at] == ')' && --open == 0) break;
      }
      if (at == rest->size()) throw Failure{"a format has a %( without a )"};
      values_.choose(rest->substr(1, at - 1));
      rest->remove_prefix(at + 1);
    }
    for (; !rest->empty(); rest->remove_prefix(1)) {
      const char c = rest->front();
      if (c == '-')
        place.left = true;
      else if (c == '+')
        place.plus = true;
      else if (c == ' ')
        place.blank = true;
      else if (c == '#')
        place.alternative = true;
      else if (c == '0')
        place.zeros = true;
      else
        break;
    }
    place.width = number(rest).value_or(0);
    if (place.width < 0) {
      place.left = true;
      place.width = -place.width;
    }
    if (rest->starts_with('.')) {
      rest->remove_prefix(1);
      place.precision = std::max<int64_t>(number(rest).value_or(0), 0);
    }
    if (!rest->empty() && std::string_view("hlL").find(rest->front()) != std::string_view::npos)
      rest->remove_prefix(1);
    const char kind = take(rest);
    return shown(place, kind, values_.next());
  }

  std::string shown(const Place& place, char kind, const Value& value) {
    switch (kind) {
      case 's':
        return text_place(place, markup_ ? escaped_text(value, budget_) : to_text(value, budget_));
      case 'r':
      case 'a': {
        std::string text = value.string() != nullptr && !value.is_markup() && kind == 'a'
                               ? quoted(*value.string(), true)
                               : to_repr(value, budget_);
        return text_place(place, markup_ ? escaped(text, budget_) : text);
      }
      case 'c':
        return character(place, value);
      case 'd':
      case 'i':
      case 'u':
        return integer(place, 10, false, whole(value));
      case 'o':
      case 'x':
      case 'X':
        if (!value.is_integer() || markup_) break;
        return integer(place, kind == 'o' ? 8 : 16, kind == 'X', value);
      case 'e':
      case 'E':
      case 'f':
      case 'F':
      case 'g':
      case 'G':
        if (!value.is_number()) break;
        return real(place, kind, value);
      default:
        throw Failure{fmt::format("a format has the unknown conversion %{}", kind)};
    }
    require_defined(value);
    throw Failure{fmt::format("%{} cannot show a {}", kind, type_name(value))};
  }

  static Value whole(const Value& value) {
    if (value.is_integer()) return value;
    if (const double* number = value.as<double>(); number != nullptr && std::isfinite(*number))
      return from_float(*number);
    require_defined(value);
    throw Failure{fmt::format("%d cannot show a {}", type_name(value))};
  }

  std::string text_place(const Place& place, std::string_view text) {
    if (place.precision) text = text.substr(0, byte_at(text, *place.precision));
    return padded(text, place.width, " ", place.left ? '<' : '>', budget_);
  }

  std::string character(const Place& place, const Value& value) {
    std::string text;
    if (const auto code = value.integer(); code && !markup_) {
      if (*code < 0 || *code > 0x10ffff || (*code >= 0xd800 && *code < 0xe000))
        throw Failure{"%c needs the number of a character"};
      tokenizer::append_utf8(static_cast<uint32_t>(*code), &text);
    } else if (value.string() != nullptr && count_characters(*value.string()) == 1 && !markup_) {
      text = *value.string();
    } else {
      throw Failure{"%c needs a character or its number"};
    }
    return padded(text, place.width, " ", place.left ? '<' : '>', budget_);
  }

  std::string integer(const Place& place, int base, bool capital, const Value& value) {
    std::string digits = integer_text(value, base, budget_);
    const bool minus = digits.starts_with('-');
    if (minus) digits.erase(0, 1);
    if (place.precision) digits = padded(digits, *place.precision, "0", '>', budget_);
    std::string prefix;
    if (place.alternative && base != 10) prefix = base == 8 ? "0o" : "0x";
    if (capital) {
      digits = upper(digits, budget_);
      prefix = upper(prefix, budget_);
    }
    return signed_place(place, minus, prefix, digits);
  }

  std::string real(const Place& place, char kind, const Value& value) {
    const double number = value.as<double>() != nullptr ? *value.as<double>() : to_float(value);
    if (place.precision.value_or(0) > 10000) throw Failure{"a format asks for too many digits"};
    std::string digits =
        format_float(number, static_cast<char>(kind | 0x20),
                     static_cast<int>(place.precision.value_or(6)), place.alternative, budget_);
    const bool minus = digits.starts_with('-');
    if (minus) digits.erase(0, 1);
    if (kind < 'a') digits = upper(digits, budget_);
    return signed_place(place, minus, "", digits);
  }

  std::string signed_place(const Place& place, bool minus, std::string_view prefix,
                           std::string_view digits) {
    std::string head = minus ? "-" : place.plus ? "+" : place.blank ? " " : "";
    head += prefix;
    if (place.zeros && !place.left)
      return head +
             padded(digits, place.width - static_cast<int64_t>(head.size()), "0", '>', budget_);
    return padded(head + std::string(digits), place.width, " ", place.left ? '<' : '>', budget_);
  }

  bool markup_;
  Values values_;
  Budget& budget_;
};

}  // namespace

Value format_percent(const Value& pattern, const Value& values, Budget& budget) {
  Percent percent(pattern.is_markup(), values, budget);
  return make_text(percent.run(*pattern.string()), pattern.is_markup(), budget);
}

}  // namespace sinter::runtime::jinja
