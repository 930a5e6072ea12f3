// Filters about numbers.
#include <charconv>
#include <cmath>
#include <unordered_map>

#include "runtime/text/jinja/call.h"
#include "runtime/text/jinja/format.h"
#include "runtime/text/jinja/integer.h"
#include "runtime/text/jinja/text.h"

namespace sinter::runtime::jinja {
namespace {

bool is_ascii_alnum(char c) {
  return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
}

// Without the underscores, which must stand between two digits (or, `after_prefix`, before the
// first).
std::optional<std::string> without_underscores(std::string_view text, bool after_prefix) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_') {
      out += text[i];
      continue;
    }
    const bool before = i > 0 ? is_ascii_alnum(text[i - 1]) : after_prefix;
    if (!before || i + 1 == text.size() || !is_ascii_alnum(text[i + 1])) return std::nullopt;
  }
  return out;
}

// int(text, base) of Python.
std::optional<Value> parse_integer(std::string_view text, int64_t base, Budget& budget) {
  if (base != 0 && (base < 2 || base > 36)) return std::nullopt;
  text = strip(text, nullptr, true, true, budget);
  const bool minus = text.starts_with('-');
  if (minus || text.starts_with('+')) text.remove_prefix(1);
  bool prefixed = false;
  if (text.size() > 2 && text[0] == '0') {
    const char letter = static_cast<char>(text[1] | 0x20);
    const int64_t meant = letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : 0;
    if (meant != 0 && (base == 0 || base == meant)) {
      base = meant;
      prefixed = true;
      text.remove_prefix(2);
    }
  }
  if (base == 0) {
    if (text.starts_with('0') && text.find_first_not_of("0_") != std::string_view::npos)
      return std::nullopt;
    base = 10;
  }
  const auto digits = without_underscores(text, prefixed);
  if (!digits || digits->empty() || !is_ascii_alnum((*digits)[0])) return std::nullopt;
  return from_digits((minus ? "-" : "") + *digits, static_cast<int>(base), budget);
}

// float(text) of Python.
std::optional<double> parse_float(std::string_view text, Budget& budget) {
  const auto plain = without_underscores(strip(text, nullptr, true, true, budget), false);
  if (!plain) return std::nullopt;
  std::string_view number = *plain;
  const bool minus = number.starts_with('-');
  if (minus || number.starts_with('+')) number.remove_prefix(1);
  const std::string word = lower(number, budget);
  double value = 0;
  if (word == "inf" || word == "infinity") {
    value = HUGE_VAL;
  } else if (word == "nan") {
    value = std::nan("");
  } else {
    if (word.empty() || word.find_first_not_of("0123456789.e+-") != std::string::npos ||
        word[0] == '-' || word[0] == '+')
      return std::nullopt;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
    if (error == std::errc::invalid_argument || end != word.data() + word.size())
      return std::nullopt;
    // Beyond the range it is zero or infinite.
    if (error == std::errc::result_out_of_range) value = std::strtod(word.c_str(), nullptr);
  }
  return minus ? -value : value;
}

Value int_filter(const Call& call) {
  const auto bound = call.bind({"default", "base"});
  const Value otherwise = bound[0] != nullptr ? *bound[0] : Value(int64_t{0});
  const int64_t base = call.integer(bound[1], 10);
  require_defined(call.value);
  if (const auto small = call.value.integer()) return *small;
  if (call.value.is_integer()) return call.value;
  if (const std::string* text = call.value.string()) {
    if (const auto integer = parse_integer(*text, base, call.budget())) return *integer;
    const auto number = parse_float(*text, call.budget());
    return number && std::isfinite(*number) ? from_float(*number) : otherwise;
  }
  const double* number = call.value.as<double>();
  if (number == nullptr || std::isnan(*number)) return otherwise;
  if (std::isinf(*number)) throw Failure{"infinity cannot be converted to an int"};
  return from_float(*number);
}

Value float_filter(const Call& call) {
  const auto bound = call.bind({"default"});
  require_defined(call.value);
  if (call.value.is<double>()) return call.value;
  if (call.value.is_integer()) return to_float(call.value);
  if (const std::string* text = call.value.string())
    if (const auto number = parse_float(*text, call.budget())) return *number;
  return bound[0] != nullptr ? *bound[0] : Value(0.0);
}

// To a multiple of 10^-digits, ties to the even one.
double rounded(double number, int64_t digits, Budget& budget) {
  if (!std::isfinite(number) || number == 0 || digits > 400) return number;
  if (digits < -400) return std::copysign(0.0, number);
  std::string text;
  if (digits >= 0) {
    text = format_float(number, 'f', static_cast<int>(digits), false, budget);
  } else {
    const std::string scientific = fmt::format("{:.17e}", number);
    const int64_t exponent = std::stol(scientific.substr(scientific.find('e') + 1));
    const int64_t kept = exponent + 1 + digits;
    if (kept > 0) {
      text = format_float(number, 'e', static_cast<int>(kept - 1), false, budget);
    } else {
      const double unit = std::pow(10.0, static_cast<double>(-digits));
      return std::copysign(std::fabs(number) * 2 > unit ? unit : 0.0, number);
    }
  }
  return std::strtod(text.c_str(), nullptr);
}

