// What Model and Session need of a device. The host and GPUs implement it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "runtime/abi/kernel_abi.h"
#include "runtime/plan/file.h"
#include "runtime/session/layout.h"
#include "runtime/session/session.h"
#include "runtime/support/result.h"

namespace sinter::runtime {

// Tokens that are drawn for a sequence.
struct Drawing {
  int number = 0;                // of the sequence
  Sequence* sequence = nullptr;  // kept up to date, whatever happens
  SamplingOptions options;
  int64_t count = 0;  // tokens at most
  int64_t given = 0;
};
// Makes room for positions that are about to be written.
using Grow = std::function<Status(std::span<const Growth> growths)>;

// The memory of a session's sequences on a device, and the steps on it. What it is called with has
// been checked. Row `s` of the logits buffer is that of sequence s; rows behind those are for steps
// that give a sequence several. Hidden states, where the plan has them, lie likewise.
class DeviceSession {
 public:
  virtual ~DeviceSession() = default;
  virtual Executor executor() const = 0;
  virtual uint64_t bytes() const = 0;  // of the device's memory
  // Runs a schedule of the device plan that serves so many rows. `hidden`: of each row, the row of
  // the hidden states that it reads or leaves; empty: that of the row's sequence.
  virtual Status step(size_t schedule, std::span<const StepRow> rows,
                      std::span<const int32_t> hidden) = 0;
  // The page table is another now, and these pages are copies of others.
  virtual Status set_pages(std::span<const int32_t> table, std::span<const PageCopy> copies) = 0;
  // Of state that is not kept by position: that of a place becomes that of another, or zeros.
  virtual Status copy_fixed(int from, int to) = 0;
  virtual Status clear_fixed(int sequence) = 0;
  // Whether logits() waits for nothing and copies nothing.
  virtual bool logits_at_hand() const = 0;
  // Rows of the logits buffer, [rows, vocab_size], valid until the next call.
  virtual Result<std::span<const float>> logits(int64_t first_row, int64_t rows) = 0;
  // Row `from` becomes row `to`.
  virtual Status copy_logits(int64_t from, int64_t to) = 0;
  // The same of the hidden states.
  virtual Status copy_hidden(int64_t from, int64_t to) = 0;
  // Session::generate.
  virtual Status generate(std::span<Drawing> drawings, const Grow& grow,
                          const Session::DrawSink& sink) = 0;
  // Measures the phases of steps of that schedule from now on, from zero; none: no more.
  virtual void profile(std::optional<size_t> schedule) = 0;
  virtual const std::vector<PhaseTime>& times() const = 0;
};

// A plan's code and weights on a device.
class DeviceModel {
 public:
  virtual ~DeviceModel() = default;
  virtual const CodeObject& code() const = 0;
  virtual const DeviceInfo& info() const = 0;
  virtual int workers() const = 0;
  virtual Result<std::unique_ptr<DeviceSession>> create_session(const SessionSize& size,
                                                                Executor executor) = 0;
  virtual Result<double> streaming_read(uint64_t bytes) = 0;
};

Result<std::unique_ptr<DeviceModel>> load_on_host(std::shared_ptr<const PlanFile> file,
                                                  const LoadOptions& options);
Result<std::unique_ptr<DeviceModel>> load_on_gpu(std::shared_ptr<const PlanFile> file,
                                                 const LoadOptions& options);

// Positions of one sequence, whole pages or all of them, whose state fits into `bytes`; 0 when none
// do.
int64_t context_that_fits(const DevicePlan& plan, int64_t max_context, uint64_t bytes);

}  // namespace sinter::runtime
