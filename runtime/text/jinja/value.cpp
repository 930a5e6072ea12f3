#include "runtime/text/jinja/value.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

#include "runtime/text/jinja/integer.h"
#include "runtime/text/tokenizer/utf8.h"

namespace sinter::runtime::jinja {
namespace {

// Up to so many keys are found faster one by one.
constexpr size_t kFewKeys = 8;

// Equal values have equal hashes. Fails for what has none.
size_t hash_of(const Value& value, Budget& budget) {
  budget.charge(8);
  if (const std::string* text = value.string()) {
    budget.charge(text->size() / 4);
    return std::hash<std::string_view>()(*text);
  }
  if (value.is_integer()) return hash_of_integer(value);
  if (const double* number = value.as<double>()) {
    if (std::isfinite(*number) && *number == std::trunc(*number))
      return hash_of_integer(from_float(*number));
    return std::hash<double>()(*number);
  }
  if (value.is_tuple()) {
    size_t hash = 3;
    for (const Value& item : *value.items()) hash = hash * 1000003 + hash_of(item, budget);
    return hash;
  }
  if (!is_hashable(value, budget))
    throw Failure{fmt::format("{} cannot be a key", described(value))};
  if (const auto* space = value.as<Namespace*>()) return std::hash<void*>()(*space);
  if (const auto* loop = value.as<Loop*>()) return std::hash<void*>()(*loop);
  if (const auto* macro = value.as<Macro*>()) return std::hash<void*>()(*macro);
  return 1;  // few kinds of keys that nobody has many of
}

bool same_items(const std::vector<Value>& a, const std::vector<Value>& b, Budget& budget) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i)
    if (!equal(a[i], b[i], budget)) return false;
  return true;
}

// Keys and items of dicts are sets.
bool same_set(const std::vector<Value>& a, const std::vector<Value>& b, Budget& budget) {
  return a.size() == b.size() && std::all_of(a.begin(), a.end(), [&](const Value& x) {
           return std::any_of(b.begin(), b.end(),
                              [&](const Value& y) { return equal(x, y, budget); });
         });
}

std::optional<int> compare_numbers(const Value& a, const Value& b, Budget& budget) {
  if (!a.is_number() || !b.is_number()) return std::nullopt;
  const double *x = a.as<double>(), *y = b.as<double>();
  if ((x != nullptr && std::isnan(*x)) || (y != nullptr && std::isnan(*y))) return 2;
  if (x != nullptr && y != nullptr) return *x < *y ? -1 : *x > *y ? 1 : 0;
  if (y != nullptr) return compare_with_float(a, *y);
  if (x != nullptr) return -compare_with_float(b, *x);
  return compare_integers(a, b, budget);
}

template <class T>
bool same_object(const Value& a, const Value& b) {
  const T *x = a.as<T>(), *y = b.as<T>();
  return x != nullptr && y != nullptr && *x == *y;
}

}  // namespace

bool Value::is_list() const {
  const Sequence* list = sequence();
  return list != nullptr && list->kind == Sequence::Kind::kList;
}

bool Value::is_tuple() const {
  const Sequence* list = sequence();
  return list != nullptr && list->kind == Sequence::Kind::kTuple;
}

const std::vector<Value>* Value::items() const {
  return is_list() || is_tuple() ? &sequence()->items : nullptr;
}

std::optional<int64_t> Value::integer() const {
  if (const int64_t* value = as<int64_t>()) return *value;
  if (const bool* value = as<bool>()) return *value ? 1 : 0;
  return std::nullopt;
}

int Value::depth() const {
  if (const Sequence* list = sequence()) return list->depth;
  if (const Mapping* dict = mapping()) return dict->depth();
  if (const Generator* values = generator()) return values->depth;
  if (const Method* bound = method()) return bound->object.depth() + 1;
  return 0;
}

