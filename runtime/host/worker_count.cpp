#include "runtime/host/worker_count.h"

#include <algorithm>

namespace sinter::runtime {
namespace {

// Several time slices of the system's scheduler.
constexpr double window_seconds = 0.025;
// Lost worker time per time, from which on a trial is worth it. One worker fewer cannot be faster
// unless about a whole worker's time is lost, half of which is that of the late one and not seen.
constexpr double tolerated_loss = 0.25;
// Windows between trials: so many after one that was a gain, twice as many after each that was not.
constexpr int least_pause = 4, most_pause = 128;
// Windows of a trial.
constexpr int trial_windows = 3;
// By how much fewer workers must be faster.
constexpr double margin = 0.05;

void operator+=(WorkerCount::Run& sum, const WorkerCount::Run& run) {
  sum.work += run.work;
  sum.seconds += run.seconds;
  sum.lost += run.lost;
}

double speed(const WorkerCount::Run& run) { return run.work / run.seconds; }

}  // namespace

// More workers than processors are not watched for long.
WorkerCount::WorkerCount(int most, int (*processors)())
    : most_(most),
      processors_(processors),
      now_(most),
      pause_(most > 1 && most > processors() ? 1 : least_pause) {}

void WorkerCount::add(const Run& run) {
  window_ += run;
  if (window_.seconds < window_seconds) return;
  decide();
  window_ = {};
}

void WorkerCount::decide() {
  if (trial_before_ != 0) {
    trial_ += window_;
    if (++windows_ < trial_windows) return;
    const bool fewer = now_ < trial_before_;
    const bool gain = speed(trial_) > speed(before_) * (fewer ? 1 + margin : 1);
    if (!gain) now_ = trial_before_;
    more_next_ = fewer != gain;
    pause_ = gain ? least_pause : std::min(2 * pause_, most_pause);
    trial_before_ = windows_ = 0;
    before_ = trial_ = {};
    return;
  }
  const bool loss = now_ > 1 && window_.lost > tolerated_loss * window_.seconds;
  if (loss != loss_) {
    loss_ = loss;
    before_ = {};
    windows_ = 0;
  }
  before_ += window_;
  if (++windows_ < pause_) return;
  const int processors = std::max(1, processors_());
  const int more = std::min({now_ + 1, most_, std::max(now_, processors)});
  const bool tries_fewer = loss && (!more_next_ || more == now_);
  const int tried = now_ > processors ? processors : tries_fewer ? now_ - 1 : more;
  if (tried == now_) return;
  trial_before_ = now_;
  now_ = tried;
  windows_ = 0;
}

}  // namespace sinter::runtime
