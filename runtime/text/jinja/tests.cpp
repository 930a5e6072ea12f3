// Tests: what stands after `is`.
#include <unordered_map>

#include "runtime/text/jinja/call.h"
#include "runtime/text/jinja/integer.h"
#include "runtime/text/jinja/text.h"

namespace sinter::runtime::jinja {
namespace {

using Test = bool (*)(const Call&);

const Value& other(const Call& call, std::string_view name) {
  return *call.arguments.bind(call.name, {name}, 1)[0];
}
// Of operators, which take no names.
const Value& operand(const Call& call) { return *call.in_order(1, 1)[0]; }

template <bool (*holds)(const Value&)>
bool plain(const Call& call) {
  (void)call.bind({});
  return holds(call.value);
}

template <int rest>
bool leaves(const Call& call) {
  (void)call.bind({});
  const Value found = arithmetic("%", call.value, int64_t{2}, call.budget());
  return equal(found, int64_t{rest}, call.budget());
}

int order(const Call& call) { return compare(call.value, operand(call), call.budget()); }

// Whether they are one object, as far as that can be told of values.
bool same(const Call& call) {
  const Value &a = call.value, &b = other(call, "other");
  if (a.sequence() != nullptr || b.sequence() != nullptr) return a.sequence() == b.sequence();
  if (a.mapping() != nullptr || b.mapping() != nullptr) return a.mapping() == b.mapping();
  return type_name(a) == type_name(b) && equal(a, b, call.budget());
}

bool is_callable(const Value& value) {
  return value.is<Function>() || value.is<Macro*>() || value.method() != nullptr ||
         value.is<Loop*>() || value.is<Undefined>() || value.is<Joiner*>();
}

bool is_named(const Call& call, bool (*known)(std::string_view)) {
  (void)call.bind({});
  if (!is_hashable(call.value, call.budget()))
    throw Failure{fmt::format("a {} cannot be a name", type_name(call.value))};
  return call.value.string() != nullptr && known(*call.value.string());
}

const std::unordered_map<std::string_view, Test>& tests() {
  static const Test is_equal = [](const Call& call) {
    return equal(call.value, operand(call), call.budget());
  };
  static const Test is_not_equal = [](const Call& call) {
    return !equal(call.value, operand(call), call.budget());
  };
  static const Test is_less = [](const Call& call) { return order(call) < 0; };
  static const Test is_at_most = [](const Call& call) { return order(call) <= 0; };
  static const Test is_greater = [](const Call& call) { return order(call) == 1; };
  static const Test is_at_least = [](const Call& call) {
    const int found = order(call);
    return found == 0 || found == 1;
  };
  static const std::unordered_map<std::string_view, Test> table = {
      {"!=", is_not_equal},
      {"<", is_less},
      {"<=", is_at_most},
      {"==", is_equal},
      {">", is_greater},
      {">=", is_at_least},
      {"boolean", plain<[](const Value& v) { return v.is<bool>(); }>},
      {"callable",
       [](const Call& call) {
         (void)call.in_order(0, 0);
         return is_callable(call.value);
       }},
      {"defined", plain<[](const Value& v) { return !v.is<Undefined>(); }>},
      {"divisibleby",
       [](const Call& call) {
         const Value rest = arithmetic("%", call.value, other(call, "num"), call.budget());
         return equal(rest, int64_t{0}, call.budget());
       }},
      {"eq", is_equal},
      {"equalto", is_equal},
      {"escaped", plain<[](const Value& v) { return v.is_markup(); }>},
      {"even", leaves<0>},
      {"false", plain<[](const Value& v) { return v.is<bool>() && !is_true(v); }>},
      {"filter", [](const Call& call) { return is_named(call, is_filter); }},
      {"float", plain<[](const Value& v) { return v.is<double>(); }>},
      {"ge", is_at_least},
      {"greaterthan", is_greater},
      {"gt", is_greater},
      {"in",
       [](const Call& call) { return call.evaluator.contains(other(call, "seq"), call.value); }},
      {"integer", plain<[](const Value& v) { return v.is_integer() && !v.is<bool>(); }>},
      {"iterable", plain<[](const Value& v) { return is_iterable(v) || v.is<Loop*>(); }>},
      {"le", is_at_most},
      {"lessthan", is_less},
      {"lower",
       [](const Call& call) {
         (void)call.bind({});
         return is_lower(call.text(), call.budget());
       }},
      {"lt", is_less},
      {"mapping", plain<[](const Value& v) { return v.mapping() != nullptr; }>},
      {"ne", is_not_equal},
      {"none", plain<[](const Value& v) { return v.is<None>(); }>},
      {"number", plain<[](const Value& v) { return v.is_number(); }>},
      {"odd", leaves<1>},
      {"sameas", same},
      {"sequence", plain<[](const Value& v) {
         return v.string() != nullptr || v.mapping() != nullptr || v.is<Undefined>() ||
                v.items() != nullptr || v.range() != nullptr;
       }>},
      {"string", plain<[](const Value& v) { return v.string() != nullptr; }>},
      {"test", [](const Call& call) { return is_named(call, is_test); }},
      {"true", plain<[](const Value& v) { return v.is<bool>() && is_true(v); }>},
      {"undefined", plain<[](const Value& v) { return v.is<Undefined>(); }>},
      {"upper",
       [](const Call& call) {
         (void)call.bind({});
         return is_upper(call.text(), call.budget());
       }},
  };
  return table;
}

}  // namespace

bool is_test(std::string_view name) { return tests().contains(name); }

bool Evaluator::test(std::string_view name, const Value& value, const Arguments& arguments) {
  const auto found = tests().find(name);
  if (found == tests().end()) throw Failure{fmt::format("no test is named '{}'", name)};
  return found->second({*this, name, value, arguments});
}

}  // namespace sinter::runtime::jinja