size_t Mapping::index_of(const Value& key, Budget& budget) const {
  if (slots_.empty()) {
    if (!is_hashable(key, budget)) (void)hash_of(key, budget);
    for (size_t i = 0; i < items_.size(); ++i)
      if (equal(items_[i].first, key, budget)) return i;
    return SIZE_MAX;
  }
  const size_t mask = slots_.size() - 1;
  // Multiplied, since the hashes of small numbers are themselves.
  for (size_t slot = hash_of(key, budget) * 0x9E3779B97F4A7C15ull >> 20;; ++slot) {
    const uint32_t position = slots_[slot & mask];
    if (position == 0) return SIZE_MAX;
    if (equal(items_[position - 1].first, key, budget)) return position - 1;
  }
}

void Mapping::rebuild(Budget& budget) {
  slots_.assign(std::bit_ceil(items_.size() * 4), 0);
  budget.charge(slots_.size(), 4);
  const size_t mask = slots_.size() - 1;
  for (size_t i = 0; i < items_.size(); ++i) {
    size_t slot = hash_of(items_[i].first, budget) * 0x9E3779B97F4A7C15ull >> 20;
    while (slots_[slot & mask] != 0) {
      budget.charge(1);
      ++slot;
    }
    slots_[slot & mask] = static_cast<uint32_t>(i + 1);
  }
}

const Value* Mapping::find(const Value& key, Budget& budget) const {
  const size_t index = index_of(key, budget);
  return index == SIZE_MAX ? nullptr : &items_[index].second;
}

void Mapping::set(Value key, Value value, Budget& budget) {
  depth_ = std::max({depth_, value.depth() + 1, key.depth() + 1});
  if (depth_ > kMaxValueDepth) throw Failure{"dicts nest too deep"};
  if (const size_t index = index_of(key, budget); index != SIZE_MAX) {
    items_[index].second = std::move(value);
    return;
  }
  budget.charge(2 * kValueCost);
  items_.emplace_back(std::move(key), std::move(value));
  if (items_.size() <= kFewKeys) return;
  if (items_.size() * 2 > slots_.size()) return rebuild(budget);
  const size_t mask = slots_.size() - 1;
  size_t slot = hash_of(items_.back().first, budget) * 0x9E3779B97F4A7C15ull >> 20;
  while (slots_[slot & mask] != 0) {
    budget.charge(1);
    ++slot;
  }
  slots_[slot & mask] = static_cast<uint32_t>(items_.size());
}

Value make_string(std::string text, Budget& budget) {
  budget.charge(text.size() + kValueCost);
  return std::make_shared<const std::string>(std::move(text));
}

Value make_text(std::string text, bool markup, Budget& budget) {
  Value value = make_string(std::move(text), budget);
  return markup ? Value(Markup{*value.as<String>()}) : value;
}

Value make_list(std::vector<Value> items, Budget& budget, Sequence::Kind kind) {
  budget.charge(kValueCost * (items.size() + 1));
  int depth = 1;
  for (const Value& item : items) depth = std::max(depth, item.depth() + 1);
  if (depth > kMaxValueDepth) throw Failure{"lists nest too deep"};
  return std::make_shared<const Sequence>(Sequence{kind, std::move(items), depth, false});
}

Value make_tuple(std::vector<Value> items, Budget& budget) {
  return make_list(std::move(items), budget, Sequence::Kind::kTuple);
}

Value make_dict(Mapping mapping, Budget& budget) {
  budget.charge(kValueCost);
  return std::make_shared<const Mapping>(std::move(mapping));
}

Value make_generator(Next next, int depth, Budget& budget) {
  budget.charge(4 * kValueCost);
  if (depth + 1 > kMaxValueDepth) throw Failure{"generators nest too deep"};
  return std::make_shared<Generator>(Generator{std::move(next), depth + 1, false});
}

Value make_undefined(std::string why) {
  return Undefined{std::make_shared<const std::string>(std::move(why))};
}

