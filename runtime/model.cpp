#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <exception>

#include "runtime/model_impl.h"
#include "runtime/synthetic.h"

namespace sinter::runtime {
namespace {

constexpr int most_threads = 1024;
// Kernels may read a little beyond a weight's end.
constexpr uint64_t weights_slack = 256;
// A worker's share of filling, in 8-byte words: small enough to balance, large enough not to be
// felt.
constexpr uint64_t fill_piece = 1 << 20;

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
  pool.run([&](int worker) {
    for (size_t p = next.fetch_add(1); p < pieces.size(); p = next.fetch_add(1)) {
      const Piece& piece = pieces[p];
      fill_range(plan.fills, piece.fill, seed, piece.first, piece.last, weights);
      const uint64_t words = done.fetch_add(piece.last - piece.first) + piece.last - piece.first;
      if (worker == 0 && options.progress) {
        options.progress(static_cast<double>(words) / static_cast<double>(total));
      }
    }
  });
}

Status load_weights(Model::Impl& impl, const LoadOptions& options) {
  const DevicePlan& plan = *impl.device_plan;
  if (!plan.synthetic()) {
    const std::span<const uint8_t> bytes = impl.file->bytes(plan.weights_section);
    impl.weights = bytes.data();
    if (bytes.empty()) return Done{};
    will_need(bytes);
    return options.verify_weights ? impl.file->verify(plan.weights_section, options.progress) : Status(Done{});
  }
  const std::optional<uint64_t> available = available_memory();
  if (available && plan.weight_bytes > *available) {
    return Error{fmt::format("{}: synthetic weights need {}, but {} of memory are available",
                             impl.file->path(), megabytes(plan.weight_bytes),
                             megabytes(*available))};
  }
  Result<Memory> memory =
      Memory::allocate(plan.weight_bytes + weights_slack, "synthetic weights", true);
  if (!memory.ok()) return memory.error();
  impl.synthetic_weights = std::move(*memory);
  fill_weights(plan, impl.file->plan().seed, impl.synthetic_weights.data(), *impl.pool, options);
  impl.weights = impl.synthetic_weights.data();
  return Done{};
}

}  // namespace

Model::Model() : impl_(std::make_unique<Impl>()) {}
Model::~Model() = default;

Result<std::shared_ptr<Model>> Model::load(std::shared_ptr<const PlanFile> file,
                                           const LoadOptions& options) {
  if (options.threads < 0 || options.threads > most_threads) {
    return Error{fmt::format("threads is {}, outside 0..{}", options.threads, most_threads)};
  }
  const std::shared_ptr<Model> model(new Model());
  Impl& impl = *model->impl_;
  impl.file = std::move(file);
  const HostCpu cpu = detect_host_cpu();
  const Result<const CodeObject*> code = choose_code(impl.file->plan(), cpu);
  if (!code.ok()) return Error{fmt::format("{}: {}", impl.file->path(), code.error().message)};
  impl.code = *code;
  impl.device_plan = &impl.file->plan().device_plans[impl.code->device_plan];
  Result<std::shared_ptr<const HostCode>> kernels = HostCode::load(*impl.file, *impl.code);
  if (!kernels.ok()) return kernels.error();
  impl.kernels = std::move(*kernels);
  const int threads = options.threads != 0 ? options.threads : std::min(cpu.threads, most_threads);
  try {
    impl.pool = std::make_unique<ThreadPool>(threads);
  } catch (const std::exception& exception) {
    return Error{
        fmt::format("cannot start {} threads: {}; ask for fewer", threads, exception.what())};
  }
  if (Status status = load_weights(impl, options); !status.ok()) return status.error();
  return model;
}

const Plan& Model::plan() const { return impl_->file->plan(); }
const PlanFile& Model::file() const { return *impl_->file; }
const DevicePlan& Model::device_plan() const { return *impl_->device_plan; }
const CodeObject& Model::code() const { return *impl_->code; }
int Model::workers() const { return impl_->pool->workers(); }

}  // namespace sinter::runtime
