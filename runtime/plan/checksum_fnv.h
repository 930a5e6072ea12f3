// The checksum of plans before version 2.3, kept to read them: 64-bit FNV-1a over 8-byte
// little-endian words, in eight interleaved lanes. Word i of each 64-byte block goes to lane i; the
// last block is filled up with zero bytes; then the lanes, in order, and the number of bytes are
// folded by FNV-1a into one number. A change of the top bits of a word never reaches the lower
// ones, so some damage cancels out: nothing new is written with it.
#pragma once

#include <array>
#include <cstdint>
#include <span>

namespace sinter::runtime {

class FnvChecksum {
 public:
  FnvChecksum();
  void update(std::span<const uint8_t> bytes);
  uint64_t value() const;

 private:
  std::array<uint64_t, 8> lanes_;
  std::array<uint8_t, 64> block_{};  // bytes that do not fill a block yet
  uint64_t bytes_ = 0;
};

}  // namespace sinter::runtime
