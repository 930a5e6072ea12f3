// A GPU that is not there: a driver's table of functions over host memory. What is put on a stream
// waits until somebody waits for it, as late as a real one might run it, so that memory which is
// changed or freed too early shows. Every call is written down and may be told to fail; objects are
// counted.
#pragma once

#include <algorithm>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "runtime/abi/kernel_abi.h"
#include "runtime/gpu/driver.h"

namespace sinter::runtime {

// What handles point to.
struct HipFunctionObject {
  std::string name;
  std::function<void(const GpuArguments&)> run;  // all blocks of a launch
};
struct HipModuleObject {
  std::vector<std::unique_ptr<HipFunctionObject>> functions;
};
struct HipStreamObject {
  std::deque<std::function<void()>> work;
  bool capturing = false;
  std::vector<std::function<void()>> captured;
};
struct HipEventObject {
  bool timing = false;
  bool pending = false;
  HipStreamObject* stream = nullptr;
  double milliseconds = 0;
};
struct HipGraphObject {
  std::vector<std::function<void()>> work;
};
struct HipGraphExecObject {
  std::vector<std::function<void()>> work;
};

class GpuDouble {
 public:
  struct Launch {
    std::string kernel;
    unsigned blocks = 0, threads = 0, shared_bytes = 0;
    int workers = 0;
    int rows = 0;  // of the step, when it ran
    bool replayed = false;
  };
  static constexpr int failure = 719;  // "launch failure" to both vendors

  // What it is.
  GpuVendor vendor = GpuVendor::amd;
  std::vector<std::string> architectures = {"gfx1100"};  // of its devices
  size_t memory = 64 << 20;
  int multiprocessors = 4;
  int resident_blocks = 2;  // of a multiprocessor
  bool launches_early = false;
  std::map<std::string, std::function<void(const GpuArguments&)>> kernels;
  // Code is text that begins with this.
  static constexpr std::string_view code = "code of the double";

  // What is to go wrong: the call of that number, counted from 1, fails.
  int fail_call = 0;
  int fail_code = failure;

  // What was seen.
  int calls = 0;
  std::vector<std::string> log;    // names of calls
  std::vector<Launch> launches;    // as they ran
  std::vector<std::string> abuse;  // what a driver would not have stood
  std::string failed;              // name of the call that was told to fail
  size_t most_in_flight = 0;       // replays on a stream at one time

  std::shared_ptr<const GpuDriver> driver();
  size_t objects() const {
    return device_memory_.size() + host_memory_.size() + modules_.size() + streams_.size() +
           events_.size() + graphs_.size() + executables_.size();
  }
  size_t used() const {
    size_t bytes = 0;
    for (const auto& [pointer, block] : device_memory_) bytes += block.size();
    return bytes;
  }

 private:
  template <class T>
  using Owned = std::map<T*, std::unique_ptr<T>>;

