#include "runtime/jinja_value.h"

#include <fmt/format.h>
#include <utf8proc.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "runtime/tokenizer_utf8.h"

namespace sinter::runtime::jinja {
namespace {

using tokenizer::next_utf8;

bool is_printable(uint32_t code_point) {
  if (code_point == ' ') return true;
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(code_point))) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
      return false;
    default:
      return true;
  }
}

std::string python_quoted(std::string_view text) {
  const char quote = text.find('\'') != text.npos && text.find('"') == text.npos ? '"' : '\'';
  std::string out(1, quote);
  while (!text.empty()) {
    const tokenizer::Utf8Unit unit = next_utf8(text);
    const uint32_t c = unit.code_point;
    if (c == static_cast<uint32_t>(quote) || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (is_printable(c)) {
      out += text.substr(0, unit.length);
    } else {
      out += c < 0x100     ? fmt::format("\\x{:02x}", c)
             : c < 0x10000 ? fmt::format("\\u{:04x}", c)
                           : fmt::format("\\U{:08x}", c);
    }
    text.remove_prefix(unit.length);
  }
  return out + quote;
}

class Repr {
 public:
  explicit Repr(Budget& budget) : budget_(budget) {}

  void write(const Value& value, int depth) {
    // Only namespaces can hold themselves.
    if (depth > 2 * kMaxValueDepth) throw Failure{"a namespace that holds itself has no text"};
    budget_.charge(kNodeCost);
    if (const std::string* text = value.string()) return add(python_quoted(*text));
    if (const Sequence* list = value.sequence()) return write_sequence(*list, depth);
    if (const Mapping* dict = value.mapping()) return write_mapping(*dict, depth);
    if (const auto* object = value.as<Namespace*>()) {
      add("<Namespace ");
      write_mapping((*object)->attributes, depth);
      return add(">");
    }
    if (const bool* truth = value.as<bool>()) return add(*truth ? "True" : "False");
    if (const int64_t* integer = value.as<int64_t>()) return add(fmt::format("{}", *integer));
    if (const double* number = value.as<double>()) return add(float_text(*number));
    if (value.is<None>()) return add("None");
    if (value.is<Undefined>()) return add("Undefined");
    add(fmt::format("<{}>", type_name(value)));
  }
  std::string take() { return std::move(out_); }

 private:
  void add(std::string_view text) {
    budget_.charge(text.size());
    out_ += text;
  }
  void write_sequence(const Sequence& list, int depth) {
    using Kind = Sequence::Kind;
    if (list.kind == Kind::kGenerator) return add("<generator object>");
    const bool tuple = list.kind == Kind::kTuple;
    if (list.kind == Kind::kKeys) add("dict_keys(");
    if (list.kind == Kind::kValues) add("dict_values(");
    if (list.kind == Kind::kItems) add("dict_items(");
    add(tuple ? "(" : "[");
    for (size_t i = 0; i < list.items.size(); ++i) {
      if (i != 0) add(", ");
      write(list.items[i], depth + 1);
    }
    if (tuple && list.items.size() == 1) add(",");
    add(tuple ? ")" : "]");
    if (!tuple && list.kind != Kind::kList) add(")");
  }
  void write_mapping(const Mapping& dict, int depth) {
    add("{");
    for (size_t i = 0; i < dict.items.size(); ++i) {
      if (i != 0) add(", ");
      write(dict.items[i].first, depth + 1);
      add(": ");
      write(dict.items[i].second, depth + 1);
    }
    add("}");
  }

  Budget& budget_;
  std::string out_;
};

class JsonWriter {
 public:
  JsonWriter(const JsonStyle& style, Budget& budget) : style_(style), budget_(budget) {}

  void write(const Value& value, size_t level) {
    budget_.charge(kNodeCost);
    if (const std::string* text = value.string()) return write_string(*text);
    if (const Sequence* list = value.sequence()) {
      if (list->kind == Sequence::Kind::kList || list->kind == Sequence::Kind::kTuple)
        return write_list(*list, level);
    }
    if (const Mapping* dict = value.mapping()) return write_dict(*dict, level);
    const std::optional<std::string> scalar = scalar_text(value);
    if (!scalar) {
      require_defined(value);
      throw Failure{fmt::format("tojson: an object of type {} has no JSON form", type_name(value))};
    }
    add(*scalar);
  }
  std::string take() { return std::move(out_); }

 private:
  void add(std::string_view text) {
    budget_.charge(text.size());
    out_ += text;
  }
  static std::optional<std::string> scalar_text(const Value& value) {
    if (const bool* truth = value.as<bool>()) return *truth ? "true" : "false";
    if (const int64_t* integer = value.as<int64_t>()) return fmt::format("{}", *integer);
    if (value.is<None>()) return "null";
    const double* number = value.as<double>();
    if (number == nullptr) return std::nullopt;
    if (std::isnan(*number)) return "NaN";
    if (std::isinf(*number)) return *number > 0 ? "Infinity" : "-Infinity";
    return float_text(*number);
  }
  void new_line(size_t level) {
    if (!style_.indent) return;
    budget_.charge(style_.indent->size() * level + 1);
    out_ += '\n';
    for (size_t i = 0; i < level; ++i) out_ += *style_.indent;
  }
  void write_list(const Sequence& list, size_t level) {
    if (list.items.empty()) return add("[]");
    add("[");
    for (size_t i = 0; i < list.items.size(); ++i) {
      if (i != 0) add(style_.item_separator);
      new_line(level + 1);
      write(list.items[i], level + 1);
    }
    new_line(level);
    add("]");
  }
  void write_dict(const Mapping& dict, size_t level) {
    if (dict.items.empty()) return add("{}");
    budget_.charge(kValueCost * dict.items.size());
    const std::vector<size_t> order = sorted_order(dict.items.size(), [&](size_t a, size_t b) {
      return style_.sort_keys && compare(dict.items[a].first, dict.items[b].first, budget_) < 0;
    });
    add("{");
    for (size_t i = 0; i < order.size(); ++i) {
      if (i != 0) add(style_.item_separator);
      new_line(level + 1);
      const Value& key = dict.items[order[i]].first;
      if (const std::string* text = key.string()) {
        write_string(*text);
      } else if (const auto scalar = scalar_text(key)) {
        write_string(*scalar);
      } else {
        throw Failure{fmt::format("tojson: a key of type {} has no JSON form", type_name(key))};
      }
      add(style_.key_separator);
      write(dict.items[order[i]].second, level + 1);
    }
    new_line(level);
    add("}");
  }
  void write_string(std::string_view text) {
    budget_.charge(2 * text.size() + 2);
    out_ += '"';
    while (!text.empty()) {
      const tokenizer::Utf8Unit unit = next_utf8(text);
      const uint32_t c = unit.code_point;
      const size_t escape = std::string_view("\"\\\b\f\n\r\t").find(static_cast<char>(c));
      if (c < 0x80 && escape != std::string_view::npos) {
        out_ += '\\';
        out_ += "\"\\bfnrt"[escape];
      } else if (c < 0x20 || (c >= 0x7f && style_.ensure_ascii && c < 0x10000)) {
        out_ += c == 0x7f ? "\x7f" : fmt::format("\\u{:04x}", c);
      } else if (c >= 0x10000 && style_.ensure_ascii) {
        out_ += fmt::format("\\u{:04x}\\u{:04x}", 0xd800 + ((c - 0x10000) >> 10),
                            0xdc00 + ((c - 0x10000) & 0x3ff));
      } else {
        out_ += text.substr(0, unit.length);
      }
      text.remove_prefix(unit.length);
    }
    out_ += '"';
  }

  const JsonStyle& style_;
  Budget& budget_;
  std::string out_;
};

}  // namespace

