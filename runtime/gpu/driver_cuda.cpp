#include "runtime/gpu/driver_cuda.h"

#include <fmt/format.h>

#include <array>
#include <map>
#include <mutex>

namespace sinter::runtime {
namespace {

// CUdevice_attribute, CUfunction_attribute and CUjit_option.
constexpr int attribute_multiprocessor_count = 16;
constexpr int attribute_major = 75, attribute_minor = 76;
constexpr int attribute_shared_bytes_optin = 97;
constexpr int function_max_dynamic_shared = 8;
constexpr int jit_error_log = 5, jit_error_log_bytes = 6;

// CUlaunchAttribute and CUlaunchConfig.
struct LaunchAttribute {
  int id;
  int padding;
  alignas(8) std::array<int, 16> value;
};
constexpr int launch_programmatic_serialization = 6;
struct LaunchConfig {
  unsigned grid_x, grid_y, grid_z, block_x, block_y, block_z, shared_bytes;
  HipStream stream;
  LaunchAttribute* attributes;
  unsigned attribute_count;
};
constexpr int graphs_keep_programmatic_serialization = 12030;  // the driver's version

using DevicePointer = unsigned long long;
using Context = struct CudaContextObject*;

DevicePointer pointer(const void* memory) { return reinterpret_cast<DevicePointer>(memory); }

// The functions as libcuda.so.1 exports them. The names with _v2 are those that current headers
// mean by the plain ones; the plain symbols are the interface of CUDA 3.
struct Cuda {
  int (*cuInit)(unsigned);
  int (*cuDeviceGetCount)(int*);
  int (*cuDeviceGet)(int*, int);
  int (*cuDeviceGetName)(char*, int, int);
  int (*cuDeviceGetAttribute)(int*, int, int);
  int (*cuDevicePrimaryCtxRetain)(Context*, int);
  int (*cuDevicePrimaryCtxRelease)(int);
  int (*cuCtxSetCurrent)(Context);
  int (*cuMemGetInfo)(size_t*, size_t*);
  int (*cuMemAlloc)(DevicePointer*, size_t);
  int (*cuMemFree)(DevicePointer);
  int (*cuMemHostAlloc)(void**, size_t, unsigned);
  int (*cuMemFreeHost)(void*);
  int (*cuMemcpyHtoDAsync)(DevicePointer, const void*, size_t, HipStream);
  int (*cuMemcpyDtoHAsync)(void*, DevicePointer, size_t, HipStream);
  int (*cuMemcpyDtoDAsync)(DevicePointer, DevicePointer, size_t, HipStream);
  int (*cuMemsetD8Async)(DevicePointer, unsigned char, size_t, HipStream);
  int (*cuModuleLoadDataEx)(HipModule*, const void*, unsigned, int*, void**);
  int (*cuFuncSetAttribute)(HipFunction, int, int);
  int (*cuGraphInstantiateWithFlags)(HipGraphExec*, HipGraph, unsigned long long);
  int (*cuGetErrorString)(int, const char**);
  // Not in every driver.
  int (*cuDriverGetVersion)(int*) = nullptr;
  int (*cuLaunchKernelEx)(const LaunchConfig*, HipFunction, void**, void**) = nullptr;

  struct Retained {
    int device;
    Context context;
  };
  std::mutex mutex;
  std::map<int, Retained> contexts;  // primary ones in use, by ordinal

  Cuda() = default;
  Cuda(const Cuda&) = delete;
  Cuda& operator=(const Cuda&) = delete;
  ~Cuda() {
    for (const auto& [ordinal, retained] : contexts) cuDevicePrimaryCtxRelease(retained.device);
  }

