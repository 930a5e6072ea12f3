#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "runtime/session/device.h"

namespace sinter::runtime {
namespace {

constexpr int most_threads = 1024;

}  // namespace

Model::Model() = default;
Model::~Model() = default;

Result<std::shared_ptr<Model>> Model::load(std::shared_ptr<const PlanFile> file,
                                           const LoadOptions& options) {
  if (options.threads < 0 || options.threads > most_threads) {
    return Error{fmt::format("threads is {}, outside 0..{}", options.threads, most_threads)};
  }
  const std::shared_ptr<Model> model(new Model());
  model->file_ = std::move(file);
  model->process_ = ::getpid();
  auto device = options.device == "host" ? load_on_host(model->file_, options)
                                         : load_on_gpu(model->file_, options);
  if (!device.ok()) return device.error();
  model->device_ = std::move(*device);
  return model;
}

const Plan& Model::plan() const { return file_->plan(); }
const PlanFile& Model::file() const { return *file_; }
const CodeObject& Model::code() const { return device_->code(); }
const DevicePlan& Model::device_plan() const { return plan().device_plans[code().device_plan]; }
const DeviceInfo& Model::device() const { return device_->info(); }
Status Model::check_process() const {
  const int process = ::getpid();
  if (process == process_) return Done{};
  return Error{fmt::format(
      "the model was loaded by process {} and this is process {}: threads and devices do not come "
      "along through fork(); load the model in the child",
      process_, process)};
}

int Model::workers() const { return device_->workers(); }
Result<double> Model::streaming_read(uint64_t bytes) const {
  return device_->streaming_read(bytes);
}

int64_t context_that_fits(const DevicePlan& plan, int64_t max_context, uint64_t bytes) {
  int64_t low = 0, high = (max_context + page_positions - 1) / page_positions;  // pages
  while (low < high) {
    const int64_t middle = (low + high + 1) / 2;
    if (plan.state_bytes(middle * page_positions) <= bytes) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return std::min(low * page_positions, max_context);
}

std::string_view name(Executor executor) {
  switch (executor) {
    case Executor::automatic:
      return "automatic";
    case Executor::eager:
      return "eager";
    case Executor::persistent:
      return "persistent";
    case Executor::graph:
      return "graph";
  }
  return "";
}

}  // namespace sinter::runtime
