#include "runtime/support/mapped_range.h"

#include <array>
#include <atomic>
#include <cstring>
#include <utility>

namespace sinter::runtime {
namespace {

// Read by signal handlers: of fixed size and without locks.
struct RangeSlot {
  enum State { free, changing, used };
  std::atomic<int> state{free};
  uintptr_t begin = 0, end = 0;
  std::array<char, 1024> path{};
};
std::array<RangeSlot, 256> range_slots;

}  // namespace

MappedRange::MappedRange(std::span<const uint8_t> bytes, const std::string& path) {
  if (path.size() >= range_slots[0].path.size()) return;
  for (size_t i = 0; i < range_slots.size(); ++i) {
    int expected = RangeSlot::free;
    if (!range_slots[i].state.compare_exchange_strong(expected, RangeSlot::changing)) continue;
    range_slots[i].begin = reinterpret_cast<uintptr_t>(bytes.data());
    range_slots[i].end = range_slots[i].begin + bytes.size();
    std::memcpy(range_slots[i].path.data(), path.c_str(), path.size() + 1);
    range_slots[i].state = RangeSlot::used;
    slot_ = static_cast<int>(i);
    return;
  }
}

MappedRange::MappedRange(MappedRange&& other) noexcept : slot_(std::exchange(other.slot_, -1)) {}

MappedRange& MappedRange::operator=(MappedRange&& other) noexcept {
  std::swap(slot_, other.slot_);
  return *this;
}

MappedRange::~MappedRange() {
  if (slot_ >= 0) range_slots[static_cast<size_t>(slot_)].state = RangeSlot::free;
}

const char* mapped_file_at(const void* address) noexcept {
  const auto at = reinterpret_cast<uintptr_t>(address);
  for (const RangeSlot& slot : range_slots)
    if (slot.state == RangeSlot::used && slot.begin <= at && at < slot.end) return slot.path.data();
  return nullptr;
}

}  // namespace sinter::runtime
