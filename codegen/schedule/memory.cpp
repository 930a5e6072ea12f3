#include "codegen/schedule/memory.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <tuple>
#include <utility>

namespace sinter::codegen {

namespace {

// Kernels read and write whole vectors at the end of a row.
constexpr int64_t kSlack = 64;

int64_t padded(int64_t bytes) { return (bytes + kSlack + 63) / 64 * 64; }

std::string buffer_name(const std::map<int64_t, std::string>& labels, const Buffer& buffer) {
  if (buffer.kind == Buffer::Kind::pinned) return fmt::format("pinned {}", buffer.value);
  if (buffer.kind == Buffer::Kind::temporary) return fmt::format("temporary {}", buffer.value);
  const auto label = labels.find(buffer.value);
  return label != labels.end() ? label->second : fmt::format("%{}", buffer.value);
}

// What lives between phases of one step.
bool is_placed(const Buffer& buffer) {
  return buffer.kind == Buffer::Kind::activation || buffer.kind == Buffer::Kind::temporary;
}

// Between which phases buffers live, by what those do with them.
class Lives {
 public:
  using Key = std::pair<Buffer::Kind, int64_t>;
  struct Life {
    size_t first = 0, last = 0;
    bool awaited = true;  // the last phase wrote it for another, which has not come yet
  };

  Lives(const LoweredSchedule& schedule, const std::map<int64_t, std::string>& labels)
      : schedule_(schedule), labels_(labels) {}

  absl::Status add(size_t phase) {
    const LoweredPhase& of = schedule_.phases[phase];
    // Reads first: a phase reads what those before it wrote.
    for (const bool writes : {false, true})
      for (size_t i = 0; i < of.arguments.size(); ++i)
        if (is_placed(of.arguments[i]) && (of.uses[i].access == Access::write) == writes)
          if (auto status = add(phase, of.arguments[i], of.uses[i]); !status.ok()) return status;
    return absl::OkStatus();
  }

  // The lives, when all phases have been added; `result` is read when they are over.
  absl::StatusOr<std::map<Key, Life>> finish(const Buffer* result) {
    for (auto& [key, life] : lives_) {
      const Buffer buffer{key.first, key.second, 0};
      if (result != nullptr && *result == buffer) {
        life.last = schedule_.phases.size() - 1;
      } else if (life.awaited) {
        return error(life.last, "writes", buffer, "which no phase reads");
      }
    }
    return std::move(lives_);
  }

 private:
  absl::Status add(size_t phase, const Buffer& buffer, const Use& use) {
    const Key key{buffer.kind, buffer.value};
    if (use.access == Access::update)
      return error(phase, "updates", buffer, "which does not last from step to step");
    if (use.access == Access::read) {
      const auto at = lives_.find(key);
      if (at == lives_.end())
        return error(phase, "reads", buffer, "which no phase before it writes");
      at->second.last = phase;
      at->second.awaited = false;
      return absl::OkStatus();
    }
    Life& life = lives_.emplace(key, Life{phase, phase}).first->second;
    life.last = phase;
    life.awaited = !use.read_back;
    return absl::OkStatus();
  }

  absl::Status error(size_t phase, std::string_view does, const Buffer& buffer,
                     std::string_view which) const {
    return absl::InternalError(fmt::format("phase \"{}\" of schedule {} {} {}, {}",
                                           schedule_.phases[phase].name, schedule_.shape.name, does,
                                           buffer_name(labels_, buffer), which));
  }

  const LoweredSchedule& schedule_;
  const std::map<int64_t, std::string>& labels_;
  std::map<Key, Life> lives_;
};

}  // namespace

absl::StatusOr<MemoryPlan> plan_memory(const ir::Module& module, const Lowering& lowering,
                                       const LoweredSchedule& schedule, StepRows rows) {
  MemoryPlan plan;
  for (const auto& [id, room] : lowering.pinned) {
    Placement p{fmt::format("pinned {}", id), plan.bytes, padded(room.fixed_bytes), 0,
                schedule.phases.size()};
    plan.bytes += p.bytes;
    plan.placements[{Buffer::Kind::pinned, id}] = p;
  }
  const int64_t pinned_end = plan.bytes;
  std::map<int64_t, std::string> labels;  // of the node that makes a value
  for (const ir::Node& node : module.nodes)
    for (const ir::ValueId id : node.results) labels.emplace(id, node.label);

  Lives building(schedule, labels);
  for (size_t i = 0; i < schedule.phases.size(); ++i)
    if (auto status = building.add(i); !status.ok()) return status;
  const bool probes = schedule.shape.entry == runtime::Schedule::Entry::probe;
  const auto lives = building.finish(probes ? &lowering.probe_results : nullptr);
  if (!lives.ok()) return lives.status();
  for (const auto& [key, life] : *lives) {
    const Buffer buffer{key.first, key.second, 0};
    int64_t bytes = 0;
    if (buffer.kind == Buffer::Kind::activation) {
      const auto id = static_cast<ir::ValueId>(buffer.value);
      const bool last_rows = module.tensor(id).shape[0].symbol == 'L';
      bytes = ir::row_bytes(module, id) * (last_rows ? rows.logits : rows.tokens);
    } else {
      const Room& room = schedule.temporaries.at(buffer.value);
      bytes = room.bytes_per_row * rows.tokens + room.fixed_bytes;
    }
    plan.placements[key] = {buffer_name(labels, buffer), 0, padded(bytes), life.first, life.last};
  }

  // Largest first, each at the lowest place that is free while it lives.
  std::vector<Placement*> order;
  for (auto& [key, p] : plan.placements)
    if (key.first != Buffer::Kind::pinned) order.push_back(&p);
  std::sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    return std::tuple(-a->bytes, a->first, a->last) < std::tuple(-b->bytes, b->first, b->last);
  });
  std::vector<const Placement*> placed;
  for (Placement* p : order) {
    std::vector<const Placement*> beside;
    for (const Placement* other : placed)
      if (other->first <= p->last && p->first <= other->last) beside.push_back(other);
    std::sort(beside.begin(), beside.end(),
              [](const auto* a, const auto* b) { return a->offset < b->offset; });
    p->offset = pinned_end;
    for (const Placement* other : beside)
      if (p->offset + p->bytes > other->offset)
        p->offset = std::max(p->offset, other->offset + other->bytes);
    plan.bytes = std::max(plan.bytes, p->offset + p->bytes);
    placed.push_back(p);
  }
  return plan;
}

std::string print_memory(const MemoryPlan& plan, const LoweredSchedule& schedule) {
  std::vector<const Placement*> order;
  for (const auto& [key, p] : plan.placements) order.push_back(&p);
  std::sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    return std::tuple(a->first, a->offset) < std::tuple(b->first, b->offset);
  });
  std::string text = fmt::format("arena of {} bytes, {} buffers\n{:>12} {:>12}  {:<40} lives\n",
                                 plan.bytes, order.size(), "offset", "bytes", "buffer");
  for (const Placement* p : order) {
    const auto phase = [&](size_t i) {
      return i < schedule.phases.size() ? schedule.phases[i].name : std::string("always");
    };
    text += fmt::format("{:>12} {:>12}  {:<40} {} .. {}\n", p->offset, p->bytes, p->name,
                        phase(p->first), phase(p->last));
  }
  return text;
}

}  // namespace sinter::codegen
