// The kernel library's files, compiled into the compiler: no installation path to find at run time.
#pragma once

#include <string_view>
#include <vector>

namespace sinter::codegen {

struct DeviceSource {
  std::string_view name;  // as included: "cpu/matmul.h"
  std::string_view text;
};

const std::vector<DeviceSource>& device_sources();

}  // namespace sinter::codegen
