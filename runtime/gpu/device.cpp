#include "runtime/gpu/device.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "runtime/support/megabytes.h"

namespace sinter::runtime {
namespace {

// Turns what a driver says into one line.
std::string one_line(std::string_view text) {
  std::string line;
  for (const char c : text) {
    const bool blank = static_cast<unsigned char>(c) <= ' ';
    if (!blank)
      line += c;
    else if (!line.empty() && line.back() != ' ')
      line += ' ';
  }
  if (!line.empty() && line.back() == ' ') line.pop_back();
  return line;
}

std::string error_text(const GpuDriver& driver, int code) {
  const char* text = driver.hipGetErrorString(code);
  return fmt::format("{} (error {})", one_line(text != nullptr ? text : "unknown error"), code);
}

Result<int> device_count(const GpuDriver& driver) {
  const auto fail = [&](int code, std::string_view doing) -> Error {
    // Before a device was named, HIP 5 says "invalid device" where others say "no device".
    if (code == hip_error_no_device || code == hip_error_invalid_device) {
      return {
          fmt::format("{} finds no device; check that the GPU's kernel driver is loaded and that "
                      "this user may use it",
                      driver.library)};
    }
    return {fmt::format("{}: {} failed: {}", driver.library, doing, error_text(driver, code))};
  };
  if (const int code = driver.hipInit(0); code != hip_success) return fail(code, "initialisation");
  int count = 0;
  if (const int code = driver.hipGetDeviceCount(&count); code != hip_success)
    return fail(code, "counting devices");
  if (count < 1) return fail(hip_error_no_device, "");
  return count;
}

// The number of "sm_90", times 10 plus minor: 90. An "a" or "f" at the end binds code to its
// architecture.
struct NvidiaArchitecture {
  int number = 0;
  bool exact = false;
};

std::optional<NvidiaArchitecture> parse_nvidia_architecture(std::string_view text) {
  if (!text.starts_with("sm_")) return std::nullopt;
  text.remove_prefix(3);
  NvidiaArchitecture result;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), result.number);
  const std::string_view rest = text.substr(static_cast<size_t>(end - text.data()));
  if (error != std::errc() || (!rest.empty() && rest != "a" && rest != "f")) return std::nullopt;
  result.exact = !rest.empty();
  return result;
}

bool is_elf(std::span<const uint8_t> bytes) {
  constexpr std::string_view magic =
      "\x7f"
      "ELF";
  return bytes.size() >= magic.size() && std::equal(magic.begin(), magic.end(), bytes.begin());
}

}  // namespace

Result<std::shared_ptr<const GpuDevice>> GpuDevice::open(std::shared_ptr<const GpuDriver> driver,
                                                         int index) {
  const std::string_view vendor = name(driver->vendor);
  const auto count = device_count(*driver);
  if (!count.ok()) return count.error();
  if (index < 0 || index >= *count) {
    return Error{fmt::format("there is no device {}:{}: {} finds {}, {}:0{}", vendor, index,
                             driver->library, *count, vendor,
                             *count > 1 ? fmt::format(" to {}:{}", vendor, *count - 1) : "")};
  }
  const std::shared_ptr<GpuDevice> device(new GpuDevice(std::move(driver), index));
  DeviceInfo& info = device->info_;
  info.id = fmt::format("{}:{}", vendor, index);
  if (Status s = device->check(device->driver().hipGetDeviceProperties(&device->properties_, index),
                               "asking for its properties");
      !s.ok())
    return s.error();
  info.name = one_line(device->properties_.name);
  info.architecture = device->properties_.architecture;
  if (info.architecture.empty()) {
    return Error{
        fmt::format("{} ({}): its architecture cannot be determined from what {} reports; "
                    "update the driver",
                    info.id, info.name, device->driver().library)};
  }
  if (Status s = device->make_current(); !s.ok()) return s.error();
  size_t free = 0, total = 0;
  if (Status s = device->check(device->driver().hipMemGetInfo(&free, &total),
                               "asking for its free memory");
      !s.ok())
    return s.error();
  info.free_memory = free;
  info.total_memory = total;
  return std::shared_ptr<const GpuDevice>(device);
}

Error GpuDevice::error(int code, std::string_view doing) const {
  return {fmt::format("{}: {} failed: {}", info_.id, doing, error_text(*driver_, code))};
}

Status GpuDevice::check(int code, std::string_view doing) const {
  if (code == hip_success) return Done{};
  return error(code, doing);
}

Status GpuDevice::make_current() const {
  return check(driver_->hipSetDevice(index_), "choosing the device");
}

