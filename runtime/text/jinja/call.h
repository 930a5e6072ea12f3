// A call of a filter, a test or a method, as their implementations see it.
#pragma once

#include <fmt/format.h>

#include <unordered_map>

#include "runtime/text/jinja/evaluator.h"

namespace sinter::runtime::jinja {

struct Call {
  Evaluator& evaluator;
  std::string_view name;
  const Value& value;  // the object of a method, what stands before a filter
  const Arguments& arguments;

  Budget& budget() const { return evaluator.budget(); }
  std::vector<const Value*> bind(std::initializer_list<std::string_view> names,
                                 size_t required = 0) const {
    return arguments.bind(name, names, required);
  }
  std::vector<const Value*> in_order(size_t required, size_t most) const {
    return arguments.in_order(name, required, most);
  }
  // The value as text, as filters of text take it.
  std::string text() const { return evaluator.text(value); }
  Value result(std::string text) const { return evaluator.string(std::move(text)); }
  // Markup where the value is.
  Value alike(std::string text) const {
    return make_text(std::move(text), value.is_markup(), budget());
  }
  int64_t integer(const Value* argument, int64_t otherwise) const {
    if (argument == nullptr) return otherwise;
    require_defined(*argument);
    if (const auto number = argument->integer()) return *number;
    throw Failure{fmt::format("{} needs an int of 64 bits, not {}", name, described(*argument))};
  }
  const std::string& string(const Value* argument, std::string_view what) const {
    require_defined(*argument);
    if (argument->string() == nullptr)
      throw Failure{fmt::format("{} needs a str as {}, not {}", name, what, described(*argument))};
    return *argument->string();
  }
  // A str that joins the value: escaped where the value is Markup.
  std::string joining(const Value* argument, std::string_view what) const {
    const std::string& text = string(argument, what);
    return value.is_markup() ? escaped_argument(*argument) : text;
  }
  std::string text_of(const Value* argument, std::string_view otherwise) const {
    return argument == nullptr ? std::string(otherwise) : evaluator.text(*argument);
  }
  static bool flag(const Value* argument, bool otherwise) {
    return argument == nullptr ? otherwise : is_true(*argument);
  }
  static bool given(const Value* argument) { return argument != nullptr && !argument->is<None>(); }

 private:
  std::string escaped_argument(const Value& argument) const;
};

using Implementation = Value (*)(const Call&);

using ImplementationTable = std::unordered_map<std::string_view, Implementation>;
// By name.
const ImplementationTable& text_filters();
const ImplementationTable& layout_filters();
const ImplementationTable& sequence_filters();
const ImplementationTable& number_filters();
// A method of str; null for what is none.
Implementation find_text_method(std::string_view name);

// A filter that is a generator function in Python: `start` is called when the first value is asked
// for, with a call that lives as long as the generator.
Value lazily(const Call& call, Next (*start)(const Call& call));

// What "a.b.0", a key or None leads to in a value, as filters take it for `attribute`.
class AttributePath {
 public:
  AttributePath(const Value& path, const Call& call);
  // `otherwise` stands for what is undefined, if it is given.
  Value of(Value value, const Value* otherwise = nullptr) const;

 private:
  Evaluator& evaluator_;
  std::vector<Value> parts_;
};

}  // namespace sinter::runtime::jinja
