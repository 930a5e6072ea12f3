#include "codegen/regions/row_code.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "codegen/schedule/epilogue.h"
#include "ir/ops.h"

namespace sinter::codegen {

using ir::Node;
using ir::Op;
using ir::ValueId;

namespace {

// "rms_norm" -> "RmsNorm"
std::string camel_case(std::string_view name) {
  std::string out;
  bool upper = true;
  for (const char c : name) {
    if (c != '_') out += upper && c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
    upper = c == '_';
  }
  return out;
}

class RowWriter {
 public:
  RowWriter(RegionContext& c, Emitter& e, const Node& region, const std::vector<ValueId>& kept,
            const std::string& keep, ir::RowOf row_of)
      : c_(c), e_(e), region_(region), kept_(kept), keep_(keep), row_of_(row_of) {}

  // Columns of the value that are wanted; all of its row unless rows are runs.
  absl::StatusOr<RowCode> run(ValueId value, const ir::Runs& at) {
    all_rows_ = c_.module.tensor(value).shape[0].symbol != 'L';
    if (!all_rows_ && !c_.one_row())
      for (const ValueId id : ir::inputs_of(region_))
        if (c_.is_hidden(id))
          return absl::UnimplementedError(fmt::format(
              "phase \"{}\": only all rows of a step can read hidden states", region_.label));
    RowCode code;
    if (ir::find_definition(region_.body, value) == nullptr) code.plain = value;
    if (const auto place = in_memory(value, at); place && row_of_ == ir::RowOf::run) {
      code.plain = place->tensor;
      code.heads = place->at;
    }
    if (auto name = declare(value, "x", at); !name.ok()) return name.status();
    if (ops_.empty() && code.plain < 0) ops_.emplace_back("last_rows");
    code.ops = fmt::format("{}", fmt::join(ops_, ", "));
    return code;
  }

 private:
  bool is_kept(ValueId id) const {
    return std::find(kept_.begin(), kept_.end(), id) != kept_.end();
  }
  int64_t width(ValueId id, const ir::Runs& at) const {
    return row_of_ == ir::RowOf::run ? at.length() : ir::row_length(c_.module, id, row_of_);
  }
  const Node* definition(ValueId id) const { return ir::find_definition(region_.body, id); }
  void note(const Node& node) {
    const std::string name(ir::info(node.op).name);
    if (!ir::is_view(node.op) && std::find(ops_.begin(), ops_.end(), name) == ops_.end())
      ops_.push_back(name);
  }

  // Where rows lie.
  struct Place {
    ValueId tensor;
    ir::Runs at;  // of rows that are runs
  };
  // A tensor in memory, all of whose rows are read or the last ones; nothing when it is something
  // else.
  std::optional<Place> in_memory(ValueId id, ir::Runs at) const {
    const bool runs = row_of_ == ir::RowOf::run;
    const Node* node = definition(id);
    for (; node != nullptr &&
           (runs ? ir::is_view(node->op) : node->op == Op::last_rows || node->op == Op::reshape);
         node = definition(id)) {
      if (is_kept(id)) return std::nullopt;
      if (runs) {
        auto columns = ir::operand_columns(c_.module, *node, at, row_of_);
        if (!columns.ok()) return std::nullopt;
        at = *std::move(columns);
      }
      id = node->operands[0];
    }
    return node == nullptr ? std::optional(Place{id, at}) : std::nullopt;
  }
  // Whether the rows of a place lie one after another.
  bool is_dense(const Place& place) const {
    return row_of_ != ir::RowOf::run ||
           (place.at.stride() == place.at.length() &&
            place.at.count() * place.at.length() == ir::row_elements(c_.module, place.tensor));
  }
  // Which rows of a tensor are read: all, or those that have logits. A step of one row has them.
  bool reads_all(ValueId tensor) const {
    return all_rows_ || c_.one_row() || c_.module.tensor(tensor).shape[0].symbol == 'L';
  }
  std::string row_map(ValueId tensor) const {
    if (c_.is_hidden(tensor)) return "{hidden_rows(launch)}";
    return reads_all(tensor) ? "{}" : "{rows_with_logits(launch)}";
  }
  std::string pointer(ValueId tensor) { return e_.pointer(c_.buffer(tensor), "const float"); }

