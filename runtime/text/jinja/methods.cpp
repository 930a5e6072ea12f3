// Attributes of values by their type: methods, and numbers such as `numerator`. Methods that would
// change their object are not there, as in Jinja's immutable sandbox.
#include <algorithm>
#include <bit>
#include <cmath>
#include <unordered_map>

#include "runtime/text/jinja/call.h"
#include "runtime/text/jinja/integer.h"
#include "runtime/text/jinja/text.h"

namespace sinter::runtime::jinja {
namespace {

using Table = std::unordered_map<std::string_view, Implementation>;

Value pair_list(const Call& call, Sequence::Kind kind) {
  (void)call.in_order(0, 0);
  std::vector<Value> items;
  for (const auto& [key, value] : call.value.mapping()->items()) {
    call.budget().charge(kValueCost);
    if (kind == Sequence::Kind::kKeys)
      items.push_back(key);
    else if (kind == Sequence::Kind::kValues)
      items.push_back(value);
    else
      items.push_back(make_tuple({key, value}, call.budget()));
  }
  return make_list(std::move(items), call.budget(), kind);
}

Value itself(const Call& call) {
  (void)call.in_order(0, 0);
  return call.value.is<bool>() ? Value(*call.value.integer()) : call.value;
}

const Table& dict_methods() {
  static const Table table = {
      {"items", [](const Call& call) { return pair_list(call, Sequence::Kind::kItems); }},
      {"keys", [](const Call& call) { return pair_list(call, Sequence::Kind::kKeys); }},
      {"values", [](const Call& call) { return pair_list(call, Sequence::Kind::kValues); }},
      {"copy", itself},
      {"get",
       [](const Call& call) {
         const auto bound = call.in_order(1, 2);
         const Value* found = call.value.mapping()->find(*bound[0], call.budget());
         if (found != nullptr) return *found;
         return bound[1] != nullptr ? *bound[1] : Value(None{});
       }},
      {"fromkeys",
       [](const Call& call) {
         const auto bound = call.in_order(1, 2);
         Mapping mapping;
         const Next next = iterator(*bound[0], call.budget());
         while (std::optional<Value> key = next())
           mapping.set(*std::move(key), bound[1] != nullptr ? *bound[1] : Value(None{}),
                       call.budget());
         return make_dict(std::move(mapping), call.budget());
       }},
  };
  return table;
}

Value count_items(const Call& call) {
  const Value& wanted = *call.in_order(1, 1)[0];
  int64_t count = 0;
  const Next next = iterator(call.value, call.budget());
  while (const std::optional<Value> item = next())
    if (equal(*item, wanted, call.budget())) ++count;
  return count;
}

Value index_of_item(const Call& call) {
  const auto bound = call.in_order(1, call.value.range() != nullptr ? 1 : 3);
  const int64_t size = length(call.value, call.budget()).value_or(0);
  const auto position = [&](size_t which, int64_t otherwise) {
    if (which >= bound.size() || bound[which] == nullptr) return otherwise;
    const int64_t i = bound[which]->big_integer() != nullptr
                          ? sign(*bound[which]) * INT32_MAX
                          : call.integer(bound[which], otherwise);
    return i < 0 ? std::max<int64_t>(i + size, 0) : i;
  };
  const int64_t begin = position(1, 0), end = std::min(position(2, size), size);
  const Next next = iterator(call.value, call.budget());
  for (int64_t i = 0; i < end; ++i) {
    const std::optional<Value> item = next();
    if (i >= begin && equal(*item, *bound[0], call.budget())) return i;
  }
  throw Failure{"index() does not find the value"};
}

const Table& list_methods() {
  static const Table table = {{"copy", itself}, {"count", count_items}, {"index", index_of_item}};
  return table;
}

const Table& fixed_list_methods() {  // of tuples and ranges
  static const Table table = {{"count", count_items}, {"index", index_of_item}};
  return table;
}

Value no_bytes(const Call& call) {
  throw Failure{fmt::format("{}() is about bytes, which are not supported", call.name)};
}

// The number as a fraction of two integers.
Value integer_ratio(const Call& call) {
  (void)call.in_order(0, 0);
  if (call.value.is_integer()) return make_tuple({itself(call), int64_t{1}}, call.budget());
  const double number = *call.value.as<double>();
  if (!std::isfinite(number)) throw Failure{"as_integer_ratio() needs a finite number"};
  int exponent = 0;
  auto mantissa = static_cast<int64_t>(std::ldexp(std::frexp(number, &exponent), 53));
  exponent -= 53;
  if (mantissa == 0) exponent = 0;
  while (exponent < 0 && mantissa % 2 == 0) {
    mantissa /= 2;
    ++exponent;
  }
  const Value scale =
      integer_operation("**", int64_t{2}, int64_t{std::abs(exponent)}, call.budget());
  if (exponent < 0) return make_tuple({mantissa, scale}, call.budget());
  return make_tuple({integer_operation("*", mantissa, scale, call.budget()), int64_t{1}},
                    call.budget());
}

Value hexadecimal(const Call& call) {
  (void)call.in_order(0, 0);
  const double number = *call.value.as<double>();
  if (!std::isfinite(number)) return call.result(float_text(number));
  const auto bits = std::bit_cast<uint64_t>(number);
  const auto exponent = static_cast<int>(bits >> 52 & 0x7ff);
  const uint64_t fraction = bits & ((uint64_t{1} << 52) - 1);
  const char* sign = std::signbit(number) ? "-" : "";
  if (number == 0) return call.result(fmt::format("{}0x0.0p+0", sign));
  return call.result(fmt::format("{}0x{}.{:013x}p{:+}", sign, exponent == 0 ? 0 : 1, fraction,
                                 exponent == 0 ? -1022 : exponent - 1023));
}

const Table& integer_methods() {
  static const Table table = {
      {"as_integer_ratio", integer_ratio},
      {"bit_count",
       [](const Call& call) {
         (void)call.in_order(0, 0);
         const std::string digits = integer_text(call.value, 2, call.budget());
         return Value(static_cast<int64_t>(std::count(digits.begin(), digits.end(), '1')));
       }},
      {"bit_length",
       [](const Call& call) {
         (void)call.in_order(0, 0);
         return Value(static_cast<int64_t>(bit_length(call.value)));
       }},
      {"conjugate", itself},
      {"from_bytes", no_bytes},
      // Since Python 3.12.
      {"is_integer",
       [](const Call& call) {
         (void)call.in_order(0, 0);
         return Value(true);
       }},
      {"to_bytes", no_bytes},
  };
  return table;
}

const Table& float_methods() {
  static const Table table = {
      {"as_integer_ratio", integer_ratio},
      {"conjugate", itself},
      {"hex", hexadecimal},
      {"is_integer",
       [](const Call& call) {
         (void)call.in_order(0, 0);
         const double number = *call.value.as<double>();
         return Value(std::isfinite(number) && number == std::trunc(number));
       }},
  };
  return table;
}

const Table& markup_methods() {
  static const Table table = {
      {"escape",
       [](const Call& call) {
         const auto bound = call.in_order(1, 1);
         return make_text(escaped_text(*bound[0], call.budget()), true, call.budget());
       }},
      {"striptags",
       [](const Call& call) {
         (void)call.in_order(0, 0);
         return call.result(without_tags(*call.value.string(), call.budget()));
       }},
      {"unescape",
       [](const Call& call) {
         (void)call.in_order(0, 0);
         return call.result(unescaped(*call.value.string(), call.budget()));
       }},
  };
  return table;
}

Cycler& cycler_of(const Call& call) { return **call.value.as<Cycler*>(); }

const Table& cycler_methods() {
  static const Table table = {
      {"next",
       [](const Call& call) {
         (void)call.in_order(0, 0);
         Cycler& cycler = cycler_of(call);
         const Value value = cycler.items[cycler.position];
         cycler.position = (cycler.position + 1) % cycler.items.size();
         return value;
       }},
      {"reset",
       [](const Call& call) {
         (void)call.in_order(0, 0);
         cycler_of(call).position = 0;
         return Value(None{});
       }},
  };
  return table;
}

const Table* table_of(const Value& object) {
  if (object.is_integer()) return &integer_methods();
  if (object.is<double>()) return &float_methods();
  if (object.mapping() != nullptr) return &dict_methods();
  if (object.is_list()) return &list_methods();
  if (object.is_tuple() || object.range() != nullptr) return &fixed_list_methods();
  if (object.is<Cycler*>()) return &cycler_methods();
  return nullptr;
}

Implementation find_method(const Value& object, std::string_view name) {
  if (object.string() != nullptr) {
    if (object.is_markup())
      if (const auto found = markup_methods().find(name); found != markup_methods().end())
        return found->second;
    return find_text_method(name);
  }
  const Table* table = table_of(object);
  if (table == nullptr) return nullptr;
  const auto found = table->find(name);
  return found == table->end() ? nullptr : found->second;
}

// Methods that the immutable sandbox hides.
bool is_change(const Value& object, std::string_view name) {
  constexpr std::string_view kListChanges[] = {"append", "clear",  "extend",  "insert",
                                               "pop",    "remove", "reverse", "sort"};
  constexpr std::string_view kDictChanges[] = {"clear", "pop", "popitem", "setdefault", "update"};
  const auto has = [&](const auto& names) {
    return std::find(std::begin(names), std::end(names), name) != std::end(names);
  };
  return object.mapping() != nullptr ? has(kDictChanges) : object.is_list() && has(kListChanges);
}

std::optional<Value> number_attribute(const Value& object, std::string_view name) {
  const bool whole = object.is_integer();
  const Value self = object.is<bool>() ? Value(*object.integer()) : object;
  if (name == "real" || (whole && name == "numerator")) return self;
  if (name == "imag") return whole ? Value(int64_t{0}) : Value(0.0);
  if (whole && name == "denominator") return int64_t{1};
  return std::nullopt;
}

std::optional<Value> macro_attribute(const Macro& macro, std::string_view name, Budget& budget) {
  const Statement& statement = *macro.statement;
  if (name == "name") return macro.is_named() ? make_string(statement.text, budget) : Value(None{});
  if (name == "catch_varargs") return statement.takes_varargs;
  if (name == "catch_kwargs") return statement.takes_kwargs;
  if (name == "caller") return statement.takes_caller;
  if (name != "arguments") return std::nullopt;
  std::vector<Value> names;
  for (const auto& parameter : statement.parameters)
    names.push_back(make_string(parameter.first, budget));
  return make_tuple(std::move(names), budget);
}

// What is no method.
std::optional<Value> data_attribute(const Value& object, const std::string& name, Budget& budget) {
  if (object.is_number()) return number_attribute(object, name);
  if (const Sequence* list = object.sequence(); list != nullptr && list->group) {
    if (name == "grouper") return list->items[0];
    if (name == "list") return list->items[1];
  }
  if (const Range* range = object.range()) {
    if (name == "start") return range->start;
    if (name == "stop") return range->stop;
    if (name == "step") return range->step;
  }
  if (const auto* macro = object.as<Macro*>()) return macro_attribute(**macro, name, budget);
  if (const auto* cycler = object.as<Cycler*>()) {
    if (name == "current") return (*cycler)->items[(*cycler)->position];
    if (name == "pos") return static_cast<int64_t>((*cycler)->position);
    if (name == "items") return make_tuple((*cycler)->items, budget);
  }
  if (const auto* joiner = object.as<Joiner*>()) {
    if (name == "sep") return (*joiner)->separator;
    if (name == "used") return (*joiner)->used;
  }
  return std::nullopt;
}

}  // namespace

std::optional<Value> type_attribute(const Value& object, const std::string& name, Budget& budget) {
  if (is_change(object, name))
    return make_undefined(
        fmt::format("'{}' would change a {}, which templates may not", name, type_name(object)));
  if (find_method(object, name) != nullptr) {
    if (object.depth() >= kMaxValueDepth) throw Failure{"methods nest too deep"};
    budget.charge(kValueCost + name.size());
    return std::make_shared<const Method>(Method{object, name});
  }
  return data_attribute(object, name, budget);
}

Value call_method(Evaluator& evaluator, const Method& method, const Arguments& arguments) {
  return find_method(method.object,
                     method.name)({evaluator, method.name, method.object, arguments});
}

}  // namespace sinter::runtime::jinja
