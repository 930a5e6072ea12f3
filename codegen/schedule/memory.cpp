#include "codegen/schedule/memory.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

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

}  // namespace

MemoryPlan plan_memory(const ir::Module& module, const Lowering& lowering,
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

  for (size_t i = 0; i < schedule.phases.size(); ++i) {
    for (const Buffer& buffer : schedule.phases[i].arguments) {
      int64_t bytes = 0;
      if (buffer.kind == Buffer::Kind::activation) {
        const auto id = static_cast<ir::ValueId>(buffer.value);
        const bool last_rows = module.tensor(id).shape[0].symbol == 'L';
        bytes = ir::row_bytes(module, id) * (last_rows ? rows.logits : rows.tokens);
      } else if (buffer.kind == Buffer::Kind::temporary) {
        const Room& room = schedule.temporaries.at(buffer.value);
        bytes = room.bytes_per_row * rows.tokens + room.fixed_bytes;
      } else {
        continue;
      }
      const auto [at, inserted] =
          plan.placements.emplace(std::pair{buffer.kind, buffer.value}, Placement{});
      Placement& p = at->second;
      if (inserted) p = {buffer_name(labels, buffer), 0, padded(bytes), i, i};
      p.last = i;
    }
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