Value from_json(const nlohmann::ordered_json& json, Budget& budget, int depth) {
  if (depth > kMaxValueDepth) throw Failure{"the JSON nests too deep"};
  using Type = nlohmann::ordered_json::value_t;
  switch (json.type()) {
    case Type::boolean:
      return json.get<bool>();
    case Type::number_integer:
      return json.get<int64_t>();
    case Type::number_unsigned:
      return *from_digits(fmt::format("{}", json.get<uint64_t>()), 10, budget);
    case Type::binary: {
      const auto& digits = json.get_binary();
      const auto value = from_digits(std::string(digits.begin(), digits.end()), 10, budget);
      if (!value) throw Failure{"a binary value has no JSON form"};
      return *value;
    }
    case Type::number_float:
      return json.get<double>();
    case Type::string:
      return make_string(json.get<std::string>(), budget);
    case Type::array: {
      std::vector<Value> items;
      for (const auto& item : json) items.push_back(from_json(item, budget, depth + 1));
      return make_list(std::move(items), budget);
    }
    case Type::object: {
      Mapping mapping;
      for (const auto& [key, item] : json.items())
        mapping.set(make_string(key, budget), from_json(item, budget, depth + 1), budget);
      return make_dict(std::move(mapping), budget);
    }
    default:
      return None{};
  }
}

bool is_true(const Value& value) {
  if (value.is<Undefined>() || value.is<None>()) return false;
  if (value.is_integer()) return sign(value) != 0;
  if (const double* number = value.as<double>()) return *number != 0;
  if (const std::string* text = value.string()) return !text->empty();
  if (const Sequence* list = value.sequence()) return !list->items.empty();
  if (const Mapping* dict = value.mapping()) return dict->size() != 0;
  if (const Range* range = value.range()) return range->size != 0;
  return true;
}

bool equal(const Value& a, const Value& b, Budget& budget) {
  budget.charge(16);
  if (const std::string *x = a.string(), *y = b.string(); x != nullptr && y != nullptr) {
    if (x->size() != y->size()) return false;
    budget.charge(x->size() / 8);
    return *x == *y;
  }
  if (const auto order = compare_numbers(a, b, budget)) return *order == 0;
  if (const Sequence *x = a.sequence(), *y = b.sequence(); x != nullptr && y != nullptr) {
    using Kind = Sequence::Kind;
    if (x->kind != y->kind) return false;
    if (x->kind == Kind::kValues) return x == y;
    if (x->kind == Kind::kKeys || x->kind == Kind::kItems)
      return same_set(x->items, y->items, budget);
    return same_items(x->items, y->items, budget);
  }
  if (const Mapping *x = a.mapping(), *y = b.mapping(); x != nullptr && y != nullptr) {
    if (x->size() != y->size()) return false;
    for (const auto& [key, value] : x->items()) {
      const Value* other = y->find(key, budget);
      if (other == nullptr || !equal(value, *other, budget)) return false;
    }
    return true;
  }
  if (const Range *x = a.range(), *y = b.range(); x != nullptr && y != nullptr)
    return x->size == y->size && (x->size == 0 || x->start == y->start) &&
           (x->size <= 1 || x->step == y->step);
  if (a.generator() != nullptr) return a.generator() == b.generator();
  if (const Method *x = a.method(), *y = b.method(); x != nullptr && y != nullptr)
    return x->name == y->name && equal(x->object, y->object, budget);
  if (const auto *x = a.as<Function>(), *y = b.as<Function>(); x != nullptr && y != nullptr)
    return x->name == y->name;
  return same_object<Namespace*>(a, b) || same_object<Loop*>(a, b) || same_object<Macro*>(a, b) ||
         same_object<Cycler*>(a, b) || same_object<Joiner*>(a, b) ||
         (a.is<None>() && b.is<None>()) || (a.is<Undefined>() && b.is<Undefined>());
}

