#include "runtime/host/model.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <exception>
#include <optional>
#include <thread>

#include "runtime/host/bandwidth.h"
#include "runtime/host/cpu.h"
#include "runtime/plan/synthetic.h"
#include "runtime/support/megabytes.h"

namespace sinter::runtime {
namespace {

constexpr int most_threads = 1024;
// A worker's share of filling, in 8-byte words: small enough to balance, large enough not to be
// felt.
constexpr uint64_t fill_piece = 1 << 20;
// Of a measurement of the memory: large enough not to fit into caches.
constexpr uint64_t most_streamed = uint64_t{1} << 29;

// Asks the system to read the weights ahead.
void will_need(std::span<const uint8_t> bytes) {
  const uint64_t page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  const uint64_t begin = reinterpret_cast<uint64_t>(bytes.data()) / page * page;
  const uint64_t end = reinterpret_cast<uint64_t>(bytes.data()) + bytes.size();
  ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_WILLNEED);
}

void fill_weights(const DevicePlan& plan, uint64_t seed, uint8_t* weights, ThreadPool& pool,
                  const LoadOptions& options) {
  struct Piece {
    size_t fill;
    uint64_t first, last;
  };
  std::vector<Piece> pieces;
  uint64_t total = 0;
  for (size_t i = 0; i < plan.fills.size(); ++i) {
    const uint64_t words = fill_words(plan.fills[i]);
    for (uint64_t first = 0; first < words; first += fill_piece) {
      pieces.push_back({i, first, std::min(words, first + fill_piece)});
    }
    total += words;
  }
  std::atomic<size_t> next{0};
  std::atomic<uint64_t> done{0};
  const std::thread::id caller = std::this_thread::get_id();
  pool.run([&](Share) {
    for (size_t p = next.fetch_add(1); p < pieces.size(); p = next.fetch_add(1)) {
      const Piece& piece = pieces[p];
      fill_range(plan.fills, piece.fill, seed, piece.first, piece.last, weights);
      const uint64_t words = done.fetch_add(piece.last - piece.first) + piece.last - piece.first;
      if (options.progress && std::this_thread::get_id() == caller) {
        options.progress(static_cast<double>(words) / static_cast<double>(total));
      }
    }
  });
}

}  // namespace

Status HostModel::load_weights(const LoadOptions& options) {
  const DevicePlan& plan = device_plan();
  if (!plan.synthetic()) {
    for (const Section& section : plan.weights_sections) will_need(file_->bytes(section));
    return options.verify_weights ? file_->verify_weights(plan, options.progress) : Status(Done{});
  }
  const std::optional<uint64_t> available = available_memory();
  if (available && plan.weight_bytes > *available) {
    return Error{fmt::format("{}: synthetic weights need {}, but {} of memory are available",
                             file_->path(), megabytes(plan.weight_bytes), megabytes(*available))};
  }
  Result<Memory> memory =
      Memory::allocate(plan.weight_bytes + buffer_slack, "synthetic weights", true);
  if (!memory.ok()) return memory.error();
  synthetic_weights_ = std::move(*memory);
  fill_weights(plan, file_->plan().seed, synthetic_weights_.data(), *pool_, options);
  return Done{};
}

Result<std::unique_ptr<DeviceModel>> HostModel::load(std::shared_ptr<const PlanFile> file,
                                                     const LoadOptions& options) {
  auto model = std::make_unique<HostModel>();
  model->file_ = std::move(file);
  const HostCpu cpu = detect_host_cpu();
  const Result<const CodeObject*> code = choose_code(model->plan(), cpu);
  if (!code.ok()) return Error{fmt::format("{}: {}", model->file_->path(), code.error().message)};
  model->code_ = *code;
  model->info_ = {.id = "host",
                  .name = cpu.model_name,
                  .architecture = cpu.family,
                  .total_memory = total_memory().value_or(0),
                  .free_memory = available_memory().value_or(0)};
  Result<std::shared_ptr<const HostCode>> kernels = HostCode::load(*model->file_, *model->code_);
  if (!kernels.ok()) return kernels.error();
  model->kernels_ = std::move(*kernels);
  const int threads = options.threads != 0 ? options.threads : std::min(cpu.threads, most_threads);
  try {
    model->pool_ = std::make_unique<ThreadPool>(threads);
  } catch (const std::exception& exception) {
    return Error{
        fmt::format("cannot start {} threads: {}; ask for fewer", threads, exception.what())};
  }
  if (Status status = model->load_weights(options); !status.ok()) return status.error();
  return std::unique_ptr<DeviceModel>(std::move(model));
}

Result<std::unique_ptr<DeviceSession>> HostModel::create_session(const SessionSize& size,
                                                                 Executor executor) {
  if (executor == Executor::automatic) executor = Executor::persistent;
  if (executor == Executor::graph)
    return Error{"the host has no graphs; its executors are eager and persistent"};
  return create_host_session(*this, size, executor);
}

Result<double> HostModel::streaming_read(uint64_t bytes) {
  if (bytes == 0) {
    bytes = std::min(most_streamed, available_memory().value_or(most_streamed) / 4);
  }
  const double rate = measure_streaming_read(pool_->workers(), bytes);
  if (rate > 0) return rate;
  return Error{"the streaming read of the memory cannot be measured: too little memory"};
}

Result<std::unique_ptr<DeviceModel>> load_on_host(std::shared_ptr<const PlanFile> file,
                                                  const LoadOptions& options) {
  return HostModel::load(std::move(file), options);
}

}  // namespace sinter::runtime
