// A plan's code and weights on a GPU, and what sessions there need of them.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "runtime/gpu/device.h"
#include "runtime/session/device.h"

namespace sinter::runtime {

// Of a session's one piece of device memory.
struct GpuSessionLayout : SessionLayout {
  GpuSessionLayout(const Plan& plan, const DevicePlan& device_plan, const SessionSize& size)
      : SessionLayout(plan, device_plan, size),
        sampling(add(static_cast<uint64_t>(size.sequences) * sizeof(SampleParams))),
        workspace(add(gpu_sample_workspace)) {}

  Buffer sampling, workspace;  // of sinter_sample
};

class GpuModel : public DeviceModel {
 public:
  static Result<std::unique_ptr<DeviceModel>> load(std::shared_ptr<const PlanFile> file,
                                                   const LoadOptions& options);

  const CodeObject& code() const override { return *code_; }
  const DeviceInfo& info() const override { return device_->info(); }
  int workers() const override { return device_->multiprocessors(); }
  Result<std::unique_ptr<DeviceSession>> create_session(const SessionSize& size,
                                                        Executor executor) override;
  Result<double> streaming_read(uint64_t bytes) override;

  const Plan& plan() const { return file_->plan(); }
  const DevicePlan& device_plan() const { return plan().device_plans[code_->device_plan]; }
  const GpuDevice& device() const { return *device_; }
  HipFunction kernel(uint32_t index) const { return kernels_[index]; }
  HipFunction sampler() const { return sampler_; }
  uint8_t* weights() const { return static_cast<uint8_t*>(weights_.get()); }
  // Error when `weights` bytes and a session do not fit; says which context does.
  Status check_memory(const SessionSize& size, uint64_t weights) const;
  // Launches sinter_stream over memory; `bytes` is a multiple of 16.
  Status launch_stream(void* memory, uint64_t bytes, HipStream stream) const;

 private:
  Status load_code();

  std::shared_ptr<const PlanFile> file_;
  const CodeObject* code_ = nullptr;
  std::shared_ptr<const GpuDevice> device_;
  GpuModule module_;
  std::vector<HipFunction> kernels_;
  HipFunction sampler_ = nullptr, streamer_ = nullptr;
  unsigned stream_blocks_ = 0;
  GpuMemory weights_;
  GpuMemory stream_result_;  // that sinter_stream writes
};

// The weights of a plan in the GPU's memory, brought there in pieces through pinned memory. Errors:
// among others, a wrong checksum.
Result<GpuMemory> upload_weights(const GpuDevice& device, const PlanFile& file,
                                 const DevicePlan& plan, const LoadOptions& options);

Result<std::unique_ptr<DeviceSession>> create_gpu_session(const GpuModel& model,
                                                          const SessionSize& size,
                                                          Executor executor);

}  // namespace sinter::runtime
