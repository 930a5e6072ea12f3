// Models as engines that compute in float32 throughout have them.
#pragma once

#include "ir/graph.h"
#include "ir/state_format.h"

namespace sinter::ir {

// The module with all caches of keys and values in float32.
inline Module with_f32_caches(Module module) {
  for (Value& value : module.values)
    if (auto* state = std::get_if<StateType>(&value.type)) state->numbers.dtype = DType::f32;
  return module;
}

}  // namespace sinter::ir
