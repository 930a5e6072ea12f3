// The checksum of plan files: 64-bit FNV-1a over 8-byte little-endian words, in eight interleaved
// lanes so that the multiplications overlap. Word i of each 64-byte block goes to lane i; the last
// block is filled up with zero bytes; then the lanes, in order, and the number of bytes are folded
// by FNV-1a into one number.
//
// Every step is a bijection of the word and of the lane it enters, so a change within a single word
// is always seen. It guards against damage, not against forgery.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

namespace sinter::runtime {

class Checksum {
 public:
  Checksum();
  // Any number of pieces of any length; how the bytes are cut makes no difference.
  void update(std::span<const uint8_t> bytes);
  void update(std::string_view text);
  // Of all bytes so far.
  uint64_t value() const;

 private:
  std::array<uint64_t, 8> lanes_;
  std::array<uint8_t, 64> block_{};  // bytes that do not fill a block yet
  uint64_t bytes_ = 0;
};

uint64_t checksum_of(std::span<const uint8_t> bytes);

}  // namespace sinter::runtime
