// Brings weights into a GPU's memory. While the GPU copies out of one of two pinned buffers, the
// host fills the other.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <exception>
#include <optional>

#include "runtime/gpu/model.h"
#include "runtime/host/cpu.h"
#include "runtime/host/thread_pool.h"
#include "runtime/plan/checksum.h"
#include "runtime/plan/synthetic.h"

namespace sinter::runtime {
namespace {

constexpr uint64_t buffer_bytes = 32ull << 20;
// A thread's share of filling, in 8-byte words.
constexpr uint64_t share_words = 1 << 17;

class Uploader {
 public:
  Uploader(const GpuDevice& device, uint8_t* destination)
      : device_(device), destination_(destination) {}
  Status prepare(uint64_t total) {
    auto stream = device_.create_stream();
    if (!stream.ok()) return stream.error();
    stream_ = std::move(*stream);
    bytes_ = std::min(buffer_bytes, round_up(total, 8));
    for (Buffer& buffer : buffers_) {
      auto memory = device_.allocate_pinned(bytes_, "loading weights");
      if (!memory.ok()) return memory.error();
      buffer.memory = std::move(*memory);
      auto event = device_.create_event(false);
      if (!event.ok()) return event.error();
      buffer.copied = std::move(*event);
    }
    return Done{};
  }
  uint64_t bytes() const { return bytes_; }  // of a buffer

  // A buffer that no copy reads any more.
  Result<uint8_t*> next() {
    current_ ^= 1;
    Buffer& buffer = buffers_[current_];
    if (buffer.used) {
      const int code = device_.driver().hipEventSynchronize(buffer.copied.get());
      if (code != hip_success) return device_.error(code, doing);
    }
    return static_cast<uint8_t*>(buffer.memory.get());
  }
  // Copies a part of the buffer to an offset of the weights.
  Status copy(uint64_t from, uint64_t bytes, uint64_t to) {
    auto* const source = static_cast<uint8_t*>(buffers_[current_].memory.get()) + from;
    return device_.check(
        device_.driver().hipMemcpyHtoDAsync(destination_ + to, source, bytes, stream_.get()),
        doing);
  }
  // No more copies from this buffer.
  Status commit() {
    Buffer& buffer = buffers_[current_];
    buffer.used = true;
    return device_.check(device_.driver().hipEventRecord(buffer.copied.get(), stream_.get()),
                         doing);
  }
  Status clear(uint64_t bytes) {
    return device_.check(device_.driver().hipMemsetAsync(destination_, 0, bytes, stream_.get()),
                         doing);
  }
  Status finish() { return device_.wait(stream_.get(), doing); }

