// The operators +, -, *, /, //, % and **.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "runtime/text/jinja/evaluator.h"
#include "runtime/text/jinja/format.h"
#include "runtime/text/jinja/integer.h"
#include "runtime/text/jinja/text.h"

namespace sinter::runtime::jinja {
namespace {

double float_power(double x, double y) {
  if (x == 0 && y < 0) throw Failure{"zero cannot be raised to a negative power"};
  if (x < 0 && std::isfinite(x) && std::isfinite(y) && y != std::trunc(y))
    throw Failure{"a negative number to a fractional power is complex, which is not supported"};
  const double result = std::pow(x, y);
  if (std::isinf(result) && std::isfinite(x) && std::isfinite(y))
    throw Failure{"a power is too large for a float"};
  return result;
}

double float_operation(std::string_view operation, double x, double y) {
  if (operation == "+") return x + y;
  if (operation == "-") return x - y;
  if (operation == "*") return x * y;
  if (operation == "**") return float_power(x, y);
  if (y == 0) throw Failure{"a division by zero"};
  if (operation == "/") return x / y;
  double rest = std::fmod(x, y);
  double quotient = (x - rest) / y;
  if (rest == 0) {
    rest = std::copysign(0.0, y);
  } else if ((rest < 0) != (y < 0)) {
    rest += y;
    quotient -= 1;
  }
  if (operation == "%") return rest;
  if (quotient == 0) return std::copysign(0.0, x / y);
  const double whole = std::floor(quotient);
  return quotient - whole > 0.5 ? whole + 1 : whole;
}

double as_float(const Value& value) {
  const double* number = value.as<double>();
  return number != nullptr ? *number : to_float(value);
}

Value number_operation(std::string_view operation, const Value& a, const Value& b, Budget& budget) {
  if (!a.is_integer() || !b.is_integer())
    return float_operation(operation, as_float(a), as_float(b));
  if (operation == "/") return integer_quotient(a, b, budget);
  if (operation == "**" && sign(b) < 0) return float_power(to_float(a), to_float(b));
  return integer_operation(operation, a, b, budget);
}

Value repeat(const Value& sequence, const Value& times, Budget& budget) {
  const auto small = times.integer();
  if (!small) throw Failure{"an integer is too large to repeat something so often"};
  if (const std::string* text = sequence.string())
    return make_text(repeated(*text, *small, budget), sequence.is_markup(), budget);
  const std::vector<Value>& list = *sequence.items();
  std::vector<Value> items;
  if (*small > 0 && !list.empty()) {
    budget.charge(kValueCost * list.size(), static_cast<size_t>(*small));
    items.reserve(list.size() * static_cast<size_t>(*small));
    for (int64_t i = 0; i < *small; ++i) items.insert(items.end(), list.begin(), list.end());
  }
  return make_list(std::move(items), budget, sequence.sequence()->kind);
}

bool is_repeatable(const Value& value) {
  return value.string() != nullptr || value.items() != nullptr;
}

Value concatenated_lists(const Value& a, const Value& b, Budget& budget) {
  budget.charge(a.items()->size() + b.items()->size(), kValueCost);
  std::vector<Value> items = *a.items();
  items.insert(items.end(), b.items()->begin(), b.items()->end());
  return make_list(std::move(items), budget, a.sequence()->kind);
}

}  // namespace

Value arithmetic(std::string_view operation, const Value& a, const Value& b, Budget& budget) {
  require_defined(a);
  if (operation == "%" && a.string() != nullptr) return format_percent(a, b, budget);
  require_defined(b);
  if (a.is_number() && b.is_number()) return number_operation(operation, a, b, budget);
  if (operation == "+") {
    if (const std::string *x = a.string(), *y = b.string(); x != nullptr && y != nullptr) {
      budget.charge(x->size() + y->size());
      if (!a.is_markup() && !b.is_markup()) return make_string(*x + *y, budget);
      return make_text(escaped_text(a, budget) + escaped_text(b, budget), true, budget);
    }
    if ((a.is_list() && b.is_list()) || (a.is_tuple() && b.is_tuple()))
      return concatenated_lists(a, b, budget);
  }
  if (operation == "*") {
    if (is_repeatable(a) && b.is_integer()) return repeat(a, b, budget);
    if (is_repeatable(b) && a.is_integer()) return repeat(b, a, budget);
  }
  throw Failure{
      fmt::format("'{}' does not work on {} and {}", operation, described(a), described(b))};
}

}  // namespace sinter::runtime::jinja
