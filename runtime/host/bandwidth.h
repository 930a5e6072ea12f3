// How fast this machine streams memory into its cores.
#pragma once

#include <cstdint>

namespace sinter::runtime {

// Reads `bytes` of the host's memory with `threads` workers (0: all) and gives bytes per second,
// the median of several passes: the roof that speeds are compared with. 0 when it cannot be
// measured (no memory, no threads).
double measure_streaming_read(int threads, uint64_t bytes);

}  // namespace sinter::runtime
