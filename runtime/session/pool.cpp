#include "runtime/session/pool.h"

#include <fmt/format.h>

#include <algorithm>

#include "runtime/abi/kernel_abi.h"

namespace sinter::runtime {
namespace {

int64_t pages_for(int64_t positions) { return (positions + page_positions - 1) / page_positions; }

}  // namespace

Pool::Pool(int64_t sequences, int64_t pages_per_sequence, int64_t pages)
    : pages_per_sequence_(pages_per_sequence),
      owners_(static_cast<size_t>(sequences)),
      table_(static_cast<size_t>(sequences * pages_per_sequence)),
      users_(static_cast<size_t>(pages)) {
  // Low numbers first: a session that stays short touches little memory.
  for (int64_t i = pages; i > 0; --i) free_.push_back(static_cast<int32_t>(i - 1));
}

Result<int> Pool::add() {
  const auto unused = std::ranges::find(owners_, false, &Owner::live);
  if (unused == owners_.end())
    return Error{fmt::format(
        "all {} sequences of the session are in use; remove one or make a session of more",
        owners_.size())};
  *unused = {.live = true, .pages = 0};
  return static_cast<int>(unused - owners_.begin());
}

Result<int> Pool::fork(int sequence, int64_t positions) {
  const Result<int> added = add();
  if (!added.ok()) return added;
  share(*added, sequence, pages_for(positions));
  return added;
}

void Pool::share(int to, int from, int64_t pages) {
  for (int64_t i = 0; i < pages; ++i) {
    page(to, i) = page(from, i);
    ++users_[static_cast<size_t>(page(from, i))];
  }
  owners_[static_cast<size_t>(to)].pages = pages;
  ++version_;
}

void Pool::replace(int sequence, int from) {
  if (sequence == from) return;
  truncate(sequence, 0);
  share(sequence, from, owners_[static_cast<size_t>(from)].pages);
}

void Pool::remove(int sequence) {
  truncate(sequence, 0);
  owners_[static_cast<size_t>(sequence)].live = false;
}

void Pool::truncate(int sequence, int64_t positions) {
  Owner& owner = owners_[static_cast<size_t>(sequence)];
  while (owner.pages > pages_for(positions)) {
    int32_t& last = page(sequence, --owner.pages);
    give_back(last);
    last = 0;
    ++version_;
  }
}

int32_t Pool::take() {
  const int32_t page = free_.back();
  free_.pop_back();
  users_[static_cast<size_t>(page)] = 1;
  return page;
}

void Pool::give_back(int32_t page) {
  if (--users_[static_cast<size_t>(page)] == 0) free_.push_back(page);
}

// Pages that it takes: new ones, and copies of those that others have, too.
int64_t Pool::needed(const Growth& growth) {
  const int64_t owned = owners_[static_cast<size_t>(growth.sequence)].pages;
  int64_t count = std::max<int64_t>(pages_for(growth.end) - owned, 0);
  for (int64_t i = growth.begin / page_positions; i < std::min(pages_for(growth.end), owned); ++i)
    count += users(growth.sequence, i) > 1 ? 1 : 0;
  return count;
}

Status Pool::grow(std::span<const Growth> growths, std::vector<PageCopy>& copies) {
  int64_t wanted = 0;
  for (const Growth& growth : growths) wanted += needed(growth);
  if (wanted > free_pages())
    return Error{fmt::format(
        "{} more positions do not fit: {} pages of {} positions are needed and {} are free; remove "
        "or truncate sequences, or make a session with more positions",
        [&] {
          int64_t positions = 0;
          for (const Growth& growth : growths) positions += growth.end - growth.begin;
          return positions;
        }(),
        wanted, page_positions, free_pages())};
  for (const Growth& growth : growths) {
    int64_t& owned = owners_[static_cast<size_t>(growth.sequence)].pages;
    const int64_t end = pages_for(growth.end);
    for (int64_t i = growth.begin / page_positions; i < std::min(end, owned); ++i) {
      if (users(growth.sequence, i) == 1) continue;
      const int32_t copy = take();
      int32_t& shared = page(growth.sequence, i);
      copies.push_back({shared, copy});
      give_back(shared);
      shared = copy;
      ++version_;
    }
    for (; owned < end; ++owned, ++version_) page(growth.sequence, owned) = take();
  }
  return Done{};
}

}  // namespace sinter::runtime
