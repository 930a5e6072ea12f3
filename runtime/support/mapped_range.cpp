#include "runtime/support/mapped_range.h"

#include <array>
#include <atomic>
#include <cstring>
#include <utility>

namespace sinter::runtime {
namespace {

// Read by signal handlers: of fixed size and without locks.
struct Slot {
  enum State { free, changing, used };
  std::atomic<int> state{free};
  uintptr_t begin = 0, end = 0;
  std::array<char, 1024> path{};
};
std::array<Slot, 256> slots;

}  // namespace

MappedRange::MappedRange(std::span<const uint8_t> bytes, const std::string& path) {
  if (path.size() >= slots[0].path.size()) return;
  for (size_t i = 0; i < slots.size(); ++i) {
    int expected = Slot::free;
    if (!slots[i].state.compare_exchange_strong(expected, Slot::changing)) continue;
    slots[i].begin = reinterpret_cast<uintptr_t>(bytes.data());
    slots[i].end = slots[i].begin + bytes.size();
    std::memcpy(slots[i].path.data(), path.c_str(), path.size() + 1);
    slots[i].state = Slot::used;
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
  if (slot_ >= 0) slots[static_cast<size_t>(slot_)].state = Slot::free;
}

const char* mapped_file_at(const void* address) noexcept {
  const auto at = reinterpret_cast<uintptr_t>(address);
  for (const Slot& slot : slots)
    if (slot.state == Slot::used && slot.begin <= at && at < slot.end) return slot.path.data();
  return nullptr;
}

}  // namespace sinter::runtime
