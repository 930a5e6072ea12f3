// Arithmetic and what filters and methods do with text.
#include <fmt/format.h>
#include <utf8proc.h>

#include <algorithm>
#include <cmath>

#include "runtime/jinja_evaluator.h"
#include "runtime/tokenizer_utf8.h"

namespace sinter::runtime::jinja {
namespace {

using tokenizer::append_utf8;
using tokenizer::next_utf8;

template <class Map>
std::string map_characters(std::string_view text, Budget& budget, const Map& map) {
  budget.charge(4 * text.size());
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const tokenizer::Utf8Unit unit = next_utf8(text);
    append_utf8(static_cast<uint32_t>(map(static_cast<utf8proc_int32_t>(unit.code_point))), &out);
    text.remove_prefix(unit.length);
  }
  return out;
}

Value repeat(const Value& sequence, int64_t times, Budget& budget) {
  const auto count = static_cast<size_t>(std::max<int64_t>(times, 0));
  if (const std::string* text = sequence.string()) {
    if (text->empty() || count == 0) return make_string("", budget);
    // The product may be beyond size_t: charge piece by piece.
    std::string out;
    for (size_t i = 0; i < count; ++i) {
      budget.charge(text->size());
      out += *text;
    }
    return make_string(std::move(out), budget);
  }
  const Sequence& list = *sequence.sequence();
  std::vector<Value> items;
  for (size_t i = 0; i < count && !list.items.empty(); ++i) {
    budget.charge(kValueCost * list.items.size());
    items.insert(items.end(), list.items.begin(), list.items.end());
  }
  return make_list(std::move(items), budget, list.kind);
}

bool is_repeatable(const Value& value) {
  const Sequence* list = value.sequence();
  return value.string() != nullptr || (list != nullptr && (list->kind == Sequence::Kind::kList ||
                                                           list->kind == Sequence::Kind::kTuple));
}

Value integer_arithmetic(std::string_view operation, int64_t x, int64_t y) {
  const auto require_nonzero = [&] {
    if (y == 0) throw Failure{"a division by zero"};
  };
  int64_t result = 0;
  bool overflow = false;
  if (operation == "+") {
    overflow = __builtin_add_overflow(x, y, &result);
  } else if (operation == "-") {
    overflow = __builtin_sub_overflow(x, y, &result);
  } else if (operation == "*") {
    overflow = __builtin_mul_overflow(x, y, &result);
  } else if (operation == "/") {
    require_nonzero();
    return static_cast<double>(x) / static_cast<double>(y);
  } else if (operation == "//") {  // rounds down
    require_nonzero();
    if (y == -1) {
      overflow = __builtin_sub_overflow(0, x, &result);
    } else {
      result = x / y - (x % y != 0 && (x < 0) != (y < 0) ? 1 : 0);
    }
  } else if (operation == "%") {  // has the sign of y
    require_nonzero();
    result = y == -1 ? 0 : x % y;
    if (result != 0 && (result < 0) != (y < 0)) result += y;
  } else {  // **
    if (y < 0) return std::pow(static_cast<double>(x), static_cast<double>(y));
    result = 1;
    // Beyond 63 doublings only 0, 1 and -1 stay within 64 bits.
    const int64_t times = y > 64 && x >= -1 && x <= 1 ? 64 + y % 2 : y;
    for (int64_t i = 0; i < times && !overflow; ++i)
      overflow = __builtin_mul_overflow(result, x, &result);
  }
  if (overflow) throw Failure{"an integer has more than 64 bits"};
  return result;
}

Value float_arithmetic(std::string_view operation, double x, double y) {
  if (operation == "+") return x + y;
  if (operation == "-") return x - y;
  if (operation == "*") return x * y;
  if (operation == "**") return std::pow(x, y);
  if (y == 0) throw Failure{"a division by zero"};
  if (operation == "/") return x / y;
  double rest = std::fmod(x, y);
  if (rest != 0 && (rest < 0) != (y < 0)) rest += y;
  if (operation == "%") return rest;
  return std::round((x - rest) / y);
}

}  // namespace

