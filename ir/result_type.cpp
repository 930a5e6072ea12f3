// The shape rules of the op table.
#include <fmt/format.h>

#include <string>
#include <utility>

#include "ir/ops.h"
#include "ir/verifier.h"

namespace sinter::ir {

namespace {

std::string text(const Dim& dim) {
  return dim.is_symbol() ? std::string(1, dim.symbol) : fmt::format("{}", dim.value);
}

bool is_float(DType dtype) { return dtype != DType::i32; }

// The operands of one node, fetched with the check of what they are. The first error is kept.
class Operands {
 public:
  Operands(const Module& module, const Node& node) : module_(module), node_(node) {}

  // A tensor of floats that a node or the caller made; `rank` 0 for any of at least one.
  const TensorType* tensor(size_t i, std::string_view what, size_t rank) {
    const TensorType* type = any_tensor(i, what);
    if (type == nullptr) return nullptr;
    if (!is_float(type->dtype)) {
      fail(fmt::format("the {} must be of floats, it is {}", what, to_string(*type)));
      return nullptr;
    }
    return ranked(type, what, rank);
  }

  const TensorType* tokens(size_t i) {
    const TensorType* type = any_tensor(i, "tokens");
    if (type == nullptr) return nullptr;
    if (type->dtype != DType::i32) {
      fail(fmt::format("the tokens must be of i32, they are {}", to_string(*type)));
      return nullptr;
    }
    return ranked(type, "tokens", 1);
  }

  const TensorType* indices(size_t i, std::string_view what) {
    const TensorType* type = any_tensor(i, what);
    if (type == nullptr) return nullptr;
    if (type->dtype != DType::i32) {
      fail(fmt::format("the {} must be of i32, they are {}", what, to_string(*type)));
      return nullptr;
    }
    return ranked(type, what, 2);
  }

