// The reference functions of the op table: plain, slow, float32 with sums in double.
#pragma once

#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "ir/interpreter.h"
#include "ir/state_format.h"
#include "ir/weight_rows.h"

namespace sinter::ir {

// What a reference function computes from. Operands are fetched as the op table says what they are;
// shapes were checked by the op's shape rule.
struct OpArguments {
  // A tensor that is there, a vector that was decoded, a matrix, or a state.
  using Operand = std::variant<const Array*, Array, WeightRows, Array*>;

  const Node& node;
  std::vector<Operand> operands;
  std::vector<int64_t> shape;  // of the result, with numbers for symbols; empty when there is none
  int64_t tokens = 0;
  int64_t logits_rows = 0;
  int64_t position = 0;                 // of the first token
  const StateFormat* format = nullptr;  // of the state that is updated

  // Operands that the table calls tensor, integers, vector or broadcast.
  const Array& array(size_t i) const {
    const auto* there = std::get_if<const Array*>(&operands[i]);
    return there != nullptr ? **there : std::get<Array>(operands[i]);
  }
  const WeightRows& matrix(size_t i) const { return std::get<WeightRows>(operands[i]); }
  Array& state(size_t i) const { return *std::get<Array*>(operands[i]); }
};

namespace reference {

// One function per op: the result, empty when the op has none. An error says what is wrong with the
// numbers, e.g. a token outside the table.
#define SINTER_OP(name, ...) absl::StatusOr<Array> name(const OpArguments& in);
#define SINTER_FORM(name, ...)
#include "ir/ops.def"

}  // namespace reference

}  // namespace sinter::ir
