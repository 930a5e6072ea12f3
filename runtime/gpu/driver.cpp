#include "runtime/gpu/driver.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <array>
#include <cctype>

#include "runtime/gpu/driver_cuda.h"

namespace sinter::runtime {
namespace {

// hipDeviceAttribute_t, the same since HIP 4.
constexpr int attribute_multiprocessors = 63, attribute_shared_bytes = 74;

// The fields at the start of hipDeviceProp_t are char name[256] and, since HIP 6, a UUID. The
// structure grew from 792 to 1472 bytes; this leaves room.
constexpr size_t device_name_bytes = 256;
constexpr size_t properties_bytes = 8192;
constexpr size_t architecture_offset_hip5 = 396, architecture_offset_hip6 = 1160;

// "gfx90a:sramecc+" to "gfx90a"; empty when the text does not begin with an architecture.
std::string parse_amd_architecture(std::string_view text) {
  constexpr std::string_view prefix = "gfx";
  if (!text.starts_with(prefix)) return "";
  size_t end = prefix.size();
  while (end < text.size() && std::isxdigit(static_cast<unsigned char>(text[end])) != 0) ++end;
  const bool ends = end < text.size() && (text[end] == '\0' || text[end] == ':');
  return ends && end >= 6 ? std::string(text.substr(0, end)) : "";
}

struct HipProperties {
  std::function<int(void* properties, int device)> get;
  size_t architecture_offset = 0;
  std::function<int(int* value, int attribute, int device)> attribute;

  int operator()(GpuProperties* properties, int device) const {
    std::array<char, properties_bytes> text{};
    if (const int error = get(text.data(), device); error != hip_success) return error;
    properties->name = std::string(text.data());
    properties->architecture =
        find_amd_architecture({text.data(), text.size()}, architecture_offset);
    if (const int error =
            attribute(&properties->multiprocessors, attribute_multiprocessors, device);
        error != hip_success)
      return error;
    return attribute(&properties->shared_bytes, attribute_shared_bytes, device);
  }
};

Result<std::shared_ptr<const GpuDriver>> open_hip() {
  auto opened = DriverLibrary::open(
      {"libamdhip64.so.7", "libamdhip64.so.6", "libamdhip64.so.5", "libamdhip64.so"},
      "AMD's HIP runtime drives its GPUs");
  if (!opened.ok()) return opened.error();
  DriverLibrary& library = *opened;
  const auto driver = std::make_shared<GpuDriver>();
  GpuDriver& d = *driver;
  d.vendor = GpuVendor::amd;
  d.library = library.name();
  HipProperties properties;
  // HIP 6 changed the structure, and gave the function that fills in the new one a new name.
  const char* versioned = "hipGetDevicePropertiesR0600";
  const bool is_new = library.has(versioned);
  library.bind(properties.get, is_new ? versioned : "hipGetDeviceProperties");
  properties.architecture_offset = is_new ? architecture_offset_hip6 : architecture_offset_hip5;
  library.bind(properties.attribute, "hipDeviceGetAttribute");
  d.hipGetDeviceProperties = properties;
  std::function<int(HipModule*, const void*)> load;
  library.bind(load, "hipModuleLoadData");
  d.hipModuleLoadData = [load](HipModule* module, const void* image, std::string*) {
    return load(module, image);
  };
  // AMD's blocks have all of a multiprocessor's shared memory without asking.
  d.hipFuncSetMaxDynamicSharedMemory = [](HipFunction, int) { return hip_success; };

#define BIND(function) library.bind(d.function, #function)
  BIND(hipInit);
  BIND(hipGetDeviceCount);
  BIND(hipSetDevice);
  BIND(hipMemGetInfo);
  BIND(hipMalloc);
  BIND(hipFree);
  BIND(hipHostMalloc);
  BIND(hipHostFree);
  BIND(hipMemcpyHtoDAsync);
  BIND(hipMemcpyDtoHAsync);
  BIND(hipMemcpyDtoDAsync);
  BIND(hipMemsetAsync);
  BIND(hipModuleUnload);
  BIND(hipModuleGetFunction);
  BIND(hipFuncGetAttribute);
  BIND(hipModuleOccupancyMaxActiveBlocksPerMultiprocessor);
  BIND(hipModuleLaunchKernel);
  BIND(hipStreamCreateWithFlags);
  BIND(hipStreamDestroy);
  BIND(hipStreamSynchronize);
  BIND(hipEventCreateWithFlags);
  BIND(hipEventDestroy);
  BIND(hipEventRecord);
  BIND(hipEventSynchronize);
  BIND(hipEventElapsedTime);
  BIND(hipStreamBeginCapture);
  BIND(hipStreamEndCapture);
  BIND(hipGraphInstantiate);
  BIND(hipGraphLaunch);
  BIND(hipGraphExecDestroy);
  BIND(hipGraphDestroy);
  BIND(hipGetErrorString);
#undef BIND
  if (Status status = library.complete(); !status.ok()) return status.error();
  return std::shared_ptr<const GpuDriver>(driver);
}

}  // namespace

std::string_view name(GpuVendor vendor) { return vendor == GpuVendor::amd ? "hip" : "cuda"; }

Result<DriverLibrary> DriverLibrary::open(const std::vector<const char*>& names,
                                          std::string_view advice) {
  DriverLibrary library;
  std::string reason;  // of a library that is there and cannot be loaded
  for (const char* name : names) {
    library.handle_ = ::dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (library.handle_ != nullptr) {
      library.name_ = name;
      return library;
    }
    const char* message = ::dlerror();
    const std::string_view text = message != nullptr ? message : "";
    // "<name>: cannot open shared object file" says no more than that it is absent.
    if (reason.empty() && !text.starts_with(fmt::format("{}: cannot open", name)))
      reason = fmt::format("{}: {}", name, text);
  }
  return Error{reason.empty()
                   ? fmt::format("{} is not on this machine; {}", names.front(), advice)
                   : fmt::format("the driver's library cannot be loaded: {}; {}", reason, advice)};
}

void* DriverLibrary::find(const char* symbol) const { return ::dlsym(handle_, symbol); }

Status DriverLibrary::complete() const {
  if (missing_.empty()) return Done{};
  return Error{fmt::format("{} has no {}: the driver is too old; update it", name_, missing_)};
}

std::string find_amd_architecture(std::string_view properties, size_t offset) {
  if (offset < properties.size()) {
    if (std::string found = parse_amd_architecture(properties.substr(offset)); !found.empty())
      return found;
  }
  for (size_t at = properties.find("gfx", device_name_bytes); at != std::string_view::npos;
       at = properties.find("gfx", at + 1)) {
    if (std::string found = parse_amd_architecture(properties.substr(at)); !found.empty())
      return found;
  }
  return "";
}

Result<std::shared_ptr<const GpuDriver>> open_gpu_driver(GpuVendor vendor) {
  return vendor == GpuVendor::amd ? open_hip() : open_cuda();
}

}  // namespace sinter::runtime
