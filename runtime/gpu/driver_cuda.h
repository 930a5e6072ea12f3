// NVIDIA's driver as a GpuDriver.
#pragma once

#include <memory>

#include "runtime/gpu/driver.h"

namespace sinter::runtime {

Result<std::shared_ptr<const GpuDriver>> open_cuda();

}  // namespace sinter::runtime