Result<uint64_t> GpuDevice::free_memory() const {
  size_t free = 0, total = 0;
  if (const int code = driver_->hipMemGetInfo(&free, &total); code != hip_success)
    return error(code, "asking for its free memory");
  return uint64_t{free};
}

Result<GpuMemory> GpuDevice::allocate(uint64_t bytes, std::string_view what) const {
  void* memory = nullptr;
  if (const int code = driver_->hipMalloc(&memory, bytes); code != hip_success)
    return error(code, fmt::format("allocating {} for {}", megabytes(bytes), what));
  return GpuMemory(shared_from_this(), memory, &GpuDriver::hipFree);
}

Result<PinnedMemory> GpuDevice::allocate_pinned(uint64_t bytes, std::string_view what) const {
  void* memory = nullptr;
  if (const int code = driver_->hipHostMalloc(&memory, bytes, hip_host_portable | hip_host_mapped);
      code != hip_success)
    return error(code,
                 fmt::format("pinning {} of the host's memory for {}", megabytes(bytes), what));
  return PinnedMemory(shared_from_this(), memory, &GpuDriver::hipHostFree);
}

Result<GpuModule> GpuDevice::load(const void* image, std::string_view what) const {
  HipModule module = nullptr;
  std::string log;
  if (const int code = driver_->hipModuleLoadData(&module, image, &log); code != hip_success) {
    log = one_line(log);
    return error(code, fmt::format("loading {}{}{}", what, log.empty() ? "" : ": ", log));
  }
  return GpuModule(shared_from_this(), module, &GpuDriver::hipModuleUnload);
}

Result<HipFunction> GpuDevice::function(const GpuModule& module, const std::string& symbol) const {
  HipFunction function = nullptr;
  if (const int code = driver_->hipModuleGetFunction(&function, module.get(), symbol.c_str());
      code != hip_success)
    return error(code, fmt::format("finding kernel {}", symbol));
  return function;
}

Result<GpuStream> GpuDevice::create_stream() const {
  HipStream stream = nullptr;
  if (const int code = driver_->hipStreamCreateWithFlags(&stream, hip_stream_non_blocking);
      code != hip_success)
    return error(code, "creating a stream");
  return GpuStream(shared_from_this(), stream, &GpuDriver::hipStreamDestroy);
}

Result<GpuEvent> GpuDevice::create_event(bool timing) const {
  HipEvent event = nullptr;
  if (const int code =
          driver_->hipEventCreateWithFlags(&event, timing ? 0 : hip_event_disable_timing);
      code != hip_success)
    return error(code, "creating an event");
  return GpuEvent(shared_from_this(), event, &GpuDriver::hipEventDestroy);
}

Status GpuDevice::launch(HipFunction function, unsigned blocks, unsigned shared_bytes,
                         HipStream stream, GpuArguments arguments, std::string_view kind,
                         std::string_view name, bool early) const {
  arguments.workers = static_cast<int>(blocks);
  void* parameters[] = {&arguments};
  const int code =
      early && driver_->launch_early
          ? driver_->launch_early(function, blocks, gpu_block_threads, shared_bytes, stream,
                                  parameters)
          : driver_->hipModuleLaunchKernel(function, blocks, 1, 1, gpu_block_threads, 1, 1,
                                           shared_bytes, stream, parameters, nullptr);
  if (code == hip_success) return Done{};
  return error(code, fmt::format("launching {}{}", kind, name));
}

Status GpuDevice::allow_shared(HipFunction function, uint32_t bytes,
                               std::string_view kernel) const {
  constexpr uint32_t always_allowed = 48 << 10;  // what a launch may take without asking
  if (bytes <= always_allowed) return Done{};
  const int code = driver_->hipFuncSetMaxDynamicSharedMemory(function, static_cast<int>(bytes));
  if (code == hip_success) return Done{};
  return error(code, fmt::format("allowing kernel {} {} bytes of shared memory, of the {} that a "
                                 "block may have,",
                                 kernel, bytes, properties_.shared_bytes));
}

