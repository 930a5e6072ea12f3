// Integers as Python has them: of 64 bits while they fit, else longer, up to a bound. All functions
// take ints and bools of any size (Value::is_integer) and charge for their work.
#pragma once

#include "runtime/text/jinja/value.h"

namespace sinter::runtime::jinja {

// The sum, difference, product, quotient rounded down, rest with the sign of b, and power: for the
// operations +, -, *, // and %, and ** with b of at least zero.
Value integer_operation(std::string_view operation, const Value& a, const Value& b, Budget& budget);
// a / b as the nearest float.
double integer_quotient(const Value& a, const Value& b, Budget& budget);
Value negative(const Value& a, Budget& budget);
int sign(const Value& a);
// Below, equal or above zero. The second one: a and a finite or infinite float.
int compare_integers(const Value& a, const Value& b, Budget& budget);
int compare_with_float(const Value& a, double b);
size_t hash_of_integer(const Value& a);
size_t bit_length(const Value& a);

// The nearest float; fails when it is beyond the range of floats.
double to_float(const Value& a);
// Towards zero. `number` must be finite.
Value from_float(double number);
// Of digits of a base from 2 to 36 with an optional sign and nothing else; none for other text.
// Fails when they are more than Python reads.
std::optional<Value> from_digits(std::string_view digits, int base, Budget& budget);
// Digits of base 10, 2, 8 or 16 with a sign.
std::string integer_text(const Value& a, int base, Budget& budget);

}  // namespace sinter::runtime::jinja