  // Extents of stacked matrices, a weight or a dequantized one.
  std::vector<int64_t> stacked(size_t i, std::string_view what) {
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

  const TensorType* state(size_t i, std::string_view what) {
    const Value* value = get(i);
    if (value == nullptr) return nullptr;
    const auto* type = std::get_if<TensorType>(&value->type);
    if (value->kind != ValueKind::state || type == nullptr) {
      fail(fmt::format("the {} must be a state, operand {} is {}", what, i, describe(*value)));
      return nullptr;
    }
    if (type->shape.size() != 3 || type->shape[0].is_symbol() || type->shape[2].is_symbol() ||
        !is_float(type->dtype)) {
      fail(fmt::format("the {} must be [kv_heads, C, head_dim] of floats, it is {}", what,
                       to_string(*type)));
      return nullptr;
    }
    return type;
  }

  bool is_weight(size_t i) {
    const Value* value = get(i);
    return value != nullptr && value->kind == ValueKind::weight;
  }

  // Elements of a dense weight vector; 0 on error.
  int64_t weight_vector(size_t i, std::string_view what) {
    const WeightType* type = weight(i, what);
    if (type == nullptr) return 0;
    if (type->shape.size() != 1 || !type->format.is_dense()) {
      fail(fmt::format("the {} must be a dense weight vector, it is {}", what, to_string(*type)));
      return 0;
    }
    return type->shape[0];
  }

  const WeightType* weight(size_t i, std::string_view what) {
    const Value* value = get(i);
    if (value == nullptr) return nullptr;
    const auto* type = std::get_if<WeightType>(&value->type);
    if (value->kind != ValueKind::weight || type == nullptr) {
      fail(fmt::format("the {} must be a weight, operand {} is {}", what, i, describe(*value)));
      return nullptr;
    }
    return type;
  }

  // Rows and columns of a weight matrix or of a dequantized one; {0, 0} on error.
  std::pair<int64_t, int64_t> matrix(size_t i, std::string_view what) {
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

  const absl::Status& fail(const std::string& message) {
    if (status_.ok()) {
      status_ = absl::InvalidArgumentError(fmt::format("[{}] {}", info(node_.op).name, message));
    }
    return status_;
  }

  // Row t of the ops on state is at position + t, which is true of all tokens only.
  const absl::Status& fail_rows(const TensorType& type) {
    return fail(fmt::format("the first extent must be T, it is {}", to_string(type)));
  }

  bool ok() const { return status_.ok(); }
  const absl::Status& status() const { return status_; }

 private:
  const Value* get(size_t i) {
    const ValueId id = node_.operands[i];
    if (id < 0 || static_cast<size_t>(id) >= module_.values.size()) {
      fail(fmt::format("operand {} is no value of the module", i));
      return nullptr;
    }
    return &module_.value(id);
  }

  const TensorType* any_tensor(size_t i, std::string_view what) {
    const Value* value = get(i);
    if (value == nullptr) return nullptr;
    const auto* type = std::get_if<TensorType>(&value->type);
    if (type == nullptr || value->kind == ValueKind::weight || value->kind == ValueKind::state) {
      fail(fmt::format("the {} must be a tensor, operand {} is {}", what, i, describe(*value)));
      return nullptr;
    }
    if (type->shape.empty()) {
      fail(fmt::format("the {} has no extents", what));
      return nullptr;
    }
    return type;
  }

  const TensorType* ranked(const TensorType* type, std::string_view what, size_t rank) {
    if (rank == 0 || type->shape.size() == rank) return type;
    fail(fmt::format("the {} must have {} extent{}, it is {}", what, rank, rank == 1 ? "" : "s",
                     to_string(*type)));
    return nullptr;
  }

  static std::string describe(const Value& value) {
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

  const Module& module_;
  const Node& node_;
  absl::Status status_;
};

using Result = absl::StatusOr<TensorType>;

Result dequantize(Operands& in) {
  const WeightType* w = in.weight(0, "operand");
  if (w == nullptr) return in.status();
  if (w->shape.size() < 2) {
    return in.fail(fmt::format("the weight must be a matrix, it is {}", to_string(*w)));
  }
  return TensorType{DType::f32, {w->shape.begin(), w->shape.end()}};
}

Result embed(Operands& in) {
  const TensorType* tokens = in.tokens(0);
  const auto [rows, cols] = in.matrix(1, "table");
  if (!in.ok()) return in.status();
  return TensorType{DType::f32, {tokens->shape[0], cols}};
}

Result matmul(Operands& in) {
  const TensorType* x = in.tensor(0, "input", 2);
  const auto [rows, cols] = in.matrix(1, "weight");
  if (!in.ok()) return in.status();
  if (x->shape[1] != Dim(cols)) {
    return in.fail(
        fmt::format("the input has {} features, the weight takes {}", text(x->shape[1]), cols));
  }
  return TensorType{x->dtype, {x->shape[0], rows}};
}

Result top_k(Operands& in, const Node& node) {
  const TensorType* x = in.tensor(0, "operand", 2);
  if (x == nullptr) return in.status();
  const int64_t k = node.integer("k", 0);
  if (x->shape[1].is_symbol() || k < 1 || k > x->shape[1].value) {
    return in.fail(fmt::format("{} of {} columns", k, text(x->shape[1])));
  }
  return TensorType{DType::i32, {x->shape[0], k}};
}

Result gather_matmul(Operands& in) {
  const TensorType* x = in.tensor(0, "input", 0);
  const TensorType* chosen = in.indices(1, "experts");
  const std::vector<int64_t> w = in.stacked(2, "weight");
  if (!in.ok()) return in.status();
  const size_t rank = x->shape.size();
  const bool each = rank == 3 && x->shape[1] == chosen->shape[1];
  if (x->shape[0] != chosen->shape[0] || (rank != 2 && !each)) {
    return in.fail(fmt::format("an input of {} does not go with experts of {}", to_string(*x),
                               to_string(*chosen)));
  }
  if (x->shape.back() != Dim(w[2])) {
    return in.fail(
        fmt::format("the input has {} features, the weight takes {}", text(x->shape.back()), w[2]));
  }
  return TensorType{x->dtype, {chosen->shape[0], chosen->shape[1], w[1]}};
}

Result elementwise2(Operands& in) {
  const TensorType* x = in.tensor(0, "first operand", 0);
  if (x == nullptr) return in.status();
  if (in.is_weight(1)) {
    const int64_t n = in.weight_vector(1, "second operand");
    if (!in.ok()) return in.status();
    if (x->shape.back() != Dim(n)) {
      return in.fail(fmt::format("the first operand has {} features, the weight vector {}",
                                 text(x->shape.back()), n));
    }
    return *x;
  }
  const TensorType* y = in.tensor(1, "second operand", 0);
  if (y == nullptr) return in.status();
  if (*x != *y) {
    return in.fail(fmt::format("the operands differ: {} and {}", to_string(*x), to_string(*y)));
  }
  return *x;
}

Result elementwise1(Operands& in) {
  const TensorType* x = in.tensor(0, "operand", 0);
  if (x == nullptr) return in.status();
  return *x;
}

Result rms_norm(Operands& in, const Node& node) {
  const TensorType* x = in.tensor(0, "input", 0);
  const int64_t n = in.weight_vector(1, "weight");
  if (!in.ok()) return in.status();
  if (x->shape.back() != Dim(n)) {
    return in.fail(
        fmt::format("the input has {} features, the weight {}", text(x->shape.back()), n));
  }
  if (!(node.number("eps", 0) >= 0)) {
    return in.fail(fmt::format("eps is {}, it must not be negative", node.number("eps", 0)));
  }
  return *x;
}

// Product of the constant extents; the caller's types were verified, so that it fits.
int64_t constant_extents(const TensorType& type) {
  int64_t product = 1;
  for (const Dim& dim : type.shape) {
    if (!dim.is_symbol()) product *= dim.value;
  }
  return product;
}

Result reshape(Operands& in, const TensorType* wanted) {
  const TensorType* x = in.tensor(0, "input", 0);
  if (x == nullptr) return in.status();
  if (wanted == nullptr) return in.fail("the result type must be given");
  if (const absl::Status s = verify_type(*wanted); !s.ok()) {
    return in.fail(std::string(s.message()));
  }
  for (const TensorType* type : {x, wanted}) {
    for (size_t i = 1; i < type->shape.size(); ++i) {
      if (type->shape[i].is_symbol()) {
        return in.fail(
            fmt::format("only the first extent may be a symbol, found {}", to_string(*type)));
      }
    }
  }
  const bool symbolic = x->shape[0].is_symbol() || wanted->shape[0].is_symbol();
  if (x->dtype != wanted->dtype || (symbolic && x->shape[0] != wanted->shape[0]) ||
      constant_extents(*x) != constant_extents(*wanted)) {
    return in.fail(
        fmt::format("{} does not hold the elements of {}", to_string(*wanted), to_string(*x)));
  }
  return *wanted;
}

Result slice(Operands& in, const Node& node) {
  const TensorType* x = in.tensor(0, "input", 0);
  if (x == nullptr) return in.status();
  const int64_t begin = node.integer("begin", 0);
  const int64_t end = node.integer("end", 0);
  const Dim last = x->shape.back();
  if (last.is_symbol() || begin < 0 || begin >= end || end > last.value) {
    return in.fail(fmt::format("{}..{} is no range of the {} features", begin, end, text(last)));
  }
  TensorType result = *x;
  result.shape.back() = end - begin;
  return result;
}

Result last_rows(Operands& in) {
  const TensorType* x = in.tensor(0, "input", 2);
  if (x == nullptr) return in.status();
  if (x->shape[0] != Dim::of('T')) return in.fail_rows(*x);
  TensorType result = *x;
  result.shape[0] = Dim::of('L');
  return result;
}

Result rope_table(Operands& in) {
  const int64_t n = in.weight_vector(0, "inv_freq");
  const TensorType* tokens = in.tokens(1);
  if (!in.ok() || tokens == nullptr) return in.status();
  return TensorType{DType::f32, {tokens->shape[0], 2 * n}};
}

Result rope(Operands& in, const Node& node) {
  const TensorType* x = in.tensor(0, "input", 3);
  const TensorType* table = in.tensor(1, "table", 2);
  if (!in.ok()) return in.status();
  if (x->shape[0] != table->shape[0]) {
    return in.fail(fmt::format("the input has {} rows, the table {}", text(x->shape[0]),
                               text(table->shape[0])));
  }
  const Dim head_dim = x->shape[2];
  const Dim rotated = table->shape[1];
  if (head_dim.is_symbol() || rotated.is_symbol() || rotated.value % 2 != 0 ||
      rotated.value > head_dim.value) {
    return in.fail(
        fmt::format("the table rotates {} features of heads with {}; it must be an even number, "
                    "no more than a head has",
                    text(rotated), text(head_dim)));
  }
  const std::string style = node.text("style", "half");
  if (style != "half" && style != "interleaved") {
    return in.fail(fmt::format("style \"{}\" is unknown; \"half\" and \"interleaved\" are", style));
  }
  return *x;
}

Result kv_append(Operands& in) {
  const TensorType* cache = in.state(0, "cache");
  if (cache == nullptr) return in.status();
  const TensorType* x = in.tensor(1, "input", 3);
  if (x == nullptr) return in.status();
  if (x->shape[0] != Dim::of('T')) return in.fail_rows(*x);
  if (x->shape[1] != cache->shape[0] || x->shape[2] != cache->shape[2]) {
    return in.fail(fmt::format("the input has {} heads of {}, the cache {} of {}",
                               text(x->shape[1]), text(x->shape[2]), text(cache->shape[0]),
                               text(cache->shape[2])));
  }
  return TensorType{};  // no result
}

Result attention(Operands& in) {
  const TensorType* q = in.tensor(0, "query", 3);
  if (q == nullptr) return in.status();
  if (q->shape[0] != Dim::of('T')) return in.fail_rows(*q);
  const TensorType* k = in.state(1, "key cache");
  if (k == nullptr) return in.status();
  const TensorType* v = in.state(2, "value cache");
  if (v == nullptr) return in.status();
  if (k->shape != v->shape) {
    return in.fail(fmt::format("the key cache is {}, the value cache {}; they must be equal",
                               to_string(*k), to_string(*v)));
  }
  const Dim heads = q->shape[1];
  const Dim head_dim = q->shape[2];
  if (head_dim != k->shape[2] || heads.is_symbol()) {
    return in.fail(fmt::format("the query has {} heads of {} features, the cache heads of {}",
                               text(heads), text(head_dim), text(k->shape[2])));
  }
  if (k->shape[0].value <= 0 || heads.value % k->shape[0].value != 0) {
    return in.fail(fmt::format("{} query heads do not share {} KV heads evenly", heads.value,
                               k->shape[0].value));
  }
  return TensorType{q->dtype, {q->shape[0], heads.value * head_dim.value}};
}

}  // namespace

absl::StatusOr<TensorType> result_type(const Module& module, const Node& node,
                                       const TensorType* wanted) {
  if (const absl::Status s = verify_attributes(node); !s.ok()) return s;
  Operands in(module, node);
  switch (node.op) {
    case Op::dequantize:
      return dequantize(in);
    case Op::embed:
      return embed(in);
    case Op::matmul:
      return matmul(in);
    case Op::add:
    case Op::mul:
      return elementwise2(in);
    case Op::silu:
    case Op::gelu:
    case Op::gelu_erf:
    case Op::relu2:
    case Op::sigmoid:
      return elementwise1(in);
    case Op::rms_norm:
      return rms_norm(in, node);
    case Op::reshape:
      return reshape(in, wanted);
    case Op::slice:
      return slice(in, node);
    case Op::last_rows:
      return last_rows(in);
    case Op::rope_table:
      return rope_table(in);
    case Op::rope:
      return rope(in, node);
    case Op::kv_append:
      return kv_append(in);
    case Op::attention:
      return attention(in);
    case Op::top_k:
      return top_k(in, node);
    case Op::gather_matmul:
      return gather_matmul(in);
    case Op::fused:
      return in.fail("its result types are those of the values that leave its body");
  }
  return absl::InternalError("unknown op");
}

}  // namespace sinter::ir