  // Runs `body`, which does what the call does, unless the call fails. What gives something back
  // does so even then: there is no second try.
  template <class Body>
  int call(const char* name, Body body, bool gives_back = false) {
    log.emplace_back(name);
    if (++calls == fail_call) {
      failed = name;
      if (gives_back) body();
      return fail_code;
    }
    return body();
  }
  template <class T>
  int create(Owned<T>& all, T** out, T object = {}) {
    auto owned = std::make_unique<T>(std::move(object));
    *out = owned.get();
    all.emplace(*out, std::move(owned));
    return hip_success;
  }
  template <class T>
  int destroy(const char* name, Owned<T>& all, T* object) {
    return call(
        name,
        [&] {
          // A graph was copied when it was made executable; everything else may be in use.
          if (!std::is_same_v<T, HipGraphObject>) expect_idle(name);
          if (all.erase(object) == 0) abuse.push_back(std::string(name) + " of nothing");
          return hip_success;
        },
        true);
  }
  void expect_idle(const char* name) {
    for (const auto& [pointer, stream] : streams_)
      if (!stream->work.empty()) abuse.push_back(std::string(name) + " with work in flight");
  }
  void expect_device(const char* name) {
    if (current_ < 0) abuse.push_back(std::string(name) + " before a device was chosen");
  }
  int enqueue(HipStream stream, std::function<void()> work) {
    if (stream->capturing)
      stream->captured.push_back(std::move(work));
    else
      stream->work.push_back(std::move(work));
    return hip_success;
  }
  static void drain(HipStreamObject& stream) {
    while (!stream.work.empty()) {
      const auto work = std::move(stream.work.front());
      stream.work.pop_front();
      work();
    }
  }
  int allocate(std::map<void*, std::vector<uint8_t>>& all, void** out, size_t bytes, bool limited) {
    expect_device("an allocation");
    if (limited && bytes > memory - used()) return hip_error_out_of_memory;
    std::vector<uint8_t> block(std::max<size_t>(bytes, 1), 0xcd);  // never zeros by luck
    *out = block.data();
    all.emplace(*out, std::move(block));
    return hip_success;
  }
  int free(const char* name, std::map<void*, std::vector<uint8_t>>& all, void* pointer) {
    return call(
        name,
        [&] {
          expect_idle(name);
          if (all.erase(pointer) == 0) abuse.push_back(std::string(name) + " of nothing");
          return hip_success;
        },
        true);
  }
  // Whether the bytes lie within one allocation of the device.
  void expect_device_memory(const char* name, const void* pointer, size_t bytes) {
    const auto* const begin = static_cast<const uint8_t*>(pointer);
    for (const auto& [start, block] : device_memory_)
      if (begin >= block.data() && begin + bytes <= block.data() + block.size()) return;
    abuse.push_back(std::string(name) + " outside the device's memory");
  }
  int launch(HipFunction function, unsigned blocks, unsigned threads, unsigned shared_bytes,
             HipStream stream, void** parameters);
  void bind_memory(GpuDriver& d);
  void bind_code(GpuDriver& d);
  void bind_streams(GpuDriver& d);
  void bind_graphs(GpuDriver& d);

