// What sessions see of a loaded model.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>

#include "runtime/host_device.h"
#include "runtime/host_memory.h"
#include "runtime/session.h"

namespace sinter::runtime {

struct Model::Impl {
  std::shared_ptr<const PlanFile> file;
  const CodeObject* code = nullptr;
  const DevicePlan* device_plan = nullptr;
  std::shared_ptr<const HostCode> kernels;
  std::unique_ptr<ThreadPool> pool;
  Memory synthetic_weights;
  const uint8_t* weights = nullptr;  // the weights section, wherever it lies; only read
  std::mutex step;                   // held while a step runs
};

}  // namespace sinter::runtime
