// Values of the template language: Python's, without the means to change them.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace sinter::runtime::jinja {

// Thrown within the interpreter; caught where its API begins (runtime/chat_template.cpp).
struct Failure {
  std::string message;
};

// What a rendering may still cost, so that no template hangs or takes all memory. A unit is about a
// byte that is read or made.
class Budget {
 public:
  void charge(size_t units) {
    if (units > left_) {
      left_ = 0;
      throw Failure{"the template does too much work or makes too much text; it is refused"};
    }
    left_ -= units;
  }

 private:
  size_t left_ = size_t{1} << 28;
};

inline constexpr size_t kNodeCost = 64;   // of evaluating one node
inline constexpr size_t kValueCost = 40;  // of keeping one value
// Lists and dicts nest at most so deep: the C++ stack follows them.
inline constexpr int kMaxValueDepth = 200;

class Value;
struct Loop;       // the `loop` of a for statement
struct Macro;      // with the scope that it was defined in
struct Namespace;  // the one kind of object that a template can change

// What a name or attribute that is not there evaluates to; using it fails with the reason.
struct Undefined {
  std::shared_ptr<const std::string> why;
};
struct None {};
using String = std::shared_ptr<const std::string>;

struct Sequence {
  enum class Kind { kList, kTuple, kKeys, kValues, kItems, kGenerator };
  Kind kind = Kind::kList;
  std::vector<Value> items;
  int depth = 1;
};

struct Mapping {
  std::vector<std::pair<Value, Value>> items;  // in order of insertion; keys are distinct
  int depth = 1;
  const Value* find(const Value& key, Budget& budget) const;
  void set(Value key, Value value, Budget& budget);
};

// A method together with its object: what `text.upper` is before it is called.
struct Method;
// A function that every template has, by name: range, namespace, dict, raise_exception,
// strftime_now.
struct Function {
  std::string_view name;
};

// Objects behind plain pointers belong to the evaluator and live as long as it: templates can make
// cycles of them.
class Value {
 public:
  using Variant = std::variant<Undefined, None, bool, int64_t, double, String,
                               std::shared_ptr<const Sequence>, std::shared_ptr<const Mapping>,
                               std::shared_ptr<const Method>, Function, Namespace*, Loop*, Macro*>;
  Value() : data_(Undefined{}) {}
  template <class T>
    requires std::is_constructible_v<Variant, T> && (!std::is_same_v<std::decay_t<T>, Value>)
  Value(T value) : data_(std::move(value)) {}  // NOLINT(google-explicit-constructor)

  template <class T>
  const T* as() const {
    return std::get_if<T>(&data_);
  }
  template <class T>
  bool is() const {
    return std::holds_alternative<T>(data_);
  }
  const std::string* string() const {
    const String* text = as<String>();
    return text == nullptr ? nullptr : text->get();
  }
  const Sequence* sequence() const {
    const auto* items = as<std::shared_ptr<const Sequence>>();
    return items == nullptr ? nullptr : items->get();
  }
  const Mapping* mapping() const {
    const auto* items = as<std::shared_ptr<const Mapping>>();
    return items == nullptr ? nullptr : items->get();
  }
  // Also of bool, as in Python.
  std::optional<int64_t> integer() const;
  std::optional<double> number() const;
  int depth() const;

 private:
  Variant data_;
};

struct Method {
  Value object;
  std::string name;
};
struct Namespace {
  Mapping attributes;
};

Value make_string(std::string text, Budget& budget);
Value make_list(std::vector<Value> items, Budget& budget,
                Sequence::Kind kind = Sequence::Kind::kList);
Value make_dict(Mapping mapping, Budget& budget);
Value make_undefined(std::string why);
Value from_json(const nlohmann::ordered_json& json, Budget& budget, int depth = 0);

bool is_true(const Value& value);
bool equal(const Value& a, const Value& b, Budget& budget);
// Below, equal or above zero. Fails for types that have no order.
int compare(const Value& a, const Value& b, Budget& budget);
// "str", "int", ... as Python names types.
std::string_view type_name(const Value& value);
// Fails with the reason if it is undefined.
void require_defined(const Value& value);

// str() and repr() of Python.
std::string to_text(const Value& value, Budget& budget);
std::string to_repr(const Value& value, Budget& budget);
std::string float_text(double number);

struct JsonStyle {
  std::optional<std::string> indent;  // what one level adds to a line's start; none: one line
  std::string item_separator = ", ", key_separator = ": ";
  bool ensure_ascii = false, sort_keys = false;
};
// json.dumps of Python.
std::string to_json(const Value& value, const JsonStyle& style, Budget& budget);

// The characters of a string, the items of a list, the keys of a dict; nothing when undefined.
std::vector<Value> iterate(const Value& value, Budget& budget);

// The order that sorts `count` things; what is equal keeps its order. `less` may be any function:
// numbers that are not numbers have no order.
std::vector<size_t> sorted_order(size_t count, const std::function<bool(size_t, size_t)>& less);

// Positions and lengths in strings count code points.
size_t count_characters(std::string_view text);
// The bytes of each character.
std::vector<std::string_view> characters(std::string_view text, Budget& budget);

}  // namespace sinter::runtime::jinja