std::optional<int64_t> Value::integer() const {
  if (const int64_t* value = as<int64_t>()) return *value;
  if (const bool* value = as<bool>()) return *value ? 1 : 0;
  return std::nullopt;
}

std::optional<double> Value::number() const {
  if (const double* value = as<double>()) return *value;
  if (const auto value = integer()) return static_cast<double>(*value);
  return std::nullopt;
}

int Value::depth() const {
  if (const Sequence* list = sequence()) return list->depth;
  if (const Mapping* dict = mapping()) return dict->depth;
  if (const auto* method = as<std::shared_ptr<const Method>>())
    return (*method)->object.depth() + 1;
  return 0;
}

const Value* Mapping::find(const Value& key, Budget& budget) const {
  budget.charge(items.size());
  const std::string* wanted = key.string();
  for (const auto& [name, value] : items) {
    if (wanted != nullptr) {
      const std::string* text = name.string();
      if (text != nullptr && *text == *wanted) return &value;
    } else if (equal(name, key, budget)) {
      return &value;
    }
  }
  return nullptr;
}

void Mapping::set(Value key, Value value, Budget& budget) {
  if (key.sequence() != nullptr && key.sequence()->kind == Sequence::Kind::kTuple) {
    // Hashable if its items are; nothing here depends on it.
  } else if (key.sequence() != nullptr || key.mapping() != nullptr) {
    throw Failure{fmt::format("a {} cannot be a key", type_name(key))};
  }
  depth = std::max({depth, value.depth() + 1, key.depth() + 1});
  if (depth > kMaxValueDepth) throw Failure{"dicts nest too deep"};
  if (const Value* found = find(key, budget)) {
    *const_cast<Value*>(found) = std::move(value);
    return;
  }
  budget.charge(2 * kValueCost);
  items.emplace_back(std::move(key), std::move(value));
}

