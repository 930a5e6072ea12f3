// The graph of a model: values, nodes and the module that owns them. All value types: copying a
// module copies it whole.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "ir/type.h"

namespace sinter::ir {

using ValueId = int32_t;  // index into Module::values

enum class ValueKind {
  param,   // of the entry function, e.g. the tokens
  result,  // of a node
  weight,  // read-only parameter of the model, packed; named @...
  state,   // KV cache and the like: declared once, mutated in place by ops; named @...
};

struct Value {
  ValueKind kind = ValueKind::result;
  Type type;
  // Weights and states: the symbol after '@'. Params: after '%'. Results: empty, printed as %<id>.
  std::string name;
};

// Where the numbers of a weight come from.
struct WeightData {
  // Checkpoint modules whose rows (elements, for vectors), one after another, make the weight. One
  // entry for a weight as imported, several after projections were concatenated. Empty when
  // `constant` is used.
  std::vector<std::string> sources;
  // Numbers computed by the compiler (RoPE frequencies, ...); float32, row-major.
  std::vector<float> constant;
  bool operator==(const WeightData&) const = default;
};

using Attribute = std::variant<int64_t, double, std::string, bool, std::vector<int64_t>>;
using Attributes = std::map<std::string, Attribute>;

enum class Op : uint16_t;  // the table is in ir/ops.def

struct Node {
  Op op{};
  std::vector<ValueId> operands;
  std::vector<ValueId> results;  // ops have at most one; `fused` has one per value that leaves it
  Attributes attributes;
  // For `fused` only: the nodes that run as one phase, in order. They may use values from outside;
  // what they define is visible outside only if it is listed in `results`.
  std::vector<Node> body;
  // Where in the model the node is from, e.g. "layers.0.mlp.gate_proj": for remarks, phase names,
  // dumps.
  std::string label;

  // The attribute, or the fallback of the op table.
  int64_t integer(std::string_view key) const;
  double number(std::string_view key) const;  // accepts integers too
  std::string text(std::string_view key) const;
  bool flag(std::string_view key) const;
  // The attribute, or the fallback given.
  int64_t integer(std::string_view key, int64_t fallback) const;
  double number(std::string_view key, double fallback) const;
  std::string text(std::string_view key, std::string_view fallback) const;
};

// What a step may begin with, beside Module's own parameters and returned values: another function
// of the same weights and nodes. No tensor and no state is of two entries.
struct Entry {
  std::string name;  // "mtp"
  std::vector<ValueId> params;
  std::vector<ValueId> returns;
};

struct Module {
  std::string name;
  std::vector<Value> values;
  // One entry per value of kind weight. A pass drops a weight that nothing uses by erasing its
  // entry.
  std::map<ValueId, WeightData> weights;
  // Of the first entry, "forward".
  std::vector<ValueId> params;
  std::vector<Node> nodes;  // of all entries, in execution order: state ops rely on it
  std::vector<ValueId> returns;
  std::vector<Entry> further;  // entries

  const Value& value(ValueId id) const { return values[static_cast<size_t>(id)]; }
  // Of a tensor, or of the numbers of a state.
  const TensorType& tensor(ValueId id) const {
    const StateType* state = std::get_if<StateType>(&value(id).type);
    return state != nullptr ? state->numbers : std::get<TensorType>(value(id).type);
  }
  const StateType& state(ValueId id) const { return std::get<StateType>(value(id).type); }
  const WeightType& weight(ValueId id) const { return std::get<WeightType>(value(id).type); }
  bool is_weight(ValueId id) const { return value(id).kind == ValueKind::weight; }
  bool is_state(ValueId id) const { return value(id).kind == ValueKind::state; }
  // -1 when there is none.
  ValueId find_symbol(std::string_view name) const;

  ValueId add_value(Value value);
  ValueId add_weight(std::string name, WeightType type, WeightData data);
  ValueId add_state(std::string name, StateType type);
};

// How often each value is used, over all nodes (bodies included) and returns.
std::vector<int> count_uses(const Module& module);

// Values read by a node: its operands, or for `fused` everything its body reads that it does not
// define, in order of first use, without repeats.
std::vector<ValueId> inputs_of(const Node& node);

// Node, or for `fused` the body node, whose result is `id` within `nodes`; nullptr when none.
const Node* find_definition(const std::vector<Node>& nodes, ValueId id);

// Bytes of one row (one token) of a float32 tensor; 0 for anything else.
int64_t row_bytes(const Module& module, ValueId value);

}  // namespace sinter::ir