  // Declares a prologue for the rows of a value, named `name` or, when it is empty, by number.
  absl::StatusOr<std::string> declare(ValueId value, std::string name, const ir::Runs& at) {
    if (name.empty()) name = fmt::format("rows{}", count_++);
    if (!is_kept(value)) {
      if (auto status = declare_as(value, name, at); !status.ok()) return status;
      return name;
    }
    if (auto status = declare_as(value, name + "_kept", at); !status.ok()) return status;
    e_.line("const auto {} = keep_rows<{}>({}_kept, {}, {});", name, width(value, at), name,
            e_.pointer(c_.buffer(value), "float"), keep_);
    return name;
  }

  absl::Status declare_as(ValueId value, const std::string& name, const ir::Runs& at) {
    if (const auto place = in_memory(value, at)) {
      if (is_dense(*place)) {
        e_.line("const PlainRows<{}> {}{{{}, {}}};", width(value, at), name, pointer(place->tensor),
                row_map(place->tensor));
      } else {
        e_.line("const RunRows<{}, {}, {}, {}, {}> {}{{{}}};", place->at.length(),
                place->at.count(), ir::row_elements(c_.module, place->tensor), place->at.offset(),
                *place->at.stride(), name, pointer(place->tensor));
      }
      return absl::OkStatus();
    }
    const Node& node = *definition(value);
    if (node.op == Op::embed) {
      note(node);
      e_.line("const TableRows<{}, decltype(w), {}, {}> {}{{w, step_rows(launch)}};",
              width(value, at), node.text("by") == "position", bounded_rows(c_, node), name);
      return absl::OkStatus();
    }
    if (ir::is_of_columns(node.op)) return of_columns(node, name, width(value, at));
    return ir::is_by_row(node.op) ? by_row(node, name, at) : elementwise(value, name, at);
  }

  // Numbers of a row, or of a vector for every row, in the columns that the op's integers name.
  absl::Status of_columns(const Node& op, const std::string& name, int64_t cols) {
    note(op);
    const ValueId x = op.operands[0];
    const bool of_vector = c_.module.is_weight(x);
    const auto from = of_vector ? c_.vector_pointer(e_, x) : pointer(x);
    if (!from.ok()) return from.status();
    std::string fields;
    for (const ir::AttributeInfo& attribute : ir::info(op.op).attributes)
      fields += ", " + float_literal(op.number(attribute.name));
    e_.line("const {}Rows<{}, {}, {}, {}> {}{{{}, {}{}}};", camel_case(ir::info(op.op).name), cols,
            of_vector ? c_.module.weight(x).elements() : ir::row_elements(c_.module, x),
            of_vector ? c_type(c_.module.weight(x).format.scale_type) : "float", of_vector, name,
            *from, e_.pointer(c_.buffer(op.operands[1]), "const i32"), fields);
    return absl::OkStatus();
  }

  absl::Status by_row(const Node& op, const std::string& name, const ir::Runs& at) {
    note(op);
    const int64_t cols = width(op.results[0], at);
    const ir::OpInfo& info = ir::info(op.op);
    std::string types;
    std::string fields;
    for (size_t i = 1; i < info.operands.size(); ++i) {
      if (i >= op.operands.size()) {
        types += ", void";
        fields += ", nullptr";
        continue;
      }
      auto vector = c_.vector_pointer(e_, op.operands[i]);
      if (!vector.ok()) return vector.status();
      types += fmt::format(", {}", c_type(c_.module.weight(op.operands[i]).format.scale_type));
      fields += ", " + *vector;
    }
    // Numbers are fields; integers and flags say what code there is.
    for (const ir::AttributeInfo& attribute : info.attributes) {
      if (attribute.type == ir::AttributeType::integer) {
        types += fmt::format(", {}", op.integer(attribute.name));
      } else if (attribute.type == ir::AttributeType::flag) {
        types += fmt::format(", {}", op.flag(attribute.name));
      } else {
        fields += ", " + float_literal(op.number(attribute.name));
      }
    }
    std::string source;
    std::string map = "{}";
    if (const auto place = in_memory(op.operands[0], at); place && is_dense(*place)) {
      source = pointer(place->tensor);
      map = row_map(place->tensor);
    } else {
      auto rows = declare(op.operands[0], "", at);
      if (!rows.ok()) return rows.status();
      source = *std::move(rows);
      types += fmt::format(", decltype({})", source);
    }
    e_.line("const {}Rows<{}{}> {}{{{}{}, {}}};", camel_case(info.name), cols, types, name, source,
            fields, map);
    return absl::OkStatus();
  }

