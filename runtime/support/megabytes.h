// Sizes in messages.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <string>

namespace sinter::runtime {

// "12.3 MB", with MB of 10^6 bytes.
inline std::string megabytes(uint64_t bytes) {
  return fmt::format("{:.1f} MB", static_cast<double>(bytes) * 1e-6);
}

}  // namespace sinter::runtime
