// What Model and Session need of a device. The host and GPUs implement it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "runtime/plan/file.h"
#include "runtime/session/session.h"
#include "runtime/support/result.h"

namespace sinter::runtime {

// Kernels work in whole vectors and may touch a little beyond a buffer's end.
inline constexpr uint64_t buffer_slack = 256;

inline uint64_t round_up(uint64_t value, uint64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// Where a sequence stands.
struct Sequence {
  int64_t position = 0;     // tokens so far
  int64_t logits_row = -1;  // of the logits buffer, of the last token; -1 before the first step
  uint64_t draws = 0;       // tokens drawn so far
};

// A sequence's memory on a device, and the steps on it. What it is called with has been checked.
class DeviceSession {
 public:
  virtual ~DeviceSession() = default;
  virtual Executor executor() const = 0;
  virtual uint64_t bytes() const = 0;  // of the device's memory
  // Appends tokens at `position` through a schedule of the device plan that serves so many; the
  // last `logits_rows` get logits.
  virtual Status step(size_t schedule, std::span<const int32_t> tokens, int64_t position,
                      int64_t logits_rows) = 0;
  // Whether logits() waits for nothing and copies nothing.
  virtual bool logits_at_hand() const = 0;
  // Rows of the logits buffer, [rows, vocab_size], valid until the next call.
  virtual Result<std::span<const float>> logits(int64_t first_row, int64_t rows) = 0;
  // Session::generate. `sequence` is kept up to date, whatever happens.
  virtual Status generate(Sequence& sequence, const SamplingOptions& options, int64_t count,
                          const Session::TokenSink& sink) = 0;
  virtual Status clear() = 0;  // the state as it was at the start
  virtual void profile(bool on) = 0;
  virtual const std::vector<PhaseTime>& decode_times() const = 0;
};

// A plan's code and weights on a device.
class DeviceModel {
 public:
  virtual ~DeviceModel() = default;
  virtual const CodeObject& code() const = 0;
  virtual const DeviceInfo& info() const = 0;
  virtual int workers() const = 0;
  // `context` positions, of which `capacity` (a multiple of 16) are made room for.
  virtual Result<std::unique_ptr<DeviceSession>> create_session(int64_t context, int64_t capacity,
                                                                Executor executor) = 0;
  virtual Result<double> streaming_read(uint64_t bytes) = 0;
};

Result<std::unique_ptr<DeviceModel>> load_on_host(std::shared_ptr<const PlanFile> file,
                                                  const LoadOptions& options);
Result<std::unique_ptr<DeviceModel>> load_on_gpu(std::shared_ptr<const PlanFile> file,
                                                 const LoadOptions& options);

// Positions, a multiple of 16 or all of them, whose state fits into `bytes`; 0 when none do.
int64_t context_that_fits(const DevicePlan& plan, int64_t max_context, uint64_t bytes);

}  // namespace sinter::runtime
