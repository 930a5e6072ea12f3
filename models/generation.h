// What generation_config.json says about how tokens are drawn.
#pragma once

#include <cstdint>

#include "models/config.h"

namespace sinter::models {

// Negative: not said.
struct Generation {
  double temperature = -1, top_p = -1;
  int64_t top_k = -1;
};

// Values that cannot be and fields that are not applied leave notes.
Generation read_generation(const Config& config);

}  // namespace sinter::models