Value arithmetic(std::string_view operation, const Value& a, const Value& b, Budget& budget) {
  require_defined(a);
  if (operation == "%" && a.string() != nullptr) {
    const Sequence* several = b.sequence();
    const bool tuple = several != nullptr && several->kind == Sequence::Kind::kTuple;
    return make_string(
        format_percent(*a.string(), tuple ? several->items : std::vector<Value>{b}, budget),
        budget);
  }
  require_defined(b);
  if (const auto x = a.integer(), y = b.integer(); x && y)
    return integer_arithmetic(operation, *x, *y);
  if (const auto x = a.number(), y = b.number(); x && y) return float_arithmetic(operation, *x, *y);
  if (operation == "+") {
    if (const std::string *x = a.string(), *y = b.string(); x != nullptr && y != nullptr) {
      budget.charge(x->size() + y->size());
      return make_string(*x + *y, budget);
    }
    if (const Sequence *x = a.sequence(), *y = b.sequence();
        x != nullptr && y != nullptr && x->kind == y->kind && is_repeatable(a)) {
      budget.charge(kValueCost * (x->items.size() + y->items.size()));
      std::vector<Value> items = x->items;
      items.insert(items.end(), y->items.begin(), y->items.end());
      return make_list(std::move(items), budget, x->kind);
    }
  }
  if (operation == "*") {
    if (is_repeatable(a) && b.integer()) return repeat(a, *b.integer(), budget);
    if (is_repeatable(b) && a.integer()) return repeat(b, *a.integer(), budget);
  }
  throw Failure{
      fmt::format("'{}' does not work on a {} and a {}", operation, type_name(a), type_name(b))};
}

std::string upper(std::string_view text, Budget& budget) {
  std::string out = map_characters(
      text, budget, [](utf8proc_int32_t c) { return c == 0xDF ? c : utf8proc_toupper(c); });
  // The one letter of common text whose capital form is two letters.
  return replace(out, "\xC3\x9F", "SS", -1, budget);
}

std::string lower(std::string_view text, Budget& budget) {
  return map_characters(text, budget, utf8proc_tolower);
}

std::string swap_case(std::string_view text, Budget& budget) {
  return map_characters(text, budget, [](utf8proc_int32_t c) {
    const utf8proc_int32_t changed = utf8proc_toupper(c);
    return changed != c ? changed : utf8proc_tolower(c);
  });
}

std::string capitalize(std::string_view text, Budget& budget) {
  bool first = true;
  return map_characters(text, budget, [&](utf8proc_int32_t c) {
    return std::exchange(first, false) ? utf8proc_totitle(c) : utf8proc_tolower(c);
  });
}

std::string_view strip(std::string_view text, const std::string* which, bool left, bool right,
                       Budget& budget) {
  budget.charge(text.size());
  const auto goes = [&](std::string_view character) {
    if (which == nullptr) {
      const uint32_t c = next_utf8(character).code_point;
      return tokenizer::is_white_space(c) || (c >= 0x1c && c <= 0x1f);
    }
    budget.charge(which->size());
    return which->find(character) != std::string::npos;
  };
  while (left && !text.empty()) {
    const size_t length = next_utf8(text).length;
    if (!goes(text.substr(0, length))) break;
    text.remove_prefix(length);
  }
  while (right && !text.empty()) {
    size_t start = text.size() - 1;
    while (start > 0 && (static_cast<uint8_t>(text[start]) & 0xC0) == 0x80) --start;
    if (!goes(text.substr(start))) break;
    text.remove_suffix(text.size() - start);
  }
  return text;
}

size_t find(std::string_view text, std::string_view part, size_t from, Budget& budget) {
  if (from > text.size()) return std::string::npos;
  // The search may compare the whole part at every position.
  const size_t rest = text.size() - from;
  budget.charge(rest / 8 + (part.size() > 16 ? rest / 32 * (part.size() / 32 + 1) : 0));
  return text.find(part, from);
}

std::string replace(std::string_view text, std::string_view from, std::string_view to,
                    int64_t count, Budget& budget) {
  budget.charge(text.size());
  std::string out;
  size_t at = 0;
  if (from.empty()) {  // between all characters
    while (count != 0) {
      budget.charge(to.size() + 1);
      out += to;
      --count;
      if (at >= text.size()) return out;
      const size_t length = next_utf8(text.substr(at)).length;
      out += text.substr(at, length);
      at += length;
    }
    return out += text.substr(at);
  }
  while (count != 0) {
    // A search that succeeds looks no further than its result.
    const size_t found = text.find(from, at);
    const size_t seen = (found == std::string::npos ? text.size() : found) - at;
    budget.charge(seen / 8 + (from.size() > 16 ? seen / 32 * (from.size() / 32 + 1) : 0) + 1);
    if (found == std::string::npos) break;
    budget.charge(to.size());
    out += text.substr(at, found - at);
    out += to;
    at = found + from.size();
    --count;
  }
  return out += text.substr(at);
}