  int current_ = -1;
  bool replaying_ = false;
  double clock_ = 0;  // milliseconds, one for each piece of work
  std::map<void*, std::vector<uint8_t>> device_memory_, host_memory_;
  Owned<HipModuleObject> modules_;
  Owned<HipStreamObject> streams_;
  Owned<HipEventObject> events_;
  Owned<HipGraphObject> graphs_;
  Owned<HipGraphExecObject> executables_;
  std::vector<std::weak_ptr<bool>> in_flight_;  // replays that did not run yet
};

inline int GpuDouble::launch(HipFunction function, unsigned blocks, unsigned threads,
                             unsigned shared_bytes, HipStream stream, void** parameters) {
  if (blocks == 0) return 1;  // an invalid value
  const GpuArguments arguments = *static_cast<const GpuArguments*>(parameters[0]);
  return enqueue(stream, [=, this] {
    launches.push_back({function->name, blocks, threads, shared_bytes, arguments.workers,
                        arguments.step == nullptr ? 0 : arguments.step->rows, replaying_});
    function->run(arguments);
    clock_ += 1;
  });
}

inline void GpuDouble::bind_memory(GpuDriver& d) {
  d.hipMemGetInfo = [this](size_t* free, size_t* total) {
    return call("hipMemGetInfo", [&] {
      expect_device("hipMemGetInfo");
      *free = memory - used();
      *total = memory;
      return hip_success;
    });
  };
  d.hipMalloc = [this](void** out, size_t bytes) {
    return call("hipMalloc", [&] { return allocate(device_memory_, out, bytes, true); });
  };
  d.hipFree = [this](void* pointer) { return free("hipFree", device_memory_, pointer); };
  d.hipHostMalloc = [this](void** out, size_t bytes, unsigned) {
    return call("hipHostMalloc", [&] { return allocate(host_memory_, out, bytes, false); });
  };
  d.hipHostFree = [this](void* pointer) { return free("hipHostFree", host_memory_, pointer); };
  d.hipMemcpyHtoDAsync = [this](void* to, void* from, size_t bytes, HipStream stream) {
    return call("hipMemcpyHtoDAsync", [&] {
      expect_device_memory("hipMemcpyHtoDAsync", to, bytes);
      return enqueue(stream, [=] { std::memcpy(to, from, bytes); });
    });
  };
  d.hipMemcpyDtoHAsync = [this](void* to, void* from, size_t bytes, HipStream stream) {
    return call("hipMemcpyDtoHAsync", [&] {
      expect_device_memory("hipMemcpyDtoHAsync", from, bytes);
      return enqueue(stream, [=] { std::memcpy(to, from, bytes); });
    });
  };
  d.hipMemcpyDtoDAsync = [this](void* to, void* from, size_t bytes, HipStream stream) {
    return call("hipMemcpyDtoDAsync", [&] {
      expect_device_memory("hipMemcpyDtoDAsync", from, bytes);
      expect_device_memory("hipMemcpyDtoDAsync", to, bytes);
      return enqueue(stream, [=] { std::memcpy(to, from, bytes); });
    });
  };
  d.hipMemsetAsync = [this](void* to, int value, size_t bytes, HipStream stream) {
    return call("hipMemsetAsync", [&] {
      expect_device_memory("hipMemsetAsync", to, bytes);
      return enqueue(stream, [=] { std::memset(to, value, bytes); });
    });
  };
}

inline void GpuDouble::bind_code(GpuDriver& d) {
  d.hipModuleLoadData = [this](HipModule* out, const void* image, std::string* log_text) {
    return call("hipModuleLoadData", [&] {
      if (std::string_view(static_cast<const char*>(image)).starts_with(code))
        return create(modules_, out);
      *log_text = "line 1:\n  this is no code";
      return 218;  // "invalid image" to both vendors
    });
  };
  d.hipModuleUnload = [this](HipModule module) {
    return destroy("hipModuleUnload", modules_, module);
  };
  d.hipModuleGetFunction = [this](HipFunction* out, HipModule module, const char* name) {
    return call("hipModuleGetFunction", [&] {
      const auto kernel = kernels.find(name);
      if (kernel == kernels.end()) return 500;  // "not found" to both vendors
      module->functions.push_back(
          std::make_unique<HipFunctionObject>(HipFunctionObject{name, kernel->second}));
      *out = module->functions.back().get();
      return hip_success;
    });
  };
  d.hipFuncGetAttribute = [this](int* value, int attribute, HipFunction) {
    return call("hipFuncGetAttribute", [&] {
      *value = attribute == hip_function_registers ? 255 : 1024;
      return hip_success;
    });
  };
  d.hipFuncSetMaxDynamicSharedMemory = [this](HipFunction, int) {
    return call("hipFuncSetMaxDynamicSharedMemory", [] { return hip_success; });
  };
  d.hipModuleOccupancyMaxActiveBlocksPerMultiprocessor = [this](int* blocks, HipFunction, int,
                                                                size_t) {
    return call("hipModuleOccupancyMaxActiveBlocksPerMultiprocessor", [&] {
      *blocks = resident_blocks;
      return hip_success;
    });
  };
  d.hipModuleLaunchKernel = [this](HipFunction function, unsigned x, unsigned, unsigned,
                                   unsigned threads, unsigned, unsigned, unsigned shared_bytes,
                                   HipStream stream, void** parameters, void**) {
    return call("hipModuleLaunchKernel",
                [&] { return launch(function, x, threads, shared_bytes, stream, parameters); });
  };
  if (launches_early)
    d.launch_early = [this](HipFunction function, unsigned x, unsigned threads,
                            unsigned shared_bytes, HipStream stream, void** parameters) {
      if (!stream->capturing) abuse.emplace_back("an early launch outside of a graph");
      return call("launch_early",
                  [&] { return launch(function, x, threads, shared_bytes, stream, parameters); });
    };
}

inline void GpuDouble::bind_streams(GpuDriver& d) {
  d.hipStreamCreateWithFlags = [this](HipStream* out, unsigned) {
    return call("hipStreamCreateWithFlags", [&] { return create(streams_, out); });
  };
  d.hipStreamDestroy = [this](HipStream stream) {
    return destroy("hipStreamDestroy", streams_, stream);
  };
  d.hipStreamSynchronize = [this](HipStream stream) {
    return call(
        "hipStreamSynchronize",
        [&] {
          if (stream->capturing) abuse.emplace_back("waiting for a stream that is captured");
          drain(*stream);
          return hip_success;
        },
        true);
  };
  d.hipEventCreateWithFlags = [this](HipEvent* out, unsigned flags) {
    return call("hipEventCreateWithFlags", [&] {
      return create(events_, out,
                    HipEventObject{.timing = (flags & hip_event_disable_timing) == 0});
    });
  };
  d.hipEventDestroy = [this](HipEvent event) { return destroy("hipEventDestroy", events_, event); };
  d.hipEventRecord = [this](HipEvent event, HipStream stream) {
    return call("hipEventRecord", [&] {
      event->pending = true;
      event->stream = stream;
      return enqueue(stream, [this, event] {
        event->pending = false;
        event->milliseconds = clock_;
      });
    });
  };
  d.hipEventSynchronize = [this](HipEvent event) {
    return call("hipEventSynchronize", [&] {
      while (event->pending) {
        const auto work = std::move(event->stream->work.front());
        event->stream->work.pop_front();
        work();
      }
      return hip_success;
    });
  };
  d.hipEventElapsedTime = [this](float* milliseconds, HipEvent start, HipEvent stop) {
    return call("hipEventElapsedTime", [&] {
      if (!start->timing || !stop->timing || start->pending || stop->pending)
        abuse.emplace_back("hipEventElapsedTime of events that tell no time");
      *milliseconds = static_cast<float>(stop->milliseconds - start->milliseconds);
      return hip_success;
    });
  };
}

inline void GpuDouble::bind_graphs(GpuDriver& d) {
  d.hipStreamBeginCapture = [this](HipStream stream, int) {
    return call("hipStreamBeginCapture", [&] {
      stream->capturing = true;
      return hip_success;
    });
  };
  d.hipStreamEndCapture = [this](HipStream stream, HipGraph* out) {
    stream->capturing = false;  // also when it fails
    return call("hipStreamEndCapture", [&] {
      return create(graphs_, out, HipGraphObject{std::exchange(stream->captured, {})});
    });
  };
  d.hipGraphInstantiate = [this](HipGraphExec* out, HipGraph graph, void**, char*, size_t) {
    return call("hipGraphInstantiate",
                [&] { return create(executables_, out, HipGraphExecObject{graph->work}); });
  };
  d.hipGraphDestroy = [this](HipGraph graph) { return destroy("hipGraphDestroy", graphs_, graph); };
  d.hipGraphExecDestroy = [this](HipGraphExec graph) {
    return destroy("hipGraphExecDestroy", executables_, graph);
  };
  d.hipGraphLaunch = [this](HipGraphExec graph, HipStream stream) {
    return call("hipGraphLaunch", [&] {
      const auto flight = std::make_shared<bool>(true);
      in_flight_.push_back(flight);
      std::erase_if(in_flight_, [](const std::weak_ptr<bool>& replay) { return replay.expired(); });
      most_in_flight = std::max(most_in_flight, in_flight_.size());
      return enqueue(stream, [this, graph, flight] {
        replaying_ = true;
        for (const auto& work : graph->work) work();
        replaying_ = false;
      });
    });
  };
}

inline std::shared_ptr<const GpuDriver> GpuDouble::driver() {
  auto table = std::make_shared<GpuDriver>();
  GpuDriver& d = *table;
  d.vendor = vendor;
  d.library = "libdouble.so";
  d.hipInit = [this](unsigned) { return call("hipInit", [] { return hip_success; }); };
  d.hipGetDeviceCount = [this](int* count) {
    return call("hipGetDeviceCount", [&] {
      *count = static_cast<int>(architectures.size());
      return hip_success;
    });
  };
  d.hipGetDeviceProperties = [this](GpuProperties* properties, int device) {
    return call("hipGetDeviceProperties", [&] {
      *properties = {"Double", architectures[static_cast<size_t>(device)], multiprocessors, 65536};
      return hip_success;
    });
  };
  d.hipSetDevice = [this](int device) {
    return call("hipSetDevice", [&] {
      current_ = device;
      return hip_success;
    });
  };
  bind_memory(d);
  bind_code(d);
  bind_streams(d);
  bind_graphs(d);
  d.hipGetErrorString = [](int error) {
    return error == hip_error_out_of_memory ? "out of memory" : "something\nbroke";
  };
  return table;
}

}  // namespace sinter::runtime
