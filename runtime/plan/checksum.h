// Checksums of plan files and keys of caches: XXH3, 64 and 128 bits, from the library xxHash. They
// guard against damage, not against forgery.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
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
  // 32 hexadecimal digits for 128 bits: a name for what the bytes are.
  std::string key() const;

 private:
  // The library's state.
  alignas(64) std::array<std::byte, 576> state_;
};

uint64_t checksum_of(std::span<const uint8_t> bytes);
// Checksum::key of a text.
std::string key_of(std::string_view text);

}  // namespace sinter::runtime
