#include "runtime/gpu/model.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "runtime/support/megabytes.h"

namespace sinter::runtime {
namespace {

// Memory for a measurement: well beyond any cache, and of that so many passes.
constexpr uint64_t most_streamed = uint64_t{1} << 30;
constexpr int stream_passes = 9;

}  // namespace

Status GpuModel::check_memory(const SessionSize& size, uint64_t weights) const {
  const auto free = device_->free_memory();
  if (!free.ok()) return free.error();
  const DevicePlan& d = device_plan();
  const GpuSessionLayout layout(plan(), d, size);
  const uint64_t state = layout.state_bytes();
  const uint64_t activations = layout.bytes - state;
  if (weights <= *free && activations <= *free - weights && state <= *free - weights - activations)
    return Done{};
  const uint64_t others = weights + activations;
  const int64_t fits =
      others < *free ? context_that_fits(d, plan().max_context, *free - others) : 0;
  return Error{fmt::format(
      "a context of {} needs {}{} for the state and {} for activations, but {} of {}'s memory are "
      "free; {}",
      size.context, weights > 0 ? fmt::format("{} for the weights, ", megabytes(weights)) : "",
      megabytes(state), megabytes(activations), megabytes(*free), info().id,
      fits > 0 ? fmt::format("a context of {} fits", fits) : "no context fits")};
}

Status GpuModel::load_code() {
  if (Status status = file_->check_code(*code_); !status.ok()) return status;
  const std::span<const uint8_t> code = file_->bytes(code_->section);
  // PTX is text that ends with a zero byte.
  const std::string image(reinterpret_cast<const char*>(code.data()), code.size());
  auto module = device_->load(image.c_str(),
                              fmt::format("the code for {} of {}", code_->target, file_->path()));
  if (!module.ok()) return module.error();
  module_ = std::move(*module);
  const DevicePlan& plan = device_plan();
  std::vector<uint32_t> shared_bytes(plan.kernels.size());  // at most, over a kernel's phases
  for (const Schedule& schedule : plan.schedules) {
    for (const Phase& phase : schedule.phases)
      shared_bytes[phase.kernel] = std::max(shared_bytes[phase.kernel], phase.shared_bytes);
  }
  for (size_t i = 0; i < plan.kernels.size(); ++i) {
    const std::string& symbol = plan.kernels[i].symbol;
    const auto function = device_->function(module_, symbol);
    if (!function.ok()) return function.error();
    if (Status s = device_->allow_shared(*function, shared_bytes[i], symbol); !s.ok()) return s;
    kernels_.push_back(*function);
  }
  for (const auto& [symbol, function] :
       {std::pair("sinter_sample", &sampler_), std::pair("sinter_stream", &streamer_)}) {
    const auto found = device_->function(module_, symbol);
    if (!found.ok()) return found.error();
    *function = *found;
  }
  const auto blocks = device_->resident_blocks(streamer_, 0, "sinter_stream");
  if (!blocks.ok()) return blocks.error();
  stream_blocks_ = *blocks;
  auto result = device_->allocate(sizeof(uint64_t), "a measurement's result");
  if (!result.ok()) return result.error();
  stream_result_ = std::move(*result);
  return Done{};
}

Result<std::unique_ptr<DeviceModel>> GpuModel::load(std::shared_ptr<const PlanFile> file,
                                                    const LoadOptions& options) {
  const auto wanted = parse_gpu_name(options.device);
  if (!wanted.ok()) return wanted.error();
  std::shared_ptr<const GpuDriver> driver = options.driver;
  if (driver == nullptr) {
    auto opened = open_gpu_driver(wanted->vendor);
    if (!opened.ok()) return Error{fmt::format("{}: {}", options.device, opened.error().message)};
    driver = std::move(*opened);
  }
  auto model = std::make_unique<GpuModel>();
  auto device = GpuDevice::open(driver, wanted->index);
  if (!device.ok()) return device.error();
  model->device_ = std::move(*device);
  model->file_ = std::move(file);
  const auto code = choose_gpu_code(*model->file_, model->info(), wanted->vendor);
  if (!code.ok()) return code.error();
  model->code_ = *code;

  const int64_t most = model->plan().max_context;
  const int64_t context = std::clamp<int64_t>(options.context, std::min<int64_t>(16, most), most);
  const int64_t pages = (context + page_positions - 1) / page_positions;
  const uint64_t weight_bytes = model->device_plan().weight_bytes;
  if (Status s = model->check_memory(
          {.context = context, .pages_per_sequence = pages, .pages = pages}, weight_bytes);
      !s.ok())
    return s.error();
  if (Status s = model->load_code(); !s.ok()) return s.error();
  auto weights = upload_weights(model->device(), *model->file_, model->device_plan(), options);
  if (!weights.ok()) return weights.error();
  model->weights_ = std::move(*weights);
  return std::unique_ptr<DeviceModel>(std::move(model));
}

Result<std::unique_ptr<DeviceSession>> GpuModel::create_session(const SessionSize& size,
                                                                Executor executor) {
  if (executor == Executor::automatic) executor = Executor::graph;
  if (executor == Executor::persistent) {
    return Error{
        fmt::format("{} has no persistent executor; its executors are graph and eager", info().id)};
  }
  if (Status s = device_->make_current(); !s.ok()) return s.error();
  if (Status s = check_memory(size, 0); !s.ok()) return s.error();
  return create_gpu_session(*this, size, executor);
}

Status GpuModel::launch_stream(void* memory, uint64_t bytes, HipStream stream) const {
  GpuArguments arguments{};
  arguments.args[0] = memory;
  arguments.args[1] = reinterpret_cast<void*>(bytes);
  arguments.args[2] = stream_result_.get();
  return device_->launch(streamer_, stream_blocks_, 0, stream, arguments, "", "sinter_stream");
}

Result<double> GpuModel::streaming_read(uint64_t bytes) {
  if (Status s = device_->make_current(); !s.ok()) return s.error();
  const auto free = device_->free_memory();
  if (!free.ok()) return free.error();
  if (bytes == 0) bytes = std::min(most_streamed, *free / 4);
  bytes = std::max<uint64_t>(bytes / 16 * 16, 4096);
  const auto memory = device_->allocate(bytes, "a measurement");
  const auto start = device_->create_event(true), stop = device_->create_event(true);
  const auto stream = device_->create_stream();
  if (!memory.ok()) return memory.error();
  if (!stream.ok()) return stream.error();
  if (!start.ok()) return start.error();
  if (!stop.ok()) return stop.error();

  const GpuDriver& driver = device_->driver();
  const auto pass = [&]() -> Result<double> {
    float milliseconds = 0;
    if (Status s = device_->check(driver.hipEventRecord(start->get(), stream->get()),
                                  "starting a measurement");
        !s.ok())
      return s.error();
    if (Status s = launch_stream(memory->get(), bytes, stream->get()); !s.ok()) return s.error();
    int code = driver.hipEventRecord(stop->get(), stream->get());
    if (code == hip_success) code = driver.hipEventSynchronize(stop->get());
    if (code == hip_success)
      code = driver.hipEventElapsedTime(&milliseconds, start->get(), stop->get());
    if (code != hip_success) return device_->error(code, "measuring the streaming read");
    return static_cast<double>(milliseconds) * 1e-3;
  };
  if (Status s = device_->check(driver.hipMemsetAsync(memory->get(), 1, bytes, stream->get()),
                                "filling a measurement's memory");
      !s.ok())
    return s.error();
  std::vector<double> seconds;
  for (int i = -1; i < stream_passes; ++i) {  // the first one warms up
    const auto time = pass();
    if (!time.ok()) return time.error();
    if (i >= 0) seconds.push_back(*time);
  }
  std::nth_element(seconds.begin(), seconds.begin() + stream_passes / 2, seconds.end());
  const double median = seconds[stream_passes / 2];
  if (median > 0) return static_cast<double>(bytes) / median;
  return Error{
      fmt::format("{}: the streaming read was too short for the clock to measure", info().id)};
}

Result<std::unique_ptr<DeviceModel>> load_on_gpu(std::shared_ptr<const PlanFile> file,
                                                 const LoadOptions& options) {
  return GpuModel::load(std::move(file), options);
}

}  // namespace sinter::runtime