// An int to a multiple of 10^-digits, for negative digits; ties to the even one.
Value rounded_integer(const Value& value, int64_t digits, Budget& budget) {
  if (digits >= 0) return value.is<bool>() ? Value(*value.integer()) : value;
  if (digits < -5000) return int64_t{0};
  const Value unit = integer_operation("**", int64_t{10}, -digits, budget);
  const Value twice = integer_operation("*", int64_t{2}, value, budget);
  Value count = integer_operation("//", integer_operation("+", twice, unit, budget),
                                  integer_operation("*", int64_t{2}, unit, budget), budget);
  // A tie has gone up: back, where that is even.
  const Value nearest = integer_operation("*", count, unit, budget);
  const Value distance =
      integer_operation("-", integer_operation("*", int64_t{2}, nearest, budget), twice, budget);
  const bool odd = sign(integer_operation("%", count, int64_t{2}, budget)) != 0;
  if (odd && compare_integers(distance, unit, budget) == 0)
    count = integer_operation("-", count, int64_t{1}, budget);
  return integer_operation("*", count, unit, budget);
}

Value round_filter(const Call& call) {
  const auto bound = call.bind({"precision", "method"});
  const std::string method = call.text_of(bound[1], "common");
  if (method != "common" && method != "ceil" && method != "floor")
    throw Failure{"round knows the methods common, ceil and floor"};
  if (!call.value.is_number()) {
    require_defined(call.value);
    throw Failure{fmt::format("a {} cannot be rounded", type_name(call.value))};
  }
  const double* number = call.value.as<double>();
  if (method == "common") {
    if (bound[0] != nullptr && bound[0]->is<None>()) {
      if (number == nullptr) return rounded_integer(call.value, 0, call.budget());
      if (!std::isfinite(*number)) throw Failure{"infinity and NaN cannot be converted to an int"};
      return from_float(std::nearbyint(*number));
    }
    const int64_t digits = call.integer(bound[0], 0);
    if (number == nullptr) return rounded_integer(call.value, digits, call.budget());
    return rounded(*number, digits, call.budget());
  }
  const Value precision = bound[0] != nullptr ? *bound[0] : Value(int64_t{0});
  const Value scale = arithmetic("**", int64_t{10}, precision, call.budget());
  Value scaled = arithmetic("*", call.value, scale, call.budget());
  if (const double* real = scaled.as<double>()) {
    if (!std::isfinite(*real)) throw Failure{"infinity and NaN cannot be converted to an int"};
    scaled = from_float(method == "ceil" ? std::ceil(*real) : std::floor(*real));
  }
  return arithmetic("/", scaled, scale, call.budget());
}

Value abs_filter(const Call& call) {
  (void)call.in_order(0, 0);
  if (call.value.is_integer()) {
    const Value number = rounded_integer(call.value, 0, call.budget());
    return sign(number) < 0 ? negative(number, call.budget()) : number;
  }
  if (const double* number = call.value.as<double>()) return std::fabs(*number);
  require_defined(call.value);
  throw Failure{fmt::format("a {} has no absolute value", type_name(call.value))};
}

Value filesizeformat_filter(const Call& call) {
  const auto bound = call.bind({"binary"});
  const bool binary = Call::flag(bound[0], false);
  std::optional<double> number;
  if (const std::string* text = call.value.string())
    number = parse_float(*text, call.budget());
  else if (call.value.is<double>())
    number = *call.value.as<double>();
  else if (call.value.is_integer())
    number = to_float(call.value);
  if (!number || std::isnan(*number)) {
    require_defined(call.value);
    throw Failure{fmt::format("filesizeformat needs a number, not {}", described(call.value))};
  }
  const double base = binary ? 1024 : 1000;
  if (*number == 1) return call.result("1 Byte");
  if (*number < base) {
    if (std::isinf(*number)) throw Failure{"infinity cannot be converted to an int"};
    return call.result(integer_text(from_float(*number), 10, call.budget()) + " Bytes");
  }
  double unit = base;
  std::string prefix;
  for (const char letter : std::string_view("kMGTPEZY")) {
    unit *= base;
    prefix = binary && letter == 'k' ? 'K' : letter;
    if (*number < unit) break;
  }
  return call.result(fmt::format("{} {}{}",
                                 format_float(base * *number / unit, 'f', 1, false, call.budget()),
                                 prefix, binary ? "iB" : "B"));
}

}  // namespace

const ImplementationTable& number_filters() {
  static const ImplementationTable table = {
      {"abs", abs_filter},     {"filesizeformat", filesizeformat_filter},
      {"float", float_filter}, {"int", int_filter},
      {"round", round_filter},
  };
  return table;
}

}  // namespace sinter::runtime::jinja