  void bind(DriverLibrary& library);
  bool launches_early() const;
  int set_device(int ordinal);
  int properties(GpuProperties* properties, int ordinal) const;
  int load(HipModule* module, const void* image, std::string* log) const;
};

void Cuda::bind(DriverLibrary& library) {
#define BIND(function) library.bind(function, #function)
#define BIND_V2(function) library.bind(function, #function "_v2")
  BIND(cuInit);
  BIND(cuDeviceGetCount);
  BIND(cuDeviceGet);
  BIND(cuDeviceGetName);
  BIND(cuDeviceGetAttribute);
  BIND(cuDevicePrimaryCtxRetain);
  BIND_V2(cuDevicePrimaryCtxRelease);
  BIND(cuCtxSetCurrent);
  BIND_V2(cuMemGetInfo);
  BIND_V2(cuMemAlloc);
  BIND_V2(cuMemFree);
  BIND(cuMemHostAlloc);
  BIND(cuMemFreeHost);
  BIND_V2(cuMemcpyHtoDAsync);
  BIND_V2(cuMemcpyDtoHAsync);
  BIND_V2(cuMemcpyDtoDAsync);
  BIND(cuMemsetD8Async);
  BIND(cuModuleLoadDataEx);
  BIND(cuFuncSetAttribute);
  BIND(cuGraphInstantiateWithFlags);
  BIND(cuGetErrorString);
  if (library.has("cuLaunchKernelEx") && library.has("cuDriverGetVersion")) {
    BIND(cuDriverGetVersion);
    BIND(cuLaunchKernelEx);
  }
#undef BIND
#undef BIND_V2
}

bool Cuda::launches_early() const {
  int version = 0;
  return cuLaunchKernelEx != nullptr && cuDriverGetVersion(&version) == hip_success &&
         version >= graphs_keep_programmatic_serialization;
}

// The primary context is retained once and released at the end.
int Cuda::set_device(int ordinal) {
  const std::lock_guard<std::mutex> lock(mutex);
  auto found = contexts.find(ordinal);
  if (found == contexts.end()) {
    int handle = 0;
    Context context = nullptr;
    if (const int error = cuDeviceGet(&handle, ordinal); error != hip_success) return error;
    if (const int error = cuDevicePrimaryCtxRetain(&context, handle); error != hip_success)
      return error;
    found = contexts.emplace(ordinal, Retained{handle, context}).first;
  }
  return cuCtxSetCurrent(found->second.context);
}

int Cuda::properties(GpuProperties* properties, int ordinal) const {
  int device = 0;
  if (const int error = cuDeviceGet(&device, ordinal); error != hip_success) return error;
  std::array<char, 256> text{};
  if (const int error = cuDeviceGetName(text.data(), static_cast<int>(text.size()) - 1, device);
      error != hip_success)
    return error;
  properties->name = text.data();
  int major = 0, minor = 0;
  for (const auto& [attribute, value] :
       {std::pair(attribute_major, &major), std::pair(attribute_minor, &minor),
        std::pair(attribute_multiprocessor_count, &properties->multiprocessors),
        std::pair(attribute_shared_bytes_optin, &properties->shared_bytes)}) {
    if (const int error = cuDeviceGetAttribute(value, attribute, device); error != hip_success)
      return error;
  }
  properties->architecture = fmt::format("sm_{}{}", major, minor);
  return hip_success;
}

int Cuda::load(HipModule* module, const void* image, std::string* log) const {
  std::array<char, 4096> text{};
  std::array<int, 2> options = {jit_error_log, jit_error_log_bytes};
  // Numbers are passed as pointers' values.
  std::array<void*, 2> values = {text.data(), reinterpret_cast<void*>(text.size() - 1)};
  const int error = cuModuleLoadDataEx(module, image, static_cast<unsigned>(options.size()),
                                       options.data(), values.data());
  *log = text.data();
  return error;
}

// Functions that differ from HIP's in more than the name.
void adapt(const std::shared_ptr<Cuda>& cuda, GpuDriver& d) {
  d.hipGetDeviceProperties = [cuda](GpuProperties* p, int device) {
    return cuda->properties(p, device);
  };
  d.hipSetDevice = [cuda](int device) { return cuda->set_device(device); };
  d.hipMalloc = [cuda](void** memory, size_t bytes) {
    DevicePointer address = 0;
    const int error = cuda->cuMemAlloc(&address, bytes);
    *memory = reinterpret_cast<void*>(address);
    return error;
  };
  d.hipFree = [cuda](void* memory) { return cuda->cuMemFree(pointer(memory)); };
  d.hipMemcpyHtoDAsync = [cuda](void* to, void* from, size_t bytes, HipStream stream) {
    return cuda->cuMemcpyHtoDAsync(pointer(to), from, bytes, stream);
  };
  d.hipMemcpyDtoHAsync = [cuda](void* to, void* from, size_t bytes, HipStream stream) {
    return cuda->cuMemcpyDtoHAsync(to, pointer(from), bytes, stream);
  };
  d.hipMemcpyDtoDAsync = [cuda](void* to, void* from, size_t bytes, HipStream stream) {
    return cuda->cuMemcpyDtoDAsync(pointer(to), pointer(from), bytes, stream);
  };
  d.hipMemsetAsync = [cuda](void* to, int value, size_t bytes, HipStream stream) {
    return cuda->cuMemsetD8Async(pointer(to), static_cast<unsigned char>(value), bytes, stream);
  };
  d.hipModuleLoadData = [cuda](HipModule* module, const void* image, std::string* log) {
    return cuda->load(module, image, log);
  };
  d.hipFuncSetMaxDynamicSharedMemory = [cuda](HipFunction function, int bytes) {
    return cuda->cuFuncSetAttribute(function, function_max_dynamic_shared, bytes);
  };
  if (cuda->launches_early())
    d.launch_early = [cuda](HipFunction function, unsigned blocks, unsigned block_threads,
                            unsigned shared_bytes, HipStream stream, void** parameters) {
      LaunchAttribute early{launch_programmatic_serialization, 0, {1}};
      const LaunchConfig config{blocks, 1, 1, block_threads, 1, 1, shared_bytes, stream, &early, 1};
      return cuda->cuLaunchKernelEx(&config, function, parameters, nullptr);
    };
  d.hipGraphInstantiate = [cuda](HipGraphExec* executable, HipGraph graph, void**, char*, size_t) {
    return cuda->cuGraphInstantiateWithFlags(executable, graph, 0);
  };
  d.hipGetErrorString = [cuda](int error) {
    const char* text = nullptr;
    cuda->cuGetErrorString(error, &text);
    return text;
  };
}

}  // namespace

Result<std::shared_ptr<const GpuDriver>> open_cuda() {
  auto opened = DriverLibrary::open({"libcuda.so.1"}, "it comes with NVIDIA's driver");
  if (!opened.ok()) return opened.error();
  DriverLibrary& library = *opened;
  const auto cuda = std::make_shared<Cuda>();
  cuda->bind(library);
  const auto driver = std::make_shared<GpuDriver>();
  GpuDriver& d = *driver;
  d.vendor = GpuVendor::nvidia;
  d.library = library.name();
  d.hipInit = cuda->cuInit;
  d.hipGetDeviceCount = cuda->cuDeviceGetCount;
  d.hipMemGetInfo = cuda->cuMemGetInfo;
  d.hipHostMalloc = cuda->cuMemHostAlloc;
  d.hipHostFree = cuda->cuMemFreeHost;
  library.bind(d.hipModuleUnload, "cuModuleUnload");
  library.bind(d.hipModuleGetFunction, "cuModuleGetFunction");
  library.bind(d.hipFuncGetAttribute, "cuFuncGetAttribute");
  library.bind(d.hipModuleOccupancyMaxActiveBlocksPerMultiprocessor,
               "cuOccupancyMaxActiveBlocksPerMultiprocessor");
  library.bind(d.hipModuleLaunchKernel, "cuLaunchKernel");
  library.bind(d.hipStreamCreateWithFlags, "cuStreamCreate");
  library.bind(d.hipStreamDestroy, "cuStreamDestroy_v2");
  library.bind(d.hipStreamSynchronize, "cuStreamSynchronize");
  library.bind(d.hipEventCreateWithFlags, "cuEventCreate");
  library.bind(d.hipEventDestroy, "cuEventDestroy_v2");
  library.bind(d.hipEventRecord, "cuEventRecord");
  library.bind(d.hipEventSynchronize, "cuEventSynchronize");
  library.bind(d.hipEventElapsedTime, "cuEventElapsedTime");
  library.bind(d.hipStreamBeginCapture, "cuStreamBeginCapture_v2");
  library.bind(d.hipStreamEndCapture, "cuStreamEndCapture");
  library.bind(d.hipGraphLaunch, "cuGraphLaunch");
  library.bind(d.hipGraphExecDestroy, "cuGraphExecDestroy");
  library.bind(d.hipGraphDestroy, "cuGraphDestroy");
  if (Status status = library.complete(); !status.ok()) return status.error();
  adapt(cuda, d);
  return std::shared_ptr<const GpuDriver>(driver);
}

}  // namespace sinter::runtime
