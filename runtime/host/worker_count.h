// How many of a pool's workers take part.
#pragma once

namespace sinter::runtime {

// All of them while none waits long for another. Where some do again and again, processors may have
// other work, too, and fewer workers may be faster: then the next smaller number is tried for a
// while, and kept if it is clearly faster; at first the number of processors, where that is
// smaller. Later, larger ones are tried, and kept unless they are slower: processors that share a
// core wait for each other as well, without being of less use together. Speeds are compared, so it
// is for one kind of work.
class WorkerCount {
 public:
  // `processors` says how many the process may use now.
  WorkerCount(int most, int (*processors)());

  int now() const { return now_; }

  struct Run {
    double work = 0;     // in any unit
    double seconds = 0;  // that it took
    double lost = 0;     // seconds in which workers waited for late ones or did their work
  };
  // After every run of now() workers.
  void add(const Run& run);

 private:
  void decide();

  int most_;
  int (*processors_)();
  int now_;
  Run window_;              // runs since the last look
  Run before_;              // windows before the trial, all with loss or all without
  int windows_ = 0;         // in `before_`, or in `trial_`
  bool loss_ = false;       // in `before_`
  Run trial_;               // windows of the trial
  int trial_before_ = 0;    // the number of workers before the trial; 0: there is none
  bool more_next_ = false;  // fewer were tried last, in vain
  int pause_;               // windows before the next trial
};

}  // namespace sinter::runtime
