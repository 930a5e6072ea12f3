#include "ir/shape_operands.h"

#include <fmt/format.h>

#include "ir/ops.h"

namespace sinter::ir {

namespace {

bool is_float(DType dtype) { return dtype != DType::i32 && !is_of_states(dtype); }

std::string describe(const Value& value) {
  switch (value.kind) {
    case ValueKind::weight:
      return fmt::format("the weight @{}", value.name);
    case ValueKind::state:
      return fmt::format("the state @{}", value.name);
    case ValueKind::param:
    case ValueKind::result:
      break;
  }
  return fmt::format("a {}", to_string(value.type));
}

}  // namespace

const TensorType* ShapeOperands::tensor(size_t i, std::string_view what, size_t rank) {
  const TensorType* type = any_tensor(i, what);
  if (type == nullptr) return nullptr;
  if (!is_float(type->dtype)) {
    fail(fmt::format("the {} must be of floats, it is {}", what, to_string(*type)));
    return nullptr;
  }
  return ranked(type, what, rank);
}

const TensorType* ShapeOperands::tokens(size_t i) {
  const TensorType* type = any_tensor(i, "tokens");
  if (type == nullptr) return nullptr;
  if (type->dtype != DType::i32) {
    fail(fmt::format("the tokens must be of i32, they are {}", to_string(*type)));
    return nullptr;
  }
  return ranked(type, "tokens", 1);
}

const TensorType* ShapeOperands::indices(size_t i, std::string_view what) {
  const TensorType* type = any_tensor(i, what);
  if (type == nullptr) return nullptr;
  if (type->dtype != DType::i32) {
    fail(fmt::format("the {} must be of i32, they are {}", what, to_string(*type)));
    return nullptr;
  }
  return ranked(type, what, 2);
}

std::vector<int64_t> ShapeOperands::stacked(size_t i, std::string_view what) {
  std::vector<int64_t> shape;
  if (is_weight(i)) {
    const WeightType* type = weight(i, what);
    if (type != nullptr) shape = type->shape;
  } else if (const TensorType* type = tensor(i, what, 3); type != nullptr) {
    for (const Dim& dim : type->shape)
      if (!dim.is_symbol()) shape.push_back(dim.value);
  }
  if (ok() && shape.size() != 3) fail(fmt::format("the {} must be stacked matrices", what));
  return shape;
}

const StateType* ShapeOperands::state(size_t i, std::string_view what) {
  const Value* value = get(i);
  if (value == nullptr) return nullptr;
  const auto* type = std::get_if<StateType>(&value->type);
  if (type == nullptr)
    fail(fmt::format("the {} must be a state, operand {} is {}", what, i, describe(*value)));
  return type;
}

const StateType* ShapeOperands::state(size_t i, std::string_view what, StateKind kind) {
  const StateType* type = state(i, what);
  if (type == nullptr || type->kind == kind) return type;
  fail(fmt::format("the {} must be a {} state, it is {}", what, info(kind).name, to_string(*type)));
  return nullptr;
}

const StateType* ShapeOperands::state_by_position(size_t i, std::string_view what) {
  const StateType* type = state(i, what);
  if (type == nullptr || info(type->kind).by_position) return type;
  fail(fmt::format("the {} must be a state that is kept by position, it is {}", what,
                   to_string(*type)));
  return nullptr;
}

bool ShapeOperands::is_weight(size_t i) {
  const Value* value = get(i);
  return value != nullptr && value->kind == ValueKind::weight;
}

int64_t ShapeOperands::weight_vector(size_t i, std::string_view what) {
  const WeightType* type = weight(i, what);
  if (type == nullptr) return 0;
  if (type->shape.size() != 1 || !type->format.is_dense()) {
    fail(fmt::format("the {} must be a dense weight vector, it is {}", what, to_string(*type)));
    return 0;
  }
  return type->shape[0];
}

const WeightType* ShapeOperands::weight(size_t i, std::string_view what) {
  const Value* value = get(i);
  if (value == nullptr) return nullptr;
  const auto* type = std::get_if<WeightType>(&value->type);
  if (value->kind != ValueKind::weight || type == nullptr) {
    fail(fmt::format("the {} must be a weight, operand {} is {}", what, i, describe(*value)));
    return nullptr;
  }
  return type;
}

std::pair<int64_t, int64_t> ShapeOperands::matrix(size_t i, std::string_view what) {
  if (is_weight(i)) {
    const WeightType* type = weight(i, what);
    if (type == nullptr) return {0, 0};
    if (type->shape.size() == 2) return {type->shape[0], type->shape[1]};
    fail(fmt::format("the {} must be a matrix, it is {}", what, to_string(*type)));
    return {0, 0};
  }
  const TensorType* type = tensor(i, what, 2);
  if (type == nullptr) return {0, 0};
  if (type->shape[0].is_symbol() || type->shape[1].is_symbol()) {
    fail(fmt::format("the {} must be a weight or a dequantized weight, it is {}", what,
                     to_string(*type)));
    return {0, 0};
  }
  return {type->shape[0].value, type->shape[1].value};
}

const absl::Status& ShapeOperands::fail(const std::string& message) {
  if (status_.ok()) {
    status_ = absl::InvalidArgumentError(fmt::format("[{}] {}", info(node_.op).name, message));
  }
  return status_;
}

const absl::Status& ShapeOperands::fail_rows(const TensorType& type) {
  return fail(fmt::format("the first extent must be T, it is {}", to_string(type)));
}

const Value* ShapeOperands::get(size_t i) {
  const ValueId id = node_.operands[i];
  if (id < 0 || static_cast<size_t>(id) >= module_.values.size()) {
    fail(fmt::format("operand {} is no value of the module", i));
    return nullptr;
  }
  return &module_.value(id);
}

const TensorType* ShapeOperands::any_tensor(size_t i, std::string_view what) {
  const Value* value = get(i);
  if (value == nullptr) return nullptr;
  const auto* type = std::get_if<TensorType>(&value->type);
  if (type == nullptr) {
    fail(fmt::format("the {} must be a tensor, operand {} is {}", what, i, describe(*value)));
    return nullptr;
  }
  if (type->shape.empty()) {
    fail(fmt::format("the {} has no extents", what));
    return nullptr;
  }
  return type;
}

const TensorType* ShapeOperands::ranked(const TensorType* type, std::string_view what,
                                        size_t rank) {
  if (rank == 0 || type->shape.size() == rank) return type;
  fail(fmt::format("the {} must have {} extent{}, it is {}", what, rank, rank == 1 ? "" : "s",
                   to_string(*type)));
  return nullptr;
}

}  // namespace sinter::ir
