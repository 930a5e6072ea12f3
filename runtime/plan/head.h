// The first 40 bytes of a plan file.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

#include "runtime/plan/checksum.h"
#include "runtime/plan/plan.h"

namespace sinter::runtime {

inline constexpr std::string_view plan_magic = "SINTERPL";
inline constexpr uint64_t plan_head_bytes = 40;

struct PlanHead {
  uint32_t major = plan_major;
  uint32_t minor = plan_minor;
  uint64_t header_offset = 0;
  uint64_t header_bytes = 0;
  uint64_t header_checksum = 0;
};

inline std::array<uint8_t, plan_head_bytes> encode_head(const PlanHead& head) {
  std::array<uint8_t, plan_head_bytes> bytes{};
  std::memcpy(bytes.data(), plan_magic.data(), 8);
  std::memcpy(bytes.data() + 8, &head.major, 4);
  std::memcpy(bytes.data() + 12, &head.minor, 4);
  std::memcpy(bytes.data() + 16, &head.header_offset, 8);
  std::memcpy(bytes.data() + 24, &head.header_bytes, 8);
  std::memcpy(bytes.data() + 32, &head.header_checksum, 8);
  return bytes;
}

// bytes: at least plan_head_bytes; the magic is not looked at.
inline PlanHead decode_head(std::span<const uint8_t> bytes) {
  PlanHead head;
  std::memcpy(&head.major, bytes.data() + 8, 4);
  std::memcpy(&head.minor, bytes.data() + 12, 4);
  std::memcpy(&head.header_offset, bytes.data() + 16, 8);
  std::memcpy(&head.header_bytes, bytes.data() + 24, 8);
  std::memcpy(&head.header_checksum, bytes.data() + 32, 8);
  return head;
}

// The header's checksum: the 32 bytes before it, then the JSON.
inline uint64_t head_checksum(const PlanHead& head, std::span<const uint8_t> json) {
  Checksum checksum;
  checksum.update(std::span<const uint8_t>(encode_head(head)).first(32));
  checksum.update(json);
  return checksum.value();
}

}  // namespace sinter::runtime