std::string format_percent(std::string_view pattern, const std::vector<Value>& values,
                           Budget& budget) {
  std::string out;
  size_t next = 0;
  for (size_t i = 0; i < pattern.size(); ++i) {
    budget.charge(1);
    if (pattern[i] != '%') {
      out += pattern[i];
      continue;
    }
    size_t end = i + 1;
    while (end < pattern.size() &&
           (std::string_view("-+ 0#.").find(pattern[end]) != std::string_view::npos ||
            (pattern[end] >= '0' && pattern[end] <= '9')))
      ++end;
    if (end >= pattern.size()) throw Failure{"a format ends within a %"};
    const std::string_view options = pattern.substr(i + 1, end - i - 1);
    const char kind = pattern[end];
    i = end;
    if (kind == '%') {
      out += '%';
      continue;
    }
    if (next >= values.size()) throw Failure{"a format has more places than there are values"};
    const Value& value = values[next++];
    // "%-8.3f" is "{:<8.3f}" here, and text is aligned to the left unless told.
    if (options.size() > 8) throw Failure{"a format has a width that is too large"};
    std::string spec(options);
    const bool left = spec.starts_with('-');
    if (left) spec.erase(0, 1);
    for (size_t digits = 0, j = 0; j < spec.size(); ++j) {
      digits = spec[j] >= '0' && spec[j] <= '9' ? digits + 1 : 0;
      if (digits > 4) throw Failure{"a format has a width that is too large"};
    }
    try {
      if (kind == 's' || kind == 'r') {
        const std::string text = kind == 's' ? to_text(value, budget) : to_repr(value, budget);
        out += fmt::format(fmt::runtime(fmt::format("{{:{}{}}}", left ? "<" : ">", spec)), text);
      } else if ((kind == 'd' || kind == 'i' || kind == 'x' || kind == 'X') && value.number()) {
        const int64_t number = value.integer().value_or(0);
        const double wide = value.number().value_or(0);
        if (!value.integer() && !(std::fabs(wide) < 9e18))
          throw Failure{"an integer has more than 64 bits"};
        out += fmt::format(fmt::runtime(fmt::format("{{:{}{}{}}}", left ? "<" : "", spec,
                                                    kind == 'i' ? 'd' : kind)),
                           value.integer() ? number : static_cast<int64_t>(wide));
      } else if (std::string_view("feEgG").find(kind) != std::string_view::npos && value.number()) {
        if (spec.find('.') == std::string::npos) spec += ".6";
        out += fmt::format(fmt::runtime(fmt::format("{{:{}{}{}}}", left ? "<" : "", spec, kind)),
                           *value.number());
      } else {
        require_defined(value);
        throw Failure{fmt::format("%{} cannot show a {}", kind, type_name(value))};
      }
    } catch (const fmt::format_error&) {
      throw Failure{fmt::format("the format '%{}{}' is not supported", options, kind)};
    }
    budget.charge(10000);
  }
  if (next < values.size() && !(values.size() == 1 && values[0].mapping() != nullptr))
    throw Failure{"a format has fewer places than there are values"};
  return out;
}

bool all_characters(std::string_view text, bool (*is)(uint32_t)) {
  if (text.empty()) return false;
  while (!text.empty()) {
    const tokenizer::Utf8Unit unit = next_utf8(text);
    if (!is(unit.code_point)) return false;
    text.remove_prefix(unit.length);
  }
  return true;
}

namespace {

// Whether there are cased characters, all of one case.
bool has_case(std::string_view text, utf8proc_category_t wanted, utf8proc_category_t other) {
  bool seen = false;
  while (!text.empty()) {
    const tokenizer::Utf8Unit unit = next_utf8(text);
    const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(unit.code_point));
    if (category == other || category == UTF8PROC_CATEGORY_LT) return false;
    seen |= category == wanted;
    text.remove_prefix(unit.length);
  }
  return seen;
}

}  // namespace

bool is_upper(std::string_view text) {
  return has_case(text, UTF8PROC_CATEGORY_LU, UTF8PROC_CATEGORY_LL);
}
bool is_lower(std::string_view text) {
  return has_case(text, UTF8PROC_CATEGORY_LL, UTF8PROC_CATEGORY_LU);
}

}  // namespace sinter::runtime::jinja