 private:
  static constexpr std::string_view doing = "copying weights";
  struct Buffer {
    PinnedMemory memory;
    GpuEvent copied;
    bool used = false;
  };
  const GpuDevice& device_;
  uint8_t* destination_;
  uint64_t bytes_ = 0;
  std::array<Buffer, 2> buffers_;
  size_t current_ = 0;
  GpuStream stream_;
};

void report(const LoadOptions& options, uint64_t done, uint64_t total) {
  if (options.progress) options.progress(static_cast<double>(done) / static_cast<double>(total));
}

// A section of the file, which begins at byte `begin` of the weights; its pages are given back
// behind the copy.
Status upload_stored(Uploader& uploader, const PlanFile& file, const Section& section,
                     uint64_t begin, uint64_t total, const LoadOptions& options) {
  const std::span<const uint8_t> weights = file.bytes(section);
  Checksum checksum;
  for (uint64_t done = 0; done < weights.size();) {
    const uint64_t bytes = std::min<uint64_t>(uploader.bytes(), weights.size() - done);
    const auto buffer = uploader.next();
    if (!buffer.ok()) return buffer.error();
    std::memcpy(*buffer, weights.data() + done, bytes);
    if (options.verify_weights) checksum.update({*buffer, bytes});
    if (Status s = uploader.copy(0, bytes, begin + done); !s.ok()) return s;
    if (Status s = uploader.commit(); !s.ok()) return s;
    file.drop_pages(section, done, bytes);
    done += bytes;
    report(options, begin + done, total);
  }
  if (options.verify_weights && checksum.value() != section.checksum)
    return file.wrong_checksum(section);
  return Done{};
}

// A part of a fill, made in a buffer.
struct Piece {
  size_t fill;
  uint64_t first, last;  // words
  uint64_t at;           // within the buffer, a multiple of 8
};

// Makes synthetic weights, a buffer at a time.
Status upload_synthetic(Uploader& uploader, const DevicePlan& plan, uint64_t seed, ThreadPool& pool,
                        const LoadOptions& options) {
  const uint64_t words = uploader.bytes() / 8;
  std::vector<Piece> pieces;
  uint64_t used = 0, done = 0;
  const auto flush = [&]() -> Status {
    const auto buffer = uploader.next();
    if (!buffer.ok()) return buffer.error();
    std::atomic<size_t> next{0};
    pool.run([&](Share) {
      for (size_t p = next.fetch_add(1); p < pieces.size(); p = next.fetch_add(1)) {
        const Piece& piece = pieces[p];
        fill_piece(plan.fills, piece.fill, seed, piece.first, piece.last, *buffer + piece.at);
      }
    });
    for (const Piece& piece : pieces) {
      const Fill& fill = plan.fills[piece.fill];
      const uint64_t begin = piece.first * 8, end = std::min(piece.last * 8, fill.bytes);
      if (Status s = uploader.copy(piece.at, end - begin, fill.offset + begin); !s.ok()) return s;
      done += end - begin;
    }
    pieces.clear();
    used = 0;
    report(options, done, plan.weight_bytes);
    return uploader.commit();
  };
  for (size_t i = 0; i < plan.fills.size(); ++i) {
    const uint64_t total = fill_words(plan.fills[i]);
    for (uint64_t first = 0; first < total;) {
      const uint64_t last = std::min({total, first + share_words, first + words - used});
      pieces.push_back({i, first, last, used * 8});
      used += last - first;
      first = last;
      if (used < words) continue;
      if (Status s = flush(); !s.ok()) return s;
    }
  }
  return pieces.empty() ? Status(Done{}) : flush();
}

}  // namespace

Result<GpuMemory> upload_weights(const GpuDevice& device, const PlanFile& file,
                                 const DevicePlan& plan, const LoadOptions& options) {
  const uint64_t bytes = plan.weight_bytes + buffer_slack;
  auto memory = device.allocate(bytes, "weights");
  if (!memory.ok()) return memory.error();
  Uploader uploader(device, static_cast<uint8_t*>(memory->get()));
  if (Status s = uploader.prepare(bytes); !s.ok()) return s.error();
  if (Status s = uploader.clear(bytes); !s.ok()) return s.error();  // fills may leave gaps
  Status uploaded = Done{};
  if (plan.synthetic()) {
    std::optional<ThreadPool> pool;
    const int threads = options.threads != 0 ? options.threads : detect_host_cpu().threads;
    try {
      pool.emplace(threads);
    } catch (const std::exception& exception) {
      return Error{
          fmt::format("cannot start {} threads: {}; ask for fewer", threads, exception.what())};
    }
    uploaded = upload_synthetic(uploader, plan, file.plan().seed, *pool, options);
  } else {
    uint64_t begin = 0;
    for (const Section& section : plan.weights_sections) {
      if (!uploaded.ok()) break;
      uploaded = upload_stored(uploader, file, section, begin, plan.weight_bytes, options);
      begin += section.bytes;
    }
  }
  if (!uploaded.ok()) return uploaded.error();
  if (Status s = uploader.finish(); !s.ok()) return s.error();
  return memory;
}

}  // namespace sinter::runtime
