// How far the GPU may run ahead of the host while it draws tokens.
#pragma once

#include <cstdint>

namespace sinter::runtime {

// Tokens that the ring of a sequence holds.
inline constexpr int ring_size = 64;
// Replays that are issued before the tokens of the first one were seen.
inline constexpr int64_t most_in_flight = 4;
static_assert(most_in_flight < ring_size);

}  // namespace sinter::runtime