  // Elementwise ops and views of tensors in memory and of what ops by row give.
  absl::Status elementwise(ValueId value, const std::string& name, const ir::Runs& at) {
    const int64_t cols = width(value, at);
    std::vector<std::pair<ValueId, std::string>> arguments;  // and their prologues
    const auto leaf = [&](ValueId id, const ir::Runs& runs) -> absl::StatusOr<std::string> {
      const Node* node = definition(id);
      if (node != nullptr && id != value) note(*node);
      const bool is_argument =
          node != nullptr && (ir::is_by_row(node->op) || ir::is_of_columns(node->op) ||
                              node->op == Op::embed || (is_kept(id) && id != value));
      if (!is_argument) return std::string();
      auto known = std::find_if(arguments.begin(), arguments.end(),
                                [id](const auto& argument) { return argument.first == id; });
      if (known == arguments.end()) {
        auto rows = declare(id, "", runs);
        if (!rows.ok()) return rows.status();
        known = arguments.insert(arguments.end(), {id, *std::move(rows)});
      }
      return fmt::format("y{}", known - arguments.begin());
    };
    note(*definition(value));
    const auto row = [&](ValueId id) {
      return reads_all(id) ? c_.row_of(id) : "index{rows_with_logits(launch)[row]}";
    };
    ElementwiseCode code({c_.module, region_.body, leaf,
                          [this](ValueId id) { return c_.buffer(id); }, row, row_of_, name + "_in"},
                         e_);
    auto result = code.evaluate(value, row_of_ == ir::RowOf::run ? at : ir::Runs(1, cols));
    if (!result.ok()) return result.status();
    std::string parameters = "index row, index col, index n";
    std::string given;
    for (size_t i = 0; i < arguments.size(); ++i) {
      parameters += fmt::format(", Lanes y{}", i);
      given += ", " + arguments[i].second;
    }
    e_.line("const auto {}_of = [=]({}) __attribute__((always_inline)) {{", name, parameters);
    e_.open();
    for (const std::string& statement : code.statements()) e_.line("{}", statement);
    e_.line("return {};", *result);
    e_.close();
    e_.line("}};");
    e_.line("const auto {} = map_rows<{}>({}_of{});", name, cols, name, given);
    return absl::OkStatus();
  }

  RegionContext& c_;
  Emitter& e_;
  const Node& region_;
  const std::vector<ValueId> kept_;
  const std::string keep_;
  const ir::RowOf row_of_;
  bool all_rows_ = true;
  int count_ = 0;
  std::vector<std::string> ops_;
};

}  // namespace

int64_t bounded_rows(const RegionContext& c, const Node& embed) {
  return embed.flag("first_beyond") ? c.module.weight(embed.operands[1]).rows() : 0;
}

absl::StatusOr<RowCode> declare_rows(RegionContext& c, Emitter& e, const Node& region,
                                     ValueId value, const std::vector<ValueId>& kept,
                                     const std::string& keep, ir::RowOf row_of) {
  return RowWriter(c, e, region, kept, keep, row_of)
      .run(value, ir::Runs(1, ir::row_length(c.module, value, row_of)));
}

absl::StatusOr<RowCode> declare_heads(RegionContext& c, Emitter& e, const Node& region,
                                      ValueId value, const ir::Runs& heads) {
  return RowWriter(c, e, region, {}, "", ir::RowOf::run).run(value, heads);
}

}  // namespace sinter::codegen
