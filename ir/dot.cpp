#include "ir/dot.h"

#include <fmt/format.h>

#include <map>

#include "ir/entries.h"
#include "ir/ops.h"
#include "ir/text.h"

namespace sinter::ir {

namespace {

// `\n` in a line stays the line break that DOT reads.
std::string in_quotes(std::string_view text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  }
  return out + '"';
}

std::string two_lines(std::string_view first, std::string_view second) {
  std::string text = in_quotes(first);
  text.pop_back();
  return text + "\\n" + in_quotes(second).substr(1);
}

class Drawing {
 public:
  explicit Drawing(const Module& module) : module_(module), names_(value_names(module)) {}

  std::string run() {
    out_ = fmt::format("digraph {} {{\n  node [fontname=\"monospace\", shape=box];\n",
                       in_quotes(module_.name));
    const std::vector<Entry> entries = entries_of(module_);
    for (const Entry& entry : entries)
      for (ValueId id : entry.params) source(id, "ellipse");
    const std::vector<int> uses = count_uses(module_);
    for (size_t i = 0; i < module_.values.size(); ++i) {
      const ValueKind kind = module_.values[i].kind;
      if (uses[i] == 0) continue;
      if (kind == ValueKind::weight) source(static_cast<ValueId>(i), "note");
      if (kind == ValueKind::state) source(static_cast<ValueId>(i), "cylinder");
    }
    int cluster = 0;
    for (const Node& n : module_.nodes) {
      if (n.op != Op::fused) {
        node(n, "  ");
        continue;
      }
      out_ += fmt::format("  subgraph cluster_{} {{\n    label={};\n", cluster++,
                          two_lines("fused " + n.text("kind", ""), n.label));
      for (const Node& inner : n.body) node(inner, "    ");
      out_ += "  }\n";
    }
    int returned = 0;
    for (const Entry& entry : entries)
      for (const ValueId id : entry.returns) {
        out_ += fmt::format("  return{} [label=\"return\", shape=ellipse];\n", returned);
        edge(id, fmt::format("return{}", returned++));
      }
    return out_ + edges_ + "}\n";
  }

 private:
  std::string name(ValueId id) const {
    const bool known = id >= 0 && static_cast<size_t>(id) < names_.size();
    return known ? names_[static_cast<size_t>(id)] : fmt::format("%?{}", id);
  }
  std::string type(ValueId id) const {
    const bool known = id >= 0 && static_cast<size_t>(id) < names_.size();
    return known ? to_string(module_.value(id).type) : "?";
  }

  void source(ValueId id, std::string_view shape) {
    out_ +=
        fmt::format("  value{} [label={}, shape={}];\n", id, two_lines(name(id), type(id)), shape);
    made_by_[id] = fmt::format("value{}", id);
  }

  // Edges are collected apart: inside a cluster they would pull other nodes into it.
  void edge(ValueId from, const std::string& to) {
    const auto it = made_by_.find(from);
    if (it == made_by_.end()) return;
    edges_ += fmt::format("  {} -> {};\n", it->second, to);
  }

  void node(const Node& n, std::string_view indent) {
    const std::string self = fmt::format("node{}", next_node_++);
    std::string title(info(n.op).name);
    std::string second;
    for (ValueId id : n.results) {
      title = name(id) + " = " + title;
      second = type(id);
    }
    out_ += fmt::format("{}{} [label={}];\n", indent, self, two_lines(title, second));
    for (ValueId id : n.operands) edge(id, self);
    for (ValueId id : n.results) made_by_[id] = self;
  }

  const Module& module_;
  const std::vector<std::string> names_;
  std::string out_;
  std::string edges_;
  std::map<ValueId, std::string> made_by_;  // name in the drawing of what makes a value
  int next_node_ = 0;
};

}  // namespace

std::string to_dot(const Module& module) { return Drawing(module).run(); }

}  // namespace sinter::ir
