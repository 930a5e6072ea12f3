// json.dumps of Python.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "runtime/text/jinja/integer.h"
#include "runtime/text/jinja/value.h"
#include "runtime/text/tokenizer/utf8.h"

namespace sinter::runtime::jinja {
namespace {

using tokenizer::next_utf8;

class JsonWriter {
 public:
  JsonWriter(const JsonStyle& style, Budget& budget) : style_(style), budget_(budget) {}

  void write(const Value& value, size_t level) {
    budget_.charge(kNodeCost);
    if (const std::string* text = value.string()) return write_string(*text);
    if (const std::vector<Value>* items = value.items()) return write_list(*items, level);
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
  std::optional<std::string> scalar_text(const Value& value) {
    if (const bool* truth = value.as<bool>()) return *truth ? "true" : "false";
    if (value.is_integer()) return integer_text(value, 10, budget_);
    if (value.is<None>()) return "null";
    const double* number = value.as<double>();
    if (number == nullptr) return std::nullopt;
    if (std::isnan(*number)) return "NaN";
    if (std::isinf(*number)) return *number > 0 ? "Infinity" : "-Infinity";
    return float_text(*number);
  }
  void new_line(size_t level) {
    if (!style_.indent) return;
    budget_.charge(style_.indent->size(), level);
    out_ += '\n';
    for (size_t i = 0; i < level; ++i) out_ += *style_.indent;
  }
  void write_list(const std::vector<Value>& items, size_t level) {
    if (items.empty()) return add("[]");
    add("[");
    for (size_t i = 0; i < items.size(); ++i) {
      if (i != 0) add(style_.item_separator);
      new_line(level + 1);
      write(items[i], level + 1);
    }
    new_line(level);
    add("]");
  }
  void write_dict(const Mapping& dict, size_t level) {
    const auto& items = dict.items();
    if (items.empty()) return add("{}");
    budget_.charge(items.size(), kValueCost);
    const std::vector<size_t> order = sorted_order(items.size(), [&](size_t a, size_t b) {
      return style_.sort_keys && less(items[a].first, items[b].first, budget_);
    });
    add("{");
    for (size_t i = 0; i < order.size(); ++i) {
      if (i != 0) add(style_.item_separator);
      new_line(level + 1);
      const Value& key = items[order[i]].first;
      if (const std::string* text = key.string()) {
        write_string(*text);
      } else if (const auto scalar = scalar_text(key)) {
        write_string(*scalar);
      } else {
        throw Failure{fmt::format("tojson: a key of type {} has no JSON form", type_name(key))};
      }
      add(style_.key_separator);
      write(items[order[i]].second, level + 1);
    }
    new_line(level);
    add("}");
  }
  void write_string(std::string_view text) {
    budget_.charge(6 * text.size() + 2);
    out_ += '"';
    while (!text.empty()) {
      const tokenizer::Utf8Unit unit = next_utf8(text);
      const uint32_t c = unit.code_point;
      const size_t escape = std::string_view("\"\\\b\f\n\r\t").find(static_cast<char>(c));
      if (c < 0x80 && escape != std::string_view::npos) {
        out_ += '\\';
        out_ += "\"\\bfnrt"[escape];
      } else if (c < 0x20 || (c >= 0x7f && style_.ensure_ascii && c < 0x10000)) {
        out_ += fmt::format("\\u{:04x}", c);
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

std::string to_json(const Value& value, const JsonStyle& style, Budget& budget) {
  JsonWriter writer(style, budget);
  writer.write(value, 0);
  return writer.take();
}

}  // namespace sinter::runtime::jinja