Result<unsigned> GpuDevice::resident_blocks(HipFunction function, uint32_t shared_bytes,
                                            std::string_view kernel) const {
  const auto asking = [&] { return fmt::format("asking how kernel {} fits", kernel); };
  int blocks = 0;
  if (const int code = driver_->hipModuleOccupancyMaxActiveBlocksPerMultiprocessor(
          &blocks, function, gpu_block_threads, shared_bytes);
      code != hip_success)
    return error(code, asking());
  if (blocks >= 1) return static_cast<unsigned>(blocks) * static_cast<unsigned>(multiprocessors());
  int registers = 0, static_shared = 0;
  for (const auto& [attribute, value] : {std::pair(hip_function_registers, &registers),
                                         std::pair(hip_function_shared_bytes, &static_shared)}) {
    if (const int code = driver_->hipFuncGetAttribute(value, attribute, function);
        code != hip_success)
      return error(code, asking());
  }
  return Error{fmt::format(
      "{} cannot run kernel {}: a block of {} threads needs {} registers per thread and {} bytes "
      "of shared memory, of which a block may have {}; compile the plan for {} again",
      info_.id, kernel, gpu_block_threads, registers, uint64_t{shared_bytes} + static_shared,
      properties_.shared_bytes, info_.architecture)};
}

Status GpuDevice::begin_capture(HipStream stream) const {
  return check(driver_->hipStreamBeginCapture(stream, hip_capture_thread_local),
               "beginning to capture a step");
}

Result<GpuObject<HipGraph>> GpuDevice::end_capture(HipStream stream) const {
  HipGraph graph = nullptr;
  if (const int code = driver_->hipStreamEndCapture(stream, &graph); code != hip_success)
    return error(code, "capturing a step");
  return GpuObject<HipGraph>(shared_from_this(), graph, &GpuDriver::hipGraphDestroy);
}

Result<GpuGraph> GpuDevice::instantiate(HipGraph graph) const {
  HipGraphExec executable = nullptr;
  if (const int code = driver_->hipGraphInstantiate(&executable, graph, nullptr, nullptr, 0);
      code != hip_success)
    return error(code, "making a graph of a step");
  return GpuGraph(shared_from_this(), executable, &GpuDriver::hipGraphExecDestroy);
}

Status GpuDevice::wait(HipStream stream, std::string_view doing) const {
  return check(driver_->hipStreamSynchronize(stream), doing);
}

Result<std::vector<DeviceInfo>> list_gpus(const std::shared_ptr<const GpuDriver>& driver) {
  const auto count = device_count(*driver);
  if (!count.ok()) return count.error();
  std::vector<DeviceInfo> devices;
  for (int i = 0; i < *count; ++i) {
    const auto device = GpuDevice::open(driver, i);
    if (!device.ok()) return device.error();
    devices.push_back((*device)->info());
  }
  return devices;
}

Result<GpuName> parse_gpu_name(std::string_view text) {
  const Error error{fmt::format(
      "\"{}\" is not a device; devices are host, hip:N (AMD) and cuda:N (NVIDIA), N from 0", text)};
  GpuName result;
  std::string_view rest = text;
  if (text.starts_with("hip")) {
    rest.remove_prefix(3);
  } else if (text.starts_with("cuda")) {
    result.vendor = GpuVendor::nvidia;
    rest.remove_prefix(4);
  } else {
    return error;
  }
  if (rest.empty()) return result;
  if (rest[0] != ':' || rest.size() < 2 || rest[1] < '0' || rest[1] > '9') return error;
  const auto [end, code] =
      std::from_chars(rest.data() + 1, rest.data() + rest.size(), result.index);
  if (code != std::errc() || end != rest.data() + rest.size()) return error;
  return result;
}

Result<const CodeObject*> choose_gpu_code(const PlanFile& file, const DeviceInfo& device,
                                          GpuVendor vendor) {
  const CodeObject* best = nullptr;
  std::pair<int, bool> best_rank;  // architecture, then whether it is a cubin
  std::vector<std::string> targets;
  const auto own = parse_nvidia_architecture(device.architecture);
  for (const CodeObject& code : file.plan().code) {
    targets.push_back(code.target);
    if (vendor == GpuVendor::amd) {
      if (code.family != "amdgpu") continue;
      const bool covers =
          std::ranges::find(code.machines, device.architecture) != code.machines.end();
      if (code.target == device.architecture || (best == nullptr && covers)) best = &code;
      continue;
    }
    const auto target = parse_nvidia_architecture(code.target);
    if (code.family != "nvptx" || !own || !target || target->number > own->number) continue;
    const bool cubin = is_elf(file.bytes(code.section));
    if ((cubin || target->exact) && target->number != own->number) continue;
    const std::pair rank(target->number, cubin);
    if (best == nullptr || rank >= best_rank) {
      best = &code;
      best_rank = rank;
    }
  }
  if (best != nullptr) return best;
  return Error{fmt::format(
      "{}: the plan has no code for {} ({}, {}), only for {}; compile it with --target {} or "
      "another that runs there (`sinter targets`)",
      file.path(), device.id, device.name, device.architecture, fmt::join(targets, ", "),
      device.architecture)};
}

}  // namespace sinter::runtime
