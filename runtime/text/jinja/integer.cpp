#include "runtime/text/jinja/integer.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/multiprecision/cpp_int.hpp>
#include <charconv>
#include <cmath>

namespace sinter::runtime::jinja {

using Big = boost::multiprecision::cpp_int;

struct BigInteger {
  Big value;
};

namespace {

// Python has no such bound; work with integers takes the square of their length.
constexpr size_t kMaxBits = size_t{1} << 17;
constexpr size_t kMaxDecimalDigits = 4300;  // Python's, for text from and to integers

Big big(const Value& value) {
  if (const auto small = value.integer()) return *small;
  return value.big_integer()->value;
}

size_t bits_of(const Big& value) {
  return value.is_zero() ? 0 : static_cast<size_t>(msb(abs(value))) + 1;
}

Value from_big(Big value, Budget& budget) {
  if (value >= INT64_MIN && value <= INT64_MAX) return static_cast<int64_t>(value);
  const size_t bits = bits_of(value);
  if (bits > kMaxBits) throw Failure{fmt::format("an integer has more than {} bits", kMaxBits)};
  budget.charge(kValueCost + bits / 4);
  return std::make_shared<const BigInteger>(BigInteger{std::move(value)});
}

// Rounded to the nearest, ties to even; infinite beyond the range of floats.
double nearest(const Big& value, int exponent) {
  Big magnitude = abs(value);
  const size_t bits = bits_of(magnitude);
  if (bits > 64) {
    // The bits that go are kept as one that says whether they were zero.
    const size_t cut = bits - 64;
    const bool sticky = lsb(magnitude) < cut;
    magnitude >>= cut;
    if (sticky) magnitude |= 1;
    exponent += static_cast<int>(cut);
  }
  const double result = std::ldexp(static_cast<double>(static_cast<uint64_t>(magnitude)), exponent);
  return value < 0 ? -result : result;
}

Big floor_quotient(const Big& a, const Big& b, Big* rest) {
  Big quotient;
  divide_qr(a, b, quotient, *rest);
  if (!rest->is_zero() && (*rest < 0) != (b < 0)) {
    *rest += b;
    quotient -= 1;
  }
  return quotient;
}

std::optional<int64_t> small_operation(std::string_view operation, int64_t x, int64_t y) {
  int64_t result = 0;
  if (operation == "+")
    return __builtin_add_overflow(x, y, &result) ? std::nullopt : std::optional(result);
  if (operation == "-")
    return __builtin_sub_overflow(x, y, &result) ? std::nullopt : std::optional(result);
  if (operation == "*")
    return __builtin_mul_overflow(x, y, &result) ? std::nullopt : std::optional(result);
  if (operation == "//" && y != -1) return x / y - (x % y != 0 && (x < 0) != (y < 0) ? 1 : 0);
  if (operation == "%") {
    result = y == -1 ? 0 : x % y;
    return result != 0 && (result < 0) != (y < 0) ? result + y : result;
  }
  return std::nullopt;
}

Big power(const Big& base, const Value& exponent, Budget& budget) {
  if (base == 0 || base == 1 || base == -1) {
    const bool odd = !integer_operation("%", exponent, int64_t{2}, budget).integer()
                         ? false
                         : *integer_operation("%", exponent, int64_t{2}, budget).integer() != 0;
    if (sign(exponent) == 0) return 1;
    return base == -1 && !odd ? Big(1) : base;
  }
  const auto times = exponent.integer();
  if (!times || static_cast<size_t>(*times) > kMaxBits ||
      bits_of(base) * static_cast<size_t>(*times) > 2 * kMaxBits)
    throw Failure{fmt::format("an integer has more than {} bits", kMaxBits)};
  const size_t words = bits_of(base) * static_cast<size_t>(*times) / 64 + 1;
  budget.charge(words, words * 2);
  return pow(base, static_cast<unsigned>(*times));
}

}  // namespace

Value integer_operation(std::string_view operation, const Value& a, const Value& b,
                        Budget& budget) {
  if ((operation == "//" || operation == "%") && sign(b) == 0) throw Failure{"a division by zero"};
  if (const auto x = a.integer(), y = b.integer(); x && y)
    if (const auto result = small_operation(operation, *x, *y)) return *result;
  const Big x = big(a), y = big(b);
  const size_t words = bits_of(x) / 64 + bits_of(y) / 64 + 2;
  const bool linear = operation == "+" || operation == "-";
  budget.charge(words, linear ? 16 : 4 * words);
  if (operation == "+") return from_big(x + y, budget);
  if (operation == "-") return from_big(x - y, budget);
  if (operation == "*") return from_big(x * y, budget);
  if (operation == "**") return from_big(power(x, b, budget), budget);
  Big rest;
  Big quotient = floor_quotient(x, y, &rest);
  return from_big(operation == "//" ? std::move(quotient) : std::move(rest), budget);
}

double integer_quotient(const Value& a, const Value& b, Budget& budget) {
  if (sign(b) == 0) throw Failure{"a division by zero"};
  constexpr int64_t kExact = int64_t{1} << 53;
  if (const auto x = a.integer(), y = b.integer();
      x && y && *x > -kExact && *x < kExact && *y > -kExact && *y < kExact)
    return static_cast<double>(*x) / static_cast<double>(*y);
  Big x = big(a), y = big(b);
  const auto x_bits = static_cast<int64_t>(bits_of(x)), y_bits = static_cast<int64_t>(bits_of(y));
  const auto words = static_cast<size_t>(x_bits / 64 + y_bits / 64 + 2);
  budget.charge(words, 4 * words);
  // A quotient of some 66 bits, which is rounded once.
  const int64_t shift = 66 - (x_bits - y_bits);
  const bool minus = (x < 0) != (y < 0);
  x = abs(x);
  y = abs(y);
  if (shift > 0)
    x <<= static_cast<size_t>(shift);
  else
    y <<= static_cast<size_t>(-shift);
  Big quotient, rest;
  divide_qr(x, y, quotient, rest);
  if (!rest.is_zero()) quotient |= 1;
  const double result = nearest(quotient, static_cast<int>(-shift));
  if (std::isinf(result)) throw Failure{"the quotient of two integers is too large for a float"};
  return minus ? -result : result;
}

Value negative(const Value& a, Budget& budget) {
  if (const auto small = a.integer(); small && *small != INT64_MIN) return -*small;
  return from_big(-big(a), budget);
}

int sign(const Value& a) {
  if (const auto small = a.integer()) return *small < 0 ? -1 : *small > 0 ? 1 : 0;
  return a.big_integer()->value.sign();
}

int compare_integers(const Value& a, const Value& b, Budget& budget) {
  if (const auto x = a.integer(), y = b.integer(); x && y) return *x < *y ? -1 : *x > *y ? 1 : 0;
  budget.charge(bit_length(a) / 64 + bit_length(b) / 64);
  const int order = big(a).compare(big(b));
  return order < 0 ? -1 : order > 0 ? 1 : 0;
}

int compare_with_float(const Value& a, double b) {
  if (std::isinf(b)) return b > 0 ? -1 : 1;
  const double whole = std::trunc(b);
  const int order = big(a).compare(Big(whole));
  if (order != 0) return order < 0 ? -1 : 1;
  return whole < b ? -1 : whole > b ? 1 : 0;
}

size_t hash_of_integer(const Value& a) {
  if (const auto small = a.integer()) return std::hash<int64_t>()(*small);
  return std::hash<double>()(nearest(a.big_integer()->value, 0));
}

size_t bit_length(const Value& a) { return bits_of(big(a)); }

double to_float(const Value& a) {
  if (const auto small = a.integer()) return static_cast<double>(*small);
  const double result = nearest(a.big_integer()->value, 0);
  if (std::isinf(result)) throw Failure{"an integer is too large for a float"};
  return result;
}

Value from_float(double number) {
  if (std::fabs(number) < 9.2e18) return static_cast<int64_t>(number);
  return std::make_shared<const BigInteger>(BigInteger{Big(std::trunc(number))});
}

std::optional<Value> from_digits(std::string_view digits, int base, Budget& budget) {
  const bool minus = digits.starts_with('-');
  if (minus || digits.starts_with('+')) digits.remove_prefix(1);
  if (digits.empty() || digits[0] == '-') return std::nullopt;
  uint64_t small = 0;
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), small, base);
  if (error == std::errc::invalid_argument || end != digits.data() + digits.size())
    return std::nullopt;
  if (error == std::errc() && small <= uint64_t{INT64_MAX})
    return minus ? -static_cast<int64_t>(small) : static_cast<int64_t>(small);
  const bool power_of_two = (base & (base - 1)) == 0;
  if (digits.size() > (power_of_two ? kMaxBits : kMaxDecimalDigits))
    throw Failure{fmt::format("an integer has {} digits, which is too many", digits.size())};
  budget.charge(digits.size(), digits.size() / 16 + 16);
  Big value;
  for (const char c : digits) {
    const int digit = c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
    value = value * base + digit;
  }
  return from_big(minus ? Big(-value) : value, budget);
}

std::string integer_text(const Value& a, int base, Budget& budget) {
  if (const auto small = a.integer()) {
    char text[72];
    const auto [end, error] = std::to_chars(std::begin(text), std::end(text), *small, base);
    return {text, end};
  }
  const Big& value = a.big_integer()->value;
  const size_t bits = bits_of(value);
  if (base == 10) {
    budget.charge(bits / 16, bits / 64 + 1);
    std::string text = value.str();
    if (text.size() - (value < 0 ? 1 : 0) > kMaxDecimalDigits)
      throw Failure{
          fmt::format("an integer has more than {} digits; its text is refused as in Python",
                      kMaxDecimalDigits)};
    return text;
  }
  std::string text;
  Big rest = abs(value);
  const unsigned step = base == 16 ? 4 : base == 8 ? 3 : 1;
  budget.charge(bits / step, bits / 64 + 1);
  for (; !rest.is_zero(); rest >>= step)
    text += "0123456789abcdef"[static_cast<unsigned>(rest & ((1 << step) - 1))];
  if (value < 0) text += '-';
  std::reverse(text.begin(), text.end());
  return text;
}

}  // namespace sinter::runtime::jinja
