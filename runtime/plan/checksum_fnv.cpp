#include "runtime/plan/checksum_fnv.h"

#include <algorithm>
#include <cstring>

namespace sinter::runtime {
namespace {

// FNV-1a's constants for 64 bits (http://www.isthe.com/chongo/tech/comp/fnv).
constexpr uint64_t offset_basis = 0xcbf29ce484222325;
constexpr uint64_t prime = 0x100000001b3;

uint64_t fold(uint64_t hash, uint64_t word) { return (hash ^ word) * prime; }

void add_blocks(std::array<uint64_t, 8>& lanes, const uint8_t* bytes, size_t blocks) {
  std::array<uint64_t, 8> local = lanes;
  for (size_t b = 0; b < blocks; ++b, bytes += 64) {
    uint64_t words[8];
    std::memcpy(words, bytes, 64);
    for (size_t i = 0; i < 8; ++i) local[i] = fold(local[i], words[i]);
  }
  lanes = local;
}

}  // namespace

FnvChecksum::FnvChecksum() { lanes_.fill(offset_basis); }

void FnvChecksum::update(std::span<const uint8_t> bytes) {
  if (bytes.empty()) return;
  const size_t held = bytes_ % 64;
  bytes_ += bytes.size();
  if (held != 0) {
    const size_t taken = std::min<size_t>(64 - held, bytes.size());
    std::memcpy(block_.data() + held, bytes.data(), taken);
    bytes = bytes.subspan(taken);
    if (held + taken < 64) return;
    add_blocks(lanes_, block_.data(), 1);
  }
  const size_t blocks = bytes.size() / 64;
  add_blocks(lanes_, bytes.data(), blocks);
  bytes = bytes.subspan(blocks * 64);
  if (!bytes.empty()) std::memcpy(block_.data(), bytes.data(), bytes.size());
}

uint64_t FnvChecksum::value() const {
  std::array<uint64_t, 8> lanes = lanes_;
  if (const size_t held = bytes_ % 64; held != 0) {
    std::array<uint8_t, 64> last{};
    std::memcpy(last.data(), block_.data(), held);
    add_blocks(lanes, last.data(), 1);
  }
  uint64_t hash = offset_basis;
  for (const uint64_t lane : lanes) hash = fold(hash, lane);
  return fold(hash, bytes_);
}

}  // namespace sinter::runtime