int compare(const Value& a, const Value& b, Budget& budget) {
  budget.charge(8);
  require_defined(a);
  require_defined(b);
  if (const auto order = compare_numbers(a, b, budget)) return *order;
  if (const std::string *x = a.string(), *y = b.string(); x != nullptr && y != nullptr) {
    budget.charge(std::min(x->size(), y->size()) / 8);
    const int order = x->compare(*y);  // the order of UTF-8 is that of code points
    return order < 0 ? -1 : order > 0 ? 1 : 0;
  }
  const std::vector<Value>*x = a.items(), *y = b.items();
  if (x != nullptr && y != nullptr && a.is_list() == b.is_list()) {
    for (size_t i = 0; i < std::min(x->size(), y->size()); ++i)
      if (!equal((*x)[i], (*y)[i], budget)) return compare((*x)[i], (*y)[i], budget);
    return x->size() < y->size() ? -1 : x->size() > y->size() ? 1 : 0;
  }
  throw Failure{fmt::format("{} and {} have no order", described(a), described(b))};
}

bool is_hashable(const Value& value, Budget& budget) {
  budget.charge(8);  // tuples that share their items are walked as if they did not
  if (value.mapping() != nullptr) return false;
  const Sequence* list = value.sequence();
  if (list == nullptr) return true;
  if (list->kind == Sequence::Kind::kValues) return true;
  return list->kind == Sequence::Kind::kTuple &&
         std::all_of(list->items.begin(), list->items.end(),
                     [&](const Value& item) { return is_hashable(item, budget); });
}

std::string_view type_name(const Value& value) {
  if (value.is<None>()) return "NoneType";
  if (value.is<bool>()) return "bool";
  if (value.is_integer()) return "int";
  if (value.is<double>()) return "float";
  if (value.string() != nullptr) return value.is_markup() ? "Markup" : "str";
  if (value.mapping() != nullptr) return "dict";
  if (const Sequence* list = value.sequence()) {
    switch (list->kind) {
      case Sequence::Kind::kList:
        return "list";
      case Sequence::Kind::kTuple:
        return "tuple";
      case Sequence::Kind::kKeys:
        return "dict_keys";
      case Sequence::Kind::kValues:
        return "dict_values";
      case Sequence::Kind::kItems:
        return "dict_items";
    }
  }
  if (value.range() != nullptr) return "range";
  if (value.generator() != nullptr) return "generator";
  if (value.is<Namespace*>()) return "Namespace";
  if (value.is<Loop*>()) return "LoopContext";
  if (value.is<Macro*>()) return "Macro";
  if (value.is<Cycler*>()) return "Cycler";
  if (value.is<Joiner*>()) return "Joiner";
  if (value.is<Undefined>()) return "Undefined";
  return value.method() != nullptr ? "method" : "function";
}

std::string described(const Value& value) {
  const std::string_view name = type_name(value);
  const bool vowel = std::string_view("aeiouAEIOU").find(name[0]) != std::string_view::npos;
  return fmt::format("{} {}", vowel ? "an" : "a", name);
}

void require_defined(const Value& value) {
  const Undefined* undefined = value.as<Undefined>();
  if (undefined != nullptr)
    throw Failure{undefined->why ? *undefined->why : "a value is undefined"};
}

bool is_iterable(const Value& value) {
  return value.is<Undefined>() || value.string() != nullptr || value.sequence() != nullptr ||
         value.mapping() != nullptr || value.range() != nullptr || value.generator() != nullptr;
}

