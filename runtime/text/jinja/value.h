// Values of the template language: Python's, without the means to change them.
#pragma once

#include <algorithm>
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

// Thrown within the interpreter; caught where its API begins (runtime/text/chat_template.cpp).
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
  // To be called when the variables have been read: what is left then depends on how many they are,
  // so that a small conversation cannot make a text of hundreds of megabytes.
  void end_input() {
    constexpr size_t kBase = size_t{1} << 26, kPerUnit = 128;
    left_ = std::min(left_, kBase + kPerUnit * (kMost - left_));
  }
  // a * b units, which may be beyond size_t.
  void charge(size_t a, size_t b) {
    size_t units = 0;
    charge(__builtin_mul_overflow(a, b, &units) ? SIZE_MAX : units);
  }

 private:
  static constexpr size_t kMost = size_t{1} << 28;
  size_t left_ = kMost;
};

inline constexpr size_t kNodeCost = 64;   // of evaluating one node
inline constexpr size_t kValueCost = 80;  // of keeping one value
// Lists, dicts and generators nest at most so deep: the C++ stack follows them.
inline constexpr int kMaxValueDepth = 200;

class Value;
struct BigInteger;  // of more than 64 bits: runtime/text/jinja/integer.h
struct Loop;        // the `loop` of a for statement
struct Macro;       // with the scope that it was defined in
struct Namespace;   // the one kind of object that a template can change at will
struct Cycler;
struct Joiner;

// What a name or attribute that is not there evaluates to; using it fails with the reason.
struct Undefined {
  std::shared_ptr<const std::string> why;
};
struct None {};
using String = std::shared_ptr<const std::string>;
// A string that is HTML already: what is joined to it is escaped.
struct Markup {
  String text;
};

struct Sequence;  // lists, tuples and the like
class Mapping;    // dicts
struct Range;
struct Generator;

// A method together with its object: what `text.upper` is before it is called.
struct Method;
// A function that every template has, by name.
struct Function {
  std::string_view name;
};

// Objects behind plain pointers belong to the evaluator and live as long as it: templates can make
// cycles of them.
class Value {
 public:
  using Variant = std::variant<Undefined, None, bool, int64_t, std::shared_ptr<const BigInteger>,
                               double, String, Markup, std::shared_ptr<const Sequence>,
                               std::shared_ptr<const Mapping>, std::shared_ptr<const Range>,
                               std::shared_ptr<Generator>, std::shared_ptr<const Method>, Function,
                               Namespace*, Loop*, Macro*, Cycler*, Joiner*>;
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
  // Of strings of both kinds.
  const std::string* string() const {
    if (const String* text = as<String>()) return text->get();
    const Markup* markup = as<Markup>();
    return markup == nullptr ? nullptr : markup->text.get();
  }
  bool is_markup() const { return is<Markup>(); }
  const Sequence* sequence() const { return pointer<const Sequence>(); }
  // The items of a list or a tuple; null for what is neither.
  const std::vector<Value>* items() const;
  bool is_list() const;
  bool is_tuple() const;
  const Mapping* mapping() const { return pointer<const Mapping>(); }
  const Range* range() const { return pointer<const Range>(); }
  Generator* generator() const { return pointer<Generator>(); }
  const Method* method() const { return pointer<const Method>(); }
  const BigInteger* big_integer() const { return pointer<const BigInteger>(); }
  // Of int and bool, as in Python, where 64 bits hold it.
  std::optional<int64_t> integer() const;
  // int of any size, bool or float.
  bool is_integer() const { return integer().has_value() || big_integer() != nullptr; }
  bool is_number() const { return is<double>() || is_integer(); }
  int depth() const;

 private:
  template <class T>
  T* pointer() const {
    const auto* found = as<std::shared_ptr<T>>();
    return found == nullptr ? nullptr : found->get();
  }
  Variant data_;
};

struct Sequence {
  enum class Kind { kList, kTuple, kKeys, kValues, kItems };
  Kind kind = Kind::kList;
  std::vector<Value> items;
  int depth = 1;
  bool group = false;  // a tuple of `groupby`: its items are called grouper and list
};

