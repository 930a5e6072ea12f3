// Numbers of a golden case.
#pragma once

#include <cstring>
#include <vector>

#include "frontends/safetensors/safetensors.h"

namespace sinter {

template <class T>
std::vector<T> read_tensor(const frontends::StoredTensor& tensor) {
  std::vector<T> out(tensor.bytes.size() / sizeof(T));
  std::memcpy(out.data(), tensor.bytes.data(), out.size() * sizeof(T));
  return out;
}

}  // namespace sinter
