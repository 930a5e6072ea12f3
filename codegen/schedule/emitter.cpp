#include "codegen/schedule/emitter.h"

#include <cmath>

namespace sinter::codegen {

std::string_view c_type(ir::DType dtype) {
  switch (dtype) {
    case ir::DType::f32:
      return "float";
    case ir::DType::f16:
      return "f16";
    case ir::DType::bf16:
      return "bf16";
    case ir::DType::i32:
      return "i32";
    case ir::DType::e8m0:
      return "e8m0";
    case ir::DType::e4m3:
      return "e4m3";
    case ir::DType::q8:
    case ir::DType::q4:
      break;
  }
  return "void";
}

std::string float_literal(double value) {
  if (std::isinf(value)) return value < 0 ? "-__builtin_inff()" : "__builtin_inff()";
  std::string text = fmt::format("{}", static_cast<float>(value));
  if (text.find_first_of(".en") == std::string::npos) text += ".0";
  return text + "F";
}

}  // namespace sinter::codegen
