// str() and repr() of Python.
#include <fmt/format.h>
#include <cmath>

#include "runtime/text/jinja/evaluator.h"
#include "runtime/text/jinja/integer.h"
#include "runtime/text/jinja/text.h"
#include "runtime/text/tokenizer/utf8.h"

namespace sinter::runtime::jinja {
namespace {

using tokenizer::next_utf8;

class Repr {
 public:
  explicit Repr(Budget& budget) : budget_(budget) {}

  void write(const Value& value, int depth) {
    // Only namespaces can hold themselves.
    if (depth > 2 * kMaxValueDepth) throw Failure{"a namespace that holds itself has no text"};
    budget_.charge(kNodeCost);
    if (const std::string* text = value.string()) {
      budget_.charge(text->size(), 6);
      const std::string name = quoted(*text, false);
      return add(value.is_markup() ? "Markup(" + name + ")" : name);
    }
    if (const Sequence* list = value.sequence()) return write_sequence(*list, depth);
    if (const Mapping* dict = value.mapping()) return write_mapping(*dict, depth);
    if (const Range* range = value.range())
      return add(range->step == 1
                     ? fmt::format("range({}, {})", range->start, range->stop)
                     : fmt::format("range({}, {}, {})", range->start, range->stop, range->step));
    if (const auto* object = value.as<Namespace*>()) {
      add("<Namespace ");
      write_mapping((*object)->attributes, depth);
      return add(">");
    }
    if (const bool* truth = value.as<bool>()) return add(*truth ? "True" : "False");
    if (value.is_integer()) return add(integer_text(value, 10, budget_));
    if (const double* number = value.as<double>()) return add(float_text(*number));
    if (value.is<None>()) return add("None");
    if (value.is<Undefined>()) return add("Undefined");
    if (const auto* macro = value.as<Macro*>()) return add((*macro)->repr());
    if (const auto* function = value.as<Function>()) {
      const std::string_view name = function->name;
      if (name == "dict") return add("<class 'dict'>");
      if (name == "namespace") return add("<class 'jinja2.utils.Namespace'>");
      if (name == "cycler") return add("<class 'jinja2.utils.Cycler'>");
      if (name == "joiner") return add("<class 'jinja2.utils.Joiner'>");
      return add(fmt::format("<function {}>", name));
    }
    add(fmt::format("<{} object>", type_name(value)));
  }
  std::string take() { return std::move(out_); }

 private:
  void add(std::string_view text) {
    budget_.charge(text.size());
    out_ += text;
  }
  void write_sequence(const Sequence& list, int depth) {
    using Kind = Sequence::Kind;
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
    bool first = true;
    for (const auto& [key, value] : dict.items()) {
      if (!std::exchange(first, false)) add(", ");
      write(key, depth + 1);
      add(": ");
      write(value, depth + 1);
    }
    add("}");
  }

  Budget& budget_;
  std::string out_;
};

}  // namespace

std::string quoted(std::string_view text, bool ascii) {
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
    } else if (is_printable(c) && !(ascii && c >= 0x80)) {
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

}  // namespace sinter::runtime::jinja