Value make_string(std::string text, Budget& budget) {
  budget.charge(text.size() + kValueCost);
  return std::make_shared<const std::string>(std::move(text));
}

Value make_list(std::vector<Value> items, Budget& budget, Sequence::Kind kind) {
  budget.charge(kValueCost * (items.size() + 1));
  int depth = 1;
  for (const Value& item : items) depth = std::max(depth, item.depth() + 1);
  if (depth > kMaxValueDepth) throw Failure{"lists nest too deep"};
  return std::make_shared<const Sequence>(Sequence{kind, std::move(items), depth});
}

Value make_dict(Mapping mapping, Budget& budget) {
  budget.charge(kValueCost);
  return std::make_shared<const Mapping>(std::move(mapping));
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
      if (json.get<uint64_t>() > uint64_t{INT64_MAX})
        throw Failure{fmt::format("the number {} is too large", json.get<uint64_t>())};
      return static_cast<int64_t>(json.get<uint64_t>());
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
      for (const auto& [key, item] : json.items()) {
        budget.charge(2 * kValueCost);
        mapping.items.emplace_back(make_string(key, budget), from_json(item, budget, depth + 1));
        mapping.depth = std::max(mapping.depth, mapping.items.back().second.depth() + 1);
      }
      if (mapping.depth > kMaxValueDepth) throw Failure{"dicts nest too deep"};
      return make_dict(std::move(mapping), budget);
    }
    default:
      return None{};
  }
}

bool is_true(const Value& value) {
  if (value.is<Undefined>() || value.is<None>()) return false;
  if (const auto number = value.number()) return *number != 0;
  if (const std::string* text = value.string()) return !text->empty();
  if (const Sequence* list = value.sequence())
    return list->kind == Sequence::Kind::kGenerator || !list->items.empty();
  if (const Mapping* dict = value.mapping()) return !dict->items.empty();
  return true;
}

bool equal(const Value& a, const Value& b, Budget& budget) {
  budget.charge(16);
  if (const auto x = a.integer(), y = b.integer(); x && y) return *x == *y;
  if (const auto x = a.number(), y = b.number(); x && y) return *x == *y;
  if (const std::string *x = a.string(), *y = b.string(); x != nullptr && y != nullptr) {
    if (x->size() != y->size()) return false;
    budget.charge(x->size() / 16);
    return *x == *y;
  }
  if (const Sequence *x = a.sequence(), *y = b.sequence(); x != nullptr && y != nullptr) {
    if (x->kind != y->kind || x->items.size() != y->items.size()) return false;
    for (size_t i = 0; i < x->items.size(); ++i)
      if (!equal(x->items[i], y->items[i], budget)) return false;
    return true;
  }
  if (const Mapping *x = a.mapping(), *y = b.mapping(); x != nullptr && y != nullptr) {
    if (x->items.size() != y->items.size()) return false;
    for (const auto& [key, value] : x->items) {
      const Value* other = y->find(key, budget);
      if (other == nullptr || !equal(value, *other, budget)) return false;
    }
    return true;
  }
  if (const auto *x = a.as<Namespace*>(), *y = b.as<Namespace*>(); x != nullptr && y != nullptr)
    return *x == *y;
  if (const auto *x = a.as<Loop*>(), *y = b.as<Loop*>(); x != nullptr && y != nullptr)
    return *x == *y;
  if (const auto *x = a.as<Macro*>(), *y = b.as<Macro*>(); x != nullptr && y != nullptr)
    return *x == *y;
  if (const auto *x = a.as<Function>(), *y = b.as<Function>(); x != nullptr && y != nullptr)
    return x->name == y->name;
  return (a.is<None>() && b.is<None>()) || (a.is<Undefined>() && b.is<Undefined>());
}

