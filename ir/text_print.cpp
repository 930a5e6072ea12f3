#include <fmt/format.h>
#include <fmt/ranges.h>

#include <string>

#include "ir/entries.h"
#include "ir/ops.h"
#include "ir/text.h"
#include "ir/text_syntax.h"

namespace sinter::ir {

namespace {

std::string in_quotes(std::string_view text) {
  std::string out = "\"";
  for (char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (byte < 0x20 || byte == 0x7f) {
      out += fmt::format("\\x{:02x}", byte);
    } else {
      out += c;
    }
  }
  return out + '"';
}

std::string symbol(char sigil, std::string_view name) {
  // An unquoted number after '%' is a result.
  const bool numeric = sigil == '%' && !name.empty() && is_digit(name.front());
  if (is_plain_symbol(name) && !numeric) return sigil + std::string(name);
  return sigil + in_quotes(name);
}

// The shortest decimal that reads back as the same double, with a mark that tells it from an
// integer.
std::string number(double value) {
  std::string text = fmt::format("{}", value);
  if (text.find_first_of(".ein") == std::string::npos) text += ".0";
  return text;
}

class Printer {
 public:
  explicit Printer(const Module& module) : module_(module), names_(value_names(module)) {}

  std::string run() {
    out_ = fmt::format("module {} {{\n", symbol('@', module_.name));
    for (const auto& [id, data] : module_.weights) weight(id, data);
    for (size_t i = 0; i < module_.values.size(); ++i) {
      if (module_.values[i].kind != ValueKind::state) continue;
      out_ += fmt::format("  state {} : {}\n", names_[i], to_string(module_.values[i].type));
    }
    const std::vector<std::vector<size_t>> nodes = nodes_by_entry(module_);
    const std::vector<Entry> entries = entries_of(module_);
    for (size_t e = 0; e < entries.size(); ++e) function(entries[e], nodes[e]);
    out_ += "}\n";
    return std::move(out_);
  }

 private:
  bool in_range(ValueId id) const {
    return id >= 0 && static_cast<size_t>(id) < module_.values.size();
  }
  // Prints modules that the verifier refuses too: dumps are for finding out why.
  std::string name(ValueId id) const {
    return in_range(id) ? names_[static_cast<size_t>(id)] : fmt::format("%?{}", id);
  }
  std::string type(ValueId id) const {
    return in_range(id) ? to_string(module_.value(id).type) : "?";
  }
  std::string list(const std::vector<ValueId>& ids) const {
    std::string text;
    for (size_t i = 0; i < ids.size(); ++i) text += (i == 0 ? " " : ", ") + name(ids[i]);
    return text;
  }

  void weight(ValueId id, const WeightData& data) {
    out_ += fmt::format("  weight {} : {} = ", name(id), type(id));
    std::string items;
    for (const std::string& source : data.sources) {
      items += (items.empty() ? "" : ", ") + in_quotes(source);
    }
    for (float x : data.constant) items += fmt::format("{}{}", items.empty() ? "" : ", ", x);
    out_ += fmt::format("{}({})\n", data.constant.empty() ? "source" : "constant", items);
  }

  void function(const Entry& entry, const std::vector<size_t>& nodes) {
    out_ += fmt::format("  func {}(", symbol('@', entry.name));
    for (size_t i = 0; i < entry.params.size(); ++i) {
      const ValueId id = entry.params[i];
      out_ += fmt::format("{}{}: {}", i == 0 ? "" : ", ", name(id), type(id));
    }
    out_ += ") {\n";
    for (const size_t i : nodes) node(module_.nodes[i], 4);
    out_ += "    return" + list(entry.returns) + "\n  }\n";
  }

  void node(const Node& n, size_t indent) {
    out_.append(indent, ' ');
    if (!n.results.empty()) out_ += list(n.results).substr(1) + " = ";
    out_ += info(n.op).name;
    out_ += list(n.operands);
    if (!n.attributes.empty()) {
      std::string items;
      for (const auto& [key, value] : n.attributes) {
        items += items.empty() ? "" : ", ";
        items += key + " = " + attribute(value);
      }
      out_ += " {" + items + "}";
    }
    if (!n.label.empty()) out_ += " label " + in_quotes(n.label);
    if (n.op == Op::fused) {
      out_ += " {\n";
      for (const Node& inner : n.body) node(inner, indent + 2);
      out_.append(indent, ' ');
      out_ += "}";
    }
    for (size_t i = 0; i < n.results.size(); ++i) {
      out_ += (i == 0 ? " : " : ", ") + type(n.results[i]);
    }
    out_ += "\n";
  }

  static std::string attribute(const Attribute& value) {
    if (const auto* integer = std::get_if<int64_t>(&value)) return fmt::format("{}", *integer);
    if (const auto* real = std::get_if<double>(&value)) return number(*real);
    if (const auto* flag = std::get_if<bool>(&value)) return *flag ? "true" : "false";
    if (const auto* items = std::get_if<std::vector<int64_t>>(&value)) {
      return fmt::format("[{}]", fmt::join(*items, ", "));
    }
    return in_quotes(std::get<std::string>(value));
  }

  const Module& module_;
  const std::vector<std::string> names_;
  std::string out_;
};

}  // namespace

std::vector<std::string> value_names(const Module& module) {
  std::vector<std::string> names(module.values.size());
  int64_t next = 0;
  const auto number_results = [&](const Node& node) {
    for (ValueId id : node.results) {
      if (id < 0 || static_cast<size_t>(id) >= names.size()) continue;
      std::string& name = names[static_cast<size_t>(id)];
      if (name.empty()) name = fmt::format("%{}", next++);
    }
  };
  for (const std::vector<size_t>& nodes : nodes_by_entry(module))
    for (const size_t i : nodes) {
      for (const Node& inner : module.nodes[i].body) number_results(inner);
      number_results(module.nodes[i]);
    }
  for (size_t i = 0; i < names.size(); ++i) {
    const Value& value = module.values[i];
    if (value.kind == ValueKind::weight || value.kind == ValueKind::state) {
      names[i] = symbol('@', value.name);
    } else if (value.kind == ValueKind::param) {
      names[i] = symbol('%', value.name);
    } else if (names[i].empty()) {
      names[i] = fmt::format("%?{}", i);
    }
  }
  return names;
}

std::string print(const Module& module) { return Printer(module).run(); }

}  // namespace sinter::ir
