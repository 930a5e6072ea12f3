// The functions of a GPU's driver, by the names and with the arguments that HIP gives them. AMD's
// library has them; NVIDIA's has the like under other names. Both are opened at run time, so that a
// program needs neither to start, and no header of a vendor to be built.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/support/result.h"

namespace sinter::runtime {

enum class GpuVendor { amd, nvidia };

// "hip" or "cuda": what names of devices begin with.
std::string_view name(GpuVendor vendor);

// Objects of the driver.
using HipModule = struct HipModuleObject*;
using HipFunction = struct HipFunctionObject*;
using HipStream = struct HipStreamObject*;
using HipEvent = struct HipEventObject*;
using HipGraph = struct HipGraphObject*;
using HipGraphExec = struct HipGraphExecObject*;

// Numbers that both vendors give the same meaning.
inline constexpr int hip_success = 0;
inline constexpr int hip_error_out_of_memory = 2;
inline constexpr int hip_error_no_device = 100;
inline constexpr int hip_error_invalid_device = 101;
inline constexpr unsigned hip_host_portable = 1, hip_host_mapped = 2;
inline constexpr unsigned hip_stream_non_blocking = 1;
inline constexpr unsigned hip_event_disable_timing = 2;
inline constexpr int hip_capture_thread_local = 1;
inline constexpr int hip_function_shared_bytes = 1, hip_function_registers = 4;

struct GpuProperties {
  std::string name;          // "AMD Radeon Graphics"
  std::string architecture;  // as targets are named: "gfx1151", "sm_90"
  int multiprocessors = 0;
  int shared_bytes = 0;  // that a block may have at most
};

// Every function gives hip_success or an error number of the vendor.
struct GpuDriver {
  GpuVendor vendor = GpuVendor::amd;
  std::string library;  // "libamdhip64.so.6"

  std::function<int(unsigned flags)> hipInit;
  std::function<int(int* count)> hipGetDeviceCount;
  // What HIP's structure of that name says, whose layout depends on the version.
  std::function<int(GpuProperties* properties, int device)> hipGetDeviceProperties;
  // For the calling thread; all that follows is about that device.
  std::function<int(int device)> hipSetDevice;
  std::function<int(size_t* free, size_t* total)> hipMemGetInfo;

  std::function<int(void** memory, size_t bytes)> hipMalloc;
  std::function<int(void* memory)> hipFree;
  std::function<int(void** memory, size_t bytes, unsigned flags)> hipHostMalloc;
  std::function<int(void* memory)> hipHostFree;
  std::function<int(void* to, void* from, size_t bytes, HipStream)> hipMemcpyHtoDAsync;
  std::function<int(void* to, void* from, size_t bytes, HipStream)> hipMemcpyDtoHAsync;
  std::function<int(void* to, void* from, size_t bytes, HipStream)> hipMemcpyDtoDAsync;
  std::function<int(void* to, int value, size_t bytes, HipStream)> hipMemsetAsync;

  // `log` receives what the driver's compiler says when it refuses the code.
  std::function<int(HipModule* module, const void* image, std::string* log)> hipModuleLoadData;
  std::function<int(HipModule module)> hipModuleUnload;
  std::function<int(HipFunction* function, HipModule module, const char* name)>
      hipModuleGetFunction;
  std::function<int(int* value, int attribute, HipFunction function)> hipFuncGetAttribute;
  // Allows launches with so much dynamic shared memory.
  std::function<int(HipFunction function, int bytes)> hipFuncSetMaxDynamicSharedMemory;
  std::function<int(int* blocks, HipFunction function, int threads, size_t shared_bytes)>
      hipModuleOccupancyMaxActiveBlocksPerMultiprocessor;
  std::function<int(HipFunction, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                    unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared_bytes,
                    HipStream, void** parameters, void** extra)>
      hipModuleLaunchKernel;
  // The same for a kernel that waits by itself for those before it: it may start while they run.
  // Empty where the driver cannot, or not within a graph.
  std::function<int(HipFunction, unsigned blocks, unsigned block_threads, unsigned shared_bytes,
                    HipStream, void** parameters)>
      launch_early;

  std::function<int(HipStream* stream, unsigned flags)> hipStreamCreateWithFlags;
  std::function<int(HipStream stream)> hipStreamDestroy;
  std::function<int(HipStream stream)> hipStreamSynchronize;
  std::function<int(HipEvent* event, unsigned flags)> hipEventCreateWithFlags;
  std::function<int(HipEvent event)> hipEventDestroy;
  std::function<int(HipEvent event, HipStream stream)> hipEventRecord;
  std::function<int(HipEvent event)> hipEventSynchronize;
  std::function<int(float* milliseconds, HipEvent start, HipEvent stop)> hipEventElapsedTime;

  std::function<int(HipStream stream, int mode)> hipStreamBeginCapture;
  std::function<int(HipStream stream, HipGraph* graph)> hipStreamEndCapture;
  std::function<int(HipGraphExec* executable, HipGraph graph, void** error_node, char* log,
                    size_t log_bytes)>
      hipGraphInstantiate;
  std::function<int(HipGraphExec executable, HipStream stream)> hipGraphLaunch;
  std::function<int(HipGraphExec executable)> hipGraphExecDestroy;
  std::function<int(HipGraph graph)> hipGraphDestroy;

  std::function<const char*(int error)> hipGetErrorString;
};

// Opens the vendor's library and binds every function. Errors: no such library here; a function
// that it lacks.
Result<std::shared_ptr<const GpuDriver>> open_gpu_driver(GpuVendor vendor);

// A shared library's functions by name. What is missing is remembered instead of being an error
// each time.
class DriverLibrary {
 public:
  // The first of the names that can be opened; else an error with `advice`. It is never closed:
  // drivers keep threads running.
  static Result<DriverLibrary> open(const std::vector<const char*>& names, std::string_view advice);

  const std::string& name() const { return name_; }
  bool has(const char* function) const { return find(function) != nullptr; }
  template <class Function>
  void bind(Function& function, const char* symbol) {
    void* const address = find(symbol);
    if (address == nullptr && missing_.empty()) missing_ = symbol;
    assign(function, address);
  }
  // Error: the first function that was not there.
  Status complete() const;

 private:
  void* find(const char* symbol) const;
  template <class R, class... A>
  static void assign(R (*&function)(A...), void* address) {
    function = reinterpret_cast<R (*)(A...)>(address);
  }
  template <class R, class... A>
  static void assign(std::function<R(A...)>& function, void* address) {
    function = reinterpret_cast<R (*)(A...)>(address);
  }

  std::string name_, missing_;
  void* handle_ = nullptr;
};

// The name of an AMD architecture in the driver's structure of properties: "gfx90a" of
// "gfx90a:sramecc+:xnack-". Looked for at `offset` first, then anywhere behind the device's name;
// empty when there is none.
std::string find_amd_architecture(std::string_view properties, size_t offset);

}  // namespace sinter::runtime