Next iterator(const Value& value, Budget& budget) {
  budget.charge(kValueCost);
  if (value.is<Undefined>()) return [] { return std::nullopt; };
  if (value.sequence() != nullptr) {
    return [value, i = size_t{0}]() mutable -> std::optional<Value> {
      const std::vector<Value>& items = value.sequence()->items;
      if (i == items.size()) return std::nullopt;
      return items[i++];
    };
  }
  if (value.string() != nullptr) {
    return [value, at = size_t{0}, &budget]() mutable -> std::optional<Value> {
      const std::string_view rest = std::string_view(*value.string()).substr(at);
      if (rest.empty()) return std::nullopt;
      const size_t size = tokenizer::next_utf8(rest).length;
      at += size;
      return make_string(std::string(rest.substr(0, size)), budget);
    };
  }
  if (value.mapping() != nullptr) {
    return [value, i = size_t{0}]() mutable -> std::optional<Value> {
      const auto& items = value.mapping()->items();
      if (i == items.size()) return std::nullopt;
      return items[i++].first;
    };
  }
  if (value.range() != nullptr) {
    return [value, i = int64_t{0}]() mutable -> std::optional<Value> {
      const Range& range = *value.range();
      if (i == range.size) return std::nullopt;
      return range.at(i++);
    };
  }
  if (const auto* shared = value.as<std::shared_ptr<Generator>>()) {
    return [values = *shared]() -> std::optional<Value> {
      if (values->running) throw Failure{"a generator is asked for values while it makes one"};
      if (!values->next) return std::nullopt;
      values->running = true;
      std::optional<Value> value = values->next();
      values->running = false;
      if (!value) values->next = nullptr;
      return value;
    };
  }
  throw Failure{fmt::format("a {} cannot be iterated over", type_name(value))};
}

std::vector<Value> iterate(const Value& value, Budget& budget) {
  std::vector<Value> items;
  if (const Sequence* list = value.sequence()) {
    budget.charge(list->items.size(), kValueCost);
    return list->items;
  }
  const Next next = iterator(value, budget);
  while (std::optional<Value> item = next()) {
    budget.charge(kValueCost);
    items.push_back(*std::move(item));
  }
  return items;
}

std::optional<int64_t> length(const Value& value, Budget& budget) {
  if (const std::string* text = value.string()) {
    budget.charge(text->size() / 8);
    return static_cast<int64_t>(count_characters(*text));
  }
  if (const Mapping* dict = value.mapping()) return static_cast<int64_t>(dict->size());
  if (const Sequence* list = value.sequence()) return static_cast<int64_t>(list->items.size());
  if (const Range* range = value.range()) return range->size;
  if (value.is<Undefined>()) return 0;
  return std::nullopt;
}

std::vector<size_t> sorted_order(size_t count, const std::function<bool(size_t, size_t)>& less) {
  std::vector<size_t> order(count), merged(count);
  std::iota(order.begin(), order.end(), size_t{0});
  for (size_t run = 1; run < count; run *= 2) {
    for (size_t begin = 0; begin < count; begin += 2 * run) {
      const size_t middle = std::min(begin + run, count), end = std::min(begin + 2 * run, count);
      size_t left = begin, right = middle;
      for (size_t i = begin; i < end; ++i) {
        const bool from_right = left == middle || (right < end && less(order[right], order[left]));
        merged[i] = order[from_right ? right++ : left++];
      }
    }
    order.swap(merged);
  }
  return order;
}

size_t count_characters(std::string_view text) {
  return static_cast<size_t>(std::count_if(
      text.begin(), text.end(), [](char c) { return (static_cast<uint8_t>(c) & 0xC0) != 0x80; }));
}

std::vector<std::string_view> characters(std::string_view text, Budget& budget) {
  budget.charge(text.size(), 20);
  std::vector<std::string_view> parts;
  while (!text.empty()) {
    const size_t length = tokenizer::next_utf8(text).length;
    parts.push_back(text.substr(0, length));
    text.remove_prefix(length);
  }
  return parts;
}

size_t byte_at(std::string_view text, int64_t character) {
  size_t at = 0;
  for (; character > 0 && at < text.size(); --character)
    at += tokenizer::next_utf8(text.substr(at)).length;
  return at;
}

}  // namespace sinter::runtime::jinja