// A dict: distinct keys in the order of their insertion.
class Mapping {
 public:
  const std::vector<std::pair<Value, Value>>& items() const { return items_; }
  size_t size() const { return items_.size(); }
  int depth() const { return depth_; }
  // Both fail when the key cannot be hashed.
  const Value* find(const Value& key, Budget& budget) const;
  void set(Value key, Value value, Budget& budget);

 private:
  size_t index_of(const Value& key, Budget& budget) const;  // SIZE_MAX: it is not here
  void rebuild(Budget& budget);

  std::vector<std::pair<Value, Value>> items_;
  // A hash table with open addressing of positions in items_, plus one; empty while a few keys are
  // found faster one by one. Its size is a power of two.
  std::vector<uint32_t> slots_;
  int depth_ = 1;
};

struct Range {
  int64_t start, stop, step;
  int64_t size;
  int64_t at(int64_t i) const { return start + i * step; }
};

// Gives values one after the other, once.
using Next = std::function<std::optional<Value>()>;
struct Generator {
  Next next;
  int depth = 1;
  bool running = false;
};

struct Method {
  Value object;
  std::string name;
};
struct Namespace {
  Mapping attributes;
};
struct Cycler {
  std::vector<Value> items;
  size_t position = 0;
};
struct Joiner {
  Value separator;
  bool used = false;
};

Value make_string(std::string text, Budget& budget);
// Markup if `markup`, else a plain string.
Value make_text(std::string text, bool markup, Budget& budget);
Value make_list(std::vector<Value> items, Budget& budget,
                Sequence::Kind kind = Sequence::Kind::kList);
Value make_tuple(std::vector<Value> items, Budget& budget);
Value make_dict(Mapping mapping, Budget& budget);
// `depth`: the depth of what it holds.
Value make_generator(Next next, int depth, Budget& budget);
Value make_undefined(std::string why);
// An integer of more than 64 bits is a binary value that holds its digits
// (runtime/support/json_text.h).
Value from_json(const nlohmann::ordered_json& json, Budget& budget, int depth = 0);

bool is_true(const Value& value);
bool equal(const Value& a, const Value& b, Budget& budget);
// Below, equal or above zero; 2 for numbers that have no order. Fails for types that have no order.
int compare(const Value& a, const Value& b, Budget& budget);
inline bool less(const Value& a, const Value& b, Budget& budget) {
  return compare(a, b, budget) < 0;
}
bool is_hashable(const Value& value, Budget& budget);
// "str", "int", ... as Python names types.
std::string_view type_name(const Value& value);
// The same with its article: "an int".
std::string described(const Value& value);
// Fails with the reason if it is undefined.
void require_defined(const Value& value);

// str() and repr() of Python.
std::string to_text(const Value& value, Budget& budget);
std::string to_repr(const Value& value, Budget& budget);
// repr() of a string; `ascii`: with what is not ASCII escaped.
std::string quoted(std::string_view text, bool ascii);
std::string float_text(double number);

struct JsonStyle {
  std::optional<std::string> indent;  // what one level adds to a line's start; none: one line
  std::string item_separator = ", ", key_separator = ": ";
  bool ensure_ascii = false, sort_keys = false;
};
// json.dumps of Python.
std::string to_json(const Value& value, const JsonStyle& style, Budget& budget);

// iter() of Python: the characters of a string, the items of a list, the keys of a dict, what is
// left of a generator; nothing when undefined. Fails for what cannot be iterated over.
Next iterator(const Value& value, Budget& budget);
bool is_iterable(const Value& value);
// All of it.
std::vector<Value> iterate(const Value& value, Budget& budget);
// len(), of what has one.
std::optional<int64_t> length(const Value& value, Budget& budget);

// The order that sorts `count` things; what is equal keeps its order. `less` may be any function:
// numbers that are not numbers have no order.
std::vector<size_t> sorted_order(size_t count, const std::function<bool(size_t, size_t)>& less);

// Positions and lengths in strings count code points.
size_t count_characters(std::string_view text);
// The bytes of each character.
std::vector<std::string_view> characters(std::string_view text, Budget& budget);
// The byte position of a character of the text.
size_t byte_at(std::string_view text, int64_t character);

}  // namespace sinter::runtime::jinja
