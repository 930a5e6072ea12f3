// The threads of the host device.
#pragma once

#include <functional>
#include <memory>

namespace sinter::runtime {

// One of the equal parts that the work of a phase is divided into.
struct Share {
  int index;  // 0..count-1
  int count;
};

// Workers that stay alive between steps, among them the thread that calls `run`. The constructor
// throws std::system_error when threads cannot be started.
class ThreadPool {
 public:
  explicit ThreadPool(int workers);
  ~ThreadPool();
  int workers() const;
  // Runs f(phase, share) for every share of every phase 0..phases-1. A phase begins when the one
  // before is over, and sees what that wrote. There are as many shares as workers, or fewer where
  // fewer workers turn out to be faster (runtime/host/worker_count.h). A worker whose processor
  // does something else is not waited for: its share is done by one that is there. `work` says how
  // long this run should take beside others of as many phases. f must not throw; one `run` at a
  // time.
  void run(int phases, const std::function<void(int phase, Share share)>& f, double work = 1);
  // A single phase.
  void run(const std::function<void(Share share)>& f) {
    run(1, [&](int, Share share) { f(share); });
  }

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sinter::runtime
