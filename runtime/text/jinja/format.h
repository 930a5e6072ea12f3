// Formatting as Python does it: `pattern % values`, `pattern.format(...)` and format(value, spec).
#pragma once

#include <functional>

#include "runtime/text/jinja/value.h"

namespace sinter::runtime::jinja {

class Evaluator;
struct Arguments;

// `values`: a tuple, a dict for patterns with names, or a single value. A pattern that is Markup
// escapes what it is given.
Value format_percent(const Value& pattern, const Value& values, Budget& budget);

// str.format; str.format_map where `mapping` is given.
Value format_fields(Evaluator& evaluator, const Value& pattern, const Arguments& arguments,
                    const Value* mapping);

// format(value, spec).
std::string format_value(const Value& value, std::string_view spec, Budget& budget);

// `number` with the conversion e, f or g and that many digits; `alternative`: with a point, and
// zeros at the end, in any case.
std::string format_float(double number, char conversion, int precision, bool alternative,
                         Budget& budget);

}  // namespace sinter::runtime::jinja