int compare(const Value& a, const Value& b, Budget& budget) {
  budget.charge(1);
  require_defined(a);
  require_defined(b);
  const auto order = [](const auto& x, const auto& y) { return x < y ? -1 : y < x ? 1 : 0; };
  if (const auto x = a.integer(), y = b.integer(); x && y) return order(*x, *y);
  if (const auto x = a.number(), y = b.number(); x && y) return order(*x, *y);
  if (const std::string *x = a.string(), *y = b.string(); x != nullptr && y != nullptr) {
    budget.charge(std::min(x->size(), y->size()) / 16);
    return order(x->compare(*y), 0);  // the order of UTF-8 is that of code points
  }
  if (const Sequence *x = a.sequence(), *y = b.sequence();
      x != nullptr && y != nullptr && x->kind == y->kind) {
    for (size_t i = 0; i < std::min(x->items.size(), y->items.size()); ++i)
      if (!equal(x->items[i], y->items[i], budget))
        return compare(x->items[i], y->items[i], budget);
    return order(x->items.size(), y->items.size());
  }
  throw Failure{fmt::format("a {} and a {} have no order", type_name(a), type_name(b))};
}

std::string_view type_name(const Value& value) {
  if (value.is<None>()) return "NoneType";
  if (value.is<bool>()) return "bool";
  if (value.is<int64_t>()) return "int";
  if (value.is<double>()) return "float";
  if (value.string() != nullptr) return "str";
  if (value.mapping() != nullptr) return "dict";
  if (const Sequence* list = value.sequence()) {
    switch (list->kind) {
      case Sequence::Kind::kList:
        return "list";
      case Sequence::Kind::kTuple:
        return "tuple";
      case Sequence::Kind::kGenerator:
        return "generator";
      case Sequence::Kind::kKeys:
        return "dict_keys";
      case Sequence::Kind::kValues:
        return "dict_values";
      case Sequence::Kind::kItems:
        return "dict_items";
    }
  }
  if (value.is<Namespace*>()) return "Namespace";
  if (value.is<Loop*>()) return "LoopContext";
  if (value.is<Macro*>()) return "Macro";
  if (value.is<Undefined>()) return "Undefined";
  return "function";
}

void require_defined(const Value& value) {
  const Undefined* undefined = value.as<Undefined>();
  if (undefined != nullptr)
    throw Failure{undefined->why ? *undefined->why : "a value is undefined"};
}

std::string to_text(const Value& value, Budget& budget) {
  if (value.is<Undefined>()) return "";
  if (const std::string* text = value.string()) {
    budget.charge(text->size());
    return *text;
  }
  return to_repr(value, budget);
}

std::string to_repr(const Value& value, Budget& budget) {
  Repr repr(budget);
  repr.write(value, 0);
  return repr.take();
}

std::string float_text(double number) {
  if (std::isnan(number)) return "nan";
  if (std::isinf(number)) return number > 0 ? "inf" : "-inf";
  std::string text = fmt::format("{}", number);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

std::string to_json(const Value& value, const JsonStyle& style, Budget& budget) {
  JsonWriter writer(style, budget);
  writer.write(value, 0);
  return writer.take();
}

std::vector<Value> iterate(const Value& value, Budget& budget) {
  std::vector<Value> items;
  if (value.is<Undefined>()) return items;
  if (const Sequence* list = value.sequence()) {
    budget.charge(kValueCost * list->items.size());
    return list->items;
  }
  if (const std::string* text = value.string()) {
    for (const std::string_view character : characters(*text, budget))
      items.push_back(make_string(std::string(character), budget));
    return items;
  }
  if (const Mapping* dict = value.mapping()) {
    budget.charge(kValueCost * dict->items.size());
    for (const auto& [key, item] : dict->items) items.push_back(key);
    return items;
  }
  throw Failure{fmt::format("a {} cannot be iterated over", type_name(value))};
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
  budget.charge(kValueCost * text.size());
  std::vector<std::string_view> parts;
  while (!text.empty()) {
    const size_t length = next_utf8(text).length;
    parts.push_back(text.substr(0, length));
    text.remove_prefix(length);
  }
  return parts;
}

}  // namespace sinter::runtime::jinja
