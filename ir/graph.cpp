#include "ir/graph.h"

#include <algorithm>
#include <unordered_set>

#include "ir/ops.h"

namespace sinter::ir {

namespace {

const Attribute* find(const Attributes& attributes, std::string_view key) {
  const auto it = attributes.find(std::string(key));
  return it == attributes.end() ? nullptr : &it->second;
}

void count(const Module& module, const std::vector<ValueId>& ids, std::vector<int>& uses) {
  for (ValueId id : ids) {
    if (id >= 0 && static_cast<size_t>(id) < module.values.size()) ++uses[static_cast<size_t>(id)];
  }
}

// The op's fallback for an attribute, if it is of this type.
template <class T>
T fallback_of(const Node& node, std::string_view key) {
  const AttributeInfo* known = info(node.op).find_attribute(key);
  const T* value = known && known->fallback ? std::get_if<T>(&*known->fallback) : nullptr;
  return value ? *value : T();
}

}  // namespace

int64_t Node::integer(std::string_view key) const {
  return integer(key, fallback_of<int64_t>(*this, key));
}

double Node::number(std::string_view key) const {
  return number(key, fallback_of<double>(*this, key));
}

std::string Node::text(std::string_view key) const {
  return text(key, fallback_of<std::string>(*this, key));
}

bool Node::flag(std::string_view key) const {
  const Attribute* a = find(attributes, key);
  const bool* v = a ? std::get_if<bool>(a) : nullptr;
  return v ? *v : fallback_of<bool>(*this, key);
}

int64_t Node::integer(std::string_view key, int64_t fallback) const {
  const Attribute* a = find(attributes, key);
  const int64_t* v = a ? std::get_if<int64_t>(a) : nullptr;
  return v ? *v : fallback;
}

double Node::number(std::string_view key, double fallback) const {
  const Attribute* a = find(attributes, key);
  if (!a) return fallback;
  if (const int64_t* v = std::get_if<int64_t>(a)) return static_cast<double>(*v);
  if (const double* v = std::get_if<double>(a)) return *v;
  return fallback;
}

std::string Node::text(std::string_view key, std::string_view fallback) const {
  const Attribute* a = find(attributes, key);
  const std::string* v = a ? std::get_if<std::string>(a) : nullptr;
  return v ? *v : std::string(fallback);
}

ValueId Module::find_symbol(std::string_view symbol) const {
  for (size_t i = 0; i < values.size(); ++i) {
    const Value& v = values[i];
    const auto id = static_cast<ValueId>(i);
    if (v.name != symbol) continue;
    // A weight without an entry in `weights` has been dropped by a pass.
    if (v.kind == ValueKind::state || (v.kind == ValueKind::weight && weights.contains(id))) {
      return id;
    }
  }
  return -1;
}

ValueId Module::add_value(Value added) {
  values.push_back(std::move(added));
  return static_cast<ValueId>(values.size() - 1);
}

ValueId Module::add_weight(std::string symbol, WeightType type, WeightData data) {
  const ValueId id = add_value({ValueKind::weight, std::move(type), std::move(symbol)});
  weights[id] = std::move(data);
  return id;
}

ValueId Module::add_state(std::string symbol, StateType type) {
  return add_value({ValueKind::state, std::move(type), std::move(symbol)});
}

std::vector<int> count_uses(const Module& module) {
  std::vector<int> uses(module.values.size(), 0);
  for (const Node& node : module.nodes) {
    count(module, node.operands, uses);
    for (const Node& inner : node.body) count(module, inner.operands, uses);
  }
  count(module, module.returns, uses);
  for (const Entry& entry : module.further) count(module, entry.returns, uses);
  return uses;
}

std::vector<ValueId> inputs_of(const Node& node) {
  std::unordered_set<ValueId> known;
  std::vector<ValueId> inputs;
  const auto read = [&](const std::vector<ValueId>& ids) {
    for (ValueId id : ids) {
      if (known.insert(id).second) inputs.push_back(id);
    }
  };
  if (node.op != Op::fused) {
    read(node.operands);
    return inputs;
  }
  for (const Node& inner : node.body) {
    read(inner.operands);
    known.insert(inner.results.begin(), inner.results.end());
  }
  return inputs;
}

const Node* find_definition(const std::vector<Node>& nodes, ValueId id) {
  for (const Node& node : nodes) {
    if (std::find(node.results.begin(), node.results.end(), id) == node.results.end()) continue;
    return node.op == Op::fused ? find_definition(node.body, id) : &node;
  }
  return nullptr;
}

int64_t row_bytes(const Module& module, ValueId value) {
  const auto* type = std::get_if<TensorType>(&module.value(value).type);
  if (type == nullptr) return 0;
  int64_t elements = 1;
  for (const Dim& dim : type->shape)
    if (!dim.is_symbol()) elements *= dim.value;
  return elements * byte_size(type->dtype);
}

}  // namespace sinter::ir
