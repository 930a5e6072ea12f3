// A plan's code and weights on the host: weights in place, phases on a pool of threads.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>

#include "runtime/host/device.h"
#include "runtime/host/memory.h"
#include "runtime/host/thread_pool.h"
#include "runtime/session/device.h"

namespace sinter::runtime {

class HostModel : public DeviceModel {
 public:
  static Result<std::unique_ptr<DeviceModel>> load(std::shared_ptr<const PlanFile> file,
                                                   const LoadOptions& options);

  const CodeObject& code() const override { return *code_; }
  const DeviceInfo& info() const override { return info_; }
  int workers() const override { return pool_->workers(); }
  Result<std::unique_ptr<DeviceSession>> create_session(const SessionSize& size,
                                                        Executor executor) override;
  Result<double> streaming_read(uint64_t bytes) override;

  const Plan& plan() const { return file_->plan(); }
  const DevicePlan& device_plan() const { return plan().device_plans[code_->device_plan]; }
  ThreadPool& pool() { return *pool_; }
  PhaseFunction kernel(uint32_t index) const { return kernels_->kernel(index); }
  // Byte `offset` of the weights; only read.
  const uint8_t* weights_at(uint64_t offset) const {
    return device_plan().synthetic() ? synthetic_weights_.data() + offset
                                     : file_->weights_at(device_plan(), offset);
  }
  std::mutex& step_mutex() { return step_; }

 private:
  Status load_weights(const LoadOptions& options);

  std::shared_ptr<const PlanFile> file_;
  const CodeObject* code_ = nullptr;
  DeviceInfo info_;
  std::shared_ptr<const HostCode> kernels_;
  std::unique_ptr<ThreadPool> pool_;
  Memory synthetic_weights_;
  std::mutex step_;  // held while a step runs
};

Result<std::unique_ptr<DeviceSession>> create_host_session(HostModel& model,
                                                           const SessionSize& size,
                                                           Executor executor);

}  // namespace sinter::runtime
