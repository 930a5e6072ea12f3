// A GPU and what belongs to it: memory, code, streams, events, graphs. Everything is given back
// when its owner goes, every return code is looked at, and errors name what was being done.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "runtime/abi/kernel_abi.h"
#include "runtime/gpu/driver.h"
#include "runtime/plan/file.h"
#include "runtime/session/session.h"
#include "runtime/support/result.h"

namespace sinter::runtime {

class GpuDevice;

// An object of the driver, owned. A stream waits for its work when it goes, so what the work uses
// is declared before the stream.
template <class Handle>
class GpuObject {
 public:
  using Destroy = std::function<int(Handle)> GpuDriver::*;
  GpuObject() = default;
  GpuObject(std::shared_ptr<const GpuDevice> device, Handle handle, Destroy destroy)
      : device_(std::move(device)), handle_(handle), destroy_(destroy) {}
  GpuObject(GpuObject&& other) noexcept { swap(other); }
  GpuObject& operator=(GpuObject&& other) noexcept {
    GpuObject(std::move(other)).swap(*this);
    return *this;
  }
  GpuObject(const GpuObject&) = delete;
  GpuObject& operator=(const GpuObject&) = delete;
  ~GpuObject();
  Handle get() const { return handle_; }

 private:
  void swap(GpuObject& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(handle_, other.handle_);
    std::swap(destroy_, other.destroy_);
  }

  std::shared_ptr<const GpuDevice> device_;  // outlives its objects
  Handle handle_ = nullptr;
  Destroy destroy_ = nullptr;
};

using GpuMemory = GpuObject<void*>;
using PinnedMemory = GpuObject<void*>;  // of the host, which the GPU reaches, too
using GpuModule = GpuObject<HipModule>;
using GpuStream = GpuObject<HipStream>;
using GpuEvent = GpuObject<HipEvent>;
using GpuGraph = GpuObject<HipGraphExec>;

class GpuDevice : public std::enable_shared_from_this<GpuDevice> {
 public:
  // Errors: no device, no such number, an architecture that cannot be made out.
  static Result<std::shared_ptr<const GpuDevice>> open(std::shared_ptr<const GpuDriver> driver,
                                                       int index);

  const GpuDriver& driver() const { return *driver_; }
  const DeviceInfo& info() const { return info_; }  // free memory: when it was opened
  int multiprocessors() const { return properties_.multiprocessors; }
  int shared_bytes() const { return properties_.shared_bytes; }  // of a block at most

  // Makes this the device that the calling thread's calls are about. Whoever may be called from any
  // thread begins with it.
  Status make_current() const;
  Result<uint64_t> free_memory() const;

  // An error that names the device and what was being done; Done when `code` is hip_success.
  Status check(int code, std::string_view doing) const;
  Error error(int code, std::string_view doing) const;

  Result<GpuMemory> allocate(uint64_t bytes, std::string_view what) const;
  Result<PinnedMemory> allocate_pinned(uint64_t bytes, std::string_view what) const;
  Result<GpuModule> load(const void* image, std::string_view what) const;
  Result<HipFunction> function(const GpuModule& module, const std::string& name) const;
  Result<GpuStream> create_stream() const;
  Result<GpuEvent> create_event(bool timing) const;

  // `kind` and `name` are for the error: "phase " and "layers.0.gate_up". `early`: the kernel waits
  // by itself for those before it, and is launched while they run where the driver can do that.
  Status launch(HipFunction function, unsigned blocks, unsigned shared_bytes, HipStream stream,
                GpuArguments arguments, std::string_view kind, std::string_view name,
                bool early = false) const;
  // Lets launches of the kernel have up to so much dynamic shared memory.
  Status allow_shared(HipFunction function, uint32_t bytes, std::string_view name) const;
  // Blocks of gpu_block_threads that the device holds at one time. Error: it cannot hold one.
  Result<unsigned> resident_blocks(HipFunction function, uint32_t shared_bytes,
                                   std::string_view name) const;
  // Captures what `enqueue` puts on the stream, which does not run.
  template <class Enqueue>
  Result<GpuGraph> capture(HipStream stream, Enqueue enqueue) const {
    if (Status s = begin_capture(stream); !s.ok()) return s.error();
    const Status enqueued = enqueue();
    // Also after an error: the stream must not stay in capture.
    const Result<GpuObject<HipGraph>> captured = end_capture(stream);
    if (!enqueued.ok()) return enqueued.error();
    if (!captured.ok()) return captured.error();
    return instantiate(captured->get());
  }
  Status wait(HipStream stream, std::string_view doing) const;

 private:
  GpuDevice(std::shared_ptr<const GpuDriver> driver, int index)
      : driver_(std::move(driver)), index_(index) {}
  Status begin_capture(HipStream stream) const;
  Result<GpuObject<HipGraph>> end_capture(HipStream stream) const;
  Result<GpuGraph> instantiate(HipGraph graph) const;

  std::shared_ptr<const GpuDriver> driver_;
  int index_;
  GpuProperties properties_;
  DeviceInfo info_;
};

template <class Handle>
GpuObject<Handle>::~GpuObject() {
  if (handle_ == nullptr) return;
  // What goes wrong now went wrong before and was reported then.
  (void)device_->make_current();
  if constexpr (std::is_same_v<Handle, HipStream>)
    (void)device_->driver().hipStreamSynchronize(handle_);
  (device_->driver().*destroy_)(handle_);
}

// The devices that the driver knows. Errors: it cannot be initialised, there are none.
Result<std::vector<DeviceInfo>> list_gpus(const std::shared_ptr<const GpuDriver>& driver);

// "hip:1", "cuda" (which is "cuda:0"). Error: anything else.
struct GpuName {
  GpuVendor vendor = GpuVendor::amd;
  int index = 0;
};
Result<GpuName> parse_gpu_name(std::string_view text);

// The plan's code for an architecture: AMD's of the same name, else one that stands for several
// machines of which this is one; of NVIDIA's the highest that is not above the device's, a cubin
// only for the very same, and before PTX, which the driver compiles for any later machine. Error:
// lists what there is.
Result<const CodeObject*> choose_gpu_code(const PlanFile& file, const DeviceInfo& device,
                                          GpuVendor vendor);

}  // namespace sinter::runtime
