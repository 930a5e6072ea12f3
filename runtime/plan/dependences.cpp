#include "runtime/plan/dependences.h"

#include <algorithm>
#include <functional>
#include <iterator>
#include <map>
#include <set>
#include <utility>

#include "runtime/plan/extent.h"

namespace sinter::runtime {
namespace {

constexpr size_t most_reduced = 1 << 14;  // phases: a bit for each pair is 32 MB

using Phases = std::set<uint32_t, std::greater<>>;

// Who touched which bytes of a region last. Segments lie apart; what lies in none was not touched.
class History {
 public:
  // Adds to `before` whom an access of these bytes waits for.
  void access(uint64_t begin, uint64_t end, bool writes, uint32_t phase, Phases& before) {
    split(begin);
    split(end);
    auto at = segments_.lower_bound(begin);
    for (uint64_t next = begin; next < end; ++at) {
      if (at == segments_.end() || at->first != next) {
        const uint64_t gap_end = at == segments_.end() ? end : std::min(end, at->first);
        at = segments_.emplace_hint(at, next, Segment{gap_end, {}, {}});
      }
      Segment& segment = at->second;
      before.insert(segment.writer.begin(), segment.writer.end());
      if (writes) {
        before.insert(segment.readers.begin(), segment.readers.end());
      } else if (segment.readers.empty() || segment.readers.back() != phase) {
        segment.readers.push_back(phase);
      }
      next = segment.end;
    }
    if (!writes) return;
    segments_.erase(segments_.lower_bound(begin), segments_.lower_bound(end));
    segments_[begin] = {end, {phase}, {}};
  }

 private:
  struct Segment {
    uint64_t end;
    std::vector<uint32_t> writer;   // the last, if there is one
    std::vector<uint32_t> readers;  // since then
  };

  // No segment reaches across `at` afterwards.
  void split(uint64_t at) {
    auto after = segments_.lower_bound(at);
    if (after == segments_.begin()) return;
    auto& [begin, segment] = *std::prev(after);
    if (segment.end <= at) return;
    Segment right = segment;
    segment.end = at;
    segments_.emplace_hint(after, at, std::move(right));
  }

  std::map<uint64_t, Segment> segments_;
};

// The phases that a phase comes after, a bit for each.
class Ancestors {
 public:
  explicit Ancestors(size_t phases) : words_((phases + 63) / 64) {}
  bool has(uint32_t phase) const { return (words_[phase / 64] >> (phase % 64) & 1) != 0; }
  void add(uint32_t phase, const Ancestors& its) {
    for (size_t i = 0; i < words_.size(); ++i) words_[i] |= its.words_[i];
    words_[phase / 64] |= uint64_t{1} << (phase % 64);
  }

 private:
  std::vector<uint64_t> words_;
};

}  // namespace

std::vector<std::vector<uint32_t>> dependences(const DevicePlan& plan, const Schedule& schedule) {
  const StepSize step = largest_step(plan, schedule);
  const bool reduces = schedule.phases.size() <= most_reduced;
  std::map<std::pair<Argument::Region, uint32_t>, History> histories;
  std::vector<Ancestors> ancestors;
  std::vector<std::vector<uint32_t>> all;
  for (uint32_t number = 0; number < schedule.phases.size(); ++number) {
    const Phase& phase = schedule.phases[number];
    const std::vector<Parameter>& parameters = plan.kernels[phase.kernel].parameters;
    Phases before;
    // Reads first: what the phase itself writes is not what it waits for.
    for (const bool writes : {false, true}) {
      for (size_t i = 0; i < std::min(phase.arguments.size(), parameters.size()); ++i) {
        const Argument& argument = phase.arguments[i];
        if (argument.region == Argument::Region::weights) continue;  // nobody writes them
        if ((parameters[i].access != Parameter::Access::read) != writes) continue;
        const uint32_t index = argument.region == Argument::Region::state ? argument.index : 0;
        histories[{argument.region, index}].access(
            argument.offset, argument.offset + extent(parameters[i], step), writes, number, before);
      }
    }
    before.erase(number);
    std::vector<uint32_t>& direct = all.emplace_back();
    if (!reduces) {
      direct.assign(before.rbegin(), before.rend());
      continue;
    }
    Ancestors& mine = ancestors.emplace_back(schedule.phases.size());
    for (const uint32_t phase_before : before) {  // the latest first: it may have waited for others
      if (mine.has(phase_before)) continue;
      direct.push_back(phase_before);
      mine.add(phase_before, ancestors[phase_before]);
    }
    std::ranges::reverse(direct);
  }
  return all;
}

}  // namespace sinter::runtime
