#include "ir/interpreter.h"

#include <fmt/format.h>

#include <string>
#include <utility>

#include "ir/entries.h"
#include "ir/interpreter_ops.h"
#include "ir/ops.h"
#include "ir/verifier.h"
#include "ir/weight_rows.h"

namespace sinter::ir {

namespace {

// Tokens travel as floats, which hold every integer up to here.
constexpr int64_t kMaxToken = int64_t{1} << 24;

absl::Status error(const std::string& message) { return absl::InvalidArgumentError(message); }

std::string shape_text(const std::vector<int64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

class Step {
 public:
  Step(const Module& module, const MatrixSource& source, int64_t tokens, int64_t logits_rows,
       InterpreterState& state)
      : module_(module),
        source_(source),
        tokens_(tokens),
        logits_rows_(logits_rows),
        state_(state) {}

  // Frees values after their last use; without this call everything is kept.
  void free_after_last_use() { uses_left_ = count_uses(module_); }

  absl::Status set(ValueId id, Array array) {
    if (id < 0 || static_cast<size_t>(id) >= module_.values.size() ||
        !std::holds_alternative<TensorType>(module_.value(id).type)) {
      return error(fmt::format("value {} is given, which is no tensor of the module", id));
    }
    const std::vector<int64_t> shape = bind(module_.tensor(id));
    size_t elements = 1;
    for (int64_t extent : shape) elements *= static_cast<size_t>(extent);
    if (array.shape != shape || array.data.size() != elements) {
      return error(fmt::format("value {} is given with shape {} and {} elements, it must have {}",
                               id, shape_text(array.shape), array.data.size(), shape_text(shape)));
    }
    arrays_[id] = std::move(array);
    return absl::OkStatus();
  }

  absl::Status run(const std::vector<Node>& nodes, bool in_body = false) {
    for (const Node& node : nodes) {
      absl::Status s = node.op == Op::fused && !in_body ? run(node.body, true) : run(node);
      if (s.ok()) continue;
      // The body's node has named its place already.
      if (node.label.empty() || node.op == Op::fused) return s;
      return absl::Status(s.code(),
                          fmt::format("{} (in {})", std::string(s.message()), node.label));
    }
    return absl::OkStatus();
  }

  absl::StatusOr<const Array*> get(ValueId id) const {
    const auto it = arrays_.find(id);
    if (it != arrays_.end()) return &it->second;
    return error(fmt::format("value {} has no numbers here", id));
  }

  std::map<ValueId, Array> take_all() { return std::move(arrays_); }

 private:
  std::vector<int64_t> bind(const TensorType& type) const {
    std::vector<int64_t> shape;
    for (const Dim& dim : type.shape) {
      shape.push_back(!dim.is_symbol()    ? dim.value
                      : dim.symbol == 'T' ? tokens_
                      : dim.symbol == 'L' ? logits_rows_
                                          : state_.position + tokens_);
    }
    return shape;
  }

  absl::Status run(const Node& node) {
    const bool has_result = !node.results.empty();
    const TensorType* declared = nullptr;
    if (has_result) {
      const ValueId id = node.results[0];
      if (id < 0 || static_cast<size_t>(id) >= module_.values.size() ||
          !std::holds_alternative<TensorType>(module_.value(id).type)) {
        return error(fmt::format("result {} is no tensor of the module", id));
      }
      declared = &module_.tensor(id);
    }
    const absl::StatusOr<TensorType> type = result_type(module_, node, declared);
    if (!type.ok()) return type.status();
    if (has_result != info(node.op).has_result() || (declared && *declared != *type)) {
      return error(fmt::format("[{}] the result is not what the op gives; verify the module first",
                               info(node.op).name));
    }
    if (node.op == Op::dequantize) {
      dequantized_[node.results[0]] = node.operands[0];
    } else {
      absl::StatusOr<OpArguments> arguments = fetch(node);
      if (!arguments.ok()) return arguments.status();
      if (info(node.op).reference == nullptr) {
        return error(fmt::format("[{}] the op has no reference function", info(node.op).name));
      }
      absl::StatusOr<Array> result = info(node.op).reference(*arguments);
      if (!result.ok()) return result.status();
      if (has_result) {
        if (absl::Status s = set(node.results[0], *std::move(result)); !s.ok()) return s;
      }
    }
    release(node.operands);
    return absl::OkStatus();
  }

  absl::StatusOr<OpArguments> fetch(const Node& node) {
    OpArguments in{.node = node,
                   .operands = {},
                   .shape = {},
                   .tokens = tokens_,
                   .logits_rows = logits_rows_,
                   .position = state_.position};
    if (!node.results.empty()) in.shape = bind(module_.tensor(node.results[0]));
    for (size_t i = 0; i < node.operands.size(); ++i) {
      const OperandKind kind = info(node.op).operands[i].kind;
      auto operand = fetch(node.operands[i], kind);
      if (!operand.ok()) return operand.status();
      if (kind == OperandKind::updated_state)
        in.format = find_state_format(module_.tensor(node.operands[i]).dtype);
      in.operands.push_back(*std::move(operand));
    }
    return in;
  }

  absl::StatusOr<OpArguments::Operand> fetch(ValueId id, OperandKind kind) {
    switch (kind) {
      case OperandKind::matrix: {
        auto rows = matrix(id);
        if (!rows.ok()) return rows.status();
        return *std::move(rows);
      }
      case OperandKind::read_state:
      case OperandKind::updated_state: {
        const int64_t rows = kind == OperandKind::updated_state ? tokens_ : 0;
        if (absl::Status s = reserve(id, rows); !s.ok()) return s;
        return &state_.states[id];
      }
      case OperandKind::vector:
      case OperandKind::broadcast:
        if (module_.is_weight(id)) {
          auto numbers = vector(id);
          if (!numbers.ok()) return numbers.status();
          return *std::move(numbers);
        }
        [[fallthrough]];
      case OperandKind::tensor:
      case OperandKind::integers:
      case OperandKind::packed:
        break;
    }
    const auto array = get(id);
    if (!array.ok()) return array.status();
    return *array;
  }

  // The rows of a weight, of a dequantized weight or of a matrix that was given.
  absl::StatusOr<WeightRows> matrix(ValueId id) const {
    if (module_.is_weight(id)) return WeightRows::open(module_, id, source_);
    const auto alias = dequantized_.find(id);
    if (alias != dequantized_.end()) return WeightRows::open(module_, alias->second, source_);
    const auto array = get(id);
    if (!array.ok()) return array.status();
    return WeightRows((*array)->shape[0], (*array)->shape[1], (*array)->data);
  }

  absl::StatusOr<Array> vector(ValueId weight) const {
    const auto rows = WeightRows::open(module_, weight, source_);
    if (!rows.ok()) return rows.status();
    Array out{{rows->cols()}, std::vector<float>(static_cast<size_t>(rows->cols()))};
    rows->row(0, out.data.data());
    return out;
  }

  // Makes the state if this is its first use, and checks its shape and that `rows` more fit the
  // capacity of a paged one. A ring keeps all positions here: no op reads those that it forgets.
  absl::Status reserve(ValueId id, int64_t rows) {
    const StateType& type = module_.state(id);
    const std::vector<Dim>& shape = type.numbers.shape;
    const bool by_position = info(type.kind).by_position;
    const auto is_growing = [&](size_t i) { return by_position && i == 1; };
    Array& state = state_.states[id];
    if (state.shape.empty()) {
      size_t elements = 1;
      for (size_t i = 0; i < shape.size(); ++i) {
        state.shape.push_back(is_growing(i) ? 0 : shape[i].value);
        elements *= static_cast<size_t>(state.shape.back());
      }
      state.data.resize(elements);
    }
    int64_t elements = 1;
    bool fits = state.shape.size() == shape.size();
    for (size_t i = 0; fits && i < shape.size(); ++i) {
      fits = is_growing(i) ? state.shape[i] >= 0 : state.shape[i] == shape[i].value;
      elements *= state.shape[i];
    }
    if (!fits || std::ssize(state.data) != elements) {
      return error(fmt::format("the state @{}, {}, has the shape {}", module_.value(id).name,
                               to_string(type), shape_text(state.shape)));
    }
    if (type.kind == StateKind::paged && !shape[1].is_symbol() &&
        state_.position + rows > shape[1].value) {
      return error(fmt::format("the state @{} holds {} rows, the step needs {}",
                               module_.value(id).name, shape[1].value, state_.position + rows));
    }
    return absl::OkStatus();
  }

  void release(const std::vector<ValueId>& operands) {
    if (uses_left_.empty()) return;
    for (ValueId id : operands) {
      if (--uses_left_[static_cast<size_t>(id)] == 0) arrays_.erase(id);
    }
  }

  const Module& module_;
  const MatrixSource& source_;
  const int64_t tokens_;
  const int64_t logits_rows_;
  InterpreterState& state_;
  std::map<ValueId, Array> arrays_;
  std::map<ValueId, ValueId> dequantized_;  // result of dequantize -> the weight, not decoded
  std::vector<int> uses_left_;              // by value; empty to keep everything
};

// What is made of weights alone may be of several entries.
std::vector<Node> nodes_of_entry(const Module& module, size_t entry) {
  std::vector<bool> wanted(module.nodes.size());
  const auto by_entry = nodes_by_entry(module);
  for (const size_t i : by_entry[entry]) wanted[i] = true;
  std::vector<Node> nodes;
  for (size_t i = 0; i < module.nodes.size(); ++i)
    if (wanted[i] || module.nodes[i].op == Op::dequantize) nodes.push_back(module.nodes[i]);
  return nodes;
}

absl::Status check_step(int64_t tokens, int64_t logits_rows, const InterpreterState& state) {
  constexpr int64_t kMaxPosition = int64_t{1} << 31;
  if (tokens < 1 || tokens > kMaxPosition || logits_rows < 1 || logits_rows > tokens) {
    return error(
        fmt::format("a step of {} tokens cannot give {} rows of logits", tokens, logits_rows));
  }
  if (state.position < 0 || state.position > kMaxPosition) {
    return error(fmt::format("position {} is not in 0..2^31", state.position));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Array> interpret(const Module& module, const MatrixSource& source,
                                const StepInput& input, InterpreterState& state) {
  auto returned = interpret_entry(module, source, input, state);
  if (!returned.ok()) return returned.status();
  return std::move(returned->front());
}

absl::StatusOr<std::vector<Array>> interpret_entry(const Module& module, const MatrixSource& source,
                                                   const StepInput& input,
                                                   InterpreterState& state) {
  if (absl::Status s = verify(module); !s.ok()) return s;
  const std::vector<Entry> entries = entries_of(module);
  if (input.entry >= entries.size())
    return error(fmt::format("module @{} has no entry {}", module.name, input.entry));
  const Entry& entry = entries[input.entry];
  const auto tokens = static_cast<int64_t>(input.tokens.size());
  if (absl::Status s = check_step(tokens, input.logits_rows, state); !s.ok()) return s;
  const bool continues = entry.params.size() == 2;
  if (entry.params.empty() || entry.params.size() > 2 ||
      module.tensor(entry.params[0]) != TensorType{DType::i32, {Dim::of('T')}} ||
      (continues && (module.tensor(entry.params[1]).shape.size() != 2 ||
                     module.tensor(entry.params[1]).shape[0] != Dim::of('T')))) {
    return error(
        fmt::format("module @{} must have one parameter, tensor<Txi32>, to be run, and an entry "
                    "beside the first at most rows, one for each token",
                    module.name));
  }
  Array ids{{tokens}, {}};
  for (int32_t token : input.tokens) {
    if (token < 0 || token >= kMaxToken) {
      return error(fmt::format("token {} is not in 0..2^24-1", token));
    }
    ids.data.push_back(static_cast<float>(token));
  }
  Step step(module, source, tokens, input.logits_rows, state);
  step.free_after_last_use();
  if (absl::Status s = step.set(entry.params[0], std::move(ids)); !s.ok()) return s;
  if (continues) {
    const int64_t width = module.tensor(entry.params[1]).shape[1].value;
    if (absl::Status s = step.set(entry.params[1], {{tokens, width}, input.hidden}); !s.ok())
      return s;
  }
  absl::Status ran =
      entries.size() == 1 ? step.run(module.nodes) : step.run(nodes_of_entry(module, input.entry));
  if (!ran.ok()) return ran;
  std::vector<Array> returned;
  for (const ValueId id : entry.returns) {
    const auto result = step.get(id);
    if (!result.ok()) return result.status();
    returned.push_back(**result);
  }
  state.position += tokens;
  return returned;
}

absl::StatusOr<std::map<ValueId, Array>> interpret_nodes(
    const Module& module, const std::vector<Node>& nodes, const MatrixSource& source,
    std::map<ValueId, Array> values, int64_t tokens, int64_t logits_rows, InterpreterState& state) {
  if (absl::Status s = check_step(tokens, logits_rows, state); !s.ok()) return s;
  Step step(module, source, tokens, logits_rows, state);
  for (auto& [id, array] : values) {
    if (absl::Status s = step.set(id, std::move(array)); !s.ok()) return s;
  }
  if (absl::Status s = step.run(nodes); !s.ok()) return s;
  return step.take_all();
}

}  // namespace sinter::ir
